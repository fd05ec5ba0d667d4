//! Crossing goes from one moment of a history to a later one, at which operations may be open.
//!
//! What there may be at such a moment is a set of configurations: a state, which of the operations that are answered
//! later have happened already, and which of those that are never answered. Where nothing is open that is the set of
//! states at a cut, and the window between two moments is explored as the windows between two cuts are ([`super::cuts`]).
//! Everything answered before the moment has to have happened; others only where they are in its way.

use smallvec::SmallVec;

use super::{
    Budget, Case, Illegal,
    cuts::{self, Window},
    footprint::Footprints,
    states::States,
};
use crate::model::{Model, OperationOf};

/// What there may be at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config<S> {
    /// The state.
    pub state: S,
    /// The operations that have happened and are answered later, by their numbers.
    pub taken: SmallVec<[u32; 2]>,
    /// The operations that have happened and are never answered, by their numbers.
    pub used: SmallVec<[u32; 2]>,
}

/// How far one crossing goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Configurations entered.
    pub nodes: usize,
    /// Configurations left with.
    pub configs: usize,
    /// Bytes of states.
    pub memory: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Crossed<S> {
    /// What there may be.
    To(Vec<Config<S>>),
    /// Nothing.
    Illegal(Illegal<S>),
    /// A bound came first.
    Wide,
}

/// Goes from the configurations `from` to the moment `until`. `operations` are in the order of their calls, none of
/// them later than `until`; those of unknown outcome are all that may happen, of whatever time.
pub(crate) fn cross<M: Model>(
    model: &M,
    operations: Vec<&OperationOf<M>>,
    from: &[Config<M::State>],
    until: u64,
    bounds: Bounds,
) -> Crossed<M::State> {
    let case = Case {
        initial: Vec::new(),
        operations,
    };
    let number = |position: u32| case.operations[position as usize].number;
    let footprints = Footprints::new(model, &case);
    let mut window = Window::new(model, &case, &footprints);
    let mut unknown = Vec::new();
    if !window.fill(0..case.operations.len(), &mut unknown) {
        return Crossed::Wide;
    }
    let mut states = States::new(model);
    let entrances: Vec<_> = (from.iter())
        .map(|config| cuts::Config {
            state: states.number(config.state.clone()),
            used: (unknown.iter().enumerate())
                .filter(|(_, position)| config.used.contains(&number(**position)))
                .fold(0, |set, (bit, _)| set | 1 << bit),
            done: window.bits(|position| config.taken.contains(&number(position))),
        })
        .collect();
    let must = window.bits(|position| case.operations[position as usize].end <= until);
    let mut budget = Budget::new(bounds.memory, None);
    let explored = window.explore(
        &entrances,
        must,
        bounds.nodes,
        &unknown,
        &mut states,
        &mut budget,
    );
    let exits = match explored {
        Ok(exits) if exits.is_empty() => {
            return Crossed::Illegal(window.illegal(&entrances, &states));
        }
        Ok(exits) if exits.len() <= bounds.configs => exits,
        _ => return Crossed::Wide,
    };
    let exits = exits.into_iter().map(|exit| Config {
        state: states.get(exit.state).clone(),
        taken: window.positions(exit.done & !must).map(number).collect(),
        used: (unknown.iter().enumerate())
            .filter(|(bit, _)| exit.used & 1 << bit != 0)
            .map(|(_, position)| number(*position))
            .collect(),
    });
    Crossed::To(exits.collect())
}
