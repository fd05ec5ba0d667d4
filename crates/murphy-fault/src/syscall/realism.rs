//! Which errors a call can fail with in a world as it is: by its environment, as a matter of course, or only where the program
//! itself is wrong.
//!
//! The table is that of the manual pages (`man2`, their sections ERRORS), sorted by what a correct program can meet. What a call
//! is not said to fail with it cannot: such an error would be an answer that no kernel gives.

use murphy_sys::syscalls::{Call, Errno};

/// How likely it is that a correct program meets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Its environment is in trouble: a disk is full, a peer has gone.
    Environmental,
    /// It is nothing to worry about, and happens all day: nothing to read yet.
    Noise,
    /// Only a program that is wrong itself meets it.
    Mistake,
}

/// A row of the table.
struct Row {
    calls: &'static [&'static str],
    environmental: &'static [&'static str],
    noise: &'static [&'static str],
    mistakes: &'static [&'static str],
}

/// Every error that a call can fail with, the likeliest first; empty for one that is not known.
pub fn errors(call: Call) -> Vec<(Errno, Rank)> {
    let name = call.name();
    let rows = ROWS
        .iter()
        .filter(|row| row.calls.iter().any(|one| Some(*one) == name));
    let mut all: Vec<(Errno, Rank)> = Vec::new();
    for row in rows {
        for (names, rank) in [
            (row.environmental, Rank::Environmental),
            (row.noise, Rank::Noise),
            (row.mistakes, Rank::Mistake),
        ] {
            for errno in names.iter().filter_map(|name| Errno::named(name)) {
                // An error of two kinds is of the first: a file that is not there may be looked for all day.
                if all.iter().all(|(one, _)| *one != errno) {
                    all.push((errno, rank));
                }
            }
        }
    }
    all
}

/// How likely a call fails with an error; none where it cannot.
pub fn rank(call: Call, errno: Errno) -> Option<Rank> {
    let all = errors(call);
    let found = all.iter().find(|(one, _)| *one == errno);
    found.map(|(_, rank)| *rank)
}

/// Every call that can fail, and for which it is known how.
pub fn calls() -> impl Iterator<Item = Call> {
    let names = ROWS.iter().flat_map(|row| row.calls);
    names.filter_map(|name| Call::named(name))
}

/// Why a call is never made to fail: a program could not go on, or it cannot fail.
pub fn denied(call: Call) -> Option<&'static str> {
    let name = call.name()?;
    let found = DENIED.iter().find(|(calls, _)| calls.contains(&name));
    found.map(|(_, why)| *why)
}

/// Why a call fails only where that is asked for by name: the runtimes of many languages take it for the end of the world.
pub fn guarded(call: Call) -> Option<&'static str> {
    let name = call.name()?;
    let found = GUARDED.iter().find(|(calls, _)| calls.contains(&name));
    found.map(|(_, why)| *why)
}

const DENIED: &[(&[&str], &str)] = &[
    (
        &["rt_sigreturn", "restart_syscall"],
        "the kernel makes it, not the program",
    ),
    (&["exit", "exit_group"], "it does not come back"),
    (
        &["rt_sigprocmask", "rt_sigaction", "sigaltstack"],
        "it cannot fail in a program that is right",
    ),
    (
        &["arch_prctl", "set_tid_address", "set_robust_list", "rseq"],
        "threads cannot begin without it",
    ),
    (
        &[
            "sched_yield",
            "gettid",
            "getpid",
            "getppid",
            "getuid",
            "geteuid",
            "getgid",
            "getegid",
        ],
        "it cannot fail",
    ),
    (
        &["brk", "munmap"],
        "allocators do not look at what came of it",
    ),
];

const GUARDED: &[(&[&str], &str)] = &[
    (
        &["mmap", "mprotect", "madvise"],
        "the runtimes of Go, Java and .NET end the program",
    ),
    (
        &["futex"],
        "the runtimes of Go and Java end the program, or hang",
    ),
    (
        &["clone", "clone3"],
        "Go ends a program that cannot make a thread",
    ),
    (
        &["execve", "execveat"],
        "between vfork and execve a child runs in its parent's memory",
    ),
];

