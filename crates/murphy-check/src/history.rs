//! A history is what clients asked and what they were answered, invocation by invocation, as JSON Lines.
//!
//! The first line is the [`Header`]; then one line for each event, in the order in which they were seen;
//! `{"let": NAME, "value": …}` lines may name a value that later lines refer to. docs/history.md is the
//! format in full. This module writes and reads lines; what a line *means* is the model's.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// Version of the format this crate writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// The first line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always `history`.
    pub murphy: String,
    /// Version of the format.
    pub version: u32,
    /// The model that gives the events their meaning, such as `etcd`.
    pub model: String,
    /// What was asked, such as `etcd 3.5.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The members of the system, where it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Seed of the run that recorded the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Wall-clock time of time 0, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Model `etcd`: numbers of key-value pairs that were not recorded, `create_revision` and `version`. The check does
    /// without them in every pair.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unrecorded: Vec<String>,
    /// What the system is held to, where whoever recorded the history says so.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// Bounds on what has none by itself: how late is too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A quiet member has delivered to its watches what it owes after so many ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_lag_ns: Option<u64>,
    /// A watch that asked for bookmarks is not silent for longer than so many ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_silence_ns: Option<u64>,
}

impl Limits {
    /// True where no bound is stated.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Header {
    /// A header of the current version for `model`.
    pub fn new(model: &str) -> Self {
        Self {
            murphy: "history".into(),
            version: VERSION,
            model: model.into(),
            system: None,
            nodes: Vec::new(),
            seed: None,
            started: None,
            unrecorded: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// What a line says of its invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The client asked.
    Invoke,
    /// The answer came.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may or may not have happened, or happens still; also what is no invocation (faults).
    Info,
}

/// The process that stands for the fault injector: its events say when a fault began and ended.
pub const NEMESIS: &str = "nemesis";

/// One line of a history as it is written. `V` is the model's own request or answer.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a, V> {
    /// What the line says.
    pub r#type: Kind,
    /// Who asked. A process has one invocation open at a time; after an `info` it is not used again.
    pub process: &'a str,
    /// What was asked for, in the words of the model.
    pub f: &'a str,
    /// The request (on `invoke`) or the answer (on `ok`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<V>,
    /// Nanoseconds of boottime since the start of the run.
    pub time: u64,
    /// The member that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<&'a str>,
    /// What went wrong, on `fail` and `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}

/// Writes a history line by line; the position of an event is its index.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
    next_index: u64,
}

#[derive(Serialize)]
struct Indexed<'a, 'b, V> {
    index: u64,
    #[serde(flatten)]
    event: &'b Event<'a, V>,
}

#[derive(Serialize)]
struct Let<'a, V> {
    r#let: &'a str,
    value: V,
}

impl<W: Write> Writer<W> {
    /// Begins a history.
    pub fn new(mut sink: W, header: &Header) -> io::Result<Self> {
        serde_json::to_writer(&mut sink, header)?;
        sink.write_all(b"\n")?;
        Ok(Self {
            sink,
            next_index: 0,
        })
    }

    /// Names a value for later lines.
    pub fn define<V: Serialize>(&mut self, name: &str, value: V) -> io::Result<()> {
        serde_json::to_writer(&mut self.sink, &Let { r#let: name, value })?;
        self.sink.write_all(b"\n")
    }

    /// Writes one event and returns its index.
    pub fn write<V: Serialize>(&mut self, event: &Event<'_, V>) -> io::Result<u64> {
        let index = self.next_index;
        serde_json::to_writer(&mut self.sink, &Indexed { index, event })?;
        self.sink.write_all(b"\n")?;
        self.next_index += 1;
        Ok(index)
    }

    /// The sink, with everything written so far.
    pub fn into_inner(self) -> W {
        self.sink
    }

    /// Hands everything to the sink's own destination.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
