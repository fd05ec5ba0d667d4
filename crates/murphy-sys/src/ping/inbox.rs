//! An inbox is a raw socket of each family that is read without waiting: what came, from whom, and when the kernel got it.
//!
//! The kernel gives such a socket a copy of every message of its protocol that comes to the namespace, behind the
//! firewall's `INPUT` and before whoever it is for. What nobody here wants is refused by filters in the kernel: it wakes
//! nobody and takes no room. Many messages are read by one call. See `raw(7)`, `recvmmsg(2)`, and `SO_TIMESTAMPNS` in
//! `timestamping.rst` of the kernel.

use std::{
    fmt, io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr, thread,
    time::Duration,
};

use nix::libc;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::sockopt,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::PingError;
use crate::{clock::realtime_ns, namespace::NetNamespace};

/// How many messages are read by one call.
const BATCH: usize = 32;
/// So many calls read what waits; a flood goes on in the next reading.
const CALLS_MAX: usize = 2048;
/// What is kept of a message, with the header of IPv4: errors of ICMP quote a ping with two headers after 76 bytes.
const MESSAGE_BYTES: usize = 256;
/// The time, and who it was for, take 72.
const CONTROL_BYTES: usize = 128;
/// An address of IPv6 (`struct sockaddr_in6`), which is longer than one of IPv4.
const NAME_BYTES: usize = 28;
/// The shortest header of IPv4, and where the address stands in it that it is for.
const HEADER4_BYTES: usize = 20;
const HEADER4_TO: usize = 16;
/// What may wait to be sent, while the kernel looks for those that it is for, and to be read: some ten thousand pings.
const WAITING_BYTES: usize = 8 << 20;

/// How often, and how far apart, it is asked whether times are noted; within a millisecond or two they are.
const SETTLINGS_MAX: usize = 20;
const SETTLING: Duration = Duration::from_millis(1);

/// The value of an option that is on.
const ON: [u8; 4] = 1_u32.to_ne_bytes();
/// `ICMP_FILTER` of `include/uapi/linux/icmp.h`, `ICMPV6_FILTER` of `icmpv6.h`.
const ICMP_FILTER: libc::c_int = 1;
const ICMPV6_FILTER: libc::c_int = 1;

/// Two raw sockets of one namespace.
#[derive(Debug)]
pub(crate) struct Inbox {
    v4: Socket,
    /// None where the kernel has no IPv6.
    v6: Option<Socket>,
    slots: Box<[Slot; BATCH]>,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// Whose it is; of a raw socket the port is 0.
    pub from: SocketAddr,
    /// Who it is for. Of IPv6 only where that was asked for.
    pub to: Option<IpAddr>,
    /// When the kernel got it, in nanoseconds since 1970.
    pub at_ns: u64,
    /// When it was read, on the same clock.
    pub heard_ns: u64,
    /// The message behind the header of IP, as much as is kept of it.
    pub body: &'a [u8],
    /// Whether that is all.
    pub is_whole: bool,
}

impl Inbox {
    /// Opens both sockets, over a device of that name only if there is one.
    pub(crate) fn open(
        namespace: &NetNamespace,
        device: Option<&str>,
        protocols: (Protocol, Protocol),
    ) -> Result<Self, PingError> {
        let (v4, v6) = namespace.run(|| {
            (
                open(Domain::IPV4, protocols.0, device),
                open(Domain::IPV6, protocols.1, device),
            )
        })?;
        let mut inbox = Self {
            v4: v4.map_err(PingError::Socket)?,
            v6: unless_unknown(v6).map_err(PingError::Socket)?,
            slots: Box::new([const { Slot::EMPTY }; BATCH]),
        };
        inbox.settle();
        Ok(inbox)
    }

    /// Waits until the kernel says when messages came: it notes that only while anybody wants to know, anywhere on the
    /// machine, and begins a moment after it was asked. Until then it would say when they are read.
    fn settle(&mut self) {
        for _ in 0..SETTLINGS_MAX {
            match is_noted(&mut self.slots) {
                Ok(true) => return,
                // A machine without a loopback is no reason to do nothing.
                Ok(false) | Err(_) => thread::sleep(SETTLING),
            }
        }
    }

