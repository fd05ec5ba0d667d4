//! Reading takes what lines of Murphy say: of `murphy inject --json`, of the events of a run, of `murphy observe --json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, Read},
};

use murphy_sys::process::BootId;
use serde::Deserialize;

use super::{
    alarm::Alarm,
    injected::{Injected, Seat},
    judge::Watch,
    told::{FaultLine, Told},
};
use crate::{
    edge::Edge,
    finding::{Finding, Kind},
};

/// The newest version of a run's events that is read.
const EVENTS_VERSION: u32 = 1;
/// No longer line is read: a snapshot of a thousand edges has about one megabyte.
const LINE_MAX: u64 = 64 << 20;

/// Why events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Somebody refuses.
    #[error("read events {name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A line is no event.
    #[error("read events {name}:{line}:{column}: {reason}")]
    Line {
        /// The file.
        name: String,
        /// The line, from 1.
        line: u64,
        /// The column in bytes, from 1.
        column: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What lines have said until now.
#[derive(Debug, Default)]
pub struct Log {
    faults: BTreeMap<String, Told>,
    findings: BTreeMap<(Edge, Kind, u64), Finding>,
    watch: Watch,
    boot: Option<BootId>,
    /// No line is of a later time, where it is of this boot.
    now_ns: Option<u64>,
    /// The files that do not say of which boot they are.
    nameless: BTreeSet<String>,
}

/// By what a line is told from others.
#[derive(Deserialize)]
struct Tag {
    murphy: Option<String>,
    event: Option<String>,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    version: u32,
    boottime_ns: u64,
    boot: Option<BootId>,
}

#[derive(Deserialize)]
struct Observing {
    boottime_ns: Option<u64>,
    boot: Option<BootId>,
    #[serde(default)]
    places: Vec<Seat>,
}

#[derive(Deserialize)]
struct Seen {
    #[serde(default)]
    findings: Vec<Finding>,
    snapshot: Snapshot,
}

#[derive(Deserialize)]
struct Snapshot {
    at_ns: u64,
    edges: Vec<Edge>,
}

/// One file while it is read.
struct File<'a> {
    name: &'a str,
    line: u64,
    /// Boottime of time 0, of the events of a run.
    zero_ns: Option<u64>,
    is_nameless: bool,
    /// When whoever observes has begun, while he does.
    since_ns: Option<u64>,
}

impl File<'_> {
    fn wrong(&self, column: usize, reason: impl Into<String>) -> ReadError {
        ReadError::Line {
            name: self.name.to_owned(),
            line: self.line,
            column: column.max(1),
            reason: reason.into(),
        }
    }

    fn parse<'de, T: Deserialize<'de>>(&self, text: &'de str) -> Result<T, ReadError> {
        serde_json::from_str(text).map_err(|error| {
            let said = error.to_string();
            let end = said.rfind(" at line ").unwrap_or(said.len());
            self.wrong(error.column(), &said[..end])
        })
    }
}

impl Log {
    /// One of this machine now: what is of another boot, or of a later time, is refused.
    pub fn of_now(now_ns: u64) -> Self {
        Self {
            boot: Some(BootId::current()),
            now_ns: Some(now_ns),
            ..Self::default()
        }
    }

