//! A line of a recording is its header, calls of one kind within an interval, or the end of an interval.
//!
//! What is read here is what [`crate::recorder::Writer`] writes, and nothing else: an unknown field, a call or an errno that there
//! is not, or a line of both kinds is a flaw, with its column.

use std::collections::BTreeMap;

use jiff::Timestamp;
use murphy_run::probe;
use murphy_sys::{
    census::{self, Kind, Operation},
    syscalls::{Call, Errno},
};
use serde::Deserialize;

use crate::{
    nearest,
    recorder::{Columns, Figures, Header, Row, VERSION},
};

/// Why a line is none: where, in bytes from 1 on, and what was expected.
#[derive(Debug)]
pub struct Flaw {
    pub column: u64,
    pub problem: String,
}

/// What a line behind the header says.
#[derive(Debug)]
pub enum Line {
    /// Calls of one kind.
    Row(u64, Row),
    /// Calls that this Murphy has no name for.
    Unnamed(u64, String, u64),
    /// The interval is whole.
    End(u64, Box<End>),
}

/// What the last line of an interval says.
#[derive(Debug)]
pub struct End {
    pub from_ns: u64,
    pub to_ns: u64,
    pub lost: u64,
    pub processes: Processes,
    pub jvms: BTreeMap<u32, Columns>,
    pub probes: BTreeMap<String, probe::Figures>,
    pub own: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    murphy: String,
    version: u32,
    target: Vec<String>,
    kernel: String,
    started: Timestamp,
    interval_ns: u64,
    latency: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    interval: u64,
    call: Option<&'a str>,
    operation: Option<&'a str>,
    kind: Option<&'a str>,
    nonblocking: Option<bool>,
    errno: Option<&'a str>,
    count: Option<u64>,
    took_ns: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    lost: Option<u64>,
    processes: Option<Processes>,
    jvm: Option<BTreeMap<u32, Columns>>,
    probes: Option<BTreeMap<String, probe::Figures>>,
    own: Option<Own>,
}

/// What processes took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processes {
    count: u64,
    cpu_ns: u64,
    memory_bytes: u64,
    descriptors: u64,
    threads: u64,
    pub restarts: u64,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// How long Murphy was on a processor since the recording began, in nanoseconds.
    pub cpu_ns: u64,
    /// Murphy's resident memory.
    pub memory_bytes: u64,
    /// What a look at a call takes; none where that was not counted.
    pub ns_per_call: Option<f64>,
}

impl Flaw {
    /// Of a whole line.
    pub fn whole(problem: impl Into<String>) -> Self {
        Self {
            column: 1,
            problem: problem.into(),
        }
    }

    /// Of the value of a field.
    fn of(line: &[u8], field: &str, problem: impl Into<String>) -> Self {
        // Within a string a quote has a backslash before it: this is no part of one.
        let name = format!("\"{field}\":");
        let at = line
            .windows(name.len())
            .position(|bytes| bytes == name.as_bytes());
        Self {
            column: at.map_or(1, |at| (at + name.len()) as u64 + 1),
            problem: problem.into(),
        }
    }

    fn of_json(error: &serde_json::Error) -> Self {
        let said = error.to_string();
        // A line has one line, and the column stands before the text here.
        let problem = said
            .rsplit_once(" at line ")
            .map_or(said.as_str(), |(said, _)| said);
        Self {
            column: error.column().max(1) as u64,
            problem: problem.into(),
        }
    }
}

/// Reads the header.
pub fn header(line: &[u8]) -> Result<Header, Flaw> {
    let no_recording = |what: &str| {
        format!("{what}; a recording is what `murphy amplify record -o FILE` writes: its first line begins with {{\"murphy\":\"errors\"")
    };
    // What else the line may be is told before what it lacks.
    let said: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    match said.as_ref().and_then(|said| said.get("murphy")?.as_str()) {
        Some("errors") => {}
        Some(other) => {
            let what = format!("this is {other:?} of Murphy's, expected \"errors\"");
            return Err(Flaw::of(line, "murphy", no_recording(&what)));
        }
        None => return Err(Flaw::whole(no_recording("this is no recording"))),
    }
    let version = said
        .as_ref()
        .and_then(|said| said.get("version")?.as_u64());
    if let Some(version) = version.filter(|version| *version != VERSION.into()) {
        let problem = format!(
            "this is version {version} of the format, and this Murphy reads version {VERSION}: read it by the Murphy that wrote it"
        );
        return Err(Flaw::of(line, "version", problem));
    }
    let raw: RawHeader = serde_json::from_slice(line).map_err(|error| Flaw::of_json(&error))?;
    debug_assert!(raw.murphy == "errors" && raw.version == VERSION);
    if raw.interval_ns == 0 {
        return Err(Flaw::of(line, "interval_ns", "an interval of no length"));
    }
    Ok(Header::new(
        raw.target,
        raw.kernel,
        raw.started,
        raw.interval_ns,
        raw.latency,
    ))
}

