//! What is recorded, as lines of JSON: a header, then for each interval a line for each kind of calls and one that ends it.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::Timestamp;
use murphy_run::probe;
use murphy_sys::census::{Kind, Operation};
use serde::Serialize;

use super::{Cost, Figures, Interval, Row};

/// The version of the format.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// What the file is: `errors`.
    murphy: &'static str,
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
            murphy: "errors",
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
#[derive(Clone, Debug, Serialize)]
struct Calls {
    interval: u64,
    call: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonblocking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ns: Option<u64>,
}

impl Calls {
    fn of(interval: u64, row: &Row, latency: bool) -> Self {
        let key = row.key;
        Self {
            interval,
            call: key.call.to_string(),
            operation: key.operation.map(Operation::name),
            kind: key.kind.map(Kind::name),
            nonblocking: key.nonblocking,
            errno: key.errno.map(|one| one.to_string()),
            count: row.calls,
            took_ns: latency.then_some(row.took_ns),
        }
    }
}

/// The line that ends an interval.
#[derive(Clone, Debug, Serialize)]
struct End<'a> {
    interval: u64,
    from: u64,
    to: u64,
    lost: u64,
    processes: Processes,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    jvm: &'a BTreeMap<u32, super::Columns>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    probes: &'a BTreeMap<String, probe::Figures>,
    own: Own,
}

#[derive(Clone, Debug, Serialize)]
struct Processes {
    count: u64,
    cpu_ns: u64,
    memory_bytes: u64,
    descriptors: u64,
    threads: u64,
    restarts: u64,
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

#[derive(Clone, Debug, Serialize)]
struct Own {
    cpu_ns: u64,
    memory_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_per_call: Option<f64>,
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
            jvm: &interval.jvms,
            probes,
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
