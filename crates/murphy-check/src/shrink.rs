//! Shrinking makes an illegal history small: the fewest operations that still have no legal order.
//!
//! Leaving operations out of a history proves nothing by itself: a read of 5 alone is illegal only because its write
//! was left out. Here a history is made smaller only by steps after which an illegal one shows that the history
//! before it was illegal, too:
//!
//! - an operation that changes no state is left out;
//! - a group of operations that any legal sequence can do without is left out as a whole ([`Model::group`]);
//! - the end is cut off: what was asked later is left out, and what was answered later was not answered;
//! - the beginning is replaced by the states that may be there at a cut, which the search has found;
//! - an answer is forgotten: the operation may then have happened at any later time, or never.
//!
//! What is left when no step is possible any more is minimal: each operation with an answer is needed, and those
//! without are what might have happened besides.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use crate::{
    brute::{self, Precedence, Trust},
    model::{Model, Operation, OperationOf},
    search::{Case, Found, Illegal, Limits, search},
    sequential,
};

/// How long one look at a smaller history may take, and all of them together.
const LOOK: Duration = Duration::from_millis(300);
const ALL: Duration = Duration::from_secs(5);

/// So many operations up to the contradiction are told as they were; of more, the beginning is replaced by the states
/// that it leaves.
const BEGINNING_TOLD: usize = 24;

/// How many configurations brute force may enter: on its own, and where it trusts the model's word on hopeless ones.
const STEPS: usize = 1 << 13;
const HOPES: usize = 1 << 15;

/// A small illegal history.
#[derive(Clone, Debug)]
pub struct Shrunk<M: Model> {
    /// The states one of which was there before.
    pub initial: Vec<M::State>,
    /// In the order of their calls; those without an answer may have happened besides.
    pub operations: Vec<OperationOf<M>>,
    /// What must come before what.
    pub precedence: Precedence,
    /// Whether brute force finds no legal order either; false also where it takes too long.
    pub is_confirmed: bool,
    /// Whether nothing more can be left out; false where the time for that was over.
    pub is_minimal: bool,
}

/// One step that makes a history smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Leave out the operation with this number, which changes no state.
    Drop(u32),
    /// Leave out the operations of this group.
    Leave(u64),
    /// Forget the answer of the operation with this number.
    Forget(u32),
}

/// Every step there is, those first that leave out most.
pub fn steps<M: Model>(model: &M, operations: &[OperationOf<M>]) -> [Vec<Step>; 3] {
    let (mut groups, mut drops, mut forgets) = (Vec::new(), Vec::new(), Vec::new());
    let mut met = FxHashSet::default();
    for operation in operations {
        let answer = operation.answer.as_ref();
        if let Some(group) = model.group(&operation.ask, answer)
            && met.insert(group)
        {
            groups.push(Step::Leave(group));
        }
        if model.is_read(&operation.ask, answer) {
            drops.push(Step::Drop(operation.number));
        } else if answer.is_some() {
            forgets.push(Step::Forget(operation.number));
        }
    }
    [groups, drops, forgets]
}

/// The history after some steps.
pub fn smaller<M: Model>(
    model: &M,
    operations: &[OperationOf<M>],
    steps: &[Step],
) -> Vec<OperationOf<M>> {
    let steps_of = |numbers: fn(&Step) -> Option<u64>| -> FxHashSet<u64> {
        steps.iter().filter_map(numbers).collect()
    };
    let dropped = steps_of(|step| match step {
        Step::Drop(number) => Some(u64::from(*number)),
        _ => None,
    });
    let left = steps_of(|step| match step {
        Step::Leave(group) => Some(*group),
        _ => None,
    });
    let forgotten = steps_of(|step| match step {
        Step::Forget(number) => Some(u64::from(*number)),
        _ => None,
    });
    let mut rest = Vec::with_capacity(operations.len());
    for operation in operations {
        let number = u64::from(operation.number);
        let group = model.group(&operation.ask, operation.answer.as_ref());
        if dropped.contains(&number) || group.is_some_and(|group| left.contains(&group)) {
            continue;
        }
        let mut operation = operation.clone();
        if forgotten.contains(&number) {
            (operation.answer, operation.end) = (None, u64::MAX);
        }
        if let Some(answer) = &mut operation.answer {
            for group in &left {
                *answer = model.without(answer, *group);
            }
        }
        // Nobody knows whether it happened, and it changed nothing.
        if operation.answer.is_some() || !model.is_read(&operation.ask, None) {
            rest.push(operation);
        }
    }
    rest
}

