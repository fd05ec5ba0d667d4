//! The search in depth: Wing and Gong's (1993), with Lowe's memory of configurations (2017).
//!
//! Calls and answers stand in one list in order of time. Whoever is called before the first answer of the list may
//! come next; whoever comes next is taken out with its answer. Where nobody may, the last one taken is put back, and
//! the next one is tried.

use smallvec::SmallVec;

use super::{
    Budget, Case, Found, Illegal,
    blame::Blame,
    cuts::Rest,
    footprint::Footprints,
    goals::{AHEAD, Goals},
    seen::{Seen, UNKNOWN_MAX, number_of},
    states::States,
};
use crate::model::{Model, tells};

/// The place before the first of the list.
const HEAD: u32 = 0;

/// The calls and answers that are left, in order of time; calls before answers of the same moment.
struct Moments {
    next: Vec<u32>,
    previous: Vec<u32>,
    /// The operation of each place, with the place of its answer; `answer` is 0 at an answer.
    of: Vec<(u32, u32)>,
}

impl Moments {
    /// Of the operations at `positions`, which were all answered.
    fn new<M: Model>(case: &Case<'_, M>, positions: &[u32]) -> Self {
        let mut moments: Vec<(u64, bool, u32)> = Vec::with_capacity(positions.len() * 2);
        for position in positions {
            let operation = case.operations[*position as usize];
            moments.push((operation.call, false, *position));
            moments.push((operation.end.max(operation.call), true, *position));
        }
        moments.sort_unstable();
        let length = u32::try_from(moments.len()).unwrap_or(u32::MAX);
        let mut of = vec![(u32::MAX, 0); moments.len() + 1];
        let mut called = vec![0; case.operations.len()];
        for (place, (_, is_answer, position)) in (1..).zip(moments) {
            of[place as usize] = (position, 0);
            if is_answer {
                let call: u32 = called[position as usize];
                of[call as usize].1 = place;
            } else {
                called[position as usize] = place;
            }
        }
        Self {
            next: (1..=length).chain([HEAD]).collect(),
            previous: std::iter::once(length).chain(0..length).collect(),
            of,
        }
    }

    /// The place behind `place`, and what is there: the position of a call; `None` for an answer, or the end.
    fn call_after(&self, place: u32) -> Option<(u32, u32)> {
        let place = self.next[place as usize];
        let (position, answer) = self.of[place as usize];
        (answer != 0).then_some((place, position))
    }

    /// The operations whose calls are left, in order of time.
    fn calls(&self) -> impl Iterator<Item = u32> {
        let mut place = HEAD;
        std::iter::from_fn(move || {
            loop {
                place = self.next[place as usize];
                match self.of[place as usize] {
                    _ if place == HEAD => return None,
                    (_, 0) => {}
                    (position, _) => return Some(position),
                }
            }
        })
    }

    fn is_empty(&self) -> bool {
        self.next[HEAD as usize] == HEAD
    }

