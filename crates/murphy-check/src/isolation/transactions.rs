//! Transactions in memory: what a recording says of them, as numbers in flat lists.
//!
//! A committed transaction is one that was answered, or one of unknown outcome of which a write was seen. A value
//! that was read and that none of the transactions wrote is given to an *outside* transaction of its own, which did
//! nothing else: this is how a part of a history is judged alone, and what judging a garbage read needs.

use rustc_hash::FxHashMap;

use super::Workload;
use crate::{
    model::Misunderstood,
    recording::{Invocation, Outcome, Recording},
    value::Value,
};

/// No write, no transaction, no position.
pub(super) const NONE: u32 = u32::MAX;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was answered.
    Ok,
    /// It aborted.
    Aborted,
    /// Nobody saw anything of it.
    Unseen,
    /// It has an unknown outcome, and somebody saw a write of it.
    Seen,
    /// It wrote a value that nobody of the history wrote.
    Outside,
}

/// A transaction.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    /// Position in [`Recording::invocations`]; [`NONE`] for an outside one.
    pub invocation: u32,
    /// First of its operations; they end where those of the next begin.
    pub first: u32,
    pub fate: Fate,
    pub process: u32,
    pub call: u64,
    pub end: u64,
}

impl Transaction {
    pub fn is_committed(&self) -> bool {
        matches!(self.fate, Fate::Ok | Fate::Seen | Fate::Outside)
    }
}

/// A read or write of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation<'a> {
    pub key: u32,
    /// The number of the write; [`NONE`] for a read.
    pub write: u32,
    /// What was written or read; nil for a read that was not answered.
    pub value: &'a Value,
}

impl Operation<'_> {
    pub fn is_read(&self) -> bool {
        self.write == NONE
    }
}

/// A write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write<'a> {
    pub transaction: u32,
    pub key: u32,
    pub value: &'a Value,
    /// Whether its transaction writes the key no more.
    pub is_last: bool,
}

/// All transactions of a history, or of a part of it.
#[derive(Debug)]
pub(super) struct Transactions<'a> {
    pub workload: Workload,
    pub list: Vec<Transaction>,
    pub operations: Vec<Operation<'a>>,
    pub writes: Vec<Write<'a>>,
    pub keys: Vec<&'a Value>,
    by_value: FxHashMap<(u32, &'a Value), u32>,
}

impl<'a> Transactions<'a> {
    /// Understands the invocations `chosen` of a recording, all of them without a choice.
    pub fn read(
        recording: &'a Recording,
        workload: Workload,
        chosen: Option<&[u32]>,
    ) -> Result<Self, Misunderstood> {
        let mut these = Self {
            workload,
            list: Vec::new(),
            operations: Vec::new(),
            writes: Vec::new(),
            keys: Vec::new(),
            by_value: FxHashMap::default(),
        };
        let mut keys = FxHashMap::default();
        match chosen {
            Some(chosen) => {
                for number in chosen {
                    let invocation = &recording.invocations[*number as usize];
                    these.take(*number, invocation, &mut keys)?;
                }
            }
            None => {
                for (number, invocation) in (0..).zip(&recording.invocations) {
                    these.take(number, invocation, &mut keys)?;
                }
            }
        }
        Ok(these)
    }

    fn take(
        &mut self,
        number: u32,
        invocation: &'a Invocation,
        keys: &mut FxHashMap<&'a Value, u32>,
    ) -> Result<(), Misunderstood> {
        let at_ask = |problem: String| Misunderstood {
            line: invocation.line,
            problem: problem.into(),
        };
        let asked = invocation.ask.as_list().ok_or_else(|| {
            at_ask(format!(
                "expected a list of micro-operations such as [\"r\" x nil], not {}",
                invocation.ask
            ))
        })?;
        let said = match invocation.outcome {
            Outcome::Ok => answered(invocation, asked)?,
            Outcome::Fail | Outcome::Unknown => asked,
        };
        let transaction = number_of(self.list.len());
        let first = number_of(self.operations.len());
        for (micro, ask) in said.iter().zip(asked) {
            let (word, key, asked_value) = parts(ask).map_err(at_ask)?;
            let is_write = self.workload.is_write(word).map_err(at_ask)?;
            let next = number_of(self.keys.len());
            let key = *keys.entry(key).or_insert(next);
            if key == next {
                self.keys.push(parts(ask).map_err(at_ask)?.1);
            }
            if is_write {
                self.write(transaction, key, asked_value).map_err(at_ask)?;
                continue;
            }
            let value = if invocation.outcome == Outcome::Ok {
                &micro.as_list().unwrap_or_default()[2]
            } else {
                &NIL
            };
            if self.workload == Workload::ListAppend && !value.is_nil() && value.as_list().is_none()
            {
                return Err(Misunderstood {
                    line: invocation.end_line,
                    problem: format!(
                        "a read of {} answered {value}, not a list",
                        self.keys[key as usize]
                    )
                    .into(),
                });
            }
            self.operations.push(Operation {
                key,
                write: NONE,
                value,
            });
        }
        self.mark_last(first);
        self.list.push(Transaction {
            invocation: number,
            first,
            fate: match invocation.outcome {
                Outcome::Ok => Fate::Ok,
                Outcome::Fail => Fate::Aborted,
                Outcome::Unknown => Fate::Unseen,
            },
            process: invocation.process,
            call: invocation.call,
            end: if invocation.outcome == Outcome::Ok {
                invocation.end
            } else {
                u64::MAX
            },
        });
        Ok(())
    }

