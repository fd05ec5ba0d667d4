//! What pings say: echo requests, their answers, and errors of ICMP that quote a request (RFC 792, RFC 4443).

use super::{Reply, inbox::Message};
use crate::checksum;

/// Types of messages in IPv4 or IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Types {
    pub request: u8,
    pub answer: u8,
    pub unreachable: u8,
    pub time_exceeded: u8,
}

pub(super) const V4: Types = Types {
    request: 8,
    answer: 0,
    unreachable: 3,
    time_exceeded: 11,
};
pub(super) const V6: Types = Types {
    request: 128,
    answer: 129,
    unreachable: 1,
    time_exceeded: 3,
};

/// The header, and as much as `ping(8)` sends behind it.
const MESSAGE_BYTES: usize = 8 + 56;
/// The header of an error, behind which it quotes what it is about.
const ERROR_BYTES: usize = 8;
const HEADER6_BYTES: usize = 40;
/// The protocol in a header of IP: where it stands, and what it is.
const PROTOCOL: ((usize, u8), (usize, u8)) = ((9, 1), (6, 58));

impl Types {
    pub(super) fn of(is_v4: bool) -> Self {
        if is_v4 { V4 } else { V6 }
    }

    /// Those of what a request may be answered by.
    pub(super) fn replies(self) -> [u8; 3] {
        [self.answer, self.unreachable, self.time_exceeded]
    }
}

