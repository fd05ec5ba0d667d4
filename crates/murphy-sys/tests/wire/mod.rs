//! A wire between two namespaces of a test, and numbered datagrams over it: what came says what was lost, what came twice
//! and what came late.
//!
//! For tests of other crates, too, which name it by its path.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use murphy_sys::{
    link::{Prefixed, add_address, add_bridge, join_bridge},
    namespace::NetNamespace,
};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

/// How long a first datagram may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much may wait to be read.
const WAITING_BYTES: usize = 64 << 20;
/// When none has come for so long, none is under way.
const QUIET: Duration = Duration::from_millis(300);

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

    /// Sends so many numbered datagrams from 1 to 2; the numbers that came, in the order in which they came.
    pub fn send(&self, is_v4: bool, count: u32) -> Vec<u32> {
        datagrams(
            (&self.a, address(is_v4, 1)),
            (&self.b, address(is_v4, 2)),
            count,
        )
    }

    /// The same from 2 to 1.
    pub fn send_back(&self, is_v4: bool, count: u32) -> Vec<u32> {
        datagrams(
            (&self.b, address(is_v4, 2)),
            (&self.a, address(is_v4, 1)),
            count,
        )
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
        std::thread::scope(|scope| {
            let asked = |from: usize, to: usize| {
                let ask = move || (reaches(from, to, true), reaches(from, to, false));
                scope.spawn(ask)
            };
            let rows: Vec<Vec<_>> = all
                .clone()
                .map(|from| all.clone().map(|to| asked(from, to)).collect())
                .collect();
            let heard = |row: Vec<std::thread::ScopedJoinHandle<'_, _>>| {
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

/// A socket there, which loses nothing by itself: datagrams that come all at once wait for whoever reads them.
fn bind((namespace, address): (&NetNamespace, IpAddr)) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind((address, 0)));
    let socket = socket.expect("a namespace").expect("a socket");
    set_socket_recv_buffer_size_force(&socket, WAITING_BYTES).expect("root may");
    socket
}

/// Sends so many numbered datagrams from one namespace to another; the numbers that came, in the order in which they came.
pub fn datagrams(
    from: (&NetNamespace, IpAddr),
    to: (&NetNamespace, IpAddr),
    count: u32,
) -> Vec<u32> {
    let (sender, receiver) = (bind(from), bind(to));
    let port = receiver.local_addr().expect("it is bound").port();
    sender
        .connect(SocketAddr::new(to.1, port))
        .expect("a route");
    receiver.set_nonblocking(true).expect("an own socket");
    let mut came = Vec::new();
    let mut buffer = [0; 64];
    let mut take = |came: &mut Vec<u32>| {
        while let Ok(4) = receiver.recv(&mut buffer) {
            let number = [buffer[0], buffer[1], buffer[2], buffer[3]];
            came.push(u32::from_be_bytes(number));
        }
    };
    for number in 0..count {
        // An answer to an earlier one, such as that nobody listens, is told by a later one.
        let _ = sender.send(&number.to_be_bytes());
        take(&mut came);
    }
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < QUIET {
        sleep(Duration::from_millis(1));
        let before = came.len();
        take(&mut came);
        if came.len() > before {
            quiet_since = Instant::now();
        }
    }
    came
}

/// Expects that of so many independent chances so many have come: within four standard deviations.
pub fn assert_share(hits: usize, all: u32, share: f64) {
    let (n, hits) = (f64::from(all), hits as f64);
    let sigma = (n * share * (1.0 - share)).sqrt();
    assert!(
        (hits - n * share).abs() < 4.0 * sigma,
        "{hits} of {n}, and {share} was asked"
    );
}

/// How long each of so many datagrams takes from 1 to 2, or back, in milliseconds; those that do not come are left out.
pub fn timed(wire: &Wire, is_v4: bool, back: bool, count: u32) -> Vec<f64> {
    let ends = [(&wire.a, address(is_v4, 1)), (&wire.b, address(is_v4, 2))];
    let [from, to] = if back { [ends[1], ends[0]] } else { ends };
    let (sender, receiver) = (bind(from), bind(to));
    let there = receiver.local_addr().expect("it is bound");
    receiver
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("an own socket");
    let began = Instant::now();
    let listener = std::thread::spawn(move || {
        let mut times = Vec::new();
        let mut buffer = [0; 16];
        while let Ok(16) = receiver.recv(&mut buffer) {
            let sent = Duration::from_nanos(u64::from_be_bytes(
                buffer[..8].try_into().expect("eight bytes"),
            ));
            times.push((began.elapsed().saturating_sub(sent)).as_secs_f64() * 1e3);
            if times.len() == count as usize {
                break;
            }
        }
        times
    });
    for _ in 0..count {
        let sent =
            u64::try_from(began.elapsed().as_nanos()).expect("a test does not take centuries");
        let datagram = [sent.to_be_bytes(), [0; 8]].concat();
        sender.send_to(&datagram, there).expect("a route");
        sleep(Duration::from_millis(2));
    }
    listener.join().expect("it only listens")
}
