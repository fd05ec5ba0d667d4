//! A rule says how often an error is injected, by how often it comes by nature. It is Phoebe's (Zhang, Morin, Baudry and Monperrus,
//! "Maximizing Error Injection Realism for Chaos Engineering with System Calls"), in one definition with every number to be chosen.
//!
//! Phoebe's paper and its code disagree, and its rates leave out the intervals without the error; see docs/amplify-models.md.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an error comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Hardly ever.
    Sporadic,
    /// Now more, now less.
    Fluctuating,
    /// Always as often.
    Steady,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sporadic, Self::Fluctuating, Self::Steady];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sporadic => "sporadic",
            Self::Fluctuating => "fluctuating",
            Self::Steady => "steady",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The numbers of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// An error whose highest rate is not above this is sporadic.
    pub threshold: f64,
    /// Of the others those fluctuate whose rates have a higher variance.
    pub variance: f64,
    /// The rate of what is sporadic.
    pub fixed: f64,
    /// So many times the highest rate is that of what is steady.
    pub factor: f64,
    /// No rate is higher.
    pub cap: f64,
    /// An interval with fewer calls tells no rate: neither the highest nor the variance is of it.
    pub least_calls: u64,
    /// So many calls fail in a row at most, of errors that programs answer by calling again at once.
    pub in_a_row: u32,
}

impl Default for Rule {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the rule's {name} is {value}: {expected}")]
pub struct BadRule {
    /// Which number.
    pub name: &'static str,
    /// What it is.
    pub value: f64,
    /// What it may be.
    pub expected: &'static str,
}

impl Rule {
    /// The numbers of the paper, and what keeps a loop from having no end.
    pub const DEFAULT: Self = Self {
        threshold: 0.05,
        variance: 0.001,
        fixed: 0.05,
        factor: 1.2,
        cap: 1.0,
        least_calls: 1,
        in_a_row: 10,
    };

    /// Whether its numbers can be meant.
    pub fn check(&self) -> Result<(), BadRule> {
        let share = |name, value: f64| {
            let bad = BadRule {
                name,
                value,
                expected: "expected a share from 0 to 1",
            };
            (0.0..=1.0).contains(&value).then_some(()).ok_or(bad)
        };
        let above = |name, value: f64, least: f64, expected| {
            let bad = BadRule {
                name,
                value,
                expected,
            };
            (value >= least && value.is_finite())
                .then_some(())
                .ok_or(bad)
        };
        share("threshold", self.threshold)?;
        share("fixed", self.fixed)?;
        share("cap", self.cap)?;
        above("variance", self.variance, 0.0, "expected 0 or more")?;
        above("factor", self.factor, 1.0, "expected 1 or more")?;
        let least = self.least_calls as f64;
        above("least_calls", least, 1.0, "expected 1 or more")?;
        above("in_a_row", self.in_a_row.into(), 1.0, "expected 1 or more")
    }

    /// How an error comes whose highest rate and variance are these.
    pub fn class(&self, highest: f64, variance: f64) -> Class {
        if highest <= self.threshold {
            Class::Sporadic
        } else if variance > self.variance {
            Class::Fluctuating
        } else {
            Class::Steady
        }
    }

    /// The share of calls that is to fail in all, of an error of a class with this highest rate.
    pub fn rate(&self, class: Class, highest: f64) -> f64 {
        let rate = match class {
            Class::Sporadic => self.fixed,
            Class::Fluctuating => highest,
            Class::Steady => highest * self.factor,
        };
        rate.clamp(0.0, self.cap)
    }

    /// The rule in words: what is printed beside whatever it has decided.
    pub fn definition(&self) -> String {
        let Self {
            threshold,
            variance,
            fixed,
            factor,
            cap,
            least_calls,
            in_a_row: _,
        } = self;
        let counted = match least_calls {
            1 => "each interval in which one was made, also those in which none failed".to_owned(),
            least => format!(
                "each interval in which at least {least} were made, also those in which none failed"
            ),
        };
        format!(
            "The rate of an error is the share of the calls of its kind that fail with it. It is taken in {counted}; calls that a \
             signal has interrupted count neither as made nor as failed. `max` is the highest of these rates, `variance` that of all \
             of them (of the population). An error is sporadic if max <= {threshold}, and is injected at {fixed}; fluctuating if max > \
             {threshold} and variance > {variance}, at max; steady if max > {threshold} and variance <= {variance}, at max x {factor}; \
             never above {cap}. These are rates in all: the chance of a call is (rate - natural) / (1 - natural). `natural.rate` is the \
             share of all calls of the recording; it lies between low and high with 95 % confidence: Wilson's score interval (1927), \
             of as many calls as would tell the same if none knew of the others, by the design effect (Kish, 1965) of the intervals, \
             with the correlation of those that follow each other (Newey and West, 1987)."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_their_ends() {
        let rule = Rule::default();
        for (highest, variance, class, rate) in [
            (0.0, 0.0, Class::Sporadic, 0.05),
            (0.05, 0.5, Class::Sporadic, 0.05),
            (0.0501, 0.0011, Class::Fluctuating, 0.0501),
            (0.5, 0.001, Class::Steady, 0.6),
            (0.9, 0.0, Class::Steady, 1.0),
            (1.0, 0.06, Class::Fluctuating, 1.0),
        ] {
            assert_eq!(rule.class(highest, variance), class, "{highest} {variance}");
            assert!(
                (rule.rate(class, highest) - rate).abs() < 1e-12,
                "{highest}"
            );
        }
        let capped = Rule { cap: 0.3, ..rule };
        assert!((capped.rate(Class::Fluctuating, 0.5) - 0.3).abs() < 1e-12);
    }

    #[test]
    fn the_definition_has_every_number_of_it() {
        let rule = Rule {
            threshold: 0.111,
            variance: 0.222,
            fixed: 0.333,
            factor: 4.44,
            cap: 0.555,
            least_calls: 66,
            in_a_row: 7,
        };
        for number in ["0.111", "0.222", "0.333", "4.44", "0.555", "66"] {
            assert!(rule.definition().contains(number), "{number}");
        }
        assert!(Rule::default().check().is_ok() && rule.check().is_ok());
        let bad = Rule {
            factor: 0.5,
            ..rule
        };
        assert_eq!(
            bad.check().unwrap_err().to_string(),
            "the rule's factor is 0.5: expected 1 or more"
        );
        let bad = Rule {
            fixed: f64::NAN,
            ..rule
        };
        assert_eq!(bad.check().unwrap_err().name, "fixed");
    }
}
