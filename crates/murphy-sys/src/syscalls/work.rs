//! Work is what a call is asked to do at once: how long that takes says how the machine does.
//!
//! A call that waits on purpose says nothing by its time, and is not here: what waits for somebody else (`read` of a pipe, a
//! terminal or a socket, `poll`, `epoll_wait`, `select`, `futex`, `accept`, `recvmsg`, `connect`, `wait4`, `flock`, `fcntl`,
//! whose locks wait), for a time (`nanosleep`), or for a signal (`pause`). Nor is what moves between a file and something else
//! (`sendfile`, `splice`), what makes processes (`clone`, `execve`), whose time is that of their memory, and what belongs to no file
//! and is always quick (`getpid`).

use super::Call;

/// When the time of a call is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// Each time.
    Always = 1,
    /// Where its first argument is a descriptor of a regular file, a directory or a block device: what else it leads to may
    /// wait for somebody.
    OfFiles = 2,
}

/// What is asked of a file system by a path, of all of them, or of memory that is a file's.
const BY_PATH: [&str; 40] = [
    // A FIFO waits to be opened, too; nobody opens one ten times in a few seconds.
    "open",
    "openat",
    "openat2",
    "creat",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "chmod",
    "fchmodat",
    "chown",
    "lchown",
    "fchownat",
    "utimensat",
    "truncate",
    "setxattr",
    "getxattr",
    "listxattr",
    "sync",
    "msync",
];

/// What is asked of a descriptor.
const BY_DESCRIPTOR: [&str; 24] = [
    "read",
    "pread64",
    "readv",
    "preadv",
    "preadv2",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "syncfs",
    "sync_file_range",
    "fallocate",
    "ftruncate",
    "getdents64",
    "fstat",
    "fchmod",
    "fchown",
    "fsetxattr",
    "fgetxattr",
    "copy_file_range",
    "lseek",
];

/// All calls of this architecture that are asked to work, with when their time is taken.
pub fn work() -> Vec<(Call, Timed)> {
    let by_path = BY_PATH.iter().map(|name| (name, Timed::Always));
    let by_descriptor = BY_DESCRIPTOR.iter().map(|name| (name, Timed::OfFiles));
    let all = by_path.chain(by_descriptor);
    // What an architecture has not is called otherwise there.
    all.filter_map(|(name, timed)| Some((Call::named(name)?, timed)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_on_purpose_is_no_work() {
        let all = work();
        for name in ["nanosleep", "futex", "epoll_pwait", "accept4", "wait4"] {
            let call = Call::named(name).unwrap();
            assert!(all.iter().all(|(one, _)| *one != call), "{name}");
        }
        let fsync = Call::named("fsync").unwrap();
        assert!(all.contains(&(fsync, Timed::OfFiles)));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(all.len(), BY_PATH.len() + BY_DESCRIPTOR.len());
    }
}
