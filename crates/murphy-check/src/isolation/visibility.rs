//! Visibility: what the weak levels demand of the order of writes.
//!
//! Where every value is written once, it is known who read whom. A level then says: if a transaction reads `x` from
//! one writer and *sees* another writer of `x`, that one came first. What is seen depends on the level; the demands
//! do not depend on each other, so that a history is of the level exactly where they make no cycle with what is known
//! (Biswas and Enea, OOPSLA 2019). The ways to find the demands follow AWDIT (PLDI 2025): O(n^1.5) for one step of
//! sight, O(n·k·log n) for k sessions and all that leads there.

use rustc_hash::FxHashMap;

use super::{
    levels::Clock,
    observations::Observation,
    transactions::{Fate, NONE, Transactions},
};

/// `earlier` must come before `later`, because `witness` saw `earlier` and read `later`'s version of a key that both
/// wrote. `later` is [`NONE`] where the state before all writes was read, which nothing comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub earlier: u32,
    pub later: u32,
    pub witness: u32,
}

/// What is read, and the keys that each transaction writes.
pub(super) struct Sight<'t, 'a> {
    these: &'t Transactions<'a>,
    /// The observations of each transaction that counts, of committed writes only.
    groups: Vec<&'t [Observation]>,
    /// The keys that each transaction writes, sorted.
    written: Vec<u32>,
    starts: Vec<u32>,
}

impl<'t, 'a> Sight<'t, 'a> {
    /// Of the transactions for which `counts` holds.
    pub fn new(
        these: &'t Transactions<'a>,
        observations: &'t [Observation],
        counts: impl Fn(u32) -> bool,
    ) -> Self {
        let mut written = Vec::with_capacity(these.writes.len());
        let mut starts = vec![0];
        for transaction in 0..these.list.len() {
            let first = written.len();
            let number = u32::try_from(transaction).unwrap_or(NONE);
            written.extend(
                these
                    .of(number)
                    .iter()
                    .filter(|operation| !operation.is_read())
                    .map(|operation| operation.key),
            );
            written[first..].sort_unstable();
            let mut kept = first;
            for at in first..written.len() {
                if at == first || written[at] != written[at - 1] {
                    written[kept] = written[at];
                    kept += 1;
                }
            }
            written.truncate(kept);
            starts.push(u32::try_from(kept).unwrap_or(NONE));
        }
        let groups = observations
            .chunk_by(|one, other| one.transaction == other.transaction)
            .filter(|group| counts(group[0].transaction))
            .collect();
        Self {
            these,
            groups,
            written,
            starts,
        }
    }

    fn keys(&self, transaction: u32) -> &[u32] {
        let range = self.starts[transaction as usize] as usize
            ..self.starts[transaction as usize + 1] as usize;
        &self.written[range]
    }

    /// The committed transaction whose write was read; [`NONE`] for the state before all writes, and nothing where
    /// the write was aborted.
    fn writer(&self, seen: &Observation) -> Option<u32> {
        if seen.source == NONE {
            return Some(NONE);
        }
        let writer = self.these.writes[seen.source as usize].transaction;
        self.these.is_committed(seen.source).then_some(writer)
    }

    /// Calls `then` with a transaction that was read, an observation of a key that it writes, and whether that came
    /// behind the first sight of it. Each pair costs the smaller of what one writes and the other reads.
    fn for_each_seen(&self, mut then: impl FnMut(u32, &Observation, bool)) {
        for group in &self.groups {
            let mut by_key: Vec<&Observation> = group.iter().collect();
            by_key.sort_by_key(|seen| seen.key);
            let mut sources: Vec<(u32, u32)> = group
                .iter()
                .filter_map(|seen| Some((self.writer(seen)?, seen.at)))
                .filter(|(writer, _)| *writer != NONE)
                .collect();
            sources.sort_unstable();
            sources.dedup_by_key(|(writer, _)| *writer);
            for (source, first) in sources {
                let keys = self.keys(source);
                let mut meet = |seen: &Observation| then(source, seen, seen.at > first);
                if keys.len() <= by_key.len() {
                    for key in keys {
                        let start = by_key.partition_point(|seen| seen.key < *key);
                        let same = by_key[start..].iter().take_while(|seen| seen.key == *key);
                        same.for_each(|seen| meet(seen));
                    }
                } else {
                    by_key
                        .iter()
                        .filter(|seen| keys.binary_search(&seen.key).is_ok())
                        .for_each(|seen| meet(seen));
                }
            }
        }
    }

    fn demand(&self, earlier: u32, seen: &Observation, demands: &mut Vec<Demand>) {
        if let Some(later) = self.writer(seen)
            && later != earlier
            && earlier != seen.transaction
        {
            demands.push(Demand {
                earlier,
                later,
                witness: seen.transaction,
            });
        }
    }

