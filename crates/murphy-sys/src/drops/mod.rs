//! Drops are the packets that the kernel has thrown away in some network namespaces, with its reason for each.
//!
//! They are counted in the kernel, by namespace, reason, protocol, way and peer; nothing is told of a single packet. A packet
//! belongs to the namespace of its device, or to that of its socket where it has none. A packet that is dropped in a namespace
//! that is not watched costs one look into a map (about half a microsecond, on all of the machine), one that is watched another one
//! (about one microsecond in all). What that adds up to is bounded: beyond [`COUNTS_MAX`] combinations only the namespace and
//! the reason are counted. Packets that are not dropped cost nothing.
//!
//! Needs Linux 5.17, since when the kernel says why, with BTF (`CONFIG_DEBUG_INFO_BTF`), `CAP_BPF` and `CAP_PERFMON`, or root. All of it is
//! held by descriptors of this process and goes with it. See `bpf/drops.bpf.c`.

mod reason;

pub use reason::{DropReason, Meaning};

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use libbpf_rs::{Link, MapCore, MapFlags, Object};

use crate::{
    bpf,
    program_runs::{self, ProgramRuns},
};

/// How many namespaces can be watched at a time.
pub const NAMESPACES_MAX: usize = 1024;
/// How many combinations of namespace, reason, protocol, way and peer are told apart until they are taken.
pub const COUNTS_MAX: usize = 4096;

/// As the programs number families of addresses.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/drops.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why drops cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum DropsError {
    /// The program is not written for this architecture.
    #[error(
        "count dropped packets on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// The kernel does not describe its types.
    #[error(
        "count dropped packets: this kernel has no BTF, /sys/kernel/btf/vmlinux is missing (CONFIG_DEBUG_INFO_BTF)"
    )]
    NoBtf,
    /// More namespaces than fit.
    #[error("count dropped packets: at most {NAMESPACES_MAX} network namespaces can be watched")]
    Namespaces,
    /// The number is none of a namespace.
    #[error("count dropped packets: {0} is the number of no network namespace")]
    NoNamespace(u64),
    /// The kernel refused the program, a map, or their use.
    #[error(
        "count dropped packets: {what}: {source}; it needs Linux 5.17 with BPF and tracing, and CAP_BPF with CAP_PERFMON or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Packets that were dropped for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    /// The number of the namespace where.
    pub namespace: u64,
    /// Why.
    pub reason: DropReason,
    /// Whom they were from or to, where that is known and there are not too many.
    pub peer: Option<IpAddr>,
    /// The number of their protocol (6 is TCP), where they are of IP; in IPv6 that of the first header behind the address.
    pub protocol: Option<u8>,
    /// Whether they came from a device, or were to be sent.
    pub is_received: bool,
    /// How many.
    pub packets: u64,
}

/// Counts drops as long as it is here.
pub struct Drops {
    /// Dropped before what it belongs to.
    _link: Link,
    object: Object,
}

// SAFETY: libbpf binds neither the link nor the object to a thread, and no other owner of the pointers inside is left
// outside: `Drops` gives none of them away.
unsafe impl Send for Drops {}

