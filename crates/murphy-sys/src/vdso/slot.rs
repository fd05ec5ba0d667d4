//! A slot says what the hook adds to each clock, as bytes that the hook reads.
//!
//! A clock belongs to a timescale; on each timescale a skew is two straight segments, one after the other,
//! then nothing: `shown = true + offset + (true × slope >> 40)` while `true < until`.

use std::{fmt, str::FromStr};

use nix::time::ClockId;
use serde::{Deserialize, Serialize};

/// Bytes of one segment: until, offset, slope.
pub(crate) const SEGMENT: usize = 24;
/// Bytes of one timescale: two segments.
pub(crate) const TIMESCALE: usize = 2 * SEGMENT;
/// Bytes of one slot: the mask of clocks, then the timescales.
pub(crate) const SLOT: usize = 8 + TIMESCALES * TIMESCALE;
/// Where the slots begin in the data: behind the generation and the holders.
pub(crate) const SLOTS_AT: usize = 64;
/// Bytes of the data.
pub(crate) const DATA: usize = SLOTS_AT + 2 * SLOT;
/// The timescale of clock n in bits 4n to 4n+3.
pub(crate) const TIMESCALE_OF_CLOCK: u64 = 0x0000_4030_3102_0010;
/// How many timescales there are.
pub const TIMESCALES: usize = 5;
/// The slope of a clock that gains one second a second, in units of 2^-40.
const ONE: f64 = (1_u64 << 40) as f64;

/// What a clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timescale {
    /// Time of day, UTC.
    Realtime,
    /// Time since boot, without suspend.
    Monotonic,
    /// The same, not disciplined by NTP.
    MonotonicRaw,
    /// Time since boot, with suspend.
    Boottime,
    /// Atomic time.
    Tai,
}

impl Timescale {
    /// Whether the time namespace of process `pid` gives it another offset than Murphy's own does.
    pub fn is_offset_in(self, pid: u32) -> bool {
        let clock = match self {
            Self::Realtime | Self::Tai => return false,
            Self::Monotonic | Self::MonotonicRaw => "monotonic",
            Self::Boottime => "boottime",
        };
        if crate::process::shares_namespace(pid, "time") {
            return false;
        }
        let offset = |pid: &str| -> Option<Vec<i64>> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/timens_offsets")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(clock))?;
            let numbers = line.split_ascii_whitespace().map(str::parse);
            numbers.collect::<Result<_, _>>().ok()
        };
        offset(&pid.to_string()) != offset("self")
    }

    /// All of them, in the order of the slot.
    pub const ALL: [Self; TIMESCALES] = [
        Self::Realtime,
        Self::Monotonic,
        Self::MonotonicRaw,
        Self::Boottime,
        Self::Tai,
    ];

    /// Its place in a slot.
    pub fn index(self) -> usize {
        self as usize
    }

    /// What it shows in this process now, in nanoseconds.
    pub fn now_ns(self) -> i64 {
        let clock = match self {
            Self::Realtime => ClockId::CLOCK_REALTIME,
            Self::Monotonic => ClockId::CLOCK_MONOTONIC,
            Self::MonotonicRaw => ClockId::CLOCK_MONOTONIC_RAW,
            Self::Boottime => ClockId::CLOCK_BOOTTIME,
            Self::Tai => ClockId::CLOCK_TAI,
        };
        // Every kernel that runs this has these clocks (Linux 3.10).
        clock
            .now()
            .map_or(0, |now| now.tv_sec() * 1_000_000_000 + now.tv_nsec())
    }
}

/// A clock that the hook can skew, by the kernel's number for it (`include/uapi/linux/time.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Clock(u8);

const CLOCKS: [(u8, &str, Timescale); 9] = [
    (0, "CLOCK_REALTIME", Timescale::Realtime),
    (1, "CLOCK_MONOTONIC", Timescale::Monotonic),
    (4, "CLOCK_MONOTONIC_RAW", Timescale::MonotonicRaw),
    (5, "CLOCK_REALTIME_COARSE", Timescale::Realtime),
    (6, "CLOCK_MONOTONIC_COARSE", Timescale::Monotonic),
    (7, "CLOCK_BOOTTIME", Timescale::Boottime),
    (8, "CLOCK_REALTIME_ALARM", Timescale::Realtime),
    (9, "CLOCK_BOOTTIME_ALARM", Timescale::Boottime),
    (11, "CLOCK_TAI", Timescale::Tai),
];

impl Clock {
    /// `CLOCK_REALTIME`; `gettimeofday` and `time` go with it.
    pub const REALTIME: Self = Self(0);

    /// Every clock that can be skewed.
    pub fn all() -> impl Iterator<Item = Self> {
        CLOCKS.iter().map(|(id, ..)| Self(*id))
    }

    /// The kernel's number.
    pub fn id(self) -> u8 {
        self.0
    }

    /// Its bit in a mask.
    pub fn bit(self) -> u32 {
        1 << self.0
    }

