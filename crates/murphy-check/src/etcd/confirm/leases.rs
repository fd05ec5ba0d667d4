//! What the facts about leases assert, and when they cannot be true together.

use super::{Ask, Claim, Op, Outcome, Shown, claims::Reader, judge::Judge};

const SECOND: u64 = 1_000_000_000;

impl Reader<'_> {
    pub(super) fn renewed(&mut self, op: &Op, lease: u32, ttl: i64) {
        let length = ttl.unsigned_abs().saturating_mul(SECOND);
        self.claims.push(Claim::Renewed {
            lease: self.words.record.leases[lease as usize],
            answered: op.end,
            until: op.call.saturating_add(length),
        });
    }
}

impl Judge<'_> {
    /// Keys of a lease that go too early or by halves, a lease that goes too early, keys that outlive theirs.
    pub(super) fn ends_lease_wrongly(&self) -> bool {
        self.claims.iter().any(|one| {
            self.claims.iter().any(|other| match (one, other) {
                (
                    Claim::Attached {
                        revision,
                        key,
                        lease,
                    },
                    Claim::Holds {
                        revision: gone,
                        contents,
                        seen,
                        ..
                    },
                ) => {
                    let deleted = contents
                        .iter()
                        .any(|content| content.key == *key && content.value == Shown::Deleted);
                    deleted
                        && revision < gone
                        && self.can_only_expire(key, *revision, *gone, *lease)
                        && (self.lives_beyond(*lease, *seen)
                            || self.leaves_behind(*lease, key, *gone))
                }
                (
                    Claim::Renewed {
                        lease,
                        answered,
                        until,
                    },
                    Claim::Gone {
                        lease: of,
                        call,
                        end,
                    },
                ) => {
                    lease == of && answered <= call && until > end && !self.is_revoked(*lease, *end)
                }
                (
                    Claim::Gone {
                        lease,
                        call: from,
                        end,
                    },
                    Claim::Has { lease: of, call },
                ) => lease == of && end <= call && !self.is_granted_from(*lease, *from),
                (
                    Claim::Revoked {
                        lease,
                        revision,
                        call,
                    },
                    Claim::HasAt { lease: of, at },
                ) => lease == of && revision <= at && !self.is_granted_from(*lease, *call),
                // Behind a put under the lease a revocation has a revision of its own, before it an earlier one.
                (
                    Claim::Revoked {
                        lease, revision, ..
                    },
                    Claim::Attached {
                        revision: put,
                        lease: of,
                        ..
                    },
                ) => lease == of && revision == put,
                _ => false,
            })
        })
    }

    fn lives_beyond(&self, lease: i64, seen: u64) -> bool {
        self.claims.iter().any(|claim| {
            matches!(claim, Claim::Renewed { lease: of, until, .. } if *of == lease && *until > seen)
        })
    }

    /// Whether another key of the lease is still there after `gone`.
    fn leaves_behind(&self, lease: i64, key: &[u8], gone: i64) -> bool {
        self.claims.iter().any(|claim| {
            let Claim::Attached {
                revision,
                key: other,
                lease: of,
            } = claim
            else {
                return false;
            };
            let stays = |claim: &Claim| match claim {
                Claim::Holds {
                    revision: later,
                    contents,
                    ..
                } => {
                    *later > gone
                        && contents
                            .iter()
                            .any(|content| content.key == *other && content.value == Shown::Deleted)
                }
                Claim::Lived { key, from, to } => key == other && *from < gone && gone < *to,
                _ => false,
            };
            *of == lease
                && other != key
                && *revision < gone
                && self.can_only_expire(other, *revision, gone, lease)
                && self.claims.iter().any(stays)
        })
    }

    /// Whether no client asked for anything that changes the key between, or for the end of the lease.
    fn can_only_expire(&self, key: &[u8], written: i64, gone: i64, lease: i64) -> bool {
        let is_attached =
            !self.may_be_changed(key, written, gone - 1) || self.is_watched(key, written, gone);
        is_attached
            && !self.may_be_deleted_by_client(key, gone)
            && !self.is_revoked(lease, u64::MAX)
    }

    /// Whether a watch of the facts delivered all events of the key from `written` to `gone`, and none between.
    fn is_watched(&self, key: &[u8], written: i64, gone: i64) -> bool {
        self.claims.iter().any(|claim| {
            let Claim::Told { stream, revision } = claim else {
                return false;
            };
            let of = &self.record.streams[*stream];
            let first = of.first_revision();
            let is_between = |id: &u32| {
                let pair = self.pairs.get(*id);
                let between = written < pair.mod_revision && pair.mod_revision < gone;
                between && self.record.keys.get(pair.key) == key
            };
            *revision == gone
                && first.is_some_and(|first| first <= written)
                && self.is_within(of.span, key)
                && !of.events.iter().any(is_between)
        })
    }

    fn is_revoked(&self, lease: i64, by: u64) -> bool {
        self.record.ops.iter().any(|op| {
            op.outcome != Outcome::Fail
                && op.call <= by
                && matches!(self.record.ask(op), Ask::LeaseRevoke { lease: of } if self.record.leases[of as usize] == lease)
        })
    }

    fn is_granted_from(&self, lease: i64, from: u64) -> bool {
        self.record.ops.iter().any(|op| {
            op.outcome != Outcome::Fail
                && op.until() >= from
                && matches!(self.record.ask(op), Ask::LeaseGrant { lease: of } if self.record.leases[of as usize] == lease)
        })
    }
}
