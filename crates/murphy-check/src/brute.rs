//! Brute force tries every order: slow, obvious, and independent of the search whose word it confirms.
//!
//! It keeps nothing in mind but which operations have happened and the state, compares both in full, and knows
//! neither parts nor cuts nor reads, unless it is told to trust the model's word ([`Trust`]).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use crate::model::{Model, Operation, OperationOf, are_alike, part, tells};

/// Most operations it takes.
pub const OPERATIONS_MAX: usize = 64;

/// What brute force takes the model's word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing but its steps.
    Steps,
    /// Also that a state leads nowhere ([`Model::can_lead_to`]), and that an operation leaves nothing of what was
    /// ([`Model::overwrites`]), which ends most orders early.
    Hopes,
}

/// Which operations come before which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// One that ended before the other was asked: linearizability.
    RealTime,
    /// One that its process asked before the other: sequential consistency.
    Session,
}

impl Precedence {
    /// Whether `operations[one]` comes before `operations[other]`, in the order of their calls. One without an answer
    /// comes before nothing: it may happen later.
    pub(crate) fn comes_before<A, R>(
        self,
        operations: &[&Operation<A, R>],
        one: usize,
        other: usize,
    ) -> bool {
        let (first, second) = (operations[one], operations[other]);
        first.answer.is_some()
            && match self {
                Self::RealTime => first.end < second.call,
                Self::Session => one < other && first.process == second.process,
            }
    }
}

/// Whether some order of `operations` that `precedence` allows is legal behind one of the states of `initial`; each
/// operation with an answer happens, each without one may. `None` where there are more than [`OPERATIONS_MAX`], or
/// more than `limit` configurations.
pub fn has_legal_order<M: Model>(
    model: &M,
    initial: &[M::State],
    operations: &[&OperationOf<M>],
    precedence: Precedence,
    trust: Trust,
    limit: usize,
) -> Option<bool> {
    if operations.len() > OPERATIONS_MAX {
        return None;
    }
    let overwrites = trust == Trust::Hopes && are_alike(model, operations.iter().copied());
    let must: u64 = bits(operations, |operation| operation.answer.is_some());
    // For each state and set of answered operations, the sets of unanswered ones with which it was met: who gets
    // nowhere with some of them left gets nowhere with fewer.
    let mut seen: HashMap<(u64, M::State), Vec<u64>> = HashMap::new();
    // Fewest unanswered operations first, so that the least sets are met first.
    let mut open: BTreeMap<Reverse<u32>, Vec<(u64, M::State)>> = BTreeMap::new();
    open.insert(
        Reverse(0),
        initial.iter().map(|state| (0, state.clone())).collect(),
    );
    let mut met = 0;
    while let Some(mut entry) = open.last_entry() {
        let Some((done, state)) = entry.get_mut().pop() else {
            entry.remove();
            continue;
        };
        if done & must == must {
            return Some(true);
        }
        let sets = seen.entry((done & must, state.clone())).or_default();
        if sets.iter().any(|set| set & !done == 0) {
            continue;
        }
        sets.push(done & !must);
        met += 1;
        if met > limit {
            return None;
        }
        let config = Config {
            operations,
            precedence,
            done,
        };
        if trust == Trust::Hopes && !config.has_hope(model, &state) {
            continue;
        }
        for (bit, operation) in operations.iter().enumerate() {
            if !config.may_come(bit) || (overwrites && config.is_in_vain(model, bit)) {
                continue;
            }
            let done = done | 1 << bit;
            let used = (done & !must).count_ones();
            let after = Config { done, ..config };
            let is_known = operation.answer.is_some() || !overwrites;
            model.step(
                &state,
                &operation.ask,
                operation.answer.as_ref(),
                &mut |next| {
                    if is_known || after.is_told(model, &next, bit) {
                        open.entry(Reverse(used)).or_default().push((done, next));
                    }
                },
            );
        }
    }
    Some(false)
}

/// What has happened so far.
#[derive(Clone, Copy)]
struct Config<'a, A, R> {
    operations: &'a [&'a Operation<A, R>],
    precedence: Precedence,
    done: u64,
}

