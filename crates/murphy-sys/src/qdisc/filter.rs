//! A filter looks at each packet that comes to a qdisc and says where it goes: to a class, or to another device.
//!
//! Two classifiers: `bpf`, which asks a loaded BPF program, and `matchall`, which takes every packet. See tc-bpf(8),
//! tc-matchall(8), tc-mirred(8).

use std::{
    fmt,
    num::NonZeroU16,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::errno::Errno;
use rtnetlink::{
    packet_core::DefaultNla,
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcHeader, TcMessage},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    HEADER, Handle, KIND, OPTIONS, QdiscError, Removal,
    exchange::{Exchange, number, numbers, text_of},
};
use crate::{
    namespace::NetNamespace,
    netlink::{attribute, emitted, text},
};

/// `TCA_BPF_…`.
const BPF_ACTION: u16 = 1;
const BPF_CLASS: u16 = 3;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
/// `TCA_BPF_FLAG_ACT_DIRECT`.
const DIRECT: u32 = 1;
/// `TCA_MATCHALL_…`.
const MATCHALL_CLASS: u16 = 1;
const MATCHALL_ACTION: u16 = 2;
/// The first action of a list, `TCA_ACT_KIND`, `TCA_ACT_OPTIONS`.
const FIRST: u16 = 1;
const ACTION_KIND: u16 = 1;
const ACTION_OPTIONS: u16 = 2;
/// `TCA_MIRRED_PARMS`, `TCA_EGRESS_REDIR`, `TC_ACT_STOLEN`.
const MIRRED_PARAMETERS: u16 = 2;
const EGRESS_REDIRECT: u32 = 1;
const STOLEN: u32 = 4;
/// Packets of every protocol (`ETH_P_ALL`), in the network's order.
const EVERY_PROTOCOL: u32 = 0x0003_u16.to_be() as u32;

/// Where a filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterPlace {
    /// The index of the network device.
    pub ifindex: u32,
    /// A qdisc with classes, or [`Handle::INGRESS`] or [`Handle::EGRESS`] of a clsact.
    pub parent: Handle,
    /// The lowest is asked first.
    pub priority: NonZeroU16,
}

/// The one filter of a priority here.
const FILTER_HANDLE: u32 = 1;

impl FilterPlace {
    /// A message about the filters of a priority, or about the one with a handle.
    fn message(self, handle: u32, attributes: Vec<TcAttribute>) -> TcMessage {
        let header = TcHeader {
            index: self.ifindex.cast_signed(),
            parent: self.parent.into(),
            handle: handle.into(),
            info: (u32::from(self.priority.get()) << 16) | EVERY_PROTOCOL,
            ..TcHeader::default()
        };
        TcMessage::from_parts(header, attributes)
    }
}

/// What a filter asks.
#[derive(Clone, Copy, Debug)]
pub enum Classifier<'a> {
    /// The program, which decides all by itself: what it returns is one of `TC_ACT_…`.
    BpfDirect(Program<'a>),
    /// The program, which says whether: 0 for no, -1 for yes, or another class than the verdict's.
    Bpf(Program<'a>, Verdict),
    /// Nobody: every packet is meant.
    Matchall(Verdict),
}

/// A loaded BPF program of the type `BPF_PROG_TYPE_SCHED_CLS`.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The program. The filter holds it from then on.
    pub fd: BorrowedFd<'a>,
    /// What the filter is called after it.
    pub name: &'a str,
}

/// Where a packet goes that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To a class of the qdisc.
    Class(Handle),
    /// To another device, as if it were sent there.
    Redirect {
        /// Its index.
        ifindex: u32,
    },
}

/// What a filter is known by: enough to remove it, and nothing else, at any later time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterId {
    /// Where it is.
    pub place: FilterPlace,
    /// `bpf`, `matchall`, or somebody else's.
    pub kind: String,
    /// Of the BPF program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl FilterId {
    /// What the filter will be known by.
    pub fn new(place: FilterPlace, classifier: &Classifier<'_>) -> Self {
        let program = classifier.program();
        Self {
            place,
            kind: classifier.kind().to_owned(),
            name: program.map(|program| program.name.to_owned()),
        }
    }
}

impl fmt::Display for FilterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the filter {}", self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        let FilterPlace {
            ifindex,
            parent,
            priority,
        } = self.place;
        write!(f, " of priority {priority} at {parent} of link {ifindex}")
    }
}

impl<'a> Classifier<'a> {
    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BpfDirect(_) | Self::Bpf(..) => "bpf",
            Self::Matchall(_) => "matchall",
        }
    }

    fn program(&self) -> Option<Program<'a>> {
        match *self {
            Self::BpfDirect(program) | Self::Bpf(program, _) => Some(program),
            Self::Matchall(_) => None,
        }
    }

    fn options(&self) -> Vec<u8> {
        let mut attributes = Vec::new();
        if let Some(program) = self.program() {
            attributes.push(number(BPF_FD, program.fd.as_raw_fd().cast_unsigned()));
            attributes.push(text(BPF_NAME, program.name));
        }
        attributes.push(match *self {
            Self::BpfDirect(_) => number(BPF_FLAGS, DIRECT),
            Self::Bpf(_, verdict) => verdict.attribute(BPF_CLASS, BPF_ACTION),
            Self::Matchall(verdict) => verdict.attribute(MATCHALL_CLASS, MATCHALL_ACTION),
        });
        emitted(&attributes)
    }
}

