//! A segment is a packet of TCP that carries nothing, with all its headers, as a raw socket sends it (RFC 9293, `raw(7)`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::checksum;

/// What a segment says of itself.
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// The protocol's number in headers of IP.
const TCP: u8 = 6;
const TCP_BYTES: u16 = 20;
const IP4_BYTES: u16 = 20;
const LIFETIME: u8 = 64;
/// Where the checksum stands in a segment.
const SUM: usize = 16;

/// What is to be sent; it acknowledges nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub from: SocketAddr,
    /// Of the same family.
    pub to: SocketAddr,
    /// Its place in the stream.
    pub number: u32,
    pub flags: u8,
    pub window: u16,
    /// The largest segment that the sender takes, which is said in the first one only.
    pub mss: Option<u16>,
}

impl Segment {
    /// With its headers. The checksum of IPv4's own is made by the kernel.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let options = self.mss.map(|bytes| {
            let [high, low] = bytes.to_be_bytes();
            [2, 4, high, low]
        });
        let options: &[u8] = options.as_ref().map_or(&[], |option| option);
        let (bytes, words) = if options.is_empty() {
            (TCP_BYTES, 5)
        } else {
            (TCP_BYTES + 4, 6)
        };
        let ends = Ends::of(self.from.ip(), self.to.ip());
        let mut packet = Vec::with_capacity(64);
        if ends.is_v4() {
            packet.extend([0x45, 0]);
            packet.extend((IP4_BYTES + bytes).to_be_bytes());
            packet.extend([0, 0, 0, 0, LIFETIME, TCP, 0, 0]);
        } else {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(bytes.to_be_bytes());
            packet.extend([TCP, LIFETIME]);
        }
        packet.extend(ends.addresses());
        let begins = packet.len();
        packet.extend(self.from.port().to_be_bytes());
        packet.extend(self.to.port().to_be_bytes());
        packet.extend(self.number.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend([words << 4, self.flags]);
        packet.extend(self.window.to_be_bytes());
        // The checksum before it is made, and the urgent pointer.
        packet.extend([0; 4]);
        packet.extend(options);
        let sum = checksum::of(&[ends.addresses(), &about(bytes), &packet[begins..]]);
        packet[begins + SUM..begins + SUM + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    }
}

/// Whether a segment is as it was sent. One from the same machine may bear the sum of its ends only: the kernel leaves the
/// rest to a device that the segment has never passed.
pub(crate) fn is_intact(from: IpAddr, to: IpAddr, segment: &[u8]) -> bool {
    let (Ok(bytes), Some(sum)) = (u16::try_from(segment.len()), segment.get(SUM..SUM + 2)) else {
        return false;
    };
    let ends = Ends::of(from, to);
    let about = about(bytes);
    let of_ends = !checksum::of(&[ends.addresses(), &about]);
    sum == of_ends.to_be_bytes() || checksum::of(&[ends.addresses(), &about, segment]) == 0
}

/// What the checksum covers besides the ends and the segment.
fn about(bytes: u16) -> [u8; 4] {
    let [high, low] = bytes.to_be_bytes();
    [0, TCP, high, low]
}

/// Two addresses as they stand in a header, one after the other.
struct Ends {
    bytes: [u8; 32],
    length: usize,
}

impl Ends {
    fn of(from: IpAddr, to: IpAddr) -> Self {
        let (mut bytes, length) = (
            [0; 32],
            if from.is_ipv4() && to.is_ipv4() {
                8
            } else {
                32
            },
        );
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes[..4].copy_from_slice(&from.octets());
                bytes[4..8].copy_from_slice(&to.octets());
            }
            (from, to) => {
                bytes[..16].copy_from_slice(&as_v6(from).octets());
                bytes[16..].copy_from_slice(&as_v6(to).octets());
            }
        }
        Self { bytes, length }
    }

    fn is_v4(&self) -> bool {
        self.length == 8
    }

    fn addresses(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: &str, to: &str, mss: Option<u16>) -> Segment {
        Segment {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            number: 1 << 31,
            flags: SYN,
            window: 1024,
            mss,
        }
    }

    #[test]
    fn what_is_sent_has_a_checksum_that_whoever_gets_it_finds_right() {
        let v4 = segment("10.0.0.1:80", "10.0.0.2:4000", None);
        let sent = v4.packet();
        assert_eq!(sent.len(), 40);
        let pseudo = [&sent[12..20], &[0, TCP, 0, 20]].concat();
        assert_eq!(checksum::of(&[&pseudo, &sent[20..]]), 0);
        assert_eq!(sent[20..28], [0, 80, 0x0f, 0xa0, 0x80, 0, 0, 0]);
        assert_eq!(sent[32..36], [5 << 4, SYN, 4, 0]);
        let v6 = segment("[fd00::1]:80", "[fd00::2]:4000", Some(1460));
        let sent = v6.packet();
        assert_eq!(sent.len(), 64);
        let pseudo = [&sent[8..40], &[0, 0, 0, 24, 0, 0, 0, TCP]].concat();
        assert_eq!(checksum::of(&[&pseudo, &sent[40..]]), 0);
        assert_eq!(sent[60..], [2, 4, 0x05, 0xb4]);
    }

    #[test]
    fn one_that_was_damaged_is_known_and_one_that_no_device_has_summed_is_not_called_so() {
        for (from, to) in [
            ("10.0.0.1:80", "10.0.0.2:4000"),
            ("[fd00::1]:80", "[fd00::2]:1"),
        ] {
            let whole = segment(from, to, Some(1460));
            let (from, to) = (whole.from.ip(), whole.to.ip());
            let header = if from.is_ipv4() { 20 } else { 40 };
            let mut sent = whole.packet().split_off(header);
            assert!(is_intact(from, to, &sent));
            sent[5] ^= 4;
            assert!(!is_intact(from, to, &sent));
            let ends = Ends::of(from, to);
            let sum = !checksum::of(&[ends.addresses(), &about(24)]);
            sent[SUM..SUM + 2].copy_from_slice(&sum.to_be_bytes());
            assert!(is_intact(from, to, &sent));
            assert!(!is_intact(from, to, &sent[..10]));
        }
    }
}
