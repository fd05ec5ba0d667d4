//! Reading takes what lines of Murphy say: of `murphy inject --json`, of the events of a run, of `murphy observe --json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead},
};

use murphy_fault::{
    conn,
    net::{
        self,
        scope::{Cidr, Peer},
        spec,
    },
    process,
};
use murphy_sys::process::BootId;
use serde::Deserialize;
use serde_json::Value;

use super::{
    alarm::Alarm,
    cause::Cause,
    injected::{Injected, Only, Seat},
    judge::Watch,
};
use crate::{
    edge::Edge,
    finding::{Finding, Kind},
};

/// The newest version of a run's events that is read.
const EVENTS_VERSION: u32 = 1;

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

/// What was told of one fault.
#[derive(Debug, Default)]
struct Told {
    last: FaultLine,
    planned_ns: Option<u64>,
    active_ns: Option<u64>,
    end_ns: Option<u64>,
    has_failed: bool,
    places: Vec<Seat>,
    asked: Value,
    for_ns: Option<u64>,
    peers: BTreeSet<Cidr>,
    remotes: BTreeSet<Cidr>,
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

/// The line of a fault, of `murphy inject` or of a run.
#[derive(Debug, Default, Deserialize)]
struct FaultLine {
    id: Option<String>,
    #[serde(default)]
    family: String,
    #[serde(default)]
    fault: String,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    effect: Value,
    boottime_ns: Option<u64>,
    time: Option<u64>,
    boot: Option<BootId>,
    #[serde(default)]
    asked: Value,
    #[serde(default)]
    places: Vec<Seat>,
    for_ns: Option<u64>,
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
            let read = lines.read_until(b'\n', &mut bytes);
            let length = read.map_err(|source| ReadError::Io {
                name: name.to_owned(),
                source,
            })?;
            let is_whole = bytes.last() == Some(&b'\n');
            if length == 0 || (is_being_written && !is_whole) {
                break;
            }
            file.line += 1;
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
        findings.iter().for_each(|one| self.find(one.clone()));
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
            // Of a run, what became of it and of its nodes.
            (_, Some("run" | "node" | "verdict")) => Ok(()),
            ("planned" | "active" | "effect" | "recovered" | "failed", None | Some("fault")) => {
                self.take_fault(file, event, text)
            }
            ("found" | "over", _) => {
                self.find(file.parse(text)?);
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
                seen.findings.into_iter().for_each(|one| self.find(one));
                Ok(())
            }
            ("score" | "alerts", None) => Ok(()),
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

