//! An event is one thing that happened during a run, at one time: to the run, to a node, by a fault, or a
//! verdict.
//!
//! `events.jsonl` begins with a [`Header`]; every other line is `{"time", "kind", "event", …}`. The file is
//! written line by line as things happen, so that a run that is killed still says what it did.
//! docs/events.md is the format in full.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use murphy_check::verdict::Verdict;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{self, Clock};

/// Version of the format this crate writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// The first line of an event file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always `events`.
    pub murphy: String,
    /// Version of the format.
    pub version: u32,
    /// Wall-clock time of time 0, RFC 3339.
    pub started: String,
    /// Boottime of time 0.
    pub boottime_ns: u64,
    /// The boot of the machine that this is of, by the kernel's random id; unknown in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

/// One line of an event file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of boottime since the start of the run.
    pub time: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The run itself.
    Run(RunEvent),
    /// A member of the system.
    Node {
        /// What became of it.
        event: NodeState,
        /// The member.
        node: String,
    },
    /// A fault.
    Fault(FaultEvent),
    /// Something that was found while somebody observed.
    Finding(FindingEvent),
    /// A judgement made while the run went on.
    Verdict(VerdictEvent),
}

/// The steps of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The system is healthy and the load begins.
    Started,
    /// A round begins.
    Round {
        /// Counted from 1.
        round: u32,
    },
    /// The load of a round has stopped and its fault has ended.
    Quiet {
        /// Counted from 1.
        round: u32,
    },
    /// The members were compared with each other.
    Compared {
        /// Counted from 1.
        round: u32,
        /// What they said, such as `n0 rev 4018, n1 rev 4018, n2 rev 4017`.
        text: String,
    },
    /// Somebody asked the run to end early.
    Interrupted,
    /// The load and the faults are over for good.
    Ended,
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Its process runs for the first time.
    Starting,
    /// It answers.
    Healthy,
    /// Its process is gone without having been asked.
    Down,
    /// It leads from now on; another node no longer does.
    Leader,
    /// Its process runs again.
    Restarted,
    /// Its process ended because it was asked to.
    Stopped,
}

/// The life of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultState {
    /// Written to the journal; nothing has changed.
    Planned,
    /// In force from now on.
    Active,
    /// What it has done so far.
    Effect,
    /// Over and undone.
    Recovered,
    /// Could not be injected or undone.
    Failed,
}

/// One step in the life of a fault. The fields are those of a fault's line under `--json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// The step.
    pub event: FaultState,
    /// Id of the injection, the same on all of its lines.
    pub id: String,
    /// The family, such as `process`.
    pub family: String,
    /// The fault, such as `kill`.
    pub fault: String,
    /// Who is hit; nodes by name.
    pub targets: Vec<String>,
    /// The engine that makes it happen.
    pub engine: String,
    /// The effect as the family measured it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub effect: Value,
    /// The effect, or the error of a failed one, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It is claimed for the first time.
    Found,
    /// It is claimed no longer.
    Over,
}

/// Something that was found. The fields are those of a finding's line under `murphy observe --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingEvent {
    /// What becomes of it.
    pub event: FindingState,
    /// What is wrong, such as `loss`.
    pub finding: String,
    /// Between whom.
    pub edge: Value,
    /// Which way: `to`, `from`, `both` or `unknown`.
    pub direction: String,
    /// How much.
    pub size: Value,
    /// Since when, in nanoseconds since the start of the run; 0 where it was so before.
    pub since: u64,
    /// Until when it was claimed, the same way, of one that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// By what it is known.
    pub evidence: Vec<String>,
    /// Whether events of the kernel were lost meanwhile that could say otherwise.
    pub undecided: bool,
    /// All of it in words.
    pub text: String,
}

/// A judgement made while the run went on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictEvent {
    /// Always `verdict`.
    pub event: String,
    /// The promise.
    pub promise: String,
    /// The verdict on it.
    pub verdict: Verdict,
    /// Why, as a fragment.
    pub reason: String,
}

/// What stops an event file from being written or read.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The file system refuses.
    #[error("{verb} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: `create`, `write` or `read`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is not what the format says.
    #[error("read {path}:{line}:{column}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column in bytes, from 1.
        column: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Takes down events as they happen. Shared by reference between threads and tasks.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    clock: Clock,
    file: Mutex<File>,
}

