//! A part is the operations of one key, as far as they are not settled.
//!
//! An operation is settled when no order of the rest depends on it: everything answered before some moment has
//! happened, and what there may be at that moment is kept instead ([`crate::search`], crossings). Where nothing is open
//! that is a few states. Where something is, moments are chosen at which little is.

use std::{mem, time::Duration};

use rustc_hash::FxHashSet;

use super::{
    Limits,
    asleep::Asleep,
    clock::{Clock, Tick},
    zones::Zones,
};
use crate::{
    intern::Id,
    judge::quick::{Plain, Quick},
    model::{Operation, OperationOf},
    search::{self, Bounds, Case, Config, Crossed, Found, Illegal, cross},
    sessions::Access,
};

/// Where more than so many operations that change something span every moment there is, so many operations are waited
/// for: a better moment may come.
const FEW: usize = 4;
const PATIENCE: usize = 16;

/// So many operations are held of a register that is not quiet before it is judged by its values.
const BUSY: usize = 24;

/// Widest window that is explored at once.
const WIDE: usize = 64;

/// So many operations since the last moment at which nothing was half done are remembered, for a witness.
const REMEMBERED: usize = 256;

/// An operation that is not settled, and when it was asked and answered.
#[derive(Debug)]
pub(super) struct Held<M: Quick> {
    pub operation: OperationOf<M>,
    pub call: Tick,
    /// Of an answer.
    pub end: Option<Tick>,
}

impl<M: Quick> Held<M> {
    /// The operation, with its place in the order.
    pub fn ranked(&self, clock: &Clock) -> OperationOf<M> {
        let mut operation = self.operation.clone();
        operation.call = clock.rank(self.call);
        operation.end = self.end.map_or(u64::MAX, |end| clock.rank(end));
        operation
    }
}

/// An operation that is open.
#[derive(Clone, Debug)]
pub(super) struct Open<A> {
    pub number: Id,
    pub process: u32,
    pub call: Tick,
    pub ask: A,
    /// The value that it writes, where it does nothing else.
    pub writes: Option<u32>,
}

/// What a part is judged by.
pub(super) struct Context<'a, M: Quick> {
    pub model: &'a M,
    pub clock: &'a Clock,
    pub limits: &'a Limits,
    /// Whether nothing more will come.
    pub is_end: bool,
}

/// What is known of a part after its last operations.
#[derive(Debug)]
pub(super) enum Settled<M: Quick> {
    /// There is a legal order.
    Fine,
    /// There is none.
    Broken(Box<Evidence<M>>),
    /// Nothing, from now on, for this reason.
    Lost(&'static str),
}

/// Operations that have no legal order.
#[derive(Debug)]
pub(super) struct Evidence<M: Quick> {
    /// The states one of which was there before.
    pub initial: Vec<M::State>,
    /// In the order of their calls.
    pub operations: Vec<OperationOf<M>>,
    /// How far the search got, where it began at `initial` with `operations`.
    pub illegal: Option<Illegal<M::State>>,
    /// Whether the operations prove it on their own; some that matter are forgotten otherwise.
    pub is_whole: bool,
}

/// When nothing was half done, for the last time.
#[derive(Debug)]
enum Clean<S> {
    /// Now.
    Now,
    /// With these states, before what is remembered since.
    Then(Vec<S>),
    /// Too long ago.
    Forgotten,
}

/// How long a part is searched before it is given up.
const DECIDED_IN: Duration = Duration::from_secs(2);

/// One part.
#[derive(Debug)]
pub(super) struct Part<M: Quick> {
    /// Operations that are open.
    pub open: Vec<Open<M::Ask>>,
    /// Those answered.
    pub held: Vec<Held<M>>,
    /// What there may be before them.
    pub frontier: Vec<Config<M::State>>,
    /// Those that may have happened, or may happen still.
    pub unknown: Vec<Held<M>>,
    /// Writes among those whose value nobody has read yet, by the value.
    pub asleep: Asleep<M>,
    /// The last moment at which nothing was half done, and what was settled since.
    clean: Clean<M::State>,
    since: Vec<OperationOf<M>>,
    /// Whether there was nothing but reads and writes.
    is_plain: bool,
    /// What its values were, where it is never quiet.
    zones: Option<Zones<M>>,
    /// So many operations have to be held before another moment is tried.
    retry: usize,
    /// Why the part is judged no longer.
    pub lost: bool,
}

impl<M: Quick> Part<M> {
    pub fn new(model: &M) -> Self {
        Self::behind(vec![config(model.initial())])
    }

