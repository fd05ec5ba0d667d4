//! Pings over sockets of the test's own: numbered echoes, and who sent them must not be told that one was lost.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use murphy_sys::namespace::NetNamespace;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with,
    sockopt::set_socket_recv_buffer_size_force,
};

use crate::wire::{End, WAITING_BYTES};

/// So long an answer is waited for before the time is looked at.
const GLANCE: Duration = Duration::from_millis(30);
/// So many echoes are sent before answers are read.
const BATCH: u16 = 50;
/// This between two batches.
const PAUSE: Duration = Duration::from_millis(3);
/// Whose echoes they are.
const ID: [u8; 2] = *b"Mu";
/// What an IPv4 packet has before what it carries.
const HEADER_BYTES: usize = 20;

/// Sends so many numbered echoes; how many of them were answered, when none has been for so long.
pub fn ping((from, _): End<'_>, (_, to): End<'_>, count: u16, patience: Duration) -> usize {
    let socket = from.run(|| open(to)).expect("a namespace");
    set_socket_recv_buffer_size_force(&socket, WAITING_BYTES).expect("root may");
    socket
        .set_read_timeout(Some(GLANCE))
        .expect("an own socket");
    let mut answered = BTreeSet::new();
    let mut glance = || {
        let mut buffer = [0; 256];
        let bytes = socket.recv(&mut buffer).ok()?;
        answered.extend(number(to, &buffer[..bytes]));
        Some(answered.len())
    };
    for number in 0..count {
        socket.send(&echo(to, number)).expect("its loss is silent");
        if number % BATCH == BATCH - 1 {
            // What waits for an engine may count as its sender's still, which has room for so much only.
            thread::sleep(PAUSE);
            socket.set_nonblocking(true).expect("an own socket");
            while glance().is_some() {}
            socket.set_nonblocking(false).expect("an own socket");
        }
    }
    let mut last = Instant::now();
    while last.elapsed() < patience {
        if let Some(so_many) = glance() {
            last = Instant::now();
            if so_many == usize::from(count) {
                break;
            }
        }
    }
    answered.len()
}

/// How many packets that a namespace has sent were dropped before its eyes: a `ping` would count none of them as lost.
pub fn discards(namespace: &NetNamespace) -> u64 {
    let of_both = || {
        let read = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
        let (v4, v6) = (read("snmp").ok()?, read("snmp6").ok()?);
        let mut rows = v4.lines().filter(|line| line.starts_with("Ip: "));
        let (names, values) = (rows.next()?, rows.next()?);
        let mut columns = names.split(' ').zip(values.split(' '));
        let (_, v4) = columns.find(|(name, _)| *name == "OutDiscards")?;
        let v6 = v6
            .lines()
            .find_map(|line| line.strip_prefix("Ip6OutDiscards"))?;
        Some(v4.parse::<u64>().ok()? + v6.trim().parse::<u64>().ok()?)
    };
    let counted = namespace.run(of_both).expect("a namespace");
    counted.expect("the kernel counts them")
}

/// A socket for echoes to an address: of a datagram's kind as far as sending and receiving go.
fn open(to: IpAddr) -> UdpSocket {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(protocol),
    );
    let socket = socket.expect("root may");
    connect(&socket, &SocketAddr::new(to, 0)).expect("a route");
    socket.into()
}

/// An echo request. The checksum of IPv6 is the kernel's business.
fn echo(to: IpAddr, number: u16) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut echo = vec![kind, 0, 0, 0];
    echo.extend(ID);
    echo.extend(number.to_be_bytes());
    let words = echo.chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = u16::try_from((folded & 0xffff) + (folded >> 16)).expect("it is folded");
    echo[2..4].copy_from_slice(&(!checksum).to_be_bytes());
    echo
}

/// The number of our echo that a packet answers, if it does.
fn number(of: IpAddr, packet: &[u8]) -> Option<u16> {
    let (skipped, kind) = if of.is_ipv4() {
        (HEADER_BYTES, 0)
    } else {
        (0, 129)
    };
    match *packet.get(skipped..)? {
        [what, 0, _, _, id1, id2, high, low, ..] if what == kind && [id1, id2] == ID => {
            Some(u16::from_be_bytes([high, low]))
        }
        _ => None,
    }
}
