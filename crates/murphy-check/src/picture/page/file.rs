//! The file: one HTML document with its style, its script and its data.

use std::io::{self, Write};

use super::{
    super::{Explanation, columns, figure, scene::Scene, svg, text::escaped},
    headline, history, witness,
};
use crate::verdict::Report;

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// The SHA-256 of the page's own script, in base64.
pub const JS_HASH: &str = "VA6NY85Jlru6AcQN35GVbW0boLLBwp02EzEoajdu1No=";

/// Nothing may be loaded or sent, and no script but the page's own may run, even if a word of the history got past the
/// escaping.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The content of the script element.
pub fn script() -> String {
    format!("\n{JS}")
}

/// Writes the page.
pub fn write(
    scene: &Scene,
    report: &Report,
    explanations: &[Explanation],
    mut out: impl Write,
) -> io::Result<()> {
    let figures = figure::figures(scene, report, explanations);
    let columns = columns::of(scene, report, explanations);
    writeln!(
        out,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}; script-src 'sha256-{JS_HASH}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Murphy</title>
<style>
{CSS}{figure_css}</style>
</head>
<body>
<div class="page">
{masthead}
<main>
{verdict}"#,
        title = escaped(&headline::title(scene, report)),
        figure_css = svg::CSS,
        masthead = headline::masthead(scene),
        verdict = headline::section(scene, report),
    )?;
    for (number, figure) in figures.iter().enumerate() {
        out.write_all(witness::section(scene, report, explanations, figure, number).as_bytes())?;
    }
    out.write_all(history::section(scene, columns.bars).as_bytes())?;
    writeln!(
        out,
        r#"</main>
<footer>Written by <code>murphy check</code>. This file needs nothing else to be read.</footer>
</div>
<script type="application/json" id="data">{}</script>
<script>{}</script>
</body>
</html>"#,
        columns.json,
        script()
    )
}
