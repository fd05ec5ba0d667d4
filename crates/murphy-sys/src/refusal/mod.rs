//! A refusal is a new TCP connection that does not come about, by chance, though somebody would have taken it.
//!
//! Connections that the target is asked for are refused where the kernel looks up who listens, by a program of type
//! `sk_lookup` of its network namespace: as if nobody did, so that the client is sent a reset. Only a SYN asks who listens
//! (and a segment of a connection that there is not, which is answered by a reset in any case), so that connections that
//! are there pay nothing; a datagram for a socket that is not connected asks as well, and passes. What becomes of a SYN
//! follows from the seed, its addresses and its ports alone: one that is sent again fares as before.
//!
//! Connections that the target opens are refused in its call of `connect()`, by programs of its cgroup (version 2), one
//! draw a call. Of a second call for a connection that is under way the kernel tells no program.
//!
//! Refuses nothing else: not UDP, and no connection that is there. A socket that a program of somebody else's has chosen
//! gets its connection (see [`Counts::steered`]), and what somebody else's program refuses stays refused.
//!
//! Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root. Everything is held by links of this process, and the kernel takes it off
//! when it ends, however it ends; what has a time ends in the programs. [`crate::traffic::detach`] takes it off by its id
//! while another process holds it. See `bpf/accepted.bpf.c` and `bpf/opened.bpf.c`, the kernel's
//! `Documentation/bpf/prog_sk_lookup.rst`, and `net/ipv4/inet_hashtables.c`.

mod order;

pub use order::{Counts, Order, Scope};

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io,
    net::{IpAddr, Ipv6Addr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use libbpf_rs::{MapCore, MapFlags, Object, query::LinkInfo};

use crate::{
    bpf,
    cgroup::{self, TopError},
    namespace::{NamespaceError, NetNamespace},
    traffic::{Network, PEERS_MAX, Peers, PeersError, is_attached, link_to},
};
use order::Whose;

#[cfg(target_arch = "x86_64")]
const OBJECTS: Option<(&[u8], &[u8])> = Some((
    include_bytes!(concat!(env!("OUT_DIR"), "/accepted.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/opened.bpf.o")),
));
#[cfg(not(target_arch = "x86_64"))]
const OBJECTS: Option<(&[u8], &[u8])> = None;

/// How many processes may be meant.
pub const PROCESSES_MAX: usize = 65_536;
/// How many places of the target's own may be [spared](Refusal::spare).
const OWN_PLACES_MAX: usize = 16_384;
/// The number of the first pid namespace of a machine, `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Which connections a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those that the target is asked for.
    Accepted,
    /// Those that it opens.
    Opened,
}

impl Side {
    /// The programs, and where each of them is attached.
    fn programs(self) -> &'static [(&'static str, libbpf_sys::bpf_attach_type)] {
        match self {
            Self::Accepted => &[("murphy_accepted", libbpf_sys::BPF_SK_LOOKUP)],
            Self::Opened => &[
                ("murphy_opened4", libbpf_sys::BPF_CGROUP_INET4_CONNECT),
                ("murphy_opened6", libbpf_sys::BPF_CGROUP_INET6_CONNECT),
            ],
        }
    }

    /// What the kernel must have.
    fn needs(self) -> &'static str {
        match self {
            Self::Accepted => {
                "it needs programs of type sk_lookup (Linux 5.12, CONFIG_BPF_SYSCALL), and CAP_BPF with CAP_NET_ADMIN or root"
            }
            Self::Opened => {
                "it needs bpf_set_retval in programs of connect() (Linux 6.1, CONFIG_CGROUP_BPF), and CAP_BPF with CAP_NET_ADMIN or root"
            }
        }
    }
}

