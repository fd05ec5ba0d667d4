//! Dependencies between transactions: the order of the versions of each key, and the edges that follow from it.
//!
//! The order of a list is its longest read; elements that were never read come behind it, in an unknown order. Of the
//! versions of a register only pairs are known: the initial state comes first, a transaction's write follows what it
//! read, and, where the caller says so, versions follow processes or real time (Elle, sections 4 and 5).

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Options, Workload,
    findings::Findings,
    graph::{Edges, Graph, PROCESS, RW, WR, WW},
    levels::{Anomaly, Clock},
    observations::{Observation, Observations},
    transactions::{Fate, NONE, Transactions, number_of},
};

/// One write of a register comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub from: u32,
    pub to: u32,
    /// The transactions that used the one and then the other.
    pub users: [u32; 2],
}

/// Who read which version: key, its last write, and the transactions in their order.
struct Readers(FxHashMap<(u32, u32), Vec<u32>>);

impl Readers {
    fn new(observations: &[Observation]) -> Self {
        let mut readers: FxHashMap<(u32, u32), Vec<u32>> = FxHashMap::default();
        for seen in observations {
            let list = readers.entry((seen.key, seen.source)).or_default();
            if list.last() != Some(&seen.transaction) {
                list.push(seen.transaction);
            }
        }
        Self(readers)
    }

    fn of(&self, key: u32, source: u32) -> &[u32] {
        self.0.get(&(key, source)).map_or(&[], Vec::as_slice)
    }
}

/// The edges of data, and the anomalies that the orders of versions show by themselves.
pub(super) fn depend(
    these: &Transactions<'_>,
    observations: &Observations<'_>,
    options: &Options,
    findings: &mut Findings,
) -> (Edges, Vec<Version>) {
    let mut edges = Edges {
        list: Vec::with_capacity(these.list.len() * 4),
        nodes: number_of(these.list.len()),
    };
    for seen in &observations.list {
        if seen.source != NONE && these.is_committed(seen.source) {
            let writer = these.writes[seen.source as usize].transaction;
            edges.add(writer, seen.transaction, WR);
        }
    }
    let readers = Readers::new(&observations.list);
    let versions = match these.workload {
        Workload::ListAppend => {
            lists(these, observations, &readers, &mut edges, findings);
            Vec::new()
        }
        Workload::RwRegister => {
            registers(these, observations, &readers, options, &mut edges, findings)
        }
    };
    lost_updates(these, observations, findings);
    repeated_reads(these, observations, findings);
    (edges, versions)
}

/// The committed writes of each key that its order does not have, by transaction.
fn unordered(these: &Transactions<'_>, observations: &Observations<'_>) -> Vec<Vec<u32>> {
    let mut is_ordered = vec![false; these.writes.len()];
    for order in observations.orders.iter().flatten() {
        for write in &order.writes {
            is_ordered[*write as usize] = true;
        }
    }
    let mut unordered = vec![Vec::new(); these.keys.len()];
    for (write, is_ordered) in these.writes.iter().zip(is_ordered) {
        let of_key: &mut Vec<u32> = &mut unordered[write.key as usize];
        if !is_ordered
            && these.list[write.transaction as usize].is_committed()
            && of_key.last() != Some(&write.transaction)
        {
            of_key.push(write.transaction);
        }
    }
    unordered
}

fn lists(
    these: &Transactions<'_>,
    observations: &Observations<'_>,
    readers: &Readers,
    edges: &mut Edges,
    findings: &mut Findings,
) {
    let unordered = unordered(these, observations);
    let writer = |write: u32| these.writes[write as usize].transaction;
    // The write behind each ordered one, for the cursors.
    let mut behind = vec![NONE; these.writes.len()];
    let mut first = vec![NONE; these.keys.len()];
    let mut rank = vec![NONE; these.writes.len()];
    for (key, order) in (0..).zip(&observations.orders) {
        let mut last = NONE;
        if let Some(order) = order {
            if !order.is_agreed {
                continue;
            }
            dirty_updates(these, &order.writes, order.reader, findings);
            for (at, write) in (0..).zip(&order.writes) {
                if !these.is_committed(*write) || rank[*write as usize] != NONE {
                    continue;
                }
                rank[*write as usize] = at;
                if last == NONE {
                    first[key as usize] = *write;
                } else {
                    behind[last as usize] = *write;
                    edges.add(writer(last), writer(*write), WW);
                }
                for reader in readers.of(key, last) {
                    edges.add(*reader, writer(*write), RW);
                }
                last = *write;
            }
        }
        let unordered = &unordered[key as usize];
        if last != NONE {
            edges.connect(&[writer(last)], unordered, WW);
        }
        edges.connect(readers.of(key, last), unordered, RW);
    }
    cursors(these, observations, &first, &behind, &rank, findings);
}

