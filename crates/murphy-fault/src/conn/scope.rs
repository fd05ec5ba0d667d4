//! Which connections of a target are meant.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use murphy_sys::{
    connections::{Socket, State},
    traffic::Network,
};
use serde::{Deserialize, Serialize};

use crate::{
    net::scope::{Peer, Ports},
    span::Span,
};

/// Who asked for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The other end: somebody listens on the port here.
    Accepted,
    /// This end.
    Opened,
}

impl Side {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Opened => "opened",
        }
    }
}

/// Which connections are meant. What is empty chooses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// With one of these on either side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Ports>,
    /// With one of these on the target's side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub local_ports: Vec<Ports>,
    /// With one of these on the other side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote_ports: Vec<Ports>,
    /// With one of these at the other end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// Only those that this side asked for, or was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Over which nothing has passed for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
}

impl Scope {
    /// The scope in words, each with a point before it.
    pub fn words(&self) -> String {
        // The first is of what is before them.
        let mut words = vec![String::new()];
        for (name, ports) in [
            ("port", &self.ports),
            ("local port", &self.local_ports),
            ("remote port", &self.remote_ports),
        ] {
            words.extend(ports.iter().map(|ports| format!("{name} {ports}")));
        }
        words.extend(self.peers.iter().map(|peer| format!("peer {peer}")));
        words.extend(self.side.map(|side| side.name().to_owned()));
        words.extend(self.idle.map(|idle| format!("idle for {idle}")));
        words.join(" · ")
    }

    /// Whether a connection is meant, of a side, with these networks at the other end.
    pub(super) fn means(&self, socket: &Socket, side: Side, peers: &BTreeSet<Network>) -> bool {
        let (local, remote) = socket.id.ends();
        let among = |ports: &[Ports], port: u16| {
            let is_in = |ports: &Ports| {
                let (first, last) = ports.bounds();
                (first..=last).contains(&port)
            };
            ports.iter().any(is_in)
        };
        let on_either = |ports| among(ports, local.port()) || among(ports, remote.port());
        let idle = socket.activity.map(|activity| activity.idle());
        socket.state == State::Established
            && (self.ports.is_empty() || on_either(&self.ports))
            && (self.local_ports.is_empty() || among(&self.local_ports, local.port()))
            && (self.remote_ports.is_empty() || among(&self.remote_ports, remote.port()))
            && (self.peers.is_empty() || is_peer(peers, remote.ip()))
            && self.side.is_none_or(|wanted| wanted == side)
            && self
                .idle
                .is_none_or(|least| idle.is_some_and(|idle| idle >= least.0))
    }
}

fn is_peer(peers: &BTreeSet<Network>, address: IpAddr) -> bool {
    let has = |network: &Network| {
        IpNet::new(network.0, network.1).is_ok_and(|network| network.contains(&address))
    };
    peers.iter().any(has)
}
