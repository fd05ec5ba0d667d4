//! An entry is the open file of one injection, in the hands of the Murphy that owns it.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use murphy_sys::durable::Inode;
use serde::Serialize;

use super::{Header, Journal, JournalError, Remaining, line, line::Record, undo_all};
use crate::{InjectionId, Undo, undo::TAG_VARIABLE};

/// One injection's file, open for its owner.
#[derive(Debug)]
pub struct Entry {
    journal: Journal,
    header: Header,
    /// Also the lock between the owner's threads: a file lock does not hold between them.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    undos: Vec<Undo>,
}

/// How an entry ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything in it is undone and it is forgotten; so many changes were there to undo.
    Here(usize),
    /// Its keeper or a `murphy recover` did it before.
    Elsewhere,
    /// Some changes are still there, and the entry with them.
    Incomplete(Vec<Remaining>),
}

impl Entry {
    pub(super) fn new(journal: Journal, header: Header, file: File, undos: Vec<Undo>) -> Self {
        Self { journal, header, state: Mutex::new(State { file, undos }) }
    }

    /// The injection.
    pub fn id(&self) -> &InjectionId {
        &self.header.id
    }

    /// Its first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The variable for the environment of a process that [`Undo::EndTagged`] of this entry shall end.
    pub fn tag_variable(&self) -> (&'static str, String) {
        (TAG_VARIABLE, tag(&self.header))
    }

    /// Adds undos; they are on disk when it returns.
    pub fn add(&self, undos: &[Undo]) -> Result<(), JournalError> {
        self.protect(undos, || ())
    }

    /// Adds undos, then makes the change they undo. Nobody undoes the entry in between, and the change is
    /// not made when somebody already has.
    pub fn protect<T>(&self, undos: &[Undo], change: impl FnOnce() -> T) -> Result<T, JournalError> {
        let mut state = self.lock();
        let path = self.journal.file(self.id());
        let write = |source| JournalError::Write { path: path.clone(), source };
        state.file.lock().map_err(write)?;
        let result = append(&mut state, undos).map(|open| open.then(change));
        state.file.unlock().map_err(write)?;
        match result.map_err(write)? {
            Some(value) => Ok(value),
            None => Err(JournalError::EndedElsewhere { id: self.id().clone() }),
        }
    }

    /// Makes a directory that goes when the entry ends. Its parent must exist.
    pub fn make_directory(&self, path: &Path) -> Result<(), JournalError> {
        let failed = |source| JournalError::Write { path: path.to_owned(), source };
        let empty = Undo::RemoveEmpty { path: path.to_owned() };
        self.protect(&[empty], || fs::create_dir(path))?.map_err(failed)?;
        let made = Inode::of(path).map_err(failed)?;
        self.add(&[Undo::RemoveTree {
            path: path.to_owned(),
            device: made.device,
            inode: made.number,
        }])
    }

    /// Whether nobody else has ended it.
    pub fn is_open(&self) -> bool {
        is_linked(&self.lock().file).unwrap_or(true)
    }

    /// Writes down what the fault has measured, for `murphy ls`. Nothing relies on it.
    pub fn note_effect(&self, effect: &impl Serialize) -> io::Result<()> {
        let state = self.lock();
        if !is_linked(&state.file)? {
            return Ok(());
        }
        let path = self.journal.effect_file(self.id());
        let fresh = path.with_extension("effect.new");
        fs::write(&fresh, serde_json::to_vec(effect)?)?;
        fs::rename(fresh, path)
    }

    /// Undoes everything, last change first, and forgets the entry when nothing is left.
    pub fn end(self) -> Result<Ended, JournalError> {
        let state = self.lock();
        let path = self.journal.file(self.id());
        let failed = |source| JournalError::Read { path: path.clone(), source };
        state.file.lock().map_err(failed)?;
        if !is_linked(&state.file).map_err(failed)? {
            // Whoever ended it read the file, which held every change made: nothing more to do.
            return Ok(Ended::Elsewhere);
        }
        let (done, remaining) = undo_all(&state.undos);
        if !remaining.is_empty() {
            state.file.unlock().map_err(failed)?;
            return Ok(Ended::Incomplete(remaining));
        }
        self.journal.remove(self.id())?;
        Ok(Ended::Here(done))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves the file and the list as they are: both only grow.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value that marks the processes of an entry: its id alone could come again.
pub(crate) fn tag(header: &Header) -> String {
    format!("{}-{}-{}", header.id, header.owner.pid, header.owner.start_ticks)
}

fn append(state: &mut State, undos: &[Undo]) -> io::Result<bool> {
    if !is_linked(&state.file)? {
        return Ok(false);
    }
    if !undos.is_empty() {
        let lines: String =
            undos.iter().map(|undo| line::write(&Record::Undo(undo.clone()))).collect();
        let length = state.file.metadata()?.len();
        let written = state.file.write_all(lines.as_bytes()).and_then(|()| state.file.sync_data());
        if let Err(error) = written {
            // A full disk leaves half a line; cut it off, or the next line would be glued to it.
            state.file.set_len(length)?;
            return Err(error);
        }
        state.undos.extend_from_slice(undos);
    }
    Ok(true)
}

pub(super) fn is_linked(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 0)
}
