//! Model `register`: one value, which is read and written.

use super::words::unknown_f;
use crate::{
    atoms::{Atom, Atoms, NIL},
    model::{Kept, Model, Request, Vocabulary},
    value::Value,
};

/// A register that is nil in the beginning.
#[derive(Clone, Debug, Default)]
pub struct Register {
    atoms: Atoms,
}

/// A request to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `read`; its answer is the value.
    Read,
    /// `write` of a value.
    Write(Atom),
}

impl Model for Register {
    type State = Atom;
    type Ask = Ask;
    /// The value read; nothing is made of it for a write.
    type Answer = Atom;

    fn initial(&self) -> Atom {
        NIL
    }

    fn step(&self, state: &Atom, ask: &Ask, answer: Option<&Atom>, next: &mut dyn FnMut(Atom)) {
        match ask {
            Ask::Read if answer.is_none_or(|answer| answer == state) => next(*state),
            Ask::Read => {}
            Ask::Write(value) => next(*value),
        }
    }

    fn is_read(&self, ask: &Ask, _: Option<&Atom>) -> bool {
        *ask == Ask::Read
    }

    fn group(&self, ask: &Ask, answer: Option<&Atom>) -> Option<u64> {
        match (ask, answer) {
            (Ask::Read, answer) => answer.copied().map(u64::from),
            (Ask::Write(value), _) => Some(u64::from(*value)),
        }
    }

    fn tells(&self, ask: &Ask, _: &Atom) -> bool {
        *ask == Ask::Read
    }

    fn can_lead_to<'a>(
        &self,
        state: &Atom,
        ask: &Ask,
        answer: &Atom,
        mut between: impl Iterator<Item = &'a Ask>,
    ) -> bool {
        *ask != Ask::Read || answer == state || between.any(|ask| *ask == Ask::Write(*answer))
    }
}

impl Vocabulary for Register {
    const NAME: &'static str = "register";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        match request.f {
            "read" => Ok(Ask::Read),
            "write" => Ok(Ask::Write(self.atoms.of(request.value))),
            f => unknown_f(f, Self::NAME, "read and write"),
        }
    }

    fn answer(&mut self, _: &Ask, value: &Value) -> Result<Atom, Box<str>> {
        Ok(self.atoms.of(value))
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Read => "read".into(),
            Ask::Write(value) => format!("write {}", self.atoms.value(*value)),
        }
    }

    fn say_answer(&self, ask: &Ask, answer: &Atom) -> String {
        match ask {
            Ask::Read => self.atoms.say(*answer),
            Ask::Write(_) => String::new(),
        }
    }

    fn say_state(&self, state: &Atom) -> String {
        self.atoms.say(*state)
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        let asked = kept.asks.iter().filter_map(|ask| match ask {
            Ask::Read => None,
            Ask::Write(value) => Some(*value),
        });
        let seen = kept.states.iter().chain(&kept.answers);
        let seen = seen.map(|value| **value);
        self.atoms.retain(&asked.chain(seen).collect());
    }
}
