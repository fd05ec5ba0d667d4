//! Brute force tries every order: slow, obvious, and independent of the search whose word it confirms.
//!
//! It keeps nothing in mind but which operations have happened and the state, compares both in full, and knows
//! neither parts nor cuts nor reads.

use std::collections::HashSet;

use crate::model::{Model, OperationOf};

/// Most operations it takes.
pub const OPERATIONS_MAX: usize = 64;

/// Whether some order of `operations` that real time allows is legal behind one of the states of `initial`; each
/// operation with an answer happens, each without one may. `None` where there are more than [`OPERATIONS_MAX`], or
/// more than `limit` configurations.
pub fn is_linearizable<M: Model>(
    model: &M,
    initial: &[M::State],
    operations: &[&OperationOf<M>],
    limit: usize,
) -> Option<bool> {
    if operations.len() > OPERATIONS_MAX {
        return None;
    }
    let must: u64 = bits(operations, |operation| operation.answer.is_some());
    let mut seen: HashSet<(u64, M::State)> = HashSet::new();
    let mut open: Vec<(u64, M::State)> = initial.iter().map(|state| (0, state.clone())).collect();
    while let Some((done, state)) = open.pop() {
        if done & must == must {
            return Some(true);
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        if seen.len() > limit {
            return None;
        }
        for (bit, operation) in operations.iter().enumerate() {
            let is_done = |at: usize| done & 1 << at != 0;
            let too_early = operations.iter().enumerate().any(|(at, other)| {
                other.end < operation.call && other.answer.is_some() && !is_done(at)
            });
            if is_done(bit) || too_early {
                continue;
            }
            model.step(
                &state,
                &operation.ask,
                operation.answer.as_ref(),
                &mut |next| {
                    open.push((done | 1 << bit, next));
                },
            );
        }
    }
    Some(false)
}

fn bits<T>(things: &[T], has: impl Fn(&T) -> bool) -> u64 {
    (things.iter().enumerate())
        .filter(|(_, thing)| has(thing))
        .fold(0, |set, (bit, _)| set | 1 << bit)
}
