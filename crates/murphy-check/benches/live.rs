//! How many operations a second a live judge takes, with 50 clients and one in a hundred of unknown outcome, and how
//! much memory it takes for how long.
//!
//! `cargo bench -p murphy-check --bench live` judges 2,000,000 operations of a register and of a key-value store of 1,000
//! keys. `-- soak [MINUTES] [RATE]` judges each for 10 minutes, at most RATE operations a second (50,000; 0 for as many
//! as it can), and prints the memory every minute.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../tests/busy/mod.rs"]
mod busy;

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use busy::Busy;
use murphy_check::{
    history::Header,
    live::{self, LiveJudge},
};

/// How many keys each has, by model.
const MODELS: [(&str, u32); 2] = [("register", 1), ("key-value", 1_000)];

const CLIENTS: usize = 50;

fn main() {
    let words: Vec<String> = (env::args().skip(1))
        .filter(|word| word != "--bench")
        .collect();
    let number = |at: usize, otherwise| {
        words
            .get(at)
            .map_or(otherwise, |word| word.parse().unwrap_or(otherwise))
    };
    if words.first().is_some_and(|word| word == "soak") {
        for (model, keys) in MODELS {
            let time = Duration::from_secs(60 * number(1, 10));
            soak(model, keys, time, number(2, 50_000));
        }
        return;
    }
    println!("| model | operations | taken in | operations a second | memory | verdict |");
    println!("|---|---:|---:|---:|---:|---|");
    for (model, keys) in MODELS {
        quick(model, keys, 2_000_000);
    }
}

fn begin(model: &str) -> Box<dyn LiveJudge> {
    let name = model.parse().expect("a model");
    live::start(name, &Header::new(model), &live::Options::default()).expect("a live judge")
}

/// Feeds so many operations; what the generator takes is measured apart, and left out.
fn quick(model: &str, keys: u32, operations: u64) {
    let began = Instant::now();
    let mut generated = Busy::new(CLIENTS, keys, 10, 7);
    while generated.operations() < operations {
        std::hint::black_box(generated.next());
    }
    let generating = began.elapsed();
    let began = Instant::now();
    let mut judge = begin(model);
    let mut history = Busy::new(CLIENTS, keys, 10, 7);
    while history.operations() < operations {
        assert!(judge.entry(history.next()).expect("a right line").is_none());
    }
    let verdict = judge.finish().judgements[0].verdict.word();
    let seconds = began.elapsed().saturating_sub(generating).as_secs_f64();
    let rate = operations as f64 / seconds;
    println!(
        "| {model} | {operations} | {seconds:.2} s | {rate:.0} | {} MiB | {verdict} |",
        memory()
    );
}

fn soak(model: &str, keys: u32, time: Duration, rate: u64) {
    let mut judge = begin(model);
    let mut history = Busy::new(CLIENTS, keys, 10, 7);
    let began = Instant::now();
    let mut minute = 0;
    println!("{model}, {CLIENTS} clients, 1 % unknown, at most {rate} operations a second");
    while began.elapsed() < time {
        for _ in 0..1_000 {
            assert!(judge.entry(history.next()).expect("a right line").is_none());
        }
        if rate > 0 {
            let due = Duration::from_secs_f64(history.operations() as f64 / rate as f64);
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        if began.elapsed().as_secs() / 60 > minute {
            minute = began.elapsed().as_secs() / 60;
            say(minute, judge.as_ref());
        }
    }
    let busy = cpu_seconds();
    let judgement = judge.finish().judgements.remove(0);
    let taken = history.operations() as f64 / began.elapsed().as_secs_f64();
    println!(
        "{}: {}; {taken:.0} operations a second, {busy:.0} s of a processor so far\n",
        judgement.verdict.word(),
        judgement.reason
    );
}

fn say(minute: u64, judge: &dyn LiveJudge) {
    let now = judge.progress();
    println!(
        "minute {minute}: {} operations, {} MiB, {} held, {} unknown, {} configurations",
        now.operations,
        memory(),
        now.held,
        now.unknown,
        now.configs
    );
}

/// Resident memory in MiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() >> 10
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|tick| tick.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
