//! A hook is where the kernel asks its security modules about some calls: once for each of them.

use std::collections::BTreeSet;

use crate::{
    failures::{Cover, Hooks, Sight},
    syscalls::Call,
};

/// One of them, the same as in `bpf/failing_hooks.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// A file is opened, or before one that is opened is made.
    Open = 1,
    /// Before something is read by a descriptor.
    Read,
    /// Before something is written by one.
    Write,
    /// Before memory is mapped.
    Map,
    /// Before a file is cut.
    Truncate,
    /// Before a file is locked.
    Lock,
    /// Before a file is described.
    Stat,
    /// Before a link is read.
    Readlink,
    /// Before a name is taken away.
    Unlink,
    /// Before a directory is made.
    Mkdir,
    /// Before a node is made.
    Mknod,
    /// Before a file has one more name.
    Link,
    /// Before a link is made.
    Symlink,
    /// Before something has another name.
    Rename,
    /// Before permissions change.
    Chmod,
    /// Before an owner changes.
    Chown,
    /// Before a socket is made.
    Socket,
    /// When a pair of sockets is made: they go again.
    Socketpair,
    /// Before a connection is asked for.
    Connect,
    /// Before a socket has an address.
    Bind,
    /// Before a socket listens.
    Listen,
    /// Before somebody waits for a connection.
    Accept,
    /// Before something is sent.
    Send,
    /// Before somebody waits for what is sent to him.
    Receive,
    /// Before a connection is shut.
    Shutdown,
    /// Before a process or a thread is born.
    Clone,
    /// Before a program is executed, once it was found.
    Execute,
}

use Hook::{
    Accept, Bind, Chmod, Chown, Clone as Birth, Connect, Execute, Link, Listen, Lock, Map, Mkdir,
    Mknod, Open, Read, Readlink, Receive, Rename, Send as Sends, Shutdown, Socket, Socketpair,
    Stat, Symlink, Truncate, Unlink, Write,
};

impl Hook {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Open, Read, Write, Map, Truncate, Lock, Stat, Readlink, Unlink, Mkdir, Mknod, Link,
        Symlink, Rename, Chmod, Chown, Socket, Socketpair, Connect, Bind, Listen, Accept, Sends,
        Receive, Shutdown, Birth, Execute,
    ];

    /// The calls that it decides about.
    pub fn calls(self) -> &'static [&'static str] {
        match self {
            Open => &["open", "openat", "openat2", "creat"],
            Read => &[
                "read",
                "readv",
                "pread64",
                "preadv",
                "preadv2",
                "getdents",
                "getdents64",
            ],
            Write => &[
                "write",
                "writev",
                "pwrite64",
                "pwritev",
                "pwritev2",
                "fallocate",
            ],
            Map => &["mmap"],
            Truncate => &["truncate", "ftruncate"],
            Lock => &["flock", "fcntl"],
            Stat => &["stat", "lstat", "fstat", "newfstatat", "statx"],
            Readlink => &["readlink", "readlinkat"],
            Unlink => &["unlink", "unlinkat", "rmdir"],
            Mkdir => &["mkdir", "mkdirat"],
            Mknod => &["mknod", "mknodat"],
            Link => &["link", "linkat"],
            Symlink => &["symlink", "symlinkat"],
            Rename => &["rename", "renameat", "renameat2"],
            Chmod => &["chmod", "fchmod", "fchmodat"],
            Chown => &["chown", "fchown", "lchown", "fchownat"],
            Socket => &["socket"],
            Socketpair => &["socketpair"],
            Connect => &["connect"],
            Bind => &["bind"],
            Listen => &["listen"],
            Accept => &["accept", "accept4"],
            Sends => &["sendto", "sendmsg", "sendmmsg"],
            Receive => &["recvfrom", "recvmsg", "recvmmsg"],
            Shutdown => &["shutdown"],
            Birth => &["clone", "clone3", "fork", "vfork"],
            Execute => &["execve", "execveat"],
        }
    }

    /// The kernel's functions that ask there, by the names of their programs. Those that not every kernel has come last, as
    /// many as [`Self::optional`] says.
    pub(super) fn functions(self) -> &'static [&'static str] {
        match self {
            Open => &["file_open", "path_mknod"],
            Read | Write => &["file_permission"],
            Map => &["mmap_file"],
            Truncate => &["path_truncate", "file_truncate"],
            Lock => &["file_lock"],
            Stat => &["inode_getattr"],
            Readlink => &["inode_readlink"],
            Unlink => &["path_unlink", "path_rmdir"],
            Mkdir => &["path_mkdir"],
            Mknod => &["path_mknod"],
            Link => &["path_link"],
            Symlink => &["path_symlink"],
            Rename => &["path_rename"],
            Chmod => &["path_chmod"],
            Chown => &["path_chown"],
            Socket => &["socket_create"],
            Socketpair => &["socket_socketpair"],
            Connect => &["socket_connect"],
            Bind => &["socket_bind"],
            Listen => &["socket_listen"],
            Accept => &["socket_accept"],
            Sends => &["socket_sendmsg"],
            Receive => &["socket_recvmsg"],
            Shutdown => &["socket_shutdown"],
            Birth => &["task_alloc"],
            Execute => &["bprm_creds_for_exec"],
        }
    }

    /// Before Linux 6.2 both ways to cut a file come by the first function.
    pub(super) fn optional(self) -> usize {
        usize::from(self == Truncate)
    }
}

