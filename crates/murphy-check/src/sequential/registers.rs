//! Refutes sequential consistency of registers with distinct values.
//!
//! Every read names the write it read from, so some of the order that is looked for is known: that of each process,
//! and each read behind its write. It grows: if a read `r` of the value of `w` is known to come after another write
//! `v` of the key, then `v` comes before `w`, for else `r` would have read `v`; and if `v` is known to come after `w`,
//! then `r` comes before `v`. When that adds nothing more, or comes round in a circle, it ends; a circle is a
//! contradiction. (Gibbons and Korach 1997 show that this is not everything: the question is NP-complete.)
//!
//! What is known to come before an operation is kept as a position in each process, the last one before it, so that
//! one round takes time in proportion to operations times processes.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    monitors::groups::smallest,
    sessions::{Access, Operation},
};

/// Operations that have no sequentially consistent order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refutation {
    /// Their places in the history, ascending; with each read the write of its value.
    pub operations: Vec<u32>,
    /// Whether nothing can be left out without the method finding no contradiction any more.
    pub is_smallest: bool,
}

/// Positions kept at most: operations times processes.
const SIZE: usize = 1 << 26;
/// Rounds at most.
const ROUNDS: usize = 32;
/// Leaving out goes on for at most this many operations looked at.
const EFFORT: usize = 50_000_000;

/// Finds a contradiction. None where there is none that the method finds, where a value that is read was written more
/// than once, or where there are too many operations and processes for its memory.
pub fn refute(history: &[Operation]) -> Option<Refutation> {
    let all: Vec<u32> = (0..).zip(history).map(|(at, _)| at).collect();
    let rough = contradicts(history, &all)?;
    if let [_] = rough[..] {
        return Some(Refutation {
            operations: rough,
            is_smallest: true,
        });
    }
    let chosen = |kept: &[usize]| {
        let mut kept: Vec<u32> = kept.iter().map(|&at| rough[at]).collect();
        kept.sort_unstable();
        with_writes(history, kept)
    };
    let mut left = EFFORT;
    let kept = smallest(rough.len(), |kept| {
        let within = left.checked_sub(kept.len() + 1);
        left = within.unwrap_or(0);
        within.is_some() && contradicts(history, &chosen(kept)).is_some()
    });
    Some(Refutation {
        operations: chosen(&kept),
        is_smallest: left > 0,
    })
}

/// Without reads whose write is left out.
fn with_writes(history: &[Operation], mut part: Vec<u32>) -> Vec<u32> {
    let at = |place: u32| &history[place as usize];
    let written: FxHashSet<(u32, u32)> = (part.iter())
        .filter_map(|&place| match at(place).access {
            Access::Write(value) => Some((at(place).key, value)),
            Access::Read(_) => None,
        })
        .collect();
    part.retain(|&place| match at(place).access {
        Access::Read(value) => value == 0 || written.contains(&(at(place).key, value)),
        Access::Write(_) => true,
    });
    part
}

/// The part itself where it contradicts itself, or a read of a value that nobody wrote.
fn contradicts(history: &[Operation], part: &[u32]) -> Option<Vec<u32>> {
    let mut known = match Known::new(history, part) {
        Ok(known) => known?,
        Err(read) => return Some(vec![read]),
    };
    for _ in 0..ROUNDS {
        let Some(order) = known.sorted() else {
            return Some(part.to_vec());
        };
        known.look_back(&order);
        if !known.grow() {
            return None;
        }
    }
    None
}

const NONE: u32 = u32::MAX;

/// A read and what it read.
struct Read {
    node: u32,
    key: u32,
    /// Of the write; [`NONE`] for the initial value.
    write: u32,
}

