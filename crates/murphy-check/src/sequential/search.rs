//! Searches the interleavings of processes for a legal one.
//!
//! A configuration is how far each process is, which unanswered operations have taken effect, and the state of every
//! part. What can follow depends on it alone, so none is entered twice. Of each only a fingerprint of 128 bits is
//! kept, the sum of one for every component, brought up to date with every step; that two of `n` configurations have
//! the same is as likely as `n² / 2^129`, which for a billion is less than one in 10^20.
//!
//! A read with an answer that fits is done at once: in any legal order of what follows it can be moved to the front,
//! because it changes nothing. Processes are tried in the order in which they asked, which in a history of a real
//! system is nearly right; operations without an answer only when nothing else is left.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::{
    model::{Model, Operation, OperationOf, are_alike, part, tells},
    search::{AHEAD, Parts, parts},
};

/// How much may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the model.
    pub steps: u64,
    /// Bytes of what is remembered, roughly.
    pub memory: usize,
}

impl Default for Limits {
    /// A hundred million steps and a gigabyte.
    fn default() -> Self {
        Self {
            steps: 100_000_000,
            memory: 1 << 30,
        }
    }
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Different configurations.
    pub configurations: u64,
    /// Steps of the model that were tried.
    pub steps: u64,
    /// The longest legal order found, by places in the history.
    pub longest: Vec<u32>,
}

/// Which limit ended the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::steps`].
    Steps,
    /// [`Limits::memory`].
    Memory,
    /// The caller said so.
    Stopped,
}

/// What the search says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is a legal order of all answered operations and some of the others, by places in the history.
    Consistent {
        /// The order.
        order: Vec<u32>,
    },
    /// There is none.
    Broken(Explored),
    /// A limit was reached.
    Undecided(Limit, Explored),
}

/// The caller is asked whether to stop once in so many steps.
const STEPS_BETWEEN_QUESTIONS: u64 = 256;

/// Searches `history`, whose operations are in the order in which they were asked. `stop` is asked every now and then
/// and ends the search; a deadline is one that looks at a clock.
pub fn search<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    limits: Limits,
    stop: &mut dyn FnMut() -> bool,
) -> Outcome {
    let mut search = Search::new(model, history);
    let found = search.run(limits, stop);
    let explored = Explored {
        configurations: search.seen.len() as u64,
        steps: search.steps,
        longest: search.longest,
    };
    match found {
        Ok(true) => Outcome::Consistent {
            order: search.order,
        },
        Ok(false) => Outcome::Broken(explored),
        Err(limit) => Outcome::Undecided(limit, explored),
    }
}

/// An operation without an answer that may change something.
struct Unanswered {
    number: u32,
    process: usize,
    /// How many answered operations of the process are before it.
    behind: usize,
    is_done: bool,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [OperationOf<M>],
    /// The answered operations of each process.
    queues: Vec<Vec<u32>>,
    unanswered: Vec<Unanswered>,
    /// Process and part of each operation, by dense numbers.
    process_of: Vec<usize>,
    part_of: Vec<usize>,
    parts: Parts,
    /// Where each operation is: in the queue of its process, or in `unanswered`.
    place_of: Vec<usize>,
    /// Whether all of what is overwritten is gone: each operation has one key, or each is about everything.
    overwrites: bool,
    answered: usize,
    /// How many answered operations of each process are done.
    positions: Vec<usize>,
    states: Vec<M::State>,
    fingerprint: u128,
    /// Bytes of the states that are kept to be taken back to.
    held: usize,
    /// What is done, in order.
    order: Vec<u32>,
    answered_done: usize,
    seen: FxHashSet<u128>,
    longest: Vec<u32>,
    steps: u64,
}

/// A step that was done, and what is left to try behind it.
struct Frame<S> {
    /// How to take it back: the state of the part before, how long the order was, and the fingerprint.
    before: Option<(usize, S)>,
    length: usize,
    fingerprint: u128,
    /// The last move tried from here.
    tried: Move,
    /// What it leads to and was not tried yet.
    next: Vec<S>,
}

