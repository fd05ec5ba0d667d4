//! A performance replays one request against the key space and compares what comes out with the answer
//! that was given.
//!
//! The rules are etcd's (`server/etcdserver/apply.go`, `server/mvcc/kvstore_txn.go`): all conditions of a
//! transaction, nested ones included, look at the state before it; its reads see its own earlier
//! writes; it takes one revision if it writes anything and none if not.

use super::{
    record::{Answer, Ask, Condition, Pair, Record, Run, Span, Target, UNREAD},
    store::{Order, View},
    vocabulary::Relation,
};
use crate::intern::{Id, Interner, NONE};

/// How an answer differs from the replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The key has another pair; [`NONE`] for no pair.
    Pair { key: Id, expected: Id, found: Id },
    /// Another number of keys in the range.
    Count { expected: u32, found: u32 },
    /// Another number of keys deleted.
    Deleted { expected: u32, found: u32 },
    /// The conditions lead to the other branch.
    Branch { expected: bool },
    /// `more` is wrong.
    More { expected: bool },
    /// A read of a revision that is still to come was answered.
    Future { revision: i64 },
    /// A read of a revision was answered after its compaction was acknowledged.
    Compacted { revision: i64, by: Id },
    /// A revoked lease still has this pair.
    Kept { pair: Id },
    /// A pair was put under a lease that had ended in `revision`.
    Ended { lease: u32, revision: i64 },
}

/// The replay of requests against one view of the key space.
pub(crate) struct Stage<'r, V> {
    pub record: &'r Record,
    pub order: &'r Order,
    pub pairs: &'r mut Interner<Pair>,
    pub view: V,
    /// The events of the request performed last.
    pub events: Vec<Id>,
    /// Whether the request performed last looked at something uncertain.
    pub uncertain: bool,
    /// Whether it looked at something about which the history contradicts itself.
    pub contested: bool,
    revision: i64,
    /// The revision before, where the request writes; the newest that its reads can name.
    before: i64,
    mismatch: Option<Mismatch>,
    path: Vec<bool>,
}

impl<'r, V: View> Stage<'r, V> {
    /// A stage on which nothing has been performed.
    pub fn new(
        record: &'r Record,
        order: &'r Order,
        pairs: &'r mut Interner<Pair>,
        view: V,
    ) -> Self {
        Self {
            record,
            order,
            pairs,
            view,
            events: Vec::new(),
            uncertain: false,
            contested: false,
            revision: 0,
            before: 0,
            mismatch: None,
            path: Vec::new(),
        }
    }

    /// Performs `ask` as the writer of `revision`, or as a reader when the state is that of `revision`,
    /// and compares with `answer` where there is one.
    pub fn perform(&mut self, ask: Ask, answer: Option<Answer>, revision: i64) -> Option<Mismatch> {
        self.events.clear();
        self.uncertain = false;
        self.contested = false;
        self.mismatch = None;
        self.revision = revision;
        let writes = answer.is_none_or(|answer| self.record.wrote(answer));
        self.before = revision - i64::from(writes);
        if let Ask::Txn(txn) = ask {
            self.path.clear();
            self.find_path(txn);
            self.path.reverse();
        }
        self.step(ask, answer);
        self.mismatch
    }

    fn differ(&mut self, mismatch: Mismatch) {
        self.mismatch.get_or_insert(mismatch);
    }

    fn look(&mut self, ranks: (u32, u32)) {
        self.uncertain |= self.view.is_uncertain(ranks);
        self.contested |= self.view.is_contested(ranks, i64::MAX);
    }

    fn head(&mut self, rank: u32) -> Id {
        self.look((rank, rank + 1));
        self.view.head(self.pairs, rank)
    }

