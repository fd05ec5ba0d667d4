//! A sweep replays the operations once, in the order of their revisions, and notes where an answer
//! cannot be true: the check of promise `linearizable`, and the truth that the other promises are
//! compared with.
//!
//! An acknowledged write owns the revision in its answer, a reader sees the state of its revision, and
//! an operation that was answered before another was asked may not come later in that order: so one
//! pass decides, and only holes left by unknown outcomes need a search.

use super::{
    kubernetes::{Clause, Typed, clause_of},
    lessor::Lessor,
    perform::{Mismatch, Stage},
    record::{Answer, Ask, Op, Pair, Record, Span},
    registry::Registry,
    store::{Order, Store, View, World},
    suspects::Suspects,
    timeline::{Timeline, op_of, place, revision_of},
    words::Words,
    worlds::{Search, Step, search},
};
use crate::intern::{Id, Interner, NONE, next_id};

/// Why no order of the operations explains the answers.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Two writes were acknowledged with one revision.
    Twice {
        revision: i64,
        first: Id,
        second: Id,
    },
    /// `earlier` was answered before `later` was asked, yet its revision is the greater.
    Backwards { earlier: Id, later: Id },
    /// A write was acknowledged with the revision of the empty store.
    First { op: Id },
    /// The state of `revision` gives another answer.
    Wrong {
        op: Id,
        revision: i64,
        mismatch: Mismatch,
    },
    /// Nobody can have written `revision`.
    Unfillable { revision: i64, evidence: Vec<Id> },
    /// However the open revisions are filled, some answer is wrong: this one at the latest.
    NoOrder { op: Option<Id>, revision: i64 },
}

/// What serializable reads came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalReads {
    pub judged: u64,
    /// Those that rest on revisions nobody knows the content of; the search has the last word on them.
    pub doubtful: u64,
    /// However the open revisions are filled, one of them is wrong, at the latest this one.
    pub no_order: Option<(Id, i64)>,
    /// The first that is wrong: operation, revision, difference.
    pub wrong: Option<(Id, i64, Mismatch)>,
    /// The first that was answered with a revision before a write of a lower one was asked.
    pub early: Option<(Id, Id)>,
}

/// A lease that certainly expired: nothing else explains a revision that was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expired {
    /// The operation that granted it.
    pub grant: Id,
    pub revision: i64,
    /// A pair of the lease that lived on.
    pub halved: Option<Id>,
}

/// What the sweep found.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The first fault of each kind, the plainest kind first.
    pub faults: Vec<Fault>,
    pub local: LocalReads,
    /// Acknowledged writes and linearizable reads.
    pub judged: u64,
    /// Why the verdict is open, where it is.
    pub undecided: Option<String>,
    /// First revision of the history where that does not begin with an empty store.
    pub begins_at: Option<i64>,
    /// Revisions of unknown content, in order.
    pub open: Vec<i64>,
    /// Leases that certainly expired.
    pub expired: Vec<Expired>,
    /// Operations that nobody acknowledged and whose revision is certain all the same.
    pub placed: Vec<(Id, i64)>,
    /// Reads of revisions that nobody knows any more.
    pub forgotten: Vec<Id>,
    /// Why the replay says little, where a lease is used that nobody in the history granted.
    pub unowned_lease: Option<String>,
    /// What the replay says of each resource type of Kubernetes.
    pub typed: Typed,
}

/// The key space as the acknowledged writes, the reads and the watches give it.
#[derive(Debug)]
pub(crate) struct Truth {
    pub order: Order,
    pub store: Store,
    pub timeline: Timeline,
    /// How many pairs some member showed: those come first.
    observed: usize,
}

