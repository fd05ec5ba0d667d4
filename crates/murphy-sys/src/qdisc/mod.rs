//! A queueing discipline (qdisc) decides which packets a network device sends, and when: Linux traffic control, by
//! rtnetlink(7).
//!
//! Whatever is made here outlives the process that made it. So everything has an identity that is known before it is
//! made, as a value that a journal can hold, and is removed only while it still is what that identity says. Nothing is
//! ever replaced, and nothing of anybody else's is touched. A clsact has the same handle whoever made it: one that still
//! has filters is somebody's, and stays.
//!
//! Needs `CAP_NET_ADMIN` in the user namespace that owns the network namespace. See tc(8), tc-netem(8), and
//! `include/uapi/linux/pkt_sched.h`.

pub mod distribution;
mod error;
mod exchange;
pub mod filter;
pub mod ifb;
pub mod netem;
pub mod shaper;
pub mod trial;

use std::fmt;

use rtnetlink::{
    packet_core::DefaultNla,
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcHandle, TcHeader, TcMessage},
    },
};
use serde::{Deserialize, Serialize};

use crate::{namespace::NetNamespace, netlink::attribute};
pub use error::QdiscError;
use exchange::{Exchange, text_of};
pub use netem::Netem;
pub use shaper::{Prio, Tbf};

/// `TCA_KIND`, `TCA_OPTIONS`, `TCA_STATS`, `TCA_STATS2`.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const STATS: u16 = 3;
const STATS2: u16 = 7;

/// The name of a qdisc, of one of its classes, or of a place that has always been there; `1:2` is the second class of
/// the qdisc `1:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(u32);

impl Handle {
    /// The device itself, as the parent of its first qdisc.
    pub const ROOT: Self = Self(0xffff_ffff);
    /// The parent of a clsact.
    pub const CLSACT_PARENT: Self = Self(0xffff_fff1);
    /// A clsact.
    pub const CLSACT: Self = Self(0xffff_0000);
    /// The parent of filters on what arrives, below a clsact.
    pub const INGRESS: Self = Self(0xffff_fff2);
    /// The parent of filters on what leaves, below a clsact.
    pub const EGRESS: Self = Self(0xffff_fff3);

    /// The qdisc of a number, from 1 to 0x7fff: the kernel gives out the others itself.
    pub const fn qdisc(major: u16) -> Self {
        Self((major as u32) << 16)
    }

    /// A class of this qdisc, from 1.
    #[must_use]
    pub const fn class(self, minor: u16) -> Self {
        Self(self.0 & 0xffff_0000 | minor as u32)
    }

    /// As the kernel passes it.
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Handle {
    /// As tc(8) has it, in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ROOT => f.write_str("root"),
            Self::INGRESS => f.write_str("ingress"),
            Self::EGRESS => f.write_str("egress"),
            Self(raw) => match (raw >> 16, raw & 0xffff) {
                (major, 0) => write!(f, "{major:x}:"),
                (major, minor) => write!(f, "{major:x}:{minor:x}"),
            },
        }
    }
}

impl From<Handle> for TcHandle {
    fn from(handle: Handle) -> Self {
        Self::from(handle.0)
    }
}

/// Where a qdisc is, and how it is called there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The index of the network device.
    pub ifindex: u32,
    /// [`Handle::ROOT`], or a class of another qdisc.
    pub parent: Handle,
    /// Its own.
    pub handle: Handle,
}

impl Place {
    /// The place of the clsact of a device: there is one.
    pub fn clsact(ifindex: u32) -> Self {
        Self {
            ifindex,
            parent: Handle::CLSACT_PARENT,
            handle: Handle::CLSACT,
        }
    }

    fn message(self, attributes: Vec<TcAttribute>) -> TcMessage {
        let header = TcHeader {
            // The kernel has 31 bits for it.
            index: self.ifindex.cast_signed(),
            parent: self.parent.into(),
            handle: self.handle.into(),
            ..TcHeader::default()
        };
        TcMessage::from_parts(header, attributes)
    }
}

