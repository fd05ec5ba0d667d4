//! An effect is how probes do in one phase against how they did in another: how many more looks fail, and how much longer the
//! others take, each with the interval in which that lies.
//!
//! Looks follow each other, and so do their failures: as many looks are counted as would tell the same if none knew of the one
//! before (of a chain whose neighbours correlate by r, n (1 - r) / (1 + r); Bayley and Hammersley, 1946).

use murphy_run::probe::{Look, Outcome};
use serde::{Deserialize, Serialize};

/// The quantile of the normal distribution that 99 % lie within: a campaign looks often.
const Z: f64 = 2.575_829;

/// A figure, and the interval in which it lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// From where.
    pub low: f64,
    /// To where.
    pub high: f64,
}

/// What is seen of a probe in a phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether each look failed, in their order.
    failed: Vec<bool>,
    /// How long those took that passed, in microseconds, in their order.
    took_us: Vec<u64>,
}

/// How little is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// So many more looks may fail: a share of all.
    pub failed: f64,
    /// So many times longer they may take.
    pub slower: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            failed: 0.05,
            slower: 1.5,
        }
    }
}

/// What one phase is against another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// How many looks there were before, and then.
    pub looks: [u64; 2],
    /// How many of them failed.
    pub failed: [u64; 2],
    /// The share that fails more than before: from -1 to 1.
    pub more: Estimate,
    /// How many times as long the others take, by their medians; none where too few passed to tell.
    pub slower: Option<Estimate>,
}

/// What is known of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// There is one.
    Worse,
    /// There is none beyond what is tolerated.
    Same,
    /// More looks would tell.
    Unsettled,
}

impl Seen {
    /// Adds a look. What could not be looked at says nothing.
    pub fn add(&mut self, look: &Look) {
        match look.outcome {
            Outcome::Passed { .. } => {
                self.failed.push(false);
                self.took_us.push(look.took_ns / 1000);
            }
            Outcome::Failed { .. } => self.failed.push(true),
            Outcome::Unable { .. } => {}
        }
    }

    /// Adds those of another time.
    pub fn extend(&mut self, more: Self) {
        self.failed.extend(more.failed);
        self.took_us.extend(more.took_us);
    }

    /// How many looks there were.
    pub fn looks(&self) -> u64 {
        self.failed.len() as u64
    }

    /// How many of them failed.
    pub fn failures(&self) -> u64 {
        self.failed.iter().filter(|failed| **failed).count() as u64
    }

    fn share(&self) -> f64 {
        self.failures() as f64 / (self.looks() as f64).max(1.0)
    }

    /// Where the share that fails lies (Wilson, 1927).
    fn interval(&self) -> [f64; 2] {
        let failed = self
            .failed
            .iter()
            .map(|failed| f64::from(u8::from(*failed)));
        let n = effective(&failed.collect::<Vec<_>>());
        if n <= 0.0 {
            return [0.0, 1.0];
        }
        let p = self.share();
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        [
            ((middle - half) / scale).max(0.0),
            ((middle + half) / scale).min(1.0),
        ]
    }

    /// The median of how long looks took that passed, and where it lies: between two of them, by the binomial distribution that
    /// says how many are below it. None where there are too few.
    fn median_us(&self) -> Option<Estimate> {
        let logs: Vec<f64> = self
            .took_us
            .iter()
            .map(|us| (*us as f64).max(1.0).ln())
            .collect();
        let n = effective(&logs);
        let mut sorted = self.took_us.clone();
        sorted.sort_unstable();
        let all = sorted.len();
        // So far from the middle, as a share of all; below a half as a place among them.
        let half = Z / (2.0 * n.sqrt());
        let away = (0..all / 2).find(|away| *away as f64 >= half * all as f64)?;
        let at = |place: usize| sorted[place.min(all - 1)] as f64;
        Some(Estimate {
            value: at(all / 2),
            low: at(all / 2 - away),
            high: at(all / 2 + away),
        })
    }
}

