//! A bucket says when a frame may leave so that no more than a rate passes, but for a burst: it holds as many bytes as
//! the burst, fills at the rate, and each frame takes its length out of it.
//!
//! A frame longer than the burst leaves when the rate has earned it, as if the burst were as large as it.

use std::collections::VecDeque;

use crate::net::spec::Shaper;

/// Time is counted in these parts of a nanosecond, so that short frames at high rates add up to the rate.
const PART_BITS: u32 = 32;

/// A bucket of bytes that are times: how long the rate takes for them.
#[derive(Debug)]
pub(super) struct Bucket {
    /// How long the rate takes for a byte, and for a burst.
    byte_parts: i128,
    burst_parts: i128,
    /// When it would have been empty, if nothing were taken out from then on.
    empty_parts: i128,
    /// When the last one leaves.
    last_parts: i128,
    /// Those that wait: when each leaves, and how long it is.
    waiting: VecDeque<(u64, u64)>,
    waiting_bytes: u64,
    limit_bytes: u64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(shaper: Shaper) -> Self {
        let byte_parts = (8_000_000_000_u128 << PART_BITS).div_ceil(shaper.rate.bits().into());
        let byte_parts = byte_parts.cast_signed();
        Self {
            byte_parts,
            burst_parts: byte_parts.saturating_mul(shaper.burst.0.into()),
            empty_parts: i128::MIN / 4,
            last_parts: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            limit_bytes: shaper.limit.0,
        }
    }

    /// When a frame of `bytes` that comes now leaves; `None` when too many wait.
    pub(super) fn admit(&mut self, now_ns: u64, bytes: u64) -> Option<u64> {
        while let Some((_, bytes)) = self
            .waiting
            .pop_front_if(|(leaves_ns, _)| *leaves_ns <= now_ns)
        {
            self.waiting_bytes -= bytes;
        }
        let now_parts = i128::from(now_ns) << PART_BITS;
        let cost_parts = self.byte_parts.saturating_mul(bytes.into());
        let earned_parts = self.empty_parts.saturating_add(cost_parts);
        let leaves_parts = now_parts.max(self.last_parts).max(earned_parts);
        let leaves_ns = u64::try_from(leaves_parts >> PART_BITS).unwrap_or(u64::MAX);
        if leaves_ns > now_ns {
            let waiting_bytes = self.waiting_bytes.saturating_add(bytes);
            if waiting_bytes > self.limit_bytes {
                return None;
            }
            self.waiting.push_back((leaves_ns, bytes));
            self.waiting_bytes = waiting_bytes;
        }
        let full_parts = leaves_parts.saturating_sub(self.burst_parts.max(cost_parts));
        self.empty_parts = self.empty_parts.max(full_parts).saturating_add(cost_parts);
        self.last_parts = leaves_parts;
        Some(leaves_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Bytes;

    fn bucket(rate: &str, burst: u64, limit: u64) -> Bucket {
        Bucket::new(Shaper {
            rate: rate.parse().unwrap(),
            burst: Bytes(burst),
            limit: Bytes(limit),
        })
    }

    #[test]
    fn so_many_bytes_take_as_long_as_the_rate_says() {
        // 64 bytes at 10 Gbit/s are 51.2 ns, of which none is lost by rounding.
        for (rate, bytes, frames, wanted_ns) in [
            ("1mbit", 1000, 100, 800_000_000),
            ("10gbit", 64, 1_000_000, 51_200_000),
            ("1bit", 1, 1, 8_000_000_000),
        ] {
            let mut bucket = bucket(rate, 0, u64::MAX);
            // The last of them leaves when all before it have passed.
            let leaves = (0..=frames).map(|_| bucket.admit(0, bytes).unwrap());
            assert_eq!(leaves.last(), Some(wanted_ns), "{rate}");
        }
    }

    #[test]
    fn a_burst_leaves_at_once_and_is_earned_again() {
        let second = 1_000_000_000;
        let mut bucket = bucket("8kbit", 3000, 10_000); // 1000 bytes a second
        let mut leaves = |now: u64| bucket.admit(now * second, 1000).unwrap() / second;
        assert_eq!([0; 5].map(&mut leaves), [0, 0, 0, 1, 2]);
        // Two seconds after the last left, there are two frames in it.
        assert_eq!([4; 3].map(&mut leaves), [4, 4, 5]);
        // And after a long while there are three again, and not more.
        assert_eq!([100; 4].map(&mut leaves), [100, 100, 100, 101]);
    }

    #[test]
    fn a_frame_longer_than_the_burst_is_earned_and_never_more_than_the_rate_passes() {
        let mut bucket = bucket("8kbit", 100, u64::MAX);
        let leaves: Vec<u64> = (0..4).map(|_| bucket.admit(0, 1000).unwrap()).collect();
        assert_eq!(leaves, [0, 1_000_000_000, 2_000_000_000, 3_000_000_000]);
    }

    #[test]
    fn what_waits_is_limited_and_what_leaves_makes_room() {
        let mut bucket = bucket("8kbit", 1000, 2500);
        let mut leaves = |now_s: u64| bucket.admit(now_s * 1_000_000_000, 1000);
        // One leaves at once, two wait, and no third one.
        assert_eq!(leaves(0), Some(0));
        assert_eq!(
            [0; 3].map(&mut leaves),
            [Some(1_000_000_000), Some(2_000_000_000), None]
        );
        assert_eq!([1; 2].map(&mut leaves), [Some(3_000_000_000), None]);
    }
}
