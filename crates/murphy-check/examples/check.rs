//! Checks a history on standard input and prints its judgements, the time and the memory it took; reading apart from
//! judging, in processor time, which other programs do not disturb.

#![allow(
    clippy::print_stdout,
    reason = "an example's result goes to standard output"
)]

use std::{fs, io, time::Instant};

use murphy_check::etcd::{self, Options, Record};

fn main() -> Result<(), etcd::ReadError> {
    let start = Instant::now();
    let record = Record::read(io::stdin().lock())?;
    let read = processor_seconds();
    let report = etcd::check_record(record, &Options::default());
    let judged = processor_seconds() - read;
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
        "{seconds:.3} s ({read:.3} s reading and {judged:.3} s judging on the processor), {:.0} operations/s, {peak}",
        operations / seconds
    );
    Ok(())
}

/// Time that this process has spent on a processor, s; 0 where the kernel does not say.
fn processor_seconds() -> f64 {
    let times = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns = times
        .split(' ')
        .next()
        .and_then(|ns| ns.parse::<u64>().ok());
    ns.unwrap_or(0) as f64 / 1e9
}
