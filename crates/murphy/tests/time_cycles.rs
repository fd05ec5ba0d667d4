//! Many skews on and off of one process that asks for the time as fast as it can: it never crashes, never
//! reads a time that was not asked for, and its vDSO is byte for byte what it was.
//!
//! A sample by default; a thousand cycles with `MURPHY_SOAK=1`.
#![allow(
    clippy::print_stdout,
    reason = "the soak reads the figure that is printed"
)]

mod harness;
mod victims;

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use harness::{Guard, Running, wait_until};
use murphy_fault::{
    injector::Injector,
    journal::Journal,
    span::Until,
    time::{Follow, Skew, Spec, update},
};
use murphy_sys::{
    process::ProcessId,
    vdso::{Image, Page},
};
use murphy_target::Target;
use victims::Program;

/// How many cycles a sample and the full figure have.
const SAMPLE: usize = 50;
const FULL: usize = 1000;
/// What the hammer is told that it may read, in nanoseconds.
const SKEWS: [i64; 4] = [
    -3_600_000_000_000,
    1_800_000_000_000,
    -90_000_000_000,
    86_400_000_000_000,
];

#[test]
fn eight_hammering_threads_read_only_what_was_asked() {
    cycles("8 threads", &["8"]);
}

#[test]
fn threads_and_children_that_come_and_go_read_only_what_was_asked() {
    cycles("8 threads that come and go, and forks", &["8", "churn"]);
}

fn cycles(name: &str, words: &[&str]) {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let count = if env::var_os("MURPHY_SOAK").is_some() {
        FULL
    } else {
        SAMPLE
    };
    let Some(hammer) = start(&guard, words) else {
        return;
    };
    let journal = Journal::at(guard.journal());
    let injector =
        Injector::start(journal.clone(), Path::new(env!("CARGO_BIN_EXE_murphy"))).unwrap();
    let process = ProcessId::of(hammer.pid()).unwrap();
    let target = Target::of_processes("hammer", &[process], []).unwrap();
    let mut figures = Figures::default();
    for cycle in 0..count {
        one(&injector, &journal, &target, cycle, &mut figures);
    }
    drop(injector);
    let wiped = Page::open(process).unwrap().bytes().unwrap() == Image::own().unwrap().pristine();
    hammer.signal("TERM");
    let ended = hammer.wait();
    println!(
        "figure: {count} cycles on {name}: {}, dormant hooks {}, vDSO byte-identical at the end: {wiped}; {}",
        figures.text(),
        figures.dormant,
        ended.stdout.lines().last().unwrap_or_default()
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        wiped || figures.dormant > 0,
        "neither wiped nor counted as dormant"
    );
}

#[derive(Default)]
struct Figures {
    stopped_us: Vec<u64>,
    updated_us: Vec<u64>,
    moved: usize,
    dormant: u64,
    not_identical: u64,
}

impl Figures {
    fn text(&self) -> String {
        let of = |numbers: &[u64], share: usize| {
            let mut sorted = numbers.to_vec();
            sorted.sort_unstable();
            sorted
                .get((sorted.len().max(1) - 1) * share / 100)
                .copied()
                .unwrap_or(0)
        };
        format!(
            "stopped p50 {} µs p99 {} µs, update p50 {} µs p99 {} µs, threads moved {}, cycles that left the vDSO changed {}",
            of(&self.stopped_us, 50),
            of(&self.stopped_us, 99),
            of(&self.updated_us, 50),
            of(&self.updated_us, 99),
            self.moved,
            self.not_identical
        )
    }
}

fn one(
    injector: &Injector,
    journal: &Journal,
    target: &Target,
    cycle: usize,
    figures: &mut Figures,
) {
    let process = target.processes().next().unwrap();
    let skew_of = |i: usize| Spec {
        offset: Some(murphy_fault::span::Shift(SKEWS[i % SKEWS.len()])),
        ..Spec::default()
    };
    let until = Until::After("60s".parse().unwrap());
    let names = ["hammer".to_owned()];
    let skew = Skew::inject(
        injector,
        target,
        &names,
        skew_of(cycle),
        until,
        1,
        Follow::Look,
    )
    .unwrap();
    let record = journal.find(skew.id()).unwrap();
    let updated = update(journal, &record, skew_of(cycle + 1), 1).unwrap();
    figures.updated_us.push(updated.longest_ns / 1000);
    let effect = skew.end();
    assert_eq!(effect.left, [""; 0], "cycle {cycle}");
    let hit = effect
        .processes
        .iter()
        .find(|p| p.pid == process.pid)
        .unwrap();
    figures.stopped_us.push(hit.stopped_us);
    figures.moved += hit.moved;
    figures.dormant += effect.dormant;
    let pristine = Image::own().unwrap().pristine();
    figures.not_identical += u64::from(Page::open(process).unwrap().bytes().unwrap() != pristine);
}

/// The hammer, and that it hammers.
fn start(guard: &Guard, words: &[&str]) -> Option<Running> {
    let words = Program::Hammer
        .words_or_skip()?
        .into_iter()
        .chain(words.iter().map(Into::into));
    let skews: Vec<_> = SKEWS.iter().map(ToString::to_string).collect();
    let mut words = words;
    let program = words.next()?;
    let hammer = guard
        .program(Path::new(&program))
        .args(words)
        .arg(format!("skews={}", skews.join(",")))
        .start();
    let began = Instant::now();
    wait_until("the hammer hammers", || {
        began.elapsed() > Duration::from_millis(300)
    });
    Some(hammer)
}
