//! A SYN ping asks ports of hosts whether anybody listens there, by the first segment of a connection that is never made:
//! it meets whatever firewalls and faults are there for TCP, and measures the network without the process behind the port.
//!
//! The segment is sent by a raw socket, from a port that is held and that nobody listens at (RFC 9293, 3.5). Whoever gets
//! the answer that the connection may be opened is this machine's kernel, which knows of no such connection and so resets
//! it: at the far end none is ever accepted. The raw socket hears a copy of the answer. Where nothing is heard, something
//! between drops segments, the way is broken, or whoever listens has too many connections waiting to be accepted.
//!
//! - A listener that hears nothing of its answer's coming sends it again after a second or more; of two answers to one
//!   ping the first may be that.
//! - A firewall of the namespace that drops resets on their way out leaves every ping half open at the listener for about
//!   a minute, which counts against its `net.ipv4.tcp_max_syn_backlog`.
//! - While a raw socket for TCP is open in a namespace, the kernel makes a second reference to every segment that comes to
//!   it, before the filter is asked and lets it go: that takes about half a microsecond each, and wakes nobody.
//!
//! Needs `CAP_NET_RAW` in the user namespace that owns the network namespace.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    time::Duration,
};

use rustix::net::connect_unspec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    clock::{boottime_ns, realtime_ns},
    namespace::NetNamespace,
    ping::{
        PingError, Sent, Unsent, filter,
        inbox::{self, Inbox, Message},
    },
    segment::{self, ACK, RST, SYN, Segment},
};

mod ports;

use ports::Ports;

/// The protocol of a socket that sends headers as they are given, and is sent nothing.
const RAW: i32 = 255;
/// What any first segment says: how much may be sent, and in segments of which size.
const WINDOW: u16 = 64_240;
const MSS: u16 = 1460;

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynReply {
    /// Somebody listens at the port.
    Open,
    /// Nobody does, or a firewall says so; the host is there.
    Closed,
}

/// An answer to a SYN ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynAnswer {
    /// To which, see [`Sent::number`].
    pub number: u16,
    /// By whom.
    pub from: SocketAddr,
    /// When the kernel got it, in nanoseconds since 1970 on the clock of the whole machine.
    pub at_ns: u64,
    /// When it was read here, on the same clock. Where that is much later, and nobody was late to read, the kernel has held
    /// it back behind [`SynAnswer::at_ns`]: in a queue of netfilter's for one, through which it had to go on its way in.
    pub heard_ns: u64,
    /// What.
    pub kind: SynReply,
}

/// Who asks, with the pings that were sent so far.
#[derive(Debug)]
pub struct SynPinger {
    inbox: Inbox,
    v4: Socket,
    /// None where the kernel has no IPv6.
    v6: Option<Socket>,
    ports: Ports,
    /// The lower half of the number that each first segment bears; the upper is that of the ping. So two pings in a row are
    /// further apart than any window, and whoever has not forgotten the one does not reset the other.
    key: u16,
    asked: u16,
}

impl SynPinger {
    /// One that asks from inside a namespace. It holds some ports there, and as many descriptors, as long as it lives.
    pub fn new(namespace: &NetNamespace) -> Result<Self, PingError> {
        let inbox = Inbox::open(namespace, None, (Protocol::TCP, Protocol::TCP))?;
        inbox.say_to()?;
        let (v4, v6, ports) =
            namespace.run(|| (open(Domain::IPV4), open(Domain::IPV6), Ports::reserve()))?;
        let ports = ports.map_err(PingError::Port)?;
        let (keep4, keep6) = filter::openings(ports.numbers());
        inbox.keep(&keep4, &keep6)?;
        let time = boottime_ns().to_le_bytes();
        Ok(Self {
            inbox,
            v4: v4.map_err(PingError::Socket)?,
            v6: inbox::unless_unknown(v6).map_err(PingError::Socket)?,
            ports,
            key: u16::from_le_bytes([time[1], time[2]]),
            asked: 0,
        })
    }