    /// What it counts.
    pub fn timescale(self) -> Timescale {
        self.row().2
    }

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> &'static (u8, &'static str, Timescale) {
        // A clock is only made from a row of the table.
        CLOCKS
            .iter()
            .find(|(id, ..)| *id == self.0)
            .unwrap_or(&CLOCKS[0])
    }
}

/// A text that names no clock that can be skewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read clock {0:?}: no clock that can be skewed has this name; the kernel's names are {names}", names = CLOCKS.map(|(_, name, _)| name).join(", "))]
pub struct UnknownClock(String);

impl FromStr for Clock {
    type Err = UnknownClock;

    fn from_str(text: &str) -> Result<Self, UnknownClock> {
        CLOCKS
            .iter()
            .find(|(_, name, _)| *name == text)
            .map(|(id, ..)| Self(*id))
            .ok_or_else(|| UnknownClock(text.to_owned()))
    }
}

impl TryFrom<String> for Clock {
    type Error = UnknownClock;

    fn try_from(text: String) -> Result<Self, UnknownClock> {
        text.parse()
    }
}

impl From<Clock> for String {
    fn from(clock: Clock) -> Self {
        clock.name().to_owned()
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A straight piece of skew on one timescale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// It holds while the true clock is before this, in nanoseconds of that clock.
    until: i64,
    /// Added, in nanoseconds; wraps together with the slope's part.
    offset: i64,
    /// Nanoseconds gained in 2^40.
    slope: i64,
}

impl Segment {
    /// A segment that adds `shift_ns` when the true clock shows `at_ns`, and from there gains `rate`
    /// (0.001 for 1000 ppm) until the true clock shows `until_ns`.
    pub fn new(at_ns: i64, shift_ns: i64, rate: f64, until_ns: i64) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "saturates, and is far below that"
        )]
        let slope = (rate * ONE).round() as i64;
        let gained = (i128::from(at_ns) * i128::from(slope)) >> 40;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the hook wraps in the same way"
        )]
        let offset = (i128::from(shift_ns) - gained) as i64;
        Self {
            until: until_ns,
            offset,
            slope,
        }
    }

    /// What a clock that truly shows `true_ns` shows with it, as the hook computes it.
    pub fn shown(&self, true_ns: i64) -> i64 {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the hook wraps in the same way"
        )]
        let gained = ((i128::from(true_ns) * i128::from(self.slope)) >> 40) as i64;
        true_ns
            .wrapping_add(self.offset)
            .wrapping_add(gained)
            .max(0)
    }
}

/// What the hook adds to each clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    mask: u32,
    timescales: [[Segment; 2]; TIMESCALES],
}

impl Slot {
    /// Sets what is added on a timescale, to `clocks` of it: two segments, one after the other.
    pub fn set(&mut self, timescale: Timescale, clocks: &[Clock], segments: [Segment; 2]) {
        for clock in clocks.iter().filter(|clock| clock.timescale() == timescale) {
            self.mask |= clock.bit();
        }
        self.timescales[timescale.index()] = segments;
    }

    /// Whether it adds nothing to any clock.
    pub fn is_empty(&self) -> bool {
        self.mask == 0
    }

    /// As the hook reads it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT);
        bytes.extend(u64::from(self.mask).to_le_bytes());
        for segment in self.timescales.iter().flatten() {
            for number in [segment.until, segment.offset, segment.slope] {
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clock_stands_in_the_hooks_table() {
        for clock in Clock::all() {
            let nibble = TIMESCALE_OF_CLOCK >> (4 * clock.id()) & 15;
            assert_eq!(nibble, clock.timescale().index() as u64, "{clock}");
            assert_eq!(clock.name().parse::<Clock>().unwrap(), clock);
        }
        assert!("CLOCK_THREAD_CPUTIME_ID".parse::<Clock>().is_err());
        assert!("realtime".parse::<Clock>().is_err());
    }

    #[test]
    fn a_slot_is_as_long_as_the_hook_thinks() {
        assert_eq!(Slot::default().bytes().len(), SLOT);
        assert_eq!(DATA, 64 + 2 * 248);
    }

    #[test]
    fn a_segment_starts_where_it_is_told_and_gains_its_rate() {
        let now = 1_790_000_000_000_000_000;
        for (shift, rate, after, shown) in [
            (0, 0.0, 1_000_000_000, 1_000_000_000),
            (-600_000_000_000, 0.0, 5, 5 - 600_000_000_000),
            (7, 1e-3, 1_000_000_000, 1_001_000_007),
            (0, -1.0, 3_600_000_000_000, 0),
            (0, 0.5, 2_000_000_000, 3_000_000_000),
        ] {
            let segment = Segment::new(now, shift, rate, i64::MAX);
            let off = segment.shown(now + after) - now - shown;
            assert!(off.abs() <= 1, "{shift} {rate}: {off} ns off");
        }
        assert_eq!(Segment::new(5, -10, 0.0, i64::MAX).shown(5), 0);
    }
}
