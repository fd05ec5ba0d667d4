//! A bag (unordered or multiset queue) gives back its values in any order; O(n log n) time decides it where each value
//! is put in once.
//!
//! Without empty removals a history is linearizable exactly if each value comes out once, was put in, and was not
//! taken before that began: values have nothing to do with one another. Empty and unseen removals are those of every
//! container: an empty removal has to be open at a moment at which nothing is certainly inside. An unseen removal
//! matters only there, because what is left in a bag does not stand in the way of anything.

use super::{
    Event, Operation, Outcome,
    container::{self, Crowd, Deadline, Discipline, Pair},
};

/// Judges a history of a bag.
pub fn check(history: &[Operation<Event>]) -> Outcome {
    container::check(history, &Bag)
}

struct Bag;

impl Discipline for Bag {
    fn crowd(&self, _: &[Pair]) -> Option<Crowd> {
        None
    }

    fn deadlines(&self, _: &[Pair], remaining: &[usize]) -> Vec<Option<Deadline>> {
        vec![None; remaining.len()]
    }
}
