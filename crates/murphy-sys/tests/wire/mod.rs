//! A wire between two namespaces of a test, and numbered datagrams over it: what came says what was lost, what came twice
//! and what came late.
//!
//! For tests of other crates, too, which name it by its path.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use murphy_sys::{
    link::{Prefixed, add_address, add_bridge, join_bridge},
    namespace::NetNamespace,
    pump::{Bell, Wait},
};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

/// How long a first datagram may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much may wait to be read.
pub const WAITING_BYTES: usize = 64 << 20;
/// So long a datagram may be under way that is timed.
const LONGEST: Duration = Duration::from_secs(2);
/// When none has come for so long, none is under way.
pub const QUIET: Duration = Duration::from_millis(300);
/// What each datagram says: its number, and when it was sent.
const STAMP_BYTES: usize = 12;
/// What the rest of it is filled with.
const FILLING: u8 = 0x5a;
/// How often a datagram is sent again in whose place an error was told.
const AGAIN: usize = 100;
/// So many standard deviations away nothing is by chance.
pub const SIGMAS: f64 = 4.0;

/// Two nodes on a bridge, 1 and 2, each with an address of both families on `eth0`.
pub struct Wire {
    _star: Star,
    pub a: NetNamespace,
    pub b: NetNamespace,
}

impl Wire {
    /// Between two namespaces that have nothing yet. Both find each other before this returns.
    pub fn lay(a: NetNamespace, b: NetNamespace) -> Self {
        let wire = Self {
            _star: Star::lay(vec![a.clone(), b.clone()]),
            a,
            b,
        };
        for is_v4 in [true, false] {
            wire.warm(is_v4);
        }
        wire
    }

    /// Sends a datagram again and again until one comes: neighbours must be found first.
    fn warm(&self, is_v4: bool) {
        let until = Instant::now() + PATIENCE;
        while self.send(is_v4, 1).is_empty() {
            assert!(Instant::now() < until, "no datagram ever came");
        }
    }

    /// Where datagrams of a family are sent from and to: from 1 to 2, or back.
    pub fn ends(&self, is_v4: bool, back: bool) -> (End<'_>, End<'_>) {
        let (a, b) = ((&self.a, address(is_v4, 1)), (&self.b, address(is_v4, 2)));
        if back { (b, a) } else { (a, b) }
    }

    /// Sends numbered datagrams of IPv4 and then of IPv6 from 1 to 2, or back; what came of each family.
    pub fn flows(&self, back: bool, pace: Pace) -> Vec<Flow> {
        flows(&[true, false].map(|is_v4| self.ends(is_v4, back)), pace)
    }

    /// Sends so many numbered datagrams from 1 to 2; the numbers that came, in the order in which they came.
    pub fn send(&self, is_v4: bool, count: u32) -> Vec<u32> {
        let (from, to) = self.ends(is_v4, false);
        datagrams(from, to, count)
    }
}

/// Several nodes on one bridge, from 1 on, each with an address of both families on `eth0`.
pub struct Star {
    _bridge: NetNamespace,
    pub nodes: Vec<NetNamespace>,
}

impl Star {
    /// Between namespaces that have nothing yet.
    pub fn lay(nodes: Vec<NetNamespace>) -> Self {
        let bridge = NetNamespace::create().expect("a namespace");
        let in4 = |last| prefixed(address(true, last), 24);
        add_bridge(&bridge, "br0", in4(254)).expect("a bridge");
        for (node, last) in nodes.iter().zip(1..) {
            join_bridge(&bridge, "br0", &format!("n{last}"), node, in4(last)).expect("a link");
            add_address(node, "eth0", prefixed(address(false, last), 64)).expect("an address");
        }
        Self {
            _bridge: bridge,
            nodes,
        }
    }

    /// Who reaches whom, in the order of the nodes: by both families, by none, or else by the one.
    pub fn matrix(&self) -> Vec<Vec<(bool, bool)>> {
        let reaches = |from: usize, to: usize, is_v4| {
            let end = |node: usize| {
                let last = u8::try_from(node + 1).expect("a few nodes");
                (&self.nodes[node], address(is_v4, last))
            };
            !datagrams(end(from), end(to), 3).is_empty()
        };
        let all = 0..self.nodes.len();
        thread::scope(|scope| {
            let asked = |from: usize, to: usize| {
                let ask = move || (reaches(from, to, true), reaches(from, to, false));
                scope.spawn(ask)
            };
            let rows: Vec<Vec<_>> = all
                .clone()
                .map(|from| all.clone().map(|to| asked(from, to)).collect())
                .collect();
            let heard = |row: Vec<thread::ScopedJoinHandle<'_, _>>| {
                row.into_iter()
                    .map(|cell| cell.join().expect("it only asks"))
                    .collect()
            };
            rows.into_iter().map(heard).collect()
        })
    }
}

