//! The folder of an observation: what happened, as it happens; how everything was in the end; and a report of it.

use std::path::Path;

use murphy_observe::{Finding, Kind, News, Observer, ServiceMap, Snapshot, map::svg};
use murphy_run::{
    Clock, EventLog, Folder,
    events::{EventsError, FaultEvent, FaultState, FindingEvent, FindingState, RunEvent},
    folder::FolderError,
    report::observed::{self, Found, Observed, Row},
};
use serde_json::{Value, json};

use super::{
    injected::{InForce, Injected},
    lines,
};
use crate::exit::Failure;

/// Version of `snapshot.json`.
const VERSION: u32 = 1;

/// Why nothing can be written down.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What happens.
    #[error(transparent)]
    Events(#[from] EventsError),
}

/// Where an observation is written down.
#[derive(Debug)]
pub struct Out {
    folder: Folder,
    clock: Clock,
    log: EventLog,
    targets: Vec<String>,
}

impl From<OutError> for Failure {
    fn from(error: OutError) -> Self {
        match error {
            OutError::Folder(FolderError::NotEmpty(_) | FolderError::NotAFolder(_)) => {
                Self::input(error)
            }
            _ => Self::machine(error),
        }
    }
}

impl Out {
    /// Begins in a folder that is new or empty.
    pub fn begin(path: &Path, targets: &[String]) -> Result<Self, OutError> {
        let folder = Folder::create_observed(path)?;
        let clock = Clock::start();
        let log = EventLog::create(&folder.events_path(), &clock)?;
        log.run(RunEvent::Started)?;
        Ok(Self {
            folder,
            clock,
            log,
            targets: targets.to_vec(),
        })
    }

    /// Where.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A time since boot as one since the start.
    fn since(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.clock.zero_boottime_ns())
    }

    /// Takes down what is new.
    pub fn say(&self, news: &News) -> Result<(), OutError> {
        let (event, finding) = match news {
            News::Found(finding) => (FindingState::Found, finding),
            News::Over(finding) => (FindingState::Over, finding),
        };
        let claim = &finding.claim;
        self.log.finding(FindingEvent {
            event,
            finding: word(&claim.kind),
            edge: json!(finding.edge),
            direction: word(&claim.direction),
            size: json!(claim.size),
            since: self.since(claim.since_ns),
            until: finding.is_over.then(|| self.since(finding.last_ns)),
            evidence: claim.evidence.clone(),
            undecided: finding.is_undecided,
            text: format!("{}: {}, {}", finding.edge, claim.kind.name(), how(finding)),
        })?;
        Ok(())
    }

    /// Takes down what somebody has injected meanwhile, and what of that is over.
    pub fn meant(&self, changed: &[InForce]) -> Result<(), OutError> {
        for fault in changed {
            let (event, at_ns) = match fault.until_ns {
                None => (FaultState::Active, fault.from_ns),
                Some(until_ns) => (FaultState::Recovered, until_ns),
            };
            let what = murphy_run::events::What::Fault(FaultEvent {
                event,
                id: fault.id.clone(),
                family: fault.family.clone(),
                fault: fault.fault.clone(),
                targets: fault.targets.clone(),
                engine: String::new(),
                effect: Value::Null,
                text: Some("as the journal of this machine has it".into()),
            });
            self.log.write_at(self.since(at_ns), what)?;
        }
        Ok(())
    }

    /// Writes down how everything was in the end, and draws the report.
    pub fn end(&self, observer: &Observer, injected: &Injected) -> Result<(), OutError> {
        let duration_ns = self.log.run(RunEvent::Ended)?;
        let (snapshot, findings) = (observer.snapshot(), observer.findings());
        self.folder.write_snapshot(&json!({
            "version": VERSION,
            "targets": self.targets,
            "started": self.clock.started_rfc3339(),
            "started_boottime_ns": self.clock.zero_boottime_ns(),
            "duration_ns": duration_ns,
            "findings": findings,
            "snapshot": snapshot,
        }))?;
        let page = self.page(&snapshot, findings, injected, duration_ns);
        self.folder.write_report(&observed::render(&page))?;
        Ok(())
    }

    fn page(
        &self,
        snapshot: &Snapshot,
        findings: &[Finding],
        injected: &Injected,
        duration_ns: u64,
    ) -> Observed {
        let when = |at_ns: u64| format!("{:.1} s", self.since(at_ns) as f64 / 1e9);
        let found = findings.iter().map(|finding| Found {
            edge: finding.edge.to_string(),
            what: finding.claim.kind.name().into(),
            how: how(finding),
            since_ns: self.since(finding.claim.since_ns),
            found_ns: self.since(finding.found_ns),
            until_ns: finding.is_over.then(|| self.since(finding.last_ns)),
            evidence: finding.claim.evidence.clone(),
            is_undecided: finding.is_undecided,
        });
        let meant = injected.all().iter().map(|fault| observed::Injected {
            family: fault.family.clone(),
            text: format!("{} ({})", fault.text(), fault.id),
            from_ns: self.since(fault.from_ns),
            until_ns: fault.until_ns.map(|until_ns| self.since(until_ns)),
        });
        let head = Row {
            cells: lines::HEADS.map(str::to_owned).to_vec(),
            is_wrong: false,
        };
        let rows = snapshot.edges.iter().map(|now| Row {
            cells: lines::cells(now).to_vec(),
            is_wrong: !now.findings.is_empty(),
        });
        Observed {
            targets: self.targets.clone(),
            mode: snapshot.mode.text(),
            started: self.clock.started_rfc3339(),
            duration_ns,
            lost: snapshot.lost,
            map: svg(&ServiceMap::of(snapshot, findings), &when),
            table: std::iter::once(head).chain(rows).collect(),
            findings: found.collect(),
            injected: meant.collect(),
        }
    }
}

/// How much, and which way.
fn how(finding: &Finding) -> String {
    let (claim, way) = (&finding.claim, finding.claim.direction.name());
    match claim.kind {
        Kind::Partition => way.into(),
        _ => format!("{}, {way}", claim.size),
    }
}

/// The word of JSON for something that is one word.
fn word(value: &impl serde::Serialize) -> String {
    match json!(value) {
        Value::String(word) => word,
        other => other.to_string(),
    }
}
