//! Promises of the watch: `watch.ordered` (revisions never go back, a revision is never split, nothing
//! comes behind its bookmark), `watch.unique` (no event twice) and `watch.reliable` (every event from
//! the start to the last that was seen, as the replay has it).

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    linear::source_of,
    record::{Record, Stream},
    sighting::Fact,
    store::View,
    sweep::{Sweep, Truth},
    trouble::Trouble,
    words::{Words, seconds},
};
use crate::intern::{Id, NONE};

/// The first trouble of each promise, and how much was looked at.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub ordered: Option<Trouble>,
    pub unique: Option<Trouble>,
    pub reliable: Option<Trouble>,
    pub events: u64,
    pub streams: u64,
    /// Streams that delivered events from the revision on at which the members part.
    pub cut_off: u64,
}

/// Follows every stream. `stray` are the pairs no truth knows; `parts_at` is where truth ends.
pub(crate) fn follow(
    words: &Words<'_>,
    truth: &Truth,
    sweep: &Sweep,
    stray: &FxHashSet<Id>,
    parts_at: Option<i64>,
) -> Watches {
    let mut watches = Watches::default();
    for (number, stream) in words.record.streams.iter().enumerate() {
        watches.streams += 1;
        watches.events += stream.events.len() as u64;
        Follower {
            words,
            number,
            stream,
        }
        .order(&mut watches);
        if sweep.begins_at.is_some() {
            continue;
        }
        let mut reader = Reader {
            follower: Follower {
                words,
                number,
                stream,
            },
            truth,
            open: &sweep.open,
            stray,
            end: parts_at.unwrap_or(i64::MAX),
            ranks: truth.order.ranks(stream.span),
            is_whole: words.record.is_everything(stream.span),
            at: 0,
        };
        if let Some(trouble) = reader.read() {
            keep_first(&mut watches.reliable, trouble);
        }
        watches.cut_off += u64::from(reader.follower.last_seen() >= reader.end);
    }
    watches
}

fn keep_first(kept: &mut Option<Trouble>, trouble: Trouble) {
    if kept
        .as_ref()
        .is_none_or(|known| trouble.revision < known.revision)
    {
        *kept = Some(trouble);
    }
}

/// The first event of each revision and key.
type Seen = FxHashMap<(i64, Id), usize>;

#[derive(Clone, Copy)]
struct Follower<'a> {
    words: &'a Words<'a>,
    number: usize,
    stream: &'a Stream,
}

