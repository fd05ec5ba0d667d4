//! An undo is the way back of one change: plain data, written to the journal before the change is made.
//!
//! Anybody can run it, any number of times: the injector, its keeper, a later `murphy recover`. It is
//! guarded by identity, so that it touches what Murphy changed and never what has its name by now.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    durable::{self, Inode},
    pidfd::{Pidfd, PidfdError},
    process::{ProcessId, Stat, has_variable},
    signal::Signal,
    table::ProcessTable,
    thread::Threads,
};
use serde::{Deserialize, Serialize};

/// The variable in the environment of every process Murphy launches; its value finds them again.
pub const TAG_VARIABLE: &str = "MURPHY_TAG";

/// How long an undo waits for the kernel to carry it out.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way back of one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub enum Undo {
    /// Lets a process that Murphy stopped go on.
    Resume {
        /// Who was stopped.
        process: ProcessId,
    },
    /// Kills every process whose environment holds `MURPHY_TAG=<tag>`, and their descendants.
    EndTagged {
        /// The value.
        tag: String,
    },
    /// Removes a directory Murphy is about to make, if it is empty.
    RemoveEmpty {
        /// Where.
        path: PathBuf,
    },
    /// Removes a directory Murphy made, with all in it. Follows no link, enters no other file system.
    RemoveTree {
        /// Where.
        path: PathBuf,
        /// The file system it was made on.
        device: u64,
        /// Which directory it is there.
        inode: u64,
    },
}

/// What running an undo came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undone {
    /// The change was there and is not any more.
    Now,
    /// The change was not there: not made, or undone before.
    AlreadyDone,
    /// What was changed is gone altogether.
    TargetGone,
}

/// Why a change is still there.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// A process could not be signalled.
    #[error("resume {0}", .0.to_string())]
    Process(#[from] PidfdError),
    /// A process was told to go on and did not.
    #[error("resume {process}: still stopped {} s after SIGCONT; somebody else stops it", PATIENCE.as_secs())]
    StillStopped {
        /// Who.
        process: ProcessId,
    },
    /// Launched processes do not end.
    #[error("end the processes launched with {TAG_VARIABLE}={tag}: pid {pid} is still there after SIGKILL")]
    StillRunning {
        /// The tag.
        tag: String,
        /// One of them.
        pid: u32,
    },
    /// The process table cannot be read.
    #[error("read the process table: {0}")]
    Table(io::Error),
    /// A directory could not be removed.
    #[error("remove {path}: {source}")]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Undo {
    /// Undoes the change, or finds that there is nothing to undo.
    pub fn run(&self) -> Result<Undone, UndoError> {
        match self {
            Self::Resume { process } => resume(*process),
            Self::EndTagged { tag } => end_tagged(tag),
            Self::RemoveEmpty { path } => remove_empty(path),
            Self::RemoveTree { path, device, inode } => remove_tree(
                path,
                Inode { device: *device, number: *inode },
            ),
        }
    }
}

/// SIGCONT goes out even to a process that is not seen stopped: it also takes back a SIGSTOP that was sent
/// and not yet looked at, as by a process waiting for a disk.
fn resume(process: ProcessId) -> Result<Undone, UndoError> {
    let pidfd = match Pidfd::open(process) {
        Err(PidfdError::Gone { .. }) => return Ok(Undone::TargetGone),
        other => other?,
    };
    let stopped = || Threads::of(process.pid).is_ok_and(|threads| threads.stopped > 0);
    let was_stopped = stopped();
    match pidfd.send(Signal::CONT) {
        Err(PidfdError::Gone { .. }) => return Ok(Undone::TargetGone),
        other => other?,
    }
    let begun = Instant::now();
    while stopped() && process.is_alive() {
        if begun.elapsed() > PATIENCE {
            return Err(UndoError::StillStopped { process });
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(if was_stopped { Undone::Now } else { Undone::AlreadyDone })
}

/// A process between fork and exec has its parent's environment, so a descendant counts as tagged, and the
/// table is read again until it shows none.
fn end_tagged(tag: &str) -> Result<Undone, UndoError> {
    let begun = Instant::now();
    let mut undone = Undone::AlreadyDone;
    loop {
        let table = ProcessTable::read().map_err(UndoError::Table)?;
        let found = tagged(tag, &table);
        let Some(first) = found.first() else {
            return Ok(undone);
        };
        undone = Undone::Now;
        for stat in &found {
            match Pidfd::open(stat.id()).and_then(|pidfd| pidfd.send(Signal::KILL)) {
                Err(PidfdError::Gone { .. }) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if begun.elapsed() > PATIENCE {
            return Err(UndoError::StillRunning { tag: tag.to_owned(), pid: first.pid });
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The processes launched under `tag` that are alive, without the caller and those it runs under.
pub(crate) fn tagged<'t>(tag: &str, table: &'t ProcessTable) -> Vec<&'t Stat> {
    let me = std::process::id();
    let spared = table.ancestors(me);
    let roots: Vec<u32> = table
        .iter()
        .filter(|stat| !stat.is_kernel_thread() && has_variable(stat.pid, TAG_VARIABLE, tag))
        .map(|stat| stat.pid)
        .collect();
    let mut found: Vec<&Stat> = roots.iter().filter_map(|pid| table.get(*pid)).collect();
    found.extend(table.descendants(&roots));
    found.retain(|stat| stat.pid != me && !spared.contains(&stat.pid));
    found
}

fn remove_empty(path: &Path) -> Result<Undone, UndoError> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(Undone::Now),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(Undone::AlreadyDone),
            // Somebody uses it, or something else has its name: no longer what Murphy was about to make.
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => Ok(Undone::TargetGone),
            _ => Err(UndoError::Remove { path: path.to_owned(), source: error }),
        },
    }
}

fn remove_tree(path: &Path, made: Inode) -> Result<Undone, UndoError> {
    match durable::remove_tree(path, made) {
        Ok(true) => Ok(Undone::Now),
        Ok(false) => Ok(Undone::TargetGone),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => Ok(Undone::AlreadyDone),
        Err(source) => Err(UndoError::Remove { path: path.to_owned(), source }),
    }
}
