//! A check judges every promise of model `etcd` on one history.

use std::io::Read;

use rustc_hash::FxHashSet;

use super::{
    confirm::confirms,
    durable, figures, linear,
    members::{self, Agreement},
    record::Record,
    sweep::{Sweep, Truth, sweep},
    trouble::{Trouble, plain},
    watches::{self, Watches},
    words::{Words, counted, listed},
};
use crate::{
    read::ReadError,
    verdict::{Judgement, Report, Verdict},
};

/// How a history is checked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many steps the search over unknown writes may take before its verdict is `undecided`.
    pub search_limit: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            search_limit: 200_000,
        }
    }
}

/// The promises of model `etcd`, in the order in which they are judged.
pub const PROMISES: [&str; 7] = [
    linear::PROMISE,
    durable::PROMISE,
    members::PROMISE,
    SERIALIZABLE_READS,
    ORDERED,
    UNIQUE,
    RELIABLE,
];

const SERIALIZABLE_READS: &str = "serializable-reads";
const ORDERED: &str = "watch.ordered";
const UNIQUE: &str = "watch.unique";
const RELIABLE: &str = "watch.reliable";

/// Reads a history of model `etcd` and judges every promise.
pub fn check(source: impl Read, options: &Options) -> Result<Report, ReadError> {
    Ok(check_record(Record::read(source)?, options))
}

/// Judges every promise on a history that was read before.
pub fn check_record(mut record: Record, options: &Options) -> Report {
    let mut pairs = std::mem::take(&mut record.pairs);
    let observed = pairs.all().len();
    let (truth, sweep) = sweep(&record, &mut pairs, options.search_limit);
    let words = Words {
        record: &record,
        pairs: &pairs,
    };
    let case = Case {
        words,
        truth: &truth,
        sweep: &sweep,
    };
    let agreement = members::compare(&words, &truth, &sweep, observed);
    let stray: FxHashSet<_> = agreement.stray.iter().copied().collect();
    let watches = watches::follow(&words, &truth, &sweep, &stray, agreement.parts_at);
    let judgements = vec![
        case.linearizable(),
        case.durable(observed),
        case.members(&agreement),
        case.local_reads(agreement.parts_at),
        case.watch(ORDERED, watches.ordered.as_ref(), &watches),
        case.watch(UNIQUE, watches.unique.as_ref(), &watches),
        case.reliable(&watches, agreement.parts_at),
    ];
    Report {
        judgements,
        vacuity: figures::figures(&record),
    }
}

/// A history with its replay, about to be judged.
struct Case<'a> {
    words: Words<'a>,
    truth: &'a Truth,
    sweep: &'a Sweep,
}

impl Case<'_> {
    fn broken(&self, promise: &str, trouble: &Trouble) -> Judgement {
        trouble.judgement(promise, &self.words, confirms(&self.words, &trouble.facts))
    }

    /// Keys of a lease disappear without a write of any client.
    fn leases(&self, promise: &str) -> Option<Judgement> {
        let reason = "the history uses leases, whose expiry no client sees";
        (self.words.record.leases.len() > 1).then(|| plain(promise, Verdict::Undecided, reason))
    }

    fn linearizable(&self) -> Judgement {
        if let Some(judgement) = self.leases(linear::PROMISE) {
            return judgement;
        }
        match linear::trouble(&self.words, self.truth, self.sweep) {
            Some(trouble) => self.broken(linear::PROMISE, &trouble),
            None => linear::unbroken(self.sweep),
        }
    }

    fn durable(&self, observed: usize) -> Judgement {
        if let Some(judgement) = self.leases(durable::PROMISE) {
            return judgement;
        }
        match durable::judge(&self.words, self.truth, self.sweep, observed) {
            Ok(judgement) => judgement,
            Err(trouble) => self.broken(durable::PROMISE, &trouble),
        }
    }

    fn members(&self, agreement: &Agreement) -> Judgement {
        match &agreement.trouble {
            Some(trouble) => self.broken(members::PROMISE, trouble),
            None if agreement.basis.is_empty() => plain(
                members::PROMISE,
                Verdict::Undecided,
                "nothing was asked of two members that could be compared",
            ),
            None => plain(
                members::PROMISE,
                Verdict::Held,
                format!("{} agree", listed(&agreement.basis)),
            ),
        }
    }

    fn local_reads(&self, parts_at: Option<i64>) -> Judgement {
        let local = &self.sweep.local;
        let promise = SERIALIZABLE_READS;
        if let Some(judgement) = self.leases(promise) {
            return judgement;
        }
        if self.sweep.begins_at.is_some() {
            return plain(
                promise,
                Verdict::Undecided,
                "the history does not begin with an empty store",
            );
        }
        let wrong = local.wrong.as_ref().map(|(op, revision, mismatch)| {
            linear::wrong(&self.words, self.truth, *op, *revision, mismatch)
        });
        let early = local
            .early
            .map(|(earlier, later)| linear::backwards(&self.words, earlier, later));
        let unplaced = local
            .no_order
            .map(|(op, revision)| linear::no_order(&self.words, Some(op), revision));
        match (wrong.or(early).or(unplaced), parts_at) {
            (Some(trouble), parts) if parts.is_none_or(|parts| trouble.revision < parts) => {
                self.broken(promise, &trouble)
            }
            (Some(_), Some(parts)) => {
                let reason = format!("from revision {parts} on the members part");
                plain(promise, Verdict::Undecided, reason)
            }
            _ if local.judged == 0 && local.doubtful > 0 => plain(
                promise,
                Verdict::Undecided,
                "every serializable read rests on writes of unknown outcome",
            ),
            _ if local.judged == 0 => plain(
                promise,
                Verdict::Undecided,
                "no serializable read was answered",
            ),
            _ => plain(
                promise,
                Verdict::Held,
                format!("{} of the past", counted(local.judged, "true read")),
            ),
        }
    }

    fn watch(&self, promise: &str, trouble: Option<&Trouble>, watches: &Watches) -> Judgement {
        match trouble {
            Some(trouble) => self.broken(promise, trouble),
            None => watched(promise, watches),
        }
    }

    fn reliable(&self, watches: &Watches, parts_at: Option<i64>) -> Judgement {
        if let Some(judgement) = self.leases(RELIABLE) {
            return judgement;
        }
        match (&watches.reliable, parts_at) {
            (Some(trouble), _) => self.broken(RELIABLE, trouble),
            (None, Some(parts)) if watches.cut_off > 0 => plain(
                RELIABLE,
                Verdict::Undecided,
                format!("from revision {parts} on the members part"),
            ),
            (None, _) if self.sweep.begins_at.is_some() => plain(
                RELIABLE,
                Verdict::Undecided,
                "the history does not begin with an empty store",
            ),
            (None, _) => watched(RELIABLE, watches),
        }
    }
}

fn watched(promise: &str, watches: &Watches) -> Judgement {
    if watches.events == 0 {
        return plain(promise, Verdict::Undecided, "no watch delivered an event");
    }
    let reason = format!(
        "{} of {}",
        counted(watches.events, "event"),
        counted(watches.streams, "stream")
    );
    plain(promise, Verdict::Held, reason)
}
