//! `murphy ls` shows what is in force on this machine.

use clap::Args;
use murphy_fault::{
    journal::{Journal, Record},
    span::{Span, Until},
    time::fault_of,
};
use murphy_sys::clock::boottime_ns;
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Arguments of `murphy ls`.
#[derive(Debug, Args)]
#[command(after_help = "Example: murphy ls --json | jq .id")]
pub struct LsArgs {}

/// Shows it.
pub fn run(json: bool) -> Result<Exit, Failure> {
    let journal = Journal::of_user().map_err(Failure::machine)?;
    let (records, damaged) = journal.list().map_err(Failure::machine)?;
    for record in &records {
        if json {
            print_json(&journal, record);
        } else {
            output::line(&text(&journal, record));
        }
    }
    if records.is_empty() && damaged.is_empty() && !json {
        output::line("nothing is injected");
    }
    for error in &damaged {
        output::note(&format!("murphy: failed to {error}"));
    }
    Ok(if damaged.is_empty() {
        Exit::Held
    } else {
        Exit::Cleanup
    })
}

/// `active` while its Murphy lives, `orphaned` while its keeper does, else `stale`.
fn state(record: &Record) -> &'static str {
    if record.header.owner.is_alive() {
        "active"
    } else if record.is_stale() {
        "stale"
    } else {
        "orphaned"
    }
}

fn text(journal: &Journal, record: &Record) -> String {
    let header = &record.header;
    let left = match (header.until, header.deadline_boottime_ns()) {
        (Until::After(_), Some(deadline)) => {
            let left = deadline.saturating_sub(boottime_ns());
            let unit = if left < 10_000_000_000 {
                1_000_000
            } else {
                1_000_000_000
            };
            let left = left / unit * unit;
            format!("{} left", Span(std::time::Duration::from_nanos(left)))
        }
        _ => "no end".into(),
    };
    let effect = journal
        .effect(&header.id)
        .map(|effect| format!(" · {}", said(&effect)))
        .unwrap_or_default();
    format!(
        "{}  {} {} on {}  {} · {left}{effect}",
        header.id,
        header.family,
        fault_of(record),
        header.targets.join(", "),
        state(record),
    )
}

/// What an effect comes to, for people: its own words, or else all of it.
fn said(effect: &serde_json::Value) -> String {
    match effect["text"].as_str() {
        Some(text) => text.to_owned(),
        None => effect.to_string(),
    }
}

fn print_json(journal: &Journal, record: &Record) {
    let header = &record.header;
    output::json(&json!({
        "event": "injection",
        "id": header.id,
        "family": header.family,
        "fault": fault_of(record),
        "targets": header.targets,
        "state": state(record),
        "until": header.until,
        "owner_pid": header.owner.pid,
        "keeper_pid": record.keeper.map(|keeper| keeper.pid),
        "effect": journal.effect(&header.id),
    }));
}
