//! Model `log`: values are appended and read by their offset.

use std::sync::Arc;

use super::words::{number, unknown_f, wrong};
use crate::{
    atoms::{Atom, Atoms, NIL},
    model::{Kept, Model, Request, Vocabulary},
    value::Value,
};

/// A log that is empty in the beginning.
#[derive(Clone, Debug, Default)]
pub struct Log {
    atoms: Atoms,
}

/// A request to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `append` of a value; a number in its answer is its offset, from 0.
    Append(Atom),
    /// `read` of the value at an offset; nil behind the end.
    Read(usize),
    /// `scan` of all values from an offset on.
    Scan(usize),
}

/// An answer of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The offset, where it was said.
    Offset(Option<usize>),
    /// The value read; nil behind the end.
    Value(Atom),
    /// The values to the end.
    Values(Box<[Atom]>),
}

impl Model for Log {
    type State = Arc<[Atom]>;
    type Ask = Ask;
    type Answer = Answer;

    fn initial(&self) -> Self::State {
        Arc::new([])
    }

    fn step(
        &self,
        state: &Self::State,
        ask: &Ask,
        answer: Option<&Answer>,
        next: &mut dyn FnMut(Self::State),
    ) {
        let fits = match (ask, answer) {
            (Ask::Append(_), Some(Answer::Offset(Some(offset)))) => *offset == state.len(),
            (Ask::Read(offset), Some(Answer::Value(value))) => {
                state.get(*offset).copied().unwrap_or(NIL) == *value
            }
            (Ask::Scan(offset), Some(Answer::Values(values))) => {
                state.get(*offset..).unwrap_or_default() == &**values
            }
            _ => true,
        };
        match ask {
            _ if !fits => {}
            Ask::Append(value) => next(state.iter().copied().chain([*value]).collect()),
            Ask::Read(_) | Ask::Scan(_) => next(Arc::clone(state)),
        }
    }

    fn is_read(&self, ask: &Ask, _: Option<&Answer>) -> bool {
        !matches!(ask, Ask::Append(_))
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        size_of_val(state) + 16 + state.len() * 4
    }

    fn tells(&self, _: &Ask, answer: &Answer) -> bool {
        *answer != Answer::Offset(None)
    }
}

fn offset(f: &str, value: &Value) -> Result<usize, Box<str>> {
    let offset = number(f, value)?;
    usize::try_from(offset).or_else(|_| wrong(f, "an offset of at least 0", value))
}

impl Vocabulary for Log {
    const NAME: &'static str = "log";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        match request.f {
            "append" if request.value.is_nil() => wrong("append", "a value", request.value),
            "append" => Ok(Ask::Append(self.atoms.of(request.value))),
            "read" => offset("read", request.value).map(Ask::Read),
            "scan" => offset("scan", request.value).map(Ask::Scan),
            f => unknown_f(f, Self::NAME, "append, read and scan"),
        }
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Answer, Box<str>> {
        match (ask, value) {
            (Ask::Append(_), Value::Nil) => Ok(Answer::Offset(None)),
            (Ask::Append(_), value) => Ok(Answer::Offset(Some(offset("append", value)?))),
            (Ask::Read(_), value) => Ok(Answer::Value(self.atoms.of(value))),
            (Ask::Scan(_), Value::List(values)) => Ok(Answer::Values(
                values.iter().map(|value| self.atoms.of(value)).collect(),
            )),
            (Ask::Scan(_), value) => wrong("scan", "a list of values", value),
        }
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Append(value) => format!("append {}", self.atoms.value(*value)),
            Ask::Read(offset) => format!("read at {offset}"),
            Ask::Scan(offset) => format!("scan from {offset}"),
        }
    }

    fn say_answer(&self, _: &Ask, answer: &Answer) -> String {
        match answer {
            Answer::Offset(None) => String::new(),
            Answer::Offset(Some(offset)) => format!("offset {offset}"),
            Answer::Value(value) => self.atoms.say(*value),
            Answer::Values(values) => self.atoms.say_all(values),
        }
    }

    fn say_state(&self, state: &Self::State) -> String {
        self.atoms.say_all(state.iter())
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        let asked = kept.asks.iter().filter_map(|ask| match ask {
            Ask::Append(value) => Some(*value),
            _ => None,
        });
        let read = kept.answers.iter().flat_map(|answer| match answer {
            Answer::Offset(_) => &[][..],
            Answer::Value(value) => std::slice::from_ref(value),
            Answer::Values(values) => values,
        });
        let held = kept.states.iter().flat_map(|state| state.iter());
        self.atoms
            .retain(&asked.chain(read.copied()).chain(held.copied()).collect());
    }
}
