//! Traffic is what a device of a network namespace sends and is sent; BPF programs at its hooks disturb it.
//!
//! Needs `CAP_BPF` and `CAP_NET_ADMIN`, or root, and Linux 6.6 for its tcx hooks: there the programs are attached by links
//! that this process holds, and the kernel takes them off when it ends, however it ends. Older kernels attach them by
//! [filters](Filters), which stay until somebody removes them. What has a time ends in the programs themselves, and what
//! waits for this process passes a second after its last sign of life. See `bpf/traffic.bpf.c`.

mod detach;
mod filters;
pub mod group;
mod order;
mod peers;

pub use detach::{Detached, detach};
pub use filters::{Filters, Role};
pub use group::Group;
pub use order::{
    ALWAYS, Chain, Fate, Fates, Match, Order, PEERS_MAX, PORTS_MAX, Passage, Tally, Treatment, Way,
};
pub use peers::Network;

pub(crate) use order::Writer;
pub(crate) use peers::{Peers, PeersError};

use std::{
    collections::BTreeSet,
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, query::LinkInfo};

use crate::{
    bpf,
    clock::boottime_ns,
    namespace::{NamespaceError, NetNamespace},
    qdisc::{
        QdiscError,
        filter::{self, Classifier, FilterPlace, Program, Verdict},
        trial::{Feature, TrialError},
    },
};

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/traffic.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// Why traffic cannot be disturbed.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The programs are not written for this architecture.
    #[error(
        "disturb packets on {}: Murphy's BPF programs are built for x86_64 only",
        std::env::consts::ARCH
    )]
    Architecture,
    /// The kernel refused a program, a map, or their use.
    #[error(
        "disturb packets: {what}: {source}; it needs BPF, and CAP_BPF with CAP_NET_ADMIN or root"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no such hook.
    #[error(
        "attach to device {ifindex}: {source}; tcx needs Linux 6.6 with CONFIG_NET_XGRESS, which CONFIG_NET_CLS_ACT brings"
    )]
    NoHook {
        /// The device.
        ifindex: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device is gone.
    #[error("attach to device {ifindex}: it is gone")]
    Gone {
        /// The device.
        ifindex: u32,
    },
    /// The kernel refused a filter.
    #[error(transparent)]
    Filter(QdiscError),
    /// The kernel has no filters for programs.
    #[error(transparent)]
    NoFilter(#[from] TrialError),
    /// A device without a place for filters on what leaves.
    #[error(
        "attach to device {ifindex}: somebody has given it the qdisc ingress, where filters on what leaves have no place; `tc qdisc del dev DEVICE ingress` removes it, or --direction from does without"
    )]
    NoEgress {
        /// The device.
        ifindex: u32,
    },
    /// A device with filters of all priorities.
    #[error("attach to device {ifindex}: its filters leave no priority free")]
    Crowded {
        /// The device.
        ifindex: u32,
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
    /// No tree of cgroups of version 2.
    #[error(
        "find the cgroups: no tree of version 2 is mounted; `mount -t cgroup2 none DIRECTORY` does it"
    )]
    NoTree,
    /// The mounts cannot be read.
    #[error("read /proc/self/mountinfo: {0}")]
    Mounts(#[source] io::Error),
    /// More peers than fit.
    #[error("disturb packets: at most {PEERS_MAX} networks of each family may be peers")]
    Peers,
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

impl From<QdiscError> for TrafficError {
    fn from(error: QdiscError) -> Self {
        match error {
            QdiscError::Namespace(error) => Self::Namespace(error),
            error => Self::Filter(error),
        }
    }
}

/// How programs are attached.
#[derive(Clone, Copy, Debug)]
pub enum Attachment<'a> {
    /// By links of this process, at the tcx hooks of Linux 6.6.
    Links,
    /// By filters of a clsact, which outlive it.
    Filters(&'a Filters),
}

impl<'a> From<Option<&'a Filters>> for Attachment<'a> {
    fn from(filters: Option<&'a Filters>) -> Self {
        filters.map_or(Self::Links, Self::Filters)
    }
}

/// Programs that are loaded, and the devices they are attached to.
pub struct Traffic {
    links: Vec<OwnedFd>,
    peers: Peers,
    order: Order,
    object: Object,
}

