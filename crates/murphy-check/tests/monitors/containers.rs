//! Bag, queue, stack and priority queue, as lists of their values.

use murphy_check::monitors::{Event, Operation, Outcome, bag, priority_queue, queue, stack};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::brute::Kind;

/// Which of the values inside may come out next.
trait Order {
    const NAME: &'static str;
    /// Whether unseen removals alone never leave a history open.
    const IS_DECIDED: bool = false;
    fn check(history: &[Operation<Event>]) -> Outcome;
    fn next(inside: &[u32]) -> Vec<usize>;
}

pub struct Bag;
pub struct Queue;
pub struct Stack;
pub struct PriorityQueue;

impl Order for Bag {
    const NAME: &'static str = "bag";
    const IS_DECIDED: bool = true;
    fn check(history: &[Operation<Event>]) -> Outcome {
        bag::check(history)
    }
    fn next(inside: &[u32]) -> Vec<usize> {
        (0..inside.len()).collect()
    }
}

impl Order for Queue {
    const NAME: &'static str = "queue";
    const IS_DECIDED: bool = true;
    fn check(history: &[Operation<Event>]) -> Outcome {
        queue::check(history)
    }
    fn next(inside: &[u32]) -> Vec<usize> {
        (0..inside.len()).take(1).collect()
    }
}

impl Order for Stack {
    const NAME: &'static str = "stack";
    fn check(history: &[Operation<Event>]) -> Outcome {
        stack::check(history)
    }
    fn next(inside: &[u32]) -> Vec<usize> {
        inside.len().checked_sub(1).into_iter().collect()
    }
}

impl Order for PriorityQueue {
    const NAME: &'static str = "priority queue";
    fn check(history: &[Operation<Event>]) -> Outcome {
        priority_queue::check(history)
    }
    fn next(inside: &[u32]) -> Vec<usize> {
        let least = inside.iter().min();
        (0..inside.len())
            .filter(|&at| Some(&inside[at]) == least)
            .take(1)
            .collect()
    }
}

impl<O: Order> Kind for O {
    type Event = Event;
    type State = Vec<u32>;
    const NAME: &'static str = O::NAME;

    fn check(history: &[Operation<Event>]) -> Outcome {
        O::check(history)
    }

    fn step(inside: &Vec<u32>, event: &Event) -> Vec<Vec<u32>> {
        let without = |at: usize| {
            let mut rest = inside.clone();
            rest.remove(at);
            rest
        };
        let next = O::next(inside).into_iter();
        match *event {
            Event::Insert(value) => vec![[inside.as_slice(), &[value]].concat()],
            Event::Remove(value) => {
                let fits = next.filter(|&at| inside[at] == value);
                fits.take(1).map(without).collect()
            }
            Event::RemoveEmpty | Event::RemoveUnseen if inside.is_empty() => vec![Vec::new()],
            Event::RemoveEmpty => Vec::new(),
            Event::RemoveUnseen => next.map(without).collect(),
        }
    }

    fn may_not_have_happened(event: &Event) -> bool {
        matches!(event, Event::Insert(_) | Event::RemoveUnseen)
    }

    fn is_unseen(event: &Event) -> bool {
        *event == Event::RemoveUnseen
    }

    fn is_decided(history: &[Operation<Event>]) -> bool {
        O::IS_DECIDED && !history.iter().any(|op| op.event == Event::RemoveEmpty)
    }

    fn puts(event: &Event) -> Option<u32> {
        match event {
            Event::Insert(value) => Some(*value),
            _ => None,
        }
    }

    fn sees(event: &Event) -> Option<u32> {
        match event {
            Event::Remove(value) => Some(*value),
            _ => None,
        }
    }

    fn groups(history: &[Operation<Event>], places: &[u32]) -> Vec<Vec<usize>> {
        let places = places.iter().map(|&at| at as usize);
        let value = |at: usize| match history[at].event {
            Event::Insert(value) | Event::Remove(value) => Some(value),
            _ => None,
        };
        let group = |at: usize| {
            let same =
                |other: &usize| *other == at || value(at).is_some() && value(*other) == value(at);
            places.clone().filter(same).collect()
        };
        places.clone().map(group).collect()
    }

    fn any(random: &mut ChaCha8Rng) -> Event {
        let value = random.random_range(1..6);
        match random.random_range(0..9) {
            0..4 => Event::Insert(value),
            4..8 => Event::Remove(value),
            _ => Event::RemoveEmpty,
        }
    }

    fn fitting(random: &mut ChaCha8Rng, most: usize) -> Vec<Event> {
        let mut events: Vec<Event> = (1..=u32::try_from(most / 2).unwrap())
            .flat_map(|value| [Event::Insert(value), Event::Remove(value)])
            .collect();
        for event in &mut events {
            match *event {
                Event::Remove(_) if random.random_ratio(1, 8) => *event = Event::RemoveUnseen,
                Event::Remove(_) if random.random_ratio(1, 12) => *event = Event::RemoveEmpty,
                _ => {}
            }
        }
        events
    }

    fn possible(random: &mut ChaCha8Rng, inside: &Vec<u32>, fresh: u32) -> Event {
        let next = O::next(inside);
        if random.random_ratio(1, 2) {
            Event::Insert(fresh)
        } else if next.is_empty() {
            Event::RemoveEmpty
        } else {
            Event::Remove(inside[next[random.random_range(0..next.len())]])
        }
    }

    fn unanswered(event: Event) -> Option<Event> {
        Some(match event {
            Event::Insert(value) => Event::Insert(value),
            _ => Event::RemoveUnseen,
        })
    }

    fn with_value(event: Event, value: u32) -> Event {
        match event {
            Event::Insert(_) => Event::Insert(value),
            Event::Remove(_) if value == 0 => Event::RemoveEmpty,
            Event::Remove(_) => Event::Remove(value),
            other => other,
        }
    }
}
