//! A tally is the figures of the looks of one probe over some time: how many passed, why others failed, how long it took.
//!
//! It is made of looks alone, in order of time, and takes the same memory however many they are. Latencies are those of
//! the looks that passed, as a histogram with two significant digits: what failed at once was not quick.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{
    look::{Look, Outcome, Reason},
    prober::LIMIT_MAX,
};

/// Counts looks.
#[derive(Clone, Debug)]
pub struct Tally {
    passed: u64,
    failed_by: BTreeMap<Reason, u64>,
    unable: u64,
    skipped: u64,
    latencies_us: Histogram<u32>,
    /// The histogram's own longest is rounded up.
    max_us: u64,
    /// When the stretch of failures began in which it is.
    failing_since_ns: Option<u64>,
    /// The end of the last failure in it.
    failing_until_ns: u64,
    longest_failing_ns: u64,
}

/// The figures of a tally.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Looks that passed or failed.
    pub made: u64,
    /// Those that passed.
    pub passed: u64,
    /// Those that failed, by their reason.
    pub failed_by: BTreeMap<Reason, u64>,
    /// Looks that Murphy could not make, though it tried: they count neither as passed nor as failed.
    pub unable: u64,
    /// Looks that were due while an earlier one took its time.
    pub skipped: u64,
    /// Passed of made; `None` when none was made.
    pub passed_ratio: Option<f64>,
    /// Median latency of those that passed, in microseconds; `None` when none did.
    pub p50_us: Option<u64>,
    /// 95th percentile.
    pub p95_us: Option<u64>,
    /// The longest.
    pub max_us: Option<u64>,
    /// The longest time from the beginning of a failed look to that of the next one that passed, or, if none did, to the
    /// end of the last that failed.
    pub longest_failing_ns: u64,
}

impl Tally {
    /// Of no look.
    pub fn new() -> Self {
        let longest_us = u64::try_from(LIMIT_MAX.as_micros()).unwrap_or(u64::MAX);
        Self {
            passed: 0,
            failed_by: BTreeMap::new(),
            unable: 0,
            skipped: 0,
            latencies_us: Histogram::new_with_bounds(1, longest_us, 2)
                .expect("1 to a minute with 2 digits is a valid range"),
            max_us: 0,
            failing_since_ns: None,
            failing_until_ns: 0,
            longest_failing_ns: 0,
        }
    }

    /// Adds a look, which began after all that were added before.
    pub fn add(&mut self, look: &Look) {
        match look.outcome {
            Outcome::Passed { .. } => {
                self.passed += 1;
                let took_us = Duration::from_nanos(look.took_ns).as_micros();
                let took_us = u64::try_from(took_us).unwrap_or(u64::MAX);
                self.latencies_us.saturating_record(took_us.max(1));
                self.max_us = self.max_us.max(took_us);
                if let Some(since_ns) = self.failing_since_ns.take() {
                    let failing_ns = look.at_ns.saturating_sub(since_ns);
                    self.longest_failing_ns = self.longest_failing_ns.max(failing_ns);
                }
            }
            Outcome::Failed { reason, .. } => {
                *self.failed_by.entry(reason).or_default() += 1;
                self.failing_since_ns.get_or_insert(look.at_ns);
                self.failing_until_ns = look.at_ns.saturating_add(look.took_ns);
            }
            // Nobody knows how it was then: a stretch goes on if what follows fails.
            Outcome::Unable { .. } => self.unable += 1,
        }
    }

    /// Adds looks that were due and could not be made.
    pub fn skip(&mut self, looks: u64) {
        self.skipped += looks;
    }

