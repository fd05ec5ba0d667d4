//! Random small histories are judged by the monitors exactly as brute force judges them, and the evidence of each
//! violation is one by itself, from which nothing can be left out.
//!
//! The brute force tries every order that real time allows, with every subset of the unanswered operations, on a
//! naive model of the type. By default a seeded sample; with `MURPHY_SOAK=1` the full count.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

mod brute;
mod cases;
mod containers;
mod kinds;
mod random;

use std::collections::BTreeMap;

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
    not_smallest: u64,
    reasons: BTreeMap<String, u64>,
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
            let reason = format!("{:?}", evidence.reason);
            let name = reason.split(' ').next().unwrap_or_default();
            *figures.reasons.entry(name.to_owned()).or_default() += 1;
            confirm::<K>(history, &evidence, seed, figures);
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
            assert!(!K::is_decided(history), "seed {seed}: {history:#?}");
            figures.inapplicable += 1;
        }
    }
}

/// The evidence alone is not linearizable, and is without any of its groups.
fn confirm<K: Kind>(
    history: &[Operation<K::Event>],
    evidence: &Evidence,
    seed: u64,
    figures: &mut Figures,
) {
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
    // Which values the unseen removals took may leave it open whether the rest is linearizable; then nothing is said.
    if !evidence.is_smallest {
        assert!(unseen(true).next().is_some(), "{}", context());
        figures.not_smallest += 1;
        return;
    }
    for group in K::groups(history, &evidence.operations) {
        let rest = alone(true, &|at| !group.contains(&at));
        assert!(
            is_linearizable::<K>(&rest),
            "without {group:?}: {}",
            context()
        );
    }
}

/// `reasons` are those that the type has of its own; each has to come up.
fn run<K: Kind>(full: u64, salt: u64, reasons: &[&str]) {
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
    assert!(
        figures.not_smallest * 50 <= figures.violations,
        "{figures:?}"
    );
    for reason in reasons {
        let count = figures.reasons.get(*reason).copied().unwrap_or_default();
        assert!(count * 200 > all, "{reason}: {figures:?}");
    }
}

/// Histories too long for brute force: valid ones raise no alarm, and the evidence found in spoilt ones is confirmed.
fn run_long<K: Kind>(full: u64, salt: u64) {
    let (mut cannot, mut found, mut left_open, mut confirmed) = (0, 0, 0, 0);
    let count = sample(full);
    for seed in 0..count {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ (salt + 200) << 32);
        let mut history = random::valid::<K>(&mut random, 600);
        match K::check(&history) {
            Outcome::Linearizable => {}
            Outcome::Inapplicable(_) => cannot += 1,
            Outcome::Violation(evidence) => panic!("seed {seed}: {evidence:?}"),
        }
        random::spoil::<K>(&mut random, &mut history, 600);
        let evidence = match K::check(&history) {
            Outcome::Violation(evidence) => evidence,
            Outcome::Inapplicable(Inapplicable::UnseenRemovals { .. }) => {
                left_open += 1;
                continue;
            }
            _ => continue,
        };
        found += 1;
        let places = evidence.operations.iter().chain(&evidence.unseen);
        let alone: Vec<Operation<K::Event>> = places.map(|&at| history[at as usize]).collect();
        if alone.len() <= 14 {
            assert!(!is_linearizable::<K>(&alone), "seed {seed}: {evidence:?}");
            confirmed += 1;
        }
    }
    eprintln!(
        "{}: of {count} valid ones {cannot} not decided; of as many spoilt ones {found} violations, {confirmed} \
         confirmed, and {left_open} not decided",
        K::NAME
    );
    assert!(
        found * 4 > count && confirmed * 10 > found * 9,
        "{found} {confirmed} of {count}"
    );
    assert!(cannot * 10 <= count, "{cannot} of {count} not decided");
}

#[test]
fn long_histories() {
    run_long::<kinds::Register>(1_000, 1);
    run_long::<kinds::Keyed>(1_000, 2);
    run_long::<kinds::Set>(1_000, 3);
    run_long::<containers::Bag>(1_000, 4);
    run_long::<containers::Queue>(1_000, 5);
    run_long::<containers::Stack>(1_000, 6);
    run_long::<containers::PriorityQueue>(1_000, 7);
}

#[test]
fn registers() {
    run::<kinds::Register>(
        10_000,
        1,
        &["NeverWritten", "ReadBeforeWrite", "Stale", "Interleaved"],
    );
}

#[test]
fn registers_by_key() {
    run::<kinds::Keyed>(
        10_000,
        2,
        &["NeverWritten", "ReadBeforeWrite", "Stale", "Interleaved"],
    );
}

#[test]
fn sets() {
    run::<kinds::Set>(10_000, 3, &["ReadBeforeWrite", "Gone", "Missed"]);
}

#[test]
fn bags() {
    run::<containers::Bag>(10_000, 4, &["ReadBeforeWrite", "NotEmpty"]);
}

#[test]
fn queues() {
    run::<containers::Queue>(10_000, 5, &["Overtaken", "NotEmpty", "Lost"]);
}

#[test]
fn stacks() {
    run::<containers::Stack>(10_000, 6, &["Crossed", "NotEmpty", "Lost"]);
}

#[test]
fn priority_queues() {
    run::<containers::PriorityQueue>(10_000, 7, &["Passed", "NotEmpty", "Lost"]);
}
