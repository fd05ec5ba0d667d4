//! A share is how many of some were hit, with the interval in which the chance lies.

use serde::Serialize;

/// The quantile of the normal distribution that 95 % lie within.
const Z: f64 = 1.959_964;

/// How many of some were hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

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
