//! Claims are judged two by two and in every order of the operations.

use super::{Ask, Claim, Content, Delivery, Outcome, Record, Shown, Span};

/// Most operations whose orders are tried.
const ORDERED: usize = 7;

pub(super) struct Judge<'a> {
    pub(super) record: &'a Record,
    pub(super) claims: Vec<Claim>,
}

impl Judge<'_> {
    pub(super) fn is_impossible(&self) -> bool {
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