impl Truth {
    /// Whether an event of the replay certainly happened. What a write did to a key of which nobody knows what it was
    /// before is a guess, unless somebody showed just that, or it follows from the acknowledgement alone.
    pub fn is_sure(&self, words: &Words<'_>, event: Id) -> bool {
        let (record, pair) = (words.record, words.pairs.get(event));
        let rank = self.order.rank(pair.key);
        let acknowledges = |id: Id| {
            let op = op_of(record, id);
            let answer = record.answer(op);
            answer.is_some_and(|answer| acknowledges(record, record.ask(op), answer, &pair))
        };
        let is_shown = |id: &Id| {
            let shown = words.pairs.get(*id);
            shown.key == pair.key && shown.is_gone() == pair.is_gone()
        };
        let holes = &self.timeline.holes;
        let hole = holes.binary_search_by_key(&pair.mod_revision, |hole| hole.revision);
        self.store.is_certain(rank, pair.mod_revision)
            || (event as usize) < self.observed
            || hole.is_ok_and(|hole| holes[hole].evidence.iter().any(is_shown))
            || self.timeline.owners(pair.mod_revision).any(acknowledges)
    }
}

/// Whether the answer alone says that the request wrote `pair`, whatever was there before.
fn acknowledges(record: &Record, ask: Ask, answer: Answer, pair: &Pair) -> bool {
    match (ask, answer) {
        (Ask::Put { key, value, .. }, _) => key == pair.key && value == pair.value,
        (Ask::Delete { span, .. }, Answer::Delete { deleted: 1, .. }) => {
            span.end == NONE && span.key == pair.key && pair.is_gone()
        }
        (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
            let txn = record.txns[txn as usize];
            let branch = if succeeded { txn.success } else { txn.failure };
            let asks = record.asks[branch.range()].iter();
            asks.zip(&record.answers[answers.range()])
                .any(|(ask, answer)| acknowledges(record, *ask, *answer, pair))
        }
        _ => false,
    }
}

/// Replays `record`; `limit` bounds the search over unknown writes.
pub(crate) fn sweep(
    record: &Record,
    pairs: &mut Interner<Pair>,
    registry: &Registry,
    limit: u64,
) -> (Truth, Sweep) {
    let timeline = Timeline::new(record, pairs);
    let observed = pairs.all().len();
    let order = Order::new(record);
    let mut found = Sweep::default();
    let suspects = Suspects::new(record, pairs, &timeline);
    found.begins_at = begins_late(record, &timeline);
    let lessor = Lessor::new(record);
    found.unowned_lease = lessor.unowned();
    let stage = Stage::new(record, &order, pairs, Store::new(record.keys.len()));
    let mut sweeper = Sweeper {
        stage,
        timeline: &timeline,
        suspects,
        doubted: 0,
        lessor,
        next_hole: 0,
        recalled: 0,
        steps: Vec::new(),
        local_steps: Vec::new(),
        shared: Vec::new(),
        latest: (0, NONE),
        latest_write: (0, NONE),
        compacted: compactions(record),
        observed,
        registry,
        latest_of: vec![(0, NONE); registry.len()],
        found,
    };
    sweeper.run();
    let Sweeper {
        stage,
        suspects,
        steps,
        local_steps,
        mut found,
        ..
    } = sweeper;
    let store = stage.view;
    if !found.open.is_empty() {
        let mut try_all = |steps: &[Step]| {
            let mut stage = Stage::new(record, &order, pairs, World::new(&store));
            search(&mut stage, &suspects, steps, limit)
        };
        let merged = merge(&steps, local_steps);
        // With the serializable reads first: where all is well, one search says so.
        match try_all(&merged) {
            Search::Possible => {
                found.local.judged += found.local.doubtful;
                found.local.doubtful = 0;
            }
            result => {
                let alone = try_all(&steps);
                note_search(&mut found, alone, &steps);
                let is_sound = found.faults.is_empty();
                if let (Search::Possible, Search::Impossible(step), true) =
                    (alone, result, is_sound)
                {
                    found.local.no_order = place_of(&merged[step]);
                }
            }
        }
    }
    found.faults.sort_by_key(plainness);
    (
        Truth {
            order,
            store,
            timeline,
            observed,
        },
        found,
    )
}

/// How easily a fault is understood, the easiest first.
fn plainness(fault: &Fault) -> u8 {
    match fault {
        Fault::Twice { .. } | Fault::First { .. } => 0,
        Fault::Backwards { .. } => 1,
        Fault::Wrong { .. } => 2,
        Fault::Unfillable { .. } => 3,
        Fault::NoOrder { .. } => 4,
    }
}

