//! Neighbours are the network namespaces of this machine that somebody is in, or that have a name, with their addresses:
//! where the other end of a connection is, as far as it is here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    time::{Duration, Instant},
};

use murphy_sys::{link, namespace::NetNamespace, process::namespace_inode, table::ProcessTable};

use super::Place;

/// Where ip-netns(8) keeps those that have a name.
const NAMED: &str = "/run/netns";
/// They are looked for not more often than this, and for at most one part of the time in so many.
const FIND_EVERY: Duration = Duration::from_secs(2);
const FIND_SHARE: u32 = 50;
/// No more namespaces of a machine are looked into.
const NAMESPACES_MAX: usize = 1000;

/// All that are known.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// By their numbers.
    all: BTreeMap<u64, Neighbour>,
    /// When they were looked for, and how long that took.
    looked: Option<(Instant, Duration)>,
}

/// One network namespace.
#[derive(Debug)]
pub struct Neighbour {
    /// The namespace itself.
    pub namespace: NetNamespace,
    /// Its addresses, IPv4 ones as such.
    pub addresses: BTreeSet<IpAddr>,
}

impl Neighbours {
    /// Looks for them, now and then: those of some places, those that have a name (`ip netns`), and those of every process.
    pub fn find<'a>(&mut self, places: impl IntoIterator<Item = &'a Place>) -> io::Result<()> {
        let rests =
            |(at, took): (Instant, Duration)| at.elapsed() < FIND_EVERY.max(took * FIND_SHARE);
        if self.looked.is_some_and(rests) {
            return Ok(());
        }
        let began = Instant::now();
        let table = ProcessTable::read()?;
        let mut found = BTreeMap::new();
        for place in places {
            found.insert(place.inode, Some(place.namespace.clone()));
        }
        for namespace in named().take(NAMESPACES_MAX) {
            // Who vanishes meanwhile has no connections any more.
            if let Ok(inode) = namespace.inode() {
                found.entry(inode).or_insert(Some(namespace));
            }
        }
        for stat in table.iter() {
            if found.len() >= NAMESPACES_MAX {
                break;
            }
            if let Ok(inode) = namespace_inode(stat.pid, "net") {
                found
                    .entry(inode)
                    .or_insert_with(|| NetNamespace::of_process(stat.pid).ok());
            }
        }
        self.all = found
            .into_iter()
            .filter_map(|(inode, namespace)| Some((inode, Neighbour::of(namespace?)?)))
            .collect();
        self.looked = Some((Instant::now(), began.elapsed()));
        Ok(())
    }

    /// Each with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Neighbour)> {
        self.all
            .iter()
            .map(|(inode, neighbour)| (*inode, neighbour))
    }

    /// The one of a number.
    pub fn get(&self, inode: u64) -> Option<&Neighbour> {
        self.all.get(&inode)
    }

    /// Their numbers.
    pub fn inodes(&self) -> BTreeSet<u64> {
        self.all.keys().copied().collect()
    }

    /// In which of them an end may be that one in `here` is connected to: several may have its address, as those of
    /// networks that know nothing of each other do.
    pub fn with_address(&self, here: u64, remote: IpAddr) -> Vec<u64> {
        let has = |neighbour: &Neighbour| neighbour.addresses.contains(&remote);
        if remote.is_loopback() || self.all.get(&here).is_some_and(has) {
            return vec![here];
        }
        let others = self.all.iter();
        let others = others.filter(|(_, neighbour)| has(neighbour));
        others.map(|(inode, _)| *inode).collect()
    }
}

/// The namespaces that have a name.
fn named() -> impl Iterator<Item = NetNamespace> {
    // Nobody may ever have named one.
    let entries = fs::read_dir(NAMED).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter_map(|path| NetNamespace::open(&path).ok())
}

impl Neighbour {
    /// Who vanishes meanwhile has no connections any more.
    fn of(namespace: NetNamespace) -> Option<Self> {
        let addresses = link::addresses(&namespace).ok()?;
        let addresses = addresses.iter().map(IpAddr::to_canonical).collect();
        Some(Self {
            namespace,
            addresses,
        })
    }
}