/// Whether a line is whole, whatever it says: the beginning of one is not.
pub fn is_whole(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// Reads a line behind the header.
pub fn read(line: &[u8]) -> Result<Line, Flaw> {
    let raw: Raw<'_> = serde_json::from_slice(line).map_err(|error| Flaw::of_json(&error))?;
    match (raw.call, raw.processes) {
        (Some(call), None) => row(line, &raw, call),
        (None, Some(processes)) => end(line, raw, processes),
        (Some(_), Some(_)) => Err(Flaw::whole(
            "a line has the field `call` or the field `processes`, not both",
        )),
        (None, None) => Err(Flaw::whole(
            "expected the field `call`, or, at the end of an interval, the field `processes`",
        )),
    }
}

fn row(line: &[u8], raw: &Raw<'_>, call: &str) -> Result<Line, Flaw> {
    let of_end = [
        ("from", raw.from.is_some()),
        ("to", raw.to.is_some()),
        ("lost", raw.lost.is_some()),
        ("jvm", raw.jvm.is_some()),
        ("probes", raw.probes.is_some()),
        ("own", raw.own.is_some()),
    ];
    if let Some((field, _)) = of_end.iter().find(|(_, is)| *is) {
        let problem = format!("the field `{field}` belongs to the end of an interval");
        return Err(Flaw::of(line, field, problem));
    }
    let count = raw
        .count
        .ok_or_else(|| Flaw::whole("expected the field `count`"))?;
    let Some(known) = call_named(call) else {
        if is_number(call, "call_") {
            return Ok(Line::Unnamed(raw.interval, call.into(), count));
        }
        let near = nearest::calls(call);
        let problem = format!("there is no call {call:?} on x86_64{near}");
        return Err(Flaw::of(line, "call", problem));
    };
    let operation = raw.operation.map(str::parse::<Operation>).transpose();
    let operation =
        operation.map_err(|error| Flaw::of(line, "operation", error.to_string()))?;
    let kind = raw.kind.map(str::parse::<Kind>).transpose();
    let kind = kind.map_err(|error| Flaw::of(line, "kind", error.to_string()))?;
    let errno = raw.errno.map(|name| {
        errno_named(name).ok_or_else(|| {
            let near = nearest::errnos(name);
            Flaw::of(line, "errno", format!("there is no errno {name:?}{near}"))
        })
    });
    let key = census::Key {
        call: known,
        operation,
        kind,
        nonblocking: raw.nonblocking,
        errno: errno.transpose()?,
    };
    let row = Row {
        key,
        calls: count,
        took_ns: raw.took_ns.unwrap_or(0),
    };
    Ok(Line::Row(raw.interval, row))
}

fn end(line: &[u8], raw: Raw<'_>, processes: Processes) -> Result<Line, Flaw> {
    let of_row = [
        ("operation", raw.operation.is_some()),
        ("kind", raw.kind.is_some()),
        ("nonblocking", raw.nonblocking.is_some()),
        ("errno", raw.errno.is_some()),
        ("count", raw.count.is_some()),
        ("took_ns", raw.took_ns.is_some()),
    ];
    if let Some((field, _)) = of_row.iter().find(|(_, is)| *is) {
        let problem = format!("the field `{field}` belongs to calls");
        return Err(Flaw::of(line, field, problem));
    }
    let lacks = |field: &str| Flaw::whole(format!("expected the field `{field}`"));
    let end = End {
        from_ns: raw.from.ok_or_else(|| lacks("from"))?,
        to_ns: raw.to.ok_or_else(|| lacks("to"))?,
        lost: raw.lost.ok_or_else(|| lacks("lost"))?,
        processes,
        jvms: raw.jvm.unwrap_or_default(),
        probes: raw.probes.unwrap_or_default(),
        own: raw.own.unwrap_or_default(),
    };
    if end.to_ns < end.from_ns {
        return Err(Flaw::of(line, "to", "the interval ends before it begins"));
    }
    Ok(Line::End(raw.interval, Box::new(end)))
}

/// A call by what recordings call it, but for those that this Murphy has no name for.
pub fn call_named(name: &str) -> Option<Call> {
    Call::named(name).or_else(|| (name == Call::FOREIGN.to_string()).then_some(Call::FOREIGN))
}

/// An errno by what recordings call it: what no manual has a name for is `errno_` and its number.
pub fn errno_named(name: &str) -> Option<Errno> {
    const RESTARTS: std::ops::RangeInclusive<u16> = 512..=516;
    let restart = || RESTARTS.filter_map(Errno::of).find(|one| one.to_string() == name);
    let number = || {
        let digits = name.strip_prefix("errno_")?;
        let found = digits.parse().ok().and_then(Errno::of);
        // One that has a name is written by it.
        found.filter(|one| one.to_string() == name)
    };
    Errno::named(name).or_else(restart).or_else(number)
}

fn is_number(name: &str, prefix: &str) -> bool {
    let digits = name.strip_prefix(prefix);
    digits.is_some_and(|digits| digits.parse::<u16>().is_ok())
}
