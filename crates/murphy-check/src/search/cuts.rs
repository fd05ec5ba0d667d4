//! A cut is a moment at which no operation is open that was answered later: everything before it has happened.
//!
//! Between two cuts lies a window of a few operations. All their orders are tried, from each state that may have been
//! there before; what goes on are the states there may be after it. So memory does not grow with the history, and a
//! contradiction names its window. Operations of unknown outcome stay open for ever and are handed on: a state goes on
//! with those it has used up, unless the same state has done with fewer.

use smallvec::SmallVec;

use super::{
    Budget, Case, Found, Illegal,
    footprint::Footprints,
    seen::{Seen, UNKNOWN_MAX},
    states::States,
};
use crate::model::Model;

/// Widest window whose orders are all tried.
const WIDE: usize = 64;

/// A last window of more operations than that is left to the search in depth at once.
const DEEP: usize = 16;

/// How many configurations of one window are entered before it is left to the search in depth.
const NODES_MAX: usize = 1 << 9;

/// Bytes of states of earlier windows that are kept, in case they come again.
const STATES_KEPT: usize = 16 << 20;

/// How far the cuts have brought it.
pub(super) enum Advance<S> {
    /// To the end.
    Done(Found<S>),
    /// To a window that is too wide.
    Wide(Rest<S>),
}

/// What is left when a window is too wide.
pub(super) struct Rest<S> {
    /// Position of the window's first operation.
    pub from: usize,
    /// The states there may be before it, with the positions of the operations of unknown outcome used up.
    pub frontier: Vec<(S, Vec<u32>)>,
}

/// A state there may be at a cut.
#[derive(Clone, Copy)]
pub(super) struct Config {
    pub state: u32,
    /// The operations of unknown outcome that were used up.
    pub used: u128,
    /// The answered operations of the window that have happened, by their bits; none at a moment at which none is open.
    pub done: u64,
}

/// Goes from cut to cut as far as windows are narrow.
pub(super) fn advance<M: Model>(
    model: &M,
    case: &Case<'_, M>,
    footprints: &Footprints,
    budget: &mut Budget,
) -> Advance<M::State> {
    let mut states = States::new(model);
    let mut frontier: Vec<_> = (case.initial.iter().cloned())
        .map(|state| Config {
            state: states.number(state),
            used: 0,
            done: 0,
        })
        .collect();
    let mut unknown: Vec<u32> = Vec::new();
    let mut window = Window::new(model, case, footprints);
    let mut from = 0;
    while from < case.operations.len() {
        let end = end_of_window(case, from);
        let rest = |states: &States<'_, M>, frontier: &[Config], unknown: &[u32]| {
            let configs = frontier.iter().map(|config| {
                let used = (0..unknown.len()).filter(|bit| config.used & 1 << bit != 0);
                let used = used.map(|bit| unknown[bit]).collect();
                (states.get(config.state).clone(), used)
            });
            Advance::Wide(Rest {
                from,
                frontier: configs.collect(),
            })
        };
        let known = unknown.len();
        // Of the last window it is enough to know one way through.
        let is_last = end == case.operations.len();
        let is_alone = end == from + 1 && unknown.is_empty();
        let passed = is_alone.then(|| window.pass(from, &frontier, &mut states));
        let exits = if let Some(exits) = passed.flatten() {
            let spent = budget.spend(|| states.bytes()).map_err(Stop::Limit);
            spent.map(|()| exits)
        } else if is_last && end - from > DEEP {
            Err(Stop::Wide)
        } else if window.fill(from..end, &mut unknown) {
            let all = window.all();
            window.explore(&frontier, all, NODES_MAX, &unknown, &mut states, budget)
        } else {
            Err(Stop::Wide)
        };
        match exits {
            Ok(exits) if exits.is_empty() => {
                return Advance::Done(Found::Illegal(window.illegal(&frontier, &states)));
            }
            Ok(exits) => {
                frontier = exits;
                for config in &mut frontier {
                    config.done = 0;
                }
                if states.bytes() > STATES_KEPT {
                    let mut fewer = States::new(model);
                    for config in &mut frontier {
                        config.state = fewer.number(states.get(config.state).clone());
                    }
                    states = fewer;
                }
            }
            Err(Stop::Wide) => {
                unknown.truncate(known);
                return rest(&states, &frontier, &unknown);
            }
            Err(Stop::Limit(why)) => {
                return Advance::Done(Found::Undecided {
                    why,
                    explored: budget.explored,
                });
            }
        }
        from = end;
    }
    Advance::Done(Found::Legal)
}

/// Position behind the window that begins at `from`.
fn end_of_window<M: Model>(case: &Case<'_, M>, from: usize) -> usize {
    let mut last_end = None;
    for (position, operation) in case.operations.iter().enumerate().skip(from) {
        if last_end.is_some_and(|end| end < operation.call) {
            return position;
        }
        if operation.answer.is_some() {
            last_end = last_end.max(Some(operation.end));
        }
    }
    case.operations.len()
}

