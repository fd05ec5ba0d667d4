//! Cycles: the shortest one of each shape in each strongly connected component.
//!
//! A shape is a small automaton over the kinds of edges; a breadth-first search over pairs of node and state finds
//! the shortest closed walk that it accepts. Walks through a node twice are no cycles of transactions and are left.

use std::collections::VecDeque;

use super::{
    graph::{Components, DEMAND, Graph, PROCESS, REALTIME, RELAY, RW, WR, WW},
    levels::{Clock, Shape},
    transactions::number_of,
};

/// What a walk may do with anti-dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// None behind the first edge.
    Never,
    /// Never two in a row; this many at least.
    Apart(u8),
    /// The first two edges.
    Twice,
    /// Anything.
    Free,
}

/// Which cycles to look for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// Kinds of the first edge.
    first: u8,
    /// Kinds of the edges behind it, besides anti-dependencies and relays.
    others: u8,
    rule: Rule,
    /// A kind that must come at least once; 0 for none.
    required: u8,
}

/// A cycle: its nodes, and the kind of the edge from each to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    pub nodes: Vec<u32>,
    pub kinds: Vec<u8>,
}

/// The kinds of edges that a clock adds.
pub(super) fn kinds(clock: Clock) -> u8 {
    match clock {
        Clock::None => 0,
        Clock::Process => PROCESS,
        Clock::Realtime => PROCESS | REALTIME,
    }
}

/// The kind without which a cycle is that of a weaker clock.
fn required(clock: Clock) -> u8 {
    match clock {
        Clock::None => 0,
        Clock::Process => PROCESS,
        Clock::Realtime => REALTIME,
    }
}

impl Search {
    /// Cycles of a shape that need this clock.
    pub fn shape(shape: Shape, clock: Clock) -> Self {
        let (first, data, rule) = match shape {
            Shape::G0 => (WW, WW, Rule::Never),
            Shape::G1c => (WR, WW | WR, Rule::Never),
            Shape::GSingle => (RW, WW | WR, Rule::Never),
            Shape::GNonadjacent => (RW, WW | WR, Rule::Apart(2)),
            Shape::G2Item => (RW, WW | WR, Rule::Twice),
        };
        Self {
            first,
            others: data | kinds(clock),
            rule,
            required: required(clock),
        }
    }

    /// Any cycle along edges of `mask`.
    pub fn any(mask: u8) -> Self {
        Self {
            first: mask,
            others: mask & !RW,
            rule: if mask & RW == 0 {
                Rule::Never
            } else {
                Rule::Free
            },
            required: 0,
        }
    }

    /// Any cycle with a demand of a level.
    pub fn demand(others: u8) -> Self {
        Self {
            first: DEMAND,
            others: others | DEMAND,
            rule: Rule::Never,
            required: 0,
        }
    }

    /// Any cycle that snapshot isolation forbids.
    pub fn snapshot(clock: Clock) -> Self {
        Self {
            first: RW,
            others: WW | WR | kinds(clock),
            rule: Rule::Apart(1),
            required: 0,
        }
    }

    /// All kinds that such a cycle can have.
    pub fn mask(self) -> u8 {
        let rw = if self.rule == Rule::Never { 0 } else { RW };
        self.first | self.others | rw | RELAY
    }

    /// The state behind the first edge.
    fn begin(self, kind: u8) -> u8 {
        let phase = match self.rule {
            Rule::Never | Rule::Free => FREE,
            Rule::Apart(_) => 1,
            Rule::Twice => TURN,
        };
        phase | self.mark(kind)
    }

    fn mark(self, kind: u8) -> u8 {
        if self.required == 0 || kind & self.required != 0 {
            MARKED
        } else {
            0
        }
    }

