//! Claims are what the facts of a witness assert, in plain bytes.

use super::{
    Answer, Ask, Claim, Content, Fact, FxHashSet, GONE, Id, NONE, Op, Pair, Record, Run, Shown,
    Span, Target, UNREAD, Words,
};
use crate::etcd::{
    record::{Condition, RangeOptions},
    vocabulary::Relation,
};

pub(super) struct Reader<'a> {
    pub(super) words: &'a Words<'a>,
    pub(super) claims: Vec<Claim>,
    /// Lists of pairs shown of a span at a revision; they are read for the keys that matter alone.
    pub(super) lists: Vec<List>,
}

/// Pairs shown of a span as of a revision.
pub(super) struct List {
    at: i64,
    span: Span,
    pairs: Run,
    /// Whether a limit cut it off.
    is_cut: bool,
    end: u64,
}

/// What an answered operation did, while it is read.
struct Effect {
    revision: i64,
    call: u64,
    end: u64,
    writes: bool,
    contents: Vec<Content>,
    /// Whether `contents` is all that was written.
    whole: bool,
}

impl Reader<'_> {
    pub(super) fn read(&mut self, fact: Fact) {
        match fact {
            Fact::Op(id) => self.op(id),
            Fact::Shown(id, pair) => {
                self.op(id);
                let record = self.words.record;
                let op = record.ops[id as usize];
                let shown = self.words.pairs.get(pair);
                self.pair(&shown, op.end);
                let of_now = match record.ask(&op) {
                    Ask::Range { options, .. } => record.options[options as usize].revision == 0,
                    _ => false,
                };
                if shown.lease != 0 && of_now && !record.is_local(record.ask(&op)) {
                    self.claims.push(Claim::Has {
                        lease: shown.lease,
                        call: op.call,
                    });
                }
            }
            Fact::Watch(_) => {}
            Fact::Event(stream, event) => self.event(stream, event),
            Fact::Prev(stream, event) => self.prev(stream, event),
            Fact::Progress(stream, index) => self.progress(stream, index),
            Fact::Cancel(stream) => self.cancel(stream),
            Fact::Silence(stream, from, to) => self.silence(stream, from, to),
        }
    }

    pub(super) fn key(&self, key: Id) -> Vec<u8> {
        self.words.record.keys.get(key).to_vec()
    }

    /// What a pair says: its content, when its key was created, that it lived since.
    pub(super) fn pair(&mut self, pair: &Pair, seen: u64) {
        let contents = vec![self.content(pair)];
        self.claims.push(Claim::Holds {
            revision: pair.mod_revision,
            contents,
            whole: false,
            seen,
        });
        self.life(pair, seen);
    }

    /// A put of version 1 created its key, and no other did; and it attached it to its lease.
    pub(super) fn life(&mut self, pair: &Pair, seen: u64) {
        if pair.is_gone() {
            return;
        }
        if pair.lease != 0 {
            self.claims.push(Claim::Attached {
                revision: pair.mod_revision,
                key: self.key(pair.key),
                lease: pair.lease,
            });
        }
        let (created, changed, version) = (pair.create_revision, pair.mod_revision, pair.version);
        let is_first = created == changed;
        if is_first != (version == 1)
            || created > changed
            || created < 2
            || version > changed - created + 1
        {
            return self.claims.push(Claim::Absurd);
        }
        let key = self.key(pair.key);
        if is_first {
            return self.claims.push(Claim::Shows {
                at: changed - 1,
                key,
                revision: None,
            });
        }
        let content = Content {
            key: key.clone(),
            value: Shown::Something,
            numbers: None,
        };
        self.claims.push(Claim::Holds {
            revision: created,
            contents: vec![content],
            whole: false,
            seen,
        });
        self.claims.push(Claim::Lived {
            key,
            from: created,
            to: changed,
        });
    }

    pub(super) fn content(&self, pair: &Pair) -> Content {
        let value = match pair.value {
            GONE => Shown::Deleted,
            UNREAD => Shown::Something,
            value => Shown::Value(self.words.record.values.get(value).to_vec()),
        };
        Content {
            key: self.key(pair.key),
            value,
            numbers: Some((pair.create_revision, pair.version, pair.lease)),
        }
    }

    fn op(&mut self, id: Id) {
        let record = self.words.record;
        let op = record.ops[id as usize];
        let Some(answer) = record.answer(&op) else {
            return;
        };
        let ask = record.ask(&op);
        match (ask, answer) {
            (Ask::Status { quiet: true }, Answer::Status { applied }) => {
                self.claims.push(Claim::Position {
                    applied,
                    revision: op.revision,
                });
                self.claims.push(Claim::Rested {
                    node: op.node,
                    revision: op.revision,
                    time: op.end,
                });
            }
            (Ask::HashKv { revision }, Answer::HashKv { hash, compact }) => {
                let revision = if revision > 0 { revision } else { op.revision };
                self.claims.push(Claim::Hash {
                    of: (revision, compact),
                    hash,
                });
            }
            (Ask::Compact { revision }, _) => self.claims.push(Claim::Compacted {
                revision,
                node: op.node,
                end: op.end,
            }),
            (_, Answer::LeaseGrant { lease, ttl }) => self.renewed(&op, lease, ttl),
            (Ask::LeaseKeepAlive { lease }, Answer::LeaseKeepAlive { ttl }) if ttl > 0 => {
                self.renewed(&op, lease, ttl);
            }
            (Ask::LeaseRevoke { lease }, _) => self.claims.push(Claim::Revoked {
                lease: record.leases[lease as usize],
                revision: op.revision,
                call: op.call,
            }),
            (Ask::LeaseKeepAlive { lease }, Answer::LeaseKeepAlive { .. })
            | (Ask::LeaseTimeToLive { lease }, Answer::LeaseTimeToLive { ttl: ..0 }) => {
                self.claims.push(Claim::Gone {
                    lease: record.leases[lease as usize],
                    call: op.call,
                    end: op.end,
                });
            }
            _ if Record::is_kv(ask) => self.kv(&op, ask, answer),
            _ => {}
        }
        if matches!(ask, Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. }) {
            self.claims.push(Claim::Took {
                call: op.call,
                end: op.end,
                revision: op.revision,
                writes: false,
            });
        }
    }

    fn kv(&mut self, op: &Op, ask: Ask, answer: Answer) {
        let record = self.words.record;
        let writes = record.wrote(answer);
        // A member answers serializable reads alone: what they show is true, when they show it is not.
        if !record.is_local(ask) {
            self.claims.push(Claim::Took {
                call: op.call,
                end: op.end,
                revision: op.revision,
                writes,
            });
            self.claims.push(Claim::Answered {
                node: op.node,
                call: op.call,
                end: op.end,
            });
        }
        let mut effect = Effect {
            revision: op.revision,
            call: op.call,
            end: op.end,
            writes,
            contents: Vec::new(),
            whole: true,
        };
        self.effect(ask, answer, &mut effect);
        if writes {
            self.claims.push(Claim::Holds {
                revision: op.revision,
                contents: effect.contents,
                whole: effect.whole,
                seen: op.end,
            });
        }
    }

    fn effect(&mut self, ask: Ask, answer: Answer, effect: &mut Effect) {
        let record = self.words.record;
        match (ask, answer) {
            (
                Ask::Put {
                    key,
                    value,
                    prev_kv,
                    lease,
                },
                Answer::Put { prev },
            ) => {
                if lease > 0 {
                    self.claims.push(Claim::Attached {
                        revision: effect.revision,
                        key: self.key(key),
                        lease: record.leases[lease as usize],
                    });
                }
                let value = Shown::Value(record.values.get(value).to_vec());
                effect.contents.push(Content {
                    key: self.key(key),
                    value,
                    numbers: None,
                });
                if prev_kv {
                    self.shows(effect.revision - 1, key, prev, effect.end);
                }
            }
            (Ask::Delete { span, .. }, Answer::Delete { deleted, prev }) => {
                self.deletion(span, deleted, effect);
                for id in &record.lists[prev.range()] {
                    let pair = self.words.pairs.get(*id);
                    self.shows(effect.revision - 1, pair.key, *id, effect.end);
                }
            }
            (Ask::Range { span, options }, Answer::Range { kvs, count, more }) => {
                let options = record.options[options as usize];
                self.range_shape(options, kvs, (count, more), effect);
                let at = if options.revision > 0 {
                    options.revision
                } else {
                    effect.revision
                };
                // A read inside a transaction that writes may come before or after its writes.
                if (options.revision > 0 || !effect.writes) && !options.count_only {
                    let is_cut = options.limit > 0 && more;
                    self.lists.push(List {
                        at,
                        span,
                        pairs: kvs,
                        is_cut,
                        end: effect.end,
                    });
                }
            }
            (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
                let txn = record.txns[txn as usize];
                self.branch(&record.conditions[txn.compare.range()], succeeded, effect);
                let branch = if succeeded { txn.success } else { txn.failure };
                for (ask, answer) in record.asks[branch.range()]
                    .iter()
                    .zip(&record.answers[answers.range()])
                {
                    self.effect(*ask, *answer, effect);
                }
            }
            _ => {}
        }
    }

    fn deletion(&mut self, span: Span, deleted: u32, effect: &mut Effect) {
        if span.end != NONE {
            effect.whole &= deleted == 0;
            if deleted > 0 {
                self.claims.push(Claim::DeletedOf {
                    revision: effect.revision,
                    span,
                    count: deleted,
                });
            }
            return;
        }
        let key = self.key(span.key);
        match deleted {
            0 if !effect.writes => {
                self.claims.push(Claim::Shows {
                    at: effect.revision,
                    key,
                    revision: None,
                });
            }
            0 => {}
            1 => {
                if effect.contents.is_empty() {
                    let key = key.clone();
                    self.claims.push(Claim::Exists {
                        at: effect.revision - 1,
                        key,
                    });
                }
                effect.contents.push(Content {
                    key,
                    value: Shown::Deleted,
                    numbers: None,
                });
            }
            _ => self.claims.push(Claim::Absurd),
        }
    }

    /// What can be said of an answer without any other.
    fn range_shape(
        &mut self,
        options: RangeOptions,
        kvs: Run,
        (count, more): (u32, bool),
        effect: &Effect,
    ) {
        let cut = options.limit > 0 && i64::from(count) > options.limit && !options.count_only;
        let shown = match options.limit {
            _ if options.count_only => 0,
            limit if cut => limit,
            _ => i64::from(count),
        };
        let head = effect.revision - i64::from(effect.writes);
        if more != cut || i64::from(kvs.len) != shown || options.revision > head {
            self.claims.push(Claim::Absurd);
        }
        if options.revision > 0 && !options.serializable {
            self.claims.push(Claim::Read {
                call: effect.call,
                revision: options.revision,
            });
        }
    }

    /// What the branch taken says of conditions on the mod revision of one key.
    fn branch(&mut self, conditions: &[Condition], succeeded: bool, effect: &Effect) {
        let at = effect.revision - i64::from(effect.writes);
        for condition in conditions {
            let (Target::Mod(given), NONE, Relation::Equal) =
                (condition.target, condition.span.end, condition.relation)
            else {
                continue;
            };
            let key = self.key(condition.span.key);
            if succeeded {
                let revision = (given > 0).then_some(given);
                self.claims.push(Claim::Shows { at, key, revision });
            } else if conditions.len() == 1 {
                self.claims.push(Claim::Differs {
                    at,
                    key,
                    revision: given,
                });
            }
        }
    }

    pub(super) fn shows(&mut self, at: i64, key: Id, pair: Id, seen: u64) {
        let pair = (pair != NONE).then(|| self.words.pairs.get(pair));
        if let Some(pair) = &pair {
            self.pair(pair, seen);
            if pair.lease != 0 {
                self.claims.push(Claim::HasAt {
                    lease: pair.lease,
                    at,
                });
            }
        }
        let revision = pair.map(|pair| pair.mod_revision);
        self.claims.push(Claim::Shows {
            at,
            key: self.key(key),
            revision,
        });
    }

    /// Keys matter that another fact speaks of, or in which two lists differ.
    pub(super) fn read_lists(&mut self) {
        let record = self.words.record;
        let of_claim = |claim: &Claim| match claim {
            Claim::Holds { contents, .. } => {
                contents.iter().map(|content| content.key.clone()).collect()
            }
            Claim::Shows { key, .. } | Claim::Exists { key, .. } | Claim::Differs { key, .. } => {
                vec![key.clone()]
            }
            _ => Vec::new(),
        };
        let named = self.claims.iter().flat_map(of_claim);
        let mut keys: Vec<Id> = named.filter_map(|key| record.keys.find(&key)).collect();
        let shown: Vec<FxHashSet<Id>> = self
            .lists
            .iter()
            .map(|list| record.lists[list.pairs.range()].iter().copied().collect())
            .collect();
        for (one, other) in shown.iter().zip(shown.iter().skip(1)) {
            keys.extend(
                one.symmetric_difference(other)
                    .take(64)
                    .map(|id| self.words.pairs.get(*id).key),
            );
        }
        for list in &self.lists {
            // A short list is its own matter.
            if list.pairs.len <= 8 {
                let pairs = record.lists[list.pairs.range()].iter();
                keys.extend(pairs.map(|id| self.words.pairs.get(*id).key));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        for list in std::mem::take(&mut self.lists) {
            self.order(&list);
            for key in keys.iter().filter(|key| record.contains(list.span, **key)) {
                let mut pairs = record.lists[list.pairs.range()].iter();
                let pair = pairs.find(|id| self.words.pairs.get(**id).key == *key);
                match pair {
                    Some(pair) => self.shows(list.at, *key, *pair, list.end),
                    // What lies behind the last pair of a page is not known to be missing.
                    None if list.is_cut && self.is_behind(&list, *key) => {}
                    None => self.shows(list.at, *key, NONE, list.end),
                }
            }
        }
    }

    /// A list shows each key once, in order.
    fn order(&mut self, list: &List) {
        let record = self.words.record;
        let key = |id: &Id| record.keys.get(self.words.pairs.get(*id).key);
        let pairs = &record.lists[list.pairs.range()];
        if pairs.windows(2).any(|two| key(&two[0]) >= key(&two[1])) {
            self.claims.push(Claim::Absurd);
        }
    }

    fn is_behind(&self, list: &List, key: Id) -> bool {
        let record = self.words.record;
        let shown = record.lists[list.pairs.range()].last();
        shown.is_none_or(|last| {
            record.keys.get(key) > record.keys.get(self.words.pairs.get(*last).key)
        })
    }
}
