//! Why there is no target.

use std::{io, path::PathBuf};

use crate::{ContainerError, Protection, Selector};

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No process has this pid.
    #[error("find pid:{pid}: no such process")]
    NoProcess {
        /// The pid.
        pid: u32,
    },
    /// It has ended and waits for its parent.
    #[error("find pid:{pid}: it has ended (a zombie its parent has not waited for)")]
    Zombie {
        /// The pid.
        pid: u32,
    },
    /// It is a thread.
    #[error("find pid:{pid}: it is a thread of process {process}; use pid:{process}")]
    Thread {
        /// What was written.
        pid: u32,
        /// Whose thread it is.
        process: u32,
    },
    /// Nobody matches.
    #[error("find {selector}: no process matches")]
    NoMatch {
        /// The selector.
        selector: Selector,
    },
    /// Everybody who matches is protected.
    #[error("hit {name}: pid {pid} ({process}) is {why}; it is never hit")]
    Refused {
        /// What was written.
        name: String,
        /// The first process refused.
        pid: u32,
        /// Its kernel name.
        process: String,
        /// Why.
        why: Protection,
    },
    /// There is no such namespace.
    #[error("find netns:{value}: open {path}: {source}; `ip netns list` shows those with a name")]
    NoNetns {
        /// The value of the selector.
        value: String,
        /// Its file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is the namespace Murphy runs in, with everything else on the host.
    #[error(
        "hit netns:{value}: it is the network namespace Murphy itself runs in; name the processes instead"
    )]
    OwnNetns {
        /// The value of the selector.
        value: String,
    },
    /// More than the user allows.
    #[error(
        "hit {name}: {found} processes match and at most {max} may be hit; narrow it or raise --max-targets"
    )]
    TooMany {
        /// What was written.
        name: String,
        /// How many match.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// There is no such cgroup.
    #[error("find cgroup:{}: no such cgroup; /proc/PID/cgroup shows those of a process", path.display())]
    NoCgroup {
        /// What was written.
        path: PathBuf,
    },
    /// It is the cgroup of everything.
    #[error("hit cgroup:{}: it is the root, which holds the whole machine; name a group below it", path.display())]
    RootCgroup {
        /// What was written.
        path: PathBuf,
    },
    /// Murphy is in it, with whoever started it.
    #[error("hit {selector}: Murphy itself runs in this cgroup or below it; name a narrower one")]
    OwnCgroup {
        /// The selector.
        selector: Selector,
    },
    /// systemd does not run this machine, and no group has the unit's name.
    #[error(
        "find {selector}: systemd does not run here, and no cgroup has this unit's name; name the processes instead"
    )]
    NoSystemd {
        /// The selector.
        selector: Selector,
    },
    /// The unit has no processes.
    #[error(
        "find {selector}: no process is in this unit; `systemctl status` shows whether it runs"
    )]
    NoUnit {
        /// The selector.
        selector: Selector,
    },
    /// No container matches.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// `/proc` cannot be read.
    #[error("read the process table: {0}")]
    Table(#[from] io::Error),
}

impl TargetError {
    /// Whether what the user wrote is wrong, rather than the machine not having it.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::OwnNetns { .. }
                | Self::RootCgroup { .. }
                | Self::OwnCgroup { .. }
                | Self::TooMany { .. }
                | Self::Container(
                    ContainerError::AmbiguousName { .. } | ContainerError::AmbiguousId { .. }
                )
                | Self::Thread { .. }
        )
    }
}
