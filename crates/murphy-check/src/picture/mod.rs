//! A picture is one HTML file that shows a history and its witness to people.
//!
//! The page needs nothing but itself: no network, no other file, and for the verdict and the witness no script
//! either. A history of any format becomes a scene of lanes, bars and fault bands first; everything else is drawn from
//! that: each witness as a static SVG (`figure` says what is in it, `svg` draws it), the whole history as columns of
//! numbers (`columns`) that `page.js` draws on a canvas. docs/picture.md says how to read it.

mod axis;
mod columns;
mod figure;
mod page;
mod point;
pub(crate) mod scene;
mod svg;
mod text;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::{etcd::Record, recording::Recording, verdict::Report};
use scene::Scene;

/// How far a search got before nothing was legal any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The promise that was judged.
    pub promise: String,
    /// The part of the state it was judged on, such as a key; `None` where the history is one part.
    pub part: Option<String>,
    /// Positions in [`Recording::invocations`], in a longest order that is legal.
    pub longest: Vec<u32>,
    /// The state after each of them, in words.
    pub states: Vec<String>,
    /// Each invocation that could come next, and why it is illegal: `read → 3, but the register holds 5`.
    pub blocked: Vec<(u32, String)>,
}

/// Writes the page of a history and what was judged on it.
pub fn html(
    recording: &Recording,
    report: &Report,
    explanations: &[Explanation],
    out: impl Write,
) -> io::Result<()> {
    page::write(&Scene::of_recording(recording), report, explanations, out)
}

/// Writes the page of a history of model `etcd`; watch streams are lanes of their own.
pub fn etcd_html(record: &Record, report: &Report, out: impl Write) -> io::Result<()> {
    page::write(&record.scene(), report, &[], out)
}

/// The witness of the first broken promise alone, as an SVG file; the whole history where nothing is broken and it is
/// small. `None` where there is nothing to draw.
pub fn svg(recording: &Recording, report: &Report, explanations: &[Explanation]) -> Option<String> {
    let scene = Scene::of_recording(recording);
    let figure = figure::figures(&scene, report, explanations)
        .into_iter()
        .next()?;
    Some(svg::document(&figure, &scene))
}
