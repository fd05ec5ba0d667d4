//! What a watch owes and delivers, read beside the replay.

use super::{Fact, Follower, FxHashSet, Id, NONE, Trouble, Truth, View, seconds, source_of};

/// Reads one stream beside the replay.
pub(super) struct Reader<'a> {
    pub(super) follower: Follower<'a>,
    pub(super) truth: &'a Truth,
    pub(super) open: &'a [i64],
    pub(super) stray: &'a FxHashSet<Id>,
    /// Truth ends here.
    pub(super) end: i64,
    pub(super) ranks: (u32, u32),
    pub(super) is_whole: bool,
    /// Next entry of the replay's log.
    pub(super) at: usize,
}

impl Reader<'_> {
    pub(super) fn read(&mut self) -> Option<Trouble> {
        let Follower { words, stream, .. } = self.follower;
        let first = stream.first_revision()?;
        let log = &self.truth.store.log;
        self.at = log.partition_point(|id| words.pairs.get(*id).mod_revision < first);
        let (mut event, mut last) = (0, first - 1);
        while event < stream.events.len() {
            let revision = self.follower.revision(event);
            let group = event;
            while event < stream.events.len() && self.follower.revision(event) == revision {
                event += 1;
            }
            if revision <= last {
                continue; // out of order or twice: another promise
            }
            if revision >= self.end {
                break;
            }
            let missing = self.skipped(last + 1, revision, group);
            if missing.is_some() {
                return missing;
            }
            let wrong = self.group(revision, group, event);
            if wrong.is_some() {
                return wrong;
            }
            last = revision;
        }
        let seen = self.follower.last_seen().min(self.end - 1);
        self.skipped(last + 1, seen.saturating_add(1), stream.events.len())
    }

    /// The first event the stream owed between `from` and `to` and did not deliver.
    fn skipped(&mut self, from: i64, to: i64, next: usize) -> Option<Trouble> {
        let words = self.follower.words;
        while let Some(id) = self.truth.store.log.get(self.at) {
            let pair = words.pairs.get(*id);
            if pair.mod_revision >= to {
                break;
            }
            self.at += 1;
            if self.is_owed(*id) {
                return Some(self.missing(pair.mod_revision, Some(*id), next));
            }
        }
        let hole = self.open.partition_point(|open| *open < from);
        let hole = self
            .open
            .get(hole)
            .filter(|open| **open < to && self.is_whole)?;
        Some(self.missing(*hole, None, next))
    }

    fn is_owed(&self, id: Id) -> bool {
        let rank = self.truth.order.rank(self.follower.words.pairs.get(id).key);
        self.ranks.0 <= rank && rank < self.ranks.1
    }

    /// Compares the events `group..end` of the stream with those of the replay at `revision`.
    fn group(&mut self, revision: i64, group: usize, end: usize) -> Option<Trouble> {
        let Follower { words, stream, .. } = self.follower;
        if self.open.binary_search(&revision).is_ok() {
            return None;
        }
        let delivered = &stream.events[group..end];
        let log = &self.truth.store.log;
        while let Some(id) = log
            .get(self.at)
            .filter(|id| words.pairs.get(**id).mod_revision == revision)
        {
            self.at += 1;
            if self.is_owed(*id) && !delivered.iter().any(|found| self.is_same(*id, *found)) {
                let key = words.pairs.get(*id).key;
                let other = delivered
                    .iter()
                    .position(|found| words.pairs.get(*found).key == key);
                return Some(match other {
                    Some(place) => self.different(revision, *id, group + place),
                    None => self.missing(revision, Some(*id), end),
                });
            }
        }
        let wrong = (group..end).find(|event| {
            !self.is_owed(stream.events[*event]) || self.stray.contains(&stream.events[*event])
        });
        if let Some(event) = wrong {
            return Some(self.invented(revision, event));
        }
        if stream.prevs.is_empty() {
            return None;
        }
        (group..end).find_map(|event| self.prev(revision, event))
    }

    fn is_same(&self, ours: Id, found: Id) -> bool {
        if ours == found {
            return true;
        }
        let pairs = self.follower.words.pairs;
        let (ours, found) = (pairs.get(ours), pairs.get(found));
        let rank = self.truth.order.rank(ours.key);
        let is_certain = ours.mod_revision < self.truth.store.certain_before(rank);
        !is_certain && ours.key == found.key && ours.value == found.value
    }

    /// The previous pair may be missing (compaction), but not wrong.
    fn prev(&self, revision: i64, event: usize) -> Option<Trouble> {
        let Follower { words, stream, .. } = self.follower;
        let found = stream.prevs[event];
        let key = words.pairs.get(stream.events[event]).key;
        let rank = self.truth.order.rank(key);
        let ours = self.truth.store.at(words.pairs, rank, revision - 1);
        if found == NONE || found == ours || revision > self.truth.store.certain_before(rank) {
            return None;
        }
        Some(self.differs(
            revision,
            event,
            &format!(
                "with the previous pair {} instead of {}",
                words.pair(key, found),
                words.pair(key, ours)
            ),
        ))
    }

    fn different(&self, revision: i64, ours: Id, event: usize) -> Trouble {
        let words = self.follower.words;
        let key = words.pairs.get(ours).key;
        let mut trouble = self.differs(
            revision,
            event,
            &format!("instead of {}", words.pair(key, ours)),
        );
        let source = source_of(words.record, words, self.truth, revision, ours);
        trouble.facts.extend(source.map(|fact| (fact, true)));
        trouble
    }

    fn invented(&self, revision: i64, event: usize) -> Trouble {
        let mut trouble = self.differs(
            revision,
            event,
            "which is no event of that revision it was asked for",
        );
        let owner = self.truth.timeline.owners(revision).next();
        trouble.facts.extend(owner.map(|op| (Fact::Op(op), true)));
        trouble
    }

    fn differs(&self, revision: i64, event: usize, how: &str) -> Trouble {
        let Follower {
            words,
            number,
            stream,
        } = self.follower;
        let pair = words.pair(
            words.pairs.get(stream.events[event]).key,
            stream.events[event],
        );
        Trouble {
            revision,
            reason: format!(
                "a watch of {} has another event as revision {revision}",
                words.node(stream.node)
            ),
            sentence: format!(
                "{} delivered {pair} at {} {how}.",
                self.follower.name(),
                seconds(words.time(Fact::Event(number, event)))
            ),
            facts: vec![(Fact::Event(number, event), true)],
            members: Vec::new(),
        }
    }

    /// `next` is the event delivered instead; where there is none, a bookmark vouched for the revision.
    fn missing(&self, revision: i64, ours: Option<Id>, next: usize) -> Trouble {
        let Follower {
            words,
            number,
            stream,
        } = self.follower;
        let source =
            ours.and_then(|ours| source_of(words.record, words, self.truth, revision, ours));
        let told = match source {
            Some(Fact::Op(op)) => words.told(op),
            _ => ours.map_or_else(
                || format!("revision {revision} exists"),
                |ours| {
                    format!(
                        "revision {revision} is {}",
                        words.content(&words.pairs.get(ours))
                    )
                },
            ),
        };
        let witness = if next < stream.events.len() {
            Some(Fact::Event(number, next))
        } else {
            let mark = stream
                .progress
                .iter()
                .position(|mark| mark.revision >= revision);
            mark.map(|mark| Fact::Progress(number, mark))
        };
        let then = witness.map_or_else(String::new, |fact| match fact {
            Fact::Event(_, event) => format!(
                ": it went on with revision {} at {}",
                self.follower.revision(event),
                seconds(words.time(fact))
            ),
            fact => format!(" before its bookmark of {}", seconds(words.time(fact))),
        });
        let from = stream.first_revision().unwrap_or_default();
        let mut facts = vec![(Fact::Watch(number), false)];
        facts.extend(source.map(|fact| (fact, true)));
        facts.extend(witness.map(|fact| (fact, true)));
        Trouble {
            revision,
            reason: format!(
                "a watch of {} misses revision {revision}",
                words.node(stream.node)
            ),
            sentence: format!(
                "{told}; {}, from revision {from} on, did not deliver it{then}.",
                self.follower.name()
            ),
            facts,
            members: Vec::new(),
        }
    }
}
