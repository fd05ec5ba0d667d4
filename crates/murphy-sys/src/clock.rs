//! A clock reading is nanoseconds on one of the kernel's clocks.
//!
//! Murphy measures on boottime: it never jumps and counts a suspended machine's sleep. Realtime is only
//! for people. See `clock_gettime(2)`.

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // All of them are positive on Linux: realtime starts at 1970, the others at zero.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Nanoseconds since this machine booted, suspend included.
pub fn boottime_ns() -> u64 {
    read(ClockId::Boottime)
}

/// Nanoseconds on the monotonic clock, by which waits end and BPF programs tell the time.
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// How long this process has had processors, all of its threads together, in nanoseconds.
pub fn process_cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// How long the calling thread has had a processor, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// Nanoseconds since 1970 UTC, as the machine believes.
pub fn realtime_ns() -> u64 {
    read(ClockId::Realtime)
}
