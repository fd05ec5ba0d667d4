//! A census counts all system calls of a family of processes: by call, by what they are asked to do, by what their descriptor
//! leads to, and by what they return.
//!
//! They are counted in the kernel when they return, and nothing is told of a single call. What is counted is never taken
//! away, so that no call falls between two looks. The family is who is [added](Census::add) and all who are born by it, from
//! their first call on. Other processes of the machine pay for a look at one bit each time they return from a call, and for
//! the way there that the kernel takes as soon as anybody looks at calls (docs/amplify.md says what that comes to).
//!
//! A call that a signal has interrupted is counted each time it begins again ([`Errno::is_restart`]); `clone` and `fork` return
//! once here, in the parent; `execve` is counted as what it returns to the new program, and `exit` never. Behind `close`
//! nobody knows what the descriptor led to.
//!
//! Needs Linux 5.12 with BTF (`CONFIG_DEBUG_INFO_BTF`), `CAP_BPF` and `CAP_PERFMON`, or root, in the machine's own pid
//! namespace. All of it is held by descriptors of this process and goes with it. See `bpf/census.bpf.c`.

mod described;
mod key;
mod members;

pub use described::{calls_with, has_kind, operations};
pub use key::{Kind, Operation, Unnamed};

use std::{fmt, io, path::Path};

use libbpf_rs::{Link, MapCore, MapFlags, Object, OpenObject};

use crate::{
    bpf,
    process::namespace_inode,
    program_runs::{self, ProgramRuns},
    syscalls::{Call, Errno},
};

/// How many combinations of call, operation, kind and errno are told apart.
pub const COUNTS_MAX: usize = 8192;
/// Beyond all pids (`/proc/sys/kernel/pid_max` at most).
const PIDS_MAX: u32 = 1 << 22;
/// How many numbers of calls there may be, the same as in `bpf/census.bpf.c`.
const CALLS: usize = 512;
/// The inode of the first pid namespace, as every kernel numbers it.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/census.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why calls cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum CensusError {
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
    /// No kernel has such a pid.
    #[error("count system calls: no process has the pid {0}")]
    NoPid(u32),
    /// The kernel refused the programs, a map, or their use.
    #[error(
        "count system calls: {what}: {source}; it needs Linux 5.12 with BPF and tracing of system calls, and CAP_BPF with CAP_PERFMON or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What calls are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which call.
    pub call: Call,
    /// What it is asked to do, where that is told apart.
    pub operation: Option<Operation>,
    /// What its descriptor leads to; none where it has none, or one that leads to nothing.
    pub kind: Option<Kind>,
    /// Whether it returns at once where it would have to wait (`O_NONBLOCK`, `MSG_DONTWAIT`); none without a descriptor.
    pub nonblocking: Option<bool>,
    /// Why it has failed; none where it has not.
    pub errno: Option<Errno>,
}

/// Calls that were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which.
    pub key: Key,
    /// How many.
    pub calls: u64,
    /// How long they took together, in nanoseconds; 0 where that is not taken.
    pub took_ns: u64,
}

/// Whether the time of calls is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// That calls begin costs nobody anything.
    Untaken,
    /// Each call of a family is looked at twice.
    Taken,
}

/// How many have come and gone since the census has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// Born into the family.
    pub born: u64,
    /// Died in it.
    pub died: u64,
}

/// Counts calls as long as it is here.
pub struct Census {
    /// Dropped before what they belong to.
    _links: Vec<Link>,
    members: members::Members,
    object: Object,
}

