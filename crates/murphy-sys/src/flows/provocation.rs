//! A provocation makes the other end of an idle connection say something: a segment that cannot be right is answered by
//! an acknowledgement with the numbers that are.
//!
//! The segment bears the target's address and carries nothing, so that nothing of the connection changes. RFC 9293,
//! 3.10.7.4, has whoever gets a segment outside of his window answer it; Linux does at most every half a second for each
//! connection (`net.ipv4.tcp_invalid_ratelimit`).

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Flow;
use crate::segment::{ACK, Segment};

/// The protocol of a socket that sends headers as they are given, and is sent nothing.
const RAW: i32 = 255;
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

/// The segment with all its headers. What it acknowledges is not looked at where its number is wrong.
fn packet(flow: &Flow, number: u32) -> Vec<u8> {
    let segment = Segment {
        from: flow.local(),
        to: flow.remote(),
        number,
        flags: ACK,
        window: 0,
        mss: None,
    };
    segment.packet()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_valid_on_one_link_only_is_looked_for_on_each() {
        assert_eq!(scopes("fe80::1".parse().unwrap(), &[2, 3]), [2, 3]);
        assert_eq!(scopes("fd00::1".parse().unwrap(), &[2, 3]), [0]);
        assert_eq!(scopes("10.0.0.1".parse().unwrap(), &[2, 3]), [0]);
    }
}
