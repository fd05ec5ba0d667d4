//! A share is how many of some were hit, with the interval in which the chance lies.

use std::ops::Add;

use serde::{Deserialize, Serialize};

/// The quantile of the normal distribution that 95 % lie within.
const Z: f64 = 1.959_964;

/// How many of some were hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Those that were hit.
    pub hit: u64,
    /// All of them.
    pub of: u64,
}

impl Share {
    /// The share itself; none of none.
    pub fn ratio(self) -> f64 {
        if self.of == 0 {
            0.0
        } else {
            self.hit as f64 / self.of as f64
        }
    }

    /// How likely it is that just these were hit, each with the same chance as all of them: its logarithm.
    pub fn likelihood(self) -> f64 {
        let part = |count: u64| {
            if count == 0 {
                return 0.0;
            }
            count as f64 * (count as f64 / self.of as f64).ln()
        };
        part(self.hit) + part(self.of - self.hit)
    }

    /// The interval in which the chance of being hit lies with a confidence of 95 %, by Wilson (1927), which holds for few
    /// and for rare ones, too. All of it where there is none to tell by.
    pub fn interval(self) -> [f64; 2] {
        if self.of == 0 {
            return [0.0, 1.0];
        }
        let (n, p) = (self.of as f64, self.ratio());
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        [
            ((middle - half) / scale).max(0.0),
            ((middle + half) / scale).min(1.0),
        ]
    }
}

impl Add for Share {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            hit: self.hit + more.hit,
            of: self.of + more.of,
        }
    }
}

/// How likely it is that of so many at least these are hit, each with the same chance: the tail of the binomial
/// distribution; of many, as the normal one has it.
pub fn at_least(hit: u64, of: u64, chance: f64) -> f64 {
    const MANY: u64 = 5000;
    if hit == 0 {
        return 1.0;
    }
    let (n, k) = (of as f64, hit as f64);
    if of > MANY {
        let (mean, deviation) = (n * chance, (n * chance * (1.0 - chance)).sqrt());
        let distance = (k - 0.5 - mean) / deviation.max(f64::MIN_POSITIVE);
        // The tail of the normal distribution, from above (Chernoff).
        return if distance <= 0.0 {
            1.0
        } else {
            (-distance * distance / 2.0).exp()
        };
    }
    if chance >= 1.0 {
        return 1.0;
    }
    let odds = chance / (1.0 - chance);
    let exactly = |k: u64| {
        let choose = (1..=k).map(|i| ((of - k + i) as f64 / i as f64).ln());
        let rest = (of - k) as f64 * (1.0 - chance).ln();
        (choose.sum::<f64>() + k as f64 * chance.ln() + rest).exp()
    };
    // From the middle outwards the terms only become smaller.
    if k > n * chance {
        let mut term = exactly(hit);
        let mut sum = term;
        for i in hit..of {
            term *= (of - i) as f64 / (i + 1) as f64 * odds;
            sum += term;
        }
        return sum.min(1.0);
    }
    let mut term = exactly(hit - 1);
    let mut sum = term;
    for i in (1..hit).rev() {
        term *= i as f64 / ((of - i + 1) as f64 * odds);
        sum += term;
    }
    (1.0 - sum).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_that_of_the_binomial_distribution() {
        // At least 8 of 10 with an even chance: 56 of 1024.
        assert!((at_least(8, 10, 0.5) - 56.0 / 1024.0).abs() < 1e-12);
        assert!((at_least(2, 2, 1.0 / 13.0) - 1.0 / 169.0).abs() < 1e-12);
        // At least 2 of 10: all but 1 and 10 of 1024.
        assert!((at_least(2, 10, 0.5) - 1013.0 / 1024.0).abs() < 1e-12);
        assert!((at_least(0, 5, 0.2) - 1.0).abs() < 1e-12);
        assert!((at_least(3, 3, 1.0) - 1.0).abs() < 1e-12);
        assert!((at_least(1, 4000, 0.5) - 1.0).abs() < 1e-9);
        // Half of many is no surprise, and a tenth more is one.
        assert!(at_least(50_000, 100_000, 0.5) > 0.9);
        assert!(at_least(55_000, 100_000, 0.5) < 1e-9);
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Wilson's interval of 15 of 50, to three digits.
        let [low, high] = Share { hit: 15, of: 50 }.interval();
        assert!(
            (low - 0.191).abs() < 5e-4 && (high - 0.438).abs() < 5e-4,
            "{low} {high}"
        );
        let [low, high] = Share { hit: 0, of: 10 }.interval();
        assert!(low < 1e-9 && (high - 0.278).abs() < 5e-4, "{high}");
        let [low, high] = Share::default().interval();
        assert!(low < 1e-9 && high > 1.0 - 1e-9);
    }
}
