//! A packet as it is read from its network header on, and whether it is one that was meant: what `bpf/packet.h` decides
//! in the kernel, for engines that decide outside of it.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use murphy_sys::traffic::{Match, Network, Way};

/// Headers between that of IPv6 and that of the protocol above it which are read.
const EXTENSIONS_MAX: u32 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// The types of `ICMPv6` by which neighbours are found.
const NEIGHBOURS: std::ops::RangeInclusive<u8> = 133..=137;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// Networks, of which an address may be in one.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    networks: HashSet<(u128, bool, u8)>,
    /// The lengths of prefixes that there are, of IPv4 and of IPv6.
    lengths: BTreeSet<(bool, u8)>,
}

impl Peers {
    pub(super) fn new(networks: &BTreeSet<Network>) -> Self {
        let keys = networks
            .iter()
            .map(|(address, length)| key(*address, *length));
        Self {
            networks: keys.collect(),
            lengths: networks
                .iter()
                .map(|(address, length)| (address.is_ipv4(), *length))
                .collect(),
        }
    }

    fn hold(&self, address: IpAddr) -> bool {
        let lengths = self
            .lengths
            .iter()
            .filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        let mut keys = lengths.map(|(_, length)| key(address, *length));
        keys.any(|key| self.networks.contains(&key))
    }
}

/// A network as one number: the first bits of an address, with none behind them.
fn key(address: IpAddr, length: u8) -> (u128, bool, u8) {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let behind = u128::MAX.checked_shr(length.into()).unwrap_or(0);
    (bits & !behind, address.is_ipv4(), length)
}

/// What is above IP.
struct Above {
    protocol: u8,
    /// Where its header begins.
    at: usize,
    /// Whether it begins in this packet: the first fragment, or the only one.
    is_whole: bool,
}

/// Whether a packet is meant, by its beginning. What is cut off in the midst of what must be known is not.
pub(super) fn is_meant(packet: &[u8], way: Way, matched: &Match, peers: &Peers) -> bool {
    let meant = match packet.first().map(|first| first >> 4) {
        Some(4) => meant4(packet, way, matched, peers),
        Some(6) => meant6(packet, way, matched, peers),
        _ => None,
    };
    meant.unwrap_or(false)
}

fn meant4(packet: &[u8], way: Way, matched: &Match, peers: &Peers) -> Option<bool> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let above = Above {
        protocol: header[9],
        at: usize::from(header[0] & 15) * 4,
        // All but the flags is where it lies in the whole.
        is_whole: word(header, 6)? << 3 == 0,
    };
    if matched
        .protocol
        .is_some_and(|(in4, _)| in4 != 0 && in4 != above.protocol)
    {
        return Some(false);
    }
    let other = match way {
        Way::To => 16,
        Way::From => 12,
    };
    let other: [u8; 4] = *header[other..].first_chunk()?;
    if matched.by_peer && !peers.hold(other.into()) {
        return Some(false);
    }
    Some(by_ports(packet, &above, way, matched))
}

fn meant6(packet: &[u8], way: Way, matched: &Match, peers: &Peers) -> Option<bool> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let above = above6(packet, header[6]);
    let is_icmp = above.protocol == ICMP6 && above.is_whole;
    let kind = packet.get(above.at).filter(|_| is_icmp && !matched.arp);
    if kind.is_some_and(|kind| NEIGHBOURS.contains(kind)) {
        return Some(false);
    }
    if matched
        .protocol
        .is_some_and(|(_, in6)| in6 != 0 && in6 != above.protocol)
    {
        return Some(false);
    }
    let other = match way {
        Way::To => 24,
        Way::From => 8,
    };
    let other: [u8; 16] = *header[other..].first_chunk()?;
    if matched.by_peer && !peers.hold(other.into()) {
        return Some(false);
    }
    Some(by_ports(packet, &above, way, matched))
}

