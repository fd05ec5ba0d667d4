//! What members say a revision holds: one content, or a contradiction.

use super::{
    CLOSELY, Fact, Fault, FxHashMap, Id, Sweep, Table, Trouble, Words, each_sighting, listed, op_of,
};
use crate::etcd::{record::Pair, timeline::could_write};

impl Table<'_> {
    /// A pair one member shows, where another member has something else in that revision.
    pub(super) fn contents(&self, stray: &[Id]) -> Option<Trouble> {
        let stray = &stray[..stray.len().min(CLOSELY)];
        if stray.is_empty() {
            return None;
        }
        let mut seen: FxHashMap<Id, Vec<(u16, Fact)>> =
            stray.iter().map(|id| (*id, Vec::new())).collect();
        for id in stray {
            let revision = self.words.pairs.get(*id).mod_revision;
            for event in self.truth.store.events_at(self.words.pairs, revision) {
                seen.entry(*event).or_default();
            }
        }
        each_sighting(self.words.record, &mut |id, fact, node| {
            if let Some(places) = seen.get_mut(&id)
                && places.iter().all(|(known, _)| *known != node)
            {
                places.push((node, fact));
            }
        });
        stray.iter().find_map(|id| self.content(*id, &seen))
    }

    /// Those of the stray pairs that speak of what a member holds. A wrong previous pair, and a wrong mark for
    /// "created", are what a watch alone adds to an event: they are the business of the watch's own promises.
    pub(super) fn told_of_state(&self, stray: &[Id]) -> Vec<Id> {
        let mut stray = stray.to_vec();
        if stray.is_empty() {
            return stray;
        }
        let mut shown: FxHashMap<Id, bool> = stray.iter().map(|id| (*id, false)).collect();
        each_sighting(self.words.record, &mut |id, fact, _| {
            if let Some(is_state) = shown.get_mut(&id) {
                *is_state |= match fact {
                    Fact::Prev(..) => false,
                    Fact::Event(..) => !self.is_marked_wrongly(id),
                    _ => true,
                };
            }
        });
        stray.retain(|id| shown.get(id).copied().unwrap_or_default());
        stray
    }

    fn is_marked_wrongly(&self, id: Id) -> bool {
        let pair = self.words.pairs.get(id);
        let events = self
            .truth
            .store
            .events_at(self.words.pairs, pair.mod_revision);
        events
            .iter()
            .any(|event| self.words.pairs.get(*event).flag_differs(&pair))
    }

    fn content(&self, stray: Id, seen: &FxHashMap<Id, Vec<(u16, Fact)>>) -> Option<Trouble> {
        let revision = self.words.pairs.get(stray).mod_revision;
        let mut others: Vec<(u16, Fact)> = Vec::new();
        if let Some(owner) = self.truth.timeline.owners(revision).next() {
            others.push((op_of(self.words.record, owner).node, Fact::Op(owner)));
        }
        for event in self.truth.store.events_at(self.words.pairs, revision) {
            others.extend(seen.get(event).into_iter().flatten());
        }
        let odd = seen.get(&stray)?;
        let (odd_node, odd_fact) = odd
            .iter()
            .find(|(node, _)| others.iter().any(|(other, _)| other != node))?;
        let (_, other_fact) = others.iter().find(|(node, _)| node != odd_node)?;
        Some(self.parting(
            revision,
            stray,
            (*odd_node, *odd_fact),
            *other_fact,
            &others,
            odd,
        ))
    }

    fn parting(
        &self,
        revision: i64,
        stray: Id,
        (odd_node, odd_fact): (u16, Fact),
        other: Fact,
        others: &[(u16, Fact)],
        odd: &[(u16, Fact)],
    ) -> Trouble {
        let words = self.words;
        let events = self.truth.store.events_at(words.pairs, revision);
        let theirs = events.first().map(|id| words.pairs.get(*id));
        let ours = words.pairs.get(stray);
        let misses = theirs
            .is_some_and(|pair| pair.key != ours.key && !self.has(odd_node, pair.key, pair.value));
        // Where the odd ones are more, it is the others that miss what these have.
        let lacks = others
            .iter()
            .all(|(node, _)| !self.has(*node, ours.key, ours.value));
        let (more, fewer) = (names(words, odd), names(words, others));
        let reason = if lacks && more.len() > fewer.len() {
            format!(
                "{} {} revision {revision}, which {} {}",
                listed(&fewer),
                verb(&fewer, "misses", "miss"),
                listed(&more),
                verb(&more, "holds", "hold")
            )
        } else if misses {
            format!(
                "{} {} revision {revision}, which {} {}",
                listed(&more),
                verb(&more, "misses", "miss"),
                listed(&fewer),
                verb(&fewer, "holds", "hold")
            )
        } else {
            format!("revision {revision} has two contents")
        };
        let told = match other {
            Fact::Op(op) => words.told(op),
            fact => words.line(fact, true).text.trim_end_matches('.').to_owned(),
        };
        let odd_name = words.node_with_fault(odd_node, words.time(odd_fact));
        let content = words.content(&ours);
        let sentence = if misses && odd.len() <= fewer.len() {
            format!("{told}; {odd_name} does not have it: its revision {revision} is {content}.")
        } else {
            format!("{told}; {odd_name} has {content} as revision {revision}.")
        };
        let mut facts = vec![(other, true), (odd_fact, true)];
        for pair in theirs.iter().chain([&ours]) {
            facts.extend(self.unknown_writer(pair).map(|fact| (fact, false)));
        }
        Trouble {
            revision,
            reason,
            sentence,
            facts,
            members: Vec::new(),
        }
    }

    /// The write of unknown outcome behind a pair: its rejection is part of the story.
    pub(super) fn unknown_writer(&self, pair: &Pair) -> Option<Fact> {
        let record = self.words.record;
        let could = |id: &&Id| could_write(record, record.ask(op_of(record, **id)), pair);
        let writer = self.truth.timeline.unknown.iter().find(could)?;
        (!pair.is_gone()).then_some(Fact::Op(*writer))
    }

    fn has(&self, node: u16, key: Id, value: Id) -> bool {
        let mut has = false;
        each_sighting(self.words.record, &mut |id, _, seen_by| {
            if seen_by == node && !has {
                let pair = self.words.pairs.get(id);
                has = pair.key == key && pair.value == value;
            }
        });
        has
    }

    /// One revision acknowledged by two members for two writes.
    pub(super) fn twice(&self, sweep: &Sweep) -> Option<Trouble> {
        let words = self.words;
        sweep.faults.iter().find_map(|fault| match fault {
            Fault::Twice {
                revision,
                first,
                second,
            } if op_of(words.record, *first).node != op_of(words.record, *second).node => {
                Some(Trouble {
                    revision: *revision,
                    reason: format!("revision {revision} has two contents"),
                    sentence: format!("{}; {}.", words.told(*first), words.told(*second)),
                    facts: vec![(Fact::Op(*first), true), (Fact::Op(*second), true)],
                    members: Vec::new(),
                })
            }
            _ => None,
        })
    }
}

fn names(words: &Words<'_>, places: &[(u16, Fact)]) -> Vec<String> {
    let mut nodes: Vec<u16> = places.iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.into_iter().map(|node| words.node(node)).collect()
}

fn verb<'a>(names: &[String], one: &'a str, several: &'a str) -> &'a str {
    if names.len() == 1 { one } else { several }
}
