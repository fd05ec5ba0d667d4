//! A provocation makes the other end of an idle connection say something: a segment that cannot be right is answered by
//! an acknowledgement with the numbers that are.
//!
//! The segment bears the target's address and carries nothing, so that nothing of the connection changes. RFC 9293,
//! 3.10.7.4, has whoever gets a segment outside of his window answer it; Linux does at most every half a second for each
//! connection (`net.ipv4.tcp_invalid_ratelimit`).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Flow;
use crate::ping::checksum;

/// The protocol of a socket that sends headers as they are given, and is sent nothing.
const RAW: i32 = 255;
const TCP: u8 = 6;
const TCP_BYTES: u16 = 20;
const IP4_BYTES: u16 = 20;
const ACK: u8 = 16;
const LIFETIME: u8 = 64;
/// Two numbers half of all numbers apart: no window is so wide that both are inside.
const NUMBERS: [u32; 2] = [0, 1 << 31];

/// Opens a socket that sends from an address in the namespace of the calling thread, marked for Murphy's programs.
pub(super) fn open(from: SocketAddr, mark: u32) -> io::Result<Socket> {
    let domain = if from.is_ipv4() {
        Domain::IPV4
    } else {
        Domain::IPV6
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
    socket.set_nonblocking(true)?;
    socket.set_mark(mark)?;
    // From there the packets take the route that the connection's take.
    socket.bind(&from.into())?;
    Ok(socket)
}

/// Sends a segment from the target's end of each connection to the other, from the namespace of the calling thread. Ends
/// that are valid on one link only are looked for on each of some devices. What cannot be sent is nobody's answer.
pub(super) fn send(flows: &[Flow], round: usize, devices: &[u32], mark: u32) {
    let mut flows: Vec<&Flow> = flows.iter().collect();
    flows.sort();
    for from_one in flows.chunk_by(|a, b| a.local().ip() == b.local().ip()) {
        let Some(local) = from_one.first().map(|flow| flow.local().ip()) else {
            continue;
        };
        for scope in scopes(local, devices) {
            let Ok(socket) = open(scoped(local, scope), mark) else {
                continue;
            };
            for flow in from_one {
                let packet = packet(flow, NUMBERS[round % NUMBERS.len()]);
                let _ = socket.send_to(&packet, &scoped(flow.remote().ip(), scope).into());
            }
        }
    }
}

/// The devices on which an address may be valid; 0 for all.
fn scopes(address: IpAddr, devices: &[u32]) -> Vec<u32> {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => devices.to_vec(),
        _ => vec![0],
    }
}

fn scoped(address: IpAddr, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, scope).into(),
        IpAddr::V4(_) => SocketAddr::new(address, 0),
    }
}

/// The segment with all its headers. The checksum of IPv4's own is made by the kernel.
fn packet(flow: &Flow, number: u32) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(flow.local().port().to_be_bytes());
    tcp.extend(flow.remote().port().to_be_bytes());
    tcp.extend(number.to_be_bytes());
    // What it acknowledges is not looked at where its number is wrong.
    tcp.extend(0_u32.to_be_bytes());
    tcp.extend([5 << 4, ACK]);
    // Neither are the window, the checksum before it is made, and the urgent pointer.
    tcp.extend([0; 6]);
    match (flow.local().ip(), flow.remote().ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => packet4(local, remote, tcp),
        (local, remote) => packet6(as_v6(local), as_v6(remote), tcp),
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

fn packet4(local: Ipv4Addr, remote: Ipv4Addr, tcp: Vec<u8>) -> Vec<u8> {
    let ends = [local.octets(), remote.octets()].concat();
    let mut pseudo = ends.clone();
    pseudo.extend([0, TCP]);
    pseudo.extend(TCP_BYTES.to_be_bytes());
    let mut packet = vec![0x45, 0];
    packet.extend((IP4_BYTES + TCP_BYTES).to_be_bytes());
    packet.extend([0, 0, 0, 0, LIFETIME, TCP, 0, 0]);
    packet.extend(ends);
    packet.extend(summed(&pseudo, tcp));
    packet
}

fn packet6(local: Ipv6Addr, remote: Ipv6Addr, tcp: Vec<u8>) -> Vec<u8> {
    let ends = [local.octets(), remote.octets()].concat();
    let mut pseudo = ends.clone();
    pseudo.extend(u32::from(TCP_BYTES).to_be_bytes());
    pseudo.extend(u32::from(TCP).to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(TCP_BYTES.to_be_bytes());
    packet.extend([TCP, LIFETIME]);
    packet.extend(ends);
    packet.extend(summed(&pseudo, tcp));
    packet
}

/// A segment with its checksum.
fn summed(pseudo: &[u8], mut tcp: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&[pseudo, &tcp].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_has_a_checksum_that_whoever_gets_it_finds_right() {
        let v4 = Flow::new(
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:4000".parse().unwrap(),
        );
        let sent = packet(&v4, NUMBERS[1]);
        assert_eq!(sent.len(), 40);
        let pseudo = [&sent[12..20], &[0, TCP, 0, 20]].concat();
        assert_eq!(checksum(&[&pseudo, &sent[20..]].concat()), 0);
        assert_eq!(sent[20..28], [0, 80, 0x0f, 0xa0, 0x80, 0, 0, 0]);
        let v6 = Flow::new(
            "[fd00::1]:80".parse().unwrap(),
            "[fd00::2]:4000".parse().unwrap(),
        );
        let sent = packet(&v6, NUMBERS[0]);
        assert_eq!(sent.len(), 60);
        let pseudo = [&sent[8..40], &[0, 0, 0, 20, 0, 0, 0, TCP]].concat();
        assert_eq!(checksum(&[&pseudo, &sent[40..]].concat()), 0);
    }

    #[test]
    fn an_end_that_is_valid_on_one_link_only_is_looked_for_on_each() {
        assert_eq!(scopes("fe80::1".parse().unwrap(), &[2, 3]), [2, 3]);
        assert_eq!(scopes("fd00::1".parse().unwrap(), &[2, 3]), [0]);
        assert_eq!(scopes("10.0.0.1".parse().unwrap(), &[2, 3]), [0]);
    }
}
