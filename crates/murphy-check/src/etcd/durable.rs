//! Promise `durable`: an acknowledged write is in the final state of a quorum of the members, unless
//! something that may be later took its place.
//!
//! Members that part are the business of `members-agree`: a write that most members have is durable.

use std::cell::OnceCell;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    record::{Answer, Ask, Op, Outcome, Record},
    sighting::{Dump, Fact, each_sighting, last_dumps},
    sweep::{Sweep, Truth},
    timeline::{could_write, each_deleted_span, op_of, revision_of},
    trouble::Trouble,
    watches::covering,
    words::Words,
};
use crate::{
    intern::{Id, NONE},
    text::{counted, listed, seconds},
    verdict::{Judgement, Verdict, plain},
};

/// The promise's name.
pub(crate) const PROMISE: &str = "durable";

/// Judges the promise: the trouble, or the judgement without one, and whether that rests on nothing although the history
/// has what is needed.
pub(crate) fn judge(
    words: &Words<'_>,
    truth: &Truth,
    sweep: &Sweep,
    observed: usize,
) -> Result<(Judgement, bool), Trouble> {
    let record = words.record;
    let dumps = last_dumps(record);
    let members = record.nodes.len().max(1);
    let enough = members - (members / 2 + 1);
    let inquiry = Inquiry::new(words, truth, &dumps, enough);
    let mut judged = 0;
    if dumps.len() > enough {
        judged = inquiry.against_dumps()?;
    }
    let mut by_watch = 0;
    if sweep.begins_at.is_none() {
        by_watch = inquiry.against_watches(observed)?;
    }
    if judged > 0 {
        let reason = format!(
            "{} in the final state of a quorum",
            counted(judged, "acknowledged write")
        );
        return Ok((plain(PROMISE, Verdict::Held, reason), false));
    }
    if by_watch > 0 && members == 1 {
        let reason = format!("{} in the watches", counted(by_watch, "acknowledged write"));
        return Ok((plain(PROMISE, Verdict::Held, reason), false));
    }
    let reason = if dumps.len() <= enough {
        format!(
            "the final state of {} of {members} members is known",
            dumps.len()
        )
    } else {
        "no write was acknowledged before the final state was read".into()
    };
    let is_silent = dumps.len() > enough || members == 1 && !record.streams.is_empty();
    Ok((plain(PROMISE, Verdict::Undecided, reason), is_silent))
}

/// What an acknowledged write left: a value of a key, or nothing.
#[derive(Clone, Copy)]
struct Effect {
    op: Id,
    key: Id,
    /// `None` for a deletion.
    value: Option<Id>,
    revision: i64,
}

struct Inquiry<'a> {
    words: &'a Words<'a>,
    truth: &'a Truth,
    dumps: &'a [Dump<'a>],
    /// For each dump the pair of each key.
    tables: Vec<Vec<Id>>,
    /// A write is lost when more members than this lack it.
    enough: usize,
    /// How many revisions some member is ahead of another in the end: nobody can tell whose number of
    /// the last few is right.
    slack: i64,
    /// For each key by its rank, until when it may have been deleted; `None` for never. Found when it is asked for.
    deleted: OnceCell<Vec<Option<u64>>>,
}

impl<'a> Inquiry<'a> {
    fn new(words: &'a Words<'a>, truth: &'a Truth, dumps: &'a [Dump<'a>], enough: usize) -> Self {
        let table = |dump: &Dump<'_>| {
            let mut table = vec![NONE; words.record.keys.len()];
            for id in dump.pairs {
                table[words.pairs.get(*id).key as usize] = *id;
            }
            table
        };
        let heads = dumps.iter().map(|dump| dump.head);
        let slack = heads.clone().max().unwrap_or(0) - heads.min().unwrap_or(0);
        Self {
            words,
            truth,
            dumps,
            tables: dumps.iter().map(table).collect(),
            enough,
            slack,
            deleted: OnceCell::new(),
        }
    }

