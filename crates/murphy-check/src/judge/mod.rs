//! The judge knows every model by its name and says what a recording proves of its promises.
//!
//! ```
//! use murphy_check::{
//!     formats,
//!     judge::{ModelName, Options, judge},
//!     verdict::Verdict,
//! };
//!
//! let history = br#"{"murphy":"history","version":1,"model":"register"}
//! {"type":"invoke","process":"a","f":"write","value":1,"time":1}
//! {"type":"ok","process":"a","f":"write","time":2}
//! {"type":"invoke","process":"b","f":"read","time":3}
//! {"type":"ok","process":"b","f":"read","value":null,"time":4}
//! "#;
//! let mut recording = formats::read(&history[..], &formats::Options::default())?;
//! let model: ModelName = recording.header.model.parse()?;
//! let judged = judge(&mut recording, model, &Options::default()).expect("words of a register");
//! assert_eq!(judged.report.verdict(&["linearizable".into()]), Verdict::Broken);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod figures;
mod linear;
mod moments;
pub(crate) mod quick;
pub(crate) mod words;

use std::{fmt, str::FromStr};

use crate::{
    history::Header,
    isolation::{self, LEVELS, Workload},
    live::{self, LiveJudge, Stream},
    model::{Misunderstood, OperationOf, Vocabulary, understand},
    models::{
        Bag, Bank, CasRegister, Counter, KeyValue, Log, MultiRegister, Mutex, PriorityQueue, Queue,
        Register, Set, Stack, UniqueIds,
    },
    picture::Explanation,
    recording::{Recording, Strictness, Warning},
    search::Limits,
    sessions::Guarantee,
    text::counted,
    verdict::{Judgement, Report, Verdict},
};
pub(crate) use linear::PROMISE;
pub use quick::{Monitored, Partition, Plain, Quick};

/// How a recording is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What to do with an invocation that the model does not understand.
    pub strictness: Strictness,
    /// How far searches go.
    pub limits: Limits,
}

/// Everything the judge says.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The verdicts.
    pub report: Report,
    /// Anomalies between transactions, by name, with how often each was found.
    pub anomalies: Vec<(String, u64)>,
    /// How far the searches got behind broken promises.
    pub explanations: Vec<Explanation>,
}

impl From<Report> for Judged {
    fn from(report: Report) -> Self {
        Self {
            report,
            anomalies: Vec::new(),
            explanations: Vec::new(),
        }
    }
}

/// A model that a recording can be judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelName(&'static Entry);

/// A model, by its name.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    promises: fn() -> Vec<String>,
    judge: fn(&mut Recording, &Options) -> Result<Judged, Misunderstood>,
    live: Option<StartLive>,
}

/// Begins to judge a history that is being written.
type StartLive = fn(&Header, &live::Options) -> Box<dyn LiveJudge>;

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Entry {}

/// A model without sessions that are promised anything.
const fn of<M: Quick + Default + Sync + 'static>() -> Entry
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    Entry {
        name: M::NAME,
        promises: orders,
        judge: |recording, options| judge_by(&mut M::default(), recording, options),
        live: Some(|header, options| Box::new(Stream::<M>::new(header, options))),
    }
}

/// A model of reads and writes.
const fn of_registers<M: Quick + Default + Sync + 'static>() -> Entry
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    Entry {
        promises: orders_and_sessions,
        ..of::<M>()
    }
}

fn orders() -> Vec<String> {
    [PROMISE, linear::SEQUENTIAL].map(Into::into).into()
}

fn orders_and_sessions() -> Vec<String> {
    let sessions = Guarantee::ALL.map(|guarantee| guarantee.name().into());
    orders().into_iter().chain(sessions).collect()
}

fn levels() -> Vec<String> {
    LEVELS
        .iter()
        .map(|level| format!("isolation.{}", level.name()))
        .collect()
}

static MODELS: [Entry; 16] = [
    of_registers::<Register>(),
    of::<CasRegister>(),
    of::<MultiRegister>(),
    of_registers::<KeyValue>(),
    of::<Mutex>(),
    of::<Queue>(),
    of::<Bag>(),
    of::<Stack>(),
    of::<PriorityQueue>(),
    of::<Set>(),
    of::<Counter>(),
    of::<Bank>(),
    of::<Log>(),
    of::<UniqueIds>(),
    Entry {
        name: "list-append",
        promises: levels,
        judge: |recording, _| transactions(recording, Workload::ListAppend),
        live: None,
    },
    Entry {
        name: "rw-register",
        promises: levels,
        judge: |recording, _| transactions(recording, Workload::RwRegister),
        live: None,
    },
];

