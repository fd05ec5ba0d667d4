//! Random small histories are judged by the monitors exactly as brute force judges them, and the evidence of each
//! violation is one by itself, from which nothing can be left out.
//!
//! The brute force tries every order that real time allows, with every subset of the unanswered operations, on a
//! naive model of the type. By default a seeded sample; with `MURPHY_SOAK=1` the full count.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

mod brute;
mod containers;
mod kinds;
mod random;

use brute::{Kind, is_linearizable};
use murphy_check::monitors::{Evidence, Inapplicable, Operation, Outcome};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// How many of a number of histories to judge.
fn sample(full: u64) -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        full
    } else {
        full / 5
    }
}

#[derive(Debug, Default)]
struct Figures {
    linearizable: u64,
    violations: u64,
    inapplicable: u64,
    with_unseen: u64,
}

/// Judges one history twice and compares.
fn compare<K: Kind>(history: &[Operation<K::Event>], seed: u64, figures: &mut Figures) {
    let truth = is_linearizable::<K>(history);
    figures.with_unseen += u64::from(history.iter().any(|op| K::is_unseen(&op.event)));
    match K::check(history) {
        Outcome::Linearizable => {
            assert!(truth, "seed {seed}: not linearizable\n{history:#?}");
            figures.linearizable += 1;
        }
        Outcome::Violation(evidence) => {
            assert!(
                !truth,
                "seed {seed}: linearizable\n{history:#?}\n{evidence:?}"
            );
            figures.violations += 1;
            confirm::<K>(history, &evidence, seed);
        }
        Outcome::Inapplicable(Inapplicable::Repeated { value }) => {
            let puts = history
                .iter()
                .filter(|op| K::puts(&op.event) == Some(value));
            let initial = usize::from(K::HAS_INITIAL && value == 0);
            assert!(
                puts.count() + initial > 1,
                "seed {seed}: {value}\n{history:#?}"
            );
            figures.inapplicable += 1;
        }
        Outcome::Inapplicable(Inapplicable::UnseenRemovals { count }) => {
            let unseen = history.iter().filter(|op| K::is_unseen(&op.event));
            assert_eq!(unseen.count(), count as usize, "seed {seed}");
            figures.inapplicable += 1;
        }
    }
}

/// The evidence alone is not linearizable, and is without any of its groups.
fn confirm<K: Kind>(history: &[Operation<K::Event>], evidence: &Evidence, seed: u64) {
    let unseen = |all: bool| {
        (0..).zip(history).filter(move |(at, op)| {
            K::is_unseen(&op.event) && (all || evidence.unseen.contains(at))
        })
    };
    let alone = |all: bool, keep: &dyn Fn(usize) -> bool| -> Vec<Operation<K::Event>> {
        let named = evidence.operations.iter().map(|&at| at as usize);
        let named = named.filter(|&at| keep(at)).map(|at| history[at]);
        named.chain(unseen(all).map(|(_, op)| *op)).collect()
    };
    let context = || format!("seed {seed}: {evidence:?}\n{history:#?}");
    for all in [false, true] {
        let alone = alone(all, &|_| true);
        assert!(!is_linearizable::<K>(&alone), "explained: {}", context());
    }
    assert!(evidence.is_smallest, "{}", context());
    for group in K::groups(history, &evidence.operations) {
        let rest = alone(true, &|at| !group.contains(&at));
        assert!(
            is_linearizable::<K>(&rest),
            "without {group:?}: {}",
            context()
        );
    }
}

fn run<K: Kind>(full: u64, salt: u64) -> Figures {
    let mut figures = Figures::default();
    for seed in 0..sample(full) {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ salt << 32);
        let history = match seed % 3 {
            0 => random::chance::<K>(&mut random, 8),
            1 => random::valid::<K>(&mut random, 8),
            _ => random::mutated::<K>(&mut random, 8),
        };
        compare::<K>(&history, seed, &mut figures);
    }
    for seed in 0..sample(full / 2) {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ (salt + 100) << 32);
        let history = random::mutated::<K>(&mut random, 10);
        compare::<K>(&history, seed, &mut figures);
    }
    eprintln!("{}: {figures:?}", K::NAME);
    let all = figures.linearizable + figures.violations + figures.inapplicable;
    assert!(figures.linearizable * 10 > all, "{figures:?}");
    assert!(figures.violations * 10 > all, "{figures:?}");
    assert!(figures.inapplicable * 10 < all, "{figures:?}");
    figures
}

#[test]
fn registers() {
    run::<kinds::Register>(10_000, 1);
}

#[test]
fn registers_by_key() {
    run::<kinds::Keyed>(10_000, 2);
}

#[test]
fn sets() {
    run::<kinds::Set>(10_000, 3);
}

#[test]
fn bags() {
    run::<containers::Bag>(10_000, 4);
}

#[test]
fn queues() {
    run::<containers::Queue>(10_000, 5);
}

#[test]
fn stacks() {
    run::<containers::Stack>(10_000, 6);
}

#[test]
fn priority_queues() {
    run::<containers::PriorityQueue>(10_000, 7);
}
