//! Checks a history on standard input and prints its judgements, the time and the memory it took.

#![allow(
    clippy::print_stdout,
    reason = "an example's result goes to standard output"
)]

use std::{fs, io, time::Instant};

use murphy_check::etcd::{self, Options};

fn main() -> Result<(), etcd::ReadError> {
    let start = Instant::now();
    let report = etcd::check(io::stdin().lock(), &Options::default())?;
    let seconds = start.elapsed().as_secs_f64();
    for judgement in &report.judgements {
        println!(
            "{:9} {}: {}",
            judgement.verdict.word(),
            judgement.promise,
            judgement.reason
        );
        let Some(witness) = &judgement.witness else {
            continue;
        };
        println!("          {}", witness.sentence);
        for line in &witness.lines {
            println!(
                "          line {} {} {}",
                line.line,
                if line.clashes { "!" } else { " " },
                line.text
            );
        }
        for row in &witness.members {
            println!(
                "          {:>12}  {}",
                row.what,
                row.cells
                    .iter()
                    .map(|(node, text)| format!("{node}: {text}"))
                    .collect::<Vec<_>>()
                    .join("   ")
            );
        }
        println!("          confirmed: {}", witness.confirmed);
    }
    println!("{:?}", report.vacuity);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM: unknown");
    let operations = report.vacuity.operations as f64;
    println!(
        "{seconds:.3} s, {:.0} operations/s, {peak}",
        operations / seconds
    );
    Ok(())
}
