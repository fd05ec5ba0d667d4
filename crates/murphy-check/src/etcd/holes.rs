//! Holes are filled with whatever is certain of them: the one write that fits, or what was seen, or nothing but the
//! doubt which of the writes that fit it was.

use super::{
    record::{Ask, Pair},
    store::View,
    suspects::Candidates,
    sweep::{Expired, Fault, Sweeper},
    timeline::{Hole, each_written_span, op_of, place},
    worlds::{Step, explains},
};
use crate::intern::{Id, NONE};

impl Sweeper<'_, '_> {
    pub(super) fn fill_holes_before(&mut self, end: u64) {
        let timeline = self.timeline;
        while let Some(hole) = timeline
            .holes
            .get(self.next_hole)
            .filter(|hole| place(hole.revision) < end)
        {
            self.next_hole += 1;
            self.fill(hole);
        }
    }

    fn fill(&mut self, hole: &Hole) {
        let mut candidates = self.suspects.of(self.stage.pairs, hole);
        if let Some((revocation, keys)) = self.revocation(hole) {
            candidates = self.suspects.named(&candidates);
            (candidates.named).retain(|id| self.may_take_away(*id, &keys));
            if candidates.named.is_empty() {
                return self.fill_with(hole, revocation);
            }
        }
        let leases = self.ends_of_leases(hole);
        let by_client = leases.is_empty();
        candidates.named.extend(leases);
        if !self.suspects.has_any(&candidates) {
            self.apply_evidence(hole);
            if self.found.begins_at.is_none() {
                let evidence = hole.evidence.clone();
                self.fault(Fault::Unfillable {
                    revision: hole.revision,
                    evidence,
                });
            }
            return;
        }
        match (candidates.named.as_slice(), hole.evidence.is_empty()) {
            ([only], false) => self.fill_with(hole, *only),
            (_, false) if hole.is_exact => {
                if by_client {
                    (self.shared).push((hole.revision, candidates.named.clone()));
                }
                self.apply_evidence(hole);
                self.guess_if_uncertain(hole, candidates);
            }
            _ => self.open(hole, candidates),
        }
    }

    /// The acknowledged revocation with the revision of `hole` of a lease that certainly has keys before, and those keys:
    /// either it took them away itself, or a client's write did that and left nothing to it.
    fn revocation(&mut self, hole: &Hole) -> Option<(Id, Vec<Id>)> {
        let revoked: Vec<(u32, Id)> = self.lessor.revoked_in(hole).collect();
        revoked.into_iter().find_map(|(lease, revocation)| {
            self.stage.uncertain = false;
            let attached = self.stage.attached(lease);
            if self.stage.uncertain || attached.is_empty() {
                return None;
            }
            let pairs = &*self.stage.pairs;
            let keys = attached.iter().map(|(_, id)| pairs.get(*id).key).collect();
            Some((revocation, keys))
        })
    }

    /// Whether the write may leave none of the keys as it was.
    fn may_take_away(&self, writer: Id, keys: &[Id]) -> bool {
        let record = self.stage.record;
        let mut spans = Vec::new();
        let ask = record.ask(op_of(record, writer));
        each_written_span(record, ask, &mut |span| spans.push(span));
        keys.iter()
            .all(|key| spans.iter().any(|span| record.contains(*span, *key)))
    }

    /// The ends of leases that may have been `hole`: of those whose keys were seen to go, or, where nothing was seen,
    /// of all that may have keys.
    fn ends_of_leases(&mut self, hole: &Hole) -> Vec<Id> {
        if self.lessor.is_idle() {
            return Vec::new();
        }
        let mut leases: Vec<u32> = Vec::new();
        let gone = hole.evidence.first().map(|id| self.stage.pairs.get(*id));
        match gone {
            Some(pair) if !pair.is_gone() => return Vec::new(),
            Some(pair) => {
                let rank = self.stage.order.rank(pair.key);
                let head = self.stage.view.head(self.stage.pairs, rank);
                if self.stage.view.is_uncertain((rank, rank + 1)) {
                    let keys = &self.stage.record.lease_keys;
                    let has = |lease: &u32| keys[*lease as usize].binary_search(&pair.key).is_ok();
                    leases.extend(self.lessor.leases().filter(has));
                } else if head != NONE {
                    let lease = self.stage.pairs.get(head).lease;
                    leases.extend(Some(self.stage.record.known_lease(lease)).filter(|l| *l > 0));
                }
            }
            None => {
                let all: Vec<u32> = self.lessor.leases().collect();
                for lease in all {
                    self.stage.uncertain = false;
                    if !self.stage.attached(lease).is_empty() || self.stage.uncertain {
                        leases.push(lease);
                    }
                }
            }
        }
        leases
            .into_iter()
            .flat_map(|lease| self.lessor.enders(lease, hole))
            .collect()
    }

