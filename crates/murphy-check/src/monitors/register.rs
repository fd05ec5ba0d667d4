//! A register is read and written; where each value is written once, O(n log n) time decides it.
//!
//! A *cluster* is the write of a value with the reads of it. In a legal order a cluster stands together, its write
//! first. Let `s` be the least end and `t` the greatest call of a cluster.
//!
//! **Theorem** (Gibbons and Korach, 1997). The history is linearizable exactly if no read ends before its write is
//! called, and no two clusters A and B have `s(A) < t(B)` and `s(B) < t(A)`.
//!
//! *Proof.* Say A → B where an operation of A precedes one of B, which is `s(A) < t(B)`; then A stands before B in
//! every legal order. So two clusters with arrows both ways have none. Conversely an order of the clusters along all
//! arrows, the write first inside each, respects all precedences, so a legal order is missing only where the arrows
//! have a cycle. On it let M be the cluster with the greatest `t`. Every cluster X of the cycle has
//! `s(X) < t(next of X) ≤ t(M)`, so X → M, and M → its successor: two arrows both ways. ∎
//!
//! Which pairs to look at: a cluster with `s < t` holds the register throughout that *zone*, and two zones may only
//! touch; a cluster with `t ≤ s` has all its operations open from `t` to `s`, which must not lie strictly inside a
//! zone of another. Zones that do not overlap are sorted, and for each other cluster one binary search finds the only
//! zone that can contain it. The initial value (0) is a cluster whose write ended before time began.
//!
//! A value that is never read matters only in that its write, if it was answered, stands alone somewhere; so values
//! that are never read may repeat. A write of unknown outcome that nobody read is left out: in a legal order it is
//! followed by no read of it, so the order without it is legal.

use super::{Evidence, Inapplicable, Operation, Outcome, Reason, groups::smallest, ids::Ids};

/// What was asked of a register and answered. A read without an answer says nothing and is not part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// This value was written, or may have been where the operation has no end.
    Write(u32),
    /// This value was read; 0 is the initial one.
    Read(u32),
}

impl Access {
    fn value(self) -> u32 {
        match self {
            Self::Write(value) | Self::Read(value) => value,
        }
    }
}

/// Judges a history of one register.
pub fn check(history: &[Operation<Access>]) -> Outcome {
    check_selected(history, 0..history.len())
}

/// Judges registers that have nothing to do with one another: `keys[i]` is the key of `history[i]`, and value ids are
/// a key's own. A violation in any of them comes before what is inapplicable; evidence has the places in `history`.
///
/// # Panics
/// Where there are not as many keys as operations, which is a mistake of the program.
pub fn check_per_key(history: &[Operation<Access>], keys: &[u32]) -> Outcome {
    assert_eq!(history.len(), keys.len(), "one key for each operation");
    let mut places: Vec<u32> = (0..place(history.len())).collect();
    places.sort_by_key(|&at| keys[at as usize]);
    let mut outcome = Outcome::Linearizable;
    for part in places.chunk_by(|&a, &b| keys[a as usize] == keys[b as usize]) {
        match check_selected(history, part.iter().map(|&at| at as usize)) {
            Outcome::Linearizable => {}
            found @ Outcome::Violation(_) => return found,
            cannot @ Outcome::Inapplicable(_) => outcome = cannot,
        }
    }
    outcome
}

/// Histories have fewer operations than that: a line of a file has a number of 32 bits.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

const NONE: u32 = u32::MAX;

fn check_selected(
    history: &[Operation<Access>],
    selected: impl Iterator<Item = usize> + Clone,
) -> Outcome {
    let clash = match contradiction(history, selected) {
        Ok(None) => return Outcome::Linearizable,
        Ok(Some(clash)) => clash,
        Err(cannot) => return Outcome::Inapplicable(cannot),
    };
    let rough: Vec<usize> = clash.places().collect();
    let judge = |part: &[usize]| {
        let part: Vec<usize> = part.iter().map(|&at| rough[at]).collect();
        let closed = closed(history, &part, &clash);
        matches!(contradiction(history, closed.iter().copied()), Ok(Some(_)))
    };
    let kept: Vec<usize> = smallest(rough.len(), judge)
        .into_iter()
        .map(|at| rough[at])
        .collect();
    let reason = match contradiction(history, kept.iter().copied()) {
        Ok(Some(smaller)) => smaller.reason,
        _ => clash.reason,
    };
    Outcome::Violation(Evidence {
        operations: kept.into_iter().map(place).collect(),
        unseen: Vec::new(),
        reason,
        is_smallest: true,
    })
}

/// Without reads whose write is left out.
fn closed(history: &[Operation<Access>], part: &[usize], clash: &Clash) -> Vec<usize> {
    let written = |value: u32| {
        value == 0
            || matches!(clash.reason, Reason::NeverWritten { .. })
            || (part.iter()).any(|&at| history[at].event == Access::Write(value))
    };
    (part.iter().copied())
        .filter(|&at| match history[at].event {
            Access::Write(_) => true,
            Access::Read(value) => written(value),
        })
        .collect()
}

/// A contradiction, with the writes its reads need.
struct Clash {
    reason: Reason,
    writes: [u32; 2],
}

impl Clash {
    /// Places of its operations, ascending.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let mut all = self.writes.to_vec();
        match self.reason {
            Reason::NeverWritten { read } => all.push(read),
            Reason::ReadBeforeWrite { read, write } => all.extend([read, write]),
            Reason::Stale { early, read } => all.extend([early, read]),
            Reason::Interleaved {
                first,
                second,
                third,
                fourth,
            } => all.extend([first, second, third, fourth]),
            _ => {}
        }
        all.retain(|&at| at != NONE);
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(|at| at as usize)
    }
}

