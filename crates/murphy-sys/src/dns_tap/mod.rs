//! A DNS tap hears which names are asked for in a network namespace, and what is answered: the messages of DNS (RFC 1035)
//! over UDP that leave the namespace for port 53 of somebody, and those that come in from there.
//!
//! It is a packet socket with a filter, `packet(7)`, which hears every device of the namespace, also one that comes later,
//! and the loopback; nothing but those messages is ever copied, and nothing is changed. Each message is told of once: a
//! query where it leaves first, an answer where it arrives first, however many devices it passes (a bridge and its port,
//! VLANs, a tap in between). On the loopback both ends are here; there, too, it is the query that leaves and the answer that
//! arrives.
//!
//! What it does not hear:
//! - DNS over TCP, TLS, HTTPS or QUIC. A [truncated](Message::is_truncated) answer is what is heard of a name that is asked
//!   for again over TCP.
//! - What a server in the namespace is asked from elsewhere, and answers.
//! - Fragments of IP; headers of IPv6 that stand before that of UDP.
//! - Queries that a rule of netfilter's sends to another port before they leave, as in containers of docker that ask its own
//!   server, 127.0.0.11: only the answers are heard there, which is enough for [`Names`].
//! - How long messages wait in the namespace itself: a query is heard behind the queues of its device (`tc-netem(8)`), an
//!   answer before what is redirected where it arrives. A delay put on a device of the same namespace lengthens what a
//!   program waits, and is not, or only in part, in the times here; it is in those of [`sockets`].
//!
//! It hears what passes: messages that the namespace forwards for others are among the rest, with their
//! [`Dns::local`]. Whoever can send packets here can pretend an answer, and checksums are not looked at.
//!
//! [`Resolutions`] pairs queries with answers, and [`Names`] remembers which names addresses were resolved by; both are
//! pure. Needs `CAP_NET_RAW` in the user namespace that owns the network namespace, and `CONFIG_PACKET`. While there is one,
//! the kernel clones each packet that leaves the namespace, and stamps each packet of the machine with the time; not for one
//! that [listens for answers](DnsTap::listen_for_answers) only.

mod filter;
mod message;
mod names;
mod packet;
mod recent;
mod resolutions;
mod sightings;
mod socket;
pub mod sockets;

pub use message::{ADDRESSES_MAX, Code, Message, RecordKind};
pub use names::{NAMES_MAX, Names};
pub use resolutions::{Outcome, Resolution, Resolutions, TIMEOUT};

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use crate::{
    namespace::{NamespaceError, NetNamespace},
    session,
};
use sightings::Sightings;
use socket::{Hears, Packet, PacketSocket};

/// Where servers are asked.
const PORT: u16 = 53;
/// How many messages are taken at once, at most: more than what waits to be taken has room for.
const TAKEN_MAX: usize = 1 << 16;

/// Why nobody can listen.
#[derive(Debug, thiserror::Error)]
pub enum DnsTapError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No packet socket, or not one that hears DNS only.
    #[error(
        "listen for DNS: {what}: {source}; it needs CAP_NET_RAW in the namespace, and a kernel with CONFIG_PACKET"
    )]
    Refused {
        /// What.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It cannot be waited for messages.
    #[error("wait for DNS: {0}")]
    Wait(#[source] io::Error),
}

/// A message that was heard: a query that went out, or an answer that came in, which [`Message::is_answer`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// When the kernel sent or received it, in nanoseconds of `CLOCK_REALTIME`. In the first moments of the first tap of a
    /// machine the kernel may still have no time for it; then this is when it was read.
    pub at_ns: u64,
    /// Who asks: an address of this namespace, but for those for whom it forwards.
    pub local: SocketAddr,
    /// Who is asked, port 53.
    pub server: SocketAddr,
    /// What is said.
    pub message: Message,
}

/// Hears the DNS of a namespace, from when it was made on.
#[derive(Debug)]
pub struct DnsTap {
    socket: PacketSocket,
    sightings: Sightings,
}

impl DnsTap {
    /// Listens in a namespace from now on.
    pub fn listen(namespace: &NetNamespace) -> Result<Self, DnsTapError> {
        Self::open(namespace, Hears::All)
    }

    /// The same of answers only, and without the kernel's times: [`Dns::at_ns`] is when it was read. Costs the packets of
    /// others next to nothing; before Linux 4.20, where that cannot be had, queries are heard, too.
    pub fn listen_for_answers(namespace: &NetNamespace) -> Result<Self, DnsTapError> {
        Self::open(namespace, Hears::Answers)
    }

    fn open(namespace: &NetNamespace, hears: Hears) -> Result<Self, DnsTapError> {
        let socket = namespace.run(|| PacketSocket::open(hears))??;
        Ok(Self {
            socket,
            sightings: Sightings::default(),
        })
    }

    /// What was said since this was asked last, in the order in which it was; no more at once than what can wait, so that
    /// it ends on a busy machine, too. Does not wait.
    pub fn hear(&mut self) -> Vec<Dns> {
        let mut heard = Vec::new();
        for _ in 0..TAKEN_MAX {
            let Some(packet) = self.socket.receive() else {
                break;
            };
            let device = packet.device;
            let dns = read(&packet).filter(|dns| self.sightings.is_first(dns, device));
            heard.extend(dns);
        }
        heard
    }

    /// Waits until there is something to hear, or for so long; whether there is.
    pub fn wait(&self, at_most: Duration) -> Result<bool, DnsTapError> {
        session::readable_within(self, at_most).map_err(DnsTapError::Wait)
    }

    /// How many packets were not heard since this is here, because nobody had taken those before. One that passes more
    /// than one device counts for each.
    pub fn dropped(&self) -> u64 {
        self.socket.dropped()
    }
}

impl AsFd for DnsTap {
    /// Readable when there is something to hear.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks this kernel whether DNS can be heard: in a namespace that nobody else knows.
pub fn trial() -> Result<(), DnsTapError> {
    DnsTap::listen(&NetNamespace::create()?).map(drop)
}

/// What a packet says; nothing where it is no DNS after all. The filter lets pass what goes out to port 53 and what comes in
/// from there; between two ports 53 only the message can say which of both it is.
fn read(packet: &Packet<'_>) -> Option<Dns> {
    heard_at(packet.at_ns, packet.is_outgoing, packet.bytes)
}

/// The same of a packet from its network header on, which left or came at a time, as in [`Dns::at_ns`].
fn heard_at(at_ns: u64, is_outgoing: bool, bytes: &[u8]) -> Option<Dns> {
    let datagram = packet::read(bytes)?;
    let message = message::read(datagram.payload)?;
    let (local, server) = if is_outgoing {
        (datagram.source, datagram.destination)
    } else {
        (datagram.destination, datagram.source)
    };
    (message.is_answer != is_outgoing).then_some(Dns {
        at_ns,
        local,
        server,
        message,
    })
}
