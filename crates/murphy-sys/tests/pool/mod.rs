//! Connections over the loopback of a namespace of a test's own, with both ends in its hands.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    env,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::Command,
    time::Duration,
};

use murphy_sys::{
    connections::{self, Connections, SocketId, State},
    link::{Prefixed, add_bridge},
    namespace::NetNamespace,
};
use nix::libc;
use rustix::{
    net::sockopt::socket_cookie,
    process::{Resource, getrlimit, setrlimit},
    system::uname,
};
use socket2::{Domain, Socket, Type};

/// Where somebody listens, and by what name he is called: in IPv4, in IPv6, in IPv4 where he listens in IPv6, and the same
/// by the name that IPv6 has for it.
pub const PLACES: [(&str, &str); 4] = [
    ("127.0.0.1", "127.0.0.1"),
    ("[::1]", "[::1]"),
    ("[::]", "127.0.0.1"),
    ("[::]", "[::ffff:127.0.0.1]"),
];
/// As many descriptors as the largest pools here need, beside each other.
const DESCRIPTORS: u64 = 10_000;
/// What a socket is told by `TCP_REPAIR`, as include/uapi/linux/tcp.h has it: also that it shall not ask the other end.
const REPAIR: i32 = 1;
const REPAIRED: i32 = -1;

/// How long something may take.
pub fn patience() -> Duration {
    let said = env::var("MURPHY_TEST_SLACK").ok();
    let slack = said.and_then(|said| said.parse().ok()).unwrap_or(1);
    slack * Duration::from_secs(30)
}

/// Past the capture of the test runner, so that it is counted.
pub fn say_skipped(reason: &impl ToString) {
    let _ = writeln!(io::stderr(), "skipped: {}", reason.to_string());
}

/// Adds a rule of netfilter in a namespace, by `iptables` or `ip6tables`; not, with the reason, where that cannot be.
pub fn rule_or_skip(namespace: &NetNamespace, program: &str, rule: &str) -> Option<()> {
    let words = ["-w"].into_iter().chain(rule.split(' '));
    let ran = namespace.run(|| Command::new(program).args(words).output());
    match ran.expect("it is there") {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            say_skipped(&String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            say_skipped(&format!("{program}: {error}"));
            None
        }
    }
}

/// Whether this kernel is of this version or of a later one.
pub fn is_since(major: u32, minor: u32) -> bool {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|word| word.parse().ok());
    let mut next = || numbers.next().flatten().expect("two numbers");
    (next(), next()) >= (major, minor)
}

/// A namespace in which there is a loopback.
pub fn namespace() -> NetNamespace {
    let made = NetNamespace::create().expect("root may");
    let address = Ipv4Addr::new(10, 79, 0, 1).into();
    let length = 24;
    add_bridge(&made, "br0", Prefixed { address, length }).expect("a bridge");
    made
}

/// Both ends of some connections, the nth beside the nth. Who listens stays.
pub struct Pool {
    pub listener: TcpListener,
    pub accepted: Vec<TcpStream>,
    pub opened: Vec<TcpStream>,
}

/// What the owner of an end sees of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Alive,
    Error(ErrorKind),
    End,
}

impl Pool {
    /// So many, from one of [`PLACES`].
    pub fn fill(namespace: &NetNamespace, (host, name): (&str, &str), count: usize) -> Self {
        has_room();
        let make = || {
            let listener = TcpListener::bind(format!("{host}:0")).expect("a socket");
            let port = listener.local_addr().expect("it is bound").port();
            let one = || {
                let opened =
                    TcpStream::connect(format!("{name}:{port}")).expect("somebody listens");
                let (accepted, _) = listener.accept().expect("somebody has come");
                (accepted, opened)
            };
            let (accepted, opened) = (0..count).map(|_| one()).unzip();
            Self {
                listener,
                accepted,
                opened,
            }
        };
        namespace.run(make).expect("a namespace")
    }

    /// The port where somebody listens.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("it is bound").port()
    }

    /// What both owners of each connection see of it.
    pub fn seen(&self) -> Vec<(Seen, Seen)> {
        let ends = self.accepted.iter().zip(&self.opened);
        ends.map(|(accepted, opened)| (seen(accepted), seen(opened)))
            .collect()
    }

    /// Expects that a connection carries data both ways.
    pub fn answers(&self, place: usize) {
        let (mut one, mut other) = (&self.accepted[place], &self.opened[place]);
        for end in [one, other] {
            end.set_nonblocking(false).expect("a socket");
            end.set_read_timeout(Some(patience())).expect("a socket");
        }
        let mut answer = [0];
        one.write_all(b"a").expect("it is alive");
        other.read_exact(&mut answer).expect("it is alive");
        other.write_all(&answer).expect("it is alive");
        one.read_exact(&mut answer).expect("it is alive");
    }
}

/// Both ends of a thousand connections are more descriptors than a shell gives.
fn has_room() {
    let mut limit = getrlimit(Resource::Nofile);
    // Root may have more; without it, it may be enough nevertheless.
    limit.maximum = limit.maximum.map(|most| most.max(DESCRIPTORS));
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).expect("up to the maximum everybody may");
    }
}

fn seen(end: &TcpStream) -> Seen {
    end.set_nonblocking(true).expect("a socket");
    let mut end = end;
    match end.read(&mut [0]) {
        Ok(0) => Seen::End,
        Ok(_) => panic!("nobody has sent anything"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Seen::Alive,
        Err(error) => Seen::Error(error.kind()),
    }
}

/// The kernel's own number for a socket.
pub fn cookie(socket: &TcpStream) -> u64 {
    socket_cookie(socket).expect("a socket")
}

/// Both ends of a socket, as it says them itself.
pub fn ends(socket: &TcpStream) -> (SocketAddr, SocketAddr) {
    let local = socket.local_addr().expect("it is bound");
    (local, socket.peer_addr().expect("it is connected"))
}

/// What some sockets of a namespace are known by, in their order.
pub fn ids<'a>(
    namespace: &NetNamespace,
    sockets: impl IntoIterator<Item = &'a TcpStream>,
) -> Vec<SocketId> {
    let listed = list(namespace, State::Established);
    let id = |socket: &TcpStream| {
        let cookie = cookie(socket);
        let found = listed.iter().find(|listed| listed.id.cookie == cookie);
        found.expect("it is connected").id
    };
    sockets.into_iter().map(id).collect()
}

/// The sockets of a namespace that are in some state.
pub fn list(namespace: &NetNamespace, state: State) -> Vec<connections::Socket> {
    let mut connections = Connections::within(namespace).expect("a namespace");
    connections.list(&[state], false).expect("a list")
}

/// A socket that believes to be connected, of which the other end knows nothing, as after a restart: see `TCP_REPAIR`.
pub fn pretend_to_be_connected(to: SocketAddr) -> TcpStream {
    let made = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    let is_under_repair = |is: i32| {
        // SAFETY: the option is a number of four bytes, which lives until the call returns.
        let set = unsafe {
            let (level, option) = (libc::IPPROTO_TCP, libc::TCP_REPAIR);
            libc::setsockopt(made.as_raw_fd(), level, option, (&raw const is).cast(), 4)
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    };
    is_under_repair(REPAIR);
    made.bind(&SocketAddr::new(to.ip(), 0).into())
        .expect("a socket");
    made.connect(&to.into()).expect("a socket");
    is_under_repair(REPAIRED);
    made.into()
}