/// Finds the protocol above IPv6, and where its header begins.
fn above6(packet: &[u8], next: u8) -> Above {
    let mut above = Above {
        protocol: next,
        at: 40,
        is_whole: true,
    };
    for _ in 0..EXTENSIONS_MAX {
        let is_extension = matches!(
            above.protocol,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
        );
        let header = packet.get(above.at..).and_then(<[u8]>::first_chunk::<4>);
        let Some([next, length, offset @ ..]) = header.filter(|_| is_extension) else {
            break;
        };
        let length = usize::from(*length);
        above.at += match above.protocol {
            FRAGMENT => {
                above.is_whole &= u16::from_be_bytes(*offset) & 0xfff8 == 0;
                8
            }
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        above.protocol = *next;
    }
    above
}

fn by_ports(packet: &[u8], above: &Above, way: Way, matched: &Match) -> bool {
    let lists = [
        &matched.either_ports,
        &matched.local_ports,
        &matched.remote_ports,
    ];
    if lists.iter().all(|list| list.is_empty()) {
        return true;
    }
    if !above.is_whole || !matches!(above.protocol, TCP | UDP | SCTP) {
        return false;
    }
    let (Some(source), Some(destination)) = (word(packet, above.at), word(packet, above.at + 2))
    else {
        return false;
    };
    let (local, remote) = match way {
        Way::To => (source, destination),
        Way::From => (destination, source),
    };
    let [either, of_local, of_remote] = lists;
    let fits = |list: &[(u16, u16)], ports: &[u16]| {
        let has = |port: &u16| {
            let mut ranges = list.iter();
            ranges.any(|(first, last)| (first..=last).contains(&port))
        };
        list.is_empty() || ports.iter().any(has)
    };
    fits(either, &[local, remote]) && fits(of_local, &[local]) && fits(of_remote, &[remote])
}

/// A number of the network's.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*pair))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const US4: [u8; 4] = [10, 78, 0, 1];
    const THEM4: [u8; 4] = [10, 78, 0, 2];

    fn us6(last: u8) -> [u8; 16] {
        let mut address = [0; 16];
        (address[0], address[1], address[15]) = (0xfd, 0x78, last);
        address
    }

    /// A packet that we send, of so many bytes of options.
    fn packet4(protocol: u8, options: usize, fragment: u16, behind: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x40 | u8::try_from(5 + options / 4).unwrap();
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&US4);
        packet[16..20].copy_from_slice(&THEM4);
        packet.extend(behind);
        packet
    }

    fn packet6(next: u8, behind: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, next);
        packet[8..24].copy_from_slice(&us6(1));
        packet[24..40].copy_from_slice(&us6(2));
        packet.extend(behind);
        packet
    }

    fn ports(source: u16, destination: u16) -> Vec<u8> {
        let words = [source, destination, 8, 0];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn meant(packet: &[u8], way: Way, matched: &Match) -> bool {
        is_meant(packet, way, matched, &Peers::default())
    }

    fn remote(port: u16) -> Match {
        Match {
            remote_ports: vec![(port, port)],
            ..Match::default()
        }
    }

    #[test]
    fn ports_are_found_behind_options_and_extension_headers() {
        let udp = ports(1000, 53);
        let hop = [
            &[ROUTING, 0, 0, 0, 0, 0, 0, 0],
            &[UDP, 1][..],
            &[0; 14],
            &udp,
        ]
        .concat();
        let authentication = [&[UDP, 1, 0, 0][..], &[0; 8], &udp].concat();
        let first = [&[UDP, 0, 0, 1, 0, 0, 0, 9][..], &udp].concat();
        let later = [&[UDP, 0, 0, 8, 0, 0, 0, 9][..], &udp].concat();
        let cases = [
            (packet4(UDP, 0, 0, &udp), true),
            (packet4(TCP, 40, 0x4000, &udp), true),
            (packet4(UDP, 0, 0x2000, &udp), true),
            (packet4(UDP, 0, 0x2001, &udp), false),
            (packet4(1, 0, 0, &udp), false),
            (packet4(UDP, 0, 0, &udp[..3]), false),
            (packet6(UDP, &udp), true),
            (packet6(SCTP, &udp), true),
            (packet6(HOP_BY_HOP, &hop), true),
            (packet6(AUTHENTICATION, &authentication), true),
            (packet6(FRAGMENT, &first), true),
            (packet6(FRAGMENT, &later), false),
            (packet6(59, &udp), false),
        ];
        for (packet, wanted) in cases {
            assert_eq!(meant(&packet, Way::To, &remote(53)), wanted, "{packet:?}");
            let back = meant(&packet, Way::From, &remote(53));
            assert!(!back, "it is ours: {packet:?}");
            assert_eq!(meant(&packet, Way::From, &remote(1000)), wanted);
            let local = Match {
                local_ports: vec![(900, 1000)],
                ..remote(53)
            };
            assert_eq!(meant(&packet, Way::To, &local), wanted);
            let either = Match {
                either_ports: vec![(1, 2), (53, 53)],
                ..Match::default()
            };
            assert_eq!(meant(&packet, Way::To, &either), wanted);
            assert_eq!(meant(&packet, Way::From, &either), wanted);
            assert!(meant(&packet, Way::To, &Match::default()), "any is meant");
        }
    }

    #[test]
    fn protocols_are_those_of_each_family_and_neighbours_are_spared() {
        let icmp = Match {
            protocol: Some((1, ICMP6)),
            ..Match::default()
        };
        assert!(meant(&packet4(1, 0, 0, &[8]), Way::To, &icmp));
        assert!(meant(&packet6(ICMP6, &[128]), Way::To, &icmp));
        assert!(!meant(&packet4(UDP, 0, 0, &[8]), Way::To, &icmp));
        assert!(!meant(&packet6(1, &[8]), Way::To, &icmp));
        for kind in 130..140 {
            let is_spared = (133..=137).contains(&kind);
            let plain = meant(&packet6(ICMP6, &[kind]), Way::To, &Match::default());
            assert_eq!(plain, !is_spared, "{kind}");
            let arp = Match {
                arp: true,
                ..Match::default()
            };
            assert!(meant(&packet6(ICMP6, &[kind]), Way::To, &arp));
        }
        for other in [&[][..], &[0x40; 19], &[0x60; 39], &[0x50; 60]] {
            assert!(!meant(other, Way::To, &Match::default()), "{other:?}");
        }
    }

    #[test]
    fn a_peer_is_whoever_is_on_the_other_side_in_one_of_its_networks() {
        let matched = Match {
            by_peer: true,
            ..Match::default()
        };
        let cases: &[(&str, u8, bool, bool)] = &[
            ("10.78.0.2", 32, true, false),
            ("10.78.0.0", 24, true, true),
            ("10.78.0.2", 31, true, false),
            ("10.78.1.0", 24, false, false),
            ("0.0.0.0", 0, true, true),
            ("fd78::2", 128, true, false),
            ("fd78::", 64, true, true),
            ("fd79::", 64, false, false),
            ("::", 0, true, true),
        ];
        for (address, length, to, from) in cases {
            let address: IpAddr = address.parse().unwrap();
            let packet = if address.is_ipv4() {
                packet4(UDP, 0, 0, &[])
            } else {
                packet6(UDP, &[])
            };
            // Other networks, among them those of the other family, are no hindrance.
            let others: [Network; 2] = [
                ("192.0.2.0".parse().unwrap(), 24),
                ("2001:db8::".parse().unwrap(), 32),
            ];
            let networks = others.into_iter().chain([(address, *length)]);
            let peers = Peers::new(&networks.collect());
            assert_eq!(
                is_meant(&packet, Way::To, &matched, &peers),
                *to,
                "{address}"
            );
            assert_eq!(
                is_meant(&packet, Way::From, &matched, &peers),
                *from,
                "{address}"
            );
            assert!(!is_meant(&packet, Way::To, &matched, &Peers::default()));
        }
    }

    proptest! {
        #[test]
        fn an_address_is_in_a_network_whose_bits_it_has(
            bits in any::<u128>(), length in 0_u8..=128, flipped in 0_u32..128,
        ) {
            let address = |bits: u128| IpAddr::V6(bits.into());
            let network = bits & !u128::MAX.checked_shr(length.into()).unwrap_or(0);
            let peers = Peers::new(&[(address(network), length)].into());
            prop_assert!(peers.hold(address(bits)));
            let other = bits ^ (1 << (127 - flipped));
            prop_assert_eq!(peers.hold(address(other)), flipped >= u32::from(length));
        }

        #[test]
        fn whatever_comes_is_read_to_its_end_at_most(
            packet in proptest::collection::vec(any::<u8>(), 0..300), is_v4 in any::<bool>(),
        ) {
            let mut packet = packet;
            if let Some(first) = packet.first_mut() {
                *first = *first & 15 | if is_v4 { 0x40 } else { 0x60 };
            }
            for way in Way::ALL {
                let all = meant(&packet, way, &Match { arp: true, ..Match::default() });
                prop_assert_eq!(all, packet.len() >= if is_v4 { 20 } else { 40 });
                meant(&packet, way, &remote(53));
            }
        }
    }
}
