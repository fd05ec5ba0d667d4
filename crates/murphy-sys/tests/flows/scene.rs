//! A scene has every kind of connection that a target may have, with a neighbour each, and programs that may break them.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use murphy_sys::{
    connections::{Connections, Ended, SocketId, State},
    flows::{Flow, FlowState, Flows, FlowsError, Mode, trial, trial_by_filters},
    link,
    namespace::NetNamespace,
    traffic::{Attachment, Filters, Role, Way},
};

use crate::wire::{Wire, address};

/// For so long nothing is to be heard.
pub const SILENCE: Duration = Duration::from_secs(1);
/// How long something that comes may take: TCP waits twice as long each time before it sends again.
pub const PATIENCE: Duration = Duration::from_secs(40);
pub const LOOPBACK: u32 = 1;

/// Where a connection goes, how, and which of its ends is the target's.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    pub is_local: bool,
    pub family: Family,
    pub is_accepted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    /// Of IPv4, accepted by a socket of IPv6.
    Mapped,
}

impl Course {
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for is_local in [true, false] {
            for family in [Family::V4, Family::V6, Family::Mapped] {
                all.extend([true, false].map(|is_accepted| Self {
                    is_local,
                    family,
                    is_accepted,
                }));
            }
        }
        all
    }
}

/// A connection of the target's, and another one to the same port.
pub struct Pair {
    pub course: Course,
    pub flow: Flow,
    pub mine: TcpStream,
    pub theirs: TcpStream,
    neighbours: (TcpStream, TcpStream),
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}", self.course, self.flow)
    }
}

impl Pair {
    pub fn open(wire: &Wire, course: Course) -> Self {
        let is_v4 = course.family != Family::V6;
        let (here, there) = if course.is_local {
            (&wire.a, &wire.a)
        } else {
            (&wire.a, &wire.b)
        };
        let (client_in, server_in) = if course.is_accepted {
            (there, here)
        } else {
            (here, there)
        };
        let host: IpAddr = match (course.is_local, is_v4, course.is_accepted) {
            (true, true, _) => Ipv4Addr::LOCALHOST.into(),
            (true, false, _) => Ipv6Addr::LOCALHOST.into(),
            (false, _, true) => address(is_v4, 1),
            (false, _, false) => address(is_v4, 2),
        };
        let bound_to = match course.family {
            Family::Mapped => Ipv6Addr::UNSPECIFIED.into(),
            _ => host,
        };
        let listener = within(server_in, || TcpListener::bind((bound_to, 0)));
        let at = SocketAddr::new(host, listener.local_addr().unwrap().port());
        let connected = || {
            let client = within(client_in, || TcpStream::connect(at));
            let (served, _) = listener.accept().unwrap();
            for stream in [&client, &served] {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            if course.is_accepted {
                (served, client)
            } else {
                (client, served)
            }
        };
        let (mine, theirs) = connected();
        let flow = Flow::new(mine.local_addr().unwrap(), mine.peer_addr().unwrap());
        let neighbours = connected();
        let pair = Self {
            course,
            flow,
            mine,
            theirs,
            neighbours,
        };
        talk(&pair.mine, &pair.theirs);
        pair
    }

    fn peer_in<'a>(&self, wire: &'a Wire) -> &'a NetNamespace {
        if self.course.is_local {
            &wire.a
        } else {
            &wire.b
        }
    }

    /// What stands in the kernel's list on the target's side, and on the other.
    pub fn sockets(&self, wire: &Wire) -> (Option<SocketId>, Option<SocketId>) {
        let theirs = Flow::new(self.flow.remote(), self.flow.local());
        (
            established(&wire.a, self.flow),
            established(self.peer_in(wire), theirs),
        )
    }

    pub fn has_both_ends(&self, wire: &Wire) {
        let (mine, theirs) = self.sockets(wire);
        assert!(mine.is_some() && theirs.is_some(), "{self}");
    }

    pub fn neighbours_talk(&self) {
        talk(&self.neighbours.0, &self.neighbours.1);
    }
}

