//! A check judges every promise of model `etcd` on one history.

use std::{
    cell::{OnceCell, RefCell},
    io::Read,
};

use rustc_hash::FxHashSet;

use super::{
    confirm::Asked,
    durable, figures,
    kubernetes::{self, CLAUSES, Clause},
    lease, linear,
    members::{self, Agreement},
    promises::{LEASE_EXPIRY, PROMISES, SERIALIZABLE_READS, is_always_judged},
    proof::{Proof, prove},
    record::{Pair, Record},
    registry::Registry,
    sweep::{Sweep, Truth, sweep},
    trouble::Trouble,
    watches::{self, Ground, RULES, Watches},
    words::Words,
};
use crate::{
    intern::Interner,
    read::ReadError,
    text::{counted, grouped, listed},
    verdict::{Judgement, Report, Verdict, plain},
};

/// Which promises are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those of which the history says something. A hunt without leases says nothing of leases, and is none the
    /// worse for it.
    #[default]
    Spoken,
    /// All of [`PROMISES`](super::PROMISES): those of which the history says nothing are undecided.
    All,
}

/// How a history is checked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many steps the search over unknown writes may take before its verdict is `undecided`.
    pub search_limit: u64,
    /// Which promises are judged.
    pub scope: Scope,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            search_limit: 200_000,
            scope: Scope::default(),
        }
    }
}

/// Reads a history of model `etcd` and judges its promises.
pub fn check(source: impl Read, options: &Options) -> Result<Report, ReadError> {
    Ok(check_record(Record::read(source)?, options))
}

/// Judges the promises on a history that was read before.
pub fn check_record(mut record: Record, options: &Options) -> Report {
    Report {
        judgements: examine(&mut record, options, &mut |_, _| {}).judgements,
        vacuity: figures::figures(&record),
    }
}

/// What an examination brings to light.
pub(super) struct Examination {
    pub judgements: Vec<Judgement>,
    /// Promises of which the history says nothing.
    pub silent: Vec<String>,
    pub truth: Truth,
    pub sweep: Sweep,
    /// All pairs, those that only the replay has included.
    pub pairs: Interner<Pair>,
}

/// Judges the promises on what is in `record`, from which the pairs are taken, and calls `each` with the proof of every
/// broken promise.
pub(super) fn examine(
    record: &mut Record,
    options: &Options,
    each: &mut Listener<'_>,
) -> Examination {
    let mut pairs = std::mem::take(&mut record.pairs);
    let observed = pairs.all().len();
    let registry = Registry::new(record);
    let (truth, sweep) = sweep(record, &mut pairs, &registry, options.search_limit);
    let words = Words {
        record,
        pairs: &pairs,
    };
    let agreement = members::compare(&words, &truth, &sweep, observed);
    let stray: FxHashSet<_> = agreement.stray.iter().copied().collect();
    let watches = watches::follow(Ground {
        words: &words,
        truth: &truth,
        sweep: &sweep,
        stray: &stray,
        parts_at: agreement.parts_at,
        registry: &registry,
    });
    let mut case = Case {
        words: &words,
        asked: OnceCell::new(),
        each: RefCell::new(each),
        truth: &truth,
        sweep: &sweep,
        agreement: &agreement,
        watches: &watches,
        scope: options.scope,
        judgements: Vec::with_capacity(PROMISES.len()),
        silent: Vec::new(),
    };
    case.judge(observed, &registry);
    let Case {
        judgements, silent, ..
    } = case;
    Examination {
        judgements,
        silent,
        truth,
        sweep,
        pairs,
    }
}

/// Who wants to know of proofs, with what the history says of who asked for what.
type Listener<'l> = dyn FnMut(&Asked<'_>, &Proof) + 'l;

/// A history with its replay, about to be judged.
struct Case<'a> {
    words: &'a Words<'a>,
    /// Read once something is broken.
    asked: OnceCell<Asked<'a>>,
    each: RefCell<&'a mut Listener<'a>>,
    truth: &'a Truth,
    sweep: &'a Sweep,
    agreement: &'a Agreement,
    watches: &'a Watches,
    scope: Scope,
    judgements: Vec<Judgement>,
    silent: Vec<String>,
}