impl<A: PartialEq, R> Config<'_, A, R> {
    fn left(&self) -> impl Iterator<Item = &Operation<A, R>> {
        let is_left = |(bit, _): &(usize, _)| self.done & 1 << bit == 0;
        self.operations
            .iter()
            .enumerate()
            .filter(is_left)
            .map(|(_, operation)| *operation)
    }

    /// Whether an operation is left, and everything that comes before it has happened.
    fn is_ready(&self, bit: usize) -> bool {
        let is_left = |at: usize| self.done & 1 << at == 0;
        let waits_for =
            |at: usize| is_left(at) && self.precedence.comes_before(self.operations, at, bit);
        is_left(bit) && !(0..self.operations.len()).any(waits_for)
    }

    /// Whether an operation need be tried. Of several without an answer that ask for the same and could come now, the
    /// first is taken first: it makes no difference.
    fn may_come(&self, bit: usize) -> bool {
        let operation = self.operations[bit];
        let is_first = || {
            !(0..bit).any(|at| {
                let other = self.operations[at];
                other.answer.is_none() && other.ask == operation.ask && self.is_ready(at)
            })
        };
        self.is_ready(bit) && (operation.answer.is_some() || is_first())
    }

    /// Whether an operation without an answer is certain to be overwritten before any answer can tell of it.
    fn is_in_vain<M: Model<Ask = A, Answer = R>>(&self, model: &M, bit: usize) -> bool {
        let operation = self.operations[bit];
        let is_left = |at: &usize| self.done & 1 << at == 0;
        let answered = (0..self.operations.len())
            .filter(is_left)
            .filter(|at| self.operations[*at].answer.is_some());
        let overwrites = |at: &usize| self.overwrites(model, bit, self.operations[*at]);
        let (over, mut others): (Vec<usize>, Vec<usize>) = answered.partition(overwrites);
        others.retain(|at| tells(model, self.operations[*at]));
        let is_first = |over: &usize| {
            let comes_before = |other: &usize| {
                let precedence = self.precedence;
                precedence.comes_before(self.operations, *over, *other)
            };
            others.iter().all(comes_before)
        };
        operation.answer.is_none() && over.iter().any(is_first)
    }

    /// Whether `other` leaves nothing of what the operation at `bit` has done.
    fn overwrites<M: Model<Ask = A, Answer = R>>(
        &self,
        model: &M,
        bit: usize,
        other: &Operation<A, R>,
    ) -> bool {
        part(model, other) == part(model, self.operations[bit])
            && model.overwrites(&other.ask, other.answer.as_ref())
    }

    /// Whether an answer that is left can tell of a state before something overwrites it; true also where the operation
    /// that left it is not one that could be overwritten.
    fn is_told<M: Model<Ask = A, Answer = R>>(
        &self,
        model: &M,
        state: &M::State,
        bit: usize,
    ) -> bool {
        let overwrites = |other: &Operation<A, R>| self.overwrites(model, bit, other);
        let is_told = |goal: &Operation<A, R>| {
            tells(model, goal) && self.can_lead_to(model, state, goal, |other| !overwrites(other))
        };
        !self.left().any(overwrites) || self.left().any(is_told)
    }

    /// Whether every answer that is left is still possible, for all the model knows.
    fn has_hope<M: Model<Ask = A, Answer = R>>(&self, model: &M, state: &M::State) -> bool {
        let answered = self.left().filter(|goal| goal.answer.is_some());
        { answered }.all(|goal| self.can_lead_to(model, state, goal, |_| true))
    }

    /// Whether a state may lead to the answer of `goal`, for all the model knows, by those operations that are left for
    /// which `may` is true.
    fn can_lead_to<M: Model<Ask = A, Answer = R>>(
        &self,
        model: &M,
        state: &M::State,
        goal: &Operation<A, R>,
        may: impl Fn(&Operation<A, R>) -> bool,
    ) -> bool {
        let Some(answer) = &goal.answer else {
            return false;
        };
        let is_in_time = |other: &Operation<A, R>| match self.precedence {
            Precedence::RealTime => other.call <= goal.end,
            Precedence::Session => true,
        };
        let between = self
            .left()
            .filter(|other| other.number != goal.number && is_in_time(other) && may(other));
        let between = between.map(|other| &other.ask);
        model.can_lead_to(state, &goal.ask, answer, between)
    }
}

fn bits<T>(things: &[T], has: impl Fn(&T) -> bool) -> u64 {
    (things.iter().enumerate())
        .filter(|(_, thing)| has(thing))
        .fold(0, |set, (bit, _)| set | 1 << bit)
}
