//! What a model knows besides its steps: a monitor that judges its histories in near-linear time where values are
//! distinct, and which of its operations are plain reads and writes, of which sessions may expect something.

use crate::{
    atoms::{Atom, NIL},
    model::{Model, OperationOf, Vocabulary},
    models::{
        Bank, CasRegister, Container, Counter, Discipline, KeyValue, Log, MultiRegister, Mutex,
        Order, Register, Set, UniqueIds, container, key_value, register, set,
    },
    monitors::{self, Event, Outcome},
    sessions::{self, Access},
};

/// What a model knows besides its steps. For a model of one's own nothing need be written:
/// `impl Quick for MyModel {}`.
pub trait Quick: Vocabulary {
    /// What a history is judged by, while it is written and nobody knows what is still to come.
    const PARTITION: Partition = Partition::Whole;

    /// What a monitor says, with the places in its history that are positions here; `None` where there is none.
    fn monitor(&self, operations: &[OperationOf<Self>]) -> Option<Monitored>
    where
        Self: Sized,
    {
        let _ = operations;
        None
    }

    /// An operation as a read or a write of a key, where the whole model is nothing else.
    fn access(&self, ask: &Self::Ask, answer: Option<&Self::Answer>) -> Plain {
        let _ = (ask, answer);
        Plain::Neither
    }
}

/// What tells the part of an operation before the whole history is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Nothing: a later operation may tie parts together.
    Whole,
    /// What is asked has one key.
    ByAsk,
    /// The answer has one key; without it the operation is in nobody's way.
    ByAnswer,
}

/// What a monitor says.
pub struct Monitored {
    /// Its word.
    pub outcome: Outcome,
    /// For each operation that the monitor was given, its position in the history.
    pub positions: Vec<u32>,
}

/// What an operation is to a session.
pub enum Plain {
    /// A read or a write of a key.
    Access(u32, Access),
    /// A read without an answer.
    Nothing,
    /// Something else: sessions of this model are promised nothing.
    Neither,
}

/// Whether a history has nothing but reads and writes.
pub(super) fn is_plain<M: Quick>(model: &M, operations: &[OperationOf<M>]) -> bool {
    let plain =
        |operation: &OperationOf<M>| model.access(&operation.ask, operation.answer.as_ref());
    !(operations.iter()).any(|operation| matches!(plain(operation), Plain::Neither))
}

/// The reads and writes of a history with their positions, where it has nothing else.
pub(crate) fn accesses<M: Quick>(
    model: &M,
    operations: &[OperationOf<M>],
) -> Option<(Vec<sessions::Operation>, Vec<u32>)> {
    let (mut accesses, mut positions) = (Vec::new(), Vec::new());
    for (position, operation) in (0..).zip(operations) {
        match model.access(&operation.ask, operation.answer.as_ref()) {
            Plain::Neither => return None,
            Plain::Nothing => {}
            Plain::Access(key, access) => {
                accesses.push(sessions::Operation {
                    session: operation.process,
                    key,
                    access,
                    is_answered: operation.answer.is_some(),
                });
                positions.push(position);
            }
        }
    }
    Some((accesses, positions))
}

/// The operations of which something is made, for a monitor.
fn events<M: Model, E>(
    operations: &[OperationOf<M>],
    mut event: impl FnMut(&OperationOf<M>) -> Option<E>,
) -> (Vec<monitors::Operation<E>>, Vec<u32>) {
    let made = (0..).zip(operations).filter_map(|(position, operation)| {
        let event = event(operation)?;
        Some((
            monitors::Operation {
                call: operation.call,
                end: operation.end,
                event,
            },
            position,
        ))
    });
    made.unzip()
}

/// Registers by key, from reads and writes.
fn registers<M: Quick>(model: &M, operations: &[OperationOf<M>]) -> Option<Monitored> {
    let (mut keys, mut is_plain) = (Vec::with_capacity(operations.len()), true);
    let access = |operation: &OperationOf<M>| match model
        .access(&operation.ask, operation.answer.as_ref())
    {
        Plain::Access(key, access) => {
            keys.push(key);
            Some(access)
        }
        Plain::Nothing => None,
        Plain::Neither => {
            is_plain = false;
            None
        }
    };
    let (events, positions) = events::<M, _>(operations, access);
    if !is_plain {
        return None;
    }
    Some(Monitored {
        outcome: monitors::register::check_per_key(&events, &keys),
        positions,
    })
}

