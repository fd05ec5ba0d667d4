//! A series is how many operations ended and how long the answered ones took, over the time of a run.
//!
//! Memory is bounded: a series begins with bins of 100 ms, and when there are too many of them, each two
//! neighbours become one. Latencies are kept as histograms with two significant digits until the run ends,
//! so that percentiles are computed once, from counts, never from other percentiles.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Width of a bin before any are joined.
const FIRST_BIN_NS: u64 = 100_000_000;
/// The most bins held while the run goes on; 10 KB each.
const HELD_BINS: usize = 600;
/// The most bins of a [`Summary`].
pub const SUMMARY_BINS: usize = 150;
/// Longer latencies count as this long.
const LONGEST_US: u64 = 60_000_000;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// It certainly did not happen.
    Failed,
    /// Nobody knows whether it happened.
    Unknown,
}

/// Collects samples. Shared by reference between threads and tasks.
#[derive(Debug)]
pub struct Series {
    bins: Mutex<Bins>,
}

impl Series {
    /// A series without samples.
    pub fn new() -> Self {
        Self {
            bins: Mutex::new(Bins::default()),
        }
    }

    /// Adds an operation that began and ended at these times, nanoseconds since the start of the run. It
    /// belongs to the bin in which it ended.
    pub fn add(&self, start_ns: u64, end_ns: u64, outcome: Outcome) {
        self.lock().add(start_ns, end_ns, outcome);
    }

    /// The figures of a run that lasted `duration_ns`, in at most [`SUMMARY_BINS`] bins.
    pub fn summary(&self, duration_ns: u64) -> Summary {
        let mut bins = self.lock().clone();
        while bins.count_for(duration_ns) > SUMMARY_BINS {
            bins.join_neighbours();
        }
        bins.summary(duration_ns)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bins> {
        // Counts stay whole when a panic elsewhere poisons the lock: the worst is a missing sample.
        self.bins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

/// The figures of a series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Time covered.
    pub duration_ns: u64,
    /// Width of a bin; the last one may end before.
    pub bin_ns: u64,
    /// All operations answered.
    pub ok: u64,
    /// All that certainly did not happen.
    pub failed: u64,
    /// All whose outcome nobody knows.
    pub unknown: u64,
    /// Median latency of the answered ones, microseconds.
    pub p50_us: u64,
    /// 99th percentile of it.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// The bins, from time 0.
    pub bins: Vec<Bin>,
}

/// The figures of one bin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Operations answered.
    pub ok: u64,
    /// Operations that certainly did not happen.
    pub failed: u64,
    /// Operations whose outcome nobody knows.
    pub unknown: u64,
    /// Answered operations per second.
    pub ok_per_s: f64,
    /// Median latency in microseconds; `None` when nothing was answered.
    pub p50_us: Option<u64>,
    /// 99th percentile.
    pub p99_us: Option<u64>,
}

/// The bins while samples come in.
#[derive(Clone, Debug)]
struct Bins {
    bin_ns: u64,
    held: Vec<Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    failed: u64,
    unknown: u64,
    /// Latencies of the answered operations in microseconds; `None` until there is one.
    latencies_us: Option<Histogram<u32>>,
}

impl Default for Bins {
    fn default() -> Self {
        Self {
            bin_ns: FIRST_BIN_NS,
            held: Vec::new(),
        }
    }
}

impl Bins {
    fn add(&mut self, start_ns: u64, end_ns: u64, outcome: Outcome) {
        let mut index = self.index_of(end_ns);
        while index >= HELD_BINS {
            self.join_neighbours();
            index = self.index_of(end_ns);
        }
        if index >= self.held.len() {
            self.held.resize_with(index + 1, Counts::default);
        }
        let counts = &mut self.held[index];
        match outcome {
            Outcome::Failed => counts.failed += 1,
            Outcome::Unknown => counts.unknown += 1,
            Outcome::Ok => {
                let latency_us = end_ns.saturating_sub(start_ns) / 1_000;
                let histogram = counts.latencies_us.get_or_insert_with(histogram);
                histogram.saturating_record(latency_us.clamp(1, LONGEST_US));
            }
        }
    }

    fn index_of(&self, time_ns: u64) -> usize {
        usize::try_from(time_ns / self.bin_ns).unwrap_or(usize::MAX)
    }

    fn join_neighbours(&mut self) {
        self.bin_ns = self.bin_ns.saturating_mul(2);
        let mut joined: Vec<Counts> = Vec::with_capacity(self.held.len().div_ceil(2));
        for (index, counts) in self.held.drain(..).enumerate() {
            match joined.last_mut() {
                Some(last) if index % 2 == 1 => last.join(counts),
                _ => joined.push(counts),
            }
        }
        self.held = joined;
    }

    /// How many bins it takes to show all samples and `duration_ns`.
    fn count_for(&self, duration_ns: u64) -> usize {
        let covering = usize::try_from(duration_ns.div_ceil(self.bin_ns)).unwrap_or(usize::MAX);
        covering.max(self.held.len())
    }

