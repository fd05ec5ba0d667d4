//! What is asked of connections: how many of them end, when, and how.

use std::{fmt, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    ratio::Ratio,
    span::{Span, Until},
};

/// No draws are nearer to each other: listing the sockets of a busy namespace takes time itself.
pub const EVERY_MIN: Duration = Duration::from_millis(100);

/// Why connections cannot be ended so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing is asked for.
    #[error("end connections: --rate 0% would do nothing; leave it out")]
    Nothing,
    /// Draws that are too near to each other.
    #[error("end connections: --every {0} is too often; 100ms is the least")]
    TooOften(Span),
    /// The first draw would be the last.
    #[error(
        "end connections: --every {every} is longer than --for {time}: it would happen once, which needs neither"
    )]
    TooSeldom {
        /// Between two draws.
        every: Span,
        /// Until the end.
        time: Span,
    },
    /// Whatever is drawn again and again has an end.
    #[error("end connections: --every needs --for, such as `--for 1m` or `--for forever`")]
    NoEnd,
    /// A share of all draws of which there is one.
    #[error(
        "end connections: --cap is for --every; a single draw ends what --rate or --count says"
    )]
    CapOfOne,
}

/// How many of those that are meant end at each draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// This share, rounded up.
    Rate(Ratio),
    /// So many, or all if there are fewer.
    Count(NonZeroU32),
}

impl Share {
    /// How many of `n`, exactly.
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Rate(ratio) => ratio.ceil_of(n),
            Self::Count(count) => n.min(count.get() as usize),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(ratio) => write!(f, "{ratio}"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Both ends are told: its owner's next call fails with `ECONNABORTED`, its peer's with `ECONNRESET`.
    #[default]
    Reset,
    /// As if its owner had closed it for sending and receiving: both ends read the end of the stream.
    Close,
}

impl How {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Close => "close",
        }
    }

    /// What makes it happen.
    pub fn engine(self) -> &'static str {
        match self {
            Self::Reset => "sock_destroy",
            Self::Close => "pidfd_getfd",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is asked of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// How many of those that are there.
    pub share: Share,
    /// How they end.
    pub how: How,
    /// Again and again after so long, drawn afresh from those that are there then; once where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// At most this share of all that were ever seen, over all draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<Ratio>,
}

impl Spec {
    /// Whether it makes sense, without asking the machine. `until` is its end, where it has one.
    pub fn check(&self, until: Option<Until>) -> Result<(), SpecError> {
        if self.share == Share::Rate(Ratio::ZERO) {
            return Err(SpecError::Nothing);
        }
        let Some(every) = self.every else {
            return match self.cap {
                Some(_) => Err(SpecError::CapOfOne),
                None => Ok(()),
            };
        };
        if every.0 < EVERY_MIN {
            return Err(SpecError::TooOften(every));
        }
        match until {
            None => Err(SpecError::NoEnd),
            Some(Until::After(time)) if every.0 >= time.0 => {
                Err(SpecError::TooSeldom { every, time })
            }
            Some(_) => Ok(()),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.how, self.share)?;
        if let Some(every) = self.every {
            write!(f, " every {every}")?;
        }
        match self.cap {
            Some(cap) => write!(f, " up to {cap}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_in_decimals() {
        let of = |rate: &str, n| Share::Rate(rate.parse().unwrap()).of(n);
        for (rate, n, k) in [
            ("0.5%", 1, 1),
            ("0.5%", 200, 1),
            ("0.5%", 201, 2),
            ("10%", 10, 1),
            ("10%", 100, 10),
            ("29%", 100, 29),
            ("57%", 100, 57),
            ("57%", 10_000, 5700),
            ("33.3%", 1000, 333),
            ("33.3%", 10, 4),
            ("100%", 3, 3),
            ("100%", 0, 0),
        ] {
            assert_eq!(of(rate, n), k, "{rate} of {n}");
        }
        let two = Share::Count(NonZeroU32::new(2).unwrap());
        assert_eq!((two.of(1), two.of(2), two.of(9)), (1, 2, 2));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let spec = |rate: &str, every: Option<&str>| Spec {
            share: Share::Rate(rate.parse().unwrap()),
            how: How::Reset,
            every: every.map(|every| every.parse().unwrap()),
            cap: None,
        };
        let after = |time: &str| Some(Until::After(time.parse().unwrap()));
        let error = |spec: &Spec, until| spec.check(until).unwrap_err();
        assert_eq!(error(&spec("0%", None), None), SpecError::Nothing);
        assert_eq!(error(&spec("1%", Some("1s")), None), SpecError::NoEnd);
        let often = error(&spec("1%", Some("99ms")), after("1m"));
        assert!(matches!(often, SpecError::TooOften(_)));
        let seldom = error(&spec("1%", Some("10s")), after("10s"));
        assert!(matches!(seldom, SpecError::TooSeldom { .. }));
        let capped = Spec {
            cap: Some(Ratio::ONE),
            ..spec("1%", None)
        };
        assert_eq!(error(&capped, None), SpecError::CapOfOne);
        assert!(spec("1%", Some("1s")).check(Some(Until::Forever)).is_ok());
        assert_eq!(spec("20%", Some("2s")).to_string(), "reset 20% every 2s");
    }
}
