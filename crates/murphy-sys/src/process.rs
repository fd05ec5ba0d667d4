//! A process is known by boot, pid and start time, so that a reused pid is never taken for the one it was.
//!
//! The kernel gives a pid to another process as soon as the first is gone, but never with the same start
//! time, and a start time means nothing after a reboot. See `proc_pid_stat(5)`.

use std::{fmt, fs, io, path::PathBuf, str::FromStr, sync::OnceLock};

use serde::{Deserialize, Serialize};

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It does not exist (any more).
    #[error("find process {pid}: it does not exist")]
    Gone {
        /// The pid that was asked for.
        pid: u32,
    },
    /// `/proc` refused.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// `/proc` said something unexpected.
    #[error("read {path}: its content is not understood")]
    Format {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file of `/proc/PID`, telling a process that is gone from one that is hidden.
pub(crate) fn read_proc(pid: u32, file: &str) -> Result<Vec<u8>, ProcessError> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    fs::read(&path).map_err(|source| match source.raw_os_error() {
        Some(code) if code == ENOENT || code == ESRCH => ProcessError::Gone { pid },
        _ => ProcessError::Read { path, source },
    })
}

const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

/// One boot of one machine: the kernel's random id of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BootId(u128);

impl BootId {
    /// The boot that is running now.
    pub fn current() -> Self {
        static CURRENT: OnceLock<BootId> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .ok()
                .and_then(|text| text.parse().ok())
                // Without /proc no process is found either; an id of zero then matches nothing foreign.
                .unwrap_or(BootId(0))
        })
    }
}

/// A text that is not a boot id.
#[derive(Debug, thiserror::Error)]
#[error("read boot id {0:?}: it is not a UUID")]
pub struct BadBootId(String);

impl FromStr for BootId {
    type Err = BadBootId;

    fn from_str(text: &str) -> Result<Self, BadBootId> {
        let digits = text.trim().replace('-', "");
        match u128::from_str_radix(&digits, 16) {
            Ok(id) if digits.len() == 32 => Ok(Self(id)),
            _ => Err(BadBootId(text.to_owned())),
        }
    }
}

impl TryFrom<String> for BootId {
    type Error = BadBootId;

    fn try_from(text: String) -> Result<Self, BadBootId> {
        text.parse()
    }
}

impl From<BootId> for String {
    fn from(id: BootId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let (a, b, c) = (&hex[..8], &hex[8..12], &hex[12..16]);
        write!(f, "{a}-{b}-{c}-{}-{}", &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One process, for as long as it lives and never anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid in Murphy's pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The boot both numbers belong to.
    pub boot: BootId,
}

impl ProcessId {
    /// The process that has `pid` now.
    pub fn of(pid: u32) -> Result<Self, ProcessError> {
        Stat::read(pid).map(|stat| stat.id())
    }

    /// The calling process.
    pub fn current() -> Self {
        Self::of(std::process::id()).unwrap_or(Self {
            // Without /proc: a start time of zero belongs to no process but the kernel's own.
            pid: std::process::id(),
            start_ticks: 0,
            boot: BootId::current(),
        })
    }

    /// What the kernel says about it now; `None` once it is gone or its pid is somebody else's.
    pub fn stat(&self) -> Option<Stat> {
        Stat::read(self.pid).ok().filter(|stat| stat.id() == *self)
    }

    /// Whether it runs, sleeps or is stopped; a zombie does none of these.
    pub fn is_alive(&self) -> bool {
        self.stat().is_some_and(|stat| !stat.state.is_dead())
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)
    }
}

/// What a process or thread is doing, as the kernel's scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// `R`: on a CPU or waiting for one.
    Running,
    /// `S`, `I`: waiting for something.
    Sleeping,
    /// `D`: waiting for a device; no signal is looked at.
    Uninterruptible,
    /// `T`: stopped by a signal.
    Stopped,
    /// `t`: stopped by its tracer.
    Traced,
    /// `Z`: ended, not yet waited for.
    Zombie,
    /// `X`: being taken away.
    Dead,
}

impl State {
    fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'R' => Self::Running,
            b'S' | b'I' | b'P' => Self::Sleeping,
            b'D' => Self::Uninterruptible,
            b'T' => Self::Stopped,
            b't' => Self::Traced,
            b'Z' => Self::Zombie,
            b'X' | b'x' => Self::Dead,
            _ => return None,
        })
    }

    /// Whether it will never run again.
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Zombie | Self::Dead)
    }
}

/// The line of `/proc/PID/stat` that Murphy needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process, or the thread when it was read from a task directory.
    pub pid: u32,
    /// The name the kernel keeps, at most 15 bytes.
    pub comm: String,
    /// What it is doing.
    pub state: State,
    /// The pid of the parent; 0 for the first processes.
    pub parent: u32,
    /// Its process group: the pid of whoever leads it, or has led it; 0 where that one is not seen from here.
    pub group: u32,
    /// Kernel flags (`PF_*`).
    pub flags: u32,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
}

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

