//! A timeline is the order that the revisions in the answers give to the operations, with the holes:
//! the revisions that no acknowledged write owns.

use super::record::{Ask, Op, Outcome, Pair, Record, Span};
use crate::intern::{Id, Interner, NONE, next_id};

/// A revision that exists, because a later one does, and that no acknowledged write owns.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub revision: i64,
    /// Whoever wrote it had asked by then: something later in the order was answered.
    pub deadline: u64,
    /// What the members say was written.
    pub evidence: Vec<Id>,
    /// Whether the evidence is all that was written, because a watch of every key says so.
    pub is_exact: bool,
}

/// The operations in the order of their revisions.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Twice the revision, plus one for what only reads it; with the operation.
    pub order: Vec<(u64, Id)>,
    pub holes: Vec<Hole>,
    /// Writes of unknown outcome.
    pub unknown: Vec<Id>,
    /// The newest revision anything speaks of.
    pub last: i64,
    /// Where the revisions jump further than all operations of the history could have written.
    pub jump: Option<(i64, i64)>,
}

/// Place of an operation that writes `revision`; its readers come one later.
pub(crate) fn place(revision: i64) -> u64 {
    revision.unsigned_abs() * 2
}

/// The revision of a place.
pub(crate) fn revision_of(place: u64) -> i64 {
    i64::try_from(place / 2).unwrap_or(i64::MAX)
}

impl Timeline {
    /// Sorts the operations of `record` and finds the holes between them.
    pub fn new(record: &Record, pairs: &Interner<Pair>) -> Self {
        let mut order = Vec::with_capacity(record.ops.len());
        let mut unknown = Vec::new();
        for (id, op) in record.ops.iter().enumerate() {
            let id = next_id(id);
            let ask = record.ask(op);
            if !Record::is_ordered(ask) {
                continue;
            }
            match record.answer(op) {
                Some(answer) => {
                    order.push((place(op.revision) + u64::from(!record.wrote(answer)), id));
                }
                None if op.outcome == Outcome::Unknown && record.may_write(op) => unknown.push(id),
                None => {}
            }
        }
        order.sort_unstable();
        let newest = pairs
            .all()
            .iter()
            .map(|pair| pair.mod_revision)
            .max()
            .unwrap_or(1)
            .max(record.past.base);
        let last = newest.max(order.last().map_or(1, |(place, _)| revision_of(*place)));
        let mut timeline = Self {
            order,
            holes: Vec::new(),
            unknown,
            last,
            jump: None,
        };
        timeline.find_holes(record.past.base, record.ops.len() + pairs.all().len());
        timeline.find_deadlines(record);
        timeline.find_evidence(record, pairs);
        timeline
    }

    /// The acknowledged writes of `revision`: one, unless something is wrong.
    pub fn owners(&self, revision: i64) -> impl Iterator<Item = Id> {
        let wanted = place(revision);
        let first = self.order.partition_point(|(place, _)| *place < wanted);
        self.order[first..]
            .iter()
            .take_while(move |(place, _)| *place == wanted)
            .map(|(_, op)| *op)
    }

    fn find_holes(&mut self, base: i64, limit: usize) {
        let mut at = base;
        let writes = self.order.iter().filter(|(place, _)| place % 2 == 0);
        let ends = writes
            .map(|(place, _)| revision_of(*place))
            .chain([self.last + 1]);
        let mut holes = Vec::new();
        for revision in ends {
            let missing = usize::try_from(revision - at - 1).unwrap_or(0);
            if holes.len() + missing > limit {
                self.jump.get_or_insert((at, revision));
            } else {
                holes.extend(at + 1..revision);
            }
            at = at.max(revision);
        }
        let hole = |revision| Hole {
            revision,
            deadline: u64::MAX,
            evidence: Vec::new(),
            is_exact: false,
        };
        self.holes = holes.into_iter().map(hole).collect();
    }

    fn find_deadlines(&mut self, record: &Record) {
        let mut answered = u64::MAX;
        let mut later = self.order.iter().rev().peekable();
        for hole in self.holes.iter_mut().rev() {
            while let Some((_, id)) =
                later.next_if(|(place, _)| revision_of(*place) >= hole.revision)
            {
                answered = answered.min(record.ops[*id as usize].end);
            }
            hole.deadline = answered;
        }
    }

    fn find_evidence(&mut self, record: &Record, pairs: &Interner<Pair>) {
        if self.holes.is_empty() {
            return;
        }
        let holes = &mut self.holes;
        for (id, pair) in pairs.all().iter().enumerate() {
            if let Ok(hole) = holes.binary_search_by_key(&pair.mod_revision, |hole| hole.revision) {
                holes[hole].evidence.push(next_id(id));
            }
        }
        for hole in holes {
            match told_by_watches(record, pairs, hole.revision) {
                Some(events) => {
                    hole.evidence = events;
                    hole.is_exact = true;
                }
                None => keep_one_of_each_key(&mut hole.evidence, pairs),
            }
        }
    }
}

