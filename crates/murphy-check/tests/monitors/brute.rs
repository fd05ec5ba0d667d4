//! Every order that real time allows, with every subset of the operations that may not have happened.

use murphy_check::monitors::{Operation, Outcome};
use rand_chacha::ChaCha8Rng;

/// A type of data: its monitor, and a naive model of it.
pub trait Kind {
    type Event: Copy + std::fmt::Debug + PartialEq;
    type State: Clone + Default;
    const NAME: &'static str;
    /// Whether value 0 is there in the beginning.
    const HAS_INITIAL: bool = false;

    fn check(history: &[Operation<Self::Event>]) -> Outcome;
    /// The states after the event; none where it is impossible.
    fn step(state: &Self::State, event: &Self::Event) -> Vec<Self::State>;
    /// Whether an operation without an end may not have happened.
    fn may_not_have_happened(event: &Self::Event) -> bool;
    /// Whether it is a removal without an answer.
    fn is_unseen(event: &Self::Event) -> bool {
        let _ = event;
        false
    }
    /// Whether unseen removals cannot leave the history open.
    fn is_decided(history: &[Operation<Self::Event>]) -> bool {
        let _ = history;
        false
    }
    /// The value it puts in.
    fn puts(event: &Self::Event) -> Option<u32>;
    /// The value it can only have seen after somebody put it in.
    fn sees(event: &Self::Event) -> Option<u32>;
    /// The sets of `places` that can be left out together.
    fn groups(history: &[Operation<Self::Event>], places: &[u32]) -> Vec<Vec<usize>>;
    /// Any event.
    fn any(random: &mut ChaCha8Rng) -> Self::Event;
    /// Events that fit each other but for their moments, at most `most`.
    fn fitting(random: &mut ChaCha8Rng, most: usize) -> Vec<Self::Event> {
        (0..most).map(|_| Self::any(random)).collect()
    }
    /// An event that is possible in a state; `fresh` is a value that was not put in yet.
    fn possible(random: &mut ChaCha8Rng, state: &Self::State, fresh: u32) -> Self::Event;
    /// What is left of an event without its answer; none for one that then says nothing.
    fn unanswered(event: Self::Event) -> Option<Self::Event>;
    /// The event with another value, where it has one.
    fn with_value(event: Self::Event, value: u32) -> Self::Event;
}

pub fn is_linearizable<K: Kind>(history: &[Operation<K::Event>]) -> bool {
    search::<K>(history, 0, &K::State::default())
}

fn is_optional<K: Kind>(operation: &Operation<K::Event>) -> bool {
    operation.end == u64::MAX && K::may_not_have_happened(&operation.event)
}

fn search<K: Kind>(history: &[Operation<K::Event>], done: u32, state: &K::State) -> bool {
    let left = || {
        let numbered = history.iter().enumerate();
        numbered.filter(move |(at, _)| done & 1 << at == 0)
    };
    let mut certain = left().filter(|(_, op)| !is_optional::<K>(op)).peekable();
    if certain.peek().is_none() {
        return true;
    }
    let first_end = certain.map(|(_, op)| op.end).min().unwrap_or(u64::MAX);
    left()
        .filter(|(_, op)| op.call <= first_end)
        .any(|(at, op)| {
            let states = K::step(state, &op.event);
            let mut states = states.iter();
            states.any(|state| search::<K>(history, done | 1 << at, state))
        })
}
