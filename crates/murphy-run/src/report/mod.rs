//! A report is one HTML file that shows a run to people: what the verdict is, why, and what it rests on.
//!
//! The page needs nothing but itself: no network, no other file, no script to be readable. Each section is
//! a pure function of the [`RunRecord`]; the look is in `page.css`, what moves is in `page.js`.
//! docs/report.md says how to read it.

mod again;
mod faults;
mod headline;
pub mod html;
pub mod observed;
mod timeline;
mod vacuity;
mod witness;
pub mod words;

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
    frame(&Frame {
        title: &title,
        css: "",
        masthead: &masthead,
        main: &sections,
        footer: &footer,
        js: Some(JS),
    })
}

/// What a page is made of: HTML already, but for the title, which is escaped text.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What the tab is called.
    pub title: &'a str,
    /// What looks otherwise than on other pages.
    pub css: &'a str,
    /// The line at the top.
    pub masthead: &'a str,
    /// The sections.
    pub main: &'a str,
    /// The line at the end.
    pub footer: &'a str,
    /// What moves, if anything does.
    pub js: Option<&'a str>,
}

/// A page that needs nothing but itself.
pub fn frame(frame: &Frame<'_>) -> String {
    let (script, scripts) = match frame.js {
        Some(js) => (
            format!("\n<script>\n{js}</script>"),
            " script-src 'unsafe-inline';",
        ),
        None => (String::new(), ""),
    };
    // Nothing may be loaded or sent, even if a value of the run got past the escaping.
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline';{scripts} base-uri 'none'; form-action 'none'"
    );
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{CSS}{css}</style>
</head>
<body>
<div class="page">
{masthead}
<main>
{main}</main>
{footer}
</div>{script}
</body>
</html>
"#,
        title = frame.title,
        css = frame.css,
        masthead = frame.masthead,
        main = frame.main,
        footer = frame.footer,
    )
}

#[cfg(test)]
mod crowd;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
