//! The verbs, one file each: its arguments, what it does, how it says so.

pub mod amplify;
pub mod bug;
pub mod check;
pub mod completions;
pub mod convert;
pub mod doctor;
mod histories;
pub mod hunt;
pub mod inject;
pub mod keeper;
pub mod ls;
pub mod observe;
pub mod pause;
pub mod recover;
pub mod report;
mod said;
mod scrape;
pub mod update;
mod verdict;

use std::path::Path;

use murphy_fault::{
    injector::Injector,
    journal::{Journal, JournalError, Record},
};

use crate::{
    cli::{Cli, Verb},
    exit::{Exit, Failure},
    output::{self, plural},
};

/// Does what was asked.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let json = cli.json;
    if !matches!(
        cli.verb,
        Verb::Keeper(_) | Verb::Completions(_) | Verb::Doctor(_) | Verb::Recover(_)
    ) {
        warn_of_stale();
    }
    match cli.verb {
        Verb::Doctor(args) => doctor::run(&args, json),
        Verb::Inject(args) => inject::run(&args, json),
        Verb::Update(args) => update::run(&args, json),
        Verb::Pause(args) => pause::run(&args, true, json),
        Verb::Resume(args) => pause::run(&args, false, json),
        Verb::Ls(_) => ls::run(json),
        Verb::Observe(args) => observe::run(&args, json),
        Verb::Amplify(args) => amplify::run(&args, json),
        Verb::Recover(args) => recover::run(&args, json),
        Verb::Hunt(args) => hunt::run(&args, json),
        Verb::Check(args) => check::run(&args, json),
        Verb::Convert(args) => convert::run(&args, json),
        Verb::Report(args) => report::run(&args, json),
        Verb::Completions(args) => {
            completions::run(&args);
            Ok(Exit::Held)
        }
        Verb::Keeper(args) => keeper::run(&args),
    }
}

/// Every start says when something is left of a Murphy that is gone.
fn warn_of_stale() {
    // A journal that cannot be read is said by the verbs that need it.
    let Ok((records, damaged)) = Journal::of_user().and_then(|journal| journal.list()) else {
        return;
    };
    let stale: Vec<_> = records
        .iter()
        .filter(|record| record.is_stale())
        .map(|r| r.header.id.as_str())
        .collect();
    if !stale.is_empty() {
        output::note(&format!(
            "murphy: warning: {} of a Murphy that is gone: {}; `murphy recover` undoes what is left",
            plural(stale.len() as u64, "injection"),
            stale.join(", ")
        ));
    }
    for error in damaged {
        output::note(&format!("murphy: warning: failed to {error}"));
    }
}

/// The one injection in force whose id begins so.
fn find(journal: &Journal, prefix: &str) -> Result<Record, Failure> {
    journal.find(prefix).map_err(|error| match error {
        JournalError::Unknown(_) | JournalError::Ambiguous { .. } => Failure::input(error),
        other => Failure::machine(other),
    })
}

/// The journal and a keeper for this process.
fn injector() -> Result<Injector, Failure> {
    let journal = Journal::of_user().map_err(Failure::machine)?;
    // In the child that becomes the keeper, this still is the Murphy that runs now, even if its file has
    // been replaced meanwhile.
    Injector::start(journal, Path::new("/proc/self/exe")).map_err(Failure::machine)
}
