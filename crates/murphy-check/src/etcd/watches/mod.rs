//! Promises of the watch, each a small automaton over one stream, most of them beside the replay.
//!
//! The rules are those of etcd's own robustness tests (`tests/robustness/validate/watch.go`) and of its page "etcd
//! API guarantees"; each is a promise of its own, and what goes wrong is charged to the most specific one. What those
//! tests do not look at is beside them: liveness ([`late`]), the reason of a cancellation ([`cancel`]), watches that
//! start in the future ([`order`]).

mod cancel;
mod delivery;
mod late;
mod order;

use delivery::Reader;
pub(crate) use late::watch_lag_ns;
use order::Follower;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    linear::source_of,
    record::{Record, Stream},
    registry::Registry,
    sighting::Fact,
    store::View,
    sweep::{Sweep, Truth},
    trouble::Trouble,
    words::Words,
};
use crate::{
    intern::{Id, NONE},
    text::seconds,
};

/// A promise of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Filter,
    Ordered,
    Unique,
    Atomic,
    Bookmarkable,
    Resumable,
    IsCreate,
    Reliable,
    PrevKv,
    Live,
    Progress,
    CancelReason,
    Future,
}

/// All of them.
pub(crate) const RULES: [Rule; 13] = [
    Rule::Filter,
    Rule::Ordered,
    Rule::Unique,
    Rule::Atomic,
    Rule::Bookmarkable,
    Rule::Resumable,
    Rule::IsCreate,
    Rule::Reliable,
    Rule::PrevKv,
    Rule::Live,
    Rule::Progress,
    Rule::CancelReason,
    Rule::Future,
];

impl Rule {
    /// The promise's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "watch.filter",
            Self::Ordered => "watch.ordered",
            Self::Unique => "watch.unique",
            Self::Atomic => "watch.atomic",
            Self::Bookmarkable => "watch.bookmarkable",
            Self::Resumable => "watch.resumable",
            Self::IsCreate => "watch.is-create",
            Self::Reliable => "watch.reliable",
            Self::PrevKv => "watch.prev-kv",
            Self::Live => "watch.live",
            Self::Progress => "watch.progress",
            Self::CancelReason => "watch.cancel-reason",
            Self::Future => "watch.future",
        }
    }

    /// What the promise is judged on: one, several.
    pub fn basis(self) -> (&'static str, &'static str) {
        match self {
            Self::Filter => (
                "event of a watch of some keys",
                "events of watches of some keys",
            ),
            Self::Ordered | Self::Unique | Self::Atomic | Self::Reliable => ("event", "events"),
            Self::Bookmarkable => ("bookmark", "bookmarks"),
            Self::Resumable => ("watch from a revision on", "watches from a revision on"),
            Self::IsCreate => ("put event", "put events"),
            Self::PrevKv => ("previous pair", "previous pairs"),
            Self::Live => ("watch of a quiet member", "watches of quiet members"),
            Self::Progress => (
                "watch that is owed bookmarks",
                "watches that are owed bookmarks",
            ),
            Self::CancelReason => (
                "watch that compaction concerns",
                "watches that compactions concern",
            ),
            Self::Future => ("watch from the future", "watches from the future"),
        }
    }

    /// Whether the promise rests on the replay, and not on the streams alone.
    pub fn needs_truth(self) -> bool {
        matches!(
            self,
            Self::Resumable | Self::IsCreate | Self::Reliable | Self::PrevKv | Self::Live
        )
    }
}

/// What the streams, or some of them, say of one promise.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    /// The trouble of the lowest revision.
    pub trouble: Option<Trouble>,
    /// How much could have broken the promise.
    pub judged: u64,
    /// Why more cannot be said, where that is so.
    pub open: Option<String>,
}

/// The findings of all promises on some streams.
#[derive(Debug, Default)]
pub(crate) struct Findings([Finding; RULES.len()]);

impl Findings {
    /// What was found of `rule`.
    pub fn of(&self, rule: Rule) -> &Finding {
        &self.0[rule as usize]
    }

