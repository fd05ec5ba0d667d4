//! Every model that is built in: small random histories, in order and spoiled, are judged exactly as brute force
//! judges them, which tries every order; those that were played on the model itself raise no alarm.

mod playing;
mod prefixes;

use murphy_check::{
    brute::{Precedence, Trust, has_legal_order},
    model::{Model, OperationOf, Vocabulary},
    models::{
        Bag, Bank, CasRegister, Counter, KeyValue, Log, MultiRegister, Mutex, PriorityQueue, Queue,
        Register, Set, Stack, UniqueIds,
    },
    search::{Case, Found, Illegal, Limits, linearize, search, search_in_depth},
    shrink::{shrink, smaller, steps},
    value::Value,
};
use playing::{Domain, list, map, play, spoil, text};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// 10,000 in full, as in `make soak`; 5 % otherwise.
fn count() -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        10_000
    } else {
        500
    }
}

fn brute<M: Vocabulary>(model: &M, history: &[OperationOf<M>]) -> bool {
    let operations: Vec<_> = history.iter().collect();
    has_legal_order(
        model,
        &[model.initial()],
        &operations,
        Precedence::RealTime,
        Trust::Steps,
        1 << 20,
    )
    .expect("a small history")
}

/// What brute force takes a model's word for changes nothing but how long it takes.
fn hopes_are_right<M: Vocabulary>(model: &M, history: &[OperationOf<M>]) {
    let operations: Vec<_> = history.iter().collect();
    for precedence in [Precedence::RealTime, Precedence::Session] {
        let [steps, hopes] = [Trust::Steps, Trust::Hopes].map(|trust| {
            let initial = [model.initial()];
            has_legal_order(model, &initial, &operations, precedence, trust, 1 << 20)
        });
        assert_eq!(steps, hopes, "{} {precedence:?}: {history:?}", M::NAME);
    }
}

/// One at a time: the tests run side by side already.
fn limits() -> Limits {
    Limits {
        threads: 1,
        ..Limits::default()
    }
}

fn agree<M: Vocabulary + Default + Sync>(domain: &Domain)
where
    M::State: Send,
    M::Ask: Sync,
    M::Answer: Sync,
{
    let (mut legal, mut illegal) = (0, 0);
    let mut live = prefixes::Tally::default();
    for seed in 0..count() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut model = M::default();
        let size = rng.random_range(3..=8);
        let mut history = play(&mut model, domain, size, &mut rng);
        assert!(
            brute(&model, &history),
            "{} {seed}: played, {history:?}",
            M::NAME
        );
        for spoils in 0..4 {
            if spoils > 0 {
                spoil(&mut model, domain, &mut history, &mut rng);
            }
            let expected = brute(&model, &history);
            hopes_are_right(&model, &history);
            let parts = linearize(&model, &history, &limits());
            let case = Case {
                initial: vec![model.initial()],
                operations: history.iter().collect(),
            };
            let whole = search(&model, &case, &limits());
            let deep = search_in_depth(&model, &case, &limits());
            for illegal in [&whole, &deep] {
                if let Found::Illegal(illegal) = illegal {
                    is_a_legal_beginning(&model, &case, illegal);
                    is_made_small(&model, &case, illegal);
                }
            }
            for (found, how) in [
                (&parts.found, "in parts"),
                (&whole, "whole"),
                (&deep, "in depth"),
            ] {
                let is_legal = match found {
                    Found::Legal => true,
                    Found::Illegal(_) => false,
                    Found::Undecided { why, .. } => panic!("{why}"),
                };
                let name = M::NAME;
                assert_eq!(
                    is_legal, expected,
                    "{name} {seed}/{spoils}, {how}: {history:?}"
                );
            }
            live.compare(&mut model, domain, &history, expected);
            *if expected { &mut legal } else { &mut illegal } += 1;
        }
    }
    live.is_enough(M::NAME, count());
    // Both kinds, or nothing has been compared.
    assert!(
        legal > count() && illegal > count() / 4,
        "{}: {legal} legal, {illegal} illegal",
        M::NAME
    );
}

/// The longest order that an illegal history has is legal, and not the whole.
fn is_a_legal_beginning<M: Vocabulary>(model: &M, case: &Case<'_, M>, illegal: &Illegal<M::State>) {
    let mut state = illegal.before.clone();
    assert!(illegal.initial.contains(&state));
    for (position, after) in &illegal.longest {
        let operation = case.operations[*position as usize];
        let mut next = Vec::new();
        model.step(
            &state,
            &operation.ask,
            operation.answer.as_ref(),
            &mut |state| next.push(state),
        );
        assert!(
            next.contains(after),
            "{operation:?} leaves {state:?} as {next:?}, not as {after:?}"
        );
        state = after.clone();
    }
    let answered = |position: &&u32| case.operations[**position as usize].answer.is_some();
    let known = illegal.window.iter().filter(answered).count();
    let ordered = illegal
        .longest
        .iter()
        .map(|(position, _)| position)
        .filter(answered)
        .count();
    assert!(ordered < known);
}