    /// Nothing but what there may be before it.
    fn behind(frontier: Vec<Config<M::State>>) -> Self {
        Self {
            open: Vec::new(),
            held: Vec::new(),
            frontier,
            unknown: Vec::new(),
            asleep: Asleep::default(),
            clean: Clean::Now,
            since: Vec::new(),
            is_plain: true,
            zones: None,
            retry: 0,
            lost: false,
        }
    }

    /// Every operation that is remembered.
    pub fn operations(&self) -> impl Iterator<Item = &OperationOf<M>> {
        let asleep = self.asleep.iter();
        (self.held.iter().chain(&self.unknown).chain(asleep))
            .map(|held| &held.operation)
            .chain(&self.since)
            .chain(self.zones.iter().flat_map(Zones::operations))
    }

    /// How many states, or values, there may be.
    pub fn configs(&self) -> usize {
        self.frontier.len() + self.zones.as_ref().map_or(0, Zones::len)
    }

    /// An operation is open no longer.
    pub fn close(&mut self, number: Id) {
        self.open.retain(|open| open.number != number);
    }

    /// One that was open did certainly not happen.
    pub fn fail(&mut self, number: Id) {
        if let Some(zones) = &mut self.zones {
            zones.fail(number);
        }
    }

    /// The states that are remembered.
    pub fn states(&self) -> impl Iterator<Item = &M::State> {
        let clean = match &self.clean {
            Clean::Then(states) => states.as_slice(),
            _ => &[],
        };
        self.frontier
            .iter()
            .map(|config| &config.state)
            .chain(clean)
            .chain(self.zones.iter().flat_map(Zones::states))
    }

    /// The earliest moment that an operation speaks of.
    pub fn earliest(&self) -> Option<u64> {
        let asleep = self.asleep.iter();
        let held = self.held.iter().chain(&self.unknown).chain(asleep);
        let calls = held.map(|held| held.call.moment);
        calls
            .chain(self.open.iter().map(|open| open.call.moment))
            .min()
    }

    /// How many operations of unknown outcome there are.
    pub fn unknown_count(&self) -> usize {
        self.unknown.len() + self.asleep.len()
    }

    /// Takes an operation that was asked for: whatever becomes of it, it may act from now on.
    pub fn ask(&mut self, model: &M, open: Open<M::Ask>) {
        self.note(&model.access(&open.ask, None));
        self.open.push(open);
    }

    /// Takes an answered operation.
    pub fn answer(&mut self, model: &M, held: Held<M>) {
        let operation = &held.operation;
        self.note(&model.access(&operation.ask, operation.answer.as_ref()));
        self.held.push(held);
    }

    fn note(&mut self, access: &Plain) {
        if self.is_plain && matches!(access, Plain::Neither) {
            self.is_plain = false;
            // Now it may matter to more than a read of their value that they happened.
            self.unknown.extend(self.asleep.take_all());
        }
    }

    /// Takes an operation of unknown outcome; false where there are too many.
    pub fn lose(&mut self, model: &M, held: Held<M>, limits: &Limits) -> bool {
        if let Some(zones) = &mut self.zones
            && zones.has_read(held.operation.number)
        {
            return true;
        }
        match model.access(&held.operation.ask, None) {
            // It can as well happen just before the first read of its value, and not at all where there is none.
            Plain::Access(_, Access::Write(value)) if self.is_plain => {
                self.asleep.push(value, held);
                true
            }
            _ => {
                self.unknown.push(held);
                self.unknown.len() <= limits.unknown_per_part
            }
        }
    }

