//! `murphy report RUN` draws the report of a run again, from what is in its folder.

use std::path::PathBuf;

use clap::Args;
use murphy_run::{
    folder::{Folder, FolderError},
    record,
};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Arguments of `murphy report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy report murphy-runs/etcd-20261121T021804Z

The exit code is 0 when the report was drawn, whatever its verdict. docs/report.md says how to read it.")]
pub struct ReportArgs {
    /// The folder of a run.
    pub run: PathBuf,
}

/// Draws it and prints its path.
pub fn run(args: &ReportArgs, json: bool) -> Result<Exit, Failure> {
    let folder = Folder::open(&args.run).map_err(failure)?;
    let report = record::draw(&folder).map_err(failure)?;
    if json {
        output::json(&json!({"event": "report", "run": folder.path(), "report": report}));
    } else {
        output::line(&report.display().to_string());
    }
    Ok(Exit::Held)
}

/// What cannot be read is wrong input; what cannot be written is a machine that refuses.
fn failure(error: FolderError) -> Failure {
    match error {
        FolderError::Io { verb: "write", .. } => Failure::machine(error),
        _ => Failure::input(error),
    }
}
