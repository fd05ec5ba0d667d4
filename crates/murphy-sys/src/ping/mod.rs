//! A ping asks hosts whether they answer, and measures how long that takes: echo requests of ICMP (RFC 792) and ICMP for
//! IPv6 (RFC 4443) from inside a network namespace.
//!
//! Requests are sent without waiting for answers, to as many hosts as one likes; answers are heard when they are there,
//! with the time at which the kernel got them. At the far end, where that is a namespace of this machine, an [`Ear`] hears
//! the requests themselves: of one that came and is not answered it is the way back that is broken.
//!
//! Needs `CAP_NET_RAW` in the user namespace that owns the network namespace.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use rustix::io::Errno;
use socket2::Protocol;

use crate::{
    clock::realtime_ns,
    namespace::{NamespaceError, NetNamespace},
};

mod ear;
pub(crate) mod filter;
pub(crate) mod inbox;
mod message;

pub use ear::{Ear, Request};
use inbox::Inbox;
use message::{V4, V6};

/// How far apart the identifiers of two pingers of a process are. Odd, so that no two of 65,536 have the same; large, so that
/// one is seldom that of another process, whose number is often near.
const APART: u16 = 0x9e37;

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No socket for messages of ICMP, or for segments of TCP.
    #[error("open a raw socket: {0} (needs CAP_NET_RAW)")]
    Socket(#[source] io::Error),
    /// The socket would hear everything.
    #[error("tell a raw socket what to hear: {0}")]
    Filter(#[source] io::Error),
    /// There is no port to ask from.
    #[error(
        "reserve a port to ask from: {0}; net.ipv4.ip_local_port_range says which are for that"
    )]
    Port(#[source] io::Error),
    /// The socket cannot be read.
    #[error("wait for answers to a ping: {0}")]
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

/// A ping that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which one it is; after 65,536 the same numbers are used again.
    pub number: u16,
    /// When, in nanoseconds since 1970: just before the kernel was given it.
    pub at_ns: u64,
}

/// A ping that the kernel did not send.
#[derive(Debug, thiserror::Error)]
#[error("send a ping to {host}: {source}{}", because(source))]
pub struct Unsent {
    /// Who was to be asked.
    pub host: IpAddr,
    /// The kernel's answer.
    pub source: io::Error,
}

/// What that means, where it is not said already.
fn because(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::PERM) => ": a firewall of the namespace drops what is sent there",
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => ": no route of the namespace leads there",
        Some(Errno::ACCESS | Errno::INVAL) => {
            ": a route of the namespace forbids it, or it is no single host's address"
        }
        Some(Errno::AFNOSUPPORT) => ": this kernel has no IPv6",
        Some(Errno::AGAIN | Errno::NOBUFS) => {
            ": too many packets wait to be sent; ping less often those that do not answer"
        }
        _ => "",
    }
}

/// What was said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The host answers.
    Echo,
    /// Somebody says that the host cannot be reached. Kernels say so rarely: of IPv4, six times and then once a second to
    /// each host that asks (`net.ipv4.icmp_ratelimit`).
    Unreachable {
        /// Why, see RFC 792 or RFC 4443 by the family of the address: 1 and 3 are that the host does not answer its
        /// neighbours.
        code: u8,
    },
    /// A router says that the request has been on its way for too long, in a circle for one.
    TimeExceeded,
}

/// Something that was said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of which, see [`Sent::number`].
    pub number: u16,
    /// By whom: the host, or whoever reports of it.
    pub from: IpAddr,
    /// When the kernel got it, in nanoseconds since 1970 on the clock of the whole machine.
    pub at_ns: u64,
    /// When it was read here, on the same clock. Where that is much later, and nobody was late to read, the kernel has held
    /// it back behind [`Answer::at_ns`]: in a queue of netfilter's for one, through which it had to go on its way in.
    pub heard_ns: u64,
    /// What.
    pub kind: Reply,
}

/// Who asks, with the requests that were sent so far.
#[derive(Debug)]
pub struct Pinger {
    inbox: Inbox,
    identifier: u16,
    asked: u16,
}

