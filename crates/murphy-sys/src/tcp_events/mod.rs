//! TCP events are what the kernel tells of the connections of some network namespaces: each change of state, each reset
//! that is sent and each that is received; and, where that is asked for, each retransmit, and with each change of state
//! what the connection has carried until then.
//!
//! They are evidence: a connection that was ended says so itself, by the number that `sock_diag` knows it by, and so does
//! its other end. An event belongs to the namespace of its socket, never to who happens to run. Nothing is disturbed, and
//! no packet is looked at: connections that neither open nor close cost nothing.
//!
//! Needs Linux 5.12 with BTF (`CONFIG_DEBUG_INFO_BTF`), `CAP_BPF` and `CAP_PERFMON`, or root. Resets for which there is no
//! socket, as a closed port sends them, are told of since Linux 6.10. All of it is held by descriptors of this process and
//! goes with it. See `bpf/tcp_events.bpf.c`.

mod event;

pub use event::{Figures, Kind, ResetReason, TcpEvent};

use std::{
    ffi::OsStr,
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
    time::Duration,
};

use libbpf_rs::{Link, MapCore, MapFlags, Object};

use crate::{
    bpf::{self, Ring},
    program_runs::{self, ProgramRuns},
    session,
};

/// How many namespaces can be watched at a time.
pub const NAMESPACES_MAX: usize = 1024;
/// How many ports or ranges of ports a filter holds.
pub const PORTS_MAX: usize = 64;
/// What waits to be taken, in bytes of the kernel's memory: what 14,500 connections have to say that end at once while both
/// their ends are watched, at four events each.
const RING_BYTES: usize = 4 << 20;
/// An event without figures, with the header that the ring gives it.
const RECORD_BYTES: usize = event::BYTES + 8;
/// How many events are taken at once, at most: so many a full ring holds.
const TAKEN_MAX: usize = RING_BYTES / RECORD_BYTES;

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(
    env!("OUT_DIR"),
    "/tcp_events.bpf.o"
)));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why connections cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum TcpEventsError {
    /// The programs are not written for this architecture.
    #[error(
        "watch connections on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// The kernel does not describe its types.
    #[error(
        "watch connections: this kernel has no BTF, /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)"
    )]
    NoBtf,
    /// More ports than fit.
    #[error("watch connections: at most {PORTS_MAX} ports or ranges of ports can be watched")]
    Ports,
    /// More namespaces than fit.
    #[error("watch connections: at most {NAMESPACES_MAX} network namespaces can be watched")]
    Namespaces,
    /// The number is none of a namespace.
    #[error("watch connections: {0} is the number of no network namespace")]
    NoNamespace(u64),
    /// The kernel refused a program, a map, or their use.
    #[error(
        "watch connections: {what}: {source}; it needs Linux 5.12 with BPF and tracing, and CAP_BPF with CAP_PERFMON or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It cannot be waited for events.
    #[error("wait for what connections say: {0}")]
    Wait(#[source] io::Error),
}

/// What is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The network namespaces, by their numbers; none means nothing, until one is [added](TcpEvents::watch_namespace).
    pub namespaces: Vec<u64>,
    /// Only connections with one of these ports on either side, the first and the last of each range; all where there are
    /// none.
    pub ports: Vec<(u16, u16)>,
    /// Whether [`TcpEvents::wait`] ends with each event. That costs more than all the rest; otherwise it ends when much
    /// is waiting, and whoever wants to know sooner takes what there is now and then.
    pub is_prompt: bool,
    /// Whether retransmits are told of, and changes of state have [`Figures`].
    pub is_measured: bool,
}

/// The programs that nobody needs who does not measure.
const MEASURING: [&str; 2] = ["murphy_retransmit", "murphy_synack_retransmit"];

impl Filter {
    /// As the programs want it.
    fn bytes(&self) -> Result<Vec<u8>, TcpEventsError> {
        if self.ports.len() > PORTS_MAX {
            return Err(TcpEventsError::Ports);
        }
        let count = u32::try_from(self.ports.len()).map_err(|_| TcpEventsError::Ports)?;
        let words = [self.is_prompt.into(), self.is_measured.into(), count];
        let mut bytes = words.map(u32::to_ne_bytes).concat();
        for place in 0..PORTS_MAX {
            let (first, last) = self.ports.get(place).copied().unwrap_or((1, 0));
            bytes.extend([first.to_ne_bytes(), last.to_ne_bytes()].concat());
        }
        Ok(bytes)
    }
}

/// Programs that tell of connections, as long as this is here.
pub struct TcpEvents {
    /// Attached while they are here; dropped before what they belong to.
    links: Vec<Link>,
    ring: Ring<TcpEvent>,
    object: Object,
}

// SAFETY: libbpf binds none of these to a thread, the callback of the ring may be sent, and no other owner of the
// pointers inside is left outside: `TcpEvents` gives none of them away.
unsafe impl Send for TcpEvents {}

