//! A sentence says of a few transactions what is wrong with them.

use super::{
    Anomaly, Level, Workload,
    examination::Examination,
    graph::{PROCESS, REALTIME, RW, WR, WW},
    transactions::{NONE, Write},
    witness::is_outside,
};
use crate::recording::Recording;

/// Tells an anomaly of an examined part of a history.
pub(super) struct Teller<'r, 'e> {
    recording: &'r Recording,
    examination: &'e Examination<'r>,
    /// Transactions that were introduced with their line and process.
    introduced: Vec<u32>,
}

impl<'r, 'e> Teller<'r, 'e> {
    pub fn new(recording: &'r Recording, examination: &'e Examination<'r>) -> Self {
        Self {
            recording,
            examination,
            introduced: Vec::new(),
        }
    }

    /// The anomaly in one sentence.
    pub fn tell(mut self, anomaly: Anomaly) -> String {
        let finding = &self.examination.findings.by_anomaly[&anomaly];
        let transactions = &finding.transactions;
        let told = if finding.kinds.is_empty() {
            self.tell_some(anomaly, transactions)
        } else {
            self.tell_cycle(transactions, &finding.kinds)
        };
        format!("{told} ({})", anomaly.name())
    }

    /// What is left where no anomaly has a name: every order was tried.
    pub fn tell_all(mut self, level: Level) -> String {
        let shown = (0..).take(self.examination.these.list.len());
        let shown: Vec<u32> = shown
            .filter(|t| !is_outside(self.examination.these.list[*t as usize].invocation))
            .collect();
        let said: Vec<String> = shown
            .into_iter()
            .map(|transaction| {
                let reads = self.reads(transaction);
                let name = self.name(transaction);
                if reads.is_empty() {
                    name
                } else {
                    format!("{name}, which read {reads}")
                }
            })
            .collect();
        format!(
            "no order of the versions and transactions of {} is {}: all were tried",
            said.join(" and "),
            level.name()
        )
    }

    /// `T1 (line 12, process 3)`, and `T1` from the second time on.
    fn name(&mut self, transaction: u32) -> String {
        let this = &self.examination.these.list[transaction as usize];
        if is_outside(this.invocation) {
            let written = self.examination.these.of(transaction).first();
            return written.map_or_else(String::new, |write| {
                format!("the writer of {} to {}", write.value, self.key(write.key))
            });
        }
        let number = transaction + 1;
        if self.introduced.contains(&transaction) {
            return format!("T{number}");
        }
        self.introduced.push(transaction);
        let invocation = &self.recording.invocations[this.invocation as usize];
        format!(
            "T{number} (line {}, process {})",
            invocation.end_line.max(invocation.line),
            self.recording.process(invocation.process)
        )
    }

    fn key(&self, key: u32) -> String {
        self.examination.these.keys[key as usize].to_string()
    }

