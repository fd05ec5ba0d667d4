//! A namespace is a private copy of one part of the kernel's world: here of the network and of the mounts.
//!
//! Those made here have no name and no file, unless they are given one: the kernel ends one, with every link and
//! mount in it, when the last process inside and the last descriptor are gone. Nothing is left for anybody to clean.
//!
//! Needs `CAP_SYS_ADMIN`. See `namespaces(7)`, `network_namespaces(7)`, `mount_namespaces(7)`.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

/// `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

/// Why a namespace could not be made or entered.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The kernel refused to make one.
    #[error("create a {kind} namespace: {source} (needs CAP_SYS_ADMIN; run as root)")]
    Create {
        /// `network` or `mount`.
        kind: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file is not one.
    #[error("open the network namespace {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused the thread.
    #[error("enter a {kind} namespace: {source} (needs CAP_SYS_ADMIN; run as root)")]
    Enter {
        /// `network` or `mount`.
        kind: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The name was refused.
    #[error("name a network namespace {}: {source}", path.display())]
    Name {
        /// The file that was to be its name.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The private file system was refused.
    #[error("mount a tmpfs of {bytes} bytes on {path}: {source}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A network namespace without a name.
#[derive(Clone, Debug)]
pub struct NetNamespace(Arc<OwnedFd>);

impl NetNamespace {
    /// Makes a new one, with nothing in it but a loopback interface that is down.
    pub fn create() -> Result<Self, NamespaceError> {
        let make = || -> io::Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        };
        on_own_thread(make)
            .map(|fd| Self(Arc::new(fd)))
            .map_err(|source| NamespaceError::Create {
                kind: "network",
                source,
            })
    }

    /// The one that a file stands for: `/proc/PID/ns/net`, or one that `ip netns` has named.
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        let refused = |source| NamespaceError::Open {
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(refused)?;
        // NS_GET_NSTYPE answers for namespaces only.
        match ioctl_ns_type(&file) {
            Ok(kind) if kind == CloneFlags::CLONE_NEWNET.bits() => Ok(Self(Arc::new(file.into()))),
            _ => Err(refused(io::Error::other("it is no network namespace"))),
        }
    }

    /// The one that a process is in.
    pub fn of_process(pid: u32) -> Result<Self, NamespaceError> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// The one of this number, by whoever keeps it alive: a thread, a mount, or, asked last, an open file. None where
    /// nobody does that this process may look at; such a one has nothing in it that could be reached.
    pub fn find(inode: u64) -> Option<Self> {
        let is_it = |found: &Self| found.inode().is_ok_and(|number| number == inode);
        let wanted = PathBuf::from(format!("net:[{inode}]"));
        let at = |path: &Path| {
            let leads_there = std::fs::read_link(path).is_ok_and(|link| link == wanted);
            if leads_there {
                Self::open(path).ok().filter(is_it)
            } else {
                None
            }
        };
        let processes = || entries(Path::new("/proc")).filter(|path| is_number(path));
        let threads = processes().flat_map(|process| entries(&process.join("task")));
        threads
            .map(|thread| thread.join("ns/net"))
            .find_map(|path| at(&path))
            .or_else(|| {
                let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
                let files = mounts.lines().filter_map(|line| {
                    let mut words = line.split(' ').skip(3);
                    let (root, point) = (words.next()?, words.next()?);
                    (Path::new(root) == wanted).then(|| PathBuf::from(point))
                });
                files.filter_map(|file| Self::open(&file).ok()).find(is_it)
            })
            .or_else(|| {
                processes()
                    .flat_map(|process| entries(&process.join("fd")))
                    .find_map(|path| at(&path))
            })
    }

    /// Names it: from now on the file at `path`, which must not exist yet, stands for it and keeps it alive, as
    /// `ip netns add` does it. Only [`unname`] ends that.
    pub fn name(&self, path: &Path) -> Result<(), NamespaceError> {
        let named = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|_| {
                let own = format!("/proc/self/fd/{}", self.0.as_raw_fd());
                let bind = MsFlags::MS_BIND;
                mount(Some(own.as_str()), path, None::<&str>, bind, None::<&str>)?;
                Ok(())
            });
        named.map_err(|source| NamespaceError::Name {
            path: path.into(),
            source,
        })
    }

    /// By what the kernel tells it from all others of this boot, `SO_NETNS_COOKIE` (Linux 5.14).
    pub fn cookie(&self) -> Result<io::Result<u64>, NamespaceError> {
        /// `include/uapi/asm-generic/socket.h`.
        const SO_NETNS_COOKIE: libc::c_int = 71;
        self.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let mut cookie = 0_u64;
            let mut bytes: libc::socklen_t = 8;
            // SAFETY: the answer is a number of eight bytes, for which there is room, and is written before the call
            // returns.
            let got = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    SO_NETNS_COOKIE,
                    (&raw mut cookie).cast(),
                    &raw mut bytes,
                )
            };
            if got < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(cookie)
        })
    }

    /// Its number, which no other namespace of this kernel has while this one lives.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(self)?.st_ino)
    }

    /// Moves the calling thread into it, for good. Whoever is there already stays, and needs no privilege for that.
    pub fn enter(&self) -> Result<(), NamespaceError> {
        if self.is_here() {
            return Ok(());
        }
        setns(self.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| NamespaceError::Enter {
            kind: "network",
            source: errno.into(),
        })
    }

    /// Whether the calling thread is in it.
    fn is_here(&self) -> bool {
        let here = rustix::fs::stat("/proc/thread-self/ns/net").map(|stat| stat.st_ino);
        here.is_ok_and(|here| self.inode().is_ok_and(|inode| inode == here))
    }

    /// Runs `work` on a thread of its own inside the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        on_own_thread(|| self.enter().map(|()| work()))
    }

    /// The shared descriptor, for [`crate::spawn::Launch`].
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0)
    }
}

