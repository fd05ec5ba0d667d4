//! A tally is what became of the frames that a line took, counted and measured.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::delay::Moments;

/// Times are told apart down to this many nanoseconds, and up to those of an hour.
const FINEST_NS: u64 = 1_000;
const LONGEST_NS: u64 = 3_600_000_000_000;
/// So many digits of a percentile are right.
const DIGITS: u8 = 3;

/// How much one frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What it is on a wire: a large one is sent as several.
    pub segments: u64,
    /// Its bytes without the header of virtio.
    pub bytes: u64,
}

/// A number of frames, of what they are on a wire, and of their bytes without the header of virtio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// As a wire would carry them.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What became of frames. Each that was taken, and each copy, is lost, dropped by a limit, released or still held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All that came.
    pub taken: Count,
    /// Lost, as was asked.
    pub lost: Count,
    /// Copies that were made, as was asked.
    pub duplicated: Count,
    /// One bit of these was made another, as was asked.
    pub corrupted: Count,
    /// Drawn to be corrupted, and left as they were: they carry no IP or nothing in it, or are to be sent as several.
    pub not_corrupted: Count,
    /// Given a delay, as was asked.
    pub delayed: Count,
    /// Given none, so that they overtake, as was asked.
    pub overtook: Count,
    /// Dropped because more waited at the limited rate than may, as was asked.
    pub over_rate: Count,
    /// Dropped because the line held too many frames: Murphy's own limit, which nobody asked for.
    pub over_frames: Count,
    /// Dropped because the line held too much memory: likewise.
    pub over_bytes: Count,
    /// All that left.
    pub released: Count,
}

/// What a set of times comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// How many there were.
    pub count: u64,
    /// Their mean.
    pub mean_ns: f64,
    /// Their standard deviation.
    pub deviation_ns: f64,
    /// Half of them were no longer.
    pub p50_ns: u64,
    /// Ninety-nine in a hundred were no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Measures times as they come, in memory that does not grow.
#[derive(Debug)]
pub(super) struct Watch {
    histogram: Histogram<u64>,
    mean_ns: f64,
    /// The sum of the squares of all distances from the mean. After Welford (1962).
    squares: f64,
    max_ns: u64,
}

impl Count {
    pub(super) fn add(&mut self, size: Size) {
        self.frames += 1;
        self.segments += size.segments;
        self.bytes += size.bytes;
    }

    pub(super) fn remove(&mut self, size: Size) {
        self.frames -= 1;
        self.segments -= size.segments;
        self.bytes -= size.bytes;
    }
}

impl Watch {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(FINEST_NS, LONGEST_NS, DIGITS);
        Self {
            // It refuses more than five digits, and bounds that are too close.
            histogram: histogram.expect("bounds that a histogram takes"),
            mean_ns: 0.0,
            squares: 0.0,
            max_ns: 0,
        }
    }

    pub(super) fn add(&mut self, time_ns: u64) {
        self.histogram.saturating_record(time_ns);
        let distance = time_ns as f64 - self.mean_ns;
        self.mean_ns += distance / self.histogram.len() as f64;
        self.squares += distance * (time_ns as f64 - self.mean_ns);
        self.max_ns = self.max_ns.max(time_ns);
    }

    pub(super) fn times(&self) -> Times {
        let count = self.histogram.len();
        let percentile = |share| self.histogram.value_at_quantile(share).min(self.max_ns);
        Times {
            count,
            mean_ns: self.mean_ns,
            deviation_ns: (self.squares / count.max(1) as f64).sqrt(),
            p50_ns: percentile(0.5),
            p99_ns: percentile(0.99),
            max_ns: self.max_ns,
        }
    }
}

/// Delays as they were asked for and as they were, and how exact the line was with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delaying {
    /// What was asked; `None` where no delay was.
    pub requested: Option<Moments>,
    /// Of those that were given a delay: from when it began, which is when they were taken or the rate let them pass, to
    /// when they were released.
    pub observed: Times,
    /// Of all: how much later than they were due they were released.
    pub lateness: Times,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_measured_as_they_are() {
        let mut watch = Watch::new();
        assert_eq!(watch.times(), Times::default());
        (1..=1000).for_each(|ms| watch.add(ms * 1_000_000));
        let times = watch.times();
        assert_eq!((times.count, times.max_ns), (1000, 1_000_000_000));
        assert!((times.mean_ns - 500.5e6).abs() < 1.0, "{times:?}");
        // Of 1 to n: √((n² − 1) / 12).
        assert!((times.deviation_ns - 288.675e6).abs() < 1e3, "{times:?}");
        assert!(times.p50_ns.abs_diff(500_000_000) < 1_000_000, "{times:?}");
        assert!(times.p99_ns.abs_diff(990_000_000) < 1_000_000, "{times:?}");
    }

    #[test]
    fn a_time_beyond_all_is_counted_as_the_longest() {
        let mut watch = Watch::new();
        watch.add(2 * LONGEST_NS);
        assert_eq!(watch.times().max_ns, 2 * LONGEST_NS);
        assert!(watch.times().p50_ns >= LONGEST_NS);
    }
}
