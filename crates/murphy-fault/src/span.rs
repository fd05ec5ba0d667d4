//! A span is a length of time with its unit written beside it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The units, longest first, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// A length of time, from nothing to 584 years. Written `10s`, `1m30s`, `250ms`, `1.5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Span(u64);

impl Span {
    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// From seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// In nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_nanos(span.0)
    }
}

/// A text that is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// There is a number and no unit.
    #[error("read time {0:?}: a unit is missing (ns, us, ms, s, m, h, d), as in {0}s or {0}ms")]
    NoUnit(String),
    /// It is not a number with a unit.
    #[error("read time {0:?}: write a number with a unit (ns, us, ms, s, m, h, d), as in 250ms or 1m30s")]
    NotATime(String),
    /// It does not fit.
    #[error("read time {0:?}: longer than 584 years")]
    TooLong(String),
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let wrong = || SpanError::NotATime(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, next) = after.split_at(letters);
            if number.is_empty() {
                return Err(wrong());
            }
            if unit.is_empty() {
                return Err(SpanError::NoUnit(text.to_owned()));
            }
            let (_, size) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
            let part = scaled(number, *size).ok_or_else(wrong)?;
            total = part
                .and_then(|part| total.checked_add(part))
                .ok_or_else(|| SpanError::TooLong(text.to_owned()))?;
            rest = next;
        }
        Ok(Self(total))
    }
}

/// `number` × `size`: `None` when it is no number, `Some(None)` when it is too large.
#[allow(clippy::option_option)]
fn scaled(number: &str, size: u64) -> Option<Option<u64>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut below = 0;
    let mut place = size;
    for digit in fraction.bytes() {
        place /= 10;
        below += u64::from(digit - b'0') * place;
    }
    let whole = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(size));
    Some(whole.and_then(|whole| whole.checked_add(below)))
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, size) in UNITS.iter().filter(|(name, _)| *name != "µs") {
            if rest / size > 0 {
                write!(f, "{}{name}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

/// When a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Until {
    /// After a time.
    For(Span),
    /// When somebody ends it: the word `forever`.
    Ended,
}

impl FromStr for Until {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        match text {
            "forever" => Ok(Self::Ended),
            _ => text.parse().map(Self::For),
        }
    }
}

impl TryFrom<String> for Until {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Until> for String {
    fn from(until: Until) -> Self {
        until.to_string()
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(span) => span.fmt(f),
            Self::Ended => f.write_str("forever"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_units_is_a_time() {
        for (text, nanos) in [
            ("10s", 10_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            ("0s", 0),
            ("7µs", 7_000),
            ("2d", 172_800_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Span::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn a_bare_number_names_the_units() {
        let error = "10".parse::<Span>().unwrap_err();
        assert_eq!(error, SpanError::NoUnit("10".into()));
        assert!(error.to_string().contains("ns, us, ms, s, m, h, d"));
        assert_eq!("1m30".parse::<Span>(), Err(SpanError::NoUnit("1m30".into())));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", " ", "s", "-1s", "1x", "1.s", ".5s", "1.2.3s", "10 sec", "forever"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError::NotATime(text.into())), "{text}");
        }
        assert_eq!("999999d".parse::<Span>(), Err(SpanError::TooLong("999999d".into())));
    }

    #[test]
    fn a_time_is_written_as_it_is_read() {
        for text in ["10s", "1m30s", "250ms", "1s500ms", "0s", "1h", "forever"] {
            assert_eq!(text.parse::<Until>().unwrap().to_string(), text);
        }
    }
}
