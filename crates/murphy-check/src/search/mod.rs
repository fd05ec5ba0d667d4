//! A search looks for an order of operations that a model and real time allow, for any [`Model`].
//!
//! Linearizability is NP-complete; what makes it quick in practice is to never look at a thing twice, and to not look
//! at most things once. In that order:
//!
//! 1. **Parts** ([`parts`]): operations that share no part of the state are judged apart, several at a time.
//! 2. **Cuts** ([`cuts`]): at a moment at which no operation is open, everything before it has happened. Between two
//!    such moments few operations are left, whose orders are tried in full; what remains is the set of states.
//! 3. **Depth first** ([`wgl`]): windows that are too wide are searched as Wing and Gong (1993) do, with the memory
//!    of Lowe (2017): a configuration, which is the set of operations that have happened and the state, is entered
//!    once. The set is a 128-bit sum of random numbers, one for each operation, so a configuration takes 16 bytes.
//! 4. **Reads first**: an operation that changes no state, and whose answer fits the state there is, happens at once.
//!    Whoever finds an order in which it comes later finds one in which it comes now.
//! 5. **What is in the way** ([`footprint`]): of operations that commute, those are tried first that can be in the way
//!    of the one that is answered first, and no others.
//! 6. **What is to come** ([`goals`]): a state from which nothing can lead to an answer that is still to come is not
//!    gone on from.
//! 7. **Blame** ([`blame`]): where nothing fits, operations that have nothing to do with it are taken back without
//!    anything being tried in their place.
//! 8. **Unknown outcomes last**: an operation without an answer is tried when nothing else fits, and a configuration
//!    that failed with fewer of them used up need not be tried with more.
//!
//! Limits of memory and time end a search for certain: a step of a model never computes more than one state at a
//! time, and limits are looked at between any two.

mod blame;
mod crossing;
mod cuts;
mod footprint;
mod goals;
mod parts;
mod seen;
mod states;
mod wgl;

use std::time::{Duration, Instant};

pub(crate) use crossing::{Bounds, Config, Crossed, cross};
use footprint::Footprints;
pub(crate) use goals::AHEAD;
pub use parts::{Parts, parts};

use crate::model::{Model, OperationOf};

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes for states and configurations, of all parts that are searched at a time together.
    pub memory: usize,
    /// How long it may take; `None` for as long as it takes.
    pub time: Option<Duration>,
    /// How many parts are searched at a time; 0 for as many as the machine has processors.
    pub threads: usize,
}

impl Default for Limits {
    /// 2 GiB, five minutes, every processor.
    fn default() -> Self {
        Self {
            memory: 2 << 30,
            time: Some(Duration::from_mins(5)),
            threads: 0,
        }
    }
}

/// Where a search begins and what it looks at: operations, in the order in which they were asked, behind any one of
/// several states.
#[derive(Clone, Debug)]
pub struct Case<'a, M: Model> {
    /// The states one of which was there before the first operation.
    pub initial: Vec<M::State>,
    /// In the order of their calls.
    pub operations: Vec<&'a OperationOf<M>>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<S> {
    /// There is a legal order.
    Legal,
    /// There is none.
    Illegal(Illegal<S>),
    /// The limits came first.
    Undecided {
        /// Which limit.
        why: &'static str,
        /// How many configurations had been looked at.
        explored: u64,
    },
}

/// Why there is no legal order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Illegal<S> {
    /// The states one of which was there before the operations below, all earlier operations having happened.
    pub initial: Vec<S>,
    /// Positions, in [`Case::operations`], of the operations that were looked at together: from the last moment
    /// before the contradiction at which no operation was open, on.
    pub window: Vec<u32>,
    /// The longest legal order of operations of the window that was found, as positions with the state after each.
    pub longest: Vec<(u32, S)>,
    /// The state before the first of them.
    pub before: S,
}

/// Looks for a legal order of one part.
pub fn search<M: Model>(model: &M, case: &Case<'_, M>, limits: &Limits) -> Found<M::State> {
    let budget = Budget::new(limits.memory, limits.time.map(|time| Instant::now() + time));
    search_within(model, case, budget)
}

/// The same without cuts, in depth alone: for windows known to be wide.
pub fn search_in_depth<M: Model>(
    model: &M,
    case: &Case<'_, M>,
    limits: &Limits,
) -> Found<M::State> {
    let deadline = limits.time.map(|time| Instant::now() + time);
    let rest = cuts::Rest {
        from: 0,
        frontier: (case.initial.iter())
            .map(|state| (state.clone(), Vec::new()))
            .collect(),
    };
    let footprints = Footprints::new(model, case);
    let mut budget = Budget::new(limits.memory, deadline);
    wgl::search(model, case, &footprints, rest, &mut budget)
}

fn search_within<M: Model>(model: &M, case: &Case<'_, M>, mut budget: Budget) -> Found<M::State> {
    let footprints = Footprints::new(model, case);
    match cuts::advance(model, case, &footprints, &mut budget) {
        cuts::Advance::Done(found) => found,
        cuts::Advance::Wide(rest) => wgl::search(model, case, &footprints, rest, &mut budget),
    }
}

/// What a search may still use.
#[derive(Clone, Debug)]
struct Budget {
    memory: usize,
    deadline: Option<Instant>,
    /// How many configurations may be entered.
    round: u64,
    /// Configurations entered.
    explored: u64,
    /// Candidates looked at since the last look at the clock.
    work: u64,
}

