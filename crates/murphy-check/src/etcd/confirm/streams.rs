//! What the facts of a watch assert: its events, its bookmarks, its silence, its end.

use super::{Claim, Delivery, claims::Reader};
use crate::intern::NONE;

impl Reader<'_> {
    pub(super) fn event(&mut self, stream: usize, event: usize) {
        let words = self.words;
        let of = &words.record.streams[stream];
        let pair_of = |event: usize| words.pairs.get(of.events[event]);
        let pair = pair_of(event);
        let revision = pair.mod_revision;
        let seen = of.message_of(event).time;
        let same = (0..of.events.len()).filter(|other| pair_of(*other).mod_revision == revision);
        let contents = same.map(|event| self.content(&pair_of(event))).collect();
        let whole = words.record.is_everything(of.span);
        self.claims.push(Claim::Holds {
            revision,
            contents,
            whole,
            seen,
        });
        self.life(&pair, seen);
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
        // What a watch leaves out of a revision that it delivers otherwise.
        self.claims.push(Claim::Told { stream, revision });
    }

    pub(super) fn prev(&mut self, stream: usize, event: usize) {
        let of = &self.words.record.streams[stream];
        let pair = self.words.pairs.get(of.events[event]);
        let seen = of.message_of(event).time;
        if let Some(prev) = of.prevs.get(event).filter(|prev| **prev != NONE) {
            let shown = self.words.pairs.get(*prev);
            if shown.key != pair.key || shown.mod_revision >= pair.mod_revision {
                self.claims.push(Claim::Absurd);
            }
            self.shows(pair.mod_revision - 1, pair.key, *prev, seen);
            if !pair.is_gone() && pair.is_create() {
                self.claims.push(Claim::Absurd);
            }
        }
    }

    pub(super) fn progress(&mut self, stream: usize, index: usize) {
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

    pub(super) fn cancel(&mut self, stream: usize) {
        let end = self.words.record.streams[stream].end;
        if let Some(cancel) = end.and_then(|end| end.cancel) {
            self.claims.push(Claim::Cancelled {
                stream,
                named: cancel.compact_revision,
            });
        }
    }

    /// The stream is read again: what it had delivered by then, and whether it was silent.
    pub(super) fn silence(&mut self, stream: usize, from: u64, to: u64) {
        let of = &self.words.record.streams[stream];
        let mut first = of.first_revision().unwrap_or(i64::MAX);
        for message in 0..of.messages.len() {
            if of.messages[message].time > to {
                break;
            }
            for event in of.events_of(message) {
                first = first.max(self.words.pairs.get(of.events[event]).mod_revision + 1);
            }
        }
        self.claims.push(Claim::Idle {
            stream,
            first,
            from,
            to,
        });
    }
}
