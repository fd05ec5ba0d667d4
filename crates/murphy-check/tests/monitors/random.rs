//! Random histories: by chance, from a simulated concurrent run, and such a run with a fault put into it.

use murphy_check::monitors::Operation;
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::brute::Kind;

/// Intervals by chance, and events by chance or such that fit each other.
pub fn chance<K: Kind>(random: &mut ChaCha8Rng, most: usize) -> Vec<Operation<K::Event>> {
    let mut events = K::fitting(random, most);
    if random.random_ratio(1, 2) {
        let count = random.random_range(1..=most);
        events = (0..count).map(|_| K::any(random)).collect();
    }
    let span = random.random_range(4..=4 * most as u64);
    let longest = random.random_range(1..=span / 2);
    let mut history = Vec::new();
    for event in events {
        let call = random.random_range(0..span);
        let end = call + random.random_range(0..=longest);
        if random.random_ratio(1, 3) && history.len() > 1 {
            // A removal tends to come later than its insertion.
            let last: &Operation<K::Event> = &history[history.len() - 1];
            let call = last.call + random.random_range(0..=span / 2);
            let end = call + random.random_range(0..=longest);
            history.push(Operation { call, end, event });
            continue;
        }
        let operation = Operation { call, end, event };
        history.extend(maybe_unanswered::<K>(random, operation));
    }
    for operation in &mut history {
        if K::is_unseen(&operation.event) {
            operation.end = u64::MAX;
        }
    }
    mostly_distinct::<K>(random, history)
}

fn maybe_unanswered<K: Kind>(
    random: &mut ChaCha8Rng,
    operation: Operation<K::Event>,
) -> Option<Operation<K::Event>> {
    if random.random_ratio(6, 7) {
        return Some(operation);
    }
    let event = K::unanswered(operation.event)?;
    Some(Operation {
        event,
        end: u64::MAX,
        ..operation
    })
}

/// Most histories lose the operations that put in a value again, and those that saw a value that nobody put in.
fn mostly_distinct<K: Kind>(
    random: &mut ChaCha8Rng,
    history: Vec<Operation<K::Event>>,
) -> Vec<Operation<K::Event>> {
    if random.random_ratio(1, 20) {
        return history;
    }
    let mut history = history;
    if random.random_ratio(4, 5) {
        let put: Vec<u32> = history.iter().filter_map(|op| K::puts(&op.event)).collect();
        history.retain(|op| K::sees(&op.event).is_none_or(|value| put.contains(&value)));
    }
    let mut put = if K::HAS_INITIAL { vec![0] } else { Vec::new() };
    let is_new = |operation: &Operation<K::Event>| match K::puts(&operation.event) {
        Some(value) if put.contains(&value) => false,
        value => {
            put.extend(value);
            true
        }
    };
    history.into_iter().filter(is_new).collect()
}

/// What two to four processes may have seen of a correct implementation.
pub fn valid<K: Kind>(random: &mut ChaCha8Rng, most: usize) -> Vec<Operation<K::Event>> {
    let count = random.random_range(most / 2..=most);
    let mut free_from = vec![0; random.random_range(2..=4)];
    let mut names: Vec<u32> = (1..=u32::try_from(most).unwrap()).collect();
    names.shuffle(random);
    let (mut state, mut history, mut moment) = (K::State::default(), Vec::new(), 0);
    for _ in 0..count {
        moment += random.random_range(0..4);
        let process = random.random_range(0..free_from.len());
        moment = moment.max(free_from[process]);
        let event = K::possible(random, &state, *names.last().unwrap());
        let call = free_from[process].max(moment - random.random_range(0..=moment.min(9)));
        let mut operation = Operation {
            call,
            end: moment + random.random_range(0..10),
            event,
        };
        let mut happened = true;
        if random.random_ratio(1, 7) {
            let Some(event) = K::unanswered(event) else {
                continue;
            };
            operation = Operation {
                event,
                end: u64::MAX,
                ..operation
            };
            happened = random.random_ratio(1, 2);
        }
        if K::puts(&event).is_some() {
            names.pop();
        }
        if happened {
            state = K::step(&state, &event)[0].clone();
        }
        // A process that never got an answer is replaced by another.
        free_from[process] = if operation.end == u64::MAX {
            moment
        } else {
            operation.end
        };
        history.push(operation);
    }
    history.shuffle(random);
    history
}

/// A valid history with up to two changes, some of which make it invalid.
pub fn mutated<K: Kind>(random: &mut ChaCha8Rng, most: usize) -> Vec<Operation<K::Event>> {
    let mut history = valid::<K>(random, most);
    for _ in 0..random.random_range(1..=2) {
        spoil::<K>(random, &mut history, 6);
    }
    mostly_distinct::<K>(random, history)
}

/// One change; `values` is how many values it chooses from.
pub fn spoil<K: Kind>(
    random: &mut ChaCha8Rng,
    history: &mut Vec<Operation<K::Event>>,
    values: u32,
) {
    if history.is_empty() {
        return;
    }
    let at = random.random_range(0..history.len());
    let other = random.random_range(0..history.len());
    let last = history.iter().map(|op| op.call).max().unwrap_or_default();
    match random.random_range(0..6) {
        0 if history.len() > 2 => {
            history.remove(at);
        }
        1 if history[at].end != u64::MAX && history[other].end != u64::MAX => {
            let event = history[at].event;
            history[at].event = history[other].event;
            history[other].event = event;
        }
        2 if history[at].end != u64::MAX => {
            let length = history[at].end - history[at].call;
            history[at].call = random.random_range(0..last + 20);
            history[at].end = history[at].call + length;
        }
        3 if history[at].end != u64::MAX => {
            history[at].event = K::any(random);
        }
        4 if history[at].end != u64::MAX => {
            history[at].end = random.random_range(history[at].call..=history[at].end);
        }
        _ => {
            let value = random.random_range(0..values);
            history[at].event = K::with_value(history[at].event, value);
        }
    }
}