fn prefixed(address: IpAddr, length: u8) -> Prefixed {
    Prefixed { address, length }
}

/// The address of a node.
pub fn address(is_v4: bool, last: u8) -> IpAddr {
    if is_v4 {
        [10, 78, 0, last].into()
    } else {
        [0xfd78, 0, 0, 0, 0, 0, 0, u16::from(last)].into()
    }
}

/// How datagrams are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// So many, to each end.
    pub count: u32,
    /// So long each, without headers.
    pub bytes: usize,
    /// This between two of them.
    pub pause: Duration,
    /// When none has come for so long, none is under way any more.
    pub patience: Duration,
}

impl Pace {
    /// So many at once, of which none waits long.
    pub fn at_once(count: u32) -> Self {
        Self {
            count,
            bytes: STAMP_BYTES,
            pause: Duration::ZERO,
            patience: QUIET,
        }
    }
}

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Which one it was of all that were sent.
    pub number: u32,
    /// When it was sent, after the first.
    pub sent: Duration,
    /// When it came, after the first was sent.
    pub at: Duration,
}

impl Arrival {
    /// How long it took, in milliseconds.
    pub fn took_ms(self) -> f64 {
        self.at.saturating_sub(self.sent).as_secs_f64() * 1e3
    }
}

/// What came of datagrams from one address to another.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Those that came, in the order in which they came.
    pub came: Vec<Arrival>,
    /// The number of the first that was sent.
    pub first: u32,
    /// How often the sender was told of an error.
    pub told: u32,
}

impl Flow {
    /// The numbers that came, each once.
    pub fn distinct(&self) -> BTreeSet<u32> {
        self.came.iter().map(|arrival| arrival.number).collect()
    }
}

/// A namespace, and an address there.
pub type End<'a> = (&'a NetNamespace, IpAddr);

/// A socket there, which loses nothing by itself: datagrams that come all at once wait for whoever reads them.
pub fn bind((namespace, address): End<'_>) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind((address, 0)));
    let socket = socket.expect("a namespace").expect("a socket");
    roomy(&socket);
    socket
}

/// Lets a socket lose nothing by itself.
pub fn roomy(socket: &UdpSocket) {
    set_socket_recv_buffer_size_force(socket, WAITING_BYTES).expect("root may");
}

/// Sends so many numbered datagrams from one socket to another, to which it is connected; the numbers that came, in the
/// order in which they came, and how many could not be sent.
pub fn numbered(sender: &UdpSocket, receiver: &UdpSocket, count: u32) -> (Vec<u32>, u32) {
    let (pace, began, done) = (Pace::at_once(count), Instant::now(), OnceLock::new());
    thread::scope(|scope| {
        let listener = scope.spawn(|| listen(receiver, pace, began, &done));
        let refused = send(sender, 0, pace, began);
        done.set(Instant::now()).expect("it is done once");
        let came = listener.join().expect("nothing comes but what was sent");
        (came.iter().map(|arrival| arrival.number).collect(), refused)
    })
}

/// Sends numbered datagrams, to one pair of ends after the other; what came of each. Numbers go on from pair to pair.
pub fn flows(pairs: &[(End<'_>, End<'_>)], pace: Pace) -> Vec<Flow> {
    let (began, done) = (Instant::now(), OnceLock::new());
    let sockets: Vec<_> = pairs
        .iter()
        .map(|(from, to)| (bind(*from), bind(*to)))
        .collect();
    thread::scope(|scope| {
        let listen = |(_, receiver): &'_ (UdpSocket, UdpSocket)| {
            let (receiver, done) = (receiver.try_clone().expect("a socket"), &done);
            scope.spawn(move || listen(&receiver, pace, began, done))
        };
        let listeners: Vec<_> = sockets.iter().map(listen).collect();
        let mut sent = Vec::new();
        for ((sender, receiver), first) in sockets.iter().zip((0..).step_by(pace.count as usize)) {
            let there = receiver.local_addr().expect("it is bound");
            sender.connect(there).expect("a route");
            sent.push((first, send(sender, first, pace, began)));
        }
        done.set(Instant::now()).expect("it is done once");
        let flow = |((first, told), listener): (_, thread::ScopedJoinHandle<'_, _>)| Flow {
            came: listener.join().expect("nothing comes but what was sent"),
            first,
            told,
        };
        sent.into_iter().zip(listeners).map(flow).collect()
    })
}

