//! Trouble is a contradiction as a checker finds it, before it is put into the words of a witness.

use super::{proof::Proof, sighting::Fact, words::Words};
use crate::verdict::{Judgement, MemberRow, Verdict, Witness};

/// A contradiction.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// The first revision it concerns.
    pub revision: i64,
    /// The fragment of the judgement.
    pub reason: String,
    /// The sentence of the witness.
    pub sentence: String,
    /// The facts, with whether they clash or set the scene.
    pub facts: Vec<(Fact, bool)>,
    /// What the members hold around it.
    pub members: Vec<MemberRow>,
}

impl Trouble {
    /// The judgement on `promise`, with the facts of `proof`.
    pub fn judgement(&self, promise: &str, words: &Words<'_>, proof: &Proof) -> Judgement {
        let mut facts = proof.facts.clone();
        facts.sort_by_key(|(fact, _)| words.time(*fact));
        facts.dedup();
        Judgement {
            promise: promise.into(),
            verdict: Verdict::Broken,
            reason: self.reason.clone(),
            witness: Some(Witness {
                sentence: self.sentence.clone(),
                lines: facts
                    .into_iter()
                    .map(|(fact, clashes)| words.line(fact, clashes))
                    .collect(),
                members: self.members.clone(),
                confirmed: proof.is_confirmed,
            }),
        }
    }
}
