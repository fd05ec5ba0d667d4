//! A signal is a number the kernel can deliver to a process, with the name people use for it.
//!
//! Real-time signals are counted from the C library's `SIGRTMIN`, 34: the kernel's first two belong to the
//! library's threads. See `signal(7)`.

use std::{
    fmt, io,
    os::fd::{BorrowedFd, OwnedFd},
    str::FromStr,
    time::Duration,
};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use crate::process::{ProcessError, read_proc, status_field};

const NAMES: [(u8, &str); 31] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// A signal Murphy can send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Signal(u8);

impl Signal {
    /// Ends a process; cannot be caught.
    pub const KILL: Self = Self(9);
    /// Asks a process to end.
    pub const TERM: Self = Self(15);
    /// Lets a stopped process go on.
    pub const CONT: Self = Self(18);
    /// Stops a process; cannot be caught.
    pub const STOP: Self = Self(19);

    /// Its number on Linux.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its bit in the masks of `/proc/PID/status`.
    fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }
}

impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        // SAFETY: the number is one of `NAMES` or between RTMIN and RTMAX, all of which the kernel
        // accepts; those the C library keeps for itself (32 and 33) cannot be made.
        unsafe { Self::from_raw_unchecked(i32::from(signal.0)) }
    }
}

/// A text that names no signal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "read signal {0:?}: no such signal; use a name (TERM, SIGUSR1, RTMIN+2) or a number from 1 to 64"
)]
pub struct UnknownSignal(String);

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// Reads `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+2` or `RTMAX-1`.
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let unknown = || UnknownSignal(text.to_owned());
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let name = match name {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            other => other,
        };
        if let Some((number, _)) = NAMES.iter().find(|(_, known)| *known == name) {
            return Ok(Self(*number));
        }
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').and_then(|n| RTMIN.checked_add(n))
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').and_then(|n| RTMAX.checked_sub(n))
        } else {
            return match name.parse() {
                Ok(n @ (1..=31 | RTMIN..=RTMAX)) => Ok(Self(n)),
                _ => Err(unknown()),
            };
        };
        match number {
            Some(n @ RTMIN..=RTMAX) => Ok(Self(n)),
            _ => Err(unknown()),
        }
    }
}

fn offset(rest: &str, sign: char) -> Option<u8> {
    if rest.is_empty() {
        return Some(0);
    }
    rest.strip_prefix(sign)?.parse().ok()
}

impl TryFrom<String> for Signal {
    type Error = UnknownSignal;

    fn try_from(text: String) -> Result<Self, UnknownSignal> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => write!(f, "SIGRTMIN"),
            None => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a process does with signals, from `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masks {
    pending: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl Masks {
    /// Reads them. Pending holds the process's and its first thread's; blocked is the first thread's.
    pub fn of(pid: u32) -> Result<Self, ProcessError> {
        let status = read_proc(pid, "status")?;
        let mask = |key| {
            status_field(&status, key)
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                .ok_or_else(|| ProcessError::Format {
                    path: format!("/proc/{pid}/status").into(),
                })
        };
        Ok(Self {
            pending: mask("SigPnd")? | mask("ShdPnd")?,
            blocked: mask("SigBlk")?,
            ignored: mask("SigIgn")?,
            caught: mask("SigCgt")?,
        })
    }

    /// Whether it was sent and not yet looked at.
    pub fn is_pending(&self, signal: Signal) -> bool {
        self.pending & signal.bit() != 0
    }

    /// Whether it is kept waiting.
    pub fn is_blocked(&self, signal: Signal) -> bool {
        self.blocked & signal.bit() != 0
    }

    /// Whether it is thrown away.
    pub fn is_ignored(&self, signal: Signal) -> bool {
        self.ignored & signal.bit() != 0
    }

    /// Whether the program has a handler for it.
    pub fn is_caught(&self, signal: Signal) -> bool {
        self.caught & signal.bit() != 0
    }
}

/// The requests to end that a person or a service manager makes: SIGINT, SIGTERM, SIGHUP, kept as a
/// descriptor that can be waited for.
#[derive(Debug)]
pub struct Interrupts(OwnedFd);

impl Interrupts {
    /// Blocks the three signals in the calling thread and its later threads, and waits for them here
    /// instead. Called first thing by a program, before it has threads.
    pub fn catch() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [
            nix::sys::signal::Signal::SIGINT,
            nix::sys::signal::Signal::SIGTERM,
            nix::sys::signal::Signal::SIGHUP,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&set, flags)?;
        let own = rustix::io::fcntl_dupfd_cloexec(&fd, 3)?;
        Ok(Self(own))
    }

    /// Waits at most `limit`; true as soon as one came. It stays true from then on.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        crate::session::readable(&self.0, limit)
    }

    /// The same, and no longer than until `other` has something to read.
    pub fn wait_beside(&self, other: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
        crate::session::first_readable(&self.0, other, limit)
    }
}

/// Makes the calling process deaf to everything a terminal or a closing session sends.
pub fn ignore_terminal() -> io::Result<()> {
    use nix::sys::signal::Signal as Nix;
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [
        Nix::SIGINT,
        Nix::SIGTERM,
        Nix::SIGHUP,
        Nix::SIGQUIT,
        Nix::SIGPIPE,
        Nix::SIGTSTP,
        Nix::SIGTTIN,
        Nix::SIGTTOU,
        Nix::SIGUSR1,
        Nix::SIGUSR2,
    ] {
        // SAFETY: `SIG_IGN` runs no code of ours in a handler.
        unsafe { sigaction(signal, &ignore) }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("9", 9),
            ("RTMIN", 34),
            ("RTMIN+2", 36),
            ("SIGRTMAX-1", 63),
            ("RTMAX", 64),
            ("64", 64),
            ("IOT", 6),
        ] {
            assert_eq!(
                text.parse::<Signal>().map(Signal::number),
                Ok(number),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "0",
            "32",
            "33",
            "65",
            "TERMINATE",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN-1",
            "-9",
        ] {
            assert_eq!(text.parse::<Signal>(), Err(UnknownSignal(text.to_owned())));
        }
    }

    #[test]
    fn every_signal_is_written_as_it_is_read() {
        for number in (1..=31).chain(34..=64) {
            let signal: Signal = number.to_string().parse().unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }
}