pub fn within<T: Send>(
    namespace: &NetNamespace,
    work: impl FnOnce() -> std::io::Result<T> + Send,
) -> T {
    namespace.run(work).unwrap().unwrap()
}

/// Each hears what the other says.
pub fn talk(a: &TcpStream, b: &TcpStream) {
    for (mut from, mut to) in [(a, b), (b, a)] {
        from.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        to.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }
}

/// What an application reads within so long.
pub fn read(mut stream: &TcpStream, within: Duration) -> Result<usize, ErrorKind> {
    stream.set_read_timeout(Some(within)).unwrap();
    let heard = stream.read(&mut [0; 4096]).map_err(|error| error.kind());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    heard
}

pub fn is_silent(pair: &Pair, stream: &TcpStream) {
    assert_eq!(read(stream, SILENCE), Err(ErrorKind::WouldBlock), "{pair}");
}

fn established(namespace: &NetNamespace, flow: Flow) -> Option<SocketId> {
    let mut connections = Connections::within(namespace).unwrap();
    let all = connections.list(&[State::Established], false).unwrap();
    let mut ids = all.iter().map(|socket| socket.id);
    ids.find(|id| Flow::from(id) == flow)
}

/// Ends the target's own socket.
pub fn end_mine(wire: &Wire, pair: &Pair) {
    let mine = pair.sockets(wire).0.expect("it is there");
    let ended = Connections::within(&wire.a).unwrap().end(&[mine]).unwrap();
    assert_eq!(ended, [Ended::Now], "{pair}");
}

/// Programs at the devices of node 1, and connections there; the filters that hold them go with it.
pub struct Scene {
    pub wire: Wire,
    pub flows: Flows,
    pub filters: Vec<Filters>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for filters in &self.filters {
            filters.remove().unwrap();
        }
    }
}

impl Scene {
    pub fn set_or_skip(id: u32) -> Option<Self> {
        if let Err(error) = trial().or_else(|_| trial_by_filters()) {
            skipped(&error);
            return None;
        }
        let make = || NetNamespace::create().unwrap();
        let wire = Wire::lay(make(), make());
        let (flows, filters) = attached(&wire, id);
        Some(Self {
            wire,
            flows,
            filters,
        })
    }

    /// The same where programs are held by links.
    pub fn set_with_links_or_skip(id: u32) -> Option<Self> {
        if let Err(error) = trial() {
            skipped(&error);
            return None;
        }
        Self::set_or_skip(id)
    }

    pub fn pairs(&self) -> Vec<Pair> {
        let open = |course| Pair::open(&self.wire, course);
        Course::all().into_iter().map(open).collect()
    }

    pub fn breaks(&mut self, pairs: &[Pair], mode: Mode) {
        let flows: Vec<_> = pairs.iter().map(|pair| (pair.flow, mode)).collect();
        self.flows.insert(&flows).unwrap();
    }

    pub fn state(&self, pair: &Pair) -> FlowState {
        self.flows.state(&pair.flow).unwrap().expect("it is broken")
    }
}

fn skipped(why: &FlowsError) {
    // Past the capture of the test runner, so that it is counted.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

pub fn attached(wire: &Wire, id: u32) -> (Flows, Vec<Filters>) {
    let mut flows = Flows::load(&wire.a, id, None).unwrap();
    let devices = [LOOPBACK, link::index(&wire.a, "eth0").unwrap()];
    let mut all = Vec::new();
    for device in devices {
        if trial().is_ok() {
            flows.attach(device, Attachment::Links).unwrap();
            continue;
        }
        let name = format!("mphy-{id:06x}-{device}");
        let filters = Filters::choose(&wire.a, device, &Way::ALL, &name, Role::Looks).unwrap();
        flows.attach(device, Attachment::Filters(&filters)).unwrap();
        all.push(filters);
    }
    (flows, all)
}

/// Does something with each connection, all at the same time.
pub fn at_once(pairs: &[Pair], work: impl Fn(&Pair) + Sync) {
    thread::scope(|scope| {
        for pair in pairs {
            let work = &work;
            scope.spawn(move || work(pair));
        }
    });
}