    /// Asks a port of a host once, and returns at once. What is not sent has a number, too.
    pub fn send(&mut self, to: SocketAddr) -> Result<Sent, Unsent> {
        let number = self.asked;
        self.asked = number.wrapping_add(1);
        let port = self.ports.next(to);
        let unsent = |source| Unsent {
            host: to.ip(),
            source,
        };
        let v6 = || self.v6.as_ref().ok_or(rustix::io::Errno::AFNOSUPPORT);
        let socket = if to.is_ipv4() { Ok(&self.v4) } else { v6() };
        let socket = socket.map_err(|errno| unsent(errno.into()))?;
        // A raw socket has no ports; the kernel takes one for a protocol.
        let mut host = to;
        host.set_port(0);
        let from = own_address(socket, host).map_err(unsent)?;
        let segment = Segment {
            from: SocketAddr::new(from, port),
            to,
            number: u32::from(number) << 16 | u32::from(self.key),
            flags: SYN,
            window: WINDOW,
            mss: Some(MSS),
        };
        let packet = segment.packet();
        let host = host.into();
        let at_ns = realtime_ns();
        socket.send_to(&packet, &host).map_err(unsent)?;
        Ok(Sent { number, at_ns })
    }

    /// Every answer that came and was not heard yet, without waiting: of each family in the order in which they came, and
    /// twice what came twice.
    pub fn hear(&mut self) -> Vec<SynAnswer> {
        let (ports, key) = (self.ports.numbers(), self.key);
        let mut answers = Vec::new();
        self.inbox
            .hear(|came| answers.extend(answer(came, ports, key)));
        answers
    }

    /// Waits until something can be heard; says whether it can. What comes may be nothing of [`SynPinger::hear`]'s, and a
    /// signal ends the wait as well.
    pub fn wait(&self, at_most: Duration) -> Result<bool, PingError> {
        self.inbox.wait(at_most)
    }

    /// Descriptors that are readable when something can be heard, for whoever waits for more than that.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.inbox.descriptors()
    }
}

fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
    socket.set_nonblocking(true)?;
    inbox::make_room(&socket);
    Ok(socket)
}

/// The address from which the kernel would send to a host now, which the checksum covers. A socket that has one keeps it,
/// so it is made to forget it before it is asked.
fn own_address(socket: &Socket, host: SocketAddr) -> io::Result<IpAddr> {
    connect_unspec(socket)?;
    socket.connect(&host.into())?;
    let own = socket.local_addr()?.as_socket();
    Ok(own.ok_or(io::ErrorKind::AddrNotAvailable)?.ip())
}

/// What a segment says of a ping from one of these ports with that key.
fn answer(came: &Message<'_>, ports: &[u16], key: u16) -> Option<SynAnswer> {
    let [
        from_high,
        from_low,
        to_high,
        to_low,
        _,
        _,
        _,
        _,
        a,
        b,
        c,
        d,
        _,
        flags,
    ] = *came.body.first_chunk()?;
    let kind = match flags & (SYN | RST | ACK) {
        flags if flags == SYN | ACK => SynReply::Open,
        flags if flags == RST | ACK => SynReply::Closed,
        _ => return None,
    };
    let asked = u32::from_be_bytes([a, b, c, d]).wrapping_sub(1);
    let [number_high, number_low, key_high, key_low] = asked.to_be_bytes();
    let is_ours = u16::from_be_bytes([key_high, key_low]) == key
        && ports.contains(&u16::from_be_bytes([to_high, to_low]));
    // One that was damaged did not come for the kernel either.
    let is_intact = !came.is_whole
        || came
            .to
            .is_none_or(|to| segment::is_intact(came.from.ip(), to, came.body));
    let mut from = came.from;
    from.set_port(u16::from_be_bytes([from_high, from_low]));
    (is_ours && is_intact).then_some(SynAnswer {
        number: u16::from_be_bytes([number_high, number_low]),
        from,
        at_ns: came.at_ns,
        heard_ns: came.heard_ns,
        kind,
    })
}
