//! A verdict is what a program does about an error that comes more often: it crashes, hangs, loses its state, does worse, or
//! carries on; or nobody knows, which is never the last.

use std::fmt;

use murphy_run::probe::Reason;
use serde::{Deserialize, Serialize};

use super::{
    effect::{Effect, Known, Tolerance},
    search::Came,
};

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As if nothing was.
    Resilient,
    /// Nobody knows.
    Inconclusive,
    /// Worse while it lasts, and well afterwards.
    Degraded,
    /// It answers afterwards, and wrongly.
    Corrupt,
    /// It lives, and does not answer afterwards.
    Hung,
    /// It has ended.
    Crashed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Resilient => "resilient",
            Self::Inconclusive => "inconclusive",
            Self::Degraded => "degraded",
            Self::Corrupt => "state corruption",
            Self::Hung => "hung",
            Self::Crashed => "crashed",
        })
    }
}

impl Verdict {
    /// Whether a promise was broken.
    pub fn is_bad(self) -> bool {
        self > Self::Inconclusive
    }

    /// What that is to a search.
    pub fn came(self) -> Came {
        match self {
            Self::Resilient => Came::Survived,
            Self::Inconclusive => Came::Unknown,
            _ => Came::Broke,
        }
    }
}

/// How the target has ended, if it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// How: `exit code 1`, `SIGABRT`, or that it is gone.
    pub how: String,
    /// What it said last.
    pub said: Vec<String>,
}

/// What is seen behind the injection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Afterwards {
    /// All probes pass again, so long after the injection had ended, in nanoseconds.
    Steady(u64),
    /// A probe does not, although there was time.
    Failing {
        /// Which.
        probe: String,
        /// Why.
        reason: Reason,
    },
    /// Nobody looked: the target had ended.
    Ended,
}

/// What came of one rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Calls that came to the dice.
    pub exposures: u64,
    /// Calls that were hit.
    pub injections: u64,
    /// Attached, and never hitting, against not attached.
    pub control: Effect,
    /// Hitting, against not attached.
    pub effect: Effect,
    /// How the target ended.
    pub death: Option<Death>,
    /// Whether it ended within the injection: what it counts of its last moments, 20 ms at most, ends with it.
    #[serde(default)]
    pub is_cut: bool,
    /// How it was behind it.
    pub afterwards: Afterwards,
    /// Whether what it keeps is right; none where nobody asks, or the validation does not say.
    pub is_valid: Option<bool>,
    /// What the validation said, where it did not say that all is right.
    #[serde(default)]
    pub validation: Option<String>,
}

/// Fewer hits say nothing of a program that carries on.
pub const INJECTIONS_LEAST: u64 = 10;

/// What that is, and why.
pub fn judge(seen: &Observed, tolerance: Tolerance) -> (Verdict, String) {
    let more = seen.effect.more;
    if let (0, true, Some(death)) = (seen.injections, seen.is_cut, &seen.death) {
        let why = format!(
            "{} at the first hits, which ended with it uncounted",
            death.how
        );
        return (Verdict::Crashed, why);
    }
    if seen.injections == 0 {
        let why = match seen.exposures {
            0 if let Some(death) = &seen.death => {
                format!("it has ended before anything was injected: {}", death.how)
            }
            0 => "no such call was made".to_owned(),
            calls => format!("none of {calls} calls was hit"),
        };
        return (Verdict::Inconclusive, why);
    }
    if let Some(death) = &seen.death {
        let why = format!("{} after {} hits", death.how, seen.injections);
        return (Verdict::Crashed, why);
    }
    if seen.control.known(tolerance) == Known::Worse {
        let why = "it did worse with nothing injected: the baseline is unstable";
        return (Verdict::Inconclusive, why.into());
    }
    match &seen.afterwards {
        Afterwards::Failing { probe, reason } if is_answer(*reason) => {
            let why = format!("{probe} answers wrongly afterwards: {reason}");
            return (Verdict::Corrupt, why);
        }
        Afterwards::Failing { probe, reason } => {
            return (
                Verdict::Hung,
                format!("{probe} does not come back: {reason}"),
            );
        }
        Afterwards::Ended => return (Verdict::Crashed, "it has ended afterwards".into()),
        Afterwards::Steady(_) => {}
    }
    match (&seen.validation, seen.is_valid) {
        (why, Some(false)) => {
            let why = why.as_ref().map(|why| format!(": {why}"));
            let why = why.unwrap_or_default();
            return (
                Verdict::Corrupt,
                format!("the validation fails afterwards{why}"),
            );
        }
        (Some(why), None) => {
            let why = format!("the validation says nothing afterwards: {why}");
            return (Verdict::Inconclusive, why);
        }
        _ => {}
    }
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let failing = format!(
        "{} % more looks fail ({} to {})",
        percent(more.value),
        percent(more.low),
        percent(more.high)
    );
    let slower = seen.effect.slower.map_or(String::new(), |slower| {
        format!(
            ", {:.2} times as slow ({:.2} to {:.2})",
            slower.value, slower.low, slower.high
        )
    });
    match seen.effect.known(tolerance) {
        Known::Worse => (Verdict::Degraded, format!("{failing}{slower}")),
        Known::Same if seen.injections < INJECTIONS_LEAST => (
            Verdict::Inconclusive,
            format!("{} hits only", seen.injections),
        ),
        Known::Same => (Verdict::Resilient, format!("{failing}{slower}")),
        Known::Unsettled => (
            Verdict::Inconclusive,
            format!("more looks would tell: {failing}{slower}"),
        ),
    }
}