    /// Takes in the lines of a file. While it is being written its last line may be there in part; it is left out.
    pub fn take(
        &mut self,
        name: &str,
        mut lines: impl BufRead,
        is_being_written: bool,
    ) -> Result<(), ReadError> {
        let mut file = File {
            name,
            line: 0,
            zero_ns: None,
            is_nameless: true,
            since_ns: None,
        };
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes);
            let length = read.map_err(|source| ReadError::Io {
                name: name.to_owned(),
                source,
            })?;
            let is_whole = bytes.last() == Some(&b'\n');
            if length == 0 || (is_being_written && !is_whole) {
                break;
            }
            file.line += 1;
            if !is_whole && length as u64 == LINE_MAX {
                return Err(file.wrong(1, "a line of more than 64 MiB"));
            }
            let text = std::str::from_utf8(&bytes)
                .map_err(|error| file.wrong(error.valid_up_to() + 1, "bytes that are no UTF-8"))?;
            if !text.trim().is_empty() {
                self.take_line(&mut file, text.trim_end())?;
            }
        }
        if file.is_nameless && file.line > 0 {
            self.nameless.insert(name.to_owned());
        }
        Ok(())
    }

    /// Takes in who has watched, and what he has found: in the place of lines.
    pub fn watched(
        &mut self,
        seats: &[Seat],
        span: (u64, u64),
        edges: BTreeSet<Edge>,
        findings: &[Finding],
    ) {
        self.watch.seats.extend_from_slice(seats);
        self.watch.spans.push(span);
        self.watch.edges.extend(edges);
        self.find_all(findings.iter().cloned());
    }

    fn take_line(&mut self, file: &mut File<'_>, text: &str) -> Result<(), ReadError> {
        let tag: Tag = file.parse(text)?;
        if let Some(murphy) = &tag.murphy {
            let header: Header = file.parse(text)?;
            if murphy != "events" || header.version > EVENTS_VERSION {
                let reason = format!(
                    "expected events of version {EVENTS_VERSION} at most, found {murphy} of version {}",
                    header.version
                );
                return Err(file.wrong(1, reason));
            }
            file.zero_ns = Some(header.boottime_ns);
            return self.of_boot(file, header.boot, Some(header.boottime_ns));
        }
        let event = tag.event.as_deref().unwrap_or_default();
        match (event, tag.kind.as_deref()) {
            ("planned" | "active" | "effect" | "recovered" | "failed", None | Some("fault")) => {
                self.take_fault(file, event, text)
            }
            ("found" | "over", _) => {
                let finding = file.parse(text)?;
                self.find_all([finding]);
                Ok(())
            }
            ("observing", None) => {
                let observing: Observing = file.parse(text)?;
                self.watch.seats.extend(observing.places);
                file.since_ns = observing.boottime_ns;
                self.of_boot(file, observing.boot, observing.boottime_ns)
            }
            ("snapshot" | "ended", None) => {
                let seen: Seen = file.parse(text)?;
                let at_ns = seen.snapshot.at_ns;
                let since_ns = *file.since_ns.get_or_insert(at_ns);
                match self.watch.spans.iter_mut().find(|span| span.0 == since_ns) {
                    Some(span) => span.1 = span.1.max(at_ns),
                    None => self.watch.spans.push((since_ns, at_ns)),
                }
                self.watch.edges.extend(seen.snapshot.edges);
                self.find_all(seen.findings);
                Ok(())
            }
            // What was scored before; where metrics were; what became of a run and of its nodes.
            ("score" | "serving", None) => Ok(()),
            (event, Some("run" | "node" | "verdict")) if !event.is_empty() => Ok(()),
            _ => Err(file.wrong(
                1,
                "no event of Murphy's: expected a line of `murphy inject --json`, of a run's events, or of `murphy observe --json`",
            )),
        }
    }

    /// Whoever says of which boot he is is of the same as everybody else.
    fn of_boot(
        &mut self,
        file: &mut File<'_>,
        boot: Option<BootId>,
        at_ns: Option<u64>,
    ) -> Result<(), ReadError> {
        file.is_nameless &= boot.is_none();
        if self
            .boot
            .zip(boot)
            .is_some_and(|(known, boot)| known != boot)
        {
            return Err(file.wrong(
                1,
                "of another boot of the machine, or of another machine: its times cannot be compared with the others",
            ));
        }
        self.boot = self.boot.or(boot);
        if self.now_ns.zip(at_ns).is_some_and(|(now, at)| at > now) {
            return Err(file.wrong(
                1,
                "of a time that is yet to come: it is of another boot of the machine",
            ));
        }
        Ok(())
    }

    /// What is said later of a finding is what it came to.
    fn find_all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        let keyed = findings.into_iter().map(|finding| {
            let key = (finding.edge.clone(), finding.claim.kind, finding.found_ns);
            (key, finding)
        });
        self.findings.extend(keyed);
    }

    fn take_fault(
        &mut self,
        file: &mut File<'_>,
        event: &str,
        text: &str,
    ) -> Result<(), ReadError> {
        let line: FaultLine = file.parse(text)?;
        let Some(id) = line.id.clone() else {
            // Why a command has ended, which is no fault.
            return Ok(());
        };
        let run_ns = file.zero_ns.zip(line.time).map(|(zero, time)| zero + time);
        let Some(at_ns) = line.boottime_ns.or(run_ns) else {
            let reason = "a fault without its time (boottime_ns, or time after the header of a run): it was written by an older Murphy";
            return Err(file.wrong(1, reason));
        };
        if line.boot.is_some() || file.zero_ns.is_none() {
            self.of_boot(file, line.boot, Some(at_ns))?;
        }
        self.faults.entry(id).or_default().take(event, at_ns, line);
        Ok(())
    }

    /// Which files do not say of which boot they are: they are taken to be of the same as the others.
    pub fn nameless(&self) -> impl Iterator<Item = &str> {
        self.nameless.iter().map(String::as_str)
    }

    /// Whether anybody has watched.
    pub fn is_watched(&self) -> bool {
        !self.watch.spans.is_empty()
    }

    /// Of which boot the lines are; none where no line says.
    pub fn boot(&self) -> Option<BootId> {
        self.boot
    }

    /// When and where somebody watched.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What was injected.
    pub fn faults(&self) -> Vec<Injected> {
        let all = self.faults.iter();
        all.map(|(id, told)| told.injected(id)).collect()
    }

    /// What was found.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.findings.values().cloned().map(Alarm::of).collect()
    }
}
