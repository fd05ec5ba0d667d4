//! A queue gives frames in the order of their due times, and those of one time in the order they came in.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// When a frame is due, which one it is, and where it lies. The order of the fields is the order of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) due_ns: u64,
    arrival: u64,
    pub(super) slot: u32,
}

/// Frames that wait. Those due after all before them, which is every one where delays do not differ, cost nothing to
/// sort.
#[derive(Debug, Default)]
pub(super) struct Queue {
    sorted: VecDeque<Place>,
    others: BinaryHeap<Reverse<Place>>,
    arrivals: u64,
}

impl Queue {
    pub(super) fn push(&mut self, due_ns: u64, slot: u32) {
        let place = Place {
            due_ns,
            arrival: self.arrivals,
            slot,
        };
        self.arrivals += 1;
        match self.sorted.back() {
            Some(last) if last.due_ns > due_ns => self.others.push(Reverse(place)),
            _ => self.sorted.push_back(place),
        }
    }

    /// The next to leave.
    pub(super) fn first(&self) -> Option<Place> {
        let other = self.others.peek().map(|Reverse(place)| *place);
        match (self.sorted.front(), other) {
            (Some(sorted), Some(other)) => Some(other.min(*sorted)),
            (sorted, other) => sorted.copied().or(other),
        }
    }

    /// Takes the next to leave out.
    pub(super) fn pop(&mut self) -> Option<Place> {
        let first = self.first()?;
        if self.sorted.front() == Some(&first) {
            self.sorted.pop_front();
        } else {
            self.others.pop();
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_due_times_and_then_of_arrivals(
            steps in proptest::collection::vec(proptest::option::of(0_u64..20), 0..200),
        ) {
            let (mut queue, mut plain, mut slot) = (Queue::default(), Vec::new(), 0);
            for step in steps {
                if let Some(due_ns) = step {
                    queue.push(due_ns, slot);
                    plain.push((due_ns, slot));
                    slot += 1;
                } else {
                    plain.sort_unstable();
                    let wanted = (!plain.is_empty()).then(|| plain.remove(0));
                    prop_assert_eq!(queue.pop().map(|place| (place.due_ns, place.slot)), wanted);
                }
            }
        }
    }
}
