//! Family `process`: processes are killed, asked to end, signalled, stopped for a while, restarted.
//!
//! Needs pidfds (Linux 5.3): every signal goes through one, so that a reused pid is never hit. `pause` is
//! SIGSTOP and, on the way back, SIGCONT; what somebody else had stopped before stays stopped. Kill, term
//! and signal cannot be undone and end by themselves.

mod launched;
mod pause;
mod signal;
mod spec;

pub use launched::{Launched, LaunchedError, Output, Restarted, Start};
pub use pause::{Pause, Paused};
pub use signal::{Fate, Signalled, send};
pub use spec::Spec;

use murphy_sys::{
    pidfd::PidfdError,
    process::{ProcessError, ProcessId, State},
};
use murphy_target::Target;

use crate::{
    journal::JournalError,
    plan::{EndsBy, Plan},
    span::Until,
    undo::Undo,
};

/// The one engine of the family.
pub const ENGINE: &str = "signal";

/// Why a process fault could not be injected or undone.
#[derive(Debug, thiserror::Error)]
pub enum ProcessFaultError {
    /// A process cannot be reached.
    #[error(transparent)]
    Pidfd(#[from] PidfdError),
    /// A process cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// `/proc` cannot be read.
    #[error("read /proc: {0}")]
    Table(#[source] std::io::Error),
    /// New children appear faster than they can be stopped.
    #[error(
        "pause the target: it starts processes faster than they can be stopped; {stopped} were stopped and resumed again"
    )]
    Runaway {
        /// How many were stopped.
        stopped: usize,
    },
}

/// What `spec` would do to `target`. Changes nothing.
pub fn plan(spec: &Spec, target: &Target, until: Until) -> Plan {
    let mut changes = Vec::new();
    let mut undo = Vec::new();
    for process in target.processes() {
        let name = name_of(process);
        let stopped = process
            .stat()
            .is_some_and(|stat| stat.state == State::Stopped);
        if *spec == Spec::Pause && stopped {
            changes.push(format!(
                "leave {name} stopped, as somebody else has stopped it"
            ));
        } else {
            changes.push(format!("send {} to {name}", spec.signal()));
            if spec.lasts() {
                undo.push(Undo::Resume(process));
            }
        }
    }
    Plan {
        family: "process",
        fault: spec.to_string(),
        engine: ENGINE.into(),
        targets: target.processes().map(name_of).collect(),
        changes,
        undo,
        ends: if spec.lasts() {
            EndsBy::Keeper
        } else {
            EndsBy::Itself
        },
        until,
    }
}

/// A process for people: `42 etcd`.
pub fn name_of(process: ProcessId) -> String {
    let comm = process
        .stat()
        .map_or_else(|| "(gone)".to_owned(), |stat| stat.comm);
    format!("{} {comm}", process.pid)
}
