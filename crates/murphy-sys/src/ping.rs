//! A ping asks hosts whether they answer, and measures how long that takes: echo requests of ICMP (RFC 792) and ICMP for
//! IPv6 (RFC 4443) from inside a network namespace.
//!
//! Needs `CAP_NET_RAW` in the user namespace that owns the network namespace.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::{NamespaceError, NetNamespace};

/// Types of messages: asked and answered, for IPv4 and for IPv6.
const ECHO4: (u8, u8) = (8, 0);
const ECHO6: (u8, u8) = (128, 129);
/// What is sent: the header, and as much as ping(8) sends behind it.
const MESSAGE_BYTES: usize = 8 + 56;
/// The longest header of IPv4, which is read before an answer.
const HEADER_MAX: usize = 60;

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No socket for messages of ICMP.
    #[error("open a raw socket: {0} (needs CAP_NET_RAW)")]
    Socket(#[source] io::Error),
    /// The socket cannot be read.
    #[error("wait for echoes: {0}")]
    Wait(#[source] io::Error),
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// An answer, after so long.
    Came(Duration),
    /// No answer in time.
    Missing,
    /// The kernel did not send it: there is no way to the host, or a firewall forbids it.
    Unsent,
}

/// Who asks, with the requests that were sent so far.
#[derive(Debug)]
pub struct Pinger {
    v4: Socket,
    /// None where the kernel has no IPv6.
    v6: Option<Socket>,
    identifier: u16,
    asked: u16,
}

impl Pinger {
    /// One that asks from inside a namespace, over a device of that name only if there is one.
    pub fn new(namespace: &NetNamespace, device: Option<&str>) -> Result<Self, PingError> {
        let open = |is_v4| open(is_v4, device);
        let (v4, v6) = namespace.run(|| (open(true), open(false)))?;
        let v6 = match v6 {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) => None,
            other => Some(other.map_err(PingError::Socket)?),
        };
        let v4 = v4.map_err(PingError::Socket)?;
        // Who asks at the same time from the same namespace is another process, or another thread of this one.
        let thread = nix::unistd::gettid().as_raw().to_ne_bytes();
        Ok(Self {
            v4,
            v6,
            identifier: u16::from_ne_bytes([thread[0], thread[1]]),
            asked: 0,
        })
    }

    /// Asks each of some hosts once, all at the same time, and waits for answers as long as `within`.
    pub fn ask(&mut self, hosts: &[IpAddr], within: Duration) -> Result<Vec<Echo>, PingError> {
        let first = self.asked;
        let began = Instant::now();
        let mut echoes = Vec::new();
        let mut sent_at = Vec::new();
        for host in hosts {
            let message = self.request(*host);
            self.asked = self.asked.wrapping_add(1);
            sent_at.push(began.elapsed());
            echoes.push(match self.send(*host, &message) {
                Ok(()) => Echo::Missing,
                Err(_) => Echo::Unsent,
            });
        }
        while echoes.contains(&Echo::Missing) {
            let Some(left) = within.checked_sub(began.elapsed()) else {
                break;
            };
            if !self.wait(left)? {
                break;
            }
            let now = began.elapsed();
            for number in self.heard() {
                let place = usize::from(number.wrapping_sub(first));
                if let (Some(echo @ Echo::Missing), Some(sent)) =
                    (echoes.get_mut(place), sent_at.get(place))
                {
                    *echo = Echo::Came(now.saturating_sub(*sent));
                }
            }
        }
        Ok(echoes)
    }

    fn request(&self, host: IpAddr) -> [u8; MESSAGE_BYTES] {
        let mut message = [0; MESSAGE_BYTES];
        let (request, _) = if host.is_ipv4() { ECHO4 } else { ECHO6 };
        message[0] = request;
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&self.asked.to_be_bytes());
        if host.is_ipv4() {
            // For IPv6 the kernel makes it, which knows the addresses.
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    fn send(&self, host: IpAddr, message: &[u8]) -> io::Result<()> {
        let socket = match host {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or(Errno::AFNOSUPPORT)?,
        };
        socket.send_to(message, &SocketAddr::new(host, 0).into())?;
        Ok(())
    }

    /// Waits until something can be read; says whether it can.
    fn wait(&self, left: Duration) -> Result<bool, PingError> {
        let mut polled: Vec<_> = [Some(&self.v4), self.v6.as_ref()]
            .into_iter()
            .flatten()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(PingError::Wait(errno.into())),
        }
    }

    /// The numbers of the requests that are answered by what can be read now.
    fn heard(&self) -> Vec<u16> {
        let mut numbers = Vec::new();
        for (socket, is_v4) in [(Some(&self.v4), true), (self.v6.as_ref(), false)] {
            let Some(socket) = socket else {
                continue;
            };
            let mut buffer = [0; HEADER_MAX + MESSAGE_BYTES];
            while let Ok(length) = (&mut &*socket).read(&mut buffer) {
                let datagram = buffer.get(..length).unwrap_or(&buffer);
                numbers.extend(self.answered(datagram, is_v4));
            }
        }
        numbers
    }

    /// The number of the request that a datagram answers. A raw socket of IPv4 gives its header, too.
    fn answered(&self, datagram: &[u8], is_v4: bool) -> Option<u16> {
        let (at, kind) = if is_v4 {
            (usize::from(datagram.first()? & 15) * 4, ECHO4.1)
        } else {
            (0, ECHO6.1)
        };
        let message = datagram.get(at..)?;
        let [found, _, _, _, high, low, first, second] = *message.first_chunk()?;
        let is_ours = found == kind && u16::from_be_bytes([high, low]) == self.identifier;
        is_ours.then(|| u16::from_be_bytes([first, second]))
    }
}

fn open(is_v4: bool, device: Option<&str>) -> io::Result<Socket> {
    let (domain, protocol) = if is_v4 {
        (Domain::IPV4, Protocol::ICMPV4)
    } else {
        (Domain::IPV6, Protocol::ICMPV6)
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(device.map(str::as_bytes))?;
    Ok(socket)
}

/// The Internet's checksum (RFC 1071) of a message in which it is zero.
pub(crate) fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_internets() {
        // RFC 1071, part 3.
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&example), !0xddf2);
    }
}