    /// Forgets everything: the part is judged no longer.
    pub fn give_up(&mut self, released: &mut Vec<Id>) {
        released.extend(self.operations().map(|operation| operation.number));
        *self = Self {
            open: mem::take(&mut self.open),
            lost: true,
            ..Self::behind(Vec::new())
        };
    }

    /// Settles what can be settled. The moment of every operation that is held is over. Those settled are `released`.
    pub fn settle(&mut self, context: &Context<'_, M>, released: &mut Vec<Id>) -> Settled<M> {
        if self.zones.is_some() {
            return self.settle_values(context, released);
        }
        while !self.held.is_empty() && self.is_due(context) {
            if self.step(context, released) {
                continue;
            }
            let is_busy = !self.open.is_empty() && self.held.len() >= BUSY;
            if is_busy && self.begin_zones(context) {
                return self.settle_values(context, released);
            }
            let moments = self.moments(context);
            if moments.is_empty() {
                break;
            }
            let mut found = None;
            let before = self.held.len();
            for until in moments {
                let crossed = self.cross(context, until, released);
                let waits = matches!(crossed, Some(Settled::Fine)) && self.held.len() == before;
                found = crossed.or(found);
                if found.is_some() && !waits {
                    break;
                }
            }
            match found {
                Some(Settled::Fine) if self.held.len() == before => break,
                Some(Settled::Fine) => self.retry = 0,
                Some(other) => return other,
                None if self.begin_zones(context) => return self.settle_values(context, released),
                None if context.is_end || self.held.len() >= context.limits.held_per_part => {
                    return self.decide(context, "too many operations overlap");
                }
                None => self.retry = self.held.len() * 2,
            }
        }
        if self.held.len() >= context.limits.held_per_part {
            return self.decide(context, "an operation has been open for too long");
        }
        Settled::Fine
    }

    /// Judges by values from now on, where there are only reads and writes, and nothing is half done.
    fn begin_zones(&mut self, context: &Context<'_, M>) -> bool {
        if !self.is_plain || !matches!(self.clean, Clean::Now) {
            return false;
        }
        let asked = (self
            .held
            .iter()
            .chain(&self.unknown)
            .map(|held| held.call.moment))
        .chain(self.open.iter().map(|open| open.call.moment));
        let zones = Zones::new(states(&self.frontier), asked.min().unwrap_or_default());
        // Values that are written twice are told apart by nobody.
        let mut writes = FxHashSet::default();
        let is_first = |held: &Held<M>| {
            let operation = &held.operation;
            let access = (context.model).access(&operation.ask, operation.answer.as_ref());
            match access {
                Plain::Access(_, Access::Write(value)) => writes.insert(value),
                Plain::Access(_, Access::Read(_)) | Plain::Nothing => true,
                Plain::Neither => false,
            }
        };
        if !self.unknown.is_empty() || !self.held.iter().all(is_first) {
            return false;
        }
        self.zones = Some(zones);
        self.frontier.clear();
        true
    }

    /// Settles what is held by its values; where nothing is open, states take their place again.
    fn settle_values(&mut self, context: &Context<'_, M>, released: &mut Vec<Id>) -> Settled<M> {
        // A write is known before the reads of its value, which may be answered first.
        let is_no_write = |held: &Held<M>| {
            let operation = &held.operation;
            let access = (context.model).access(&operation.ask, operation.answer.as_ref());
            !matches!(access, Plain::Access(_, Access::Write(_)))
        };
        self.held.sort_by_key(is_no_write);
        let mut left = mem::take(&mut self.held).into_iter();
        let Some(zones) = &mut self.zones else {
            return Settled::Fine;
        };
        let mut settled = if self.is_plain {
            Settled::Fine
        } else {
            Settled::Lost("a key that is never quiet has more than reads and writes")
        };
        while let (Settled::Fine, Some(held)) = (&settled, left.next()) {
            settled = zones.take(context, &held, &self.open, &mut self.asleep, released);
        }
        if matches!(settled, Settled::Fine) {
            settled = zones.prune(context, &self.open, released);
        }
        released.extend(left.map(|held| held.operation.number));
        if matches!(settled, Settled::Fine) && self.open.is_empty() {
            let states = zones.end(context.model, released);
            self.frontier = states.into_iter().map(config).collect();
            self.zones = None;
        }
        settled
    }

