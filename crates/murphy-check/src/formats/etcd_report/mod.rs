//! An etcd report is the folder in which an etcd robustness test leaves what its clients saw: `client-*/operations.json`
//! and `client-*/watch.json`.
//!
//! It becomes a history of model `etcd` ([`crate::history`]), which [`crate::etcd::check`] reads: the operations of all
//! clients and the messages of all watches in the order of their times. What the report does not tell is not made up:
//! - the create revision of a pair is never recorded, and the version not everywhere: the header says so
//!   ([`Header::unrecorded`]);
//! - a value of 20 bytes or more is recorded as a hash in most places; it becomes the text `fnv1a:` with the hash in
//!   every place, so that equal values stay equal;
//! - a write that failed has an unknown outcome; a read that failed did not happen; "compacted" and "future revision"
//!   are definite;
//! - leases and defragmentation are no part of the vocabulary and are counted; a put under a lease keeps its lease,
//!   which makes the check say that it cannot tell.
//!
//! Field names are those of `tests/robustness/model/types.go` and `tests/robustness/report/client.go` of etcd, whose
//! format is declared unstable: fields that are not known are passed over.

mod operations;
mod watches;
mod wire;

use std::{
    fmt,
    io::{self, Read, Write},
};

use serde_json::value::RawValue;

use super::{
    elements::{Element, Elements, Syntax, Trouble},
    operations::{malformed, text_of},
};
use crate::{
    history::{self, Event, Header, Kind},
    json::{Flaw, Parse},
    read::ReadError,
    recording::{Strictness, Warning},
};

/// What became of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// How many events were written.
    pub events: u64,
    /// Operations that the vocabulary of model `etcd` does not have, such as leases.
    pub without_words: u64,
    /// How many lines were left out because nothing can be made of them.
    pub left_out: u64,
    /// The first of them, with the name of the file.
    pub warnings: Vec<(String, Warning)>,
}

/// How many warnings are kept; more are only counted.
const WARNINGS_KEPT: usize = 100;

/// Why a report cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file is not what the format says.
    #[error("{name}:{error}")]
    Read {
        /// The name of the file, as it was given.
        name: String,
        /// Place and problem.
        error: ReadError,
    },
    /// No file has an operation or a watch.
    #[error("the report is empty")]
    Empty,
    /// The history cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Reads the files of all clients and writes one history. A name is that of the file within the report, such as
/// `client-3/operations.json`: its folder names the client.
pub fn convert<R: Read>(
    files: impl IntoIterator<Item = (String, R)>,
    strictness: Strictness,
    sink: impl Write,
) -> Result<Converted, ReportError> {
    let mut intake = Intake {
        moments: Vec::new(),
        converted: Converted::default(),
        strictness,
    };
    for (name, source) in files {
        intake
            .read(&name, source)
            .map_err(|error| ReportError::Read { name, error })?;
    }
    if intake.moments.is_empty() {
        return Err(ReportError::Empty);
    }
    intake.write(sink)
}

/// One event, as it will be written.
struct Moment {
    time: u64,
    kind: Kind,
    process: Box<str>,
    f: &'static str,
    value: Option<Box<RawValue>>,
    error: Option<Box<str>>,
}

struct Intake {
    moments: Vec<Moment>,
    converted: Converted,
    strictness: Strictness,
}