impl fmt::Debug for TcpEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpEvents")
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> TcpEventsError {
    move |error| TcpEventsError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

impl TcpEvents {
    /// Watches from now on.
    pub fn watch(filter: &Filter) -> Result<Self, TcpEventsError> {
        let asked = filter.bytes()?;
        let object = OBJECT.ok_or(TcpEventsError::Architecture)?;
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(TcpEventsError::NoBtf);
        }
        let mut object = bpf::open(object).map_err(refused("read the BPF programs"))?;
        for mut map in object.maps_mut() {
            if map.name().to_string_lossy().ends_with(".rodata") {
                map.set_initial_value(&asked)
                    .map_err(refused("prepare the BPF programs"))?;
            }
        }
        let is_wanted =
            |name: &OsStr| filter.is_measured || !MEASURING.iter().any(|one| name == *one);
        for mut program in object.progs_mut() {
            let is_wanted = is_wanted(program.name());
            program.set_autoload(is_wanted);
        }
        let object = bpf::load(object).map_err(|source| TcpEventsError::Refused {
            what: "load the BPF programs",
            source,
        })?;
        let ring = Ring::listen(&object, event::read);
        let ring = ring.map_err(refused("listen to the BPF programs"))?;
        let mut events = Self {
            links: Vec::new(),
            ring,
            object,
        };
        for inode in &filter.namespaces {
            events.watch_namespace(*inode)?;
        }
        for program in events.object.progs_mut() {
            if !is_wanted(program.name()) {
                continue;
            }
            let link = program.attach_trace();
            events
                .links
                .push(link.map_err(refused("attach a BPF program"))?);
        }
        Ok(events)
    }

    /// Watches a namespace, too, by its [number](crate::namespace::NetNamespace::inode), from now on.
    pub fn watch_namespace(&mut self, inode: u64) -> Result<(), TcpEventsError> {
        let key = u32::try_from(inode).map_err(|_| TcpEventsError::NoNamespace(inode))?;
        let watched = map(&self.object, "namespaces")?;
        let added = watched.update(&key.to_ne_bytes(), &[1], MapFlags::ANY);
        added.map_err(|error| match error.kind() {
            libbpf_rs::ErrorKind::TooBig => TcpEventsError::Namespaces,
            _ => refused("tell the BPF programs")(error),
        })
    }

    /// Watches a namespace no longer. What it has said until now can still be taken.
    pub fn forget_namespace(&mut self, inode: u64) -> Result<(), TcpEventsError> {
        let Ok(key) = u32::try_from(inode) else {
            return Ok(());
        };
        bpf::forget(&map(&self.object, "namespaces")?, &key.to_ne_bytes())
            .map_err(refused("tell the BPF programs"))
    }

    /// What was said since this was asked last, in the order in which it was; no more at once than what can wait, so that
    /// it ends on a busy machine, too.
    pub fn take(&mut self) -> Vec<TcpEvent> {
        self.ring.take(TAKEN_MAX)
    }

    /// Waits until there is something to take, or much where [`Filter::is_prompt`] is not asked for, or for so long;
    /// whether there is.
    pub fn wait(&self, at_most: Duration) -> Result<bool, TcpEventsError> {
        session::readable_within(self, at_most).map_err(TcpEventsError::Wait)
    }

    /// How many events were not told of, because nobody had taken what had been said before.
    pub fn lost(&self) -> u64 {
        bpf::lost(&self.object)
    }

    /// How often each program has run, and for how long, while somebody [counts](crate::program_runs::Counting).
    pub fn runs(&self) -> Vec<ProgramRuns> {
        program_runs::of(&self.object)
    }

    /// How often nothing could be told because the processor was telling something of the same kind just then, and was
    /// interrupted: the kernel runs no program inside itself. Also those that are not watched count.
    pub fn missed(&self) -> Result<u64, TcpEventsError> {
        let programs = self.object.progs().filter(|program| {
            // Who was not loaded has no descriptor.
            program.as_fd().as_raw_fd() >= 0
        });
        let missed =
            programs.map(|program| Ok(program_runs::info(program.as_fd())?.recursion_misses));
        let missed = missed.sum::<io::Result<u64>>();
        missed.map_err(|source| TcpEventsError::Refused {
            what: "ask how often a BPF program did not run",
            source,
        })
    }
}

impl AsFd for TcpEvents {
    /// Readable when there is something to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Asks this kernel whether connections can be watched: none of them are.
pub fn trial() -> Result<(), TcpEventsError> {
    TcpEvents::watch(&Filter::default()).map(drop)
}

fn map<'a>(object: &'a Object, name: &str) -> Result<libbpf_rs::Map<'a>, TcpEventsError> {
    let found = object.maps().find(|map| map.name() == name);
    found.ok_or(TcpEventsError::Refused {
        what: "find a BPF map",
        source: io::ErrorKind::NotFound.into(),
    })
}
