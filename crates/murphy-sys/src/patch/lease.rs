//! A lease says for whom a program is patched, and until when: by the time stamp counter, which a stub reads itself, so that it
//! ends whoever has died.

use std::{
    fs,
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::arch::ticks;

/// How long the counter is looked at to know how fast it is.
const MEASURED: Duration = Duration::from_millis(20);
/// What a processor is said to have whose counter is as fast all the time (`/proc/cpuinfo`).
const STEADY: &str = "constant_tsc";
/// By what the kernel tells the time; it does not by a counter that it has seen to be faster or slower at times.
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Why there can be no lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// It may be faster or slower at times.
    #[error(
        "let a patch end by itself: the time stamp counter of this processor is not steady (no {STEADY} in /proc/cpuinfo, and the kernel has another clock source)"
    )]
    NotSteady,
}

/// For whom a stub is, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Until when calls are hit, by the time stamp counter.
    pub deadline: u64,
    /// Whose it is.
    pub owner: u64,
    /// What the dice begin with.
    pub seed: u64,
}

impl Lease {
    /// One that begins now.
    pub fn new(lasts: Duration, owner: u64, seed: u64) -> Result<Self, LeaseError> {
        Ok(Self {
            deadline: deadline(lasts)?,
            owner,
            seed,
        })
    }
}

/// What the counter shows after a time.
pub fn deadline(lasts: Duration) -> Result<u64, LeaseError> {
    let per_second = ticks_per_second().ok_or(LeaseError::NotSteady)?;
    let length = u128::from(per_second) * lasts.as_nanos() / 1_000_000_000;
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    Ok(ticks().saturating_add(length))
}

/// How fast the counter is; none where that may change.
fn ticks_per_second() -> Option<u64> {
    static MEASUREMENT: OnceLock<Option<u64>> = OnceLock::new();
    *MEASUREMENT.get_or_init(|| {
        let processors = fs::read_to_string("/proc/cpuinfo").ok()?;
        let is_steady = processors.split_whitespace().any(|word| word == STEADY);
        let is_source = || fs::read_to_string(CLOCK_SOURCE).is_ok_and(|name| name.trim() == "tsc");
        if !is_steady && !is_source() {
            return None;
        }
        let (began, before) = (Instant::now(), ticks());
        sleep(MEASURED);
        let (after, took) = (ticks(), began.elapsed());
        let counted = u128::from(after.checked_sub(before)?) * 1_000_000_000;
        u64::try_from(counted / took.as_nanos()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_when_it_was_said() {
        let Ok(deadline) = deadline(Duration::from_millis(50)) else {
            return;
        };
        let began = Instant::now();
        while ticks() < deadline {
            std::hint::spin_loop();
        }
        let took = began.elapsed().as_secs_f64();
        assert!((0.045..1.0).contains(&took), "{took} s");
    }
}