// SAFETY: libbpf binds none of it to a thread, and no other owner of the pointers inside is left outside: `Traffic`
// gives none of them away.
unsafe impl Send for Traffic {}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic")
            .field("order", &self.order)
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

pub(crate) fn refused(what: &'static str) -> impl Fn(libbpf_rs::Error) -> TrafficError {
    move |error| TrafficError::Refused {
        what,
        source: io::Error::new(bpf::kind(&error), error),
    }
}

impl Traffic {
    /// Loads the programs, which do nothing yet.
    pub fn load(order: Order) -> Result<Self, TrafficError> {
        match spare().take() {
            Some(mut traffic) => {
                traffic.tell(|told| *told = order)?;
                Ok(traffic)
            }
            None => Self::load_from(OBJECT, order),
        }
    }

    /// Loads another object with programs for packets, which is told by an order as well.
    pub(crate) fn load_from(object: Option<&[u8]>, order: Order) -> Result<Self, TrafficError> {
        let object = object.ok_or(TrafficError::Architecture)?;
        let object = bpf::open(object).map_err(refused("read the BPF programs"))?;
        let object = bpf::load(object).map_err(|source| TrafficError::Refused {
            what: "load the BPF programs",
            source,
        })?;
        let traffic = Self {
            links: Vec::new(),
            peers: Peers::default(),
            order,
            object,
        };
        traffic.write_order()?;
        Ok(traffic)
    }

    /// What it has been told.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Tells it something else from now on.
    pub fn tell(&mut self, change: impl FnOnce(&mut Order)) -> Result<(), TrafficError> {
        change(&mut self.order);
        self.write_order()
    }

    fn write_order(&self) -> Result<(), TrafficError> {
        self.map("orders")?
            .update(&0_u32.to_ne_bytes(), &self.order.encode(), MapFlags::ANY)
            .map_err(refused("tell the BPF programs"))
    }

