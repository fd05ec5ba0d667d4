//! An examination finds the anomalies of a history, or of the part of it that is a witness.

use super::{
    Options, Workload, cycles,
    cycles::Search,
    dependencies,
    dependencies::Version,
    findings::Findings,
    graph::{Components, DEMAND, Edges, Graph, PROCESS, REALTIME, RELAY, RW, WR, WW},
    levels::{Anomaly, Clock, Level, Shape},
    observations::{Observations, observe},
    transactions::{NONE, Transactions},
    visibility::{Demand, Sight},
};
use crate::{model::Misunderstood, recording::Recording};

/// How many entries of 4 bytes the clocks of causal consistency may have.
const CLOCK_LIMIT: u64 = 250_000_000;

/// The same where processes do not count, and each transaction is a lane of its own.
const LONE_LIMIT: u64 = 50_000_000;

/// Every kind of edge between transactions.
const ALL: u8 = WW | WR | RW | PROCESS | REALTIME | RELAY;

/// What was found.
#[derive(Debug)]
pub(super) struct Examination<'a> {
    pub these: Transactions<'a>,
    pub observations: Observations<'a>,
    pub findings: Findings,
    /// Whether a transaction depends on another, so that there is something to judge.
    pub is_telling: bool,
    /// Levels that could not be judged within the limits.
    pub undecided: Vec<Level>,
}

/// Whether values may come from transactions that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum World {
    /// This is the whole history.
    Closed,
    /// This is a part of one.
    Open,
}

/// Examines the chosen invocations of a recording, all of them without a choice.
pub(super) fn examine<'a>(
    recording: &'a Recording,
    workload: Workload,
    options: &Options,
    chosen: Option<&[u32]>,
    world: World,
) -> Result<Examination<'a>, Misunderstood> {
    let mut these = Transactions::read(recording, workload, chosen)?;
    let mut findings = Findings::default();
    let observations = observe(&mut these, world == World::Open, &mut findings);
    let (mut edges, versions) = dependencies::depend(&these, &observations, options, &mut findings);
    let is_telling = !edges.list.is_empty();
    dependencies::processes(&these, &mut edges);
    dependencies::realtime(&these, &mut edges);
    let graph = Graph::new(&edges);
    drop(edges);
    let mut undecided = Vec::new();
    let mut search = Searching {
        these: &these,
        observations: &observations,
        versions: &versions,
        findings: &mut findings,
        options,
        undecided: &mut undecided,
    };
    let components = graph.components(ALL);
    if components.count > 0 {
        search.cycles(&Part::of(&graph, &components, these.list.len()));
    }
    // The order of lists is known: a part that a reader should have seen and has not is overwritten, which makes
    // a cycle; so do the demands. Without a cycle there is nothing to find.
    if workload == Workload::RwRegister || components.count > 0 {
        search.visibility(&graph);
    }
    Ok(Examination {
        these,
        observations,
        findings,
        is_telling,
        undecided,
    })
}

/// The part of a graph that lies on cycles.
struct Part {
    graph: Graph,
    is_relay: Vec<bool>,
    /// Nodes of the whole graph.
    nodes: Vec<u32>,
}

impl Part {
    fn of(graph: &Graph, components: &Components, transactions: usize) -> Self {
        let mut nodes = Vec::new();
        let mut number = vec![NONE; graph.nodes()];
        for node in 0..u32::try_from(graph.nodes()).unwrap_or(NONE) {
            if components.is_on_cycle(node) {
                number[node as usize] = u32::try_from(nodes.len()).unwrap_or(NONE);
                nodes.push(node);
            }
        }
        let mut edges = Edges {
            list: Vec::new(),
            nodes: u32::try_from(nodes.len()).unwrap_or(NONE),
        };
        for (from, node) in (0..).zip(&nodes) {
            for (to, kind) in graph.out(*node) {
                if components.is_same(*node, to) {
                    edges.add(from, number[to as usize], kind);
                }
            }
        }
        Self {
            graph: Graph::new(&edges),
            is_relay: nodes.iter().map(|n| *n as usize >= transactions).collect(),
            nodes,
        }
    }
}

