//! A burst is a stretch of calls that fail one after the other: a chain of two states (Gilbert, 1960), in one of which every call
//! fails, and in the other none.
//!
//! A recording has counts per interval, not the order of calls. What can be told from counts:
//! - whether errors scatter more between intervals than independent calls would (the index of dispersion, tested);
//! - if bursts are the reason, how long they are on average: the longer, the more they scatter.
//!
//! What cannot: when within an interval calls failed, how lengths are distributed, and whether the rate itself was another in some
//! intervals, by load for instance, with every call independent. That shows where intervals that follow each other are alike: a burst
//! shorter than an interval makes no two of them so. Where they are alike, where the bursts would be longer than an interval has calls,
//! or where there is too little to tell, there is no burst model, and that is said.

use std::fmt;

/// With fewer intervals or errors nothing is told.
const INTERVALS_LEAST: usize = 20;
const ERRORS_LEAST: u64 = 20;
/// So many standard deviations above what independent calls would scatter: less is chance, as many models are tested.
const SIGMAS: f64 = 4.0;
/// Shorter bursts are calls that fail alone.
const LENGTH_LEAST: f64 = 1.5;
/// Two intervals that follow each other correlate by chance so much more than not at all, in standard deviations.
const ALIKE_SIGMAS: f64 = 3.0;

/// What is told of bursts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bursts {
    /// So many calls fail in a row, on average.
    Of(u32),
    /// None, or nobody knows.
    None(Why),
}

/// Why there is no burst model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too few intervals or errors.
    TooLittle,
    /// They scatter as independent calls do.
    Independent,
    /// The rate is another for longer than an interval.
    Slow,
    /// They would be longer than an interval.
    Longer,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLittle => "There are too few intervals or errors to tell bursts by.",
            Self::Independent => "It scatters as calls do that fail independently.",
            Self::Slow => {
                "Intervals that follow each other are alike: its rate changes slowly, and counts tell no bursts."
            }
            Self::Longer => {
                "It comes and goes for longer than an interval: a recording with a shorter --interval may tell bursts."
            }
        })
    }
}

/// What these counts tell: how many calls failed in each interval, and how many were made.
pub fn bursts(counts: &[(u64, u64)]) -> Bursts {
    let made: Vec<(f64, f64)> = counts
        .iter()
        .filter(|(_, made)| *made > 0)
        .map(|(failed, made)| (*failed as f64, *made as f64))
        .collect();
    let errors = counts
        .iter()
        .fold(0_u64, |sum, one| sum.saturating_add(one.0));
    let calls: f64 = made.iter().map(|(_, made)| made).sum();
    let rate = errors as f64 / calls.max(1.0);
    if made.len() < INTERVALS_LEAST || errors < ERRORS_LEAST || rate >= 1.0 {
        return Bursts::None(Why::TooLittle);
    }
    let spread = rate * (1.0 - rate);
    // Pearson's statistic, with its variance for calls that fail independently: that of chi-squared is too small where errors are rare.
    let off: Vec<f64> = made
        .iter()
        .map(|(failed, made)| (failed - rate * made) / (made * spread).sqrt())
        .collect();
    let freedom = made.len() as f64 - 1.0;
    let scatter: f64 = off.iter().map(|one| one * one).sum();
    let variance: f64 = made
        .iter()
        .map(|(_, made)| 2.0 + (1.0 - 6.0 * spread) / (made * spread))
        .sum();
    if (scatter - freedom) / variance.max(f64::MIN_POSITIVE).sqrt() < SIGMAS {
        return Bursts::None(Why::Independent);
    }
    let pairs: f64 = off.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if pairs / scatter > ALIKE_SIGMAS / freedom.sqrt() {
        return Bursts::None(Why::Slow);
    }
    match length(&made, rate, scatter / freedom) {
        Some(length) if length < LENGTH_LEAST => Bursts::None(Why::Independent),
        // It is bounded by the calls of an interval.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(length) => Bursts::Of(length.round() as u32),
        None => Bursts::None(Why::Longer),
    }
}

