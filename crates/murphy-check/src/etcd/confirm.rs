//! A confirmation decides a second time, from the facts of a witness alone, that they cannot all be
//! true.
//!
//! It shares nothing with the sweep: no replay, no order of revisions, no numbers for pairs. The facts
//! become claims in plain bytes; then every order of the few operations is tried, in an open world in
//! which unseen writes may have filled any revision that no claim speaks of. Only an unseen deletion
//! must be one that somebody asked for.

use rustc_hash::FxHashSet;

use super::{
    record::{Answer, Ask, GONE, Op, Outcome, Pair, Record, Run, Span, UNREAD},
    sighting::Fact,
    words::Words,
};
use crate::intern::{Id, NONE};

/// Most operations whose orders are tried.
const ORDERED: usize = 7;

/// What became of a key's value.
#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Value(Vec<u8>),
    /// It was put, but the value was not asked for.
    Something,
    Deleted,
}

/// What a revision did to a key.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    key: Vec<u8>,
    value: Shown,
    /// Create revision and version, where shown.
    numbers: Option<(i64, i64)>,
}

/// One thing that a fact asserts.
#[derive(Clone, Debug)]
enum Claim {
    /// The revision holds this; `whole` where it holds nothing else.
    Holds {
        revision: i64,
        contents: Vec<Content>,
        whole: bool,
    },
    /// As of `at` the last write of the key is that of `revision`, or there is no pair.
    Shows {
        at: i64,
        key: Vec<u8>,
        revision: Option<i64>,
    },
    /// An operation with its place in time and in the order of revisions.
    Took {
        call: u64,
        end: u64,
        revision: i64,
        writes: bool,
    },
    /// A watch delivered nothing of its span from one revision up to, not including, another.
    Silent { stream: usize, from: i64, to: i64 },
    /// What a watch delivered.
    Delivered(Delivery),
    /// A quiet member.
    Position { applied: u64, revision: i64 },
    /// A hash of one revision and compact revision.
    Hash { of: (i64, i64), hash: u32 },
}

/// A delivery of a watch; those of one stream come in the order of `place`.
#[derive(Clone, Debug)]
struct Delivery {
    stream: usize,
    /// Line of the message, and place among the stream's events.
    place: (u32, usize),
    revision: i64,
    /// `None` for a bookmark.
    key: Option<Vec<u8>>,
}

/// Whether the facts contradict each other.
pub(crate) fn confirms(words: &Words<'_>, facts: &[(Fact, bool)]) -> bool {
    let mut reader = Reader {
        words,
        claims: Vec::new(),
        lists: Vec::new(),
    };
    for (fact, _) in facts {
        reader.read(*fact);
    }
    reader.read_lists();
    Judge {
        record: words.record,
        claims: reader.claims,
    }
    .is_impossible()
}

struct Reader<'a> {
    words: &'a Words<'a>,
    claims: Vec<Claim>,
    /// Lists of pairs shown of a span at a revision; they are read for the keys that matter alone.
    lists: Vec<(i64, Span, Run)>,
}

