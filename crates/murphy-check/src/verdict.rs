//! A verdict is what a checker says of one promise: held, broken with a witness, or undecided with a
//! reason.

use serde::{Deserialize, Serialize};

/// The three answers, from best to worst for [`Verdict::worst`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing in the history contradicts the promise, and something could have.
    Held,
    /// The history does not tell, for the reason given.
    Undecided,
    /// The witness contradicts the promise.
    Broken,
}

impl Verdict {
    /// The worst of several; held when there are none.
    pub fn worst(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().max().unwrap_or(Self::Held)
    }

    /// `held`, `broken` or `undecided`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "broken",
            Self::Undecided => "undecided",
        }
    }
}

/// The verdict on one promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The promise, such as `members-agree`.
    pub promise: String,
    /// The verdict.
    pub verdict: Verdict,
    /// One fragment that says why, such as `revision 4017 has two contents`.
    pub reason: String,
    /// The smallest contradiction, when broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

/// The smallest part of a history that cannot be true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// The violation in one or two sentences, with values, members and times.
    pub sentence: String,
    /// The invocations that contradict each other, in order of time.
    pub lines: Vec<WitnessLine>,
    /// What each member says of the revisions around the violation; empty where members play no part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberRow>,
    /// Whether a second, independent checker finds the same contradiction in these lines alone.
    pub confirmed: bool,
}

/// One invocation of a witness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WitnessLine {
    /// Index of the event that carries the fact (the answer, where there is one).
    pub index: u64,
    /// Its line in the history, from 1.
    pub line: u64,
    /// The member asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The client.
    pub process: String,
    /// When it was asked, ns since the start of the run.
    pub start_ns: u64,
    /// When it was answered; `None` for never.
    pub end_ns: Option<u64>,
    /// A few words for the bar of a picture, such as `put k/88`.
    pub label: String,
    /// A few words for what the member answered or holds, such as `4017 = k/88`.
    pub answer: String,
    /// The whole fact as a sentence.
    pub text: String,
    /// True for the lines that clash, false for those that set the scene.
    pub clashes: bool,
}

/// What the members hold at one revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberRow {
    /// `4017`, or `hash at 4017`.
    pub what: String,
    /// Member and what it says, in the order of the header's nodes.
    pub cells: Vec<(String, String)>,
}

/// Figures that tell whether a history could have shown a violation at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vacuity {
    /// Invocations by clients.
    pub operations: u64,
    /// Those open at some time while a fault acted.
    pub operations_during_faults: u64,
    /// Reads answered.
    pub reads: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Invocations with unknown outcome.
    pub unknown: u64,
    /// Invocations that certainly did not happen.
    pub failed: u64,
    /// Watch events compared with the order of revisions.
    pub watch_events: u64,
    /// Watch streams.
    pub watch_streams: u64,
    /// Faults that acted.
    pub faults: u64,
}

/// Everything a check says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One judgement for each promise of the model, in the model's order.
    pub judgements: Vec<Judgement>,
    /// What the verdicts rest on.
    pub vacuity: Vacuity,
}

impl Report {
    /// The worst verdict among `promises`; all of them when the list is empty. A promise that was asked for and not
    /// judged is undecided.
    pub fn verdict(&self, promises: &[String]) -> Verdict {
        let selected = |j: &&Judgement| promises.is_empty() || promises.contains(&j.promise);
        let judged = self.judgements.iter().filter(selected).map(|j| j.verdict);
        let is_missing = |promise: &String| self.judgements.iter().all(|j| j.promise != *promise);
        let missing = promises
            .iter()
            .any(is_missing)
            .then_some(Verdict::Undecided);
        Verdict::worst(judged.chain(missing))
    }
}

/// A judgement without a witness.
pub(crate) fn plain(promise: &str, verdict: Verdict, reason: impl Into<String>) -> Judgement {
    Judgement {
        promise: promise.into(),
        verdict,
        reason: reason.into(),
        witness: None,
    }
}