impl Verdict {
    fn attribute(self, class: u16, action: u16) -> DefaultNla {
        let ifindex = match self {
            Self::Class(handle) => return number(class, handle.raw()),
            Self::Redirect { ifindex } => ifindex,
        };
        // `struct tc_mirred`: index, capabilities, action and two counts of the kernel's own; direction and device.
        let parameters = [0, 0, STOLEN, 0, 0, EGRESS_REDIRECT, ifindex];
        let parameters = DefaultNla::new(MIRRED_PARAMETERS, numbers(&parameters));
        let first = emitted(&[
            text(ACTION_KIND, "mirred"),
            DefaultNla::new(ACTION_OPTIONS, emitted(&[parameters])),
        ]);
        DefaultNla::new(action, emitted(&[DefaultNla::new(FIRST, first)]))
    }
}

/// Makes a filter. One that has this priority there is an error and stays.
pub fn add(
    namespace: &NetNamespace,
    place: FilterPlace,
    classifier: &Classifier<'_>,
) -> Result<FilterId, QdiscError> {
    let id = FilterId::new(place, classifier);
    let mut exchange = Exchange::within(namespace)?;
    // The kernel refuses another of the same handle, but not another handle of the same priority.
    let there = list_with(&mut exchange, place.ifindex, place.parent)?;
    if there.iter().any(|other| other.id.place == place) {
        return Err(QdiscError::Refused {
            action: "add",
            object: id.to_string(),
            errno: Errno::EEXIST,
            said: None,
        });
    }
    let attributes = vec![
        TcAttribute::Kind(id.kind.clone()),
        TcAttribute::Other(DefaultNla::new(OPTIONS, classifier.options())),
    ];
    let message = RouteNetlinkMessage::NewTrafficFilter(place.message(FILTER_HANDLE, attributes));
    match exchange.create(message)? {
        Ok(()) => Ok(id),
        Err(refusal) => Err(QdiscError::refused("add", &id, refusal)),
    }
}

/// Removes a filter.
pub fn delete(namespace: &NetNamespace, id: &FilterId) -> Result<Removal, QdiscError> {
    let mut exchange = Exchange::within(namespace)?;
    let there = list_with(&mut exchange, id.place.ifindex, id.place.parent)?;
    let mut there = there.iter().filter(|other| other.id.place == id.place);
    match (there.next(), there.next()) {
        (None, _) => return Ok(Removal::Gone),
        (Some(filter), None) if filter.id == *id && filter.handle == FILTER_HANDLE => {}
        _ => return Ok(Removal::Foreign),
    }
    let attributes = vec![TcAttribute::Kind(id.kind.clone())];
    let message =
        RouteNetlinkMessage::DelTrafficFilter(id.place.message(FILTER_HANDLE, attributes));
    let Err(refusal) = exchange.remove(message)? else {
        return Ok(Removal::Now);
    };
    let there = list_with(&mut exchange, id.place.ifindex, id.place.parent)?;
    if there.iter().any(|other| other.id == *id) {
        return Err(QdiscError::refused("delete", id, refusal));
    }
    Ok(Removal::Gone)
}

/// The filters at a parent, the first asked first. None where the device or the parent is not there.
pub fn list(
    namespace: &NetNamespace,
    ifindex: u32,
    parent: Handle,
) -> Result<Vec<FilterId>, QdiscError> {
    let found = list_with(&mut Exchange::within(namespace)?, ifindex, parent)?;
    Ok(found.into_iter().map(|found| found.id).collect())
}

/// Whether a clsact has any filter.
pub(super) fn any(exchange: &mut Exchange, ifindex: u32) -> Result<bool, QdiscError> {
    for parent in [Handle::INGRESS, Handle::EGRESS] {
        if !list_with(exchange, ifindex, parent)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A filter as it is.
struct Found {
    id: FilterId,
    handle: u32,
}

fn list_with(
    exchange: &mut Exchange,
    ifindex: u32,
    parent: Handle,
) -> Result<Vec<Found>, QdiscError> {
    let mut question = TcMessage::default();
    question.header.index = ifindex.cast_signed();
    question.header.parent = parent.into();
    let question = RouteNetlinkMessage::GetTrafficFilter(question);
    let messages = match exchange.list(&question)? {
        Ok(messages) => messages,
        Err(refusal) if refusal.errno == Errno::ENODEV => return Ok(Vec::new()),
        Err(refusal) => {
            let object = format!("the filters at {parent} of link {ifindex}");
            return Err(QdiscError::refused("list", &object, refusal));
        }
    };
    let mut found = Vec::new();
    for message in messages {
        let header = TcHeader::parse(&message).map_err(|_| QdiscError::Answer)?;
        let attributes = message.get(HEADER..).ok_or(QdiscError::Answer)?;
        let handle = header.handle.into();
        let priority = NonZeroU16::new((header.info >> 16) as u16);
        // Those with the handle 0 are no filters: each says that there are some of a priority.
        if let (Some(priority), 1..) = (priority, handle) {
            let options = attribute(attributes, OPTIONS).unwrap_or_default();
            let kind = text_of(attributes, KIND).ok_or(QdiscError::Answer)?;
            let name = (kind == "bpf")
                .then(|| text_of(options, BPF_NAME))
                .flatten();
            let place = FilterPlace {
                ifindex,
                parent,
                priority,
            };
            let id = FilterId { place, kind, name };
            found.push(Found { id, handle });
        }
    }
    Ok(found)
}