    fn write(&self, write: u32) -> &Write<'r> {
        &self.examination.these.writes[write as usize]
    }

    /// The reads of a transaction in words, such as `x = [1 2] and y = nil`.
    fn reads(&self, transaction: u32) -> String {
        let reads = self.examination.these.of(transaction).iter();
        let words: Vec<String> = reads
            .filter(|operation| operation.is_read())
            .map(|read| format!("{} = {}", self.key(read.key), read.value))
            .collect();
        words.join(" and ")
    }

    fn tell_some(&mut self, anomaly: Anomaly, transactions: &[u32]) -> String {
        let one = transactions.first().copied().unwrap_or_default();
        let other = transactions.get(1).copied().unwrap_or(one);
        let (reads, other_reads) = (self.reads(one), self.reads(other));
        let (one, other) = (self.name(one), self.name(other));
        match anomaly {
            Anomaly::DuplicateElements => {
                format!("{one} read {reads}, where an element comes twice that was appended once")
            }
            Anomaly::CyclicVersions(_) => format!(
                "the versions of one key that {one} and {other} wrote come before themselves in the order in which \
                 transactions used them"
            ),
            Anomaly::IncompatibleOrder => format!(
                "{one} read {reads} and {other} read {other_reads}, and neither list is a beginning of the other"
            ),
            Anomaly::G1a => {
                format!("{one} read {reads}, which has a write of {other}, and that aborted")
            }
            Anomaly::G1b => format!(
                "{one} read {reads}, which {other} overwrote before it committed, so that nobody should have seen it"
            ),
            Anomaly::DirtyUpdate => {
                format!("{other} committed an append behind one of {one}, which aborted")
            }
            Anomaly::FutureRead => format!("{one} read {reads}, which it wrote only afterwards"),
            Anomaly::Internal => {
                format!("{one} read {reads}, which is not what it had read or written before")
            }
            Anomaly::LostUpdate => format!(
                "{one} and {other} read the same version of a key ({reads}; {other_reads}) and both wrote the key, so \
                 that one update is lost"
            ),
            Anomaly::NonRepeatableRead => {
                format!("{one} read {reads}: two versions of one key, neither of which it wrote")
            }
            Anomaly::GCursor => format!(
                "{one} read {reads} and overwrote a version of {other} that it had not read"
            ),
            _ => format!(
                "{one} read {reads}, and had seen {other}, which wrote one of these keys before"
            ),
        }
    }

    fn tell_cycle(&mut self, nodes: &[u32], kinds: &[u8]) -> String {
        let is_shown =
            |node: u32| !is_outside(self.examination.these.list[node as usize].invocation);
        let count = nodes.len();
        let first = nodes
            .iter()
            .position(|node| is_shown(*node))
            .unwrap_or_default();
        // Writes that nobody shown made are of no interest between two that somebody did.
        let mut steps: Vec<(u32, u32, u8)> = Vec::new();
        for at in (0..count).map(|at| (at + first) % count) {
            let (one, other) = (nodes[at], nodes[(at + 1) % count]);
            match steps.last_mut() {
                Some((_, end, WW)) if kinds[at] == WW && !is_shown(one) => *end = other,
                _ => steps.push((one, other, kinds[at])),
            }
        }
        let steps: Vec<String> = steps
            .into_iter()
            .map(|(one, other, kind)| self.step(one, other, kind))
            .collect();
        let back = self.name(nodes[first]);
        format!("{}: so {back} would come before itself", steps.join("; "))
    }

    /// Why one transaction comes before another.
    fn step(&mut self, one: u32, other: u32, kind: u8) -> String {
        let is_list = self.examination.these.workload == Workload::ListAppend;
        let told = match kind {
            WR => self.read_of(one, other),
            RW => self.read_before(one, other),
            WW => self.written_before(one, other),
            PROCESS | REALTIME => None,
            _ => return self.demanded(one, other),
        };
        let process = self.examination.these.list[one as usize].process;
        let (one, other) = (self.name(one), self.name(other));
        match (kind, told) {
            (WR, Some((key, seen, _))) => {
                format!("{other} read {key} = {seen}, with the write of {one}")
            }
            (RW, Some((key, seen, missing))) => {
                format!("{one} read {key} = {seen} and so not the {missing} of {other}")
            }
            (WW, Some((key, earlier, later))) => format!(
                "the {later} that {other} {} {key} comes behind the {earlier} of {one}",
                if is_list { "appended to" } else { "wrote to" }
            ),
            (PROCESS, _) => format!(
                "process {} ran {one} before {other}",
                self.recording.process(process)
            ),
            (REALTIME, _) => format!("{one} was answered before {other} was asked"),
            _ => format!(
                "{one} must come before {other}, because somebody saw it and then read a key of {other} that both wrote"
            ),
        }
    }

    /// Why a level demands that one comes before another: a reader of the other had seen it.
    fn demanded(&mut self, one: u32, other: u32) -> String {
        let these = &self.examination.these;
        let writes = |transaction: u32, key: u32| {
            let mut operations = these.of(transaction).iter();
            operations.any(|own| !own.is_read() && own.key == key)
        };
        let mut observations = self.examination.observations.list.iter();
        let reader = observations.find(|seen| {
            seen.source != NONE
                && seen.transaction != one
                && self.write(seen.source).transaction == other
                && writes(one, seen.key)
        });
        let Some(reader) = reader else {
            return format!("{} comes before {}", self.name(one), self.name(other));
        };
        let value = these.of(reader.transaction)[reader.at as usize].value;
        let key = self.key(reader.key);
        let (one, other) = (self.name(one), self.name(other));
        let reader = self.name(reader.transaction);
        format!(
            "{reader} had seen {one} and read {key} = {value} of {other}, so that {one} comes before {other}"
        )
    }

    /// Key, what was read, and nothing: where one reads a write of another.
    fn read_of(&self, writer: u32, reader: u32) -> Option<(String, String, String)> {
        let these = &self.examination.these;
        let mut seen = self.examination.observations.list.iter();
        let seen = seen.find(|seen| {
            seen.transaction == reader
                && seen.source != NONE
                && self.write(seen.source).transaction == writer
        })?;
        let value = these.of(reader)[seen.at as usize].value;
        Some((self.key(seen.key), value.to_string(), String::new()))
    }

    /// Key, what was read, and the write that is not in it.
    fn read_before(&self, reader: u32, writer: u32) -> Option<(String, String, String)> {
        let these = &self.examination.these;
        let of_reader = self.examination.observations.list.iter();
        let mut missing = of_reader
            .filter(|seen| seen.transaction == reader)
            .filter_map(|seen| {
                let value = these.of(reader)[seen.at as usize].value;
                let is_missing = |write: &&super::transactions::Operation<'_>| {
                    let is_shown = value == write.value
                        || value
                            .as_list()
                            .is_some_and(|list| list.contains(write.value));
                    !write.is_read() && write.key == seen.key && !is_shown
                };
                let write = these.of(writer).iter().find(is_missing)?;
                Some((
                    self.key(seen.key),
                    value.to_string(),
                    write.value.to_string(),
                ))
            });
        missing.next()
    }

    /// Key, the earlier write and the later one.
    fn written_before(&self, one: u32, other: u32) -> Option<(String, String, String)> {
        let these = &self.examination.these;
        let place = |key: u32, write: u32| {
            let order = self.examination.observations.orders.get(key as usize)?;
            let writes = &order.as_ref()?.writes;
            writes.iter().position(|ordered| *ordered == write)
        };
        for later in these.of(other).iter().filter(|own| !own.is_read()) {
            let key = later.key;
            let mut earlier = these.of(one).iter().filter(|own| {
                !own.is_read()
                    && own.key == key
                    && place(key, own.write).unwrap_or(usize::MAX)
                        <= place(key, later.write).unwrap_or(usize::MAX)
            });
            if let Some(earlier) = earlier.next_back() {
                return Some((
                    self.key(key),
                    earlier.value.to_string(),
                    later.value.to_string(),
                ));
            }
        }
        None
    }
}
