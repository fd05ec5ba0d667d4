//! Hears DNS where it leaves a socket and where a socket gets it, of every namespace of the machine or of
//! [some](DnsSockets::narrow): what a device of the namespace delays is in its times, as it is in what a program waits.
//!
//! These are two programs at the top of the cgroups (version 2), which every packet of every socket passes; they look at
//! its protocol and at its port, copy what is DNS, and let everything pass. That costs each packet of the machine the way
//! into them, a tenth of a microsecond: so they can be attached [by need](DnsSockets::set_hearing). Whether there is need
//! others tell, which see calls of `connect` and `sendmsg` for port 53, and no packets: [`DnsSockets::last_asked_ns`]; a
//! socket that was connected before is [found](is_connected). Whose a message is the kernel says where it can
//! (`bpf_get_netns_cookie` for packets; not in Linux 6.12), else only its addresses do. Needs Linux 5.8 with
//! `CONFIG_CGROUP_BPF`, and `CAP_BPF` with `CAP_NET_ADMIN`, or root. All of it is held by descriptors of this process and
//! goes with it. See `bpf/dns.bpf.c`.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
};

use libbpf_rs::{MapCore, MapFlags, Object};

use super::{Dns, PORT, heard_at};
use crate::{
    bpf::{self, Ring},
    cgroup::{self, TopError},
    clock::{boottime_ns, realtime_ns},
    namespace::{NamespaceError, NetNamespace},
    program_runs::{self, ProgramRuns},
    traffic::link_to,
};

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/dns.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Programs, and where each of them is attached.
type Hooks<const N: usize> = [(&'static str, libbpf_sys::bpf_attach_type); N];
/// Those that hear. Who asks is heard no sooner than who answers: so no answer is missed of a question that was heard.
const HEARING: Hooks<2> = [
    ("murphy_dns_from", libbpf_sys::BPF_CGROUP_INET_INGRESS),
    ("murphy_dns_to", libbpf_sys::BPF_CGROUP_INET_EGRESS),
];
/// Those that see that somebody is about to ask.
const ASKING: Hooks<4> = [
    ("murphy_dns_connects4", libbpf_sys::BPF_CGROUP_INET4_CONNECT),
    ("murphy_dns_connects6", libbpf_sys::BPF_CGROUP_INET6_CONNECT),
    ("murphy_dns_sends4", libbpf_sys::BPF_CGROUP_UDP4_SENDMSG),
    ("murphy_dns_sends6", libbpf_sys::BPF_CGROUP_UDP6_SENDMSG),
];
/// Where it is told when somebody was about to ask, as in `bpf/dns.bpf.c`.
const ASKED_AT: usize = 1;
/// How many namespaces, and how many addresses, the programs can know, as in `bpf/dns.bpf.c`; one place is for everybody.
const COOKIES_MAX: usize = 1025;
const ADDRESSES_MAX: usize = 4096;
/// The cookie that stands for everybody.
const EVERYBODY: [u8; 8] = [0; 8];
/// How much of a packet there is in a record, and what stands before it, as in `bpf/dns.bpf.c`.
const PACKET_BYTES: usize = 640;
const HEAD_BYTES: usize = 24;
/// How many messages are taken at once, at most: so many a full ring holds.
const TAKEN_MAX: usize = (1 << 20) / PACKET_BYTES;

/// Why it cannot be heard at sockets.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The programs are not written for this architecture.
    #[error(
        "hear DNS at sockets on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// There is nothing to attach the programs to.
    #[error(transparent)]
    Top(#[from] TopError),
    /// The cgroup takes no programs.
    #[error("attach to the cgroup {}: {source}", directory.display())]
    Cgroup {
        /// Its directory.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a program, a map, or their use.
    #[error(
        "hear DNS at sockets: {what}: {source}; it needs Linux 5.8 with CONFIG_CGROUP_BPF, and CAP_BPF with CAP_NET_ADMIN or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Hears the DNS of every socket of the machine.
pub struct DnsSockets {
    /// Attached while they are here; dropped before what they belong to.
    hearing: Vec<OwnedFd>,
    _asking: Vec<OwnedFd>,
    ring: Ring<AtSocket>,
    says_namespace: bool,
    askers: Known,
    addresses: Known,
    object: Object,
}

/// A message that was heard at the socket of whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtSocket {
    /// What was heard.
    pub dns: Dns,
    /// The [cookie](crate::namespace::NetNamespace::cookie) of the socket's network namespace, where the kernel says so.
    pub namespace: Option<u64>,
}

// SAFETY: libbpf binds none of these to a thread, the callback of the ring may be sent, and no other owner of the
// pointers inside is left outside: `DnsSockets` gives none of them away.
unsafe impl Send for DnsSockets {}

impl fmt::Debug for DnsSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsSockets").finish_non_exhaustive()
    }
}

fn everybody() -> BTreeSet<Vec<u8>> {
    BTreeSet::from([EVERYBODY.to_vec()])
}

fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> SocketsError {
    move |error| SocketsError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

impl DnsSockets {
    /// Listens from now on, to everybody.
    pub fn listen() -> Result<Self, SocketsError> {
        let mut sockets = Self::stand_by()?;
        sockets.askers.set(&sockets.object, everybody())?;
        sockets.set_hearing(true)?;
        Ok(sockets)
    }

    /// Hears nothing yet, and means nobody; from when it is [told](Self::narrow) whom, it knows when they are about to ask.
    pub fn stand_by() -> Result<Self, SocketsError> {
        let object = OBJECT.ok_or(SocketsError::Architecture)?;
        // A kernel that does not know whose a packet is refuses a program that asks.
        let (object, says_namespace) = match load(object, true) {
            Ok(object) => (object, true),
            Err(_) => (load(object, false)?, false),
        };
        let ring = Ring::listen(&object, read);
        let ring = ring.map_err(refused("listen to the BPF programs"))?;
        Ok(Self {
            hearing: Vec::new(),
            _asking: attach(&object, ASKING)?,
            ring,
            says_namespace,
            askers: Known::nothing("askers"),
            addresses: Known::nothing("addresses"),
            object,
        })
    }

    /// Whether it hears from now on.
    pub fn set_hearing(&mut self, hears: bool) -> Result<(), SocketsError> {
        if hears && self.hearing.is_empty() {
            self.hearing = attach(&self.object, HEARING)?;
        } else if !hears {
            // Who asks is heard no longer than who answers.
            while self.hearing.pop().is_some() {}
        }
        Ok(())
    }

    /// When somebody who is [meant](Self::narrow) has last connected a socket to a server, or has asked one without: in
    /// nanoseconds of `CLOCK_BOOTTIME`. Who was connected before is not among them. 0 where nobody has.
    pub fn last_asked_ns(&self) -> u64 {
        bpf::count(&self.object, ASKED_AT)
    }

    /// What was said since this was asked last, in the order in which it was; no more at once than what can wait. Does not
    /// wait.
    pub fn hear(&mut self) -> Vec<AtSocket> {
        self.ring.take(TAKEN_MAX)
    }

    /// From now on hears no more than what is asked by the namespaces with these cookies, or of servers at these addresses;
    /// where the kernel does not say whose a message is, by whoever has one of the addresses. Where they are too many, it hears
    /// everybody.
    pub fn narrow(
        &mut self,
        cookies: &BTreeSet<u64>,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<(), SocketsError> {
        let fit = cookies.len() < COOKIES_MAX && addresses.len() <= ADDRESSES_MAX;
        let askers = if fit {
            cookies
                .iter()
                .map(|cookie| cookie.to_ne_bytes().to_vec())
                .collect()
        } else {
            everybody()
        };
        let places = addresses
            .iter()
            .filter(|_| fit)
            .map(|address| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            });
        // Who is known by his address is known before nobody else is heard any more.
        self.addresses.set(&self.object, places.collect())?;
        self.askers.set(&self.object, askers)
    }

    /// Whether the kernel says whose each message is.
    pub fn says_namespace(&self) -> bool {
        self.says_namespace
    }

    /// How many messages were not heard since this is here, because nobody had taken those before.
    pub fn dropped(&self) -> u64 {
        bpf::lost(&self.object)
    }

    /// How often each program has run, and for how long, while somebody [counts](crate::program_runs::Counting).
    pub fn runs(&self) -> Vec<ProgramRuns> {
        program_runs::of(&self.object)
    }
}

/// What there is in a map of the programs.
struct Known {
    map: &'static str,
    keys: BTreeSet<Vec<u8>>,
}

impl Known {
    fn nothing(map: &'static str) -> Self {
        let keys = BTreeSet::new();
        Self { map, keys }
    }

    /// Has just these keys be there: what is new comes before what is not any more goes.
    fn set(&mut self, object: &Object, keys: BTreeSet<Vec<u8>>) -> Result<(), SocketsError> {
        if self.keys == keys {
            return Ok(());
        }
        let mut maps = object.maps();
        let map = maps.find(|map| map.name() == self.map);
        let map = map.ok_or_else(|| {
            refused("find a BPF map")(io::Error::from(io::ErrorKind::NotFound).into())
        })?;
        for key in keys.difference(&self.keys.clone()) {
            map.update(key, &[1], MapFlags::ANY)
                .map_err(refused("tell the BPF programs"))?;
            self.keys.insert(key.clone());
        }
        for key in self.keys.difference(&keys) {
            bpf::forget(&map, key).map_err(refused("tell the BPF programs"))?;
        }
        self.keys = keys;
        Ok(())
    }
}

fn load(object: &[u8], says_namespace: bool) -> Result<Object, SocketsError> {
    let mut object = bpf::open(object).map_err(refused("read the BPF programs"))?;
    for mut map in object.maps_mut() {
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&[u8::from(says_namespace)])
                .map_err(refused("prepare the BPF programs"))?;
        }
    }
    bpf::load(object).map_err(|source| SocketsError::Refused {
        what: "load the BPF programs",
        source,
    })
}

