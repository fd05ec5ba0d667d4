//! Promises `kubernetes.<clause>`: what Kubernetes asks of its store, judged for each resource type.
//!
//! The clauses are those of "The Implicit Kubernetes-ETCD Contract" (Siarkowicz and Kang, 2023) and of etcd's
//! `client/v3/kubernetes/interface.go`; docs/promises.md says which is whose. Where a clause is a promise of etcd on
//! keys below `/registry/`, it is judged as that promise, on those keys alone.

use rustc_hash::FxHashMap;

use super::{
    linear,
    record::{Answer, Ask, Pair, Record, Target, UNREAD},
    registry::Registry,
    sighting::{Fact, each_sighting},
    sweep::{Fault, Sweep, Truth},
    trouble::Trouble,
    watches::{Findings, Rule, Watches},
    words::Words,
};
use crate::intern::{Id, NONE, next_id};

/// A clause of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    StrictSerializability,
    ResourceVersion,
    OptimisticWrite,
    ExactRevision,
    PagedList,
    ListWatch,
    WatchPrefix,
    WatchOrder,
    WatchReliable,
    WatchEvent,
    Bookmark,
    Compaction,
}

/// All of them.
pub(crate) const CLAUSES: [Clause; 12] = [
    Clause::StrictSerializability,
    Clause::ResourceVersion,
    Clause::OptimisticWrite,
    Clause::ExactRevision,
    Clause::PagedList,
    Clause::ListWatch,
    Clause::WatchPrefix,
    Clause::WatchOrder,
    Clause::WatchReliable,
    Clause::WatchEvent,
    Clause::Bookmark,
    Clause::Compaction,
];

impl Clause {
    /// The promise's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StrictSerializability => "kubernetes.strict-serializability",
            Self::ResourceVersion => "kubernetes.resource-version",
            Self::OptimisticWrite => "kubernetes.optimistic-write",
            Self::ExactRevision => "kubernetes.exact-revision",
            Self::PagedList => "kubernetes.paged-list",
            Self::ListWatch => "kubernetes.list-watch",
            Self::WatchPrefix => "kubernetes.watch-prefix",
            Self::WatchOrder => "kubernetes.watch-order",
            Self::WatchReliable => "kubernetes.watch-reliable",
            Self::WatchEvent => "kubernetes.watch-event",
            Self::Bookmark => "kubernetes.bookmark",
            Self::Compaction => "kubernetes.compaction",
        }
    }

    /// What the clause is judged on: one, several.
    pub fn basis(self) -> (&'static str, &'static str) {
        match self {
            Self::StrictSerializability => ("operation on one type", "operations on one type"),
            Self::ResourceVersion => ("object version", "object versions"),
            Self::OptimisticWrite => ("optimistic write", "optimistic writes"),
            Self::ExactRevision => ("read of a revision", "reads of a revision"),
            Self::PagedList => ("page of a list", "pages of lists"),
            Self::ListWatch => (
                "watch that continues a list",
                "watches that continue a list",
            ),
            Self::WatchPrefix | Self::WatchOrder | Self::WatchReliable => ("event", "events"),
            Self::WatchEvent => (
                "put event or previous pair",
                "put events and previous pairs",
            ),
            Self::Bookmark => ("bookmark", "bookmarks"),
            Self::Compaction => (
                "request for what was compacted",
                "requests for what was compacted",
            ),
        }
    }

    /// The promises of the watch that the clause is on keys below `/registry/`.
    pub fn rules(self) -> &'static [Rule] {
        match self {
            Self::ListWatch => &[Rule::Resumable, Rule::Reliable, Rule::Future],
            Self::WatchPrefix => &[Rule::Filter],
            Self::WatchOrder => &[Rule::Ordered, Rule::Unique, Rule::Atomic],
            Self::WatchReliable => &[Rule::Reliable, Rule::Resumable],
            Self::WatchEvent => &[Rule::IsCreate, Rule::PrevKv],
            Self::Bookmark => &[Rule::Bookmarkable],
            Self::Compaction => &[Rule::CancelReason],
            _ => &[],
        }
    }

    /// The streams it is about.
    pub fn streams(self, watches: &Watches) -> &Findings {
        match self {
            Self::ListWatch => &watches.lists,
            _ => &watches.registry,
        }
    }
}

/// What the replay says of the clauses.
#[derive(Debug)]
pub(crate) struct Typed {
    /// The first fault of each clause.
    pub faults: [Option<Fault>; CLAUSES.len()],
    /// How much could have broken each.
    pub judged: [u64; CLAUSES.len()],
}

impl Default for Typed {
    fn default() -> Self {
        Self {
            faults: [const { None }; CLAUSES.len()],
            judged: [0; CLAUSES.len()],
        }
    }
}

impl Typed {
    /// Keeps the first fault of `clause`.
    pub fn keep(&mut self, clause: Clause, fault: Fault) {
        self.faults[clause as usize].get_or_insert(fault);
    }

    /// Counts one more thing that could have broken `clause`.
    pub fn count(&mut self, clause: Clause) {
        self.judged[clause as usize] += 1;
    }
}

/// The clause that an operation on one resource type is judged by; none for a read that may be stale.
pub(crate) fn clause_of(record: &Record, ask: Ask) -> Option<Clause> {
    if let Ask::Range { options, .. } = ask {
        let options = record.options[options as usize];
        return match (options.limit > 0, options.revision > 0) {
            (true, _) if options.revision > 0 || !options.serializable => Some(Clause::PagedList),
            (false, true) => Some(Clause::ExactRevision),
            (false, false) if !options.serializable => Some(Clause::StrictSerializability),
            _ => None,
        };
    }
    if is_optimistic(record, ask) {
        return Some(Clause::OptimisticWrite);
    }
    Some(Clause::StrictSerializability)
}

