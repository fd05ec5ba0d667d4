//! Calls by what people call them: one by its name, a family of calls that do the same (`open`, `write`), or a class of strace's
//! (`%file`, `%network`).

use std::{collections::BTreeSet, fmt, str::FromStr};

use murphy_sys::syscalls::Call;
use serde::{Deserialize, Serialize};

use super::realism::{self, calls};

/// Calls that do the same in several forms: what is said of the first is meant of all.
const FAMILIES: &[(&str, &[&str])] = &[
    ("open", &["open", "openat", "openat2"]),
    ("read", &["read", "readv", "pread64", "preadv", "preadv2"]),
    (
        "write",
        &["write", "writev", "pwrite64", "pwritev", "pwritev2"],
    ),
    ("stat", &["stat", "lstat", "fstat", "newfstatat", "statx"]),
    ("access", &["access", "faccessat", "faccessat2"]),
    ("sync", &["fsync", "fdatasync", "sync_file_range", "msync"]),
    ("truncate", &["truncate", "ftruncate"]),
    ("mkdir", &["mkdir", "mkdirat"]),
    ("unlink", &["unlink", "unlinkat", "rmdir"]),
    ("rename", &["rename", "renameat", "renameat2"]),
    ("link", &["link", "linkat"]),
    ("symlink", &["symlink", "symlinkat"]),
    ("readlink", &["readlink", "readlinkat"]),
    ("accept", &["accept", "accept4"]),
    ("send", &["sendto", "sendmsg", "sendmmsg"]),
    ("recv", &["recvfrom", "recvmsg", "recvmmsg"]),
    ("epoll_wait", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    ("poll", &["poll", "ppoll"]),
    ("select", &["select", "pselect6"]),
    ("pipe", &["pipe", "pipe2"]),
    ("dup", &["dup", "dup2", "dup3"]),
    ("fork", &["fork", "vfork", "clone", "clone3"]),
    ("execve", &["execve", "execveat"]),
    ("wait", &["wait4", "waitid"]),
    ("nanosleep", &["nanosleep", "clock_nanosleep"]),
    ("chmod", &["chmod", "fchmod", "fchmodat"]),
    ("chown", &["chown", "fchown", "fchownat"]),
];

/// Classes as `strace(1)` has them, as far as their calls can fail here.
const CLASSES: &[(&str, &[&str])] = &[
    (
        "%file",
        &[
            "open",
            "openat",
            "openat2",
            "stat",
            "lstat",
            "newfstatat",
            "statx",
            "access",
            "faccessat",
            "faccessat2",
            "mkdir",
            "mkdirat",
            "unlink",
            "unlinkat",
            "rmdir",
            "rename",
            "renameat",
            "renameat2",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "readlink",
            "readlinkat",
            "truncate",
            "execve",
            "execveat",
            "inotify_add_watch",
            "statfs",
            "chmod",
            "fchmodat",
            "chown",
            "fchownat",
        ],
    ),
    (
        "%desc",
        &[
            "read",
            "readv",
            "pread64",
            "preadv",
            "preadv2",
            "write",
            "writev",
            "pwrite64",
            "pwritev",
            "pwritev2",
            "close",
            "fstat",
            "fsync",
            "fdatasync",
            "sync_file_range",
            "fallocate",
            "ftruncate",
            "getdents64",
            "flock",
            "fcntl",
            "sendfile",
            "splice",
            "copy_file_range",
            "epoll_create1",
            "epoll_ctl",
            "epoll_wait",
            "epoll_pwait",
            "epoll_pwait2",
            "poll",
            "ppoll",
            "select",
            "pselect6",
            "eventfd2",
            "timerfd_create",
            "inotify_init1",
            "pipe",
            "pipe2",
            "dup",
            "dup2",
            "dup3",
            "fstatfs",
            "fchmod",
            "fchown",
        ],
    ),
    (
        "%network",
        &[
            "socket",
            "socketpair",
            "connect",
            "bind",
            "listen",
            "accept",
            "accept4",
            "sendto",
            "sendmsg",
            "sendmmsg",
            "recvfrom",
            "recvmsg",
            "recvmmsg",
            "shutdown",
        ],
    ),
    (
        "%process",
        &[
            "clone", "clone3", "fork", "vfork", "execve", "execveat", "wait4", "waitid", "kill",
            "tgkill",
        ],
    ),
    (
        "%memory",
        &["mmap", "mprotect", "madvise", "mlock", "msync"],
    ),
];

/// Calls, as they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Calls {
    asked: String,
    calls: BTreeSet<Call>,
}