struct Searching<'s, 'a> {
    these: &'s Transactions<'a>,
    observations: &'s Observations<'a>,
    versions: &'s [Version],
    findings: &'s mut Findings,
    options: &'s Options,
    undecided: &'s mut Vec<Level>,
}

const CLOCKS: [Clock; 3] = [Clock::None, Clock::Process, Clock::Realtime];

/// For each clock the levels that forbid writes, data, snapshots and everything in a cycle.
const CYCLE_LEVELS: [[Level; 4]; 3] = [
    [
        Level::ReadUncommitted,
        Level::ReadCommitted,
        Level::SnapshotIsolation,
        Level::Serializable,
    ],
    [
        Level::StrongSessionReadUncommitted,
        Level::StrongSessionReadCommitted,
        Level::StrongSessionSnapshotIsolation,
        Level::StrongSessionSerializable,
    ],
    [
        Level::StrongReadUncommitted,
        Level::StrongReadCommitted,
        Level::StrongSnapshotIsolation,
        Level::StrictSerializable,
    ],
];

impl Searching<'_, '_> {
    /// Every shape of cycle, and whatever else a level forbids.
    fn cycles(&mut self, part: &Part) {
        for clock in CLOCKS {
            for shape in [
                Shape::G0,
                Shape::G1c,
                Shape::GSingle,
                Shape::GNonadjacent,
                Shape::G2Item,
            ] {
                let is_given_up = self.cycle(part, Search::shape(shape, clock));
                let anomaly = Anomaly::Cycle(shape, clock);
                if is_given_up && !self.findings.by_anomaly.contains_key(&anomaly) {
                    self.undecided.extend(anomaly.forbidden_by());
                }
            }
        }
        // A cycle that needs no clock may be found by no search for a shape, because the shortest walk of that shape
        // goes through a transaction twice. The level is broken all the same, by the cycle that is found here.
        for (clock, [uncommitted, committed, snapshot, serializable]) in
            CLOCKS.into_iter().zip(CYCLE_LEVELS)
        {
            let kinds = cycles::kinds(clock);
            for (level, search) in [
                (uncommitted, Search::any(WW | kinds)),
                (committed, Search::any(WW | WR | kinds)),
                (snapshot, Search::snapshot(clock)),
                (serializable, Search::any(WW | WR | RW | kinds)),
            ] {
                if !self.is_broken(level) {
                    self.cycle(part, search);
                }
            }
        }
    }

    /// Notes what a search finds; an anomaly is counted by the search for its shape only.
    fn cycle(&mut self, part: &Part, search: Search) -> bool {
        let limit = self.options.search_limit;
        let found = cycles::find(&part.graph, &part.is_relay, search, limit);
        let mut new = Vec::new();
        for cycle in &found.cycles {
            let (shape, clock) = cycles::classify(&cycle.kinds);
            let anomaly = Anomaly::Cycle(shape, clock);
            let is_new = !self.findings.by_anomaly.contains_key(&anomaly) || new.contains(&anomaly);
            if !is_new {
                continue;
            }
            new.push(anomaly);
            let nodes: Vec<u32> = cycle
                .nodes
                .iter()
                .map(|n| part.nodes[*n as usize])
                .collect();
            let known = self.findings.by_anomaly.get(&anomaly);
            let is_better = known.is_none_or(|known| nodes.len() < known.transactions.len());
            let evidence = if is_better {
                self.readers(&nodes)
            } else {
                Vec::new()
            };
            self.findings
                .note_cycle(anomaly, &nodes, &cycle.kinds, &evidence);
            if nodes.len() == 2 && cycle.kinds == [RW, RW] && self.is_skew(nodes[0], nodes[1]) {
                self.findings
                    .note_cycle(Anomaly::WriteSkew, &nodes, &cycle.kinds, &evidence);
            }
        }
        found.is_given_up
    }

