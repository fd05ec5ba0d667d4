//! `murphy check HISTORY --model M` judges a recorded history; no cluster is needed.

use std::{fs::File, path::PathBuf, time::Instant};

use clap::{Args, ValueEnum};
use murphy_check::verdict::Report;
use murphy_run::folder::Folder;
use serde_json::json;

use super::verdict::{self, Said};
use crate::{
    exit::{Exit, Failure},
    output,
};

/// Arguments of `murphy check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy check history.jsonl --model etcd
  murphy check murphy-runs/etcd-20261121T021804Z --promise members-agree,durable

The format is described in docs/history.md, the promises in docs/check.md.")]
pub struct CheckArgs {
    /// The history, or the folder of a run.
    pub history: PathBuf,

    /// The model that gives the events their meaning.
    #[arg(long, value_enum, default_value_t = Model::Etcd)]
    pub model: Model,

    /// Only these promises decide the verdict and the exit code.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub promise: Vec<String>,
}

/// The models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// etcd: a versioned key-value store with transactions and watches.
    Etcd,
}

/// Judges it.
pub fn run(args: &CheckArgs, json: bool) -> Result<Exit, Failure> {
    known_promises(&args.promise)?;
    let path = if args.history.is_dir() {
        Folder::open(&args.history)
            .map_err(Failure::input)?
            .history_path()
    } else {
        args.history.clone()
    };
    let name = path.display();
    let file =
        File::open(&path).map_err(|error| Failure::input(format!("open {name}: {error}")))?;
    let began = Instant::now();
    let report = match args.model {
        Model::Etcd => murphy_check::etcd::check(file, &murphy_check::etcd::Options::default()),
    };
    let report = report.map_err(|error| Failure::input(format!("read {name}:{error}")))?;
    let exit = report.verdict(&args.promise).into();
    if json {
        print_json(&report, args);
    } else {
        let said: Vec<_> = report
            .judgements
            .iter()
            .map(|j| Said::new(j, &args.promise))
            .collect();
        verdict::print(&said);
        let seconds = began.elapsed().as_secs_f64();
        output::line(&format!(
            "{} · {seconds:.2} s",
            verdict::figures(&report.vacuity)
        ));
    }
    Ok(exit)
}

/// A promise that does not exist is a typing mistake, not one that held.
pub fn known_promises(promises: &[String]) -> Result<(), Failure> {
    for promise in promises {
        if !murphy_check::etcd::PROMISES.contains(&promise.as_str()) {
            let known = murphy_check::etcd::PROMISES.join(", ");
            let text = format!("select the promise {promise:?}: the model etcd has {known}");
            return Err(Failure::input(text));
        }
    }
    Ok(())
}

fn print_json(report: &Report, args: &CheckArgs) {
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
        "vacuity": report.vacuity,
        "history": args.history,
    }));
}