/// The functions of some hooks, each once, and whether the kernel may lack it.
pub(super) fn functions_of(
    hooks: impl IntoIterator<Item = Hook>,
) -> BTreeSet<(&'static str, bool)> {
    let functions = hooks.into_iter().flat_map(|hook| {
        let needed = hook.functions().len() - hook.optional();
        let places = hook.functions().iter().enumerate();
        places.map(move |(place, function)| (*function, place >= needed))
    });
    functions.collect()
}

impl Hooks for Hook {
    const ENGINE: &'static str = super::ENGINE;

    fn of(call: Call) -> Option<Self> {
        let name = call.name()?;
        Self::ALL
            .into_iter()
            .find(|hook| hook.calls().contains(&name))
    }

    fn number(self) -> u8 {
        self as u8
    }

    fn sees(self) -> &'static [Sight] {
        match self {
            Open | Read | Write | Lock => &[Sight::Kind, Sight::Device, Sight::Waiting],
            Map | Truncate => &[Sight::Kind, Sight::Device],
            Stat | Readlink | Unlink | Mkdir | Mknod | Link | Symlink | Rename | Chmod | Chown => {
                &[Sight::Device]
            }
            Connect | Bind | Listen | Accept | Sends | Receive | Shutdown => {
                &[Sight::Kind, Sight::Waiting]
            }
            Socket | Socketpair | Birth | Execute => &[],
        }
    }
}

/// Which hook decides about a call, and how much of it; none where the kernel asks no security module. Any errno will do.
pub fn covers(call: Call) -> Option<Cover<Hook>> {
    let hook = Hook::of(call)?;
    let part = match call.name()? {
        "fcntl" => Some("locks"),
        "open" | "openat" | "openat2" | "creat" => Some("of files that are there, or may be made"),
        "sendmmsg" => Some("by each message to another address than the one before"),
        "execve" | "execveat" => Some("of programs that are there"),
        _ => None,
    };
    Some(Cover { hook, part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_one_hook_and_a_name_that_is_known() {
        for (place, hook) in (1..).zip(Hook::ALL) {
            assert_eq!(hook.number(), place);
            for name in hook.calls() {
                let call = Call::named(name).unwrap();
                assert_eq!(covers(call).map(|cover| cover.hook), Some(hook), "{name}");
            }
        }
        for name in ["fsync", "close", "lseek", "dup", "futex", "epoll_wait"] {
            assert_eq!(covers(Call::named(name).unwrap()), None, "{name}");
        }
    }

    #[test]
    fn a_function_that_two_hooks_share_is_there_once() {
        assert_eq!(
            functions_of([Read, Write]),
            [("file_permission", false)].into()
        );
        assert_eq!(
            functions_of([Truncate]),
            [("path_truncate", false), ("file_truncate", true)].into()
        );
        // The programs tell hooks apart by the bits of a word.
        assert!(Hook::ALL.len() < 32);
    }
}
