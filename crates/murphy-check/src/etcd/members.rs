//! Promise `members-agree`: what different members say of one revision is the same.
//!
//! Tables joined by revision: the events of acknowledgements, watches and reads; the dumps of the key
//! space at one revision; hashes at one revision and compact revision; the revisions of quiet members
//! at one applied index. Every difference is a contradiction of two facts.

use rustc_hash::FxHashMap;

use super::{
    linear::source_of,
    record::{Answer, Ask, Outcome, UNREAD},
    sighting::{Dump, Fact, dumps, each_sighting},
    sweep::{Fault, Sweep, Truth},
    timeline::op_of,
    trouble::Trouble,
    words::{Words, counted, listed},
};
use crate::{
    intern::{Id, NONE, next_id},
    verdict::MemberRow,
};

/// The promise's name.
pub(crate) const PROMISE: &str = "members-agree";

/// Off-truth pairs that are looked at closely; the first is the cause, the rest follow from it.
const CLOSELY: usize = 64;

/// What the tables say.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// The contradiction of the lowest revision.
    pub trouble: Option<Trouble>,
    /// From this revision on there is no one truth to compare with.
    pub parts_at: Option<i64>,
    /// What was compared between members, in words.
    pub basis: Vec<String>,
    /// Pairs that contradict the truth, in order of revision.
    pub stray: Vec<Id>,
}

/// Compares the members. The first `observed` pairs were shown by some member.
pub(crate) fn compare(
    words: &Words<'_>,
    truth: &Truth,
    sweep: &Sweep,
    observed: usize,
) -> Agreement {
    let mut agreement = Agreement {
        stray: stray_pairs(words, truth, sweep, observed),
        ..Agreement::default()
    };
    let mut found: Vec<Trouble> = Vec::new();
    let table = Table { words, truth };
    found.extend(table.contents(&agreement.stray));
    found.extend(table.twice(sweep));
    found.extend(table.dumps(&mut agreement.basis));
    agreement.parts_at = found.iter().map(|trouble| trouble.revision).min();
    table.watch_basis(&mut agreement.basis);
    found.extend(table.hashes(&mut agreement.basis));
    found.extend(table.quiet(&mut agreement.basis));
    // Contents say more than dumps, dumps more than hashes: the order above breaks ties.
    agreement.trouble = found.into_iter().min_by_key(|trouble| trouble.revision);
    if let Some(trouble) = &mut agreement.trouble {
        trouble.members = table.rows(trouble.revision);
    }
    agreement
}

/// Pairs that were shown and are not what the replay has.
fn stray_pairs(words: &Words<'_>, truth: &Truth, sweep: &Sweep, observed: usize) -> Vec<Id> {
    if sweep.begins_at.is_some() {
        return Vec::new();
    }
    let mut is_true = vec![false; observed];
    for id in truth
        .store
        .log
        .iter()
        .map(|id| *id as usize)
        .filter(|id| *id < observed)
    {
        is_true[id] = true;
    }
    let is_stray = |id: &Id| {
        if is_true[*id as usize] {
            return false;
        }
        let pair = words.pairs.get(*id);
        let rank = truth.order.rank(pair.key);
        if pair.mod_revision >= truth.store.certain_before(rank)
            || sweep.open.binary_search(&pair.mod_revision).is_ok()
        {
            return false;
        }
        let last = truth.store.last_write(words.pairs, rank, pair.mod_revision);
        !(pair.value == UNREAD && last != NONE && words.pairs.get(last).agrees(&pair))
    };
    let mut stray: Vec<Id> = (0..next_id(observed)).filter(is_stray).collect();
    stray.sort_by_key(|id| words.pairs.get(*id).mod_revision);
    stray
}

struct Table<'a> {
    words: &'a Words<'a>,
    truth: &'a Truth,
}