/// A committed element behind an aborted one, as Elle looks for them.
fn dirty_updates(these: &Transactions<'_>, writes: &[u32], reader: u32, findings: &mut Findings) {
    let mut aborted = None;
    for write in writes {
        let author = these.writes[*write as usize].transaction;
        match these.fate_of(*write) {
            Fate::Aborted => aborted = Some(author),
            Fate::Ok => {
                if let Some(aborted) = aborted.take() {
                    findings.note(Anomaly::DirtyUpdate, &[aborted, author], &[reader]);
                }
            }
            Fate::Unseen | Fate::Seen | Fate::Outside => {}
        }
    }
}

/// Transactions that read a version and wrote a later one, with a version of another transaction between (Adya's
/// G-cursor).
fn cursors(
    these: &Transactions<'_>,
    observations: &Observations<'_>,
    first: &[u32],
    behind: &[u32],
    rank: &[u32],
    findings: &mut Findings,
) {
    for seen in &observations.list {
        let mut next = match seen.source {
            NONE => first[seen.key as usize],
            source => behind[source as usize],
        };
        // Several writes of the transaction that was read are one version to a cursor.
        while seen.source != NONE
            && next != NONE
            && these.writes[next as usize].transaction
                == these.writes[seen.source as usize].transaction
        {
            next = behind[next as usize];
        }
        if next == NONE {
            continue;
        }
        let between = these.writes[next as usize].transaction;
        let is_later =
            |write: u32| rank[write as usize] == NONE || rank[write as usize] > rank[next as usize];
        let writes_later = these
            .of(seen.transaction)
            .iter()
            .any(|own| !own.is_read() && own.key == seen.key && is_later(own.write));
        if between != seen.transaction && writes_later {
            let reader = observations.orders[seen.key as usize]
                .as_ref()
                .map_or(NONE, |order| order.reader);
            findings.note(Anomaly::GCursor, &[seen.transaction, between], &[reader]);
        }
    }
}

/// Transactions that read one version of a key before they wrote it, as Elle looks for them.
fn lost_updates(
    these: &Transactions<'_>,
    observations: &Observations<'_>,
    findings: &mut Findings,
) {
    let mut updates: FxHashMap<(u32, u32), u32> = FxHashMap::default();
    for (at, seen) in observations.list.iter().enumerate() {
        let is_first = !observations.list[..at]
            .iter()
            .rev()
            .take_while(|earlier| earlier.transaction == seen.transaction)
            .any(|earlier| earlier.key == seen.key);
        let operations = these.of(seen.transaction);
        let writes =
            |own: &super::transactions::Operation<'_>| !own.is_read() && own.key == seen.key;
        let (before, after) = operations.split_at(seen.at as usize);
        if is_first && !before.iter().any(writes) && after.iter().any(writes) {
            let one = *updates
                .entry((seen.key, seen.source))
                .or_insert(seen.transaction);
            if one != seen.transaction {
                findings.note(Anomaly::LostUpdate, &[one, seen.transaction], &[]);
            }
        }
    }
}

/// Transactions that read two versions of a key which others wrote.
fn repeated_reads(
    these: &Transactions<'_>,
    observations: &Observations<'_>,
    findings: &mut Findings,
) {
    let writer = |seen: &Observation| match seen.source {
        NONE => Some(NONE),
        source if these.is_committed(source) => Some(these.writes[source as usize].transaction),
        _ => None,
    };
    let groups = observations
        .list
        .chunk_by(|one, other| one.transaction == other.transaction);
    for group in groups.filter(|group| group.len() > 1) {
        let differs = |(at, seen): (usize, &Observation)| {
            let is_other = |earlier: &&Observation| {
                earlier.key == seen.key
                    && writer(earlier).is_some()
                    && writer(earlier) != writer(seen)
            };
            writer(seen).is_some() && group[..at].iter().any(|earlier| is_other(&earlier))
        };
        if group.iter().enumerate().any(differs) {
            findings.note(Anomaly::NonRepeatableRead, &[group[0].transaction], &[]);
        }
    }
}