    /// The networks that are peers from now on; whoever stays one is one all the time. An order without `by_peer` asks
    /// nobody.
    pub fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), TrafficError> {
        self.peers
            .tell(&self.object, peers)
            .map_err(|error| match error {
                PeersError::TooMany => TrafficError::Peers,
                PeersError::Refused(error) => refused("tell the BPF programs")(error),
            })
    }

    /// Attaches the program for one way to a device, behind those that are there.
    pub fn attach(
        &mut self,
        namespace: &NetNamespace,
        ifindex: u32,
        way: Way,
        by: Attachment<'_>,
    ) -> Result<(), TrafficError> {
        let (program, hook) = match way {
            Way::To => ("murphy_to", libbpf_sys::BPF_TCX_EGRESS),
            Way::From => ("murphy_from", libbpf_sys::BPF_TCX_INGRESS),
        };
        match by {
            Attachment::Links => self.link(namespace, ifindex, program, hook),
            Attachment::Filters(filters) => self.filter_at(namespace, filters, way, program),
        }
    }

    /// Attaches a program by the filter of one way.
    fn filter_at(
        &self,
        namespace: &NetNamespace,
        filters: &Filters,
        way: Way,
        program: &str,
    ) -> Result<(), TrafficError> {
        let Some(id) = filters.id(way) else {
            return Ok(());
        };
        let ifindex = id.place.ifindex;
        filters.prepare().map_err(|error| gone(ifindex, error))?;
        self.filter(namespace, id.place, program, filters.name())
    }

    /// Hands the packets of one way to a tap instead of the next program, as long as [`Heart::beat`] says that it is
    /// served; what is written to the tap goes to where it was taken from, device `ifindex`.
    pub fn hand_to(
        &mut self,
        namespace: &NetNamespace,
        ifindex: u32,
        way: Way,
        tap: u32,
        by: Attachment<'_>,
    ) -> Result<(), TrafficError> {
        let program = match way {
            Way::To => "murphy_back_to",
            Way::From => "murphy_back_from",
        };
        match by {
            Attachment::Links => {
                self.link(namespace, tap, program, libbpf_sys::BPF_TCX_INGRESS)?;
            }
            Attachment::Filters(filters) => {
                // Both go with the tap.
                filters::prepare(namespace, tap)?;
                self.filter(namespace, filters::only(tap), program, filters.name())?;
            }
        }
        self.tell(|order| {
            let treatment = order.way_mut(way);
            (treatment.cable, treatment.device) = (tap, ifindex);
        })
    }

    /// Gives the packets of one way this priority when they have to wait: that of a class of a prio, where they are
    /// sent, or one that [`Self::take`] knows them by.
    pub fn have_wait(&mut self, way: Way, priority: u32) -> Result<(), TrafficError> {
        self.tell(|order| order.way_mut(way).queue = priority)
    }

    /// Takes those that the target is sent and that have to wait to another device, by filters that [take](Role::Takes).
    pub fn take(
        &self,
        namespace: &NetNamespace,
        filters: &Filters,
        to: u32,
    ) -> Result<(), TrafficError> {
        let Some(id) = filters.id(Way::From) else {
            return Ok(());
        };
        let ifindex = id.place.ifindex;
        filters.prepare().map_err(|error| gone(ifindex, error))?;
        let program = Program {
            fd: self.program("murphy_waits")?,
            name: filters.name(),
        };
        let classifier = Classifier::Bpf(program, Verdict::Redirect { ifindex: to });
        match filter::add(namespace, id.place, &classifier) {
            Ok(_) => Ok(()),
            Err(error) => Err(gone(ifindex, error)),
        }
    }

    fn program(&self, name: &str) -> Result<BorrowedFd<'_>, TrafficError> {
        // The list is made anew by each call; the programs live as long as the object.
        let program = self.object.progs().find(|program| program.name() == name);
        let program = program.ok_or(TrafficError::Refused {
            what: "find a BPF program",
            source: io::ErrorKind::NotFound.into(),
        })?;
        let fd = program.as_fd().as_raw_fd();
        // SAFETY: the object, which is borrowed as long as the result, closes it, and nobody before.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    fn filter(
        &self,
        namespace: &NetNamespace,
        place: FilterPlace,
        program: &str,
        name: &str,
    ) -> Result<(), TrafficError> {
        let fd = self.program(program)?;
        let classifier = Classifier::BpfDirect(Program { fd, name });
        match filter::add(namespace, place, &classifier) {
            Ok(_) => Ok(()),
            Err(error) => Err(gone(place.ifindex, error)),
        }
    }

    fn link(
        &mut self,
        namespace: &NetNamespace,
        ifindex: u32,
        name: &str,
        hook: libbpf_sys::bpf_attach_type,
    ) -> Result<(), TrafficError> {
        let link = self.device_link(namespace, ifindex, name, hook)?;
        self.links.push(link);
        Ok(())
    }

    /// Attaches a program to a device as long as what this returns is held.
    fn device_link(
        &self,
        namespace: &NetNamespace,
        ifindex: u32,
        name: &str,
        hook: libbpf_sys::bpf_attach_type,
    ) -> Result<OwnedFd, TrafficError> {
        let device = i32::try_from(ifindex).map_err(|_| TrafficError::Gone { ifindex })?;
        let program = self.program(name)?.as_raw_fd();
        // The device is looked up in the namespace of the calling thread.
        let made = namespace.run(|| link_to(program, device, hook))?;
        made.map_err(|source| not_attached(ifindex, source))
    }

    /// Asks this kernel whether it has tcx hooks: for those of a device that is not there, as a kernel that has none says
    /// so first. The first hook in use, and the last, cost it a while.
    pub(crate) fn try_links(&self) -> Result<(), TrafficError> {
        let program = self.program("murphy_from")?.as_raw_fd();
        // No device has that number.
        match link_to(program, i32::MAX, libbpf_sys::BPF_TCX_INGRESS) {
            Err(source) if source.raw_os_error() != Some(nix::libc::ENODEV) => {
                Err(not_attached(LOOPBACK, source))
            }
            _ => Ok(()),
        }
    }

    /// Whether a device that it was attached to is gone, also where another one has its number by now.
    pub fn is_off(&self) -> bool {
        !self.links.iter().all(is_attached)
    }

    /// Takes the programs off every device, but for those that [`Filters`] hold. What has been counted stays readable.
    pub fn leave(&mut self) {
        self.links.clear();
    }

    /// What says that the taps which packets are handed to are served, from another thread.
    pub fn heart(&self) -> Result<Heart, TrafficError> {
        let map = self.map("alive")?;
        MapHandle::try_from(&map)
            .map(Heart)
            .map_err(refused("share a BPF map"))
    }

    /// What became of the packets of one way.
    pub fn fates(&self, way: Way) -> Result<Fates, TrafficError> {
        let key = (way as u32).to_ne_bytes();
        let told = self
            .map("told")?
            .lookup_percpu(&key, MapFlags::ANY)
            .map_err(refused("ask the BPF programs"))?;
        let processors = told.unwrap_or_default();
        Ok(processors
            .iter()
            .map(|bytes| Fates::decode(bytes))
            .fold(Fates::default(), |sum, one| sum + one))
    }

    pub(crate) fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, TrafficError> {
        let found = self.object.maps().find(|map| map.name() == name);
        found.ok_or(TrafficError::Refused {
            what: "find a BPF map",
            source: io::ErrorKind::NotFound.into(),
        })
    }
}

