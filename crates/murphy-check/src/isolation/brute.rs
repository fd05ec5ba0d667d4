//! The definition of each level, tried out: every order in which a few transactions may have taken effect.
//!
//! This is what the search for cycles is compared with and what confirms its witnesses. It shares nothing with it
//! but the names of the levels, and is deliberately naive. A part of a history is judged in an open world: a value
//! that none of its transactions wrote comes from a transaction that did nothing else, at whatever time.

use std::collections::HashSet;

use super::{Clock, Level, Options, Workload};
use crate::{
    recording::{Outcome, Recording},
    value::Value,
};

/// More transactions than this are not judged: there are too many orders.
pub const MOST: usize = 12;

/// One transaction, as it was asked and answered.
#[derive(Clone, Debug)]
struct Tried {
    /// Whether it writes, the key, the value.
    steps: Vec<(bool, Value, Value)>,
    is_aborted: bool,
    is_answered: bool,
    process: u32,
    call: u64,
    end: u64,
}

/// A read of another transaction's write.
#[derive(Clone, Debug)]
struct Read {
    at: usize,
    key: Value,
    /// The writer; `None` for the state before all writes.
    from: Option<usize>,
}

#[derive(Debug)]
struct Orders<'o> {
    workload: Workload,
    options: &'o Options,
    all: Vec<Tried>,
    reads: Vec<Vec<Read>>,
}

/// Whether some order makes the chosen invocations a history of `level`; `None` where there are too many to try, or a
/// line is no transaction.
pub fn allows(
    recording: &Recording,
    chosen: &[u32],
    workload: Workload,
    options: &Options,
    level: Level,
) -> Option<bool> {
    let orders = Orders::of(recording, chosen, workload, options)?;
    orders.allow(level)
}

impl<'o> Orders<'o> {
    fn of(
        recording: &Recording,
        chosen: &[u32],
        workload: Workload,
        options: &'o Options,
    ) -> Option<Self> {
        let mut all = Vec::new();
        for number in chosen {
            let invocation = recording.invocations.get(*number as usize)?;
            let is_answered = invocation.outcome == Outcome::Ok;
            let said = if is_answered {
                &invocation.answer
            } else {
                &invocation.ask
            };
            let mut steps = Vec::new();
            for micro in said.as_list()? {
                let micro = micro.as_list()?;
                let is_write = micro.first()?.as_text()? != "r";
                let value = micro.get(2).cloned().unwrap_or_default();
                if is_write || is_answered {
                    steps.push((is_write, micro.get(1)?.clone(), value));
                }
            }
            all.push(Tried {
                steps,
                is_aborted: invocation.outcome == Outcome::Fail,
                is_answered,
                process: invocation.process,
                call: invocation.call,
                end: invocation.end,
            });
        }
        let mut orders = Self {
            workload,
            options,
            all,
            reads: Vec::new(),
        };
        orders.complete();
        Some(orders)
    }

    /// The values that a step shows.
    fn shown(&self, value: &Value) -> Vec<Value> {
        match self.workload {
            Workload::ListAppend => value.as_list().unwrap_or_default().to_vec(),
            Workload::RwRegister if value.is_nil() => Vec::new(),
            Workload::RwRegister => vec![value.clone()],
        }
    }

