//! A group is the sockets of some cgroups, whose packets are lost at devices that others use as well.
//!
//! A socket belongs to the cgroup (version 2) of the process that made it, or accepted it, at that time; see `cgroups(7)`
//! and the kernel's `Documentation/bpf/prog_cgroup_skb.rst`. A program of a cgroup that drops a packet on its way out
//! tells the sender so (`EPERM`, or `ENOBUFS`). So it only marks the packet, and a program at the device, the sink, loses
//! what bears the mark. Programs and sinks are held by links: the kernel takes them off when this process ends. Before
//! Linux 6.6 sinks are held by filters, which outlive it, and lose nothing when nobody marks packets any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use libbpf_rs::{MapCore, MapFlags};

use super::{
    Attachment, Fates, Filters, Network, Order, Role, Traffic, TrafficError, Way, is_attached,
    link_to, refused,
};
use crate::{
    cgroup::{Hierarchies, Memberships},
    namespace::NetNamespace,
};

#[cfg(target_arch = "x86_64")]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/group.bpf.o")));
#[cfg(not(target_arch = "x86_64"))]
const OBJECT: Option<&[u8]> = None;

/// A device: the number of its namespace, and its own number there.
type At = (u64, u32);

/// Programs that are loaded, the cgroups they are attached to, and the devices that have a sink.
pub struct Group {
    joined: BTreeMap<PathBuf, Joined>,
    sinks: BTreeMap<At, Vec<OwnedFd>>,
    traffic: Traffic,
}

/// A cgroup as it was when it was joined.
#[derive(Debug)]
struct Joined {
    /// A group that is made again in its place has another one.
    inode: u64,
    /// Held as long as packets are disturbed.
    links: Vec<OwnedFd>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("joined", &self.joined.keys())
            .field("sinks", &self.sinks.keys())
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Loads the programs, which do nothing yet.
    pub fn load(order: Order) -> Result<Self, TrafficError> {
        Ok(Self {
            joined: BTreeMap::new(),
            sinks: BTreeMap::new(),
            traffic: Traffic::load_from(OBJECT, order)?,
        })
    }

    /// Tells it something else from now on.
    pub fn tell(&mut self, change: impl FnOnce(&mut Order)) -> Result<(), TrafficError> {
        self.traffic.tell(change)
    }

    /// The networks that are peers from now on; see [`Traffic::allow`].
    pub fn allow(&mut self, peers: &BTreeSet<Network>) -> Result<(), TrafficError> {
        self.traffic.allow(peers)
    }

    /// What became of the packets of one way.
    pub fn fates(&self, way: Way) -> Result<Fates, TrafficError> {
        self.traffic.fates(way)
    }

    /// The cgroups that are joined.
    pub fn joined(&self) -> impl Iterator<Item = &Path> {
        self.joined.keys().map(PathBuf::as_path)
    }

    /// Joins the cgroup of a directory, with all below it, behind the programs that are there. One that is joined
    /// already stays so.
    pub fn join(&mut self, directory: &Path, ways: &[Way]) -> Result<(), TrafficError> {
        let refused = |source| TrafficError::Cgroup {
            directory: directory.into(),
            source,
        };
        let opened = File::open(directory).map_err(refused)?;
        let inode = opened.metadata().map_err(refused)?.ino();
        let known = self.joined.get(directory);
        if known.is_some_and(|joined| joined.inode == inode) {
            return Ok(());
        }
        let mut links = Vec::new();
        for way in ways {
            let (program, hook) = match way {
                Way::To => ("murphy_group_to", libbpf_sys::BPF_CGROUP_INET_EGRESS),
                Way::From => ("murphy_group_from", libbpf_sys::BPF_CGROUP_INET_INGRESS),
            };
            let program = self.traffic.program(program)?;
            links.push(link_to(program.as_raw_fd(), opened.as_raw_fd(), hook).map_err(refused)?);
        }
        self.joined
            .insert(directory.into(), Joined { inode, links });
        Ok(())
    }