    /// Whether each of two transactions reads a key that only the other writes.
    fn is_skew(&self, one: u32, other: u32) -> bool {
        let reads_of = |reader: u32, writer: u32| {
            let operations = self.these.of(reader);
            operations.iter().any(|read| {
                let is_written = |by: u32| {
                    self.these
                        .of(by)
                        .iter()
                        .any(|write| !write.is_read() && write.key == read.key)
                };
                read.is_read() && is_written(writer) && !is_written(reader)
            })
        };
        reads_of(one, other) && reads_of(other, one)
    }

    /// The reads that show the orders of the keys of these transactions.
    fn readers(&self, transactions: &[u32]) -> Vec<u32> {
        let mut keys: Vec<u32> = transactions
            .iter()
            .flat_map(|t| self.these.of(*t).iter().map(|operation| operation.key))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let orders = keys
            .iter()
            .filter_map(|key| self.observations.orders.get(*key as usize)?.as_ref());
        let mut readers: Vec<u32> = orders.map(|order| order.reader).collect();
        for version in self.versions {
            let writer = |write: u32| self.these.writes[write as usize].transaction;
            let is_read = || {
                let mut seen = self.observations.list.iter();
                seen.any(|seen| {
                    seen.source == version.from && transactions.contains(&seen.transaction)
                })
            };
            if transactions.contains(&writer(version.to))
                && (transactions.contains(&writer(version.from)) || is_read())
            {
                readers.extend(version.users);
            }
        }
        readers.retain(|reader| !transactions.contains(reader));
        readers.sort_unstable();
        readers.dedup();
        readers
    }

    /// The levels that say what a transaction sees, each unless something worse has broken it.
    fn visibility(&mut self, graph: &Graph) {
        let is_list = self.these.workload == Workload::ListAppend;
        let components = graph.components(ALL & !REALTIME);
        let is_counted = |node: u32| !is_list || components.is_on_cycle(node);
        if self.is_broken(Level::ReadCommitted) {
            return;
        }
        let observations = &self.observations.list;
        let sight = Sight::new(self.these, observations, is_counted);
        let monotonic = sight.monotonic();
        for clock in [Clock::None, Clock::Process] {
            self.demands(graph, &monotonic, Anomaly::Otv(clock), clock);
        }
        let mut atomic = sight.atomic();
        self.demands(
            graph,
            &atomic,
            Anomaly::FracturedRead(Clock::None),
            Clock::None,
        );
        atomic.extend(sight.session());
        self.demands(
            graph,
            &atomic,
            Anomaly::FracturedRead(Clock::Process),
            Clock::Process,
        );
        for clock in [Clock::None, Clock::Process] {
            let anomaly = Anomaly::CausalViolation(clock);
            let causes = causes(self.these, graph, WR | cycles::kinds(clock), is_counted);
            let (false, Some((order, before))) = (self.is_settled(anomaly), causes) else {
                continue;
            };
            let limit = match clock {
                Clock::None => LONE_LIMIT,
                Clock::Process | Clock::Realtime => CLOCK_LIMIT,
            };
            match sight.causal(&order, &before, clock, limit) {
                Some(demands) => self.demands(graph, &demands, anomaly, clock),
                // Without processes it is asked for only because the stronger levels miss something otherwise.
                None if clock == Clock::None => {}
                None => self.undecided.push(Level::Causal),
            }
        }
    }

    /// Whether an anomaly would break nothing that is not broken.
    fn is_settled(&self, anomaly: Anomaly) -> bool {
        let mut levels = anomaly.forbidden_by().iter();
        levels.all(|level| self.is_broken(*level))
    }

