//! The full figures: every large count of the project, taken in full, in runs that may be interrupted.
//!
//! A [`Series`] is one claim and the repetitions that measure it. Each repetition, once done, is a line in
//! `target/soak/outcomes.jsonl`; a soak that is started again goes on with the first repetition that has no line. The
//! figures in `docs/benchmarks.md` are derived from the lines alone.

mod figures;
mod outcome;
mod series;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use outcome::{Ledger, Outcome};
use series::Series;

/// Where the figures are written, between two markers.
const PAGE: &str = "docs/benchmarks.md";

/// What to measure now.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Measure only the series whose name begins with one of these; all if none is given.
    names: Vec<String>,
    /// Begin no repetition after this many minutes; a later soak goes on from there.
    #[arg(long, value_name = "MINUTES")]
    chunk: Option<u64>,
    /// Forget the outcomes of the chosen series first.
    #[arg(long)]
    fresh: bool,
    /// Measure nothing: list the series and how far each is.
    #[arg(long)]
    list: bool,
}

/// Why the figures could not be taken, or are not what is promised.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// A file could not be read or written.
    #[error("failed to access {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// The outcomes on disk cannot be read.
    #[error("{path}:{line}: not an outcome: {reason}; remove the line and start again")]
    Ledger {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    /// A program could not be started.
    #[error("failed to start {program}: {source}")]
    Start { program: String, source: io::Error },
    /// The binaries to measure could not be built.
    #[error("cargo build failed")]
    Build,
    /// No series has such a name.
    #[error("no series begins with {name:?}; there are {known}")]
    Unknown { name: String, known: String },
    /// The page has no place for the figures.
    #[error("{PAGE} has no lines {begin} and {end}, between which the figures go", begin = figures::BEGIN, end = figures::END)]
    Page,
    /// Measured, and not as promised.
    #[error("not as promised: {}", .0.join("; "))]
    Broken(Vec<String>),
}

/// Takes the missing repetitions, then writes the figures.
pub fn run(root: &Path, options: &Options) -> Result<(), SoakError> {
    let all = series::all();
    let chosen = choose(&all, &options.names)?;
    let folder = crate::suite::target_directory(root).join("soak");
    let file = |source| SoakError::File {
        path: folder.clone(),
        source,
    };
    fs::create_dir_all(&folder).map_err(file)?;
    let mut ledger = Ledger::open(&folder.join("outcomes.jsonl"))?;

    if options.list {
        for series in chosen {
            println!(
                "{:20} {:3} of {:3}  {}",
                series.name,
                ledger.of(&series.name).len(),
                series.repetitions,
                series.claim
            );
        }
        return Ok(());
    }
    if options.fresh {
        ledger.forget(&chosen)?;
    }
    build(root)?;
    let until = options
        .chunk
        .map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let complete = measure(root, &folder, &chosen, &mut ledger, until)?;
    write_figures(root, &all, &ledger)?;
    if !complete {
        println!("this chunk is over; `make soak` goes on from here");
    }
    let broken: Vec<String> = chosen
        .iter()
        .filter_map(|series| series.shortfall(&ledger))
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(SoakError::Broken(broken))
    }
}

fn choose<'a>(all: &'a [Series], names: &[String]) -> Result<Vec<&'a Series>, SoakError> {
    let matches = |series: &Series, name: &String| series.name.starts_with(name.as_str());
    if let Some(name) = names
        .iter()
        .find(|name| !all.iter().any(|series| matches(series, name)))
    {
        let known: Vec<&str> = all.iter().map(|series| series.name.as_str()).collect();
        return Err(SoakError::Unknown {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    Ok(all
        .iter()
        .filter(|series| names.is_empty() || names.iter().any(|name| matches(series, name)))
        .collect())
}

/// What is measured is always what is checked out.
fn build(root: &Path) -> Result<(), SoakError> {
    let status = Command::new("cargo")
        .args(["build", "--locked", "--release", "--package", "murphy"])
        .current_dir(root)
        .status()
        .map_err(|source| SoakError::Start {
            program: "cargo".to_owned(),
            source,
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(SoakError::Build)
    }
}

/// Takes repetitions until none is missing or the time is over; says which.
fn measure(
    root: &Path,
    folder: &Path,
    chosen: &[&Series],
    ledger: &mut Ledger,
    until: Option<Instant>,
) -> Result<bool, SoakError> {
    let commit = commit(root);
    for series in chosen {
        let done = ledger.of(&series.name).len();
        for repetition in (1..=series.repetitions)
            .filter(|n| !ledger.has(&series.name, *n))
            .collect::<Vec<_>>()
        {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            let outcome = repeat(root, folder, series, repetition, &commit)?;
            println!(
                "{} {repetition} of {}: {} in {:.1} s",
                series.name, series.repetitions, outcome.result, outcome.seconds
            );
            ledger.add(outcome)?;
        }
        if done == series.repetitions as usize {
            println!("{}: all {done} repetitions are there already", series.name);
        }
    }
    Ok(true)
}

/// One repetition: its command is run, and what it says last is kept.
fn repeat(
    root: &Path,
    folder: &Path,
    series: &Series,
    repetition: u32,
    commit: &str,
) -> Result<Outcome, SoakError> {
    let out = folder.join(format!("{}-{repetition}", series.name));
    let file = |source| SoakError::File {
        path: out.clone(),
        source,
    };
    match fs::remove_dir_all(&out) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(error)),
        _ => {} // a run that was interrupted left its folder; a run folder must be new
    }
    let mut command = series.command(root, &out, repetition);
    let program = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let output = command
        .current_dir(root)
        .output()
        .map_err(|source| SoakError::Start { program, source })?;
    let seconds = started.elapsed().as_secs_f64();
    let (mut result, figure) = series.read(&output);
    if let Some(mut second) = series.second_command(root, &out) {
        let output = second
            .current_dir(root)
            .output()
            .map_err(|source| SoakError::Start {
                program: "murphy check".to_owned(),
                source,
            })?;
        let (again, _) = series.read(&output);
        if again != result {
            result = format!("{result}, judged again {again}");
        }
    }
    let outcome = Outcome {
        series: series.name.clone(),
        repetition,
        result,
        figure,
        seconds,
        commit: commit.to_owned(),
    };
    if series.expects(&outcome.result) {
        // The history of a run that went as expected is large and of no further use.
        let _ = fs::remove_dir_all(&out);
    } else {
        fs::create_dir_all(&out).map_err(file)?;
        fs::write(out.join("stdout.txt"), &output.stdout).map_err(file)?;
        fs::write(out.join("stderr.txt"), &output.stderr).map_err(file)?;
    }
    Ok(outcome)
}

/// What is checked out, for the record; with a plus when files differ from it.
fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(root)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // The page of figures is what a soak itself writes.
    let others = format!(":!{PAGE}");
    let changed = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        &others,
    ])
    .is_some_and(|files| !files.is_empty());
    if changed { commit + "+" } else { commit }
}

fn write_figures(root: &Path, all: &[Series], ledger: &Ledger) -> Result<(), SoakError> {
    let path = root.join(PAGE);
    let file = |source| SoakError::File {
        path: path.clone(),
        source,
    };
    let page = fs::read_to_string(&path).map_err(file)?;
    let page =
        figures::replace(&page, &figures::table(all, ledger, &page)).ok_or(SoakError::Page)?;
    fs::write(&path, page).map_err(file)?;
    println!("figures: {PAGE}");
    Ok(())
}
