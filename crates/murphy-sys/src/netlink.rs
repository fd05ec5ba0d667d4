//! Messages of netlink(7) and their attributes, whichever part of the kernel they are for.

use std::io;

use rtnetlink::packet_core::{DefaultNla, Emitable, NLA_TYPE_MASK, NetlinkBuffer};

/// Bytes of `struct nlmsghdr`; messages begin at multiples of four.
pub(crate) const HEADER: usize = 16;
pub(crate) const ALIGNMENT: usize = 4;

/// A text that ends with a zero.
pub(crate) fn text(kind: u16, value: &str) -> DefaultNla {
    DefaultNla::new(kind, [value.as_bytes(), &[0]].concat())
}

/// Attributes, one behind the other.
pub(crate) fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

/// The value of the first attribute of a kind. Nested ones may be flagged as such, which says nothing more.
pub(crate) fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let Some((head, _)) = rest.split_at_checked(ALIGNMENT) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = rest.get(head.len()..length)?;
        if kind & NLA_TYPE_MASK == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..)?;
    }
    None
}

/// A message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// What is behind its header.
    pub body: &'a [u8],
}

/// The messages of a datagram.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let head = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(head.length()).ok()?;
        let (kind, flags) = (head.message_type(), head.flags());
        let sequence = head.sequence_number();
        let body = rest.get(HEADER..length)?;
        rest = rest
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some(Message {
            kind,
            flags,
            sequence,
            body,
        })
    })
}

/// What `struct nlmsgerr` says; nothing where it says that all is well.
pub(crate) fn refusal(body: &[u8]) -> Option<io::Error> {
    let code = i32::from_ne_bytes(*body.first_chunk()?);
    (code != 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}
