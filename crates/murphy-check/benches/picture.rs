//! How long a real browser takes to open a history of 100,000 invocations, and to filter it.
//!
//! `cargo bench -p murphy-check --bench picture` prints the rows of docs/benchmarks.md. The times are the page's own
//! performance marks, read from outside: from the start of the navigation until the first frame is drawn and the page
//! takes input, and from an input into a filter until the frame that shows its result. Each is the median of rounds.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../tests/browser/mod.rs"]
mod browser;

use std::{fs, io::BufWriter, time::Instant};

use browser::Browser;
use murphy_check::picture;

const SIZES: [usize; 3] = [10_000, 100_000, 400_000];
const ROUNDS: usize = 5;

/// From an input to the frame that shows what it did.
const TIMED_INPUT: &str = "(id, text) => {
  const field = document.getElementById(id), start = performance.now();
  field.value = text;
  field.dispatchEvent(new Event('input'));
  return new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))));
}";

fn main() {
    if !browser::is_there() {
        browser::say_skipped();
        return;
    }
    println!(
        "{}, headless, medians of {ROUNDS} rounds\n",
        browser::version()
    );
    println!(
        "| invocations | page | written in | interactive after | filter by key | by text | by client | zoom |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for size in SIZES {
        println!("{}", row(size));
    }
}

fn row(size: usize) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("history.html");
    let (recording, report, explanations) = browser::history::of(size, 7);
    let started = Instant::now();
    let file = BufWriter::new(fs::File::create(&path).expect("a file in it"));
    picture::html(&recording, &report, &explanations, file).expect("a written page");
    let written = started.elapsed().as_secs_f64() * 1e3;
    let bytes = fs::metadata(&path).expect("the written page").len();

    let mut columns: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        let mut browser = Browser::start();
        browser.open(&path);
        columns[0].push(browser.number("performance.getEntriesByName('interactive')[0].startTime"));
        for (column, (field, text)) in
            columns[1..4]
                .iter_mut()
                .zip([("by-key", "k7"), ("find", "999"), ("by-lane", "c3")])
        {
            column.push(browser.number(&format!("({TIMED_INPUT})('{field}', '{text}')")));
            browser.number(&format!("({TIMED_INPUT})('{field}', '')"));
        }
        columns[4].push(browser.number(
            "(() => { const start = performance.now(); document.getElementById('in').click(); \
             return new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)))); })()",
        ));
        assert_eq!(browser.complaints, [""; 0]);
    }
    let times: Vec<String> = columns
        .iter_mut()
        .map(|column| format!("{:.0} ms", median(column)))
        .collect();
    format!(
        "| {size} | {:.1} MB | {written:.0} ms | {} |",
        bytes as f64 / 1e6,
        times.join(" | ")
    )
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
