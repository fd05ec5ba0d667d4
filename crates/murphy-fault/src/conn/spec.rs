//! What is asked of connections: how many of them end, when, and how.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    rate::Bytes,
    ratio::Ratio,
    span::{Span, Until},
};

/// No draws are nearer to each other: listing the sockets of a busy namespace takes time itself.
pub const EVERY_MIN: Duration = Duration::from_millis(100);

/// Why connections cannot be ended so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing is asked for.
    #[error("end connections: {0} 0% would do nothing; leave it out")]
    Nothing(&'static str),
    /// Neither those that are there nor those that come.
    #[error(
        "end connections: say how many: --rate 20% or --count 2 of those that are there, --new 20% of those that come"
    )]
    Nobody,
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
    /// Whatever goes on has an end.
    #[error("end connections: {0} needs --for, such as `--for 1m` or `--for forever`")]
    NoEnd(String),
    /// A share of all draws of which there is one.
    #[error(
        "end connections: --cap is for --every; a single draw ends what --rate or --count says"
    )]
    CapOfOne,
    /// Draws of connections that are not drawn.
    #[error(
        "end connections: --every draws from those that are there: --rate or --count says how many"
    )]
    EveryOfNone,
    /// Only whoever comes can be refused.
    #[error(
        "end connections: --how refuse is for those that come: say --new 20%, and for those that are there --how reset or another"
    )]
    RefuseOld,
    /// A way for those that come, and none of them is meant.
    #[error("end connections: --new-how {0} is for those that come: say --new 20%")]
    HowOfNone(How),
    /// It has no name that is known.
    #[error(
        "read the way {0:?}: expected reset, reset-local, reset-remote, close, refuse, stall, after-bytes=64KiB or max-age=30s"
    )]
    How(String),
    /// It has a name, and what belongs to it makes no sense.
    #[error("read the way {text:?}: {why}")]
    HowValue {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
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
#[serde(try_from = "String", into = "String")]
pub enum How {
    /// Both ends are told: its owner's next call fails with `ECONNABORTED`, its peer's with `ECONNRESET`.
    #[default]
    Reset,
    /// The target's end is told as by a reset, the other end is not: nothing of the target's reaches it any more.
    ResetLocal,
    /// The other end is reset, the target's end is not told: nothing reaches it any more.
    ResetRemote,
    /// As if its owner had closed it for sending and receiving: both ends read the end of the stream.
    Close,
    /// Whoever connects is told that nobody listens: `ECONNREFUSED`.
    Refuse,
    /// Nothing passes any more, and nobody is told.
    Stall,
    /// A reset, once so much has passed, both ways together.
    AfterBytes(Bytes),
    /// A reset, once it is so old.
    MaxAge(Span),
}

/// How old the youngest that dies of old age may be: looking takes time itself.
const AGE_MIN: Duration = Duration::from_millis(100);

impl How {
    /// What it is called, without what belongs to it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ResetLocal => "reset-local",
            Self::ResetRemote => "reset-remote",
            Self::Close => "close",
            Self::Refuse => "refuse",
            Self::Stall => "stall",
            Self::AfterBytes(_) => "after-bytes",
            Self::MaxAge(_) => "max-age",
        }
    }

    /// What those are that were hit, in words.
    pub(super) fn participle(self) -> &'static str {
        match self {
            Self::Reset | Self::Close | Self::AfterBytes(_) | Self::MaxAge(_) => "ended",
            Self::ResetLocal => "reset at the target's end",
            Self::ResetRemote => "reset at the other end",
            Self::Refuse => "refused",
            Self::Stall => "stalled",
        }
    }

    /// Whether it is over as soon as it has happened; the others need somebody who sees to them.
    pub fn is_momentary(self) -> bool {
        matches!(self, Self::Reset | Self::Close | Self::Refuse)
    }

    /// Whether it is done by programs that see every packet of the connections that are hit.
    pub fn holds_packets(self) -> bool {
        matches!(
            self,
            Self::ResetLocal | Self::ResetRemote | Self::Stall | Self::AfterBytes(_)
        )
    }

    /// Whether those that are hit are there nevertheless, for a while or until somebody else ends them.
    pub fn leaves_sockets(self) -> bool {
        matches!(
            self,
            Self::ResetRemote | Self::Stall | Self::AfterBytes(_) | Self::MaxAge(_)
        )
    }

    /// Whether sockets are ended by it, at once or later.
    pub fn ends_sockets(self) -> bool {
        matches!(
            self,
            Self::Reset | Self::ResetLocal | Self::AfterBytes(_) | Self::MaxAge(_)
        )
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfterBytes(bytes) => write!(f, "after-bytes={bytes}"),
            Self::MaxAge(age) => write!(f, "max-age={age}"),
            how => f.write_str(how.name()),
        }
    }
}

