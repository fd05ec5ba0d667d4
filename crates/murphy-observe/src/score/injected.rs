//! An injected fault is the truth that alarms are held against: what was done, to whom, which way, from when to when.

use std::{collections::BTreeSet, net::IpAddr};

use murphy_fault::{
    conn::Side,
    net::{
        Place,
        scope::{Cidr, Ports},
        spec,
    },
};
use serde::{Deserialize, Serialize};

use super::cause::Cause;
use crate::{edge::Edge, finding::Direction};

/// A network namespace, as events name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seat {
    /// What it is called.
    pub name: String,
    /// Its number, as in `/proc/PID/ns/net`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// Its addresses, but for those of its loopback.
    #[serde(default)]
    pub addresses: BTreeSet<IpAddr>,
}

impl Seat {
    /// That of a place, as it is now. One whose addresses cannot be read has none.
    pub fn of(place: &Place) -> Self {
        let addresses = murphy_sys::link::addresses(&place.namespace).unwrap_or_default();
        let addresses = addresses.iter().map(IpAddr::to_canonical);
        Self {
            name: place.name.clone(),
            inode: Some(place.inode),
            addresses: addresses.filter(|one| !one.is_loopback()).collect(),
        }
    }

    /// One of which only the name is known.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Whether both are the same.
    pub fn is(&self, other: &Self) -> bool {
        (self.inode.is_some() && self.inode == other.inode) || self.name == other.name
    }
}

/// Which connections of its targets a fault is about. What is empty chooses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// With one of these at the other end; any where it is not known.
    pub peers: Option<Vec<Cidr>>,
    /// With one of these ports on either side.
    pub ports: Vec<Ports>,
    /// With one of these on the target's side.
    pub local_ports: Vec<Ports>,
    /// With one of these on the other side.
    pub remote_ports: Vec<Ports>,
    /// Those that this side has asked for.
    pub side: Option<Side>,
}

/// What was injected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// Its id.
    pub id: String,
    /// What it is, in words.
    pub fault: String,
    /// All that was done at once.
    pub causes: Vec<Cause>,
    /// To whom.
    pub targets: Vec<Seat>,
    /// To which of their connections.
    pub only: Only,
    /// Which way, seen from the target, where that matters.
    pub direction: Option<spec::Direction>,
    /// When it was in force, in nanoseconds since boot.
    pub begin_ns: u64,
    /// When it was over; not yet, where there is none.
    pub end_ns: Option<u64>,
    /// The share of packets that is lost, from 0 to 1, where it is a fault of one way.
    pub share: Option<f64>,
    /// Why it cannot be scored, where it cannot.
    pub void: Option<String>,
}

/// From where a fault is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// From the target.
    There,
    /// From the other end.
    Opposite,
}

impl Injected {
    /// From where whoever watches an edge would see the fault; not at all where it does not touch the edge.
    pub fn touches(&self, edge: &Edge, seats: &[Seat]) -> Option<Seen> {
        let name = &*edge.container;
        let known = seats.iter().find(|seat| seat.name == name).cloned();
        let own = known.unwrap_or_else(|| Seat::named(name));
        let opened = edge.side == Side::Opened;
        if edge.is_whole() {
            return self.touches_whole(&own);
        }
        if self.targets.iter().any(|target| target.is(&own)) {
            let is_meant = self.only.means_peer(edge.peer) && self.only.means(edge.port, !opened);
            let is_side = self.only.side.is_none_or(|side| side == edge.side);
            return (is_meant && is_side).then_some(Seen::There);
        }
        let mut targets = self.targets.iter();
        if !targets.any(|target| target.addresses.contains(&edge.peer)) {
            return None;
        }
        let peers = &own.addresses;
        let is_peer = peers.is_empty() || peers.iter().any(|one| self.only.means_peer(*one));
        let is_side = self.only.side.is_none_or(|side| side != edge.side);
        let is_meant = is_peer && is_side && self.only.means(edge.port, opened);
        is_meant.then_some(Seen::Opposite)
    }

    /// The same of all of somebody: of whoever is hit, and of whoever may talk with one of these.
    fn touches_whole(&self, own: &Seat) -> Option<Seen> {
        if self.targets.iter().any(|target| target.is(own)) {
            return Some(Seen::There);
        }
        // Another's clock is nobody else's.
        if self.causes.iter().all(|cause| *cause == Cause::Skew) {
            return None;
        }
        let mut peers = own.addresses.iter();
        peers
            .any(|peer| self.only.means_peer(*peer))
            .then_some(Seen::Opposite)
    }

    /// Whether the way of a finding is that of the fault.
    pub fn goes(&self, direction: Direction, seen: Seen) -> bool {
        let Some(asked) = self.direction else {
            return true;
        };
        let direction = match (seen, direction) {
            (Seen::Opposite, Direction::To) => Direction::From,
            (Seen::Opposite, Direction::From) => Direction::To,
            (_, direction) => direction,
        };
        matches!(
            (asked, direction),
            // Of both ways one end may see only one.
            (spec::Direction::Both, _)
                | (_, Direction::Unknown)
                | (spec::Direction::To, Direction::To)
                | (spec::Direction::From, Direction::From)
        )
    }

    /// Whether some kind of finding is right for what was done.
    pub fn has_detector(&self) -> bool {
        self.causes.iter().any(|cause| cause.has_detector())
    }
}

impl Only {
    /// Whether somebody is meant.
    pub fn means_peer(&self, peer: IpAddr) -> bool {
        let all = self.peers.as_ref();
        all.is_none_or(|all| all.iter().any(|one| one.network().contains(&peer)))
    }

    /// Whether an edge of a port is meant, which is the target's own or the other end's. The other port is any.
    fn means(&self, port: u16, is_local: bool) -> bool {
        let among = |all: &[Ports]| {
            let is_in = |(first, last): (u16, u16)| (first..=last).contains(&port);
            all.is_empty() || all.iter().any(|ports| is_in(ports.bounds()))
        };
        let own = if is_local {
            &self.local_ports
        } else {
            &self.remote_ports
        };
        among(&self.ports) && among(own)
    }
}
