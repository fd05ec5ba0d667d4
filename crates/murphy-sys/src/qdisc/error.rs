//! Why traffic control refuses: the kernel's number, and its own words where it has any.

use std::io;

use nix::errno::Errno;

use super::{exchange::Refusal, netem};
use crate::namespace::NamespaceError;

/// Why traffic control was not changed, or not read.
#[derive(Debug, thiserror::Error)]
pub enum QdiscError {
    /// The namespace was refused.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No netlink socket.
    #[error("ask the kernel about traffic control by netlink: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused.
    #[error("{action} {object}: {}{}", .errno, words(.said.as_ref()))]
    Refused {
        /// What was tried, such as `add`.
        action: &'static str,
        /// To what.
        object: String,
        /// The kernel's answer.
        errno: Errno,
        /// The kernel's own words, if it has any.
        said: Option<String>,
    },
    /// The kernel's answer makes no sense.
    #[error("read the kernel's answer about traffic control: it is cut short")]
    Answer,
    /// It changed whenever it was read.
    #[error("read the kernel's list of qdiscs: it changes all the time; try again")]
    Unsteady,
    /// A jitter that the kernel would cut off.
    #[error("set a jitter of {0} ns: netem has at most {max} ns", max = netem::JITTER_MAX_NS)]
    Jitter(u64),
    /// A delay that the kernel would take for a negative one.
    #[error("set a delay of {0} ns: netem has at most {max} ns", max = i64::MAX)]
    Delay(u64),
    /// A bucket or a queue that holds nothing.
    #[error("set up a token bucket: its {0} is 0, and nothing would ever pass")]
    Bucket(&'static str),
    /// Bands that prio does not have.
    #[error(
        "set up prio with {bands} bands: it has 2 to 16, and a priority is sent to one of them"
    )]
    Bands {
        /// How many were asked for.
        bands: u8,
    },
    /// Something else has that name.
    #[error("use the link {link} as an ifb: it is there already")]
    Taken {
        /// Its name.
        link: String,
    },
}

impl QdiscError {
    pub(super) fn refused(action: &'static str, object: &impl ToString, refusal: Refusal) -> Self {
        Self::Refused {
            action,
            object: object.to_string(),
            errno: refusal.errno,
            said: refusal.said,
        }
    }

    /// The kernel's answer, where it refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

fn words(said: Option<&String>) -> String {
    said.map(|said| format!(" ({})", said.trim_end_matches('.')))
        .unwrap_or_default()
}
