//! Promise `linearizable`: acknowledged writes and linearizable reads have one order that real time,
//! revisions and contents agree with. This module puts what the sweep found into words.

use super::{
    perform::Mismatch,
    record::{Ask, Op, Outcome, Record, Target},
    sighting::{Fact, each_sighting},
    sweep::{Fault, Sweep, Truth},
    timeline::op_of,
    trouble::Trouble,
    words::Words,
};
use crate::{
    intern::{Id, NONE, next_id},
    text::{counted, grouped, seconds},
    verdict::{Judgement, Verdict, plain},
};

/// The promise's name.
pub(crate) const PROMISE: &str = "linearizable";

/// What the sweep says against the promise, if anything.
pub(crate) fn trouble(words: &Words<'_>, truth: &Truth, sweep: &Sweep) -> Option<Trouble> {
    if sweep.begins_at.is_none()
        && let Some(fault) = sweep.faults.first()
    {
        return Some(of_fault(words, truth, fault));
    }
    let (before, after) = words.record.term_back?;
    Some(Trouble {
        revision: op_of(words.record, after).revision,
        reason: format!(
            "{} went back to an earlier term",
            words.node(op_of(words.record, after).node)
        ),
        sentence: format!(
            "{}; then {}, in an earlier term.",
            words.told(before),
            words.told(after)
        ),
        facts: vec![(Fact::Op(before), true), (Fact::Op(after), true)],
        members: Vec::new(),
    })
}

/// The judgement where nothing is broken.
pub(crate) fn unbroken(sweep: &Sweep) -> Judgement {
    if let Some(first) = sweep.begins_at {
        let reason = format!(
            "the history does not begin with an empty store: its first revision is {}",
            grouped(first.unsigned_abs())
        );
        return plain(PROMISE, Verdict::Undecided, reason);
    }
    if let Some(reason) = &sweep.undecided {
        return plain(PROMISE, Verdict::Undecided, reason.clone());
    }
    if sweep.judged == 0 {
        return plain(
            PROMISE,
            Verdict::Undecided,
            "no write was acknowledged and no linearizable read answered",
        );
    }
    plain(
        PROMISE,
        Verdict::Held,
        format!("{} in one order", counted(sweep.judged, "operation")),
    )
}

pub(crate) fn of_fault(words: &Words<'_>, truth: &Truth, fault: &Fault) -> Trouble {
    match fault {
        Fault::Twice {
            revision,
            first,
            second,
        } => Trouble {
            revision: *revision,
            reason: format!("revision {revision} was acknowledged twice"),
            sentence: format!(
                "{}, and {}: a revision has one writer.",
                words.told(*first),
                words.told(*second)
            ),
            facts: vec![(Fact::Op(*first), true), (Fact::Op(*second), true)],
            members: Vec::new(),
        },
        Fault::First { op } => Trouble {
            revision: 1,
            reason: "a write was acknowledged as revision 1, the empty store's".into(),
            sentence: format!("{}; the first write is revision 2.", words.told(*op)),
            facts: vec![(Fact::Op(*op), true)],
            members: Vec::new(),
        },
        Fault::Backwards { earlier, later } => backwards(words, *earlier, *later),
        Fault::Wrong {
            op,
            revision,
            mismatch,
        } => wrong(words, truth, *op, *revision, mismatch),
        Fault::Unfillable { revision, evidence } => unfillable(words, truth, *revision, evidence),
        Fault::NoOrder { op, revision } => no_order(words, *op, *revision),
    }
}

/// `earlier` was answered before `later` was asked, with a greater revision; also used for
/// serializable reads.
pub(crate) fn backwards(words: &Words<'_>, earlier: Id, later: Id) -> Trouble {
    let (first, second) = (op_of(words.record, earlier), op_of(words.record, later));
    let gap = (second.call - first.end) as f64 / 1e6;
    Trouble {
        revision: second.revision,
        reason: format!(
            "revision {} came after revision {}",
            second.revision, first.revision
        ),
        sentence: format!(
            "{}, revision {}; {gap:.3} ms later {} was asked of {}, and was answered with revision {}.",
            words.told(earlier),
            first.revision,
            words.ask(words.record.ask(second)),
            words.node(second.node),
            second.revision,
        ),
        facts: vec![(Fact::Op(earlier), true), (Fact::Op(later), true)],
        members: Vec::new(),
    }
}