/// The write of a value with the reads of it.
#[derive(Clone, Copy)]
struct Cluster {
    write: u32,
    /// The operation with the least end, which is `least_end`.
    ends_first: u32,
    least_end: u64,
    /// The operation with the greatest call, which is `greatest_call`.
    begins_last: u32,
    greatest_call: u64,
    is_read: bool,
    is_repeated: bool,
}

const EMPTY: Cluster = Cluster {
    write: NONE,
    ends_first: NONE,
    least_end: u64::MAX,
    begins_last: NONE,
    greatest_call: 0,
    is_read: false,
    is_repeated: false,
};

impl Cluster {
    fn take(&mut self, at: u32, operation: &Operation<Access>) {
        if self.ends_first == NONE || operation.end < self.least_end {
            (self.ends_first, self.least_end) = (at, operation.end);
        }
        if self.begins_last == NONE || operation.call > self.greatest_call {
            (self.begins_last, self.greatest_call) = (at, operation.call);
        }
    }

    fn of_write(at: u32, operation: &Operation<Access>) -> Self {
        let mut cluster = Self { write: at, ..EMPTY };
        cluster.take(at, operation);
        cluster
    }

    fn holds_a_zone(&self) -> bool {
        self.least_end < self.greatest_call
    }
}

fn contradiction(
    history: &[Operation<Access>],
    selected: impl Iterator<Item = usize> + Clone,
) -> Result<Option<Clash>, Inapplicable> {
    let ids = Ids::new(selected.clone().map(|at| history[at].event.value()));
    let clusters = match clusters(history, selected.clone(), &ids) {
        Ok(clusters) => clusters,
        Err(clash) => return Ok(Some(clash)),
    };
    let repeated = clusters.iter().enumerate().find(|(at, cluster)| {
        cluster.is_read && (cluster.is_repeated || *at == 0 && cluster.write != NONE)
    });
    if let Some((at, _)) = repeated {
        return Err(Inapplicable::Repeated { value: ids.id(at) });
    }
    let unread = selected.filter(|&at| {
        let Access::Write(value) = history[at].event else {
            return false;
        };
        !clusters[ids.place(value)].is_read && history[at].end != u64::MAX
    });
    let unread = unread.map(|at| Cluster::of_write(place(at), &history[at]));
    let initial = clusters.first().copied().unwrap_or(EMPTY);
    let read = clusters.iter().skip(1).filter(|cluster| cluster.is_read);
    Ok(order(&initial, read.copied().chain(unread)))
}

/// The clusters by value, or a read that no order can explain.
fn clusters(
    history: &[Operation<Access>],
    selected: impl Iterator<Item = usize> + Clone,
    ids: &Ids,
) -> Result<Vec<Cluster>, Clash> {
    let mut clusters = vec![EMPTY; ids.len()];
    for at in selected.clone() {
        if let Access::Write(value) = history[at].event {
            let cluster = &mut clusters[ids.place(value)];
            let is_repeated = cluster.write != NONE;
            *cluster = Cluster::of_write(place(at), &history[at]);
            cluster.is_repeated = is_repeated;
        }
    }
    for at in selected {
        let Access::Read(value) = history[at].event else {
            continue;
        };
        let (cluster, read) = (&mut clusters[ids.place(value)], place(at));
        cluster.is_read = true;
        cluster.take(read, &history[at]);
        if value == 0 {
            continue;
        }
        let write = cluster.write;
        let reason = if write == NONE {
            Reason::NeverWritten { read }
        } else if history[at].end < history[write as usize].call && !cluster.is_repeated {
            Reason::ReadBeforeWrite { read, write }
        } else {
            continue;
        };
        return Err(Clash {
            reason,
            writes: [NONE; 2],
        });
    }
    Ok(clusters)
}

/// Two clusters that each come before the other.
fn order(initial: &Cluster, clusters: impl Iterator<Item = Cluster>) -> Option<Clash> {
    let (mut zones, points): (Vec<_>, Vec<_>) = clusters.partition(Cluster::holds_a_zone);
    if initial.is_read {
        let first = (zones.iter().chain(&points)).min_by_key(|cluster| cluster.least_end);
        if let Some(first) = first.filter(|first| first.least_end < initial.greatest_call) {
            return Some(Clash {
                reason: Reason::Stale {
                    early: first.ends_first,
                    read: initial.begins_last,
                },
                writes: [first.write, NONE],
            });
        }
    }
    zones.sort_unstable_by_key(|zone| zone.least_end);
    for pair in zones.windows(2) {
        if pair[1].least_end < pair[0].greatest_call {
            return Some(interleaved(&pair[0], &pair[1]));
        }
    }
    points.iter().find_map(|point| {
        let begun = zones.partition_point(|zone| zone.least_end < point.greatest_call);
        let zone = &zones[begun.checked_sub(1)?];
        (point.least_end < zone.greatest_call).then(|| interleaved(zone, point))
    })
}

fn interleaved(a: &Cluster, b: &Cluster) -> Clash {
    Clash {
        reason: Reason::Interleaved {
            first: a.ends_first,
            second: b.begins_last,
            third: b.ends_first,
            fourth: a.begins_last,
        },
        writes: [a.write, b.write],
    }
}
