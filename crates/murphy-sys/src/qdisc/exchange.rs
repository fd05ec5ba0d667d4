//! An exchange is one question to the kernel about traffic control and its answer, over a netlink socket of its own.
//!
//! The answers are read attribute by attribute, and here: the connections of `rtnetlink` leave out what they cannot
//! decode, and a qdisc that is overlooked would be taken for none. See netlink(7), rtnetlink(7).

use std::io;

use nix::errno::Errno;
use rtnetlink::{
    packet_core::{
        DefaultNla, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_CREATE, NLM_F_DUMP,
        NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
        NetlinkMessage,
    },
    packet_route::RouteNetlinkMessage,
    sys::{Socket, protocols::NETLINK_ROUTE},
};

use super::QdiscError;
use crate::{
    namespace::NetNamespace,
    netlink::{ALIGNMENT, HEADER, attribute},
};

/// How often a list is asked for that changes while it is read.
const ATTEMPTS_MAX: u32 = 10;
/// The attribute of an answer that has the kernel's own words (`NLMSGERR_ATTR_MSG`).
const WORDS: u16 = 1;

/// Why the kernel did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub errno: Errno,
    /// The kernel's own words, if it has any.
    pub said: Option<String>,
}

/// A netlink socket in some network namespace.
pub(super) struct Exchange {
    socket: Socket,
    sequence: u32,
}

/// A number as C passes it.
pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().into())
}

/// Numbers in a row, as a C struct of them lies in memory.
pub(super) fn numbers(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

/// The text of an attribute.
pub(super) fn text_of(attributes: &[u8], wanted: u16) -> Option<String> {
    let value = attribute(attributes, wanted)?;
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    Some(String::from_utf8_lossy(value).into_owned())
}

impl Exchange {
    /// Opens a socket inside a namespace, where it stays.
    pub fn within(namespace: &NetNamespace) -> Result<Self, QdiscError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            // The kernel's own words, and not the whole question again.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = namespace.run(open)?.map_err(QdiscError::Socket)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Makes something that must not be there yet.
    pub fn create(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Result<(), Refusal>, QdiscError> {
        self.change(message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes something.
    pub fn remove(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Result<(), Refusal>, QdiscError> {
        self.change(message, 0)
    }

    fn change(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Result<(), Refusal>, QdiscError> {
        let heard = self.converse(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        Ok(heard.map(|_| ()))
    }

    /// The one message that answers, without its header.
    pub fn ask(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Result<Vec<u8>, Refusal>, QdiscError> {
        let heard = self.converse(message, NLM_F_REQUEST | NLM_F_ACK)?;
        Ok(heard.map(|heard| heard.bodies.into_iter().next().unwrap_or_default()))
    }

    /// All that there is, each message without its header, as it was at one time.
    pub fn list(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> Result<Result<Vec<Vec<u8>>, Refusal>, QdiscError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.converse(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)? {
                Ok(heard) if heard.is_torn => {}
                heard => return Ok(heard.map(|heard| heard.bodies)),
            }
        }
        Err(QdiscError::Unsteady)
    }

    fn converse(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Result<Heard, Refusal>, QdiscError> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(QdiscError::Socket)?;
        let mut heard = Heard::default();
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(QdiscError::Socket)?;
            if let Some(end) = heard.read(&datagram, self.sequence)? {
                return Ok(end.map(|()| heard));
            }
        }
    }
}

/// What the kernel has answered so far.
#[derive(Default)]
struct Heard {
    bodies: Vec<Vec<u8>>,
    /// What was listed changed meanwhile.
    is_torn: bool,
}

impl Heard {
    /// Reads some messages; the last of all says whether it was done.
    fn read(
        &mut self,
        datagram: &[u8],
        sequence: u32,
    ) -> Result<Option<Result<(), Refusal>>, QdiscError> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(|_| QdiscError::Answer)?;
            let length = usize::try_from(message.length()).map_err(|_| QdiscError::Answer)?;
            let body = rest.get(HEADER..length).ok_or(QdiscError::Answer)?;
            if message.sequence_number() == sequence {
                self.is_torn |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_ERROR | NLMSG_DONE => return Ok(Some(verdict(message.flags(), body)?)),
                    _ => self.bodies.push(body.to_vec()),
                }
            }
            rest = rest
                .get(length.next_multiple_of(ALIGNMENT)..)
                .unwrap_or_default();
        }
        Ok(None)
    }
}

/// What the last message of an answer says: `struct nlmsgerr`, or the number at the end of a list.
fn verdict(flags: u16, body: &[u8]) -> Result<Result<(), Refusal>, QdiscError> {
    let Some((code, rest)) = body.split_first_chunk() else {
        // Some kernels end a list without a number.
        return Ok(Ok(()));
    };
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(Ok(()));
    }
    let said = if flags & NLM_F_ACK_TLVS == 0 {
        None
    } else if flags & NLM_F_CAPPED != 0 {
        rest.get(HEADER..)
    } else {
        // The whole question comes before.
        let asked = NetlinkBuffer::new_checked(rest).map_err(|_| QdiscError::Answer)?;
        let asked = usize::try_from(asked.length()).map_err(|_| QdiscError::Answer)?;
        rest.get(asked.next_multiple_of(ALIGNMENT)..)
    };
    Ok(Err(Refusal {
        errno: Errno::from_raw(code.saturating_neg()),
        said: said.and_then(|attributes| text_of(attributes, WORDS)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{emitted, text};

    #[test]
    fn attributes_are_found_behind_odd_lengths_and_in_each_other() {
        let inner = emitted(&[text(7, "abcd"), number(9, 5)]);
        let bytes = emitted(&[text(1, "netem"), DefaultNla::new(2 | 0x8000, inner)]);
        assert_eq!(text_of(&bytes, 1).as_deref(), Some("netem"));
        let inner = attribute(&bytes, 2).unwrap();
        assert_eq!(attribute(inner, 9), Some(&5_u32.to_ne_bytes()[..]));
        assert_eq!(attribute(inner, 1), None);
        for length in 0..bytes.len() {
            // Cut short anywhere, nothing is read beyond the end.
            let _ = attribute(&bytes[..length], 2);
        }
    }

    #[test]
    fn a_refusal_has_the_kernels_own_words() {
        let words = emitted(&[text(WORDS, "Specified qdisc kind is unknown.")]);
        let body = [&(-2_i32).to_ne_bytes()[..], &[0; HEADER], &words].concat();
        let refusal = verdict(NLM_F_CAPPED | NLM_F_ACK_TLVS, &body)
            .unwrap()
            .unwrap_err();
        assert_eq!(refusal.errno, Errno::ENOENT);
        assert_eq!(refusal.said.unwrap(), "Specified qdisc kind is unknown.");
        let silent = verdict(NLM_F_CAPPED, &body).unwrap().unwrap_err();
        assert_eq!(silent.said, None);
        assert!(verdict(0, &[0; 20]).unwrap().is_ok());
    }
}