fn registers(
    these: &Transactions<'_>,
    observations: &Observations<'_>,
    readers: &Readers,
    options: &Options,
    edges: &mut Edges,
    findings: &mut Findings,
) -> Vec<Version> {
    let mut versions: Vec<Version> = Vec::new();
    let sources: [(bool, &dyn Fn() -> Vec<Version>); 3] = [
        (options.wfr_keys, &|| wfr(these, observations)),
        (options.sequential_keys, &|| sequential(these, observations)),
        (options.linearizable_keys, &|| {
            linearizable(these, observations)
        }),
    ];
    for (is_asked, source) in sources {
        if is_asked {
            extend_versions(these, &mut versions, source(), findings);
        }
    }
    versions.sort_unstable();
    versions.dedup_by_key(|version| (version.from, version.to));
    let writer = |write: &u32| these.writes[*write as usize].transaction;
    for group in versions.chunk_by(|one, other| one.from == other.from) {
        let from = group[0].from;
        let mut targets: Vec<u32> = group.iter().map(|v| writer(&v.to)).collect();
        targets.sort_unstable();
        targets.dedup();
        edges.connect(&[writer(&from)], &targets, WW);
        let key = these.writes[from as usize].key;
        edges.connect(readers.of(key, from), &targets, RW);
    }
    let mut writers = vec![Vec::new(); these.keys.len()];
    for write in &these.writes {
        if these.list[write.transaction as usize].is_committed() {
            writers[write.key as usize].push(write.transaction);
        }
    }
    for (key, writers) in (0..).zip(&mut writers) {
        writers.dedup();
        edges.connect(readers.of(key, NONE), writers, RW);
    }
    versions
}

/// Adds what a source says of the order of versions, but for keys of which the versions then come before themselves.
fn extend_versions(
    these: &Transactions<'_>,
    versions: &mut Vec<Version>,
    more: Vec<Version>,
    findings: &mut Findings,
) {
    let is_known =
        |v: &Version| v.from != v.to && these.is_committed(v.from) && these.is_committed(v.to);
    let more: Vec<Version> = more.into_iter().filter(is_known).collect();
    let mut graph = Edges {
        list: Vec::new(),
        nodes: number_of(these.writes.len()),
    };
    for version in versions.iter().chain(&more) {
        graph.add(version.from, version.to, WW);
    }
    let cycles = Graph::new(&graph).components(WW);
    let mut spoiled = FxHashSet::default();
    if cycles.count > 0 {
        let mut members = vec![Vec::new(); cycles.count as usize];
        for (write, cycle) in these.writes.iter().zip(&cycles.of) {
            if let Some(members) = members.get_mut(*cycle as usize) {
                members.push(write.transaction);
                spoiled.insert(write.key);
            }
        }
        let mut users = vec![Vec::new(); cycles.count as usize];
        for version in versions.iter().chain(&more) {
            if cycles.is_same(version.from, version.to) {
                users[cycles.of[version.from as usize] as usize].extend(version.users);
            }
        }
        for (mut members, mut users) in members.into_iter().zip(users) {
            members.sort_unstable();
            members.dedup();
            users.sort_unstable();
            users.dedup();
            findings.note(Anomaly::CyclicVersions(Clock::None), &members, &users);
        }
    }
    let is_sound = |v: &Version| !spoiled.contains(&these.writes[v.from as usize].key);
    versions.extend(more.into_iter().filter(is_sound));
}

/// Writes follow reads: a transaction's last write of a key comes behind what it read first.
fn wfr(these: &Transactions<'_>, observations: &Observations<'_>) -> Vec<Version> {
    let mut versions = Vec::new();
    for_each_use(these, observations, |own| {
        if let (Some(read), Some(write)) = (own.read, own.write)
            && read != NONE
        {
            versions.push(Version {
                from: read,
                to: write,
                users: [own.transaction; 2],
            });
        }
    });
    versions
}

/// What a transaction did with a key.
#[derive(Clone, Copy, Debug)]
struct Use {
    transaction: u32,
    key: u32,
    /// What it read first, [`NONE`] for the initial state.
    read: Option<u32>,
    /// What it wrote last.
    write: Option<u32>,
}

impl Use {
    /// The version with which it begins, where that is a write.
    fn first(&self) -> Option<u32> {
        self.read.or(self.write).filter(|write| *write != NONE)
    }

    /// The version with which it ends, where that is a write.
    fn last(&self) -> Option<u32> {
        self.write.or(self.read).filter(|write| *write != NONE)
    }
}

