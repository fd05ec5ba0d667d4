//! The judgement of a history of transactions, level by level.

use std::collections::BTreeMap;

use super::{
    Anomaly, Clock, LEVELS, Level, Options, Workload,
    examination::{Examination, World, examine},
    findings::Finding,
    witness::Prover,
};
use crate::{
    model::Misunderstood,
    recording::{Outcome, Recording},
    verdict::{Judgement, Vacuity, Verdict},
};

/// Everything that is said of a history of transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// One judgement for each of [`LEVELS`], in their order; the promise is `isolation.<level>`.
    pub judgements: Vec<Judgement>,
    /// The anomalies that were found.
    pub anomalies: Vec<Sighting>,
    /// What the verdicts rest on.
    pub vacuity: Vacuity,
}

/// An anomaly that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub anomaly: Anomaly,
    /// How often: reads or transactions; for cycles, the strongly connected components that have one.
    pub count: u64,
    /// The transactions of the shortest example, by their positions in [`Recording::invocations`].
    pub invocations: Vec<u32>,
}

impl Report {
    /// The judgement of a level.
    pub fn of(&self, level: Level) -> &Judgement {
        &self.judgements[level as usize]
    }

    /// The strongest levels that hold: those that no other level that holds implies.
    pub fn strongest(&self) -> Vec<Level> {
        let holds = |level: &Level| self.of(*level).verdict == Verdict::Held;
        let is_implied = |level: Level| {
            LEVELS
                .into_iter()
                .filter(holds)
                .any(|other| other != level && other.is_at_least(level))
        };
        LEVELS
            .into_iter()
            .filter(|level| holds(level) && !is_implied(*level))
            .collect()
    }
}

/// Judges a history of transactions. The error is a line that is no transaction of the workload.
pub fn judge(
    recording: &Recording,
    workload: Workload,
    options: &Options,
) -> Result<Report, Misunderstood> {
    let examination = examine(recording, workload, options, None, World::Closed)?;
    let mut prover = Prover::new(recording, workload);
    let mut anomalies: BTreeMap<Anomaly, Finding> = examination.findings.by_anomaly.clone();
    let mut judgements = Vec::with_capacity(LEVELS.len());
    // What a level adds to the order of versions may show it broken where the reads alone do not.
    let mut added: Vec<(Options, Examination<'_>)> = Vec::new();
    for level in LEVELS {
        let stronger = options_of(level, workload, options);
        if stronger == *options || examination.worst(level).is_some() {
            judgements.push(judge_level(
                &examination,
                options,
                Clock::None,
                &mut prover,
                level,
            ));
            continue;
        }
        let known = added.iter().position(|(known, _)| *known == stronger);
        let at = if let Some(at) = known {
            at
        } else {
            let more = examine(recording, workload, &stronger, None, World::Closed)?;
            added.push((stronger.clone(), more));
            added.len() - 1
        };
        let more = &added[at].1;
        for (anomaly, finding) in &more.findings.by_anomaly {
            if anomaly.breaks(level) {
                let anomaly = anomaly.with(level.clock());
                anomalies.entry(anomaly).or_insert_with(|| finding.clone());
            }
        }
        judgements.push(judge_level(
            more,
            &stronger,
            level.clock(),
            &mut prover,
            level,
        ));
    }
    let anomalies = anomalies.into_iter().map(|(anomaly, finding)| Sighting {
        anomaly,
        count: finding.count,
        invocations: examination.invocations(&finding.transactions),
    });
    Ok(Report {
        judgements,
        anomalies: anomalies.collect(),
        vacuity: vacuity(recording, &examination),
    })
}

/// The options for a level: snapshots that are never older than what was done or answered before, and orders that
/// keep processes or real time, use the versions of each register in that order.
pub(super) fn options_of(level: Level, workload: Workload, options: &Options) -> Options {
    let mut options = options.clone();
    if workload == Workload::RwRegister && level.is_at_least(Level::StrongSessionSnapshotIsolation)
    {
        options.sequential_keys = true;
        options.linearizable_keys |= level.clock() == Clock::Realtime;
    }
    options
}

fn judge_level(
    examination: &Examination<'_>,
    options: &Options,
    clock: Clock,
    prover: &mut Prover<'_>,
    level: Level,
) -> Judgement {
    let promise = format!("isolation.{}", level.name());
    let worst = examination.worst(level);
    if let Some(anomaly) = worst {
        let count = examination.findings.by_anomaly[&anomaly].count;
        let name = anomaly.with(clock).name();
        return Judgement {
            promise,
            verdict: Verdict::Broken,
            reason: if count == 1 {
                name
            } else {
                format!("{name}, {count} times")
            },
            witness: prover.prove(examination, options, level),
        };
    }
    let is_unsure = |unsure: &Level| level.is_at_least(*unsure);
    let (verdict, reason) = if examination.undecided.iter().any(is_unsure) {
        (
            Verdict::Undecided,
            "the search for cycles was given up at its limit",
        )
    } else if !examination.is_telling {
        (
            Verdict::Undecided,
            "no transaction depends on another, so that nothing can contradict",
        )
    } else {
        (Verdict::Held, "no anomaly that the level forbids")
    };
    Judgement {
        promise,
        verdict,
        reason: reason.into(),
        witness: None,
    }
}

impl Examination<'_> {
    /// The first anomaly that breaks a level.
    pub(super) fn worst(&self, level: Level) -> Option<Anomaly> {
        let mut found = self.findings.by_anomaly.keys();
        found.find(|anomaly| anomaly.breaks(level)).copied()
    }

    /// Positions of transactions in the recording; outside ones have none.
    pub(super) fn invocations(&self, transactions: &[u32]) -> Vec<u32> {
        transactions
            .iter()
            .filter_map(|t| self.these.list.get(*t as usize))
            .map(|transaction| transaction.invocation)
            .filter(|invocation| *invocation != super::transactions::NONE)
            .collect()
    }
}

fn vacuity(recording: &Recording, examination: &Examination<'_>) -> Vacuity {
    let mut vacuity = Vacuity {
        operations: recording.invocations.len() as u64,
        faults: recording.faults.len() as u64,
        ..Vacuity::default()
    };
    for invocation in &recording.invocations {
        vacuity.unknown += u64::from(invocation.outcome == Outcome::Unknown);
        vacuity.failed += u64::from(invocation.outcome == Outcome::Fail);
        let acts = |fault: &crate::recording::FaultBand| {
            fault.begin <= invocation.end && invocation.call <= fault.end
        };
        vacuity.operations_during_faults += u64::from(recording.faults.iter().any(acts));
    }
    let these = &examination.these;
    for number in 0..these.list.len() {
        let number = super::transactions::number_of(number);
        if these.list[number as usize].fate == super::transactions::Fate::Ok {
            for operation in these.of(number) {
                vacuity.reads += u64::from(operation.is_read());
                vacuity.writes += u64::from(!operation.is_read());
            }
        }
    }
    vacuity
}