/// Makes the operations of an illegal part small. `illegal` is what the search said of `case`. It takes no longer than
/// `time`, nor than 5 s.
pub fn shrink<M: Model>(
    model: &M,
    case: &Case<'_, M>,
    illegal: &Illegal<M::State>,
    time: Option<Duration>,
) -> Shrunk<M> {
    let mut shrinker = Shrinker::new(model, Precedence::RealTime, case.initial.clone(), time);
    let operations = shrinker.begin(case, illegal);
    let operations = shrinker.cut_end(operations);
    shrinker.finish(operations)
}

/// Makes operations small that are not sequentially consistent. It takes no longer than `time`, nor than 5 s.
pub fn shrink_sequential<M: Model>(
    model: &M,
    operations: &[&OperationOf<M>],
    time: Option<Duration>,
) -> Shrunk<M> {
    let shrinker = Shrinker::new(model, Precedence::Session, vec![model.initial()], time);
    let operations = operations
        .iter()
        .map(|operation| (*operation).clone())
        .collect();
    shrinker.finish(operations)
}

fn answered<A, R>(operations: &[Operation<A, R>]) -> usize {
    let is_answered = |operation: &&Operation<A, R>| operation.answer.is_some();
    operations.iter().filter(is_answered).count()
}

struct Shrinker<'m, M: Model> {
    model: &'m M,
    precedence: Precedence,
    initial: Vec<M::State>,
    deadline: Instant,
    is_late: bool,
}

impl<'m, M: Model> Shrinker<'m, M> {
    fn new(
        model: &'m M,
        precedence: Precedence,
        initial: Vec<M::State>,
        time: Option<Duration>,
    ) -> Self {
        Self {
            model,
            precedence,
            initial,
            deadline: Instant::now() + time.map_or(ALL, |time| time.min(ALL)),
            is_late: false,
        }
    }

