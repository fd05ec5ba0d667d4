//! Delays are how much longer each packet takes: a fixed time, or times drawn from a distribution, of which each may be
//! like the one before.
//!
//! Every distribution has the base delay as its mean and the jitter as its standard deviation, but for the uniform one,
//! whose half width the jitter is, and a table, which is taken as it is. They are, at the share u of all cases:
//!
//! * uniform: 2u − 1 jitters from the base;
//! * normal: Gauss's;
//! * pareto: tc's table, which is ((1 − u)^(−1/3) − 3/2) · 4/3 and at most 4, moved and stretched to the mean 0 and the
//!   deviation 1, both of which tc's table misses (−0.03 and 0.82);
//! * paretonormal: a quarter of the normal one at u and three quarters of tc's pareto at u, moved and stretched likewise;
//! * a table: its entry at u.
//!
//! Each delay comes from a number by Gauss, z, by way of the share u = Φ(z). Where delays correlate, the numbers are a
//! stationary autoregression of first order, z' = r·z + √(1 − r²)·e, so that the distribution stays what it is, its mean,
//! deviation and bounds included; r is chosen so that it is the delays of neighbours that correlate as asked. (netem
//! mixes the last delay with the next, which shrinks the deviation: by a correlation of 50 % to 58 % of it.) No delay is
//! below zero: what would be is zero, which only distributions without a lower bound near the base ever need.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::table::{SCALE, Table};
use crate::net::spec::{Delay, Distribution};

/// The exponent of Pareto's distribution, and the most that tc's table says.
const PARETO: f64 = 3.0;
const PARETO_MAX: f64 = 32_767.0 / SCALE;
/// Integrals over all numbers by Gauss are sums over this many steps to either side of 0, each so wide.
const STEPS: i32 = 1024;
const STEP: f64 = 1.0 / 128.0;
/// How many terms of a series say how delays correlate; the rest is taken as one.
const TERMS: usize = 40;

/// A mean and a standard deviation, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The mean.
    pub mean_ns: f64,
    /// The standard deviation.
    pub deviation_ns: f64,
}

/// Draws delays.
#[derive(Debug)]
pub(super) struct Delays {
    base_ns: f64,
    jitter_ns: f64,
    moments: Moments,
    shape: Shape,
    /// How much of the last number by Gauss the next one is.
    memory: f64,
    last: Option<f64>,
    /// Numbers by Gauss come in pairs.
    spare: Option<f64>,
    random: ChaCha8Rng,
}

/// How delays lie around the base, in jitters.
#[derive(Debug)]
struct Shape {
    kind: Kind,
    /// What moves and stretches it to mean 0 and deviation 1.
    centre: f64,
    width: f64,
}

#[derive(Debug)]
enum Kind {
    Uniform,
    Normal,
    Pareto,
    ParetoNormal,
    Table(Table),
}

impl Delays {
    /// Without the table that a distribution needs there are none.
    pub(super) fn new(delay: &Delay, table: Option<&Table>, random: ChaCha8Rng) -> Option<Self> {
        let kind = match (&delay.distribution, table) {
            (Distribution::Uniform, _) => Kind::Uniform,
            (Distribution::Normal, _) => Kind::Normal,
            (Distribution::Pareto, _) => Kind::Pareto,
            (Distribution::ParetoNormal, _) => Kind::ParetoNormal,
            (Distribution::Table(_), Some(table)) => Kind::Table(table.clone()),
            (Distribution::Table(_), None) => return None,
        };
        let shape = Shape::new(kind);
        let memory = shape.memory(delay.correlation.get());
        let mut delays = Self {
            base_ns: delay.base.0.as_nanos() as f64,
            jitter_ns: delay.jitter.0.as_nanos() as f64,
            moments: Moments::default(),
            shape,
            memory,
            last: None,
            spare: None,
            random,
        };
        let (mean_ns, deviation_ns) = if delays.jitter_ns == 0.0 {
            (delays.base_ns, 0.0)
        } else {
            moments(|z| delays.at(z))
        };
        delays.moments = Moments {
            mean_ns,
            deviation_ns,
        };
        Some(delays)
    }