/// What is left of an illegal history is confirmed by brute force, and no operation can be left out of it.
fn is_made_small<M: Vocabulary>(model: &M, case: &Case<'_, M>, illegal: &Illegal<M::State>) {
    let shrunk = shrink(model, case, illegal, None);
    let left = &shrunk.operations;
    assert!(shrunk.is_confirmed && shrunk.is_minimal, "{left:?}");
    for step in steps(model, &shrunk.operations).concat() {
        let rest = smaller(model, &shrunk.operations, &[step]);
        let rest: Vec<_> = rest.iter().collect();
        let is_legal = has_legal_order(
            model,
            &shrunk.initial,
            &rest,
            Precedence::RealTime,
            Trust::Steps,
            1 << 20,
        );
        assert_eq!(is_legal, Some(true), "{step:?} is possible: {left:?}");
    }
}

fn nil() -> Value {
    Value::Nil
}

fn digits(to: i64) -> Vec<Value> {
    (1..=to).map(Value::Int).collect()
}

fn or_nil(mut values: Vec<Value>) -> Vec<Value> {
    values.push(Value::Nil);
    values
}

fn truths() -> Vec<Value> {
    vec![Value::Bool(true), Value::Bool(false)]
}

#[test]
fn register() {
    agree::<Register>(&Domain::new(&[
        ("read", vec![nil()], &|_| or_nil(digits(3))),
        ("write", digits(3), &|_| vec![nil()]),
    ]));
}

#[test]
fn cas_register() {
    let pairs = vec![list([1, 2]), list([2, 3]), list([3, 1]), list([2, 2])];
    agree::<CasRegister>(&Domain::new(&[
        ("read", vec![nil()], &|_| or_nil(digits(3))),
        ("write", digits(3), &|_| vec![nil()]),
        ("cas", pairs, &|_| truths()),
    ]));
}

#[test]
fn multi_register() {
    let read = |key: &str| Value::list([text("r"), text(key), nil()]);
    let write = |key: &str, value| Value::list([text("w"), text(key), Value::Int(value)]);
    let answers = |asked: &Value| {
        let mut answers = vec![Vec::new()];
        for step in asked.as_list().unwrap() {
            let fields = step.as_list().unwrap();
            let said = if fields[0] == text("r") {
                or_nil(digits(2))
            } else {
                vec![fields[2].clone()]
            };
            answers = (answers.iter())
                .flat_map(|steps: &Vec<Value>| {
                    said.iter().map(|said| {
                        let step =
                            Value::list([fields[0].clone(), fields[1].clone(), said.clone()]);
                        steps.iter().cloned().chain([step]).collect()
                    })
                })
                .collect();
        }
        answers.into_iter().map(Value::list).collect()
    };
    let txns = vec![
        Value::list([read("x")]),
        Value::list([read("x"), read("y")]),
        Value::list([write("x", 1), write("y", 1)]),
        Value::list([write("x", 2)]),
        Value::list([read("x"), write("y", 2), read("y")]),
    ];
    agree::<MultiRegister>(&Domain::new(&[("txn", txns, &answers)]));
}

/// Histories that are longer and have more keys than brute force can take as a whole: it judges key by key.
#[test]
fn keys_that_are_judged_together_are_judged_as_apart() {
    let names = ["v", "w", "x", "y", "z"];
    let key_of = |asked: &Value| asked.as_list().unwrap()[0].clone();
    let got = move |asked: &Value| {
        ["", "a", "b", "ab", "ba", "aa", "aab"]
            .map(|value| Value::list([key_of(asked), text(value)]))
            .into()
    };
    let keys: Vec<_> = names.map(|key| Value::list([text(key)])).into();
    let of = |value| names.map(|key| Value::list([text(key), text(value)]));
    let done: &dyn Fn(&Value) -> Vec<Value> = &|_| vec![nil()];
    let domain = Domain::new(&[
        ("get", [keys.clone(), keys.clone()].concat(), &got),
        ("put", of("a").into(), done),
        ("append", [of("a"), of("b")].concat(), done),
        ("delete", keys, done),
    ]);
    let (mut legal, mut illegal) = (0, 0);
    for seed in 0..count() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut model = KeyValue::default();
        let size = rng.random_range(20..=60);
        let mut history = play(&mut model, &domain, size, &mut rng);
        for spoils in 0..4 {
            if spoils > 0 {
                spoil(&mut model, &domain, &mut history, &mut rng);
            }
            let mut apart = std::collections::BTreeMap::<u32, Vec<_>>::new();
            for operation in &history {
                (apart.entry(operation.ask.key).or_default()).push(operation.clone());
            }
            let expected = apart.values().all(|part| brute(&model, part));
            let case = Case {
                initial: vec![model.initial()],
                operations: history.iter().collect(),
            };
            let found = search_in_depth(&model, &case, &limits());
            match &found {
                Found::Legal => {}
                Found::Illegal(illegal) => is_a_legal_beginning(&model, &case, illegal),
                Found::Undecided { why, .. } => panic!("{seed}/{spoils}: {why}"),
            }
            assert_eq!(
                found == Found::Legal,
                expected,
                "{seed}/{spoils}: {history:?}"
            );
            *if expected { &mut legal } else { &mut illegal } += 1;
        }
    }
    assert!(
        legal > count() / 2 && illegal > count() / 2,
        "{legal} legal, {illegal} illegal"
    );
}

