//! An intermediate functional block (ifb) is a network device that only lends its qdisc: what is redirected to it is
//! queued there, and goes on where it came from.
//!
//! So packets that arrive can be delayed too. Its module makes two devices of its own, `ifb0` and `ifb1`, on the host
//! when it is loaded and not told otherwise. It is loaded without them here; where there is no modprobe(8) the kernel
//! loads it as it likes. See `drivers/net/ifb.c`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use nix::errno::Errno;
use rtnetlink::{
    LinkIfb, LinkUnspec,
    packet_route::{RouteNetlinkMessage, link::LinkMessage},
};

use super::{
    QdiscError, Removal,
    exchange::{Exchange, text_of},
};
use crate::{namespace::NetNamespace, netlink::attribute};

/// `IFLA_LINKINFO`, `IFLA_INFO_KIND`.
const INFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// Bytes of `struct ifinfomsg`, and where in it the index is.
const HEADER: usize = 16;
const INDEX: usize = 4;
const IFB: &str = "ifb";

/// A link as it is.
struct Found {
    index: u32,
    kind: Option<String>,
}

/// Makes an ifb of this name in the namespace and brings it up; says its index. A link of this name is an error and
/// stays.
pub fn add(namespace: &NetNamespace, name: &str) -> Result<u32, QdiscError> {
    load_module();
    let mut exchange = Exchange::within(namespace)?;
    let message = RouteNetlinkMessage::NewLink(LinkIfb::new(name).up().build());
    exchange
        .create(message)?
        .map_err(|refusal| QdiscError::refused("add", &object(name), refusal))?;
    match find(&mut exchange, name)? {
        Some(found) if found.is_ifb() => Ok(found.index),
        _ => Err(QdiscError::Taken { link: name.into() }),
    }
}

/// Removes the ifb of this name, and what is queued in it.
pub fn delete(namespace: &NetNamespace, name: &str) -> Result<Removal, QdiscError> {
    let mut exchange = Exchange::within(namespace)?;
    let index = match find(&mut exchange, name)? {
        None => return Ok(Removal::Gone),
        Some(found) if !found.is_ifb() => return Ok(Removal::Foreign),
        Some(found) => found.index,
    };
    let message = LinkUnspec::new_with_index(index).build();
    match exchange.remove(RouteNetlinkMessage::DelLink(message))? {
        Ok(()) => Ok(Removal::Now),
        Err(refusal) if refusal.errno == Errno::ENODEV => Ok(Removal::Gone),
        Err(refusal) => Err(QdiscError::refused("delete", &object(name), refusal)),
    }
}

fn object(name: &str) -> String {
    format!("the ifb {name}")
}

impl Found {
    fn is_ifb(&self) -> bool {
        self.kind.as_deref() == Some(IFB)
    }
}

fn find(exchange: &mut Exchange, name: &str) -> Result<Option<Found>, QdiscError> {
    let question: LinkMessage = LinkUnspec::new_with_name(name).build();
    let answer = match exchange.ask(RouteNetlinkMessage::GetLink(question))? {
        Ok(answer) => answer,
        Err(refusal) if refusal.errno == Errno::ENODEV => return Ok(None),
        Err(refusal) => return Err(QdiscError::refused("find", &object(name), refusal)),
    };
    let attributes = answer.get(HEADER..).ok_or(QdiscError::Answer)?;
    let info = attribute(attributes, INFO).unwrap_or_default();
    Ok(Some(Found {
        index: super::word_at(&answer, INDEX),
        kind: text_of(info, INFO_KIND),
    }))
}

/// Loads the module without the devices that it makes by itself. What comes of it is seen when one is made.
fn load_module() {
    if Path::new("/sys/module/ifb").exists() {
        return;
    }
    let _ = Command::new("modprobe")
        .args(["-q", IFB, "numifbs=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
