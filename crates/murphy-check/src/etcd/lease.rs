//! Promise `lease.expiry`: the keys of a lease live as long as it does, and go together, with it.
//!
//! Never before the time to live has passed since the last acknowledged keep-alive was asked for; all in one
//! revision; and once a member says that the lease is gone, they are gone. How long after its time a lease may live
//! is not promised: a new leader starts all leases anew.

use rustc_hash::FxHashMap;

use super::{
    linear::source_of,
    record::{Answer, Ask, Op, Outcome, Record},
    sighting::{Fact, each_sighting},
    sweep::{Expired, Sweep, Truth},
    timeline::op_of,
    trouble::Trouble,
    words::Words,
};
use crate::{
    intern::{Id, NONE, next_id},
    text::seconds,
};

/// What the promise is judged on: one, several.
pub(crate) const BASIS: (&str, &str) = ("end of a lease", "ends of leases");

const SECOND: u64 = 1_000_000_000;

/// Judges the promise: the trouble, how much could have broken it, why more cannot be said.
pub(crate) fn judge(
    words: &Words<'_>,
    truth: &Truth,
    sweep: &Sweep,
) -> (Option<Trouble>, u64, Option<String>) {
    if words.record.leases.len() < 2 {
        return (None, 0, None);
    }
    let inquiry = Inquiry::new(words, truth, sweep);
    let mut found: Vec<Trouble> = Vec::new();
    for expired in &sweep.expired {
        found.extend(inquiry.early(expired));
        found.extend(
            expired
                .halved
                .and_then(|stays| inquiry.halved(expired, stays)),
        );
    }
    let gone = gone(words.record);
    for id in &gone {
        found.extend(inquiry.vanished(*id));
    }
    found.extend(inquiry.outlived(&gone));
    let judged = sweep.expired.len() as u64 + gone.len() as u64;
    let open = sweep.unowned_lease.clone();
    (
        found.into_iter().min_by_key(|trouble| trouble.revision),
        judged,
        open,
    )
}

/// An acknowledged grant or keep-alive: the lease lives at least until its time has passed.
#[derive(Clone, Copy)]
struct Renewal {
    op: Id,
    lease: u32,
    call: u64,
    until: u64,
}

fn renewal(record: &Record, id: Id, op: &Op) -> Option<Renewal> {
    let (lease, ttl) = match (record.ask(op), record.answer(op)?) {
        (_, Answer::LeaseGrant { lease, ttl }) => (lease, ttl),
        (Ask::LeaseKeepAlive { lease }, Answer::LeaseKeepAlive { ttl }) if ttl > 0 => (lease, ttl),
        _ => return None,
    };
    let length = ttl.unsigned_abs().saturating_mul(SECOND);
    let until = op.call.saturating_add(length);
    Some(Renewal {
        op: id,
        lease,
        call: op.call,
        until,
    })
}

/// Answers that a lease is gone.
fn gone(record: &Record) -> Vec<Id> {
    let says_gone = |op: &Op| {
        matches!(
            record.answer(op),
            Some(Answer::LeaseKeepAlive { ttl: ..=0 } | Answer::LeaseTimeToLive { ttl: ..0 })
        )
    };
    let ops = record.ops.iter().enumerate();
    ops.filter(|(_, op)| says_gone(op))
        .map(|(id, _)| next_id(id))
        .collect()
}

fn lease_of(ask: Ask) -> u32 {
    match ask {
        Ask::LeaseGrant { lease }
        | Ask::LeaseRevoke { lease }
        | Ask::LeaseKeepAlive { lease }
        | Ask::LeaseTimeToLive { lease } => lease,
        _ => 0,
    }
}

struct Inquiry<'a> {
    words: &'a Words<'a>,
    truth: &'a Truth,
    /// The renewals of each lease.
    renewals: FxHashMap<u32, Vec<Renewal>>,
    /// The grants and revocations of each lease, except those that certainly did not happen.
    changes: FxHashMap<u32, Vec<Id>>,
    /// The first fact that shows a deletion in a revision in which a lease expired.
    seen: FxHashMap<i64, (u64, Id, Fact)>,
}