    /// The socket of a family.
    pub(crate) fn socket(&self, is_v4: bool) -> io::Result<&Socket> {
        let v6 = || self.v6.as_ref().ok_or(Errno::AFNOSUPPORT);
        if is_v4 { Ok(&self.v4) } else { Ok(v6()?) }
    }

    /// Has the kernel keep only messages that a program of classic BPF lets through, one for each family: it sees those of
    /// IPv4 from the header of IP on, those of IPv6 from behind it. See `filter.rst` of the kernel.
    pub(crate) fn keep(&self, v4: &[SockFilter], v6: &[SockFilter]) -> Result<(), PingError> {
        self.v4.attach_filter(v4).map_err(PingError::Filter)?;
        if let Some(socket) = &self.v6 {
            socket.attach_filter(v6).map_err(PingError::Filter)?;
        }
        Ok(())
    }

    /// Has the kernel keep only messages of ICMP of some types, below 32 in IPv4; it does not even copy the others.
    pub(crate) fn keep_types(&self, v4: &[u8], v6: &[u8]) -> Result<(), PingError> {
        // A bit that is set keeps messages out, so no more is asked than that some are.
        let keep4 = v4.iter().fold(u32::MAX, |mask, kind| mask & !(1 << kind));
        let keep4 = keep4.to_ne_bytes();
        set(&self.v4, libc::SOL_RAW, ICMP_FILTER, &keep4).map_err(PingError::Filter)?;
        let Some(socket) = &self.v6 else {
            return Ok(());
        };
        let mut words = [u32::MAX; 8];
        for kind in v6 {
            words[usize::from(kind >> 5)] &= !(1 << (kind & 31));
        }
        let keep6: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        set(socket, libc::SOL_ICMPV6, ICMPV6_FILTER, &keep6).map_err(PingError::Filter)
    }

    /// Has the kernel say of messages of IPv6, too, who they are for.
    pub(crate) fn say_to(&self) -> Result<(), PingError> {
        self.v6.as_ref().map_or(Ok(()), |socket| {
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &ON).map_err(PingError::Filter)
        })
    }

    /// The sockets, for whoever waits for more than these: readable when a message waits.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let sockets = [Some(&self.v4), self.v6.as_ref()].into_iter().flatten();
        sockets.map(AsFd::as_fd)
    }

    /// Waits until something can be read; says whether it can.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<bool, PingError> {
        match self.ready(at_most) {
            Ok(ready) => Ok(ready != [false; 2]),
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(PingError::Wait(errno.into())),
        }
    }

    /// Takes everything that can be read now.
    pub(crate) fn hear(&mut self, mut take: impl FnMut(&Message<'_>)) {
        // A socket that says nothing may only have thrown away what was damaged, so that it is asked until none has more.
        for _ in 0..CALLS_MAX {
            let ready = self.ready(Duration::ZERO).unwrap_or_default();
            if ready == [false; 2] {
                return;
            }
            let sockets = [Some(&self.v4), self.v6.as_ref()];
            for ((socket, is_ready), is_v4) in sockets.into_iter().zip(ready).zip([true, false]) {
                if let (Some(socket), true) = (socket, is_ready) {
                    let count = receive(socket, &mut self.slots).unwrap_or(0);
                    let heard_ns = realtime_ns();
                    let filled = self.slots.iter().take(count);
                    filled
                        .filter_map(|slot| slot.message(is_v4, heard_ns))
                        .for_each(|message| take(&message));
                }
            }
        }
    }

    /// Which of the sockets can be read, of IPv4 and of IPv6, after at most so long.
    fn ready(&self, at_most: Duration) -> Result<[bool; 2], Errno> {
        let polled = |socket| PollFd::new(socket, PollFlags::IN);
        // Without the one the other is waited for twice, which changes nothing.
        let mut polled = [&self.v4, self.v6.as_ref().unwrap_or(&self.v4)].map(polled);
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        poll(&mut polled, Some(&timeout))?;
        Ok(polled.map(|polled| !polled.revents().is_empty()))
    }
}