/// A request.
pub(super) fn request(is_v4: bool, identifier: u16, number: u16) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    message[0] = Types::of(is_v4).request;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&number.to_be_bytes());
    if is_v4 {
        // For IPv6 the kernel makes it, which knows the addresses.
        let sum = checksum::of(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The identifier and the number of a request that came.
pub(super) fn requested(message: &Message<'_>) -> Option<(u16, u16)> {
    let types = Types::of(message.from.is_ipv4());
    let (kind, _, identifier, number) = header(message.body)?;
    (kind == types.request && is_intact(message)).then_some((identifier, number))
}

/// What a message says of requests of this identifier, and of which.
pub(super) fn replied(message: &Message<'_>, identifier: u16) -> Option<(u16, Reply)> {
    let is_v4 = message.from.is_ipv4();
    let types = Types::of(is_v4);
    let (kind, code, own, number) = header(message.body)?;
    let (own, number, reply) = if kind == types.answer {
        (own, number, Reply::Echo)
    } else {
        let reply = if kind == types.unreachable {
            Reply::Unreachable { code }
        } else if kind == types.time_exceeded {
            Reply::TimeExceeded
        } else {
            return None;
        };
        let (quoted, _, own, number) = header(quoted(message.body, is_v4)?)?;
        if quoted != types.request {
            return None;
        }
        (own, number, reply)
    };
    (own == identifier && is_intact(message)).then_some((number, reply))
}

/// The message that an error quotes, behind the header of IP.
fn quoted(error: &[u8], is_v4: bool) -> Option<&[u8]> {
    let packet = error.get(ERROR_BYTES..)?;
    let ((at, icmp), header) = if is_v4 {
        (PROTOCOL.0, usize::from(packet.first()? & 15) * 4)
    } else {
        (PROTOCOL.1, HEADER6_BYTES)
    };
    (*packet.get(at)? == icmp).then(|| packet.get(header..))?
}

/// Type, code, identifier and number.
fn header(message: &[u8]) -> Option<(u8, u8, u16, u16)> {
    let [kind, code, _, _, high, low, first, second] = *message.first_chunk()?;
    let identifier = u16::from_be_bytes([high, low]);
    Some((kind, code, identifier, u16::from_be_bytes([first, second])))
}

/// Whether a message is as it was sent, as far as that can be said: one that was damaged does not count as come. Of IPv6
/// the kernel has thrown it away.
fn is_intact(message: &Message<'_>) -> bool {
    !message.is_whole || message.from.is_ipv6() || checksum::of(&[message.body]) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, SocketAddr};

    const IDENTIFIER: u16 = 0x1234;

    /// What is made of a message from somebody.
    fn heard(from: &str, body: &[u8], is_whole: bool) -> Option<(u16, Reply)> {
        let from: IpAddr = from.parse().unwrap();
        let message = Message {
            from: SocketAddr::new(from, 0),
            to: None,
            at_ns: 1,
            heard_ns: 2,
            body,
            is_whole,
        };
        replied(&message, IDENTIFIER)
    }

    /// An error that quotes a request behind a header of so many bytes.
    fn error(is_v4: bool, kind: u8, code: u8, header: usize) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        let mut packet = vec![0; header];
        let (at, icmp) = if is_v4 { PROTOCOL.0 } else { PROTOCOL.1 };
        packet[0] = if is_v4 {
            0x40 | u8::try_from(header / 4).unwrap()
        } else {
            0x60
        };
        packet[at] = icmp;
        message.extend(packet);
        message.extend(request(is_v4, IDENTIFIER, 77));
        let sum = checksum::of(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    #[test]
    fn a_request_comes_as_it_was_sent_and_is_no_reply() {
        for from in ["10.0.0.1", "fd00::1"] {
            let from: IpAddr = from.parse().unwrap();
            let body = request(from.is_ipv4(), IDENTIFIER, 65_535);
            let mut message = Message {
                from: SocketAddr::new(from, 0),
                to: None,
                at_ns: 1,
                heard_ns: 2,
                body: &body,
                is_whole: true,
            };
            assert_eq!(requested(&message), Some((IDENTIFIER, 65_535)));
            assert_eq!(replied(&message, IDENTIFIER), None);
            message.body = &body[..7];
            assert_eq!(requested(&message), None);
        }
    }

    #[test]
    fn errors_that_quote_a_request_tell_of_it() {
        let unreachable = |code| Some((77, Reply::Unreachable { code }));
        for header in [20, 60] {
            let message = error(true, 3, 13, header);
            assert_eq!(heard("10.0.0.9", &message, true), unreachable(13));
        }
        let exceeded = Some((77, Reply::TimeExceeded));
        assert_eq!(heard("10.0.0.9", &error(true, 11, 0, 20), true), exceeded);
        assert_eq!(
            heard("fd00::9", &error(false, 1, 3, 40), true),
            unreachable(3)
        );
        assert_eq!(heard("fd00::9", &error(false, 3, 0, 40), true), exceeded);
        // Of what is older than pings only eight bytes behind the header are quoted.
        let mut short = error(true, 3, 1, 20);
        short.truncate(8 + 20 + 8);
        assert_eq!(heard("10.0.0.9", &short, false), unreachable(1));
        short.truncate(8 + 20 + 7);
        assert_eq!(heard("10.0.0.9", &short, false), None);
    }

    #[test]
    fn what_is_somebody_elses_or_damaged_is_nobodys_answer() {
        let mut other = error(true, 3, 1, 20);
        other[8 + 20 + 5] ^= 1;
        assert_eq!(heard("10.0.0.9", &other, false), None);
        let mut udp = error(true, 3, 1, 20);
        udp[8 + 9] = 17;
        assert_eq!(heard("10.0.0.9", &udp, false), None);
        let mut damaged = error(true, 3, 1, 20);
        damaged[50] ^= 1;
        assert_eq!(heard("10.0.0.9", &damaged, true), None);
        let mut redirect = error(true, 5, 1, 20);
        assert_eq!(heard("10.0.0.9", &redirect, true), None);
        redirect.clear();
        assert_eq!(heard("10.0.0.9", &redirect, true), None);
        let mut answer = request(true, IDENTIFIER + 1, 5);
        answer[0] = 0;
        assert_eq!(heard("10.0.0.9", &answer, false), None);
    }
}
