//! What a skew costs: a call of a clock function beside the untouched one and beside other tools, and what an
//! injection takes of its target's time and of the user's.
//!
//! A table on stdout, or one JSON object with `--json`. Everything measured against each other is measured in
//! one run and in turn, and as CPU time where that is possible, because the machine is never quiet.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "what could not be measured is no result"
)]

mod calls;
mod injection;
mod reader;

use std::{collections::BTreeMap, env, error::Error, fs, path::Path};

use murphy_fault::{injector::Injector, journal::Journal};
use serde_json::json;

/// The program under test.
const MURPHY: &str = env!("CARGO_BIN_EXE_murphy");

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let json = env::args().any(|word| word == "--json");
    let directory = tempfile::tempdir()?;
    let reader = reader::build(directory.path())?;
    let journal = Journal::at(directory.path().join("journal"));
    let injector = Injector::start(journal, Path::new(MURPHY))?;
    let before = load()?;
    let calls = calls::measure(&reader, &injector)?;
    let injection = injection::measure(&reader, &injector)?;
    let load = [before, load()?];
    if json {
        let injection: BTreeMap<_, _> = injection.into_iter().collect();
        let value = json!({"calls": calls.json(), "injection": injection, "load": load});
        println!("{value}");
    } else {
        println!("load {} before, {} after\n", load[0], load[1]);
        println!("{}", calls.table());
        for (what, figures) in &injection {
            println!("{what:<62} {figures}");
        }
    }
    Ok(())
}

/// How many programs wanted a processor in the last minute, on average.
fn load() -> Outcome<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// The value that `percent` of the figures do not exceed.
fn percentile(figures: &[f64], percent: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or(f64::NAN)
}
