//! A witness is the smallest part of a history that cannot be of a level.
//!
//! It begins as the example of an anomaly with the reads that prove it, and loses one transaction after the other for
//! as long as what is left, judged alone and with everything else possible, is still not of the level.

use super::{
    Anomaly, Level, Options, Workload,
    brute::allows,
    examination::{Examination, World, examine},
    sentence::Teller,
    transactions::{Fate, NONE},
};
use crate::{
    recording::{Outcome, Recording},
    value::Value,
    verdict::{Witness, WitnessLine},
};

/// An example with more transactions is not made smaller one by one.
const SHRUNK_MOST: usize = 200;

/// How many examples are tried until one proves the level broken alone.
const EXAMPLES: usize = 4;

/// Proves broken levels.
pub(super) struct Prover<'r> {
    recording: &'r Recording,
    workload: Workload,
    /// Witnesses of other levels, which are tried first.
    proven: Vec<Vec<u32>>,
}

impl<'r> Prover<'r> {
    pub fn new(recording: &'r Recording, workload: Workload) -> Self {
        Self {
            recording,
            workload,
            proven: Vec::new(),
        }
    }

    /// The witness of a level that an examination with these options found broken.
    pub fn prove(
        &mut self,
        examination: &Examination<'_>,
        options: &Options,
        level: Level,
    ) -> Option<Witness> {
        let this = Broken {
            prover: self,
            options,
            level,
        };
        let findings = &examination.findings.by_anomaly;
        let mut examples: Vec<Vec<u32>> = findings
            .iter()
            .filter(|(anomaly, _)| anomaly.breaks(level) && **anomaly != Anomaly::GarbageRead)
            .map(|(_, finding)| {
                let mut example = examination.invocations(&finding.transactions);
                example.extend(examination.invocations(&finding.evidence));
                example.sort_unstable();
                example.dedup();
                example
            })
            .collect();
        examples.sort_by_key(Vec::len);
        examples.truncate(EXAMPLES);
        let tried = self.proven.iter().rev().take(EXAMPLES).cloned();
        let mut all: Vec<Vec<u32>> = tried.chain(examples).collect();
        all.dedup();
        let chosen = all.into_iter().find(|e| this.is_broken(e));
        let Some(mut chosen) = chosen else {
            return self.garbage(examination);
        };
        if chosen.len() <= SHRUNK_MOST {
            shrink(&mut chosen, |fewer| this.is_broken(fewer));
            // The search does not find everything that every order finds: then even fewer prove it.
            shrink(&mut chosen, |fewer| this.is_refuted(fewer));
        }
        let witness = this.witness(&chosen);
        self.proven.push(chosen);
        witness
    }

    /// A read of what nobody wrote rests on the whole history: it is confirmed by looking through all of it.
    fn garbage(&self, examination: &Examination<'_>) -> Option<Witness> {
        let findings = &examination.findings.by_anomaly;
        let finding = findings.get(&Anomaly::GarbageRead)?;
        let reader = *finding.transactions.first()?;
        let number = *examination.invocations(&[reader]).first()?;
        let these = &examination.these;
        let outside = these
            .of(reader)
            .iter()
            .filter(|operation| operation.is_read());
        let mut outside = outside.flat_map(|read| {
            let values = match self.workload {
                Workload::ListAppend => read.value.as_list().unwrap_or_default(),
                Workload::RwRegister => std::slice::from_ref(read.value),
            };
            values.iter().map(move |value| (read.key, value))
        });
        let (key, value) = outside.find(|(key, value)| {
            let write = these.find(*key, value);
            write.is_some_and(|write| these.fate_of(write) == Fate::Outside)
        })?;
        let key = these.keys[key as usize];
        let line = self.line(number, &[number], true);
        Some(Witness {
            sentence: format!(
                "T1 (line {}, process {}) read {value} of {key}, which nobody wrote in the whole history (garbage-read)",
                line.line, line.process
            ),
            lines: vec![line],
            members: Vec::new(),
            confirmed: !self.is_written(key, value),
        })
    }

    /// Whether any invocation asks to write a value to a key.
    fn is_written(&self, key: &Value, value: &Value) -> bool {
        self.recording.invocations.iter().any(|invocation| {
            let asked = invocation.ask.as_list().unwrap_or_default();
            asked.iter().filter_map(Value::as_list).any(|micro| {
                matches!(micro, [word, k, v] if word.as_text() != Some("r") && k == key && v == value)
            })
        })
    }

