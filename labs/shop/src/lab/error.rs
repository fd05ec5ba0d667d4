//! Why a shop could not be brought up, asked, or ended.

use std::{io, path::PathBuf, time::Duration};

use murphy_fault::{journal::JournalError, keeper::KeeperError, podman::PodmanError};
use murphy_sys::{
    link::LinkError, namespace::NamespaceError, pidfd::PidfdError, process::ProcessError,
    spawn::SpawnError,
};

/// Each reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine lacks something.
    #[error("bring the shop up: there is no {what} here; {hint}")]
    Missing {
        /// What.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// There is one.
    #[error(
        "bring the shop up: {} is there already; end that shop first: labs/shop/shop down", .0.display()
    )]
    Present(PathBuf),
    /// There is none.
    #[error("ask the shop: it is not up; labs/shop/shop up starts it")]
    Absent,
    /// The owner said why on standard error.
    #[error("bring the shop up: what failed is said above; nothing of it is left")]
    Owner,
    /// Somebody told it to.
    #[error("bring the shop up: it was told to end")]
    Interrupted,
    /// A service is not well.
    #[error("find every service of the shop well: {0}")]
    Unwell(String),
    /// A service has ended.
    #[error("run {name}: it has ended; its last words: {said}")]
    Ended {
        /// Which.
        name: String,
        /// What it said.
        said: String,
    },
    /// No order went through.
    #[error("see an order go through within {} s: {said}", limit.as_secs())]
    Late {
        /// How long it was given.
        limit: Duration,
        /// The last figures.
        said: String,
    },
    /// Something of it stays.
    #[error("leave nothing of the shop: {0}; murphy recover tries again")]
    Left(String),
    /// A file or directory.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process of the lab.
    #[error("{action}: {source}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A program ended badly.
    #[error("run {program}: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// A process could not be looked at.
    #[error(transparent)]
    Look(#[from] ProcessError),
    /// A process could not be told.
    #[error(transparent)]
    Tell(#[from] PidfdError),
    /// A namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Podman.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// What to say of a file that was refused.
pub fn refused(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> LabError {
    let path = path.into();
    move |source| LabError::File {
        action,
        path,
        source,
    }
}
