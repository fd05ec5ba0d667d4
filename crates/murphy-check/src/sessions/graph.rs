//! Which version has to come before which, and a circle where that is impossible.

use std::collections::VecDeque;

use super::versions::{Node, Versions};

const NONE: u32 = u32::MAX;

/// Something has to come before something else; the operations that show it, [`NONE`] where another arrow says it.
#[derive(Clone, Copy)]
pub(super) struct Arrow {
    from: Node,
    to: Node,
    first: u32,
    second: u32,
}

/// Versions, and nodes that stand for several of them, with arrows.
pub(super) struct Graph {
    versions: Node,
    nodes: Node,
    arrows: Vec<Arrow>,
}

/// An arrow from version to version, through any number of other nodes.
pub(super) struct Step {
    pub from: Node,
    pub to: Node,
    pub shown_by: Option<(u32, u32)>,
}

impl Graph {
    /// The initial version before all others.
    pub fn new(versions: &Versions) -> Self {
        let nodes = Node::try_from(versions.written.len()).unwrap_or(Node::MAX);
        let initial = |to| Arrow {
            from: 0,
            to,
            first: NONE,
            second: NONE,
        };
        Self {
            versions: nodes,
            nodes,
            arrows: (1..nodes).map(initial).collect(),
        }
    }

    /// A node that is no version.
    pub fn node(&mut self) -> Node {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Two operations show that one version comes before another; no arrow where they are the same.
    pub fn arrow(&mut self, from: Node, to: Node, (first, second): (u32, u32)) {
        if from != to {
            self.arrows.push(Arrow {
                from,
                to,
                first,
                second,
            });
        }
    }

    /// The first operation of two leads to a node that is no version,
    pub fn arrow_in(&mut self, from: Node, to: Node, first: u32) {
        self.arrow(from, to, (first, NONE));
    }

    /// from there to another,
    pub fn arrow_on(&mut self, from: Node, to: Node) {
        self.arrow(from, to, (NONE, NONE));
    }

    /// and the second leads out.
    pub fn arrow_out(&mut self, from: Node, to: Node, second: u32) {
        self.arrow(from, to, (NONE, second));
    }

    /// A circle through versions; the shortest of those through one of its nodes.
    pub fn circle(mut self) -> Option<Vec<Step>> {
        self.arrows.sort_unstable_by_key(|arrow| arrow.from);
        let mut begins = vec![0_usize; self.nodes as usize + 1];
        let mut entering = vec![0_u32; self.nodes as usize];
        for arrow in &self.arrows {
            begins[arrow.from as usize + 1] += 1;
            entering[arrow.to as usize] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        let out = |node: Node| &self.arrows[begins[node as usize]..begins[node as usize + 1]];
        let mut free: Vec<Node> = (0..self.nodes)
            .filter(|&node| entering[node as usize] == 0)
            .collect();
        while let Some(node) = free.pop() {
            for arrow in out(node) {
                let left = &mut entering[arrow.to as usize];
                *left -= 1;
                if *left == 0 {
                    free.push(arrow.to);
                }
            }
        }
        let start = self.on_a_circle(&entering)?;
        let back = shortest(start, &entering, out)?;
        Some(self.steps(&back))
    }

    /// A node on a circle: going back along arrows between nodes that never became free, one comes round.
    fn on_a_circle(&self, entering: &[u32]) -> Option<Node> {
        let mut before = vec![NONE; entering.len()];
        for arrow in &self.arrows {
            if entering[arrow.from as usize] > 0 && entering[arrow.to as usize] > 0 {
                before[arrow.to as usize] = arrow.from;
            }
        }
        let mut node = (0..self.nodes).find(|&node| entering[node as usize] > 0)?;
        let mut seen = vec![false; entering.len()];
        while !seen[node as usize] {
            seen[node as usize] = true;
            node = before[node as usize];
        }
        Some(node)
    }

    /// Arrows of a circle joined where they meet in a node that is no version.
    fn steps(&self, circle: &[Arrow]) -> Vec<Step> {
        let is_version = |node: Node| node < self.versions;
        let begin = circle.iter().position(|arrow| is_version(arrow.from));
        let mut turned = circle.to_vec();
        turned.rotate_left(begin.unwrap_or(0));
        let mut steps = Vec::new();
        let (mut from, mut first) = (0, NONE);
        for arrow in turned {
            if is_version(arrow.from) {
                (from, first) = (arrow.from, arrow.first);
            }
            if is_version(arrow.to) {
                let shown = first != NONE && arrow.second != NONE;
                steps.push(Step {
                    from,
                    to: arrow.to,
                    shown_by: shown.then_some((first, arrow.second)),
                });
            }
        }
        steps
    }
}

/// The shortest way from a node back to it, through nodes that never became free.
fn shortest<'a>(
    start: Node,
    entering: &[u32],
    out: impl Fn(Node) -> &'a [Arrow],
) -> Option<Vec<Arrow>> {
    let mut by: Vec<Option<Arrow>> = vec![None; entering.len()];
    let mut queue = VecDeque::from([start]);
    'search: while let Some(node) = queue.pop_front() {
        for arrow in out(node) {
            let to = arrow.to as usize;
            if entering[to] > 0 && by[to].is_none() {
                by[to] = Some(*arrow);
                if arrow.to == start {
                    break 'search;
                }
                queue.push_back(arrow.to);
            }
        }
    }
    let mut back = vec![by[start as usize]?];
    while let Some(arrow) = back.last().filter(|arrow| arrow.from != start) {
        back.push(by[arrow.from as usize]?);
    }
    back.reverse();
    Some(back)
}
