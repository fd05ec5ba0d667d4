//! A file of models is YAML that a person reads, edits and compares: `models.yaml`, version 1 (docs/amplify-models.md).

pub mod fields;
mod object;
mod read;
mod write;
mod yaml;

pub use read::read;
pub use write::{json, text};

use std::io;

/// Why models cannot be read. The text begins with `line:column`, to which the caller adds the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// It is not what the format says.
    #[error("{line}:{column}: {problem}")]
    Malformed {
        /// Line of the file, from 1.
        line: usize,
        /// Character of the line, from 1.
        column: usize,
        /// What was expected.
        problem: String,
    },
    /// The file itself cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<yaml::Flaw> for ModelsError {
    fn from(flaw: yaml::Flaw) -> Self {
        Self::Malformed {
            line: flaw.place.line,
            column: flaw.place.column,
            problem: flaw.problem,
        }
    }
}

#[cfg(test)]
mod tests;