impl AsFd for NetNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes a name off the network namespace with this number, or off none: a file that is empty and stands for
/// nothing is what a naming that was cut short leaves. False when the name stands for something else, which
/// keeps it.
pub fn unname(path: &Path, inode: u64) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let meta = path.symlink_metadata()?;
    let kind = File::open(path).and_then(|file| ioctl_ns_type(&file));
    let is_namespace = kind.is_ok_and(|kind| kind == CloneFlags::CLONE_NEWNET.bits());
    if is_namespace && meta.ino() == inode {
        umount2(path, MntFlags::MNT_DETACH)?;
    } else if is_namespace || !meta.is_file() || meta.len() > 0 {
        return Ok(false);
    }
    std::fs::remove_file(path)?;
    Ok(true)
}

/// A mount namespace without a name, with one private tmpfs in it.
#[derive(Clone, Debug)]
pub struct MountNamespace(Arc<OwnedFd>);

impl MountNamespace {
    /// Makes a copy of the caller's mounts that still follows what the host mounts and unmounts, and
    /// mounts a tmpfs of at most `bytes` bytes over `path`, seen only inside.
    pub fn with_tmpfs(path: &Path, bytes: u64) -> Result<Self, NamespaceError> {
        let make = || -> Result<OwnedFd, NamespaceError> {
            let refused = |source| NamespaceError::Create {
                kind: "mount",
                source,
            };
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
                .map_err(|e| refused(e.into()))?;
            mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_SLAVE,
                None::<&str>,
            )
            .map_err(|e| refused(e.into()))?;
            mount(
                Some("murphy"),
                path,
                Some("tmpfs"),
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
                Some(format!("size={bytes},mode=0700").as_str()),
            )
            .map_err(|e| NamespaceError::Mount {
                path: path.into(),
                bytes,
                source: e.into(),
            })?;
            Ok(File::open("/proc/thread-self/ns/mnt")
                .map_err(refused)?
                .into())
        };
        on_own_thread(make).map(|fd| Self(Arc::new(fd)))
    }

    /// Runs `work` on a thread of its own that sees the namespace's mounts.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        let refused = |errno: nix::Error| NamespaceError::Enter {
            kind: "mount",
            source: errno.into(),
        };
        on_own_thread(|| {
            // A thread shares its root and working directory with the others; setns wants its own.
            unshare(CloneFlags::CLONE_FS).map_err(refused)?;
            setns(self.0.as_fd(), CloneFlags::CLONE_NEWNS).map_err(refused)?;
            Ok(work())
        })
    }

    /// The shared descriptor, for [`crate::spawn::Launch`].
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0)
    }
}

/// What a folder holds; nothing where it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.path())
}

fn is_number(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Which kind of namespace a file stands for; see `ioctl_ns(2)`.
fn ioctl_ns_type(file: &File) -> io::Result<i32> {
    // SAFETY: the call takes no argument and writes no memory.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(kind)
}

/// Runs `work` on a fresh thread, so that a change of namespace ends with it.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_namespace_is_found_by_its_number_as_long_as_somebody_keeps_it() {
        let Ok(made) = NetNamespace::create() else {
            use std::io::Write;
            let _ = io::stderr().write_all(b"skipped: network namespaces\n");
            return;
        };
        let mine = made.inode().unwrap();
        let found = NetNamespace::find(mine).expect("by an open file");
        assert_eq!(found.inode().unwrap(), mine);
        drop(found);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mphy-test");
        made.name(&path).unwrap();
        drop(made);
        assert!(NetNamespace::find(mine).is_some(), "by its name");
        assert!(unname(&path, mine).unwrap());
        assert!(NetNamespace::find(mine).is_none(), "nobody keeps it");
        let here = NetNamespace::of_process(std::process::id()).unwrap();
        let here = here.inode().unwrap();
        assert!(NetNamespace::find(here).is_some(), "by a thread");
    }

    #[test]
    fn a_name_goes_once_and_only_from_the_namespace_that_it_was_given() {
        let (Ok(first), Ok(second)) = (NetNamespace::create(), NetNamespace::create()) else {
            use std::io::Write;
            let _ = io::stderr().write_all(b"skipped: network namespaces\n");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mphy-test");
        let (mine, others) = (first.inode().unwrap(), second.inode().unwrap());
        first.name(&path).unwrap();
        assert!(second.name(&path).is_err(), "a name is given once");
        assert_eq!(NetNamespace::open(&path).unwrap().inode().unwrap(), mine);
        assert!(!unname(&path, others).unwrap());
        assert!(unname(&path, mine).unwrap());
        let gone = unname(&path, mine).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        fs::write(&path, "").unwrap();
        assert!(unname(&path, mine).unwrap(), "a naming cut short");
        fs::write(&path, "somebody's").unwrap();
        assert!(!unname(&path, mine).unwrap());
        assert!(path.exists());
    }
}