impl Reader<'_> {
    fn read(&mut self, fact: Fact) {
        match fact {
            Fact::Op(id) => self.op(id),
            Fact::Watch(_) => {}
            Fact::Event(stream, event) => self.event(stream, event),
            Fact::Progress(stream, index) => self.progress(stream, index),
        }
    }

    fn key(&self, key: Id) -> Vec<u8> {
        self.words.record.keys.get(key).to_vec()
    }

    fn content(&self, pair: &Pair) -> Content {
        let value = match pair.value {
            GONE => Shown::Deleted,
            UNREAD => Shown::Something,
            value => Shown::Value(self.words.record.values.get(value).to_vec()),
        };
        Content {
            key: self.key(pair.key),
            value,
            numbers: Some((pair.create_revision, pair.version)),
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
            }
            (Ask::HashKv { revision }, Answer::HashKv { hash, compact }) => {
                let revision = if revision > 0 { revision } else { op.revision };
                self.claims.push(Claim::Hash {
                    of: (revision, compact),
                    hash,
                });
            }
            _ if Record::is_kv(ask) => self.kv(&op, ask, answer),
            _ => {}
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
        }
        let (mut contents, mut whole) = (Vec::new(), true);
        self.effect(ask, answer, op.revision, writes, &mut contents, &mut whole);
        if writes {
            self.claims.push(Claim::Holds {
                revision: op.revision,
                contents,
                whole,
            });
        }
    }

    fn effect(
        &mut self,
        ask: Ask,
        answer: Answer,
        revision: i64,
        writes: bool,
        contents: &mut Vec<Content>,
        whole: &mut bool,
    ) {
        let record = self.words.record;
        match (ask, answer) {
            (
                Ask::Put {
                    key,
                    value,
                    prev_kv,
                    ..
                },
                Answer::Put { prev },
            ) => {
                let value = Shown::Value(record.values.get(value).to_vec());
                contents.push(Content {
                    key: self.key(key),
                    value,
                    numbers: None,
                });
                if prev_kv {
                    self.shows(revision - 1, key, prev);
                }
            }
            (Ask::Delete { span, .. }, Answer::Delete { deleted, .. }) => match span.end {
                NONE if deleted > 0 => contents.push(Content {
                    key: self.key(span.key),
                    value: Shown::Deleted,
                    numbers: None,
                }),
                _ => *whole &= deleted == 0,
            },
            (Ask::Range { span, options }, Answer::Range { kvs, .. }) => {
                let options = record.options[options as usize];
                let at = if options.revision > 0 {
                    options.revision
                } else {
                    revision
                };
                // A read inside a transaction that writes may come before or after its writes.
                if (options.revision > 0 || !writes) && options.limit == 0 && !options.count_only {
                    self.lists.push((at, span, kvs));
                }
            }
            (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
                let txn = record.txns[txn as usize];
                let branch = if succeeded { txn.success } else { txn.failure };
                for (ask, answer) in record.asks[branch.range()]
                    .iter()
                    .zip(&record.answers[answers.range()])
                {
                    self.effect(*ask, *answer, revision, writes, contents, whole);
                }
            }
            _ => {}
        }
    }

    fn shows(&mut self, at: i64, key: Id, pair: Id) {
        let pair = (pair != NONE).then(|| self.words.pairs.get(pair));
        if let Some(pair) = &pair {
            let contents = vec![self.content(pair)];
            self.claims.push(Claim::Holds {
                revision: pair.mod_revision,
                contents,
                whole: false,
            });
        }
        let revision = pair.map(|pair| pair.mod_revision);
        self.claims.push(Claim::Shows {
            at,
            key: self.key(key),
            revision,
        });
    }

    /// Keys matter that another fact speaks of, or in which two lists differ.
    fn read_lists(&mut self) {
        let record = self.words.record;
        let of_claim = |claim: &Claim| match claim {
            Claim::Holds { contents, .. } => {
                contents.iter().map(|content| content.key.clone()).collect()
            }
            Claim::Shows { key, .. } => vec![key.clone()],
            _ => Vec::new(),
        };
        let named = self.claims.iter().flat_map(of_claim);
        let mut keys: Vec<Id> = named.filter_map(|key| record.keys.find(&key)).collect();
        let shown: Vec<FxHashSet<Id>> = self
            .lists
            .iter()
            .map(|(_, _, run)| record.lists[run.range()].iter().copied().collect())
            .collect();
        for (one, other) in shown.iter().zip(shown.iter().skip(1)) {
            keys.extend(
                one.symmetric_difference(other)
                    .take(64)
                    .map(|id| self.words.pairs.get(*id).key),
            );
        }
        keys.sort_unstable();
        keys.dedup();
        for (at, span, run) in std::mem::take(&mut self.lists) {
            for key in keys.iter().filter(|key| record.contains(span, **key)) {
                let mut pairs = record.lists[run.range()].iter();
                let pair = pairs.find(|id| self.words.pairs.get(**id).key == *key);
                self.shows(at, *key, pair.copied().unwrap_or(NONE));
            }
        }
    }

    fn event(&mut self, stream: usize, event: usize) {
        let of = &self.words.record.streams[stream];
        let pair_of = |event: usize| self.words.pairs.get(of.events[event]);
        let pair = pair_of(event);
        let revision = pair.mod_revision;
        let same: Vec<usize> = (0..of.events.len())
            .filter(|other| pair_of(*other).mod_revision == revision)
            .collect();
        let contents = same
            .iter()
            .map(|event| self.content(&pair_of(*event)))
            .collect();
        let whole = self.words.record.is_everything(of.span);
        self.claims.push(Claim::Holds {
            revision,
            contents,
            whole,
        });
        let before = (0..event)
            .rev()
            .map(|event| pair_of(event).mod_revision)
            .find(|before| *before != revision);
        let from = before.map_or(of.first_revision().unwrap_or(revision), |before| before + 1);
        self.claims.push(Claim::Silent {
            stream,
            from,
            to: revision,
        });
        let place = (of.message_of(event).line, event);
        let key = Some(self.key(pair.key));
        self.claims.push(Claim::Delivered(Delivery {
            stream,
            place,
            revision,
            key,
        }));
        if let Some(prev) = of.prevs.get(event).filter(|prev| **prev != NONE) {
            self.shows(revision - 1, pair.key, *prev);
        }
    }

    fn progress(&mut self, stream: usize, index: usize) {
        let of = &self.words.record.streams[stream];
        let mark = of.progress[index];
        let delivered = of
            .messages
            .get(mark.after as usize)
            .map_or(of.events.len(), |next| next.first as usize);
        let last = of.events[..delivered]
            .last()
            .map(|id| self.words.pairs.get(*id).mod_revision);
        let from = last.map_or(of.first_revision().unwrap_or(mark.revision), |last| {
            last + 1
        });
        self.claims.push(Claim::Silent {
            stream,
            from,
            to: mark.revision + 1,
        });
        let delivery = Delivery {
            stream,
            place: (mark.line, 0),
            revision: mark.revision,
            key: None,
        };
        self.claims.push(Claim::Delivered(delivery));
    }
}