    /// The evidence names one write: its effect is replayed, not the evidence, so that an event that a
    /// watch left out is missed there.
    fn fill_with(&mut self, hole: &Hole, writer: Id) {
        let record = self.stage.record;
        let ask = record.ask(op_of(record, writer));
        if let Ask::LeaseGrant { lease } = ask {
            let halved = self.half_expired(hole, lease);
            self.found.expired.push(Expired {
                grant: writer,
                revision: hole.revision,
                halved,
            });
            if halved.is_some() {
                return self.apply_evidence(hole);
            }
        }
        self.suspects.place(writer);
        self.lessor.place(writer, hole.revision);
        self.found.placed.push((writer, hole.revision));
        self.stage.perform(ask, None, hole.revision);
        if self.stage.uncertain {
            // Which branch it took is a guess, so whatever either branch writes is one.
            self.doubt(writer, hole.revision);
            let only = Candidates {
                named: vec![writer],
                ..Candidates::default()
            };
            return self.guess_if_uncertain(hole, only);
        }
        if !explains(self.stage.pairs, &self.stage.events, &hole.evidence, false) {
            if self.stage.events.is_empty() {
                self.apply_evidence(hole);
            }
            self.fault(Fault::Unfillable {
                revision: hole.revision,
                evidence: hole.evidence.clone(),
            });
        }
    }

    /// A key of the lease that stays when others go: a later deletion of it was seen, or a later change.
    fn half_expired(&mut self, hole: &Hole, lease: u32) -> Option<Id> {
        let attached = self.stage.attached(lease);
        if self.stage.uncertain || !hole.is_exact || hole.evidence.len() >= attached.len() {
            return None;
        }
        let pairs = &*self.stage.pairs;
        let gone: Vec<Id> = hole.evidence.iter().map(|id| pairs.get(*id).key).collect();
        let stays = |id: Id| {
            let key = pairs.get(id).key;
            let of = pairs.all()[..self.observed]
                .iter()
                .filter(|pair| pair.key == key);
            !gone.contains(&key)
                && of
                    .filter(|pair| pair.mod_revision > hole.revision)
                    .any(|pair| {
                        pair.is_gone() && self.is_first_end(pair, hole.revision)
                            || !pair.is_gone() && pair.create_revision < hole.revision
                    })
        };
        attached.into_iter().map(|(_, id)| id).find(|id| stays(*id))
    }

    /// Whether a deletion is the first thing that was seen of its key behind `revision`.
    fn is_first_end(&self, gone: &Pair, revision: i64) -> bool {
        let between = revision + 1..gone.mod_revision;
        let pairs = self.stage.pairs.all()[..self.observed].iter();
        !pairs
            .clone()
            .any(|pair| pair.key == gone.key && between.contains(&pair.mod_revision))
    }

    fn guess_if_uncertain(&mut self, hole: &Hole, candidates: Candidates) {
        if self.stage.uncertain {
            let Hole {
                revision,
                evidence,
                is_exact,
                ..
            } = hole.clone();
            self.steps.push(Step::Hole {
                revision,
                candidates,
                evidence,
                is_exact,
            });
        }
    }

    /// Nothing tells who wrote the revision: every key the candidates can have written is uncertain.
    fn open(&mut self, hole: &Hole, candidates: Candidates) {
        // What a suspect writes is uncertain from the first open revision on that it can have filled.
        for place in self.doubted..candidates.until {
            if let Some(id) = self.suspects.free(&candidates, place) {
                self.doubt(id, hole.revision);
            }
        }
        self.doubted = self.doubted.max(candidates.until);
        for id in &candidates.named {
            self.doubt(*id, hole.revision);
        }
        self.found.open.push(hole.revision);
        self.stage.uncertain = true;
        self.guess_if_uncertain(hole, candidates);
    }

    fn doubt(&mut self, op: Id, revision: i64) {
        let record = self.stage.record;
        each_written_span(record, record.ask(op_of(record, op)), &mut |span| {
            self.stage
                .view
                .doubt(self.stage.order.ranks(span), revision);
        });
    }

    /// Writes what was seen of a revision whose writer is not known.
    fn apply_evidence(&mut self, hole: &Hole) {
        let stage = &mut self.stage;
        stage.uncertain = false;
        for id in &hole.evidence {
            let told = stage.pairs.get(*id);
            let rank = stage.order.rank(told.key);
            stage.uncertain |= stage.view.is_uncertain((rank, rank + 1));
            if told.is_gone() {
                let gone = stage.pairs.id(Pair::gone(told.key, hole.revision));
                stage.view.write(rank, gone, true);
                continue;
            }
            let head = stage.view.head(stage.pairs, rank);
            let prev = (head != NONE).then(|| stage.pairs.get(head));
            let pair = Pair {
                mod_revision: hole.revision,
                create_revision: prev.map_or(hole.revision, |prev| prev.create_revision),
                version: prev.map_or(1, |prev| prev.version.saturating_add(1)),
                ..told
            };
            let id = stage.pairs.id(stage.record.as_recorded(pair));
            stage.view.write(rank, id, false);
        }
    }
}