    fn unlink(&mut self, place: u32) {
        let (previous, next) = (self.previous[place as usize], self.next[place as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
    }

    fn link(&mut self, place: u32) {
        let (previous, next) = (self.previous[place as usize], self.next[place as usize]);
        self.next[previous as usize] = place;
        self.previous[next as usize] = place;
    }

    /// Takes a call out with its answer.
    fn take(&mut self, place: u32) {
        self.unlink(place);
        self.unlink(self.of[place as usize].1);
    }

    /// Puts back what was taken last.
    fn put_back(&mut self, place: u32) {
        self.link(self.of[place as usize].1);
        self.link(place);
    }
}

/// Whom to try next.
#[derive(Clone, Copy)]
enum Cursor {
    /// Those answered, from this rank on ([`Search::ranked`]).
    Known(usize),
    /// Those of unknown outcome, from this number on.
    Unknown(usize),
}

/// Who may come next and need be tried: places and positions of those answered, numbers of those of unknown outcome.
#[derive(Default)]
struct Ranked {
    known: SmallVec<[(u32, u32); 16]>,
    unknown: SmallVec<[usize; 8]>,
    /// Their keys.
    keys: u64,
    /// What was looked at to find them.
    work: usize,
}

/// Who was taken.
#[derive(Clone, Copy)]
enum Taken {
    /// One that was answered: the place of its call.
    Known(u32),
    /// One of unknown outcome: its number among them.
    Unknown(usize),
}

/// One operation that was taken.
struct Frame {
    taken: Taken,
    position: u32,
    /// Whom to try next in its place.
    next: Cursor,
    /// The state before it, the sum and the unknown outcomes used up.
    before: Config,
    /// Other states it may leave.
    others: SmallVec<[u32; 4]>,
    /// A read: nothing else need be tried in its place.
    is_forced: bool,
    /// What the dead ends rest on that were met in its place.
    blamed: u64,
}

#[derive(Clone, Copy, PartialEq)]
struct Config {
    state: u32,
    sum: u128,
    used: u128,
}

/// Looks for a legal order of what the cuts have left.
pub(super) fn search<M: Model>(
    model: &M,
    case: &Case<'_, M>,
    footprints: &Footprints,
    rest: Rest<M::State>,
    budget: &mut Budget,
) -> Found<M::State> {
    let mut search = Search::new(model, case, footprints, rest.from);
    let mut initial = Vec::new();
    for (state, used) in rest.frontier {
        initial.push(state.clone());
        match search.run(state, &used, budget) {
            Ok(true) => return Found::Legal,
            Ok(false) => {}
            Err(why) => {
                return Found::Undecided {
                    why,
                    explored: budget.explored,
                };
            }
        }
    }
    let (before, longest) = search.longest;
    let state = |number| search.states.get(number).clone();
    let last = u32::try_from(case.operations.len()).unwrap_or(u32::MAX);
    Found::Illegal(Illegal {
        window: (u32::try_from(rest.from).unwrap_or(u32::MAX)..last).collect(),
        before: before.map_or_else(|| model.initial(), state),
        longest: longest
            .into_iter()
            .map(|(position, number)| (position, state(number)))
            .collect(),
        initial,
    })
}

struct Search<'a, 'c, M: Model> {
    model: &'a M,
    case: &'a Case<'c, M>,
    footprints: &'a Footprints,
    states: States<'a, M>,
    seen: Seen,
    blame: Blame<'a>,
    /// What the dead ends rest on that were met behind the operation taken last.
    blamed: u64,
    moments: Moments,
    goals: Goals,
    unknown: Vec<u32>,
    /// For each of them, one before it that asks for the same.
    twins: Vec<Option<usize>>,
    is_used: Vec<bool>,
    /// Whether the model knows of operations that overwrite what was there.
    overwrites: bool,
    frames: Vec<Frame>,
    /// The state at its begin, and the longest order found: positions with the state after each.
    longest: (Option<u32>, Vec<(u32, u32)>),
    /// How much of `longest` the frames still share.
    shared: usize,
}

impl<'a, 'c, M: Model> Search<'a, 'c, M> {
    fn new(model: &'a M, case: &'a Case<'c, M>, footprints: &'a Footprints, from: usize) -> Self {
        let mut known = Vec::new();
        let mut unknown = Vec::new();
        for (position, operation) in (0..).zip(case.operations.iter()) {
            if operation.answer.is_some() {
                if position as usize >= from {
                    known.push(position);
                }
            } else if !model.is_read(&operation.ask, None) {
                unknown.push(position);
            }
        }
        Self {
            model,
            case,
            footprints,
            states: States::new(model),
            seen: Seen::default(),
            blame: Blame::new(footprints),
            blamed: 0,
            moments: Moments::new(case, &known),
            goals: Goals::new(model, case, footprints, from),
            is_used: vec![false; unknown.len()],
            overwrites: footprints.are_single()
                && (known.iter().chain(&unknown)).any(|position| {
                    let operation = case.operations[*position as usize];
                    model.overwrites(&operation.ask, operation.answer.as_ref())
                }),
            twins: twins(case, &unknown),
            unknown,
            frames: Vec::new(),
            longest: (None, Vec::new()),
            shared: 0,
        }
    }

    /// Whether there is a legal order from one state.
    fn run(
        &mut self,
        state: M::State,
        used: &[u32],
        budget: &mut Budget,
    ) -> Result<bool, &'static str> {
        let state = self.states.number(state);
        let mut config = Config {
            state,
            sum: 0,
            used: 0,
        };
        for (number, position) in self.unknown.iter().enumerate() {
            self.is_used[number] = used.contains(position);
            if self.is_used[number] {
                mark(&mut config, number, *position);
            }
        }
        if self.longest.0.is_none() {
            self.longest.0 = Some(state);
        }
        self.shared = 0;
        // Whom to try next; none where the configuration is a new one.
        let mut cursor = None;
        loop {
            if self.moments.is_empty() {
                return Ok(true);
            }
            let mut read = None;
            if cursor.is_none() {
                budget.spend(|| self.bytes())?;
                self.blamed = 0;
                read = self.read(config);
            }
            let is_forced = read.is_some();
            let next = match read {
                None => self.candidate(config, cursor.unwrap_or(Cursor::Known(0)), budget)?,
                read => read,
            };
            let next = if let Some(next) = next {
                next
            } else {
                self.remember(state, config.state);
                let Some((before, other)) = self.back(config) else {
                    return Ok(false);
                };
                config = before;
                match other {
                    Tried::Another(next) => next,
                    Tried::All(others) => {
                        cursor = Some(others);
                        continue;
                    }
                }
            };
            config = self.take(config, next, is_forced);
            cursor = None;
        }
    }

    fn bytes(&self) -> usize {
        self.states.bytes()
            + self.seen.bytes()
            + self.blame.bytes()
            + self.moments.of.len() * 16
            + self.frames.capacity() * size_of::<Frame>()
            + self.longest.1.capacity() * 8
    }

    /// A read that may come next.
    fn read(&mut self, config: Config) -> Option<Candidate> {
        let mut place = HEAD;
        let mut next = SmallVec::new();
        while let Some((call, position)) = self.moments.call_after(place) {
            place = call;
            let operation = self.case.operations[position as usize];
            if !self
                .model
                .is_read(&operation.ask, operation.answer.as_ref())
            {
                continue;
            }
            self.states.step(
                self.case.operations[position as usize],
                config.state,
                &mut next,
            );
            if let Some(state) = next.pop() {
                return Some(Candidate {
                    taken: Taken::Known(call),
                    position,
                    next: Cursor::Known(0),
                    state,
                    others: SmallVec::new(),
                });
            }
        }
        None
    }

    /// Those that may come next and need be tried, best first: the one that is answered first has to come soonest, and
    /// doing the others later keeps more open. Where it cannot come yet, first those after which it can.
    fn ranked(&mut self, state: u32) -> Ranked {
        let mut known = SmallVec::<[(u32, u32); 16]>::new();
        let mut place = HEAD;
        while let Some((call, position)) = self.moments.call_after(place) {
            place = call;
            known.push((call, position));
        }
        known.sort_by_key(|(_, position)| self.case.operations[*position as usize].end);
        let Some((_, first)) = known.first().copied() else {
            return Ranked::default();
        };
        let until = self.case.operations[first as usize].end;
        let asked = |position: u32| self.case.operations[position as usize].call <= until;
        let unknown = (0..self.unknown.len())
            .take_while(|number| asked(self.unknown[*number]))
            .filter(|number| !self.is_used[*number] && self.is_first(*number));
        let mut unknown: SmallVec<[usize; 8]> = unknown.collect();
        let work = self.leave_unseen(&mut unknown);
        let candidates: SmallVec<[u32; 64]> = (known.iter().map(|(_, position)| *position))
            .chain(unknown.iter().map(|number| self.unknown[*number]))
            .collect();
        let is_in_the_way = self.footprints.in_the_way(first, &candidates);
        let in_the_way = (candidates.iter().zip(&is_in_the_way)).filter(|(_, is_in)| **is_in);
        let keys = in_the_way.fold(self.footprints.mask(first), |keys, (position, _)| {
            keys | self.footprints.mask(*position)
        });
        let mut is_in = is_in_the_way.into_iter();
        known.retain(|_| is_in.next().unwrap_or_default());
        let unknown = unknown
            .into_iter()
            .filter(|_| is_in.next().unwrap_or_default())
            .collect();
        let mut next = SmallVec::new();
        self.states
            .step(self.case.operations[first as usize], state, &mut next);
        if next.is_empty() {
            self.rank_by_use(&mut known, state, first);
        }
        Ranked {
            known,
            unknown,
            keys,
            work,
        }
    }

    /// Whether the twin of an operation of unknown outcome is used up: of two that ask for the same it makes no
    /// difference which one happened.
    fn is_first(&self, number: usize) -> bool {
        self.twins[number].is_none_or(|twin| self.is_used[twin])
    }

    /// Leaves out operations of unknown outcome of which no answer can tell that is left: before the first answer on
    /// their key that tells something, what they do is certain to be overwritten ([`Model::overwrites`]). Returns how
    /// many operations it looked at.
    fn leave_unseen(&self, unknown: &mut SmallVec<[usize; 8]>) -> usize {
        let mut work = 0;
        if !self.overwrites {
            return work;
        }
        let mut known = SmallVec::<[(Option<&[u32]>, bool); 8]>::new();
        unknown.retain(|number| {
            let key = self.footprints.of(self.unknown[*number]);
            if let Some((_, is_seen)) = known.iter().find(|(other, _)| *other == key) {
                return *is_seen;
            }
            let is_seen = self.may_be_seen(key, &mut work);
            known.push((key, is_seen));
            is_seen
        });
        work
    }

    fn may_be_seen(&self, key: Option<&[u32]>, work: &mut usize) -> bool {
        let mut overwritten = u64::MAX;
        for other in self.moments.calls() {
            *work += 1;
            if self.footprints.of(other) != key {
                continue;
            }
            let operation = self.case.operations[other as usize];
            if (self.model).overwrites(&operation.ask, operation.answer.as_ref()) {
                overwritten = overwritten.min(operation.end);
            } else if tells(self.model, operation) {
                return overwritten >= operation.call;
            }
        }
        false
    }

    /// Puts those first after which `first` can come.
    fn rank_by_use(&mut self, known: &mut SmallVec<[(u32, u32); 16]>, state: u32, first: u32) {
        let case = self.case;
        let operation = case.operations[first as usize];
        let mut next = SmallVec::new();
        known.sort_by_cached_key(|(_, position)| {
            next.clear();
            self.states
                .step(self.case.operations[*position as usize], state, &mut next);
            let allows = |after: &u32| {
                let after = self.states.get(*after);
                (self.model).allows(after, &operation.ask, operation.answer.as_ref())
            };
            !next.iter().any(allows)
        });
    }

    /// The next one from `cursor` on that leads to a configuration that was not entered before.
    fn candidate(
        &mut self,
        config: Config,
        cursor: Cursor,
        budget: &mut Budget,
    ) -> Result<Option<Candidate>, &'static str> {
        let Ranked {
            known,
            unknown,
            keys,
            work: looked_at,
        } = self.ranked(config.state);
        self.blamed |= keys;
        // Each looks at all others, to see what can still come.
        let work = known.len() + self.unknown.len();
        budget.work(looked_at + work)?;
        let first = match cursor {
            Cursor::Known(rank) => {
                for (rank, (call, position)) in known.into_iter().enumerate().skip(rank) {
                    budget.work(work)?;
                    let next = Cursor::Known(rank + 1);
                    if let Some(found) = self.enter(config, Taken::Known(call), position, next) {
                        return Ok(Some(found));
                    }
                }
                0
            }
            Cursor::Unknown(first) => first,
        };
        for number in unknown.into_iter().filter(|number| *number >= first) {
            budget.work(work)?;
            let next = Cursor::Unknown(number + 1);
            let position = self.unknown[number];
            if let Some(found) = self.enter(config, Taken::Unknown(number), position, next) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The operation at `position` as the next one, where it leads to something new.
    fn enter(
        &mut self,
        config: Config,
        taken: Taken,
        position: u32,
        cursor: Cursor,
    ) -> Option<Candidate> {
        let mut next = SmallVec::new();
        self.states.step(
            self.case.operations[position as usize],
            config.state,
            &mut next,
        );
        let after = after(config, taken, position);
        if matches!(taken, Taken::Unknown(_)) {
            // What changes nothing might as well not have happened.
            next.retain(|state| *state != config.state && self.is_of_use(*state, position));
        }
        next.retain(
            |state| match self.seen.enter(after.sum, *state, after.used) {
                Ok(()) => true,
                Err(used) => {
                    self.blamed |= self.blame.of(after.sum, *state, used);
                    false
                }
            },
        );
        next.retain(|state| {
            let has_hope = self.has_hope(*state, position);
            if !has_hope {
                let keys = self.blame.of_hopeless(position);
                self.blame.keep(after.sum, *state, after.used, keys);
                self.blamed |= keys;
            }
            has_hope
        });
        let state = next.pop()?;
        Some(Candidate {
            taken,
            position,
            next: cursor,
            state,
            others: next,
        })
    }

    /// Whether the next answers on the keys of an operation are possible after the state that it leaves.
    fn has_hope(&mut self, state: u32, position: u32) -> bool {
        let goals = self.goals.next(self.footprints, position);
        let can_come = |goal: u32| self.can_lead_to(state, position, goal, |_| true);
        goals.into_iter().all(can_come)
    }

    /// Whether an answer that is left can tell of the state that an operation of unknown outcome leaves: one to which
    /// that leads without anything that overwrites it. Otherwise the operation might as well not have happened.
    fn is_of_use(&mut self, state: u32, position: u32) -> bool {
        if !self.overwrites {
            return true;
        }
        let goals = self.goals.next(self.footprints, position);
        let tells = |goal: u32| {
            self.can_lead_to(state, position, goal, |other| {
                let operation = self.case.operations[other as usize];
                !(self.model).overwrites(&operation.ask, operation.answer.as_ref())
            })
        };
        // Of more answers than that only some are looked at.
        goals.len() >= AHEAD || goals.into_iter().any(tells)
    }

    /// Whether those of the operations that are left for which `may` is true may lead from `state`, behind the operation
    /// at `position`, to an answer.
    fn can_lead_to(&self, state: u32, position: u32, goal: u32, may: impl Fn(u32) -> bool) -> bool {
        let case = self.case;
        let operation = case.operations[goal as usize];
        let Some(answer) = &operation.answer else {
            return true;
        };
        let is_before = |other: u32| case.operations[other as usize].call <= operation.end;
        let left = self.moments.calls().take_while(|other| is_before(*other));
        let unknown = (self.unknown.iter().zip(&self.is_used)).filter(|(_, is_used)| !**is_used);
        let unknown = unknown
            .map(|(other, _)| *other)
            .take_while(|other| is_before(*other));
        let between = (left.chain(unknown))
            .filter(|other| *other != goal && *other != position && may(*other))
            .map(|other| &case.operations[other as usize].ask);
        let state = self.states.get(state);
        self.model
            .can_lead_to(state, &operation.ask, answer, between)
    }

    fn take(&mut self, config: Config, candidate: Candidate, is_forced: bool) -> Config {
        match candidate.taken {
            Taken::Known(place) => {
                self.moments.take(place);
                self.goals.take(candidate.position);
            }
            Taken::Unknown(number) => self.is_used[number] = true,
        }
        self.frames.push(Frame {
            taken: candidate.taken,
            position: candidate.position,
            next: candidate.next,
            before: config,
            others: candidate.others,
            is_forced,
            blamed: self.blamed,
        });
        Config {
            state: candidate.state,
            ..after(config, candidate.taken, candidate.position)
        }
    }

    /// Puts back operations up to one in whose place something else can be tried, and may mend the dead end at `end`.
    fn back(&mut self, mut end: Config) -> Option<(Config, Tried)> {
        loop {
            let blamed = self.blamed;
            self.blame.keep(end.sum, end.state, end.used, blamed);
            let mut frame = self.frames.pop()?;
            self.shared = self.shared.min(self.frames.len());
            match frame.taken {
                Taken::Known(place) => {
                    self.moments.put_back(place);
                    self.goals.put_back(frame.position);
                }
                Taken::Unknown(number) => self.is_used[number] = false,
            }
            let keys = self.footprints.mask(frame.position);
            let is_to_blame = blamed & keys != 0;
            if is_to_blame {
                self.blamed |= frame.blamed | if frame.is_forced { keys } else { 0 };
            }
            if frame.is_forced || !is_to_blame {
                for state in frame.others {
                    self.blame.keep(end.sum, state, end.used, blamed);
                }
                end = frame.before;
                continue;
            }
            let tried = match frame.others.pop() {
                Some(state) => Tried::Another(Candidate {
                    taken: frame.taken,
                    position: frame.position,
                    next: frame.next,
                    state,
                    others: frame.others,
                }),
                None => Tried::All(frame.next),
            };
            return Some((frame.before, tried));
        }
    }

    /// Keeps the order that has come to an end, if none was longer. Each operation is copied once for each time it is
    /// taken.
    fn remember(&mut self, begin: u32, end: u32) {
        let (first, longest) = &mut self.longest;
        if self.frames.len() <= longest.len() && !longest.is_empty() {
            return;
        }
        *first = Some(begin);
        longest.truncate(self.shared);
        let states = (self.frames.iter().skip(1).map(|frame| frame.before.state))
            .chain(std::iter::once(end));
        let behind = self.frames.iter().zip(states).skip(longest.len());
        longest.extend(behind.map(|(frame, state)| (frame.position, state)));
        self.shared = longest.len();
    }
}

/// How many different requests of unknown outcome are kept in mind to find twins.
const TWINS_SOUGHT: usize = 64;

/// For each operation of unknown outcome, the last one before it that asks for the same, where it is found.
fn twins<M: Model>(case: &Case<'_, M>, unknown: &[u32]) -> Vec<Option<usize>> {
    let ask = |number: usize| &case.operations[unknown[number] as usize].ask;
    let mut last: Vec<usize> = Vec::new();
    let of = (0..unknown.len()).map(|number| {
        let same = last.iter().position(|other| ask(*other) == ask(number));
        if same.is_none() && last.len() < TWINS_SOUGHT {
            last.push(number);
        }
        same.map(|place| std::mem::replace(&mut last[place], number))
    });
    of.collect()
}

struct Candidate {
    taken: Taken,
    position: u32,
    next: Cursor,
    state: u32,
    others: SmallVec<[u32; 4]>,
}

enum Tried {
    /// The same operation, with another outcome.
    Another(Candidate),
    /// The operation, with every outcome; the next is behind.
    All(Cursor),
}

/// The configuration after an operation, but for its state.
fn after(config: Config, taken: Taken, position: u32) -> Config {
    let mut config = config;
    match taken {
        Taken::Known(_) => config.sum ^= number_of(position),
        Taken::Unknown(number) => mark(&mut config, number, position),
    }
    config
}

/// Uses up an operation of unknown outcome.
fn mark(config: &mut Config, number: usize, position: u32) {
    if number < UNKNOWN_MAX {
        config.used |= 1 << number;
    } else {
        config.sum ^= number_of(position);
    }
}
