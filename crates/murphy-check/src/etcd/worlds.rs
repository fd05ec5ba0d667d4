//! Worlds are the ways in which unknown writes can have filled the revisions that nothing else tells
//! of; this module looks for one in which every answer is right.
//!
//! Only the operations that touch a key some candidate may have written are replayed, hole by hole with
//! backtracking, and only up to a limit: beyond it the answer is "undecided", never a guess.

use rustc_hash::FxHashSet;

use super::{
    perform::Stage,
    record::Pair,
    store::World,
    suspects::{Candidates, Suspects},
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
        candidates: Candidates,
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
    next: Next,
    guessed: usize,
}

/// Which candidate to try.
#[derive(Clone, Copy)]
enum Next {
    /// The first unused suspect behind this entry of [`Unused`].
    Suspect(usize),
    /// The one with this number among those that are named.
    Named(usize),
}

/// The suspects that fill no hole, as a list in order; entry 0 is its begin and its end, and the suspect at a place has
/// the entry behind that place.
struct Unused {
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Every operation that fills a hole, in the order of the holes.
    used: Vec<Id>,
    is_used: FxHashSet<Id>,
}

impl Unused {
    fn new(suspects: &Suspects<'_>) -> Self {
        let mut unused = Self {
            next: vec![0; suspects.len() + 1],
            previous: vec![0; suspects.len() + 1],
            used: Vec::new(),
            is_used: FxHashSet::default(),
        };
        for entry in suspects.unseen().map(|place| place + 1) {
            let last = unused.previous[0];
            (unused.previous[entry], unused.previous[0]) = (last, entry);
            unused.next[last] = entry;
        }
        unused
    }

    /// `op` fills the next hole.
    fn take(&mut self, suspects: &Suspects<'_>, op: Id) {
        self.used.push(op);
        self.is_used.insert(op);
        if let Some(place) = suspects.unseen_place_of(op) {
            let (previous, next) = (self.previous[place + 1], self.next[place + 1]);
            (self.next[previous], self.previous[next]) = (next, previous);
        }
    }

    /// Only the first `count` holes are filled.
    fn put_back(&mut self, suspects: &Suspects<'_>, count: usize) {
        for op in self.used.drain(count.min(self.used.len())..).rev() {
            self.is_used.remove(&op);
            if let Some(place) = suspects.unseen_place_of(op) {
                let (previous, next) = (self.previous[place + 1], self.next[place + 1]);
                (self.next[previous], self.previous[next]) = (place + 1, place + 1);
            }
        }
    }
}

/// Looks for one way to fill the holes.
pub(crate) fn search(
    stage: &mut Stage<'_, World<'_>>,
    suspects: &Suspects<'_>,
    steps: &[Step],
    limit: u64,
) -> Search {
    let mut unused = Unused::new(suspects);
    let mut choices: Vec<Choice> = Vec::new();
    let (mut at, mut furthest, mut effort) = (0, 0, 0);
    while let Some(step) = steps.get(at) {
        furthest = furthest.max(at);
        effort += 1;
        let mut goes_on = false;
        match step {
            Step::Op { op, revision } => goes_on = agrees(stage, *op, *revision),
            Step::Hole { .. } => choices.push(Choice {
                step: at,
                next: Next::Suspect(0),
                guessed: stage.view.guessed(),
            }),
        }
        while !goes_on {
            unused.put_back(suspects, choices.len().saturating_sub(1));
            let Some(choice) = choices.last_mut() else {
                return Search::Impossible(furthest);
            };
            stage.view.take_back(choice.guessed);
            at = choice.step;
            match next_candidate(stage, suspects, &steps[at], choice, &unused, &mut effort) {
                Some(op) => {
                    unused.take(suspects, op);
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
    suspects: &Suspects<'_>,
    step: &Step,
    choice: &mut Choice,
    unused: &Unused,
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
    loop {
        let op = match choice.next {
            Next::Suspect(entry) => {
                let entry = unused.next[entry];
                let is_over = entry == 0 || entry > candidates.until;
                choice.next = if is_over {
                    Next::Named(0)
                } else {
                    Next::Suspect(entry)
                };
                if is_over {
                    continue;
                }
                suspects.free(candidates, entry - 1)
            }
            Next::Named(number) => {
                choice.next = Next::Named(number + 1);
                let op = *candidates.named.get(number)?;
                Some(op).filter(|op| !unused.is_used.contains(op))
            }
        };
        let Some(op) = op else { continue };
        *effort += 1;
        stage.view.now = *revision - 1;
        stage.perform(stage.record.ask(op_of(stage.record, op)), None, *revision);
        if !stage.events.is_empty() && explains(stage.pairs, &stage.events, evidence, *is_exact) {
            return Some(op);
        }
        stage.view.take_back(choice.guessed);
    }
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
