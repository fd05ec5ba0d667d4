//! What is recorded, as lines of JSON: a header, then for each interval a line for each kind of calls and one that ends it.
//!
//! These types are the format: [`crate::recording`] reads by the same ones.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::Timestamp;
use murphy_run::probe;
use murphy_sys::census::{Kind, Operation};
use serde::{Deserialize, Serialize};

use super::{Cost, Figures, Interval, Row};

/// The version of the format.
pub const VERSION: u32 = 1;

/// What the first line says the file is.
pub(crate) const MURPHY: &str = "errors";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// What the file is: `errors`.
    murphy: String,
    version: u32,
    /// Whose calls these are, as it was said.
    pub target: Vec<String>,
    /// The release of the kernel that counted them.
    pub kernel: String,
    /// When it began.
    pub started: Timestamp,
    /// How long an interval is.
    pub interval_ns: u64,
    /// Whether the time of calls is taken.
    pub latency: bool,
}

impl Header {
    /// The header of a recording.
    pub fn new(
        target: Vec<String>,
        kernel: String,
        started: Timestamp,
        interval_ns: u64,
        latency: bool,
    ) -> Self {
        Self {
            murphy: MURPHY.to_owned(),
            version: VERSION,
            target,
            kernel,
            started,
            interval_ns,
            latency,
        }
    }
}

/// Calls of one kind in an interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calls<'a> {
    pub interval: u64,
    pub call: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonblocking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<Cow<'a, str>>,
    pub count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ns: Option<u64>,
}

impl Calls<'_> {
    fn of(interval: u64, row: &Row, latency: bool) -> Self {
        let key = row.key;
        Self {
            interval,
            call: key.call.to_string().into(),
            operation: key.operation.map(Operation::name).map(Cow::from),
            kind: key.kind.map(Kind::name).map(Cow::from),
            nonblocking: key.nonblocking,
            errno: key.errno.map(|one| one.to_string().into()),
            count: row.calls,
            took_ns: latency.then_some(row.took_ns),
        }
    }
}

/// The line that ends an interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End<'a> {
    pub interval: u64,
    pub from: u64,
    pub to: u64,
    pub lost: u64,
    pub processes: Processes,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub jvm: Cow<'a, BTreeMap<u32, super::Columns>>,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub probes: Cow<'a, BTreeMap<String, probe::Figures>>,
    pub own: Own,
}

// Serde hands the field over by reference.
#[expect(clippy::ptr_arg)]
fn is_empty<K: Ord + Clone, V: Clone>(map: &Cow<'_, BTreeMap<K, V>>) -> bool {
    map.is_empty()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Processes {
    count: u64,
    cpu_ns: u64,
    memory_bytes: u64,
    descriptors: u64,
    threads: u64,
    pub restarts: u64,
}

impl Processes {
    fn of(figures: &Figures, restarts: u64) -> Self {
        Self {
            count: figures.count,
            cpu_ns: figures.cpu_ns,
            memory_bytes: figures.memory_bytes,
            descriptors: figures.descriptors,
            threads: figures.threads,
            restarts,
        }
    }
}

impl From<Processes> for Figures {
    fn from(of: Processes) -> Self {
        Self {
            count: of.count,
            cpu_ns: of.cpu_ns,
            memory_bytes: of.memory_bytes,
            descriptors: of.descriptors,
            threads: of.threads,
        }
    }
}

/// What recording itself took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// How long Murphy was on a processor since the recording began, in nanoseconds.
    pub cpu_ns: u64,
    /// Murphy's resident memory.
    pub memory_bytes: u64,
    /// What a look at a call takes; none where that was not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_per_call: Option<f64>,
}

/// Writes a recording, line by line.
#[derive(Debug)]
pub struct Writer<W> {
    into: W,
    latency: bool,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub fn begin(mut into: W, header: &Header) -> io::Result<Self> {
        write_line(&mut into, header)?;
        into.flush()?;
        Ok(Self {
            into,
            latency: header.latency,
        })
    }

    /// Writes an interval; what is read of it counts once its last line is there.
    pub fn interval(
        &mut self,
        interval: &Interval,
        probes: &BTreeMap<String, probe::Figures>,
        cost: &Cost,
    ) -> io::Result<()> {
        for row in &interval.rows {
            let calls = Calls::of(interval.number, row, self.latency);
            write_line(&mut self.into, &calls)?;
        }
        let end = End {
            interval: interval.number,
            from: interval.from_ns,
            to: interval.to_ns,
            lost: interval.lost,
            processes: Processes::of(&interval.processes, interval.restarts),
            jvm: Cow::Borrowed(&interval.jvms),
            probes: Cow::Borrowed(probes),
            own: Own {
                cpu_ns: cost.own_cpu_ns,
                memory_bytes: cost.own_memory_bytes,
                ns_per_call: cost.ns_per_call,
            },
        };
        write_line(&mut self.into, &end)?;
        self.into.flush()
    }
}

fn write_line(into: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *into, line)?;
    into.write_all(b"\n")
}
