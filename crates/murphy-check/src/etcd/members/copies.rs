//! What members hold in the end: dumps, hashes and the revisions of quiet members.

use super::{
    Answer, Ask, Dump, Fact, FxHashMap, Id, NONE, Outcome, Table, Trouble, counted, dumps, next_id,
    op_of, source_of,
};

impl Table<'_> {
    pub(super) fn dumps(&self, basis: &mut Vec<String>) -> Option<Trouble> {
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

    pub(super) fn watch_basis(&self, basis: &mut Vec<String>) {
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

    pub(super) fn hashes(&self, basis: &mut Vec<String>) -> Option<Trouble> {
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

    pub(super) fn quiet(&self, basis: &mut Vec<String>) -> Option<Trouble> {
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
}
