//! Verdicts are what a run concluded: the worst of its selected promises, each promise with its reason and
//! witness, how the run ended, and what it left behind.
//!
//! `verdict.json` holds one value of [`Verdicts`]; the same value on one line ends the output under `--json`.

use std::fmt;

use murphy_check::verdict::{Judgement, MemberRow, Report, Vacuity, Verdict, Witness, WitnessLine};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::request::Request;

/// Version of `verdict.json` this crate writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// What a run concluded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// Always `verdict`.
    pub event: String,
    /// Version of the format.
    pub version: u32,
    /// The worst verdict of the selected promises; undecided at best when one of them was not
    /// judged, or none at all.
    pub verdict: Verdict,
    /// Every promise that was judged, in the model's order.
    #[serde(with = "by_name")]
    pub promises: Vec<(String, Promise)>,
    /// The promises that decide the verdict; all when empty.
    pub selected: Vec<String>,
    /// What the verdicts rest on.
    pub vacuity: Vacuity,
    /// How the run ended.
    pub ending: Ending,
    /// What became of the injections.
    pub cleanup: Cleanup,
    /// How long the run lasted.
    pub duration_ns: u64,
    /// Where everything random came from.
    pub seed: u64,
    /// The run folder, as it was named.
    pub run: String,
}

/// The verdict on one promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, as a fragment.
    pub reason: String,
    /// The violation in one or two sentences, when broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// The invocations that contradict each other, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witness: Vec<WitnessLine>,
    /// What each member says of the revisions around the violation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberRow>,
    /// Whether a second checker finds the same contradiction in the witness alone; `None` without a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ending {
    /// When its time was over.
    Completed,
    /// At the first broken promise.
    FirstBroken,
    /// Somebody asked it to.
    Interrupted,
    /// It could not go on.
    Stopped {
        /// Why, as a sentence without its full stop, such as `n1 never became healthy`.
        reason: String,
    },
}

/// What became of the injections of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleanup {
    /// Injections made.
    pub injections: u64,
    /// Those undone or over by themselves.
    pub undone: u64,
    /// What is left on the machine, each as a fragment that names it.
    pub left: Vec<String>,
}

impl Cleanup {
    /// Whether nothing is left.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.undone >= self.injections
    }
}

/// How a run came out, from those who ran and judged it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the checker says.
    pub report: Report,
    /// How the run ended.
    pub ending: Ending,
    /// What became of the injections.
    pub cleanup: Cleanup,
    /// How long the run lasted.
    pub duration_ns: u64,
}

impl Verdicts {
    /// The verdicts of the run that `request` asked for, in the folder named `run`.
    pub fn new(request: &Request, run: &str, outcome: Outcome) -> Self {
        let Outcome {
            report,
            ending,
            cleanup,
            duration_ns,
        } = outcome;
        Self {
            event: "verdict".into(),
            version: VERSION,
            verdict: overall(&report, &request.promises),
            promises: report.judgements.into_iter().map(named).collect(),
            selected: request.promises.clone(),
            vacuity: report.vacuity,
            ending,
            cleanup,
            duration_ns,
            seed: request.seed,
            run: run.into(),
        }
    }

    /// Whether `promise` decides the verdict.
    pub fn is_selected(&self, promise: &str) -> bool {
        self.selected.is_empty() || self.selected.iter().any(|s| s == promise)
    }

    /// The promises with the overall verdict that decide it, in the model's order.
    pub fn deciding(&self) -> impl Iterator<Item = (&str, &Promise)> {
        self.promises
            .iter()
            .filter(|(name, p)| p.verdict == self.verdict && self.is_selected(name))
            .map(|(name, p)| (name.as_str(), p))
    }
}

/// The worst verdict of the selected promises. One that was not judged is undecided, and so is a run in which
/// none was: silence is no evidence.
fn overall(report: &Report, selected: &[String]) -> Verdict {
    let judged = |promise: &String| report.judgements.iter().any(|j| j.promise == *promise);
    let verdict = report.verdict(selected);
    if report.judgements.is_empty() || !selected.iter().all(judged) {
        return verdict.max(Verdict::Undecided);
    }
    verdict
}

fn named(judgement: Judgement) -> (String, Promise) {
    let mut promise = Promise {
        verdict: judgement.verdict,
        reason: judgement.reason,
        sentence: None,
        witness: Vec::new(),
        members: Vec::new(),
        confirmed: None,
    };
    if let Some(Witness {
        sentence,
        lines,
        members,
        confirmed,
    }) = judgement.witness
    {
        promise.sentence = Some(sentence);
        promise.witness = lines;
        promise.members = members;
        promise.confirmed = Some(confirmed);
    }
    (judgement.promise, promise)
}

/// An object whose names keep their order.
mod by_name {
    use super::{Deserializer, MapAccess, Promise, Serializer, Visitor, fmt};

    pub fn serialize<S: Serializer>(
        promises: &[(String, Promise)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(promises.iter().map(|(name, promise)| (name, promise)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Promise)>, D::Error> {
        deserializer.deserialize_map(InOrder)
    }

    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<(String, Promise)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with one member for each promise")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut promises = Vec::new();
            while let Some(entry) = map.next_entry()? {
                promises.push(entry);
            }
            Ok(promises)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[(&str, Verdict)]) -> Report {
        let judgements = verdicts.iter().map(|(promise, verdict)| Judgement {
            promise: (*promise).into(),
            verdict: *verdict,
            reason: String::new(),
            witness: None,
        });
        Report {
            judgements: judgements.collect(),
            vacuity: Vacuity::default(),
        }
    }

    #[test]
    fn the_overall_verdict_is_the_worst_selected_and_silence_is_no_evidence() {
        use Verdict::{Broken, Held, Undecided};
        for (judged, selected, expected) in [
            (vec![("a", Held), ("b", Held)], vec![], Held),
            (vec![("a", Held), ("b", Broken)], vec![], Broken),
            (vec![("a", Held), ("b", Broken)], vec!["a"], Held),
            (vec![("a", Undecided), ("b", Broken)], vec!["a"], Undecided),
            (vec![], vec![], Undecided),
            (vec![("a", Held)], vec!["a", "b"], Undecided),
            (vec![("a", Broken)], vec!["a", "b"], Broken),
        ] {
            let selected: Vec<String> = selected.into_iter().map(Into::into).collect();
            assert_eq!(
                overall(&report(&judged), &selected),
                expected,
                "{judged:?} {selected:?}"
            );
        }
    }
}
