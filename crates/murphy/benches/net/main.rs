//! What a disturbed network costs, and how close it is to what was asked: streams beside the path without Murphy, what a
//! packet takes longer, how long an injection takes, and the same of netem and of Toxiproxy.
//!
//! A table on stdout, or one JSON object with `--json`. What is measured against each other is measured in one run and in
//! turn, because the machine is never quiet. `--runs 2` takes each figure only so often, `--only streams` only some of
//! them: `streams`, `answers`, `delays`, `idle`, `injection`.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "what could not be measured is no result"
)]

#[path = "../../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod answers;
mod delays;
mod figure;
mod injection;
mod lab;
mod streams;
mod toxiproxy;

use std::{env, error::Error, fs};

use serde_json::json;

use figure::Figure;
use lab::Lab;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often each figure is taken, unless somebody says otherwise.
const RUNS: usize = 20;

/// A part: its name, and what takes its figures so many times.
type Part = (&'static str, fn(&Lab, usize) -> Outcome<Vec<Figure>>);

const PARTS: [Part; 5] = [
    ("streams", streams::measure),
    ("answers", answers::measure),
    ("delays", delays::measure),
    ("idle", injection::idle),
    ("injection", injection::measure),
];

fn main() -> Outcome<()> {
    let words: Vec<String> = env::args().collect();
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