impl Follower<'_> {
    fn revision(&self, event: usize) -> i64 {
        self.words.pairs.get(self.stream.events[event]).mod_revision
    }

    fn last_seen(&self) -> i64 {
        let event = self
            .stream
            .events
            .len()
            .checked_sub(1)
            .map_or(0, |last| self.revision(last));
        self.stream
            .progress
            .iter()
            .map(|mark| mark.revision)
            .max()
            .unwrap_or(0)
            .max(event)
    }

    fn name(&self) -> String {
        let stream = self.stream;
        format!(
            "the watch {} of {} on {}",
            self.words.process(stream.process),
            self.words.span(stream.span),
            self.words.node(stream.node)
        )
    }

    fn order(&self, watches: &mut Watches) {
        let mut marks = self.stream.progress.iter().enumerate().peekable();
        let (mut last, mut marked) = (i64::MIN, (i64::MIN, 0));
        let mut seen = Seen::default();
        for message in 0..self.stream.messages.len() {
            while let Some((index, mark)) =
                marks.next_if(|(_, mark)| mark.after as usize <= message)
            {
                self.mark(index, mark.revision, last, marked, watches);
                marked = (mark.revision.max(marked.0), index);
            }
            for event in self.stream.events_of(message) {
                let revision = self.revision(event);
                let begins = event == self.stream.messages[message].first as usize;
                self.event(event, revision, (last, marked, begins), &mut seen, watches);
                last = last.max(revision);
            }
        }
        for (index, mark) in marks {
            self.mark(index, mark.revision, last, marked, watches);
            marked = (mark.revision.max(marked.0), index);
        }
    }

    fn mark(
        &self,
        index: usize,
        revision: i64,
        last: i64,
        marked: (i64, usize),
        watches: &mut Watches,
    ) {
        let fact = Fact::Progress(self.number, index);
        if revision < last {
            let event = self
                .stream
                .events
                .iter()
                .position(|id| self.words.pairs.get(*id).mod_revision > revision);
            let before = Fact::Event(self.number, event.unwrap_or_default());
            self.out_of_order(revision, "a bookmark went back", before, fact, watches);
        } else if revision < marked.0 {
            self.out_of_order(
                revision,
                "a bookmark went back",
                Fact::Progress(self.number, marked.1),
                fact,
                watches,
            );
        }
    }

    fn event(
        &self,
        event: usize,
        revision: i64,
        (last, marked, begins): (i64, (i64, usize), bool),
        seen: &mut Seen,
        watches: &mut Watches,
    ) {
        let fact = Fact::Event(self.number, event);
        let may_repeat = revision <= last || !seen.is_empty();
        if may_repeat && let Some(before) = self.first_of(event, revision, revision < last, seen) {
            let pair = self.words.pairs.get(self.stream.events[event]);
            let trouble = Trouble {
                revision,
                reason: format!("revision {revision} was delivered twice"),
                sentence: format!(
                    "{} delivered {} as revision {revision} twice, at {} and {}.",
                    self.name(),
                    self.words.content(&pair),
                    seconds(self.words.time(Fact::Event(self.number, before))),
                    seconds(self.words.time(fact))
                ),
                facts: vec![(Fact::Event(self.number, before), true), (fact, true)],
                members: Vec::new(),
            };
            return keep_first(&mut watches.unique, trouble);
        }
        if revision < last || revision == last && begins && event > 0 {
            let what = if revision < last {
                "went back"
            } else {
                "was split between two messages"
            };
            self.out_of_order(
                revision,
                what,
                Fact::Event(self.number, event - 1),
                fact,
                watches,
            );
        } else if revision <= marked.0 {
            self.out_of_order(
                revision,
                "came behind its bookmark",
                Fact::Progress(self.number, marked.1),
                fact,
                watches,
            );
        } else if self
            .stream
            .first_revision()
            .is_some_and(|first| revision < first)
        {
            self.out_of_order(
                revision,
                "came before the start of the watch",
                Fact::Watch(self.number),
                fact,
                watches,
            );
        }
    }

    /// The event before `event` that it repeats. Where revisions rise, only the events of the same
    /// revision can be meant; a table of all is made when they first go back.
    fn first_of(
        &self,
        event: usize,
        revision: i64,
        is_back: bool,
        seen: &mut Seen,
    ) -> Option<usize> {
        let key = self.words.pairs.get(self.stream.events[event]).key;
        if seen.is_empty() && !is_back {
            let same = (0..event)
                .rev()
                .take_while(|before| self.revision(*before) == revision);
            return same
                .into_iter()
                .find(|before| self.words.pairs.get(self.stream.events[*before]).key == key);
        }
        if seen.is_empty() {
            for before in 0..event {
                let pair = self.words.pairs.get(self.stream.events[before]);
                seen.entry((pair.mod_revision, pair.key)).or_insert(before);
            }
        }
        match *seen.entry((revision, key)).or_insert(event) {
            before if before < event => Some(before),
            _ => None,
        }
    }

    fn out_of_order(
        &self,
        revision: i64,
        what: &str,
        before: Fact,
        after: Fact,
        watches: &mut Watches,
    ) {
        let text = |fact| self.words.line(fact, true).text;
        let trouble = Trouble {
            revision,
            reason: format!("revision {revision} {what}"),
            sentence: format!("{} Then: {}", text(before), text(after)),
            facts: vec![(before, true), (after, true)],
            members: Vec::new(),
        };
        keep_first(&mut watches.ordered, trouble);
    }
}

/// Reads one stream beside the replay.
struct Reader<'a> {
    follower: Follower<'a>,
    truth: &'a Truth,
    open: &'a [i64],
    stray: &'a FxHashSet<Id>,
    /// Truth ends here.
    end: i64,
    ranks: (u32, u32),
    is_whole: bool,
    /// Next entry of the replay's log.
    at: usize,
}

impl Reader<'_> {
    fn read(&mut self) -> Option<Trouble> {
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

/// Nodes with a watch of every key that has seen past `revision`.
pub(crate) fn covering(record: &Record, words: &Words<'_>, revision: i64) -> Vec<usize> {
    let covers = |(number, stream): &(usize, &Stream)| {
        record.is_everything(stream.span)
            && stream
                .first_revision()
                .is_some_and(|first| first <= revision)
            && Follower {
                words,
                number: *number,
                stream,
            }
            .last_seen()
                >= revision
    };
    record
        .streams
        .iter()
        .enumerate()
        .filter(covers)
        .map(|(number, _)| number)
        .collect()
}
