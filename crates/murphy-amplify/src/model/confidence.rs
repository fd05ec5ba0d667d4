//! Confidence is where a rate lies that was counted in intervals.
//!
//! Calls do not fail independently: those of one interval share their load, and an interval is like the one before. Counting every
//! call as one throw would make the interval far too narrow. So a rate is held for that of fewer calls: as many as would tell the
//! same if none knew of the others. How much fewer is the *design effect* (Kish, "Survey Sampling", 1965): the variance of the rate as
//! intervals scatter (the linearised variance of a ratio of sums; Cochran, "Sampling Techniques", 1977, 6.4), with the covariance of
//! intervals that follow each other (Newey and West, 1987, with Bartlett's weights), over the variance of independent calls. It is never
//! below 1. Wilson's score interval (1927) of that many calls is what is said.

/// The quantile of the normal distribution that 95 % lie within.
const Z: f64 = 1.959_964;

/// Where the rate lies of which these were counted in each interval: how many failed, and how many were made.
pub fn interval(counts: &[(u64, u64)]) -> [f64; 2] {
    let (failed, made) = sums(counts);
    if made <= 0.0 {
        return [0.0, 1.0];
    }
    wilson(failed / made, made / design_effect(counts))
}

/// Wilson's score interval of a share of `n`, which need not be whole.
pub fn wilson(share: f64, n: f64) -> [f64; 2] {
    let middle = share + Z * Z / (2.0 * n);
    let half = Z
        * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n))
            .max(0.0)
            .sqrt();
    let scale = 1.0 + Z * Z / n;
    // The share itself lies within, whatever was rounded.
    [
        ((middle - half) / scale).clamp(0.0, share),
        ((middle + half) / scale).clamp(share, 1.0),
    ]
}

/// How many calls tell as much as one that knew of no other; 1 or more.
pub fn design_effect(counts: &[(u64, u64)]) -> f64 {
    let (failed, made) = sums(counts);
    let rate = failed / made.max(1.0);
    let of_independent = rate * (1.0 - rate) / made.max(1.0);
    let off: Vec<f64> = counts
        .iter()
        .filter(|(_, made)| *made > 0)
        .map(|(failed, made)| *failed as f64 - rate * *made as f64)
        .collect();
    let intervals = off.len() as f64;
    if off.len() < 2 || of_independent <= 0.0 {
        return 1.0;
    }
    // As many neighbours as Newey and West (1994) begin with.
    let lags = 4.0 * (intervals / 100.0).powf(2.0 / 9.0);
    // It is small.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let lags = (lags as usize).min(off.len() - 1);
    let covariance = |lag: usize| -> f64 { off.iter().zip(&off[lag..]).map(|(a, b)| a * b).sum() };
    let mut variance = covariance(0);
    for lag in 1..=lags {
        let weight = 1.0 - lag as f64 / (lags as f64 + 1.0);
        variance += 2.0 * weight * covariance(lag);
    }
    let variance = variance * intervals / (intervals - 1.0) / (made * made);
    (variance / of_independent).max(1.0)
}

fn sums(counts: &[(u64, u64)]) -> (f64, f64) {
    counts.iter().fold((0.0, 0.0), |(failed, made), one| {
        (failed + one.0 as f64, made + one.1 as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn wilson_is_as_published() {
        // Newcombe (1998), table I, method 3.
        for (failed, n, low, high) in [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
        ] {
            let [from, to] = wilson(failed / n, n);
            assert!(
                (from - low).abs() < 1e-4 && (to - high).abs() < 1e-4,
                "{failed} of {n}"
            );
        }
    }

    /// Intervals of 100 calls each, whose rate wanders: each is as the one before by `memory`.
    fn wandering(
        random: &mut ChaCha8Rng,
        intervals: usize,
        spread: f64,
        memory: f64,
    ) -> Vec<(u64, u64)> {
        let mut away = 0.0;
        (0..intervals)
            .map(|_| {
                let step: f64 = random.random_range(-1.0..1.0);
                away = memory * away + (1.0 - memory * memory).sqrt() * step;
                let rate: f64 = (0.2 + spread * away).clamp(0.0, 1.0);
                let failed = (0..100).filter(|_| random.random_bool(rate)).count();
                (failed as u64, 100)
            })
            .collect()
    }

    #[test]
    fn the_rate_lies_within_as_often_as_is_said() {
        // Four deviations of chance below 95 % of 200 are 177; a rate that wanders slowly is known a little less well than is said.
        for (spread, memory, least) in [(0.0, 0.0, 177), (0.1, 0.0, 177), (0.1, 0.6, 168)] {
            let mut random = ChaCha8Rng::seed_from_u64(9);
            let (mut within, mut naive) = (0, 0);
            for _ in 0..200 {
                let counts = wandering(&mut random, 250, spread, memory);
                let holds = |[low, high]: [f64; 2]| u32::from((low..=high).contains(&0.2));
                within += holds(interval(&counts));
                let (failed, made) = sums(&counts);
                naive += holds(wilson(failed / made, made));
            }
            assert!(within >= least, "{within} of 200 at {spread} {memory}");
            if spread > 0.0 {
                assert!(
                    naive < within,
                    "{naive} and {within} of 200 at {spread} {memory}"
                );
            }
        }
    }

    #[test]
    fn without_scatter_every_call_counts() {
        assert!((design_effect(&[(1, 10), (1, 10), (1, 10)]) - 1.0).abs() < 1e-12);
        assert!((design_effect(&[(3, 10)]) - 1.0).abs() < 1e-12);
        assert!((design_effect(&[(0, 10), (0, 10)]) - 1.0).abs() < 1e-12);
        assert!(design_effect(&[(10, 10), (0, 10), (10, 10), (0, 10)]) >= 1.0);
        assert!(design_effect(&[(10, 10), (10, 10), (0, 10), (0, 10)]) > 5.0);
    }

    proptest! {
        #[test]
        fn it_is_an_interval_around_the_rate(
            counts in prop::collection::vec((0..=100_u64, 0..=100_u64), 0..60)
        ) {
            let counts: Vec<(u64, u64)> = counts.into_iter().map(|(a, b)| (a.min(b), b)).collect();
            let [low, high] = interval(&counts);
            let (failed, made) = sums(&counts);
            let rate = failed / made.max(1.0);
            prop_assert!(0.0 <= low && low <= rate && rate <= high && high <= 1.0);
        }
    }
}
