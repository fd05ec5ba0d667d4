//! A lessor deletes the keys of a lease that ends, in one revision: revoked by a client, or expired, which no client
//! asked for. So a lease that was granted is one more possible writer of a revision that nobody owns.
//!
//! In the place of an expiry stands the operation that granted the lease.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    record::{Ask, Outcome, Record},
    timeline::{Hole, Put, each_put},
};
use crate::intern::{Id, next_id};

/// The grants and revocations of each lease, and which of them have ended one.
pub(crate) struct Lessor<'r> {
    record: &'r Record,
    /// For each lease the operations that may end it.
    enders: FxHashMap<u32, Vec<Id>>,
    /// The acknowledged revocations of each revision, with their leases.
    revoked: FxHashMap<i64, Vec<(u32, Id)>>,
    placed: FxHashSet<Id>,
    /// The last revision in which each lease ended, as far as is certain.
    ended: FxHashMap<u32, i64>,
}

impl<'r> Lessor<'r> {
    /// The lessor of `record`, before any lease has ended.
    pub fn new(record: &'r Record) -> Self {
        let mut enders: FxHashMap<u32, Vec<Id>> = FxHashMap::default();
        let mut revoked: FxHashMap<i64, Vec<(u32, Id)>> = FxHashMap::default();
        if record.leases.len() > 1 {
            for (id, op) in record.ops.iter().enumerate() {
                let ask = record.ask(op);
                let (Ask::LeaseGrant { lease } | Ask::LeaseRevoke { lease }, true) =
                    (ask, op.outcome != Outcome::Fail)
                else {
                    continue;
                };
                enders.entry(lease).or_default().push(next_id(id));
                if matches!(ask, Ask::LeaseRevoke { .. }) && op.outcome == Outcome::Ok {
                    let of = revoked.entry(op.revision).or_default();
                    of.push((lease, next_id(id)));
                }
            }
        }
        Self {
            record,
            enders,
            revoked,
            placed: FxHashSet::default(),
            ended: FxHashMap::default(),
        }
    }

    /// True where the history has no lease.
    pub fn is_idle(&self) -> bool {
        self.enders.is_empty()
    }

    /// A lease under which keys were put and which nobody granted: its end cannot be told from any other.
    pub fn unowned(&self) -> Option<String> {
        let record = self.record;
        if record.leases.len() < 2 {
            return None;
        }
        let mut unowned: Option<u32> = None;
        for op in record.ops.iter().filter(|op| op.outcome != Outcome::Fail) {
            each_put(record, record.ask(op), &mut |Put { lease, .. }| {
                if lease == 0 {
                    return;
                }
                let of = self.enders.get(&lease);
                if of.is_none_or(|ops| !ops.iter().any(|op| self.is_grant(*op))) {
                    unowned = Some(unowned.map_or(lease, |known| known.min(lease)));
                }
            });
        }
        let lease = unowned?;
        Some(format!(
            "keys were put under lease {:x}, which nobody in the history granted: its end is nobody's",
            record.leases[lease as usize]
        ))
    }

    /// Whether `op` stands for an expiry.
    pub fn is_grant(&self, op: Id) -> bool {
        let op = &self.record.ops[op as usize];
        matches!(self.record.ask(op), Ask::LeaseGrant { .. })
    }

    /// The acknowledged revocations that were answered with the revision of `hole`, each with its lease.
    pub fn revoked_in(&self, hole: &Hole) -> impl Iterator<Item = (u32, Id)> {
        let revoked = self.revoked.get(&hole.revision);
        revoked.into_iter().flatten().copied()
    }

    /// What may have ended `lease` in `hole`: an acknowledged revocation with that revision, and else whatever
    /// was asked for by then and is still possible.
    pub fn enders(&self, lease: u32, hole: &Hole) -> Vec<Id> {
        let Some(enders) = self.enders.get(&lease) else {
            return Vec::new();
        };
        let of = |id: &Id| &self.record.ops[*id as usize];
        let is_free = |id: &&Id| !self.placed.contains(*id) && of(id).call <= hole.deadline;
        let is_it = |id: &&Id| {
            !self.is_grant(**id)
                && of(id).outcome == Outcome::Ok
                && of(id).revision == hole.revision
        };
        if let Some(revocation) = enders.iter().filter(is_free).find(is_it) {
            return vec![*revocation];
        }
        let may_be = |id: &&Id| match of(id).outcome {
            Outcome::Ok => self.is_grant(**id) && of(id).revision < hole.revision,
            _ => true,
        };
        enders
            .iter()
            .filter(is_free)
            .filter(may_be)
            .copied()
            .collect()
    }

    /// Every lease that may have ended in `hole`.
    pub fn leases(&self) -> impl Iterator<Item = u32> {
        let mut leases: Vec<u32> = self.enders.keys().copied().collect();
        leases.sort_unstable();
        leases.into_iter()
    }

    /// `op` has ended its lease in `revision`.
    pub fn place(&mut self, op: Id, revision: i64) {
        let of = &self.record.ops[op as usize];
        let (Ask::LeaseGrant { lease } | Ask::LeaseRevoke { lease }) = self.record.ask(of) else {
            return;
        };
        self.placed.insert(op);
        self.ended.insert(lease, revision);
        let record = self.record;
        for id in self.enders.get(&lease).into_iter().flatten() {
            let other = &record.ops[*id as usize];
            // A grant of before; one that ran beside may have come after.
            if matches!(record.ask(other), Ask::LeaseGrant { .. }) && other.until() < of.call {
                self.placed.insert(*id);
            }
        }
    }

    /// The revision in which `lease` had ended before `revision`, and was not granted again.
    pub fn ended_before(&self, lease: u32, revision: i64) -> Option<i64> {
        let ended = *self.ended.get(&lease)?;
        let is_again = |id: &Id| {
            let op = &self.record.ops[*id as usize];
            self.is_grant(*id)
                && !self.placed.contains(id)
                && (op.outcome != Outcome::Ok || (ended..revision).contains(&op.revision))
        };
        let again = self
            .enders
            .get(&lease)
            .is_some_and(|enders| enders.iter().any(is_again));
        (ended < revision && !again).then_some(ended)
    }
}
