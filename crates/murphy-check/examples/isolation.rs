//! Judges a generated history of transactions once and prints how long it took and how much memory it needed:
//! `cargo run --release -p murphy-check --example isolation [TRANSACTIONS] [list-append|rw-register] [STORE]`.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::time::Instant;

use murphy_check::isolation::{
    Options, Workload,
    generate::{Profile, STORES, Store},
    judge,
};

/// Peak resident memory of this process so far, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Processor time of this process so far, in seconds.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().map(|rest| {
        let fields = rest.split_whitespace().skip(11).take(2);
        fields.filter_map(|field| field.parse::<u32>().ok()).sum()
    });
    f64::from(ticks.unwrap_or(0_u32)) / 100.0
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let transactions = arguments.next().and_then(|count| count.parse().ok());
    let transactions = transactions.unwrap_or(1_000_000);
    let workload = match arguments.next().as_deref() {
        Some("rw-register") => Workload::RwRegister,
        _ => Workload::ListAppend,
    };
    let asked = arguments.next().unwrap_or_default().to_lowercase();
    let is_asked = |(store, _): &(Store, _)| format!("{store:?}").to_lowercase() == asked;
    let store = STORES
        .into_iter()
        .find(is_asked)
        .map_or(Store::Strict, |(store, _)| store);
    let unknown = arguments.next().and_then(|count| count.parse().ok());
    let profile = Profile {
        clients: 50,
        keys: 10,
        unknown_per_mille: unknown.unwrap_or(10),
        ..Profile::new(workload, store, transactions)
    };
    let recording = profile.generate(7);
    let before = peak_bytes();
    let (start, worked) = (Instant::now(), processor_seconds());
    match judge(&recording, workload, &Options::default()) {
        Ok(report) => {
            let took = start.elapsed();
            for judgement in &report.judgements {
                println!(
                    "{:9} {} ({})",
                    judgement.verdict.word(),
                    judgement.promise,
                    judgement.reason
                );
                if let Some(witness) = &judgement.witness {
                    println!("          {}", witness.sentence);
                }
            }
            for sighting in &report.anomalies {
                println!("{} of {}", sighting.count, sighting.anomaly.name());
            }
            println!(
                "{transactions} transactions in {:.2} s ({:.2} s of processor time); {} MiB before, {} MiB at the peak",
                took.as_secs_f64(),
                processor_seconds() - worked,
                before >> 20,
                peak_bytes() >> 20
            );
        }
        Err(wrong) => println!("line {}: {}", wrong.line, wrong.problem),
    }
}
