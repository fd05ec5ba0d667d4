//! `murphy recover` goes the way back of injections, whoever made them.

use clap::Args;
use murphy_fault::journal::{Journal, JournalError, Record};
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output,
    verbs::find,
};

/// Arguments of `murphy recover`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  murphy recover           what a Murphy that is gone has left behind
  murphy recover 4f        the injection whose id begins with 4f, even if its Murphy lives
  murphy recover --all     everything that is in force

Exit code 5: something could not be undone and stays in the journal.")]
pub struct RecoverArgs {
    /// An id or the beginning of one.
    #[arg(value_name = "ID", conflicts_with = "all")]
    pub id: Option<String>,

    /// Everything in force, also what a living Murphy holds.
    #[arg(long)]
    pub all: bool,
}

/// Goes the way back.
pub fn run(args: &RecoverArgs, json: bool) -> Result<Exit, Failure> {
    let journal = Journal::of_user().map_err(Failure::machine)?;
    let (records, damaged) = journal.list().map_err(Failure::machine)?;
    let chosen: Vec<Record> = match &args.id {
        Some(prefix) if is_damaged(&damaged, prefix) => Vec::new(),
        Some(prefix) => vec![find(&journal, prefix)?],
        None => records
            .into_iter()
            .filter(|record| args.all || !record.header.owner.is_alive())
            .collect(),
    };
    let mut left = 0;
    for record in &chosen {
        left += recover(&journal, record, json)?;
    }
    for error in &damaged {
        let Some(id) = damaged_id(error) else {
            continue;
        };
        if args
            .id
            .as_deref()
            .is_none_or(|prefix| id.starts_with(prefix))
        {
            left += 1;
            // Undoes what can be read; the damage itself stays, and is what is said.
            let said = journal.undo(id).err();
            output::note(&format!(
                "murphy: failed to {}",
                said.as_ref().unwrap_or(error)
            ));
        }
    }
    if chosen.is_empty() && left == 0 && !json {
        output::line("nothing to recover");
    }
    Ok(if left == 0 { Exit::Held } else { Exit::Cleanup })
}

/// The id of the injection whose file is damaged.
fn damaged_id(error: &JournalError) -> Option<&str> {
    match error {
        JournalError::Damaged { path, .. } => path.file_name()?.to_str(),
        _ => None,
    }
}

fn is_damaged(damaged: &[JournalError], prefix: &str) -> bool {
    damaged
        .iter()
        .filter_map(damaged_id)
        .any(|id| id.starts_with(prefix))
}

/// Undoes one injection; returns how many of its changes are left.
fn recover(journal: &Journal, record: &Record, json: bool) -> Result<usize, Failure> {
    let header = &record.header;
    let outcomes = journal.undo(&header.id).map_err(Failure::cleanup)?;
    let left = outcomes
        .iter()
        .filter(|outcome| outcome.result.is_err())
        .count();
    if json {
        let undos: Vec<_> = outcomes
            .iter()
            .map(|o| match &o.result {
                Ok(undone) => json!({ "undo": o.undo, "result": undone }),
                Err(error) => json!({ "undo": o.undo, "error": error.to_string() }),
            })
            .collect();
        output::json(&json!({
            "event": if left == 0 { "recovered" } else { "failed" },
            "id": header.id, "family": header.family, "fault": header.fault,
            "targets": header.targets, "undos": undos,
        }));
        return Ok(left);
    }
    let word = if left == 0 {
        "recovered"
    } else {
        "NOT recovered"
    };
    output::line(&format!(
        "{word} {}: {} {} on {}",
        header.id,
        header.family,
        header.fault,
        header.targets.join(", ")
    ));
    for outcome in &outcomes {
        let result = match &outcome.result {
            Ok(murphy_fault::undo::Undone::Now) => "done".to_owned(),
            Ok(murphy_fault::undo::Undone::AlreadyDone) => "was done already".into(),
            Ok(murphy_fault::undo::Undone::TargetGone) => "the target is gone".into(),
            Ok(murphy_fault::undo::Undone::Dormant(count)) => format!(
                "done; {} left in memory, run by nobody new",
                output::plural(*count as u64, "dormant hook")
            ),
            Err(error) => format!("failed to {error}"),
        };
        output::line(&format!("  {}: {result}", outcome.undo));
    }
    Ok(left)
}