/// The steps with the serializable reads at their places.
fn merge(steps: &[Step], local: Vec<(usize, Step)>) -> Vec<Step> {
    let mut merged = Vec::with_capacity(steps.len() + local.len());
    let mut local = local.into_iter().peekable();
    for (number, step) in steps.iter().enumerate() {
        while let Some((_, step)) = local.next_if(|(before, _)| *before <= number) {
            merged.push(step);
        }
        merged.push(step.clone());
    }
    merged.extend(local.map(|(_, step)| step));
    merged
}

fn place_of(step: &Step) -> Option<(Id, i64)> {
    match step {
        Step::Op { op, revision } => Some((*op, *revision)),
        Step::Hole { .. } => None,
    }
}

fn note_search(found: &mut Sweep, result: Search, steps: &[Step]) {
    match result {
        Search::Possible => {}
        Search::Impossible(step) => {
            let (op, revision) = match &steps[step] {
                Step::Op { op, revision } => (Some(*op), *revision),
                Step::Hole { revision, .. } => (None, *revision),
            };
            found.faults.push(Fault::NoOrder { op, revision });
        }
        Search::GaveUp => {
            let count = found.open.len();
            let first = found.open[0];
            found.undecided = Some(format!(
                "{count} {} from {first} on can have been filled by unknown writes in too many ways",
                if count == 1 { "revision" } else { "revisions" }
            ));
        }
    }
}

/// A history may begin with a store that is not empty; then its first revisions are beyond telling.
fn begins_late(record: &Record, timeline: &Timeline) -> Option<i64> {
    if record.past.is_forgotten() {
        return None;
    }
    if let Some((1, to)) = timeline.jump {
        return Some(to);
    }
    let first = revision_of(timeline.order.first()?.0);
    let missing = timeline
        .holes
        .iter()
        .take_while(|hole| hole.revision < first);
    let deadline = missing.clone().last()?.deadline;
    let in_time = timeline
        .unknown
        .iter()
        .filter(|id| op_of(record, **id).call <= deadline)
        .count();
    (missing.count() > in_time).then_some(first)
}

/// The acknowledged compactions in the order of their answers: time, the greatest revision so far, whose it is.
fn compactions(record: &Record) -> Vec<(u64, i64, Id)> {
    let mut done: Vec<(u64, i64, Id)> = Vec::new();
    for (id, op) in record.ops.iter().enumerate() {
        if let (Ask::Compact { revision }, Some(_)) = (record.ask(op), record.answer(op)) {
            done.push((op.end, revision, next_id(id)));
        }
    }
    done.sort_unstable();
    let mut greatest = (0, NONE);
    for (_, revision, id) in &mut done {
        greatest = greatest.max((*revision, *id));
        (*revision, *id) = greatest;
    }
    done
}

/// The oldest revision that an answered request has read.
fn oldest_read(record: &Record, ask: Ask, answer: Answer) -> Option<i64> {
    match (ask, answer) {
        (Ask::Range { options, .. }, _) => {
            Some(record.options[options as usize].revision).filter(|revision| *revision > 0)
        }
        (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
            let txn = record.txns[txn as usize];
            let branch = if succeeded { txn.success } else { txn.failure };
            let asks = record.asks[branch.range()].iter();
            let answers = record.answers[answers.range()].iter();
            asks.zip(answers)
                .filter_map(|(ask, answer)| oldest_read(record, *ask, *answer))
                .min()
        }
        _ => None,
    }
}

