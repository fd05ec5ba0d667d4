//! A confirmation decides a second time, from the facts of a witness alone, that they cannot all be
//! true.
//!
//! It shares nothing with the sweep: no replay, no order of revisions, no numbers for pairs. The facts
//! become claims in plain bytes; then every order of the few operations is tried, in an open world in
//! which unseen writes may have filled any revision that no claim speaks of. But whatever a revision is said to
//! hold, somebody must have asked for. Last, every life of each key that the facts name is tried.

mod claims;
mod judge;
mod leases;
mod lives;
mod streams;
mod whereabouts;
mod writers;

use claims::Reader;
use judge::Judge;
use lives::{Lives, each_count};
use rustc_hash::FxHashSet;
use whereabouts::Whereabouts;
pub(crate) use whereabouts::{Asked, each_deed};

use super::{
    record::{Answer, Ask, GONE, Op, Outcome, Pair, Record, Run, Span, Target, UNREAD},
    sighting::Fact,
    words::Words,
};
use crate::intern::{Id, Interner, NONE};

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
    /// Create revision, version and lease, where shown.
    numbers: Option<(i64, i64, i64)>,
}

/// One thing that a fact asserts.
#[derive(Clone, Debug)]
enum Claim {
    /// The revision holds this; `whole` where it holds nothing else.
    Holds {
        revision: i64,
        contents: Vec<Content>,
        whole: bool,
        /// By when that was known.
        seen: u64,
    },
    /// Every key that `revision` put is attached to the lease.
    Attached {
        revision: i64,
        key: Vec<u8>,
        lease: i64,
    },
    /// The lease lives until then at least.
    Renewed {
        lease: i64,
        answered: u64,
        until: u64,
    },
    /// A member says that the lease is no more.
    Gone { lease: i64, call: u64, end: u64 },
    /// The lease was revoked in `revision`, at the latest.
    Revoked {
        lease: i64,
        revision: i64,
        call: u64,
    },
    /// As of `at` there is a key that has the lease.
    HasAt { lease: i64, at: i64 },
    /// A linearizable read, asked at `call`, showed a key that has the lease.
    Has { lease: i64, call: u64 },
    /// Nothing explains it, whatever else is true.
    Absurd,
    /// There is a pair of the key as of `at`.
    Exists { at: i64, key: Vec<u8> },
    /// The key was not deleted between two revisions.
    Lived { key: Vec<u8>, from: i64, to: i64 },
    /// As of `at` the last write of the key is not that of `revision`, 0 for none.
    Differs {
        at: i64,
        key: Vec<u8>,
        revision: i64,
    },
    /// `revision` deleted so many keys of the span.
    DeletedOf {
        revision: i64,
        span: Span,
        count: u32,
    },
    /// A read of the state of `revision`, asked at `call`.
    Read { call: u64, revision: i64 },
    /// A compaction acknowledged by `node` at `end`.
    Compacted { revision: i64, node: u16, end: u64 },
    /// A member answered something linearizable.
    Answered { node: u16, call: u64, end: u64 },
    /// A member cancelled a watch, naming a compact revision.
    Cancelled { stream: usize, named: i64 },
    /// A member came to rest.
    Rested { node: u16, revision: i64, time: u64 },
    /// A watch delivered nothing of `first` or later from one time to another.
    Idle {
        stream: usize,
        first: i64,
        from: u64,
        to: u64,
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
    /// A watch delivered `revision`, and of its keys what it delivered alone.
    Told { stream: usize, revision: i64 },
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

/// Most pairs of an answer whose keys are all looked at, and most keys that are counted.
const LISTED: u32 = 16;
const COUNTED: usize = 512;

/// Whether the facts contradict each other.
pub(crate) fn confirms(asked: &Asked<'_>, facts: &[Fact]) -> bool {
    let whereabouts = Whereabouts::new(asked, facts);
    let judge = judge_of(asked, &whereabouts, facts);
    judge.is_impossible()
        || judge.lacks_writers()
        || has_no_lives(
            asked,
            &whereabouts,
            facts,
            &named_keys(asked.words(), facts),
        )
}

/// The same, with the lives of `keys` alone, and without what takes a look at the whole history.
pub(crate) fn confirms_of(asked: &Asked<'_>, facts: &[Fact], keys: &[Id]) -> bool {
    let whereabouts = Whereabouts::new(asked, facts);
    judge_of(asked, &whereabouts, facts).is_impossible()
        || has_no_lives(asked, &whereabouts, facts, keys)
}

fn judge_of<'a>(
    asked: &'a Asked<'a>,
    whereabouts: &'a Whereabouts<'a>,
    facts: &[Fact],
) -> Judge<'a> {
    let words = asked.words();
    let mut reader = Reader {
        words,
        claims: Vec::new(),
        lists: Vec::new(),
    };
    for fact in facts {
        reader.read(*fact);
    }
    reader.read_lists();
    Judge {
        record: words.record,
        pairs: words.pairs,
        claims: reader.claims,
        asked,
        whereabouts,
    }
}