    /// Adds the transactions that are not there and leaves out those that need not have been.
    fn complete(&mut self) {
        let mut shown = Vec::new();
        let mut ends = HashSet::new();
        for tried in &self.all {
            for (is_write, key, value) in &tried.steps {
                let values = self.shown(value);
                if !is_write {
                    ends.extend(values.last().map(|last| (key.clone(), last.clone())));
                    shown.extend(values.into_iter().map(|v| (key.clone(), v)));
                }
            }
        }
        let mut before: Option<(Value, Value)> = None;
        for (key, value) in shown.clone() {
            let this = (key.clone(), value.clone());
            if self.writer(&key, &value).is_none() {
                let step = (true, key, value);
                // Where nobody sees one value without the next, one transaction may have written both: whatever
                // order has them apart is as good with the second right behind the first.
                let is_joined = before.take().is_some_and(|(key, value)| {
                    let is_outside = |tried: &&mut Tried| {
                        tried.process == u32::MAX
                            && tried.steps.contains(&(true, key.clone(), value.clone()))
                    };
                    let joined = self.all.iter_mut().find(is_outside);
                    let may = key == this.0
                        && self.workload == Workload::ListAppend
                        && !ends.contains(&(key.clone(), value.clone()));
                    joined
                        .filter(|_| may)
                        .map(|outside| outside.steps.push(step.clone()))
                        .is_some()
                });
                if !is_joined {
                    self.all.push(Tried {
                        steps: vec![step],
                        is_aborted: false,
                        is_answered: false,
                        process: u32::MAX,
                        call: 0,
                        end: u64::MAX,
                    });
                }
            }
            before = Some(this);
        }
        self.all.retain(|tried| {
            let is_seen = |(is_write, key, value): &(bool, Value, Value)| {
                *is_write && shown.contains(&(key.clone(), value.clone()))
            };
            tried.is_answered || tried.is_aborted || tried.steps.iter().any(is_seen)
        });
        self.reads = (0..self.all.len()).map(|at| self.reads_of(at)).collect();
    }

    fn writer(&self, key: &Value, value: &Value) -> Option<usize> {
        self.all
            .iter()
            .position(|tried| tried.steps.contains(&(true, key.clone(), value.clone())))
    }

    /// Reads of what the transaction itself has not written, each version of a key once.
    fn reads_of(&self, at: usize) -> Vec<Read> {
        let mut reads: Vec<Read> = Vec::new();
        let steps = &self.all[at].steps;
        for (position, (is_write, key, value)) in steps.iter().enumerate() {
            if *is_write {
                continue;
            }
            let from = self
                .shown(value)
                .last()
                .and_then(|last| self.writer(key, last));
            let has_written = steps[..position].iter().any(|(w, k, _)| *w && k == key);
            if from == Some(at) || (self.workload == Workload::RwRegister && has_written) {
                continue;
            }
            reads.push(Read {
                at: position,
                key: key.clone(),
                from,
            });
        }
        reads
    }

    fn committed(&self) -> Vec<usize> {
        (0..self.all.len())
            .filter(|at| !self.all[*at].is_aborted)
            .collect()
    }

    fn writes(&self, at: usize, key: &Value) -> bool {
        self.all[at].steps.iter().any(|(w, k, _)| *w && k == key)
    }

    fn answered_reads(&self) -> impl Iterator<Item = (usize, &Value, &Value)> {
        self.all
            .iter()
            .enumerate()
            .filter(|(_, tried)| tried.is_answered)
            .flat_map(|(at, tried)| {
                let reads = tried.steps.iter().filter(|(is_write, ..)| !is_write);
                reads.map(move |(_, key, value)| (at, key, value))
            })
    }