impl Stat {
    /// Reads `/proc/PID/stat`.
    pub fn read(pid: u32) -> Result<Self, ProcessError> {
        let bytes = read_proc(pid, "stat")?;
        Self::parse(&bytes).ok_or_else(|| ProcessError::Format {
            path: format!("/proc/{pid}/stat").into(),
        })
    }

    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        // The name may hold anything, closing parentheses too: the last one ends it.
        let open = line.iter().position(|&b| b == b'(')?;
        let close = line.iter().rposition(|&b| b == b')')?;
        let number = std::str::from_utf8(&line[..open]).ok()?.trim();
        let rest = std::str::from_utf8(line.get(close + 2..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered from 1 in proc_pid_stat(5); `fields` starts at field 3.
        let field = |n: usize| fields.get(n - 3).copied();
        Some(Self {
            pid: number.parse().ok()?,
            comm: String::from_utf8_lossy(&line[open + 1..close]).into_owned(),
            state: State::from_letter(*field(3)?.as_bytes().first()?)?,
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().unwrap_or(0),
            flags: field(9)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
        })
    }

    /// Who it is.
    pub fn id(&self) -> ProcessId {
        ProcessId {
            pid: self.pid,
            start_ticks: self.start_ticks,
            boot: BootId::current(),
        }
    }

    /// Whether it is a part of the kernel, not a program.
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

/// Whether the program of a process is a 32-bit one, by the class of its ELF file.
pub fn is_32_bit(pid: u32) -> bool {
    use std::io::Read;
    let mut head = [0; 5];
    fs::File::open(format!("/proc/{pid}/exe"))
        .and_then(|mut file| file.read_exact(&mut head))
        .is_ok()
        && head == *b"\x7fELF\x01"
}

/// The pid of the process that `pid` is a thread of; the same number for a process.
pub fn thread_group(pid: u32) -> Result<u32, ProcessError> {
    let status = read_proc(pid, "status")?;
    status_field(&status, "Tgid")
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| ProcessError::Format {
            path: format!("/proc/{pid}/status").into(),
        })
}

/// The value of one `Key:` line of `/proc/PID/status`.
pub(crate) fn status_field<'a>(status: &'a [u8], key: &str) -> Option<&'a str> {
    status.split(|&b| b == b'\n').find_map(|line| {
        let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b":")?;
        std::str::from_utf8(value).ok().map(str::trim)
    })
}

/// The words a process was started with; empty for a kernel thread or a zombie.
pub fn command_line(pid: u32) -> Result<Vec<String>, ProcessError> {
    let bytes = read_proc(pid, "cmdline")?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    Ok(words
        .split(|&b| b == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect())
}

/// Whether a process was started with the variable `key=value`. A process of somebody else that Murphy
/// may not look into counts as one that was not.
pub fn has_variable(pid: u32, key: &str, value: &str) -> bool {
    let wanted = format!("{key}={value}");
    read_proc(pid, "environ")
        .is_ok_and(|bytes| bytes.split(|&b| b == 0).any(|var| var == wanted.as_bytes()))
}

/// What the kernel told a process at its start under a key of `getauxval(3)`.
pub fn auxiliary(pid: u32, key: u64) -> Option<u64> {
    let bytes = fs::read(format!("/proc/{pid}/auxv")).ok()?;
    let words: Vec<u64> = bytes
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(u64::from_ne_bytes)
        .collect();
    let mut pairs = words.as_chunks::<2>().0.iter();
    pairs.find_map(|[named, value]| (*named == key).then_some(*value))
}

/// The inode that names a process's namespace; `kind` is a file of `/proc/PID/ns`, such as `net`.
pub fn namespace_inode(pid: u32, kind: &str) -> Result<u64, ProcessError> {
    use std::os::unix::fs::MetadataExt;
    let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
    fs::metadata(&path)
        .map(|meta| meta.ino())
        .map_err(|source| match source.raw_os_error() {
            Some(code) if code == ENOENT || code == ESRCH => ProcessError::Gone { pid },
            _ => ProcessError::Read { path, source },
        })
}

/// The sockets that a process holds: its descriptor of each, and the socket's inode.
pub fn sockets(pid: u32) -> io::Result<Vec<(i32, u32)>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        // One that was closed just now is none.
        let Ok(leads_to) = fs::read_link(entry.path()) else {
            continue;
        };
        let named = leads_to
            .to_str()
            .and_then(|text| text.strip_prefix("socket:["));
        let inode = named.and_then(|text| text.strip_suffix(']')?.parse().ok());
        let descriptor = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        sockets.extend(descriptor.zip(inode));
    }
    Ok(sockets)
}

/// Whether a process is in this process's own namespace of a kind; so it is where the kernel has none.
pub fn shares_namespace(pid: u32, kind: &str) -> bool {
    namespace_inode(pid, kind).ok() == namespace_inode(std::process::id(), kind).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let line = b"42 (a) b (c) S 7 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 9001 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.comm, "a) b (c");
        assert_eq!((stat.pid, stat.parent, stat.start_ticks), (42, 7, 9001));
        assert_eq!(stat.state, State::Sleeping);
    }

    #[test]
    fn a_cut_line_is_no_process() {
        assert_eq!(Stat::parse(b"42 (sh) S 7 42"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn the_calling_process_is_alive_and_itself() {
        let me = ProcessId::current();
        assert!(me.is_alive());
        assert_eq!(ProcessId::of(me.pid).unwrap(), me);
    }

    #[test]
    fn another_start_time_or_boot_is_another_process() {
        let me = ProcessId::current();
        let reused = ProcessId {
            start_ticks: me.start_ticks + 1,
            ..me
        };
        let rebooted = ProcessId {
            boot: BootId(7),
            ..me
        };
        assert!(!reused.is_alive());
        assert!(!rebooted.is_alive());
    }

    #[test]
    fn a_boot_id_reads_back_as_written() {
        let text = "0d0e1f2a-3b4c-4d5e-8f60-718293a4b5c6";
        let id: BootId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert!("0d0e".parse::<BootId>().is_err());
    }
}
