//! A figure is what was measured of one thing, several times, beside what is wanted of it.

use std::fmt;

use serde::Serialize;

/// The quantile of the normal distribution that 95 % lie within.
const Z: f64 = 1.959_964;

/// A figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    what: String,
    /// The goal, in words.
    wanted: &'static str,
    /// What came of it, in words.
    measured: String,
    /// The same as a number.
    value: f64,
    /// The interval in which it lies with a confidence of 95 %.
    interval: Option<[f64; 2]>,
    /// How many measurements it is of.
    of: usize,
}

impl Figure {
    /// The geometric mean of the ratios of pairs, as a percentage with its interval: twice as much and half as much even
    /// out.
    pub fn ratio(what: &str, wanted: &'static str, ratios: &[f64]) -> Self {
        let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let [low, high] = interval(&logarithms).map(f64::exp);
        let value = mean(&logarithms).exp();
        Self {
            what: what.into(),
            wanted,
            measured: format!(
                "{:.1} % ({:.1} to {:.1})",
                100.0 * value,
                100.0 * low,
                100.0 * high
            ),
            value,
            interval: Some([low, high]),
            of: ratios.len(),
        }
    }

    /// A mean with its interval.
    pub fn mean(what: &str, wanted: &'static str, values: &[f64], unit: &str) -> Self {
        let ([low, high], value) = (interval(values), mean(values));
        Self {
            what: what.into(),
            wanted,
            measured: format!("{value:.2} {unit} ({low:.2} to {high:.2})"),
            value,
            interval: Some([low, high]),
            of: values.len(),
        }
    }

    /// The median, and the most.
    pub fn median(what: &str, wanted: &'static str, values: &[f64], unit: &str) -> Self {
        let value = percentile(values, 50);
        let most = percentile(values, 100);
        Self {
            what: what.into(),
            wanted,
            measured: format!("{value:.0} {unit}, at most {most:.0}"),
            value,
            interval: None,
            of: values.len(),
        }
    }

    /// Delays, of which so long was asked: their mean, deviation, and the error that 99 % do not exceed.
    pub fn delays(what: &str, wanted: &'static str, asked_ms: f64, delays_ms: &[f64]) -> Self {
        let value = mean(delays_ms);
        let errors: Vec<_> = delays_ms
            .iter()
            .map(|delay| (delay - asked_ms).abs())
            .collect();
        Self {
            what: what.into(),
            wanted,
            measured: format!(
                "{value:.3} ms, σ {:.3}; off by {:.2} (half), {:.2} (99 %)",
                deviation(delays_ms),
                percentile(&errors, 50),
                percentile(&errors, 99)
            ),
            value,
            interval: None,
            of: delays_ms.len(),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            wanted,
            measured,
            of,
            ..
        } = self;
        write!(f, "| {what} | {wanted} | {measured} | {of} |")
    }
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The value that `percent` of the values do not exceed.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The standard deviation of a sample.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

/// The interval of 95 % around a mean, by Student's distribution (its expansion by Cornish and Fisher).
fn interval(values: &[f64]) -> [f64; 2] {
    if values.len() < 2 {
        // One says nothing of the others.
        return [f64::NAN; 2];
    }
    let freedom = values.len() as f64 - 1.0;
    let student = Z
        + (Z.powi(3) + Z) / (4.0 * freedom)
        + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * freedom.powi(2));
    let (mean, error) = (
        mean(values),
        student * deviation(values) / (values.len() as f64).sqrt(),
    );
    [mean - error, mean + error]
}