    fn find(&mut self, finding: Finding) {
        let key = (finding.edge.clone(), finding.claim.kind, finding.found_ns);
        // What is said later is what it came to.
        self.findings.insert(key, finding);
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
        let told = self.faults.entry(id).or_default();
        match event {
            "planned" => told.planned_ns = Some(at_ns),
            "active" => told.active_ns = told.active_ns.or(Some(at_ns)),
            "recovered" => told.end_ns = Some(at_ns),
            "failed" => {
                told.end_ns = Some(at_ns);
                // What has acted and left something behind has had its effect.
                let left = line.effect["left"].as_array();
                told.has_failed = left.is_none_or(Vec::is_empty);
            }
            _ => {}
        }
        let networks = |texts: Vec<&str>| -> Vec<Cidr> {
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        };
        let peers = line.effect["peers"].as_array().into_iter().flatten();
        told.peers
            .extend(networks(peers.filter_map(Value::as_str).collect()));
        let cuts = line.effect["connections"].as_array().into_iter().flatten();
        let remotes = cuts.filter_map(|cut| cut["remote"].as_str());
        let remotes = remotes.filter_map(|text| text.parse::<std::net::SocketAddr>().ok());
        told.remotes
            .extend(remotes.map(|remote| Cidr::of(remote.ip())));
        if !line.asked.is_null() {
            told.asked = line.asked.clone();
        }
        if !line.places.is_empty() {
            told.places.clone_from(&line.places);
        }
        told.for_ns = told.for_ns.or(line.for_ns);
        told.last = line;
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

impl Told {
    fn injected(&self, id: &str) -> Injected {
        let begin_ns = self
            .active_ns
            .or(self.planned_ns)
            .or(self.end_ns)
            .unwrap_or(0);
        let named = self.last.targets.iter().map(|name| Seat::named(name));
        let mut injected = Injected {
            id: id.to_owned(),
            fault: format!("{} {}", self.last.family, self.last.fault),
            targets: if self.places.is_empty() {
                named.collect()
            } else {
                self.places.clone()
            },
            begin_ns,
            end_ns: self
                .end_ns
                .or(self.for_ns.map(|lasts| begin_ns.saturating_add(lasts))),
            void: self.has_failed.then(|| "it had no effect".into()),
            ..Injected::default()
        };
        self.fill(&mut injected);
        injected
    }

    /// What was done, and to what.
    fn fill(&self, injected: &mut Injected) {
        let (spec, scope) = (&self.asked["spec"], &self.asked["scope"]);
        match self.last.family.as_str() {
            "net" => {
                if let (Ok(spec), Ok(scope)) =
                    (net::Spec::deserialize(spec), net::Scope::deserialize(scope))
                {
                    self.fill_net(injected, &spec, &scope);
                    return;
                }
            }
            "conn" => {
                if let (Ok(spec), Ok(scope)) = (
                    conn::Spec::deserialize(spec),
                    conn::Scope::deserialize(scope),
                ) {
                    injected.causes = Cause::of_conn(&spec);
                    injected.only = Only {
                        peers: self.peers_of(&scope.peers, &self.remotes),
                        ports: scope.ports,
                        local_ports: scope.local_ports,
                        remote_ports: scope.remote_ports,
                        side: scope.side,
                    };
                    return;
                }
            }
            "process" => {
                if let Ok(spec) = process::Spec::deserialize(spec) {
                    injected.causes = vec![Cause::of_process(&spec)];
                    return;
                }
            }
            _ => {}
        }
        match Cause::of_words(&self.last.family, &self.last.fault) {
            Some(cause) => injected.causes = vec![cause],
            None => {
                injected.causes = vec![Cause::Other];
                let why = "its events do not say what was asked: they are of an older Murphy";
                injected.void = Some(why.into());
            }
        }
    }

    fn fill_net(&self, injected: &mut Injected, spec: &net::Spec, scope: &net::Scope) {
        injected.causes = Cause::of_net(spec, scope);
        let has_way = injected.causes.iter().all(|cause| cause.has_way());
        injected.direction = has_way.then_some(spec.direction);
        let is_even = match spec.loss {
            Some(spec::Loss::Random(chance)) => chance.correlation.is_zero(),
            Some(spec::Loss::Every(_)) => true,
            // What is lost in bursts is told by fewer draws than packets.
            Some(spec::Loss::GilbertElliott(_)) | None => false,
        };
        let is_alone = injected.causes == [Cause::Loss] && spec.direction != spec::Direction::Both;
        let ratio = spec.loss.filter(|_| is_even && is_alone);
        injected.share = ratio.map(spec::Loss::ratio);
        injected.only = Only {
            peers: self.peers_of(&scope.peers, &self.peers),
            ports: scope.ports.clone(),
            local_ports: scope.local_ports.clone(),
            remote_ports: scope.remote_ports.clone(),
            side: None,
        };
    }

    /// The networks of peers; those that were named otherwise have the addresses that were seen.
    fn peers_of(&self, peers: &[Peer], seen: &BTreeSet<Cidr>) -> Option<Vec<Cidr>> {
        if peers.is_empty() {
            return None;
        }
        let mut networks = Vec::new();
        for peer in peers {
            match peer {
                Peer::Network(network) => networks.push(*network),
                Peer::Target(_) | Peer::Host(_) if seen.is_empty() => return None,
                Peer::Target(_) | Peer::Host(_) => networks.extend(seen),
            }
        }
        Some(networks)
    }
}