    fn allow(&self, level: Level) -> Option<bool> {
        use Level as L;
        if self.has_duplicates() {
            return Some(false);
        }
        if level.is_at_least(L::ReadCommitted) && self.reads_uncommitted() {
            return Some(false);
        }
        if level.is_at_least(L::ReadAtomic) && (0..self.all.len()).any(|at| self.is_internal(at)) {
            return Some(false);
        }
        if level.is_at_least(L::ConsistentView) && self.misses_part() {
            return Some(false);
        }
        let mut pairs = self.versions();
        pairs.extend(self.clock(level.clock()));
        if level.is_at_least(L::ReadCommitted) {
            for (reader, reads) in self.reads.iter().enumerate() {
                pairs.extend(reads.iter().filter_map(|read| Some((read.from?, reader))));
            }
        }
        if self.committed().len() > MOST {
            return None;
        }
        Some(match level {
            L::ReadUncommitted
            | L::StrongSessionReadUncommitted
            | L::StrongReadUncommitted
            | L::ReadCommitted
            | L::StrongSessionReadCommitted
            | L::StrongReadCommitted => self.some_order(&pairs, &|_, _| true),
            L::MonotonicAtomicView | L::StrongSessionMonotonicAtomicView => {
                let seen = |other: usize, reader: usize, read: &Read| {
                    let is_before = |r: &Read| r.from == Some(other) && r.at < read.at;
                    self.reads[reader].iter().any(is_before)
                };
                self.demands(&seen, &mut pairs) && self.some_order(&pairs, &|_, _| true)
            }
            L::ReadAtomic | L::StrongSessionReadAtomic | L::Causal => {
                let sees = self.sees(level);
                let visible = |other: usize, reader: usize, _: &Read| sees[other][reader];
                self.demands(&visible, &mut pairs) && self.some_order(&pairs, &|_, _| true)
            }
            L::CursorStability => self.some_order(&pairs, &|before, at| {
                let keeps = |read: &Read| {
                    !self.writes(at, &read.key) || self.last(before, &read.key) == read.from
                };
                self.reads[at].iter().all(keeps)
            }),
            L::RepeatableRead
            | L::Serializable
            | L::StrongSessionSerializable
            | L::StrictSerializable => self.some_order(&pairs, &|before, at| {
                let keeps = |read: &Read| self.last(before, &read.key) == read.from;
                self.reads[at].iter().all(keeps)
            }),
            L::ConsistentView => return self.some_view(&pairs),
            L::SnapshotIsolation
            | L::StrongSessionSnapshotIsolation
            | L::StrongSnapshotIsolation => self.some_snapshots(level.clock()),
        })
    }

    fn has_duplicates(&self) -> bool {
        self.answered_reads().any(|(_, _, value)| {
            let shown = self.shown(value);
            (0..shown.len()).any(|at| shown[..at].contains(&shown[at]))
        })
    }

    /// Reads of aborted, intermediate or later writes, and lists of two minds.
    fn reads_uncommitted(&self) -> bool {
        for (reader, key, value) in self.answered_reads() {
            let shown = self.shown(value);
            let is_aborted = |value: &Value| {
                self.writer(key, value)
                    .is_some_and(|writer| self.all[writer].is_aborted)
            };
            if shown.iter().any(is_aborted) {
                return true;
            }
            for (_, other_key, other) in self.answered_reads() {
                let other = self.shown(other);
                let common = shown.len().min(other.len());
                if self.workload == Workload::ListAppend
                    && other_key == key
                    && other[..common] != shown[..common]
                {
                    return true;
                }
            }
            if let Some(last) = shown.last()
                && let Some(writer) = self.writer(key, last)
                && writer != reader
            {
                let written = self.all[writer].steps.iter();
                let mut behind = written
                    .skip_while(|step| **step != (true, key.clone(), last.clone()))
                    .skip(1);
                if behind.any(|(is_write, other, _)| *is_write && other == key) {
                    return true;
                }
            }
        }
        self.all.iter().any(|tried| {
            (0..tried.steps.len()).any(|at| {
                let (is_write, key, value) = &tried.steps[at];
                let later = tried.steps[at..].iter();
                let shown = self.shown(value);
                !is_write
                    && later
                        .filter(|(w, k, _)| *w && k == key)
                        .any(|(_, _, written)| shown.contains(written))
            })
        })
    }

