//! What an edge has done lately, slice by slice, for those who draw it.

use serde::Serialize;

use crate::{
    pings::{Outcome, Pings, median_us, times_us},
    slice::History,
};

/// The last half minute of an edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lately {
    /// The time that of a hundred round trips one exceeds, in microseconds: of pings, and of what connections say of each slice.
    pub p99_us: Option<u64>,
    /// Each slice, the earliest first. No JSON has them: who reads every line knows them.
    #[serde(skip)]
    pub beats: Vec<Beat>,
}

/// What a slice of time comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// When it ended, in nanoseconds since boot.
    pub at_ns: u64,
    /// The round trip, in microseconds: as connections have it, or else pings.
    pub rtt_us: Option<u64>,
    /// Segments that were sent again, or could not be.
    pub resent: u64,
    /// Pings that were lost.
    pub pings_lost: u64,
}

impl Lately {
    /// No more slices are kept.
    pub const BEATS_MAX: usize = 60;

    /// Of what has happened, and of the pings of the peer.
    pub fn of(history: Option<&History>, pings: Option<&Pings>) -> Self {
        let Some(last) = history.and_then(History::last) else {
            return Self::default();
        };
        let slices = history.into_iter();
        let slices = slices.flat_map(|history| history.until(last.at_ns));
        let slices: Vec<_> = slices.take(Self::BEATS_MAX + 1).collect();
        let mut beats = Vec::with_capacity(slices.len());
        let mut times_us_all: Vec<u64> = Vec::new();
        for pair in slices.windows(2) {
            let (slice, before_ns) = (pair[0], pair[1].at_ns);
            let within = || {
                let all = pings.into_iter().flat_map(|pings| pings.since(before_ns));
                all.filter(move |ping| ping.at_ns <= slice.at_ns)
            };
            let is_lost = |outcome| matches!(outcome, Outcome::Lost | Outcome::Unsent);
            let rtt_us = slice.rtt.map(|rtt| u64::from(rtt.median_us));
            times_us_all.extend(rtt_us);
            times_us_all.extend(times_us(within()));
            beats.push(Beat {
                at_ns: slice.at_ns,
                rtt_us: rtt_us.or_else(|| median_us(within())),
                resent: slice.tally.resent.max(slice.tally.in_vain()),
                pings_lost: within().filter(|ping| is_lost(ping.outcome)).count() as u64,
            });
        }
        beats.reverse();
        times_us_all.sort_unstable();
        let at = times_us_all.len() * 99 / 100;
        Self {
            p99_us: times_us_all.get(at).or(times_us_all.last()).copied(),
            beats,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::{Rtt, Slice};

    const SLICE_NS: u64 = 500_000_000;

    #[test]
    fn connections_say_how_long_it_takes_and_pings_where_they_do_not() {
        let mut history = History::default();
        let mut pings = Pings::default();
        for slice in 0..=100 {
            let at_ns = slice * SLICE_NS;
            let mut one = Slice {
                at_ns,
                rtt: (slice % 2 == 0).then_some(Rtt {
                    least_us: 100,
                    median_us: 200,
                }),
                ..Slice::default()
            };
            one.tally.resent = slice;
            history.push(one);
            let number = u16::try_from(slice).unwrap();
            pings.push(number, at_ns, Some(at_ns));
            pings.answer(
                number,
                at_ns + if slice == 99 { 90_000_000 } else { 1_000_000 },
            );
        }
        let lately = Lately::of(Some(&history), Some(&pings));
        assert_eq!(lately.beats.len(), Lately::BEATS_MAX);
        let last = lately.beats.last().unwrap();
        assert_eq!((last.rtt_us, last.resent), (Some(200), 100));
        assert_eq!(lately.beats[56].rtt_us, Some(1000));
        assert_eq!(lately.beats[58].rtt_us, Some(90_000));
        assert_eq!(lately.p99_us, Some(90_000));
        assert_eq!(Lately::of(None, None), Lately::default());
    }
}
