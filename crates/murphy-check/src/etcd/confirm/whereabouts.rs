//! Whereabouts are what the facts leave open about the writes that no acknowledgement names: which of them may be
//! which revision.

use rustc_hash::FxHashMap;

use super::super::timeline::{Put, each_put};
use super::{Answer, Ask, Fact, GONE, Id, NONE, Op, Outcome, Record, UNREAD, Words};
use crate::intern::next_id;

/// What the whole history says of who asked for what; it is read once for many confirmations.
pub(crate) struct Asked<'a> {
    pub(super) words: &'a Words<'a>,
    /// The acknowledged writes of each revision.
    owners: FxHashMap<i64, Vec<Id>>,
    /// Requests that may have written a revision which no answer names.
    unseen: Vec<Id>,
    /// Who asked for a put of a key and value, those aside that certainly did not happen.
    puts: FxHashMap<(Id, Id), Vec<Id>>,
    /// The first revision in which a put of the key was acknowledged, 0 where an unknown one may come first.
    first_puts: FxHashMap<Id, i64>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(words: &'a Words<'a>) -> Self {
        let record = words.record;
        let mut asked = Self {
            words,
            owners: FxHashMap::default(),
            unseen: Vec::new(),
            puts: FxHashMap::default(),
            first_puts: FxHashMap::default(),
        };
        for (id, op) in record.ops.iter().enumerate() {
            let id = next_id(id);
            if op.outcome == Outcome::Fail {
                continue;
            }
            let ask = record.ask(op);
            if record.answer(op).is_some_and(|answer| record.wrote(answer)) {
                asked.owners.entry(op.revision).or_default().push(id);
            } else if is_unseen(record, op) {
                asked.unseen.push(id);
            }
            let put_at = if op.outcome == Outcome::Ok {
                op.revision
            } else {
                0
            };
            each_put(record, ask, &mut |Put { key, value, .. }| {
                let first = asked.first_puts.entry(key).or_insert(put_at);
                *first = put_at.min(*first);
                let writers = asked.puts.entry((key, value)).or_default();
                if writers.last() != Some(&id) {
                    writers.push(id);
                }
            });
        }
        asked
    }

    pub(crate) fn words(&self) -> &'a Words<'a> {
        self.words
    }

    pub(super) fn record(&self) -> &'a Record {
        self.words.record
    }

    pub(super) fn owners(&self, revision: i64) -> &[Id] {
        self.owners.get(&revision).map_or(&[], Vec::as_slice)
    }

    /// Whether somebody may have put the key before `revision`.
    pub(super) fn may_be_put_before(&self, key: Id, revision: i64) -> bool {
        self.first_puts
            .get(&key)
            .is_some_and(|first| *first < revision)
    }

    pub(crate) fn is_owned(&self, revision: i64) -> bool {
        self.owners.contains_key(&revision)
    }

    /// The requests that may have written a revision which no answer names.
    pub(crate) fn unseen(&self) -> &[Id] {
        &self.unseen
    }

    pub(crate) fn op(&self, id: Id) -> &'a Op {
        &self.record().ops[id as usize]
    }
}

/// Whether `op` may have written some revision that its answer does not name: the end of a granted lease may come at
/// any time, and a revocation is answered with a revision whether it deleted anything or not.
fn is_unseen(record: &Record, op: &Op) -> bool {
    match record.ask(op) {
        Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. } => true,
        _ => op.outcome == Outcome::Unknown && record.may_write(op),
    }
}

/// What a request may do to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Value and lease.
    Put(Id, u32),
    Delete,
    /// The key goes if it has this lease.
    End(u32),
}

/// Calls `each` with what some branch of `ask` does to `key`.
pub(crate) fn each_deed(record: &Record, ask: Ask, key: Id, each: &mut impl FnMut(Deed)) {
    match ask {
        Ask::Put {
            key: put,
            value,
            lease,
            ..
        } if put == key => each(Deed::Put(value, lease)),
        Ask::Delete { span, .. } if record.contains(span, key) => each(Deed::Delete),
        Ask::LeaseGrant { lease } | Ask::LeaseRevoke { lease }
            if record.ends_lease_of(ask, key) =>
        {
            each(Deed::End(lease));
        }
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            for run in [txn.success, txn.failure] {
                for ask in &record.asks[run.range()] {
                    each_deed(record, *ask, key, each);
                }
            }
        }
        _ => {}
    }
}