/// Whether whoever was asked has answered, and wrongly.
fn is_answer(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BadAnswer
            | Reason::BadStatus
            | Reason::BadBody
            | Reason::BadBanner
            | Reason::BadExit
            | Reason::OutOfBounds
            | Reason::Unwanted
            | Reason::Absent
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::effect::Estimate;

    fn effect(low: f64, value: f64, high: f64) -> Effect {
        Effect {
            looks: [300, 300],
            failed: [0, 0],
            more: Estimate { value, low, high },
            slower: Some(Estimate {
                value: 1.0,
                low: 0.9,
                high: 1.1,
            }),
        }
    }

    fn observed() -> Observed {
        Observed {
            exposures: 1000,
            injections: 100,
            control: effect(-0.01, 0.0, 0.01),
            effect: effect(-0.01, 0.0, 0.01),
            death: None,
            is_cut: false,
            afterwards: Afterwards::Steady(1),
            is_valid: Some(true),
            validation: None,
        }
    }

    #[test]
    fn each_verdict_has_its_reason_and_the_worst_is_said() {
        let bad = || effect(0.2, 0.3, 0.4);
        let death = Death {
            how: "SIGABRT".into(),
            said: Vec::new(),
        };
        let failing = |reason| Afterwards::Failing {
            probe: "up".into(),
            reason,
        };
        let all = [
            (
                observed(),
                Verdict::Resilient,
                "0.0 % more looks fail (-1.0 to 1.0)",
            ),
            (
                Observed {
                    effect: bad(),
                    ..observed()
                },
                Verdict::Degraded,
                "30.0 % more looks fail (20.0 to 40.0)",
            ),
            (
                Observed {
                    effect: effect(0.0, 0.04, 0.1),
                    ..observed()
                },
                Verdict::Inconclusive,
                "more looks would tell",
            ),
            (
                Observed {
                    death: Some(death.clone()),
                    ..observed()
                },
                Verdict::Crashed,
                "SIGABRT after 100 hits",
            ),
            (
                Observed {
                    death: Some(death.clone()),
                    injections: 0,
                    ..observed()
                },
                Verdict::Inconclusive,
                "none of 1000 calls was hit",
            ),
            (
                Observed {
                    death: Some(death.clone()),
                    is_cut: true,
                    injections: 0,
                    ..observed()
                },
                Verdict::Crashed,
                "SIGABRT at the first hits, which ended with it uncounted",
            ),
            (
                Observed {
                    exposures: 0,
                    injections: 0,
                    ..observed()
                },
                Verdict::Inconclusive,
                "no such call was made",
            ),
            (
                Observed {
                    control: bad(),
                    effect: bad(),
                    ..observed()
                },
                Verdict::Inconclusive,
                "baseline is unstable",
            ),
            (
                Observed {
                    afterwards: failing(Reason::TimedOut),
                    ..observed()
                },
                Verdict::Hung,
                "up does not come back",
            ),
            (
                Observed {
                    afterwards: failing(Reason::BadBody),
                    ..observed()
                },
                Verdict::Corrupt,
                "up answers wrongly",
            ),
            (
                Observed {
                    is_valid: Some(false),
                    effect: bad(),
                    ..observed()
                },
                Verdict::Corrupt,
                "validation fails",
            ),
            (
                Observed {
                    is_valid: None,
                    validation: Some("it was not over within 10s".into()),
                    ..observed()
                },
                Verdict::Inconclusive,
                "the validation says nothing afterwards: it was not over",
            ),
            (
                Observed {
                    injections: 9,
                    ..observed()
                },
                Verdict::Inconclusive,
                "9 hits only",
            ),
        ];
        for (seen, expected, why) in all {
            let (verdict, said) = judge(&seen, Tolerance::default());
            assert_eq!(verdict, expected, "{said}");
            assert!(said.contains(why), "{said}");
        }
    }
}
