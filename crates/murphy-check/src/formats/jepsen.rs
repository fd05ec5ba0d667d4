//! A Jepsen operation is one event as Jepsen, Knossos and Elle write it, in whatever notation; this module gives it
//! its place in a recording.
//!
//! What differs from Murphy's own events:
//! - fields that are not known are Jepsen's own affair (`:exception`, `:clock-offsets`, …) and are passed over;
//! - `:f` may be missing, as in Elle's examples, where the value is a transaction;
//! - the order of events is the order in the file. A time is taken by the worker before its operation gets a place
//!   there, so that times step back a little in real histories; up to [`STEP_BACK`] such a time is taken for the one
//!   before, which makes two events simultaneous and accuses nobody;
//! - index -1 and time -1 mean that there is none;
//! - the nemesis says `:start` and `:stop` (or `:kill` and `:start`, `:pause` and `:resume`), each when it begins to
//!   act and again when it has acted.

use std::collections::{HashMap, HashSet};

use super::{guess::Guess, sink::Sink};
use crate::{
    history::{Header, Kind, NEMESIS},
    recording::Entry,
    value::Value,
};

/// How far back a time may step, in ns.
pub(super) const STEP_BACK: u64 = 1_000_000_000;

/// The fields of an operation.
#[derive(Debug, Default)]
pub(super) struct Op {
    pub index: Option<u64>,
    pub kind: Option<Kind>,
    pub process: Option<String>,
    pub f: Option<String>,
    pub key: Option<Value>,
    pub value: Value,
    pub time: Option<u64>,
    pub node: Option<String>,
    pub error: Option<String>,
    /// The name of the client, where processes had to become numbers.
    client: Option<String>,
}

/// Whether an operation may have a field of this name; others are another tool's own.
pub(super) fn is_known(name: &str) -> bool {
    matches!(
        name,
        "index" | "type" | "process" | "f" | "key" | "value" | "time" | "node" | "error" | "client"
    )
}

impl Op {
    /// Takes a field for which [`is_known`] holds.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), Box<str>> {
        match name {
            "index" => self.index = natural(&value, "an index")?,
            "time" => self.time = natural(&value, "a time in whole ns")?,
            "type" => {
                self.kind = Some(match value.as_text() {
                    Some("invoke") => Kind::Invoke,
                    Some("ok") => Kind::Ok,
                    Some("fail") => Kind::Fail,
                    Some("info") => Kind::Info,
                    _ => return Err("expected the type invoke, ok, fail or info".into()),
                });
            }
            "process" => match value {
                Value::Int(_) | Value::Text(_) => self.process = said(&value),
                _ => return Err("expected a process: a name or a whole number".into()),
            },
            "f" => match value {
                Value::Text(f) => self.f = Some(f.into()),
                // Elle's own printing of an operation without one.
                Value::Nil => {}
                _ => return Err("expected what is asked for, such as `read`".into()),
            },
            "key" => self.key = Some(value),
            "value" => self.value = value,
            "node" => self.node = said(&value),
            "error" => self.error = said(&value),
            "client" => self.client = said(&value),
            _ => {}
        }
        Ok(())
    }
}

fn natural(value: &Value, what: &str) -> Result<Option<u64>, Box<str>> {
    match value {
        Value::Nil | Value::Int(-1) => Ok(None),
        Value::Int(number) => u64::try_from(*number)
            .map(Some)
            .map_err(|_| format!("expected {what}").into()),
        _ => Err(format!("expected {what}").into()),
    }
}

/// The text itself, and any other value as people read it.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::Nil => None,
        Value::Text(text) => Some(text.to_string()),
        other => Some(other.to_string()),
    }
}

/// Takes operations one after the other.
pub(super) struct Intake<'a, S> {
    pub sink: &'a mut S,
    /// What the operations say of the model, where nobody else does.
    guess: Option<Guess>,
    nemesis: Nemesis,
    /// Every operation has a key of its own beside its value.
    is_keyed: bool,
    moment: u64,
    /// Processes without a number that have asked for something. Others only say something.
    clients: HashSet<String>,
}