    fn step(&mut self, ask: Ask, answer: Option<Answer>) {
        match (ask, answer) {
            (
                Ask::Put {
                    key,
                    value,
                    lease,
                    prev_kv,
                },
                answer,
            ) => {
                let prev = self.put(key, value, self.record.leases[lease as usize]);
                if let (Some(Answer::Put { prev: found }), true) = (answer, prev_kv) {
                    self.compare(key, prev, found);
                }
            }
            (Ask::Delete { span, prev_kv }, answer) => self.delete(span, prev_kv, answer),
            (Ask::Range { span, options }, Some(Answer::Range { kvs, count, more })) => {
                self.range(span, options, kvs, count, more);
            }
            (Ask::Txn(txn), answer) => self.txn(txn, answer),
            (Ask::LeaseGrant { lease } | Ask::LeaseRevoke { lease }, None) => self.end_lease(lease),
            (Ask::LeaseRevoke { lease }, Some(_)) => {
                if let Some((_, pair)) = self.attached(lease).first() {
                    self.differ(Mismatch::Kept { pair: *pair });
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, key: Id, value: Id, lease: i64) -> Id {
        let rank = self.order.rank(key);
        let prev = self.head(rank);
        let (create_revision, version) = match prev {
            NONE => (self.revision, 1),
            prev => {
                let prev = self.pairs.get(prev);
                (prev.create_revision, prev.version.saturating_add(1))
            }
        };
        let pair = Pair {
            mod_revision: self.revision,
            create_revision,
            version,
            lease,
            key,
            value,
        };
        let id = self.pairs.id(self.record.as_recorded(pair));
        self.view.write(rank, id, false);
        self.events.push(id);
        prev
    }

    fn delete(&mut self, span: Span, prev_kv: bool, answer: Option<Answer>) {
        let ranks = self.order.ranks(span);
        self.look(ranks);
        let mut found = Vec::new();
        self.view
            .heads(self.pairs, ranks, |rank, id| found.push((rank, id)));
        if let Some(Answer::Delete { deleted, prev }) = answer {
            let expected = crate::intern::next_id(found.len());
            if deleted != expected {
                self.differ(Mismatch::Deleted {
                    expected,
                    found: deleted,
                });
            } else if prev_kv {
                self.compare_lists(&found, prev);
            }
            if deleted == 0 {
                // The client was told that nothing happened; the difference is noted, the replay goes on.
                return;
            }
        }
        for (rank, id) in found {
            let gone = Pair::gone(self.pairs.get(id).key, self.revision);
            let id = self.pairs.id(gone);
            self.view.write(rank, id, true);
            self.events.push(id);
        }
    }

    /// The keys that are attached to a lease now, with their ranks.
    pub fn attached(&mut self, lease: u32) -> Vec<(u32, Id)> {
        let record = self.record;
        let id = record.leases[lease as usize];
        let keys = record.lease_keys[lease as usize].iter();
        let heads: Vec<(u32, Id)> = keys
            .map(|key| self.order.rank(*key))
            .map(|rank| (rank, self.head(rank)))
            .collect();
        let is_attached = |pair: Id| pair != NONE && self.pairs.get(pair).lease == id;
        heads
            .into_iter()
            .filter(|(_, pair)| is_attached(*pair))
            .collect()
    }

    /// All keys of the lease go in one revision.
    fn end_lease(&mut self, lease: u32) {
        for (rank, pair) in self.attached(lease) {
            let gone = Pair::gone(self.pairs.get(pair).key, self.revision);
            let id = self.pairs.id(gone);
            self.view.write(rank, id, true);
            self.events.push(id);
        }
    }

    fn range(&mut self, span: Span, options: u32, kvs: Run, count: u32, more: bool) {
        let options = self.record.options[options as usize];
        let ranks = self.order.ranks(span);
        self.look(ranks);
        if options.revision > 0 {
            self.contested |= self.view.is_contested(ranks, options.revision);
        }
        if options.revision > self.before {
            return self.differ(Mismatch::Future {
                revision: options.revision,
            });
        }
        if (1..self.record.past.floor).contains(&options.revision) {
            return;
        }
        if ranks.1 == ranks.0 + 1 && options.limit == 0 && !options.count_only {
            return self.range_of_one(ranks.0, options.revision, kvs, count, more);
        }
        let found = self.state(ranks, options.revision);
        let expected = crate::intern::next_id(found.len());
        let limit = usize::try_from(options.limit).unwrap_or(0);
        let is_cut = limit > 0 && found.len() > limit && !options.count_only;
        let shown = if options.count_only {
            &[][..]
        } else if is_cut {
            &found[..limit]
        } else {
            &found[..]
        };
        self.compare_lists(shown, kvs);
        if count != expected {
            self.differ(Mismatch::Count {
                expected,
                found: count,
            });
        }
        if more != is_cut {
            self.differ(Mismatch::More { expected: is_cut });
        }
    }

    /// The most frequent read, without a list.
    fn range_of_one(&mut self, rank: u32, revision: i64, kvs: Run, count: u32, more: bool) {
        let expected = if revision > 0 && revision < self.revision {
            self.view.at(self.pairs, rank, revision)
        } else {
            self.view.head(self.pairs, rank)
        };
        let lists = &self.record.lists[kvs.range()];
        self.compare(
            self.order.key(rank),
            expected,
            lists.first().copied().unwrap_or(NONE),
        );
        let expected = u32::from(expected != NONE);
        if count != expected || kvs.len > 1 {
            self.differ(Mismatch::Count {
                expected,
                found: count.max(kvs.len),
            });
        }
        if more {
            self.differ(Mismatch::More { expected: false });
        }
    }

    fn state(&self, ranks: (u32, u32), revision: i64) -> Vec<(u32, Id)> {
        let mut found = Vec::new();
        if revision > 0 && revision < self.revision {
            for rank in ranks.0..ranks.1 {
                let id = self.view.at(self.pairs, rank, revision);
                if id != NONE {
                    found.push((rank, id));
                }
            }
        } else {
            self.view
                .heads(self.pairs, ranks, |rank, id| found.push((rank, id)));
        }
        found
    }

    fn agree(&self, expected: Id, found: Id) -> bool {
        expected == found
            || expected != NONE && found != NONE && {
                let found = self.pairs.get(found);
                found.value == UNREAD && self.pairs.get(expected).agrees(&found)
            }
    }

    fn compare(&mut self, key: Id, expected: Id, found: Id) {
        if !self.agree(expected, found) {
            self.differ(Mismatch::Pair {
                key,
                expected,
                found,
            });
        }
    }

    /// Compares key by key, so that the difference names the key that is missing or too many.
    fn compare_lists(&mut self, expected: &[(u32, Id)], found: Run) {
        let record = self.record;
        let found = &record.lists[found.range()];
        let (mut e, mut f) = (0, 0);
        while e < expected.len() || f < found.len() {
            let ours = expected.get(e).copied();
            let theirs = found
                .get(f)
                .map(|id| (self.order.rank(self.pairs.get(*id).key), *id));
            let (rank, ours, theirs) = match (ours, theirs) {
                (Some((a, ours)), Some((b, theirs))) if a == b => (a, ours, theirs),
                (Some((a, ours)), Some((b, _))) if a < b => (a, ours, NONE),
                (_, Some((b, theirs))) => (b, NONE, theirs),
                (Some((a, ours)), None) => (a, ours, NONE),
                (None, None) => return,
            };
            if !self.agree(ours, theirs) {
                let key = self.order.key(rank);
                return self.differ(Mismatch::Pair {
                    key,
                    expected: ours,
                    found: theirs,
                });
            }
            e += 1;
            f += 1;
        }
    }

    /// Decides all conditions before anything is written, in the order in which transactions are met.
    fn find_path(&mut self, txn: u32) {
        let txn = self.record.txns[txn as usize];
        let conditions = &self.record.conditions[txn.compare.range()];
        let succeeded = conditions.iter().all(|condition| self.holds(condition));
        self.path.push(succeeded);
        let branch = if succeeded { txn.success } else { txn.failure };
        for ask in &self.record.asks[branch.range()] {
            if let Ask::Txn(nested) = ask {
                self.find_path(*nested);
            }
        }
    }

    fn holds(&mut self, condition: &Condition) -> bool {
        let ranks = self.order.ranks(condition.span);
        if ranks.1 == ranks.0 + 1 {
            let id = self.head(ranks.0);
            return self.pair_holds(condition, id);
        }
        self.look(ranks);
        let mut ids = Vec::new();
        self.view.heads(self.pairs, ranks, |_, id| ids.push(id));
        if ids.is_empty() {
            ids.push(NONE);
        }
        ids.iter().all(|id| self.pair_holds(condition, *id))
    }

    fn pair_holds(&self, condition: &Condition, id: Id) -> bool {
        let pair = (id != NONE).then(|| self.pairs.get(id));
        let stored = |number: fn(&Pair) -> i64| pair.as_ref().map_or(0, number);
        let order = match condition.target {
            Target::Version(given) => stored(|p| p.version).cmp(&given),
            Target::Create(given) => stored(|p| p.create_revision).cmp(&given),
            Target::Mod(given) => stored(|p| p.mod_revision).cmp(&given),
            Target::Lease(given) => stored(|p| p.lease).cmp(&given),
            Target::Value(given) => match pair {
                Some(pair) if pair.value == UNREAD => return true,
                Some(pair) => self
                    .record
                    .values
                    .get(pair.value)
                    .cmp(self.record.values.get(given)),
                None => return false,
            },
        };
        match condition.relation {
            Relation::Equal => order.is_eq(),
            Relation::Greater => order.is_gt(),
            Relation::Less => order.is_lt(),
            Relation::NotEqual => order.is_ne(),
        }
    }

    fn txn(&mut self, txn: u32, answer: Option<Answer>) {
        let expected = self.path.pop().unwrap_or_default();
        let (succeeded, answers) = match answer {
            Some(Answer::Txn { succeeded, answers }) => (succeeded, Some(answers)),
            _ => (expected, None),
        };
        if succeeded != expected {
            self.differ(Mismatch::Branch { expected });
        }
        let record = self.record;
        let txn = record.txns[txn as usize];
        let branch = if succeeded { txn.success } else { txn.failure };
        let answers = answers.map(|run| &record.answers[run.range()]);
        for (place, ask) in record.asks[branch.range()].iter().enumerate() {
            self.step(
                *ask,
                answers.and_then(|answers| answers.get(place).copied()),
            );
        }
    }
}