/// Judges the levels of isolation.
fn transactions(recording: &Recording, workload: Workload) -> Result<Judged, Misunderstood> {
    let report = isolation::judge(recording, workload, &isolation::Options::default())?;
    let anomalies = report.anomalies.iter();
    let judged = Judged {
        anomalies: anomalies
            .map(|sighting| (sighting.anomaly.name(), sighting.count))
            .collect(),
        ..Judged::from(Report {
            judgements: report.judgements,
            vacuity: report.vacuity,
        })
    };
    Ok(doubted(judged, recording))
}

impl ModelName {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        MODELS.iter().map(Self)
    }

    /// Its name, such as `cas-register`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whoever judges it live, where somebody does.
    pub(crate) fn live(self) -> Option<StartLive> {
        self.0.live
    }

    /// The promises it is judged on.
    pub fn promises(self) -> Vec<String> {
        (self.0.promises)()
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no model is called {0:?}; there are etcd, {names}", names = names())]
pub struct UnknownModel(String);

fn names() -> String {
    let names: Vec<_> = MODELS.iter().map(|model| model.name).collect();
    names.join(", ")
}

impl FromStr for ModelName {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, UnknownModel> {
        let model = MODELS.iter().find(|model| model.name == name);
        model.map(Self).ok_or_else(|| UnknownModel(name.to_owned()))
    }
}

/// Judges every promise of a model on a recording. Where `options` are lenient, invocations that the model does not
/// understand are left out, and the recording says so.
pub fn judge(
    recording: &mut Recording,
    model: ModelName,
    options: &Options,
) -> Result<Judged, Misunderstood> {
    (model.0.judge)(recording, options)
}

/// The same for a model of one's own, which need not have a name here: its promises are `linearizable`, `sequential`, and
/// those to sessions where [`Quick::access`] says that it has nothing but reads and writes.
pub fn judge_by<M: Quick + Sync>(
    model: &mut M,
    recording: &mut Recording,
    options: &Options,
) -> Result<Judged, Misunderstood>
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    let operations = operations(model, recording, options.strictness)?;
    let model = &*model;
    let case = linear::Case {
        model,
        recording,
        operations: &operations,
        limits: &options.limits,
    };
    let (judgements, explanation) = case.judge();
    let is_read =
        |operation: &OperationOf<M>| model.is_read(&operation.ask, operation.answer.as_ref());
    let report = Report {
        judgements,
        vacuity: figures::figures(recording, operations.iter().map(|o| (o.number, is_read(o)))),
    };
    let judged = Judged {
        explanations: explanation.into_iter().collect(),
        ..Judged::from(report)
    };
    Ok(doubted(judged, recording))
}

fn doubted(mut judged: Judged, recording: &Recording) -> Judged {
    if recording.left_out > 0 {
        for judgement in &mut judged.report.judgements {
            doubt(judgement, recording.left_out);
        }
    }
    judged
}

/// Every operation in the terms of the model.
fn operations<M: Vocabulary>(
    model: &mut M,
    recording: &mut Recording,
    strictness: Strictness,
) -> Result<Vec<OperationOf<M>>, Misunderstood> {
    let mut operations = Vec::with_capacity(recording.invocations.len());
    let mut left_out = Vec::new();
    for (number, invocation) in (0..).zip(&recording.invocations) {
        match understand(model, recording, number, invocation) {
            Ok(operation) => operations.extend(operation),
            Err(misunderstood) if strictness == Strictness::Lenient => left_out.push(misunderstood),
            Err(misunderstood) => return Err(misunderstood),
        }
    }
    moments::untangle(recording, &mut operations);
    for Misunderstood { line, problem } in left_out {
        recording.warn(Warning {
            line: line.into(),
            problem,
        });
    }
    Ok(operations)
}

/// Nothing is held by a history of which a part was left out.
pub(crate) fn doubt(judgement: &mut Judgement, left_out: u64) {
    let lines = counted(left_out, "line");
    if judgement.verdict == Verdict::Held {
        judgement.verdict = Verdict::Undecided;
        judgement.reason = format!("{lines} of the history had to be left out");
    } else {
        let reason = &judgement.reason;
        judgement.reason = format!("{reason} ({lines} of the history had to be left out)");
    }
}
