//! `murphy doctor` says what this machine can do, and why not.

use clap::Args;
use murphy_fault::{
    doctor::{Row, Standing, examine, standing},
    journal::Journal,
    syscall::{
        Engine,
        coverage::{Covered, coverage},
    },
};
use murphy_run::request::Machine;
use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output::{self, plural},
};

/// The family whose calls are told one by one.
const SYSCALL: &str = "syscall";

/// Arguments of `murphy doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every answer is found by trial, not by version. Examples:
  murphy doctor
  murphy doctor syscall          which errors each system call can be made to meet here
  murphy doctor process --json")]
pub struct DoctorArgs {
    /// Only the rows of this family or part.
    pub family: Option<String>,
}

/// Examines the machine.
pub fn run(args: &DoctorArgs, json: bool) -> Result<Exit, Failure> {
    let mut rows = examine();
    if let Some(family) = &args.family {
        let mut known: Vec<_> = rows.iter().map(|row| row.family).collect();
        known.dedup();
        if !known.contains(&family.as_str()) {
            let text = format!("examine {family:?}: there are {}", known.join(", "));
            return Err(Failure::input(text));
        }
        rows.retain(|row| row.family == family);
    }
    // Without a place for a journal nothing can be injected, and nothing can be left of it.
    let journal = Journal::of_user();
    let standing = match &journal {
        Ok(journal) => standing(journal).map_err(Failure::machine)?,
        Err(error) => {
            output::note(&format!("murphy: warning: failed to {error}"));
            Standing::default()
        }
    };
    let is_asked = args.family.as_deref() == Some(SYSCALL);
    let works = |engine: &Engine| {
        let mut rows = rows.iter();
        rows.any(|row| row.family == SYSCALL && row.works && row.name == engine.name())
    };
    let engines: Vec<Engine> = Engine::ALL.into_iter().filter(works).collect();
    let calls = is_asked.then(|| coverage(&engines));
    let machine = Machine::this(env!("CARGO_PKG_VERSION"));
    if json {
        output::json(&json!({
            "event": "doctor", "machine": machine, "rows": rows, "journal": journal.as_ref().ok().map(Journal::directory), "standing": standing, "calls": calls,
        }));
    } else {
        output::line(&machine.kernel);
        table(&rows);
        if let Some(calls) = &calls {
            output::line(&calls_table(calls));
        }
        journal_lines(&standing);
    }
    let clean = standing.stale.is_empty() && standing.damaged.is_empty();
    Ok(if clean { Exit::Held } else { Exit::Cleanup })
}

/// One line for each family, its rows beside each other; a "no" with its reason.
fn table(rows: &[Row]) {
    let width = rows.iter().map(|row| row.family.len()).max().unwrap_or(0);
    for chunk in rows.chunk_by(|a, b| a.family == b.family) {
        let cells: Vec<_> = chunk
            .iter()
            .map(|row| match (row.works, row.detail.as_str()) {
                (true, "") => format!("{} yes", row.name),
                (true, detail) => format!("{} yes: {detail}", row.name),
                (false, why) => format!("{} no: {why}", row.name),
            })
            .collect();
        output::line(&format!(
            "  {:<width$}  {}",
            chunk[0].family,
            cells.join("   ")
        ));
    }
}

/// A line for each call: by which engines it fails, with what, or why not. What only a wrong program meets is in parentheses.
fn calls_table(calls: &[Covered]) -> String {
    let width = calls.iter().map(|one| one.call.len()).max().unwrap_or(0);
    let engines_of = |one: &Covered| match &one.engines[..] {
        [] => "–".to_owned(),
        engines => engines.join(" "),
    };
    let lengths = calls.iter().map(|one| engines_of(one).len());
    let broad = lengths.max().unwrap_or(0).max("engine".len());
    let mut lines = vec![format!(
        "\n  {:<width$}  {:<broad$}  errors",
        "call", "engine"
    )];
    for one in calls {
        let engines = engines_of(one);
        let errors = one.errors.iter().map(|met| {
            if met.is_environmental {
                met.errno.clone()
            } else {
                format!("({})", met.errno)
            }
        });
        let mut text = errors.collect::<Vec<_>>().join(" ");
        if let Some(why) = &one.why {
            text = format!("{text}{}{why}", if text.is_empty() { "" } else { "; " });
        }
        lines.push(format!("  {:<width$}  {engines:<broad$}  {text}", one.call));
    }
    let pairs: usize = calls
        .iter()
        .filter(|one| !one.engines.is_empty())
        .map(|one| one.errors.len())
        .sum();
    let done = calls.iter().filter(|one| !one.engines.is_empty()).count();
    lines.push(format!(
        "  {done} of {} calls can be made to fail here, {pairs} pairs of call and errno; in parentheses what a correct program meets all day, or never.\n",
        calls.len()
    ));
    lines.join("\n")
}

fn journal_lines(standing: &Standing) {
    let in_force = match standing.in_force.len() as u64 {
        0 => "Nothing is injected.".to_owned(),
        n => format!(
            "{} in force: {}.",
            plural(n, "injection"),
            standing.in_force.join(", ")
        ),
    };
    let stale = match standing.stale.len() as u64 {
        0 => "No stale journal.".to_owned(),
        n => format!(
            "STALE: {} of a Murphy that is gone: {}. `murphy recover` undoes what is left.",
            plural(n, "injection"),
            standing.stale.join(", ")
        ),
    };
    output::line(&format!("{in_force} {stale}"));
    for damaged in &standing.damaged {
        output::line(&format!("DAMAGED: failed to {damaged}"));
    }
}
