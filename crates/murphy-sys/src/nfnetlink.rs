//! The messages of nfnetlink, and one exchange of them with the kernel. See netlink(7).

use std::{io, os::fd::AsFd};

use rtnetlink::{
    packet_core::{DefaultNla, NLM_F_ACK, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR},
    sys::{Socket, protocols::NETLINK_NETFILTER},
};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use crate::{
    namespace::{NamespaceError, NetNamespace},
    netlink::{self, ALIGNMENT, HEADER, attribute, emitted, refusal},
};

/// Bytes of `struct nfgenmsg`, which is behind the header of a message.
const GENERAL: usize = 4;
/// An answer is at most as long as what the kernel puts into one datagram.
const ANSWER_BYTES: usize = 1 << 16;

/// `NLA_F_NESTED`: an attribute of attributes.
const NESTED: u16 = 0x8000;
/// Parts of netfilter: `NFNL_SUBSYS_CTNETLINK`, `NFNL_SUBSYS_QUEUE`, `NFNL_SUBSYS_NFTABLES`, and none, for the brackets of a
/// change.
pub(crate) const CONNTRACK: u8 = 1;
pub(crate) const QUEUE: u8 = 3;
pub(crate) const NFTABLES: u8 = 10;
const NONE: u8 = 0;
/// `NFNL_MSG_BATCH_BEGIN` and `_END`: what stands between is done as a whole or not at all.
const BATCH_BEGIN: u8 = 0x10;
const BATCH_END: u8 = 0x11;

/// One message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The part of netfilter, and what is asked of it.
    pub part: u8,
    pub kind: u8,
    /// Beside `NLM_F_REQUEST`.
    pub flags: u16,
    /// `NFPROTO_*`.
    pub family: u8,
    /// The number of a queue, or the part that a batch is for.
    pub resource: u16,
    pub attributes: Vec<DefaultNla>,
}

impl Message {
    /// Writes it behind others.
    pub fn write(&self, sequence: u32, to: &mut Vec<u8>) {
        let body = emitted(&self.attributes);
        // Messages have at most a few hundred bytes.
        let length = u32::try_from(HEADER + GENERAL + body.len()).unwrap_or(u32::MAX);
        to.extend(length.to_ne_bytes());
        to.extend([self.kind, self.part]);
        to.extend((self.flags | NLM_F_REQUEST).to_ne_bytes());
        to.extend(sequence.to_ne_bytes());
        to.extend([0; 4]);
        to.extend([self.family, 0]);
        to.extend(self.resource.to_be_bytes());
        to.extend(body);
        to.resize(to.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// Attributes in an attribute.
pub(crate) fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NESTED, emitted(attributes))
}

/// A number as netfilter passes it: that of the network's order.
pub(crate) fn word32(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().into())
}

/// The same of two bytes.
pub(crate) fn word16(kind: u16, value: u16) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().into())
}

/// The same of an answer.
pub(crate) fn word16_of(attributes: &[u8], kind: u16) -> Option<u16> {
    let value = attribute(attributes, kind)?;
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

/// Such a number of an answer.
pub(crate) fn word32_of(attributes: &[u8], kind: u16) -> Option<u32> {
    let value = attribute(attributes, kind)?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// The attributes of a message of netfilter's.
pub(crate) fn attributes(body: &[u8]) -> &[u8] {
    body.get(GENERAL..).unwrap_or_default()
}

/// A socket for netfilter inside a namespace, where it stays.
pub(crate) fn socket(namespace: &NetNamespace) -> Result<io::Result<Socket>, NamespaceError> {
    let open = || -> io::Result<Socket> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        Ok(socket)
    };
    namespace.run(open)
}

/// The next datagram, if there is one.
pub(crate) fn next<'a>(socket: &Socket, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    let (_, length) = match recv(socket.as_fd(), &mut *buffer, RecvFlags::DONTWAIT) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    Ok(buffer.get(..length))
}

/// A message that was refused: its place among those that were sent, and the kernel's answer.
#[derive(Debug)]
pub(crate) struct Refused {
    pub place: usize,
    pub source: io::Error,
}

/// Sends messages, and gives what the kernel answers: all of it is there when the kernel has taken them.
pub(crate) fn ask(socket: &Socket, messages: &[Message]) -> Result<Vec<Vec<u8>>, Refused> {
    let broken = |source| Refused { place: 0, source };
    let mut bytes = Vec::new();
    for (message, sequence) in messages.iter().zip(0..) {
        message.write(sequence, &mut bytes);
    }
    socket.send(&bytes, 0).map_err(broken)?;
    let (mut buffer, mut bodies, mut first) = (vec![0; ANSWER_BYTES], Vec::new(), None);
    while let Some(datagram) = next(socket, &mut buffer).map_err(broken)? {
        for answer in netlink::messages(datagram) {
            if answer.kind == NLMSG_ERROR {
                let place = answer.sequence as usize;
                let refused = refusal(answer.body).map(|source| Refused { place, source });
                first = first.or(refused);
            } else if answer.kind != NLMSG_DONE {
                bodies.push(answer.body.to_vec());
            }
        }
    }
    match first {
        Some(refused) => Err(refused),
        None => Ok(bodies),
    }
}

/// Changes nftables, as a whole or not at all.
pub(crate) fn change(socket: &Socket, changes: Vec<Message>) -> Result<(), Refused> {
    let bracket = |kind| Message {
        part: NONE,
        kind,
        resource: NFTABLES.into(),
        ..Message::default()
    };
    let mut batch = vec![bracket(BATCH_BEGIN)];
    batch.extend(changes.into_iter().map(|change| Message {
        flags: change.flags | NLM_F_ACK,
        ..change
    }));
    batch.push(bracket(BATCH_END));
    ask(socket, &batch).map(drop)
}