struct Judge<'a> {
    record: &'a Record,
    claims: Vec<Claim>,
}

impl Judge<'_> {
    fn is_impossible(&self) -> bool {
        let clash = |a: &Claim| self.claims.iter().any(|b| self.clash(a, b));
        self.claims.iter().any(|claim| self.is_absurd(claim))
            || self.claims.iter().any(clash)
            || !self.has_order()
    }

    /// A claim that no history can support.
    fn is_absurd(&self, claim: &Claim) -> bool {
        match claim {
            Claim::Took {
                revision,
                writes: true,
                ..
            } => *revision < 2,
            // Every revision from 2 on holds something, so a watch of everything is never silent about one.
            Claim::Silent { stream, from, to } => {
                *from.max(&2) < *to && self.record.is_everything(self.record.streams[*stream].span)
            }
            Claim::Delivered(delivery) if delivery.key.is_some() => {
                let first = self.record.streams[delivery.stream].first_revision();
                first.is_some_and(|first| delivery.revision < first)
            }
            _ => false,
        }
    }

    fn clash(&self, one: &Claim, other: &Claim) -> bool {
        match (one, other) {
            (
                Claim::Holds {
                    revision,
                    contents,
                    whole,
                },
                Claim::Holds {
                    revision: same,
                    contents: theirs,
                    ..
                },
            ) => {
                revision == same
                    && theirs
                        .iter()
                        .any(|content| differs(content, contents, *whole))
            }
            (
                Claim::Shows { at, key, revision },
                Claim::Holds {
                    revision: written,
                    contents,
                    ..
                },
            ) => {
                let content = contents.iter().find(|content| content.key == *key);
                written <= at
                    && content.is_some_and(|content| {
                        self.is_overlooked(content, *written, *at, *revision)
                    })
            }
            (
                Claim::Silent { stream, from, to },
                Claim::Holds {
                    revision, contents, ..
                },
            ) => {
                let span = self.record.streams[*stream].span;
                (from..to).contains(&revision)
                    && contents
                        .iter()
                        .any(|content| self.is_within(span, &content.key))
            }
            (
                Claim::Position { applied, revision },
                Claim::Position {
                    applied: same,
                    revision: theirs,
                },
            ) => applied == same && revision != theirs,
            (
                Claim::Hash { of, hash },
                Claim::Hash {
                    of: same,
                    hash: theirs,
                },
            ) => of == same && hash != theirs,
            (Claim::Delivered(before), Claim::Delivered(after)) => is_out_of_order(before, after),
            _ => false,
        }
    }

    /// Whether a state that shows the pair of `shown` cannot be one in which `content` was written before.
    fn is_overlooked(&self, content: &Content, written: i64, at: i64, shown: Option<i64>) -> bool {
        match shown {
            Some(shown) => shown < written,
            None => {
                content.value != Shown::Deleted && !self.may_be_deleted(&content.key, written, at)
            }
        }
    }

    fn is_within(&self, span: Span, key: &[u8]) -> bool {
        self.record
            .keys
            .find(key)
            .is_some_and(|key| self.record.contains(span, key))
    }

    /// Whether somebody asked for a deletion that may be one of the revisions between: an acknowledged
    /// one is where it says, one of unknown outcome needs a revision that nobody was told to own.
    fn may_be_deleted(&self, key: &[u8], written: i64, at: i64) -> bool {
        let between = written + 1..=at;
        let mut owned: Vec<i64> = Vec::new();
        let mut asked = false;
        for op in &self.record.ops {
            let wrote = self
                .record
                .answer(op)
                .is_some_and(|answer| self.record.wrote(answer));
            let deletes = self.deletes(self.record.ask(op), key);
            if wrote && between.contains(&op.revision) {
                if deletes {
                    return true;
                }
                owned.push(op.revision);
            }
            asked |= deletes && op.outcome == Outcome::Unknown;
        }
        owned.sort_unstable();
        owned.dedup();
        asked && (owned.len() as u64) < at.abs_diff(written)
    }

    fn deletes(&self, ask: Ask, key: &[u8]) -> bool {
        match ask {
            Ask::Delete { span, .. } => self.is_within(span, key),
            Ask::Txn(txn) => {
                let txn = self.record.txns[txn as usize];
                let mut asks = self.record.asks[txn.success.range()]
                    .iter()
                    .chain(&self.record.asks[txn.failure.range()]);
                asks.any(|ask| self.deletes(*ask, key))
            }
            _ => false,
        }
    }

    /// Whether some order of the operations fits real time and revisions.
    fn has_order(&self) -> bool {
        let took = |claim: &Claim| match claim {
            Claim::Took {
                call,
                end,
                revision,
                writes,
            } => Some((*call, *end, *revision, *writes)),
            _ => None,
        };
        let mut ops: Vec<(u64, u64, i64, bool)> = self.claims.iter().filter_map(took).collect();
        ops.sort_unstable();
        ops.dedup();
        ops.len() > ORDERED || permute(&mut ops, 0)
    }
}

