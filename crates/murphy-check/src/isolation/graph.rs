//! A graph of transactions: who must come before whom, and why.
//!
//! Besides transactions it has *relays*, nodes of no length through which many can precede many without an edge for
//! each pair. The edge into a relay says why; those out of it, and between relays, are [`RELAY`].

/// Writes of one key in their order.
pub(super) const WW: u8 = 1;
/// A read of what was written.
pub(super) const WR: u8 = 2;
/// A read of what is overwritten.
pub(super) const RW: u8 = 4;
/// One process, one after the other.
pub(super) const PROCESS: u8 = 8;
/// Answered before the other was asked.
pub(super) const REALTIME: u8 = 16;
/// Through a relay.
pub(super) const RELAY: u8 = 32;
/// What a level demands of the order of two writes.
pub(super) const DEMAND: u8 = 64;

/// Edges as they are found.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    pub list: Vec<(u32, u32, u8)>,
    /// How many nodes there are, relays included.
    pub nodes: u32,
}

impl Edges {
    pub fn add(&mut self, from: u32, to: u32, kind: u8) {
        if from != to {
            self.list.push((from, to, kind));
        }
    }

    fn relay(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Every one of `sources` before every one of `targets` but itself. Both are sorted and without repetition.
    /// Relays make it linear: one chain gives each target and all behind it, the other all before it.
    pub fn connect(&mut self, sources: &[u32], targets: &[u32], kind: u8) {
        if sources.len() * targets.len() <= 2 * (sources.len() + targets.len()) {
            for source in sources {
                for target in targets {
                    self.add(*source, *target, kind);
                }
            }
            return;
        }
        let behind = self.chain(targets.iter().rev());
        let ahead = if sources.iter().any(|s| targets.binary_search(s).is_ok()) {
            self.chain(targets.iter())
        } else {
            Vec::new()
        };
        let count = targets.len();
        for source in sources {
            match targets.binary_search(source) {
                Err(_) => self.add(*source, behind[count - 1], kind),
                Ok(at) => {
                    if at + 1 < count {
                        self.add(*source, behind[count - 2 - at], kind);
                    }
                    if at > 0 {
                        self.add(*source, ahead[at - 1], kind);
                    }
                }
            }
        }
    }

    /// A relay for each target, which leads to it and to the relay of the one before.
    fn chain<'t>(&mut self, targets: impl Iterator<Item = &'t u32>) -> Vec<u32> {
        let mut chain: Vec<u32> = Vec::new();
        for target in targets {
            let relay = self.relay();
            self.add(relay, *target, RELAY);
            if let Some(before) = chain.last() {
                self.add(relay, *before, RELAY);
            }
            chain.push(relay);
        }
        chain
    }

    /// Everything that has ended before everything that begins afterwards: `ends` and `begins` are moments with
    /// their transactions, each list in the order of moments.
    pub fn realtime(&mut self, ends: &[(u64, u32)], begins: &[(u64, u32)]) {
        let mut moment: Option<u32> = None;
        let mut ended = 0;
        for (begin, transaction) in begins {
            let until = ended + ends[ended..].partition_point(|(end, _)| end < begin);
            if until > ended {
                let next = self.relay();
                if let Some(moment) = moment {
                    self.add(moment, next, RELAY);
                }
                for (_, earlier) in &ends[ended..until] {
                    self.add(*earlier, next, REALTIME);
                }
                moment = Some(next);
                ended = until;
            }
            if let Some(moment) = moment {
                self.add(moment, *transaction, RELAY);
            }
        }
    }
}

/// A graph in compressed rows.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    starts: Vec<u32>,
    targets: Vec<u32>,
    kinds: Vec<u8>,
}

