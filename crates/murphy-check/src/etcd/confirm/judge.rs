//! Claims are judged two by two and in every order of the operations.

use super::{
    Asked, Claim, Content, Delivery, Interner, NONE, Pair, Record, Shown, Span, Whereabouts,
};
use crate::etcd::watches::watch_lag_ns;

/// Most operations whose orders are tried.
const ORDERED: usize = 7;

pub(super) struct Judge<'a> {
    pub(super) record: &'a Record,
    /// The pairs of the record, to read its streams again.
    pub(super) pairs: &'a Interner<Pair>,
    pub(super) claims: Vec<Claim>,
    pub(super) asked: &'a Asked<'a>,
    pub(super) whereabouts: &'a Whereabouts<'a>,
}

impl Judge<'_> {
    pub(super) fn is_impossible(&self) -> bool {
        let clash = |a: &Claim| self.claims.iter().any(|b| self.clash(a, b));
        self.claims.iter().any(|claim| self.is_absurd(claim))
            || self.claims.iter().any(clash)
            || !self.has_order()
            || self.is_late()
            || self.ignores_compaction()
            || self.ends_lease_wrongly()
            || self.has_orphan()
    }

    /// A claim that no history can support.
    fn is_absurd(&self, claim: &Claim) -> bool {
        match claim {
            Claim::Absurd => true,
            Claim::Shows {
                at,
                revision: Some(revision),
                ..
            } => revision > at,
            Claim::Exists { at, key } => self.is_absent(key, *at),
            Claim::Took {
                revision,
                writes: true,
                ..
            } if *revision < 2 => true,
            Claim::Took {
                call,
                revision,
                writes,
                ..
            } => self.whereabouts.comes_back(*call, *revision, *writes),
            // Every revision from 2 on holds something, so a watch of everything is never silent about one.
            Claim::Silent { stream, from, to } => {
                *from.max(&2) < *to && self.record.is_everything(self.record.streams[*stream].span)
            }
            Claim::Delivered(delivery) => self.was_not_asked_for(delivery),
            Claim::Idle {
                stream, from, to, ..
            } => self.is_silent_too_long(*stream, *from, *to),
            _ => false,
        }
    }

    /// A watch delivers the keys and revisions that it was opened for, and nothing else.
    fn was_not_asked_for(&self, delivery: &Delivery) -> bool {
        let stream = &self.record.streams[delivery.stream];
        let first = stream.first_revision();
        if let Some(key) = &delivery.key {
            return !self.is_within(stream.span, key)
                || first.is_some_and(|first| delivery.revision < first);
        }
        let created = stream.created.map_or(0, |(revision, _, _)| revision);
        created > 0
            && stream.start_revision > created
            && delivery.revision + 1 < stream.start_revision
    }

    /// A watch that asked for bookmarks is not silent for longer than the history allows while no fault acts.
    fn is_silent_too_long(&self, stream: usize, from: u64, to: u64) -> bool {
        let of = &self.record.streams[stream];
        let bound = self.record.header.limits.progress_silence_ns;
        let asked = of.progress_notify || of.requests.iter().any(|at| (from..to).contains(at));
        let spoke = |time: u64| from < time && time < to;
        let is_quiet = !of.messages.iter().any(|message| spoke(message.time))
            && !of.progress.iter().any(|mark| spoke(mark.time))
            && !self
                .record
                .faults
                .iter()
                .any(|fault| fault.begin <= to && fault.end >= from);
        asked && is_quiet && bound.is_some_and(|bound| to - from > bound)
    }

    /// A member at rest, and quiet long enough, owes its watches what it holds.
    fn is_late(&self) -> bool {
        self.claims.iter().any(|claim| {
            let Claim::Idle {
                stream,
                first,
                from,
                to,
            } = claim
            else {
                return false;
            };
            let of = &self.record.streams[*stream];
            let rested = self.claims.iter().filter_map(|claim| match claim {
                Claim::Rested {
                    node,
                    revision,
                    time,
                } if *node == of.node && time <= from => Some(*revision),
                _ => None,
            });
            let Some(last) = rested.max() else {
                return false;
            };
            let is_owed = |claim: &Claim| match claim {
                Claim::Holds {
                    revision, contents, ..
                } => {
                    (*first..=last).contains(revision)
                        && contents
                            .iter()
                            .any(|content| self.is_within(of.span, &content.key))
                }
                Claim::DeletedOf { revision, span, .. } => {
                    (*first..=last).contains(revision) && self.covers(of.span, *span)
                }
                _ => false,
            };
            let disturbed = |from: u64, to: u64| {
                let faults = &self.record.faults;
                let mut ops = self.record.ops.iter();
                faults
                    .iter()
                    .any(|fault| fault.begin < to && fault.end > from)
                    || ops.any(|op| from < op.call && op.call < to && self.record.may_write(op))
            };
            to - from >= watch_lag_ns(self.record)
                && !disturbed(*from, *to)
                && self.claims.iter().any(is_owed)
        })
    }

    /// A watch of what a member knew to be compacted is cancelled, with that compact revision or a later one; and
    /// no other is cancelled as compacted.
    fn ignores_compaction(&self) -> bool {
        let knows = |stream: usize, node: u16, end: u64| {
            let of = &self.record.streams[stream];
            let shown = |claim: &Claim| {
                matches!(claim, Claim::Answered { node, call, end: answered }
                    if *node == of.node && *call >= end && *answered <= of.call)
            };
            node == of.node && end <= of.call || self.claims.iter().any(shown)
        };
        self.claims.iter().any(|claim| match claim {
            Claim::Compacted {
                revision,
                node,
                end,
            } => self.claims.iter().any(|claim| match claim {
                Claim::Delivered(delivery) => {
                    let start = self.record.streams[delivery.stream].start_revision;
                    start > 0 && start < *revision && knows(delivery.stream, *node, *end)
                }
                Claim::Cancelled { stream, named } => {
                    let start = self.record.streams[*stream].start_revision;
                    start > 0
                        && start < *revision
                        && named < revision
                        && knows(*stream, *node, *end)
                }
                Claim::Read {
                    call,
                    revision: read,
                } => read < revision && end <= call,
                _ => false,
            }),
            Claim::Cancelled { stream, named } => {
                let delivered = self.claims.iter().filter_map(|claim| match claim {
                    Claim::Delivered(delivery) if delivery.stream == *stream => {
                        Some(delivery.revision + 1)
                    }
                    _ => None,
                });
                let first = self.record.streams[*stream].first_revision();
                delivered.chain(first).any(|next| *named <= next)
            }
            _ => false,
        })
    }

    fn clash(&self, one: &Claim, other: &Claim) -> bool {
        match (one, other) {
            (
                Claim::Holds {
                    revision,
                    contents,
                    whole,
                    ..
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
            // One revision is one state.
            (
                Claim::Shows { at, key, revision },
                Claim::Shows {
                    at: same,
                    key: of,
                    revision: theirs,
                },
            ) => at == same && key == of && revision != theirs,
            (
                Claim::Differs { at, key, revision },
                Claim::Shows {
                    at: same,
                    key: of,
                    revision: theirs,
                },
            ) => at == same && key == of && theirs.unwrap_or(0) == *revision,
            (
                Claim::Differs { at, key, revision },
                Claim::Holds {
                    revision: written,
                    contents,
                    ..
                },
            ) => {
                revision == written
                    && written <= at
                    && contents
                        .iter()
                        .any(|content| content.key == *key && content.value != Shown::Deleted)
                    && !self.may_be_written(key, *written, *at)
            }
            (
                Claim::Exists { at, key },
                Claim::Holds {
                    revision: written,
                    contents,
                    ..
                },
            ) => {
                written <= at
                    && contents
                        .iter()
                        .any(|content| content.key == *key && content.value == Shown::Deleted)
                    && !self.may_be_written(key, *written, *at)
            }
            (
                Claim::Lived { key, from, to },
                Claim::Holds {
                    revision, contents, ..
                },
            ) => {
                from < revision
                    && revision < to
                    && contents
                        .iter()
                        .any(|content| content.key == *key && content.value == Shown::Deleted)
            }
            (
                Claim::Told { stream, revision },
                Claim::Holds {
                    revision: same,
                    contents,
                    ..
                },
            ) => {
                let of = &self.record.streams[*stream];
                revision == same
                    && contents.iter().any(|content| {
                        self.is_within(of.span, &content.key)
                            && !self.has_told(*stream, *revision, &content.key)
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
            (Claim::Silent { stream, from, to }, Claim::DeletedOf { revision, span, .. }) => {
                (from..to).contains(&revision)
                    && self.covers(self.record.streams[*stream].span, *span)
            }
            (
                Claim::Told { stream, revision },
                Claim::DeletedOf {
                    revision: same,
                    span,
                    count,
                },
            ) => revision == same && self.tells_fewer(*stream, *revision, *span, *count),
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

    /// Whether the stream covers the span and delivered fewer of its deletions in that revision.
    fn tells_fewer(&self, stream: usize, revision: i64, span: Span, count: u32) -> bool {
        let of = &self.record.streams[stream];
        let events = of.events.iter().map(|id| self.pairs.get(*id));
        let told = events.filter(|pair| {
            pair.mod_revision == revision && pair.is_gone() && self.record.contains(span, pair.key)
        });
        self.covers(of.span, span) && told.count() < count as usize
    }

    /// Whether every key of the one span is in the other.
    fn covers(&self, outer: Span, inner: Span) -> bool {
        let keys = &self.record.keys;
        let is_endless = |span: Span| span.end != NONE && keys.get(span.end) == b"\0";
        self.record.contains(outer, inner.key)
            && (inner.end == NONE
                || is_endless(outer)
                || outer.end != NONE
                    && !is_endless(inner)
                    && keys.get(inner.end) <= keys.get(outer.end))
    }

    pub(super) fn is_within(&self, span: Span, key: &[u8]) -> bool {
        self.record
            .keys
            .find(key)
            .is_some_and(|key| self.record.contains(span, key))
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
