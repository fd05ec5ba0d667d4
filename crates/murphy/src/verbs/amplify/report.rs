//! `murphy amplify report` draws the report of a campaign, for people, for machines and for builds.

use std::path::{Path, PathBuf};

use clap::Args;
use murphy_amplify::{
    campaign::{search::Breaking, verdict::Verdict},
    report::{
        self, Report, ReportError,
        compared::{Change, Comparison},
        junit, page, text,
    },
};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Arguments of `murphy amplify report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy amplify report DIR
  murphy amplify report DIR --against LAST-WEEK
  murphy amplify report DIR --json

Writes report.html and junit.xml into DIR, and says the table. The exit code is 0, whatever the verdicts are; with
--against it is 1 where a row is worse than it was. More: docs/amplify.md")]
pub struct ReportArgs {
    /// The folder of a campaign: what `murphy amplify run --out` was given.
    pub folder: PathBuf,

    /// The folder of an earlier campaign, to compare with.
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
}

/// Draws it.
pub fn run(args: &ReportArgs, json: bool) -> Result<Exit, Failure> {
    let report = Report::read(&args.folder).map_err(failure)?;
    let before = args.against.as_deref().map(Report::read);
    let before = before.transpose().map_err(failure)?;
    let comparison = before.map(|before| Comparison::of(&before, &report));
    let drawn = drawn(&report, comparison.as_ref(), &args.folder)?;
    if json {
        output::json(&json!({
            "event": "report", "report": drawn, "campaign": report.campaign, "rows": report.rows, "against": comparison,
        }));
    } else {
        output::line(&text::table(&report.rows));
        if let Some(comparison) = &comparison {
            output::line(&compared(comparison));
        }
        output::note(&format!("report: {}", drawn.display()));
    }
    Ok(match comparison {
        Some(comparison) if comparison.is_worse() => Exit::Broken,
        _ => Exit::Held,
    })
}

/// Writes the page, and what builds read; where the page is.
pub fn drawn(
    report: &Report,
    against: Option<&Comparison>,
    folder: &Path,
) -> Result<PathBuf, Failure> {
    let page = folder.join("report.html");
    report::write(&page, page::render(report, against).as_bytes()).map_err(failure)?;
    let junit = junit::render(report).map_err(Failure::machine)?;
    report::write(&folder.join("junit.xml"), junit.as_bytes()).map_err(failure)?;
    Ok(page)
}

/// What differs, row by row.
fn compared(comparison: &Comparison) -> String {
    let mut lines = vec![format!(
        "\n{} of {} have the same verdict as before.",
        comparison.same_verdicts,
        output::plural(comparison.of as u64, "row")
    )];
    for row in &comparison.rows {
        let change = match row.change {
            Change::Same => continue,
            Change::Worse => "worse",
            Change::Better => "better",
            Change::Unknown => "nobody knows",
            Change::New => "new",
            Change::Gone => "not tried again",
        };
        let side = |verdict: Option<Verdict>, breaking: Option<Breaking>| {
            let verdict = verdict.map_or("–".to_owned(), |verdict| verdict.to_string());
            verdict + &breaking.map_or(String::new(), text::from)
        };
        lines.push(format!(
            "{change}: {}: {} → {}",
            row.experiment,
            side(row.before, row.broke_before),
            side(row.now, row.breaks_now)
        ));
    }
    lines.join("\n")
}

/// What cannot be read is wrong input; what cannot be written is a machine that refuses.
fn failure(error: ReportError) -> Failure {
    match error {
        ReportError::File { verb: "write", .. } => Failure::machine(error),
        _ => Failure::input(error),
    }
}