/// Attaches programs to the top of the cgroups, in this order.
fn attach<const N: usize>(object: &Object, hooks: Hooks<N>) -> Result<Vec<OwnedFd>, SocketsError> {
    let directory = cgroup::top()?;
    let mut links = Vec::new();
    for (name, hook) in hooks {
        let program = object.progs().find(|program| program.name() == name);
        let attached = program.ok_or(io::ErrorKind::NotFound.into());
        let attached = attached.and_then(|program| {
            let group = File::open(&directory)?;
            link_to(program.as_fd().as_raw_fd(), group.as_raw_fd(), hook)
        });
        links.push(attached.map_err(|source| SocketsError::Cgroup {
            directory: directory.clone(),
            source,
        })?);
    }
    Ok(links)
}

/// Whether a socket of a network namespace is connected to a server of DNS, by `/proc/net/udp` (see `proc_net_tcp.rst` of the
/// kernel, whose columns these are, too).
pub fn is_connected(namespace: &NetNamespace) -> Result<bool, NamespaceError> {
    namespace.run(|| {
        ["udp", "udp6"].iter().any(|table| {
            // Without IPv6 there is no such table.
            let table = File::open(format!("/proc/thread-self/net/{table}"));
            let lines = table
                .into_iter()
                .flat_map(|table| BufReader::new(table).lines());
            lines.map_while(Result::ok).any(|line| is_to_server(&line))
        })
    })
}