    /// Searches what is held in depth: that tells whether there is a legal order, but not what there may be after it. So
    /// the part is lost, or broken.
    fn decide(&self, context: &Context<'_, M>, why: &'static str) -> Settled<M> {
        if !matches!(self.clean, Clean::Now) {
            return Settled::Lost(why);
        }
        let clock = context.clock;
        let asleep = self.asleep.iter();
        // What is open may happen, too; its answer is not known.
        let open = self.open.iter().map(|open| Operation {
            process: open.process,
            call: clock.rank(open.call),
            end: u64::MAX,
            ask: open.ask.clone(),
            answer: None,
            number: open.number,
        });
        let mut operations: Vec<_> = (self.held.iter().chain(&self.unknown).chain(asleep))
            .map(|held| held.ranked(clock))
            .chain(open)
            .collect();
        operations.sort_by_key(|operation| (operation.call, operation.number));
        let initial = states(&self.frontier);
        let case = Case {
            initial: initial.clone(),
            operations: operations.iter().collect(),
        };
        let limits = search::Limits {
            memory: context.limits.memory,
            time: Some(DECIDED_IN),
            threads: 1,
        };
        let Found::Illegal(illegal) = search::search(context.model, &case, &limits) else {
            return Settled::Lost(why);
        };
        Settled::Broken(Box::new(Evidence {
            initial,
            operations,
            illegal: Some(illegal),
            is_whole: true,
        }))
    }

    /// Whether it is worth while to settle something: nothing is open, or there is more than at the last time.
    fn is_due(&self, context: &Context<'_, M>) -> bool {
        let is_few = self.open.is_empty() && self.held.len() <= WIDE;
        context.is_end || is_few || self.held.len() >= self.retry
    }

    /// One operation alone, where nothing else is in play.
    fn step(&mut self, context: &Context<'_, M>, released: &mut Vec<Id>) -> bool {
        let ([held], true) = (self.held.as_slice(), self.open.is_empty()) else {
            return false;
        };
        let (ask, answer) = (&held.operation.ask, held.operation.answer.as_ref());
        if !self.unknown.is_empty() || !self.since.is_empty() || self.wakes(context.model, held) {
            return false;
        }
        let mut after: Vec<Config<M::State>> = Vec::new();
        for config in &self.frontier {
            context
                .model
                .step(&config.state, ask, answer, &mut |state| {
                    if after.iter().all(|other| other.state != state) {
                        after.push(self::config(state));
                    }
                });
        }
        if after.is_empty() || after.len() > context.limits.configs {
            return false;
        }
        self.frontier = after;
        released.extend(self.held.pop().map(|held| held.operation.number));
        true
    }

    /// Whether an operation reads a value that somebody may have written.
    fn wakes(&self, model: &M, held: &Held<M>) -> bool {
        let operation = &held.operation;
        match model.access(&operation.ask, operation.answer.as_ref()) {
            Plain::Access(_, Access::Read(value)) => self.asleep.has(value),
            _ => false,
        }
    }

