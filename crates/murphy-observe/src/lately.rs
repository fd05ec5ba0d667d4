//! What an edge has done lately, slice by slice, for those who draw it.

use serde::Serialize;

use crate::{
    pings::{Outcome, Pings, micros},
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
        let first_ns = slices.last().map_or(last.at_ns, |slice| slice.at_ns);
        // Both are read once, the latest first: this is asked of a thousand edges at a time.
        let sent = pings.into_iter().flat_map(|pings| pings.since(first_ns));
        let mut sent = sent.skip_while(|ping| ping.at_ns > last.at_ns).peekable();
        let mut beats = Vec::with_capacity(slices.len());
        let mut all_us: Vec<u64> = Vec::new();
        for pair in slices.windows(2) {
            let (slice, before_ns) = (pair[0], pair[1].at_ns);
            let (mut pings_us, mut pings_lost) = (Vec::new(), 0);
            while let Some(ping) = sent.next_if(|ping| ping.at_ns > before_ns) {
                pings_us.extend(ping.took().map(micros));
                pings_lost += u64::from(matches!(ping.outcome, Outcome::Lost | Outcome::Unsent));
            }
            let rtt_us = slice.rtt.map(|rtt| u64::from(rtt.median_us));
            all_us.extend(rtt_us);
            all_us.extend(&pings_us);
            pings_us.sort_unstable();
            let middle = pings_us.len().saturating_sub(1) / 2;
            beats.push(Beat {
                at_ns: slice.at_ns,
                rtt_us: rtt_us.or(pings_us.get(middle).copied()),
                resent: slice.tally.resent.max(slice.tally.in_vain()),
                pings_lost,
            });
        }
        beats.reverse();
        let at = all_us.len() * 99 / 100;
        let p99_us = (at < all_us.len()).then(|| *all_us.select_nth_unstable(at).1);
        Self { p99_us, beats }
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