    fn record(&self) -> &'a Record {
        self.words.record
    }

    fn against_dumps(&self) -> Result<u64, Trouble> {
        let mut judged = 0;
        let mut effects = Vec::new();
        for (revision, id, events) in self.writes() {
            effects.clear();
            self.effects(id, revision, events, &mut effects);
            for effect in &effects {
                judged += u64::from(self.judge(effect)?);
            }
        }
        Ok(judged)
    }

    /// Every acknowledged write with its revision and what the replay has there.
    fn writes(&self) -> impl Iterator<Item = (i64, Id, &'a [Id])> {
        let (pairs, log) = (self.words.pairs, self.truth.store.log.as_slice());
        let mut at = 0;
        let writes = self
            .truth
            .timeline
            .order
            .iter()
            .filter(|(place, _)| place % 2 == 0);
        writes.map(move |(place, id)| {
            let revision = revision_of(*place);
            let rest = |from: usize| log[from..].iter().map(|id| pairs.get(*id).mod_revision);
            at += rest(at).take_while(|written| *written < revision).count();
            let len = rest(at).take_while(|written| *written == revision).count();
            (revision, *id, &log[at..at + len])
        })
    }

    /// True when the dumps could tell.
    fn judge(&self, effect: &Effect) -> Result<bool, Trouble> {
        let op = op_of(self.record(), effect.op);
        let mut lacking = Vec::new();
        let mut told = 0;
        for (dump, table) in self.dumps.iter().zip(&self.tables) {
            if dump.call < op.end || effect.revision.saturating_add(self.slack) > dump.revision {
                continue;
            }
            told += 1;
            let held = table[effect.key as usize];
            if !self.is_kept(effect, op, held, dump) {
                lacking.push((dump, held));
            }
        }
        if lacking.len() > self.enough {
            return Err(self.lost(effect, &lacking));
        }
        Ok(told > self.enough)
    }

    fn is_kept(&self, effect: &Effect, op: &Op, held: Id, dump: &Dump<'_>) -> bool {
        let Some(value) = effect.value else {
            let is_older = |id: Id| self.words.pairs.get(id).mod_revision < effect.revision;
            return held == NONE || !is_older(held) || self.may_follow(held, op);
        };
        if held == NONE {
            return self.may_be_deleted(effect, op, dump);
        }
        let pair = self.words.pairs.get(held);
        pair.value == value || pair.mod_revision > effect.revision || self.may_follow(held, op)
    }

    /// Whether the write of `held` may come after `op` in real time.
    fn may_follow(&self, held: Id, op: &Op) -> bool {
        let pair = self.words.pairs.get(held);
        let record = self.record();
        let mut writers = record
            .ops
            .iter()
            .filter(|other| other.outcome != Outcome::Fail)
            .filter(|other| could_write(record, record.ask(other), &pair))
            .peekable();
        writers.peek().is_none() || writers.any(|writer| writer.until() >= op.call)
    }

    fn may_be_deleted(&self, effect: &Effect, op: &Op, dump: &Dump<'_>) -> bool {
        let rank = self.truth.order.rank(effect.key);
        let last = self
            .truth
            .store
            .last_write(self.words.pairs, rank, dump.revision);
        if last != NONE {
            let pair = self.words.pairs.get(last);
            if pair.is_gone() && pair.mod_revision >= effect.revision {
                return true;
            }
        }
        let deleted = self.deleted.get_or_init(|| self.deletions());
        deleted[rank as usize] >= Some(op.call)
    }

    /// For each key by its rank, until when some operation may have deleted it.
    fn deletions(&self) -> Vec<Option<u64>> {
        let (record, order) = (self.record(), &self.truth.order);
        let mut spans: FxHashMap<(u32, u32), u64> = FxHashMap::default();
        let mut deleted = vec![None; record.keys.len()];
        for op in &record.ops {
            let ask = record.ask(op);
            if let Ask::LeaseGrant { lease } | Ask::LeaseRevoke { lease } = ask
                && op.outcome != Outcome::Fail
            {
                for key in &record.lease_keys[lease as usize] {
                    deleted[order.rank(*key) as usize] = Some(u64::MAX);
                }
            }
            let acted = match record.answer(op) {
                Some(answer) => record.wrote(answer),
                None => op.outcome == Outcome::Unknown,
            };
            if acted {
                each_deleted_span(record, ask, &mut |span| {
                    let until = spans.entry(order.ranks(span)).or_default();
                    *until = op.until().max(*until);
                });
            }
        }
        for ((first, end), until) in spans {
            for deleted in &mut deleted[first as usize..end as usize] {
                *deleted = (*deleted).max(Some(until));
            }
        }
        deleted
    }

    /// The values an acknowledged write left, and the keys it deleted.
    fn effects(&self, id: Id, revision: i64, events: &[Id], effects: &mut Vec<Effect>) {
        let record = self.record();
        let op = op_of(record, id);
        if let Some(answer) = record.answer(op) {
            puts(record, record.ask(op), answer, &mut |key, value| {
                effects.push(Effect {
                    op: id,
                    key,
                    value: Some(value),
                    revision,
                });
            });
            if matches!(record.ask(op), Ask::Put { .. }) {
                return;
            }
        }
        for event in events {
            let pair = self.words.pairs.get(*event);
            if pair.is_gone() && deletes(record, record.ask(op), pair.key) {
                effects.push(Effect {
                    op: id,
                    key: pair.key,
                    value: None,
                    revision,
                });
            }
        }
    }

    fn lost(&self, effect: &Effect, lacking: &[(&Dump<'_>, Id)]) -> Trouble {
        let words = self.words;
        let nodes: Vec<String> = lacking
            .iter()
            .map(|(dump, _)| words.node(dump.node))
            .collect();
        let (dump, held) = lacking[0];
        let has = words.pair(effect.key, held);
        let mut facts = vec![(Fact::Op(effect.op), true)];
        facts.extend(lacking.iter().map(|(dump, _)| (Fact::Op(dump.op), true)));
        Trouble {
            revision: effect.revision,
            reason: format!(
                "revision {}, acknowledged, is lost on {}",
                effect.revision,
                listed(&nodes)
            ),
            sentence: format!(
                "{}; in the end {} {} not have it: at revision {} {} holds {has}.",
                words.told(effect.op),
                listed(&nodes),
                if nodes.len() == 1 { "does" } else { "do" },
                dump.revision,
                words.node_with_fault(dump.node, dump.call),
            ),
            facts,
            members: Vec::new(),
        }
    }

    /// An acknowledged value that nobody ever showed, although watches of a quorum saw its revision
    /// pass with something else in it.
    fn against_watches(&self, observed: usize) -> Result<u64, Trouble> {
        let record = self.record();
        let watched = record
            .streams
            .iter()
            .any(|stream| record.is_everything(stream.span) && !stream.events.is_empty());
        if !watched {
            return Ok(0);
        }
        let mut unseen = Vec::new();
        let (mut judged, mut last) = (0, 0);
        for (revision, id, events) in self.writes() {
            let op = op_of(record, id);
            let Some(answer) = record.answer(op) else {
                continue;
            };
            let is_shown = events.iter().all(|id| (*id as usize) < observed);
            judged += 1;
            if !is_shown || last == revision {
                puts(record, record.ask(op), answer, &mut |key, value| {
                    unseen.push(Effect {
                        op: id,
                        key,
                        value: Some(value),
                        revision,
                    });
                });
            }
            last = revision;
        }
        self.forget_shown(&mut unseen);
        unseen
            .iter()
            .try_for_each(|effect| self.reassigned(effect))
            .map(|()| judged)
    }

    fn forget_shown(&self, unseen: &mut Vec<Effect>) {
        if unseen.is_empty() {
            return;
        }
        let mut shown: FxHashSet<(Id, Id)> = FxHashSet::default();
        each_sighting(self.record(), &mut |id, _, _| {
            let pair = self.words.pairs.get(id);
            shown.insert((pair.key, pair.value));
        });
        unseen.retain(|effect| {
            effect
                .value
                .is_some_and(|value| !shown.contains(&(effect.key, value)))
        });
    }

    fn reassigned(&self, effect: &Effect) -> Result<(), Trouble> {
        let words = self.words;
        let mut nodes: Vec<u16> = Vec::new();
        let mut facts = vec![(Fact::Op(effect.op), true)];
        for number in covering(self.record(), words, effect.revision) {
            let stream = &self.record().streams[number];
            let event = stream
                .events
                .partition_point(|id| words.pairs.get(*id).mod_revision < effect.revision);
            let has_other = stream
                .events
                .get(event)
                .is_some_and(|id| words.pairs.get(*id).mod_revision == effect.revision);
            if has_other && !nodes.contains(&stream.node) {
                nodes.push(stream.node);
                facts.push((Fact::Event(number, event), true));
            }
        }
        if nodes.len() <= self.enough {
            return Ok(());
        }
        let names: Vec<String> = nodes.iter().map(|node| words.node(*node)).collect();
        let at = seconds(words.time(facts[1].0));
        Err(Trouble {
            revision: effect.revision,
            reason: format!(
                "revision {}, acknowledged, became another write",
                effect.revision
            ),
            sentence: format!(
                "{}; no watch ever delivered it: that of {} had another event as revision {} at {at}.",
                words.told(effect.op),
                listed(&names),
                effect.revision
            ),
            facts,
            members: Vec::new(),
        })
    }
}

/// Whether some branch of `ask` deletes `key`.
fn deletes(record: &Record, ask: Ask, key: Id) -> bool {
    let mut is_deleted = false;
    each_deleted_span(record, ask, &mut |span| {
        is_deleted |= record.contains(span, key);
    });
    is_deleted
}

/// The puts of an answered request, those of the branch taken alone.
fn puts(record: &Record, ask: Ask, answer: Answer, each: &mut impl FnMut(Id, Id)) {
    match (ask, answer) {
        (Ask::Put { key, value, .. }, _) => each(key, value),
        (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
            let txn = record.txns[txn as usize];
            let branch = if succeeded { txn.success } else { txn.failure };
            for (ask, answer) in record.asks[branch.range()]
                .iter()
                .zip(&record.answers[answers.range()])
            {
                puts(record, *ask, *answer, each);
            }
        }
        _ => {}
    }
}
