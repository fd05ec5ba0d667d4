//! Promise `lease.expiry`: the keys of a lease live as long as it does, and go together, with it.
//!
//! Never before the time to live has passed since the last acknowledged keep-alive was asked for; all in one
//! revision; and once a member says that the lease is gone, they are gone. How long after its time a lease may live
//! is not promised: a new leader starts all leases anew.

use super::{
    record::{Answer, Ask, Outcome, Record},
    sighting::{Fact, each_sighting},
    sweep::{Expired, Sweep, Truth},
    timeline::op_of,
    trouble::Trouble,
    words::{Words, seconds},
};
use crate::intern::{Id, NONE, next_id};

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
    let inquiry = Inquiry {
        words,
        truth,
        renewals: renewals(words.record),
    };
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

fn renewals(record: &Record) -> Vec<Renewal> {
    let renewal = |(id, op): (usize, &super::record::Op)| {
        let (lease, ttl) = match (record.ask(op), record.answer(op)?) {
            (_, Answer::LeaseGrant { lease, ttl }) => (lease, ttl),
            (Ask::LeaseKeepAlive { lease }, Answer::LeaseKeepAlive { ttl }) if ttl > 0 => {
                (lease, ttl)
            }
            _ => return None,
        };
        let length = ttl.unsigned_abs().saturating_mul(SECOND);
        let until = op.call.saturating_add(length);
        Some(Renewal {
            op: next_id(id),
            lease,
            call: op.call,
            until,
        })
    };
    record.ops.iter().enumerate().filter_map(renewal).collect()
}

/// Answers that a lease is gone.
fn gone(record: &Record) -> Vec<Id> {
    let says_gone = |op: &super::record::Op| {
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
    renewals: Vec<Renewal>,
}

impl Inquiry<'_> {
    /// The renewal of `lease` that lasts longest among those asked for from one time to another.
    fn longest(&self, lease: u32, from: u64, to: u64) -> Option<&Renewal> {
        let of = self
            .renewals
            .iter()
            .filter(|renewal| renewal.lease == lease);
        of.filter(|renewal| from <= renewal.call && renewal.call <= to)
            .max_by_key(|r| r.until)
    }

    /// Keys went while the lease had time left.
    fn early(&self, expired: &Expired) -> Option<Trouble> {
        let words = self.words;
        let grant = op_of(words.record, expired.grant);
        let lease = lease_of(words.record.ask(grant));
        let (pair, fact) = self.first_seen(expired.revision)?;
        let seen = words.time(fact);
        let renewal = self
            .longest(lease, grant.call, seen)
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
        let words = self.words;
        let mut first: Option<(u64, Id, Fact)> = None;
        each_sighting(words.record, &mut |id, fact, _| {
            let pair = words.pairs.get(id);
            if pair.mod_revision != revision || !pair.is_gone() {
                return;
            }
            let time = words.time(fact);
            if first.is_none_or(|(known, _, _)| time < known) {
                first = Some((time, id, fact));
            }
        });
        first.map(|(_, id, fact)| (id, fact))
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
        let written = self.words.pairs.get(pair).mod_revision;
        self.truth.timeline.owners(written).next().map(Fact::Op)
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
        let revoked = record.ops.iter().any(|other| {
            matches!(record.ask(other), Ask::LeaseRevoke { lease: of } if of == lease)
                && other.outcome != Outcome::Fail
                && other.call <= op.end
        });
        // The lease was there when it was renewed; a renewal that was not yet answered may still come.
        let renewal = self
            .renewals
            .iter()
            .filter(|renewal| renewal.lease == lease && op_of(record, renewal.op).end <= op.call);
        let renewal = renewal.max_by_key(|renewal| renewal.until)?;
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
        gone.iter().find_map(|id| {
            let end = op_of(record, *id);
            let lease = lease_of(record.ask(end));
            let again = record.ops.iter().any(|op| {
                matches!(record.ask(op), Ask::LeaseGrant { lease: of } if of == lease)
                    && op.outcome != Outcome::Fail
                    && op.until() >= end.call
            });
            if again {
                return None;
            }
            let number = record.leases[lease as usize];
            let reads = record
                .ops
                .iter()
                .enumerate()
                .filter(|(_, op)| op.call >= end.end);
            let (read, pair) = reads
                .filter(|(_, op)| !record.is_local(record.ask(op)))
                .find_map(|(read, op)| {
                    let (Ask::Range { options, .. }, Some(Answer::Range { kvs, .. })) =
                        (record.ask(op), record.answer(op))
                    else {
                        return None;
                    };
                    let of_now = record.options[options as usize].revision == 0;
                    let mut pairs = record.lists[kvs.range()].iter();
                    let pair = pairs.find(|id| words.pairs.get(**id).lease == number)?;
                    of_now.then_some((next_id(read), *pair))
                })?;
            let shown = words.pairs.get(pair);
            Some(Trouble {
                revision: shown.mod_revision,
                reason: format!(
                    "{} outlives its lease {}",
                    words.key(shown.key),
                    words.lease(lease)
                ),
                sentence: format!(
                    "{}; later {} was still there: {}.",
                    words.told(*id),
                    words.pair(shown.key, pair),
                    words.told(read)
                ),
                facts: vec![(Fact::Op(*id), true), (Fact::Shown(read, pair), true)],
                members: Vec::new(),
            })
        })
    }
}