/// The limit that a further round moves.
const ROUND_OVER: &str = "the round was over";

/// How many configurations are entered between two looks at the clock.
const LOOK_EVERY: u64 = 1 << 10;

/// How many candidates are looked at between two looks at the clock.
const WORK_MAX: u64 = 1 << 20;

impl Budget {
    fn new(memory: usize, deadline: Option<Instant>) -> Self {
        Self {
            memory,
            deadline,
            round: u64::MAX,
            explored: 0,
            work: 0,
        }
    }

    /// Counts what is done between two configurations; the reason where the time is over.
    fn work(&mut self, amount: usize) -> Result<(), &'static str> {
        self.work += amount as u64;
        if self.work < WORK_MAX {
            return Ok(());
        }
        self.work = 0;
        self.is_in_time()
    }

    fn is_in_time(&self) -> Result<(), &'static str> {
        match self.deadline {
            Some(deadline) if Instant::now() > deadline => Err("the deadline was reached"),
            _ => Ok(()),
        }
    }

    /// Counts a configuration; the reason where a limit is reached. `used` is what the search holds.
    fn spend(&mut self, used: impl FnOnce() -> usize) -> Result<(), &'static str> {
        self.explored += 1;
        if !self.explored.is_multiple_of(LOOK_EVERY) {
            return Ok(());
        }
        if self.explored > self.round {
            return Err(ROUND_OVER);
        }
        if used() > self.memory {
            return Err("the memory limit was reached");
        }
        self.is_in_time()
    }
}

/// What was found of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<S> {
    /// The worst: the first part without a legal order, or else the first that is undecided, or else legal.
    pub found: Found<S>,
    /// Positions of the operations of that part in the history.
    pub part: Vec<u32>,
    /// How many parts there are.
    pub parts: usize,
}

/// How many configurations of a part are entered in the first round, and how many times as many in each further one.
const ROUND: u64 = 1 << 10;
const ROUNDS_GROW: u64 = 16;

/// Looks for a legal order of a whole history, part by part, several at a time. One part without a legal order ends
/// it; so that a hard part does not hide an easy one, all parts are looked at for a while first, then those that are
/// left for longer. The part that is found does not depend on how quick the machine is, unless a limit is reached.
pub fn linearize<M: Model + Sync>(
    model: &M,
    operations: &[OperationOf<M>],
    limits: &Limits,
) -> Verdict<M::State>
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    let parts = parts(model, operations);
    let threads = match limits.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let mut left: Vec<usize> = (0..parts.len()).collect();
    let threads = threads.min(left.len()).max(1);
    let mut budget = Budget::new(
        limits.memory / threads,
        limits.time.map(|time| Instant::now() + time),
    );
    budget.round = ROUND;
    loop {
        let round = Round {
            model,
            operations,
            parts: &parts,
            left: &left,
            budget: &budget,
        };
        let mut found = round.run(threads);
        found.sort_by_key(|(number, _)| *number);
        let is_illegal =
            |(_, found): &&(usize, Found<M::State>)| matches!(found, Found::Illegal(_));
        let decided = (found.iter().find(is_illegal)).or_else(|| {
            (found.iter()).find(
                |(_, found)| matches!(found, Found::Undecided { why, .. } if *why != ROUND_OVER),
            )
        });
        if let Some((number, found)) = decided {
            return Verdict {
                found: found.clone(),
                part: parts.of(*number).to_vec(),
                parts: parts.len(),
            };
        }
        if found.is_empty() {
            return Verdict {
                found: Found::Legal,
                part: Vec::new(),
                parts: parts.len(),
            };
        }
        left = found.into_iter().map(|(number, _)| number).collect();
        budget.round = budget.round.saturating_mul(ROUNDS_GROW);
    }
}

/// One look at each part that is left.
struct Round<'a, M: Model> {
    model: &'a M,
    operations: &'a [OperationOf<M>],
    parts: &'a Parts,
    left: &'a [usize],
    budget: &'a Budget,
}

impl<M: Model + Sync> Round<'_, M>
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    /// What was found of the parts that are not legal.
    fn run(&self, threads: usize) -> Vec<(usize, Found<M::State>)> {
        use std::sync::{
            Mutex, PoisonError,
            atomic::{AtomicUsize, Ordering},
        };
        let next = AtomicUsize::new(0);
        // Parts behind the first illegal one need not be looked at; parts before it must be.
        let illegal_at = AtomicUsize::new(usize::MAX);
        let all = Mutex::new(Vec::new());
        let work = || {
            while let Some(number) = self.left.get(next.fetch_add(1, Ordering::Relaxed)) {
                if *number > illegal_at.load(Ordering::Relaxed) {
                    return;
                }
                let positions = self.parts.of(*number).iter();
                let case = Case {
                    initial: vec![self.model.initial()],
                    operations: positions.map(|at| &self.operations[*at as usize]).collect(),
                };
                let found = search_within(self.model, &case, self.budget.clone());
                if found == Found::Legal {
                    continue;
                }
                if matches!(found, Found::Illegal(_)) {
                    illegal_at.fetch_min(*number, Ordering::Relaxed);
                }
                all.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((*number, found));
            }
        };
        if threads == 1 {
            work();
        } else {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
        }
        all.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