impl FromStr for How {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const PLAIN: [How; 6] = [
            How::Reset,
            How::ResetLocal,
            How::ResetRemote,
            How::Close,
            How::Refuse,
            How::Stall,
        ];
        let wrong = |why: &dyn fmt::Display| SpecError::HowValue {
            text: text.to_owned(),
            why: why.to_string(),
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if let Some(how) = PLAIN.into_iter().find(|how| how.name() == name) {
            return match value {
                None => Ok(how),
                Some(_) => Err(wrong(&"nothing belongs to it")),
            };
        }
        match (name, value) {
            ("after-bytes", Some(value)) => {
                let bytes: Bytes = value.parse().map_err(|error| wrong(&error))?;
                if bytes.0 == 0 {
                    return Err(wrong(&"after none is at once: that is --how reset"));
                }
                Ok(Self::AfterBytes(bytes))
            }
            ("max-age", Some(value)) => {
                let age: Span = value.parse().map_err(|error| wrong(&error))?;
                if age.0 < AGE_MIN {
                    return Err(wrong(&"100ms is the least"));
                }
                Ok(Self::MaxAge(age))
            }
            ("after-bytes", None) => Err(wrong(&"how many? after-bytes=64KiB")),
            ("max-age", None) => Err(wrong(&"how old? max-age=30s")),
            _ => Err(SpecError::How(text.to_owned())),
        }
    }
}

impl TryFrom<String> for How {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<How> for String {
    fn from(how: How) -> Self {
        how.to_string()
    }
}

/// What is asked of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// How many of those that are there; none where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// How they end.
    pub how: How,
    /// Again and again after so long, drawn afresh from those that are there then; once where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// At most this share of all that were ever seen, over all draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<Ratio>,
    /// With what chance each that comes later ends, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Ratio>,
    /// How those end, where it is another way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_how: Option<How>,
}

impl Spec {
    /// How those end that come later, where any do.
    pub fn how_of_new(&self) -> Option<How> {
        self.new.map(|_| self.new_how.unwrap_or(self.how))
    }

    /// Every way that is asked for.
    pub fn ways(&self) -> impl Iterator<Item = How> {
        let old = self.share.map(|_| self.how);
        old.into_iter().chain(self.how_of_new())
    }

    /// Whether it needs programs in the kernel that act while it lasts.
    pub(super) fn needs_programs(&self) -> bool {
        self.ways()
            .any(|how| how.holds_packets() || how == How::Refuse)
    }