/// Members that part may say two things of one key; the first is as good as the other here, and the
/// tables report them.
fn keep_one_of_each_key(evidence: &mut Vec<Id>, pairs: &Interner<Pair>) {
    let mut kept: Vec<Id> = Vec::new();
    for id in evidence.drain(..) {
        let pair = pairs.get(id);
        match kept
            .iter_mut()
            .find(|kept| pairs.get(**kept).key == pair.key)
        {
            Some(kept) if pairs.get(*kept).value == super::record::UNREAD => *kept = id,
            Some(_) => {}
            None => kept.push(id),
        }
    }
    *evidence = kept;
}

/// The events of `revision` as most members' watches of every key have them.
fn told_by_watches(record: &Record, pairs: &Interner<Pair>, revision: i64) -> Option<Vec<Id>> {
    let mut told: Vec<(Vec<u16>, &[Id])> = Vec::new();
    for stream in record
        .streams
        .iter()
        .filter(|stream| record.is_everything(stream.span))
    {
        let first = stream
            .events
            .partition_point(|id| pairs.get(*id).mod_revision < revision);
        let len =
            stream.events[first..].partition_point(|id| pairs.get(*id).mod_revision == revision);
        let events = &stream.events[first..first + len];
        if events.is_empty() {
            continue;
        }
        match told.iter_mut().find(|(_, known)| *known == events) {
            Some((nodes, _)) if nodes.contains(&stream.node) => {}
            Some((nodes, _)) => nodes.push(stream.node),
            None => told.push((vec![stream.node], events)),
        }
    }
    let most = told.iter().map(|(nodes, _)| nodes.len()).max()?;
    told.into_iter()
        .find(|(nodes, _)| nodes.len() == most)
        .map(|(_, events)| events.to_vec())
}

/// What a put asks for.
#[derive(Clone, Copy)]
pub(crate) struct Put {
    pub key: Id,
    pub value: Id,
    /// 0 for none.
    pub lease: u32,
}

/// Calls `each` with every put that a request asks for, in whatever branch.
pub(crate) fn each_put(record: &Record, ask: Ask, each: &mut impl FnMut(Put)) {
    match ask {
        Ask::Put {
            key, value, lease, ..
        } => each(Put { key, value, lease }),
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            for run in [txn.success, txn.failure] {
                for ask in &record.asks[run.range()] {
                    each_put(record, *ask, each);
                }
            }
        }
        _ => {}
    }
}

/// Whether some branch of `ask` writes `pair`.
pub(crate) fn could_write(record: &Record, ask: Ask, pair: &Pair) -> bool {
    match ask {
        Ask::Put { key, value, .. } => {
            key == pair.key
                && !pair.is_gone()
                && (value == pair.value || pair.value == super::record::UNREAD)
        }
        Ask::Delete { span, .. } => pair.is_gone() && record.contains(span, pair.key),
        Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. } => {
            pair.is_gone() && record.ends_lease_of(ask, pair.key)
        }
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            let branches = [txn.success, txn.failure];
            branches.iter().any(|run| {
                record.asks[run.range()]
                    .iter()
                    .any(|ask| could_write(record, *ask, pair))
            })
        }
        _ => false,
    }
}

/// The ranges of keys that some branch of `ask` deletes, the ends of leases apart.
pub(crate) fn each_deleted_span(record: &Record, ask: Ask, each: &mut impl FnMut(Span)) {
    match ask {
        Ask::Delete { span, .. } => each(span),
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            for run in [txn.success, txn.failure] {
                for ask in &record.asks[run.range()] {
                    each_deleted_span(record, *ask, each);
                }
            }
        }
        _ => {}
    }
}

/// The ranges of keys that some branch of `ask` writes.
pub(crate) fn each_written_span(record: &Record, ask: Ask, each: &mut impl FnMut(Span)) {
    match ask {
        Ask::Put { key, .. } => each(Span { key, end: NONE }),
        Ask::Delete { span, .. } => each(span),
        Ask::LeaseGrant { lease } | Ask::LeaseRevoke { lease } => {
            for key in &record.lease_keys[lease as usize] {
                each(Span {
                    key: *key,
                    end: NONE,
                });
            }
        }
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            for run in [txn.success, txn.failure] {
                for ask in &record.asks[run.range()] {
                    each_written_span(record, *ask, each);
                }
            }
        }
        _ => {}
    }
}

/// Shorthand for an operation by number.
pub(crate) fn op_of(record: &Record, id: Id) -> &Op {
    &record.ops[id as usize]
}