    /// All figures so far.
    pub fn figures(&self) -> Figures {
        let failed: u64 = self.failed_by.values().sum();
        let made = self.passed + failed;
        let failing_ns = self
            .failing_since_ns
            .map_or(0, |since_ns| self.failing_until_ns.saturating_sub(since_ns));
        let quantile = |quantile: f64| {
            let value_us = self.latencies_us.value_at_quantile(quantile);
            (self.passed > 0).then(|| value_us.min(self.max_us))
        };
        Figures {
            made,
            passed: self.passed,
            failed_by: self.failed_by.clone(),
            unable: self.unable,
            skipped: self.skipped,
            passed_ratio: (made > 0).then(|| self.passed as f64 / made as f64),
            p50_us: quantile(0.5),
            p95_us: quantile(0.95),
            max_us: (self.passed > 0).then_some(self.max_us),
            longest_failing_ns: self.longest_failing_ns.max(failing_ns),
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Extend<&'a Look> for Tally {
    fn extend<T: IntoIterator<Item = &'a Look>>(&mut self, looks: T) {
        for look in looks {
            self.add(look);
        }
    }
}

impl<'a> FromIterator<&'a Look> for Tally {
    fn from_iter<T: IntoIterator<Item = &'a Look>>(looks: T) -> Self {
        let mut tally = Self::new();
        tally.extend(looks);
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn look(at_ms: u64, took_ms: u64, outcome: Outcome) -> Look {
        Look {
            at_ns: at_ms * MS,
            took_ns: took_ms * MS,
            outcome,
        }
    }

    fn passed(at_ms: u64) -> Look {
        look(at_ms, 1, Outcome::PASSED)
    }

    fn failed(at_ms: u64, reason: Reason) -> Look {
        look(at_ms, 20, Outcome::failed(reason, ""))
    }

    fn unable(at_ms: u64) -> Look {
        let detail = String::new();
        look(at_ms, 1, Outcome::Unable { detail })
    }

    fn figures(looks: &[Look]) -> Figures {
        looks.iter().collect::<Tally>().figures()
    }

    #[test]
    fn of_no_look_nothing_is_known() {
        assert_eq!(figures(&[]), Figures::default());
    }

    #[test]
    fn failures_are_counted_by_their_reason_and_what_could_not_be_looked_at_apart() {
        let mut tally: Tally = [
            passed(0),
            failed(100, Reason::Refused),
            failed(200, Reason::TimedOut),
            failed(300, Reason::Refused),
            unable(400),
        ]
        .iter()
        .collect();
        tally.skip(3);
        let figures = tally.figures();
        assert_eq!((figures.made, figures.passed), (4, 1));
        assert_eq!(
            figures.failed_by,
            BTreeMap::from([(Reason::Refused, 2), (Reason::TimedOut, 1)])
        );
        assert_eq!((figures.unable, figures.skipped), (1, 3));
        assert_eq!(figures.passed_ratio, Some(0.25));
        let text = serde_json::to_string(&figures).unwrap();
        assert!(
            text.contains(r#""failed_by":{"refused":2,"timed_out":1}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), figures);
    }

    #[test]
    fn the_longest_stretch_of_failures() {
        let refused = |at_ms| failed(at_ms, Reason::Refused);
        for (looks, longest_ms) in [
            (vec![passed(0), passed(100)], 0),
            (vec![passed(0), refused(100), passed(200)], 100),
            // It is still failing: as far as is known.
            (vec![passed(0), refused(100), refused(200)], 120),
            (
                vec![
                    refused(0),
                    passed(100),
                    refused(200),
                    refused(300),
                    passed(500),
                ],
                300,
            ),
            // Nobody knows how it was in between.
            (
                vec![refused(0), unable(100), refused(200), passed(300)],
                300,
            ),
            (vec![refused(0), unable(100)], 20),
        ] {
            assert_eq!(
                figures(&looks).longest_failing_ns,
                longest_ms * MS,
                "{looks:?}"
            );
        }
    }

    #[test]
    fn percentiles_are_of_looks_that_passed_within_one_percent() {
        let mut looks: Vec<_> = (1..=100)
            .map(|took_ms| look(took_ms, took_ms, Outcome::PASSED))
            .collect();
        looks.push(look(200, 5_000, Outcome::failed(Reason::TimedOut, "")));
        let figures = figures(&looks);
        let near = |value_us: Option<u64>, expected_us: u64| {
            value_us.is_some_and(|value_us| value_us.abs_diff(expected_us) <= expected_us / 100)
        };
        assert!(near(figures.p50_us, 50_000), "{figures:?}");
        assert!(near(figures.p95_us, 95_000), "{figures:?}");
        assert_eq!(figures.max_us, Some(100_000));
    }

    #[test]
    fn one_look_has_its_own_latency_as_every_percentile() {
        let figures = figures(&[look(0, 777, Outcome::PASSED)]);
        assert_eq!(figures.p50_us, Some(777_000));
        assert_eq!(figures.p95_us, Some(777_000));
    }
}