    /// The state behind one more edge; none where it is not allowed.
    fn step(self, state: u8, kind: u8) -> Option<u8> {
        let is_rw = kind & RW != 0;
        if !is_rw && kind & self.others == 0 {
            return None;
        }
        let phase = match (self.rule, state & PHASE, is_rw) {
            // Odd: the last edge was an anti-dependency; the third state and the fourth have seen two of them.
            (Rule::Never, _, true) | (Rule::Twice, TURN, false) | (Rule::Apart(_), 1 | 3, true) => {
                return None;
            }
            (Rule::Never | Rule::Free | Rule::Twice, ..) => FREE,
            (Rule::Apart(_), phase @ (1 | 3), false) => phase + 1,
            (Rule::Apart(_), _, true) => 3,
            (Rule::Apart(_), phase, false) => phase,
        };
        Some(phase | (state & MARKED) | self.mark(kind))
    }

    fn accepts(self, state: u8) -> bool {
        let is_enough = match (self.rule, state & PHASE) {
            (Rule::Apart(1), phase) => phase == 2 || phase == 4,
            (Rule::Apart(_), phase) => phase == 4,
            (_, phase) => phase == FREE,
        };
        is_enough && state & MARKED != 0
    }
}

const FREE: u8 = 0;
const TURN: u8 = 5;
const PHASE: u8 = 7;
const MARKED: u8 = 8;
const STATES: usize = 16;

/// The shape and clock of a cycle of known kinds, as Elle classifies it.
pub(super) fn classify(kinds: &[u8]) -> (Shape, Clock) {
    let count = kinds.iter().filter(|kind| **kind & RW != 0).count();
    let is_adjacent =
        (0..kinds.len()).any(|at| kinds[at] & RW != 0 && kinds[(at + 1) % kinds.len()] & RW != 0);
    let shape = match count {
        0 if kinds.iter().any(|kind| kind & WR != 0) => Shape::G1c,
        0 => Shape::G0,
        1 => Shape::GSingle,
        _ if is_adjacent => Shape::G2Item,
        _ => Shape::GNonadjacent,
    };
    let has = |one: u8| kinds.iter().any(|kind| kind & one != 0);
    let clock = if has(REALTIME) {
        Clock::Realtime
    } else if has(PROCESS) {
        Clock::Process
    } else {
        Clock::None
    };
    (shape, clock)
}

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The shortest cycle of each component that has one.
    pub cycles: Vec<Cycle>,
    /// Whether the limit ended the search before every component was done.
    pub is_given_up: bool,
}

/// Looks for the shortest cycle in each component, with at most `limit` steps along edges. `is_relay` tells relays
/// from transactions.
pub(super) fn find(graph: &Graph, is_relay: &[bool], search: Search, limit: u64) -> Found {
    let components = graph.components(search.mask());
    let mut found = Found::default();
    if components.count == 0 {
        return found;
    }
    let mut members = vec![Vec::new(); components.count as usize];
    for (node, of) in (0..).zip(&components.of) {
        if let Some(members) = members.get_mut(*of as usize)
            && !is_relay[node as usize]
        {
            members.push(node);
        }
    }
    let mut walk = Walk {
        graph,
        is_relay,
        components: &components,
        search,
        came: vec![Came::default(); graph.nodes() * STATES],
        round: 0,
        steps: 0,
        limit,
    };
    for members in members {
        let mut best: Option<Cycle> = None;
        for start in members {
            let bound = best.as_ref().map_or(usize::MAX, |best| best.nodes.len());
            if bound == 2 || walk.steps > limit {
                break;
            }
            if let Some(cycle) = walk.from(start, bound) {
                best = Some(cycle);
            }
        }
        found.cycles.extend(best);
    }
    found.is_given_up = walk.steps > limit;
    found
}

struct Walk<'g> {
    graph: &'g Graph,
    is_relay: &'g [bool],
    components: &'g Components,
    search: Search,
    /// For each node and state.
    came: Vec<Came>,
    round: u32,
    steps: u64,
    limit: u64,
}