impl<'a> Inquiry<'a> {
    fn new(words: &'a Words<'a>, truth: &'a Truth, sweep: &Sweep) -> Self {
        let record = words.record;
        let mut renewals: FxHashMap<u32, Vec<Renewal>> = FxHashMap::default();
        let mut changes: FxHashMap<u32, Vec<Id>> = FxHashMap::default();
        for (id, op) in record.ops.iter().enumerate() {
            let ask = record.ask(op);
            if lease_of(ask) == 0 {
                continue;
            }
            if let Some(renewal) = renewal(record, next_id(id), op) {
                renewals.entry(renewal.lease).or_default().push(renewal);
            }
            let is_change = matches!(ask, Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. });
            if is_change && op.outcome != Outcome::Fail {
                changes.entry(lease_of(ask)).or_default().push(next_id(id));
            }
        }
        let mut seen: FxHashMap<i64, (u64, Id, Fact)> = sweep
            .expired
            .iter()
            .map(|expired| (expired.revision, (u64::MAX, NONE, Fact::Op(NONE))))
            .collect();
        if !seen.is_empty() {
            each_sighting(record, &mut |id, fact, _| {
                let pair = words.pairs.get(id);
                if pair.is_gone()
                    && let Some(first) = seen.get_mut(&pair.mod_revision)
                {
                    let time = words.time(fact);
                    if time < first.0 {
                        *first = (time, id, fact);
                    }
                }
            });
        }
        Self {
            words,
            truth,
            renewals,
            changes,
            seen,
        }
    }

    fn renewals(&self, lease: u32) -> &[Renewal] {
        self.renewals.get(&lease).map_or(&[], Vec::as_slice)
    }

    fn changes(&self, lease: u32) -> impl Iterator<Item = &Op> {
        let of = self.changes.get(&lease).into_iter().flatten();
        of.map(|id| op_of(self.words.record, *id))
    }

    /// The renewal that lasts longest of the lease that `grant` granted, among those asked for up to `to`. What may be
    /// of a later lease with the same id does not count.
    fn longest(&self, grant: &Op, to: u64) -> Option<&Renewal> {
        let record = self.words.record;
        let lease = lease_of(record.ask(grant));
        let is_next = |op: &&Op| {
            matches!(record.ask(op), Ask::LeaseGrant { .. })
                && op.line != grant.line
                && op.until() >= grant.call
        };
        let next = self.changes(lease).filter(is_next).map(|op| op.call).min();
        let is_its_own = |renewal: &&Renewal| {
            let op = op_of(record, renewal.op);
            op.line == grant.line || next.is_none_or(|next| op.end < next)
        };
        let of = self.renewals(lease).iter();
        of.filter(|renewal| grant.call <= renewal.call && renewal.call <= to)
            .filter(is_its_own)
            .max_by_key(|renewal| renewal.until)
    }

    /// Keys went while the lease had time left.
    fn early(&self, expired: &Expired) -> Option<Trouble> {
        let words = self.words;
        let grant = op_of(words.record, expired.grant);
        let lease = lease_of(words.record.ask(grant));
        let (pair, fact) = self.first_seen(expired.revision)?;
        let seen = words.time(fact);
        let renewal = self
            .longest(grant, seen)
            .filter(|renewal| renewal.until > seen)?;
        let key = words.pairs.get(pair).key;
        let mut facts = vec![(Fact::Op(renewal.op), true), (fact, true)];
        facts.extend(
            self.attachment(key, expired.revision)
                .map(|fact| (fact, true)),
        );
        Some(Trouble {
            revision: expired.revision,
            reason: format!("lease {} expired before its time", words.lease(lease)),
            sentence: format!(
                "{}: lease {} lives until {} at least; yet {}",
                words.told(renewal.op),
                words.lease(lease),
                seconds(renewal.until),
                words.line(fact, true).text
            ),
            facts,
            members: Vec::new(),
        })
    }

    /// The first fact that shows a deletion of `revision`.
    fn first_seen(&self, revision: i64) -> Option<(Id, Fact)> {
        let (_, id, fact) = *self.seen.get(&revision)?;
        (id != NONE).then_some((id, fact))
    }

    /// Who put the pair that `key` had before `revision`.
    fn attachment(&self, key: Id, revision: i64) -> Option<Fact> {
        let rank = self.truth.order.rank(key);
        let pair = self
            .truth
            .store
            .last_write(self.words.pairs, rank, revision - 1);
        if pair == NONE {
            return None;
        }
        let words = self.words;
        let written = words.pairs.get(pair).mod_revision;
        source_of(words.record, words, self.truth, written, pair)
    }

    /// Some keys went, and others stayed.
    fn halved(&self, expired: &Expired, stays: Id) -> Option<Trouble> {
        let words = self.words;
        let lease = lease_of(words.record.ask(op_of(words.record, expired.grant)));
        let (gone, fact) = self.first_seen(expired.revision)?;
        let key = words.pairs.get(stays).key;
        let mut later: Option<(i64, Fact)> = None;
        each_sighting(words.record, &mut |id, fact, _| {
            let pair = words.pairs.get(id);
            let is_later = pair.key == key && pair.mod_revision > expired.revision;
            if is_later && later.is_none_or(|(known, _)| pair.mod_revision < known) {
                later = Some((pair.mod_revision, fact));
            }
        });
        let mut facts = vec![(fact, true)];
        facts.extend(later.map(|(_, fact)| (fact, true)));
        let first = self.attachment(words.pairs.get(gone).key, expired.revision);
        let second = self
            .truth
            .timeline
            .owners(words.pairs.get(stays).mod_revision)
            .next();
        facts.extend(first.map(|fact| (fact, true)));
        facts.extend(second.map(|op| (Fact::Op(op), true)));
        Some(Trouble {
            revision: expired.revision,
            reason: format!("lease {} expired by halves", words.lease(lease)),
            sentence: format!(
                "Lease {} expired in revision {}, with {}; {}, of the same lease, stayed.",
                words.lease(lease),
                expired.revision,
                words.content(&words.pairs.get(gone)),
                words.pair(key, stays)
            ),
            facts,
            members: Vec::new(),
        })
    }

    /// A member says that a lease is gone which has time left, and which nobody revoked.
    fn vanished(&self, id: Id) -> Option<Trouble> {
        let words = self.words;
        let record = words.record;
        let op = op_of(record, id);
        let lease = lease_of(record.ask(op));
        let is_revocation = |op: &Op| matches!(record.ask(op), Ask::LeaseRevoke { .. });
        let revoked = self
            .changes(lease)
            .any(|other| is_revocation(other) && other.call <= op.end);
        // The lease was there when it was renewed; a renewal that was not yet answered may still come.
        let before = self.renewals(lease).iter();
        let renewal = before
            .filter(|renewal| op_of(record, renewal.op).end <= op.call)
            .max_by_key(|renewal| renewal.until)?;
        (!revoked && renewal.until > op.end).then(|| Trouble {
            revision: op.revision,
            reason: format!("lease {} was gone before its time", words.lease(lease)),
            sentence: format!(
                "{}: lease {} lives until {} at least; yet {}.",
                words.told(renewal.op),
                words.lease(lease),
                seconds(renewal.until),
                words.told(id)
            ),
            facts: vec![(Fact::Op(renewal.op), true), (Fact::Op(id), true)],
            members: Vec::new(),
        })
    }

    /// A lease is gone, and a later read shows a key that has it.
    fn outlived(&self, gone: &[Id]) -> Option<Trouble> {
        let (words, record) = (self.words, self.words.record);
        let mut ended: FxHashMap<i64, Id> = FxHashMap::default();
        for id in gone {
            let end = op_of(record, *id);
            let lease = lease_of(record.ask(end));
            let is_grant = |op: &Op| matches!(record.ask(op), Ask::LeaseGrant { .. });
            if !self
                .changes(lease)
                .any(|op| is_grant(op) && op.until() >= end.call)
            {
                ended.entry(record.leases[lease as usize]).or_insert(*id);
            }
        }
        if ended.is_empty() {
            return None;
        }
        record.ops.iter().enumerate().find_map(|(read, op)| {
            let (Ask::Range { options, .. }, Some(Answer::Range { kvs, .. })) =
                (record.ask(op), record.answer(op))
            else {
                return None;
            };
            let options = record.options[options as usize];
            if options.revision > 0 || options.serializable {
                return None;
            }
            record.lists[kvs.range()].iter().find_map(|pair| {
                let lease = words.pairs.get(*pair).lease;
                let id = *ended.get(&lease).filter(|_| lease != 0)?;
                let is_later = op.call >= op_of(record, id).end;
                is_later.then(|| self.outlives(id, next_id(read), *pair))
            })
        })
    }

    fn outlives(&self, gone: Id, read: Id, pair: Id) -> Trouble {
        let words = self.words;
        let shown = words.pairs.get(pair);
        let lease = lease_of(words.record.ask(op_of(words.record, gone)));
        Trouble {
            revision: shown.mod_revision,
            reason: format!(
                "{} outlives its lease {}",
                words.key(shown.key),
                words.lease(lease)
            ),
            sentence: format!(
                "{}; later {} was still there: {}.",
                words.told(gone),
                words.pair(shown.key, pair),
                words.told(read)
            ),
            facts: vec![(Fact::Op(gone), true), (Fact::Shown(read, pair), true)],
            members: Vec::new(),
        }
    }
}
