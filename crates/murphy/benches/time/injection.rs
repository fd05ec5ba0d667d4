//! What an injection takes: of the target's time, while it is stopped, and of the user's, until it acts.

use std::{
    fmt,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use murphy_fault::{
    injector::Injector,
    span::Until,
    time::{Follow, Skew, Spec, update},
};
use murphy_sys::{pidfd::Pidfd, process::ProcessId};
use serde::Serialize;
use serde_json::Value;

use crate::{MURPHY, Outcome, percentile, reader::Reader};

/// How often a process is skewed and restored.
const CYCLES: usize = 200;
/// Threads of a small and of a large process.
const THREADS: [usize; 2] = [1, 35];
/// How often the command is run on one process.
const STARTS: usize = 30;
/// Processes of a large target.
const FAMILY: usize = 200;
/// How often the command is run on that.
const FAMILY_STARTS: usize = 5;

/// One figure, taken several times.
#[derive(Serialize)]
pub struct Figures {
    unit: &'static str,
    times: usize,
    least: f64,
    p50: f64,
    p99: f64,
}

impl Figures {
    fn of(figures: &[f64], unit: &'static str) -> Self {
        Self {
            unit,
            times: figures.len(),
            least: percentile(figures, 0),
            p50: percentile(figures, 50),
            p99: percentile(figures, 99),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            unit,
            times,
            least,
            p50,
            p99,
        } = self;
        write!(
            f,
            "p50 {p50:.0} {unit}, p99 {p99:.0} {unit}, least {least:.0} {unit} of {times}"
        )
    }
}

/// Measures it all: what, and how much.
pub fn measure(program: &Path, injector: &Injector) -> Outcome<Vec<(String, Figures)>> {
    let mut all = Vec::new();
    for threads in THREADS {
        let (stopped, updated) = cycles(program, injector, threads)?;
        let of = format!("of a sleeping process, threads: {threads}");
        all.push((format!("stop {of}"), Figures::of(&stopped, "µs")));
        all.push((format!("live update {of}"), Figures::of(&updated, "µs")));
    }
    for (processes, times) in [(1, STARTS), (FAMILY, FAMILY_STARTS)] {
        let figures = commands(program, processes, times)?;
        let what = format!("`murphy inject time` until it acts, processes: {processes}");
        all.push((what, Figures::of(&figures, "ms")));
    }
    Ok(all)
}

fn offset(text: &str) -> Outcome<Spec> {
    Ok(Spec {
        offset: Some(text.parse()?),
        ..Spec::default()
    })
}

/// Microseconds that a process was stopped to be hooked, and that an update of it took.
fn cycles(program: &Path, injector: &Injector, threads: usize) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let reader = Reader::asleep(program, "idle", threads)?;
    let target = reader.target()?;
    let until = Until::After("1m".parse()?);
    let (mut stopped, mut updated) = (Vec::new(), Vec::new());
    for _ in 0..CYCLES {
        let skew = Skew::inject(
            injector,
            &target,
            &[],
            offset("-10m")?,
            until,
            1,
            Follow::Look,
        )?;
        let record = injector.journal().find(skew.id())?;
        let told = update(injector.journal(), &record, offset("+1h")?, 1)?;
        updated.push(told.longest_ns as f64 / 1e3);
        let effect = skew.end();
        if !effect.left.is_empty() {
            return Err(effect.left.join("; ").into());
        }
        let hooked = effect.processes.iter().filter(|p| p.threads == threads);
        stopped.extend(hooked.map(|process| process.stopped_us as f64));
    }
    if stopped.len() == CYCLES {
        Ok((stopped, updated))
    } else {
        Err(format!("{} of {CYCLES} cycles hit {threads} threads", stopped.len()).into())
    }
}

/// Milliseconds from the start of the command to the line that says that it acts.
fn commands(program: &Path, processes: usize, times: usize) -> Outcome<Vec<f64>> {
    let reader = Reader::asleep(program, "family", processes)?;
    let target = format!("pid:{}", reader.pid());
    let journal = tempfile::tempdir()?;
    let mut figures = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        let mut murphy = Command::new(MURPHY)
            .args(["inject", "time", "-t", &target, "--offset", "-10m"])
            .args(["--for", "1m", "--max-targets", "1000", "--json"])
            .env("MURPHY_JOURNAL", journal.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = murphy.stdout.take().ok_or("its output is not read")?;
        let mut lines = BufReader::new(output).lines();
        let skewed = loop {
            let line = lines.next().ok_or("it ended before it acted")??;
            let said: Value = serde_json::from_str(&line)?;
            if said["event"] == "active" {
                figures.push(began.elapsed().as_secs_f64() * 1e3);
                break said["effect"]["skewed"].clone();
            }
        };
        Pidfd::open(ProcessId::of(murphy.id())?)?.send("INT".parse()?)?;
        lines.for_each(drop);
        let status = murphy.wait()?;
        if skewed != processes || !status.success() {
            return Err(
                format!("{skewed} of {processes} were skewed; it ended with {status}").into(),
            );
        }
    }
    Ok(figures)
}
