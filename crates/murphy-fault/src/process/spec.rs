//! What a user asks of family `process`.

use std::fmt;

use murphy_sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// One fault of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spec {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// Any signal.
    Signal(Signal),
    /// SIGSTOP to every process of the target, SIGCONT at the end.
    Pause,
    /// A launched command is killed and started again.
    Restart {
        /// How long after its start it is killed.
        after: Span,
        /// How long it stays down.
        down: Span,
    },
}

impl Spec {
    /// The fault in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Signal(_) => "signal",
            Self::Pause => "pause",
            Self::Restart { .. } => "restart",
        }
    }

    /// Whether it lasts, so that it needs an end.
    pub fn lasts(&self) -> bool {
        matches!(self, Self::Pause)
    }

    /// The signal that is sent at first.
    pub fn signal(&self) -> Signal {
        match self {
            Self::Kill | Self::Restart { .. } => Signal::KILL,
            Self::Term => Signal::TERM,
            Self::Signal(signal) => *signal,
            Self::Pause => Signal::STOP,
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Restart { after, down } => write!(f, "restart after {after}, down for {down}"),
            other => f.write_str(other.name()),
        }
    }
}
