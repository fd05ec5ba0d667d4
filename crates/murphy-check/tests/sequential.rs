//! Sequential consistency of random small histories is judged exactly as brute force judges it, which tries every
//! interleaving with every subset of the unanswered operations.
//!
//! By default a seeded sample; with `MURPHY_SOAK=1` the full count.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

use std::collections::BTreeMap;

use murphy_check::{
    model::{Model, OperationOf, Part},
    sequential::{Explored, Limit, Limits, Outcome, refute, search},
    sessions::{self, Access},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn sample(full: u64) -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        full
    } else {
        full / 5
    }
}

/// Registers by key.
struct Registers;

impl Model for Registers {
    type State = u32;
    type Ask = (u32, Option<u32>);
    type Answer = u32;

    fn initial(&self) -> u32 {
        0
    }

    fn step(
        &self,
        content: &u32,
        (_, write): &Self::Ask,
        answer: Option<&u32>,
        next: &mut dyn FnMut(u32),
    ) {
        match write {
            Some(value) => next(*value),
            None if answer.is_none_or(|answer| answer == content) => next(*content),
            None => {}
        }
    }

    fn part(&self, ask: &Self::Ask, _: Option<&u32>) -> Part {
        Part::Key(u64::from(ask.0))
    }

    fn is_read(&self, ask: &Self::Ask, _: Option<&u32>) -> bool {
        ask.1.is_none()
    }
}

/// Bags by key: what comes out is any of the values inside, 0 for none.
struct Bags;

impl Model for Bags {
    type State = Vec<u32>;
    type Ask = (u32, Option<u32>);
    type Answer = u32;

    fn initial(&self) -> Vec<u32> {
        Vec::new()
    }

    fn step(
        &self,
        inside: &Vec<u32>,
        (_, put): &Self::Ask,
        answer: Option<&u32>,
        next: &mut dyn FnMut(Vec<u32>),
    ) {
        if let Some(value) = put {
            let mut all = inside.clone();
            all.push(*value);
            all.sort_unstable();
            return next(all);
        }
        if inside.is_empty() && answer.is_none_or(|answer| *answer == 0) {
            next(Vec::new());
        }
        for (at, value) in inside.iter().enumerate() {
            if answer.is_none_or(|answer| answer == value) {
                let mut rest = inside.clone();
                rest.remove(at);
                next(rest);
            }
        }
    }

    fn part(&self, ask: &Self::Ask, _: Option<&u32>) -> Part {
        Part::Key(u64::from(ask.0))
    }
}

