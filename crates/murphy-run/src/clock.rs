//! A clock counts nanoseconds of boottime since the start of a run, and knows the wall-clock time of its zero.
//!
//! Boottime never jumps and also counts while the machine sleeps (`clock_gettime(2)`, `CLOCK_BOOTTIME`), so
//! that everything a run writes down can be put on one axis, whoever wrote it.

use std::fs;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The clock of one run. Copies of it tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero_boottime_ns: u64,
    started: Timestamp,
}

impl Clock {
    /// A clock that reads 0 now.
    pub fn start() -> Self {
        Self {
            zero_boottime_ns: boottime_ns(),
            started: Timestamp::now(),
        }
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        boottime_ns().saturating_sub(self.zero_boottime_ns)
    }

    /// The machine's boottime at the start, in nanoseconds.
    pub fn zero_boottime_ns(&self) -> u64 {
        self.zero_boottime_ns
    }

    /// Wall-clock time of the start, RFC 3339 in UTC, such as `2026-11-21T02:18:04.25Z`.
    pub fn started_rfc3339(&self) -> String {
        self.started.to_string()
    }

    /// Wall-clock time of the start for names of files, such as `20261121T021804Z`.
    pub fn started_compact(&self) -> String {
        self.started.strftime("%Y%m%dT%H%M%SZ").to_string()
    }
}

/// The kernel's random id of this boot; none where `/proc` is not there.
pub(crate) fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn boottime_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanoseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_zero_and_never_goes_back() {
        let clock = Clock::start();
        let mut last_ns = 0;
        for _ in 0..1_000 {
            let now_ns = clock.now_ns();
            assert!(now_ns >= last_ns);
            last_ns = now_ns;
        }
        let copy = clock;
        assert!(copy.now_ns() >= last_ns);
    }

    #[test]
    fn the_anchor_reads_back_as_the_same_instant() {
        let clock = Clock::start();
        let back: Timestamp = clock.started_rfc3339().parse().expect("RFC 3339");
        assert_eq!(back, clock.started);
        let compact = clock.started_compact();
        assert_eq!(compact.len(), "20261121T021804Z".len(), "{compact}");
    }
}