    fn write(&mut self, transaction: u32, key: u32, value: &'a Value) -> Result<(), String> {
        if value.is_nil() {
            return Err(format!(
                "nil is written to {}, and is what a key has before the first write",
                self.keys[key as usize]
            ));
        }
        let write = number_of(self.writes.len());
        if self.by_value.insert((key, value), write).is_some() {
            return Err(format!(
                "duplicate-writes: {value} is written to {} a second time, so that its reads do not tell who is read",
                self.keys[key as usize]
            ));
        }
        self.writes.push(Write {
            transaction,
            key,
            value,
            is_last: true,
        });
        self.operations.push(Operation { key, write, value });
        Ok(())
    }

    /// Of the writes of a transaction to one key only the last one is final.
    fn mark_last(&mut self, first: u32) {
        let operations = &self.operations[first as usize..];
        for (at, operation) in operations.iter().enumerate() {
            let overwrites = |later: &Operation<'_>| !later.is_read() && later.key == operation.key;
            if !operation.is_read() && operations[at + 1..].iter().any(overwrites) {
                self.writes[operation.write as usize].is_last = false;
            }
        }
    }

    /// The operations of a transaction, in its order.
    pub fn of(&self, transaction: u32) -> &[Operation<'a>] {
        let first = self.list[transaction as usize].first as usize;
        let end = self
            .list
            .get(transaction as usize + 1)
            .map_or(self.operations.len(), |next| next.first as usize);
        &self.operations[first..end]
    }

    /// The write of a value, where there is one.
    pub fn find<'v>(&'v self, key: u32, value: &'v Value) -> Option<u32> {
        self.by_value.get(&(key, value)).copied()
    }

    /// The write of a value; where there is none, that of a new outside transaction.
    pub fn find_or_add(&mut self, key: u32, value: &'a Value) -> u32 {
        if let Some(write) = self.find(key, value) {
            return write;
        }
        let transaction = number_of(self.list.len());
        self.list.push(Transaction {
            invocation: NONE,
            first: number_of(self.operations.len()),
            fate: Fate::Outside,
            process: NONE,
            call: 0,
            end: u64::MAX,
        });
        let write = number_of(self.writes.len());
        self.by_value.insert((key, value), write);
        self.writes.push(Write {
            transaction,
            key,
            value,
            is_last: true,
        });
        self.operations.push(Operation { key, write, value });
        write
    }

    /// Notes that somebody saw a write: its transaction did commit unless it is known to have aborted.
    pub fn see(&mut self, write: u32) {
        let transaction = self.writes[write as usize].transaction;
        let fate = &mut self.list[transaction as usize].fate;
        if *fate == Fate::Unseen {
            *fate = Fate::Seen;
        }
    }

    pub fn fate_of(&self, write: u32) -> Fate {
        self.list[self.writes[write as usize].transaction as usize].fate
    }

    pub fn is_committed(&self, write: u32) -> bool {
        self.list[self.writes[write as usize].transaction as usize].is_committed()
    }
}

static NIL: Value = Value::Nil;

/// The recorder refuses histories of 2^32 lines, so that no list here has as many entries unless a line has
/// thousands; then a stop is better than a wrong number.
pub(super) fn number_of(length: usize) -> u32 {
    let number = u32::try_from(length).unwrap_or(NONE);
    assert!(number < NONE, "a history of more than 2^32 things");
    number
}

/// `[f k v]`; the value may be left out of a read.
fn parts(micro: &Value) -> Result<(&str, &Value, &Value), String> {
    let wrong = || format!("expected a micro-operation [f k v], not {micro}");
    let list = micro.as_list().ok_or_else(wrong)?;
    let word = list.first().and_then(Value::as_text).ok_or_else(wrong)?;
    match list {
        [_, key] => Ok((word, key, &NIL)),
        [_, key, value] => Ok((word, key, value)),
        _ => Err(wrong()),
    }
}

/// The micro-operations of an answer, which repeats those that were asked with the reads filled in.
fn answered<'a>(invocation: &'a Invocation, asked: &[Value]) -> Result<&'a [Value], Misunderstood> {
    let at = |problem: String| Misunderstood {
        line: invocation.end_line,
        problem: problem.into(),
    };
    let said = invocation.answer.as_list().ok_or_else(|| {
        at(format!(
            "expected the micro-operations of the request with the reads filled in, not {}",
            invocation.answer
        ))
    })?;
    if said.len() != asked.len() {
        return Err(at(format!(
            "the answer has {} micro-operations where {} were asked",
            said.len(),
            asked.len()
        )));
    }
    for (said, asked) in said.iter().zip(asked) {
        let (word, key, value) = parts(said).map_err(at)?;
        let (asked_word, asked_key, asked_value) = parts(asked).map_err(at)?;
        let is_other =
            word != asked_word || key != asked_key || (word != "r" && value != asked_value);
        if is_other || said.as_list().is_none_or(|list| list.len() != 3) {
            return Err(at(format!("{asked} was asked, and {said} is answered")));
        }
    }
    Ok(said)
}