/// A sweep on its way through the history.
pub(super) struct Sweeper<'r, 's> {
    pub(super) stage: Stage<'r, Store>,
    pub(super) timeline: &'r Timeline,
    pub(super) suspects: Suspects<'s>,
    /// How many suspects can have filled an open revision: the keys they write are uncertain.
    pub(super) doubted: usize,
    pub(super) lessor: Lessor<'r>,
    pub(super) next_hole: usize,
    /// How much of the past's log has been replayed.
    recalled: usize,
    pub(super) steps: Vec<Step>,
    /// Serializable reads among the steps: each with how many steps come before it.
    local_steps: Vec<(usize, Step)>,
    /// Revisions whose content is known, but not which of several writes it is.
    pub(super) shared: Vec<(i64, Vec<Id>)>,
    /// The latest call among the operations before, and whose it is.
    latest: (u64, Id),
    /// The same among the writes.
    latest_write: (u64, Id),
    compacted: Vec<(u64, i64, Id)>,
    /// How many pairs some member showed.
    pub(super) observed: usize,
    registry: &'r Registry,
    /// The same for each resource type.
    latest_of: Vec<(u64, Id)>,
    pub(super) found: Sweep,
}

impl Sweeper<'_, '_> {
    fn run(&mut self) {
        if let (Some((from, _)), None) = (self.timeline.jump, self.found.begins_at) {
            self.fault(Fault::Unfillable {
                revision: from + 1,
                evidence: Vec::new(),
            });
        }
        self.recall_heads();
        let timeline = self.timeline;
        for group in timeline.order.chunk_by(|a, b| a.0 == b.0) {
            let (at, first) = group[0];
            let revision = revision_of(at);
            self.recall(revision);
            self.fill_holes_before(at);
            let is_write = at == place(revision);
            if is_write && let Some((_, second)) = group.get(1) {
                let fault = Fault::Twice {
                    revision,
                    first,
                    second: *second,
                };
                if self.type_of(first).is_some() && self.type_of(first) == self.type_of(*second) {
                    self.found
                        .typed
                        .keep(Clause::StrictSerializability, fault.clone());
                }
                self.fault(fault);
            }
            if is_write && revision < 2 {
                self.fault(Fault::First { op: first });
            }
            for (place, (_, id)) in group.iter().enumerate() {
                if !is_write || place == 0 {
                    self.replay(*id, revision);
                }
            }
            for (_, id) in group {
                self.note_call(*id);
            }
        }
        self.recall(i64::MAX);
        self.fill_holes_before(u64::MAX);
        if let Some(revision) = self.suspects.left_over(&self.shared) {
            let at = timeline.holes.iter().find(|hole| hole.revision == revision);
            let evidence = at.map_or_else(Vec::new, |hole| hole.evidence.clone());
            self.fault(Fault::Unfillable { revision, evidence });
        }
    }

    fn recall_heads(&mut self) {
        for id in &self.stage.record.past.heads {
            let rank = self.stage.order.rank(self.stage.pairs.get(*id).key);
            self.stage.view.write(rank, *id, false);
        }
    }

    /// Replays what is known of the past up to `revision`.
    fn recall(&mut self, revision: i64) {
        let log = &self.stage.record.past.log;
        while let Some(id) = log.get(self.recalled) {
            let pair = self.stage.pairs.get(*id);
            if pair.mod_revision > revision {
                break;
            }
            self.recalled += 1;
            let rank = self.stage.order.rank(pair.key);
            self.stage.view.write(rank, *id, pair.is_gone());
        }
    }

    /// Whether the answer rests on revisions that nobody knows any more.
    fn is_forgotten(&self, op: &Op, revision: i64) -> bool {
        let record = self.stage.record;
        let floor = record.past.floor;
        let oldest = record
            .answer(op)
            .and_then(|answer| oldest_read(record, record.ask(op), answer));
        floor > 0 && (revision < floor || oldest.is_some_and(|oldest| oldest < floor))
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if !self
            .found
            .faults
            .iter()
            .any(|known| plainness(known) == plainness(&fault))
        {
            self.found.faults.push(fault);
        }
    }

    fn note_call(&mut self, id: Id) {
        let record = self.stage.record;
        let op = op_of(record, id);
        if record.is_local(record.ask(op)) {
            return;
        }
        if op.call > self.latest.0 {
            self.latest = (op.call, id);
        }
        let wrote = record.answer(op).is_some_and(|answer| record.wrote(answer));
        if wrote && op.call > self.latest_write.0 {
            self.latest_write = (op.call, id);
        }
        if let Some(resource) = self.type_of(id) {
            let latest = &mut self.latest_of[resource as usize];
            if op.call > latest.0 {
                *latest = (op.call, id);
            }
        }
    }