/// Why connections cannot be refused.
#[derive(Debug, thiserror::Error)]
pub enum RefusalError {
    /// The programs are not written for this architecture.
    #[error(
        "refuse connections on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// The kernel refused a program, a map, or their use.
    #[error("refuse connections: {what}: {source}; {}", side.needs())]
    Refused {
        /// Which connections.
        side: Side,
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The cgroup takes no programs.
    #[error(
        "attach to the cgroup {}: {source}; a group above it may have a program that no other is allowed beside", directory.display()
    )]
    Cgroup {
        /// Its directory.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no top of the cgroups to attach to.
    #[error(transparent)]
    Top(#[from] TopError),
    /// More peers than fit.
    #[error("refuse connections: at most {PEERS_MAX} networks of each family may be peers")]
    Peers,
    /// More processes than fit.
    #[error("refuse connections: at most {PROCESSES_MAX} processes may be meant")]
    Processes,
    /// More addresses and ports than fit.
    #[error(
        "refuse connections: the target's own addresses, times the ports that it listens on, are more than {OWN_PLACES_MAX}; say --side accepted or --side opened"
    )]
    OwnPlaces,
    /// Processes have other numbers here than the programs know them by.
    #[error(
        "refuse connections of processes: this is not the first pid namespace of the machine; run Murphy outside of containers, or in one with its pids"
    )]
    PidNamespace,
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// Who opens the connections that are refused.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// Whoever has made a socket in the cgroup (version 2) of this directory or below it.
    Group(&'a Path),
    /// Whoever has a socket of this network namespace.
    Namespace(&'a NetNamespace),
    /// Of these only certain processes, from [`Refusal::set_processes`] on.
    Processes(&'a NetNamespace),
}

/// Programs that are loaded and attached. They go with it.
pub struct Refusal {
    side: Side,
    links: Vec<OwnedFd>,
    peers: Peers,
    processes: BTreeSet<u32>,
    spared: BTreeSet<(Ipv6Addr, u16)>,
    order: Order,
    whose: Whose,
    object: Object,
}

// SAFETY: libbpf binds none of it to a thread, and no other owner of the pointers inside is left outside: `Refusal`
// gives none of them away.
unsafe impl Send for Refusal {}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("side", &self.side)
            .field("order", &self.order)
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl Refusal {
    /// Refuses connections that somebody in a network namespace is asked for, as an order says from now on.
    pub fn accepted(namespace: &NetNamespace, order: &Order) -> Result<Self, RefusalError> {
        let mut refusal = Self::load(Side::Accepted, order, Whose::default())?;
        refusal
            .attach(namespace.as_fd().as_raw_fd())
            .map_err(|source| refusal.refused("attach to the network namespace", source))?;
        Ok(refusal)
    }

    /// Refuses connections that somebody opens, as an order says from now on.
    pub fn opened(who: Who<'_>, order: &Order) -> Result<Self, RefusalError> {
        let (namespace, directory) = match who {
            Who::Group(directory) => (None, directory.to_owned()),
            Who::Namespace(namespace) | Who::Processes(namespace) => {
                (Some(namespace), cgroup::top()?)
            }
        };
        let by_process = matches!(who, Who::Processes(_));
        if by_process && !is_first_pid_namespace() {
            return Err(RefusalError::PidNamespace);
        }
        let whose = Whose {
            namespace: namespace.map_or(Ok(0), cookie)?,
            by_process,
        };
        let mut refusal = Self::load(Side::Opened, order, whose)?;
        File::open(&directory)
            .and_then(|group| refusal.attach(group.as_raw_fd()))
            .map_err(|source| RefusalError::Cgroup { directory, source })?;
        Ok(refusal)
    }

    fn load(side: Side, order: &Order, whose: Whose) -> Result<Self, RefusalError> {
        let refused = |what| move |source| RefusalError::Refused { side, what, source };
        let (accepted, opened) = OBJECTS.ok_or(RefusalError::Architecture)?;
        let object = match side {
            Side::Accepted => accepted,
            Side::Opened => opened,
        };
        let object = bpf::open(object)
            .map_err(|error| refused("read the BPF programs")(of_libbpf(error)))?;
        let object = bpf::load(object).map_err(refused("load the BPF programs"))?;
        let refusal = Self {
            side,
            links: Vec::new(),
            peers: Peers::default(),
            processes: BTreeSet::new(),
            spared: BTreeSet::new(),
            order: order.clone(),
            whose,
            object,
        };
        refusal.write_order()?;
        Ok(refusal)
    }

    /// Attaches the programs to a network namespace or a cgroup, behind those that are there.
    fn attach(&mut self, to: RawFd) -> io::Result<()> {
        for (name, hook) in self.side.programs() {
            let program = self.object.progs().find(|program| program.name() == *name);
            let program = program.ok_or(io::ErrorKind::NotFound)?;
            self.links
                .push(link_to(program.as_fd().as_raw_fd(), to, *hook)?);
        }
        Ok(())
    }

    /// What it has been told.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Goes on, or pauses: nobody is refused, or counted.
    pub fn set_active(&mut self, active: bool) -> Result<(), RefusalError> {
        self.order.active = active;
        self.write_order()
    }

    /// The networks whose connections are meant from now on; whoever stays is meant all the time. An order without
    /// `by_peer` asks nobody.
    pub fn set_peers(&mut self, peers: &BTreeSet<Network>) -> Result<(), RefusalError> {
        let side = self.side;
        self.peers
            .tell(&self.object, peers)
            .map_err(|error| match error {
                PeersError::TooMany => RefusalError::Peers,
                PeersError::Refused(error) => RefusalError::Refused {
                    side,
                    what: "tell the BPF programs",
                    source: of_libbpf(error),
                },
            })
    }

    /// The processes whose connections are meant from now on, by their pids; whoever stays is meant all the time. Only one
    /// made for [`Who::Processes`] asks whose they are.
    pub fn set_processes(&mut self, processes: &BTreeSet<u32>) -> Result<(), RefusalError> {
        if processes.len() > PROCESSES_MAX {
            return Err(RefusalError::Processes);
        }
        let gone: Vec<u32> = self.processes.difference(processes).copied().collect();
        for process in gone {
            bpf::forget(&self.map("processes")?, &process.to_ne_bytes())
                .map_err(|error| self.refused("tell the BPF programs", of_libbpf(error)))?;
            self.processes.remove(&process);
        }
        let fresh: Vec<u32> = processes.difference(&self.processes).copied().collect();
        for process in fresh {
            self.map("processes")?
                .update(&process.to_ne_bytes(), &[1], MapFlags::ANY)
                .map_err(|error| self.refused("tell the BPF programs", of_libbpf(error)))?;
            self.processes.insert(process);
        }
        Ok(())
    }

    /// Connections that are opened to one of these addresses are left to whoever refuses those that are asked for there, so
    /// that each is drawn once; only those to one of these ports, where some are said. 127.0.0.1 stands for all of the
    /// loopback of IPv4. Whoever stays is spared all the time.
    pub fn spare(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
        ports: Option<&BTreeSet<u16>>,
    ) -> Result<(), RefusalError> {
        let any = BTreeSet::from([0]);
        let ports = ports.unwrap_or(&any);
        let places = addresses.iter().flat_map(|address| {
            let mapped = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => *address,
            };
            ports.iter().map(move |port| (mapped, *port))
        });
        let places: BTreeSet<(Ipv6Addr, u16)> = places.collect();
        if places.len() > OWN_PLACES_MAX {
            return Err(RefusalError::OwnPlaces);
        }
        let key = |(address, port): &(Ipv6Addr, u16)| {
            let port = [port.to_ne_bytes(), [0; 2]].concat();
            [&address.octets()[..], &port].concat()
        };
        let refused = |error| self.refused("tell the BPF programs", of_libbpf(error));
        let map = self.map("spared")?;
        for gone in self.spared.difference(&places) {
            bpf::forget(&map, &key(gone)).map_err(refused)?;
        }
        for fresh in places.difference(&self.spared) {
            map.update(&key(fresh), &[1], MapFlags::ANY)
                .map_err(refused)?;
        }
        self.spared = places;
        Ok(())
    }

    /// What has been counted. A SYN that is sent again counts once, as far as its time tells: of the same addresses and
    /// ports, and within 40 ms of the last, or about a second after it, or up to 2.5 times as long after it as that came
    /// after the one before, unless 65,536 others came between them. A late segment of a connection that is over at its
    /// receiver, and not at its sender, counts as one that is asked for, where its ports are meant: those of the other
    /// way, too, in the namespace of both ends, unless the scope is of local ports.
    pub fn counts(&self) -> Result<Counts, RefusalError> {
        let told = self
            .map("told")?
            .lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| self.refused("ask the BPF programs", of_libbpf(error)))?;
        Ok(Counts::decode(&told.unwrap_or_default()))
    }

    /// The numbers by which the kernel knows its links, and anybody who may can take them off (`BPF_LINK_DETACH`).
    pub fn links(&self) -> Result<Vec<u32>, RefusalError> {
        let id = |link: &OwnedFd| LinkInfo::from_fd(link.as_fd()).map(|info| info.id);
        let ids: Result<_, _> = self.links.iter().map(id).collect();
        ids.map_err(|error| self.refused("look at a BPF link", of_libbpf(error)))
    }

    /// Whether it refuses nobody any more: what it was attached to is gone, or somebody has taken it off.
    pub fn is_off(&self) -> bool {
        !self.links.iter().all(is_attached)
    }

    fn write_order(&self) -> Result<(), RefusalError> {
        let order = self.order.encode(self.whose);
        self.map("orders")?
            .update(&0_u32.to_ne_bytes(), &order, MapFlags::ANY)
            .map_err(|error| self.refused("tell the BPF programs", of_libbpf(error)))
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, RefusalError> {
        let found = self.object.maps().find(|map| map.name() == name);
        found.ok_or_else(|| self.refused("find a BPF map", io::ErrorKind::NotFound.into()))
    }

    fn refused(&self, what: &'static str, source: io::Error) -> RefusalError {
        RefusalError::Refused {
            side: self.side,
            what,
            source,
        }
    }
}

fn of_libbpf(error: libbpf_rs::Error) -> io::Error {
    io::Error::new(bpf::kind(&error), error)
}

fn is_first_pid_namespace() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|meta| meta.ino() == FIRST_PID_NAMESPACE)
}

/// By what the programs know a network namespace.
fn cookie(namespace: &NetNamespace) -> Result<u64, RefusalError> {
    namespace.cookie()?.map_err(|source| RefusalError::Refused {
        side: Side::Opened,
        what: "ask for the cookie of a network namespace",
        source,
    })
}

/// Asks this kernel whether connections that somebody is asked for can be refused: it loads the programs.
pub fn trial_accepted() -> Result<(), RefusalError> {
    Refusal::load(Side::Accepted, &Order::default(), Whose::default()).map(drop)
}

/// Asks this kernel whether connections that somebody opens can be refused: it loads the programs. Whether
/// [namespaces](Who::Namespace) can be meant is up to the mounted cgroups as well.
pub fn trial_opened() -> Result<(), RefusalError> {
    Refusal::load(Side::Opened, &Order::default(), Whose::default()).map(drop)
}
