//! The journal is the directory that holds, for every injection in force, the way back.
//!
//! One append-only file per injection, `<id>.journal`. Its first line says whose it is, each further line
//! is the undo of a change. A line is on disk before its change is made, so whatever a death of Murphy
//! leaves behind is in the journal; a line that was cut while it was written belongs to a change that was
//! not made. The file goes when everything in it is undone. `<id>.effect` beside it is what the fault last
//! measured, for `murphy ls`; losing it loses nothing.
//!
//! Whoever undoes an entry holds its file lock, and so does its owner from before a line is written until
//! its change is made: nobody undoes half a change, and no change is made after its entry was undone.

mod entry;
mod line;
mod recorded;

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use murphy_sys::{durable, privilege, process::ProcessId};
use serde::{Deserialize, Serialize};

pub use self::{
    entry::{Ended, Entry},
    recorded::{Recorded, Recovery, Standing},
};
use self::line::Record;
use crate::{InjectionId, Undo, UndoError};

/// The variable that names another directory, for tests.
pub const JOURNAL_VARIABLE: &str = "MURPHY_JOURNAL";
/// The version of the format, in every first line.
pub const VERSION: u32 = 1;
/// How many times an id is drawn again because its name is taken.
const DRAWS: usize = 64;

/// Whose entry it is: its first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// The injection.
    pub id: InjectionId,
    /// The family of the fault, such as `process`.
    pub family: String,
    /// The fault, such as `pause`.
    pub fault: String,
    /// The engine that makes it happen.
    pub engine: String,
    /// The selectors, or names, of who is hit.
    pub targets: Vec<String>,
    /// The Murphy that made the entry.
    pub owner: ProcessId,
    /// Its keeper; `None` when it has none.
    pub keeper: Option<ProcessId>,
    /// When it began, nanoseconds of boottime.
    pub started_boottime_ns: u64,
    /// When it began, nanoseconds since 1970 UTC.
    pub started_realtime_ns: u64,
    /// When it has to be over, nanoseconds of boottime; `None` is until somebody ends it.
    pub deadline_boottime_ns: Option<u64>,
    /// The fault as it was asked for.
    pub spec: serde_json::Value,
    /// The seed of its owner.
    pub seed: u64,
}

/// Why the journal does not work.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no place for it.
    #[error("find a place for the journal: XDG_RUNTIME_DIR is not set; set it, set {JOURNAL_VARIABLE}, or run as root")]
    NoPlace,
    /// The directory could not be made or read.
    #[error("open the journal {path}: {source}; nothing was changed")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line could not be put on disk.
    #[error("write {path}: {source}; the change it protects was not made")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be removed.
    #[error("remove {path}: {source}")]
    Remove {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Every drawn id is taken.
    #[error("name an injection in {path}: {DRAWS} drawn ids are all taken; `murphy recover` clears stale ones")]
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else ended it.
    #[error("go on with injection {id}: it was ended by `murphy recover` or by its keeper")]
    EndedElsewhere {
        /// Which.
        id: InjectionId,
    },
    /// No entry has an id like this.
    #[error("find injection {prefix:?}: no such injection; `murphy ls` shows those in force")]
    NotFound {
        /// What was asked for.
        prefix: String,
    },
    /// Several have.
    #[error("find injection {prefix:?}: it could be any of {}", .found.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Which ones.
        found: Vec<String>,
    },
}

/// An undo that failed, with why.
#[derive(Debug)]
pub struct Remaining {
    /// What is still there.
    pub undo: Undo,
    /// Why.
    pub error: UndoError,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
}