    /// A linearizable read of what was compacted before it was asked for.
    fn compacted(&self, op: &Op) -> Option<Mismatch> {
        let record = self.stage.record;
        let known = self
            .compacted
            .partition_point(|(end, _, _)| *end <= op.call);
        let (_, compacted, by) = *self.compacted.get(known.checked_sub(1)?)?;
        if record.is_local(record.ask(op)) {
            return None;
        }
        let revision = oldest_read(record, record.ask(op), record.answer(op)?)?;
        (revision < compacted).then_some(Mismatch::Compacted { revision, by })
    }

    /// A put under a lease that is no more.
    fn lease_ended(&self, ask: Ask, revision: i64) -> Option<Mismatch> {
        if self.lessor.is_idle() {
            return None;
        }
        match ask {
            Ask::Put { lease, .. } if lease > 0 => {
                let ended = self.lessor.ended_before(lease, revision)?;
                Some(Mismatch::Ended {
                    lease,
                    revision: ended,
                })
            }
            _ => None,
        }
    }

    /// The resource type to which the operation keeps, if any.
    fn type_of(&self, id: Id) -> Option<Id> {
        let record = self.stage.record;
        self.registry
            .type_of_ask(record, record.ask(op_of(record, id)))
    }

    /// Judges the clauses of Kubernetes on an operation that keeps to one resource type.
    fn replay_typed(&mut self, id: Id, revision: i64, mismatch: Option<Mismatch>) {
        let Some(resource) = self.type_of(id) else {
            return;
        };
        let record = self.stage.record;
        let op = op_of(record, id);
        let Some(clause) = clause_of(record, record.ask(op)) else {
            return;
        };
        let typed = &mut self.found.typed;
        if self.stage.contested {
            return;
        }
        typed.count(clause);
        let (call, later) = self.latest_of[resource as usize];
        if !record.is_local(record.ask(op)) {
            if clause != Clause::StrictSerializability {
                typed.count(Clause::StrictSerializability);
            }
            if call > op.end {
                let fault = Fault::Backwards { earlier: id, later };
                typed.keep(Clause::StrictSerializability, fault);
            }
        }
        if let Some(mismatch) = mismatch.filter(|_| !self.stage.uncertain) {
            let clause = match mismatch {
                Mismatch::Compacted { .. } => Clause::Compaction,
                _ => clause,
            };
            typed.keep(
                clause,
                Fault::Wrong {
                    op: id,
                    revision,
                    mismatch,
                },
            );
        }
    }

    fn replay(&mut self, id: Id, revision: i64) {
        let record = self.stage.record;
        let op = op_of(record, id);
        let ask = record.ask(op);
        if self.is_forgotten(op, revision) {
            self.found.forgotten.push(id);
            if revision < record.past.floor {
                if let Ask::LeaseRevoke { .. } = ask {
                    self.lessor.place(id, revision);
                }
                return;
            }
        }
        let mismatch = self.stage.perform(ask, record.answer(op), revision);
        let mismatch = mismatch.or_else(|| self.compacted(op));
        let mismatch = mismatch.or_else(|| self.lease_ended(ask, revision));
        let is_contested = self.stage.contested;
        let mismatch = mismatch.filter(|_| !is_contested);
        if let (Ask::LeaseRevoke { .. }, None) = (ask, mismatch) {
            self.lessor.place(id, revision);
        }
        if !self.registry.is_empty() && self.found.begins_at.is_none() {
            self.replay_typed(id, revision, mismatch);
        }
        let is_certain = !self.stage.uncertain && !record.is_local(ask);
        if let Some(mismatch) = mismatch.filter(|_| is_certain) {
            self.contest(ask, mismatch);
        }
        if let Some(answer) = record.answer(op).filter(|_| !record.is_local(ask)) {
            self.settle(ask, answer, revision);
        }
        if record.is_local(ask) {
            // What a member showed was there for every write and every linearizable read that was asked for later.
            let local = &mut self.found.local;
            if self.latest_write.0 > op.end {
                local.early.get_or_insert((id, self.latest_write.1));
            } else if self.latest.0 > op.end {
                let later = self.latest.1;
                self.fault(Fault::Backwards { earlier: id, later });
            }
            if is_contested {
                return;
            }
            if self.stage.uncertain {
                self.found.local.doubtful += 1;
                self.local_steps
                    .push((self.steps.len(), Step::Op { op: id, revision }));
                return;
            }
            let local = &mut self.found.local;
            local.judged += 1;
            if let (Some(mismatch), None) = (mismatch, &local.wrong) {
                local.wrong = Some((id, revision, mismatch));
            }
            return;
        }
        self.found.judged += 1;
        if self.latest.0 > op.end {
            let later = self.latest.1;
            self.fault(Fault::Backwards { earlier: id, later });
        }
        if self.stage.uncertain && !is_contested {
            self.steps.push(Step::Op { op: id, revision });
        } else if let Some(mismatch) = mismatch {
            self.fault(Fault::Wrong {
                op: id,
                revision,
                mismatch,
            });
        }
    }