/// Has the thread run before others where times are measured, so that what it measures is not its own lateness.
fn hurry(bell: &Bell, pace: Pace) -> Wait<'_> {
    let mut wait = Wait::new(bell, []).expect("there is nothing to wait for");
    if !pace.pause.is_zero() {
        // Without the privilege times are later, as they are on a busy machine.
        let _ = wait.hurry();
    }
    wait
}

/// Sends them; how often an error was told.
fn send(sender: &UdpSocket, first: u32, pace: Pace, began: Instant) -> u32 {
    let bell = Bell::new().expect("a bell");
    let _urgency = hurry(&bell, pace);
    let mut told = 0;
    for number in first..first + pace.count {
        let sent = u64::try_from(began.elapsed().as_nanos()).expect("not centuries");
        let mut datagram = vec![FILLING; pace.bytes.max(STAMP_BYTES)];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        datagram[4..STAMP_BYTES].copy_from_slice(&sent.to_be_bytes());
        for _ in 0..AGAIN {
            match sender.send(&datagram) {
                // The answer to an earlier one, in whose place this one was not sent.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => told += 1,
                Err(_) => {
                    told += 1;
                    break;
                }
                Ok(_) => break,
            }
        }
        if !pace.pause.is_zero() {
            thread::sleep(pace.pause);
        }
    }
    told
}

/// Takes what comes, until nothing is under way any more.
fn listen(
    receiver: &UdpSocket,
    pace: Pace,
    began: Instant,
    done: &OnceLock<Instant>,
) -> Vec<Arrival> {
    let bell = Bell::new().expect("a bell");
    let _urgency = hurry(&bell, pace);
    let glance = Some(QUIET / 10);
    receiver.set_read_timeout(glance).expect("an own socket");
    let (mut came, mut last, mut buffer) = (Vec::new(), began, [0; 2048]);
    loop {
        if let Ok(bytes) = receiver.recv(&mut buffer) {
            let (datagram, at) = (&buffer[..bytes], began.elapsed());
            if bytes != pace.bytes.max(STAMP_BYTES) {
                // It is somebody else's, or is missed where it is counted.
                continue;
            }
            let (number, rest) = datagram.split_first_chunk().expect("four bytes");
            let (sent, rest) = rest.split_first_chunk().expect("eight bytes");
            assert!(rest.iter().all(|byte| *byte == FILLING), "it is whole");
            came.push(Arrival {
                number: u32::from_be_bytes(*number),
                sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
                at,
            });
            last = Instant::now();
            continue;
        }
        let Some(done) = done.get() else { continue };
        if done.max(&last).elapsed() > pace.patience {
            return came;
        }
    }
}

/// Sends so many numbered datagrams from one namespace to another; the numbers that came, in the order in which they came.
pub fn datagrams(from: End<'_>, to: End<'_>, count: u32) -> Vec<u32> {
    let flows = flows(&[(from, to)], Pace::at_once(count));
    flows[0].came.iter().map(|arrival| arrival.number).collect()
}

/// Expects that of so many independent chances so many have come: within four standard deviations.
pub fn assert_share(hits: usize, all: u32, share: f64) {
    assert_share_of_chain(hits, all, share, 0.0);
}

/// The same of chances of which each correlates so much with the one before: the variance of a chain of two states is
/// that of independent draws times (1 + c) / (1 - c).
pub fn assert_share_of_chain(hits: usize, all: u32, share: f64, correlation: f64) {
    let (n, hits) = (f64::from(all), hits as f64);
    let sigma = (n * share * (1.0 - share) * (1.0 + correlation) / (1.0 - correlation)).sqrt();
    assert!(
        (hits - n * share).abs() < SIGMAS * sigma,
        "{hits} of {n}, and {share} was asked"
    );
}

/// How long each of so many datagrams takes from 1 to 2, or back, in milliseconds; those that do not come are left out.
pub fn timed(wire: &Wire, is_v4: bool, back: bool, count: u32) -> Vec<f64> {
    let pace = Pace {
        pause: Duration::from_millis(2),
        patience: LONGEST,
        ..Pace::at_once(count)
    };
    let flows = flows(&[wire.ends(is_v4, back)], pace);
    let came = flows[0].came.iter();
    came.map(|arrival| arrival.took_ms()).collect()
}