/// The same for the branch that was taken.
pub(super) fn each_done(
    record: &Record,
    ask: Ask,
    answer: Answer,
    key: Id,
    each: &mut impl FnMut(Deed),
) {
    let (Ask::Txn(txn), Answer::Txn { succeeded, answers }) = (ask, answer) else {
        return each_deed(record, ask, key, each);
    };
    let txn = record.txns[txn as usize];
    let branch = if succeeded { txn.success } else { txn.failure };
    let asks = record.asks[branch.range()].iter();
    for (ask, answer) in asks.zip(&record.answers[answers.range()]) {
        each_done(record, *ask, *answer, key, each);
    }
}

/// What some facts leave open.
pub(super) struct Whereabouts<'a> {
    asked: &'a Asked<'a>,
    /// A revision that was there by a time.
    reached: Vec<(u64, i64)>,
    /// What a revision holds: key, value.
    contents: FxHashMap<i64, Vec<(Id, Id)>>,
    /// Writes that alone can have written something that a revision holds.
    places: FxHashMap<Id, i64>,
}

impl<'a> Whereabouts<'a> {
    pub(super) fn new(asked: &'a Asked<'a>, facts: &[Fact]) -> Self {
        let mut found = Self {
            asked,
            reached: Vec::new(),
            contents: FxHashMap::default(),
            places: FxHashMap::default(),
        };
        for fact in facts {
            found.read(*fact);
        }
        found.reached.sort_unstable();
        // What was there at some time is there at any later one.
        let mut most = 0;
        for (_, revision) in &mut found.reached {
            most = most.max(*revision);
            *revision = most;
        }
        found
    }

    fn read(&mut self, fact: Fact) {
        let (record, pairs) = (self.asked.record(), self.asked.words.pairs);
        match fact {
            Fact::Op(id) | Fact::Shown(id, _) => {
                let op = &record.ops[id as usize];
                if record.answer(op).is_none() {
                    return;
                }
                if Record::is_ordered(record.ask(op)) {
                    self.reached.push((op.end, op.revision));
                }
                if let Fact::Shown(_, pair) = fact {
                    self.holds(pair, op.end);
                }
            }
            Fact::Event(stream, event) => {
                let of = &record.streams[stream];
                let revision = pairs.get(of.events[event]).mod_revision;
                let time = of.message_of(event).time;
                for id in &of.events {
                    if pairs.get(*id).mod_revision == revision {
                        self.holds(*id, time);
                    }
                }
            }
            Fact::Prev(stream, event) => {
                let of = &record.streams[stream];
                if let Some(prev) = of.prevs.get(event).filter(|prev| **prev != NONE) {
                    self.holds(*prev, of.message_of(event).time);
                }
            }
            _ => {}
        }
    }

    fn holds(&mut self, id: Id, seen: u64) {
        let pair = self.asked.words.pairs.get(id);
        let revision = pair.mod_revision;
        self.reached.push((seen, revision));
        self.contents
            .entry(revision)
            .or_default()
            .push((pair.key, pair.value));
        if let Some([writer]) = self
            .asked
            .puts
            .get(&(pair.key, pair.value))
            .map(Vec::as_slice)
        {
            self.places.insert(*writer, revision);
        }
    }

    /// Whether the write `id`, which no answer places, may be `revision`.
    pub(super) fn may_be(&self, id: Id, revision: i64) -> bool {
        let record = self.asked.record();
        let op = self.asked.op(id);
        if self.places.get(&id).is_some_and(|place| *place != revision) {
            return false;
        }
        if let (Ask::LeaseRevoke { .. }, Outcome::Ok) = (record.ask(op), op.outcome) {
            return op.revision == revision;
        }
        let before = self.reached.partition_point(|(by, _)| *by < op.call);
        if before > 0 && self.reached[before - 1].1 >= revision {
            return false;
        }
        self.contents.get(&revision).is_none_or(|contents| {
            contents
                .iter()
                .all(|(key, value)| writes(record, record.ask(op), *key, *value))
        })
    }

    /// Whether an answered operation or a member showed `revision` before `call`.
    pub(super) fn comes_back(&self, call: u64, revision: i64, writes: bool) -> bool {
        let before = self.reached.partition_point(|(by, _)| *by < call);
        before > 0 && self.reached[before - 1].1 >= revision + i64::from(!writes)
    }
}

fn writes(record: &Record, ask: Ask, key: Id, value: Id) -> bool {
    let mut does = false;
    each_deed(record, ask, key, &mut |deed| {
        does |= match deed {
            Deed::Put(put, _) => put == value || value == UNREAD,
            Deed::Delete | Deed::End(_) => value == GONE,
        };
    });
    does
}
