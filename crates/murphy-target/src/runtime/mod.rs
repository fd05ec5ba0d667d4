//! A runtime is a program that starts containers and can be asked, over a socket, which ones it has.
//!
//! Only the selectors `container:` and `pod:` ask one. Every question has a time limit, and all runtimes are
//! asked at the same time.

mod ask;
mod conmon;
mod containerd;
mod cri;
mod docker;
mod sockets;

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

use serde::Serialize;

pub(crate) use conmon::Watched;
pub use sockets::Runtimes;

/// How long a runtime may take to answer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// No answer may be longer: a list of thousands of containers fits.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A program that starts containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// Docker Engine.
    Docker,
    /// containerd, by itself or under Kubernetes.
    Containerd,
    /// Podman.
    Podman,
    /// CRI-O.
    #[serde(rename = "cri-o")]
    Crio,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Crio => "cri-o",
        })
    }
}

impl FromStr for Runtime {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "docker" => Ok(Self::Docker),
            "containerd" => Ok(Self::Containerd),
            "podman" => Ok(Self::Podman),
            "cri-o" => Ok(Self::Crio),
            _ => Err(()),
        }
    }
}

/// Why a runtime did not say which containers it has.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It took the question and said nothing.
    #[error(
        "ask {runtime} at {at}: it does not answer within {} s; see whether it is stopped or overloaded",
        ANSWER_LIMIT.as_secs()
    )]
    Silent {
        /// Who.
        runtime: Runtime,
        /// Its socket or command.
        at: String,
    },
    /// Murphy may not talk to it.
    #[error(
        "ask {runtime} at {at}: permission denied; run as root or join the group of the socket"
    )]
    Denied {
        /// Who.
        runtime: Runtime,
        /// Its socket.
        at: String,
    },
    /// Nobody listens at the socket that a variable names.
    #[error("ask {runtime} at {at}: {source}; start it, or name its socket in {variable}")]
    Absent {
        /// Who.
        runtime: Runtime,
        /// Its socket.
        at: String,
        /// The variable.
        variable: &'static str,
        /// The kernel's answer.
        source: Arc<io::Error>,
    },
    /// Its answer is not understood.
    #[error("ask {runtime} at {at}: {detail}")]
    Answer {
        /// Who.
        runtime: Runtime,
        /// Its socket or command.
        at: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl RuntimeError {
    /// Who did not answer.
    pub fn runtime(&self) -> Runtime {
        match self {
            Self::Silent { runtime, .. }
            | Self::Denied { runtime, .. }
            | Self::Absent { runtime, .. }
            | Self::Answer { runtime, .. } => *runtime,
        }
    }
}