    /// Moments up to which to settle, best first: everything, where nothing is open; otherwise answers that few
    /// operations span that change something.
    fn moments(&self, context: &Context<'_, M>) -> Vec<u64> {
        let clock = context.clock;
        let is_quiet = self.open.is_empty();
        if is_quiet && self.held.len() <= WIDE {
            return vec![u64::MAX - 1];
        }
        let horizon = self.open.iter().map(|open| open.call.moment).min();
        let horizon = horizon.unwrap_or(u64::MAX);
        let is_read = |held: &&Held<M>| {
            let operation = &held.operation;
            context
                .model
                .is_read(&operation.ask, operation.answer.as_ref())
        };
        let mut events: Vec<(u64, bool, bool)> = Vec::with_capacity(self.held.len() * 2);
        for held in &self.held {
            let is_read = is_read(&held);
            events.push((clock.rank(held.call), false, is_read));
            let end = held.end.map_or(u64::MAX, |end| clock.rank(end));
            events.push((end, true, is_read));
        }
        // Calls before answers of the same moment: they overlap.
        events.sort_unstable();
        let (mut changing, mut members, mut ended) = (0_usize, 0, 0);
        let mut choices: Vec<(usize, std::cmp::Reverse<usize>, u64)> = Vec::new();
        for (place, (rank, is_end, is_read)) in events.iter().enumerate() {
            if *rank >= horizon || members > WIDE {
                break;
            }
            if !is_end {
                members += 1;
                changing += usize::from(!is_read);
                continue;
            }
            ended += 1;
            changing -= usize::from(!is_read);
            let is_last = events.get(place + 1).is_none_or(|next| next.0 != *rank);
            if is_last && members <= WIDE {
                choices.push((changing, std::cmp::Reverse(ended), *rank));
            }
        }
        let (first, last) = (choices.first().copied(), choices.last().copied());
        choices.sort_unstable();
        let Some(best) = choices.first().copied() else {
            return Vec::new();
        };
        if best.0 > FEW && self.held.len() < PATIENCE && !is_quiet {
            return Vec::new();
        }
        // Where a window is too wide a narrower one may do; where one is left for later there may be no order for all.
        let others = [first, last.filter(|_| self.is_plain)];
        let others = others.into_iter().flatten().map(|(_, _, moment)| moment);
        let mut moments = vec![best.2];
        for moment in others {
            if !moments.contains(&moment) {
                moments.push(moment);
            }
        }
        moments
    }

    /// The operations of unknown outcome that a window has to reckon with: all that are awake, and as many of those
    /// asleep as reads may have seen.
    fn wake(&mut self, context: &Context<'_, M>, until: u64) {
        if self.asleep.is_empty() {
            return;
        }
        for held in &self.held {
            let operation = &held.operation;
            let access = (context.model).access(&operation.ask, operation.answer.as_ref());
            let Plain::Access(_, Access::Read(value)) = access else {
                continue;
            };
            if context.clock.rank(held.call) > until {
                continue;
            }
            self.unknown.extend(self.asleep.take_earliest(value));
        }
    }

    /// Settles everything up to a moment; `None` where that is too much.
    fn cross(
        &mut self,
        context: &Context<'_, M>,
        until: u64,
        released: &mut Vec<Id>,
    ) -> Option<Settled<M>> {
        self.wake(context, until);
        let clock = context.clock;
        let mut operations: Vec<_> = (self.held.iter().chain(&self.unknown))
            .map(|held| held.ranked(clock))
            .filter(|operation| operation.call <= until)
            .collect();
        operations.sort_by_key(|operation| (operation.call, operation.number));
        let bounds = Bounds {
            nodes: context.limits.nodes,
            configs: context.limits.configs,
            memory: context.limits.memory,
        };
        let refs = operations.iter().collect();
        match cross(context.model, refs, &self.frontier, until, bounds) {
            Crossed::Wide => {
                self.fall_asleep(context.model);
                None
            }
            Crossed::Illegal(illegal) => {
                let evidence = self.evidence(operations, illegal);
                Some(Settled::Broken(Box::new(evidence)))
            }
            Crossed::To(configs) => {
                let is_clean = is_clean(&configs);
                let may_wait = self.is_plain && !self.open.is_empty() && self.held.len() < BUSY;
                if may_wait && !is_clean && matches!(self.clean, Clean::Now) {
                    // There is a legal order; what there may be is better said later, or by values.
                    self.fall_asleep(context.model);
                    return Some(Settled::Fine);
                }
                if matches!(self.clean, Clean::Now) {
                    self.clean = Clean::Then(states(&self.frontier));
                }
                self.frontier = configs;
                self.forget(until, clock);
                self.fall_asleep(context.model);
                self.tidy(released);
                Some(Settled::Fine)
            }
        }
    }