/// A candidate for the next step: first of the answered operations, by place, then of the unanswered.
#[derive(Clone, Copy, PartialEq)]
enum Move {
    None,
    Answered(u32),
    /// By place in `unanswered`.
    Unanswered(usize),
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [OperationOf<M>]) -> Self {
        let mut processes = FxHashMap::default();
        let parts = parts(model, history);
        let mut queues: Vec<Vec<u32>> = Vec::new();
        let mut unanswered = Vec::new();
        let (mut process_of, mut answered) = (Vec::new(), 0);
        let mut part_of = vec![0; history.len()];
        for part in 0..parts.len() {
            for number in parts.of(part) {
                part_of[*number as usize] = part;
            }
        }
        let mut place_of = Vec::with_capacity(history.len());
        for (number, operation) in (0..).zip(history) {
            let count = processes.len();
            let process = *processes.entry(operation.process).or_insert(count);
            process_of.push(process);
            queues.resize_with(processes.len(), Vec::new);
            place_of.push(if operation.answer.is_some() {
                queues[process].len()
            } else {
                unanswered.len()
            });
            if operation.answer.is_some() {
                answered += 1;
                queues[process].push(number);
            } else if !model.is_read(&operation.ask, None) {
                unanswered.push(Unanswered {
                    number,
                    process,
                    behind: queues[process].len(),
                    is_done: false,
                });
            }
        }
        Self {
            model,
            history,
            positions: vec![0; queues.len()],
            states: vec![model.initial(); parts.len()],
            parts,
            queues,
            unanswered,
            process_of,
            part_of,
            place_of,
            overwrites: are_alike(model, history.iter()),
            answered,
            fingerprint: 0,
            held: 0,
            order: Vec::new(),
            answered_done: 0,
            seen: FxHashSet::default(),
            longest: Vec::new(),
            steps: 0,
        }
    }

    fn run(&mut self, limits: Limits, stop: &mut dyn FnMut() -> bool) -> Result<bool, Limit> {
        let mut frames: Vec<Frame<M::State>> = vec![Frame {
            before: None,
            length: 0,
            fingerprint: 0,
            tried: Move::None,
            next: Vec::new(),
        }];
        self.read_ahead();
        let mut next_question = 0;
        while self.answered_done < self.answered {
            if self.steps >= next_question {
                next_question = self.steps + STEPS_BETWEEN_QUESTIONS;
                let bytes = self.seen.capacity() * 18
                    + frames.len() * size_of::<Frame<M::State>>()
                    + self.held;
                if stop() {
                    return Err(Limit::Stopped);
                } else if self.steps > limits.steps {
                    return Err(Limit::Steps);
                } else if bytes > limits.memory {
                    return Err(Limit::Memory);
                }
            }
            let Some(frame) = frames.last_mut() else {
                return Ok(false);
            };
            if let Some(state) = frame.next.pop() {
                let undo = self.enter(frame.tried, state);
                self.read_ahead();
                if self.seen.insert(self.fingerprint) {
                    frames.push(undo);
                    if self.order.len() > self.longest.len() {
                        self.longest.clone_from(&self.order);
                    }
                } else {
                    self.take_back(undo);
                }
            } else {
                frame.tried = self.following(frame.tried);
                let tried = frame.tried;
                if tried == Move::None {
                    if let Some(undo) = frames.pop() {
                        self.take_back(undo);
                    }
                } else {
                    let number = self.number(tried);
                    let mut next = self.results(number);
                    if matches!(tried, Move::Unanswered(_)) {
                        next.retain(|state| self.is_worth(number, state));
                    }
                    if let Some(frame) = frames.last_mut() {
                        frame.next = next;
                    }
                }
            }
        }
        Ok(true)
    }

    fn number(&self, tried: Move) -> u32 {
        match tried {
            Move::Answered(number) => number,
            Move::Unanswered(place) => self.unanswered[place].number,
            Move::None => 0,
        }
    }

    /// The move to try after `tried`; none where there is no further one.
    fn following(&self, tried: Move) -> Move {
        let heads = || {
            let queues = self.queues.iter().zip(&self.positions);
            queues.filter_map(|(queue, &at)| queue.get(at).copied())
        };
        let answered = match tried {
            Move::None => heads().min(),
            Move::Answered(last) => heads().filter(|&head| head > last).min(),
            Move::Unanswered(_) => None,
        };
        if let Some(number) = answered {
            return Move::Answered(number);
        }
        let from = match tried {
            Move::Unanswered(last) => last + 1,
            _ => 0,
        };
        // Where nobody's next answer is about its part, an operation without an answer can as well come later.
        let is_awaited = |number: u32| {
            let part = self.part_of[number as usize];
            heads().any(|head| self.part_of[head as usize] == part)
        };
        let is_ready = |place: &usize| {
            let it = &self.unanswered[*place];
            !it.is_done && self.positions[it.process] >= it.behind && is_awaited(it.number)
        };
        let mut places = from..self.unanswered.len();
        places.find(is_ready).map_or(Move::None, Move::Unanswered)
    }

    /// The states to which an operation leads.
    fn results(&mut self, number: u32) -> Vec<M::State> {
        self.steps += 1;
        let operation = &self.history[number as usize];
        let state = &self.states[self.part_of[number as usize]];
        let mut results = Vec::new();
        let mut keep = |next| results.push(next);
        self.model
            .step(state, &operation.ask, operation.answer.as_ref(), &mut keep);
        results
    }

    /// Whether an operation without an answer is worth a try that leaves `state`: it changes something, every answer to
    /// come is still possible, and one of them can tell of it before it is overwritten ([`Model::overwrites`]).
    fn is_worth(&self, number: u32, state: &M::State) -> bool {
        let at = self.part_of[number as usize];
        if *state == self.states[at] {
            return false;
        }
        let left = || {
            let others = self.parts.of(at).iter().filter(|other| **other != number);
            others
                .filter(|other| self.is_left(**other))
                .map(|other| &self.history[*other as usize])
        };
        let own = part(self.model, &self.history[number as usize]);
        let overwrites = |operation: &OperationOf<M>| {
            self.model
                .overwrites(&operation.ask, operation.answer.as_ref())
                && part(self.model, operation) == own
        };
        let can_come = |goal: &OperationOf<M>, may: &dyn Fn(&OperationOf<M>) -> bool| {
            let others = left().filter(|other| other.number != goal.number && may(other));
            goal.answer.as_ref().is_none_or(|answer| {
                let asks = others.map(|other| &other.ask);
                self.model.can_lead_to(state, &goal.ask, answer, asks)
            })
        };
        let goals: SmallVec<[_; AHEAD]> = left()
            .filter(|operation| tells(self.model, operation))
            .take(AHEAD)
            .collect();
        let is_told = || {
            let last = |other: &OperationOf<M>| !overwrites(other);
            goals.len() == AHEAD || goals.iter().any(|goal| can_come(goal, &last))
        };
        goals.iter().all(|goal| can_come(goal, &|_| true))
            && (!self.overwrites || is_told() || !left().any(overwrites))
    }

    fn is_left(&self, number: u32) -> bool {
        let place = self.place_of[number as usize];
        if self.history[number as usize].answer.is_some() {
            place >= self.positions[self.process_of[number as usize]]
        } else {
            self.unanswered
                .get(place)
                .is_some_and(|it| it.number == number && !it.is_done)
        }
    }

    /// Does a step; the frame says how to take it back.
    fn enter(&mut self, tried: Move, state: M::State) -> Frame<M::State> {
        let (length, fingerprint) = (self.order.len(), self.fingerprint);
        let number = self.number(tried);
        let part = self.part_of[number as usize];
        self.fingerprint = self
            .fingerprint
            .wrapping_sub(of_state(part, &self.states[part]))
            .wrapping_add(of_state(part, &state));
        let before = std::mem::replace(&mut self.states[part], state);
        self.held += self.model.state_bytes(&before);
        self.go_on(tried);
        Frame {
            before: Some((part, before)),
            length,
            fingerprint,
            tried: Move::None,
            next: Vec::new(),
        }
    }

    /// Notes that an operation is done.
    fn go_on(&mut self, tried: Move) {
        let number = self.number(tried);
        self.order.push(number);
        if let Move::Unanswered(place) = tried {
            self.unanswered[place].is_done = true;
            self.fingerprint = self.fingerprint.wrapping_add(of((1, place)));
            return;
        }
        let process = self.process_of[number as usize];
        let position = self.positions[process];
        self.positions[process] = position + 1;
        self.answered_done += 1;
        // Positions count from zero, which has no fingerprint of its own.
        let added = of((2, process, position));
        self.fingerprint = self.fingerprint.wrapping_add(added);
    }

    fn take_back(&mut self, frame: Frame<M::State>) {
        if let Some((part, state)) = frame.before {
            self.held = self.held.saturating_sub(self.model.state_bytes(&state));
            self.states[part] = state;
        }
        while self.order.len() > frame.length {
            let Some(number) = self.order.pop() else {
                break;
            };
            if self.history[number as usize].answer.is_some() {
                self.positions[self.process_of[number as usize]] -= 1;
                self.answered_done -= 1;
            } else if let Ok(place) =
                (self.unanswered).binary_search_by_key(&number, |unanswered| unanswered.number)
            {
                self.unanswered[place].is_done = false;
            }
        }
        self.fingerprint = frame.fingerprint;
    }

    /// Does every read that fits, until none does.
    fn read_ahead(&mut self) {
        for process in 0..self.queues.len() {
            while let Some(&number) = self.queues[process].get(self.positions[process]) {
                let Operation { ask, answer, .. } = &self.history[number as usize];
                if !self.model.is_read(ask, answer.as_ref()) || self.results(number).is_empty() {
                    break;
                }
                self.go_on(Move::Answered(number));
            }
        }
    }
}

/// 128 bits that stand for a value.
fn of(value: impl Hash) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        value.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0x6d75_7270) << 64 | half(0x6879_2121)
}

fn of_state(part: usize, state: &impl Hash) -> u128 {
    of((3, part, state))
}
