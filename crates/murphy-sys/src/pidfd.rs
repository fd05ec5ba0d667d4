//! A pidfd is a handle on one process that its pid's next owner can never get.
//!
//! It is opened by pid and then checked against the start time: from there on every signal reaches that
//! process or nobody. Needs Linux 5.3. See `pidfd_open(2)`, `pidfd_send_signal(2)`.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal},
};

use crate::{
    process::{ProcessId, Stat},
    session,
    signal::Signal,
};

/// Why a process could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum PidfdError {
    /// It is gone; its pid may be somebody else's by now.
    #[error("reach {process}: it is gone")]
    Gone {
        /// Who it was.
        process: ProcessId,
    },
    /// Murphy may not signal it.
    #[error(
        "signal {process}: permission denied (EPERM); run as root or as the owner of the process"
    )]
    Permission {
        /// Who it is.
        process: ProcessId,
    },
    /// The kernel refused for another reason.
    #[error("reach {process}: {source}")]
    Refused {
        /// Who it is.
        process: ProcessId,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A handle on one process.
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
    process: ProcessId,
}

impl Pidfd {
    /// Opens the process if it still is the one meant. A zombie counts as gone.
    pub fn open(process: ProcessId) -> Result<Self, PidfdError> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(PidfdError::Gone { process });
        };
        let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| refused(process, errno))?;
        // The handle holds whoever has the pid now; only then is the start time looked at.
        match Stat::read(process.pid) {
            Ok(stat) if stat.id() == process && !stat.state.is_dead() => Ok(Self { fd, process }),
            _ => Err(PidfdError::Gone { process }),
        }
    }

    /// Whom it holds.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Sends a signal to the process.
    pub fn send(&self, signal: Signal) -> Result<(), PidfdError> {
        pidfd_send_signal(&self.fd, signal.into()).map_err(|errno| refused(self.process, errno))
    }

    /// Waits until the process has ended (as a zombie, too), at most `limit`. True when it has.
    pub fn wait_for_exit(&self, limit: Duration) -> io::Result<bool> {
        session::readable(&self.fd, limit)
    }
}

fn refused(process: ProcessId, errno: Errno) -> PidfdError {
    match errno {
        Errno::SRCH => PidfdError::Gone { process },
        Errno::PERM => PidfdError::Permission { process },
        _ => PidfdError::Refused {
            process,
            source: errno.into(),
        },
    }
}

/// Whether Murphy may signal the process, asked without sending anything.
pub fn may_signal(process: ProcessId) -> Result<(), PidfdError> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(PidfdError::Gone { process });
    };
    rustix::process::test_kill_process(pid).map_err(|errno| refused(process, errno))
}

/// How a child has ended, if it does so within the limit.
///
/// `Child::try_wait` and `Child::wait` also collect a stop of a child that another thread of Murphy traces, whatever they
/// ask for (`ptrace(2)`, "Stopped states"): the child then passes for ended, and its tracer waits in vain. A pidfd tells of
/// the end alone.
pub fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    match pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        Ok(fd) if !session::readable_within(&fd, limit)? => Ok(None),
        // One that was collected already has said how it ended.
        Ok(_) | Err(Errno::SRCH) => child.try_wait(),
        Err(errno) => Err(errno.into()),
    }
}

/// Asks the kernel for a pidfd of the calling process: whether it knows them.
pub fn trial() -> io::Result<()> {
    pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_signal_reaches_the_process_and_nobody_after_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let pidfd = Pidfd::open(process).unwrap();
        assert!(!pidfd.wait_for_exit(Duration::from_millis(1)).unwrap());
        pidfd.send(Signal::KILL).unwrap();
        assert!(pidfd.wait_for_exit(Duration::from_secs(10)).unwrap());
        assert!(matches!(Pidfd::open(process), Err(PidfdError::Gone { .. })));
        child.wait().unwrap();
        assert!(matches!(
            pidfd.send(Signal::KILL),
            Err(PidfdError::Gone { .. })
        ));
    }

    #[test]
    fn a_reused_pid_is_not_opened() {
        let me = ProcessId::current();
        let before = ProcessId {
            start_ticks: me.start_ticks - 1,
            ..me
        };
        assert!(matches!(Pidfd::open(before), Err(PidfdError::Gone { .. })));
    }
}
