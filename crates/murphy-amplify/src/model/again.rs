//! What comes of a connection or file that was hit when it is used again. A connection that was reset stays so, and a program that
//! goes on with it all the same meets that again and again. What a kernel could not write to a file it has forgotten after it told of
//! it once: who tries again is told that all is well (Rebello et al., USENIX ATC 2020).

use std::fmt;

use murphy_fault::syscall::{Calls, Pick};
use murphy_sys::syscalls::Errno;

/// Calls that send or receive by a connection, and errors that end it.
const CONNECTION: [&[&str]; 2] = [
    &[
        "read", "readv", "write", "writev", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg",
        "recvmmsg",
    ],
    &["ECONNRESET", "EPIPE", "ETIMEDOUT"],
];
/// Calls that have a file written, and errors of which they tell once.
const FILE: [&[&str]; 2] = [
    &["fsync", "fdatasync", "sync_file_range"],
    &["EIO", "ENOSPC", "EDQUOT"],
];

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Again {
    /// It fails for good.
    Fails,
    /// It passes the next time.
    Passes,
}

impl Again {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Fails, Self::Passes];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::Passes => "passes",
        }
    }

    /// What an error of some calls comes to.
    pub fn of(calls: &Calls, errno: Errno) -> Option<Self> {
        let is_any = |[names, errnos]: [&[&str]; 2]| {
            let is_one = |name: &str| names.contains(&name);
            errno.name().is_some_and(|name| errnos.contains(&name))
                && calls.iter().any(|call| call.name().is_some_and(is_one))
        };
        if is_any(CONNECTION) {
            Some(Self::Fails)
        } else if is_any(FILE) {
            Some(Self::Passes)
        } else {
            None
        }
    }

    /// Which calls of it are hit.
    pub fn pick(self) -> Pick {
        match self {
            Self::Fails => Pick::Sticky,
            Self::Passes => Pick::Once,
        }
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_broken_and_files_are_told_of_once() {
        for (calls, errno, again) in [
            ("read", "ECONNRESET", Some(Again::Fails)),
            ("sendto", "EPIPE", Some(Again::Fails)),
            ("fsync", "EIO", Some(Again::Passes)),
            // Another one may come through, and there was none before.
            ("accept4", "ECONNABORTED", None),
            ("connect", "ETIMEDOUT", None),
            ("read", "EIO", None),
            ("write", "ENOSPC", None),
            ("close", "EIO", None),
        ] {
            let errno = Errno::named(errno).unwrap();
            assert_eq!(Again::of(&calls.parse().unwrap(), errno), again, "{calls}");
        }
    }
}
