//! Zones say, value by value, when a register that is never quiet must have held it (Gibbons and Korach, 1997).
//!
//! The write of a value and its reads are a cluster. A cluster comes before another where one of its operations ended
//! before one of the other's was asked; where each comes before the other there is no order, and otherwise there is
//! one, as [`crate::monitors::register`] has it for whole histories. Of each cluster three operations are needed: its
//! write, the one that ended first, and the one that was asked last. Values need to be distinct only while they may
//! still be read: a value is forgotten when every read of it that is still to come would be a contradiction.

use rustc_hash::FxHashMap;

use super::{
    asleep::Asleep,
    part::{Context, Evidence, Held, Open, Settled},
};
use crate::{
    intern::Id,
    judge::quick::{Plain, Quick},
    model::{Operation, OperationOf},
    sessions::Access,
};

/// The operations of one value.
#[derive(Debug)]
struct Cluster<M: Quick> {
    /// Who wrote it; `None` for a value of the beginning.
    write: Option<OperationOf<M>>,
    /// Its operation that ended first, and when.
    first: Option<OperationOf<M>>,
    min_end: u64,
    /// Its operation that was asked last, and when.
    last: Option<OperationOf<M>>,
    max_call: u64,
    /// Which state of the beginning it is.
    state: Option<M::State>,
    /// Whether its write certainly did not happen.
    has_failed: bool,
}

impl<M: Quick> Cluster<M> {
    fn operations(&self) -> impl Iterator<Item = &OperationOf<M>> {
        self.write.iter().chain(&self.first).chain(&self.last)
    }

    /// The number of its write.
    fn writer(&self) -> Option<Id> {
        self.write.as_ref().map(|write| write.number)
    }

    /// Whether one of its operations ended before one of the other's was asked.
    fn comes_before(&self, other: &Self) -> bool {
        self.min_end < other.max_call
    }
}

/// The values that may be read now, or were read.
#[derive(Debug)]
pub(super) struct Zones<M: Quick> {
    clusters: FxHashMap<u32, Cluster<M>>,
    /// The states there may have been in the beginning.
    initial: Vec<M::State>,
    /// Whether they may still be read.
    is_initial_alive: bool,
    /// When that was.
    begin: u64,
    /// Reads that were asked before this may be of values that were forgotten.
    blind: u64,
    /// When values were last looked through, in operations.
    taken: u32,
    /// The last moment taken.
    now: u64,
}

/// How many operations are taken before values are looked through again.
const LOOK_EVERY: u32 = 32;

/// Why a key is judged no longer.
const TWICE: &str =
    "a value was written again while it could be read, on a key that is never quiet";

/// The open operations that write a value.
fn writes<A>(open: &[Open<A>], value: u32) -> impl Iterator<Item = &Open<A>> {
    open.iter().filter(move |open| open.writes == Some(value))
}

