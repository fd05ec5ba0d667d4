//! A distribution says how the jitter of netem is spread: an inverse distribution function, as a table.
//!
//! The kernel draws one value of the table for each packet, and takes 8192 of it for one jitter. The tables are those
//! that tc(8) brings as files, computed: where that has a file `normal.dist`, nothing needs to be installed here.

use std::{
    f64::consts::PI,
    fs, io,
    path::{Path, PathBuf},
};

/// One jitter, in the values of a table (`NETEM_DIST_SCALE`).
const SCALE: f64 = 8192.0;
/// The greatest value of a table, in jitters.
const MAX: f64 = i16::MAX as f64 / SCALE;
/// The longest table that the kernel takes (`NETEM_DIST_MAX`).
const VALUES_MAX: usize = 16384;
/// The values of a computed table.
const VALUES: u32 = 4096;
/// A file of the longest table is no longer than this, comments included.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a table was not read.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// No such file.
    #[error("read the distribution {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Too long for any table.
    #[error("read the distribution {path}: it is longer than {FILE_BYTES_MAX} bytes")]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// Not a number.
    #[error(
        "read the distribution {path}:{line}: {word:?} is no whole number from -32768 to 32767"
    )]
    Value {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is there.
        word: String,
    },
    /// None, or too many.
    #[error("read the distribution {path}: it has {values} values, and may have 1 to {VALUES_MAX}")]
    Values {
        /// The file.
        path: PathBuf,
        /// How many.
        values: usize,
    },
}

/// How the jitter is spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution(Option<Vec<i16>>);

impl Distribution {
    /// Evenly, from one jitter before to one jitter after: the kernel needs no table.
    pub const UNIFORM: Self = Self(None);

    /// By Gauss: the jitter is the standard deviation. Four of it are the most.
    pub fn normal() -> Self {
        Self::of(normal)
    }

    /// By Pareto, with the shape 3, less its mean: most packets are somewhat early, few are very late.
    pub fn pareto() -> Self {
        Self::of(pareto)
    }

    /// A quarter normal, three quarters Pareto.
    pub fn pareto_normal() -> Self {
        Self::of(|at| normal(at).mul_add(0.25, 0.75 * pareto(at).min(MAX)))
    }

    /// The table in a file of tc(8): numbers apart by white space, and lines of comment that begin with `#`.
    pub fn read(path: &Path) -> Result<Self, DistributionError> {
        let failed = |source| DistributionError::Read {
            path: path.into(),
            source,
        };
        if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(DistributionError::Long { path: path.into() });
        }
        Self::parse(&fs::read_to_string(path).map_err(failed)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, DistributionError> {
        let mut table = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            for word in line.split_whitespace() {
                let value = word.parse().map_err(|_| DistributionError::Value {
                    path: path.into(),
                    line: index + 1,
                    word: word.into(),
                })?;
                table.push(value);
            }
        }
        match table.len() {
            1..=VALUES_MAX => Ok(Self(Some(table))),
            values => Err(DistributionError::Values {
                path: path.into(),
                values,
            }),
        }
    }

    /// A table of a quantile function, whose argument lies between 0 and 1.
    fn of(quantile: impl Fn(f64) -> f64) -> Self {
        let value = |index: u32| {
            let at = (f64::from(index) + 0.5) / f64::from(VALUES);
            let value = (quantile(at) * SCALE).round();
            // What is beyond is cut off, as in the tables of tc(8): nothing else is lost.
            #[expect(clippy::cast_possible_truncation)]
            let value = value.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
            value
        };
        Self(Some((0..VALUES).map(value).collect()))
    }

    /// What the kernel needs.
    pub(super) fn table(&self) -> Option<&[i16]> {
        self.0.as_deref()
    }
}

/// The quantile of the normal distribution with the mean 0 and the deviation 1: where its integral reaches `at`, sought
/// by halving.
fn normal(at: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_integral(middle) < at {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Φ(x) = ½ + φ(x) · (x + x³/3 + x⁵/(3·5) + …), which Marsaglia (2004) gives; for |x| ≤ 8.
fn normal_integral(x: f64) -> f64 {
    let (mut sum, mut term, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
    density.mul_add(sum, 0.5)
}

/// The quantile of the Pareto distribution with the minimum 1 and the shape 3, less its mean 3/2, by 4/3: about one
/// deviation once the longest are cut off.
fn pareto(at: f64) -> f64 {
    ((1.0 - at).powf(-1.0 / 3.0) - 1.5) * 4.0 / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(distribution: &Distribution) -> (f64, f64) {
        let table = distribution.table().unwrap();
        let count = table.len() as f64;
        let values = || table.iter().map(|value| f64::from(*value) / SCALE);
        let mean = values().sum::<f64>() / count;
        let square = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        (mean, square.sqrt())
    }

    #[test]
    fn computed_tables_have_the_moments_of_their_distributions() {
        for (distribution, mean, deviation) in [
            // The tails beyond four deviations are cut off.
            (Distribution::normal(), 0.0, 1.0),
            // The tail above 4 is cut off: from the integrals of x and x², where x is min((u^(-1/3) - 3/2) · 4/3, 4),
            // over u from 0 to 1.
            (Distribution::pareto(), -0.0329, 0.8209),
        ] {
            let table = distribution.table().unwrap();
            assert_eq!(table.len(), 4096);
            assert!(table.is_sorted());
            let (its_mean, its_deviation) = moments(&distribution);
            assert!((its_mean - mean).abs() < 0.001, "{its_mean}");
            assert!((its_deviation - deviation).abs() < 0.001, "{its_deviation}");
        }
        let normal = Distribution::normal();
        let table = normal.table().unwrap();
        let within = table.iter().filter(|value| value.abs() <= 8192).count();
        assert!(within.abs_diff(2796) <= 2, "{within}: 68.27 %");
        assert_eq!(Distribution::UNIFORM.table(), None);
    }

    #[test]
    fn the_mixture_is_a_quarter_normal() {
        let [normal, pareto, mixture] = [
            Distribution::normal(),
            Distribution::pareto(),
            Distribution::pareto_normal(),
        ];
        let parts = normal.table().unwrap().iter().zip(pareto.table().unwrap());
        for (mixed, (normal, pareto)) in mixture.table().unwrap().iter().zip(parts) {
            let wanted = (f64::from(*normal) + 3.0 * f64::from(*pareto)) / 4.0;
            assert!(
                (f64::from(*mixed) - wanted).abs() <= 1.5,
                "{mixed} {wanted}"
            );
        }
    }

    #[test]
    fn a_table_is_read_as_tc_writes_it() {
        let path = Path::new("x.dist");
        let text = "# made by hand\n -32768 -1\t0\n\n 1 32767\n";
        let read = Distribution::parse(text, path).unwrap();
        assert_eq!(read.table().unwrap(), [-32768, -1, 0, 1, 32767]);
        for (text, wanted) in [
            ("# nothing\n", "it has 0 values"),
            ("1 2\n3 x", "x.dist:2: \"x\" is no whole number"),
            ("32768", "x.dist:1: \"32768\""),
            (&"1\n".repeat(16385), "it has 16385 values"),
        ] {
            let error = Distribution::parse(text, path).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let error = Distribution::read(Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, DistributionError::Read { .. }), "{error}");
    }
}
