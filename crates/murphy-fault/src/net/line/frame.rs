//! A frame is a packet as a tap gives and takes it: the header of virtio, one of Ethernet, and what it carries.

use murphy_sys::tap::HEADER_BYTES;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::tally::Size;

/// The header's first bytes: that a checksum is yet to be completed, and in what frames the packet is to be sent.
const FLAGS: usize = 0;
const KIND: usize = 1;
const SEGMENT_BYTES: usize = 4;
const CHECKSUM_START: usize = 6;
const CHECKSUM_OFFSET: usize = 8;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4`, `_TCPV6`, `_UDP_L4`, and the flag `_ECN` that may be added.
const KIND_TCP4: u8 = 1;
const KIND_TCP6: u8 = 4;
const KIND_UDP: u8 = 5;
const KIND_ECN: u8 = 0x80;

const ETHERNET_BYTES: usize = 14;
const VLAN_BYTES: usize = 4;
const VLANS_MAX: usize = 2;

/// How much it is, without the header of virtio.
pub(super) fn size(frame: &[u8]) -> Size {
    let (segments, _) = shape(frame);
    Size {
        segments,
        bytes: bytes(frame),
    }
}

fn bytes(frame: &[u8]) -> u64 {
    frame.len().saturating_sub(HEADER_BYTES) as u64
}

/// Whether it is to be sent as more than one.
pub(super) fn is_large(frame: &[u8]) -> bool {
    frame.get(KIND).is_some_and(|kind| kind & !KIND_ECN != 0)
}

/// How many bytes it is on a wire, where each segment of a large frame has headers of its own.
pub(super) fn wire_bytes(frame: &[u8]) -> u64 {
    let (segments, headers) = shape(frame);
    bytes(frame) + headers * (segments - 1)
}

/// As how many it is to be sent, and how long the headers are that each of these has.
fn shape(frame: &[u8]) -> (u64, u64) {
    let Some(start) = number(frame, CHECKSUM_START).filter(|_| is_large(frame)) else {
        return (1, 0);
    };
    let transport = match frame[KIND] & !KIND_ECN {
        KIND_TCP4 | KIND_TCP6 => frame
            .get(HEADER_BYTES + start + 12)
            .map_or(0, |offset| usize::from(offset >> 4) * 4),
        KIND_UDP => 8,
        _ => return (1, 0),
    };
    let headers = (start + transport) as u64;
    let segment = number(frame, SEGMENT_BYTES).unwrap_or(0).max(1) as u64;
    let carried = bytes(frame).saturating_sub(headers);
    (carried.div_ceil(segment).max(1), headers)
}

/// Makes one random bit behind the header of IP another one, and says whether it did: a frame that is to be sent as
/// more than one stays whole, since all its segments would get new checksums, and so does one that carries nothing, or
/// not IP. The checksum is completed before, so that the receiver's does not agree.
pub(super) fn corrupt(frame: &mut [u8], random: &mut ChaCha8Rng) -> bool {
    let Some((start, end)) = payload(frame).filter(|_| !is_large(frame)) else {
        return false;
    };
    complete_checksum(frame);
    // Nothing that is said of the checksum holds for what it is now.
    frame[..HEADER_BYTES].fill(0);
    frame[random.random_range(start..end)] ^= 1 << random.random_range(0..8);
    true
}

/// Computes the checksum that the sender left to its network card, as `skb_checksum_help` of the kernel does.
fn complete_checksum(frame: &mut [u8]) {
    let is_partial = frame[FLAGS] & NEEDS_CHECKSUM != 0;
    let (Some(start), Some(offset)) = (
        number(frame, CHECKSUM_START).filter(|_| is_partial),
        number(frame, CHECKSUM_OFFSET),
    ) else {
        return;
    };
    let start = HEADER_BYTES + start;
    let at = start + offset;
    if at + 2 > frame.len() {
        return;
    }
    // The place of the checksum holds the sum of the pseudo header already.
    let sum = !ones_complement_sum(&frame[start..]);
    // Zero says that there is no checksum, and is the same number as this.
    let sum = if sum == 0 { u16::MAX } else { sum };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of RFC 1071: of 16-bit numbers, with what it carries over.
fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        ref rest => rest.iter().map(|high| u64::from(*high) << 8).sum(),
    });
    let mut sum: u64 = words.sum();
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // It was folded until it fits.
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Where that begins and ends which the packet of IP in a frame carries: behind its headers, before any padding.
fn payload(frame: &[u8]) -> Option<(usize, usize)> {
    let mut at = HEADER_BYTES + ETHERNET_BYTES;
    let mut protocol = word(frame, at - 2)?;
    for _ in 0..VLANS_MAX {
        if matches!(protocol, 0x8100 | 0x88a8) {
            at += VLAN_BYTES;
            protocol = word(frame, at - 2)?;
        }
    }
    let (start, end) = match protocol {
        0x0800 => {
            let words = usize::from(frame.get(at)? & 0x0f);
            (at + words * 4, at + usize::from(word(frame, at + 2)?))
        }
        0x86dd => {
            let end = at + 40 + usize::from(word(frame, at + 4)?);
            (behind_extensions(frame, at + 40, *frame.get(at + 6)?)?, end)
        }
        _ => return None,
    };
    let end = end.min(frame.len());
    (start < end).then_some((start, end))
}

/// Where the extension headers of IPv6, over which there is no checksum, end.
fn behind_extensions(frame: &[u8], mut at: usize, mut kind: u8) -> Option<usize> {
    // Hop by hop, routing, fragment, destination. Each takes eight bytes or more, so this ends.
    while matches!(kind, 0 | 43 | 44 | 60) {
        let length = match kind {
            44 => 8,
            _ => (usize::from(*frame.get(at + 1)?) + 1) * 8,
        };
        kind = *frame.get(at)?;
        at += length;
    }
    Some(at)
}

/// A number of the network's.
fn word(frame: &[u8], at: usize) -> Option<u16> {
    let pair = frame.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

/// A number of the header of virtio.
fn number(frame: &[u8], at: usize) -> Option<usize> {
    let pair = frame.get(at..at + 2)?;
    Some(u16::from_ne_bytes([pair[0], pair[1]]).into())
}

#[cfg(test)]
pub(super) mod tests;