/// What is known of the order, by nodes: the operations of a part that did happen.
struct Known {
    /// Process and position of each node, counted from 1. A write that was not answered is in no process: its place in
    /// `late_reads`, and position 0.
    places: Vec<(u32, u32)>,
    processes: usize,
    reads: Vec<Read>,
    /// The answered writes of a key by process, in their order.
    writes: FxHashMap<u32, Vec<(u32, Vec<u32>)>>,
    /// The other writes of a key. What comes behind one of them comes behind a read of it.
    late: FxHashMap<u32, Vec<u32>>,
    /// Of each such write the first read in each process, as process and position.
    late_reads: Vec<Vec<(u32, u32)>>,
    /// Arrows to and from such writes that were found already.
    late_arrows: FxHashSet<(u32, u32)>,
    arrows: Vec<(u32, u32)>,
    /// For each node and process the last position known to come before the node or to be it.
    before: Vec<u32>,
}

impl Known {
    /// None where it does not apply; the error is a read of a value that nobody wrote.
    fn new(history: &[Operation], part: &[u32]) -> Result<Option<Self>, u32> {
        let at = |place: u32| &history[place as usize];
        let mut written: FxHashMap<(u32, u32), Vec<u32>> = FxHashMap::default();
        let mut sessions: FxHashMap<u32, u32> = FxHashMap::default();
        for &place in part {
            let count = u32::try_from(sessions.len()).unwrap_or(NONE);
            sessions.entry(at(place).session).or_insert(count);
            if let Access::Write(value) = at(place).access {
                written
                    .entry((at(place).key, value))
                    .or_default()
                    .push(place);
            }
        }
        let mut read: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        for &place in part {
            if let Access::Read(value) = at(place).access {
                let name = (at(place).key, value);
                match (value, written.get(&name).map_or(&[][..], |writes| writes)) {
                    (0, []) => {}
                    (1.., []) => return Err(place),
                    (1.., [write]) => _ = read.insert(name, *write),
                    _ => return Ok(None),
                }
            }
        }
        let late = part.iter().filter(|&&place| !at(place).is_answered).count();
        if part.len().saturating_mul(sessions.len().max(late)) > SIZE {
            return Ok(None);
        }
        let mut known = Self {
            places: Vec::new(),
            processes: sessions.len(),
            reads: Vec::new(),
            writes: FxHashMap::default(),
            late: FxHashMap::default(),
            late_reads: Vec::new(),
            late_arrows: FxHashSet::default(),
            arrows: Vec::new(),
            before: Vec::new(),
        };
        let mut last: Vec<(u32, u32)> = vec![(NONE, 0); sessions.len()];
        let mut nodes: FxHashMap<u32, u32> = FxHashMap::default();
        for &place in part {
            let operation = at(place);
            let is_late = !operation.is_answered;
            if let Access::Write(value) = operation.access
                && is_late
                && !read.contains_key(&(operation.key, value))
            {
                continue;
            }
            let process = sessions[&operation.session];
            let node = u32::try_from(known.places.len()).unwrap_or(NONE);
            nodes.insert(place, node);
            let (before, position) = last[process as usize];
            if before != NONE {
                known.arrows.push((before, node));
            }
            if is_late {
                let late = u32::try_from(known.late_reads.len()).unwrap_or(NONE);
                known.places.push((late, 0));
                known.late_reads.push(Vec::new());
                known.late.entry(operation.key).or_default().push(node);
                continue;
            }
            last[process as usize] = (node, position + 1);
            known.places.push((process, position + 1));
            if let Access::Write(_) = operation.access {
                let of_key = known.writes.entry(operation.key).or_default();
                match of_key.iter_mut().find(|(other, _)| *other == process) {
                    Some((_, writes)) => writes.push(node),
                    None => of_key.push((process, vec![node])),
                }
            }
        }
        for &place in part {
            if let Access::Read(value) = at(place).access {
                let write = read
                    .get(&(at(place).key, value))
                    .map_or(NONE, |write| nodes[write]);
                let (node, key) = (nodes[&place], at(place).key);
                known.reads.push(Read { node, key, write });
                if write != NONE {
                    known.arrows.push((write, node));
                    if let (late, 0) = known.places[write as usize] {
                        let (process, position) = known.places[node as usize];
                        let reads = &mut known.late_reads[late as usize];
                        if !reads.iter().any(|&(other, _)| other == process) {
                            reads.push((process, position));
                        }
                    }
                }
            }
        }
        Ok(Some(known))
    }

