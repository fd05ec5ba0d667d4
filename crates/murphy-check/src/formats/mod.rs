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
mod sink;
mod write;

pub use detect::{Format, HEAD, model_of};
pub use sink::Start;
pub use write::{Written, write};

use std::io::{self, Read};

use crate::{
    live::LiveJudge,
    read::ReadError,
    recording::{Recording, Strictness},
};
use elements::Syntax;
use sink::{Follower, Keeper, Sink};

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
    let (format, head) = if let Some(format) = options.format {
        (format, Vec::new())
    } else {
        let mut head = Vec::new();
        let limited = source.by_ref().take(HEAD as u64);
        { limited }.read_to_end(&mut head).map_err(unread)?;
        (detect(&head)?, head)
    };
    let mut keeper = Keeper::new(options.strictness);
    let guessed = read_into(
        io::Cursor::new(head).chain(source),
        format,
        options,
        &mut keeper,
    )?;
    let mut recording = keeper.recorder.finish();
    if let Some(model) = guessed {
        model.clone_into(&mut recording.header.model);
    }
    Ok(recording)
}

/// Hands a history to a live judge, line by line as it is read, until it ends or the judge has found a contradiction.
/// `start` is told the header and begins the judge; `watch` is shown it after each line. What [`LiveJudge::finish`]
/// says is the caller's to ask for. Where the format does not say the model, [`Options::model`] has to: a model cannot
/// be guessed before everything was read.
pub fn follow(
    mut source: impl Read,
    options: &Options<'_>,
    start: Start<'_>,
    watch: &mut dyn FnMut(&dyn LiveJudge),
) -> Result<Box<dyn LiveJudge>, ReadError> {
    let (format, head) = if let Some(format) = options.format {
        (format, Vec::new())
    } else {
        let head = first_line(&mut source).map_err(unread)?;
        (detect(&head)?, head)
    };
    let mut follower = Follower::new(start, watch);
    read_into(
        io::Cursor::new(head).chain(source),
        format,
        options,
        &mut follower,
    )?;
    let problem = "the history is empty, expected its header";
    (follower.judge).ok_or_else(|| operations::malformed((1, 1), problem.into()))
}

/// Reads no more than is there, until a format is told by it: more may come only after a while.
fn first_line(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut block = [0; HEAD];
    loop {
        match source.read(&mut block) {
            Ok(0) => return Ok(head),
            Ok(read) => head.extend_from_slice(&block[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let is_line = head.trim_ascii_start().contains(&b'\n');
        if head.len() >= HEAD || is_line && Format::detect(&head).is_some() {
            return Ok(head);
        }
    }
}

fn unread(source: io::Error) -> ReadError {
    ReadError::Io { line: 1, source }
}

fn detect(head: &[u8]) -> Result<Format, ReadError> {
    Format::detect(head).ok_or_else(|| {
        let problem = if head.trim_ascii().is_empty() {
            "the history is empty"
        } else {
            "this is no history in a format that is known: murphy, edn, jepsen-json, jepsen-log, porcupine-kv or \
             etcd-report"
        };
        operations::malformed((1, 1), problem.into())
    })
}

/// Reads a history into a sink; the model that was guessed, where neither the format nor `options` tell it.
fn read_into(
    source: impl Read,
    format: Format,
    options: &Options<'_>,
    sink: &mut impl Sink,
) -> Result<Option<&'static str>, ReadError> {
    let done = |()| None;
    match format {
        Format::Murphy => murphy::read(source, options, sink).map(done),
        Format::Edn => operations::read(source, Syntax::Edn, false, options, sink),
        Format::PorcupineKv => operations::read(source, Syntax::Edn, true, options, sink),
        Format::JepsenJson => operations::read(source, Syntax::Json, false, options, sink),
        Format::JepsenLog => jepsen_log::read(source, options, sink).map(done),
        Format::EtcdReport => Err(operations::malformed((1, 1), ETCD_IS_APART.into())),
    }
}
