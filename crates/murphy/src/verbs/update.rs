//! `murphy update ID` changes a skew that is in force, without stopping its target.

use clap::Args;
use murphy_fault::{journal::Journal, span::Shift, time::update};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output::{self, plural},
    verbs::{
        find,
        inject::{How, skew_failure},
    },
};

/// Arguments of `murphy update`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy update 4f --offset +1h         whatever it was before
  murphy update 4f --drift -50ppm       from the true time on

The clocks and the end stay those it was injected with. Nobody is stopped.")]
pub struct UpdateArgs {
    /// The injection's id or the beginning of it.
    #[arg(value_name = "ID")]
    pub id: String,

    /// How the clocks are to go from now on.
    #[command(flatten)]
    pub how: How,

    /// The seed of what is random; by default another each time.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Changes it.
pub fn run(args: &UpdateArgs, json: bool) -> Result<Exit, Failure> {
    let journal = Journal::of_user().map_err(Failure::machine)?;
    let record = find(&journal, &args.id)?;
    let spec = args.how.spec()?;
    let fault = spec.to_string();
    let seed = args.seed.unwrap_or_else(murphy_sys::clock::realtime_ns);
    let updated = update(&journal, &record, spec, seed).map_err(skew_failure)?;
    let id = &record.header.id;
    if json {
        output::json(&json!({
            "event": "updated", "id": id, "family": "time", "fault": fault,
            "targets": record.header.targets, "effect": updated,
        }));
    } else {
        output::line(&format!(
            "updated {id}: {} told within {:.0} µs each, nobody stopped; their clocks are {} from the true time",
            plural(updated.processes, "process"),
            updated.longest_ns as f64 / 1e3,
            Shift(updated.shift_ns / 1000 * 1000)
        ));
    }
    if updated.processes > 0 {
        Ok(Exit::Held)
    } else {
        Err(Failure::machine(format!(
            "update {id}: no living process carries it"
        )))
    }
}