    fn of_mut(&mut self, rule: Rule) -> &mut Finding {
        &mut self.0[rule as usize]
    }

    fn judged(&mut self, rule: Rule, count: u64) {
        self.of_mut(rule).judged += count;
    }

    fn open(&mut self, rule: Rule, why: impl FnOnce() -> String) {
        self.of_mut(rule).open.get_or_insert_with(why);
    }

    fn keep(&mut self, rule: Rule, trouble: Trouble) {
        let kept = &mut self.of_mut(rule).trouble;
        if kept
            .as_ref()
            .is_none_or(|known| trouble.revision < known.revision)
        {
            *kept = Some(trouble);
        }
    }

    fn add(&mut self, other: Self) {
        for (rule, finding) in RULES.into_iter().zip(other.0) {
            self.judged(rule, finding.judged);
            if let Some(why) = finding.open {
                self.open(rule, || why);
            }
            if let Some(trouble) = finding.trouble {
                self.keep(rule, trouble);
            }
        }
    }
}

/// What all streams say.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Of all streams.
    pub all: Findings,
    /// Of the streams of keys of one Kubernetes resource type.
    pub registry: Findings,
    /// Of those of them that go on where a list ended.
    pub lists: Findings,
    /// Streams that delivered events from the revision on at which the members part.
    pub cut_off: u64,
}

/// What streams are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub words: &'a Words<'a>,
    pub truth: &'a Truth,
    pub sweep: &'a Sweep,
    /// Pairs no truth knows.
    pub stray: &'a FxHashSet<Id>,
    /// Where truth ends.
    pub parts_at: Option<i64>,
    pub registry: &'a Registry,
}

/// Follows every stream.
pub(crate) fn follow(ground: Ground<'_>) -> Watches {
    let mut watches = Watches::default();
    let record = ground.words.record;
    let quiet = late::quiet_phases(record);
    let compactions = cancel::Compactions::new(record);
    for (number, stream) in record.streams.iter().enumerate() {
        let follower = Follower {
            words: ground.words,
            order: &ground.truth.order,
            ranks: ground.truth.order.ranks(stream.span),
            is_whole: record.is_everything(stream.span),
            number,
            stream,
        };
        let mut found = Findings::default();
        follower.follow(&mut found);
        follower.progress(&mut found);
        compactions.judge(&follower, &mut found);
        if ground.sweep.begins_at.is_none() {
            let end = ground.parts_at.unwrap_or(i64::MAX);
            let mut reader = Reader {
                follower,
                truth: ground.truth,
                open: &ground.sweep.open,
                stray: ground.stray,
                end,
                at: 0,
                found: &mut found,
            };
            reader.read();
            reader.live(&quiet);
            watches.cut_off += u64::from(stream.last_seen(ground.words.pairs) >= end);
        }
        if ground.registry.type_of_span(record, stream.span).is_some() {
            if Registry::continues_list(record, stream) {
                watches.lists.add_copy(&found);
            }
            watches.registry.add_copy(&found);
        }
        watches.all.add(found);
    }
    watches
}

impl Findings {
    fn add_copy(&mut self, other: &Self) {
        for rule in RULES {
            let Finding {
                trouble,
                judged,
                open,
            } = other.of(rule);
            self.judged(rule, *judged);
            if let Some(why) = open {
                self.open(rule, || why.clone());
            }
            if let Some(trouble) = trouble {
                self.keep(rule, trouble.clone());
            }
        }
    }
}

/// Streams of every key that have seen past `revision`.
pub(crate) fn covering(record: &Record, words: &Words<'_>, revision: i64) -> Vec<usize> {
    let covers = |stream: &Stream| {
        record.is_everything(stream.span)
            && stream
                .first_revision()
                .is_some_and(|first| first <= revision)
            && stream.last_seen(words.pairs) >= revision
    };
    let streams = record.streams.iter().enumerate();
    streams
        .filter(|(_, stream)| covers(stream))
        .map(|(number, _)| number)
        .collect()
}