    /// What delays come to in the long run, those that would be below zero being zero.
    pub(super) fn moments(&self) -> Moments {
        self.moments
    }

    /// The next delay, in nanoseconds.
    pub(super) fn draw(&mut self) -> u64 {
        // Thirty days at the most, and never below zero.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = |delay_ns: f64| delay_ns.round() as u64;
        if self.jitter_ns == 0.0 {
            return whole(self.base_ns);
        }
        let fresh = self.gauss();
        let z = match self.last {
            Some(last) if self.memory > 0.0 => {
                self.memory * last + (1.0 - self.memory * self.memory).sqrt() * fresh
            }
            _ => fresh,
        };
        self.last = Some(z);
        whole(self.at(z))
    }

    /// The delay that a number by Gauss stands for.
    fn at(&self, z: f64) -> f64 {
        (self.base_ns + self.jitter_ns * self.shape.at(z)).max(0.0)
    }

    /// A number by Gauss. After Box and Muller (1958).
    fn gauss(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.random.random::<f64>()).ln()).sqrt();
        let (sine, cosine) = (TAU * self.random.random::<f64>()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

impl Shape {
    fn new(kind: Kind) -> Self {
        let mut shape = Self {
            kind,
            centre: 0.0,
            width: 1.0,
        };
        if matches!(shape.kind, Kind::Pareto | Kind::ParetoNormal) {
            (shape.centre, shape.width) = moments(|z| shape.at(z));
        }
        shape
    }

    /// How many jitters from the base the delay is that a number by Gauss stands for.
    fn at(&self, z: f64) -> f64 {
        let raw = match &self.kind {
            Kind::Uniform => 2.0 * share_below(z) - 1.0,
            Kind::Normal => z,
            Kind::Pareto => pareto(z),
            Kind::ParetoNormal => 0.25 * z + 0.75 * pareto(z),
            Kind::Table(table) => table.at(share_below(z)),
        };
        (raw - self.centre) / self.width
    }

    /// How much numbers by Gauss must correlate for delays to correlate so.
    ///
    /// A function of such numbers is a sum of Hermite's polynomials, and the correlation of its values is the sum of the
    /// squares of their weights, each times that of the numbers to the power of the polynomial's degree. It grows with
    /// it, so the one that is looked for is found by halving.
    fn memory(&self, correlation: f64) -> f64 {
        if correlation == 0.0 {
            return 0.0;
        }
        let weights = self.weights();
        let of = |memory: f64| {
            let powers = std::iter::successors(Some(memory), |power| Some(power * memory));
            weights
                .iter()
                .zip(powers)
                .map(|(weight, power)| weight * power)
                .sum::<f64>()
        };
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..50 {
            let middle = 0.5 * (low + high);
            if of(middle) < correlation {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How much of the variance is of each degree from 1; the last is all that is left.
    fn weights(&self) -> [f64; TERMS + 1] {
        let (mean, deviation) = moments(|z| self.at(z));
        let mut weights = [0.0; TERMS + 1];
        for (z, density) in gauss() {
            let value = density * (self.at(z) - mean) / deviation;
            let (mut before, mut polynomial) = (1.0, z);
            for (degree, weight) in (1_u8..).zip(&mut weights[..TERMS]) {
                *weight += value * polynomial;
                let next = z * polynomial - f64::from(degree).sqrt() * before;
                (before, polynomial) = (polynomial, next / (f64::from(degree) + 1.0).sqrt());
            }
        }
        for weight in &mut weights {
            *weight *= *weight;
        }
        weights[TERMS] = (1.0 - weights.iter().sum::<f64>()).max(0.0);
        weights
    }
}

/// tc's pareto at the share of all cases below a number by Gauss.
fn pareto(z: f64) -> f64 {
    let above = share_below(-z);
    ((above.powf(-1.0 / PARETO) - 1.5) * 4.0 / 3.0).min(PARETO_MAX)
}

/// The share of numbers by Gauss that are below this one: to within 10⁻⁷. After Abramowitz and Stegun (1964), 7.1.26.
fn share_below(z: f64) -> f64 {
    let x = z.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let beyond = series.iter().fold(0.0, |sum, term| (sum + term) * t) * (-x * x).exp();
    if z < 0.0 {
        0.5 * beyond
    } else {
        1.0 - 0.5 * beyond
    }
}

/// Numbers by Gauss with their shares, which come to 1.
fn gauss() -> impl Iterator<Item = (f64, f64)> {
    (-STEPS..=STEPS).map(|step| {
        let z = f64::from(step) * STEP;
        (z, STEP * (-0.5 * z * z).exp() / TAU.sqrt())
    })
}

/// The mean and the standard deviation of a function of numbers by Gauss.
fn moments(value: impl Fn(f64) -> f64) -> (f64, f64) {
    let mean: f64 = gauss().map(|(z, share)| share * value(z)).sum();
    let variance: f64 = gauss()
        .map(|(z, share)| share * (value(z) - mean).powi(2))
        .sum();
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratio::Ratio;
    use rand::SeedableRng;

    const DRAWS: usize = 50_000;

    fn delays(distribution: Distribution, correlation: f64, seed: u64) -> Delays {
        let delay = Delay {
            base: "50ms".parse().unwrap(),
            jitter: "10ms".parse().unwrap(),
            correlation: Ratio::nearest(correlation),
            distribution,
        };
        Delays::new(&delay, None, ChaCha8Rng::seed_from_u64(seed)).unwrap()
    }

    fn draw(delays: &mut Delays, draws: usize) -> Vec<f64> {
        (0..draws).map(|_| delays.draw() as f64 / 1e6).collect()
    }

    fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
        let length = values.len() as f64;
        values.sum::<f64>() / length
    }

    /// The mean and the deviation of a sample, each with its standard error.
    fn sample(values: &[f64]) -> [(f64, f64); 2] {
        let count = values.len() as f64;
        let centre = mean(values.iter().copied());
        let moment = |power| mean(values.iter().map(|value| (value - centre).powi(power)));
        let (second, fourth) = (moment(2), moment(4));
        let deviation = second.sqrt();
        let error = ((fourth - second * second) / count).sqrt() / (2.0 * deviation);
        [(centre, deviation / count.sqrt()), (deviation, error)]
    }

    #[track_caller]
    fn is_within_four_sigma((value, sigma): (f64, f64), wanted: f64) {
        assert!(
            (value - wanted).abs() < 4.0 * sigma,
            "{value} ± {sigma}, not {wanted}"
        );
    }

    #[test]
    fn every_distribution_has_the_base_as_its_mean_and_the_jitter_as_its_deviation() {
        let cases = [
            (Distribution::Uniform, 10.0 / 3_f64.sqrt(), (40.0, 60.0)),
            (Distribution::Normal, 10.0, (0.0, 100.0)),
            (Distribution::Pareto, 10.0, (42.2, 99.2)),
            (Distribution::ParetoNormal, 10.0, (0.0, 130.0)),
        ];
        for (distribution, deviation, (low, high)) in cases {
            let mut delays = delays(distribution, 0.0, 6);
            let wanted = delays.moments();
            assert!((wanted.mean_ns / 1e6 - 50.0).abs() < 1e-3, "{wanted:?}");
            assert!(
                (wanted.deviation_ns / 1e6 - deviation).abs() < 1e-3,
                "{wanted:?}"
            );
            let values = draw(&mut delays, DRAWS);
            let [mean, spread] = sample(&values);
            is_within_four_sigma(mean, 50.0);
            is_within_four_sigma(spread, deviation);
            assert!(values.iter().all(|value| (low..=high).contains(value)));
        }
    }

    #[test]
    fn a_quarter_of_the_uniform_delays_is_in_each_quarter() {
        let values = draw(&mut delays(Distribution::Uniform, 0.5, 6), DRAWS);
        let sigma = (0.25 * 0.75 * 3.0 / DRAWS as f64).sqrt(); // neighbours correlate by a half
        for quarter in [40.0, 45.0, 50.0, 55.0] {
            let within = values
                .iter()
                .filter(|value| (quarter..quarter + 5.0).contains(*value));
            is_within_four_sigma((within.count() as f64 / DRAWS as f64, sigma), 0.25);
        }
    }

    #[test]
    fn neighbours_correlate_as_asked_and_the_distribution_stays() {
        for distribution in [
            Distribution::Uniform,
            Distribution::Normal,
            Distribution::Pareto,
        ] {
            for wanted in [0.25, 0.9] {
                let once = |seed| {
                    let mut delays = delays(distribution.clone(), wanted, seed);
                    let of = delays.moments();
                    let values: Vec<f64> = draw(&mut delays, 5000)
                        .iter()
                        .map(|value| (value * 1e6 - of.mean_ns) / of.deviation_ns)
                        .collect();
                    let square = mean(values.iter().map(|value| value * value));
                    (
                        mean(values.windows(2).map(|pair| pair[0] * pair[1])),
                        square,
                    )
                };
                // The errors of these have no simple form where delays correlate: they are read from many runs.
                let (products, squares): (Vec<f64>, Vec<f64>) = (0..60).map(once).unzip();
                is_within_four_sigma(sample(&products)[0], wanted);
                is_within_four_sigma(sample(&squares)[0], 1.0);
            }
        }
    }

    #[test]
    fn the_correlation_of_uniform_delays_is_known_in_closed_form() {
        let memory = Shape::new(Kind::Uniform).memory(0.5);
        let known = 2.0 * (std::f64::consts::PI * 0.5 / 6.0).sin();
        assert!((memory - known).abs() < 1e-5, "{memory} is not {known}");
        assert!((Shape::new(Kind::Normal).memory(0.5) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_table_is_taken_as_it_is_and_needed() {
        let delay = Delay {
            base: "50ms".parse().unwrap(),
            jitter: "10ms".parse().unwrap(),
            correlation: Ratio::ZERO,
            distribution: Distribution::Table("./own".into()),
        };
        let random = || ChaCha8Rng::seed_from_u64(6);
        assert!(Delays::new(&delay, None, random()).is_none());
        let table = Table::parse("-8192 8192").unwrap();
        let mut delays = Delays::new(&delay, Some(&table), random()).unwrap();
        let values = draw(&mut delays, DRAWS);
        let late = values.iter().filter(|value| **value > 59.9).count() as f64;
        is_within_four_sigma((late / DRAWS as f64, (0.25 / DRAWS as f64).sqrt()), 0.5);
        assert!(values.iter().all(|value| (value - 50.0).abs() > 9.9));
    }

    #[test]
    fn no_delay_is_below_zero_and_one_without_jitter_is_the_base() {
        let delay = |jitter: &str| Delay {
            base: "10ms".parse().unwrap(),
            jitter: jitter.parse().unwrap(),
            correlation: Ratio::ZERO,
            distribution: Distribution::Normal,
        };
        let random = || ChaCha8Rng::seed_from_u64(6);
        let mut wide = Delays::new(&delay("10ms"), None, random()).unwrap();
        let values = draw(&mut wide, DRAWS);
        let none = values.iter().filter(|value| **value == 0.0).count() as f64;
        let wanted = share_below(-1.0);
        let sigma = (wanted * (1.0 - wanted) / DRAWS as f64).sqrt();
        is_within_four_sigma((none / DRAWS as f64, sigma), wanted);
        is_within_four_sigma(sample(&values)[0], wide.moments().mean_ns / 1e6);
        let mut fixed = Delays::new(&delay("0s"), None, random()).unwrap();
        assert_eq!((fixed.draw(), fixed.draw()), (10_000_000, 10_000_000));
        let wanted = Moments {
            mean_ns: 1e7,
            deviation_ns: 0.0,
        };
        assert_eq!(fixed.moments(), wanted);
    }
}