/// `If mod_revision(key) = revision Then put or delete Else get`, all of one key.
fn is_optimistic(record: &Record, ask: Ask) -> bool {
    let Ask::Txn(txn) = ask else { return false };
    let txn = record.txns[txn as usize];
    let [condition] = &record.conditions[txn.compare.range()] else {
        return false;
    };
    let compares = matches!(condition.target, Target::Mod(_))
        && condition.relation == super::vocabulary::Relation::Equal
        && condition.span.end == NONE;
    let key = condition.span.key;
    let writes = match &record.asks[txn.success.range()] {
        [Ask::Put { key: put, .. }] => *put == key,
        [Ask::Delete { span, .. }] => span.end == NONE && span.key == key,
        _ => false,
    };
    let reads = match &record.asks[txn.failure.range()] {
        [] => true,
        [Ask::Range { span, .. }] => span.end == NONE && span.key == key,
        _ => false,
    };
    compares && writes && reads
}

/// Whether resource versions order the changes of each object: one version, one content; a later change has the
/// greater one; nothing shows a version that is still to come. Also how many versions were looked at.
pub(crate) fn resource_versions(
    words: &Words<'_>,
    registry: &Registry,
    observed: usize,
) -> (Option<Trouble>, u64) {
    let pairs = &words.pairs.all()[..observed];
    let is_object = |pair: &Pair| registry.type_of(pair.key).is_some() && !pair.is_gone();
    let mut objects: Vec<Id> = (0..next_id(pairs.len()))
        .filter(|id| is_object(&pairs[*id as usize]))
        .collect();
    let count = objects.len() as u64;
    let of = |id: Id| pairs[id as usize];
    objects.sort_unstable_by_key(|id| (of(*id).key, of(*id).create_revision, of(*id).mod_revision));
    let clash = objects.windows(2).find_map(|two| {
        let (a, b) = (of(two[0]), of(two[1]));
        let one_life = a.key == b.key && a.create_revision == b.create_revision;
        let same = a.mod_revision == b.mod_revision;
        let differs = a.value != b.value && a.value != UNREAD && b.value != UNREAD;
        let is_wrong = one_life
            && if same {
                differs
            } else {
                a.version >= b.version
            };
        is_wrong.then_some((two[0], two[1]))
    });
    let found = clash.map(|(a, b)| two_versions(words, a, b));
    (found.or_else(|| from_the_future(words, registry)), count)
}

fn two_versions(words: &Words<'_>, a: Id, b: Id) -> Trouble {
    let mut first: FxHashMap<Id, Fact> = FxHashMap::default();
    each_sighting(words.record, &mut |id, fact, _| {
        if id == a || id == b {
            first.entry(id).or_insert(fact);
        }
    });
    let (one, other) = (words.pairs.get(a), words.pairs.get(b));
    let key = words.key(one.key);
    let reason = if one.mod_revision == other.mod_revision {
        format!(
            "resource version {} of {key} has two contents",
            one.mod_revision
        )
    } else {
        format!(
            "resource versions {} and {} of {key} do not follow its changes",
            one.mod_revision, other.mod_revision
        )
    };
    Trouble {
        revision: one.mod_revision,
        reason,
        sentence: format!(
            "{} was shown, and {}.",
            words.pair(one.key, a),
            words.pair(one.key, b)
        ),
        facts: [a, b]
            .iter()
            .filter_map(|id| Some((*first.get(id)?, true)))
            .collect(),
        members: Vec::new(),
    }
}

/// An answer that shows an object newer than the revision it claims.
fn from_the_future(words: &Words<'_>, registry: &Registry) -> Option<Trouble> {
    let record = words.record;
    (0..).zip(&record.ops).find_map(|(id, op)| {
        let (Ask::Range { .. }, Some(Answer::Range { kvs, .. })) =
            (record.ask(op), record.answer(op))
        else {
            return None;
        };
        let is_newer = |id: &&Id| {
            let pair = words.pairs.get(**id);
            pair.mod_revision > op.revision && registry.type_of(pair.key).is_some()
        };
        let newer = *record.lists[kvs.range()].iter().find(is_newer)?;
        let pair = words.pairs.get(newer);
        Some(Trouble {
            revision: op.revision,
            reason: format!(
                "an answer of revision {} shows resource version {}",
                op.revision, pair.mod_revision
            ),
            sentence: format!(
                "{}; it shows {}, which came later.",
                words.told(id),
                words.pair(pair.key, newer)
            ),
            facts: vec![(Fact::Shown(id, newer), true)],
            members: Vec::new(),
        })
    })
}

/// The trouble of `clause`, of the lowest revision, and how much was looked at.
pub(crate) fn judge(
    clause: Clause,
    words: &Words<'_>,
    truth: &Truth,
    sweep: &Sweep,
    watches: &Watches,
) -> (Option<Trouble>, u64) {
    let fault = sweep.typed.faults[clause as usize].as_ref();
    let by_replay = fault.map(|fault| linear::of_fault(words, truth, fault));
    let findings = clause.streams(watches);
    let by_watch = clause
        .rules()
        .iter()
        .filter_map(|rule| findings.of(*rule).trouble.clone());
    let trouble = by_replay
        .into_iter()
        .chain(by_watch)
        .min_by_key(|trouble| trouble.revision);
    let judged = clause
        .rules()
        .iter()
        .map(|rule| findings.of(*rule).judged)
        .sum::<u64>();
    (trouble, judged + sweep.typed.judged[clause as usize])
}
