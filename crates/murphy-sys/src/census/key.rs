//! What calls are told apart by, beside the call itself: what a descriptor leads to, and what is asked to be done.

use std::{fmt, str::FromStr};

/// Names with the numbers that the programs know them by.
macro_rules! named {
    ($(#[$doc:meta])* $kind:ident: $($(#[$one_doc:meta])* $one:ident = $number:literal $name:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind {
            $($(#[$one_doc])* $one = $number,)*
        }

        impl $kind {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$one,)*];

            /// What recordings and people call it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$one => $name,)*
                }
            }

            /// The one of a number of the programs'; none of 0, which is nothing known.
            pub(super) fn of(number: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| *one as u16 == number)
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $kind {
            type Err = Unnamed;

            fn from_str(text: &str) -> Result<Self, Unnamed> {
                let found = Self::ALL.iter().copied().find(|one| one.name() == text);
                found.ok_or_else(|| Unnamed {
                    text: text.into(),
                    known: Self::ALL.iter().map(|one| one.name()).collect(),
                })
            }
        }
    };
}

/// Not one of the names that there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?}: expected one of {}", known.join(", "))]
pub struct Unnamed {
    text: String,
    known: Vec<&'static str>,
}

named! {
    /// What a descriptor leads to.
    Kind:
    /// A regular file.
    File = 1 "file",
    /// A directory.
    Directory = 2 "directory",
    /// A terminal.
    Terminal = 3 "terminal",
    /// Another device.
    Device = 4 "device",
    /// A pipe, or a FIFO.
    Pipe = 5 "pipe",
    /// TCP, multipath or not.
    Tcp = 6 "tcp",
    /// UDP.
    Udp = 7 "udp",
    /// A socket of this machine.
    Unix = 8 "unix",
    /// A socket to the kernel.
    Netlink = 9 "netlink",
    /// Another socket.
    Socket = 10 "socket",
    /// An eventfd.
    Eventfd = 11 "eventfd",
    /// An epoll.
    Epoll = 12 "epoll",
    /// A timerfd.
    Timerfd = 13 "timerfd",
    /// An inotify.
    Inotify = 14 "inotify",
    /// Anything else.
    Other = 15 "other",
}

named! {
    /// What a call is asked to do, where that decides what it can fail with.
    Operation:
    /// `futex`: waits.
    Wait = 1 "wait",
    /// `futex`: wakes.
    Wake = 2 "wake",
    /// `futex`: has others wait elsewhere.
    Requeue = 3 "requeue",
    /// `epoll_ctl`: a descriptor more.
    Add = 4 "add",
    /// `epoll_ctl`: another interest.
    Modify = 5 "mod",
    /// `epoll_ctl`: a descriptor less.
    Delete = 6 "del",
    /// `fcntl`: a descriptor more.
    Duplicate = 7 "dup",
    /// `fcntl`: locks.
    Lock = 8 "lock",
    /// `futex` or `fcntl`: something else.
    Otherwise = 9 "other",
    /// `open`: perhaps a new file.
    Create = 10 "create",
    /// `open`: a new file or none.
    Exclusive = 11 "exclusive",
    /// `open`: a file that is there.
    Plain = 12 "plain",
    /// `clone`: a thread.
    Thread = 13 "thread",
    /// `clone`: a process.
    Process = 14 "process",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for one in Kind::ALL {
            assert_eq!(one.name().parse(), Ok(*one));
            assert_eq!(Kind::of(*one as u16), Some(*one));
        }
        for one in Operation::ALL {
            assert_eq!(one.name().parse(), Ok(*one));
            assert_eq!(Operation::of(*one as u16), Some(*one));
        }
        let error = "pip".parse::<Kind>().unwrap_err().to_string();
        assert!(
            error.contains("\"pip\"") && error.contains("pipe, tcp"),
            "{error}"
        );
        assert_eq!((Kind::of(0), Kind::of(16)), (None, None));
    }
}