/// The key of an operation of these models, which each have one.
fn part_of<M: Model>(model: &M, operation: &OperationOf<M>) -> u64 {
    match model.part(&operation.ask, operation.answer.as_ref()) {
        Part::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

/// Every interleaving; `done` says which operations are, by bits.
fn explains<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    done: u32,
    states: &BTreeMap<u64, M::State>,
) -> bool {
    let is_done = |at: usize| done & 1 << at != 0;
    if (0..history.len()).all(|at| is_done(at) || history[at].answer.is_none()) {
        return true;
    }
    (0..history.len()).filter(|&at| !is_done(at)).any(|at| {
        let operation = &history[at];
        let waits_for = |earlier: &usize| {
            history[*earlier].process == operation.process && history[*earlier].answer.is_some()
        };
        if !(0..at).filter(waits_for).all(is_done) {
            return false;
        }
        let part = part_of(model, operation);
        let state = states
            .get(&part)
            .cloned()
            .unwrap_or_else(|| model.initial());
        let mut next = Vec::new();
        let answer = operation.answer.as_ref();
        model.step(&state, &operation.ask, answer, &mut |state| {
            next.push(state);
        });
        next.into_iter().any(|state| {
            let mut states = states.clone();
            states.insert(part, state);
            explains(model, history, done | 1 << at, &states)
        })
    })
}

/// An order is legal, has all answered operations once, and keeps that of each process.
fn is_an_explanation<M: Model>(model: &M, history: &[OperationOf<M>], order: &[u32]) -> bool {
    let mut states: BTreeMap<u64, Vec<M::State>> = BTreeMap::new();
    let mut done = Vec::new();
    for &number in order {
        let at = number as usize;
        let operation = &history[at];
        let earlier = (0..at).filter(|&other| {
            history[other].process == operation.process && history[other].answer.is_some()
        });
        if done.contains(&at) || !earlier.into_iter().all(|other| done.contains(&other)) {
            return false;
        }
        done.push(at);
        let states = states
            .entry(part_of(model, operation))
            .or_insert_with(|| vec![model.initial()]);
        let mut next = Vec::new();
        for state in states.iter() {
            let answer = operation.answer.as_ref();
            model.step(state, &operation.ask, answer, &mut |state| next.push(state));
        }
        if next.is_empty() {
            return false;
        }
        *states = next;
    }
    (0..history.len()).all(|at| history[at].answer.is_none() || done.contains(&at))
}

type Put = (u32, Option<u32>);

/// What two to four processes may have seen: each takes its next step now or later, on the present state or, now and
/// then, on anything.
fn random<M: Model<Ask = Put, Answer = u32>>(
    model: &M,
    answers: fn(&M::State, &mut ChaCha8Rng) -> u32,
    random: &mut ChaCha8Rng,
) -> Vec<OperationOf<M>> {
    let processes = random.random_range(2..=4);
    let keys = random.random_range(1..=2);
    let faults = random.random_range(0..=2);
    let count = random.random_range(2..=9);
    let mut states = vec![model.initial(); keys as usize];
    let mut history: Vec<OperationOf<M>> = Vec::new();
    for number in 0..count {
        let key = random.random_range(0..keys);
        let put = random.random_ratio(1, 2).then_some(number + 1);
        let state = &mut states[key as usize];
        let mut answer = if put.is_some() {
            0
        } else {
            answers(state, random)
        };
        if put.is_none() && random.random_ratio(faults, 9) {
            answer = random.random_range(0..=count);
        }
        let is_answered = random.random_ratio(7, 8);
        let ask = (key, put);
        if is_answered || random.random_ratio(1, 2) {
            let mut next = None;
            model.step(state, &ask, Some(&answer), &mut |state| next = Some(state));
            *state = next.unwrap_or_else(|| state.clone());
        }
        history.push(OperationOf::<M> {
            process: random.random_range(0..processes),
            call: u64::from(number),
            end: u64::from(number),
            ask,
            answer: is_answered.then_some(answer),
            number,
        });
    }
    // Processes that run apart from real time.
    for _ in 0..random.random_range(0..4) {
        let (a, b) = (
            random.random_range(0..history.len()),
            random.random_range(0..history.len()),
        );
        history.swap(a, b);
    }
    history
}

fn in_full<M: Model>(model: &M, history: &[OperationOf<M>]) -> Outcome {
    search(model, history, Limits::default(), &mut || false)
}

/// Judges one history twice; whether it is consistent.
fn compare<M: Model<Ask = Put, Answer = u32>>(
    model: &M,
    history: &[OperationOf<M>],
    seed: u64,
) -> bool {
    let truth = explains(model, history, 0, &BTreeMap::new());
    match in_full(model, history) {
        Outcome::Consistent { order } => {
            assert!(truth, "seed {seed}: {history:#?}");
            assert!(
                is_an_explanation(model, history, &order),
                "seed {seed}: {order:?} {history:#?}"
            );
        }
        Outcome::Broken(_) => assert!(!truth, "seed {seed}: {history:#?}"),
        Outcome::Undecided(..) => panic!("seed {seed}: undecided"),
    }
    truth
}

fn reads_and_writes(history: &[OperationOf<Registers>]) -> Vec<sessions::Operation> {
    let known = history
        .iter()
        .filter(|op| op.answer.is_some() || op.ask.1.is_some());
    let operation = |op: &OperationOf<Registers>| sessions::Operation {
        session: op.process,
        key: op.ask.0,
        access: match op.ask.1 {
            Some(value) => Access::Write(value),
            None => Access::Read(op.answer.unwrap_or_default()),
        },
        is_answered: op.answer.is_some(),
    };
    known.map(operation).collect()
}

fn as_registers(history: &[sessions::Operation]) -> Vec<OperationOf<Registers>> {
    let operation = |(number, op): (u32, &sessions::Operation)| OperationOf::<Registers> {
        process: op.session,
        call: u64::from(number),
        end: u64::from(number),
        ask: match op.access {
            Access::Write(value) => (op.key, Some(value)),
            Access::Read(_) => (op.key, None),
        },
        answer: op.is_answered.then_some(match op.access {
            Access::Write(_) => 0,
            Access::Read(value) => value,
        }),
        number,
    };
    (0..).zip(history).map(operation).collect()
}

#[test]
fn registers() {
    let (mut consistent, mut broken, mut refuted) = (0_u64, 0_u64, 0_u64);
    for seed in 0..sample(20_000) {
        let mut chacha = ChaCha8Rng::seed_from_u64(seed);
        let history = random(&Registers, |content, _| *content, &mut chacha);
        let truth = compare(&Registers, &history, seed);
        if truth {
            consistent += 1;
        } else {
            broken += 1;
        }
        let plain = reads_and_writes(&history);
        let Some(refutation) = refute(&plain) else {
            continue;
        };
        refuted += 1;
        assert!(!truth, "seed {seed}: {refutation:?} {plain:#?}");
        assert!(refutation.is_smallest, "seed {seed}");
        let alone: Vec<sessions::Operation> = (refutation.operations.iter())
            .map(|&at| plain[at as usize])
            .collect();
        let explained = |part: &[sessions::Operation]| {
            explains(&Registers, &as_registers(part), 0, &BTreeMap::new())
        };
        assert!(!explained(&alone), "seed {seed}: {alone:#?}");
        for left_out in &alone {
            let rest = alone.iter().copied().filter(|op| {
                let goes_along =
                    left_out.access == Access::Write(op.value()) && op.key == left_out.key;
                op != left_out && !goes_along
            });
            let rest: Vec<sessions::Operation> = rest.collect();
            assert!(
                explained(&rest),
                "seed {seed}: without {left_out:?} of {alone:#?}"
            );
        }
    }
    eprintln!(
        "registers: {consistent} consistent, {broken} broken, {refuted} of them refuted without a search"
    );
    assert!(consistent * 5 > broken && broken * 5 > consistent);
    assert!(refuted * 20 > broken * 19, "{refuted} of {broken}");
}

trait Value {
    fn value(&self) -> u32;
}

impl Value for sessions::Operation {
    fn value(&self) -> u32 {
        match self.access {
            Access::Write(value) | Access::Read(value) => value,
        }
    }
}

#[test]
fn bags() {
    let (mut consistent, mut broken) = (0_u64, 0_u64);
    let any = |inside: &Vec<u32>, random: &mut ChaCha8Rng| match inside.len() {
        0 => 0,
        count => inside[random.random_range(0..count)],
    };
    for seed in 0..sample(10_000) {
        let mut chacha = ChaCha8Rng::seed_from_u64(seed ^ 1 << 40);
        let history = random(&Bags, any, &mut chacha);
        if compare(&Bags, &history, seed) {
            consistent += 1;
        } else {
            broken += 1;
        }
    }
    eprintln!("bags: {consistent} consistent, {broken} broken");
    assert!(consistent * 5 > broken && broken * 5 > consistent);
}

/// Each key has its order, and no order of both keeps that of the processes.
#[test]
fn it_is_not_compositional() {
    let step = |number, process, key, put: Option<u32>, answer| OperationOf::<Registers> {
        process,
        call: u64::from(number),
        end: u64::from(number),
        ask: (key, put),
        answer: Some(answer),
        number,
    };
    let history = [
        step(0, 1, 0, Some(5), 0),
        step(1, 1, 1, None, 0),
        step(2, 2, 1, Some(6), 0),
        step(3, 2, 0, None, 0),
    ];
    assert!(matches!(in_full(&Registers, &history), Outcome::Broken(_)));
    for key in 0..2 {
        let part: Vec<_> = history
            .iter()
            .filter(|op| op.ask.0 == key)
            .cloned()
            .collect();
        assert!(matches!(
            in_full(&Registers, &part),
            Outcome::Consistent { .. }
        ));
    }
    let refutation = refute(&reads_and_writes(&history)).map(|refutation| refutation.operations);
    assert_eq!(refutation, Some(vec![0, 1, 2, 3]));
}

/// A history that takes exponential time: processes that write different values, and a read of a value that is not.
fn hard(processes: u32) -> Vec<OperationOf<Registers>> {
    let mut history = Vec::new();
    for number in 0..processes * 6 {
        history.push(OperationOf::<Registers> {
            process: number % processes,
            call: u64::from(number),
            end: u64::from(number),
            ask: (0, Some(number + 1)),
            answer: Some(0),
            number,
        });
    }
    let number = processes * 6;
    let read = OperationOf::<Registers> {
        process: number,
        ask: (0, None),
        answer: Some(99_999),
        number,
        ..history[0]
    };
    history.push(read);
    history
}

#[test]
fn every_limit_ends_it() {
    let history = hard(10);
    let steps = Limits {
        steps: 20_000,
        ..Limits::default()
    };
    let Outcome::Undecided(
        Limit::Steps,
        Explored {
            steps,
            longest,
            configurations,
        },
    ) = search(&Registers, &history, steps, &mut || false)
    else {
        panic!("not ended by its steps");
    };
    assert!((20_000..21_000).contains(&steps));
    assert!(configurations > 1_000);
    assert_eq!(longest.len(), 60);
    let memory = Limits {
        memory: 1 << 20,
        ..Limits::default()
    };
    let ended = search(&Registers, &history, memory, &mut || false);
    assert!(
        matches!(ended, Outcome::Undecided(Limit::Memory, _)),
        "{ended:?}"
    );
    let mut asked = 0;
    let ended = search(&Registers, &history, Limits::default(), &mut || {
        asked += 1;
        asked > 7
    });
    assert!(
        matches!(ended, Outcome::Undecided(Limit::Stopped, _)),
        "{ended:?}"
    );
}

/// A long history of a correct store is searched without going astray, with operations that never got an answer.
#[test]
fn long_consistent_histories_are_found_straight_away() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut contents = [0; 4];
    let mut history = Vec::new();
    for number in 0..20_000_u32 {
        let key = random.random_range(0..4);
        let content = &mut contents[key as usize];
        let put = random.random_ratio(1, 2).then_some(number + 1);
        let is_lost = random.random_ratio(1, 1_000);
        if let Some(value) = put.filter(|_| !is_lost) {
            *content = value;
        }
        history.push(OperationOf::<Registers> {
            process: if is_lost {
                100 + number
            } else {
                random.random_range(0..20)
            },
            call: u64::from(number),
            end: u64::from(number),
            ask: (key, put),
            answer: (!is_lost).then_some(if put.is_some() { 0 } else { *content }),
            number,
        });
    }
    let Outcome::Consistent { order } = in_full(&Registers, &history) else {
        panic!("not found");
    };
    assert!(order.len() > 19_900);
}

/// A read comes before a later write that was never answered, and so does what its process wrote before.
#[test]
fn writes_without_an_answer_carry_order_on() {
    let step = |session, key, access| sessions::Operation {
        session,
        key,
        access,
        is_answered: true,
    };
    let late = sessions::Operation {
        is_answered: false,
        ..step(1, 0, Access::Write(9))
    };
    let history = [
        step(1, 0, Access::Write(1)),
        late,
        step(2, 1, Access::Write(5)),
        step(2, 0, Access::Read(1)),
        step(3, 0, Access::Read(9)),
        step(3, 1, Access::Read(0)),
    ];
    let as_model = as_registers(&history);
    assert!(!explains(&Registers, &as_model, 0, &BTreeMap::new()));
    assert!(matches!(in_full(&Registers, &as_model), Outcome::Broken(_)));
    let refutation = refute(&history).map(|refutation| refutation.operations);
    assert_eq!(refutation, Some(vec![0, 1, 2, 3, 4, 5]));
}
