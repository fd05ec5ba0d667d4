//! Model `cas-register`: one value, which is read, written, and replaced where it is what was expected.

use super::words::{pair, unknown_f};
use crate::{
    atoms::{Atom, Atoms, NIL},
    model::{Kept, Model, Request, Vocabulary},
    value::Value,
};

/// A register with compare-and-set that is nil in the beginning.
#[derive(Clone, Debug, Default)]
pub struct CasRegister {
    atoms: Atoms,
}

/// A request to a register with compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `read`.
    Read,
    /// `write` of a value.
    Write(Atom),
    /// `cas` of a list of two: the value expected, and the one to put in its place.
    Cas(Atom, Atom),
}

/// An answer of a register with compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value read.
    Value(Atom),
    /// It was written.
    Done,
    /// Whether the value was the one expected.
    Swapped(bool),
}

impl Model for CasRegister {
    type State = Atom;
    type Ask = Ask;
    type Answer = Answer;

    fn initial(&self) -> Atom {
        NIL
    }

    fn step(&self, state: &Atom, ask: &Ask, answer: Option<&Answer>, next: &mut dyn FnMut(Atom)) {
        match (ask, answer) {
            (Ask::Read, Some(Answer::Value(value))) if value != state => {}
            (Ask::Read, _) => next(*state),
            (Ask::Write(value), _) => next(*value),
            (Ask::Cas(expected, _), Some(Answer::Swapped(false))) => {
                if expected != state {
                    next(*state);
                }
            }
            (Ask::Cas(expected, new), _) => {
                if expected == state {
                    next(*new);
                }
            }
        }
    }

    fn is_read(&self, ask: &Ask, answer: Option<&Answer>) -> bool {
        *ask == Ask::Read || answer == Some(&Answer::Swapped(false))
    }

    fn tells(&self, ask: &Ask, _: &Answer) -> bool {
        !matches!(ask, Ask::Write(_))
    }

    fn can_lead_to<'a>(
        &self,
        state: &Atom,
        ask: &Ask,
        answer: &Answer,
        mut between: impl Iterator<Item = &'a Ask>,
    ) -> bool {
        let wanted = match (ask, answer) {
            (Ask::Read, Answer::Value(value)) => value,
            (Ask::Cas(expected, _), Answer::Swapped(true)) => expected,
            _ => return true,
        };
        let leaves = |ask: &Ask| match ask {
            Ask::Read => None,
            Ask::Write(value) | Ask::Cas(_, value) => Some(*value),
        };
        wanted == state || between.any(|ask| leaves(ask) == Some(*wanted))
    }
}

impl Vocabulary for CasRegister {
    const NAME: &'static str = "cas-register";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        match request.f {
            "read" => Ok(Ask::Read),
            "write" => Ok(Ask::Write(self.atoms.of(request.value))),
            "cas" => {
                let (expected, new) = pair("cas", request.value)?;
                Ok(Ask::Cas(self.atoms.of(expected), self.atoms.of(new)))
            }
            f => unknown_f(f, Self::NAME, "read, write and cas"),
        }
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Answer, Box<str>> {
        Ok(match (ask, value) {
            (Ask::Read, value) => Answer::Value(self.atoms.of(value)),
            (Ask::Write(_), _) => Answer::Done,
            (Ask::Cas(..), Value::Bool(swapped)) => Answer::Swapped(*swapped),
            (Ask::Cas(..), _) => Answer::Swapped(true),
        })
    }

    fn failure(&mut self, ask: &Ask, error: Option<&str>) -> Option<Answer> {
        let saw_another = matches!(ask, Ask::Cas(..)) && error.is_none();
        saw_another.then_some(Answer::Swapped(false))
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Read => "read".into(),
            Ask::Write(value) => format!("write {}", self.atoms.value(*value)),
            Ask::Cas(expected, new) => {
                format!(
                    "cas {} to {}",
                    self.atoms.value(*expected),
                    self.atoms.value(*new)
                )
            }
        }
    }

    fn say_answer(&self, _: &Ask, answer: &Answer) -> String {
        match answer {
            Answer::Value(value) => self.atoms.say(*value),
            Answer::Done => String::new(),
            Answer::Swapped(true) => "swapped".into(),
            Answer::Swapped(false) => "another value".into(),
        }
    }

    fn say_state(&self, state: &Atom) -> String {
        self.atoms.say(*state)
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        let asked = kept.asks.iter().flat_map(|ask| match ask {
            Ask::Read => [None, None],
            Ask::Write(value) => [Some(*value), None],
            Ask::Cas(expected, new) => [Some(*expected), Some(*new)],
        });
        let read = kept.answers.iter().filter_map(|answer| match answer {
            Answer::Value(value) => Some(*value),
            _ => None,
        });
        let states = kept.states.iter().map(|state| **state);
        let all = asked.flatten().chain(read).chain(states);
        self.atoms.retain(&all.collect());
    }
}
