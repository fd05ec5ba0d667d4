//! What one call of a clock function costs: untouched, under Murphy's hook, and under other tools.

use std::{
    env,
    fmt::Write,
    path::Path,
    process::{Command, Stdio},
};

use murphy_fault::{
    injector::Injector,
    span::Until,
    time::{Follow, Skew, Spec},
};
use serde_json::{Map, Value, json};

use crate::{Outcome, percentile, reader::Reader};

/// Each function is measured so often in each reader, in turn.
const ROUNDS: usize = 31;
/// All skews are this far, so that one that does nothing is not taken for a fast one.
const SHIFT_S: i64 = -600;
/// What the reader can measure.
const FUNCTIONS: [&str; 7] = [
    "CLOCK_REALTIME",
    "CLOCK_MONOTONIC",
    "CLOCK_BOOTTIME",
    "CLOCK_TAI",
    "CLOCK_REALTIME_COARSE",
    "gettimeofday",
    "time",
];
/// Where Chaos Mesh's tool is; see `labs/setup/watchmaker`.
const WATCHMAKER: &str = "MURPHY_WATCHMAKER";

/// One reader, and what skews it.
struct Candidate {
    name: &'static str,
    reader: Reader,
    skew: Option<Skew>,
    /// Nanoseconds a call: for each function, of each round.
    figures: [Vec<f64>; FUNCTIONS.len()],
}

/// All figures, the untouched reader's first.
pub struct Calls(Vec<Candidate>);

/// Measures them all.
pub fn measure(reader: &Path, injector: &Injector) -> Outcome<Calls> {
    let mut candidates = vec![
        native(reader)?,
        murphy("offset", "", reader, injector)?,
        murphy("offset+drift", "200ppm", reader, injector)?,
    ];
    candidates.extend(libfaketime(reader)?);
    candidates.extend(watchmaker(reader)?);
    for candidate in &mut candidates {
        candidate.check()?;
    }
    for _ in 0..ROUNDS {
        for (i, function) in FUNCTIONS.iter().enumerate() {
            for candidate in &mut candidates {
                let cost = candidate.reader.ask(function)?;
                candidate.figures[i].push(cost);
            }
        }
    }
    for candidate in &mut candidates {
        if let Some(skew) = candidate.skew.take() {
            let left = skew.end().left;
            if !left.is_empty() {
                return Err(left.join("; ").into());
            }
        }
    }
    Ok(Calls(candidates))
}

fn candidate(name: &'static str, reader: Reader) -> Candidate {
    Candidate {
        name,
        reader,
        skew: None,
        figures: Default::default(),
    }
}

fn native(program: &Path) -> Outcome<Candidate> {
    let reader = Reader::start(&mut Command::new(program))?;
    Ok(candidate("native", reader))
}

fn murphy(
    name: &'static str,
    drift: &str,
    program: &Path,
    injector: &Injector,
) -> Outcome<Candidate> {
    let mut candidate = candidate(name, Reader::start(&mut Command::new(program))?);
    let spec = Spec {
        offset: Some(format!("{SHIFT_S}s").parse()?),
        drift: drift.parse().ok(),
        ..Spec::default()
    };
    let until = Until::After("30m".parse()?);
    let target = candidate.reader.target()?;
    candidate.skew = Some(Skew::inject(
        injector,
        &target,
        &[],
        spec,
        until,
        1,
        Follow::Look,
    )?);
    Ok(candidate)
}

/// Under Debian's package `faketime`, where that is installed.
fn libfaketime(program: &Path) -> Outcome<Option<Candidate>> {
    let installed = Command::new("faketime")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if installed.is_err() {
        eprintln!("not measured: libfaketime, for there is no `faketime` here");
        return Ok(None);
    }
    let mut command = Command::new("faketime");
    command.args(["-f", &format!("{SHIFT_S}s")]).arg(program);
    Ok(Some(candidate("libfaketime", Reader::start(&mut command)?)))
}

/// Under Chaos Mesh's tool, where one was built.
fn watchmaker(program: &Path) -> Outcome<Option<Candidate>> {
    let Some(tool) = env::var_os(WATCHMAKER) else {
        eprintln!("not measured: Chaos Mesh, for {WATCHMAKER} does not say where its tool is");
        return Ok(None);
    };
    let candidate = candidate("Chaos Mesh", Reader::start(&mut Command::new(program))?);
    let said = Command::new(tool)
        .args(["--pid", &candidate.reader.pid().to_string()])
        .args(["--sec_delta", &SHIFT_S.to_string()])
        .output()?;
    if said.status.success() {
        Ok(Some(candidate))
    } else {
        Err(String::from_utf8_lossy(&said.stderr).into())
    }
}

impl Candidate {
    /// Refuses one that does not show what it should.
    fn check(&mut self) -> Outcome<()> {
        let wanted = if self.name == "native" { 0 } else { SHIFT_S };
        let shift_ns = self.reader.ask("shift")?;
        let off = shift_ns / 1e9 - wanted as f64;
        if off.abs() < 1.0 {
            Ok(())
        } else {
            Err(format!("{}: its clock is {off} s from what was asked", self.name).into())
        }
    }
}

impl Calls {
    /// Least and median of a function in nanoseconds, and both against the untouched reader's.
    fn cell(&self, candidate: &Candidate, function: usize) -> [f64; 4] {
        let least = percentile(&candidate.figures[function], 0);
        let median = percentile(&candidate.figures[function], 50);
        let native = &self.0[0].figures[function];
        [
            least,
            median,
            least / percentile(native, 0),
            median / percentile(native, 50),
        ]
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "CPU time of a call in ns, least and median of {ROUNDS} rounds (× native's least, × its median)\n\n{:<22}",
            ""
        );
        for candidate in &self.0 {
            let _ = write!(text, " {:>28}", candidate.name);
        }
        text.push('\n');
        for (i, function) in FUNCTIONS.iter().enumerate() {
            let _ = write!(text, "{function:<22}");
            for candidate in &self.0 {
                let [least, median, of_least, of_median] = self.cell(candidate, i);
                let cell = format!("{least:.1} {median:.1} (× {of_least:.2} × {of_median:.2})");
                let _ = write!(text, " {cell:>28}");
            }
            text.push('\n');
        }
        text
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let mut functions = Map::new();
        for (i, function) in FUNCTIONS.iter().enumerate() {
            let mut row = Map::new();
            for candidate in &self.0 {
                let [least_ns, median_ns, of_least, of_median] = self.cell(candidate, i);
                let cell = json!({
                    "least_ns": least_ns, "median_ns": median_ns,
                    "of_native_least": of_least, "of_native_median": of_median,
                });
                row.insert(candidate.name.into(), cell);
            }
            functions.insert((*function).into(), row.into());
        }
        json!({"rounds": ROUNDS, "functions": functions})
    }
}