impl Pinger {
    /// One that asks from inside a namespace, over a device of that name only if there is one.
    ///
    /// Takes up to a few milliseconds, for the kernel to begin to note when messages come.
    ///
    /// Over a device it does not hear what the namespace itself has to say of a host, that it does not answer its
    /// neighbours for one: that comes over the loopback.
    pub fn new(namespace: &NetNamespace, device: Option<&str>) -> Result<Self, PingError> {
        static PINGERS: AtomicU16 = AtomicU16::new(0);
        let inbox = Inbox::open(namespace, device, (Protocol::ICMPV4, Protocol::ICMPV6))?;
        // Who asks at the same time from the same namespace is another process, or another pinger of this one.
        let process = std::process::id().to_le_bytes();
        let process = u16::from_le_bytes([process[0], process[1]]);
        let nth = PINGERS.fetch_add(1, Ordering::Relaxed);
        let identifier = process.wrapping_add(nth.wrapping_mul(APART));
        inbox.keep_types(&V4.replies(), &V6.replies())?;
        let (v4, v6) = filter::replies(identifier);
        inbox.keep(&v4, &v6)?;
        Ok(Self {
            inbox,
            identifier,
            asked: 0,
        })
    }

    /// What all its requests bear, so that an [`Ear`] tells them from those of others.
    pub fn identifier(&self) -> u16 {
        self.identifier
    }

    /// Asks a host once, and returns at once. What is not sent has a number, too.
    pub fn send(&mut self, host: IpAddr) -> Result<Sent, Unsent> {
        let is_v4 = host.is_ipv4();
        let number = self.asked;
        self.asked = number.wrapping_add(1);
        let message = message::request(is_v4, self.identifier, number);
        let unsent = |source| Unsent { host, source };
        let socket = self.inbox.socket(is_v4).map_err(unsent)?;
        let to = SocketAddr::new(host, 0).into();
        let at_ns = realtime_ns();
        socket.send_to(&message, &to).map_err(unsent)?;
        Ok(Sent { number, at_ns })
    }

    /// Everything that was said of its requests and was not heard yet, without waiting: of each family in the order in which
    /// it came, and twice what came twice.
    pub fn hear(&mut self) -> Vec<Answer> {
        let (identifier, mut answers) = (self.identifier, Vec::new());
        self.inbox.hear(|came| {
            if let Some((number, kind)) = message::replied(came, identifier) {
                answers.push(Answer {
                    number,
                    from: came.from.ip(),
                    at_ns: came.at_ns,
                    heard_ns: came.heard_ns,
                    kind,
                });
            }
        });
        answers
    }

    /// Waits until something can be heard; says whether it can. What comes may be nothing of [`Pinger::hear`]'s, and a
    /// signal ends the wait as well.
    pub fn wait(&self, at_most: Duration) -> Result<bool, PingError> {
        self.inbox.wait(at_most)
    }

    /// Descriptors that are readable when something can be heard, for whoever waits for more than that.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.inbox.descriptors()
    }

    /// Asks each of some hosts once, all at the same time, and waits for answers as long as `within`. How long one takes is
    /// measured to when it is heard, as any program would hear it.
    pub fn ask(&mut self, hosts: &[IpAddr], within: Duration) -> Result<Vec<Echo>, PingError> {
        let first = self.asked;
        let began = Instant::now();
        let mut echoes = Vec::new();
        let mut sent_at = Vec::new();
        for host in hosts {
            sent_at.push(began.elapsed());
            let sent = self.send(*host);
            echoes.push(sent.map_or(Echo::Unsent, |_| Echo::Missing));
        }
        while echoes.contains(&Echo::Missing) {
            let Some(left) = within.checked_sub(began.elapsed()) else {
                break;
            };
            if !self.wait(left)? {
                break;
            }
            let now = began.elapsed();
            let is_echo = |answer: &Answer| answer.kind == Reply::Echo;
            for answer in self.hear().into_iter().filter(is_echo) {
                let place = usize::from(answer.number.wrapping_sub(first));
                if let (Some(echo @ Echo::Missing), Some(sent)) =
                    (echoes.get_mut(place), sent_at.get(place))
                {
                    *echo = Echo::Came(now.saturating_sub(*sent));
                }
            }
        }
        Ok(echoes)
    }
}
