//! A packet as the tap reads it, from its network header on: whose datagram of UDP it is, and what is in it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// How long the headers of IPv6 and of UDP are, in bytes.
const BYTES_6: usize = 40;
const BYTES_UDP: usize = 8;

/// A datagram of UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: &'a [u8],
}

/// The datagram in a packet that the filter let pass; what it has looked at is not looked at again.
pub(super) fn read(packet: &[u8]) -> Option<Datagram<'_>> {
    let first = *packet.first()?;
    let (source, destination, udp) = if first >> 4 == 4 {
        let words = usize::from(first & 15);
        let udp = packet.get(words * 4..)?;
        let source = Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?);
        let destination = Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?);
        (source.into(), destination.into(), udp)
    } else {
        let udp = packet.get(BYTES_6..)?;
        let source = Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?);
        let destination = Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?);
        (source.into(), destination.into(), udp)
    };
    let (header, rest) = udp.split_first_chunk::<BYTES_UDP>()?;
    let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // Behind the datagram a device may have filled a short frame.
    let bytes = usize::from(half(4)).checked_sub(BYTES_UDP)?;
    Some(Datagram {
        source: SocketAddr::new(source, half(0)),
        destination: SocketAddr::new(destination, half(2)),
        payload: rest.get(..bytes).unwrap_or(rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn udp(payload: &[u8], filling: &[u8]) -> Vec<u8> {
        let length = u16::try_from(BYTES_UDP + payload.len()).unwrap();
        let numbers = [40_000, 53, length, 0].map(u16::to_be_bytes);
        [&numbers.concat(), payload, filling].concat()
    }

    #[test]
    fn a_datagram_is_found_behind_options_and_before_what_fills_the_frame() {
        for words in [5_u8, 8, 15] {
            let mut packet = vec![0; usize::from(words) * 4];
            packet[0] = 0x40 | words;
            packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            packet.extend(udp(b"said", b"filling"));
            let found = read(&packet).unwrap();
            assert_eq!(found.source, "10.0.0.1:40000".parse().unwrap());
            assert_eq!(found.destination, "10.0.0.2:53".parse().unwrap());
            assert_eq!(found.payload, b"said");
        }
        let mut packet = vec![0; BYTES_6];
        packet[0] = 0x60;
        (packet[23], packet[39]) = (1, 2);
        packet.extend(udp(b"said", b""));
        let found = read(&packet).unwrap();
        assert_eq!(found.source, "[::1]:40000".parse().unwrap());
        assert_eq!(found.destination, "[::2]:53".parse().unwrap());
        assert_eq!(found.payload, b"said");
    }

    proptest! {
        #[test]
        fn no_packet_is_too_strange(packet in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&packet);
        }
    }
}