    /// Whether a list ends with an append of another transaction and does not have another append of it.
    fn misses_part(&self) -> bool {
        let misses = |reader: usize, read: &Read| {
            let shown = self.shown(&self.all[reader].steps[read.at].2);
            let writer = read.from.map(|from| &self.all[from]);
            writer.filter(|w| !w.is_aborted).is_some_and(|writer| {
                let mut written = writer.steps.iter();
                written.any(|(w, key, value)| *w && *key == read.key && !shown.contains(value))
            })
        };
        let mut reads = self.reads.iter().enumerate();
        self.workload == Workload::ListAppend
            && reads.any(|(reader, reads)| reads.iter().any(|read| misses(reader, read)))
    }

    /// Whether a transaction reads something else than what it read and wrote before.
    fn is_internal(&self, at: usize) -> bool {
        let tried = &self.all[at];
        let steps = &tried.steps;
        tried.is_answered
            && (0..steps.len()).any(|now| {
                let (is_write, key, value) = &steps[now];
                if *is_write {
                    return false;
                }
                let before: Vec<_> = steps[..now].iter().filter(|(_, k, _)| k == key).collect();
                match self.workload {
                    Workload::RwRegister => before.last().is_some_and(|(.., old)| old != value),
                    Workload::ListAppend => {
                        let shown = self.shown(value);
                        let last_read = before.iter().rposition(|(w, ..)| !w);
                        let own: Vec<Value> = before[last_read.map_or(0, |at| at + 1)..]
                            .iter()
                            .map(|(.., v)| v.clone())
                            .collect();
                        match last_read {
                            Some(read) => {
                                let mut expected = self.shown(&before[read].2);
                                expected.extend(own);
                                expected != shown
                            }
                            None => !shown.ends_with(&own),
                        }
                    }
                }
            })
    }

