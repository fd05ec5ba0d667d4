//! A signal is sent once; what it came to is looked at, not assumed.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    pidfd::{Pidfd, PidfdError},
    process::{ProcessId, State},
    signal::{Masks, Signal},
};
use serde::Serialize;

use super::ProcessFaultError;

/// What became of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It ended so many microseconds after the signal.
    Gone {
        /// Microseconds.
        after_us: u64,
    },
    /// It took the signal and runs on.
    Consumed,
    /// It stopped.
    Stopped,
    /// It has blocked the signal, which waits.
    Pending,
    /// It ignores the signal.
    Ignored,
    /// It was gone before the signal.
    GoneBefore,
}

impl Fate {
    /// Whether the signal did anything.
    pub fn had_effect(self) -> bool {
        !matches!(self, Self::Pending | Self::Ignored | Self::GoneBefore)
    }

    /// In words, after a name.
    pub fn text(self) -> String {
        match self {
            Self::Gone { after_us } => format!("gone after {:.1} ms", after_us as f64 / 1e3),
            Self::Consumed => "took the signal and runs on".into(),
            Self::Stopped => "stopped".into(),
            Self::Pending => "blocks the signal: it waits".into(),
            Self::Ignored => "ignores the signal".into(),
            Self::GoneBefore => "was gone before".into(),
        }
    }
}

/// One process with what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signalled {
    /// The pid.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// What became of it.
    pub fate: Fate,
}

/// Sends `signal` to every process, then looks for at most `patience` what became of each.
///
/// Nothing is sent when one of them may not be signalled.
pub fn send(
    processes: &[ProcessId],
    signal: Signal,
    patience: Duration,
) -> Result<Vec<Signalled>, ProcessFaultError> {
    let mut reached = Vec::new();
    for process in processes {
        let comm = process.stat().map(|stat| stat.comm).unwrap_or_default();
        match Pidfd::open(*process) {
            Ok(pidfd) => {
                match murphy_sys::pidfd::may_signal(*process) {
                    Ok(()) | Err(PidfdError::Gone { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                let ignored =
                    Masks::of(process.pid).is_ok_and(|masks| is_thrown_away(&masks, signal));
                reached.push((*process, comm, Some(pidfd), ignored));
            }
            Err(PidfdError::Gone { .. }) => reached.push((*process, comm, None, false)),
            Err(error) => return Err(error.into()),
        }
    }
    let began = Instant::now();
    for (_, _, pidfd, _) in &reached {
        match pidfd.as_ref().map(|pidfd| pidfd.send(signal)) {
            None | Some(Ok(()) | Err(PidfdError::Gone { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
    let fates = reached.into_iter().map(|(process, comm, pidfd, ignored)| {
        let fate = pidfd.map_or(Fate::GoneBefore, |pidfd| {
            fate(&pidfd, signal, patience, ignored, began)
        });
        Signalled {
            pid: process.pid,
            comm,
            fate,
        }
    });
    Ok(fates.collect())
}

/// Signals whose default is to do nothing: SIGCHLD, SIGURG, SIGWINCH; see signal(7).
const IGNORED_BY_DEFAULT: [u8; 3] = [17, 23, 28];

/// Whether a process with these masks never sees the signal.
fn is_thrown_away(masks: &Masks, signal: Signal) -> bool {
    let by_default = IGNORED_BY_DEFAULT.contains(&signal.number()) && !masks.is_caught(signal);
    masks.is_ignored(signal) || by_default
}

/// Looks at one process until it has ended or the patience is over.
fn fate(pidfd: &Pidfd, signal: Signal, patience: Duration, ignored: bool, began: Instant) -> Fate {
    let process = pidfd.process();
    let until = began + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // A wait that fails has not seen the end; the clock ends the loop.
        if pidfd
            .wait_for_exit(left.min(Duration::from_millis(20)))
            .unwrap_or(false)
        {
            let after_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            return Fate::Gone { after_us };
        }
        if ignored {
            return Fate::Ignored;
        }
        if signal == Signal::STOP
            && process
                .stat()
                .is_some_and(|stat| stat.state == State::Stopped)
        {
            return Fate::Stopped;
        }
        if Instant::now() >= until {
            let pending = Masks::of(process.pid).is_ok_and(|masks| masks.is_pending(signal));
            return if pending {
                Fate::Pending
            } else {
                Fate::Consumed
            };
        }
        sleep(Duration::from_millis(1));
    }
}