/// Attaches a program, by its descriptor, to the number of a device or the descriptor of a cgroup or network namespace.
pub(crate) fn link_to(
    program: RawFd,
    target: RawFd,
    hook: libbpf_sys::bpf_attach_type,
) -> io::Result<OwnedFd> {
    // SAFETY: both are numbers to the kernel, which refuses those that are not open; no options are given.
    let fd = unsafe { libbpf_sys::bpf_link_create(program, target, hook, std::ptr::null()) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the descriptor was just made and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Says that taps are served; for so long after the last time packets are handed to them: a second.
#[derive(Debug)]
pub struct Heart(MapHandle);

impl Heart {
    /// They are served now.
    pub fn beat(&self) -> Result<(), TrafficError> {
        let now = boottime_ns().to_ne_bytes();
        self.0
            .update(&0_u32.to_ne_bytes(), &now, MapFlags::ANY)
            .map_err(refused("tell the BPF programs"))
    }
}

/// A filter that finds no device: it is gone.
fn not_attached(ifindex: u32, source: io::Error) -> TrafficError {
    match source.raw_os_error() {
        Some(nix::libc::ENODEV) => TrafficError::Gone { ifindex },
        Some(nix::libc::EINVAL | nix::libc::EOPNOTSUPP) => TrafficError::NoHook { ifindex, source },
        _ => TrafficError::Refused {
            what: "attach a BPF program",
            source,
        },
    }
}

/// Whether what a link is attached to is there. Whoever cannot be asked is taken at his word.
pub(crate) fn is_attached(link: &OwnedFd) -> bool {
    LinkInfo::from_fd(link.as_fd()).map_or(true, |info| detach::is_attached(&info.info))
}

fn gone(ifindex: u32, error: QdiscError) -> TrafficError {
    match error.errno() {
        Some(nix::errno::Errno::ENODEV) => TrafficError::Gone { ifindex },
        _ => error.into(),
    }
}

/// The loopback is the first device of every namespace.
const LOOPBACK: u32 = 1;

/// Programs that a trial has loaded, for whoever needs some next: it takes the kernel some hundredths of a second.
static SPARE: Mutex<Option<Traffic>> = Mutex::new(None);

fn spare() -> MutexGuard<'static, Option<Traffic>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks this kernel whether packets can be disturbed at its tcx hooks.
pub fn trial() -> Result<(), TrafficError> {
    let traffic = Traffic::load(Order::idle())?;
    traffic.try_links()?;
    *spare() = Some(traffic);
    Ok(())
}

/// The same by filters.
pub fn trial_by_filters() -> Result<(), TrafficError> {
    try_filters(|| Traffic::load(Order::idle()))
}

/// Attaches programs, loaded once it is known that there is a place for them, by filters, in a namespace that goes with
/// the question.
pub(crate) fn try_filters(
    load: impl FnOnce() -> Result<Traffic, TrafficError>,
) -> Result<(), TrafficError> {
    // Whoever may not load them is told that first: all else needs privileges, too.
    let mut traffic = load()?;
    // What is missing has a name there.
    Feature::Clsact.trial()?;
    Feature::ClsBpf.trial()?;
    let namespace = NetNamespace::create()?;
    let filters = Filters::choose(&namespace, LOOPBACK, &Way::ALL, "mphy-trial", Role::Looks)?;
    Way::ALL.into_iter().try_for_each(|way| {
        traffic.attach(&namespace, LOOPBACK, way, Attachment::Filters(&filters))
    })
}