/// The answer of `op` differs from the state of `revision`; also used for serializable reads.
pub(crate) fn wrong(
    words: &Words<'_>,
    truth: &Truth,
    op: Id,
    revision: i64,
    mismatch: &Mismatch,
) -> Trouble {
    let told = words.told(op);
    let mut facts = vec![(Fact::Op(op), true)];
    let (reason, sentence) = match *mismatch {
        Mismatch::Pair {
            key,
            expected,
            found,
        } => {
            let should = words.pair(key, expected);
            let is = words.pair(key, found);
            let writer = writer_of(words, truth, key, expected, revision);
            facts.extend(writer.map(|fact| (fact, true)));
            let because = match writer {
                Some(Fact::Op(writer)) => format!("{}; ", words.told(writer)),
                Some(other) => format!("{} ", words.line(other, true).text),
                None => String::new(),
            };
            let asked = words.ask(words.record.ask(op_of(words.record, op)));
            let node =
                words.node_with_fault(op_of(words.record, op).node, op_of(words.record, op).end);
            let at = seconds(op_of(words.record, op).end);
            (
                format!(
                    "revision {revision} has {should}, {} answered {is}",
                    words.node(op_of(words.record, op).node)
                ),
                format!(
                    "{because}{asked} at revision {revision} was answered at {at} by {node} with {is} instead of {should}."
                ),
            )
        }
        Mismatch::Count { expected, found } => (
            format!(
                "revision {revision} has {}, {found} were counted",
                counted(u64::from(expected), "key")
            ),
            format!(
                "{told}; at revision {revision} the range has {}, not {found}.",
                counted(u64::from(expected), "key")
            ),
        ),
        Mismatch::Deleted { expected, found } => {
            let before = revision - i64::from(is_write(words.record, op));
            if let Ask::Delete { span, .. } = words.record.ask(op_of(words.record, op))
                && span.end == NONE
            {
                let writer = writer_of(words, truth, span.key, NONE, before);
                facts.extend(writer.map(|fact| (fact, true)));
            }
            (
                format!("a deletion of {expected} keys was answered as one of {found}"),
                format!(
                    "{told}, with {found} keys deleted; before that revision there were {expected}."
                ),
            )
        }
        Mismatch::Branch { expected } => {
            let before = revision - i64::from(is_write(words.record, op));
            facts.extend(
                compared(words, truth, op, before)
                    .into_iter()
                    .map(|fact| (fact, true)),
            );
            (
                format!(
                    "the conditions of a transaction {}",
                    if expected {
                        "held, and it failed"
                    } else {
                        "did not hold, and it succeeded"
                    }
                ),
                format!(
                    "{told}; in the state before it the conditions {}.",
                    if expected { "hold" } else { "do not hold" }
                ),
            )
        }
        Mismatch::More { expected } => (
            "the field `more` is wrong".to_owned(),
            format!("{told}; `more` should be {expected}."),
        ),
        Mismatch::Compacted {
            revision: asked,
            by,
        } => {
            facts.push((Fact::Op(by), true));
            (
                format!("revision {asked} was read after it was compacted"),
                format!(
                    "{}; then {told}, although it asked for revision {asked}.",
                    words.told(by)
                ),
            )
        }
        Mismatch::Kept { pair } => {
            let kept = words.pairs.get(pair);
            let writer = source_of(words.record, words, truth, kept.mod_revision, pair);
            facts.extend(writer.map(|fact| (fact, true)));
            (
                format!("a revoked lease keeps {}", words.key(kept.key)),
                format!("{told}; {} stays.", words.pair(kept.key, pair)),
            )
        }
        Mismatch::Ended {
            lease,
            revision: ended,
        } => (
            format!(
                "a key was put under lease {}, which had ended",
                words.lease(lease)
            ),
            format!(
                "{told}, under lease {}, which ended in revision {ended}.",
                words.lease(lease)
            ),
        ),
        Mismatch::Future { revision: asked } => (
            format!("revision {asked} was read before it existed"),
            format!("{told}; it asked for revision {asked}, which did not exist yet."),
        ),
    };
    Trouble {
        revision,
        reason,
        sentence,
        facts,
        members: Vec::new(),
    }
}

fn is_write(record: &Record, op: Id) -> bool {
    let answer = record.answer(op_of(record, op));
    answer.is_some_and(|answer| record.wrote(answer))
}