#[test]
fn key_value() {
    let key_of = |asked: &Value| asked.as_list().unwrap()[0].clone();
    let got = move |asked: &Value| {
        ["", "a", "b", "ab", "ba", "aa"]
            .map(|value| Value::list([key_of(asked), text(value)]))
            .into()
    };
    let keys: Vec<_> = ["x", "y"].map(|key| Value::list([text(key)])).into();
    let puts: Vec<_> = [("x", "a"), ("x", "b"), ("y", "a")]
        .map(|(key, value)| Value::list([text(key), text(value)]))
        .into();
    let swaps = vec![Value::list([
        text("x"),
        Value::list([text("a"), text("b")]),
    ])];
    let done: &dyn Fn(&Value) -> Vec<Value> = &|_| vec![nil()];
    agree::<KeyValue>(&Domain::new(&[
        ("get", keys.clone(), &got),
        ("put", puts.clone(), done),
        ("append", puts.clone(), done),
        ("delete", keys.clone(), done),
        ("cas", swaps, &|_| truths()),
    ]));
    agree::<KeyValue>(&Domain::new(&[
        ("get", keys.clone(), &got),
        ("put", puts.clone(), done),
    ]));
}

#[test]
fn containers() {
    let done: &dyn Fn(&Value) -> Vec<Value> = &|_| vec![nil()];
    let taken: &dyn Fn(&Value) -> Vec<Value> = &|_| or_nil(digits(3));
    let domain = |put, take| Domain::new(&[(put, digits(3), done), (take, vec![nil()], taken)]);
    agree::<Queue>(&domain("enqueue", "dequeue"));
    agree::<Bag>(&domain("enqueue", "dequeue"));
    agree::<Stack>(&domain("push", "pop"));
    agree::<PriorityQueue>(&domain("insert", "delete_min"));
}

#[test]
fn set() {
    let was: &dyn Fn(&Value) -> Vec<Value> = &|_| or_nil(truths());
    let subsets: Vec<_> = [&[][..], &[1], &[2], &[1, 2]]
        .map(|values| list(values.iter().copied()))
        .into();
    let all = move |_: &Value| subsets.clone();
    agree::<Set>(&Domain::new(&[
        ("add", digits(2), was),
        ("remove", digits(2), was),
        ("contains", digits(2), &|_| truths()),
        ("read", vec![nil()], &all),
    ]));
    agree::<Set>(&Domain::new(&[
        ("add", digits(2), was),
        ("contains", digits(2), &|_| truths()),
    ]));
}

#[test]
fn counter() {
    let sums: Vec<_> = (-2..=5).map(Value::Int).collect();
    let after: Vec<_> = sums
        .iter()
        .map(|sum| map([("value", sum.clone())]))
        .collect();
    agree::<Counter>(&Domain::new(&[
        ("add", [-1, 0, 1, 2].map(Value::Int).into(), &move |_| {
            or_nil(after.clone())
        }),
        ("read", vec![nil()], &move |_| sums.clone()),
    ]));
}

#[test]
fn bank() {
    let transfer = |from: &str, to: &str, amount| {
        map([
            ("from", text(from)),
            ("to", text(to)),
            ("amount", Value::Int(amount)),
        ])
    };
    let balances: Vec<_> = [(3, 0), (2, 1), (1, 2), (0, 3), (2, 2)]
        .map(|(a, b)| map([("a", Value::Int(a)), ("b", Value::Int(b))]))
        .into();
    agree::<Bank>(&Domain::new(&[
        // More often than it moves: the first one settles what there is.
        ("read", vec![nil(); 4], &move |_| balances.clone()),
        (
            "transfer",
            vec![
                transfer("a", "b", 1),
                transfer("b", "a", 1),
                transfer("a", "b", 2),
            ],
            &|_| vec![nil()],
        ),
    ]));
}

#[test]
fn log() {
    let offsets: Vec<_> = (0..4).map(Value::Int).collect();
    let scans: Vec<_> = [&[][..], &[1], &[2], &[1, 2], &[2, 1]]
        .map(|values| list(values.iter().copied()))
        .into();
    agree::<Log>(&Domain::new(&[
        ("append", digits(2), &{
            let offsets = offsets.clone();
            move |_| or_nil(offsets.clone())
        }),
        ("read", offsets.clone(), &|_| or_nil(digits(2))),
        ("scan", offsets[..2].to_vec(), &move |_| scans.clone()),
    ]));
}

#[test]
fn mutex() {
    agree::<Mutex>(&Domain::new(&[
        ("acquire", vec![nil()], &|_| or_nil(digits(3))),
        ("release", vec![nil()], &|_| vec![nil()]),
        ("access", digits(3), &|_| vec![nil()]),
    ]));
}

#[test]
fn unique_ids() {
    agree::<UniqueIds>(&Domain::new(&[("generate", vec![nil()], &|_| digits(9))]));
}