/// Nothing where the kernel has no such family.
pub(crate) fn unless_unknown<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) => Ok(None),
        other => other.map(Some),
    }
}

/// Makes room for what is to be sent by a socket: pings to hosts that are looked for wait there, and must not be in the
/// way of others. Without the privilege for more than others have, as much as they have.
pub(crate) fn make_room(socket: &Socket) {
    let _ = sockopt::set_socket_send_buffer_size_force(socket, WAITING_BYTES)
        .or_else(|_| sockopt::set_socket_send_buffer_size(socket, WAITING_BYTES));
}

fn open(domain: Domain, protocol: Protocol, device: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(device.map(str::as_bytes))?;
    make_room(&socket);
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, WAITING_BYTES)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, WAITING_BYTES));
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &ON)?;
    Ok(socket)
}

/// Sets an option whose value is of so many bytes.
fn set(socket: &Socket, level: libc::c_int, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads so many bytes of `value`, and keeps no pointer to them.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            length,
        )
    };
    nix::Error::result(answer)?;
    Ok(())
}

/// Room for one message and what is said of it.
#[derive(Clone, Copy)]
struct Slot {
    bytes: [u8; MESSAGE_BYTES],
    control: [u8; CONTROL_BYTES],
    name: [u8; NAME_BYTES],
    /// How much of each the kernel has written.
    length: usize,
    control_length: usize,
    is_cut: bool,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

impl Slot {
    const EMPTY: Self = Self {
        bytes: [0; MESSAGE_BYTES],
        control: [0; CONTROL_BYTES],
        name: [0; NAME_BYTES],
        length: 0,
        control_length: 0,
        is_cut: false,
    };

    fn message(&self, is_v4: bool, heard_ns: u64) -> Option<Message<'_>> {
        let datagram = self.bytes.get(..self.length)?;
        let (body, to) = if is_v4 {
            let header = usize::from(datagram.first()? & 15) * 4;
            let to: [u8; 4] = *datagram.get(HEADER4_TO..HEADER4_BYTES)?.first_chunk()?;
            (datagram.get(header..)?, Some(Ipv4Addr::from(to).into()))
        } else {
            (datagram, self.said(libc::IPPROTO_IPV6).and_then(to6))
        };
        Some(Message {
            from: address(&self.name)?,
            to,
            at_ns: self.at_ns().unwrap_or(heard_ns),
            heard_ns,
            body,
            is_whole: !self.is_cut,
        })
    }

    /// When the kernel got it, if it says so.
    fn at_ns(&self) -> Option<u64> {
        self.said(libc::SOL_SOCKET).and_then(instant)
    }

    /// What the kernel says of the message at some level, where it was asked for one thing only.
    fn said(&self, level: libc::c_int) -> Option<&[u8]> {
        said(self.control.get(..self.control_length)?, level)
    }
}

/// Whether the kernel notes when messages come, of one from the calling thread's namespace to itself.
fn is_noted(slots: &mut [Slot; BATCH]) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &ON)?;
    socket.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into())?;
    socket.connect(&socket.local_addr()?)?;
    socket.send(&[0])?;
    let timeout = Timespec::try_from(SETTLING).map_err(io::Error::other)?;
    poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&timeout))?;
    // It is there, so that it came before.
    let now_ns = realtime_ns();
    receive(&socket, slots)?;
    Ok(slots[0].at_ns().is_some_and(|at_ns| at_ns < now_ns))
}

