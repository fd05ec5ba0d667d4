//! Who may have written what a revision is said to hold: everything that happens was asked for.

use super::{Ask, Claim, Content, Id, Op, Outcome, Record, Shown, judge::Judge};

/// Most revisions that are looked at one by one.
const PLACES: u64 = 4_096;

impl Judge<'_> {
    /// Whether somebody asked for a deletion that may be one of the revisions between: an acknowledged
    /// one is where it says, one of unknown outcome needs a revision that nobody was told to own.
    pub(super) fn may_be_deleted(&self, key: &[u8], written: i64, at: i64) -> bool {
        self.may_be_one(written, at, &|ask| self.deletes(ask, key))
    }

    /// The same for any write of the key.
    pub(super) fn may_be_written(&self, key: &[u8], written: i64, at: i64) -> bool {
        self.may_be_one(written, at, &|ask| {
            self.puts(ask, key) || self.deletes(ask, key)
        })
    }

    /// The same for whatever a client asks, the ends of leases left out.
    pub(super) fn may_be_changed(&self, key: &[u8], written: i64, at: i64) -> bool {
        self.may_be_one(written, at, &|ask| {
            let is_lease = matches!(ask, Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. });
            self.puts(ask, key) || !is_lease && self.deletes(ask, key)
        })
    }

    /// Whether `revision` may be a deletion of the key that a client asked for.
    pub(super) fn may_be_deleted_by_client(&self, key: &[u8], revision: i64) -> bool {
        self.may_be_one(revision - 1, revision, &|ask| {
            let is_lease = matches!(ask, Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. });
            !is_lease && self.deletes(ask, key)
        })
    }

    fn may_be_one(&self, written: i64, at: i64, is_it: &dyn Fn(Ask) -> bool) -> bool {
        let between = written + 1..=at;
        if at.abs_diff(written) <= PLACES {
            let fits = |id: &Id| is_it(self.record.ask(self.asked.op(*id)));
            let is_acknowledged = |revision: i64| self.asked.owners(revision).iter().any(fits);
            if between.clone().any(is_acknowledged) {
                return true;
            }
            let free: Vec<i64> = between
                .filter(|revision| !self.asked.is_owned(*revision))
                .collect();
            let mut unseen = self.asked.unseen().iter().filter(|id| fits(id));
            return unseen.any(|id| {
                free.iter()
                    .any(|revision| self.whereabouts.may_be(*id, *revision))
            });
        }
        let mut owned: Vec<i64> = Vec::new();
        let mut asked = false;
        for op in &self.record.ops {
            let fits = is_it(self.record.ask(op));
            if fits && self.may_revoke(op) && between.contains(&op.revision) {
                return true;
            }
            if self.wrote(op) && between.contains(&op.revision) {
                if fits {
                    return true;
                }
                owned.push(op.revision);
            }
            asked |= fits && self.may_act_unseen(op);
        }
        owned.sort_unstable();
        owned.dedup();
        asked && (owned.len() as u64) < at.abs_diff(written)
    }

    fn wrote(&self, op: &Op) -> bool {
        let answer = self.record.answer(op);
        answer.is_some_and(|answer| self.record.wrote(answer))
    }

    /// Whether `op` may have written some revision that its answer does not name.
    fn may_act_unseen(&self, op: &Op) -> bool {
        op.outcome == Outcome::Unknown
            || op.outcome == Outcome::Ok && matches!(self.record.ask(op), Ask::LeaseGrant { .. })
    }

    /// Whether `op` is a revocation that may have deleted something in the revision of its answer.
    fn may_revoke(&self, op: &Op) -> bool {
        op.outcome == Outcome::Ok && matches!(self.record.ask(op), Ask::LeaseRevoke { .. })
    }

    /// Whether nobody can have put the key by revision `at`.
    pub(super) fn is_absent(&self, key: &[u8], at: i64) -> bool {
        !self.record.ops.iter().any(|op| {
            self.puts(self.record.ask(op), key)
                && (self.may_act_unseen(op) || self.wrote(op) && op.revision <= at)
        })
    }

    /// Whether some revision holds what nobody can have written by the time it was seen.
    pub(super) fn has_orphan(&self) -> bool {
        let mut revisions: Vec<(i64, Vec<&Content>, u64)> = Vec::new();
        for claim in &self.claims {
            let Claim::Holds {
                revision,
                contents,
                seen,
                ..
            } = claim
            else {
                continue;
            };
            match revisions.iter_mut().find(|(known, _, _)| known == revision) {
                Some((_, known, by)) => {
                    known.extend(contents);
                    *by = (*by).min(*seen);
                }
                None => revisions.push((*revision, contents.iter().collect(), *seen)),
            }
        }
        revisions.iter().any(|(revision, contents, seen)| {
            let writes = |id: &Id| {
                let op = self.asked.op(*id);
                let is_named = self.wrote(op) || self.may_revoke(op);
                op.call <= *seen
                    && (self.may_act_unseen(op) || is_named && op.revision == *revision)
                    && contents
                        .iter()
                        .all(|content| self.writes(self.record.ask(op), content))
            };
            let mut owners = self.asked.owners(*revision).iter();
            !owners.any(writes) && !self.asked.unseen().iter().any(writes)
        })
    }

    /// Whether fewer writes were asked for by the time of an answer than it has revisions behind it.
    ///
    /// Only in a history that begins with an empty store, which the first answers show.
    pub(super) fn lacks_writers(&self) -> bool {
        let ops = &self.record.ops;
        let answered = |op: &&Op| op.outcome == Outcome::Ok && Record::is_kv(self.record.ask(op));
        let begins_empty = ops.iter().filter(answered).any(|op| op.revision <= 2);
        let took = self.claims.iter().filter_map(|claim| match claim {
            Claim::Took { end, revision, .. } => Some((*end, *revision)),
            _ => None,
        });
        begins_empty
            && took.into_iter().any(|(end, last)| {
                let mut owned: Vec<i64> = Vec::new();
                let mut free = 0;
                for op in ops.iter().filter(|op| op.call <= end) {
                    if self.wrote(op) || self.may_revoke(op) {
                        owned.push(op.revision);
                    } else if self.may_act_unseen(op) && self.can_write(op) {
                        free += 1;
                    }
                }
                owned.retain(|revision| (2..=last).contains(revision));
                owned.sort_unstable();
                owned.dedup();
                let wanted = usize::try_from(last - 1).unwrap_or(0);
                owned.len() + free < wanted
            })
    }

    fn can_write(&self, op: &Op) -> bool {
        let ask = self.record.ask(op);
        self.record.may_write(op) || matches!(ask, Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. })
    }

    fn writes(&self, ask: Ask, content: &Content) -> bool {
        match &content.value {
            Shown::Deleted => self.deletes(ask, &content.key),
            Shown::Something => self.puts(ask, &content.key),
            Shown::Value(value) => self.any(ask, &|ask| match ask {
                Ask::Put {
                    key, value: put, ..
                } => {
                    self.record.keys.get(key) == content.key && self.record.values.get(put) == value
                }
                _ => false,
            }),
        }
    }

    fn puts(&self, ask: Ask, key: &[u8]) -> bool {
        self.any(ask, &|ask| match ask {
            Ask::Put { key: put, .. } => self.record.keys.get(put) == key,
            _ => false,
        })
    }

    fn deletes(&self, ask: Ask, key: &[u8]) -> bool {
        self.any(ask, &|ask| match ask {
            Ask::Delete { span, .. } => self.is_within(span, key),
            Ask::LeaseGrant { .. } | Ask::LeaseRevoke { .. } => {
                let key = self.record.keys.find(key);
                key.is_some_and(|key| self.record.ends_lease_of(ask, key))
            }
            _ => false,
        })
    }

    /// Whether `ask` or one of its parts, on either branch, is what `is_it` looks for.
    fn any(&self, ask: Ask, is_it: &dyn Fn(Ask) -> bool) -> bool {
        let Ask::Txn(txn) = ask else {
            return is_it(ask);
        };
        let Record { txns, asks, .. } = self.record;
        let txn = txns[txn as usize];
        let mut parts = asks[txn.success.range()]
            .iter()
            .chain(&asks[txn.failure.range()]);
        parts.any(|ask| self.any(*ask, is_it))
    }

    /// Whether the stream delivered the key in that revision.
    pub(super) fn has_told(&self, stream: usize, revision: i64, key: &[u8]) -> bool {
        let events: &[Id] = &self.record.streams[stream].events;
        events.iter().any(|id| {
            let pair = self.pairs.get(*id);
            pair.mod_revision == revision && self.record.keys.get(pair.key) == key
        })
    }
}
