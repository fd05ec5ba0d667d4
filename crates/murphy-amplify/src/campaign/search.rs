//! A search finds the rate at which a promise breaks: up from a low rate in large steps, then between the highest that was survived
//! and the lowest that was not, until these are close.

use serde::{Deserialize, Serialize};

/// How much higher the next rate is on the way up, or lower on the way down.
const STEP: f64 = 4.0;
/// How close the two are in the end.
const CLOSE: f64 = 1.5;
/// No rate is lower: nobody waits so long for a single error.
const LEAST: f64 = 0.0005;

/// What came of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    /// It was survived.
    Survived,
    /// It was not.
    Broke,
    /// Nobody knows.
    Unknown,
}

/// Which rates are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rates {
    /// Those that find where it breaks.
    #[default]
    Searched,
    /// The first alone.
    First,
}

/// Which rates are left to be tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    first: f64,
    cap: f64,
    rates: Rates,
    /// The highest rate below which nothing broke.
    survived: Option<f64>,
    /// The lowest at which something did.
    broke: Option<f64>,
    is_over: bool,
}

/// Where it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Breaking {
    /// Between these two rates.
    Between(f64, f64),
    /// At the lowest that was tried, or below.
    Below(f64),
    /// Not up to here.
    Above(f64),
}

impl Breaking {
    /// One figure for it: the geometric middle; none where nothing broke.
    pub fn rate(self) -> Option<f64> {
        match self {
            Self::Between(low, high) => Some((low * high).sqrt()),
            Self::Below(rate) => Some(rate),
            Self::Above(_) => None,
        }
    }

    /// Between which rates it begins to break: both the same where that is known as well as a search tells it; none where nothing
    /// broke.
    pub fn bounds(self) -> Option<(f64, f64)> {
        match self {
            // Something ended the search before these were close.
            Self::Between(low, high) if high > low * CLOSE => Some((low, high)),
            _ => self.rate().map(|rate| (rate, rate)),
        }
    }
}

impl Search {
    /// From a first rate up to a highest one; both from 0 to 1.
    pub fn new(first: f64, cap: f64, rates: Rates) -> Self {
        let cap = cap.clamp(0.0, 1.0);
        Self {
            // Who says a lower one means it.
            first: first.clamp(LEAST.min(cap), cap),
            cap,
            rates,
            survived: None,
            broke: None,
            is_over: false,
        }
    }

    /// The next rate to try; none when it is over.
    pub fn next(&self) -> Option<f64> {
        if self.is_over {
            return None;
        }
        match (self.survived, self.broke) {
            (None, None) => Some(self.first),
            (Some(low), None) if low < self.cap => Some((low * STEP).min(self.cap)),
            (None, Some(high)) if high > LEAST => Some((high / STEP).max(LEAST)),
            (Some(_), None) | (None, Some(_)) => None,
            (Some(low), Some(high)) => (high / low > CLOSE).then(|| (low * high).sqrt()),
        }
    }

    /// What came of the rate that was next. What nobody knows ends it.
    pub fn learn(&mut self, rate: f64, came: Came) {
        match came {
            Came::Survived => self.survived = Some(self.survived.map_or(rate, |low| low.max(rate))),
            Came::Broke => self.broke = Some(self.broke.map_or(rate, |high| high.min(rate))),
            Came::Unknown => self.is_over = true,
        }
        self.is_over |= self.rates == Rates::First;
    }

    /// Where it breaks, as far as that is known.
    pub fn breaking(&self) -> Option<Breaking> {
        match (self.survived, self.broke) {
            (Some(low), Some(high)) => Some(Breaking::Between(low, high)),
            (None, Some(high)) => Some(Breaking::Below(high)),
            (Some(low), None) => Some(Breaking::Above(low)),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(first: f64, cap: f64, breaks_at: f64) -> (Option<Breaking>, usize) {
        let mut search = Search::new(first, cap, Rates::Searched);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            let came = if rate >= breaks_at {
                Came::Broke
            } else {
                Came::Survived
            };
            search.learn(rate, came);
            tries += 1;
            assert!(tries < 50, "it ends");
        }
        (search.breaking(), tries)
    }

    #[test]
    fn the_rate_is_found_within_a_factor_from_below_and_from_above() {
        for breaks_at in [0.002, 0.01, 0.03, 0.11, 0.2, 0.5, 0.9, 1.0] {
            for first in [0.001, 0.01, 0.05, 0.5] {
                let (breaking, tries) = find(first, 1.0, breaks_at);
                let found = breaking.and_then(Breaking::rate).expect("it breaks");
                let factor = (found / breaks_at).max(breaks_at / found);
                assert!(factor <= 1.5, "{breaks_at} from {first}: {found}");
                assert!(tries <= 10, "{tries}");
            }
        }
    }

    #[test]
    fn what_does_not_break_or_at_once_is_said() {
        assert_eq!(find(0.05, 0.8, 0.9).0, Some(Breaking::Above(0.8)));
        assert_eq!(find(0.05, 0.8, 0.0).0, Some(Breaking::Below(LEAST)));
        let mut search = Search::new(0.05, 1.0, Rates::Searched);
        search.learn(0.05, Came::Unknown);
        assert_eq!((search.next(), search.breaking()), (None, None));
    }

    #[test]
    fn a_rate_alone_is_the_only_one() {
        for came in [Came::Survived, Came::Broke, Came::Unknown] {
            let mut search = Search::new(0.47, 1.0, Rates::First);
            assert_eq!(search.next(), Some(0.47));
            search.learn(0.47, came);
            assert_eq!(search.next(), None);
        }
    }

    #[test]
    fn a_search_that_was_ended_knows_between_which_rates_it_breaks() {
        let mut search = Search::new(0.25, 0.9, Rates::Searched);
        search.learn(0.25, Came::Survived);
        search.learn(0.9, Came::Broke);
        let middle = search.next().unwrap();
        search.learn(middle, Came::Unknown);
        let bounds = |search: &Search| search.breaking().and_then(Breaking::bounds);
        assert_eq!((search.next(), bounds(&search)), (None, Some((0.25, 0.9))));
        assert_eq!(Breaking::Between(0.4, 0.9).bounds(), Some((0.4, 0.9)));
        assert_eq!(Breaking::Below(0.4).bounds(), Some((0.4, 0.4)));
        assert_eq!(Breaking::Above(0.4).bounds(), None);
        let (low, high) = Breaking::Between(0.4, 0.5).bounds().unwrap();
        assert!(low.to_bits() == high.to_bits() && (0.4..0.5).contains(&low));
    }
}
