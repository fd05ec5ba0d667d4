//! `murphy pause ID` has an injection do nothing for a while, `murphy resume ID` has it go on.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Args;
use murphy_fault::journal::{Journal, Record};
use serde_json::{Value, json};

use crate::{
    exit::{Exit, Failure},
    output,
    verbs::find,
};

/// The families that heed it.
const HEEDED_BY: [&str; 1] = ["net"];
/// How long an owner may take to heed it.
const HEEDED_WITHIN: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Arguments of `murphy pause` and `murphy resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy pause 4f      packets pass, and are not counted
  murphy resume 4f     until its end, which stays what it was")]
pub struct PauseArgs {
    /// The injection's id or the beginning of it.
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Pauses or resumes it, and waits until its owner has done so.
pub fn run(args: &PauseArgs, paused: bool, json: bool) -> Result<Exit, Failure> {
    let verb = if paused { "pause" } else { "resume" };
    let journal = Journal::of_user().map_err(Failure::machine)?;
    let record = find(&journal, &args.id)?;
    check(verb, &record)?;
    let header = &record.header;
    journal
        .pause(&header.id, paused)
        .map_err(Failure::machine)?;
    let effect = heeded(&journal, &record, paused, verb)?;
    if json {
        output::json(&json!({
            "event": format!("{verb}d"), "id": header.id, "family": header.family, "fault": header.fault,
            "targets": header.targets, "effect": effect,
        }));
    } else {
        let until = if paused {
            format!(
                "; `murphy resume {}` has it go on, its end stays what it was",
                header.id
            )
        } else {
            String::new()
        };
        output::line(&format!(
            "{verb}d {}: {} {} on {}{until}",
            header.id,
            header.family,
            header.fault,
            header.targets.join(", ")
        ));
    }
    Ok(Exit::Held)
}

fn check(verb: &str, record: &Record) -> Result<(), Failure> {
    let header = &record.header;
    if !HEEDED_BY.contains(&header.family.as_str()) {
        return Err(Failure::input(format!(
            "{verb} injection {}: it is one of family {}; only those of {} can be paused",
            header.id,
            header.family,
            HEEDED_BY.join(", ")
        )));
    }
    if !header.owner.is_alive() {
        return Err(Failure::machine(format!(
            "{verb} injection {}: its Murphy is gone",
            header.id
        )));
    }
    Ok(())
}

/// Waits until the owner says that it is so.
fn heeded(journal: &Journal, record: &Record, paused: bool, verb: &str) -> Result<Value, Failure> {
    let id = &record.header.id;
    let until = Instant::now() + HEEDED_WITHIN;
    loop {
        let effect = journal.effect(id).unwrap_or_default();
        if effect["paused"] == paused {
            return Ok(effect);
        }
        if Instant::now() > until || !record.header.owner.is_alive() {
            return Err(Failure::machine(format!(
                "{verb} injection {id}: its Murphy has not done so within {} s; it will if it goes on",
                HEEDED_WITHIN.as_secs()
            )));
        }
        sleep(LOOK_EVERY);
    }
}