const ROWS: &[Row] = &[
    Row {
        calls: &["open", "openat", "openat2"],
        environmental: &[
            "ENOENT", "EACCES", "EMFILE", "ENFILE", "ENOSPC", "EDQUOT", "EROFS", "ENOMEM", "EINTR",
            "ETXTBSY", "ELOOP", "EIO",
        ],
        noise: &["ENOENT", "EEXIST"],
        mistakes: &["EFAULT", "EINVAL", "EBADF"],
    },
    Row {
        calls: &["read", "readv", "pread64", "preadv", "preadv2"],
        environmental: &["EIO", "ECONNRESET", "ETIMEDOUT", "EINTR"],
        noise: &["EAGAIN"],
        mistakes: &["EBADF", "EFAULT", "EISDIR", "EINVAL"],
    },
    Row {
        calls: &["write", "writev", "pwrite64", "pwritev", "pwritev2"],
        environmental: &[
            "ENOSPC",
            "EDQUOT",
            "EFBIG",
            "EIO",
            "EPIPE",
            "ECONNRESET",
            "EINTR",
        ],
        noise: &["EAGAIN"],
        mistakes: &["EBADF", "EFAULT", "EDESTADDRREQ", "EINVAL"],
    },
    Row {
        calls: &["close"],
        environmental: &["EIO", "ENOSPC", "EDQUOT", "EINTR"],
        noise: &[],
        mistakes: &["EBADF"],
    },
    Row {
        calls: &["fsync", "fdatasync", "sync_file_range", "msync"],
        environmental: &["EIO", "ENOSPC", "EDQUOT", "EROFS"],
        noise: &["EINVAL"],
        mistakes: &["EBADF"],
    },
    Row {
        calls: &["fallocate"],
        environmental: &["ENOSPC", "EOPNOTSUPP", "EINTR", "EFBIG", "EIO"],
        noise: &["EOPNOTSUPP"],
        mistakes: &["EBADF", "EINVAL"],
    },
    Row {
        calls: &["ftruncate", "truncate"],
        environmental: &["EIO", "ENOSPC", "EFBIG", "EINTR", "EPERM"],
        noise: &[],
        mistakes: &["EINVAL", "EBADF"],
    },
    Row {
        calls: &[
            "stat",
            "lstat",
            "newfstatat",
            "statx",
            "access",
            "faccessat",
            "faccessat2",
        ],
        environmental: &["ENOENT", "EACCES", "ENOMEM", "EIO", "ELOOP"],
        noise: &["ENOENT"],
        mistakes: &["EFAULT", "EINVAL"],
    },
    Row {
        calls: &["fstat"],
        environmental: &["EIO", "ENOMEM"],
        noise: &[],
        mistakes: &["EBADF", "EFAULT"],
    },
    Row {
        calls: &["mkdir", "mkdirat"],
        environmental: &["ENOSPC", "EDQUOT", "EACCES", "EROFS", "EMLINK", "ENOENT"],
        noise: &["EEXIST"],
        mistakes: &["EFAULT"],
    },
    Row {
        calls: &["unlink", "unlinkat", "rmdir"],
        environmental: &["ENOENT", "EACCES", "EBUSY", "EROFS", "EIO", "ENOTEMPTY"],
        noise: &["ENOENT"],
        mistakes: &["EISDIR", "EFAULT"],
    },
    Row {
        calls: &["rename", "renameat", "renameat2"],
        environmental: &[
            "ENOSPC", "EDQUOT", "EACCES", "EXDEV", "EROFS", "EBUSY", "ENOENT",
        ],
        noise: &[],
        mistakes: &["EINVAL", "EFAULT"],
    },
    Row {
        calls: &["link", "linkat", "symlink", "symlinkat"],
        environmental: &["ENOSPC", "EDQUOT", "EEXIST", "EMLINK", "EPERM", "EXDEV"],
        noise: &["EEXIST"],
        mistakes: &["EFAULT"],
    },
    Row {
        calls: &["getdents64", "readlink", "readlinkat"],
        environmental: &["EIO", "ENOENT", "EACCES"],
        noise: &["EINVAL"],
        mistakes: &["EFAULT"],
    },
    Row {
        calls: &["flock", "fcntl"],
        environmental: &["EAGAIN", "ENOLCK", "EDEADLK", "EINTR"],
        noise: &["EAGAIN"],
        mistakes: &["EBADF", "EINVAL"],
    },
    Row {
        calls: &["mmap"],
        environmental: &["ENOMEM", "EAGAIN", "ENFILE", "EACCES"],
        noise: &[],
        mistakes: &["EINVAL", "EBADF"],
    },
    Row {
        calls: &["mprotect", "madvise", "mlock"],
        environmental: &["ENOMEM", "EAGAIN", "EPERM"],
        noise: &["EINVAL"],
        mistakes: &[],
    },
    Row {
        calls: &["socket", "socketpair"],
        environmental: &[
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "EAFNOSUPPORT",
            "EACCES",
        ],
        noise: &["EAFNOSUPPORT"],
        mistakes: &["EINVAL"],
    },
    Row {
        calls: &["connect"],
        environmental: &[
            "ECONNREFUSED",
            "ETIMEDOUT",
            "ENETUNREACH",
            "EHOSTUNREACH",
            "EADDRNOTAVAIL",
            "EAGAIN",
            "EACCES",
            "EPERM",
            "EINTR",
        ],
        noise: &["EINPROGRESS", "ENOENT"],
        mistakes: &["EISCONN", "EAFNOSUPPORT"],
    },
    Row {
        calls: &["bind", "listen"],
        environmental: &["EADDRINUSE", "EADDRNOTAVAIL", "EACCES"],
        noise: &[],
        mistakes: &["EINVAL"],
    },
    Row {
        calls: &["accept", "accept4"],
        environmental: &[
            "EMFILE",
            "ENFILE",
            "ECONNABORTED",
            "ENOBUFS",
            "ENOMEM",
            "EPERM",
            "EPROTO",
            "EINTR",
        ],
        noise: &["EAGAIN"],
        mistakes: &["EBADF", "EINVAL"],
    },
    Row {
        calls: &["sendto", "sendmsg", "sendmmsg"],
        environmental: &[
            "EPIPE",
            "ECONNRESET",
            "ENOBUFS",
            "ENOMEM",
            "EMSGSIZE",
            "EHOSTUNREACH",
            "EPERM",
            "EINTR",
        ],
        noise: &["EAGAIN"],
        mistakes: &["ENOTCONN"],
    },
    Row {
        calls: &["recvfrom", "recvmsg", "recvmmsg"],
        environmental: &["ECONNRESET", "ETIMEDOUT", "ECONNREFUSED", "ENOMEM", "EINTR"],
        noise: &["EAGAIN"],
        mistakes: &["ENOTCONN"],
    },
    Row {
        calls: &["sendfile", "splice", "copy_file_range"],
        environmental: &[
            "EIO",
            "ENOSPC",
            "EPIPE",
            "ECONNRESET",
            "EAGAIN",
            "ENOMEM",
            "EXDEV",
        ],
        noise: &["EINVAL", "EXDEV"],
        mistakes: &["EBADF"],
    },
    Row {
        calls: &["shutdown"],
        environmental: &["ENOTCONN"],
        noise: &["ENOTCONN"],
        mistakes: &[],
    },
    Row {
        calls: &[
            "epoll_create1",
            "eventfd2",
            "timerfd_create",
            "inotify_init1",
        ],
        environmental: &["EMFILE", "ENFILE", "ENOMEM"],
        noise: &[],
        mistakes: &["EINVAL"],
    },
    Row {
        calls: &["epoll_ctl"],
        environmental: &["ENOSPC", "ENOMEM", "EEXIST", "ENOENT", "EPERM"],
        noise: &["ENOENT", "EEXIST", "EPERM"],
        mistakes: &["EBADF"],
    },
    Row {
        calls: &[
            "epoll_wait",
            "epoll_pwait",
            "epoll_pwait2",
            "poll",
            "ppoll",
            "select",
            "pselect6",
        ],
        environmental: &["EINTR", "ENOMEM"],
        noise: &["EINTR"],
        mistakes: &["EBADF"],
    },
    Row {
        calls: &["inotify_add_watch"],
        environmental: &["ENOSPC", "ENOMEM", "EACCES", "ENOENT"],
        noise: &[],
        mistakes: &[],
    },
    Row {
        calls: &["pipe", "pipe2", "dup", "dup2", "dup3"],
        environmental: &["EMFILE", "ENFILE", "EBUSY"],
        noise: &[],
        mistakes: &["EBADF"],
    },
    Row {
        calls: &["clone", "clone3", "fork", "vfork"],
        environmental: &["EAGAIN", "ENOMEM", "ENOSPC"],
        noise: &["ENOSYS"],
        mistakes: &["EINVAL"],
    },
    Row {
        calls: &["execve", "execveat"],
        environmental: &[
            "ENOENT", "EACCES", "ENOMEM", "EAGAIN", "E2BIG", "ETXTBSY", "EMFILE", "EIO",
        ],
        noise: &["ENOENT"],
        mistakes: &["EFAULT"],
    },
    Row {
        calls: &["wait4", "waitid"],
        environmental: &["EINTR", "ECHILD"],
        noise: &["ECHILD"],
        mistakes: &[],
    },
    Row {
        calls: &["kill", "tgkill"],
        environmental: &["ESRCH", "EPERM", "EAGAIN"],
        noise: &["ESRCH"],
        mistakes: &[],
    },
    // Of waiting only: what wakes others fails nobody.
    Row {
        calls: &["futex"],
        environmental: &["EAGAIN", "ETIMEDOUT", "EINTR"],
        noise: &["EAGAIN", "ETIMEDOUT", "EINTR"],
        mistakes: &[],
    },
    Row {
        calls: &["nanosleep", "clock_nanosleep"],
        environmental: &["EINTR"],
        noise: &["EINTR"],
        mistakes: &["EINVAL"],
    },
    Row {
        calls: &["getrandom"],
        environmental: &["EAGAIN", "EINTR"],
        noise: &[],
        mistakes: &["ENOSYS"],
    },
    // Errors of what was asked for come in the answers of the ring, which no call returns.
    Row {
        calls: &["io_uring_enter", "io_uring_setup"],
        environmental: &["EAGAIN", "EBUSY", "EINTR", "ENOMEM", "EPERM"],
        noise: &["EAGAIN", "EINTR"],
        mistakes: &[],
    },
    Row {
        calls: &["io_submit", "io_setup"],
        environmental: &["EAGAIN"],
        noise: &[],
        mistakes: &[],
    },
    Row {
        calls: &[
            "statfs", "fstatfs", "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat",
        ],
        environmental: &["EIO", "EACCES", "EPERM", "EROFS", "ENOENT"],
        noise: &[],
        mistakes: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_tables_is_one() {
        for row in ROWS {
            for name in row.calls {
                assert!(Call::named(name).is_some(), "{name}");
            }
            for name in [row.environmental, row.noise, row.mistakes].concat() {
                assert!(Errno::named(name).is_some(), "{name}");
            }
            assert!(!row.environmental.is_empty());
        }
        let named = DENIED.iter().chain(GUARDED).flat_map(|(calls, _)| *calls);
        for name in named {
            assert!(Call::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_call_stands_in_one_row() {
        let mut all: Vec<&str> = ROWS.iter().flat_map(|row| row.calls).copied().collect();
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        for call in calls() {
            assert_eq!(denied(call), None, "{call}");
        }
    }

    #[test]
    fn errors_are_ranked_as_they_are_met() {
        let rank = |call: &str, errno: &str| {
            rank(Call::named(call).unwrap(), Errno::named(errno).unwrap())
        };
        assert_eq!(rank("write", "ENOSPC"), Some(Rank::Environmental));
        assert_eq!(rank("read", "EAGAIN"), Some(Rank::Noise));
        assert_eq!(rank("read", "EBADF"), Some(Rank::Mistake));
        assert_eq!(rank("openat", "ENOENT"), Some(Rank::Environmental));
        // No kernel says that.
        assert_eq!(rank("read", "ENOSPC"), None);
        assert_eq!(rank("getpid", "EIO"), None);
        assert!(denied(Call::named("munmap").unwrap()).is_some());
        assert!(guarded(Call::named("futex").unwrap()).is_some());
    }
}