/// What a qdisc does.
#[derive(Clone, Debug, PartialEq)]
pub enum Discipline {
    /// Delays, loses, duplicates, corrupts.
    Netem(Netem),
    /// Slows down.
    Tbf(Tbf),
    /// Has bands, of which the first goes first.
    Prio(Prio),
    /// Has filters for what arrives and what leaves.
    Clsact,
}

impl Discipline {
    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Netem(_) => "netem",
            Self::Tbf(_) => "tbf",
            Self::Prio(_) => "prio",
            Self::Clsact => "clsact",
        }
    }

    fn options(&self) -> Result<Option<Vec<u8>>, QdiscError> {
        match self {
            Self::Netem(netem) => netem.options().map(Some),
            Self::Tbf(tbf) => tbf.options().map(Some),
            Self::Prio(prio) => prio.options().map(Some),
            Self::Clsact => Ok(None),
        }
    }
}

/// What a qdisc is known by: enough to remove it, and nothing else, at any later time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QdiscId {
    /// Where it is.
    pub place: Place,
    /// The name of its kind, such as `netem`.
    pub kind: String,
}

impl fmt::Display for QdiscId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            ifindex,
            parent,
            handle,
        } = self.place;
        write!(f, "the qdisc {} {handle}", self.kind)?;
        match parent {
            Handle::CLSACT_PARENT => {}
            Handle::ROOT => write!(f, " as the root")?,
            _ => write!(f, " below {parent}")?,
        }
        write!(f, " of link {ifindex}")
    }
}

/// What has gone through a qdisc since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent; modulo 2³² where the kernel counts no further.
    pub packets: u64,
    /// Packets dropped, by intent or for want of room.
    pub drops: u32,
    /// How often it had to wait.
    pub overlimits: u32,
    /// How often the device gave a packet back.
    pub requeues: u32,
    /// Packets that wait in it.
    pub queued: u32,
    /// Their bytes.
    pub backlog_bytes: u32,
}

/// A qdisc as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// What it is known by.
    pub id: QdiscId,
    /// What has gone through it.
    pub statistics: Statistics,
    /// As the kernel says them.
    options: Vec<u8>,
}

impl Qdisc {
    /// Whether the kernel has put it there itself, for want of another: those have the handle 0.
    pub fn is_kernel_default(&self) -> bool {
        self.id.place.handle == Handle(0)
    }

    /// Whether it is a device's first.
    pub fn is_root(&self) -> bool {
        self.id.place.parent == Handle::ROOT
    }

    fn read(message: &[u8]) -> Result<Self, QdiscError> {
        let header = TcHeader::parse(message).map_err(|_| QdiscError::Answer)?;
        let attributes = message.get(HEADER..).ok_or(QdiscError::Answer)?;
        Ok(Self {
            id: QdiscId {
                place: Place {
                    ifindex: header.index.cast_unsigned(),
                    parent: Handle(header.parent.into()),
                    handle: Handle(header.handle.into()),
                },
                kind: text_of(attributes, KIND).ok_or(QdiscError::Answer)?,
            },
            statistics: Statistics::read(attributes),
            options: attribute(attributes, OPTIONS).unwrap_or_default().to_vec(),
        })
    }
}

/// Bytes of `struct tcmsg`.
const HEADER: usize = 20;

impl Statistics {
    /// From `TCA_STATS2`, whose parts are `TCA_STATS_BASIC`, `TCA_STATS_QUEUE` and `TCA_STATS_PKT64`; or from the older
    /// `TCA_STATS`.
    fn read(attributes: &[u8]) -> Self {
        let Some(parts) = attribute(attributes, STATS2) else {
            let old = attribute(attributes, STATS).unwrap_or_default();
            return Self {
                bytes: long_at(old, 0),
                packets: word_at(old, 8).into(),
                drops: word_at(old, 12),
                overlimits: word_at(old, 16),
                requeues: 0,
                queued: word_at(old, 28),
                backlog_bytes: word_at(old, 32),
            };
        };
        let part = |kind| attribute(parts, kind).unwrap_or_default();
        let (basic, queue) = (part(1), part(3));
        Self {
            bytes: long_at(basic, 0),
            packets: match part(8) {
                [] => word_at(basic, 8).into(),
                packets => long_at(packets, 0),
            },
            queued: word_at(queue, 0),
            backlog_bytes: word_at(queue, 4),
            drops: word_at(queue, 8),
            requeues: word_at(queue, 12),
            overlimits: word_at(queue, 16),
        }
    }
}