/// How many of these would tell as much if none knew of the one before.
fn effective(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 3 {
        return n;
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance: f64 = values.iter().map(|one| (one - mean).powi(2)).sum();
    if variance <= f64::EPSILON {
        return n;
    }
    let pairs = values.windows(2);
    let together: f64 = pairs.map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let correlation = (together / variance).clamp(0.0, 0.99);
    n * (1.0 - correlation) / (1.0 + correlation)
}

impl Effect {
    /// Of a phase, against one before.
    pub fn of(before: &Seen, then: &Seen) -> Self {
        let [before_in, then_in] = [before, then].map(Seen::interval);
        let (p, q) = (before.share(), then.share());
        // Newcombe (1998), method 10: from the intervals of both.
        let value = q - p;
        let down = ((q - then_in[0]).powi(2) + (before_in[1] - p).powi(2)).sqrt();
        let up = ((then_in[1] - q).powi(2) + (p - before_in[0]).powi(2)).sqrt();
        let slower = before.median_us().zip(then.median_us());
        Self {
            looks: [before.looks(), then.looks()],
            failed: [before.failures(), then.failures()],
            more: Estimate {
                value,
                low: (value - down).max(-1.0),
                high: (value + up).min(1.0),
            },
            slower: slower.map(|(before, then)| Estimate {
                value: then.value / before.value.max(1.0),
                low: then.low / before.high.max(1.0),
                high: then.high / before.low.max(1.0),
            }),
        }
    }

    /// What is known of it.
    pub fn known(&self, tolerance: Tolerance) -> Known {
        let slower = |is: fn(&Estimate, f64) -> bool| {
            self.slower
                .as_ref()
                .is_some_and(|one| is(one, tolerance.slower))
        };
        if self.more.low > tolerance.failed || slower(|one, most| one.low > most) {
            return Known::Worse;
        }
        // Where nobody passed there is no time to compare, and the failures tell.
        if self.more.high <= tolerance.failed && slower(|one, most| one.high <= most) {
            return Known::Same;
        }
        Known::Unsettled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use murphy_run::probe::Reason;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Looks of which each fails with a chance, and others take about so long.
    fn seen(looks: u32, chance: f64, us: u64, seed: u64) -> Seen {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut all = Seen::default();
        for at in 0..looks {
            let outcome = if random.random_bool(chance) {
                Outcome::Failed {
                    reason: Reason::BadStatus,
                    detail: String::new(),
                }
            } else {
                Outcome::Passed { value: None }
            };
            all.add(&Look {
                at_ns: u64::from(at) * 1_000_000,
                took_ns: us * random.random_range(800..1250),
                outcome,
            });
        }
        all
    }

    #[test]
    fn what_is_plain_is_known_and_what_is_not_is_said() {
        let before = seen(300, 0.0, 1000, 1);
        let tolerance = Tolerance::default();
        for (then, expected) in [
            (seen(300, 0.0, 1000, 2), Known::Same),
            (seen(300, 0.4, 1000, 3), Known::Worse),
            (seen(300, 1.0, 1000, 4), Known::Worse),
            (seen(300, 0.0, 3000, 5), Known::Worse),
            (seen(300, 0.05, 1000, 6), Known::Unsettled),
            (seen(10, 0.0, 1000, 7), Known::Unsettled),
            (Seen::default(), Known::Unsettled),
        ] {
            let effect = Effect::of(&before, &then);
            assert_eq!(effect.known(tolerance), expected, "{effect:?}");
        }
        let better = Effect::of(&seen(300, 0.5, 1000, 8), &before);
        assert_eq!(better.known(tolerance), Known::Same, "{better:?}");
    }

    #[test]
    fn two_phases_of_the_same_are_hardly_ever_told_apart_and_intervals_hold() {
        let tolerance = Tolerance {
            failed: 0.0,
            slower: 1.0,
        };
        let (mut worse, mut held) = (0, 0);
        for seed in 0..500 {
            let effect = Effect::of(
                &seen(200, 0.1, 1000, seed),
                &seen(200, 0.2, 1000, 1000 + seed),
            );
            held += u32::from((effect.more.low..=effect.more.high).contains(&0.1));
            let same = Effect::of(
                &seen(200, 0.1, 1000, seed),
                &seen(200, 0.1, 1000, 5000 + seed),
            );
            worse += u32::from(same.known(tolerance) == Known::Worse);
        }
        // 99 % of them, and a few by chance.
        assert!(held >= 485, "{held} of 500");
        assert!(worse <= 15, "{worse} of 500");
    }

    #[test]
    fn failures_that_come_together_count_for_fewer() {
        let mut stretches = Seen::default();
        let mut scattered = Seen::default();
        for at in 0..400_u64 {
            stretches.failed.push(at / 50 % 4 == 0);
            scattered
                .failed
                .push(at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 62 == 0);
        }
        let width = |seen: &Seen| seen.interval()[1] - seen.interval()[0];
        assert!(width(&stretches) > 2.0 * width(&scattered));
    }
}
