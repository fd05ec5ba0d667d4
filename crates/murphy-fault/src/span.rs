//! A span is a length of time with its unit: `10s`, `250ms`, `1m30s`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Units, longest name first where one begins another, with their nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
/// The most digits of one number.
const DIGITS_MAX: usize = 19;
/// Nothing lasts longer than this.
const MAX: Duration = Duration::from_hours(30 * 24);

/// A length of time, from 0 to 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// A text that is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSpan {
    /// It has no unit.
    #[error("read the time {0:?}: a number needs a unit: ns, us, ms, s, m, h or d, such as `{0}s`")]
    NoUnit(String),
    /// It is not a time.
    #[error("read the time {0:?}: expected numbers with units, such as 10s, 250ms or 1m30s")]
    Form(String),
    /// It is longer than anything may last.
    #[error("read the time {0:?}: at most 30 days")]
    TooLong(String),
    /// It is further than a clock of the kernel counts.
    #[error("read the time {0:?}: further than the kernel's 64-bit nanoseconds hold, 292 years")]
    TooFar(String),
}

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let nanos = nanos(text)?;
        match u64::try_from(nanos).map(Duration::from_nanos) {
            Ok(span) if span <= MAX => Ok(Self(span)),
            _ => Err(BadSpan::TooLong(text.into())),
        }
    }
}

/// The nanoseconds of numbers with units, such as `1m30s`; parts of a nanosecond are dropped.
fn nanos(text: &str) -> Result<i128, BadSpan> {
    let form = || BadSpan::Form(text.into());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(form());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (whole, part) = rest[..end].split_once('.').unwrap_or((&rest[..end], ""));
        if whole.is_empty() && part.is_empty() || part.contains('.') {
            return Err(form());
        }
        rest = &rest[end..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = &rest[..letters];
        if unit.is_empty() {
            return Err(BadSpan::NoUnit(text.into()));
        }
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(form)?;
        let unit = i128::from(*unit);
        // More digits than any time has would not fit a number.
        if whole.len() > DIGITS_MAX {
            return Err(BadSpan::TooLong(text.into()));
        }
        let number = |digits: &str| digits.bytes().fold(0, |n, b| n * 10 + i128::from(b - b'0'));
        let part = &part[..part.len().min(DIGITS_MAX)];
        let scale = 10_i128.pow(u32::try_from(part.len()).unwrap_or(0));
        total += number(whole) * unit + number(part) * unit / scale;
        rest = &rest[letters..];
    }
    Ok(total)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos.is_multiple_of(1_000_000_000) {
            let seconds = nanos / 1_000_000_000;
            let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            for (n, unit) in [(h, "h"), (m, "m"), (s, "s")] {
                if n > 0 {
                    write!(f, "{n}{unit}")?;
                }
            }
            return Ok(());
        }
        let divisors = [(1_000_000, "ms"), (1_000, "us"), (1, "ns")];
        // 1 divides everything, so there always is one.
        let (by, unit) = divisors
            .into_iter()
            .find(|(by, _)| nanos.is_multiple_of(*by))
            .unwrap_or((1, "ns"));
        write!(f, "{}{unit}", nanos / by)
    }
}

impl TryFrom<String> for Span {
    type Error = BadSpan;

    fn try_from(text: String) -> Result<Self, BadSpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

/// A length of time with its sign: `-10m`, `+1h30m`, `250ms`; what a clock is moved by, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shift(pub i64);

impl FromStr for Shift {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let (sign, size) = match text.trim().split_at_checked(1) {
            Some(("-", size)) => (-1, size),
            Some(("+", size)) => (1, size),
            _ => (1, text.trim()),
        };
        let far = || BadSpan::TooFar(text.into());
        let nanos = nanos(size).map_err(|error| match error {
            BadSpan::TooLong(_) => far(),
            BadSpan::NoUnit(_) => BadSpan::NoUnit(text.trim().into()),
            other => other,
        })?;
        i64::try_from(sign * nanos).map(Self).map_err(|_| far())
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(
            f,
            "{sign}{}",
            Span(Duration::from_nanos(self.0.unsigned_abs()))
        )
    }
}

impl TryFrom<String> for Shift {
    type Error = BadSpan;

    fn try_from(text: String) -> Result<Self, BadSpan> {
        text.parse()
    }
}

impl From<Shift> for String {
    fn from(shift: Shift) -> Self {
        shift.to_string()
    }
}

/// When a fault ends: after a time, or only when it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// After this long.
    After(Span),
    /// When somebody ends it; said by the word `forever`.
    Forever,
}

impl FromStr for Until {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        if text == "forever" {
            Ok(Self::Forever)
        } else {
            text.parse().map(Self::After)
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(span) => span.fmt(f),
            Self::Forever => f.write_str("forever"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_read_back_however_large_it_is() {
        for ns in [i64::MIN, i64::MAX, 0, -1, 2_307_185_509_402_548_380] {
            assert_eq!(Shift(ns).to_string().parse(), Ok(Shift(ns)));
        }
        assert!(
            "99999999999999999999s"
                .parse::<Shift>()
                .unwrap_err()
                .to_string()
                .contains("292")
        );
        assert!(
            "-10"
                .parse::<Shift>()
                .unwrap_err()
                .to_string()
                .contains("-10s")
        );
    }

    #[test]
    fn spans_read_back_as_they_are_written() {
        for (text, nanos, written) in [
            ("10s", 10_000_000_000, "10s"),
            ("250ms", 250_000_000, "250ms"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("1.5s", 1_500_000_000, "1500ms"),
            ("2h", 7_200_000_000_000, "2h"),
            ("0s", 0, "0s"),
            ("7us", 7_000, "7us"),
            ("0.000000001s", 1, "1ns"),
            ("1d", 86_400_000_000_000, "24h"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_nanos(), nanos, "{text}");
            assert_eq!(span.to_string(), written);
            assert_eq!(written.parse::<Span>().unwrap(), span);
        }
    }

    #[test]
    fn a_number_without_a_unit_names_the_units() {
        assert_eq!("60".parse::<Span>(), Err(BadSpan::NoUnit("60".into())));
        for text in ["", "s", ".s", "-1s", "1x", "1..2s", "soon", "1s2"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!(
            "31000h".parse::<Span>(),
            Err(BadSpan::TooLong("31000h".into()))
        );
        assert_eq!("forever".parse::<Until>(), Ok(Until::Forever));
    }

    #[test]
    fn a_shift_has_a_sign_and_reads_back_exactly() {
        for (text, nanos, written) in [
            ("-10m", -600_000_000_000, "-10m"),
            ("+1h", 3_600_000_000_000, "+1h"),
            ("250ms", 250_000_000, "+250ms"),
            ("-8773h", -31_582_800_000_000_000, "-8773h"),
            ("-1.000000001s", -1_000_000_001, "-1000000001ns"),
            ("0s", 0, "+0s"),
        ] {
            let shift: Shift = text.parse().unwrap();
            assert_eq!(shift.0, nanos, "{text}");
            assert_eq!(shift.to_string(), written);
            assert_eq!(written.parse::<Shift>().unwrap(), shift);
        }
        let far = "200000000h".to_owned();
        assert_eq!(far.parse::<Shift>(), Err(BadSpan::TooFar(far)));
        for text in ["", "-", "--1s", "+-1s", "10", "-10"] {
            assert!(text.parse::<Shift>().is_err(), "{text}");
        }
    }
}
