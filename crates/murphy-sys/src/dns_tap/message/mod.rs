//! A message of DNS as far as a tap tells of it: what is asked for, and the addresses that are answered. See RFC 1035.
//!
//! Bytes come from whoever can send them. Of names only that of the question is read, which nothing but the header stands
//! before, so that no pointer can lead far; the others are passed by. All work is a small multiple of the length, and what
//! makes no sense ends the reading.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use hickory_proto::{
    op::{Header, MessageType, OpCode, Query},
    rr::RecordType,
    serialize::binary::{BinDecodable, BinDecoder},
};

/// How many addresses of an answer are told of.
pub const ADDRESSES_MAX: usize = 64;

/// `IN`, the class of the Internet.
const INTERNET: u16 = 1;
/// `OPT`, which is no record but says more about the message; RFC 6891.
const EXTENSION: u16 = 41;
/// The longest label of a name, in bytes; from what on a byte is the first of a pointer.
const LABEL_MAX: u8 = 63;
const POINTER: u8 = 0xc0;
/// A longer time to live is none; RFC 2181.
const TTL_MAX: u32 = i32::MAX.cast_unsigned();

/// A message: a query, or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The number that an answer has from its query.
    pub id: u16,
    /// Whether it is an answer.
    pub is_answer: bool,
    /// What is asked for, in lower case and without the final dot, 255 bytes of the message at most; what is neither a
    /// letter, a digit, `-` nor `_` is behind a `\`. Empty for the root, and in an answer that does not repeat the
    /// question, as some that refuse; its kind is number 0 then.
    pub name: String,
    /// Which of its records.
    pub kind: RecordKind,
    /// How it went; no error in a query.
    pub code: Code,
    /// Whether more was to be said than had room, so that it will be asked for again over TCP.
    pub is_truncated: bool,
    /// The addresses of the answer, also those of names that the one that is asked for is an alias of, each with how long
    /// it may be used: the first [`ADDRESSES_MAX`].
    pub addresses: Vec<(IpAddr, Duration)>,
}

/// A kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Addresses of IPv4.
    A,
    /// Addresses of IPv6.
    Aaaa,
    /// Any other, by its number.
    Other(u16),
}

impl From<u16> for RecordKind {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for RecordKind {
    /// As everybody calls it; `TYPE` and the number where it has no name, as RFC 3597 wants it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::A => f.write_str("A"),
            Self::Aaaa => f.write_str("AAAA"),
            Self::Other(number) => match RecordType::from(number) {
                RecordType::Unknown(_) | RecordType::ZERO => write!(f, "TYPE{number}"),
                named => named.fmt(f),
            },
        }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Well; also where there is no record of the kind.
    NoError,
    /// The server failed.
    ServFail,
    /// There is no such name.
    NxDomain,
    /// The server does not want to.
    Refused,
    /// Any other, by its number.
    Other(u16),
}

impl From<u16> for Code {
    fn from(number: u16) -> Self {
        match number {
            0 => Self::NoError,
            2 => Self::ServFail,
            3 => Self::NxDomain,
            5 => Self::Refused,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoError => f.write_str("NOERROR"),
            Self::ServFail => f.write_str("SERVFAIL"),
            Self::NxDomain => f.write_str("NXDOMAIN"),
            Self::Refused => f.write_str("REFUSED"),
            Self::Other(number) => write!(f, "RCODE{number}"),
        }
    }
}

/// What the bytes say; nothing where they are no query for names and no answer to one.
pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let mut rest = BinDecoder::new(bytes);
    let header = Header::read(&mut rest).ok()?;
    let is_answer = header.message_type() == MessageType::Response;
    if header.op_code() != OpCode::Query || (header.query_count() == 0 && !is_answer) {
        return None;
    }
    let (mut name, mut kind) = (String::new(), RecordKind::Other(0));
    if header.query_count() > 0 {
        let question = Query::read(&mut rest).ok()?;
        name = text(&question);
        kind = u16::from(question.query_type()).into();
    }
    let mut message = Message {
        id: header.id(),
        is_answer,
        name,
        kind,
        code: u16::from(header.response_code()).into(),
        is_truncated: header.truncated(),
        addresses: Vec::new(),
    };
    if is_answer {
        // What cannot be read is left out, with all behind it.
        let _ = add_records(&mut message, &header, &mut rest);
    }
    Some(message)
}

fn text(question: &Query) -> String {
    let mut name = question.name().to_ascii();
    name.make_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    name
}

/// Adds what the records say. They stand behind the questions: those that answer, those of who is responsible, and more.
fn add_records(message: &mut Message, header: &Header, rest: &mut BinDecoder<'_>) -> Option<()> {
    for _ in 1..header.query_count() {
        skip_name(rest)?;
        rest.read_u32().ok()?;
    }
    let answering = u32::from(header.answer_count());
    let others = u32::from(header.name_server_count()) + u32::from(header.additional_count());
    for place in 0..answering + others {
        skip_name(rest)?;
        let mut half = || Some(rest.read_u16().ok()?.unverified());
        let (kind, class) = (half()?, half()?);
        let ttl = rest.read_u32().ok()?.unverified();
        let length = rest.read_u16().ok()?.unverified();
        let data = rest.read_slice(length.into()).ok()?.unverified();
        if kind == EXTENSION {
            let [above, ..] = ttl.to_be_bytes();
            message.code = (u16::from(above) << 4 | u16::from(header.response_code().low())).into();
        } else if place < answering && class == INTERNET && message.addresses.len() < ADDRESSES_MAX
        {
            let seconds = if ttl > TTL_MAX { 0 } else { ttl };
            let found = address(kind.into(), data);
            let valid = Duration::from_secs(seconds.into());
            message.addresses.extend(found.map(|found| (found, valid)));
        }
    }
    Some(())
}

/// The address that a record holds, if that is what it holds.
fn address(kind: RecordKind, data: &[u8]) -> Option<IpAddr> {
    match kind {
        RecordKind::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        RecordKind::Aaaa => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        RecordKind::Other(_) => None,
    }
}

/// Passes a name by: it ends with an empty label or with a pointer, wherever that leads.
fn skip_name(rest: &mut BinDecoder<'_>) -> Option<()> {
    loop {
        match rest.pop().ok()?.unverified() {
            0 => return Some(()),
            length @ 1..=LABEL_MAX => {
                rest.read_slice(length.into()).ok()?;
            }
            POINTER.. => {
                rest.pop().ok()?;
                return Some(());
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
