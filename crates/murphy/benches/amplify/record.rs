//! What counting takes of each call: of the process that is watched, and of all others.

use std::process::Command;

use crate::{Lab, Outcome, Tool, figure::Figure, recorder, takes};

const CALLS: u32 = 2_000_000;
/// Under ptrace each call takes some thousand times as long.
const TRACED_RUNS: usize = 5;
const TRACED_CALLS: u32 = 50_000;

pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let (mut watched, mut other) = (lab.calls(0)?, lab.calls(0)?);
    let mut ratios = [Vec::new(), Vec::new()];
    let mut added = Vec::new();
    for _ in 0..runs {
        let bare = [
            takes(&mut watched, "getppid", CALLS)?,
            takes(&mut other, "getppid", CALLS)?,
        ];
        let tool = recorder(watched.pid())?;
        let seen = [
            takes(&mut watched, "getppid", CALLS)?,
            takes(&mut other, "getppid", CALLS)?,
        ];
        drop(tool);
        for (ratios, (seen, bare)) in ratios.iter_mut().zip(seen.iter().zip(bare)) {
            ratios.push(seen / bare);
        }
        added.push(seen[0] - bare[0]);
    }
    let [of_watched, of_others] = ratios;
    let mut figures = vec![
        Figure::ratio(
            "record: getppid of the watched process, of bare",
            "< 220 %",
            &of_watched,
        ),
        Figure::ratio(
            "record: getppid of another process, of bare",
            "< 180 %",
            &of_others,
        ),
        Figure::mean("record: added to a call that is counted", "", &added, "ns"),
    ];
    let ours = added.iter().sum::<f64>() / added.len() as f64;
    for (what, tool, words) in [
        (
            "strace -c",
            "strace",
            &["-f", "-c", "-o", "/dev/null", "-p"][..],
        ),
        (
            "perf trace -s",
            "perf",
            &["trace", "-s", "-o", "/dev/null", "-p"][..],
        ),
    ] {
        let mut times = Vec::new();
        for _ in 0..runs.min(TRACED_RUNS) {
            let bare = takes(&mut watched, "getppid", TRACED_CALLS)?;
            let mut command = Command::new(tool);
            command.args(words).arg(watched.pid().to_string());
            let traced = match Tool::start(&mut command, None) {
                Ok(mut running) => {
                    if let Ok(Some(status)) = running.0.try_wait() {
                        eprintln!("{what} does not run here: {status}");
                        break;
                    }
                    takes(&mut watched, "getppid", TRACED_CALLS)?
                }
                Err(error) => {
                    eprintln!("{what}: {error}");
                    break;
                }
            };
            times.push((traced - bare) / ours);
        }
        if !times.is_empty() {
            figures.push(Figure::mean(
                &format!("{what}: adds so many times what record does"),
                "",
                &times,
                "times",
            ));
        }
    }
    Ok(figures)
}