impl EventLog {
    /// Begins a new file at `path`; a file that exists already is an error.
    pub fn create(path: &Path, clock: &Clock) -> Result<Self, EventsError> {
        let file = File::create_new(path).map_err(|source| EventsError::Io {
            verb: "create",
            path: path.into(),
            source,
        })?;
        let log = Self {
            path: path.into(),
            clock: *clock,
            file: Mutex::new(file),
        };
        log.write_line(&Header {
            murphy: "events".into(),
            version: VERSION,
            started: clock.started_rfc3339(),
            boottime_ns: clock.zero_boottime_ns(),
            boot: clock::boot(),
        })?;
        Ok(log)
    }

    /// Takes down what happens now, and returns the time it was given.
    pub fn write(&self, what: What) -> Result<u64, EventsError> {
        let time = self.clock.now_ns();
        self.write_at(time, what)?;
        Ok(time)
    }

    /// Takes down what happened at `time`, nanoseconds since the start of the run.
    pub fn write_at(&self, time: u64, what: What) -> Result<(), EventsError> {
        self.write_line(&Event { time, what })
    }

    /// A step of the run, now.
    pub fn run(&self, event: RunEvent) -> Result<u64, EventsError> {
        self.write(What::Run(event))
    }

    /// A change of a node, now.
    pub fn node(&self, node: &str, event: NodeState) -> Result<u64, EventsError> {
        let node = node.into();
        self.write(What::Node { event, node })
    }

    /// A step in the life of a fault, now.
    pub fn fault(&self, event: FaultEvent) -> Result<u64, EventsError> {
        self.write(What::Fault(event))
    }

    /// Something that was found, or is over, now.
    pub fn finding(&self, event: FindingEvent) -> Result<u64, EventsError> {
        self.write(What::Finding(event))
    }

    /// A judgement on `promise`, now.
    pub fn verdict(
        &self,
        promise: &str,
        verdict: Verdict,
        reason: &str,
    ) -> Result<u64, EventsError> {
        self.write(What::Verdict(VerdictEvent {
            event: "verdict".into(),
            promise: promise.into(),
            verdict,
            reason: reason.into(),
        }))
    }

    /// One write for each line: a line is in the file as a whole, or not at all when the disk is full.
    fn write_line(&self, value: &impl Serialize) -> Result<(), EventsError> {
        let failed = |source| EventsError::Io {
            verb: "write",
            path: self.path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        // A panic elsewhere leaves the file usable: each line is written at once.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).map_err(failed)
    }
}

/// Everything an event file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Events {
    /// The first line.
    pub header: Header,
    /// The other lines, each with its number in the file, in order of time.
    pub lines: Vec<(u64, Event)>,
}

/// Reads the event file at `path`.
pub fn read(path: &Path) -> Result<Events, EventsError> {
    let failed = |source| EventsError::Io {
        verb: "read",
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut lines = (1..).zip(BufReader::new(file).lines());
    let first = match lines.next() {
        Some((_, line)) => line.map_err(failed)?,
        None => String::new(),
    };
    let header: Header = parse(path, 1, &first)?;
    if header.murphy != "events" || header.version > VERSION {
        return Err(EventsError::Line {
            path: path.into(),
            line: 1,
            column: 1,
            reason: format!(
                "expected the header of events, version 1 to {VERSION}, found {} version {}",
                header.murphy, header.version
            ),
        });
    }
    let mut events = Vec::new();
    for (number, line) in lines {
        let line = line.map_err(failed)?;
        events.push((number, parse(path, number, &line)?));
    }
    events.sort_by_key(|(_, event): &(u64, Event)| event.time);
    Ok(Events {
        header,
        lines: events,
    })
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, line: u64, text: &'a str) -> Result<T, EventsError> {
    serde_json::from_str(text).map_err(|error| EventsError::Line {
        path: path.into(),
        line,
        column: error.column().max(1),
        reason: reason_of(&error),
    })
}

/// The message of a JSON error without its position, which counts from the line that was handed over.
pub(crate) fn reason_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