    /// Lets go of the cgroups of which this is so.
    pub fn part_from(&mut self, is_so: impl Fn(&Path) -> bool) {
        self.joined.retain(|directory, _| !is_so(directory));
    }

    /// Loses packets at a device from now on; where the target sends some, by a sink there, whose filters, if there are
    /// any, are of [both ways](Way::ALL).
    pub fn cover(
        &mut self,
        namespace: &NetNamespace,
        ifindex: u32,
        ways: &[Way],
        by: Attachment<'_>,
    ) -> Result<(), TrafficError> {
        let mut links = Vec::new();
        if ways.contains(&Way::To) {
            for (way, program, hook) in [
                (Way::To, "murphy_sink_to", libbpf_sys::BPF_TCX_EGRESS),
                (Way::From, "murphy_sink_from", libbpf_sys::BPF_TCX_INGRESS),
            ] {
                let traffic = &self.traffic;
                match by {
                    Attachment::Links => {
                        links.push(traffic.device_link(namespace, ifindex, program, hook)?);
                    }
                    Attachment::Filters(filters) => {
                        traffic.filter_at(namespace, filters, way, program)?;
                    }
                }
            }
        }
        // The sink first: what is marked must find it.
        self.traffic
            .map("devices")?
            .update(&ifindex.to_ne_bytes(), &[1], MapFlags::ANY)
            .map_err(refused("tell the BPF programs"))?;
        self.sinks.insert(at(namespace, ifindex)?, links);
        Ok(())
    }

    /// Whether a device that it was to cover is gone, also where another one has its number by now.
    pub fn is_off(&self, namespace: &NetNamespace, ifindex: u32) -> Result<bool, TrafficError> {
        let links = self.sinks.get(&at(namespace, ifindex)?);
        Ok(links.is_some_and(|links| !links.iter().all(is_attached)))
    }

    /// Loses no packet at a device any more.
    pub fn uncover(&mut self, namespace: &NetNamespace, ifindex: u32) -> Result<(), TrafficError> {
        let at = at(namespace, ifindex)?;
        // Devices of several namespaces may have one number.
        let is_last = !self.sinks.keys().any(|key| key.1 == ifindex && *key != at);
        if is_last {
            match self.traffic.map("devices")?.delete(&ifindex.to_ne_bytes()) {
                Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                    return Err(refused("tell the BPF programs")(error));
                }
                _ => {}
            }
        }
        self.sinks.remove(&at);
        Ok(())
    }

    /// Takes the programs off every cgroup. What has been counted stays readable, and which they were.
    pub fn leave(&mut self) {
        for joined in self.joined.values_mut() {
            joined.links.clear();
        }
    }
}

fn at(namespace: &NetNamespace, ifindex: u32) -> Result<At, TrafficError> {
    let inode = namespace.inode().map_err(|source| TrafficError::Refused {
        what: "look at a network namespace",
        source,
    })?;
    Ok((inode, ifindex))
}

/// Asks this kernel whether packets of a cgroup can be lost: with programs that do nothing, at the group of this process,
/// and at a device of a namespace that goes with the question.
pub fn trial() -> Result<(), TrafficError> {
    let trees = Hierarchies::find().map_err(TrafficError::Mounts)?;
    let mine = Memberships::of(std::process::id()).unwrap_or_default();
    let group = mine.unified().and_then(|group| trees.directory(group));
    let mut tried = Group::load(Order::idle())?;
    tried.join(&group.ok_or(TrafficError::NoTree)?, &Way::ALL)?;
    // The loopback is the first device of every namespace.
    let (namespace, device) = (NetNamespace::create()?, 1);
    if super::trial().is_ok() {
        return tried.cover(&namespace, device, &Way::ALL, Attachment::Links);
    }
    super::trial_by_filters()?;
    let filters = Filters::choose(&namespace, device, &Way::ALL, "mphy-trial", Role::Looks)?;
    tried.cover(&namespace, device, &Way::ALL, Attachment::Filters(&filters))
}