    /// Answer and replay differ, and one of them is wrong: what follows says nothing more of the keys.
    fn contest(&mut self, ask: Ask, mismatch: Mismatch) {
        let record = self.stage.record;
        let mut spans = Vec::new();
        match mismatch {
            Mismatch::Pair { key, .. } => spans.push(Span { key, end: NONE }),
            Mismatch::Kept { pair } => {
                let key = self.stage.pairs.get(pair).key;
                spans.push(Span { key, end: NONE });
            }
            Mismatch::Count { .. } | Mismatch::Deleted { .. } => each_span(record, ask, &mut spans),
            Mismatch::Branch { .. } => each_condition(record, ask, &mut spans),
            _ => {}
        }
        for span in spans {
            let (first, end) = self.stage.order.ranks(span);
            for rank in first..end {
                self.stage.view.contest(self.stage.pairs, rank);
            }
        }
    }

    /// Whatever was there before, behind an acknowledged deletion there is nothing.
    fn settle(&mut self, ask: Ask, answer: Answer, revision: i64) {
        let record = self.stage.record;
        match (ask, answer) {
            (Ask::Delete { span, .. }, Answer::Delete { .. }) => {
                let ranks = self.stage.order.ranks(span);
                for rank in self.stage.view.settle(ranks, revision) {
                    let pairs = &mut *self.stage.pairs;
                    if self.stage.view.head(pairs, rank) != NONE {
                        let key = self.stage.order.key(rank);
                        let gone = pairs.id(Pair::gone(key, revision));
                        self.stage.view.write(rank, gone, true);
                    }
                }
            }
            (Ask::Txn(txn), Answer::Txn { succeeded, answers }) => {
                let txn = record.txns[txn as usize];
                let branch = if succeeded { txn.success } else { txn.failure };
                let asks = record.asks[branch.range()].iter();
                for (ask, answer) in asks.zip(&record.answers[answers.range()]) {
                    self.settle(*ask, *answer, revision);
                }
            }
            _ => {}
        }
    }
}

/// The keys that a request reads or deletes.
fn each_span(record: &Record, ask: Ask, spans: &mut Vec<Span>) {
    match ask {
        Ask::Range { span, .. } | Ask::Delete { span, .. } => spans.push(span),
        Ask::Txn(txn) => {
            let txn = record.txns[txn as usize];
            for run in [txn.success, txn.failure] {
                for ask in &record.asks[run.range()] {
                    each_span(record, *ask, spans);
                }
            }
        }
        _ => {}
    }
}

/// The keys that a transaction compares, and those of transactions in it.
fn each_condition(record: &Record, ask: Ask, spans: &mut Vec<Span>) {
    let Ask::Txn(txn) = ask else { return };
    let txn = record.txns[txn as usize];
    let conditions = &record.conditions[txn.compare.range()];
    spans.extend(conditions.iter().map(|condition| condition.span));
    for run in [txn.success, txn.failure] {
        for ask in &record.asks[run.range()] {
            each_condition(record, *ask, spans);
        }
    }
}