pub(super) enum Stop {
    Wide,
    Limit(&'static str),
}

/// An operation of the window, and who must have happened before it.
struct Member {
    position: u32,
    before: u64,
    is_read: bool,
}

/// An operation that can come next, by its bit.
#[derive(Clone, Copy)]
enum Mover {
    /// One that was answered.
    Known(usize),
    /// One of unknown outcome.
    Unknown(usize),
}

/// A configuration of the window, with the way to it.
struct Node {
    parent: u32,
    /// The operation that led here.
    position: u32,
    config: Config,
}

const ROOT: u32 = u32::MAX;

/// The window that is looked at.
pub(super) struct Window<'a, 'c, M: Model> {
    model: &'a M,
    case: &'a Case<'c, M>,
    footprints: &'a Footprints,
    /// Answered operations; bit `i` of a set is the `i`th of them.
    members: Vec<Member>,
    /// Who must have happened before each operation of unknown outcome, by its bit.
    before_unknown: Vec<u64>,
    /// For each operation of unknown outcome, the last one before it that asks for the same.
    twins: Vec<Option<usize>>,
    nodes: Vec<Node>,
    /// Those that are still to be gone on from.
    stack: Vec<u32>,
    seen: Seen,
    range: std::ops::Range<usize>,
}

impl<'a, 'c, M: Model> Window<'a, 'c, M> {
    pub fn new(model: &'a M, case: &'a Case<'c, M>, footprints: &'a Footprints) -> Self {
        Self {
            model,
            case,
            footprints,
            members: Vec::new(),
            before_unknown: Vec::new(),
            twins: Vec::new(),
            nodes: Vec::new(),
            stack: Vec::new(),
            seen: Seen::default(),
            range: 0..0,
        }
    }

    /// The states behind an operation that stands alone; `None` where it was not answered, or is impossible.
    fn pass(
        &self,
        at: usize,
        frontier: &[Config],
        states: &mut States<'_, M>,
    ) -> Option<Vec<Config>> {
        let operation = self.case.operations[at];
        operation.answer.as_ref()?;
        let (mut exits, mut next) = (Vec::new(), SmallVec::new());
        for config in frontier {
            states.step(operation, config.state, &mut next);
            for state in next.drain(..) {
                leave(&mut exits, Config { state, ..*config });
            }
        }
        (!exits.is_empty()).then_some(exits)
    }

    /// Takes the operations of the window, those of unknown outcome also into `unknown`; false where it is too wide.
    pub fn fill(&mut self, range: std::ops::Range<usize>, unknown: &mut Vec<u32>) -> bool {
        self.members.clear();
        self.range = range.clone();
        self.before_unknown.clear();
        self.before_unknown.resize(unknown.len(), 0);
        for position in range {
            let operation = self.case.operations[position];
            let before = (self.members.iter().enumerate())
                .filter(|(_, other)| {
                    self.case.operations[other.position as usize].end < operation.call
                })
                .fold(0, |set, (bit, _)| set | 1_u64 << bit);
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            if operation.answer.is_some() {
                self.members.push(Member {
                    position,
                    before,
                    is_read: (self.model).is_read(&operation.ask, operation.answer.as_ref()),
                });
            } else if !self.model.is_read(&operation.ask, None) {
                let asks_the_same =
                    |other: &u32| self.case.operations[*other as usize].ask == operation.ask;
                self.twins.push(unknown.iter().rposition(asks_the_same));
                unknown.push(position);
                self.before_unknown.push(before);
            }
            if self.members.len() > WIDE || unknown.len() > UNKNOWN_MAX {
                return false;
            }
        }
        true
    }

    /// The answered operations of the window, each a bit.
    pub fn all(&self) -> u64 {
        (u64::MAX >> (64 - self.members.len().max(1))) * u64::from(!self.members.is_empty())
    }

    /// Those for whose position something holds, each a bit.
    pub fn bits(&self, holds: impl Fn(u32) -> bool) -> u64 {
        let members = self.members.iter().enumerate();
        let held = members.filter(|(_, member)| holds(member.position));
        held.fold(0, |set, (bit, _)| set | 1 << bit)
    }

    /// The positions behind such bits.
    pub fn positions(&self, bits: u64) -> impl Iterator<Item = u32> {
        let members = self.members.iter().enumerate();
        let held = members.filter(move |(bit, _)| bits & 1 << bit != 0);
        held.map(|(_, member)| member.position)
    }

