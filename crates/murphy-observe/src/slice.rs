//! A slice is what has happened on an edge within a short time; a history is the last of them, one after the other.

use std::collections::VecDeque;

use serde::Serialize;

use crate::tally::Tally;

/// A short time on an edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Slice {
    /// When it ended, in nanoseconds since boot.
    pub at_ns: u64,
    /// What has happened.
    pub tally: Tally,
    /// Smoothed round-trip times of connections that were acknowledged something, in microseconds, the least first.
    pub rtts_us: Vec<u32>,
    /// How many connections there were in the end.
    pub active: u32,
    /// How many were asked for more than a second ago, and are not answered.
    pub asking: u32,
    /// On how many nothing passes any more, as far as is known.
    pub stalled: u32,
}

/// The last slices of an edge.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<Slice>);

impl History {
    /// No more slices are kept.
    pub const SLICES_MAX: usize = 240;

    /// One more.
    pub fn push(&mut self, slice: Slice) {
        if self.0.len() >= Self::SLICES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(slice);
    }

    /// The last one.
    pub fn last(&self) -> Option<&Slice> {
        self.0.back()
    }

    /// Those that ended after a time, the earliest first.
    pub fn since(&self, at_ns: u64) -> impl Iterator<Item = &Slice> {
        let first = self.0.partition_point(|slice| slice.at_ns <= at_ns);
        self.0.range(first..)
    }

    /// Those that ended until a time, the latest first.
    pub fn until(&self, at_ns: u64) -> impl Iterator<Item = &Slice> {
        let end = self.0.partition_point(|slice| slice.at_ns <= at_ns);
        self.0.range(..end).rev()
    }

    /// What has happened after a time, together.
    pub fn sum_since(&self, at_ns: u64) -> Tally {
        let mut sum = Tally::default();
        self.since(at_ns).for_each(|slice| sum += slice.tally);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_last_ones_and_sums_those_that_are_asked_for() {
        let mut history = History::default();
        for at_ns in 1..=300 {
            let tally = Tally {
                refused: 1,
                ..Tally::default()
            };
            history.push(Slice {
                at_ns,
                tally,
                ..Slice::default()
            });
        }
        assert_eq!(history.until(300).count(), History::SLICES_MAX);
        assert_eq!(history.sum_since(290).refused, 10);
        assert_eq!(
            history.since(298).next().map(|slice| slice.at_ns),
            Some(299)
        );
        assert_eq!(
            history.until(298).next().map(|slice| slice.at_ns),
            Some(298)
        );
        assert_eq!(history.last().map(|slice| slice.at_ns), Some(300));
    }
}
