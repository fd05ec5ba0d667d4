//! A slice is what has happened on an edge within a short time; a history is the last of them, one after the other.

use std::collections::VecDeque;

use serde::Serialize;

use crate::tally::Tally;

/// A short time on an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Slice {
    /// When it ended, in nanoseconds since boot.
    pub at_ns: u64,
    /// When connections were looked at for the last time before that: what these say is so old.
    pub looked_ns: u64,
    /// What has happened.
    pub tally: Tally,
    /// The round-trip times of connections that were acknowledged something.
    pub rtt: Option<Rtt>,
    /// How many connections there were in the end.
    pub active: u32,
    /// How many were asked for more than a second ago, and are not answered.
    pub asking: u32,
    /// On how many nothing passes any more, as far as is known.
    pub stalled: u32,
}

/// Smoothed round-trip times of several connections, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rtt {
    /// The least.
    pub least_us: u32,
    /// The one that half of them do not exceed.
    pub median_us: u32,
}

impl Rtt {
    /// Of so many times; none of none.
    pub fn of(mut times_us: Vec<u32>) -> Option<Self> {
        times_us.sort_unstable();
        Some(Self {
            least_us: *times_us.first()?,
            median_us: *times_us.get(times_us.len() / 2)?,
        })
    }
}

impl Slice {
    /// Whether nothing has happened, and no connection is there.
    pub fn is_idle(&self) -> bool {
        self.active == 0 && self.asking == 0 && self.stalled == 0 && self.tally == Tally::default()
    }
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

    /// Forgets those that ended before a time.
    pub fn forget_before(&mut self, at_ns: u64) {
        let first = self.0.partition_point(|slice| slice.at_ns < at_ns);
        self.0.drain(..first);
    }

    /// Whether nothing has happened, and no connection is there, as far as it goes back.
    pub fn is_idle(&self) -> bool {
        self.0.iter().all(Slice::is_idle)
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
    fn it_forgets_what_is_old_and_is_idle_when_nothing_is_left_that_happened() {
        let mut history = History::default();
        history.push(Slice {
            at_ns: 1,
            active: 1,
            ..Slice::default()
        });
        history.push(Slice {
            at_ns: 2,
            ..Slice::default()
        });
        assert!(!history.is_idle());
        history.forget_before(2);
        assert!(history.is_idle());
        assert_eq!(history.since(0).count(), 1);
    }

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
