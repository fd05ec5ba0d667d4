//! An outcome is what one repetition of a series came to; the ledger keeps them on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SoakError;
use super::series::Series;

/// What one repetition came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub series: String,
    /// From 1.
    pub repetition: u32,
    /// A verdict, or `passed` or `failed`, or `exit code N`.
    pub result: String,
    /// What a test reported of itself, in its own words.
    pub figure: Option<String>,
    pub seconds: f64,
    /// What was checked out.
    pub commit: String,
}

/// All outcomes so far, one JSON object a line.
pub struct Ledger {
    path: PathBuf,
    outcomes: Vec<Outcome>,
}

impl Ledger {
    /// The ledger at a path, empty if there is none. A last line cut off by a kill counts as not written.
    pub fn open(path: &Path) -> Result<Self, SoakError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => {
                return Err(SoakError::File {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let outcomes = whole
            .lines()
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|error| SoakError::Ledger {
                    path: path.to_owned(),
                    line: index + 1,
                    reason: error.to_string(),
                })
            })
            .collect::<Result<_, _>>()?;
        let ledger = Self {
            path: path.to_owned(),
            outcomes,
        };
        if whole.len() < text.len() {
            ledger.rewrite()?;
        }
        Ok(ledger)
    }

    pub fn of(&self, series: &str) -> Vec<&Outcome> {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.series == series)
            .collect()
    }

    pub fn has(&self, series: &str, repetition: u32) -> bool {
        self.outcomes
            .iter()
            .any(|outcome| outcome.series == series && outcome.repetition == repetition)
    }

    pub fn add(&mut self, outcome: Outcome) -> Result<(), SoakError> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .map_err(self.failed())?;
        writeln!(file, "{}", line(&outcome)).map_err(self.failed())?;
        self.outcomes.push(outcome);
        Ok(())
    }

    pub fn forget(&mut self, series: &[&Series]) -> Result<(), SoakError> {
        self.outcomes
            .retain(|outcome| !series.iter().any(|series| series.name == outcome.series));
        self.rewrite()
    }

    /// Replaces the file in one step, so that a kill leaves the old or the new one.
    fn rewrite(&self) -> Result<(), SoakError> {
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial).map_err(self.failed())?;
        for outcome in &self.outcomes {
            writeln!(file, "{}", line(outcome)).map_err(self.failed())?;
        }
        fs::rename(&partial, &self.path).map_err(self.failed())
    }

    fn failed(&self) -> impl Fn(io::Error) -> SoakError + use<> {
        let path = self.path.clone();
        move |source| SoakError::File {
            path: path.clone(),
            source,
        }
    }
}

fn line(outcome: &Outcome) -> String {
    serde_json::to_string(outcome)
        .expect("an outcome has only strings and numbers, which JSON can say")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_and_a_cut_line_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("outcomes.jsonl");
        let outcome = |repetition| Outcome {
            series: "s".to_owned(),
            repetition,
            result: "held".to_owned(),
            figure: None,
            seconds: 1.5,
            commit: "abc".to_owned(),
        };
        let mut ledger = Ledger::open(&path).expect("there is none yet");
        ledger.add(outcome(1)).expect("it can be written");
        ledger.add(outcome(2)).expect("it can be written");
        let text = fs::read_to_string(&path).expect("it was written");
        fs::write(&path, &text[..text.len() - 5]).expect("it can be cut");

        let mut ledger = Ledger::open(&path).expect("whole lines are read");
        assert!(ledger.has("s", 1) && !ledger.has("s", 2));
        ledger.add(outcome(2)).expect("it can be written");
        let ledger = Ledger::open(&path).expect("both lines are whole");
        assert_eq!(ledger.of("s"), [&outcome(1), &outcome(2)]);
    }
}