/// Numbers, each once.
fn each_once(numbers: impl Iterator<Item = Id>) -> Vec<Id> {
    let mut numbers: Vec<Id> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

impl<M: Quick> Zones<M> {
    /// One of several states, before the moment of the first operation.
    pub fn new(initial: Vec<M::State>, first: u64) -> Self {
        Self {
            clusters: FxHashMap::default(),
            initial,
            is_initial_alive: true,
            begin: first.saturating_sub(1),
            blind: 0,
            taken: 0,
            now: 0,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    /// Every operation that is remembered, some more than once.
    pub fn operations(&self) -> impl Iterator<Item = &OperationOf<M>> {
        self.clusters.values().flat_map(Cluster::operations)
    }

    /// The states that are remembered.
    pub fn states(&self) -> impl Iterator<Item = &M::State> {
        self.initial.iter()
    }

    /// Whether an operation that was open is known as the write of a value that was read.
    pub fn has_read(&self, number: Id) -> bool {
        let mut clusters = self.clusters.values();
        clusters.any(|cluster| cluster.writer() == Some(number))
    }

    /// An operation that was open did certainly not happen.
    pub fn fail(&mut self, number: Id) {
        for cluster in self.clusters.values_mut() {
            cluster.has_failed |= cluster.writer() == Some(number);
        }
    }

    /// Takes an operation whose moment is over.
    pub fn take(
        &mut self,
        context: &Context<'_, M>,
        held: &Held<M>,
        open: &[Open<M::Ask>],
        asleep: &mut Asleep<M>,
        released: &mut Vec<Id>,
    ) -> Settled<M> {
        let operation = held.ranked(context.clock);
        self.now = self.now.max(operation.end);
        self.taken += 1;
        let access = context
            .model
            .access(&operation.ask, operation.answer.as_ref());
        match access {
            Plain::Access(_, Access::Write(value)) => {
                let is_known = self
                    .clusters
                    .get(&value)
                    .is_some_and(|cluster| cluster.writer() != Some(operation.number));
                let is_open = writes(open, value).next().is_some();
                if is_known || is_open || asleep.has(value) || self.begins_with(context, &operation)
                {
                    return Settled::Lost(TWICE);
                }
                self.add(value, Some(operation.clone()), operation, None, released)
            }
            Plain::Access(_, Access::Read(value)) if self.clusters.contains_key(&value) => {
                // It may be what another write of the value has left.
                let known = self.clusters.get(&value).and_then(Cluster::writer);
                if asleep.has(value) || writes(open, value).any(|open| Some(open.number) != known) {
                    return Settled::Lost(TWICE);
                }
                self.add(value, None, operation, None, released)
            }
            Plain::Access(_, Access::Read(value)) => {
                let mut sources = asleep.take(value).into_iter();
                let mut of_open = writes(open, value);
                let (of_open, is_open_twice) = (of_open.next(), of_open.next().is_some());
                if is_open_twice {
                    return Settled::Lost(TWICE);
                }
                let state = self.state_read(context, &operation);
                if let Some(source) = sources.next() {
                    if sources.next().is_some() || of_open.is_some() || state.is_some() {
                        return Settled::Lost(TWICE);
                    }
                    let source = source.ranked(context.clock);
                    return self.add(value, Some(source), operation, None, released);
                }
                if let Some(source) = of_open {
                    if state.is_some() {
                        return Settled::Lost(TWICE);
                    }
                    let source = Operation {
                        process: source.process,
                        call: context.clock.rank(source.call),
                        end: u64::MAX,
                        ask: source.ask.clone(),
                        answer: None,
                        number: source.number,
                    };
                    return self.add(value, Some(source), operation, None, released);
                }
                if state.is_some() {
                    return self.add(value, None, operation, state, released);
                }
                if operation.call <= self.blind {
                    return Settled::Lost("a read was open for too long");
                }
                let initial = self.alive(context.model);
                Settled::Broken(Box::new(Evidence {
                    is_whole: true,
                    initial,
                    operations: vec![operation],
                    illegal: None,
                }))
            }
            _ => {
                released.push(operation.number);
                Settled::Fine
            }
        }
    }

    /// Whether a write is of a value of the beginning that may still be read.
    fn begins_with(&self, context: &Context<'_, M>, write: &OperationOf<M>) -> bool {
        let mut is_there = false;
        if self.is_initial_alive {
            for state in &self.initial {
                let same = &mut |after| is_there |= after == *state;
                context
                    .model
                    .step(state, &write.ask, write.answer.as_ref(), same);
            }
        }
        is_there
    }

    /// The state of the beginning that a read found.
    fn state_read(&self, context: &Context<'_, M>, read: &OperationOf<M>) -> Option<M::State> {
        let answer = read.answer.as_ref();
        let fits = |state: &&M::State| context.model.allows(state, &read.ask, answer);
        let initial = self.is_initial_alive.then_some(&self.initial)?;
        initial.iter().find(fits).cloned()
    }

    /// Adds an operation to the cluster of a value, and looks for one that comes before it and after it.
    fn add(
        &mut self,
        value: u32,
        write: Option<OperationOf<M>>,
        operation: OperationOf<M>,
        state: Option<M::State>,
        released: &mut Vec<Id>,
    ) -> Settled<M> {
        let begin = self.begin;
        let cluster = self.clusters.entry(value).or_insert_with(|| Cluster {
            write: None,
            first: None,
            min_end: if state.is_some() { begin } else { u64::MAX },
            last: None,
            max_call: if state.is_some() { begin } else { 0 },
            state,
            has_failed: false,
        });
        let before: Vec<Id> = cluster.operations().map(|o| o.number).collect();
        if let Some(write) = write {
            cluster.max_call = cluster.max_call.max(write.call);
            cluster.write = Some(write);
        }
        let number = operation.number;
        if operation.call > cluster.max_call || cluster.last.is_none() {
            cluster.max_call = cluster.max_call.max(operation.call);
            cluster.last = Some(operation.clone());
        }
        if operation.end < cluster.min_end {
            cluster.min_end = operation.end;
            cluster.first = Some(operation);
        }
        let after: Vec<Id> = cluster.operations().map(|o| o.number).collect();
        let is_gone = |number: &Id| !after.contains(number);
        released.extend(each_once(
            before.into_iter().chain([number]).filter(is_gone),
        ));
        let cluster = &self.clusters[&value];
        if (cluster.write.as_ref()).is_some_and(|write| cluster.min_end < write.call) {
            // It was read before anybody had asked for it to be written.
            return if cluster
                .last
                .as_ref()
                .is_some_and(|read| read.call <= self.blind)
            {
                Settled::Lost("a read was open for too long")
            } else {
                self.clash(cluster, cluster)
            };
        }
        let clashes =
            |other: &&Cluster<M>| cluster.comes_before(other) && other.comes_before(cluster);
        let others = self.clusters.iter().filter(|(other, _)| **other != value);
        match others.map(|(_, other)| other).find(clashes) {
            Some(other) => self.clash(cluster, other),
            None => Settled::Fine,
        }
    }

    /// Two values each of which comes before the other.
    fn clash(&self, one: &Cluster<M>, other: &Cluster<M>) -> Settled<M> {
        let mut operations: Vec<OperationOf<M>> = Vec::new();
        for operation in one.operations().chain(other.operations()) {
            if operations
                .iter()
                .all(|known| known.number != operation.number)
            {
                operations.push(operation.clone());
            }
        }
        operations.sort_by_key(|operation| (operation.call, operation.number));
        Settled::Broken(Box::new(Evidence {
            initial: self.initial.clone(),
            operations,
            illegal: None,
            is_whole: true,
        }))
    }

    /// Forgets values of which no read can come any more without a contradiction.
    pub fn prune(
        &mut self,
        context: &Context<'_, M>,
        open: &[Open<M::Ask>],
        released: &mut Vec<Id>,
    ) -> Settled<M> {
        if let Some(failed) = self.clusters.values().find(|cluster| cluster.has_failed) {
            let reads = failed.first.iter().chain(&failed.last);
            let operation = reads.max_by_key(|operation| operation.end).cloned();
            return Settled::Broken(Box::new(Evidence {
                initial: self.initial.clone(),
                operations: operation.into_iter().collect(),
                illegal: None,
                is_whole: true,
            }));
        }
        if self.taken < LOOK_EVERY {
            return Settled::Fine;
        }
        self.taken = 0;
        let reads = open.iter().filter(|open| open.writes.is_none());
        let horizon = reads.map(|open| open.call.moment).min();
        self.forget(horizon.unwrap_or(self.now), open, released);
        if self.clusters.len() > context.limits.configs {
            // A read that is open for too long must not keep all values since.
            self.blind = self.now;
            self.forget(self.now, open, released);
        }
        if self.clusters.len() > context.limits.configs {
            return Settled::Lost("too many values may be read");
        }
        Settled::Fine
    }

    /// Forgets values of which no read that is asked from `horizon` on may come.
    fn forget(&mut self, horizon: u64, open: &[Open<M::Ask>], released: &mut Vec<Id>) {
        // The two clusters with the latest calls, among those that such a read comes behind.
        let settled = self
            .clusters
            .iter()
            .filter(|(_, cluster)| cluster.min_end < horizon);
        let mut latest: Vec<(u64, u32)> = settled.map(|(value, c)| (c.max_call, *value)).collect();
        latest.sort_unstable();
        let calls: Vec<_> = latest.into_iter().rev().take(2).collect();
        let is_dead = |value: Option<u32>, min_end: u64| {
            let other = calls.iter().find(|(_, other)| Some(*other) != value);
            other.is_some_and(|(call, _)| min_end < *call)
        };
        self.is_initial_alive &= !is_dead(None, self.begin);
        // The write of a value that was read may be open still.
        let is_open = |cluster: &Cluster<M>| {
            let write = cluster.write.as_ref();
            write.is_some_and(|write| open.iter().any(|open| open.number == write.number))
        };
        let dead = (self.clusters).extract_if(|value, cluster| {
            is_dead(Some(*value), cluster.min_end) && !is_open(cluster)
        });
        for (_, cluster) in dead {
            released.extend(each_once(
                cluster.operations().map(|operation| operation.number),
            ));
        }
    }

    /// The states that may be there.
    fn alive(&self, model: &M) -> Vec<M::State> {
        let mut states = Vec::new();
        for (value, cluster) in &self.clusters {
            let is_last = (self.clusters.iter())
                .all(|(other, later)| other == value || !cluster.comes_before(later));
            if !is_last {
                continue;
            }
            if let Some(state) = &cluster.state {
                states.push(state.clone());
            } else if let Some(write) = &cluster.write {
                model.step(&model.initial(), &write.ask, None, &mut |state| {
                    states.push(state);
                });
            }
        }
        let is_untouched = self
            .clusters
            .values()
            .all(|cluster| self.begin >= cluster.max_call);
        if self.is_initial_alive && is_untouched {
            for state in &self.initial {
                if !states.contains(state) {
                    states.push(state.clone());
                }
            }
        }
        states
    }

    /// The states there may be now that nothing is open.
    pub fn end(&self, model: &M, released: &mut Vec<Id>) -> Vec<M::State> {
        released.extend(each_once(
            self.operations().map(|operation| operation.number),
        ));
        self.alive(model)
    }
}
