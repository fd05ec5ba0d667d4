//! The order of what a watch delivers, judged from its stream alone.

use super::{Fact, FxHashMap, Id, Stream, Trouble, Watches, Words, keep_first, seconds};

/// The first event of each revision and key.
type Seen = FxHashMap<(i64, Id), usize>;

#[derive(Clone, Copy)]
pub(super) struct Follower<'a> {
    pub(super) words: &'a Words<'a>,
    pub(super) number: usize,
    pub(super) stream: &'a Stream,
}

impl Follower<'_> {
    pub(super) fn revision(&self, event: usize) -> i64 {
        self.words.pairs.get(self.stream.events[event]).mod_revision
    }

    pub(super) fn last_seen(&self) -> i64 {
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

    pub(super) fn name(&self) -> String {
        let stream = self.stream;
        format!(
            "the watch {} of {} on {}",
            self.words.process(stream.process),
            self.words.span(stream.span),
            self.words.node(stream.node)
        )
    }

    pub(super) fn order(&self, watches: &mut Watches) {
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
