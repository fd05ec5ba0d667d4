//! Model `unique-ids`: nobody is given what was given before.

use super::words::unknown_f;
use crate::{
    atoms::{Atom, Atoms},
    model::{Model, Part, Request, Vocabulary},
    value::Value,
};

/// A source of ids.
#[derive(Clone, Debug, Default)]
pub struct UniqueIds {
    atoms: Atoms,
}

impl Model for UniqueIds {
    /// The ids given, in order.
    type State = smallvec::SmallVec<[Atom; 2]>;
    /// `generate`.
    type Ask = ();
    /// The id.
    type Answer = Atom;

    fn initial(&self) -> Self::State {
        Self::State::new()
    }

    fn step(
        &self,
        state: &Self::State,
        (): &(),
        answer: Option<&Atom>,
        next: &mut dyn FnMut(Self::State),
    ) {
        let Some(id) = answer else { return };
        if let Err(place) = state.binary_search(id) {
            let mut state = state.clone();
            state.insert(place, *id);
            next(state);
        }
    }

    fn part(&self, (): &(), answer: Option<&Atom>) -> Part {
        answer.map_or(Part::Keys(Vec::new()), |id| Part::Key(u64::from(*id)))
    }

    fn is_read(&self, (): &(), answer: Option<&Atom>) -> bool {
        // An id that nobody has seen is in nobody's way.
        answer.is_none()
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        size_of_val(state) + state.capacity() * 4
    }
}

impl Vocabulary for UniqueIds {
    const NAME: &'static str = "unique-ids";

    fn ask(&mut self, request: Request<'_>) -> Result<(), Box<str>> {
        match request.f {
            "generate" => Ok(()),
            f => unknown_f(f, Self::NAME, "generate"),
        }
    }

    fn answer(&mut self, (): &(), value: &Value) -> Result<Atom, Box<str>> {
        if value.is_nil() {
            return Err("expected an id as the answer of `generate`".into());
        }
        Ok(self.atoms.of(value))
    }

    fn say_ask(&self, (): &()) -> String {
        "generate".into()
    }

    fn say_answer(&self, (): &(), answer: &Atom) -> String {
        self.atoms.say(*answer)
    }

    fn say_state(&self, state: &Self::State) -> String {
        format!("given {}", self.atoms.say_all(state))
    }
}