/// How the search came to a node in a state.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    /// The search that did; others are over.
    round: u32,
    /// Node and state before.
    from: u32,
    /// Transactions on the way.
    length: u32,
    /// Kind of the edge.
    kind: u8,
}

impl Walk<'_> {
    /// The shortest cycle through `start` with fewer transactions than `bound`.
    fn from(&mut self, start: u32, bound: usize) -> Option<Cycle> {
        self.round += 1;
        // Nodes with the state and the number of transactions on the way; those of the same number come in order.
        let mut queue: VecDeque<(u32, u8, usize)> = VecDeque::new();
        let begin = place(start, 0);
        for (to, kind) in self.graph.out(start) {
            if kind & self.search.first != 0 && self.components.is_same(start, to) {
                self.come(to, self.search.begin(kind), begin, kind, 1, &mut queue);
            }
        }
        while let Some((node, state, length)) = queue.pop_front() {
            if self.came[place(node, state) as usize].length < number_of(length) {
                continue;
            }
            if node == start {
                if self.search.accepts(state) {
                    return self.cycle(start, state);
                }
                continue;
            }
            if length >= bound || self.steps > self.limit {
                continue;
            }
            let is_relay = self.is_relay[node as usize];
            let length = length + usize::from(!is_relay);
            for (to, kind) in self.graph.out(node) {
                self.steps += 1;
                let next = if is_relay {
                    Some(state)
                } else {
                    self.search.step(state, kind)
                };
                if let Some(next) = next
                    && self.components.is_same(start, to)
                {
                    self.come(to, next, place(node, state), kind, length, &mut queue);
                }
            }
        }
        None
    }

    fn come(
        &mut self,
        to: u32,
        state: u8,
        from: u32,
        kind: u8,
        length: usize,
        queue: &mut VecDeque<(u32, u8, usize)>,
    ) {
        let came = &mut self.came[place(to, state) as usize];
        let shorter = number_of(length);
        if came.round == self.round && came.length <= shorter {
            return;
        }
        *came = Came {
            round: self.round,
            from,
            length: shorter,
            kind,
        };
        if kind == RELAY {
            queue.push_front((to, state, length));
        } else {
            queue.push_back((to, state, length));
        }
    }

    /// The way back from the end of a walk; none where it goes through a transaction twice.
    fn cycle(&self, start: u32, state: u8) -> Option<Cycle> {
        let mut nodes = Vec::new();
        let mut kinds = Vec::new();
        let mut at = place(start, state);
        let begin = place(start, 0);
        loop {
            let Came { from, kind, .. } = self.came[at as usize];
            let node = node_of(from);
            if !self.is_relay[node as usize] {
                nodes.push(node);
                kinds.push(kind);
            }
            if from == begin {
                break;
            }
            at = from;
        }
        nodes.reverse();
        kinds.reverse();
        let mut sorted = nodes.clone();
        sorted.sort_unstable();
        let is_simple = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        is_simple.then_some(Cycle { nodes, kinds })
    }
}

/// A node and a state in one number.
fn place(node: u32, state: u8) -> u32 {
    node * 16 + u32::from(state)
}

fn node_of(place: u32) -> u32 {
    place / 16
}

/// A shortest way from one node to another along edges of `mask`, both included.
pub(super) fn way(graph: &Graph, from: u32, to: u32, mask: u8) -> Option<Vec<u32>> {
    let mut came = vec![u32::MAX; graph.nodes()];
    let mut queue = VecDeque::from([from]);
    came[from as usize] = from;
    while let Some(node) = queue.pop_front() {
        if node == to {
            let mut way = vec![to];
            let mut at = to;
            while at != from {
                at = came[at as usize];
                way.push(at);
            }
            way.reverse();
            return Some(way);
        }
        for (next, kind) in graph.out(node) {
            if kind & mask != 0 && came[next as usize] == u32::MAX {
                came[next as usize] = node;
                queue.push_back(next);
            }
        }
    }
    None
}