/// The mean length of bursts with which intervals scatter so much more than with independent calls; none where it is more than half
/// of an interval.
fn length(made: &[(f64, f64)], rate: f64, dispersion: f64) -> Option<f64> {
    let of = |memory: f64| -> f64 {
        let all = made.iter().map(|(_, made)| inflation(memory, *made));
        all.sum::<f64>() / made.len() as f64
    };
    let (mut low, mut high) = (0.0, 1.0 - 1e-9);
    if of(high) <= dispersion {
        return None;
    }
    // It grows with the memory: halved until no double lies between.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if of(middle) < dispersion {
            low = middle;
        } else {
            high = middle;
        }
    }
    // A chain that begins a burst by b and ends it by e remembers 1 - b - e, and fails by b / (b + e): e = (1 - memory)(1 - rate).
    let length = 1.0 / ((1.0 - low) * (1.0 - rate));
    let calls = made.iter().map(|(_, made)| made).sum::<f64>() / made.len() as f64;
    (length <= calls / 2.0 && length <= f64::from(u32::MAX)).then_some(length)
}

/// How much more the failures of `n` calls of such a chain scatter than those of independent ones, where the correlation of two calls is
/// the memory to the power of how far apart they are.
fn inflation(memory: f64, n: f64) -> f64 {
    let forgets = 1.0 - memory;
    (1.0 + memory) / forgets - 2.0 * memory * (1.0 - memory.powf(n)) / (n * forgets * forgets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Intervals of a chain whose bursts have this mean length.
    fn chain(seed: u64, intervals: usize, calls: u64, rate: f64, length: f64) -> Vec<(u64, u64)> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (end, begin) = (1.0 / length, rate / (length * (1.0 - rate)));
        let mut is_burst = false;
        (0..intervals)
            .map(|_| {
                let failed = (0..calls).filter(|_| {
                    let turns = random.random_bool(if is_burst { end } else { begin });
                    is_burst ^= turns;
                    is_burst
                });
                (failed.count() as u64, calls)
            })
            .collect()
    }

    #[test]
    fn the_length_of_bursts_is_found() {
        for (rate, length) in [(0.05, 5.0), (0.1, 20.0), (0.3, 4.0), (0.01, 10.0)] {
            for seed in 0..2 {
                let counts = chain(seed, 1000, 500, rate, length);
                let Bursts::Of(found) = bursts(&counts) else {
                    panic!("{rate} {length}: {:?}", bursts(&counts));
                };
                let factor = f64::from(found) / length;
                assert!((0.6..1.7).contains(&factor), "{rate} {length}: {found}");
            }
        }
    }

    #[test]
    fn independent_calls_have_no_bursts() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut found = 0;
        for round in 0..100_u32 {
            let rate = [0.001, 0.02, 0.3][(round % 3) as usize];
            let counts: Vec<(u64, u64)> = (0..300)
                .map(|_| {
                    let failed = (0..200).filter(|_| random.random_bool(rate)).count();
                    (failed as u64, 200)
                })
                .collect();
            found += u32::from(matches!(bursts(&counts), Bursts::Of(_)));
        }
        assert!(found == 0, "{found} of 100");
    }

    #[test]
    fn what_counts_cannot_tell_is_said() {
        assert_eq!(bursts(&[]), Bursts::None(Why::TooLittle));
        assert_eq!(bursts(&[(5, 10); 19]), Bursts::None(Why::TooLittle));
        assert_eq!(bursts(&[(10, 10); 50]), Bursts::None(Why::TooLittle));
        assert_eq!(bursts(&[(5, 10); 50]), Bursts::None(Why::Independent));
        let by_day: Vec<(u64, u64)> = (0..400)
            .map(|at| (if at % 200 < 100 { 20 } else { 2 }, 100))
            .collect();
        assert_eq!(bursts(&by_day), Bursts::None(Why::Slow));
        // All calls of an interval, or none.
        let whole: Vec<(u64, u64)> = (0..400)
            .map(|at| (if at % 3 == 0 { 100 } else { 0 }, 100))
            .collect();
        assert_eq!(bursts(&whole), Bursts::None(Why::Longer));
    }
}
