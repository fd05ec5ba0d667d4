//! `murphy amplify` makes the errors that a program really meets more frequent, and reports what it survives.

mod asked;
mod kept;
mod metrics;
mod model;
mod model_table;
mod probing;
mod record;
mod report;
mod run;
mod table;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};

/// Arguments of `murphy amplify`.
#[derive(Debug, Args)]
pub struct AmplifyArgs {
    /// Which step.
    #[command(subcommand)]
    pub step: Step,
}

/// The steps, in their order.
#[derive(Debug, Subcommand)]
pub enum Step {
    /// Count what the system calls of a target fail with, interval by interval.
    Record(record::RecordArgs),
    /// Make models of a recording: which errors to inject, and how often.
    Model(model::ModelArgs),
    /// Inject errors at growing rates, and say what the target does about each.
    Run(Box<run::RunArgs>),
    /// Draw the report of a campaign again, or against an earlier one.
    Report(report::ReportArgs),
}

/// Does a step.
pub fn run(args: &AmplifyArgs, json: bool) -> Result<Exit, Failure> {
    match &args.step {
        Step::Record(args) => record::run(args, json),
        Step::Model(args) => model::run(args, json),
        Step::Run(args) => run::run(args, json),
        Step::Report(args) => report::run(args, json),
    }
}