/// Whether a line of such a table is of a socket whose other end is a server.
fn is_to_server(line: &str) -> bool {
    let remote = line.split_ascii_whitespace().nth(2);
    let port = remote.and_then(|remote| remote.rsplit_once(':'));
    port.is_some_and(|(_, port)| u16::from_str_radix(port, 16) == Ok(PORT))
}

/// The message of a record, if it is one.
fn read(record: &[u8]) -> Option<AtSocket> {
    let (head, packet) = record.split_first_chunk::<HEAD_BYTES>()?;
    let number = |at: usize| Some(u64::from_ne_bytes(*head.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u32::from_ne_bytes(*head.get(at..)?.first_chunk()?));
    let bytes = usize::try_from(half(16)?).ok()?;
    let is_outgoing = half(20)? != 0;
    // Everything else here is by the clock that packets have.
    let at_ns = number(0)?.wrapping_add(realtime_ns().wrapping_sub(boottime_ns()));
    Some(AtSocket {
        dns: heard_at(at_ns, is_outgoing, packet.get(..bytes)?)?,
        namespace: number(8).filter(|cookie| *cookie != 0),
    })
}

/// Asks this kernel whether DNS can be heard at sockets: it is, for a moment.
pub fn trial() -> Result<(), SocketsError> {
    DnsSockets::listen().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_the_other_end_and_no_other_column() {
        let line = |local: &str, remote: &str| {
            format!(" 3471: {local} {remote} 01 00000000:00000000 00:00000000 00000000 0 0 9152 2")
        };
        let (any, server) = ("00000000:8B0A", "0B00007F:0035");
        assert!(is_to_server(&line(any, server)));
        assert!(is_to_server(&line(
            any,
            "0000000000000000FFFF00000B00007F:0035"
        )));
        assert!(!is_to_server(&line(server, any)));
        assert!(!is_to_server(&line(any, "0B00007F:0350")));
        assert!(!is_to_server(
            "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when"
        ));
        assert!(!is_to_server(""));
    }
}
