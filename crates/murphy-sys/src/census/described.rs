//! Which arguments of a call are its descriptor, its flags and its operation: what the programs look at when it returns.

use super::key::Operation;
use crate::syscalls::Call;

/// The same as in `bpf/census.bpf.c`.
const FIRST: u8 = 1;
const THIRD: u8 = 3;
const FIFTH: u8 = 5;
const FLAGS_THIRD: u8 = 0x08;
const FLAGS_FOURTH: u8 = 0x10;
const FUTEX: u8 = 0x20;
const EPOLL_CTL: u8 = 0x40;
const FCNTL: u8 = 0x60;
const OPEN: u8 = 0x80;
const OPENAT: u8 = 0xa0;
const CLONE: u8 = 0xc0;
const IN_MEMORY: u8 = 0xe0;

/// Calls whose first argument is a descriptor that decides what they can fail with. Behind `close` there is none any more.
const DESCRIPTOR: &[&str] = &[
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
    "fsync",
    "fdatasync",
    "syncfs",
    "sync_file_range",
    "fallocate",
    "fadvise64",
    "readahead",
    "ftruncate",
    "fstat",
    "fstatfs",
    "fchmod",
    "fchown",
    "fchdir",
    "getdents64",
    "lseek",
    "flock",
    "ioctl",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "shutdown",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "sendfile",
    "splice",
    "tee",
    "vmsplice",
    "copy_file_range",
    "dup",
    "dup2",
    "dup3",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "inotify_add_watch",
    "timerfd_settime",
    "fgetxattr",
    "fsetxattr",
];

/// The others, each with what it is.
const OTHERS: &[(&str, u8)] = &[
    ("sendto", FIRST | FLAGS_FOURTH),
    ("recvfrom", FIRST | FLAGS_FOURTH),
    ("sendmmsg", FIRST | FLAGS_FOURTH),
    ("recvmmsg", FIRST | FLAGS_FOURTH),
    ("sendmsg", FIRST | FLAGS_THIRD),
    ("recvmsg", FIRST | FLAGS_THIRD),
    ("mmap", FIFTH),
    // What is waited for, not what waits.
    ("epoll_ctl", THIRD | EPOLL_CTL),
    ("fcntl", FIRST | FCNTL),
    ("futex", FUTEX),
    ("open", OPEN),
    ("openat", OPENAT),
    ("openat2", IN_MEMORY),
    ("clone", CLONE),
    ("clone3", IN_MEMORY),
];

/// What is to be known of each call that has more than its number, as the programs have it.
pub(super) fn described() -> impl Iterator<Item = (Call, u8)> {
    let plain = DESCRIPTOR.iter().map(|name| (*name, FIRST));
    let all = plain.chain(OTHERS.iter().copied());
    // What an architecture has not is called otherwise there.
    all.filter_map(|(name, how)| Some((Call::named(name)?, how)))
}

/// Calls that are told apart by what they are asked to do, and what that can be.
const OPERATIONS: &[(&[&str], &[Operation])] = &[
    (
        &["futex"],
        &[
            Operation::Wait,
            Operation::Wake,
            Operation::Requeue,
            Operation::Otherwise,
        ],
    ),
    (
        &["epoll_ctl"],
        &[Operation::Add, Operation::Modify, Operation::Delete],
    ),
    (
        &["fcntl"],
        &[Operation::Duplicate, Operation::Lock, Operation::Otherwise],
    ),
    (
        &["open", "openat", "openat2"],
        &[Operation::Plain, Operation::Create, Operation::Exclusive],
    ),
    (
        &["clone", "clone3"],
        &[Operation::Thread, Operation::Process],
    ),
];

/// What a call can be asked to do, where that is told apart; nothing of others.
pub fn operations(call: Call) -> &'static [Operation] {
    let is_one = |calls: &[&str]| call.name().is_some_and(|name| calls.contains(&name));
    let found = OPERATIONS.iter().find(|(calls, _)| is_one(calls));
    found.map_or(&[], |(_, operations)| operations)
}

/// Whether a call is told apart by what a descriptor of its leads to.
pub fn has_kind(call: Call) -> bool {
    described().any(|(one, how)| one == call && how & (FIRST | THIRD | FIFTH) != 0)
}

/// The calls that can be asked to do this.
pub fn calls_with(operation: Operation) -> impl Iterator<Item = &'static str> {
    let rows = OPERATIONS.iter();
    let rows = rows.filter(move |(_, operations)| operations.contains(&operation));
    rows.flat_map(|(calls, _)| calls.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_call_is_described_once() {
        let all: Vec<Call> = described().map(|(call, _)| call).collect();
        let once: BTreeSet<Call> = all.iter().copied().collect();
        assert_eq!(all.len(), once.len());
        #[cfg(target_arch = "x86_64")]
        assert_eq!(all.len(), DESCRIPTOR.len() + OTHERS.len());
    }

    #[test]
    fn every_operation_is_of_calls_that_are_told_apart_by_it() {
        for (call, how) in described() {
            // What is in memory, or in the upper bits, is an operation.
            assert_eq!(!operations(call).is_empty(), how >= FUTEX, "{call}");
        }
        for operation in Operation::ALL {
            assert!(calls_with(*operation).next().is_some(), "{operation}");
        }
        assert_eq!(calls_with(Operation::Wait).collect::<Vec<_>>(), ["futex"]);
    }
}