    /// Monotonic atomic view: what was read from is seen by the reads behind.
    pub fn monotonic(&self) -> Vec<Demand> {
        let mut demands = Vec::new();
        self.for_each_seen(|source, seen, is_behind| {
            if is_behind {
                self.demand(source, seen, &mut demands);
            }
        });
        demands
    }

    /// Read atomic: what was read from is seen by all reads.
    pub fn atomic(&self) -> Vec<Demand> {
        let mut demands = Vec::new();
        self.for_each_seen(|source, seen, _| self.demand(source, seen, &mut demands));
        demands
    }

    /// What a process did before is seen as well. Its last write of a key is enough: those before it come first in
    /// any order that keeps that of the process.
    pub fn session(&self) -> Vec<Demand> {
        let mut last: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let mut demands = Vec::new();
        let mut groups = self.groups.iter().peekable();
        for (number, transaction) in (0..).zip(&self.these.list) {
            if let Some(group) = groups.next_if(|group| group[0].transaction == number) {
                for seen in *group {
                    if let Some(earlier) = last.get(&(transaction.process, seen.key)) {
                        self.demand(*earlier, seen, &mut demands);
                    }
                }
            }
            if transaction.fate == Fate::Ok {
                for key in self.keys(number) {
                    last.insert((transaction.process, *key), number);
                }
            }
        }
        demands
    }

    /// Causal consistency: everything is seen from which reads lead to the reader, and processes with that clock, as
    /// `order` says, in which everything stands behind what it saw. None where the clocks would have more than
    /// `limit` entries.
    pub fn causal(
        &self,
        order: &[u32],
        before: &[Vec<u32>],
        clock: Clock,
        limit: u64,
    ) -> Option<Vec<Demand>> {
        let sessions = Sessions::new(self.these, order, clock);
        let width = sessions.count as usize;
        if order.len() as u64 * width as u64 > limit {
            return None;
        }
        let writes = sessions.writes(self, order);
        let mut place = vec![NONE; self.these.list.len()];
        let mut clocks = vec![0_u32; order.len() * width];
        for (at, transaction) in (0_u32..).zip(order) {
            place[*transaction as usize] = at;
            let (done, rest) = clocks.split_at_mut(at as usize * width);
            let own = &mut rest[..width];
            for earlier in &before[*transaction as usize] {
                let theirs = place[*earlier as usize] as usize * width;
                for (own, theirs) in own.iter_mut().zip(&done[theirs..theirs + width]) {
                    *own = (*own).max(*theirs);
                }
                let (session, position) = sessions.of[*earlier as usize];
                let seen = &mut own[session as usize];
                *seen = (*seen).max(position + 1);
            }
        }
        let mut demands = Vec::new();
        for group in &self.groups {
            let at = place[group[0].transaction as usize];
            if at == NONE {
                continue;
            }
            let clock = &clocks[at as usize * width..][..width];
            for seen in *group {
                let Some(lanes) = writes.get(seen.key as usize) else {
                    continue;
                };
                for lane in lanes.chunk_by(|one, other| one.0 == other.0) {
                    let until = clock[lane[0].0 as usize];
                    let seen_there = lane.partition_point(|(_, position, _)| *position < until);
                    if let Some((.., earlier)) = seen_there.checked_sub(1).map(|last| lane[last]) {
                        self.demand(earlier, seen, &mut demands);
                    }
                }
            }
        }
        Some(demands)
    }
}

/// Transactions in lanes, each of which happened one after the other.
struct Sessions {
    /// Lane and position of each transaction.
    of: Vec<(u32, u32)>,
    count: u32,
}

impl Sessions {
    /// A lane for each process, where they count; what is not known to come before the rest of its process has a lane of its own.
    fn new(these: &Transactions<'_>, order: &[u32], clock: Clock) -> Self {
        let mut lanes: FxHashMap<u32, (u32, u32)> = FxHashMap::default();
        let mut of = vec![(NONE, 0); these.list.len()];
        let mut count = 0;
        for transaction in order {
            of[*transaction as usize] = (0, 0);
        }
        for (number, transaction) in these.list.iter().enumerate() {
            if of[number].0 == NONE {
                continue;
            }
            if transaction.fate == Fate::Ok && clock != Clock::None {
                let (lane, next) = lanes.entry(transaction.process).or_insert_with(|| {
                    count += 1;
                    (count - 1, 0)
                });
                of[number] = (*lane, *next);
                *next += 1;
            } else {
                of[number] = (count, 0);
                count += 1;
            }
        }
        Self { of, count }
    }

    /// For each key its writers: lane, position, transaction.
    fn writes(&self, sight: &Sight<'_, '_>, order: &[u32]) -> Vec<Vec<(u32, u32, u32)>> {
        let mut writes = vec![Vec::new(); sight.these.keys.len()];
        for transaction in order {
            let (lane, position) = self.of[*transaction as usize];
            for key in sight.keys(*transaction) {
                writes[*key as usize].push((lane, position, *transaction));
            }
        }
        for lanes in &mut writes {
            lanes.sort_unstable();
        }
        writes
    }
}
