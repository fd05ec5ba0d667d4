//! An injector is one Murphy that changes a system: its journal and its keeper.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use murphy_sys::process::ProcessId;

use crate::{
    journal::{Entry, Journal, JournalError, Outcome},
    keeper::{Keeper, KeeperError, Pulse},
    span::Until,
    undo::Undo,
};

/// The journal and the keeper of this process.
#[derive(Debug)]
pub struct Injector {
    journal: Journal,
    program: PathBuf,
    keeper: Mutex<Keeper>,
    pulse: Pulse,
}

impl Injector {
    /// Starts the keeper; nothing may be changed before this has returned. `program` is the Murphy binary.
    pub fn start(journal: Journal, program: &Path) -> Result<Self, KeeperError> {
        let keeper = Keeper::start(program, &journal)?;
        Ok(Self {
            journal,
            program: program.into(),
            pulse: Pulse::to(&keeper),
            keeper: Mutex::new(keeper),
        })
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What says to the keeper, whichever it is by then, that this process is at work.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Begins an injection: its header is on disk when this returns, its id is known, nothing has changed.
    pub fn begin(
        &self,
        family: &str,
        fault: &str,
        targets: &[String],
        until: Until,
    ) -> Result<Entry, JournalError> {
        let keeper = self.lock().process();
        self.journal
            .begin(family, fault, targets, until, Some(keeper))
    }

    /// Starts the keeper again if it has died, and says so in the journal. Called now and then while
    /// something is in force.
    pub fn mind_keeper(&self) -> Result<(), KeeperError> {
        let mut keeper = self.lock();
        if !keeper.is_alive() {
            *keeper = Keeper::start(&self.program, &self.journal)?;
            self.pulse.turn_to(&keeper);
            self.journal
                .kept_by(ProcessId::current(), keeper.process())?;
        }
        Ok(())
    }

    /// Protects a lab: processes that carry the returned tag, and the directory `data`, which exists and
    /// is empty, end with it.
    pub fn protect_lab(&self, what: &str, data: &Path) -> Result<Protection, JournalError> {
        let mut entry = self.begin("lab", "run", &[what.into()], Until::Forever)?;
        let tree = Undo::remove_tree(data).map_err(|source| JournalError::Io {
            action: "look at",
            path: data.into(),
            source,
        })?;
        let tag = entry.id().to_owned();
        // Undone last first: the processes end before their data goes.
        entry.protect(&[tree, Undo::EndTagged { tag: tag.clone() }])?;
        Ok(Protection { entry, tag })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What protects a lab until it ends.
#[derive(Debug)]
pub struct Protection {
    entry: Entry,
    tag: String,
}

impl Protection {
    /// The value of [`crate::undo::TAG_VARIABLE`] for the lab's processes.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Ends the lab; says what could not be undone.
    pub fn end(&self) -> Vec<String> {
        failures(&self.entry.end())
    }
}

/// What could not be undone, each as a fragment that names it.
pub fn failures(outcome: &Result<Vec<Outcome>, JournalError>) -> Vec<String> {
    match outcome {
        Err(error) => vec![error.to_string()],
        Ok(outcomes) => outcomes
            .iter()
            .filter_map(|o| {
                o.result
                    .as_ref()
                    .err()
                    .map(|error| format!("{}: {error}", o.undo))
            })
            .collect(),
    }
}