impl<'a, S: Sink> Intake<'a, S> {
    /// `model` where it is known.
    pub fn new(model: Option<&str>, is_keyed: bool, sink: &'a mut S) -> Result<Self, Box<str>> {
        sink.begin(&Header::new(model.unwrap_or_default()))?;
        Ok(Self {
            sink,
            guess: model.is_none().then(Guess::default),
            nemesis: Nemesis::default(),
            is_keyed,
            moment: 0,
            clients: HashSet::new(),
        })
    }

    /// Takes the operation of a line.
    pub fn take(&mut self, line: u64, op: Op) -> Result<(), Box<str>> {
        self.try_take(line, op)
            .or_else(|problem| self.sink.leave_out(line, problem))
    }

    fn try_take(&mut self, line: u64, op: Op) -> Result<(), Box<str>> {
        let kind = op.kind.ok_or("expected the field `type`")?;
        let process = match (op.client, op.process) {
            (Some(client), _) => client,
            (None, Some(process)) => process,
            (None, None) => return Err("expected the field `process`".into()),
        };
        let f = match op.f {
            Some(f) => f,
            None if is_transaction(&op.value) => "txn".into(),
            None => return Err("expected the field `f`".into()),
        };
        let time = op.time.map(|time| self.time(time));
        let is_nemesis = process == NEMESIS || self.is_note(&process, kind);
        let mut entry = Entry {
            line,
            index: op.index,
            kind,
            process: process.into(),
            f: f.into(),
            value: op.value,
            time,
            node: op.node.map(Into::into),
            error: op.error.map(Into::into),
        };
        if is_nemesis {
            entry.process = NEMESIS.into();
            entry.value = self.nemesis.phase(&entry.f, entry.value);
            return self.sink.take(entry);
        }
        match op.key {
            Some(key) => entry.value = Value::list([key, entry.value]),
            None if self.is_keyed => return Err("expected the field `key`".into()),
            None => {}
        }
        if let Some(guess) = &mut self.guess {
            guess.see(line, &entry.f, &entry.value)?;
        }
        self.sink.take(entry)
    }

    /// A time that steps back a little is the one before.
    fn time(&mut self, time: u64) -> u64 {
        if time < self.moment && self.moment - time <= STEP_BACK {
            return self.moment;
        }
        self.moment = time;
        time
    }

    /// Whether a process without a number has never asked for anything, and only says something now.
    fn is_note(&mut self, process: &str, kind: Kind) -> bool {
        if process.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
        if kind == Kind::Invoke && !self.clients.contains(process) {
            self.clients.insert(process.to_owned());
        }
        kind == Kind::Info && !self.clients.contains(process)
    }

    /// The model that was guessed, where nobody told it.
    pub fn guessed(&self) -> Result<Option<&'static str>, Box<str>> {
        self.guess.as_ref().map(Guess::model).transpose()
    }
}

/// A list of lists that begin with a word, such as `[[:append 1 2] [:r 1 nil]]`.
fn is_transaction(value: &Value) -> bool {
    let is_step = |step: &Value| {
        step.as_list()
            .and_then(<[Value]>::first)
            .is_some_and(|word| word.as_text().is_some())
    };
    value
        .as_list()
        .is_some_and(|steps| steps.iter().all(is_step))
}

/// What the nemesis has begun and not yet ended.
#[derive(Debug, Default)]
struct Nemesis {
    open: HashMap<String, bool>,
}

impl Nemesis {
    /// The value of an event of the nemesis, with its phase where its word tells it.
    fn phase(&mut self, f: &str, value: Value) -> Value {
        if value.field("phase").is_some() {
            return value;
        }
        let (fault, begins) = match f {
            "start" if self.is_open("kill") => ("kill", false),
            "start" => ("", true),
            "stop" => ("", false),
            "kill" | "pause" => (f, true),
            "resume" => ("pause", false),
            _ => match (f.strip_prefix("start-"), f.strip_prefix("stop-")) {
                (Some(fault), _) => (fault, true),
                (_, Some(fault)) => (fault, false),
                _ => return value,
            },
        };
        if self.is_open(fault) == begins {
            return value;
        }
        self.open.insert(fault.to_owned(), begins);
        let phase = if begins { "begin" } else { "end" };
        Value::Map(
            [
                (Value::text("phase"), Value::text(phase)),
                (Value::text("id"), Value::text(fault)),
            ]
            .into(),
        )
    }

    fn is_open(&self, fault: &str) -> bool {
        self.open.get(fault).copied().unwrap_or_default()
    }
}