impl fmt::Debug for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drops").finish_non_exhaustive()
    }
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> DropsError {
    move |error| DropsError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

fn missing(what: &'static str) -> DropsError {
    DropsError::Refused {
        what,
        source: io::ErrorKind::NotFound.into(),
    }
}

impl Drops {
    /// Watches from now on; nothing, until a namespace is [added](Self::watch_namespace).
    pub fn watch() -> Result<Self, DropsError> {
        let object = OBJECT.ok_or(DropsError::Architecture)?;
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(DropsError::NoBtf);
        }
        let object = bpf::open(object).map_err(refused("read the BPF program"))?;
        let object = bpf::load(object).map_err(|source| DropsError::Refused {
            what: "load the BPF program",
            source,
        })?;
        let program = object.progs_mut().next();
        let program = program.ok_or_else(|| missing("find the BPF program"))?;
        let link = program.attach_trace();
        Ok(Self {
            _link: link.map_err(refused("attach the BPF program"))?,
            object,
        })
    }

    /// Watches a namespace, too, by its [number](crate::namespace::NetNamespace::inode), from now on.
    pub fn watch_namespace(&mut self, inode: u64) -> Result<(), DropsError> {
        let key = u32::try_from(inode).map_err(|_| DropsError::NoNamespace(inode))?;
        let watched = self.map("namespaces")?;
        let added = watched.update(&key.to_ne_bytes(), &[1], MapFlags::ANY);
        added.map_err(|error| match error.kind() {
            libbpf_rs::ErrorKind::TooBig => DropsError::Namespaces,
            _ => refused("tell the BPF program")(error),
        })
    }

    /// Watches a namespace no longer. What was counted until now can still be taken.
    pub fn forget_namespace(&mut self, inode: u64) -> Result<(), DropsError> {
        let Ok(key) = u32::try_from(inode) else {
            return Ok(());
        };
        bpf::forget(&self.map("namespaces")?, &key.to_ne_bytes())
            .map_err(refused("tell the BPF program"))
    }

    /// What was dropped since this was asked last. A packet that is dropped at this very moment may be missed.
    pub fn take(&mut self) -> Result<Vec<Dropped>, DropsError> {
        let mut all = Vec::new();
        for name in ["counts", "others"] {
            // Room for one more than there is in the greater one, so that one call sees that there is none.
            let room = u32::try_from(COUNTS_MAX).unwrap_or(u32::MAX - 1) + 1;
            let counts = self.map(name)?;
            let taken = counts
                .lookup_and_delete_batch(room, MapFlags::ANY, MapFlags::ANY)
                .map_err(refused("ask the BPF program"))?;
            all.extend(taken.filter_map(|(key, packets)| read(&key, &packets)));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// How many packets could not be counted, because not even their namespace and reason had a place.
    pub fn lost(&self) -> u64 {
        bpf::lost(&self.object)
    }

    /// How often the program has run, and for how long, while somebody [counts](crate::program_runs::Counting).
    pub fn runs(&self) -> Vec<ProgramRuns> {
        program_runs::of(&self.object)
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, DropsError> {
        let found = self.object.maps().find(|map| map.name() == name);
        found.ok_or_else(|| missing("find a BPF map"))
    }
}

/// Asks this kernel whether drops can be counted: none are.
pub fn trial() -> Result<(), DropsError> {
    Drops::watch().map(drop)
}

/// What an entry of the map says, the same as in `bpf/drops.bpf.c`.
fn read(key: &[u8], packets: &[u8]) -> Option<Dropped> {
    let (namespace, rest) = key.split_first_chunk()?;
    let (reason, rest) = rest.split_first_chunk()?;
    let (peer, rest) = rest.split_first_chunk::<16>()?;
    let ([family, protocol, is_received, _], _) = rest.split_first_chunk()?;
    let [a, b, c, d, ..] = *peer;
    let peer: Option<IpAddr> = match *family {
        AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        AF_INET6 => Some(Ipv6Addr::from(*peer).to_canonical()),
        _ => None,
    };
    Some(Dropped {
        namespace: u32::from_ne_bytes(*namespace).into(),
        reason: DropReason::of(u32::from_ne_bytes(*reason)),
        protocol: peer.map(|_| *protocol),
        peer,
        is_received: *is_received != 0,
        packets: u64::from_ne_bytes(packets.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_where_why_whom_and_how_many() {
        let key = |family: u8, is_received: u8| {
            let mut key = Vec::new();
            key.extend(0xf000_0001_u32.to_ne_bytes());
            key.extend(8_u32.to_ne_bytes());
            key.extend([10, 0, 0, 2].into_iter().chain([0; 12]));
            key.extend([family, 6, is_received, 0]);
            key
        };
        let packets = 7_u64.to_ne_bytes();
        let of_tcp = read(&key(AF_INET, 1), &packets).unwrap();
        assert_eq!((of_tcp.namespace, of_tcp.packets), (0xf000_0001, 7));
        assert_eq!(of_tcp.reason, DropReason::of(8));
        assert_eq!(of_tcp.peer, Some("10.0.0.2".parse().unwrap()));
        assert_eq!((of_tcp.protocol, of_tcp.is_received), (Some(6), true));
        let of_other = read(&key(0, 0), &packets).unwrap();
        assert_eq!((of_other.peer, of_other.protocol), (None, None));
        assert!(!of_other.is_received);
        assert_eq!(read(&key(AF_INET, 1)[..27], &packets), None);
        assert_eq!(read(&key(AF_INET, 1), &packets[..7]), None);
    }
}
