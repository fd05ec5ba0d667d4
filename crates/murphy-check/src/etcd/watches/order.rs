//! What a watch delivers, judged from its stream alone: its keys, its order, its bookmarks.

use super::{Fact, Findings, FxHashMap, Id, Rule, Stream, Trouble, Words, seconds};
use crate::etcd::store::Order;

/// The first event of each revision and key.
type Seen = FxHashMap<(i64, Id), usize>;

/// One stream, read from its begin to its end.
#[derive(Clone, Copy)]
pub(super) struct Follower<'a> {
    pub(super) words: &'a Words<'a>,
    pub(super) order: &'a Order,
    /// The ranks of its keys.
    pub(super) ranks: (u32, u32),
    pub(super) is_whole: bool,
    pub(super) number: usize,
    pub(super) stream: &'a Stream,
}

/// How far a stream has come.
#[derive(Clone, Copy)]
struct Position {
    /// The newest revision of an event, and that event.
    last: i64,
    newest: usize,
    /// The event before, foreign ones left out, and its message.
    before: Option<(usize, usize)>,
    /// The newest bookmark with its number.
    marked: (i64, usize),
}

impl Follower<'_> {
    pub(super) fn revision(&self, event: usize) -> i64 {
        self.words.pairs.get(self.stream.events[event]).mod_revision
    }

    /// Whether the event is of a key that was not asked for.
    pub(super) fn is_foreign(&self, event: usize) -> bool {
        !self.is_whole && !self.is_owed(self.words.pairs.get(self.stream.events[event]).key)
    }

    pub(super) fn is_owed(&self, key: Id) -> bool {
        let rank = self.order.rank(key);
        self.ranks.0 <= rank && rank < self.ranks.1
    }

    pub(super) fn name(&self) -> String {
        let stream = self.stream;
        format!(
            "the watch {} of {} on {}",
            self.words.process(stream.process),
            self.words.span(stream.span),
            self.words.node(stream.node)
        )
    }

    /// Whether the start was still to come for the member when the watch was created.
    fn starts_in_future(&self) -> bool {
        let created = self
            .stream
            .created
            .map_or(i64::MAX, |(revision, _, _)| revision);
        created > 0 && self.stream.start_revision > created
    }

    pub(super) fn follow(&self, found: &mut Findings) {
        let stream = self.stream;
        let events = stream.events.len() as u64;
        for rule in [Rule::Ordered, Rule::Unique, Rule::Atomic] {
            found.judged(rule, events);
        }
        found.judged(Rule::Filter, if self.is_whole { 0 } else { events });
        found.judged(Rule::Bookmarkable, stream.progress.len() as u64);
        let speaks = events > 0 || !stream.progress.is_empty();
        found.judged(Rule::Future, u64::from(self.starts_in_future() && speaks));
        found.judged(
            Rule::Resumable,
            u64::from(stream.start_revision > 0 && speaks),
        );
        let mut marks = stream.progress.iter().enumerate().peekable();
        let mut at = Position {
            last: i64::MIN,
            newest: 0,
            before: None,
            marked: (i64::MIN, 0),
        };
        let mut seen = Seen::default();
        for message in 0..stream.messages.len() {
            while let Some((index, mark)) =
                marks.next_if(|(_, mark)| mark.after as usize <= message)
            {
                self.mark(index, mark.revision, &mut at, found);
            }
            for event in stream.events_of(message) {
                self.event(event, message, &mut at, &mut seen, found);
            }
        }
        for (index, mark) in marks {
            self.mark(index, mark.revision, &mut at, found);
        }
    }

    fn mark(&self, index: usize, revision: i64, at: &mut Position, found: &mut Findings) {
        let fact = Fact::Progress(self.number, index);
        let later = if revision < at.last {
            Some(Fact::Event(self.number, at.newest))
        } else if revision < at.marked.0 {
            Some(Fact::Progress(self.number, at.marked.1))
        } else {
            None
        };
        if let Some(before) = later {
            let what = "was bookmarked too late";
            self.clash(Rule::Bookmarkable, revision, what, before, fact, found);
        } else if self.starts_in_future() && revision + 1 < self.stream.start_revision {
            let before = Fact::Watch(self.number);
            let what = "was bookmarked before the start of the watch";
            self.clash(Rule::Future, revision, what, before, fact, found);
        }
        if revision > at.marked.0 {
            at.marked = (revision, index);
        }
    }

    fn event(
        &self,
        event: usize,
        message: usize,
        at: &mut Position,
        seen: &mut Seen,
        found: &mut Findings,
    ) {
        let revision = self.revision(event);
        let fact = Fact::Event(self.number, event);
        if self.is_foreign(event) {
            return self.foreign(event, revision, found);
        }
        let before = at.before.replace((event, message));
        let last = at.last;
        if revision > last {
            (at.last, at.newest) = (revision, event);
        }
        let may_repeat = revision <= last || !seen.is_empty();
        if may_repeat && let Some(first) = self.first_of(event, revision, revision < last, seen) {
            return self.twice(event, first, revision, found);
        }
        let is_split = revision == last
            && before
                .is_some_and(|(other, place)| place != message && self.revision(other) == revision);
        let (rule, what, before) = if revision < last {
            (Rule::Ordered, "went back", before.map(|(other, _)| other))
        } else if is_split {
            let other = before.map(|(other, _)| other);
            (Rule::Atomic, "was split between two messages", other)
        } else if revision <= at.marked.0 {
            let mark = Fact::Progress(self.number, at.marked.1);
            let what = "came behind its bookmark";
            return self.clash(Rule::Bookmarkable, revision, what, mark, fact, found);
        } else if self
            .stream
            .first_revision()
            .is_some_and(|first| revision < first)
        {
            let rule = match self.stream.start_revision {
                0 => Rule::Ordered,
                _ if self.starts_in_future() => Rule::Future,
                _ => Rule::Resumable,
            };
            let watch = Fact::Watch(self.number);
            let what = "came before the start of the watch";
            return self.clash(rule, revision, what, watch, fact, found);
        } else {
            return;
        };
        let before = Fact::Event(self.number, before.unwrap_or_default());
        self.clash(rule, revision, what, before, fact, found);
    }

    fn foreign(&self, event: usize, revision: i64, found: &mut Findings) {
        let pair = self.words.pairs.get(self.stream.events[event]);
        let fact = Fact::Event(self.number, event);
        let trouble = Trouble {
            revision,
            reason: format!(
                "a watch of {} delivered {}, which it was not asked for",
                self.words.span(self.stream.span),
                self.words.key(pair.key)
            ),
            sentence: format!(
                "{} delivered {} as revision {revision} at {}.",
                self.name(),
                self.words.content(&pair),
                seconds(self.words.time(fact))
            ),
            facts: vec![(Fact::Watch(self.number), false), (fact, true)],
            members: Vec::new(),
        };
        found.keep(Rule::Filter, trouble);
    }

    fn twice(&self, event: usize, first: usize, revision: i64, found: &mut Findings) {
        let pair = self.words.pairs.get(self.stream.events[event]);
        let (before, fact) = (
            Fact::Event(self.number, first),
            Fact::Event(self.number, event),
        );
        let trouble = Trouble {
            revision,
            reason: format!("revision {revision} was delivered twice"),
            sentence: format!(
                "{} delivered {} as revision {revision} twice, at {} and {}.",
                self.name(),
                self.words.content(&pair),
                seconds(self.words.time(before)),
                seconds(self.words.time(fact))
            ),
            facts: vec![(before, true), (fact, true)],
            members: Vec::new(),
        };
        found.keep(Rule::Unique, trouble);
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

    fn clash(
        &self,
        rule: Rule,
        revision: i64,
        what: &str,
        before: Fact,
        after: Fact,
        found: &mut Findings,
    ) {
        let text = |fact| self.words.line(fact, true).text;
        let trouble = Trouble {
            revision,
            reason: format!("revision {revision} {what}"),
            sentence: format!("{} Then: {}", text(before), text(after)),
            facts: vec![(before, true), (after, true)],
            members: Vec::new(),
        };
        found.keep(rule, trouble);
    }
}
