//! Goals are the answers that are still to come, key by key in the order of time.
//!
//! After an operation has acted, the next answers on its keys must still be possible. A model knows when they are not
//! ([`Model::can_lead_to`]); otherwise a wrong turn would be noticed only when an answer is due, and everything between
//! would be tried in vain.

use super::{Case, footprint::Footprints};
use crate::model::{Model, tells};

/// How many of the next answers on a key are looked at.
pub(crate) const AHEAD: usize = 12;

/// The answers of a case that say something, by key.
pub(super) struct Goals {
    /// For each key, and last for operations that touch every key: positions in the order of their ends.
    of: Vec<Vec<u32>>,
    /// For each list, up to where everything has happened.
    from: Vec<usize>,
    /// For each position, its places: list and index.
    places: Vec<Vec<(u32, u32)>>,
    is_done: Vec<bool>,
}

impl Goals {
    pub fn new<M: Model>(
        model: &M,
        case: &Case<'_, M>,
        footprints: &Footprints,
        from: usize,
    ) -> Self {
        let whole = footprints.count;
        let mut of = vec![Vec::new(); whole + 1];
        for (position, operation) in (0..).zip(&case.operations).skip(from) {
            if tells(model, operation) {
                for key in lists(footprints, position, whole) {
                    of[key].push(position);
                }
            }
        }
        let mut places = vec![Vec::new(); case.operations.len()];
        for (list, goals) in (0..).zip(&mut of) {
            goals.sort_by_key(|position: &u32| case.operations[*position as usize].end);
            for (index, position) in (0..).zip(goals.iter()) {
                places[*position as usize].push((list, index));
            }
        }
        Self {
            from: vec![0; of.len()],
            of,
            places,
            is_done: vec![false; case.operations.len()],
        }
    }

    /// The operation has happened.
    pub fn take(&mut self, position: u32) {
        self.is_done[position as usize] = true;
    }

    /// It has not.
    pub fn put_back(&mut self, position: u32) {
        self.is_done[position as usize] = false;
        for (list, index) in &self.places[position as usize] {
            let from = &mut self.from[*list as usize];
            *from = (*from).min(*index as usize);
        }
    }

    /// The next answers on the keys of an operation, other than its own.
    pub fn next(&mut self, footprints: &Footprints, position: u32) -> smallvec::SmallVec<[u32; 4]> {
        let mut next = smallvec::SmallVec::new();
        let whole = footprints.count;
        for list in lists(footprints, position, whole) {
            let goals = &self.of[list];
            let from = &mut self.from[list];
            while goals
                .get(*from)
                .is_some_and(|goal| self.is_done[*goal as usize])
            {
                *from += 1;
            }
            let left = goals[*from..]
                .iter()
                .filter(|goal| !self.is_done[**goal as usize] && **goal != position);
            next.extend(left.take(AHEAD).copied());
        }
        next
    }
}

fn lists(footprints: &Footprints, position: u32, whole: usize) -> impl Iterator<Item = usize> {
    let keys = footprints.of(position);
    let all = keys.is_none().then_some(whole);
    (keys.unwrap_or_default().iter().map(|key| *key as usize)).chain(all)
}
