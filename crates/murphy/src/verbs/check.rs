//! `murphy check HISTORY --model M` judges a recorded history; no cluster is needed.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use murphy_check::{recording::Recording, verdict::Report};
use serde_json::json;

use super::{
    histories::{self, History, Reading},
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
  murphy check history.jsonl --model etcd
  murphy check murphy-runs/etcd-20261121T021804Z --promise members-agree,durable
  murphy check results/TestRobustness/1                 the folder of an etcd robustness test
  zcat history.jsonl.gz | murphy check -

The format is told from the first bytes, gzip and zstd as well; docs/formats.md has an excerpt of each. The promises
are described in docs/check.md.")]
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
}

/// Judges it.
pub fn run(args: &CheckArgs, json: bool) -> Result<Exit, Failure> {
    known_promises(&args.promise)?;
    let began = Instant::now();
    let opened = histories::open(&args.history, &args.reading, args.model.as_deref())?;
    let report = match opened.history {
        History::Etcd(source) => {
            murphy_check::etcd::check(source, &murphy_check::etcd::Options::default())
                .map_err(|error| Failure::input(format!("read {}:{error}", opened.name)))?
        }
        History::Recording(recording) => judge(&opened.name, &recording)?,
    };
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

/// Judges a history of any model but etcd.
fn judge(name: &str, recording: &Recording) -> Result<Report, Failure> {
    let model = &recording.header.model;
    Err(Failure::input(format!(
        "judge {name}: there is no checker for model {model:?}; the models are etcd"
    )))
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
