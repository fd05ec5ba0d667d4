//! Ports that are held, so that nobody else is given them, and at which nobody listens.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::ping::inbox::unless_unknown;

/// So many pings to one port of a host can be under way at once. More, and it might not have forgotten the last from the
/// same port, whose reset is still on its way.
const PORTS: usize = 32;
/// Whose turns are counted together; with more hosts than these, some have fewer ports.
const SLOTS: usize = 256;

/// Some ports of a namespace, and whose turn is next.
#[derive(Debug)]
pub(super) struct Ports {
    /// Each holds one port of both families.
    _sockets: Vec<Socket>,
    numbers: Vec<u16>,
    turns: Box<[u8; SLOTS]>,
}

impl Ports {
    /// Has the kernel pick some in the namespace of the calling thread: as many as there are, at least one.
    pub(super) fn reserve() -> io::Result<Self> {
        let (mut sockets, mut numbers) = (Vec::new(), Vec::new());
        while numbers.len() < PORTS {
            match hold() {
                Ok((socket, number)) => {
                    sockets.push(socket);
                    numbers.push(number);
                }
                Err(error) if numbers.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Self {
            _sockets: sockets,
            numbers,
            turns: Box::new([0; SLOTS]),
        })
    }

    pub(super) fn numbers(&self) -> &[u16] {
        &self.numbers
    }

    /// The port for the next ping to somebody: the one that was used longest ago.
    pub(super) fn next(&mut self, to: SocketAddr) -> u16 {
        let mut hasher = DefaultHasher::new();
        to.hash(&mut hasher);
        let slot = usize::from(hasher.finish().to_le_bytes()[0]);
        let turn = usize::from(self.turns[slot]) % self.numbers.len();
        self.turns[slot] = u8::try_from(turn + 1).unwrap_or(0);
        self.numbers[turn]
    }
}

/// A port of both families, or of IPv4 where the kernel has no IPv6.
fn hold() -> io::Result<(Socket, u16)> {
    let open = |domain| Socket::new(domain, Type::STREAM, Some(Protocol::TCP));
    let (socket, any): (_, IpAddr) = match unless_unknown(open(Domain::IPV6))? {
        Some(socket) => {
            socket.set_only_v6(false)?;
            (socket, Ipv6Addr::UNSPECIFIED.into())
        }
        None => (open(Domain::IPV4)?, Ipv4Addr::UNSPECIFIED.into()),
    };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    let bound = socket.local_addr()?.as_socket();
    let port = bound.ok_or(io::ErrorKind::AddrNotAvailable)?.port();
    Ok((socket, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::NetNamespace;
    use std::{collections::BTreeSet, net::TcpListener};

    #[test]
    fn ports_are_held_and_each_is_used_before_one_is_used_again() {
        let Ok(namespace) = NetNamespace::create() else {
            use std::io::Write;
            let _ = io::stderr().write_all(b"skipped: network namespaces\n");
            return;
        };
        let test = || {
            let mut ports = Ports::reserve().unwrap();
            let to: [SocketAddr; 2] = ["10.0.0.1:80", "[fd00::1]:80"].map(|to| to.parse().unwrap());
            for _ in 0..10 {
                let used: BTreeSet<_> = (0..PORTS).map(|_| ports.next(to[0])).collect();
                assert_eq!(used.len(), PORTS);
                ports.next(to[1]);
            }
            for number in ports.numbers() {
                for any in ["0.0.0.0", "::"] {
                    let any: IpAddr = any.parse().unwrap();
                    let refused = TcpListener::bind((any, *number)).unwrap_err();
                    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
                }
            }
        };
        namespace.run(test).unwrap();
    }
}