/// Most conditions whose keys are looked up for a witness.
const CONDITIONS_SHOWN: usize = 3;

/// Who wrote the keys that a transaction compares, as of the state before it.
fn compared(words: &Words<'_>, truth: &Truth, op: Id, before: i64) -> Vec<Fact> {
    let record = words.record;
    let Ask::Txn(txn) = record.ask(op_of(record, op)) else {
        return Vec::new();
    };
    let conditions = &record.conditions[record.txns[txn as usize].compare.range()];
    let mut facts = Vec::new();
    for condition in conditions
        .iter()
        .take(CONDITIONS_SHOWN)
        .filter(|c| c.span.end == NONE)
    {
        let written = writer_of(words, truth, condition.span.key, NONE, before);
        let given = match condition.target {
            Target::Mod(given) | Target::Create(given) => given,
            _ => 0,
        };
        let owner = || truth.timeline.owners(given).next().map(Fact::Op);
        facts.extend(written.or_else(owner));
    }
    facts.dedup();
    facts
}

/// Who wrote `pair`, or deleted the key where there is none: the acknowledgement or a watch event.
fn writer_of(words: &Words<'_>, truth: &Truth, key: Id, pair: Id, revision: i64) -> Option<Fact> {
    let last = match pair {
        NONE => truth
            .store
            .last_write(words.pairs, truth.order.rank(key), revision),
        pair => pair,
    };
    if last == NONE {
        return None;
    }
    let written = words.pairs.get(last).mod_revision;
    source_of(words.record, words, truth, written, last)
}

/// Who says that `revision` holds `pair`.
pub(crate) fn source_of(
    record: &Record,
    words: &Words<'_>,
    truth: &Truth,
    revision: i64,
    pair: Id,
) -> Option<Fact> {
    if let Some(owner) = truth.timeline.owners(revision).next() {
        return Some(Fact::Op(owner));
    }
    let wanted = words.pairs.get(pair);
    if wanted.is_gone() && record.leases.len() > 1 {
        let revokes = |op: &Op| {
            op.revision == revision
                && op.outcome == Outcome::Ok
                && matches!(record.ask(op), Ask::LeaseRevoke { .. })
                && record.ends_lease_of(record.ask(op), wanted.key)
        };
        if let Some(id) = record.ops.iter().position(revokes) {
            return Some(Fact::Op(next_id(id)));
        }
    }
    let writer =
        truth.timeline.unknown.iter().find(|id| {
            super::timeline::could_write(record, record.ask(op_of(record, **id)), &wanted)
        });
    let mut seen = None;
    each_sighting(record, &mut |id, fact, _| {
        if seen.is_none() && (id == pair) {
            seen = Some(fact);
        }
    });
    seen.or(writer.map(|id| Fact::Op(*id)))
}

fn unfillable(words: &Words<'_>, truth: &Truth, revision: i64, evidence: &[Id]) -> Trouble {
    let mut facts = Vec::new();
    let mut seen = String::new();
    if let Some(pair) = evidence.first() {
        if let Some(fact) = source_of(words.record, words, truth, revision, *pair) {
            facts.push((fact, true));
        }
        seen = format!(" ({})", words.content(&words.pairs.get(*pair)));
    }
    let next = truth
        .timeline
        .order
        .iter()
        .find(|(place, _)| *place >= super::timeline::place(revision));
    if let Some((_, op)) = next {
        facts.push((Fact::Op(*op), true));
    }
    let after = next.map_or_else(String::new, |(_, op)| {
        format!(", although {}", words.told(*op))
    });
    Trouble {
        revision,
        reason: format!("nobody can have written revision {revision}{seen}"),
        sentence: format!("No write of the history can be revision {revision}{seen}{after}."),
        facts,
        members: Vec::new(),
    }
}

/// However the unknown writes are placed, `op` or an answer before it is wrong.
pub(crate) fn no_order(words: &Words<'_>, op: Option<Id>, revision: i64) -> Trouble {
    let told = op.map_or_else(
        || format!("revision {revision} remains without a writer"),
        |op| words.told(op),
    );
    Trouble {
        revision,
        reason: format!("no way of placing the unknown writes explains revision {revision}"),
        sentence: format!(
            "However the writes of unknown outcome are placed, one answer stays wrong, at the latest this one: {told}."
        ),
        facts: op.map(|op| (Fact::Op(op), true)).into_iter().collect(),
        members: Vec::new(),
    }
}
