//! A recorded entry is one read back from the journal, by whoever wants to show it or to undo it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::PathBuf,
};

use murphy_sys::clock::boottime_ns;

use super::{
    Header, Journal, JournalError, Remaining,
    entry::is_linked,
    line::{self, Record},
    undo_all,
};
use crate::{InjectionId, Undo};

/// How long after its deadline an entry counts as one its owner does not end.
const GRACE_NS: u64 = 1_000_000_000;

/// An entry as the file says.
#[derive(Debug)]
pub struct Recorded {
    /// The injection.
    pub id: InjectionId,
    /// Its first line; `None` when it is damaged.
    pub header: Option<Header>,
    /// The ways back, in the order of the changes.
    pub undos: Vec<Undo>,
    /// What the fault last measured, as JSON.
    pub effect: Option<serde_json::Value>,
    /// Lines that are damaged: line number and why.
    pub damage: Vec<(usize, String)>,
    /// The file.
    pub path: PathBuf,
    journal: Journal,
    file: File,
}

/// Who looks after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its owner is alive.
    Owned,
    /// Its owner is dead and its keeper is about to undo it.
    Kept,
    /// Nobody: both are dead. `murphy recover` undoes it.
    Stale,
    /// Its first line is damaged, so nobody can tell.
    Unknown,
}

/// What undoing an entry came to.
#[derive(Debug)]
pub enum Recovery {
    /// Everything is undone and the entry forgotten; so many changes were there to undo.
    Complete(usize),
    /// Somebody else ended it.
    Elsewhere,
    /// Changes are still there, or lines could not be read; the entry stays.
    Incomplete(Vec<Remaining>),
    /// Its owner holds it. Every undo was run, and the entry stays for the owner to end.
    Busy(Vec<Remaining>),
}

impl Recorded {
    pub(super) fn open(journal: &Journal, id: &InjectionId) -> Result<Option<Self>, JournalError> {
        let path = journal.file(id);
        let file = match File::options().read(true).append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| JournalError::Read { path: path.clone(), source })?,
        };
        let effect = fs::read(journal.effect_file(id)).ok();
        let mut recorded = Self {
            id: id.clone(),
            header: None,
            undos: Vec::new(),
            effect: effect.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            damage: Vec::new(),
            path,
            journal: journal.clone(),
            file,
        };
        recorded.reload()?;
        Ok(Some(recorded))
    }

    /// Reads the file again: it may have grown.
    fn reload(&mut self) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        let read = |file: &mut File, bytes: &mut Vec<u8>| -> io::Result<()> {
            io::Seek::rewind(file)?;
            file.read_to_end(bytes).map(drop)
        };
        read(&mut self.file, &mut bytes)
            .map_err(|source| JournalError::Read { path: self.path.clone(), source })?;
        let content = line::read(&bytes);
        self.header = None;
        self.undos.clear();
        self.damage = content.damage;
        for record in content.records {
            match record {
                Record::Begin(header) => self.header = Some(*header),
                Record::Undo(undo) => self.undos.push(undo),
            }
        }
        if self.header.is_none() && self.damage.is_empty() {
            // The first content is linked complete, so a file without it was emptied by somebody.
            self.damage.push((1, "the first line is missing".to_owned()));
        }
        Ok(())
    }

    /// Who looks after it.
    pub fn standing(&self) -> Standing {
        let Some(header) = &self.header else {
            return Standing::Unknown;
        };
        if header.owner.is_alive() {
            Standing::Owned
        } else if header.keeper.is_some_and(|keeper| keeper.is_alive()) {
            Standing::Kept
        } else {
            Standing::Stale
        }
    }

    /// Whether it should have been over a second ago.
    pub fn is_overdue(&self) -> bool {
        let deadline = self.header.as_ref().and_then(|header| header.deadline_boottime_ns);
        deadline.is_some_and(|deadline| boottime_ns() > deadline.saturating_add(GRACE_NS))
    }

    /// Undoes it, whoever owns it, and forgets it. Waits for somebody else who is at it; of an owner in the
    /// middle of a change that may never end, only the undos are run, and the entry stays.
    pub fn recover(mut self) -> Result<Recovery, JournalError> {
        let failed = |source| JournalError::Read { path: self.path.clone(), source };
        let locked = lock_patiently(&self.file).map_err(failed)?;
        if !is_linked(&self.file).map_err(failed)? {
            return Ok(Recovery::Elsewhere);
        }
        self.reload()?;
        let (done, remaining) = undo_all(&self.undos);
        if !locked {
            return Ok(Recovery::Busy(remaining));
        }
        if !remaining.is_empty() || !self.damage.is_empty() {
            return Ok(Recovery::Incomplete(remaining));
        }
        self.journal.remove(&self.id)?;
        Ok(Recovery::Complete(done))
    }
}

/// Takes the lock; false when it stays taken for half a second.
fn lock_patiently(file: &File) -> io::Result<bool> {
    for _ in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}
