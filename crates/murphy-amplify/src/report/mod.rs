//! A report says what a target survives: a row for each error, for people in a terminal or on a page, for machines as JSON, and for
//! builds as `JUnit`.
//!
//! Everything in it comes from the folder of a campaign: `campaign.json`, `trials.jsonl` and `rows.json`.

pub mod compared;
pub mod junit;
pub mod page;
pub mod text;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use murphy_run::request::{Machine, shell_quoted};
use serde::{Deserialize, Serialize};

use crate::campaign::{effect::Tolerance, row::Row, trial::Phases};

/// What the header of a campaign is called in its folder.
pub const CAMPAIGN: &str = "campaign.json";
/// What its rows are called.
pub const ROWS: &str = "rows.json";

/// What was asked for, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// Where.
    pub machine: Machine,
    /// When it was begun, RFC 3339.
    pub started: String,
    /// On whom, in words.
    pub target: String,
    /// Its probes.
    pub probes: Vec<String>,
    /// What says whether the target's state is right.
    pub validation: Option<String>,
    /// What gave it work.
    pub workload: Option<String>,
    /// How long its phases are.
    pub phases: Phases,
    /// How little is nothing.
    pub tolerance: Tolerance,
    /// The seed of everything that was drawn.
    pub seed: u64,
    /// The words it was begun with, without what is injected, and where to: an error and a rate are put behind the second.
    pub words: Vec<String>,
    /// Whether its rows are models of a file.
    pub is_modelled: bool,
    /// All that must not change while it goes on.
    pub asked: String,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked for.
    pub campaign: Campaign,
    /// What came of each error.
    pub rows: Vec<Row>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file is not there, or cannot be read or written.
    #[error("{verb} {}: {source}{hint}", path.display())]
    File {
        /// What was done.
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A file says something else.
    #[error("read {}: {source}", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Where, and why.
        source: serde_json::Error,
    },
}

impl Report {
    /// That of a campaign in a folder.
    pub fn read(folder: &Path) -> Result<Self, ReportError> {
        Ok(Self {
            campaign: read(
                &folder.join(CAMPAIGN),
                "; name the folder that `murphy amplify run --out` was given",
            )?,
            rows: read(
                &folder.join(ROWS),
                "; the campaign has not come to its end: the same `murphy amplify run --out` goes on with it",
            )?,
        })
    }

    /// The words that repeat a row: at the rate at which it broke, or at the highest one.
    pub fn again(&self, row: &Row) -> Vec<String> {
        let broke = row.trials.iter().filter(|one| one.verdict == row.verdict);
        let rate = broke.map(|one| one.rate).fold(0.0, f64::max);
        let rate = format!("{}%", (rate * 1e6).round() / 1e4);
        let name = if self.campaign.is_modelled {
            "--only"
        } else {
            "--error"
        };
        let words = [name, &row.experiment, "--first", &rate, "--up-to", &rate];
        let mut all = self.campaign.words.clone();
        // Behind `amplify run`, before the words of a command.
        let place = all.iter().position(|word| word == "run");
        let place = place.map_or(all.len(), |place| place + 1);
        all.splice(place..place, words.map(str::to_owned));
        all
    }
}

/// The same words for a shell.
pub fn shell(words: &[String]) -> String {
    let words = words.iter().map(|word| shell_quoted(word));
    words.collect::<Vec<_>>().join(" ")
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path, hint: &'static str) -> Result<T, ReportError> {
    let text = fs::read(path).map_err(|source| ReportError::File {
        verb: "read",
        path: path.to_owned(),
        hint: if source.kind() == io::ErrorKind::NotFound {
            hint
        } else {
            ""
        },
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| ReportError::Json {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file of a report whole, or not at all.
pub fn write(path: &Path, text: &[u8]) -> Result<(), ReportError> {
    let beside = path.with_extension("new");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| ReportError::File {
        verb: "write",
        path: path.to_owned(),
        source,
        hint: "",
    })
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
