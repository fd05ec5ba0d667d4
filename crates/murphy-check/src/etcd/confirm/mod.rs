//! A confirmation decides a second time, from the facts of a witness alone, that they cannot all be
//! true.
//!
//! It shares nothing with the sweep: no replay, no order of revisions, no numbers for pairs. The facts
//! become claims in plain bytes; then every order of the few operations is tried, in an open world in
//! which unseen writes may have filled any revision that no claim speaks of. But whatever a revision is said to
//! hold, somebody must have asked for.

mod claims;
mod judge;
mod leases;
mod streams;
mod writers;

use claims::Reader;
use judge::Judge;
use rustc_hash::FxHashSet;

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
        pairs: words.pairs,
        claims: reader.claims,
    }
    .is_impossible()
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
