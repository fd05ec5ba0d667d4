//! States are the states a search has met, each with a number, so that they are compared once and stored once.

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

use crate::model::{Model, OperationOf};

/// The states of one search.
pub(super) struct States<'m, M: Model> {
    model: &'m M,
    met: IndexSet<M::State, FxBuildHasher>,
    bytes: usize,
}

impl<'m, M: Model> States<'m, M> {
    pub fn new(model: &'m M) -> Self {
        Self {
            model,
            met: IndexSet::default(),
            bytes: 0,
        }
    }

    /// The number of a state, new or old.
    pub fn number(&mut self, state: M::State) -> u32 {
        if let Some(number) = self.met.get_index_of(&state) {
            return index(number);
        }
        // Beside the state: its hash, and its place in the table.
        self.bytes += self.model.state_bytes(&state) + 24;
        index(self.met.insert_full(state).0)
    }

    pub fn get(&self, number: u32) -> &M::State {
        &self.met[number as usize]
    }

    /// Adds the states in which `operation` may leave a state to `next`.
    pub fn step(&mut self, operation: &OperationOf<M>, state: u32, next: &mut SmallVec<[u32; 4]>) {
        let mut found = SmallVec::<[M::State; 1]>::new();
        let (ask, answer) = (&operation.ask, operation.answer.as_ref());
        self.model
            .step(self.get(state), ask, answer, &mut |state| found.push(state));
        next.extend(found.into_iter().map(|state| self.number(state)));
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The memory limit comes long before 2^32 states.
fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