    fn line(&self, number: u32, chosen: &[u32], clashes: bool) -> WitnessLine {
        let invocation = &self.recording.invocations[number as usize];
        let name = chosen.iter().position(|n| *n == number).unwrap_or_default() + 1;
        let is_answered = invocation.outcome == Outcome::Ok;
        let process = self.recording.process(invocation.process);
        let answer = match invocation.outcome {
            Outcome::Ok => say(&invocation.answer),
            Outcome::Fail => "aborted".into(),
            Outcome::Unknown => "unknown".into(),
        };
        let asked = say(&invocation.ask);
        WitnessLine {
            index: invocation.end_index,
            line: u64::from(invocation.end_line.max(invocation.line)),
            node: invocation
                .node
                .map(|node| self.recording.node(node).to_owned()),
            process: process.to_owned(),
            start_ns: invocation.call,
            end_ns: (invocation.end != u64::MAX).then_some(invocation.end),
            label: format!("T{name}: {asked}"),
            text: if is_answered {
                format!("T{name} of process {process}: {answer}")
            } else {
                format!("T{name} of process {process}: {asked}, {answer}")
            },
            answer,
            clashes,
        }
    }
}

/// A level that is broken, and what its examination takes for granted.
struct Broken<'p, 'r> {
    prover: &'p Prover<'r>,
    options: &'p Options,
    level: Level,
}

impl<'r> Broken<'_, 'r> {
    fn examine(&self, chosen: &[u32]) -> Option<Examination<'r>> {
        let options = self.options;
        // These lines were understood before.
        examine(
            self.prover.recording,
            self.prover.workload,
            options,
            Some(chosen),
            World::Open,
        )
        .ok()
    }

    fn is_broken(&self, chosen: &[u32]) -> bool {
        self.examine(chosen)
            .is_some_and(|examination| examination.worst(self.level).is_some())
    }

    /// Whether no order at all makes these a history of the level.
    fn is_refuted(&self, chosen: &[u32]) -> bool {
        let (recording, workload) = (self.prover.recording, self.prover.workload);
        allows(recording, chosen, workload, self.options, self.level) == Some(false)
    }

    fn witness(&self, chosen: &[u32]) -> Option<Witness> {
        let examination = self.examine(chosen)?;
        let teller = Teller::new(self.prover.recording, &examination);
        let (sentence, clashing) = match examination.worst(self.level) {
            Some(anomaly) => {
                let finding = &examination.findings.by_anomaly[&anomaly];
                let clashing = examination.invocations(&finding.transactions);
                (teller.tell(anomaly), clashing)
            }
            None => (teller.tell_all(self.level), chosen.to_vec()),
        };
        let confirmed = self.is_refuted(chosen);
        let lines = chosen
            .iter()
            .map(|number| self.prover.line(*number, chosen, clashing.contains(number)))
            .collect();
        Some(Witness {
            sentence,
            lines,
            members: Vec::new(),
            confirmed,
        })
    }
}

/// Leaves out one after the other for as long as what is left is broken.
fn shrink(chosen: &mut Vec<u32>, is_broken: impl Fn(&[u32]) -> bool) {
    let mut at = chosen.len();
    while at > 0 {
        at -= 1;
        let mut fewer = chosen.clone();
        fewer.remove(at);
        if is_broken(&fewer) {
            *chosen = fewer;
            at = chosen.len();
        }
    }
}

/// Micro-operations in a few words: `append x 1, r y = [2]`.
fn say(value: &Value) -> String {
    let micros = value.as_list().unwrap_or_default().iter();
    let words = micros.map(|micro| match micro.as_list().unwrap_or_default() {
        [word, key] => format!("{word} {key}"),
        [word, key, value] if word.as_text() == Some("r") && value.is_nil() => {
            format!("{word} {key}")
        }
        [word, key, value] if word.as_text() == Some("r") => format!("{word} {key} = {value}"),
        [word, key, value] => format!("{word} {key} {value}"),
        _ => micro.to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The transaction of an invocation is found by its position; an outside one has none.
pub(super) fn is_outside(invocation: u32) -> bool {
    invocation == NONE
}
