//! Model `multi-register`: named values, several of which are read and written at once.

use smallvec::SmallVec;

use super::words::{pair, unknown_f, wrong};
use crate::{
    atoms::{Atom, Atoms, NIL},
    model::{Kept, Model, Part, Request, Vocabulary},
    value::Value,
};

/// Registers that are nil in the beginning.
#[derive(Clone, Debug, Default)]
pub struct MultiRegister {
    atoms: Atoms,
}

/// One step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micro {
    /// Which register.
    pub key: Atom,
    /// The value written; `None` for a read.
    pub write: Option<Atom>,
}

impl Model for MultiRegister {
    /// Values other than nil by key, in the order of the keys' numbers.
    type State = SmallVec<[(Atom, Atom); 2]>;
    /// Steps, which happen in their order and at once.
    type Ask = SmallVec<[Micro; 2]>;
    /// What was read, for each step; nil for a write.
    type Answer = SmallVec<[Atom; 4]>;

    fn initial(&self) -> Self::State {
        SmallVec::new()
    }

    fn step(
        &self,
        state: &Self::State,
        ask: &Self::Ask,
        answer: Option<&Self::Answer>,
        next: &mut dyn FnMut(Self::State),
    ) {
        let mut state = state.clone();
        for (at, micro) in ask.iter().enumerate() {
            let place = state.binary_search_by_key(&micro.key, |(key, _)| *key);
            match (micro.write, place) {
                (None, place) => {
                    let value = place.map_or(NIL, |place| state[place].1);
                    let said = answer.and_then(|answer| answer.get(at));
                    if said.is_some_and(|said| *said != value) {
                        return;
                    }
                }
                (Some(NIL), Ok(place)) => {
                    state.remove(place);
                }
                (Some(NIL), Err(_)) => {}
                (Some(value), Ok(place)) => state[place].1 = value,
                (Some(value), Err(place)) => state.insert(place, (micro.key, value)),
            }
        }
        next(state);
    }

    fn part(&self, ask: &Self::Ask, _: Option<&Self::Answer>) -> Part {
        match ask.as_slice() {
            [micro] => Part::Key(u64::from(micro.key)),
            micros => Part::Keys(micros.iter().map(|micro| u64::from(micro.key)).collect()),
        }
    }

    fn is_read(&self, ask: &Self::Ask, _: Option<&Self::Answer>) -> bool {
        ask.iter().all(|micro| micro.write.is_none())
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        size_of_val(state)
            + if state.spilled() {
                state.capacity() * 8
            } else {
                0
            }
    }

    fn tells(&self, ask: &Self::Ask, _: &Self::Answer) -> bool {
        ask.iter().any(|micro| micro.write.is_none())
    }
}

impl MultiRegister {
    /// A step, `[f key value]`.
    fn micro(&mut self, value: &Value) -> Result<(Micro, Atom), Box<str>> {
        let Some([f, key, value]) = value.as_list() else {
            return wrong(
                "txn",
                "steps like [\"r\", key, null] and [\"w\", key, value]",
                value,
            );
        };
        let (key, said) = (self.atoms.of(key), self.atoms.of(value));
        match f.as_text() {
            Some("r" | "read") => Ok((Micro { key, write: None }, said)),
            Some("w" | "write") => Ok((
                Micro {
                    key,
                    write: Some(said),
                },
                NIL,
            )),
            _ => wrong("txn", "a step of `r` or `w`", f),
        }
    }

    fn steps(&mut self, value: &Value) -> Result<Vec<(Micro, Atom)>, Box<str>> {
        match value.as_list() {
            Some(steps) => steps.iter().map(|step| self.micro(step)).collect(),
            None => wrong("txn", "a list of steps", value),
        }
    }
}

impl Vocabulary for MultiRegister {
    const NAME: &'static str = "multi-register";

    fn ask(&mut self, request: Request<'_>) -> Result<Self::Ask, Box<str>> {
        match request.f {
            "txn" => Ok(self
                .steps(request.value)?
                .into_iter()
                .map(|(micro, _)| micro)
                .collect()),
            "read" => {
                let key = match request.value.as_list() {
                    Some([key, _] | [key]) => key,
                    _ => request.value,
                };
                Ok(SmallVec::from_slice(&[Micro {
                    key: self.atoms.of(key),
                    write: None,
                }]))
            }
            "write" => {
                let (key, value) = pair("write", request.value)?;
                let (key, value) = (self.atoms.of(key), self.atoms.of(value));
                Ok(SmallVec::from_slice(&[Micro {
                    key,
                    write: Some(value),
                }]))
            }
            f => unknown_f(f, Self::NAME, "txn, read and write"),
        }
    }

    fn answer(&mut self, ask: &Self::Ask, value: &Value) -> Result<Self::Answer, Box<str>> {
        let is_txn = value
            .as_list()
            .is_some_and(|list| list.iter().all(|step| step.as_list().is_some()));
        if is_txn && !value.is_nil() {
            let steps = self.steps(value)?;
            let is_same = steps.len() == ask.len()
                && steps.iter().zip(ask).all(|((step, _), ask)| step == ask);
            if !is_same {
                return wrong("txn", "the steps that were asked for", value);
            }
            return Ok(steps.into_iter().map(|(_, said)| said).collect());
        }
        match (ask.as_slice(), value.as_list()) {
            ([Micro { write: Some(_), .. }], _) => Ok(SmallVec::from_slice(&[NIL])),
            ([_], Some([_, said])) => Ok(SmallVec::from_slice(&[self.atoms.of(said)])),
            ([_], _) => wrong("read", "the key and its value", value),
            _ => wrong("txn", "a list of steps", value),
        }
    }

    fn say_ask(&self, ask: &Self::Ask) -> String {
        let steps: Vec<_> = (ask.iter())
            .map(|micro| {
                let key = self.atoms.value(micro.key);
                match micro.write {
                    None => format!("read {key}"),
                    Some(value) => format!("write {key} = {}", self.atoms.value(value)),
                }
            })
            .collect();
        steps.join(", ")
    }

    fn say_answer(&self, ask: &Self::Ask, answer: &Self::Answer) -> String {
        let read: Vec<_> = (ask.iter().zip(answer))
            .filter(|(micro, _)| micro.write.is_none())
            .map(|(micro, value)| {
                format!(
                    "{} = {}",
                    self.atoms.value(micro.key),
                    self.atoms.value(*value)
                )
            })
            .collect();
        read.join(", ")
    }

    fn say_state(&self, state: &Self::State) -> String {
        let said: Vec<_> = (state.iter())
            .map(|(key, value)| {
                format!("{} = {}", self.atoms.value(*key), self.atoms.value(*value))
            })
            .collect();
        if said.is_empty() {
            "all nil".into()
        } else {
            said.join(", ")
        }
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        let asked = (kept.asks.iter().flat_map(|ask| ask.iter()))
            .flat_map(|micro| [micro.key, micro.write.unwrap_or(NIL)]);
        let read = kept
            .answers
            .iter()
            .flat_map(|answer| answer.iter().copied());
        let held = (kept.states.iter().flat_map(|state| state.iter()))
            .flat_map(|(key, value)| [*key, *value]);
        self.atoms.retain(&asked.chain(read).chain(held).collect());
    }
}
