use super::*;
use proptest::prelude::*;
use rand::SeedableRng;

/// What a packet is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::line) struct Kind {
    pub(in crate::net::line) is_ipv6: bool,
    pub(in crate::net::line) is_tcp: bool,
}

pub(in crate::net::line) const UDP4: Kind = Kind {
    is_ipv6: false,
    is_tcp: false,
};

impl Kind {
    const ALL: [Self; 4] = [
        UDP4,
        Self {
            is_tcp: true,
            ..UDP4
        },
        Self {
            is_ipv6: true,
            ..UDP4
        },
        Self {
            is_ipv6: true,
            is_tcp: true,
        },
    ];

    fn protocol(self) -> u8 {
        if self.is_tcp { 6 } else { 17 }
    }

    /// Where the place of the checksum is in the header of the transport.
    fn checksum_at(self) -> usize {
        if self.is_tcp { 16 } else { 6 }
    }

    fn network_bytes(self) -> usize {
        if self.is_ipv6 { 40 } else { 20 }
    }

    fn transport_at(self) -> usize {
        HEADER_BYTES + ETHERNET_BYTES + self.network_bytes()
    }

    fn addresses(self) -> Vec<u8> {
        (0..if self.is_ipv6 { 32 } else { 8 })
            .map(|at| 0xf0 + at % 16)
            .collect()
    }

    /// What stands before a packet when its checksum is computed: RFC 793, RFC 8200 section 8.1.
    fn pseudo_header(self, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        [&self.addresses()[..], &length, &[0, 0, 0, self.protocol()]].concat()
    }

    /// What the receiver computes: 0xffff when nothing is wrong.
    fn receivers_sum(self, frame: &[u8]) -> u16 {
        let segment = &frame[self.transport_at()..];
        plain_sum(&[&self.pseudo_header(segment.len()), segment].concat())
    }
}

/// A sum of 16-bit numbers in which each carry is added at once.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(2), 0);
    padded.chunks(2).fold(0, |sum: u16, pair| {
        let (sum, is_over) = sum.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
        sum + u16::from(is_over)
    })
}

/// A frame whose checksum is as Linux leaves it to the network card.
pub(in crate::net::line) fn packet(kind: Kind, data: &[u8]) -> Vec<u8> {
    let header = if kind.is_tcp { 20 } else { 8 };
    let length = u16::try_from(header + data.len()).unwrap();
    let mut transport = vec![0x11; header];
    if kind.is_tcp {
        transport[12] = 5 << 4;
    } else {
        transport[4..6].copy_from_slice(&length.to_be_bytes());
    }
    let at = kind.checksum_at();
    let partial = plain_sum(&kind.pseudo_header(length.into()));
    transport[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    let mut network = vec![0; kind.network_bytes()];
    let (start, ether) = if kind.is_ipv6 {
        (8, [0x86, 0xdd])
    } else {
        (12, [8, 0])
    };
    if kind.is_ipv6 {
        network[0] = 0x60;
        network[4..6].copy_from_slice(&length.to_be_bytes());
        network[6] = kind.protocol();
    } else {
        network[0] = 0x45;
        network[2..4].copy_from_slice(&(length + 20).to_be_bytes());
        network[9] = kind.protocol();
    }
    network[start..].copy_from_slice(&kind.addresses());
    let mut virtio = [0; HEADER_BYTES];
    virtio[FLAGS] = NEEDS_CHECKSUM;
    let start = u16::try_from(ETHERNET_BYTES + kind.network_bytes()).unwrap();
    virtio[CHECKSUM_START..CHECKSUM_OFFSET].copy_from_slice(&start.to_ne_bytes());
    virtio[CHECKSUM_OFFSET..].copy_from_slice(&u16::try_from(at).unwrap().to_ne_bytes());
    [&virtio[..], &[2; 12], &ether, &network, &transport, data].concat()
}

/// Makes one of it that is to be sent in segments of so many bytes.
fn as_large(mut frame: Vec<u8>, kind: u8, segment: u16) -> Vec<u8> {
    frame[KIND] = kind;
    frame[SEGMENT_BYTES..CHECKSUM_START].copy_from_slice(&segment.to_ne_bytes());
    frame
}

fn random() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(6)
}

