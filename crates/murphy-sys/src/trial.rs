//! A trial asks the kernel whether it does something, by doing it where it leaves no trace.
//!
//! Namespaces are tried in a child that ends at once and takes them with it: what a version number or a
//! configuration file promises, a security module or a container may still forbid. See `unshare(2)`.

use std::io;

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};
use rustix::thread::UnshareFlags;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Interfaces, addresses, routes, ports.
    Net,
    /// Mounts.
    Mount,
    /// Process ids.
    Pid,
    /// Offsets of the monotonic and boottime clocks.
    Time,
    /// Host name.
    Uts,
    /// Message queues and shared memory.
    Ipc,
    /// The root of the cgroup tree.
    Cgroup,
    /// Users and capabilities.
    User,
}

impl Namespace {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Net,
        Self::Mount,
        Self::Pid,
        Self::Time,
        Self::Uts,
        Self::Ipc,
        Self::Cgroup,
        Self::User,
    ];

    /// Its name as in `/proc/PID/ns`, but for mounts in full.
    pub fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Cgroup => "cgroup",
            Self::User => "user",
        }
    }

    fn flag(self) -> UnshareFlags {
        match self {
            Self::Net => UnshareFlags::NEWNET,
            Self::Mount => UnshareFlags::NEWNS,
            Self::Pid => UnshareFlags::NEWPID,
            Self::Time => UnshareFlags::NEWTIME,
            Self::Uts => UnshareFlags::NEWUTS,
            Self::Ipc => UnshareFlags::NEWIPC,
            Self::Cgroup => UnshareFlags::NEWCGROUP,
            Self::User => UnshareFlags::NEWUSER,
        }
    }

    /// Makes one in a child, which ends at once.
    pub fn trial(self) -> io::Result<()> {
        unshare_in_child(self.flag())
    }

    /// Makes one inside a new user namespace, as somebody who is not root must.
    pub fn trial_as_user(self) -> io::Result<()> {
        unshare_in_child(UnshareFlags::NEWUSER | self.flag())
    }
}

fn unshare_in_child(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the child makes two system calls and nothing else: it allocates nothing, takes no lock and
    // runs no destructor of the parent's, as fork(2) demands of a process that may have threads.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // SAFETY: the child holds no descriptors or memory that rely on the namespaces it leaves.
            let code = match unsafe { rustix::thread::unshare_unsafe(flags) } {
                Ok(()) => 0,
                Err(errno) => errno.raw_os_error(),
            };
            // SAFETY: `_exit` ends the child without running anything registered by the parent.
            unsafe { nix::libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            other => Err(io::Error::other(format!("the trial ended with {other:?}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_the_caller_where_it_was() {
        let inode = || crate::process::namespace_inode(std::process::id(), "net").unwrap();
        let before = inode();
        let _ = Namespace::Net.trial();
        let _ = Namespace::User.trial();
        assert_eq!(inode(), before);
    }
}