// SAFETY: libbpf binds neither the links nor the object to a thread, and no other owner of the pointers inside is left
// outside: `Census` gives none of them away.
unsafe impl Send for Census {}

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Census").finish_non_exhaustive()
    }
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> CensusError {
    move |error| CensusError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

impl Census {
    /// Begins with nobody.
    pub fn begin(times: Times) -> Result<Self, CensusError> {
        let object = OBJECT.ok_or(CensusError::Architecture)?;
        if namespace_inode(std::process::id(), "pid").ok() != Some(FIRST_PID_NAMESPACE) {
            return Err(CensusError::PidNamespace);
        }
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(CensusError::NoBtf);
        }
        let mut object = bpf::open(object).map_err(refused("read the BPF programs"))?;
        describe(&mut object)?;
        let unused: &[&str] = match times {
            Times::Untaken => &["murphy_begins", "murphy_took"],
            Times::Taken => &["murphy_returned"],
        };
        for mut program in object.progs_mut() {
            let is_unused = unused.iter().any(|name| program.name() == *name);
            program.set_autoload(!is_unused);
        }
        let object = bpf::load(object).map_err(|source| CensusError::Refused {
            what: "load the BPF programs",
            source,
        })?;
        let family = map(&object, "family")?;
        let members = members::Members::of(&family).map_err(|source| CensusError::Refused {
            what: "map the family",
            source,
        })?;
        let programs = object.progs_mut();
        let programs = programs.filter(|one| unused.iter().all(|name| one.name() != *name));
        let links: Result<Vec<Link>, _> = programs.map(|program| program.attach_trace()).collect();
        Ok(Self {
            _links: links.map_err(refused("attach the BPF programs"))?,
            members,
            object,
        })
    }

    /// Takes a process in, with all whom it bears from then on. Those born before are to be added, too.
    pub fn add(&mut self, pid: u32) -> Result<(), CensusError> {
        self.members.add(pid)
    }

    /// Takes a process out; its children stay.
    pub fn remove(&mut self, pid: u32) -> Result<(), CensusError> {
        self.members.remove(pid)
    }

    /// The pids of everyone who lives in the family, in order.
    pub fn members(&self) -> Vec<u32> {
        self.members.all().collect()
    }

    /// All that was counted since the census has begun, in order.
    pub fn counted(&self) -> Result<Vec<Counted>, CensusError> {
        let counts = self.map("counts")?;
        let mut all = Vec::new();
        for key in counts.keys() {
            let of_processors = counts
                .lookup_percpu(&key, MapFlags::ANY)
                .map_err(refused("ask the BPF programs"))?;
            if let Some(key) = read_key(&key) {
                let (calls, took_ns) = sum(&of_processors.unwrap_or_default());
                all.push(Counted {
                    key,
                    calls,
                    took_ns,
                });
            }
        }
        all.sort_unstable_by_key(|one| one.key);
        Ok(all)
    }

    /// How many calls could not be counted, and processes not be followed, because there was no place for them.
    pub fn lost(&self) -> u64 {
        bpf::lost(&self.object)
    }

    /// How many have come and gone.
    pub fn lives(&self) -> Lives {
        Lives {
            born: bpf::count(&self.object, 1),
            died: bpf::count(&self.object, 2),
        }
    }

    /// How often the programs have run, and for how long, while somebody [counts](crate::program_runs::Counting).
    pub fn runs(&self) -> Vec<ProgramRuns> {
        program_runs::of(&self.object)
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, CensusError> {
        map(&self.object, name)
    }
}

fn map<'a>(object: &'a Object, name: &str) -> Result<libbpf_rs::Map<'a>, CensusError> {
    let found = object.maps().find(|map| map.name() == name);
    found.ok_or(CensusError::Refused {
        what: "find a BPF map",
        source: io::ErrorKind::NotFound.into(),
    })
}

/// Says what is to be known of each call, as the programs have it in `asked`.
fn describe(object: &mut OpenObject) -> Result<(), CensusError> {
    let mut of_call = [0; CALLS];
    for (call, how) in described::described() {
        if let Some(place) = of_call.get_mut(usize::from(call.number())) {
            *place = how;
        }
    }
    for mut map in object.maps_mut() {
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&of_call)
                .map_err(refused("prepare the BPF programs"))?;
        }
    }
    Ok(())
}

/// Asks this kernel whether calls can be counted: none are.
pub fn trial() -> Result<(), CensusError> {
    Census::begin(Times::Untaken).map(drop)
}

/// What each processor has counted, together: calls, and nanoseconds.
fn sum(of_processors: &[Vec<u8>]) -> (u64, u64) {
    let number = |bytes: &[u8], place: usize| {
        let bytes = bytes.get(8 * place..).and_then(|rest| rest.first_chunk());
        bytes.copied().map_or(0, u64::from_ne_bytes)
    };
    let all = of_processors.iter();
    all.fold((0, 0), |(calls, ns), one| {
        (calls + number(one, 0), ns + number(one, 1))
    })
}

/// What the key of an entry says, the same as in `bpf/census.bpf.c`.
fn read_key(key: &[u8]) -> Option<Key> {
    let (number, rest) = key.split_first_chunk()?;
    let (errno, rest) = rest.split_first_chunk()?;
    let ([kind, waits], rest) = rest.split_first_chunk()?;
    let (operation, _) = rest.split_first_chunk()?;
    Some(Key {
        call: Call::of(u16::from_ne_bytes(*number)),
        operation: Operation::of(u16::from_ne_bytes(*operation)),
        kind: Kind::of((*kind).into()),
        nonblocking: (*waits > 0).then_some(*waits == 2),
        errno: Errno::of(u16::from_ne_bytes(*errno)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_was_asked_of_what_and_why_it_failed() {
        let mut key = Call::named("recvfrom")
            .unwrap()
            .number()
            .to_ne_bytes()
            .to_vec();
        key.extend(11_u16.to_ne_bytes());
        key.extend([Kind::Tcp as u8, 2]);
        key.extend(0_u16.to_ne_bytes());
        let read = read_key(&key).unwrap();
        assert_eq!(read.call.name(), Some("recvfrom"));
        assert_eq!((read.kind, read.nonblocking), (Some(Kind::Tcp), Some(true)));
        assert_eq!((read.operation, read.errno), (None, Errno::named("EAGAIN")));
        assert_eq!(read_key(&key[..7]), None);
    }
}
