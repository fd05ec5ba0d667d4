//! `murphy check HISTORY --model M` judges a recorded history; no cluster is needed.

mod follow;

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use murphy_check::{
    etcd,
    judge::{self, Judged, ModelName},
    picture,
    recording::Recording,
    search::Limits,
    verdict::{Judgement, Report, Verdict},
};
use murphy_fault::span::Span;
use serde_json::json;

use super::{
    histories::{self, History, Opened, Reading},
    verdict::{self, Said},
};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// Arguments of `murphy check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy check history.jsonl --html witness.html
  murphy check history.edn --model list-append --promise isolation.serializable
  murphy check etcd_002.log                             a log of Jepsen; model cas-register
  murphy check murphy-runs/etcd-20261121T021804Z --promise members-agree,durable
  murphy check results/TestRobustness/1                 the folder of an etcd robustness test
  zcat history.jsonl.gz | murphy check -
  murphy check --follow history.jsonl                   while it is being written

The format is told from the first bytes, gzip and zstd as well; docs/formats.md has an excerpt of each. Models are
described in docs/models.md, promises in docs/check.md, docs/promises.md and docs/isolation.md.")]
pub struct CheckArgs {
    /// The history: a file, `-` for standard input, the folder of a run or of an etcd report.
    pub history: PathBuf,

    /// The model that gives the events their meaning, where nothing in the history tells.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// How it is read.
    #[command(flatten)]
    pub reading: Reading,

    /// Only these promises decide the verdict and the exit code.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub promise: Vec<String>,

    /// Draw the history with its witness into this file: one page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Judge it while it is being written, line by line, up to the first contradiction: promise `linearizable`.
    #[arg(long, conflicts_with_all = ["html", "time_limit"])]
    pub follow: bool,

    /// With --follow: the history is at its end when nothing was added for so long.
    #[arg(long, value_name = "DURATION", requires = "follow")]
    pub idle: Option<Span>,

    /// How long a search may take; what is not decided by then is undecided.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub time_limit: Span,

    /// How much memory searches may take, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub memory_limit: u32,
}

/// Judges it.
pub fn run(args: &CheckArgs, json: bool) -> Result<Exit, Failure> {
    if args.follow {
        return follow::run(args, json);
    }
    let began = Instant::now();
    let opened = histories::open(&args.history, &args.reading, args.model.as_deref())?;
    let judged = match opened {
        Opened {
            name,
            history: History::Etcd(source),
        } => check_etcd(&name, source, args)?,
        Opened {
            name,
            history: History::Recording(recording),
        } => check_recording(&name, *recording, args)?,
    };
    Ok(tell(&judged, args, json, began))
}

/// Prints the verdicts, and picks the exit code.
fn tell(judged: &Judged, args: &CheckArgs, json: bool, began: Instant) -> Exit {
    if json {
        print_json(judged, args);
    } else {
        print(judged, args, began);
    }
    judged.report.verdict(&args.promise).into()
}

fn check_etcd(name: &str, source: impl std::io::Read, args: &CheckArgs) -> Result<Judged, Failure> {
    known_promises(&args.promise)?;
    let scope = if args.promise.is_empty() {
        etcd::Scope::Spoken
    } else {
        etcd::Scope::All
    };
    let options = etcd::Options {
        scope,
        ..etcd::Options::default()
    };
    let unreadable = |error| Failure::input(format!("read {name}:{error}"));
    let record = etcd::Record::read(source).map_err(unreadable)?;
    let report = match &args.html {
        None => etcd::check_record(record, &options),
        Some(path) => {
            let report = etcd::check_record(record.clone(), &options);
            draw(path, |page| picture::etcd_html(&record, &report, page))?;
            report
        }
    };
    Ok(report.into())
}

