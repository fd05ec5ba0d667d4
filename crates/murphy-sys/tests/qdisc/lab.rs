//! Two namespaces on a bridge, and numbered datagrams from one to the other.

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZeroU16,
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    link::{Prefixed, add_bridge, join_bridge},
    namespace::NetNamespace,
    qdisc::{
        self, Discipline, Handle, Netem, Place, Qdisc, Removal, Statistics, filter::FilterPlace,
        trial::Feature,
    },
};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, sockopt};

/// Ours in these tests.
pub const OURS: Handle = Handle::qdisc(0x4d);
/// Packets of neighbour discovery that may go through a qdisc besides.
pub const OTHERS_MAX: u64 = 20;
/// Datagrams sent in a row before any is read: far less than what a socket holds.
const BATCH: u32 = 50;
const RECEIVE_BUFFER: usize = 8 << 20;

/// How many times slower than usual this machine is, and how many times less even.
pub fn slack() -> u32 {
    let said = env::var("MURPHY_TEST_SLACK").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(1)
}

/// Past the capture of the test runner, so that it is counted.
pub fn skipped(reason: &impl ToString) {
    let _ = writeln!(io::stderr(), "skipped: {}", reason.to_string());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn address(self, last: u8) -> Prefixed {
        let (address, length): (IpAddr, u8) = match self {
            Self::V4 => (Ipv4Addr::new(10, 77, 0, last).into(), 24),
            Self::V6 => {
                let address = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last.into());
                (address.into(), 64)
            }
        };
        Prefixed { address, length }
    }
}

/// Faults happen at `eth0` of the first node.
pub struct Lab {
    pub node: NetNamespace,
    pub peer: NetNamespace,
    pub ifindex: u32,
    family: Family,
    _bridge: NetNamespace,
}

impl Lab {
    /// None, with the reason on stderr, where this kernel or user lacks something.
    pub fn with(family: Family, features: &[Feature]) -> Option<Self> {
        let missing = features.iter().find_map(|feature| feature.trial().err());
        if let Some(missing) = missing {
            skipped(&missing);
            return None;
        }
        let made = || -> Result<_, murphy_sys::namespace::NamespaceError> {
            Ok((
                NetNamespace::create()?,
                NetNamespace::create()?,
                NetNamespace::create()?,
            ))
        };
        let (bridge, node, peer) = made().map_err(|error| skipped(&error)).ok()?;
        add_bridge(&bridge, "br0", family.address(254)).unwrap();
        join_bridge(&bridge, "br0", "n0", &node, family.address(1)).unwrap();
        join_bridge(&bridge, "br0", "n1", &peer, family.address(2)).unwrap();
        let ifindex = index(&node, "eth0");
        Some(Self {
            node,
            peer,
            ifindex,
            family,
            _bridge: bridge,
        })
    }

    pub fn root(&self) -> Place {
        Place {
            ifindex: self.ifindex,
            parent: Handle::ROOT,
            handle: OURS,
        }
    }

    /// Where a filter is asked first.
    pub fn first_filter(&self, parent: Handle) -> FilterPlace {
        FilterPlace {
            ifindex: self.ifindex,
            parent,
            priority: NonZeroU16::MIN,
        }
    }

    /// From the node to its peer, with neighbours known.
    pub fn there(&self) -> Way {
        Way::open((&self.node, self.family, 1), (&self.peer, self.family, 2))
    }

    /// From the peer to the node.
    pub fn back(&self) -> Way {
        Way::open((&self.peer, self.family, 2), (&self.node, self.family, 1))
    }

    pub fn list(&self) -> Vec<Qdisc> {
        qdisc::list(&self.node, self.ifindex).unwrap()
    }

    /// What `tc` would show but for the figures.
    pub fn shape(&self) -> Vec<qdisc::QdiscId> {
        self.list().into_iter().map(|qdisc| qdisc.id).collect()
    }

    /// The figures of one of ours.
    pub fn statistics(&self, handle: Handle) -> Statistics {
        let list = self.list();
        let ours = list.iter().find(|qdisc| qdisc.id.place.handle == handle);
        ours.expect("ours is there").statistics
    }

    /// Does something while the root is ours, and gives the figures of the end.
    pub fn while_root<T>(
        &self,
        discipline: &Discipline,
        work: impl FnOnce() -> T,
    ) -> (T, Statistics) {
        let before = self.shape();
        let id = qdisc::add(&self.node, self.root(), discipline).unwrap();
        let outcome = work();
        let statistics = self.statistics(OURS);
        assert_eq!(qdisc::delete(&self.node, &id).unwrap(), Removal::Now);
        assert_eq!(self.shape(), before);
        (outcome, statistics)
    }

    pub fn while_netem<T>(&self, netem: Netem, work: impl FnOnce() -> T) -> (T, Statistics) {
        self.while_root(&Discipline::Netem(netem), work)
    }
}

/// The index of a link in a namespace.
pub fn index(namespace: &NetNamespace, name: &str) -> u32 {
    let ask = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        name_to_index(&socket, name).unwrap()
    };
    namespace.run(ask).unwrap()
}

/// A way of datagrams.
pub struct Way {
    from: UdpSocket,
    to: UdpSocket,
}

/// A datagram as it arrived.
pub struct Arrival {
    /// Since the first was sent.
    pub at: Duration,
    /// Since it was sent itself.
    pub late: Duration,
}

