//! The end of a shop: its owner is told, or, where that is dead, its way back is gone by whoever asks.

use std::{
    io::{self, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use murphy_fault::{
    injector::failures,
    journal::{Journal, Record},
};
use murphy_sys::{
    pidfd::{Pidfd, PidfdError},
    signal::Signal,
};

use super::{LabError, directory};

/// How a shop is called in the journal.
pub const FAMILY: &str = "lab";
/// What it is there.
pub const FAULT: &str = "shop";
/// How long an owner may take to end its shop.
const END_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The target that the journal names.
pub fn target(directory: &Path) -> String {
    format!("the shop in {}", directory.display())
}

/// The shop of a directory in the journal: one, but for what was left by several that were killed.
pub fn records(journal: &Journal, directory: &Path) -> Result<Vec<Record>, LabError> {
    let (mut records, _) = journal.list()?;
    let wanted = [target(directory)];
    records.retain(|record| {
        let header = &record.header;
        header.family == FAMILY && header.fault == FAULT && header.targets == wanted
    });
    Ok(records)
}

/// Ends the shop. That there is none is no error.
pub fn down() -> Result<(), LabError> {
    let journal = Journal::of_user()?;
    let records = records(&journal, &directory())?;
    let mut left = Vec::new();
    for record in &records {
        left.extend(end(&journal, record)?);
    }
    if !left.is_empty() {
        return Err(LabError::Left(left.join("; ")));
    }
    let said = if records.is_empty() {
        "the shop is not up\n"
    } else {
        "the shop is down; nothing of it is left\n"
    };
    // A reader that has gone away needs no answer.
    let _ = io::stdout().write_all(said.as_bytes());
    Ok(())
}

/// Ends one; what is left of it.
fn end(journal: &Journal, record: &Record) -> Result<Vec<String>, LabError> {
    let (id, owner) = (&record.header.id, record.header.owner);
    match Pidfd::open(owner).and_then(|pidfd| pidfd.send(Signal::TERM)) {
        Ok(()) | Err(PidfdError::Gone { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let until = Instant::now() + END_WITHIN;
    while owner.is_alive() && Instant::now() < until {
        thread::sleep(LOOK_EVERY);
    }
    // Mostly there is nothing to do any more.
    Ok(failures(&journal.undo(id)))
}
