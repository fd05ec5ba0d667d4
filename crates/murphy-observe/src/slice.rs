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

/// The last slices of an edge. A thousand edges have a quarter of a million of them, of which most say little: only figures
/// that are not 0 are kept.
#[derive(Clone, Debug, Default)]
pub struct History {
    ends: VecDeque<End>,
    /// The figures of all slices, one behind the other, in the order of [`End::holds`].
    words: VecDeque<u32>,
    /// How many words were forgotten, as far as that fits: a place among all that ever were, less this, is one among those
    /// that are here.
    forgotten: u32,
    last: Option<Slice>,
}

/// The end of a slice, and which figures it has.
#[derive(Clone, Copy, Debug)]
struct End {
    at_ns: u64,
    /// A bit for each figure that is not 0: those of its tally from the first on, then the ones below.
    holds: u64,
    /// The place of the first one.
    from: u32,
}

/// Bits of [`End::holds`] behind those of a tally.
const ACTIVE: u32 = 29;
const ASKING: u32 = ACTIVE + 1;
const STALLED: u32 = ACTIVE + 2;
/// How long before its end connections were looked at.
const LOOKED: u32 = ACTIVE + 3;
/// Round-trip times, two of them.
const RTT: u32 = ACTIVE + 4;
/// One of its figures does not fit into a word, so that each has two.
const IS_WIDE: u32 = ACTIVE + 5;
const _: () = assert!(Tally::FIGURES == ACTIVE as usize, "each has its bit");
/// The figures of a slice on which nothing has happened: none of them, or only these.
const IDLE: u64 = 1 << LOOKED | 1 << RTT | 1 << IS_WIDE;

impl History {
    /// No more slices are kept.
    pub const SLICES_MAX: usize = 240;

    /// One more.
    pub fn push(&mut self, mut slice: Slice) {
        if self.ends.len() >= Self::SLICES_MAX {
            self.forget(1);
        }
        self.last = Some(slice);
        let rtt = slice.rtt.map(|rtt| [rtt.least_us, rtt.median_us]);
        let ago_ns = slice.at_ns.wrapping_sub(slice.looked_ns);
        let looked = (slice.looked_ns != 0).then_some(ago_ns);
        let rest = [slice.active, slice.asking, slice.stalled].map(u64::from);
        let tally = slice.tally.each().map(|figure| *figure);
        let figures = || tally.into_iter().chain(rest);
        let is_wide = figures().chain(looked).any(|one| one > u32::MAX.into());
        let mut end = End {
            at_ns: slice.at_ns,
            holds: u64::from(is_wide) << IS_WIDE,
            from: self.forgotten.wrapping_add(place(self.words.len())),
        };
        for (figure, bit) in figures().zip(0..).filter(|(figure, _)| *figure != 0) {
            end.holds |= 1 << bit;
            self.write(figure, is_wide);
        }
        if let Some(ago_ns) = looked {
            end.holds |= 1 << LOOKED;
            self.write(ago_ns, is_wide);
        }
        for time_us in rtt.into_iter().flatten() {
            end.holds |= 1 << RTT;
            self.write(time_us.into(), is_wide);
        }
        self.ends.push_back(end);
    }

    fn write(&mut self, figure: u64, is_wide: bool) {
        if self.words.capacity() < self.words.len() + 2 {
            // Twice as much, as it would grow by itself, is too much where there are many.
            self.words.reserve_exact(self.words.len() / 8 + 16);
        }
        self.words.push_back(low(figure));
        if is_wide {
            self.words.push_back(low(figure >> 32));
        }
    }

    /// Forgets so many, the earliest first.
    fn forget(&mut self, count: usize) {
        self.ends.drain(..count);
        let first = self.ends.front().map(|end| self.place_of(end));
        let words = first.unwrap_or(self.words.len());
        self.words.drain(..words);
        self.forgotten = self.forgotten.wrapping_add(place(words));
    }

    fn place_of(&self, end: &End) -> usize {
        end.from.wrapping_sub(self.forgotten) as usize
    }

    /// The figures of a slice, in their order.
    fn figures(&self, end: &End) -> impl Iterator<Item = u64> {
        let is_wide = end.holds & 1 << IS_WIDE != 0;
        let mut words = self.words.range(self.place_of(end)..).copied();
        std::iter::from_fn(move || {
            let low = u64::from(words.next()?);
            let high = if is_wide { words.next()? } else { 0 };
            Some(u64::from(high) << 32 | low)
        })
    }

