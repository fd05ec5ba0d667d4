//! A filter is a program of classic BPF that the kernel runs on what comes to a socket, before it copies or wakes anything.
//!
//! It sees messages of IPv4 from the header of IP on and those of IPv6 from behind it, and says how many bytes are kept. A
//! load past the end keeps none. See `filter.rst` of the kernel and `include/uapi/linux/bpf_common.h`.

use socket2::SockFilter;

use super::message::{V4, V6};
use crate::segment::{ACK, RST, SYN};

/// Loads of a byte or of two, at a place or so far behind X.
const BYTE_AT: u16 = 0x30;
const BYTE_BEHIND_X: u16 = 0x50;
const TWO_BEHIND_X: u16 = 0x48;
/// X is a number, what was computed, or the length of the header of IPv4 that begins at a place.
const X_IS: u16 = 0x01;
const X_IS_COMPUTED: u16 = 0x07;
const X_IS_HEADER4: u16 = 0xb1;
/// Sums, with a number or with X.
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
/// Says how many instructions are left out where it is so, and where it is not.
const IF_EQUAL: u16 = 0x15;
const END: u16 = 0x06;
/// What the end says.
const ALL: u32 = u32::MAX;
const NOTHING: u32 = 0;

/// Where the identifier stands in an echo request, and what an error of IPv6 has before the one that it quotes.
const IDENTIFIER: u32 = 4;
const QUOTED6: u32 = 8 + 40;
/// Where a segment has its port of destination, and its flags.
const PORT_TO: u32 = 2;
const FLAGS: u32 = 13;

const fn step(code: u16, number: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, number)
}

const fn if_equal(number: u32, so: u8, not: u8) -> SockFilter {
    SockFilter::new(IF_EQUAL, so, not, number)
}

/// Keeps answers to requests of an identifier, and errors that quote one, of messages of IPv4 and of IPv6 that are either.
pub(super) fn replies(identifier: u16) -> (Vec<SockFilter>, Vec<SockFilter>) {
    let end = || {
        [
            step(TWO_BEHIND_X, IDENTIFIER),
            if_equal(identifier.into(), 0, 1),
            step(END, ALL),
            step(END, NOTHING),
        ]
    };
    let v4 = [
        step(X_IS_HEADER4, 0),
        step(BYTE_BEHIND_X, 0),
        if_equal(V4.answer.into(), 6, 0),
        // Past the header of the error and the one that it quotes.
        step(BYTE_BEHIND_X, 8),
        step(AND, 15),
        step(SHIFT_LEFT, 2),
        step(ADD_X, 0),
        step(ADD, 8),
        step(X_IS_COMPUTED, 0),
    ];
    let v6 = [
        step(X_IS, 0),
        step(BYTE_AT, 0),
        if_equal(V6.answer.into(), 1, 0),
        step(X_IS, QUOTED6),
    ];
    (
        v4.into_iter().chain(end()).collect(),
        v6.into_iter().chain(end()).collect(),
    )
}

/// Keeps what answers the first segment of a connection from one of some ports, at most 200: that it may be opened, or
/// that it may not.
pub(crate) fn openings(ports: &[u16]) -> (Vec<SockFilter>, Vec<SockFilter>) {
    let flags = |set: u8| u32::from(set);
    let program = |begin| {
        let last = u8::try_from(ports.len()).unwrap_or(u8::MAX);
        // Hardly any segment of others gets past its flags.
        let flagged = [
            begin,
            step(BYTE_BEHIND_X, FLAGS),
            step(AND, flags(SYN | RST | ACK)),
            if_equal(flags(SYN | ACK), 1, 0),
            if_equal(flags(RST | ACK), 0, last + 1),
            step(TWO_BEHIND_X, PORT_TO),
        ];
        let ported = ports
            .iter()
            .zip((1..=last).rev())
            .map(|(port, left)| if_equal((*port).into(), left, 0));
        let end = [step(END, NOTHING), step(END, ALL)];
        flagged.into_iter().chain(ported).chain(end).collect()
    };
    (program(step(X_IS_HEADER4, 0)), program(step(X_IS, 0)))
}