fn has_no_lives<'a>(
    asked: &'a Asked<'a>,
    whereabouts: &'a Whereabouts<'a>,
    facts: &[Fact],
    keys: &[Id],
) -> bool {
    let life = |key: Id| Lives::new(asked, whereabouts, key, facts);
    keys.iter().any(|key| life(*key).is_impossible())
        || miscounts(asked.words().record, facts, &life)
}

/// Whether some answer counts fewer keys than must be there, or more than can be.
fn miscounts<'a>(record: &Record, facts: &[Fact], life: &impl Fn(Id) -> Lives<'a>) -> bool {
    let mut is_wrong = false;
    for fact in facts {
        let Fact::Op(id) = fact else { continue };
        each_count(record, &record.ops[*id as usize], &mut |counted| {
            let keys = (0..crate::intern::next_id(record.keys.len()))
                .filter(|key| record.contains(counted.span, *key));
            let keys: Vec<Id> = keys.take(COUNTED + 1).collect();
            if is_wrong || keys.len() > COUNTED {
                return;
            }
            let (mut fewest, mut most) = (0, 0);
            for key in keys {
                let (present, absent) = life(key).at(counted.at);
                fewest += u32::from(present && !absent);
                most += u32::from(present);
            }
            is_wrong = counted.count < fewest || counted.count > most;
        });
    }
    is_wrong
}

/// The keys that the facts speak of; long lists only where another fact does.
pub(crate) fn named_keys(words: &Words<'_>, facts: &[Fact]) -> Vec<Id> {
    let record = words.record;
    let mut keys: Vec<Id> = Vec::new();
    for fact in facts {
        match fact {
            Fact::Op(id) => {
                let op = &record.ops[*id as usize];
                each_named(words, record.ask(op), record.answer(op), &mut keys);
            }
            Fact::Shown(_, pair) => keys.push(words.pairs.get(*pair).key),
            Fact::Event(stream, event) | Fact::Prev(stream, event) => {
                keys.push(words.pairs.get(record.streams[*stream].events[*event]).key);
            }
            _ => {}
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn each_named(words: &Words<'_>, ask: Ask, answer: Option<Answer>, keys: &mut Vec<Id>) {
    let record = words.record;
    let of_run = |run: Run| {
        let shown = (run.len <= LISTED).then(|| record.lists[run.range()].iter());
        shown
            .into_iter()
            .flatten()
            .map(|id| words.pairs.get(*id).key)
    };
    match ask {
        Ask::Put { key, .. } => keys.push(key),
        Ask::Range { span, .. } | Ask::Delete { span, .. } => {
            keys.extend((span.end == NONE).then_some(span.key));
        }
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            let conditions = record.conditions[txn.compare.range()].iter();
            let single = conditions.filter(|condition| condition.span.end == NONE);
            keys.extend(single.map(|condition| condition.span.key));
            let Some(Answer::Txn { succeeded, answers }) = answer else {
                return;
            };
            let branch = if succeeded { txn.success } else { txn.failure };
            let asks = record.asks[branch.range()].iter();
            for (ask, answer) in asks.zip(&record.answers[answers.range()]) {
                each_named(words, *ask, Some(*answer), keys);
            }
        }
        _ => {}
    }
    if let Some(Answer::Range { kvs: run, .. } | Answer::Delete { prev: run, .. }) = answer {
        keys.extend(of_run(run));
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
            let asked = Asked::new(&words);
            for _ in 0..40 {
                let facts: Vec<_> = (0..rng.random_range(1..40))
                    .filter_map(|_| random_fact(&record, &mut rng))
                    .collect();
                assert!(!confirms(&asked, &facts), "seed {seed}: {facts:?}");
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
