//! The filter of a DNS tap, in the kernel's classic BPF: which packets are copied at all. See `filter.rst` of the kernel.

use socket2::SockFilter;

/// The port of DNS.
const DNS_PORT: u32 = super::PORT as u32;
/// `IPPROTO_UDP`.
const UDP: u32 = 17;
/// `ETH_P_IP`, `ETH_P_IPV6`.
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
/// `PACKET_OUTGOING`.
const OUTGOING: u32 = 4;
/// Where the protocol of a packet and its direction can be loaded from: `SKF_AD_OFF` and `SKF_AD_PROTOCOL`,
/// `SKF_AD_PKTTYPE`.
const PROTOCOL: u32 = 0xffff_f000;
const DIRECTION: u32 = 0xffff_f004;
/// In the header of IPv4: the protocol above it; whether more fragments follow, and where this one belongs.
const PROTOCOL_4: u32 = 9;
const FRAGMENT_4: u32 = 6;
const FRAGMENT_BITS: u32 = 0x3fff;
/// In the header of IPv6: the next header; how long it is itself.
const NEXT_6: u32 = 6;
const BYTES_6: u32 = 40;
/// In the header of UDP.
const SOURCE: u32 = 0;
const DESTINATION: u32 = 2;

/// All of it, however long.
const WHOLE: u32 = u32::MAX;

/// Loads a word, a half or a byte of the packet; a half of what follows the header in the index.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_BEHIND: u16 = 0x48;
/// Sets the index to a number, or to the length of the header of IPv4 that begins there.
const INDEX: u16 = 0x01;
const INDEX_HEADER: u16 = 0xb1;
/// Goes so many steps further, or that many if the value is equal, or has one of these bits.
const GO: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ANY: u16 = 0x45;
/// Ends with so many bytes copied.
const COPY: u16 = 0x06;

const fn step(code: u16, value: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, value)
}

/// A step that goes so many further where it is so, and so many where it is not.
const fn branch(code: u16, value: u32, yes: u8, no: u8) -> SockFilter {
    SockFilter::new(code, yes, no, value)
}

/// Lets pass, of a packet that begins with its network header: UDP that goes out to port 53, or comes in from it; no
/// fragments. What is too short for a load is not let pass.
pub(super) const PROGRAM: [SockFilter; 20] = [
    step(LOAD_WORD, PROTOCOL),
    branch(IF_EQUAL, IPV6, 0, 4),
    step(LOAD_BYTE, NEXT_6),
    branch(IF_EQUAL, UDP, 0, 15),
    step(INDEX, BYTES_6),
    step(GO, 6),
    branch(IF_EQUAL, IPV4, 0, 12),
    step(LOAD_BYTE, PROTOCOL_4),
    branch(IF_EQUAL, UDP, 0, 10),
    step(LOAD_HALF, FRAGMENT_4),
    branch(IF_ANY, FRAGMENT_BITS, 8, 0),
    step(INDEX_HEADER, 0),
    step(LOAD_WORD, DIRECTION),
    branch(IF_EQUAL, OUTGOING, 0, 2),
    step(LOAD_HALF_BEHIND, DESTINATION),
    step(GO, 1),
    step(LOAD_HALF_BEHIND, SOURCE),
    branch(IF_EQUAL, DNS_PORT, 0, 1),
    step(COPY, WHOLE),
    step(COPY, 0),
];