impl Way {
    fn open(from: (&NetNamespace, Family, u8), to: (&NetNamespace, Family, u8)) -> Self {
        let bound = |(namespace, family, last): (&NetNamespace, Family, u8)| {
            let at = SocketAddr::new(family.address(last).address, 0);
            let until = Instant::now() + slack() * Duration::from_secs(10);
            // The kernel first looks whether somebody else has an address of IPv6.
            let bind = || {
                loop {
                    match UdpSocket::bind(at) {
                        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                            assert!(Instant::now() < until, "{at}: {error}");
                            thread::sleep(Duration::from_millis(20));
                        }
                        bound => return bound.unwrap(),
                    }
                }
            };
            namespace.run(bind).unwrap()
        };
        let way = Self {
            from: bound(from),
            to: bound(to),
        };
        sockopt::set_socket_recv_buffer_size_force(&way.to, RECEIVE_BUFFER).unwrap();
        way.from.connect(way.to.local_addr().unwrap()).unwrap();
        way.meet();
        way
    }

    /// Sends until one arrives, so that the neighbours are known.
    fn meet(&self) {
        let until = Instant::now() + slack() * Duration::from_secs(10);
        while self.drain(Duration::from_millis(100)).is_empty() {
            assert!(Instant::now() < until, "no way through");
            let _ = self.from.send(&[0; 4]);
        }
        while !self.drain(Duration::from_millis(100)).is_empty() {}
    }

    /// Sends numbered datagrams of so many bytes, and gives the numbers that arrived, in their order.
    pub fn numbers(&self, count: u32, bytes: usize) -> Vec<u32> {
        let mut arrived = Vec::new();
        for first in (0..count).step_by(BATCH as usize) {
            for number in first..count.min(first + BATCH) {
                self.send(number, bytes);
            }
            arrived.extend(self.drain(Duration::ZERO));
        }
        loop {
            let late = self.drain(slack() * Duration::from_millis(20));
            if late.is_empty() {
                return arrived;
            }
            arrived.extend(late);
        }
    }

    pub fn send(&self, number: u32, bytes: usize) {
        let datagram: Vec<u8> = number
            .to_be_bytes()
            .into_iter()
            .cycle()
            .take(bytes)
            .collect();
        // What is lost in the sender's own qdisc may be told to it: by prio, tbf and filters, not by netem.
        let _ = self.from.send(&datagram);
    }

    /// What has arrived, and what does before it was quiet for so long.
    fn drain(&self, quiet: Duration) -> Vec<u32> {
        self.to.set_nonblocking(quiet.is_zero()).unwrap();
        if !quiet.is_zero() {
            self.to.set_read_timeout(Some(quiet)).unwrap();
        }
        let mut datagram = [0; 2048];
        let mut arrived = Vec::new();
        while let Ok(length) = self.to.recv(&mut datagram) {
            let number = datagram[..4].try_into().unwrap();
            let intact = datagram[..length].chunks(4).all(|part| number == *part);
            assert!(intact, "a datagram arrived corrupted");
            arrived.push(u32::from_be_bytes(number));
        }
        arrived
    }

    /// How late each of some datagrams is.
    pub fn lateness(&self, bytes: usize) -> Vec<Duration> {
        let arrivals = self.stream(100, bytes, Duration::from_millis(2));
        arrivals.iter().map(|arrival| arrival.late).collect()
    }

    /// Sends numbered datagrams one by one, `every` so often, of which all arrive, and tells when each did.
    pub fn stream(&self, count: u32, bytes: usize, every: Duration) -> Vec<Arrival> {
        let begin = Instant::now();
        let quiet = Duration::from_secs(5) + slack() * Duration::from_secs(1);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                self.to.set_nonblocking(false).unwrap();
                self.to.set_read_timeout(Some(quiet)).unwrap();
                let mut datagram = [0; 2048];
                let mut read = Vec::new();
                while read.len() < count as usize {
                    let length = self.to.recv(&mut datagram).expect("all arrive");
                    assert_eq!(length, bytes);
                    let number = u32::from_be_bytes(datagram[..4].try_into().unwrap());
                    read.push((number, begin.elapsed()));
                }
                read
            });
            let mut sent = Vec::new();
            for number in 0..count {
                let due = every * number;
                thread::sleep(due.saturating_sub(begin.elapsed()));
                sent.push(begin.elapsed());
                self.send(number, bytes);
            }
            let arrival = |(number, at): (u32, Duration)| Arrival {
                at,
                late: at.saturating_sub(sent[number as usize]),
            };
            reader.join().unwrap().into_iter().map(arrival).collect()
        })
    }
}

/// How many different ones.
pub fn distinct(numbers: &[u32]) -> usize {
    numbers.iter().collect::<BTreeSet<_>>().len()
}

/// Asserts that `hits` of `count` draws are what a share makes them, within four deviations.
pub fn assert_share(hits: usize, count: u32, share: f64) {
    assert_about(hits, count, share, 0.0);
}

/// The same, where the share itself is known within some error.
pub fn assert_about(hits: usize, count: u32, share: f64, error: f64) {
    let count = f64::from(count);
    let deviation = (share * (1.0 - share) / count).sqrt();
    let off = hits as f64 / count - share;
    println!(
        "{hits} of {count}: {:.1} deviations from {share}",
        off / deviation
    );
    assert!(off.abs() < 4.0 * deviation + error);
}