impl Journal {
    /// The journal of the calling user: `$MURPHY_JOURNAL`, or `/run/murphy/journal` for root, or
    /// `$XDG_RUNTIME_DIR/murphy/journal`.
    pub fn standard() -> Result<Self, JournalError> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(directory) = set(JOURNAL_VARIABLE) {
            return Ok(Self::at(directory));
        }
        if privilege::user() == 0 {
            return Ok(Self::at("/run/murphy/journal"));
        }
        let runtime = set("XDG_RUNTIME_DIR").ok_or(JournalError::NoPlace)?;
        Ok(Self::at(runtime.join("murphy/journal")))
    }

    /// The journal in this directory, which need not exist yet.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the directory, for its owner only.
    pub fn create(&self) -> Result<(), JournalError> {
        let failed = |source| JournalError::Directory { path: self.directory.clone(), source };
        if let Some(parent) = self.directory.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(failed),
        }
    }

    /// Begins an entry: `header` and `undos` are on disk when it returns. Both are made from the id, so
    /// that whatever gets its name from the id can be undone before it exists.
    pub fn begin(
        &self,
        mut draw: impl FnMut() -> InjectionId,
        header: impl Fn(InjectionId) -> Header,
        undos: impl Fn(&InjectionId) -> Vec<Undo>,
    ) -> Result<Entry, JournalError> {
        self.create()?;
        for _ in 0..DRAWS {
            let id = draw();
            let (header, undos) = (header(id.clone()), undos(&id));
            let mut content = line::write(&Record::Begin(Box::new(header.clone())));
            for undo in &undos {
                content += &line::write(&Record::Undo(undo.clone()));
            }
            let name = format!("{id}.journal");
            match durable::create(&self.directory, &name, content.as_bytes()) {
                Ok(file) => return Ok(Entry::new(self.clone(), header, file, undos)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(JournalError::Write { path: self.directory.join(name), source });
                }
            }
        }
        Err(JournalError::Full { path: self.directory.clone() })
    }

    /// The ids of all entries, sorted. A directory that does not exist holds none.
    pub fn ids(&self) -> Result<Vec<InjectionId>, JournalError> {
        let failed = |source| JournalError::Directory { path: self.directory.clone(), source };
        let listing = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut ids = Vec::new();
        for entry in listing {
            let name = entry.map_err(failed)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".journal"));
            ids.extend(id.and_then(|id| InjectionId::try_from(id.to_owned()).ok()));
        }
        ids.sort();
        Ok(ids)
    }

    /// The one entry whose id begins with `prefix`.
    pub fn find(&self, prefix: &str) -> Result<InjectionId, JournalError> {
        let asked = prefix.to_ascii_lowercase();
        let mut found: Vec<_> =
            self.ids()?.into_iter().filter(|id| !asked.is_empty() && id.as_str().starts_with(&asked)).collect();
        match (found.pop(), found.is_empty()) {
            (Some(id), true) => Ok(id),
            (None, _) => Err(JournalError::NotFound { prefix: prefix.to_owned() }),
            (Some(last), false) => {
                let found = found.into_iter().chain([last]).map(String::from).collect();
                Err(JournalError::Ambiguous { prefix: prefix.to_owned(), found })
            }
        }
    }

    /// What the entry holds; `None` when it ended meanwhile.
    pub fn read(&self, id: &InjectionId) -> Result<Option<Recorded>, JournalError> {
        Recorded::open(self, id)
    }

    /// Everything in the journal, by id.
    pub fn list(&self) -> Result<Vec<Recorded>, JournalError> {
        let mut all = Vec::new();
        for id in self.ids()? {
            all.extend(self.read(&id)?);
        }
        Ok(all)
    }

    /// Everyone who keeps or owns an entry here: never a target.
    pub fn keepers(&self) -> Result<Vec<ProcessId>, JournalError> {
        let headers = self.list()?.into_iter().filter_map(|recorded| recorded.header);
        Ok(headers.filter_map(|header| header.keeper).collect())
    }

    fn file(&self, id: &InjectionId) -> PathBuf {
        self.directory.join(format!("{id}.journal"))
    }

    fn effect_file(&self, id: &InjectionId) -> PathBuf {
        self.directory.join(format!("{id}.effect"))
    }

    /// Forgets an entry: nothing of it is left to undo.
    fn remove(&self, id: &InjectionId) -> Result<(), JournalError> {
        for path in [self.effect_file(id), self.file(id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|source| JournalError::Remove { path, source })?,
            }
        }
        durable::sync_directory(&self.directory)
            .map_err(|source| JournalError::Remove { path: self.directory.clone(), source })
    }
}

/// Runs undos, last change first; what failed is returned in the order of the journal.
fn undo_all(undos: &[Undo]) -> (usize, Vec<Remaining>) {
    let mut done = 0;
    let mut remaining = Vec::new();
    for undo in undos.iter().rev() {
        match undo.run() {
            Ok(crate::Undone::Now) => done += 1,
            Ok(_) => {}
            Err(error) => remaining.push(Remaining { undo: undo.clone(), error }),
        }
    }
    remaining.reverse();
    (done, remaining)
}

#[cfg(test)]
mod tests;
