//! A clock reading is nanoseconds on one of the kernel's clocks.
//!
//! Murphy measures on boottime: it never jumps and counts a suspended machine's sleep. Realtime is only
//! for people. See `clock_gettime(2)`.

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Both clocks are positive on Linux: boottime starts at zero, realtime at 1970.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Nanoseconds since this machine booted, suspend included.
pub fn boottime_ns() -> u64 {
    read(ClockId::Boottime)
}

/// Nanoseconds since 1970 UTC, as the machine believes.
pub fn realtime_ns() -> u64 {
    read(ClockId::Realtime)
}
