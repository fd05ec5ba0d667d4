//! A ratio is a share of a whole, from 0 to 1: `30%`, or a decimal with a point such as `0.3`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Parts of the whole: a ratio is exact to nine decimals.
const WHOLE: u32 = 1_000_000_000;
/// The decimals of a ratio.
const DECIMALS: usize = 9;
/// The decimals of a percentage.
const PERCENT_DECIMALS: usize = 7;

/// A share from 0 to 1, exact to nine decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ratio(u32);

/// A text that is no ratio.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRatio {
    /// It has neither a percent sign nor a point.
    #[error(
        "read the ratio {0:?}: a bare number says neither; write {0}% or a decimal such as 0.3"
    )]
    Bare(String),
    /// It is not a number.
    #[error("read the ratio {0:?}: expected a percentage such as 30%, or a decimal such as 0.3")]
    Form(String),
    /// It is not a share.
    #[error("read the ratio {0:?}: from 0% to 100%, or from 0.0 to 1.0")]
    Range(String),
    /// It is finer than a ratio can be.
    #[error("read the ratio {0:?}: at most 7 decimals of a percentage, or 9 of a decimal")]
    Fine(String),
}

impl Ratio {
    /// None.
    pub const ZERO: Self = Self(0);
    /// All.
    pub const ONE: Self = Self(WHOLE);

    /// The nearest ratio to a number; what lies outside is the end that it lies beyond.
    pub fn nearest(value: f64) -> Self {
        // It lies between nothing and the whole, and is whole: nothing is lost.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Self((value.clamp(0.0, 1.0) * f64::from(WHOLE)).round() as u32)
    }

    /// As a number from 0 to 1.
    pub fn get(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// Whether it is none.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// What is left of the whole.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(WHOLE - self.0)
    }

    /// So much of `n`, rounded up, exactly.
    pub fn ceil_of(self, n: usize) -> usize {
        // A share of `n` is at most `n`, which fits.
        let share = (n as u128 * u128::from(self.0)).div_ceil(WHOLE.into());
        usize::try_from(share).unwrap_or(n)
    }

    /// So much of `n`, rounded down, exactly.
    pub fn floor_of(self, n: usize) -> usize {
        n - self.rest().ceil_of(n)
    }

    /// How many of the 2³² values of a random word are below it: the ratio itself, rounded to the nearest, so
    /// that 0 is never drawn and 1 always.
    pub fn threshold(self) -> u64 {
        ((u64::from(self.0) << 32) + u64::from(WHOLE) / 2) / u64::from(WHOLE)
    }
}

impl FromStr for Ratio {
    type Err = BadRatio;

    fn from_str(text: &str) -> Result<Self, BadRatio> {
        let whole = || text.to_owned();
        let (digits, decimals) = match text.trim().strip_suffix('%') {
            Some(percentage) => (percentage.trim_end(), PERCENT_DECIMALS),
            None => (text.trim(), DECIMALS),
        };
        let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        let (units, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        if (units.is_empty() && part.is_empty()) || !is_number(units) || !is_number(part) {
            return Err(BadRatio::Form(whole()));
        }
        if decimals == DECIMALS && !digits.contains('.') {
            return Err(BadRatio::Bare(whole()));
        }
        let part = part.trim_end_matches('0');
        if part.len() > decimals {
            return Err(BadRatio::Fine(whole()));
        }
        let number = format!("{units}{part:0<decimals$}");
        let number = number.trim_start_matches('0');
        let value: u32 = match number {
            "" => 0,
            number => number.parse().map_err(|_| BadRatio::Range(whole()))?,
        };
        if value > WHOLE || (digits.starts_with('-') && value > 0) {
            return Err(BadRatio::Range(whole()));
        }
        Ok(Self(value))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u32.pow(7);
        let (units, part) = (self.0 / unit, self.0 % unit);
        let text = format!("{units}.{part:0PERCENT_DECIMALS$}");
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl TryFrom<String> for Ratio {
    type Error = BadRatio;

    fn try_from(text: String) -> Result<Self, BadRatio> {
        text.parse()
    }
}

impl From<Ratio> for String {
    fn from(ratio: Ratio) -> Self {
        ratio.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_percentage_or_a_decimal() {
        for (text, shown, value) in [
            ("30%", "30%", 0.3),
            ("0.3", "30%", 0.3),
            ("0%", "0%", 0.0),
            ("-0%", "0%", 0.0),
            ("0.0", "0%", 0.0),
            ("1.0", "100%", 1.0),
            ("100 %", "100%", 1.0),
            ("33.3333333%", "33.3333333%", 0.333_333_333),
            ("0.000000001", "0.0000001%", 1e-9),
            (".5%", "0.5%", 0.005),
            ("0.50000000000000", "50%", 0.5),
        ] {
            let ratio: Ratio = text.parse().unwrap();
            assert_eq!(ratio.to_string(), shown, "{text}");
            assert!((ratio.get() - value).abs() < 1e-12, "{text}");
            assert_eq!(shown.parse(), Ok(ratio));
            assert_eq!(Ratio::nearest(value), ratio);
        }
    }

    #[test]
    fn what_is_no_ratio_is_refused_with_its_reason() {
        let error = |text: &str| text.parse::<Ratio>().unwrap_err();
        for text in ["30", "1", "0"] {
            assert_eq!(error(text), BadRatio::Bare(text.into()));
        }
        for text in ["", "%", ".", "x%", "1e-3", "1.2.3", "+5%", "--5%", "NaN"] {
            assert_eq!(error(text), BadRatio::Form(text.into()));
        }
        for text in ["101%", "1.1", "-1%", "99999999999999999999%"] {
            assert_eq!(error(text), BadRatio::Range(text.into()));
        }
        for text in ["0.0000000001", "1.12345678%"] {
            assert_eq!(error(text), BadRatio::Fine(text.into()));
        }
    }

    #[test]
    fn a_share_of_some_is_rounded_either_way_exactly() {
        let ratio = |text: &str| text.parse::<Ratio>().unwrap();
        for (text, n, floor, ceil) in [
            ("30%", 10, 3, 3),
            ("30%", 11, 3, 4),
            ("29%", 100, 29, 29),
            ("0%", 7, 0, 0),
            ("100%", 7, 7, 7),
            ("0.0000001%", 1_000_000_000, 1, 1),
            (
                "33.3333333%",
                usize::MAX,
                6_148_914_685_087_602_513,
                6_148_914_685_087_602_514,
            ),
        ] {
            assert_eq!(
                (ratio(text).floor_of(n), ratio(text).ceil_of(n)),
                (floor, ceil)
            );
        }
    }

    #[test]
    fn the_threshold_of_nothing_is_never_drawn_and_that_of_all_always() {
        assert_eq!(Ratio::ZERO.threshold(), 0);
        assert_eq!(Ratio::ONE.threshold(), 1 << 32);
        let half: Ratio = "50%".parse().unwrap();
        assert_eq!(half.threshold(), 1 << 31);
        assert_eq!(half.rest(), half);
    }
}
