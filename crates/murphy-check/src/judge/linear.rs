//! Promise `linearizable` of any model, and how a contradiction is told.

use std::time::Instant;

use rustc_hash::FxHashSet;

use super::{
    quick::{Monitored, Quick, accesses, is_plain},
    words::Teller,
};
use crate::{
    model::OperationOf,
    monitors::Outcome,
    picture::Explanation,
    recording::Recording,
    search::{self, Found, Illegal, Limits, linearize},
    sequential,
    sessions::{self, Guarantee},
    shrink::{Shrunk, shrink, shrink_sequential},
    text::{counted, grouped},
    verdict::{Judgement, Verdict, Witness, plain},
};

/// The promise's name.
pub(crate) const PROMISE: &str = "linearizable";

/// So many states at the end of the longest order are put into words: a large state after each of many steps would be
/// more text than there is memory.
const STATES_SAID: usize = 1_000;

/// Sequential consistency (Lamport, 1979).
pub(super) const SEQUENTIAL: &str = "sequential";

/// Steps that the search for a sequential order may take: it is asked only where there is no linearizable one.
const STEPS: u64 = 4_000_000;

/// A history about to be judged.
pub(super) struct Case<'a, M: Quick> {
    pub model: &'a M,
    pub recording: &'a Recording,
    pub operations: &'a [OperationOf<M>],
    pub limits: &'a Limits,
}

