//! A line of a recording is its header, calls of one kind within an interval, or the end of an interval.
//!
//! What is read here is what [`crate::recorder::Writer`] writes, and nothing else: an unknown field, a call or an errno that there
//! is not, or a line of both kinds is a flaw, with its column.

use murphy_sys::{
    census::{self, Kind, Operation},
    syscalls::{Call, Errno},
};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    nearest,
    recorder::{self, Header, MURPHY, Row, VERSION},
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
    End(Box<recorder::End<'static>>),
}

/// What tells lines apart.
#[derive(Deserialize)]
struct Which {
    call: Option<IgnoredAny>,
    processes: Option<IgnoredAny>,
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

fn from_json<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, Flaw> {
    serde_json::from_slice(line).map_err(|error| Flaw::of_json(&error))
}

/// Reads the header.
pub fn header(line: &[u8]) -> Result<Header, Flaw> {
    let no_recording = |what: &str| {
        format!(
            "{what}; a recording is what `murphy amplify record -o FILE` writes: its first line begins with {{\"murphy\":\"{MURPHY}\""
        )
    };
    // What else the line may be is told before what it lacks.
    let said: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    match said.as_ref().and_then(|said| said.get("murphy")?.as_str()) {
        Some(MURPHY) => {}
        Some(other) => {
            let what = format!("this is {other:?} of Murphy's, expected {MURPHY:?}");
            return Err(Flaw::of(line, "murphy", no_recording(&what)));
        }
        None => return Err(Flaw::whole(no_recording("this is no recording"))),
    }
    let version = said.as_ref().and_then(|said| said.get("version")?.as_u64());
    if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
        let problem = format!(
            "this is version {version} of the format, and this Murphy reads version {VERSION}: read it by the Murphy that wrote it"
        );
        return Err(Flaw::of(line, "version", problem));
    }
    let header: Header = from_json(line)?;
    if header.interval_ns == 0 {
        return Err(Flaw::of(
            line,
            "interval_ns",
            "an interval of no length; expected 1 or more",
        ));
    }
    Ok(header)
}

/// Whether a line is whole, whatever it says: the beginning of one is not.
pub fn is_whole(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// Reads a line behind the header.
pub fn read(line: &[u8]) -> Result<Line, Flaw> {
    let which: Which = from_json(line)?;
    match (which.call, which.processes) {
        (Some(_), None) => row(line),
        (None, Some(_)) => end(line),
        (Some(_), Some(_)) => Err(Flaw::whole(
            "a line has the field `call` or the field `processes`, not both",
        )),
        (None, None) => Err(Flaw::whole(
            "expected the field `call`, or, at the end of an interval, the field `processes`",
        )),
    }
}

fn row(line: &[u8]) -> Result<Line, Flaw> {
    let calls: recorder::Calls<'_> = from_json(line)?;
    let call = calls.call.as_ref();
    let Some(known) = call_named(call) else {
        if is_number(call, "call_") {
            return Ok(Line::Unnamed(calls.interval, call.into(), calls.count));
        }
        let near = nearest::calls(call);
        let problem = format!("there is no call {call:?} on x86_64{near}");
        return Err(Flaw::of(line, "call", problem));
    };
    let operation = calls.operation.map(|name| name.parse::<Operation>());
    let operation = operation.transpose();
    let operation = operation.map_err(|error| Flaw::of(line, "operation", error.to_string()))?;
    let kind = calls.kind.map(|name| name.parse::<Kind>()).transpose();
    let kind = kind.map_err(|error| Flaw::of(line, "kind", error.to_string()))?;
    let errno = calls.errno.map(|name| {
        errno_named(&name).ok_or_else(|| {
            let near = nearest::errnos(&name);
            Flaw::of(line, "errno", format!("there is no errno {name:?}{near}"))
        })
    });
    let key = census::Key {
        call: known,
        operation,
        kind,
        nonblocking: calls.nonblocking,
        errno: errno.transpose()?,
    };
    let row = Row {
        key,
        calls: calls.count,
        took_ns: calls.took_ns.unwrap_or(0),
    };
    Ok(Line::Row(calls.interval, row))
}

fn end(line: &[u8]) -> Result<Line, Flaw> {
    let end: recorder::End<'static> = from_json(line)?;
    if end.to < end.from {
        let problem = "the interval ends before it begins: expected `to` to be `from` or later";
        return Err(Flaw::of(line, "to", problem));
    }
    Ok(Line::End(Box::new(end)))
}

/// A call by what recordings call it, but for those that this Murphy has no name for.
pub fn call_named(name: &str) -> Option<Call> {
    Call::named(name).or_else(|| (name == Call::FOREIGN.to_string()).then_some(Call::FOREIGN))
}

/// An errno by what recordings call it: what no manual has a name for is `errno_` and its number.
pub fn errno_named(name: &str) -> Option<Errno> {
    // Linux has no errno above.
    const LAST: u16 = 4095;
    let number = name
        .strip_prefix("errno_")
        .and_then(|digits| digits.parse().ok());
    let unnamed = || number.filter(|number| *number <= LAST).and_then(Errno::of);
    let restart = || {
        (512..=516)
            .filter_map(Errno::of)
            .find(|one| one.is_restart() && one.to_string() == name)
    };
    // One that has a name is written by it.
    let found = Errno::named(name).or_else(restart).or_else(unnamed);
    found.filter(|one| one.to_string() == name)
}

fn is_number(name: &str, prefix: &str) -> bool {
    let digits = name.strip_prefix(prefix);
    digits.is_some_and(|digits| digits.parse::<u16>().is_ok())
}
