//! A mode is how many of those a target names are hit.

use std::{fmt, num::NonZeroU32, str::FromStr};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A whole number of per cent from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(u8);

impl Percentage {
    /// The number, from 1 to 100.
    pub fn get(self) -> u8 {
        self.0
    }

    /// So much of `all`, rounded up.
    fn of(self, all: usize) -> usize {
        (all * usize::from(self.0)).div_ceil(100)
    }
}

impl FromStr for Percentage {
    type Err = ();

    /// Reads `30%` or `30`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        match digits.parse() {
            Ok(number @ 1..=100) => Ok(Self(number)),
            _ => Err(()),
        }
    }
}

/// How many of those named are hit: a container counts as one, and so does a process named otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Mode {
    /// `all` of them.
    #[default]
    All,
    /// `one` of them.
    One,
    /// `fixed=N`: so many, or all where there are fewer.
    Fixed(NonZeroU32),
    /// `percent=P`: so many of a hundred, rounded up, at least one.
    Percent(Percentage),
    /// `random-max-percent=P`: as `percent`, of a whole number drawn from 1 to P.
    RandomMaxPercent(Percentage),
}

/// Why a text is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// It is none of the words.
    #[error("read mode {text:?}: it is none of all, one, fixed=N, percent=P, random-max-percent=P")]
    Unknown {
        /// What was written.
        text: String,
    },
    /// It hits nobody, or is no number.
    #[error("read mode {text:?}: {value:?} is not a whole number from 1")]
    BadCount {
        /// What was written.
        text: String,
        /// The part after the equals sign.
        value: String,
    },
    /// It hits nobody, or more than there are, or is no number.
    #[error("read mode {text:?}: {value:?} is not a whole percentage from 1 to 100")]
    BadPercentage {
        /// What was written.
        text: String,
        /// The part after the equals sign.
        value: String,
    },
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let percentage = |value: &str| {
            value.parse().map_err(|()| ModeError::BadPercentage {
                text: text.to_owned(),
                value: value.to_owned(),
            })
        };
        match text.split_once('=') {
            None if text == "all" => Ok(Self::All),
            None if text == "one" => Ok(Self::One),
            Some(("fixed", value)) => match value.parse() {
                Ok(count) if !value.starts_with('+') => Ok(Self::Fixed(count)),
                _ => Err(ModeError::BadCount {
                    text: text.to_owned(),
                    value: value.to_owned(),
                }),
            },
            Some(("percent", value)) => percentage(value).map(Self::Percent),
            Some(("random-max-percent", value)) => percentage(value).map(Self::RandomMaxPercent),
            _ => Err(ModeError::Unknown {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::One => f.write_str("one"),
            Self::Fixed(count) => write!(f, "fixed={count}"),
            Self::Percent(Percentage(number)) => write!(f, "percent={number}%"),
            Self::RandomMaxPercent(Percentage(number)) => {
                write!(f, "random-max-percent={number}%")
            }
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = ModeError;

    fn try_from(text: String) -> Result<Self, ModeError> {
        text.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl Mode {
    /// Which of `all` things are hit: their positions, rising. The same seed draws the same ones.
    pub fn draw(self, all: usize, seed: u64) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let wanted = match self {
            Self::All => all,
            Self::One => 1,
            Self::Fixed(count) => usize::try_from(count.get()).unwrap_or(all),
            Self::Percent(percentage) => percentage.of(all),
            Self::RandomMaxPercent(Percentage(most)) => {
                Percentage(rng.random_range(1..=most)).of(all)
            }
        };
        let mut places: Vec<usize> = (0..all).collect();
        for place in 0..wanted.min(all) {
            let other = rng.random_range(place..all);
            places.swap(place, other);
        }
        places.truncate(wanted);
        places.sort_unstable();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> Mode {
        text.parse().unwrap()
    }

    #[test]
    fn each_mode_is_read_and_written_back() {
        for text in [
            "all",
            "one",
            "fixed=3",
            "percent=30%",
            "random-max-percent=100%",
        ] {
            assert_eq!(mode(text).to_string(), text);
        }
        assert_eq!(mode("percent=30"), mode("percent=30%"));
    }

    #[test]
    fn a_mode_that_hits_nobody_or_more_than_all_is_refused() {
        for text in [
            "",
            "All",
            "two",
            "all=1",
            "fixed",
            "fixed=",
            "fixed=0",
            "fixed=-1",
            "fixed=+1",
            "percent=0",
            "percent=0%",
            "percent=101",
            "percent=1.5",
            "percent=+3",
            "percent=%",
            "percent=30%%",
            "random-max-percent=0",
            "random-max-percent=x",
        ] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_round_up_and_are_never_more_than_all() {
        for (text, all, drawn) in [
            ("all", 7, 7),
            ("all", 0, 0),
            ("one", 7, 1),
            ("one", 0, 0),
            ("fixed=3", 7, 3),
            ("fixed=9", 7, 7),
            ("percent=1", 7, 1),
            ("percent=50", 7, 4),
            ("percent=100", 7, 7),
            ("percent=30", 10, 3),
            ("percent=31", 10, 4),
            ("random-max-percent=1", 50, 1),
        ] {
            let places = mode(text).draw(all, 5);
            assert_eq!(places.len(), drawn, "{text} of {all}");
            assert!(places.iter().all(|place| *place < all));
            assert!(places.is_sorted() && places.windows(2).all(|two| two[0] != two[1]));
        }
    }

    #[test]
    fn a_seed_draws_the_same_ones_and_seeds_differ() {
        let draws: Vec<_> = (0..64).map(|seed| mode("fixed=2").draw(9, seed)).collect();
        let again: Vec<_> = (0..64).map(|seed| mode("fixed=2").draw(9, seed)).collect();
        assert_eq!(draws, again);
        assert!((0..9).all(|place| draws.iter().any(|draw| draw.contains(&place))));
    }

    #[test]
    fn a_random_share_is_drawn_from_one_per_cent_to_the_most() {
        let sizes: Vec<_> = (0..500)
            .map(|seed| mode("random-max-percent=40").draw(100, seed).len())
            .collect();
        assert_eq!(
            (sizes.iter().min(), sizes.iter().max()),
            (Some(&1), Some(&40))
        );
    }
}