impl<M: Quick + Sync> Case<'_, M>
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    /// Every judgement, and how far the search got where there is no order. Whoever is linearizable keeps every promise
    /// that speaks of less.
    pub fn judge(&self) -> (Vec<Judgement>, Option<Explanation>) {
        let sessions = || Guarantee::ALL.iter().map(|guarantee| guarantee.name());
        let has_sessions = is_plain(self.model, self.operations);
        let lesser = || {
            [SEQUENTIAL]
                .into_iter()
                .chain(sessions().filter(|_| has_sessions))
        };
        let all = |first: Judgement, verdict, reason: &str| {
            let lesser = lesser().map(|promise| plain(promise, verdict, reason));
            [first].into_iter().chain(lesser).collect()
        };
        if let Some(reason) = self.vacuous() {
            let first = plain(PROMISE, Verdict::Undecided, reason);
            return (all(first, Verdict::Undecided, reason), None);
        }
        let (linearizable, explanation) = self.linearizable();
        if linearizable.verdict == Verdict::Held {
            let reason = "as the history is linearizable";
            return (all(linearizable, Verdict::Held, reason), None);
        }
        let mut judgements = vec![linearizable, self.sequential()];
        judgements.extend(self.sessions());
        (judgements, explanation)
    }

    /// Why the history proves nothing, if so.
    fn vacuous(&self) -> Option<&'static str> {
        let mut answers = self
            .operations
            .iter()
            .filter_map(|operation| Some((&operation.ask, operation.answer.as_ref()?)));
        match answers.clone().next() {
            None => Some("no operation was answered"),
            Some(_) if answers.any(|(ask, answer)| self.model.tells(ask, answer)) => None,
            Some(_) => Some("no answer says anything that could be wrong"),
        }
    }

    /// The judgement, and how far the search got where it is broken.
    fn linearizable(&self) -> (Judgement, Option<Explanation>) {
        if let Some(judged) = self.monitored() {
            return judged;
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
                self.contradiction(&part, &illegal, verdict.parts)
            }
        }
    }

    /// What a monitor says, where the model has one for such histories.
    fn monitored(&self) -> Option<(Judgement, Option<Explanation>)> {
        let Monitored { outcome, positions } = self.model.monitor(self.operations)?;
        match outcome {
            Outcome::Inapplicable(_) => None,
            Outcome::Linearizable => {
                let reason = format!(
                    "{} in one order",
                    counted(self.operations.len() as u64, "operation")
                );
                Some((plain(PROMISE, Verdict::Held, reason), None))
            }
            Outcome::Violation(evidence) => {
                let mut places = [evidence.operations, evidence.unseen].concat();
                places.sort_unstable();
                let places = places.iter().map(|place| positions[*place as usize]);
                let part = search::Case {
                    initial: vec![self.model.initial()],
                    operations: places.map(|at| &self.operations[at as usize]).collect(),
                };
                // The search has to agree on the few operations of the evidence, or it is asked about all.
                match search::search(self.model, &part, self.limits) {
                    Found::Illegal(illegal) => Some(self.contradiction(&part, &illegal, 1)),
                    _ => None,
                }
            }
        }
    }

    /// Promise `sequential`: one order that agrees with what each process did, whatever the time.
    fn sequential(&self) -> Judgement {
        let accesses = accesses(self.model, self.operations);
        let refuted = accesses.and_then(|(accesses, positions)| {
            let refutation = sequential::refute(&accesses)?;
            Some(
                refutation
                    .operations
                    .iter()
                    .map(|place| positions[*place as usize])
                    .collect::<Vec<_>>(),
            )
        });
        if let Some(places) = refuted {
            let few: Vec<_> = places
                .iter()
                .map(|at| &self.operations[*at as usize])
                .collect();
            let shrunk = shrink_sequential(self.model, &few, self.limits.time);
            return self.broken(SEQUENTIAL, &shrunk, 1);
        }
        let until = self.limits.time.map(|time| Instant::now() + time);
        let limits = sequential::Limits {
            memory: self.limits.memory,
            steps: STEPS,
        };
        let mut stop = || until.is_some_and(|until| Instant::now() > until);
        match sequential::search(self.model, self.operations, limits, &mut stop) {
            sequential::Outcome::Consistent { order } => {
                let reason = format!("{} in one order", counted(order.len() as u64, "operation"));
                plain(SEQUENTIAL, Verdict::Held, reason)
            }
            sequential::Outcome::Undecided(limit, explored) => {
                let why = match limit {
                    sequential::Limit::Steps => "the limit of steps was reached",
                    sequential::Limit::Memory => "the memory limit was reached",
                    sequential::Limit::Stopped => "the deadline was reached",
                };
                let explored = counted(explored.configurations, "configuration");
                plain(
                    SEQUENTIAL,
                    Verdict::Undecided,
                    format!("{why}, after {explored}"),
                )
            }
            sequential::Outcome::Broken(_) => {
                let all: Vec<_> = self.operations.iter().collect();
                let shrunk = shrink_sequential(self.model, &all, self.limits.time);
                self.broken(SEQUENTIAL, &shrunk, 1)
            }
        }
    }

    /// The promises to sessions, where the model has nothing but reads and writes.
    fn sessions(&self) -> Vec<Judgement> {
        let Some((accesses, positions)) = accesses(self.model, self.operations) else {
            return Vec::new();
        };
        let judged = Guarantee::ALL.map(|guarantee| {
            let undecided = |why: &str| plain(guarantee.name(), Verdict::Undecided, why);
            match sessions::check(&accesses, guarantee) {
                sessions::Outcome::Held => {
                    let reason = format!(
                        "{} of {}",
                        counted(accesses.len() as u64, "operation"),
                        counted(self.recording.process_count() as u64, "session")
                    );
                    plain(guarantee.name(), Verdict::Held, reason)
                }
                sessions::Outcome::Inapplicable(sessions::Inapplicable::Repeated { .. }) => {
                    undecided("a value that was read was written more than once")
                }
                sessions::Outcome::Inapplicable(sessions::Inapplicable::ReadsGoBack { .. }) => {
                    undecided("reads go back, so that no order can be told from what sessions saw")
                }
                sessions::Outcome::Violation(evidence) => {
                    let few: Vec<_> = (evidence.operations.iter())
                        .map(|place| &self.operations[positions[*place as usize] as usize])
                        .collect();
                    self.in_a_circle(guarantee, &few, &accesses, &evidence)
                }
            }
        });
        judged.into()
    }

    /// The judgement on a broken guarantee of sessions.
    fn in_a_circle(
        &self,
        guarantee: Guarantee,
        few: &[&OperationOf<M>],
        accesses: &[sessions::Operation],
        evidence: &sessions::Evidence,
    ) -> Judgement {
        let teller = self.teller();
        // The evidence alone, judged anew: it must not rest on anything else.
        let alone: Vec<_> = evidence
            .operations
            .iter()
            .map(|place| accesses[*place as usize])
            .collect();
        let again = sessions::check(&alone, guarantee);
        Judgement {
            promise: guarantee.name().into(),
            verdict: Verdict::Broken,
            reason: format!(
                "smallest witness {} of {}",
                few.len(),
                counted(self.operations.len() as u64, "operation")
            ),
            witness: Some(Witness {
                sentence: teller.circle(few),
                lines: few.iter().map(|operation| teller.line(operation)).collect(),
                members: Vec::new(),
                confirmed: matches!(again, sessions::Outcome::Violation(_)),
            }),
        }
    }

    /// The judgement on operations that have no legal order, and how far the search got.
    fn contradiction(
        &self,
        part: &search::Case<'_, M>,
        illegal: &Illegal<M::State>,
        parts: usize,
    ) -> (Judgement, Option<Explanation>) {
        let shrunk = shrink(self.model, part, illegal, self.limits.time);
        let judgement = self.broken(PROMISE, &shrunk, parts);
        (judgement, Some(self.explanation(part, illegal)))
    }

    fn teller(&self) -> Teller<'_, M> {
        Teller {
            model: self.model,
            recording: self.recording,
        }
    }

    fn broken(&self, promise: &str, shrunk: &Shrunk<M>, parts: usize) -> Judgement {
        let teller = self.teller();
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
            promise: promise.into(),
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
        let teller = self.teller();
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
        let is_done: FxHashSet<u32> = done.iter().copied().collect();
        let left = illegal
            .window
            .iter()
            .filter(|position| !is_done.contains(*position));
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
        let unsaid = illegal.longest.len().saturating_sub(STATES_SAID);
        let said = (illegal.longest.iter().enumerate()).map(|(at, (_, state))| {
            if at < unsaid {
                String::new()
            } else {
                self.model.say_state(state)
            }
        });
        Explanation {
            promise: PROMISE.into(),
            part: None,
            longest: done.iter().map(|position| number(*position)).collect(),
            states: said.collect(),
            blocked: blocked.collect(),
        }
    }
}