    /// Puts what was settled among what is remembered.
    fn forget(&mut self, until: u64, clock: &Clock) {
        let is_settled = |held: &Held<M>| held.end.is_some_and(|end| clock.rank(end) <= until);
        for held in self.held.extract_if(.., |held| is_settled(held)) {
            self.since.push(held.ranked(clock));
        }
        // What has happened whatever the way is settled, too.
        let frontier = &mut self.frontier;
        let is_used = |held: &Held<M>| {
            let number = held.operation.number;
            frontier.iter().all(|config| config.used.contains(&number))
        };
        let used: Vec<_> = self.unknown.extract_if(.., |held| is_used(held)).collect();
        for held in used {
            let number = held.operation.number;
            for config in frontier.iter_mut() {
                config.used.retain(|used| *used != number);
            }
            self.since.push(held.ranked(clock));
        }
    }

    /// Writes that were woken in vain sleep on.
    fn fall_asleep(&mut self, model: &M) {
        if !self.is_plain {
            return;
        }
        let is_used = |held: &Held<M>| {
            let number = held.operation.number;
            (self.frontier.iter()).any(|config| config.used.contains(&number))
        };
        let unused: Vec<_> = self.unknown.extract_if(.., |held| !is_used(held)).collect();
        for held in unused {
            match model.access(&held.operation.ask, None) {
                Plain::Access(_, Access::Write(value)) => {
                    self.asleep.push(value, held);
                }
                _ => self.unknown.push(held),
            }
        }
    }

    /// Releases what is remembered for a witness, where nothing is half done or there is too much of it.
    fn tidy(&mut self, released: &mut Vec<Id>) {
        if is_clean(&self.frontier) {
            released.extend(self.since.drain(..).map(|operation| operation.number));
            self.clean = Clean::Now;
        } else if self.since.len() > REMEMBERED {
            released.extend(self.since.drain(..).map(|operation| operation.number));
            self.clean = Clean::Forgotten;
        }
    }

    /// What shows that there is no legal order.
    fn evidence(&self, operations: Vec<OperationOf<M>>, illegal: Illegal<M::State>) -> Evidence<M> {
        let frontier = states(&self.frontier);
        match &self.clean {
            Clean::Now => Evidence {
                initial: frontier,
                operations,
                illegal: Some(illegal),
                is_whole: true,
            },
            Clean::Then(states) => {
                let mut all: Vec<_> = self.since.iter().cloned().chain(operations).collect();
                all.sort_by_key(|operation| (operation.call, operation.number));
                Evidence {
                    initial: states.clone(),
                    operations: all,
                    illegal: None,
                    is_whole: true,
                }
            }
            Clean::Forgotten => Evidence {
                initial: frontier,
                operations,
                illegal: Some(illegal),
                is_whole: false,
            },
        }
    }
}

/// Whether nothing is half done.
fn is_clean<S>(configs: &[Config<S>]) -> bool {
    (configs.iter()).all(|config| config.taken.is_empty() && config.used.is_empty())
}

fn config<S>(state: S) -> Config<S> {
    Config {
        state,
        taken: smallvec::SmallVec::new(),
        used: smallvec::SmallVec::new(),
    }
}

fn states<S: Clone + PartialEq>(configs: &[Config<S>]) -> Vec<S> {
    let mut states: Vec<S> = Vec::new();
    for config in configs {
        if !states.contains(&config.state) {
            states.push(config.state.clone());
        }
    }
    states
}