    /// Whether there is certainly no legal order.
    fn is_illegal(&mut self, operations: &[OperationOf<M>]) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.is_late = true;
            return false;
        }
        let look = left.min(LOOK);
        match self.precedence {
            Precedence::RealTime => {
                let case = Case {
                    initial: self.initial.clone(),
                    operations: operations.iter().collect(),
                };
                let limits = Limits {
                    memory: 256 << 20,
                    time: Some(look),
                    threads: 1,
                };
                matches!(search(self.model, &case, &limits), Found::Illegal(_))
            }
            Precedence::Session => {
                let until = Instant::now() + look;
                let limits = sequential::Limits {
                    memory: 256 << 20,
                    ..sequential::Limits::default()
                };
                let stop = &mut || Instant::now() > until;
                let outcome = sequential::search(self.model, operations, limits, stop);
                matches!(outcome, sequential::Outcome::Broken(_))
            }
        }
    }

    /// Takes steps until none is possible, and asks brute force.
    fn finish(mut self, mut operations: Vec<OperationOf<M>>) -> Shrunk<M> {
        loop {
            let before = operations.len() + answered(&operations);
            for kind in 0..3 {
                let steps = steps(self.model, &operations)[kind].clone();
                operations = self.without(operations, steps);
            }
            if operations.len() + answered(&operations) == before {
                break;
            }
        }
        let refs: Vec<_> = operations.iter().collect();
        let confirms = |trust, limit| {
            brute::has_legal_order(
                self.model,
                &self.initial,
                &refs,
                self.precedence,
                trust,
                limit,
            ) == Some(false)
        };
        let is_confirmed = confirms(Trust::Steps, STEPS) || confirms(Trust::Hopes, HOPES);
        Shrunk {
            is_confirmed,
            is_minimal: !self.is_late,
            precedence: self.precedence,
            initial: self.initial,
            operations,
        }
    }

    /// Where to begin: with the window of the contradiction, if possible.
    fn begin(&mut self, case: &Case<'_, M>, illegal: &Illegal<M::State>) -> Vec<OperationOf<M>> {
        let all: Vec<OperationOf<M>> = case
            .operations
            .iter()
            .map(|operation| (*operation).clone())
            .collect();
        let group = |operation: &OperationOf<M>| {
            self.model.group(&operation.ask, operation.answer.as_ref())
        };
        let window: Vec<_> = illegal.window.iter().map(|at| &all[*at as usize]).collect();
        let touched: FxHashSet<_> = window
            .iter()
            .filter_map(|operation| group(operation))
            .collect();
        if !touched.is_empty() {
            // Groups that the window does not touch first: that leaves little of a long history.
            let others = all
                .iter()
                .filter_map(group)
                .filter(|group| !touched.contains(group));
            let others: FxHashSet<_> = others.collect();
            let others: Vec<_> = others.into_iter().map(Step::Leave).collect();
            let rest = smaller(self.model, &all, &others);
            return if self.is_illegal(&rest) { rest } else { all };
        }
        let until = illegal.window.last().map_or(0, |last| *last as usize + 1);
        if until <= BEGINNING_TOLD {
            let whole = smaller(self.model, &all[..until.min(all.len())], &[]);
            if self.is_illegal(&whole) {
                return whole;
            }
        }
        let first = illegal.window.first().copied().unwrap_or_default();
        let last = illegal.window.last().copied().unwrap_or_default();
        let mut rest: Vec<_> = (0..)
            .zip(&all)
            .filter(|(at, operation)| {
                (first..=last).contains(at) || (*at < first && operation.answer.is_none())
            })
            .map(|(_, operation)| operation.clone())
            .collect();
        rest = smaller(self.model, &rest, &[]);
        let whole = std::mem::replace(&mut self.initial, illegal.initial.clone());
        if self.is_illegal(&rest) {
            return rest;
        }
        self.initial = whole;
        all
    }

    /// Cuts the end off, as early as possible. Whether the beginning up to a moment is illegal does not change back.
    fn cut_end(&mut self, operations: Vec<OperationOf<M>>) -> Vec<OperationOf<M>> {
        let mut ends: Vec<_> = (operations.iter())
            .filter(|operation| operation.answer.is_some())
            .map(|operation| operation.end)
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let until = |end: u64| -> Vec<_> {
            let asked = operations.iter().filter(|operation| operation.call <= end);
            let cut: Vec<_> = asked
                .map(|operation| {
                    let mut operation = operation.clone();
                    if operation.end > end {
                        (operation.answer, operation.end) = (None, u64::MAX);
                    }
                    operation
                })
                .collect();
            smaller(self.model, &cut, &[])
        };
        let (mut legal, mut illegal) = (0, ends.len());
        let mut best = None;
        while legal < illegal {
            let middle = usize::midpoint(legal, illegal);
            let cut = until(ends[middle]);
            if self.is_illegal(&cut) {
                illegal = middle;
                best = Some(cut);
            } else {
                legal = middle + 1;
            }
        }
        best.unwrap_or(operations)
    }

    /// Takes every step that leaves the history illegal, many at a time first (Zeller and Hildebrandt, 2002).
    fn without(
        &mut self,
        operations: Vec<OperationOf<M>>,
        steps: Vec<Step>,
    ) -> Vec<OperationOf<M>> {
        let (mut operations, mut steps) = (operations, steps);
        let mut size = steps.len();
        while size > 0 {
            let mut needed = Vec::new();
            for chunk in steps.chunks(size) {
                let rest = smaller(self.model, &operations, chunk);
                if self.is_illegal(&rest) {
                    operations = rest;
                } else {
                    needed.extend_from_slice(chunk);
                }
            }
            steps = needed;
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        operations
    }
}
