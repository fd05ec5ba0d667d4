//! What a user asks of family `time`.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use murphy_sys::vdso::{Clock, Timescale, UnknownClock};
use serde::{Deserialize, Serialize};

use crate::span::{BadSpan, Shift, Span, Until};

/// A clock gains or loses at most half.
pub const DRIFT_MAX_PPM: f64 = 500_000.0;
/// A strobe is at most this fast: the hook holds two steps, and Murphy must be there before the third.
pub const STROBE_MIN_NS: u64 = 1_000_000;

/// Why a skew cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// Nothing is asked.
    #[error("skew: say how: --offset, --at, --drift, --freeze, --jump, --strobe or --random")]
    Nothing,
    /// Two answers to one question.
    #[error("skew: {0} and {1} exclude each other")]
    Both(&'static str, &'static str),
    /// A date for a clock that has none.
    #[error("skew: --at is a time of day and {0} has none; use --offset")]
    NoDate(Clock),
    /// No clock is named.
    #[error("read the clocks {0:?}: no name in it")]
    NoClock(String),
    /// Not a clock.
    #[error(
        "read clock {0:?}: Murphy skews realtime, monotonic, monotonic-raw, boottime, tai, or one clock by the kernel's name, such as CLOCK_REALTIME_COARSE"
    )]
    Clock(String),
    /// Time would run backwards where programs rely on that it does not.
    #[error(
        "skew {0} by a negative offset: it never runs backwards, and programs rely on that; --force does it all the same"
    )]
    Backwards(Clock),
    /// Further than the kernel counts.
    #[error("skew {clock} by {shift}: it would show a time {beyond}")]
    Beyond {
        /// The clock.
        clock: Clock,
        /// The furthest shift asked for.
        shift: Shift,
        /// Beyond what.
        beyond: &'static str,
    },
    /// Not a drift.
    #[error("read the drift {0:?}: expected parts per million, such as 200ppm, -50ppm or 1%")]
    Drift(String),
    /// Too fast.
    #[error("drift by {0} ppm: at most 50 % (500000 ppm) either way")]
    TooFast(f64),
    /// Not a jump.
    #[error("read the jump {0:?}: expected a shift and when, such as -5s@10s")]
    Jump(String),
    /// Not a strobe.
    #[error("read the strobe {0:?}: expected a shift and how often, such as 250ms every 10ms")]
    Strobe(String),
    /// Too often.
    #[error("strobe every {0}: at least 1ms")]
    TooOften(Span),
    /// Not a date.
    #[error(
        "read the date {text:?}: {reason}; expected such as 2038-01-19T03:14:07Z or 2038-01-19 (UTC)"
    )]
    Date {
        /// What was written.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Not a time.
    #[error(transparent)]
    Span(#[from] BadSpan),
}

/// The clocks a skew is for, by rising number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks(Vec<Clock>);

impl Clocks {
    /// These; `None` for none.
    pub fn of_list(clocks: Vec<Clock>) -> Option<Self> {
        (!clocks.is_empty()).then_some(Self(clocks))
    }

    /// Every clock of it.
    pub fn iter(&self) -> impl Iterator<Item = Clock> + '_ {
        self.0.iter().copied()
    }

    /// Those of one timescale.
    pub fn of(&self, timescale: Timescale) -> Vec<Clock> {
        self.iter()
            .filter(|clock| clock.timescale() == timescale)
            .collect()
    }
}

impl Default for Clocks {
    /// The time of day, however it is asked for.
    fn default() -> Self {
        Self(by_word("realtime").unwrap_or_default())
    }
}

/// What people call a clock: all the kernel's clocks that show it.
fn by_word(word: &str) -> Option<Vec<Clock>> {
    let timescales: &[Timescale] = match word {
        // The kernel keeps atomic time at a fixed distance from the time of day.
        "realtime" => &[Timescale::Realtime, Timescale::Tai],
        "monotonic" => &[Timescale::Monotonic],
        "monotonic-raw" => &[Timescale::MonotonicRaw],
        "boottime" => &[Timescale::Boottime],
        "tai" => &[Timescale::Tai],
        _ => return None,
    };
    Some(
        Clock::all()
            .filter(|clock| timescales.contains(&clock.timescale()))
            .collect(),
    )
}