fn check_recording(
    name: &str,
    mut recording: Recording,
    args: &CheckArgs,
) -> Result<Judged, Failure> {
    let model: ModelName = (recording.header.model.parse())
        .map_err(|error| Failure::input(format!("judge {name}: {error}")))?;
    select(&args.promise, model.name(), &model.promises())?;
    let options = judge::Options {
        strictness: args.reading.strictness(),
        limits: Limits {
            memory: usize::try_from(args.memory_limit).unwrap_or(usize::MAX) << 20,
            time: Some(args.time_limit.0),
            ..Limits::default()
        },
    };
    let left_out = recording.left_out;
    let judged = judge::judge(&mut recording, model, &options).map_err(|error| {
        Failure::input(format!("read {name}:{}: {}", error.line, error.problem))
    })?;
    if recording.left_out > left_out {
        histories::say_left_out(name, &recording);
    }
    if let Some(path) = &args.html {
        draw(path, |page| {
            picture::html(&recording, &judged.report, &judged.explanations, page)
        })?;
    }
    Ok(judged)
}

/// Writes the page; one that was there before is replaced as a whole, or not at all.
fn draw(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let failed = |error| Failure::machine(format!("write {}: {error}", path.display()));
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut page = BufWriter::new(File::create(&part).map_err(failed)?);
    let written = write(&mut page).and_then(|()| page.flush());
    drop(page);
    written
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|error| {
            // What is half written is of no use to anybody.
            let _ = std::fs::remove_file(&part);
            failed(error)
        })
}

fn print(judged: &Judged, args: &CheckArgs, began: Instant) {
    let (shown, same) = without_repetitions(&judged.report.judgements);
    let said: Vec<_> = shown
        .iter()
        .map(|judgement| Said::new(judgement, &args.promise))
        .collect();
    verdict::print(&said);
    if !same.is_empty() {
        output::line(&format!("        the same breaks {}", same.join(" · ")));
    }
    if !judged.anomalies.is_empty() {
        let anomalies = judged
            .anomalies
            .iter()
            .map(|(name, count)| format!("{name} × {count}"));
        output::line(&format!(
            "        anomalies: {}",
            anomalies.collect::<Vec<_>>().join(" · ")
        ));
    }
    let seconds = began.elapsed().as_secs_f64();
    let figures = verdict::figures(&judged.report.vacuity);
    let page = args
        .html
        .as_ref()
        .map(|path| format!(" · {} shows it", path.display()));
    output::line(&format!(
        "{figures} · {seconds:.2} s{}",
        page.unwrap_or_default()
    ));
}

/// The judgements, without those broken by a witness that was shown already; and the names of those.
fn without_repetitions(judgements: &[Judgement]) -> (Vec<&Judgement>, Vec<&str>) {
    let lines = |judgement: &Judgement| {
        let witness = judgement.witness.as_ref();
        witness.map(|witness| {
            witness
                .lines
                .iter()
                .map(|line| line.line)
                .collect::<Vec<_>>()
        })
    };
    let mut seen = Vec::new();
    let (mut shown, mut same) = (Vec::new(), Vec::new());
    for judgement in judgements {
        let lines = lines(judgement).filter(|_| judgement.verdict == Verdict::Broken);
        match lines {
            Some(lines) if seen.contains(&lines) => same.push(judgement.promise.as_str()),
            lines => {
                seen.extend(lines);
                shown.push(judgement);
            }
        }
    }
    (shown, same)
}

/// A promise that does not exist is a typing mistake, not one that held.
pub fn known_promises(promises: &[String]) -> Result<(), Failure> {
    let known: Vec<_> = etcd::PROMISES.iter().map(ToString::to_string).collect();
    select(promises, "etcd", &known)
}

fn select(promises: &[String], model: &str, known: &[String]) -> Result<(), Failure> {
    for promise in promises {
        if !known.contains(promise) {
            let known = known.join(", ");
            let text = format!("select the promise {promise:?}: the model {model} has {known}");
            return Err(Failure::input(text));
        }
    }
    Ok(())
}

fn print_json(judged: &Judged, args: &CheckArgs) {
    let report: &Report = &judged.report;
    let promises: serde_json::Map<_, _> = report
        .judgements
        .iter()
        .map(|judgement| {
            let witness = judgement.witness.as_ref();
            let said = json!({
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                "sentence": witness.map(|w| &w.sentence),
                "witness": witness.map(|w| &w.lines),
                "confirmed": witness.map(|w| w.confirmed),
            });
            (judgement.promise.clone(), said)
        })
        .collect();
    output::json(&json!({
        "event": "verdict",
        "verdict": report.verdict(&args.promise),
        "promises": promises,
        "anomalies": judged.anomalies.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "vacuity": report.vacuity,
        "history": args.history,
    }));
}
