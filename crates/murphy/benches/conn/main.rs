//! What it costs to end connections, and what it costs those that are spared: resets among 54,000 idle connections, beside
//! `ss -K`; questions and answers while a disconnection is in force; and one draw a second among 10,000.
//!
//! A table on stdout, or one JSON object with `--json`. What is measured against each other is measured in one run and in
//! turn, because the machine is never quiet. `--runs 4` takes the figures of spared connections so often, and each other
//! one a quarter of it; `--only resets` only some of them: `resets`, `spared`, `recurrent`.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "what could not be measured is no result"
)]

#[path = "../net/figure.rs"]
#[allow(
    dead_code,
    reason = "not every figure of networks is one of connections"
)]
mod figure;
mod holder;
mod lab;
mod recurrent;
mod resets;
mod spared;

use std::{env, error::Error, fs};

use serde_json::json;

use figure::Figure;
use lab::Lab;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often the figures of spared connections are taken, unless somebody says otherwise.
const RUNS: usize = 20;

/// A part: its name, and what takes its figures so many times.
type Part = (&'static str, fn(&Lab, usize) -> Outcome<Vec<Figure>>);

const PARTS: [Part; 3] = [
    ("resets", |lab, runs| resets::measure(lab, runs.div_ceil(4))),
    ("spared", spared::measure),
    ("recurrent", |lab, runs| {
        recurrent::measure(lab, runs.div_ceil(4))
    }),
];

fn main() -> Outcome<()> {
    let words: Vec<String> = env::args().collect();
    if words.get(1).is_some_and(|word| word == holder::WORD) {
        return holder::run(&words[2..]);
    }
    let said = |option: &str| {
        let place = words.iter().position(|word| word == option)?;
        words.get(place + 1)
    };
    let runs = said("--runs").map_or(Ok(RUNS), |runs| runs.parse())?;
    let only = said("--only");
    let lab = Lab::lay()?;
    let before = load()?;
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for (name, measure) in PARTS {
        if only.is_none_or(|only| only == name) {
            eprintln!("measuring {name}");
            match measure(&lab, runs) {
                Ok(measured) => figures.extend(measured),
                // What took long to measure is said all the same.
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
    }
    let load = [before, load()?];
    if words.iter().any(|word| word == "--json") {
        println!("{}", json!({"load": load, "figures": figures}));
        return outcome(&failed);
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!(
        "Linux {}; load {} before, {} after\n",
        kernel.trim(),
        load[0],
        load[1]
    );
    println!("| what | wanted | measured | of |\n|---|---:|---:|---:|");
    for figure in figures {
        println!("{figure}");
    }
    outcome(&failed)
}

fn outcome(failed: &[String]) -> Outcome<()> {
    if failed.is_empty() {
        return Ok(());
    }
    Err(failed.join("; ").into())
}

/// How many programs wanted a processor in the last minute, on average.
fn load() -> Outcome<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}
