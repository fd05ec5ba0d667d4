//! A teller puts operations and contradictions of any model into words.

use std::collections::HashSet;

use crate::{
    model::{OperationOf, Vocabulary, tells},
    recording::Recording,
    shrink::Shrunk,
    text::{listed, seconds},
    verdict::WitnessLine,
};

/// Most states that a sentence names.
const STATES_SAID: usize = 4;

/// How many configurations are entered to find them.
const CONFIGS_MAX: usize = 1 << 16;

pub(crate) struct Teller<'a, M: Vocabulary> {
    pub model: &'a M,
    pub recording: &'a Recording,
}

impl<M: Vocabulary> Teller<'_, M> {
    /// `read → 5`.
    fn short(&self, operation: &OperationOf<M>) -> String {
        let ask = self.model.say_ask(&operation.ask);
        match &operation.answer {
            None => format!("{ask} (no answer)"),
            Some(answer) => match self.model.say_answer(&operation.ask, answer) {
                said if said.is_empty() => ask,
                said => format!("{ask} → {said}"),
            },
        }
    }

    /// `read → 5, but there is 3`.
    pub fn blocked(&self, operation: &OperationOf<M>, state: &M::State) -> String {
        format!(
            "{}, but there is {}",
            self.short(operation),
            self.model.say_state(state)
        )
    }

    fn process(&self, operation: &OperationOf<M>) -> &str {
        self.recording.process(operation.process)
    }

    /// `1.20 s`, or `line 12` where the history has no times.
    fn moment(&self, moment: u64, line: u32) -> String {
        if self.recording.is_timed {
            seconds(moment)
        } else {
            format!("line {line}")
        }
    }

    /// `write 5 by a (1.20 s to 1.30 s)`.
    fn told(&self, operation: &OperationOf<M>) -> String {
        let invocation = &self.recording.invocations[operation.number as usize];
        let call = self.moment(invocation.call, invocation.line);
        let when = match operation.answer {
            Some(_) => format!(
                "{call} to {}",
                self.moment(invocation.end, invocation.end_line)
            ),
            None => format!("from {call} on"),
        };
        format!(
            "{} by {} ({when})",
            self.short(operation),
            self.process(operation)
        )
    }

    /// The contradiction in a sentence: the last operation of the witness, and what there may be where it comes.
    pub fn sentence(&self, shrunk: &Shrunk<M>) -> String {
        let needed: Vec<_> = shrunk
            .operations
            .iter()
            .filter(|o| o.answer.is_some())
            .collect();
        let besides = shrunk.operations.len() - needed.len();
        // Where no answer says anything, as of transfers that overdraw an account, the last one is to blame.
        let telling = needed
            .iter()
            .filter(|operation| tells(self.model, operation));
        let Some(last) = (telling.max_by_key(|o| (o.end, o.call)))
            .or_else(|| needed.iter().max_by_key(|o| (o.end, o.call)))
            .copied()
        else {
            return "The operations have no legal order.".into();
        };
        let others: Vec<_> = needed
            .iter()
            .filter(|other| other.number != last.number)
            .map(|o| self.told(o))
            .collect();
        let told = self.told(last);
        let (mut states, is_all) = self.states_before(shrunk, last);
        states.sort_unstable();
        let there = if states.is_empty() {
            "it has no place among them".to_owned()
        } else if states.len() > STATES_SAID || !is_all {
            "in none of the states that there may be then is that possible".to_owned()
        } else {
            format!("there is {} then", states.join(" or "))
        };
        let unknown = match besides {
            0 => String::new(),
            1 => ", whether or not one operation without an answer happened".into(),
            more => format!(", whichever of {more} operations without an answer happened"),
        };
        if others.is_empty() {
            return format!("{told} is impossible: {there}{unknown}.");
        }
        format!(
            "{told} is impossible after or beside {}: {there}{unknown}.",
            listed(&others)
        )
    }

    /// What sessions saw in a circle, in a sentence.
    pub fn circle(&self, few: &[&OperationOf<M>]) -> String {
        let told: Vec<_> = few.iter().map(|operation| self.told(operation)).collect();
        format!("No order of the versions fits {}.", listed(&told))
    }

    /// In words, the states there may be when `last` comes in which it is impossible; whether those are all. In others it
    /// is what comes after it that is not possible any more.
    fn states_before(&self, shrunk: &Shrunk<M>, last: &OperationOf<M>) -> (Vec<String>, bool) {
        let operations = &shrunk.operations;
        if operations.len() > 64 {
            return (Vec::new(), false);
        }
        let refs: Vec<_> = operations.iter().collect();
        let mut seen: HashSet<(u64, M::State)> = HashSet::new();
        let mut open: Vec<(u64, M::State)> = shrunk
            .initial
            .iter()
            .map(|state| (0, state.clone()))
            .collect();
        let mut states: Vec<String> = Vec::new();
        let place = (operations.iter()).position(|operation| operation.number == last.number);
        while let Some((done, state)) = open.pop() {
            if !seen.insert((done, state.clone())) {
                continue;
            }
            if seen.len() > CONFIGS_MAX {
                return (states, false);
            }
            let may_come = |bit: usize| {
                let is_left = |at: usize| done & 1 << at == 0;
                let waits_for =
                    |at: usize| is_left(at) && shrunk.precedence.comes_before(&refs, at, bit);
                !(0..refs.len()).any(waits_for)
            };
            // Where everything else that has to has happened, or can come later.
            let is_possible = self.model.allows(&state, &last.ask, last.answer.as_ref());
            if !is_possible && place.is_some_and(may_come) {
                let said = self.model.say_state(&state);
                if !states.contains(&said) {
                    states.push(said);
                }
            }
            for (at, operation) in operations.iter().enumerate() {
                if done & 1 << at == 0 && operation.number != last.number && may_come(at) {
                    self.model.step(
                        &state,
                        &operation.ask,
                        operation.answer.as_ref(),
                        &mut |next| {
                            open.push((done | 1 << at, next));
                        },
                    );
                }
            }
        }
        (states, true)
    }

    /// The line of a witness.
    pub fn line(&self, operation: &OperationOf<M>) -> WitnessLine {
        let invocation = &self.recording.invocations[operation.number as usize];
        let is_needed = operation.answer.is_some();
        let answer = match &operation.answer {
            None => "may have happened".to_owned(),
            Some(answer) => match self.model.say_answer(&operation.ask, answer) {
                said if said.is_empty() => "ok".to_owned(),
                said => said,
            },
        };
        WitnessLine {
            index: if is_needed {
                invocation.end_index
            } else {
                invocation.index
            },
            line: u64::from(if is_needed {
                invocation.end_line
            } else {
                invocation.line
            }),
            node: invocation
                .node
                .map(|node| self.recording.node(node).to_owned()),
            process: self.process(operation).to_owned(),
            start_ns: invocation.call,
            end_ns: is_needed.then_some(invocation.end),
            label: self.model.say_ask(&operation.ask),
            answer,
            text: self.told(operation),
            clashes: is_needed,
        }
    }
}
