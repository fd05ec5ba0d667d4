//! Promise `linearizable` of any model, and how a contradiction is told.

use super::words::Teller;
use crate::{
    etcd::{
        trouble::plain,
        words::{counted, grouped},
    },
    model::{OperationOf, Vocabulary},
    picture::Explanation,
    recording::Recording,
    search::{self, Found, Illegal, Limits, linearize},
    shrink::{Shrunk, shrink},
    verdict::{Judgement, Verdict, Witness},
};

/// The promise's name.
pub(super) const PROMISE: &str = "linearizable";

/// A history about to be judged.
pub(super) struct Case<'a, M: Vocabulary> {
    pub model: &'a M,
    pub recording: &'a Recording,
    pub operations: &'a [OperationOf<M>],
    pub limits: &'a Limits,
}

impl<M: Vocabulary + Sync> Case<'_, M>
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    /// The judgement, and how far the search got where it is broken.
    pub fn linearizable(&self) -> (Judgement, Option<Explanation>) {
        let answered = self
            .operations
            .iter()
            .filter(|operation| operation.answer.is_some())
            .count();
        let tells = |operation: &OperationOf<M>| {
            (operation.answer.as_ref())
                .is_some_and(|answer| self.model.tells(&operation.ask, answer))
        };
        if !self.operations.iter().any(tells) {
            let reason = match answered {
                0 => "no operation was answered",
                _ => "no answer says anything that could be wrong",
            };
            return (plain(PROMISE, Verdict::Undecided, reason), None);
        }
        let verdict = linearize(self.model, self.operations, self.limits);
        match verdict.found {
            Found::Legal => {
                let order = if verdict.parts == 1 {
                    "one order"
                } else {
                    "one order for each key"
                };
                let reason = format!(
                    "{} in {order}",
                    counted(self.operations.len() as u64, "operation")
                );
                (plain(PROMISE, Verdict::Held, reason), None)
            }
            Found::Undecided { why, explored } => {
                let reason = format!("{why}, after {}", counted(explored, "configuration"));
                (plain(PROMISE, Verdict::Undecided, reason), None)
            }
            Found::Illegal(illegal) => {
                let part = search::Case {
                    initial: vec![self.model.initial()],
                    operations: verdict
                        .part
                        .iter()
                        .map(|at| &self.operations[*at as usize])
                        .collect(),
                };
                let shrunk = shrink(self.model, &part, &illegal);
                let explanation = self.explanation(&part, &illegal);
                (self.broken(&shrunk, verdict.parts), Some(explanation))
            }
        }
    }

    fn broken(&self, shrunk: &Shrunk<M>, parts: usize) -> Judgement {
        let teller = Teller {
            model: self.model,
            recording: self.recording,
        };
        let needed = shrunk
            .operations
            .iter()
            .filter(|operation| operation.answer.is_some())
            .count();
        let within = if parts > 1 {
            format!("1 of {} keys, ", grouped(parts as u64))
        } else {
            String::new()
        };
        Judgement {
            promise: PROMISE.into(),
            verdict: Verdict::Broken,
            reason: format!(
                "{within}smallest witness {needed} of {}{}",
                counted(self.operations.len() as u64, "operation"),
                if shrunk.is_minimal {
                    ""
                } else {
                    " (not made smaller for want of time)"
                }
            ),
            witness: Some(Witness {
                sentence: teller.sentence(shrunk),
                lines: shrunk
                    .operations
                    .iter()
                    .map(|operation| teller.line(operation))
                    .collect(),
                members: Vec::new(),
                confirmed: shrunk.is_confirmed,
            }),
        }
    }

    /// The longest order there is in the window of the contradiction, and what stands in the way of a longer one.
    fn explanation(&self, part: &search::Case<'_, M>, illegal: &Illegal<M::State>) -> Explanation {
        let teller = Teller {
            model: self.model,
            recording: self.recording,
        };
        let number = |position: u32| part.operations[position as usize].number;
        let state = illegal
            .longest
            .last()
            .map_or(&illegal.before, |(_, state)| state);
        let done: Vec<_> = illegal
            .longest
            .iter()
            .map(|(position, _)| *position)
            .collect();
        let left = illegal
            .window
            .iter()
            .filter(|position| !done.contains(position));
        let left: Vec<_> = left
            .map(|position| part.operations[*position as usize])
            .collect();
        let first_end = left
            .iter()
            .filter(|o| o.answer.is_some())
            .map(|o| o.end)
            .min()
            .unwrap_or(u64::MAX);
        let next = left
            .iter()
            .filter(|operation| operation.call <= first_end && operation.answer.is_some());
        let blocked = next.map(|operation| (operation.number, teller.blocked(operation, state)));
        Explanation {
            promise: PROMISE.into(),
            part: None,
            longest: done.iter().map(|position| number(*position)).collect(),
            states: illegal
                .longest
                .iter()
                .map(|(_, state)| self.model.say_state(state))
                .collect(),
            blocked: blocked.collect(),
        }
    }
}
