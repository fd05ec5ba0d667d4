//! Model `set`: values are added, removed, looked for, and read all together.

use smallvec::SmallVec;

use super::words::{unknown_f, wrong};
use crate::{
    atoms::{Atom, Atoms},
    model::{Kept, Model, Part, Request, Vocabulary},
    value::Value,
};

/// A set that is empty in the beginning.
#[derive(Clone, Debug, Default)]
pub struct Set {
    atoms: Atoms,
}

/// A request to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `add` of a value; a truth value in its answer says whether it was new.
    Add(Atom),
    /// `remove` of a value; a truth value in its answer says whether it was there.
    Remove(Atom),
    /// `contains` a value.
    Contains(Atom),
    /// `read` of all values.
    Read,
}

/// An answer of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but that it was done.
    Done,
    /// Whether it was new, or there.
    Was(bool),
    /// The values, in the order of their numbers.
    All(Box<[Atom]>),
}

impl Model for Set {
    type State = SmallVec<[Atom; 4]>;
    type Ask = Ask;
    type Answer = Answer;

    fn initial(&self) -> Self::State {
        SmallVec::new()
    }

    fn step(
        &self,
        state: &Self::State,
        ask: &Ask,
        answer: Option<&Answer>,
        next: &mut dyn FnMut(Self::State),
    ) {
        let (value, is_add) = match *ask {
            Ask::Read => {
                if !matches!(answer, Some(Answer::All(all)) if **all != **state) {
                    next(state.clone());
                }
                return;
            }
            Ask::Contains(value) => {
                let is_there = state.binary_search(&value).is_ok();
                if answer.is_none_or(|answer| *answer == Answer::Was(is_there)) {
                    next(state.clone());
                }
                return;
            }
            Ask::Add(value) => (value, true),
            Ask::Remove(value) => (value, false),
        };
        let place = state.binary_search(&value);
        let changes = place.is_err() == is_add;
        if matches!(answer, Some(Answer::Was(said)) if *said != changes) {
            return;
        }
        let mut state = state.clone();
        match place {
            Err(place) if is_add => state.insert(place, value),
            Ok(place) if !is_add => {
                state.remove(place);
            }
            _ => {}
        }
        next(state);
    }

    fn part(&self, ask: &Ask, _: Option<&Answer>) -> Part {
        match ask {
            Ask::Add(value) | Ask::Remove(value) | Ask::Contains(value) => {
                Part::Key(u64::from(*value))
            }
            Ask::Read => Part::Whole,
        }
    }

    fn is_read(&self, ask: &Ask, answer: Option<&Answer>) -> bool {
        match ask {
            Ask::Read | Ask::Contains(_) => true,
            Ask::Add(_) | Ask::Remove(_) => answer == Some(&Answer::Was(false)),
        }
    }

    fn group(&self, ask: &Ask, _: Option<&Answer>) -> Option<u64> {
        match ask {
            Ask::Add(value) | Ask::Remove(value) | Ask::Contains(value) => Some(u64::from(*value)),
            Ask::Read => None,
        }
    }

    fn without(&self, answer: &Answer, group: u64) -> Answer {
        match answer {
            Answer::All(all) => Answer::All(
                all.iter()
                    .copied()
                    .filter(|value| u64::from(*value) != group)
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        size_of_val(state)
            + if state.spilled() {
                state.capacity() * 4
            } else {
                0
            }
    }

    fn tells(&self, _: &Ask, answer: &Answer) -> bool {
        *answer != Answer::Done
    }
}

impl Vocabulary for Set {
    const NAME: &'static str = "set";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        let value = self.atoms.of(request.value);
        match request.f {
            "add" => Ok(Ask::Add(value)),
            "remove" => Ok(Ask::Remove(value)),
            "contains" => Ok(Ask::Contains(value)),
            "read" => Ok(Ask::Read),
            f => unknown_f(f, Self::NAME, "add, remove, contains and read"),
        }
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Answer, Box<str>> {
        match (ask, value) {
            (Ask::Read, Value::List(values)) => {
                let mut all: Vec<_> = values.iter().map(|value| self.atoms.of(value)).collect();
                all.sort_unstable();
                let length = all.len();
                all.dedup();
                if all.len() < length {
                    return wrong("read", "each value once", value);
                }
                Ok(Answer::All(all.into()))
            }
            (Ask::Read, value) => wrong("read", "a list of values", value),
            (_, Value::Bool(was)) => Ok(Answer::Was(*was)),
            (Ask::Contains(_), value) => wrong("contains", "true or false", value),
            _ => Ok(Answer::Done),
        }
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Add(value) => format!("add {}", self.atoms.value(*value)),
            Ask::Remove(value) => format!("remove {}", self.atoms.value(*value)),
            Ask::Contains(value) => format!("contains {}", self.atoms.value(*value)),
            Ask::Read => "read".into(),
        }
    }

    fn say_answer(&self, _: &Ask, answer: &Answer) -> String {
        match answer {
            Answer::Done => String::new(),
            Answer::Was(was) => was.to_string(),
            Answer::All(all) => self.atoms.say_all(all),
        }
    }

    fn say_state(&self, state: &Self::State) -> String {
        self.atoms.say_all(state)
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        let asked = kept.asks.iter().filter_map(|ask| match ask {
            Ask::Add(value) | Ask::Remove(value) | Ask::Contains(value) => Some(*value),
            Ask::Read => None,
        });
        let read = kept.answers.iter().flat_map(|answer| match answer {
            Answer::All(all) => all.iter().copied(),
            _ => [].iter().copied(),
        });
        let held = kept.states.iter().flat_map(|state| state.iter().copied());
        self.atoms.retain(&asked.chain(read).chain(held).collect());
    }
}
