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

use murphy_fault::ratio::Ratio;
use murphy_run::request::{Machine, shell_quoted};
use serde::{Deserialize, Serialize};

use crate::campaign::{effect::Tolerance, row::Row, trial::Phases};

/// What the header of a campaign is called in its folder.
pub const CAMPAIGN: &str = "campaign.json";
/// What ends the name of a file that is being written.
pub const BESIDE: &str = "new";
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

    /// The words that repeat a row: once more what decided it, at the rate at which it did, the same being drawn.
    pub fn again(&self, row: &Row) -> Vec<String> {
        let name = if self.campaign.is_modelled {
            "--only"
        } else {
            "--error"
        };
        let mut words = vec![name.to_owned(), row.experiment.clone()];
        let decides = row.trials.iter().filter(|one| one.verdict == row.verdict);
        // What was cut short before its first trial has no rate yet.
        if let Some(rate) = decides.map(|one| one.rate).max_by(f64::total_cmp) {
            words.extend(["--rate".to_owned(), Ratio::nearest(rate).to_string()]);
        }
        words.extend(["--seed".to_owned(), self.campaign.seed.to_string()]);
        let mut all = self.campaign.words.clone();
        // Behind `amplify run`, before the words of a command.
        let place = all.iter().position(|word| word == "run");
        let place = place.map_or(all.len(), |place| place + 1);
        all.splice(place..place, words);
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
    let beside = path.with_extension(BESIDE);
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // A disk that is full is not to be so for half a file.
        let _ = fs::remove_file(&beside);
        ReportError::File {
            verb: "write",
            path: path.to_owned(),
            source,
            hint: "",
        }
    })
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
