//! System calls of some network namespaces, or of some processes there, are counted by what they return, and some of them
//! timed.
//!
//! They are counted in the kernel when they return, by namespace, call and errno; nothing is told of a single call. A call
//! belongs to whoever makes it, who is where he is at that time; Murphy's own processes are nobody's. Every call of every
//! process of the machine passes two programs as long as this is here: where the caller is not watched that is one look into
//! a map (docs/observe.md says what it costs). What is counted is bounded: beyond [`COUNTS_MAX`] combinations calls are
//! [lost](Syscalls::lost), and that is said.
//!
//! A call that begins again after a signal is counted each time ([`Errno::is_restart`]); `clone` and `fork` return twice, once in
//! the child; `execve` is counted as what it returns to the new program, and `exit` never. The kernel's end of a signal
//! handler (`rt_sigreturn`) is none.
//!
//! Needs Linux 5.11 with BTF (`CONFIG_DEBUG_INFO_BTF`), `CAP_BPF` and `CAP_PERFMON`, or root, in the machine's own pid
//! namespace. All of it is held by descriptors of this process and goes with it. See `bpf/syscalls.bpf.c`.

mod call;
mod errno;
mod took;
mod work;

pub use call::Call;
pub use errno::Errno;
pub use took::Took;
pub use work::{Timed, work};

use std::{fmt, io, path::Path};

use libbpf_rs::{Link, MapCore, MapFlags, Object, OpenObject};

use crate::{
    bpf,
    process::namespace_inode,
    program_runs::{self, ProgramRuns},
};

/// How many namespaces can be watched at a time.
pub const NAMESPACES_MAX: usize = 1024;
/// How many processes can be watched beside those of namespaces that are watched as a whole.
pub const PROCESSES_MAX: usize = 16384;
/// How many combinations of namespace, call and errno are told apart.
pub const COUNTS_MAX: usize = 8192;
/// How many combinations of namespace and call are timed.
pub const TIMES_MAX: usize = 2048;

/// How many numbers of calls there may be, the same as in `bpf/syscalls.bpf.c`.
const CALLS: usize = 512;
/// The inode of the first pid namespace, as every kernel numbers it.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Who of a namespace is watched.
const EVERYBODY: u8 = 1;
const SOME: u8 = 2;

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/syscalls.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why system calls cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum SyscallsError {
    /// The programs are not written for this architecture.
    #[error(
        "count system calls on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// The kernel does not describe its types.
    #[error(
        "count system calls: this kernel has no BTF, /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)"
    )]
    NoBtf,
    /// The kernel calls processes otherwise than Murphy does.
    #[error(
        "count system calls: Murphy runs in a pid namespace of its own, where processes have other numbers than the kernel's; run it in the machine's"
    )]
    PidNamespace,
    /// More namespaces than fit.
    #[error("count system calls: at most {NAMESPACES_MAX} network namespaces can be watched")]
    Namespaces,
    /// More processes than fit.
    #[error("count system calls: at most {PROCESSES_MAX} processes can be watched")]
    Processes,
    /// The number is none of a namespace.
    #[error("count system calls: {0} is the number of no network namespace")]
    NoNamespace(u64),
    /// The kernel refused the programs, a map, or their use.
    #[error(
        "count system calls: {what}: {source}; it needs Linux 5.11 with BPF and tracing of system calls, and CAP_BPF with CAP_PERFMON or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Calls that have returned the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Returned {
    /// The number of the network namespace for which they are counted.
    pub namespace: u64,
    /// Which call.
    pub call: Call,
    /// Why they have failed; none where they have not.
    pub errno: Option<Errno>,
    /// How many.
    pub calls: u64,
}

/// Calls that were timed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasted {
    /// The number of the network namespace for which they are timed.
    pub namespace: u64,
    /// Which call.
    pub call: Call,
    /// How long they took, whether they failed or not.
    pub took: Took,
}

/// Counts system calls as long as it is here.
pub struct Syscalls {
    /// Dropped before what they belong to.
    _links: Vec<Link>,
    object: Object,
}

// SAFETY: libbpf binds neither the links nor the object to a thread, and no other owner of the pointers inside is left
// outside: `Syscalls` gives none of them away.
unsafe impl Send for Syscalls {}

