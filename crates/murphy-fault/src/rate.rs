//! A rate is an amount of data per second, with its unit: `1mbit`, `10kbps`; an amount is `64KiB`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Units of a rate, in bits per second, as tc(8) has them: `bit` counts bits, `bps` bytes.
const RATE_UNITS: [(&str, u64); 15] = [
    ("bit", 1),
    ("kbit", 1_000),
    ("mbit", 1_000_000),
    ("gbit", 1_000_000_000),
    ("tbit", 1_000_000_000_000),
    ("bps", 8),
    ("kbps", 8_000),
    ("mbps", 8_000_000),
    ("gbps", 8_000_000_000),
    ("tbps", 8_000_000_000_000),
    ("kibit", 1 << 10),
    ("mibit", 1 << 20),
    ("gibit", 1 << 30),
    ("kibps", 8 << 10),
    ("mibps", 8 << 20),
];
/// Units of an amount, in bytes.
const AMOUNT_UNITS: [(&str, u64); 7] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Bits per second, from 1 to 2⁶⁴ − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(u64);

/// Bytes, from 0 to 2⁶⁴ − 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

/// A text that is no rate, or no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRate {
    /// Not a rate.
    #[error(
        "read the rate {0:?}: expected a number and a unit: bit, kbit, mbit, gbit (bits per second) or bps, kbps, mbps, gbps (bytes per second), such as 10mbit"
    )]
    Form(String),
    /// A rate of nothing.
    #[error("read the rate {0:?}: a rate of 0 lets nothing pass; that is what --partition is for")]
    Zero(String),
    /// Not an amount.
    #[error(
        "read the amount {0:?}: expected a number and a unit: B, KB, MB, KiB or MiB, such as 64KiB"
    )]
    Amount(String),
    /// More than can be counted.
    #[error("read {0:?}: more than 64 bits hold")]
    TooMuch(String),
}

/// What a number with a unit comes to; `None` where it is not one of these units, or no number.
fn read(text: &str, units: &[(&str, u64)]) -> Option<Result<u64, BadRate>> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim().to_ascii_lowercase());
    let (_, unit) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') || part.len() > 18 {
        return None;
    }
    let too_much = || BadRate::TooMuch(text.to_owned());
    let digits = |digits: &str| match digits {
        "" => Ok(0),
        digits => digits.parse::<u128>().map_err(|_| too_much()),
    };
    let value = || {
        let scale = 10_u128.pow(u32::try_from(part.len()).unwrap_or(0));
        let scaled = digits(whole)?
            .checked_mul(scale)
            .and_then(|value| value.checked_add(digits(part).ok()?))
            .and_then(|value| value.checked_mul(u128::from(*unit)))
            .ok_or_else(too_much)?;
        u64::try_from(scaled / scale).map_err(|_| too_much())
    };
    Some(value())
}

/// A number with the largest unit that it is a whole count of.
fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, unit): &&(&str, u64)| value.is_multiple_of(*unit) && value >= *unit;
    // The first unit is 1, which divides everything.
    let (name, unit) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    write!(f, "{}{name}", value / unit)
}

impl BitRate {
    /// Bits per second.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// How long so many bytes take, in nanoseconds, rounded up.
    pub fn time_of(self, bytes: u64) -> u64 {
        let ns = (u128::from(bytes) * 8 * 1_000_000_000).div_ceil(u128::from(self.0));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

impl FromStr for BitRate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        match read(text, &RATE_UNITS) {
            None => Err(BadRate::Form(text.into())),
            Some(Ok(0)) => Err(BadRate::Zero(text.into())),
            Some(value) => value.map(Self),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &RATE_UNITS[..5])
    }
}

impl FromStr for Bytes {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        match read(text, &AMOUNT_UNITS) {
            None => Err(BadRate::Amount(text.into())),
            Some(value) => value.map(Self),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            ("B", 1),
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
        ];
        show(f, self.0, &units)
    }
}

impl TryFrom<String> for BitRate {
    type Error = BadRate;

    fn try_from(text: String) -> Result<Self, BadRate> {
        text.parse()
    }
}

impl From<BitRate> for String {
    fn from(rate: BitRate) -> Self {
        rate.to_string()
    }
}

impl TryFrom<String> for Bytes {
    type Error = BadRate;

    fn try_from(text: String) -> Result<Self, BadRate> {
        text.parse()
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_amounts_have_units() {
        for (text, bits, shown) in [
            ("1mbit", 1_000_000, "1mbit"),
            ("1.5Mbit", 1_500_000, "1500kbit"),
            ("10 kbps", 80_000, "80kbit"),
            ("1kibit", 1024, "1024bit"),
            (
                "18446744073709551615bit",
                u64::MAX,
                "18446744073709551615bit",
            ),
        ] {
            let rate: BitRate = text.parse().unwrap();
            assert_eq!(
                (rate.bits(), rate.to_string()),
                (bits, shown.into()),
                "{text}"
            );
            assert_eq!(shown.parse(), Ok(rate));
        }
        for (text, bytes, shown) in [
            ("64KiB", 65_536, "64KiB"),
            ("1500B", 1500, "1500B"),
            ("1.5kb", 1500, "1500B"),
            ("0B", 0, "0B"),
        ] {
            let amount: Bytes = text.parse().unwrap();
            assert_eq!(
                (amount.0, amount.to_string()),
                (bytes, shown.into()),
                "{text}"
            );
            assert_eq!(shown.parse(), Ok(amount));
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_its_reason() {
        let error = |text: &str| text.parse::<BitRate>().unwrap_err();
        for text in ["", "5", "mbit", "5 parsecs", "-1mbit", "1.2.3mbit", ".mbit"] {
            assert_eq!(error(text), BadRate::Form(text.into()));
        }
        for text in ["0bit", "0.0gbit", "0.1bit"] {
            assert_eq!(error(text), BadRate::Zero(text.into()));
        }
        for text in ["99999999999gbit", &format!("{}bit", "9".repeat(60))] {
            assert_eq!(error(text), BadRate::TooMuch(text.into()));
        }
        assert!(matches!("5".parse::<Bytes>(), Err(BadRate::Amount(_))));
    }

    #[test]
    fn bytes_take_their_time() {
        let rate: BitRate = "1mbit".parse().unwrap();
        assert_eq!(rate.time_of(1500), 12_000_000);
        let slow: BitRate = "1bit".parse().unwrap();
        assert_eq!(slow.time_of(u64::MAX), u64::MAX);
        let fast: BitRate = "3bit".parse().unwrap();
        assert_eq!(fast.time_of(1), 2_666_666_667);
    }
}
