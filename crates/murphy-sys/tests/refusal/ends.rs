//! Clients and servers in namespaces of a test: a client says whether it was refused, a server says back what it is told.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    ops::Range,
    thread,
    time::Duration,
};

use murphy_sys::{
    namespace::NetNamespace,
    refusal::{Order, Refusal, RefusalError, Scope, trial_accepted, trial_opened},
    traffic::ALWAYS,
};
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::wire::{Wire, address};

/// Where servers listen, in namespaces of their own.
pub const PORT: u16 = 8080;
/// How long somebody waits who gets no answer.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// So many connections show a statistical effect.
pub const SAMPLE: u16 = 2000;
/// Three in ten.
pub const A_THIRD: u64 = ALWAYS / 10 * 3;

/// Two namespaces and a wire, or the reason why the target there cannot refuse connections that it is asked for.
pub fn lay_to_accept() -> Option<Wire> {
    lay(trial_accepted())
}

/// The same for those that it opens.
pub fn lay_to_open() -> Option<Wire> {
    lay(trial_opened())
}

/// The same for both.
pub fn lay_for_both() -> Option<Wire> {
    lay(trial_accepted().and_then(|()| trial_opened()))
}

fn lay(trial: Result<(), RefusalError>) -> Option<Wire> {
    if let Err(error) = trial {
        // Past the capture of the test runner, so that it is counted.
        let _ = writeln!(std::io::stderr(), "skipped: {error}");
        return None;
    }
    let make = || NetNamespace::create().unwrap();
    Some(Wire::lay(make(), make()))
}

/// Of connections with the server's port on either side, so many in 2³² are refused.
pub fn order(chance: u64) -> Order {
    Order {
        id: 0xc0,
        seed: 7,
        active: true,
        chance,
        scope: Scope {
            either_ports: vec![(PORT, PORT)],
            ..Scope::default()
        },
        ..Order::default()
    }
}

/// The same on the side of the target. A segment that comes late to a client which is gone has it on the other.
pub fn order_to_server(chance: u64) -> Order {
    Order {
        scope: Scope {
            local_ports: vec![(PORT, PORT)],
            ..Scope::default()
        },
        ..order(chance)
    }
}

/// The address by which somebody reaches himself.
pub fn itself(is_v4: bool) -> IpAddr {
    let text = if is_v4 { "127.0.0.1" } else { "::1" };
    text.parse().unwrap()
}

/// Everybody who asks there from now on is taken, and told what he says.
pub fn serve(namespace: &NetNamespace, port: u16) {
    let listen = || TcpListener::bind(("::", port)).unwrap();
    serve_at(namespace.run(listen).unwrap());
}

/// The same of a listener that is there.
pub fn serve_at(listener: TcpListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut said = [0; 64];
                // Its client is the first to go: nobody is told anything about a connection that is no more.
                while let Ok(bytes @ 1..) = stream.read(&mut said) {
                    let _ = stream.write_all(&said[..bytes]);
                }
            });
        }
    });
}

/// Whether what is said there comes back.
pub fn talks(stream: &mut TcpStream) -> bool {
    let mut heard = [0; 5];
    stream.write_all(b"hello").is_ok()
        && stream.read_exact(&mut heard).is_ok()
        && &heard == b"hello"
}

/// A datagram to a port, which comes.
pub fn datagram_comes(namespace: &NetNamespace, port: u16) -> bool {
    namespace
        .run(|| {
            let server = UdpSocket::bind((itself(true), port)).unwrap();
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            let client = UdpSocket::bind((itself(true), 0)).unwrap();
            client.connect((itself(true), port)).unwrap();
            client.send(b"hello").unwrap();
            server.recv(&mut [0; 5]).is_ok()
        })
        .unwrap()
}

/// A new socket whose end leaves nothing that waits.
pub fn socket(from: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket.bind(&from.into()).unwrap();
    socket
}

/// Whether somebody who asks is refused. Who is not hears from the server before he goes: what he has sent has found it,
/// and no segment comes so late that it seems to ask, too.
pub fn is_refused(from: SocketAddr, to: SocketAddr) -> bool {
    let socket = socket(from);
    match socket.connect(&to.into()) {
        Ok(()) => {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(talks(&mut socket.into()), "{from} to {to}: nobody is there");
            false
        }
        Err(error) if error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) => true,
        Err(error) => panic!("{from} to {to}: {error}"),
    }
}

/// One who asks from an address, from ports in their order.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub namespace: &'a NetNamespace,
    pub from: IpAddr,
    pub to: SocketAddr,
}

impl<'a> Client<'a> {
    /// On node 1, of the server on node 2.
    pub fn afar(wire: &'a Wire, is_v4: bool) -> Self {
        Self {
            namespace: &wire.a,
            from: address(is_v4, 1),
            to: (address(is_v4, 2), PORT).into(),
        }
    }

    /// On node 2, of the server there.
    pub fn near(wire: &'a Wire, is_v4: bool) -> Self {
        Self {
            namespace: &wire.b,
            from: itself(is_v4),
            to: (itself(is_v4), PORT).into(),
        }
    }

    /// The same, of somebody at another port.
    pub fn at(self, port: u16) -> Self {
        let to = (self.to.ip(), port).into();
        Self { to, ..self }
    }

    /// The ports from which it was refused.
    pub fn refused_from(self, ports: Range<u16>) -> BTreeSet<u16> {
        let is_refused = |port: &u16| is_refused((self.from, *port).into(), self.to);
        self.namespace
            .run(|| ports.filter(is_refused).collect())
            .unwrap()
    }

    /// How often it was, of so many times.
    pub fn refused_of(self, times: u16) -> u64 {
        self.refused_from(20_000..20_000 + times).len() as u64
    }

    /// A connection.
    pub fn connect(self) -> TcpStream {
        let stream = self
            .namespace
            .run(|| {
                let socket = socket((self.from, 0).into());
                socket.connect(&self.to.into()).unwrap();
                TcpStream::from(socket)
            })
            .unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// What a refusal has counted: who asked, and who was refused.
pub fn counted(refusal: &Refusal) -> (u64, u64) {
    let counts = refusal.counts().unwrap();
    assert_eq!(counts.steered, 0);
    (counts.seen, counts.refused)
}