    /// The states there may be as soon as the operations of `must` have happened.
    pub fn explore(
        &mut self,
        frontier: &[Config],
        must: u64,
        nodes_max: usize,
        unknown: &[u32],
        states: &mut States<'_, M>,
        budget: &mut Budget,
    ) -> Result<Vec<Config>, Stop> {
        self.nodes.clear();
        self.seen.clear();
        let mut exits: Vec<Config> = Vec::new();
        self.stack.clear();
        for config in frontier.iter().rev() {
            self.enter(ROOT, 0, *config);
        }
        let mut next = SmallVec::<[u32; 4]>::new();
        while let Some(at) = self.stack.pop() {
            let Config { state, used, done } = self.nodes[at as usize].config;
            if done & must == must {
                leave(&mut exits, self.nodes[at as usize].config);
                continue;
            }
            if self.nodes.len() > nodes_max {
                return Err(Stop::Wide);
            }
            (budget.spend(|| states.bytes() + self.seen.bytes())).map_err(Stop::Limit)?;
            if let Some(bit) = self.read(done, states.get(state)) {
                let position = self.members[bit].position;
                let done = done | 1 << bit;
                // What leads to one place only need not be remembered.
                self.enter(at, position, Config { state, used, done });
                continue;
            }
            for mover in self.movers(done, used, unknown) {
                let (position, done, used) = match mover {
                    Mover::Unknown(bit) => (unknown[bit], done, used | 1 << bit),
                    Mover::Known(bit) => (self.members[bit].position, done | 1 << bit, used),
                };
                let is_unseen = matches!(mover, Mover::Unknown(_));
                states.step(self.case.operations[position as usize], state, &mut next);
                for after in next.drain(..) {
                    // What nobody has seen and changed nothing might as well not have happened.
                    if (is_unseen && after == state)
                        || self.seen.enter(u128::from(done), after, used).is_err()
                    {
                        continue;
                    }
                    let config = Config {
                        state: after,
                        used,
                        done,
                    };
                    self.enter(at, position, config);
                }
            }
        }
        Ok(exits)
    }

    /// Those that can come next and need be tried, best last.
    fn movers(&self, done: u64, used: u128, unknown: &[u32]) -> SmallVec<[Mover; 16]> {
        let end = |member: &Member| self.case.operations[member.position as usize].end;
        let left = || (self.members.iter().enumerate()).filter(|(bit, _)| done & 1 << bit == 0);
        let Some((_, first)) = left().min_by_key(|(_, member)| end(member)) else {
            return SmallVec::new();
        };
        let mut movers = SmallVec::<[Mover; 16]>::new();
        let mut positions = SmallVec::<[u32; 16]>::new();
        for (bit, before) in self.before_unknown.iter().enumerate() {
            // Of two that ask for the same it makes no difference which one happened.
            let is_first = self.twins[bit].is_none_or(|twin| used & 1 << twin != 0);
            if used & 1 << bit == 0 && before & !done == 0 && is_first {
                movers.push(Mover::Unknown(bit));
                positions.push(unknown[bit]);
            }
        }
        for (bit, member) in left().filter(|(_, member)| member.before & !done == 0) {
            movers.push(Mover::Known(bit));
            positions.push(member.position);
        }
        let mut is_in = self
            .footprints
            .in_the_way(first.position, &positions)
            .into_iter();
        movers.retain(|_| is_in.next().unwrap_or_default());
        movers
    }

    /// A read that can come next; it leaves the state as it is.
    fn read(&self, done: u64, state: &M::State) -> Option<usize> {
        let fits = |(bit, member): &(usize, &Member)| {
            let operation = self.case.operations[member.position as usize];
            member.is_read
                && done & 1 << bit == 0
                && member.before & !done == 0
                && (self.model).allows(state, &operation.ask, operation.answer.as_ref())
        };
        Some(self.members.iter().enumerate().find(fits)?.0)
    }

    fn enter(&mut self, parent: u32, position: u32, config: Config) {
        (self.stack).push(u32::try_from(self.nodes.len()).unwrap_or(ROOT));
        self.nodes.push(Node {
            parent,
            position,
            config,
        });
    }

    /// Why nothing goes on.
    pub fn illegal(&self, frontier: &[Config], states: &States<'_, M>) -> Illegal<M::State> {
        let state = |config: Config| states.get(config.state).clone();
        let deepest = self
            .nodes
            .iter()
            .max_by_key(|node| node.config.done.count_ones());
        let mut longest = Vec::new();
        let mut before = frontier.first().map(|config| state(*config));
        let mut at = deepest;
        while let Some(node) = at {
            if node.parent == ROOT {
                before = Some(state(node.config));
                break;
            }
            longest.push((node.position, state(node.config)));
            at = self.nodes.get(node.parent as usize);
        }
        longest.reverse();
        Illegal {
            initial: frontier.iter().map(|config| state(*config)).collect(),
            window: self
                .range
                .clone()
                .filter_map(|at| u32::try_from(at).ok())
                .collect(),
            before: before.unwrap_or_else(|| self.model.initial()),
            longest,
        }
    }
}

/// Keeps a state there may be after the window, unless the same one has used up fewer unknown outcomes.
fn leave(exits: &mut Vec<Config>, config: Config) {
    let is_worse = |one: Config, other: Config| {
        (one.state, one.done) == (other.state, other.done) && other.used & !one.used == 0
    };
    if exits.iter().any(|exit| is_worse(config, *exit)) {
        return;
    }
    exits.retain(|exit| !is_worse(*exit, config));
    exits.push(config);
}
