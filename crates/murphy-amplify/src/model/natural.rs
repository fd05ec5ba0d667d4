//! The natural rate of an error is how often calls fail with it while nobody has them fail: over the whole recording, and
//! interval by interval.

use super::{confidence, rule::Rule};

/// What is known of the rate of an error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Natural {
    /// How many calls of its kind were made: the denominator.
    pub calls: u64,
    /// How many of them failed with it.
    pub errors: u64,
    /// In how many intervals one was made.
    pub intervals: u64,
    /// In how many one failed.
    pub seen_in: u64,
    /// The share of all calls.
    pub rate: f64,
    /// From where on that lies, with 95 % confidence.
    pub low: f64,
    /// Up to where.
    pub high: f64,
    /// The rate that 5 % of the intervals are below.
    pub p5: f64,
    /// The mean of the intervals' rates.
    pub mean: f64,
    /// The rate that 95 % of the intervals are below.
    pub p95: f64,
    /// The highest of them.
    pub max: f64,
    /// How many calls that one rests on.
    pub max_of: u64,
    /// The variance of the intervals' rates.
    pub variance: f64,
}

impl Natural {
    /// From what came of each interval: how many failed, and how many were made. Those in which none was are left out.
    pub fn of(counts: &[(u64, u64)], rule: &Rule) -> Self {
        let sum = |of: fn(&(u64, u64)) -> u64| {
            let all = counts.iter().map(of);
            all.fold(0_u64, u64::saturating_add)
        };
        let (errors, calls) = (sum(|one| one.0), sum(|one| one.1));
        let rate = share(errors, calls);
        let [low, high] = confidence::interval(counts);
        let made = counts.iter().filter(|(_, made)| *made > 0);
        let told = counts
            .iter()
            .filter(|(_, made)| *made >= rule.least_calls.max(1));
        let mut rates: Vec<f64> = told
            .clone()
            .map(|(failed, made)| share(*failed, *made))
            .collect();
        let n = (rates.len() as f64).max(1.0);
        let mean = rates.iter().sum::<f64>() / n;
        let variance = rates.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / n;
        rates.sort_unstable_by(f64::total_cmp);
        let max = rates.last().copied().unwrap_or(0.0);
        // Of equal rates the one that rests on most calls.
        let at_max = told.filter(|(failed, made)| share(*failed, *made) >= max);
        Self {
            calls,
            errors,
            intervals: made.clone().count() as u64,
            seen_in: made.filter(|(failed, _)| *failed > 0).count() as u64,
            rate,
            low,
            high,
            p5: quantile(&rates, 0.05),
            mean,
            p95: quantile(&rates, 0.95),
            max,
            max_of: at_max.map(|(_, made)| *made).max().unwrap_or(0),
            variance,
        }
    }

    /// The same with figures of four digits, as they are written.
    #[must_use]
    pub fn rounded(self) -> Self {
        Self {
            rate: figure(self.rate),
            low: figure(self.low),
            high: figure(self.high),
            p5: figure(self.p5),
            mean: figure(self.mean),
            p95: figure(self.p95),
            max: figure(self.max),
            variance: figure(self.variance),
            ..self
        }
    }
}

/// A share of some.
fn share(part: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    part as f64 / of as f64
}

/// The value that a share of some is below, between neighbours in proportion (the default of R and `NumPy`: type 7 of Hyndman and Fan,
/// 1996). They are in order; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share.clamp(0.0, 1.0) * last as f64;
    // It lies within.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

/// A number of four digits: more say nothing of what was counted, and make every file another.
pub fn figure(value: f64) -> f64 {
    if !value.is_finite() {
        return 0.0;
    }
    // What was just written is a number.
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_without_an_error_count_and_those_without_a_call_do_not() {
        let counts = [(0, 10), (0, 0), (5, 10), (0, 10), (3, 10)];
        let natural = Natural::of(&counts, &Rule::default());
        assert_eq!((natural.calls, natural.errors), (40, 8));
        assert_eq!((natural.intervals, natural.seen_in), (4, 2));
        assert!((natural.rate - 0.2).abs() < 1e-12 && (natural.mean - 0.2).abs() < 1e-12);
        assert!((natural.variance - 0.045).abs() < 1e-12);
        assert!((natural.max - 0.5).abs() < 1e-12 && natural.max_of == 10);
        assert!((natural.p95 - 0.47).abs() < 1e-12);
        assert!(natural.low < 0.2 && natural.high > 0.2);
    }

    #[test]
    fn an_interval_of_few_calls_is_left_out_where_that_is_asked_for() {
        let counts = [(1, 1), (1, 100), (0, 100)];
        let natural = Natural::of(&counts, &Rule::default());
        assert!((natural.max - 1.0).abs() < 1e-12 && natural.max_of == 1);
        let rule = Rule {
            least_calls: 20,
            ..Rule::default()
        };
        let natural = Natural::of(&counts, &rule);
        assert!((natural.max - 0.01).abs() < 1e-12 && natural.max_of == 100);
        assert_eq!(
            (natural.calls, natural.intervals),
            (201, 3),
            "all are counted"
        );
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        let natural = Natural::of(&[], &Rule::default());
        assert_eq!((natural.low, natural.high), (0.0, 1.0));
        assert_eq!(
            (natural.max, natural.p95, natural.variance),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn figures_have_four_digits() {
        for (value, expected) in [
            (0.123_456, 0.1235),
            (7.654_321e-6, 7.654e-6),
            (0.0, 0.0),
            (1.0, 1.0),
            (f64::NAN, 0.0),
            (f64::INFINITY, 0.0),
        ] {
            assert!((figure(value) - expected).abs() < 1e-15, "{value}");
            assert!((figure(figure(value)) - figure(value)).abs() < f64::MIN_POSITIVE);
        }
    }
}