/// Calls that cannot be made to fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallsError {
    /// There is no such call.
    #[error("read the call {name:?}: there is none of this name on x86_64{near}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        near: String,
    },
    /// It never fails.
    #[error("read the call {name:?}: it is never made to fail, as {why}")]
    Denied {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// It is not known how it fails.
    #[error(
        "read the call {name:?}: Murphy does not know how it can fail; `murphy doctor --calls` lists those of which it does"
    )]
    Unranked {
        /// Its name.
        name: String,
        /// What may have been meant.
        near: String,
    },
}

impl Calls {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Call> + '_ {
        self.calls.iter().copied()
    }

    /// Whether one of them fails only where that is asked for, with why.
    pub fn guarded(&self) -> Option<(Call, &'static str)> {
        self.iter()
            .find_map(|call| realism::guarded(call).map(|why| (call, why)))
    }
}

impl FromStr for Calls {
    type Err = CallsError;

    fn from_str(text: &str) -> Result<Self, CallsError> {
        let asked = text.trim().to_lowercase();
        let groups = CLASSES.iter().chain(FAMILIES);
        let group = groups.into_iter().find(|(name, _)| *name == asked);
        let calls = match group {
            Some((_, names)) => names.iter().filter_map(|name| Call::named(name)).collect(),
            None => BTreeSet::from([one(&asked)?]),
        };
        Ok(Self { asked, calls })
    }
}

/// A call by its name.
fn one(name: &str) -> Result<Call, CallsError> {
    let known = name.to_owned();
    let Some(call) = Call::named(name) else {
        let near = near(name);
        return Err(CallsError::Unknown { name: known, near });
    };
    if let Some(why) = realism::denied(call) {
        return Err(CallsError::Denied { name: known, why });
    }
    if realism::errors(call).is_empty() {
        let near = near(name);
        return Err(CallsError::Unranked { name: known, near });
    }
    Ok(call)
}

/// Names that have much of another's, in words.
fn near(name: &str) -> String {
    let is_near = |one: &str| one.contains(name) || (one.len() > 3 && name.contains(one));
    let groups = CLASSES
        .iter()
        .chain(FAMILIES)
        .map(|(name, _)| (*name).to_owned());
    let all: BTreeSet<String> = calls()
        .filter_map(|call| call.name().map(str::to_owned))
        .chain(groups)
        .collect();
    let near: Vec<String> = all.into_iter().filter(|one| is_near(one)).take(6).collect();
    if near.is_empty() {
        "; a family is open, read, write, send, …, and a class %file, %desc, %network, %process or %memory".to_owned()
    } else {
        format!("; there is {}", near.join(", "))
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.asked)
    }
}

impl TryFrom<String> for Calls {
    type Error = CallsError;

    fn try_from(text: String) -> Result<Self, CallsError> {
        text.parse()
    }
}

impl From<Calls> for String {
    fn from(calls: Calls) -> Self {
        calls.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_a_family_or_a_class_can_fail() {
        for (group, names) in CLASSES.iter().chain(FAMILIES) {
            for name in *names {
                assert!(one(name).is_ok(), "{name} of {group}");
            }
        }
    }

    #[test]
    fn calls_are_named_alone_in_families_and_in_classes() {
        let names = |text: &str| {
            let calls: Calls = text.parse().unwrap();
            let names = calls.iter().filter_map(Call::name);
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names("open"), ["open", "openat", "openat2"]);
        assert_eq!(names("openat"), ["openat"]);
        assert_eq!(names("FSYNC"), ["fsync"]);
        assert!(names("%network").contains(&"accept4"));
        let written: Calls = "write".parse().unwrap();
        assert_eq!(written.to_string(), "write");
        assert!("mmap".parse::<Calls>().unwrap().guarded().is_some());
        assert!("%network".parse::<Calls>().unwrap().guarded().is_none());
    }

    #[test]
    fn what_cannot_fail_says_why() {
        let said = |text: &str| text.parse::<Calls>().unwrap_err().to_string();
        assert!(said("getpid").contains("it cannot fail"));
        assert!(said("munmap").contains("allocators"));
        assert!(said("recv_from").contains("recv"), "{}", said("recv_from"));
        assert!(said("fsnc").contains("a class %file"));
        assert!(said("uname").contains("does not know"));
    }
}