    /// Whether it makes sense, without asking the machine. `until` is its end, where it has one.
    pub fn check(&self, until: Option<Until>) -> Result<(), SpecError> {
        if self.share == Some(Share::Rate(Ratio::ZERO)) {
            return Err(SpecError::Nothing("--rate"));
        }
        if self.new == Some(Ratio::ZERO) {
            return Err(SpecError::Nothing("--new"));
        }
        if self.cap == Some(Ratio::ZERO) {
            return Err(SpecError::Nothing("--cap"));
        }
        let is_only_new = self.share.is_none() && self.new.is_some();
        match (self.share, self.new, self.new_how) {
            _ if self.how == How::Refuse && !is_only_new => return Err(SpecError::RefuseOld),
            (None, None, _) => return Err(SpecError::Nobody),
            (_, None, Some(how)) => return Err(SpecError::HowOfNone(how)),
            _ => {}
        }
        if self.every.is_some() && self.share.is_none() {
            return Err(SpecError::EveryOfNone);
        }
        if self.cap.is_some() && self.every.is_none() {
            return Err(SpecError::CapOfOne);
        }
        if let Some(every) = self.every
            && every.0 < EVERY_MIN
        {
            return Err(SpecError::TooOften(every));
        }
        let goes_on = || {
            let every = self.every.map(|_| "--every".to_owned());
            let new = self.new.map(|_| "--new".to_owned());
            let mut ways = self.ways().filter(|how| !how.is_momentary());
            every
                .or(new)
                .or_else(|| ways.next().map(|how| format!("--how {how}")))
        };
        match (until, self.every) {
            (None, _) => goes_on().map_or(Ok(()), |what| Err(SpecError::NoEnd(what))),
            (Some(Until::After(time)), Some(every)) if every.0 >= time.0 => {
                Err(SpecError::TooSeldom { every, time })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(share) = self.share {
            write!(f, "{} {share}", self.how)?;
        }
        if let Some(every) = self.every {
            write!(f, " every {every}")?;
        }
        if let Some(cap) = self.cap {
            write!(f, " up to {cap}")?;
        }
        let Some((new, how)) = self.new.zip(self.how_of_new()) else {
            return Ok(());
        };
        let and = if self.share.is_some() { " · " } else { "" };
        write!(f, "{and}{how} {new} of new ones")
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
            share: Some(Share::Rate(rate.parse().unwrap())),
            how: How::Reset,
            every: every.map(|every| every.parse().unwrap()),
            cap: None,
            new: None,
            new_how: None,
        };
        let after = |time: &str| Some(Until::After(time.parse().unwrap()));
        let error = |spec: &Spec, until| spec.check(until).unwrap_err();
        assert_eq!(error(&spec("0%", None), None), SpecError::Nothing("--rate"));
        let endless = error(&spec("1%", Some("1s")), None);
        assert_eq!(endless, SpecError::NoEnd("--every".into()));
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

    #[test]
    fn those_that_come_have_a_chance_and_a_way_of_their_own() {
        let spec =
            |share: Option<&str>, how: &str, new: Option<&str>, new_how: Option<&str>| Spec {
                share: share.map(|rate| Share::Rate(rate.parse().unwrap())),
                how: how.parse().unwrap(),
                every: None,
                cap: None,
                new: new.map(|new| new.parse().unwrap()),
                new_how: new_how.map(|how| how.parse().unwrap()),
            };
        let text = |spec: &Spec| {
            assert_eq!(spec.check(Some(Until::Forever)), Ok(()), "{spec}");
            spec.to_string()
        };
        let both = spec(Some("20%"), "reset", Some("10%"), None);
        assert_eq!(text(&both), "reset 20% · reset 10% of new ones");
        let both = spec(Some("20%"), "reset", Some("10%"), Some("refuse"));
        assert_eq!(text(&both), "reset 20% · refuse 10% of new ones");
        let new = spec(None, "refuse", Some("10%"), None);
        assert_eq!(text(&new), "refuse 10% of new ones");
        assert_eq!(new.check(None), Err(SpecError::NoEnd("--new".into())));
        let stall = spec(Some("20%"), "stall", None, None);
        assert_eq!(
            stall.check(None),
            Err(SpecError::NoEnd("--how stall".into()))
        );
        let error = |spec: Spec| spec.check(Some(Until::Forever)).unwrap_err();
        let refused = spec(Some("1%"), "refuse", Some("1%"), None);
        assert_eq!(error(refused), SpecError::RefuseOld);
        assert_eq!(
            error(spec(None, "refuse", None, None)),
            SpecError::RefuseOld
        );
        assert_eq!(error(spec(None, "reset", None, None)), SpecError::Nobody);
        assert_eq!(
            error(spec(Some("1%"), "reset", None, Some("close"))),
            SpecError::HowOfNone(How::Close)
        );
        assert_eq!(
            error(spec(None, "reset", Some("0%"), None)),
            SpecError::Nothing("--new")
        );
    }

    #[test]
    fn ways_are_read_with_what_belongs_to_them() {
        for text in [
            "reset",
            "reset-local",
            "close",
            "after-bytes=64KiB",
            "max-age=30s",
        ] {
            assert_eq!(text.parse::<How>().unwrap().to_string(), text);
        }
        for (text, part) in [
            ("rst", "expected reset"),
            ("reset=1", "nothing belongs"),
            ("after-bytes", "after-bytes=64KiB"),
            ("after-bytes=0B", "--how reset"),
            ("after-bytes=x", "unit"),
            ("max-age", "max-age=30s"),
            ("max-age=1ms", "100ms"),
        ] {
            let error = text.parse::<How>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