impl Quick for Register {
    fn monitor(&self, operations: &[OperationOf<Self>]) -> Option<Monitored> {
        registers(self, operations)
    }

    fn access(&self, ask: &register::Ask, answer: Option<&Atom>) -> Plain {
        match (ask, answer) {
            (register::Ask::Write(value), _) => Plain::Access(0, Access::Write(*value)),
            (register::Ask::Read, Some(value)) => Plain::Access(0, Access::Read(*value)),
            (register::Ask::Read, None) => Plain::Nothing,
        }
    }
}

impl Quick for KeyValue {
    const PARTITION: Partition = Partition::ByAsk;

    fn monitor(&self, operations: &[OperationOf<Self>]) -> Option<Monitored> {
        registers(self, operations)
    }

    fn access(&self, ask: &key_value::Ask, answer: Option<&key_value::Answer>) -> Plain {
        use key_value::{Act, Answer};
        let access = match (ask.act, answer) {
            (Act::Put(value), _) => Access::Write(value),
            (Act::Delete, _) => Access::Write(NIL),
            (Act::Get, Some(Answer::Value(value))) => Access::Read(*value),
            (Act::Get, _) => return Plain::Nothing,
            (Act::Append(_) | Act::Cas(..), _) => return Plain::Neither,
        };
        Plain::Access(ask.key, access)
    }
}

impl<D: Discipline> Quick for Container<D> {
    fn monitor(&self, operations: &[OperationOf<Self>]) -> Option<Monitored> {
        // The least id comes out of a priority queue first.
        let ids = (D::ORDER == Order::Least).then(|| self.ranks());
        let id = |value: Atom| ids.as_ref().map_or(value, |ids| ids[value as usize]);
        let (events, positions) = events::<Self, _>(operations, |operation| {
            Some(match (&operation.ask, operation.answer) {
                (container::Ask::Put(value), _) => Event::Insert(id(*value)),
                (container::Ask::Take, Some(NIL)) => Event::RemoveEmpty,
                (container::Ask::Take, Some(value)) => Event::Remove(id(value)),
                (container::Ask::Take, None) => Event::RemoveUnseen,
            })
        });
        let check = match D::ORDER {
            Order::First => monitors::queue::check,
            Order::Last => monitors::stack::check,
            Order::Any => monitors::bag::check,
            Order::Least => monitors::priority_queue::check,
        };
        Some(Monitored {
            outcome: check(&events),
            positions,
        })
    }
}

impl Quick for Set {
    fn monitor(&self, operations: &[OperationOf<Self>]) -> Option<Monitored> {
        use monitors::set::Access;
        use set::{Answer, Ask};
        if operations
            .iter()
            .any(|operation| operation.ask == Ask::Read)
        {
            return None;
        }
        // Whether a value was there already is not known of an addition that does not say so.
        let is_vague = |operation: &OperationOf<Self>| {
            matches!(operation.ask, Ask::Add(_) | Ask::Remove(_))
                && operation.answer == Some(Answer::Done)
        };
        if operations.iter().any(is_vague) {
            return None;
        }
        let (events, positions) = events::<Self, _>(operations, |operation| {
            let was = match operation.answer {
                None => None,
                Some(Answer::Was(was)) => Some(was),
                Some(_) => return None,
            };
            Some(match (operation.ask, was) {
                (Ask::Add(value), None | Some(true)) => Access::Add(value),
                (Ask::Remove(value), None | Some(true)) => Access::Remove(value),
                (Ask::Add(value), Some(false)) | (Ask::Contains(value), Some(true)) => {
                    Access::Present(value)
                }
                (Ask::Remove(value) | Ask::Contains(value), Some(false)) => Access::Absent(value),
                (Ask::Contains(_), None) | (Ask::Read, _) => return None,
            })
        });
        Some(Monitored {
            outcome: monitors::set::check(&events),
            positions,
        })
    }
}

impl Quick for CasRegister {}
impl Quick for MultiRegister {}
impl Quick for Mutex {}
impl Quick for Counter {}
impl Quick for Bank {}
impl Quick for Log {}
impl Quick for UniqueIds {
    const PARTITION: Partition = Partition::ByAnswer;
}
