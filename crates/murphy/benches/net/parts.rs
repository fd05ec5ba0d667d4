//! The parts of a bench: each is measured in its turn, and what it found is printed when all were.

use std::{env, fs};

use serde_json::json;

use crate::{Outcome, figure::Figure};

/// How often each figure is taken, unless somebody says otherwise.
const RUNS: usize = 20;

/// A part: its name, and what takes its figures so many times.
pub type Part<L> = (&'static str, fn(&L, usize) -> Outcome<Vec<Figure>>);

/// Measures the parts that the command line asks for, in a lab that is laid first.
pub fn measure<L>(parts: &[Part<L>], lay: impl FnOnce() -> Outcome<L>) -> Outcome<()> {
    let words: Vec<String> = env::args().collect();
    let said = |option: &str| {
        let place = words.iter().position(|word| word == option)?;
        words.get(place + 1)
    };
    let runs = said("--runs").map_or(Ok(RUNS), |runs| runs.parse())?;
    let only = said("--only");
    let lab = lay()?;
    let before = load()?;
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for (name, measure) in parts {
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