fn word_at(bytes: &[u8], offset: usize) -> u32 {
    let word = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_ne_bytes(*word))
}

fn long_at(bytes: &[u8], offset: usize) -> u64 {
    let long = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    long.map_or(0, |long| u64::from_ne_bytes(*long))
}

/// What became of something that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It was there, and is removed.
    Now,
    /// It was gone already, perhaps with its device.
    Gone,
    /// Something else is in its place, or depends on it, and was not touched.
    Foreign,
}

/// The qdiscs of a device, its root first; none where the device is down and nobody has given it one.
pub fn list(namespace: &NetNamespace, ifindex: u32) -> Result<Vec<Qdisc>, QdiscError> {
    list_with(&mut Exchange::within(namespace)?, ifindex)
}

fn list_with(exchange: &mut Exchange, ifindex: u32) -> Result<Vec<Qdisc>, QdiscError> {
    let all = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    let all = exchange
        .list(&all)?
        .map_err(|refusal| QdiscError::refused("list", &"qdiscs", refusal))?;
    let mut found = Vec::new();
    for message in all {
        let qdisc = Qdisc::read(&message)?;
        if qdisc.id.place.ifindex == ifindex {
            found.push(qdisc);
        }
    }
    found.sort_by_key(|qdisc| !qdisc.is_root());
    Ok(found)
}

/// Makes a qdisc. Whatever is there already, but for the kernel's default, is an error and stays.
pub fn add(
    namespace: &NetNamespace,
    place: Place,
    discipline: &Discipline,
) -> Result<QdiscId, QdiscError> {
    let id = QdiscId {
        place,
        kind: discipline.kind().to_owned(),
    };
    let mut attributes = vec![TcAttribute::Kind(id.kind.clone())];
    let options = discipline.options()?;
    attributes.extend(options.map(|options| TcAttribute::Other(DefaultNla::new(OPTIONS, options))));
    let message = RouteNetlinkMessage::NewQueueDiscipline(place.message(attributes));
    match Exchange::within(namespace)?.create(message)? {
        Ok(()) => Ok(id),
        Err(refusal) => Err(QdiscError::refused("add", &id, refusal)),
    }
}

/// Removes a qdisc with all below it. The kernel's default comes back in place of a root.
///
/// The kernel compares what is there with the identity in the same moment in which it removes it; only whether a clsact
/// still has filters is asked before.
pub fn delete(namespace: &NetNamespace, id: &QdiscId) -> Result<Removal, QdiscError> {
    let mut exchange = Exchange::within(namespace)?;
    if id.place == Place::clsact(id.place.ifindex) && filter::any(&mut exchange, id.place.ifindex)?
    {
        return Ok(Removal::Foreign);
    }
    let attributes = vec![TcAttribute::Kind(id.kind.clone())];
    let message = RouteNetlinkMessage::DelQueueDiscipline(id.place.message(attributes));
    let Err(refusal) = exchange.remove(message)? else {
        return Ok(Removal::Now);
    };
    let there = list_with(&mut exchange, id.place.ifindex)?;
    let there = there
        .iter()
        .find(|qdisc| qdisc.id.place.parent == id.place.parent);
    match there {
        Some(qdisc) if qdisc.id == *id => Err(QdiscError::refused("delete", id, refusal)),
        Some(qdisc) if !qdisc.is_kernel_default() => Ok(Removal::Foreign),
        _ => Ok(Removal::Gone),
    }
}

#[cfg(test)]
mod tests;