impl FromStr for Clocks {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut clocks = Vec::new();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match by_word(word) {
                Some(several) => clocks.extend(several),
                None => clocks.push(
                    word.parse()
                        .map_err(|_: UnknownClock| SpecError::Clock(word.into()))?,
                ),
            }
        }
        clocks.sort_unstable();
        clocks.dedup();
        if clocks.is_empty() {
            return Err(SpecError::NoClock(text.into()));
        }
        Ok(Self(clocks))
    }
}

impl fmt::Display for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.clone();
        let mut words = Vec::new();
        for word in ["realtime", "monotonic", "monotonic-raw", "boottime", "tai"] {
            let all = by_word(word).unwrap_or_default();
            if !all.is_empty() && all.iter().all(|clock| rest.contains(clock)) {
                rest.retain(|clock| !all.contains(clock));
                words.push(word);
            }
        }
        words.extend(rest.iter().map(|clock| clock.name()));
        f.write_str(&words.join(","))
    }
}

/// How much faster a clock runs, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift(pub f64);

impl FromStr for Drift {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let trimmed = text.trim();
        let (number, unit) = if let Some(number) = trimmed.strip_suffix("ppm") {
            (number, 1.0)
        } else if let Some(number) = trimmed.strip_suffix('%') {
            (number, 10_000.0)
        } else {
            (trimmed, 1.0)
        };
        let plain = |c: char| c.is_ascii_digit() || "+-.".contains(c);
        let ppm = match number.trim().parse::<f64>() {
            Ok(value) if number.trim().chars().all(plain) => value * unit,
            _ => return Err(SpecError::Drift(text.into())),
        };
        if ppm.abs() > DRIFT_MAX_PPM {
            return Err(SpecError::TooFast(ppm));
        }
        Ok(Self(ppm))
    }
}

/// A step of a clock some time after the start; it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jump {
    /// How far, from where the clock is then.
    pub by: Shift,
    /// When, after the start.
    pub at: Span,
}

impl FromStr for Jump {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (by, at) = text
            .split_once('@')
            .ok_or_else(|| SpecError::Jump(text.into()))?;
        Ok(Self {
            by: by.parse()?,
            at: at.parse()?,
        })
    }
}

/// A clock that steps away and back, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strobe {
    /// How far away.
    pub by: Shift,
    /// How long it stays at each end.
    pub every: Span,
}

impl FromStr for Strobe {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut words = text.split_whitespace();
        let (Some(by), Some("every"), Some(every), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(SpecError::Strobe(text.into()));
        };
        let strobe = Self {
            by: by.trim_start_matches('±').parse()?,
            every: every.parse()?,
        };
        if strobe.every.0.as_nanos() < u128::from(STROBE_MIN_NS) {
            return Err(SpecError::TooOften(strobe.every));
        }
        Ok(strobe)
    }
}

/// A date, in nanoseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Date(pub i64);

impl FromStr for Date {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let bad = |reason: String| SpecError::Date {
            text: text.into(),
            reason,
        };
        let stamp = match text.parse::<Timestamp>() {
            Ok(stamp) => stamp,
            // A date without a zone is one of UTC.
            Err(_) => text
                .parse::<DateTime>()
                .and_then(|date| date.to_zoned(TimeZone::UTC))
                .map_err(|error| bad(error.to_string()))?
                .timestamp(),
        };
        i64::try_from(stamp.as_nanosecond())
            .ok()
            .filter(|ns| *ns >= 0)
            .map(Self)
            .ok_or_else(|| bad("a clock of the kernel shows 1970 to 2262".into()))
    }
}

/// One skew, as it is asked for. What does not exclude each other adds up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// A fixed distance from the true time.
    pub offset: Option<Shift>,
    /// The date to begin with.
    pub at: Option<Date>,
    /// Gains this much.
    pub drift: Option<Drift>,
    /// Stands still.
    pub freeze: bool,
    /// Steps, each at its time.
    pub jumps: Vec<Jump>,
    /// Steps to and fro.
    pub strobe: Option<Strobe>,
    /// A fixed distance drawn from the run's seed, at most this far either way.
    pub random: Option<Span>,
    /// The clocks.
    pub clocks: Clocks,
    /// Does what is refused otherwise.
    pub force: bool,
    /// System calls past the vDSO are skewed, too.
    #[serde(default)]
    pub raw: bool,
}

