//! How much memory a recording has after as many intervals as a day has: 5,760 of 15 s, which are shorter here.

use std::{fs, process::Command, thread::sleep, time::Duration};

use crate::{Lab, MURPHY, Outcome, Tool, figure::Figure, takes};

/// So many intervals pass before each look at it: in twenty runs all of a day.
const INTERVALS: u32 = 288;
const INTERVAL: Duration = Duration::from_millis(100);
const CALLS: u32 = 100_000;

pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let mut target = lab.calls(0)?;
    let mut command = Command::new(MURPHY);
    command
        .args(["amplify", "record", "--interval", "100ms", "--latency"])
        .args(["--json", "-t", &format!("pid:{}", target.pid()), "-o"])
        .arg(lab.directory.path().join("errors.jsonl"));
    let recorder = Tool::start(&mut command, Some("\"murphy\""))?;
    let mut all = Vec::new();
    for _ in 0..runs {
        for call in ["read", "getppid"] {
            takes(&mut target, call, CALLS)?;
        }
        sleep(INTERVAL * INTERVALS);
        all.push(megabytes(recorder.0.id())?);
    }
    let intervals = u32::try_from(runs)? * INTERVALS;
    let what = format!("record: memory within {intervals} intervals, the kernel's for it included");
    Ok(vec![Figure::median(&what, "< 40 MB", &all, "MB")])
}

/// What a process has resident, and what its maps take in the kernel.
fn megabytes(pid: u32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = |text: &str, field: &str| -> Option<f64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let resident = number(&status, "VmRSS:").ok_or("there is no VmRSS")?;
    let mut kernel = 0.0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // It may be closed by now.
        let Ok(said) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        kernel += number(&said, "memlock:").unwrap_or(0.0);
    }
    Ok(resident / 1024.0 + kernel / 1_048_576.0)
}