impl Table<'_> {
    /// A pair one member shows, where another member has something else in that revision.
    fn contents(&self, stray: &[Id]) -> Option<Trouble> {
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
    fn unknown_writer(&self, pair: &super::record::Pair) -> Option<Fact> {
        let record = self.words.record;
        let could =
            |id: &&Id| super::timeline::could_write(record, record.ask(op_of(record, **id)), pair);
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
    fn twice(&self, sweep: &Sweep) -> Option<Trouble> {
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

    fn dumps(&self, basis: &mut Vec<String>) -> Option<Trouble> {
        let mut first: FxHashMap<i64, Dump<'_>> = FxHashMap::default();
        let (mut compared, mut trouble) = (0, None);
        for dump in dumps(self.words.record) {
            let known = *first.entry(dump.revision).or_insert(dump);
            if known.node == dump.node {
                continue;
            }
            compared += 1;
            if trouble.is_none() && known.pairs != dump.pairs {
                trouble = Some(self.dumps_differ(&known, &dump));
            }
        }
        if compared > 0 {
            basis.push(counted(compared, "pair").replace("pair", "dump comparison"));
        }
        trouble
    }

    fn dumps_differ(&self, a: &Dump<'_>, b: &Dump<'_>) -> Trouble {
        let words = self.words;
        let only = |of: &Dump<'_>, other: &Dump<'_>| -> Vec<Id> {
            of.pairs
                .iter()
                .filter(|id| !other.pairs.contains(id))
                .copied()
                .collect()
        };
        let (in_a, in_b) = (only(a, b), only(b, a));
        let revision_of = |id: &Id| words.pairs.get(*id).mod_revision;
        let Some(newest) = in_a.iter().chain(&in_b).copied().min_by_key(revision_of) else {
            return self.order_differs(a, b);
        };
        let (holder, odd) = if in_a.contains(&newest) {
            (a, b)
        } else {
            (b, a)
        };
        let pair = words.pairs.get(newest);
        let instead = odd
            .pairs
            .iter()
            .copied()
            .find(|id| words.pairs.get(*id).key == pair.key)
            .unwrap_or(NONE);
        // The newer of the two pairs of the key is the one that the other member lacks.
        let (holder, odd, newest, instead) = match instead {
            NONE => (holder, odd, newest, instead),
            other if revision_of(&other) > pair.mod_revision => (odd, holder, other, newest),
            _ => (holder, odd, newest, instead),
        };
        let pair = words.pairs.get(newest);
        let mut facts = vec![(Fact::Op(holder.op), true), (Fact::Op(odd.op), true)];
        let source = source_of(words.record, words, self.truth, pair.mod_revision, newest);
        facts.extend(source.map(|fact| (fact, false)));
        facts.extend(self.unknown_writer(&pair).map(|fact| (fact, false)));
        Trouble {
            revision: pair.mod_revision,
            reason: format!(
                "{} and {} differ in {} at revision {}",
                words.node(holder.node),
                words.node(odd.node),
                words.key(pair.key),
                odd.revision
            ),
            sentence: format!(
                "At revision {} {} has {}; {} has {}.",
                odd.revision,
                words.node(holder.node),
                words.pair(pair.key, newest),
                words.node_with_fault(odd.node, words.time(Fact::Op(odd.op))),
                words.pair(pair.key, instead),
            ),
            facts,
            members: Vec::new(),
        }
    }

    fn order_differs(&self, a: &Dump<'_>, b: &Dump<'_>) -> Trouble {
        let words = self.words;
        Trouble {
            revision: a.revision,
            reason: format!(
                "{} and {} list the keys of revision {} differently",
                words.node(a.node),
                words.node(b.node),
                a.revision
            ),
            sentence: format!(
                "The dumps of {} and {} at revision {} hold the same pairs in another order or number.",
                words.node(a.node),
                words.node(b.node),
                a.revision
            ),
            facts: vec![(Fact::Op(a.op), true), (Fact::Op(b.op), true)],
            members: Vec::new(),
        }
    }

    fn watch_basis(&self, basis: &mut Vec<String>) {
        let mut nodes: Vec<u16> = self
            .words
            .record
            .streams
            .iter()
            .filter(|s| !s.events.is_empty())
            .map(|s| s.node)
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() > 1 {
            basis.push(format!("the watches of {} members", nodes.len()));
        }
    }

    fn hashes(&self, basis: &mut Vec<String>) -> Option<Trouble> {
        let record = self.words.record;
        let mut first: FxHashMap<(i64, i64), (Id, u16, u32)> = FxHashMap::default();
        let (mut compared, mut trouble) = (0, None);
        for (id, op) in record.ops.iter().enumerate() {
            let (Ask::HashKv { revision }, Some(Answer::HashKv { hash, compact })) =
                (record.ask(op), record.answer(op))
            else {
                continue;
            };
            let revision = if revision > 0 { revision } else { op.revision };
            let (known, node, known_hash) =
                *first
                    .entry((revision, compact))
                    .or_insert((next_id(id), op.node, hash));
            if node == op.node {
                continue;
            }
            compared += 1;
            if known_hash != hash && trouble.is_none() {
                trouble = Some(self.differ(
                    revision,
                    known,
                    next_id(id),
                    format!(
                        "{} and {} have different hashes at revision {revision}",
                        self.words.node(node),
                        self.words.node(op.node),
                    ),
                ));
            }
        }
        if compared > 0 {
            basis.push(counted(compared, "hash comparison"));
        }
        trouble
    }

    fn quiet(&self, basis: &mut Vec<String>) -> Option<Trouble> {
        let record = self.words.record;
        let mut first: FxHashMap<u64, Id> = FxHashMap::default();
        let (mut compared, mut trouble) = (0, None);
        for (id, op) in record.ops.iter().enumerate() {
            let (Ask::Status { quiet: true }, Some(Answer::Status { applied })) =
                (record.ask(op), record.answer(op))
            else {
                continue;
            };
            let known = *first.entry(applied).or_insert_with(|| next_id(id));
            let other = op_of(record, known);
            if other.node == op.node {
                continue;
            }
            compared += 1;
            if other.revision != op.revision && trouble.is_none() {
                trouble = Some(self.quiet_differ(known, next_id(id), applied));
            }
        }
        if compared > 0 {
            basis.push(
                counted(compared, "comparison").replace("comparison", "quiet status comparison"),
            );
        }
        trouble
    }

    /// Two quiet members at one applied index are at two revisions. Whatever write the one has more is
    /// the cause, if anything shows it.
    fn quiet_differ(&self, a: Id, b: Id, applied: u64) -> Trouble {
        let words = self.words;
        let record = words.record;
        let (behind, ahead) = if op_of(record, a).revision < op_of(record, b).revision {
            (a, b)
        } else {
            (b, a)
        };
        let (low, high) = (op_of(record, behind), op_of(record, ahead));
        let mut trouble = self.differ(
            low.revision + 1,
            ahead,
            behind,
            format!(
                "{} is at revision {}, {} at {}, both at applied index {applied}",
                words.node(low.node),
                low.revision,
                words.node(high.node),
                high.revision,
            ),
        );
        let rejected = |id: &&Id| {
            let op = op_of(record, **id);
            op.outcome == Outcome::Unknown
                && op.call < low.end
                && words
                    .error(**id)
                    .is_some_and(|error| error.contains("compacted"))
        };
        if let Some(id) = self.truth.timeline.unknown.iter().rev().find(rejected) {
            trouble.sentence = format!("{}; yet {}", words.told(*id), trouble.sentence);
            trouble.facts.insert(0, (Fact::Op(*id), true));
        }
        trouble
    }

    fn differ(&self, revision: i64, a: Id, b: Id, reason: String) -> Trouble {
        Trouble {
            revision,
            reason,
            sentence: format!("{}; {}.", self.words.told(a), self.words.told(b)),
            facts: vec![(Fact::Op(a), true), (Fact::Op(b), true)],
            members: Vec::new(),
        }
    }

    /// What each member holds in the revisions around `revision`.
    fn rows(&self, revision: i64) -> Vec<MemberRow> {
        let words = self.words;
        let nodes = words.record.nodes.len();
        let first = revision.saturating_sub(1);
        let mut cells = vec![vec![Vec::new(); nodes]; 3];
        each_sighting(words.record, &mut |id, _, node| {
            let pair = words.pairs.get(id);
            let Ok(row) = usize::try_from(pair.mod_revision.saturating_sub(first)) else {
                return;
            };
            if let Some(cell) = cells
                .get_mut(row)
                .and_then(|row| row.get_mut(usize::from(node)))
            {
                let content = words.content(&pair);
                if !cell.contains(&content) {
                    cell.push(content);
                }
            }
        });
        for (row, cells) in cells.iter_mut().enumerate() {
            let at = first.saturating_add_unsigned(row as u64);
            self.add_acknowledged(at, cells);
        }
        let row = |(row, cells): (usize, Vec<Vec<String>>)| MemberRow {
            what: first.saturating_add_unsigned(row as u64).to_string(),
            cells: words
                .record
                .nodes
                .iter()
                .cloned()
                .zip(cells.iter().map(|contents| cell_text(contents)))
                .collect(),
        };
        let mut rows: Vec<MemberRow> = cells.into_iter().enumerate().map(row).collect();
        rows.retain(|row| row.cells.iter().any(|(_, text)| text != "–"));
        rows.extend(self.hash_row(revision));
        rows
    }

    fn add_acknowledged(&self, revision: i64, cells: &mut [Vec<String>]) {
        let words = self.words;
        for owner in self.truth.timeline.owners(revision) {
            let op = op_of(words.record, owner);
            if let (Some(cell), Ask::Put { key, value, .. }) =
                (cells.get_mut(usize::from(op.node)), words.record.ask(op))
            {
                let content = format!("{} = {}", words.key(key), words.value(value));
                if !cell.contains(&content) {
                    cell.push(content);
                }
            }
        }
    }

    /// The hashes of the members at the first revision from `revision` on at which two differ.
    fn hash_row(&self, revision: i64) -> Option<MemberRow> {
        let record = self.words.record;
        let mut rows: Vec<(i64, Vec<String>)> = Vec::new();
        for op in &record.ops {
            let (Ask::HashKv { revision: asked }, Some(Answer::HashKv { hash, .. })) =
                (record.ask(op), record.answer(op))
            else {
                continue;
            };
            let asked = if asked > 0 { asked } else { op.revision };
            let at = rows
                .iter()
                .position(|(known, _)| *known == asked)
                .unwrap_or_else(|| {
                    rows.push((asked, vec!["–".into(); record.nodes.len()]));
                    rows.len() - 1
                });
            if let Some(cell) = rows[at].1.get_mut(usize::from(op.node)) {
                *cell = format!("{hash:08x}");
            }
        }
        rows.sort_by_key(|(asked, _)| *asked);
        let (asked, cells) = rows.into_iter().find(|(asked, _)| *asked >= revision)?;
        Some(MemberRow {
            what: format!("hash at {asked}"),
            cells: record.nodes.iter().cloned().zip(cells).collect(),
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

fn cell_text(contents: &[String]) -> String {
    match contents.len() {
        0 => "–".into(),
        1..=3 => contents.join(", "),
        more => format!("{} and {} more", contents[..2].join(", "), more - 2),
    }
}
