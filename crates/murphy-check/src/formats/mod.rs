//! A format is a way to write a history down; this module reads the usual ones into a recording, and writes three.
//!
//! | name | is | model |
//! |---|---|---|
//! | `murphy` | JSON Lines with a header (docs/history.md) | said by the header |
//! | `edn` | Jepsen's and Elle's operations, one map each | list-append or rw-register for transactions |
//! | `jepsen-json` | the same as a JSON array or as JSON Lines, as elle-cli reads them | as for `edn` |
//! | `jepsen-log` | lines of Jepsen's log | cas-register |
//! | `porcupine-kv` | porcupine's key-value files | key-value |
//! | `etcd-report` | the folder of an etcd robustness test: see [`etcd_report`] | etcd |
//!
//! Every reader streams, and every error has a line and a column. docs/formats.md has an excerpt of each format and
//! says how it maps. A history of model etcd is no [`Recording`]: it goes to [`crate::etcd::check`].

mod detect;
mod edn;
mod elements;
pub mod etcd_report;
mod guess;
mod jepsen;
mod jepsen_log;
mod murphy;
mod operations;
mod write;

pub use detect::{Format, HEAD, model_of};
pub use write::{Written, write};

use std::io::{self, Read};

use crate::{
    read::ReadError,
    recording::{Recording, Strictness},
};
use elements::Syntax;

/// A history that has its own reader was handed to the one for all others.
const ETCD_IS_APART: &str =
    "a history of model etcd has a reader of its own, murphy_check::etcd::check";

/// How a history is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The format; `None` to tell it from the first bytes.
    pub format: Option<Format>,
    /// The model; `None` to take the one that the format says, or that the operations tell.
    pub model: Option<&'a str>,
    /// What to do with a line that cannot be right.
    pub strictness: Strictness,
}

/// Reads a history of any format and of any model but etcd.
///
/// ```
/// use murphy_check::formats::{self, Options};
///
/// let history = br#"{:type :invoke, :f :txn, :value [[:append 1 2]], :process 0}
/// {:type :ok, :f :txn, :value [[:append 1 2]], :process 0}"#;
/// let recording = formats::read(&history[..], &Options::default())?;
/// assert_eq!(recording.header.model, "list-append");
/// assert_eq!(recording.invocations.len(), 1);
/// # Ok::<(), murphy_check::read::ReadError>(())
/// ```
pub fn read(mut source: impl Read, options: &Options<'_>) -> Result<Recording, ReadError> {
    if let Some(format) = options.format {
        return read_as(source, format, options);
    }
    let mut head = Vec::new();
    source
        .by_ref()
        .take(HEAD as u64)
        .read_to_end(&mut head)
        .map_err(|source| ReadError::Io { line: 1, source })?;
    let Some(format) = Format::detect(&head) else {
        let problem = if head.trim_ascii().is_empty() {
            "the history is empty"
        } else {
            "this is no history in a format that is known: murphy, edn, jepsen-json, jepsen-log, porcupine-kv or \
             etcd-report"
        };
        return Err(operations::malformed((1, 1), problem.into()));
    };
    read_as(io::Cursor::new(head).chain(source), format, options)
}

fn read_as(
    source: impl Read,
    format: Format,
    options: &Options<'_>,
) -> Result<Recording, ReadError> {
    match format {
        Format::Murphy => murphy::read(source, options),
        Format::Edn => operations::read(source, Syntax::Edn, false, options),
        Format::PorcupineKv => operations::read(source, Syntax::Edn, true, options),
        Format::JepsenJson => operations::read(source, Syntax::Json, false, options),
        Format::JepsenLog => jepsen_log::read(source, options),
        Format::EtcdReport => Err(operations::malformed((1, 1), ETCD_IS_APART.into())),
    }
}