impl Case<'_> {
    fn judge(&mut self, observed: usize, registry: &Registry) {
        let first = [
            self.linearizable(),
            self.durable(observed),
            self.members(),
            self.local_reads(),
        ];
        self.judgements.extend(first);
        let local = &self.sweep.local;
        let silent = [
            (linear::PROMISE, self.sweep.judged == 0),
            (members::PROMISE, self.agreement.basis.is_empty()),
            (SERIALIZABLE_READS, local.judged + local.doubtful == 0),
        ];
        let silent = silent.iter().filter(|(_, is_silent)| *is_silent);
        self.silent.extend(silent.map(|(name, _)| (*name).into()));
        for rule in RULES {
            let finding = self.watches.all.of(rule);
            let open = self
                .open(rule.needs_truth())
                .or_else(|| finding.open.clone());
            self.add(
                rule.name(),
                rule.basis(),
                finding.trouble.as_ref(),
                finding.judged,
                open,
            );
        }
        let (trouble, judged, open) = lease::judge(self.words, self.truth, self.sweep);
        self.add(LEASE_EXPIRY, lease::BASIS, trouble.as_ref(), judged, open);
        for clause in CLAUSES {
            let (mut trouble, mut judged) =
                kubernetes::judge(clause, self.words, self.truth, self.sweep, self.watches);
            if clause == Clause::ResourceVersion && !registry.is_empty() {
                (trouble, judged) = kubernetes::resource_versions(self.words, registry, observed);
            }
            let rests = clause.rules().is_empty() && clause != Clause::ResourceVersion;
            let rests = rests || clause.rules().iter().any(|rule| rule.needs_truth());
            let open = self.open(rests).or_else(|| {
                let findings = clause.streams(self.watches);
                clause
                    .rules()
                    .iter()
                    .find_map(|rule| findings.of(*rule).open.clone())
            });
            self.add(
                clause.name(),
                clause.basis(),
                trouble.as_ref(),
                judged,
                open,
            );
        }
    }

    /// Why a promise that rests on the replay cannot be called held.
    fn open(&self, needs_truth: bool) -> Option<String> {
        if !needs_truth {
            return None;
        }
        if let Some(reason) = &self.sweep.unowned_lease {
            return Some(reason.clone());
        }
        if self.sweep.begins_at.is_some() {
            return Some("the history does not begin with an empty store".into());
        }
        let parts = self
            .agreement
            .parts_at
            .filter(|_| self.watches.cut_off > 0)?;
        Some(format!("from revision {parts} on the members part"))
    }

    /// Adds the judgement on a promise that `judged` things could have broken.
    fn add(
        &mut self,
        promise: &str,
        (one, several): (&str, &str),
        trouble: Option<&Trouble>,
        judged: u64,
        open: Option<String>,
    ) {
        if trouble.is_none() && judged == 0 {
            self.silent.push(promise.into());
        }
        let judgement = match (trouble, open) {
            (Some(trouble), _) => self.broken(promise, trouble),
            (None, None) if judged > 0 => {
                let what = if judged == 1 { one } else { several };
                plain(
                    promise,
                    Verdict::Held,
                    format!("{} {what}", grouped(judged)),
                )
            }
            (None, Some(why)) if judged > 0 || self.scope == Scope::All => {
                plain(promise, Verdict::Undecided, why)
            }
            (None, _) => {
                if self.scope == Scope::Spoken && !is_always_judged(promise) {
                    return;
                }
                plain(
                    promise,
                    Verdict::Undecided,
                    format!("the history has no {one}"),
                )
            }
        };
        self.judgements.push(judgement);
    }

    fn broken(&self, promise: &str, trouble: &Trouble) -> Judgement {
        let asked = self.asked.get_or_init(|| Asked::new(self.words));
        let proof = prove(asked, &trouble.facts);
        (self.each.borrow_mut())(asked, &proof);
        trouble.judgement(promise, self.words, &proof)
    }

    fn lease(&self, promise: &str) -> Option<Judgement> {
        let reason = self.sweep.unowned_lease.as_ref()?;
        Some(plain(promise, Verdict::Undecided, reason.clone()))
    }

    fn linearizable(&self) -> Judgement {
        if let Some(judgement) = self.lease(linear::PROMISE) {
            return judgement;
        }
        match linear::trouble(self.words, self.truth, self.sweep) {
            Some(trouble) => self.broken(linear::PROMISE, &trouble),
            None => linear::unbroken(self.sweep),
        }
    }

    fn durable(&mut self, observed: usize) -> Judgement {
        if let Some(judgement) = self.lease(durable::PROMISE) {
            return judgement;
        }
        match durable::judge(self.words, self.truth, self.sweep, observed) {
            Ok((judgement, is_silent)) => {
                self.silent
                    .extend(is_silent.then(|| durable::PROMISE.into()));
                judgement
            }
            Err(trouble) => self.broken(durable::PROMISE, &trouble),
        }
    }

    fn members(&self) -> Judgement {
        let agreement = self.agreement;
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

    fn local_reads(&self) -> Judgement {
        let local = &self.sweep.local;
        let promise = SERIALIZABLE_READS;
        let parts_at = self.agreement.parts_at;
        if let Some(judgement) = self.lease(promise) {
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
            linear::wrong(self.words, self.truth, *op, *revision, mismatch)
        });
        let early = local
            .early
            .map(|(earlier, later)| linear::backwards(self.words, earlier, later));
        let unplaced = local
            .no_order
            .map(|(op, revision)| linear::no_order(self.words, Some(op), revision));
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
}