impl Graph {
    pub fn new(edges: &Edges) -> Self {
        let nodes = edges.nodes as usize;
        let mut starts = vec![0_u32; nodes + 1];
        for (from, ..) in &edges.list {
            starts[*from as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut targets = vec![0; edges.list.len()];
        let mut kinds = vec![0; edges.list.len()];
        for (from, to, kind) in &edges.list {
            let slot = &mut next[*from as usize];
            targets[*slot as usize] = *to;
            kinds[*slot as usize] = *kind;
            *slot += 1;
        }
        Self {
            starts,
            targets,
            kinds,
        }
    }

    pub fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// Where the edges out of a node lead, and why.
    pub fn out(&self, node: u32) -> impl Iterator<Item = (u32, u8)> + '_ {
        let range = self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize;
        self.targets[range.clone()]
            .iter()
            .copied()
            .zip(self.kinds[range].iter().copied())
    }

    fn edge(&self, at: u32) -> (u32, u8) {
        (self.targets[at as usize], self.kinds[at as usize])
    }

    /// The strongly connected components of more than one node, along edges of `mask`: for each node the number of
    /// its component or none, and how many components there are. Tarjan's algorithm without recursion.
    pub fn components(&self, mask: u8) -> Components {
        const UNSEEN: u32 = u32::MAX;
        let nodes = self.nodes();
        let mut low = vec![UNSEEN; nodes];
        let mut of = vec![u32::MAX; nodes];
        let mut is_done = vec![false; nodes];
        let mut stack: Vec<u32> = Vec::new();
        let mut path: Vec<(u32, u32, u32)> = Vec::new();
        let mut next = 0;
        let mut count = 0;
        let roots = (0..).take(nodes);
        for root in roots {
            if low[root as usize] != UNSEEN {
                continue;
            }
            low[root as usize] = next;
            path.push((root, self.starts[root as usize], next));
            stack.push(root);
            next += 1;
            while let Some((node, edge, number)) = path.last_mut() {
                let (node, number) = (*node, *number);
                if *edge < self.starts[node as usize + 1] {
                    let (to, kind) = self.edge(*edge);
                    *edge += 1;
                    if kind & mask == 0 || is_done[to as usize] {
                        continue;
                    }
                    if low[to as usize] == UNSEEN {
                        low[to as usize] = next;
                        path.push((to, self.starts[to as usize], next));
                        stack.push(to);
                        next += 1;
                    } else {
                        low[node as usize] = low[node as usize].min(low[to as usize]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, ..)) = path.last() {
                    let parent = *parent as usize;
                    low[parent] = low[parent].min(low[node as usize]);
                }
                if low[node as usize] == number {
                    let is_single = stack.last() == Some(&node);
                    while let Some(member) = stack.pop() {
                        is_done[member as usize] = true;
                        if !is_single {
                            of[member as usize] = count;
                        }
                        if member == node {
                            break;
                        }
                    }
                    count += u32::from(!is_single);
                }
            }
        }
        Components { of, count }
    }
}

/// Strongly connected components of more than one node.
#[derive(Clone, Debug)]
pub(super) struct Components {
    /// The number of each node's component; `u32::MAX` for a node on no cycle.
    pub of: Vec<u32>,
    pub count: u32,
}

impl Components {
    pub fn is_on_cycle(&self, node: u32) -> bool {
        self.of[node as usize] != u32::MAX
    }

    pub fn is_same(&self, one: u32, other: u32) -> bool {
        self.is_on_cycle(one) && self.of[one as usize] == self.of[other as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs of first nodes connected through relays.
    fn pairs(edges: &Edges, nodes: u32) -> Vec<(u32, u32)> {
        let graph = Graph::new(edges);
        let mut pairs = Vec::new();
        for from in 0..nodes {
            let mut queue: Vec<u32> = graph.out(from).map(|(to, _)| to).collect();
            while let Some(node) = queue.pop() {
                if node < nodes {
                    pairs.push((from, node));
                } else {
                    queue.extend(graph.out(node).map(|(to, _)| to));
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    #[test]
    fn relays_connect_exactly_what_pairs_would() {
        for (sources, targets) in [
            (vec![0, 1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12]),
            (vec![0, 1, 2, 3, 4, 5, 6], vec![2, 3, 4, 8, 9, 10, 11]),
            ((0..12).collect(), (0..12).collect()),
        ] {
            let mut edges = Edges {
                nodes: 13,
                ..Edges::default()
            };
            edges.connect(&sources, &targets, WW);
            assert!(edges.nodes > 13, "no relay was needed");
            let mut expected: Vec<(u32, u32)> = sources
                .iter()
                .flat_map(|s| targets.iter().map(move |t| (*s, *t)))
                .filter(|(s, t)| s != t)
                .collect();
            expected.sort_unstable();
            assert_eq!(pairs(&edges, 13), expected);
        }
    }

    #[test]
    fn real_time_connects_what_ends_before_another_begins() {
        let spans = [(1, 5), (2, 3), (4, 9), (5, 6), (7, 8), (10, 11), (3, 12)];
        let mut ends: Vec<(u64, u32)> = (0..).zip(spans).map(|(n, (_, e))| (e, n)).collect();
        let mut begins: Vec<(u64, u32)> = (0..).zip(spans).map(|(n, (b, _))| (b, n)).collect();
        ends.sort_unstable();
        begins.sort_unstable();
        let mut edges = Edges {
            nodes: 7,
            ..Edges::default()
        };
        edges.realtime(&ends, &begins);
        let mut expected = Vec::new();
        for (one, (_, end)) in (0_u32..).zip(spans) {
            for (other, (begin, _)) in (0_u32..).zip(spans) {
                if end < begin {
                    expected.push((one, other));
                }
            }
        }
        assert_eq!(pairs(&edges, 7), expected);
    }

    #[test]
    fn components_are_those_of_reachability() {
        let mut state = 7_u32;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..200 {
            let mut edges = Edges {
                nodes: 8,
                ..Edges::default()
            };
            for _ in 0..9 {
                let (from, to) = (draw(8), draw(8));
                edges.add(from, to, if draw(2) == 0 { WW } else { WR });
            }
            let mut reach = [[false; 8]; 8];
            for (from, to, kind) in &edges.list {
                reach[*from as usize][*to as usize] |= *kind == WW;
            }
            for via in 0..8 {
                for from in 0..8 {
                    for to in 0..8 {
                        reach[from][to] |= reach[from][via] && reach[via][to];
                    }
                }
            }
            let components = Graph::new(&edges).components(WW);
            for from in 0..8_u32 {
                for to in 0..8_u32 {
                    let together =
                        reach[from as usize][to as usize] && reach[to as usize][from as usize];
                    assert_eq!(components.is_same(from, to), together);
                }
            }
        }
    }
}