    /// A slice as it was.
    fn read(&self, end: &End) -> Slice {
        let mut figures = self.figures(end);
        let mut next = |bit: u32| {
            let is_there = end.holds & 1 << bit != 0;
            is_there.then(|| figures.next()).flatten()
        };
        let mut tally = Tally::default();
        for (figure, bit) in tally.each().into_iter().zip(0..) {
            *figure = next(bit).unwrap_or(0);
        }
        let [active, asking, stalled] =
            [ACTIVE, ASKING, STALLED].map(|bit| low(next(bit).unwrap_or(0)));
        let looked_ns = next(LOOKED).map_or(0, |ago_ns| end.at_ns.wrapping_sub(ago_ns));
        let rtt = next(RTT).zip(next(RTT)).map(|(least, median)| Rtt {
            least_us: low(least),
            median_us: low(median),
        });
        Slice {
            at_ns: end.at_ns,
            looked_ns,
            tally,
            rtt,
            active,
            asking,
            stalled,
        }
    }

    /// Forgets those that ended before a time.
    pub fn forget_before(&mut self, at_ns: u64) {
        let count = self.ends.partition_point(|end| end.at_ns < at_ns);
        if count == self.ends.len() {
            *self = Self::default();
        } else if count > 0 {
            self.forget(count);
        }
    }

    /// Whether nothing has happened, and no connection is there, as far as it goes back.
    pub fn is_idle(&self) -> bool {
        self.ends.iter().all(|end| end.holds & !IDLE == 0)
    }

    /// The last one.
    pub fn last(&self) -> Option<&Slice> {
        self.last.as_ref()
    }

    /// Those that ended after a time, the earliest first.
    pub fn since(&self, at_ns: u64) -> impl Iterator<Item = Slice> {
        self.ends_since(at_ns).map(|end| self.read(end))
    }

    fn ends_since(&self, at_ns: u64) -> impl Iterator<Item = &End> {
        let first = self.ends.partition_point(|end| end.at_ns <= at_ns);
        self.ends.range(first..)
    }

    /// Those that ended until a time, the latest first.
    pub fn until(&self, at_ns: u64) -> impl Iterator<Item = Slice> {
        let count = self.ends.partition_point(|end| end.at_ns <= at_ns);
        self.ends.range(..count).rev().map(|end| self.read(end))
    }

    /// What has happened after a time, together.
    pub fn sum_since(&self, at_ns: u64) -> Tally {
        let mut sum = Tally::default();
        let mut sums = sum.each();
        for end in self.ends_since(at_ns) {
            let mut figures = self.figures(end);
            let bits = (0..).zip(&mut sums);
            for (_, sum) in bits.filter(|(bit, _)| end.holds & 1 << bit != 0) {
                **sum += figures.next().unwrap_or(0);
            }
        }
        sum
    }
}

/// A place, as far as it fits: only the way between two of them is asked for.
fn place(of: usize) -> u32 {
    low(of as u64)
}

/// The lower word of a figure.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the upper word is kept where it is not 0"
)]
fn low(figure: u64) -> u32 {
    figure as u32
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

    #[test]
    fn a_slice_is_read_as_it_was_written_whatever_was_forgotten() {
        let mut history = History::default();
        let mut all = VecDeque::new();
        for at in 1..=500_u64 {
            let mut slice = Slice {
                at_ns: at * 500_000_000,
                looked_ns: if at % 7 == 0 { 0 } else { at * 400_000_000 },
                ..Slice::default()
            };
            for (figure, place) in slice.tally.each().into_iter().zip(0_u64..) {
                if (place + at) % 5 < 2 {
                    // Some do not fit into a word.
                    *figure = ((place + 1) * at) << if at % 11 == 0 { 33 } else { 0 };
                }
            }
            slice.active = low(at % 3);
            slice.asking = low(at % 4);
            slice.stalled = low(at % 2);
            slice.rtt = (at % 6 != 0).then_some(Rtt {
                least_us: low(at % 9),
                median_us: u32::MAX,
            });
            history.push(slice);
            all.push_back(slice);
            if at % 90 == 0 {
                let before_ns = (at - 50) * 500_000_000;
                history.forget_before(before_ns);
                all.retain(|slice| slice.at_ns >= before_ns);
            }
            while all.len() > History::SLICES_MAX {
                all.pop_front();
            }
            assert_eq!(history.last(), all.back());
        }
        assert!(history.since(0).eq(all.iter().copied()));
        assert!(history.until(u64::MAX).eq(all.iter().rev().copied()));
        let mut sum = Tally::default();
        all.iter().skip(10).for_each(|slice| sum += slice.tally);
        assert_eq!(history.sum_since(all[9].at_ns), sum);
        history.forget_before(u64::MAX);
        assert_eq!((history.since(0).count(), history.last()), (0, None));
    }
}