/// Calls `then` for every key of every committed transaction.
fn for_each_use(
    these: &Transactions<'_>,
    observations: &Observations<'_>,
    mut then: impl FnMut(Use),
) {
    let mut at = 0;
    for transaction in 0..number_of(these.list.len()) {
        let start = at;
        while observations
            .list
            .get(at)
            .is_some_and(|seen| seen.transaction == transaction)
        {
            at += 1;
        }
        if !these.list[transaction as usize].is_committed() {
            continue;
        }
        let mut uses: Vec<Use> = Vec::new();
        for seen in &observations.list[start..at] {
            if !uses.iter().any(|own| own.key == seen.key) {
                uses.push(Use {
                    transaction,
                    key: seen.key,
                    read: Some(seen.source),
                    write: None,
                });
            }
        }
        for operation in these.of(transaction).iter().filter(|own| !own.is_read()) {
            match uses.iter_mut().find(|own| own.key == operation.key) {
                Some(own) => own.write = Some(operation.write),
                None => uses.push(Use {
                    transaction,
                    key: operation.key,
                    read: None,
                    write: Some(operation.write),
                }),
            }
        }
        uses.into_iter().for_each(&mut then);
    }
}

/// Versions follow processes: each uses a key in the order of its versions.
fn sequential(these: &Transactions<'_>, observations: &Observations<'_>) -> Vec<Version> {
    let mut before: FxHashMap<(u32, u32), (u32, u32)> = FxHashMap::default();
    let mut versions = Vec::new();
    for_each_use(these, observations, |own| {
        let place = (these.list[own.transaction as usize].process, own.key);
        if place.0 == NONE {
            return;
        }
        if let (Some((from, earlier)), Some(to)) = (before.get(&place), own.first()) {
            versions.push(Version {
                from: *from,
                to,
                users: [*earlier, own.transaction],
            });
        }
        if let Some(last) = own.last()
            && these.list[own.transaction as usize].fate == Fate::Ok
        {
            before.insert(place, (last, own.transaction));
        }
    });
    versions
}

/// Versions follow real time: what was answered before another was asked used a version not later than that.
fn linearizable(these: &Transactions<'_>, observations: &Observations<'_>) -> Vec<Version> {
    let mut uses: Vec<Vec<Use>> = vec![Vec::new(); these.keys.len()];
    for_each_use(these, observations, |own| uses[own.key as usize].push(own));
    let mut versions = Vec::new();
    for uses in &mut uses {
        let time = |own: &Use| &these.list[own.transaction as usize];
        uses.retain(|own| time(own).fate != Fate::Outside);
        uses.sort_by_key(|own| time(own).call);
        let mut ends = uses.clone();
        ends.retain(|own| time(own).fate == Fate::Ok);
        ends.sort_by_key(|own| time(own).end);
        // Of what has ended, that which nothing else that has ended follows: as many as were concurrent.
        let mut frontier: Vec<Use> = Vec::new();
        let mut ended = 0;
        for own in uses.iter() {
            while ended < ends.len() && time(&ends[ended]).end < time(own).call {
                let next = ends[ended];
                if next.last().is_some() {
                    frontier.retain(|earlier| time(earlier).end >= time(&next).call);
                    frontier.push(next);
                }
                ended += 1;
            }
            let Some(first) = own.first() else {
                continue;
            };
            versions.extend(frontier.iter().filter_map(|earlier| {
                Some(Version {
                    from: earlier.last()?,
                    to: first,
                    users: [earlier.transaction, own.transaction],
                })
            }));
        }
    }
    versions
}

/// The order of each process: of what it did, and what is still open before nothing.
pub(super) fn processes(these: &Transactions<'_>, edges: &mut Edges) {
    let mut last: FxHashMap<u32, u32> = FxHashMap::default();
    for (number, transaction) in (0..).zip(&these.list) {
        if !matches!(transaction.fate, Fate::Ok | Fate::Seen) {
            continue;
        }
        if let Some(before) = last.get(&transaction.process) {
            edges.add(*before, number, PROCESS);
        }
        if transaction.fate == Fate::Ok {
            last.insert(transaction.process, number);
        }
    }
}

/// Real time: what was answered before another was asked.
pub(super) fn realtime(these: &Transactions<'_>, edges: &mut Edges) {
    let mut ends = Vec::with_capacity(these.list.len());
    let mut begins = Vec::with_capacity(these.list.len());
    for (number, transaction) in (0..).zip(&these.list) {
        match transaction.fate {
            Fate::Ok => {
                ends.push((transaction.end, number));
                begins.push((transaction.call, number));
            }
            Fate::Seen => begins.push((transaction.call, number)),
            Fate::Aborted | Fate::Unseen | Fate::Outside => {}
        }
    }
    ends.sort_unstable();
    begins.sort_unstable();
    edges.realtime(&ends, &begins);
}
