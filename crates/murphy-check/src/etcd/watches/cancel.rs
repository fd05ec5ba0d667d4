//! How a watch of what was compacted ends: cancelled, with the compact revision, and never silently resumed.

use super::{Fact, Findings, Follower, Rule, Trouble};
use crate::etcd::record::{Answer, Ask, Record, Stream};

/// The compactions of a history that were acknowledged.
pub(super) struct Compactions<'a> {
    record: &'a Record,
    /// Operation and revision.
    done: Vec<(u32, i64)>,
}

/// A compaction that a member certainly knew of.
#[derive(Clone, Copy)]
struct Known {
    op: u32,
    revision: i64,
    /// The answer with which the member showed that it had come that far.
    proof: u32,
}

impl<'a> Compactions<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        let revision = |op| match (record.ask(op), record.answer(op)) {
            (Ask::Compact { revision }, Some(Answer::Compact)) => Some(revision),
            _ => None,
        };
        let done = (0..)
            .zip(&record.ops)
            .filter_map(|(id, op)| Some((id, revision(op)?)));
        Self {
            record,
            done: done.collect(),
        }
    }

    /// The newest compaction that the member of `stream` knew of when the watch was asked for.
    ///
    /// A member may lag behind an acknowledged compaction; but it knows of those it acknowledged itself, and of
    /// those that were acknowledged before it was asked for something linearizable that it has answered.
    fn known_to(&self, stream: &Stream) -> Option<Known> {
        let record = self.record;
        if self.done.is_empty() {
            return None;
        }
        let before = record.ops.partition_point(|op| op.call <= stream.call);
        let is_proof = |op: u32| {
            let op = &record.ops[op as usize];
            op.node == stream.node
                && op.end <= stream.call
                && Record::is_kv(record.ask(op))
                && !record.is_local(record.ask(op))
                && record.answer(op).is_some()
        };
        let proof = (0..u32::try_from(before).unwrap_or(0))
            .rev()
            .find(|op| is_proof(*op));
        let known = self.done.iter().filter_map(|(id, revision)| {
            let op = &record.ops[*id as usize];
            let by_itself = op.node == stream.node && op.end <= stream.call;
            let shown = proof.filter(|proof| record.ops[*proof as usize].call >= op.end);
            let proof = if by_itself { Some(*id) } else { shown }?;
            Some(Known {
                op: *id,
                revision: *revision,
                proof,
            })
        });
        known.max_by_key(|known| known.revision)
    }

    /// Judges the end of one stream.
    pub(super) fn judge(&self, follower: &Follower<'_>, found: &mut Findings) {
        let stream = follower.stream;
        let cancel = stream.end.and_then(|end| end.cancel);
        let start = stream.start_revision;
        let known = self
            .known_to(stream)
            .filter(|known| start > 0 && known.revision > start);
        let named = cancel.filter(|cancel| cancel.compact_revision > 0 || cancel.says_compacted);
        found.judged(
            Rule::CancelReason,
            u64::from(known.is_some() || named.is_some()),
        );
        match (known, named) {
            (_, Some(cancel)) => {
                let named = cancel.compact_revision;
                let pairs = follower.words.pairs;
                let newest = stream
                    .events
                    .iter()
                    .map(|id| pairs.get(*id).mod_revision)
                    .max();
                let next = stream
                    .first_revision()
                    .unwrap_or(0)
                    .max(newest.map_or(0, |rev| rev + 1));
                if named <= next {
                    found.keep(Rule::CancelReason, needless(follower, named, next));
                } else if let Some(known) = known.filter(|known| named < known.revision) {
                    found.keep(Rule::CancelReason, outdated(follower, named, known));
                }
            }
            (Some(known), None) if cancel.is_none() => {
                if let Some(fact) = first_word(follower) {
                    found.keep(Rule::CancelReason, resumed(follower, known, fact));
                }
            }
            _ => {}
        }
    }
}

/// The first thing the stream delivered.
fn first_word(follower: &Follower<'_>) -> Option<Fact> {
    let stream = follower.stream;
    if !stream.events.is_empty() {
        return Some(Fact::Event(follower.number, 0));
    }
    (!stream.progress.is_empty()).then_some(Fact::Progress(follower.number, 0))
}

fn resumed(follower: &Follower<'_>, known: Known, fact: Fact) -> Trouble {
    let start = follower.stream.start_revision;
    let text = follower.words.line(fact, true).text;
    Trouble {
        revision: start,
        reason: format!(
            "a watch from revision {start} was resumed, though {} was compacted",
            known.revision
        ),
        sentence: format!(
            "Revision {} was compacted; {} from revision {start} was not cancelled: {text}",
            known.revision,
            follower.name(),
        ),
        facts: facts(follower, Some(known), fact),
        members: Vec::new(),
    }
}

fn needless(follower: &Follower<'_>, named: i64, next: i64) -> Trouble {
    let fact = Fact::Cancel(follower.number);
    let mut facts = facts(follower, None, fact);
    if !follower.stream.events.is_empty() {
        facts.push((
            Fact::Event(follower.number, follower.stream.events.len() - 1),
            false,
        ));
    }
    Trouble {
        revision: next,
        reason: format!("a watch at revision {next} was cancelled for compact revision {named}"),
        sentence: format!(
            "{} had come to revision {next} and was cancelled as compacted, with compact revision {named}, \
             which takes nothing from it.",
            follower.name()
        ),
        facts,
        members: Vec::new(),
    }
}

fn outdated(follower: &Follower<'_>, named: i64, known: Known) -> Trouble {
    Trouble {
        revision: named,
        reason: format!(
            "a cancellation names compact revision {named}, and {} was compacted",
            known.revision
        ),
        sentence: format!(
            "{} was cancelled with compact revision {named}, although {} had been compacted before.",
            follower.name(),
            known.revision
        ),
        facts: facts(follower, Some(known), Fact::Cancel(follower.number)),
        members: Vec::new(),
    }
}

fn facts(follower: &Follower<'_>, known: Option<Known>, last: Fact) -> Vec<(Fact, bool)> {
    let mut facts = vec![(Fact::Watch(follower.number), false)];
    if let Some(known) = known {
        facts.push((Fact::Op(known.op), true));
        if known.proof != known.op {
            facts.push((Fact::Op(known.proof), false));
        }
    }
    facts.push((last, true));
    facts
}