impl fmt::Debug for Syscalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syscalls").finish_non_exhaustive()
    }
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> SyscallsError {
    move |error| SyscallsError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

fn missing(what: &'static str) -> SyscallsError {
    SyscallsError::Refused {
        what,
        source: io::ErrorKind::NotFound.into(),
    }
}

/// A key of a map, with its value.
type Entry = (Vec<u8>, Vec<u8>);

/// The key of a namespace.
fn key_of(inode: u64) -> Result<[u8; 4], SyscallsError> {
    let key = u32::try_from(inode).map_err(|_| SyscallsError::NoNamespace(inode))?;
    Ok(key.to_ne_bytes())
}

impl Syscalls {
    /// Watches from now on; nobody, until a namespace or a process is added. The time of these calls is taken: of those
    /// that [work], perhaps.
    ///
    /// [work]: work()
    pub fn watch(timed: &[(Call, Timed)]) -> Result<Self, SyscallsError> {
        let object = OBJECT.ok_or(SyscallsError::Architecture)?;
        if namespace_inode(std::process::id(), "pid").ok() != Some(FIRST_PID_NAMESPACE) {
            return Err(SyscallsError::PidNamespace);
        }
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(SyscallsError::NoBtf);
        }
        let mut object = bpf::open(object).map_err(refused("read the BPF programs"))?;
        ask(&mut object, timed)?;
        let object = bpf::load(object).map_err(|source| SyscallsError::Refused {
            what: "load the BPF programs",
            source,
        })?;
        // Where nothing is timed nobody pays for knowing when a call begins.
        let programs = object.progs_mut();
        let programs = programs.filter(|one| !timed.is_empty() || one.name() != "murphy_call");
        let links = programs.map(|program| program.attach_trace());
        let links: Result<Vec<Link>, _> = links.collect();
        let all = Self {
            _links: links.map_err(refused("attach the BPF programs"))?,
            object,
        };
        all.learn_own()?;
        Ok(all)
    }

    /// Has the programs see this process, so that they know all others that run the same program.
    fn learn_own(&self) -> Result<(), SyscallsError> {
        let Ok(inode) = namespace_inode(std::process::id(), "net") else {
            // Without /proc nobody could name it as a target, either.
            return Ok(());
        };
        let (namespaces, key) = (self.map("namespaces")?, key_of(inode)?);
        let added = namespaces.update(&key, &[SOME], MapFlags::ANY);
        added.map_err(refused("tell the BPF programs"))?;
        // Any call will do.
        let _ = rustix::process::getppid();
        bpf::forget(&namespaces, &key).map_err(refused("tell the BPF programs"))
    }

    /// Watches everybody in a network namespace, by its [number](crate::namespace::NetNamespace::inode), from now on.
    pub fn watch_namespace(&mut self, inode: u64) -> Result<(), SyscallsError> {
        self.add_namespace(inode, EVERYBODY)
    }

    /// Watches only those of a network namespace that are [added](Self::watch_process), from now on.
    pub fn watch_members(&mut self, inode: u64) -> Result<(), SyscallsError> {
        self.add_namespace(inode, SOME)
    }

    /// Watches a process of a network namespace in which others are, too; its children are others.
    pub fn watch_process(&mut self, inode: u64, pid: u32) -> Result<(), SyscallsError> {
        self.add_namespace(inode, SOME)?;
        let watched = self.map("processes")?;
        let added = watched.update(&pid.to_ne_bytes(), &key_of(inode)?, MapFlags::ANY);
        added.map_err(|error| match error.kind() {
            libbpf_rs::ErrorKind::TooBig => SyscallsError::Processes,
            _ => refused("tell the BPF programs")(error),
        })
    }

    fn add_namespace(&self, inode: u64, who: u8) -> Result<(), SyscallsError> {
        let watched = self.map("namespaces")?;
        let added = watched.update(&key_of(inode)?, &[who], MapFlags::ANY);
        added.map_err(|error| match error.kind() {
            libbpf_rs::ErrorKind::TooBig => SyscallsError::Namespaces,
            _ => refused("tell the BPF programs")(error),
        })
    }

    /// Watches a process no longer.
    pub fn forget_process(&mut self, pid: u32) -> Result<(), SyscallsError> {
        bpf::forget(&self.map("processes")?, &pid.to_ne_bytes())
            .map_err(refused("tell the BPF programs"))
    }

    /// Watches nobody of a namespace any longer, and forgets what was counted there.
    pub fn forget_namespace(&mut self, inode: u64) -> Result<(), SyscallsError> {
        let Ok(key) = key_of(inode) else {
            return Ok(());
        };
        let tell = refused("tell the BPF programs");
        bpf::forget(&self.map("namespaces")?, &key).map_err(&tell)?;
        for name in ["counts", "times"] {
            let map = self.map(name)?;
            let known: Vec<Vec<u8>> = map.keys().filter(|one| one.starts_with(&key)).collect();
            for one in known {
                bpf::forget(&map, &one).map_err(&tell)?;
            }
        }
        Ok(())
    }

    /// All that has returned since it is watched, in order.
    pub fn returned(&self) -> Result<Vec<Returned>, SyscallsError> {
        let entries = self.entries("counts", COUNTS_MAX)?;
        let all = entries.iter().filter_map(|(key, calls)| {
            let (namespace, call, errno) = read_key(key)?;
            let calls = u64::from_ne_bytes(calls.as_slice().try_into().ok()?);
            Some(Returned {
                namespace,
                call,
                errno,
                calls,
            })
        });
        let mut all: Vec<Returned> = all.collect();
        all.sort_unstable();
        Ok(all)
    }

    /// How long all that were timed took since they are watched, in order.
    pub fn lasted(&self) -> Result<Vec<Lasted>, SyscallsError> {
        let entries = self.entries("times", TIMES_MAX)?;
        let all = entries.iter().filter_map(|(key, took)| {
            let (namespace, call, _) = read_key(key)?;
            Some(Lasted {
                namespace,
                call,
                took: Took::read(took)?,
            })
        });
        let mut all: Vec<Lasted> = all.collect();
        all.sort_unstable_by_key(|one| (one.namespace, one.call));
        Ok(all)
    }

    fn entries(&self, name: &str, most: usize) -> Result<Vec<Entry>, SyscallsError> {
        // Room for one more than there is, so that one call sees that there is none.
        let room = u32::try_from(most).unwrap_or(u32::MAX - 1) + 1;
        let map = self.map(name)?;
        let all = map
            .lookup_batch(room, MapFlags::ANY, MapFlags::ANY)
            .map_err(refused("ask the BPF programs"))?;
        Ok(all.collect())
    }

    /// How many calls could not be counted, or not be timed, because there was no place for them.
    pub fn lost(&self) -> u64 {
        bpf::lost(&self.object)
    }

    /// How often the programs have run, and for how long, while somebody [counts](crate::program_runs::Counting).
    pub fn runs(&self) -> Vec<ProgramRuns> {
        program_runs::of(&self.object)
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, SyscallsError> {
        let found = self.object.maps().find(|map| map.name() == name);
        found.ok_or_else(|| missing("find a BPF map"))
    }
}

/// Says what the programs are asked, as they have it in `asked`.
fn ask(object: &mut OpenObject, timed: &[(Call, Timed)]) -> Result<(), SyscallsError> {
    let mut is_timed = [0; CALLS];
    for (call, how) in timed {
        if let Some(place) = is_timed.get_mut(usize::from(call.number())) {
            *place = *how as u8;
        }
    }
    let mut asked = std::process::id().to_ne_bytes().to_vec();
    asked.extend(is_timed);
    // What is unused, and what is new.
    asked.resize(asked.len() + 4 + (took::BUCKETS + 2) * 8, 0);
    for mut map in object.maps_mut() {
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&asked)
                .map_err(refused("prepare the BPF programs"))?;
        }
    }
    Ok(())
}

/// Asks this kernel whether system calls can be counted: none are.
pub fn trial() -> Result<(), SyscallsError> {
    Syscalls::watch(&[]).map(drop)
}

/// What the key of an entry says, the same as in `bpf/syscalls.bpf.c`.
fn read_key(key: &[u8]) -> Option<(u64, Call, Option<Errno>)> {
    let (namespace, rest) = key.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (error, _) = rest.split_first_chunk()?;
    Some((
        u32::from_ne_bytes(*namespace).into(),
        Call::of(u16::from_ne_bytes(*number)),
        Errno::of(u16::from_ne_bytes(*error)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_what_and_why() {
        let mut key = 0xf000_0001_u32.to_ne_bytes().to_vec();
        key.extend(Call::named("fsync").unwrap().number().to_ne_bytes());
        key.extend(5_u16.to_ne_bytes());
        let (namespace, call, errno) = read_key(&key).unwrap();
        assert_eq!(namespace, 0xf000_0001);
        assert_eq!(call.name(), Some("fsync"));
        assert_eq!(errno, Errno::named("EIO"));
        assert_eq!(read_key(&key[..7]), None);
    }
}
