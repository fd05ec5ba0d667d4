//! A sighting is one place of a history where a member said something: a fact a witness can point at.

use super::record::{Answer, Ask, Op, RangeOptions, Record};
use crate::intern::{Id, NONE, next_id};

/// A place in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// An invocation with its completion.
    Op(Id),
    /// A pair that the answer of an invocation shows: operation, pair.
    Shown(Id, Id),
    /// The creation of a watch stream.
    Watch(usize),
    /// An event a watch delivered: stream, event.
    Event(usize, usize),
    /// The previous pair beside an event: stream, event.
    Prev(usize, usize),
    /// A bookmark of a watch: stream, bookmark.
    Progress(usize, usize),
    /// The cancellation of a watch by its member.
    Cancel(usize),
    /// A watch said nothing from one time to another: stream, ns, ns.
    Silence(usize, u64, u64),
}

/// Calls `each` with every pair that any member showed, deletions included.
pub(crate) fn each_sighting(record: &Record, each: &mut impl FnMut(Id, Fact, u16)) {
    for (id, op) in record.ops.iter().enumerate() {
        if let Some(answer) = record.answer(op) {
            each_pair(record, answer, &mut |pair| {
                each(pair, Fact::Shown(next_id(id), pair), op.node);
            });
        }
    }
    for (number, stream) in record.streams.iter().enumerate() {
        for (event, pair) in stream.events.iter().enumerate() {
            each(*pair, Fact::Event(number, event), stream.node);
        }
        for (event, pair) in stream
            .prevs
            .iter()
            .enumerate()
            .filter(|(_, pair)| **pair != NONE)
        {
            each(*pair, Fact::Prev(number, event), stream.node);
        }
    }
}

fn each_pair(record: &Record, answer: Answer, each: &mut impl FnMut(Id)) {
    match answer {
        Answer::Put { prev } if prev != NONE => each(prev),
        Answer::Range { kvs: run, .. } | Answer::Delete { prev: run, .. } => {
            record.lists[run.range()].iter().copied().for_each(each);
        }
        Answer::Txn { answers, .. } => {
            for answer in &record.answers[answers.range()] {
                each_pair(record, *answer, each);
            }
        }
        _ => {}
    }
}

/// A member's copy of the whole key space at one revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dump<'r> {
    pub op: Id,
    pub node: u16,
    pub call: u64,
    /// The revision shown.
    pub revision: i64,
    /// The member's own revision when it answered.
    pub head: i64,
    pub pairs: &'r [Id],
}

/// Every dump of the history, in order of the invocations.
pub(crate) fn dumps(record: &Record) -> impl Iterator<Item = Dump<'_>> {
    record
        .ops
        .iter()
        .enumerate()
        .filter_map(|(id, op)| dump_of(record, next_id(id), op))
}

fn dump_of<'r>(record: &'r Record, id: Id, op: &Op) -> Option<Dump<'r>> {
    let Ask::Range { span, options } = record.ask(op) else {
        return None;
    };
    let RangeOptions {
        limit,
        revision,
        serializable,
        keys_only,
        count_only,
    } = record.options[options as usize];
    let is_dump =
        serializable && limit == 0 && !keys_only && !count_only && record.is_everything(span);
    let Some(Answer::Range { kvs, .. }) = record.answer(op).filter(|_| is_dump) else {
        return None;
    };
    Some(Dump {
        op: id,
        node: op.node,
        call: op.call,
        revision: if revision > 0 { revision } else { op.revision },
        head: op.revision,
        pairs: &record.lists[kvs.range()],
    })
}

/// The last dump of each member.
pub(crate) fn last_dumps(record: &Record) -> Vec<Dump<'_>> {
    let mut last: Vec<Dump<'_>> = Vec::new();
    for dump in dumps(record) {
        match last.iter_mut().find(|known| known.node == dump.node) {
            Some(known) => *known = dump,
            None => last.push(dump),
        }
    }
    last.sort_by_key(|dump| dump.node);
    last
}