proptest! {
    #[test]
    fn a_completed_checksum_is_what_the_receiver_computes(
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for kind in Kind::ALL {
            let mut frame = packet(kind, &data);
            complete_checksum(&mut frame);
            prop_assert_eq!(kind.receivers_sum(&frame), 0xffff, "{:?}", kind);
            let at = kind.transport_at() + kind.checksum_at();
            prop_assert!(frame[at..at + 2] != [0, 0]);
        }
    }

    #[test]
    fn a_corrupt_frame_differs_in_one_bit_that_the_receiver_sees(
        data in proptest::collection::vec(any::<u8>(), 0..200),
        seed: u64,
        padding in 0_usize..20,
    ) {
        for kind in Kind::ALL {
            let mut whole = packet(kind, &data);
            complete_checksum(&mut whole);
            let length = whole.len();
            let mut frame = packet(kind, &data);
            frame.resize(length + padding, 0);
            if padding == 0 {
                prop_assert!(corrupt(&mut frame, &mut ChaCha8Rng::seed_from_u64(seed)));
            } else {
                // A network card completes the checksum before it pads.
                frame[..length].copy_from_slice(&whole);
                frame[FLAGS] = 2; // VIRTIO_NET_HDR_F_DATA_VALID
                prop_assert!(corrupt(&mut frame, &mut ChaCha8Rng::seed_from_u64(seed)));
            }
            prop_assert_eq!(&frame[..HEADER_BYTES], [0; HEADER_BYTES]);
            let bits = |range: std::ops::Range<usize>| -> u32 {
                range.map(|at| (frame[at] ^ whole[at]).count_ones()).sum()
            };
            prop_assert_eq!(bits(HEADER_BYTES..kind.transport_at()), 0);
            prop_assert_eq!(bits(kind.transport_at()..length), 1);
            prop_assert!(kind.receivers_sum(&frame[..length]) != 0xffff);
            prop_assert!(frame[length..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn no_bytes_are_too_strange(mut frame in proptest::collection::vec(any::<u8>(), 0..120)) {
        let before = frame.clone();
        let (length, wire) = (bytes(&frame), wire_bytes(&frame));
        prop_assert!(length <= wire);
        let _ = payload(&frame);
        if !corrupt(&mut frame, &mut random()) {
            prop_assert_eq!(before, frame);
        }
    }
}

#[test]
fn a_checksum_of_zero_is_written_as_the_other_zero() {
    for kind in Kind::ALL {
        let at = kind.transport_at() + kind.checksum_at();
        let mut frame = packet(kind, &[0, 0]);
        complete_checksum(&mut frame);
        // What is added to the data is missing from the checksum.
        let mut none = packet(kind, &frame[at..at + 2]);
        complete_checksum(&mut none);
        assert_eq!(&none[at..at + 2], [0xff, 0xff]);
        assert_eq!(kind.receivers_sum(&none), 0xffff);
    }
}

#[test]
fn every_bit_behind_the_network_header_is_hit_and_no_other() {
    let kind = UDP4;
    let mut whole = packet(kind, b"data");
    complete_checksum(&mut whole);
    let (mut random, mut hits) = (random(), vec![0_u32; whole.len() * 8]);
    for _ in 0..9600 {
        let mut frame = packet(kind, b"data");
        assert!(corrupt(&mut frame, &mut random));
        for bit in 0..hits.len() {
            hits[bit] += u32::from((frame[bit / 8] ^ whole[bit / 8]) >> (bit % 8) & 1);
        }
    }
    hits.drain(..HEADER_BYTES * 8); // which is cleared
    let ahead = (kind.transport_at() - HEADER_BYTES) * 8;
    assert!(hits[..ahead].iter().all(|hits| *hits == 0));
    // 12 bytes are hit 9600 times, so each bit 100 times; 5 sigma, for 96 of them are looked at.
    assert!(
        hits[ahead..].iter().all(|hits| hits.abs_diff(100) < 50),
        "{hits:?}"
    );
}

#[test]
fn what_carries_nothing_or_is_to_be_sent_as_several_stays_whole() {
    let mut arp = packet(UDP4, b"data");
    arp[HEADER_BYTES + 12..HEADER_BYTES + 14].copy_from_slice(&[8, 6]);
    let mut empty = packet(UDP4, b"data");
    empty[HEADER_BYTES + 16..HEADER_BYTES + 18].copy_from_slice(&[0, 20]);
    let large = as_large(packet(UDP4, &[0; 4000]), KIND_UDP, 1400);
    for mut frame in [arp, empty, large, Vec::new(), vec![0; 12]] {
        let before = frame.clone();
        assert!(!corrupt(&mut frame, &mut random()));
        assert_eq!(frame, before);
    }
}

#[test]
fn extension_headers_and_tags_come_before_what_is_corrupted() {
    let kind = Kind {
        is_ipv6: true,
        ..UDP4
    };
    let plain = packet(kind, b"data");
    let (start, end) = payload(&plain).unwrap();
    assert_eq!((start, end), (kind.transport_at(), plain.len()));
    // Hop by hop of 16 bytes, then a fragment's.
    let mut extended = plain.clone();
    let extensions = [&[44, 1][..], &[0; 14], &[17], &[0; 7]].concat();
    extended.splice(start..start, extensions);
    extended[start - 40 + 6] = 0;
    extended[start - 40 + 5] += 24;
    assert_eq!(payload(&extended), Some((start + 24, end + 24)));
    let mut tagged = extended;
    tagged.splice(22..22, [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
    assert_eq!(payload(&tagged), Some((start + 32, end + 32)));
}

#[test]
fn a_large_frame_is_as_long_as_its_segments_are_on_a_wire() {
    let tcp6 = Kind {
        is_ipv6: true,
        is_tcp: true,
    };
    let data = [0; 3000];
    let plain = packet(tcp6, &data);
    let headers = 14 + 40 + 20;
    assert_eq!(wire_bytes(&plain), headers + 3000);
    let large = |segment| wire_bytes(&as_large(plain.clone(), KIND_TCP6 | KIND_ECN, segment));
    assert_eq!(large(1400), 3 * headers + 3000);
    assert_eq!(large(1000), 3 * headers + 3000);
    assert_eq!(large(3000), headers + 3000);
    let udp = as_large(packet(UDP4, &data), KIND_UDP, 1000);
    assert_eq!(wire_bytes(&udp), 3 * (14 + 20 + 8) + 3000);
}