impl Spec {
    /// Refuses what makes no sense or cannot be shown by a clock. `until` bounds a drift.
    pub fn check(&self, until: Until) -> Result<(), SpecError> {
        let asked = [
            (self.offset.is_some(), "--offset"),
            (self.at.is_some(), "--at"),
            (self.drift.is_some(), "--drift"),
            (self.freeze, "--freeze"),
            (!self.jumps.is_empty(), "--jump"),
            (self.strobe.is_some(), "--strobe"),
            (self.random.is_some(), "--random"),
        ];
        if asked.iter().all(|(asked, _)| !asked) {
            return Err(SpecError::Nothing);
        }
        for (one, other) in [
            ("--offset", "--at"),
            ("--offset", "--random"),
            ("--at", "--random"),
            ("--freeze", "--drift"),
            ("--freeze", "--jump"),
            ("--freeze", "--strobe"),
        ] {
            let is_asked = |name| asked.contains(&(true, name));
            if is_asked(one) && is_asked(other) {
                return Err(SpecError::Both(one, other));
            }
        }
        if let Some(clock) = self.clocks.iter().find(|clock| !shows_a_date(*clock))
            && self.at.is_some()
        {
            return Err(SpecError::NoDate(clock));
        }
        self.check_reach(until)
    }

    /// The least and the most it adds to a clock that shows `now_ns`, in nanoseconds.
    fn reach(&self, now_ns: i64, until: Until) -> (i128, i128) {
        let mut low = i128::from(self.offset.unwrap_or_default().0);
        if let Some(date) = self.at {
            low = i128::from(date.0) - i128::from(now_ns);
        }
        let mut high = low;
        if let Some(random) = self.random {
            let size = i128::try_from(random.0.as_nanos()).unwrap_or(0);
            (low, high) = (low - size, high + size);
        }
        let (mut sum, mut least, mut most) = (0, 0, 0);
        for jump in &self.jumps {
            sum += i128::from(jump.by.0);
            (least, most) = (least.min(sum), most.max(sum));
        }
        (low, high) = (low + least, high + most);
        if let Some(strobe) = self.strobe {
            let by = i128::from(strobe.by.0);
            (low, high) = (low + by.min(0), high + by.max(0));
        }
        let lasts = match until {
            Until::After(span) => i128::try_from(span.0.as_nanos()).unwrap_or(0),
            Until::Forever => 0,
        };
        if self.freeze {
            low -= lasts;
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most half of `lasts`")]
        let gained = (self.drift.unwrap_or_default().0 * 1e-6 * lasts as f64) as i128;
        (low + gained.min(0), high + gained.max(0))
    }

    fn check_reach(&self, until: Until) -> Result<(), SpecError> {
        for clock in self.clocks.iter() {
            let now = clock.timescale().now_ns();
            let (low, high) = self.reach(now, until);
            let shift = |by: i128| {
                let most = i128::from(i64::MAX);
                Shift(i64::try_from(by.clamp(-most, most)).unwrap_or(0))
            };
            if !shows_a_date(clock) && !self.force && self.runs_backwards() {
                return Err(SpecError::Backwards(clock));
            }
            // What stands still shows what it showed, however far the true time goes on.
            let low = if self.freeze {
                low.max(-i128::from(now))
            } else {
                low
            };
            if i128::from(now) + low < 0 {
                return Err(SpecError::Beyond {
                    clock,
                    shift: shift(low),
                    beyond: if shows_a_date(clock) {
                        "before 1970"
                    } else {
                        "before the boot"
                    },
                });
            }
            if i128::from(now) + high > i128::from(i64::MAX) {
                return Err(SpecError::Beyond {
                    clock,
                    shift: shift(high),
                    beyond: "after 2262, which the kernel's 64-bit nanoseconds do not hold",
                });
            }
        }
        Ok(())
    }

    fn runs_backwards(&self) -> bool {
        self.offset.is_some_and(|offset| offset.0 < 0)
            || self.jumps.iter().any(|jump| jump.by.0 < 0)
            || self.strobe.is_some()
            || self.random.is_some()
    }

    /// What the user should know before.
    pub fn warnings(&self) -> Vec<String> {
        let steady: Vec<_> = self
            .clocks
            .iter()
            .filter(|clock| !shows_a_date(*clock))
            .collect();
        let Some(clock) = steady.first() else {
            return Vec::new();
        };
        vec![format!(
            "{clock} is skewed: waits of the target may last shorter or longer, and the clock steps back when \
             the skew ends"
        )]
    }
}

fn shows_a_date(clock: Clock) -> bool {
    matches!(clock.timescale(), Timescale::Realtime | Timescale::Tai)
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.offset.map(|offset| format!("offset {offset}")));
        words.extend(self.at.map(|date| {
            let stamp = Timestamp::from_nanosecond(date.0.into()).unwrap_or_default();
            format!("at {stamp}")
        }));
        words.extend(
            self.random
                .map(|span| format!("random offset of at most {span}")),
        );
        words.extend(self.drift.map(|drift| format!("drift {:+} ppm", drift.0)));
        words.extend(self.freeze.then(|| "freeze".to_owned()));
        words.extend(
            self.jumps
                .iter()
                .map(|jump| format!("jump {} at {}", jump.by, jump.at)),
        );
        words.extend(
            self.strobe
                .map(|strobe| format!("strobe {} every {}", strobe.by, strobe.every)),
        );
        write!(f, "{} of {}", words.join(", "), self.clocks)?;
        f.write_str(if self.raw { ", raw calls too" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Until {
        Until::After(text.parse().unwrap())
    }

    #[test]
    fn clocks_are_read_by_word_and_by_the_kernels_name() {
        for (text, names, written) in [
            ("realtime", 4, "realtime"),
            ("realtime,monotonic", 6, "realtime,monotonic"),
            ("CLOCK_REALTIME", 1, "CLOCK_REALTIME"),
            (
                "boottime, CLOCK_REALTIME_COARSE",
                3,
                "boottime,CLOCK_REALTIME_COARSE",
            ),
            ("tai", 1, "tai"),
        ] {
            let clocks: Clocks = text.parse().unwrap();
            assert_eq!(clocks.iter().count(), names, "{text}");
            assert_eq!(clocks.to_string(), written);
        }
        for text in ["", ",", "wall", "CLOCK_THREAD_CPUTIME_ID", "Realtime"] {
            assert!(text.parse::<Clocks>().is_err(), "{text}");
        }
    }

    #[test]
    fn parts_of_a_skew_are_read() {
        for (text, ppm) in [("200ppm", 200.0), ("-1%", -10_000.0), ("50%", 500_000.0)] {
            assert_eq!(text.parse::<Drift>().unwrap(), Drift(ppm), "{text}");
        }
        for text in ["51%", "-600000", "fast", "", "1e3", "inf", "NaN"] {
            assert!(text.parse::<Drift>().is_err(), "{text}");
        }
        let jump: Jump = "-5s@10s".parse().unwrap();
        assert_eq!((jump.by.0, jump.at.0.as_secs()), (-5_000_000_000, 10));
        let strobe: Strobe = "±250ms every 10ms".parse().unwrap();
        assert_eq!(strobe.by.0, 250_000_000);
        for text in [
            "250ms",
            "250ms each 10ms",
            "250ms every 10us",
            "1s every 1s please",
        ] {
            assert!(text.parse::<Strobe>().is_err(), "{text}");
        }
        assert_eq!(
            "1970-01-01T00:00:01Z".parse::<Date>().unwrap().0,
            1_000_000_000
        );
        assert_eq!("1970-01-02".parse::<Date>().unwrap().0, 86_400_000_000_000);
        for text in ["", "soon", "1960-01-01", "3000-01-01", "2021-02-30"] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let offset = |text: &str| Spec {
            offset: Some(text.parse().unwrap()),
            ..Spec::default()
        };
        let monotonic = |spec: Spec| Spec {
            clocks: "monotonic".parse().unwrap(),
            ..spec
        };
        assert_eq!(Spec::default().check(after("1s")), Err(SpecError::Nothing));
        let both = Spec {
            freeze: true,
            drift: Some(Drift(1.0)),
            ..Spec::default()
        };
        assert!(matches!(both.check(after("1s")), Err(SpecError::Both(..))));
        for (spec, says) in [
            (offset("-700000h"), "before 1970"),
            (offset("2500000h"), "after 2262"),
            (monotonic(offset("-1s")), "never runs backwards"),
            (
                monotonic(Spec {
                    at: Some(Date(0)),
                    ..Spec::default()
                }),
                "has none",
            ),
        ] {
            let error = spec.check(after("1s")).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(offset("-10m").check(Until::Forever), Ok(()));
        assert_eq!(monotonic(offset("+2s")).check(after("1s")), Ok(()));
        assert_eq!(monotonic(offset("+2s")).warnings().len(), 1);
        let forced = Spec {
            force: true,
            ..monotonic(offset("-1ms"))
        };
        assert_eq!(forced.check(after("1s")), Ok(()));
        let frozen = Spec {
            freeze: true,
            ..Spec::default()
        };
        assert_eq!(frozen.check(after("720h")), Ok(()));
    }
}