    fn summary(&self, duration_ns: u64) -> Summary {
        let mut all = Counts::default();
        let mut bins = Vec::new();
        let nothing = Counts::default();
        for index in 0..self.count_for(duration_ns) {
            let counts = self.held.get(index).unwrap_or(&nothing);
            all.join(counts.clone());
            let from_ns = index as u64 * self.bin_ns;
            let width_ns = duration_ns.saturating_sub(from_ns).min(self.bin_ns);
            // A sample may end just behind the end of the run; its bin then counts as a whole one.
            let width_ns = if width_ns == 0 { self.bin_ns } else { width_ns };
            bins.push(counts.figures(width_ns));
        }
        Summary {
            duration_ns,
            bin_ns: self.bin_ns,
            ok: all.ok(),
            failed: all.failed,
            unknown: all.unknown,
            p50_us: all.quantile_us(0.5).unwrap_or_default(),
            p99_us: all.quantile_us(0.99).unwrap_or_default(),
            max_us: all.quantile_us(1.0).unwrap_or_default(),
            bins,
        }
    }
}

impl Counts {
    fn ok(&self) -> u64 {
        self.latencies_us.as_ref().map_or(0, Histogram::len)
    }

    fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let histogram = self.latencies_us.as_ref()?;
        Some(histogram.value_at_quantile(quantile))
    }

    fn join(&mut self, other: Self) {
        self.failed += other.failed;
        self.unknown += other.unknown;
        match (&mut self.latencies_us, other.latencies_us) {
            (Some(mine), Some(theirs)) => mine
                .add(theirs)
                .expect("all histograms of a series have the same bounds"),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
    }

    fn figures(&self, width_ns: u64) -> Bin {
        Bin {
            ok: self.ok(),
            failed: self.failed,
            unknown: self.unknown,
            ok_per_s: (self.ok() as f64 * 1e10 / width_ns as f64).round() / 10.0,
            p50_us: self.quantile_us(0.5),
            p99_us: self.quantile_us(0.99),
        }
    }
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST_US, 2)
        .expect("1 to LONGEST_US with 2 digits is a valid range")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn one_second_of_one_answer_a_millisecond() {
        let series = Series::new();
        for i in 0..1_000 {
            series.add(i * MS, (i + 1) * MS - 1, Outcome::Ok);
        }
        series.add(0, 10 * MS, Outcome::Failed);
        series.add(0, 150 * MS, Outcome::Unknown);
        let summary = series.summary(1_000 * MS);
        assert_eq!((summary.ok, summary.failed, summary.unknown), (1_000, 1, 1));
        assert_eq!(summary.bins.len(), 10);
        assert!(
            summary
                .bins
                .iter()
                .all(|b| (b.ok_per_s - 1_000.0).abs() < 1e-6)
        );
        assert_eq!((summary.bins[0].failed, summary.bins[1].unknown), (1, 1));
        // Two significant digits: 999 µs is told within 1 %.
        assert!(summary.p99_us.abs_diff(999) <= 10, "{}", summary.p99_us);
    }

    #[test]
    fn percentiles_are_those_of_the_samples_within_one_percent() {
        let series = Series::new();
        for latency_ms in 1..=100 {
            series.add(0, latency_ms * MS, Outcome::Ok);
        }
        let summary = series.summary(100 * MS);
        assert!(summary.p50_us.abs_diff(50_000) <= 500, "{}", summary.p50_us);
        assert!(summary.p99_us.abs_diff(99_000) <= 990, "{}", summary.p99_us);
        assert!(
            summary.max_us.abs_diff(100_000) <= 1_000,
            "{}",
            summary.max_us
        );
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost_when_bins_are_joined() {
        let series = Series::new();
        for second in 0..600 {
            series.add(second * 1_000 * MS, second * 1_000 * MS + MS, Outcome::Ok);
            series.add(
                second * 1_000 * MS,
                second * 1_000 * MS + 2,
                Outcome::Unknown,
            );
        }
        assert!(series.lock().held.len() <= HELD_BINS);
        let summary = series.summary(600_000 * MS);
        assert_eq!((summary.ok, summary.unknown), (600, 600));
        assert!(summary.bins.len() <= SUMMARY_BINS && summary.bins.len() > SUMMARY_BINS / 2);
        assert_eq!(summary.bins.iter().map(|b| b.ok).sum::<u64>(), 600);
    }

    #[test]
    fn a_stretch_without_answers_has_bins_without_percentiles() {
        let series = Series::new();
        series.add(0, 50 * MS, Outcome::Ok);
        let summary = series.summary(300 * MS);
        assert_eq!(summary.bins.len(), 3);
        assert_eq!(summary.bins[1], Bin::default());
    }

    #[test]
    fn an_empty_series_of_an_empty_run() {
        let summary = Series::new().summary(0);
        assert_eq!(summary.bins, []);
        assert_eq!(summary.ok, 0);
    }

    #[test]
    fn absurd_times_do_not_take_absurd_memory() {
        let series = Series::new();
        series.add(5, 1 << 62, Outcome::Ok);
        series.add(9, 3, Outcome::Ok);
        assert!(series.lock().held.len() <= HELD_BINS);
        assert_eq!(series.summary(1 << 62).ok, 2);
    }
}