/// Reads as many messages into the front of some slots as wait there; how many.
fn receive(socket: &Socket, slots: &mut [Slot; BATCH]) -> io::Result<usize> {
    // SAFETY: parts and headers are numbers and pointers, all of which may be zero.
    let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    for ((header, part), slot) in headers.iter_mut().zip(&mut parts).zip(&mut *slots) {
        part.iov_base = slot.bytes.as_mut_ptr().cast();
        part.iov_len = MESSAGE_BYTES;
        let header = &mut header.msg_hdr;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_control = slot.control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES;
        header.msg_name = slot.name.as_mut_ptr().cast();
        header.msg_namelen = libc::socklen_t::try_from(NAME_BYTES).unwrap_or(0);
    }
    // SAFETY: there are `BATCH` headers, each with pointers into a slot of its own and with the lengths of what they point
    // to; all outlive the call, after which the kernel keeps none. There is no timeout.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            u32::try_from(BATCH).unwrap_or(0),
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let count = usize::try_from(nix::Error::result(count)?).unwrap_or(0);
    for (header, slot) in headers.iter().zip(slots).take(count) {
        slot.length = usize::try_from(header.msg_len).unwrap_or(0);
        slot.control_length = header.msg_hdr.msg_controllen;
        slot.is_cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    }
    Ok(count)
}

/// The first that is said at some level: behind a length that counts itself, the level and the kind, as `struct cmsghdr`
/// has them.
fn said(control: &[u8], level: libc::c_int) -> Option<&[u8]> {
    let mut rest = control;
    loop {
        let (length, behind) = rest.split_first_chunk()?;
        let (of, _) = behind.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        if libc::c_int::from_ne_bytes(*of) == level {
            return rest.get(size_of::<libc::cmsghdr>()..length);
        }
        // One that says it is shorter than itself would be met for ever.
        let next = length.max(size_of::<libc::cmsghdr>());
        rest = rest.get(next.next_multiple_of(size_of::<usize>())..)?;
    }
}

/// The nanoseconds since 1970 of a `struct timespec`.
fn instant(said: &[u8]) -> Option<u64> {
    let (seconds, rest) = said.split_first_chunk()?;
    let (nanoseconds, _) = rest.split_first_chunk()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let nanoseconds = u64::try_from(i64::from_ne_bytes(*nanoseconds)).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// The address of a `struct in6_pktinfo`.
fn to6(said: &[u8]) -> Option<IpAddr> {
    let (address, _) = said.split_first_chunk::<16>()?;
    Some(Ipv6Addr::from(*address).into())
}

/// The address of a `struct sockaddr_in` or `sockaddr_in6`, with port 0.
fn address(name: &[u8; NAME_BYTES]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes([name[0], name[1]]);
    if i32::from(family) == libc::AF_INET {
        let address: [u8; 4] = *name.get(4..)?.first_chunk()?;
        return Some(SocketAddr::new(Ipv4Addr::from(address).into(), 0));
    }
    let address: [u8; 16] = *name.get(8..)?.first_chunk()?;
    let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
    Some(SocketAddrV6::new(address.into(), 0, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that the kernel says.
    fn saying(length: usize, level: libc::c_int, what: &[u8]) -> Vec<u8> {
        let kind = 35_i32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(what);
        bytes
    }

    #[test]
    fn what_is_said_of_a_message_is_found_among_other_things() {
        let time: Vec<u8> = [3_i64, 5].map(i64::to_ne_bytes).concat();
        let other = saying(20, 41, &[7; 8]);
        let both = [other.clone(), saying(32, 1, &time)].concat();
        assert_eq!(said(&both, 1).and_then(instant), Some(3_000_000_005));
        assert_eq!(said(&both, 41), Some(&[7; 4][..]));
        assert_eq!(said(&both, 2), None);
        assert_eq!(said(&[], 1), None);
        // Nothing that is cut short, or that says so, is read past its end.
        assert_eq!(said(&both[..30], 1), None);
        assert_eq!(said(&saying(0, 41, &time), 1), None);
        assert_eq!(said(&saying(64, 1, &time), 1), None);
        assert_eq!(instant(&time[..12]), None);
    }

    #[test]
    fn times_are_noted_when_a_socket_is_open() {
        let Ok(namespace) = NetNamespace::create() else {
            use std::io::Write;
            let _ = io::stderr().write_all(b"skipped: network namespaces\n");
            return;
        };
        let mut inbox =
            Inbox::open(&namespace, None, (Protocol::ICMPV4, Protocol::ICMPV6)).unwrap();
        assert!(is_noted(&mut inbox.slots).unwrap());
        inbox.hear(|message| panic!("{message:?}"));
    }
}