    /// The order of writers that reads of lists show, or that is taken for granted of registers.
    fn versions(&self) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        match self.workload {
            Workload::ListAppend => {
                for (_, key, value) in self.answered_reads() {
                    let is_other = |other: &[Value], shown: &[Value]| {
                        let common = shown.len().min(other.len());
                        other[..common] != shown[..common]
                    };
                    let shown = self.shown(value);
                    let is_disputed = self
                        .answered_reads()
                        .any(|(_, k, other)| k == key && is_other(&self.shown(other), &shown));
                    let any_disputed = self.answered_reads().any(|(_, k, one)| {
                        k == key
                            && self.answered_reads().any(|(_, k, other)| {
                                k == key && is_other(&self.shown(other), &self.shown(one))
                            })
                    });
                    if is_disputed || any_disputed {
                        continue;
                    }
                    let writers: Vec<usize> = shown
                        .iter()
                        .filter_map(|value| self.writer(key, value))
                        .filter(|writer| !self.all[*writer].is_aborted)
                        .collect();
                    for pair in writers.windows(2).filter(|pair| pair[0] != pair[1]) {
                        pairs.push((pair[0], pair[1]));
                    }
                    for late in self.committed() {
                        let is_unread = self.all[late].steps.iter().any(|(is_write, k, v)| {
                            let is_read = |(_, key, list): (usize, &Value, &Value)| {
                                key == k && self.shown(list).contains(v)
                            };
                            *is_write && k == key && !self.answered_reads().any(is_read)
                        });
                        if is_unread {
                            let earlier = writers.iter().filter(|writer| **writer != late);
                            pairs.extend(earlier.map(|writer| (*writer, late)));
                        }
                    }
                }
            }
            Workload::RwRegister if self.options.wfr_keys => {
                for (reader, reads) in self.reads.iter().enumerate() {
                    for (at, read) in reads.iter().enumerate() {
                        let is_first = !reads[..at].iter().any(|r| r.key == read.key);
                        if is_first
                            && self.writes(reader, &read.key)
                            && let Some(from) = read.from
                            && !self.all[from].is_aborted
                        {
                            pairs.push((from, reader));
                        }
                    }
                }
            }
            Workload::RwRegister => {}
        }
        pairs
    }

    fn clock(&self, clock: Clock) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (one, earlier) in self.all.iter().enumerate() {
            for (other, later) in self.all.iter().enumerate() {
                let is_ended = earlier.is_answered && !later.is_aborted && one != other;
                let is_in_turn = earlier.process == later.process && one < other;
                let is_timed = clock == Clock::Realtime
                    && later.process != u32::MAX
                    && earlier.end < later.call;
                if is_ended && clock != Clock::None && (is_in_turn || is_timed) {
                    pairs.push((one, other));
                }
            }
        }
        pairs
    }

    /// What each transaction sees of others: `sees[other][reader]`.
    fn sees(&self, level: Level) -> Vec<Vec<bool>> {
        let count = self.all.len();
        let mut sees = vec![vec![false; count]; count];
        for (reader, reads) in self.reads.iter().enumerate() {
            for from in reads.iter().filter_map(|read| read.from) {
                sees[from][reader] = true;
            }
        }
        for (one, other) in self.clock(level.clock()) {
            sees[one][other] = true;
        }
        if level == Level::Causal {
            for via in 0..count {
                for one in 0..count {
                    for other in 0..count {
                        sees[one][other] |= sees[one][via] && sees[via][other];
                    }
                }
            }
        }
        sees
    }

    /// What is seen of a key comes before what is read of it; false where that is the state before all writes.
    fn demands(
        &self,
        seen: &dyn Fn(usize, usize, &Read) -> bool,
        pairs: &mut Vec<(usize, usize)>,
    ) -> bool {
        for (reader, reads) in self.reads.iter().enumerate() {
            for read in reads {
                for other in self.committed() {
                    if other == reader
                        || Some(other) == read.from
                        || !self.writes(other, &read.key)
                        || !seen(other, reader, read)
                    {
                        continue;
                    }
                    let Some(from) = read.from else {
                        return false;
                    };
                    pairs.push((other, from));
                }
            }
        }
        true
    }

    /// The last transaction of an order that writes a key.
    fn last(&self, order: &[usize], key: &Value) -> Option<usize> {
        order
            .iter()
            .rev()
            .copied()
            .find(|writer| self.writes(*writer, key))
    }

    /// Whether an order keeps all pairs, and `fits` holds of each transaction and those before it.
    fn some_order(&self, pairs: &[(usize, usize)], fits: &dyn Fn(&[usize], usize) -> bool) -> bool {
        let mut tried = HashSet::new();
        self.extend(&mut Vec::new(), pairs, fits, &mut tried)
    }

    fn extend(
        &self,
        order: &mut Vec<usize>,
        pairs: &[(usize, usize)],
        fits: &dyn Fn(&[usize], usize) -> bool,
        tried: &mut HashSet<(Vec<usize>, Vec<Option<usize>>)>,
    ) -> bool {
        let committed = self.committed();
        if order.len() == committed.len() {
            return true;
        }
        // Two beginnings with the same transactions and the same last writers have the same continuations.
        let mut members = order.clone();
        members.sort_unstable();
        let last = self
            .all
            .iter()
            .flat_map(|tried| tried.steps.iter().map(|(_, key, _)| self.last(order, key)))
            .collect();
        if !tried.insert((members, last)) {
            return false;
        }
        for next in committed {
            let is_free = |(one, other): &(usize, usize)| *other != next || order.contains(one);
            if order.contains(&next) || !pairs.iter().all(is_free) || !fits(order, next) {
                continue;
            }
            order.push(next);
            if self.extend(order, pairs, fits, tried) {
                return true;
            }
            order.pop();
        }
        false
    }

    /// Whether in some order no cycle has exactly one anti-dependency.
    fn some_view(&self, pairs: &[(usize, usize)]) -> Option<bool> {
        if self.committed().len() > 8 {
            return None;
        }
        let mut orders = Vec::new();
        self.every_order(&mut Vec::new(), pairs, &mut orders);
        Some(orders.iter().any(|order| !self.has_single(order)))
    }

    fn every_order(
        &self,
        order: &mut Vec<usize>,
        pairs: &[(usize, usize)],
        orders: &mut Vec<Vec<usize>>,
    ) {
        let committed = self.committed();
        if order.len() == committed.len() {
            orders.push(order.clone());
        }
        for next in committed {
            let is_free = |(one, other): &(usize, usize)| *other != next || order.contains(one);
            if !order.contains(&next) && pairs.iter().all(is_free) {
                order.push(next);
                self.every_order(order, pairs, orders);
                order.pop();
            }
        }
    }

    /// Whether a transaction reads a version, and something that it read or overwrote leads back to the next one.
    fn has_single(&self, order: &[usize]) -> bool {
        let count = self.all.len();
        let mut leads = vec![vec![false; count]; count];
        let mut overwritten = Vec::new();
        for (at, one) in order.iter().enumerate() {
            for (is_write, key, _) in &self.all[*one].steps {
                let next = order[at + 1..]
                    .iter()
                    .find(|other| self.writes(**other, key));
                if let (true, Some(next)) = (*is_write, next) {
                    leads[*one][*next] = true;
                }
            }
            for read in &self.reads[*one] {
                let start = read.from.map_or(0, |from| {
                    leads[from][*one] = true;
                    order.iter().position(|o| *o == from).map_or(0, |p| p + 1)
                });
                let mut behind = order[start..].iter();
                let next = behind.find(|other| self.writes(**other, &read.key));
                overwritten.extend(next.map(|next| (*one, *next)));
            }
        }
        for via in 0..count {
            for one in 0..count {
                for other in 0..count {
                    leads[one][other] |= leads[one][via] && leads[via][other];
                }
            }
        }
        overwritten
            .iter()
            .any(|(reader, next)| reader != next && leads[*next][*reader])
    }

    /// Whether the transactions can begin and commit such that each reads what was committed when it began, and no
    /// two that overlap write the same key.
    fn some_snapshots(&self, clock: Clock) -> bool {
        let run = Run {
            began: vec![false; self.all.len()],
            commits: Vec::new(),
            dirty: vec![false; self.all.len()],
        };
        let (versions, clock) = (self.versions(), self.clock(clock));
        self.continue_run(&run, &versions, &clock, &mut HashSet::new())
    }

    fn continue_run(
        &self,
        run: &Run,
        versions: &[(usize, usize)],
        clock: &[(usize, usize)],
        tried: &mut HashSet<Run>,
    ) -> bool {
        let committed = self.committed();
        if run.commits.len() == committed.len() {
            return true;
        }
        if !tried.insert(run.clone()) {
            return false;
        }
        for next in committed {
            let is_behind = |pairs: &[(usize, usize)]| {
                let mut before = pairs.iter().filter(|(_, other)| *other == next);
                before.all(|(one, _)| run.commits.contains(one))
            };
            let mut then = run.clone();
            if run.commits.contains(&next) {
                continue;
            }
            if run.began[next] {
                if run.dirty[next] || !is_behind(versions) {
                    continue;
                }
                then.commits.push(next);
                for other in self.committed() {
                    let clashes = self.all[next]
                        .steps
                        .iter()
                        .any(|(is_write, key, _)| *is_write && self.writes(other, key));
                    if run.began[other] && !then.commits.contains(&other) && clashes {
                        then.dirty[other] = true;
                    }
                }
            } else {
                let sees = |read: &Read| self.last(&run.commits, &read.key) == read.from;
                if !is_behind(clock) || !self.reads[next].iter().all(sees) {
                    continue;
                }
                then.began[next] = true;
            }
            if self.continue_run(&then, versions, clock, tried) {
                return true;
            }
        }
        false
    }
}

/// Transactions under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    began: Vec<bool>,
    /// In their order.
    commits: Vec<usize>,
    /// Those of which a key was committed by another since they began: they cannot commit.
    dirty: Vec<bool>,
}
