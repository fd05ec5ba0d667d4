//! Session guarantees are judged on random small histories exactly as brute force judges them, which tries every
//! version order with the least visibility that each definition demands; and nothing can be left out of the evidence.
//!
//! By default a seeded sample; with `MURPHY_SOAK=1` the full count.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

use std::collections::{BTreeMap, BTreeSet};

use murphy_check::sessions::{
    Access, Evidence, Guarantee, Inapplicable, Operation, Outcome, check,
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

/// What the definitions say of all keys.
#[derive(Debug, PartialEq, Eq)]
enum Truth {
    Held,
    Broken,
    ReadsGoBack,
}

fn truth(history: &[Operation], guarantee: Guarantee) -> Truth {
    let keys: BTreeSet<u32> = history.iter().map(|op| op.key).collect();
    let mut all = Truth::Held;
    for key in keys {
        let part: Vec<Operation> = history.iter().copied().filter(|op| op.key == key).collect();
        let reads = Guarantee::MonotonicReads;
        let of_key = match guarantee {
            Guarantee::MonotonicReads | Guarantee::ReadYourWrites => {
                if can_hold(&part, &[guarantee]) {
                    Truth::Held
                } else {
                    Truth::Broken
                }
            }
            _ if can_hold(&part, &[guarantee, reads]) => Truth::Held,
            _ if !can_hold(&part, &[guarantee]) || can_hold(&part, &[reads]) => Truth::Broken,
            _ => Truth::ReadsGoBack,
        };
        match of_key {
            Truth::Held => {}
            Truth::Broken => return Truth::Broken,
            Truth::ReadsGoBack => all = Truth::ReadsGoBack,
        }
    }
    all
}

/// Whether some version order of the writes, with any subset of those that may not have happened, satisfies them all.
fn can_hold(part: &[Operation], guarantees: &[Guarantee]) -> bool {
    let maybe: Vec<usize> = (0..part.len())
        .filter(|&at| matches!(part[at].access, Access::Write(_)) && !part[at].is_answered)
        .collect();
    (0..1_u32 << maybe.len()).any(|subset| {
        let happened = |at: &usize| {
            maybe
                .iter()
                .position(|other| other == at)
                .is_none_or(|bit| subset & 1 << bit != 0)
        };
        let part: Vec<Operation> = (0..part.len())
            .filter(happened)
            .map(|at| part[at])
            .collect();
        let versions = part.iter().filter_map(|op| match op.access {
            Access::Write(value) => Some(value),
            Access::Read(_) => None,
        });
        orders(&mut versions.collect(), 0, &mut |order| {
            satisfies(&part, order, guarantees)
        })
    })
}

fn orders(values: &mut Vec<u32>, from: usize, found: &mut dyn FnMut(&[u32]) -> bool) -> bool {
    if from == values.len() {
        return found(values);
    }
    for at in from..values.len() {
        values.swap(from, at);
        let is_it = orders(values, from + 1, found);
        values.swap(from, at);
        if is_it {
            return true;
        }
    }
    false
}

fn satisfies(part: &[Operation], order: &[u32], guarantees: &[Guarantee]) -> bool {
    let has = |guarantee| guarantees.contains(&guarantee);
    let place = |value: u32| match value {
        0 => Some(0),
        _ => order
            .iter()
            .position(|&other| other == value)
            .map(|at| at + 1),
    };
    let mut seen: Vec<BTreeSet<usize>> = Vec::new();
    for (at, operation) in part.iter().enumerate() {
        let before = || (0..at).filter(|&other| part[other].session == operation.session);
        let mut visible = BTreeSet::new();
        match operation.access {
            Access::Read(value) => {
                let Some(answer) = place(value) else {
                    return false;
                };
                visible.insert(answer);
                for other in before() {
                    match part[other].access {
                        Access::Read(_) if has(Guarantee::MonotonicReads) => {
                            visible.extend(seen[other].clone());
                        }
                        Access::Write(value)
                            if part[other].is_answered && has(Guarantee::ReadYourWrites) =>
                        {
                            visible.extend(place(value));
                        }
                        _ => {}
                    }
                }
                if visible.last() != Some(&answer) {
                    return false;
                }
            }
            Access::Write(value) => {
                let own = place(value);
                for other in before() {
                    let is_late = match part[other].access {
                        Access::Read(_) if has(Guarantee::WritesFollowReads) => {
                            seen[other].iter().any(|&version| Some(version) >= own)
                        }
                        Access::Write(value)
                            if part[other].is_answered && has(Guarantee::MonotonicWrites) =>
                        {
                            place(value) >= own
                        }
                        _ => false,
                    };
                    if is_late {
                        return false;
                    }
                }
            }
        }
        seen.push(visible);
    }
    true
}

/// Reads and writes by chance.
fn chance(random: &mut ChaCha8Rng) -> Vec<Operation> {
    let sessions = random.random_range(1..=4);
    let keys = random.random_range(1..=2);
    let values = random.random_range(2..=5);
    let mut written = BTreeSet::new();
    let count = random.random_range(1..=8);
    let may_repeat = random.random_ratio(1, 20);
    let mut history = Vec::new();
    for _ in 0..count {
        let key = random.random_range(0..keys);
        let value = random.random_range(0..values);
        let mut access = Access::Read(value);
        if random.random_ratio(1, 2) && (may_repeat || value > 0 && written.insert((key, value))) {
            access = Access::Write(value);
        }
        history.push(Operation {
            session: random.random_range(0..sessions),
            key,
            access,
            is_answered: access == Access::Read(value) || random.random_ratio(5, 6),
        });
    }
    let written: BTreeSet<(u32, u32)> = history.iter().filter_map(write_of).collect();
    if random.random_ratio(4, 5) {
        history.retain(|op| match op.access {
            Access::Read(value) => value == 0 || written.contains(&(op.key, value)),
            Access::Write(_) => true,
        });
    }
    history
}

/// Sessions that each see one version and then the next of a ring, with up to two changes.
fn ring(random: &mut ChaCha8Rng) -> Vec<Operation> {
    let count = random.random_range(2..=4);
    let mut history = Vec::new();
    let mut written = BTreeSet::new();
    for session in 0..count {
        let (this, next) = (session + 1, (session + 1) % count + 1);
        for value in [this, next] {
            let is_write = random.random_ratio(2, 5) && written.insert(value);
            let access = if is_write {
                Access::Write(value)
            } else {
                Access::Read(value)
            };
            history.push(Operation {
                session,
                key: 0,
                access,
                is_answered: true,
            });
        }
    }
    for value in 1..=count {
        if written.insert(value) {
            let at = random.random_range(0..=history.len());
            let session = random.random_range(0..=count);
            let access = Access::Write(value);
            history.insert(
                at,
                Operation {
                    session,
                    key: 0,
                    access,
                    is_answered: true,
                },
            );
        }
    }
    for _ in 0..random.random_range(0..=2) {
        let (at, other) = (
            random.random_range(0..history.len()),
            random.random_range(0..history.len()),
        );
        match random.random_range(0..4) {
            0 => history.swap(at, other),
            1 => history[at].session = history[other].session,
            2 => history[at].is_answered = write_of(&history[at]).is_none(),
            _ => {
                history.remove(at);
            }
        }
    }
    history
}

fn write_of(operation: &Operation) -> Option<(u32, u32)> {
    match operation.access {
        Access::Write(value) => Some((operation.key, value)),
        Access::Read(_) => None,
    }
}

/// Sessions that move between replicas, each of which takes in the writes of one log as it pleases.
fn replicas(random: &mut ChaCha8Rng) -> Vec<Operation> {
    let sessions = random.random_range(1..=3);
    let mut log: Vec<u32> = vec![0];
    let mut applied = [0_usize; 3];
    let is_careful = random.random_ratio(1, 2);
    let mut history = Vec::new();
    for _ in 0..random.random_range(3..=8) {
        let session = random.random_range(0..sessions);
        let replica = if is_careful {
            session as usize
        } else {
            random.random_range(0..3)
        };
        let mut is_answered = true;
        let access = if random.random_ratio(2, 5) {
            let value = u32::try_from(log.len()).unwrap();
            log.push(value);
            if random.random_ratio(1, 8) {
                is_answered = false;
            } else if is_careful {
                applied[replica] = log.len() - 1;
            }
            Access::Write(value)
        } else {
            applied[replica] = random.random_range(applied[replica]..log.len());
            Access::Read(log[applied[replica]])
        };
        history.push(Operation {
            session,
            key: 7,
            access,
            is_answered,
        });
    }
    history
}

#[derive(Debug, Default)]
struct Figures {
    held: u64,
    broken: u64,
    cannot: u64,
    repeated: u64,
    not_smallest: u64,
    circles: BTreeMap<usize, u64>,
}

fn confirm(
    history: &[Operation],
    guarantee: Guarantee,
    evidence: &Evidence,
    figures: &mut Figures,
) {
    let context = || format!("{guarantee:?} {evidence:?}\n{history:#?}");
    let alone = |left_out: &dyn Fn(&Operation, usize) -> bool| -> Vec<Operation> {
        let named = evidence.operations.iter().map(|&at| at as usize);
        named
            .filter(|&at| !left_out(&history[at], at))
            .map(|at| history[at])
            .collect()
    };
    assert_eq!(
        truth(&alone(&|_, _| false), guarantee),
        Truth::Broken,
        "{}",
        context()
    );
    *figures.circles.entry(evidence.links.len()).or_default() += 1;
    for pair in evidence.links.windows(2) {
        assert_eq!(pair[0].after, pair[1].before, "{}", context());
    }
    if !evidence.is_smallest {
        figures.not_smallest += 1;
        return;
    }
    for &place in &evidence.operations {
        let place = place as usize;
        let written = write_of(&history[place]);
        let group = |op: &Operation, at: usize| {
            at == place
                || matches!(op.access, Access::Read(value) if written == Some((op.key, value)))
        };
        assert_eq!(
            truth(&alone(&group), guarantee),
            Truth::Held,
            "{place}: {}",
            context()
        );
    }
}

fn renamed(history: &[Operation]) -> Vec<Operation> {
    let mut renamed = history.to_vec();
    for (fresh, operation) in (100..).zip(&mut renamed) {
        if let Some((key, value)) = write_of(operation) {
            let reads = |op: &Operation| op.key == key && op.access == Access::Read(value);
            if !history.iter().any(reads) {
                operation.access = Access::Write(fresh);
            }
        }
    }
    renamed
}

fn is_repeated(history: &[Operation], (key, value): (u32, u32)) -> bool {
    let writes = history
        .iter()
        .filter(|op| write_of(op) == Some((key, value)));
    writes.count() + usize::from(value == 0) > 1
}

#[test]
fn definitions_are_judged_to_the_letter() {
    let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
    for seed in 0..sample(30_000) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let history = match seed % 3 {
            0 => chance(&mut random),
            1 => replicas(&mut random),
            _ => ring(&mut random),
        };
        // What nobody reads may repeat; the brute force wants other names for it.
        let renamed = renamed(&history);
        let mut writes = renamed.iter().filter_map(write_of);
        let is_known = !writes.any(|write| is_repeated(&renamed, write));
        let truth = |guarantee, said| {
            if is_known {
                truth(&renamed, guarantee)
            } else {
                said
            }
        };
        for guarantee in Guarantee::ALL {
            let figures = figures.entry(guarantee.name()).or_default();
            let context = || format!("seed {seed} {guarantee:?}\n{history:#?}");
            match check(&history, guarantee) {
                Outcome::Held => {
                    figures.held += 1;
                    assert_eq!(truth(guarantee, Truth::Held), Truth::Held, "{}", context());
                }
                Outcome::Violation(evidence) => {
                    figures.broken += 1;
                    confirm(&history, guarantee, &evidence, figures);
                    assert_eq!(
                        truth(guarantee, Truth::Broken),
                        Truth::Broken,
                        "{}",
                        context()
                    );
                }
                Outcome::Inapplicable(Inapplicable::ReadsGoBack { .. }) => {
                    figures.cannot += 1;
                    let said = Truth::ReadsGoBack;
                    assert_eq!(truth(guarantee, Truth::ReadsGoBack), said, "{}", context());
                }
                Outcome::Inapplicable(Inapplicable::Repeated { key, value }) => {
                    figures.repeated += 1;
                    assert!(is_repeated(&history, (key, value)), "{}", context());
                }
            }
        }
    }
    eprintln!("{figures:#?}");
    for figures in figures.values() {
        let all = figures.held + figures.broken + figures.cannot + figures.repeated;
        assert!(figures.held * 5 > all, "{figures:?}");
        assert!(figures.broken * 50 > all, "{figures:?}");
        assert!(figures.repeated * 20 < all, "{figures:?}");
        assert!(
            figures.circles.keys().any(|links| *links >= 3),
            "{figures:?}"
        );
        assert!(figures.not_smallest * 50 < figures.broken, "{figures:?}");
    }
}