impl Intake {
    fn read(&mut self, name: &str, source: impl Read) -> Result<(), ReadError> {
        let client = client_of(name);
        let mut elements = Elements::new(source, Syntax::Json);
        let mut operations = Vec::new();
        let mut watches = 0;
        loop {
            let (place, flaw) = match elements.next() {
                Ok(None) => break,
                Ok(Some(element)) => match parse(&element) {
                    Ok(Parsed::Operation(operation)) => {
                        operations.push((element.line, operation));
                        continue;
                    }
                    Ok(Parsed::Watch(watch)) => {
                        let process = format!("{client}.watch{watches}");
                        watches += 1;
                        match watches::moments(&watch, &process) {
                            Ok(moments) => {
                                self.moments.extend(moments);
                                continue;
                            }
                            Err(problem) => (element.place(0), problem),
                        }
                    }
                    Err(flaw) => (element.place(flaw.at), flaw.problem),
                },
                Err(Trouble::Io { line, source }) => return Err(ReadError::Io { line, source }),
                Err(Trouble::Flaw {
                    line,
                    column,
                    problem,
                }) => ((line, column), problem),
            };
            self.leave_out(name, place.0, flaw)
                .map_err(|problem| malformed(place, problem))?;
        }
        // Failed operations stand behind the others in some versions.
        operations.sort_by_key(|(_, operation)| operation.call);
        let mut open = operations::Open::default();
        for (line, operation) in operations {
            let taken = operation.check().and_then(|()| open.take(line, &operation));
            match taken.and_then(|()| operation.moments(client)) {
                Ok(moments) if moments.is_empty() => self.converted.without_words += 1,
                Ok(moments) => self.moments.extend(moments),
                Err(problem) => self
                    .leave_out(name, line, problem)
                    .map_err(|problem| malformed((line, 1), problem))?,
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, name: &str, line: u64, problem: Box<str>) -> Result<(), Box<str>> {
        if self.strictness == Strictness::Strict {
            return Err(problem);
        }
        self.converted.left_out += 1;
        if self.converted.warnings.len() < WARNINGS_KEPT {
            let warning = Warning { line, problem };
            self.converted.warnings.push((name.to_owned(), warning));
        }
        Ok(())
    }

    fn write(mut self, sink: impl Write) -> Result<Converted, ReportError> {
        // Events of one moment keep the order in which their client saw them.
        self.moments.sort_by_key(|moment| moment.time);
        let header = Header {
            system: Some("etcd robustness report".into()),
            unrecorded: vec!["create_revision".into(), "version".into()],
            ..Header::new("etcd")
        };
        let mut writer = history::Writer::new(sink, &header)?;
        for moment in &self.moments {
            writer.write(&Event {
                r#type: moment.kind,
                process: &moment.process,
                f: moment.f,
                value: moment.value.as_deref(),
                time: moment.time,
                node: None,
                error: moment.error.as_deref(),
            })?;
        }
        writer.flush()?;
        self.converted.events = self.moments.len() as u64;
        Ok(self.converted)
    }
}

/// The folder of a file: `client-3` of `report/client-3/watch.json`.
fn client_of(name: &str) -> &str {
    let mut parts = name.rsplit(['/', '\\']);
    let file = parts.next().unwrap_or(name);
    parts.next().unwrap_or(file)
}

enum Parsed {
    Operation(Box<operations::Operation>),
    Watch(wire::Watch),
}

fn parse(element: &Element<'_>) -> Parse<Parsed> {
    let text = text_of(element.text)?;
    let entry: wire::Entry = serde_json::from_str(text).map_err(|error| flaw_of(text, &error))?;
    match entry {
        wire::Entry {
            request: Some(request),
            responses,
            ..
        } => Ok(Parsed::Watch(wire::Watch {
            request,
            responses: responses.unwrap_or_default(),
        })),
        wire::Entry {
            client: Some(client),
            input: Some(input),
            call: Some(call),
            end: Some(end),
            output,
            ..
        } => Ok(Parsed::Operation(Box::new(operations::Operation {
            client,
            input,
            call,
            end,
            output: output.unwrap_or_default(),
        }))),
        _ => Err(Flaw {
            at: 0,
            problem: "expected ClientId, Input, Call, Output and Return of an operation, or Request and Responses of \
                      a watch"
                .into(),
        }),
    }
}

/// Where and what, from the words of the JSON reader.
fn flaw_of(text: &str, error: &serde_json::Error) -> Flaw {
    let before: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let words = error.to_string();
    let problem = words
        .rsplit_once(" at line ")
        .map_or(words.as_str(), |(problem, _)| problem);
    Flaw {
        at: before + error.column().saturating_sub(1),
        problem: problem.into(),
    }
}

/// The text that stands for a value: itself, or its hash where it is long.
fn value_text(value: &wire::ValueOrHash) -> String {
    /// etcd records longer values as hashes.
    const HASHED_FROM: usize = 20;
    let hash = match value {
        wire::ValueOrHash { hash: 1.., .. } => value.hash,
        wire::ValueOrHash { value, .. } if value.len() < HASHED_FROM => return value.clone(),
        wire::ValueOrHash { value, .. } => fnv1a(value.as_bytes()),
    };
    format!("fnv1a:{hash:08x}")
}

/// 32-bit FNV-1a (Fowler, Noll, Vo), as Go's `hash/fnv` has it.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The vocabulary's own types always become JSON; an error would be a bug, and says so.
fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, Box<str>> {
    serde_json::value::to_raw_value(value).map_err(|error| error.to_string().into())
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            without_words,
            left_out,
            ..
        } = self;
        write!(
            f,
            "{events} events, {without_words} operations without words in model etcd, {left_out} lines left out"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_go() {
        // From the authors' table of test vectors.
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn a_long_value_and_its_hash_are_one_text() {
        let long = "x".repeat(20);
        let told = wire::ValueOrHash {
            hash: 0,
            value: long.clone(),
        };
        let hashed = wire::ValueOrHash {
            hash: fnv1a(long.as_bytes()),
            value: String::new(),
        };
        assert_eq!(value_text(&told), value_text(&hashed));
        let short = wire::ValueOrHash {
            hash: 0,
            value: "x".into(),
        };
        assert_eq!(value_text(&short), "x");
    }
}
