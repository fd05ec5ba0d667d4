//! What a watch owes and delivers, read beside the replay.

use super::{
    Fact, Findings, Follower, FxHashSet, Id, NONE, Rule, Trouble, Truth, View, seconds, source_of,
};

/// Reads one stream beside the replay.
pub(super) struct Reader<'a> {
    pub(super) follower: Follower<'a>,
    pub(super) truth: &'a Truth,
    pub(super) open: &'a [i64],
    pub(super) stray: &'a FxHashSet<Id>,
    /// Truth ends here.
    pub(super) end: i64,
    /// Next entry of the replay's log.
    pub(super) at: usize,
    pub(super) found: &'a mut Findings,
}

/// What shows that an event should have been delivered before.
#[derive(Clone, Copy)]
enum Voucher {
    /// The event that came instead.
    Event(usize),
    /// The bookmark that says so.
    Mark(usize),
}

impl Reader<'_> {
    pub(super) fn read(&mut self) {
        let Follower { words, stream, .. } = self.follower;
        let Some(first) = stream.first_known(&words.record.past) else {
            return;
        };
        self.found
            .judged(Rule::Reliable, stream.events.len() as u64);
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
            if (group..event).all(|event| self.follower.is_foreign(event)) {
                continue;
            }
            let begins = last < first && stream.settled.is_none();
            self.skipped(last + 1, revision, Voucher::Event(group), begins);
            self.group(revision, group, event);
            last = revision;
        }
        let seen = stream.last_seen(words.pairs).min(self.end - 1);
        if seen > last {
            let mark = stream.progress.iter().position(|mark| mark.revision > last);
            self.skipped(
                last + 1,
                seen.saturating_add(1),
                Voucher::Mark(mark.unwrap_or(0)),
                false,
            );
        }
    }

    /// Notes the first event the stream owed between `from` and `to` and did not deliver.
    fn skipped(&mut self, from: i64, to: i64, voucher: Voucher, begins: bool) {
        let words = self.follower.words;
        let mut missing = None;
        while let Some(id) = self.truth.store.log.get(self.at) {
            let pair = words.pairs.get(*id);
            if pair.mod_revision >= to {
                break;
            }
            self.at += 1;
            if missing.is_none()
                && self.follower.is_owed(pair.key)
                && self.truth.is_sure(words, *id)
            {
                missing = Some((pair.mod_revision, Some(*id)));
            }
        }
        let hole = || {
            let hole = self.open.partition_point(|open| *open < from);
            let hole = self.open.get(hole).filter(|open| **open < to);
            hole.filter(|_| self.follower.is_whole)
                .map(|open| (*open, None))
        };
        let Some((revision, ours)) = missing.or_else(hole) else {
            return;
        };
        // Whatever vouches for the revision first has the blame: a bookmark, or the event behind it.
        let mark = match voucher {
            Voucher::Mark(mark) => Some(mark),
            Voucher::Event(next) => self.early_mark(revision, next),
        };
        let (rule, voucher) = match mark {
            Some(_) => (Rule::Bookmarkable, mark.map_or(voucher, Voucher::Mark)),
            None if begins && self.follower.stream.start_revision > 0 => (Rule::Resumable, voucher),
            None => (Rule::Reliable, voucher),
        };
        let trouble = self.missing(revision, ours, voucher);
        self.found.keep(rule, trouble);
    }

    /// The bookmark before event `next` that speaks of `revision`.
    fn early_mark(&self, revision: i64, next: usize) -> Option<usize> {
        let stream = self.follower.stream;
        if stream.progress.is_empty() {
            return None;
        }
        let message = stream
            .messages
            .partition_point(|m| m.first as usize <= next);
        let is_before = |after: u32| (after as usize) < message;
        stream
            .progress
            .iter()
            .position(|mark| mark.revision >= revision && is_before(mark.after))
    }

    /// Compares the events `group..end` of the stream with those of the replay at `revision`.
    fn group(&mut self, revision: i64, group: usize, end: usize) {
        let Follower { words, stream, .. } = self.follower;
        if self.open.binary_search(&revision).is_ok() {
            return;
        }
        let delivered = &stream.events[group..end];
        let log = &self.truth.store.log;
        while let Some(id) = log
            .get(self.at)
            .filter(|id| words.pairs.get(**id).mod_revision == revision)
        {
            self.at += 1;
            let pair = words.pairs.get(*id);
            if !self.follower.is_owed(pair.key) {
                continue;
            }
            if delivered.iter().any(|found| self.is_same(*id, *found)) {
                self.found
                    .judged(Rule::IsCreate, u64::from(!pair.is_gone()));
                continue;
            }
            if !self.truth.is_sure(words, *id) {
                continue;
            }
            let other = delivered
                .iter()
                .position(|found| words.pairs.get(*found).key == pair.key);
            let (rule, trouble) = match other {
                Some(place) if self.is_flag(*id, delivered[place]) => {
                    (Rule::IsCreate, self.flag(revision, *id, group + place))
                }
                Some(place) => (Rule::Reliable, self.different(revision, *id, group + place)),
                None => (
                    Rule::Reliable,
                    self.missing(revision, Some(*id), Voucher::Event(group)),
                ),
            };
            self.found.keep(rule, trouble);
        }
        let is_invented = |event: &usize| {
            let key = words.pairs.get(stream.events[*event]).key;
            self.follower.is_owed(key)
                && !self
                    .truth
                    .store
                    .events_at(words.pairs, revision)
                    .iter()
                    .any(|ours| words.pairs.get(*ours).key == key)
        };
        // Mostly an event is the replay's own; only a stray one can be of a key that revision does not hold.
        let is_stray = |event: &usize| self.stray.contains(&stream.events[*event]);
        if let Some(event) = (group..end).find(|event| is_stray(event) && is_invented(event)) {
            let trouble = self.invented(revision, event);
            self.found.keep(Rule::Reliable, trouble);
        }
        if !stream.prevs.is_empty() {
            (group..end).for_each(|event| self.prev(revision, event));
        }
    }

    fn is_same(&self, ours: Id, found: Id) -> bool {
        if ours == found {
            return true;
        }
        let pairs = self.follower.words.pairs;
        let (ours, found) = (pairs.get(ours), pairs.get(found));
        let rank = self.truth.order.rank(ours.key);
        let is_certain = self.truth.store.is_certain(rank, ours.mod_revision);
        !is_certain && ours.key == found.key && ours.value == found.value
    }

    /// Whether the two differ in whether the put created the key.
    fn is_flag(&self, ours: Id, found: Id) -> bool {
        self.follower
            .words
            .pairs
            .get(ours)
            .flag_differs(&self.follower.words.pairs.get(found))
    }

    /// The previous pair may be missing (compaction), but not wrong.
    fn prev(&mut self, revision: i64, event: usize) {
        let Follower {
            words,
            stream,
            number,
            ..
        } = self.follower;
        let found = stream.prevs[event];
        if found == NONE || self.follower.is_foreign(event) {
            return;
        }
        let key = words.pairs.get(stream.events[event]).key;
        let rank = self.truth.order.rank(key);
        if !self.truth.store.is_certain(rank, revision - 1) {
            return;
        }
        self.found.judged(Rule::PrevKv, 1);
        let ours = self.truth.store.at(words.pairs, rank, revision - 1);
        if found == ours {
            return;
        }
        let how = format!(
            "with the previous pair {} instead of {}",
            words.pair(key, found),
            words.pair(key, ours)
        );
        let mut trouble = self.differs(revision, event, &how);
        trouble.reason = format!(
            "a watch of {} has another pair before revision {revision}",
            words.node(stream.node)
        );
        trouble.facts = vec![(Fact::Prev(number, event), true)];
        self.add_last_write(&mut trouble, key, revision - 1);
        self.found.keep(Rule::PrevKv, trouble);
    }

    /// The fact behind the last write of `key` up to `revision`, deletions included.
    fn add_last_write(&self, trouble: &mut Trouble, key: Id, revision: i64) {
        let words = self.follower.words;
        let rank = self.truth.order.rank(key);
        let last = self.truth.store.last_write(words.pairs, rank, revision);
        if last == NONE {
            return;
        }
        let written = words.pairs.get(last).mod_revision;
        let source = source_of(words.record, words, self.truth, written, last);
        trouble.facts.extend(source.map(|fact| (fact, true)));
    }

    fn flag(&self, revision: i64, ours: Id, event: usize) -> Trouble {
        let words = self.follower.words;
        let pair = words.pairs.get(ours);
        let created = pair.create_revision == revision;
        let how = if created {
            "as a change, and it created the key"
        } else {
            "as the creation of the key, which was there before"
        };
        let mut trouble = self.differs(revision, event, how);
        trouble.reason = format!(
            "revision {revision} was delivered as {}",
            if created {
                "a change, and is a creation"
            } else {
                "a creation, and is a change"
            }
        );
        self.add_last_write(&mut trouble, pair.key, revision - 1);
        let found = words.pairs.get(self.follower.stream.events[event]);
        let rank = self.truth.order.rank(pair.key);
        let last = self.truth.store.last_write(words.pairs, rank, revision - 1);
        let is_earlier = last == NONE || words.pairs.get(last).mod_revision < found.create_revision;
        if created && is_earlier {
            trouble.facts.truncate(1);
            // What the revision holds in which the key is said to have been created.
            let at = found.create_revision;
            let held = self.truth.store.events_at(words.pairs, at).first();
            let source = held.and_then(|id| source_of(words.record, words, self.truth, at, *id));
            trouble.facts.extend(source.map(|fact| (fact, true)));
        }
        trouble
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
        self.add_last_write(&mut trouble, key, revision - 1);
        trouble
    }

    fn invented(&self, revision: i64, event: usize) -> Trouble {
        let mut trouble = self.differs(revision, event, "which is no event of that revision");
        let owner = self.truth.timeline.owners(revision).next();
        trouble.facts.extend(owner.map(|op| (Fact::Op(op), true)));
        trouble
    }

    fn differs(&self, revision: i64, event: usize, how: &str) -> Trouble {
        let Follower {
            words,
            number,
            stream,
            ..
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

    fn missing(&self, revision: i64, ours: Option<Id>, voucher: Voucher) -> Trouble {
        let Follower { number, stream, .. } = self.follower;
        let (voucher, then) = match voucher {
            Voucher::Event(next) if next < stream.events.len() => {
                let fact = Fact::Event(number, next);
                let at = seconds(self.follower.words.time(fact));
                let next = self.follower.revision(next);
                (fact, format!(": it went on with revision {next} at {at}"))
            }
            Voucher::Event(_) => (Fact::Watch(number), String::new()),
            Voucher::Mark(mark) => {
                let fact = Fact::Progress(number, mark);
                let at = seconds(self.follower.words.time(fact));
                (fact, format!(" before its bookmark of {at}"))
            }
        };
        let mut trouble = self.undelivered(revision, ours, &then);
        trouble.facts.push((voucher, true));
        trouble
    }

    /// An event that the stream owes and does not deliver, with who says that it exists.
    pub(super) fn undelivered(&self, revision: i64, ours: Option<Id>, then: &str) -> Trouble {
        let Follower {
            words,
            number,
            stream,
            ..
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
        let from = stream.first_revision().unwrap_or_default();
        let mut facts = vec![(Fact::Watch(number), false)];
        facts.extend(source.map(|fact| (fact, true)));
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