    /// The nodes in an order along all arrows; none where they come round.
    fn sorted(&mut self) -> Option<Vec<u32>> {
        self.arrows.sort_unstable();
        self.arrows.dedup();
        let mut entering = vec![0_u32; self.places.len()];
        let mut begins = vec![0_usize; self.places.len() + 1];
        for &(from, to) in &self.arrows {
            entering[to as usize] += 1;
            begins[from as usize + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        let mut order: Vec<u32> = (0..)
            .zip(&entering)
            .filter_map(|(node, &entering)| (entering == 0).then_some(node))
            .collect();
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            next += 1;
            for &(_, to) in &self.arrows[begins[node as usize]..begins[node as usize + 1]] {
                entering[to as usize] -= 1;
                if entering[to as usize] == 0 {
                    order.push(to);
                }
            }
        }
        (order.len() == self.places.len()).then_some(order)
    }

    /// Finds what comes before each node.
    fn look_back(&mut self, order: &[u32]) {
        let width = self.processes;
        self.before.clear();
        self.before.resize(self.places.len() * width, 0);
        let mut begins = vec![0_usize; self.places.len() + 1];
        for &(from, _) in &self.arrows {
            begins[from as usize + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        for &node in order {
            let (process, position) = self.places[node as usize];
            let row = node as usize * width;
            if position > 0 {
                let own = &mut self.before[row + process as usize];
                *own = position.max(*own);
            }
            for arrow in begins[node as usize]..begins[node as usize + 1] {
                let to = self.arrows[arrow].1 as usize * width;
                for process in 0..width {
                    self.before[to + process] =
                        self.before[to + process].max(self.before[row + process]);
                }
            }
        }
    }

    /// Whether an operation is known to come before a node, or is it.
    fn is_before(&self, first: u32, node: u32) -> bool {
        let row = node as usize * self.processes;
        let reaches = |process: u32, position| self.before[row + process as usize] >= position;
        match self.places[first as usize] {
            (late, 0) => (self.late_reads[late as usize].iter())
                .any(|&(process, position)| reaches(process, position)),
            (process, position) => reaches(process, position),
        }
    }

    /// Adds what follows for every read; false where nothing is new.
    fn grow(&mut self) -> bool {
        let mut new = Vec::new();
        let mut new_late = Vec::new();
        for read in &self.reads {
            for (_, writes) in self.writes.get(&read.key).into_iter().flatten() {
                let past = writes.partition_point(|&write| self.is_before(write, read.node));
                if let Some(&last) = past.checked_sub(1).and_then(|last| writes.get(last)) {
                    new.extend(self.behind(read, last));
                }
                let later = writes.partition_point(|&write| !self.is_later(read, write));
                if let Some(&first) = writes.get(later)
                    && !self.is_before(read.node, first)
                {
                    new.push((read.node, first));
                }
            }
            for &write in self.late.get(&read.key).into_iter().flatten() {
                if self.is_before(write, read.node) {
                    new_late.extend(self.behind(read, write));
                }
                if self.is_later(read, write) && !self.is_before(read.node, write) {
                    new_late.push((read.node, write));
                }
            }
        }
        new_late.retain(|arrow| self.late_arrows.insert(*arrow));
        let is_new = !new.is_empty() || !new_late.is_empty();
        self.arrows.append(&mut new);
        self.arrows.append(&mut new_late);
        is_new
    }

    /// The arrow that follows where a read comes behind a write of its key.
    fn behind(&self, read: &Read, write: u32) -> Option<(u32, u32)> {
        if read.write == NONE {
            // It came before all writes of the key, and this one before it.
            return Some((read.node, write));
        }
        (write != read.write && !self.is_before(write, read.write)).then_some((write, read.write))
    }

    /// Whether a write of its key comes behind the one that was read.
    fn is_later(&self, read: &Read, write: u32) -> bool {
        read.write == NONE || write != read.write && self.is_before(read.write, write)
    }
}
