//! A report is one HTML file that shows a run to people: what the verdict is, why, and what it rests on.
//!
//! The page needs nothing but itself: no network, no other file, no script to be readable. Each section is
//! a pure function of the [`RunRecord`]; the look is in `page.css`, what moves is in `page.js`.
//! docs/report.md says how to read it.

mod again;
mod faults;
mod headline;
mod html;
pub mod observed;
mod timeline;
mod vacuity;
mod witness;
mod words;

use crate::record::RunRecord;

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// Draws the page.
pub fn render(record: &RunRecord) -> String {
    let title = html::escaped(&format!(
        "{} · {} · Murphy",
        headline::title(record),
        record.request.title()
    ));
    let masthead = headline::masthead(record);
    let sections = [
        headline::section(record),
        witness::sections(record),
        timeline::section(record),
        faults::section(record),
        vacuity::section(record),
        again::section(record),
    ]
    .concat();
    let footer = again::footer(record);
    // Nothing may be loaded or sent, even if a value of the run got past the escaping.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  base-uri 'none'; form-action 'none'";
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{CSS}</style>
</head>
<body>
<div class="page">
{masthead}
<main>
{sections}</main>
{footer}
</div>
<script>
{JS}</script>
</body>
</html>
"#
    )
}

#[cfg(test)]
mod crowd;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
