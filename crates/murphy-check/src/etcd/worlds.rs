//! Worlds are the ways in which unknown writes can have filled the revisions that nothing else tells
//! of; this module looks for one in which every answer is right.
//!
//! Only the operations that touch a key some candidate may have written are replayed, hole by hole with
//! backtracking, and only up to a limit: beyond it the answer is "undecided", never a guess.

use super::{
    perform::Stage,
    record::{Pair, Record},
    store::{Order, Store, World},
    timeline::op_of,
};
use crate::intern::{Id, Interner};

/// One step of the replay that depends on the guesses.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An answered operation; the revision it writes or reads.
    Op { op: Id, revision: i64 },
    /// A revision to be filled by one of the candidates, consistently with the evidence.
    Hole {
        revision: i64,
        candidates: Vec<Id>,
        evidence: Vec<Id>,
        is_exact: bool,
    },
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// There is a way.
    Possible,
    /// There is none; the step up to which the best attempt came.
    Impossible(usize),
    /// The limit was reached before either was certain.
    GaveUp,
}

struct Choice {
    step: usize,
    next: usize,
    guessed: usize,
}

/// Looks for one way to fill the holes.
pub(crate) fn search(
    record: &Record,
    order: &Order,
    pairs: &mut Interner<Pair>,
    base: &Store,
    steps: &[Step],
    limit: u64,
) -> Search {
    let world = World::new(base);
    let mut stage = Stage::new(record, order, pairs, world);
    let mut used: Vec<Id> = Vec::new();
    let mut choices: Vec<Choice> = Vec::new();
    let (mut at, mut furthest, mut effort) = (0, 0, 0);
    while let Some(step) = steps.get(at) {
        furthest = furthest.max(at);
        effort += 1;
        let mut goes_on = false;
        match step {
            Step::Op { op, revision } => goes_on = agrees(&mut stage, *op, *revision),
            Step::Hole { .. } => choices.push(Choice {
                step: at,
                next: 0,
                guessed: stage.view.guessed(),
            }),
        }
        while !goes_on {
            used.truncate(choices.len().saturating_sub(1));
            let Some(choice) = choices.last_mut() else {
                return Search::Impossible(furthest);
            };
            stage.view.take_back(choice.guessed);
            at = choice.step;
            match next_candidate(&mut stage, &steps[at], choice, &used, &mut effort) {
                Some(op) => {
                    used.push(op);
                    goes_on = true;
                }
                None => drop(choices.pop()),
            }
            if effort > limit {
                return Search::GaveUp;
            }
        }
        at += 1;
    }
    Search::Possible
}

fn agrees(stage: &mut Stage<'_, World<'_>>, op: Id, revision: i64) -> bool {
    let op = op_of(stage.record, op);
    let answer = stage.record.answer(op);
    stage.view.now = revision - i64::from(answer.is_some_and(|answer| stage.record.wrote(answer)));
    stage
        .perform(stage.record.ask(op), answer, revision)
        .is_none()
}

/// Tries the candidates from `choice.next` on; the one that fits stays performed.
fn next_candidate(
    stage: &mut Stage<'_, World<'_>>,
    step: &Step,
    choice: &mut Choice,
    used: &[Id],
    effort: &mut u64,
) -> Option<Id> {
    let Step::Hole {
        revision,
        candidates,
        evidence,
        is_exact,
    } = step
    else {
        return None;
    };
    while let Some(op) = candidates.get(choice.next) {
        choice.next += 1;
        if used.contains(op) {
            continue;
        }
        *effort += 1;
        stage.view.now = *revision - 1;
        stage.perform(stage.record.ask(op_of(stage.record, *op)), None, *revision);
        if !stage.events.is_empty() && explains(stage.pairs, &stage.events, evidence, *is_exact) {
            return Some(*op);
        }
        stage.view.take_back(choice.guessed);
    }
    None
}

/// Whether `events` are what the evidence tells of keys and values.
pub(crate) fn explains(
    pairs: &Interner<Pair>,
    events: &[Id],
    evidence: &[Id],
    is_exact: bool,
) -> bool {
    let same = |a: &Pair, b: &Pair| {
        a.key == b.key && (a.value == b.value || b.value == super::record::UNREAD)
    };
    (!is_exact || events.len() == evidence.len())
        && evidence.iter().all(|told| {
            events
                .iter()
                .any(|event| same(&pairs.get(*event), &pairs.get(*told)))
        })
}