/// Whether a watch cannot deliver `after` behind `before`: revisions rise, a revision comes in one
/// message, an event once, and nothing behind its bookmark.
fn is_out_of_order(before: &Delivery, after: &Delivery) -> bool {
    if before.stream != after.stream
        || before.place >= after.place
        || before.revision < after.revision
    {
        return false;
    }
    let is_split = before.place.0 != after.place.0;
    before.revision > after.revision
        || after.key.is_some() && (before.key.is_none() || before.key == after.key || is_split)
}

/// Tries every order of `ops[done..]` behind the first `done`.
fn permute(ops: &mut [(u64, u64, i64, bool)], done: usize) -> bool {
    if done == ops.len() {
        return true;
    }
    (done..ops.len()).any(|next| {
        ops.swap(done, next);
        let (call, end, revision, writes) = ops[done];
        let follows = ops[..done].iter().all(|(_, _, before, _)| {
            if writes {
                *before < revision
            } else {
                *before <= revision
            }
        });
        let in_time = ops[done + 1..]
            .iter()
            .all(|(_, ended, _, _)| *ended >= call);
        let fits = follows && in_time && call <= end && permute(ops, done + 1);
        ops.swap(done, next);
        fits
    })
}

/// Whether a revision that holds `ours` cannot hold `content`.
fn differs(content: &Content, ours: &[Content], whole: bool) -> bool {
    match ours.iter().find(|known| known.key == content.key) {
        None => whole,
        Some(known) => {
            let values = match (&known.value, &content.value) {
                (Shown::Value(a), Shown::Value(b)) => a != b,
                (a, b) => (*a == Shown::Deleted) != (*b == Shown::Deleted),
            };
            let numbers = matches!((known.numbers, content.numbers), (Some(a), Some(b)) if a != b);
            values || numbers && known.value != Shown::Deleted
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::etcd::generate::{Profile, Story};

    #[test]
    fn facts_of_valid_histories_never_contradict_each_other() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for seed in 0..20 {
            let profile = Profile {
                clients: 8,
                keys: 6,
                ..Profile::mixed(200)
            };
            let story = Story::generate(&profile, seed);
            let mut record = Record::read(story.bytes().as_slice()).unwrap();
            let pairs = std::mem::take(&mut record.pairs);
            let words = Words {
                record: &record,
                pairs: &pairs,
            };
            for _ in 0..200 {
                let facts: Vec<_> = (0..4)
                    .filter_map(|_| random_fact(&record, &mut rng))
                    .map(|fact| (fact, true))
                    .collect();
                assert!(!confirms(&words, &facts), "seed {seed}: {facts:?}");
            }
        }
    }

    fn random_fact(record: &Record, rng: &mut ChaCha8Rng) -> Option<Fact> {
        let stream = rng.random_range(0..record.streams.len());
        let within = |len: usize, rng: &mut ChaCha8Rng| (len > 0).then(|| rng.random_range(0..len));
        match rng.random_range(0..4) {
            0 => within(record.streams[stream].events.len(), rng)
                .map(|event| Fact::Event(stream, event)),
            1 => within(record.streams[stream].progress.len(), rng)
                .map(|mark| Fact::Progress(stream, mark)),
            _ => within(record.ops.len(), rng)
                .and_then(|op| Id::try_from(op).ok())
                .map(Fact::Op),
        }
    }
}