    /// Notes the shortest cycle that demands make with what is known.
    fn demands(&mut self, graph: &Graph, demands: &[Demand], anomaly: Anomaly, clock: Clock) {
        if self.is_settled(anomaly) {
            return;
        }
        let causes = WR | cycles::kinds(clock);
        let evidence = |demand: &Demand| -> Vec<u32> {
            let mut evidence = vec![demand.witness];
            if matches!(anomaly, Anomaly::CausalViolation(_)) {
                let way = cycles::way(graph, demand.earlier, demand.witness, causes);
                evidence.extend(way.unwrap_or_default());
            }
            evidence
        };
        let impossible: Vec<&Demand> = demands.iter().filter(|d| d.later == NONE).collect();
        for demand in &impossible {
            let proof = if self.findings.by_anomaly.contains_key(&anomaly) {
                Vec::new()
            } else {
                evidence(demand)
            };
            self.findings
                .note(anomaly, &[demand.witness, demand.earlier], &proof);
        }
        if !impossible.is_empty() {
            return;
        }
        let mut edges = Edges {
            list: Vec::new(),
            nodes: u32::try_from(graph.nodes()).unwrap_or(NONE),
        };
        let known = WW | WR | RELAY | cycles::kinds(clock);
        for node in 0..edges.nodes {
            for (to, kind) in graph.out(node).filter(|(_, kind)| kind & known != 0) {
                edges.add(node, to, kind);
            }
        }
        for demand in demands {
            edges.add(demand.earlier, demand.later, DEMAND);
        }
        let whole = Graph::new(&edges);
        let components = whole.components(known | DEMAND);
        if components.count == 0 {
            return;
        }
        let part = Part::of(&whole, &components, self.these.list.len());
        let search = Search::demand(WW | WR | cycles::kinds(clock));
        let found = cycles::find(
            &part.graph,
            &part.is_relay,
            search,
            self.options.search_limit,
        );
        for cycle in &found.cycles {
            let nodes: Vec<u32> = cycle
                .nodes
                .iter()
                .map(|n| part.nodes[*n as usize])
                .collect();
            let mut proof = self.readers(&nodes);
            for (at, kind) in cycle.kinds.iter().enumerate() {
                let (from, to) = (nodes[at], nodes[(at + 1) % nodes.len()]);
                let is_it = |d: &&Demand| kind & DEMAND != 0 && d.earlier == from && d.later == to;
                if let Some(demand) = demands.iter().find(is_it) {
                    proof.extend(evidence(demand));
                }
            }
            proof.sort_unstable();
            proof.dedup();
            proof.retain(|transaction| !nodes.contains(transaction));
            self.findings
                .note_cycle(anomaly, &nodes, &cycle.kinds, &proof);
        }
    }

    fn is_broken(&self, level: Level) -> bool {
        self.findings
            .by_anomaly
            .keys()
            .any(|anomaly| anomaly.breaks(level))
    }
}

/// The committed transactions that count, each behind what it read from and behind its process, with what stands
/// directly before each. None where they make a cycle.
fn causes(
    these: &Transactions<'_>,
    graph: &Graph,
    kinds: u8,
    counts: impl Fn(u32) -> bool,
) -> Option<(Vec<u32>, Vec<Vec<u32>>)> {
    let is_cause = |kind: u8| kind & kinds != 0;
    let count = these.list.len();
    let is_in = |node: u32| {
        (node as usize) < count && these.list[node as usize].is_committed() && counts(node)
    };
    let mut before = vec![Vec::new(); count];
    let mut open = vec![0_u32; count];
    let all = 0..u32::try_from(count).unwrap_or(NONE);
    for node in all.clone().filter(|node| is_in(*node)) {
        for (to, _) in graph
            .out(node)
            .filter(|(to, kind)| is_cause(*kind) && is_in(*to))
        {
            before[to as usize].push(node);
            open[to as usize] += 1;
        }
    }
    let mut order: Vec<u32> = all
        .filter(|node| is_in(*node) && open[*node as usize] == 0)
        .collect();
    let mut done = 0;
    while done < order.len() {
        for (to, _) in graph
            .out(order[done])
            .filter(|(to, kind)| is_cause(*kind) && is_in(*to))
        {
            let open = &mut open[to as usize];
            *open -= 1;
            if *open == 0 {
                order.push(to);
            }
        }
        done += 1;
    }
    let counted = (0..u32::try_from(count).unwrap_or(NONE)).filter(|node| is_in(*node));
    (order.len() == counted.count()).then_some((order, before))
}