fn operation(session: u32, access: Access) -> Operation {
    Operation {
        session,
        key: 1,
        access,
        is_answered: true,
    }
}

/// Which guarantees are broken.
fn broken(history: &[Operation]) -> Vec<&'static str> {
    let is_broken =
        |guarantee: &Guarantee| matches!(check(history, *guarantee), Outcome::Violation(_));
    Guarantee::ALL
        .into_iter()
        .filter(is_broken)
        .map(Guarantee::name)
        .collect()
}

#[test]
fn the_textbook_cases_have_their_names() {
    use Access::{Read, Write};
    let a = |access| operation(1, access);
    let b = |access| operation(2, access);
    let c = |access| operation(3, access);
    let goes_back = [a(Write(1)), b(Read(1)), b(Read(0))];
    assert_eq!(broken(&goes_back), ["session.monotonic-reads"]);
    let forgets = [a(Write(1)), a(Read(0))];
    assert_eq!(broken(&forgets), ["session.read-your-writes"]);
    let turned_round = [a(Write(1)), a(Write(2)), b(Read(2)), b(Read(1))];
    assert_eq!(broken(&turned_round), ["session.monotonic-writes"]);
    let answer_first = [a(Write(1)), b(Read(1)), b(Write(2)), c(Read(2)), c(Read(1))];
    assert_eq!(broken(&answer_first), ["session.writes-follow-reads"]);
    let fine = [
        a(Write(1)),
        b(Read(0)),
        a(Read(1)),
        b(Write(2)),
        b(Read(2)),
        a(Read(2)),
    ];
    assert!(broken(&fine).is_empty());
}
