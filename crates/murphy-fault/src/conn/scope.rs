//! Which connections of a target are meant.

use std::{collections::BTreeSet, fmt, net::IpAddr, time::Duration};

use ipnet::IpNet;
use murphy_sys::{
    connections::{Socket, SocketId, State},
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
    /// At least so old, as far as is known: since Murphy has seen it, or since it was sent something last, either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// In one of these states; established ones where none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// Held by one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
}

/// Who holds a socket: a process, by its pid or its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Holder {
    /// This one.
    Pid(u32),
    /// All of this name, as `/proc/PID/comm` has it.
    Name(String),
}

impl From<String> for Holder {
    fn from(text: String) -> Self {
        text.parse().map_or(Self::Name(text), Self::Pid)
    }
}

impl From<Holder> for String {
    fn from(holder: Holder) -> Self {
        holder.to_string()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "{pid}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A state in which nobody has a connection to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the state {0:?}: expected {names}", names = state_names().join(", "))]
pub struct BadState(String);

/// The states in which there is something to end.
const STATES: [State; 8] = [
    State::Established,
    State::SynSent,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::LastAck,
    State::Closing,
    State::SynRecv,
];

fn state_names() -> Vec<&'static str> {
    STATES.into_iter().map(State::name).collect()
}

/// Reads the name of a state, as ss(8) has it.
pub fn state(text: &str) -> Result<State, BadState> {
    let mut states = STATES.into_iter();
    let state = states.find(|state| state.name() == text);
    state.ok_or_else(|| BadState(text.to_owned()))
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
        words.extend(self.age.map(|age| format!("at least {age} old")));
        words.extend(self.states.iter().map(|state| state.name().to_owned()));
        words.extend(
            self.holders
                .iter()
                .map(|holder| format!("held by {holder}")),
        );
        words.join(" · ")
    }

    /// Whether ports or peers are named.
    pub(super) fn is_narrow(&self) -> bool {
        let ports = [&self.ports, &self.local_ports, &self.remote_ports];
        ports.iter().any(|ports| !ports.is_empty()) || !self.peers.is_empty()
    }

    /// The states in which connections are meant.
    pub(super) fn states(&self) -> &[State] {
        if self.states.is_empty() {
            &[State::Established]
        } else {
            &self.states
        }
    }

    /// Whether a connection is meant by what it is between: of a side, with these networks at the other end.
    pub(super) fn means(&self, id: &SocketId, side: Side, peers: &BTreeSet<Network>) -> bool {
        let (local, remote) = id.ends();
        let among = |ports: &[Ports], port: u16| {
            let is_in = |ports: &Ports| {
                let (first, last) = ports.bounds();
                (first..=last).contains(&port)
            };
            ports.iter().any(is_in)
        };
        let on_either = |ports| among(ports, local.port()) || among(ports, remote.port());
        (self.ports.is_empty() || on_either(&self.ports))
            && (self.local_ports.is_empty() || among(&self.local_ports, local.port()))
            && (self.remote_ports.is_empty() || among(&self.remote_ports, remote.port()))
            && (self.peers.is_empty() || is_peer(peers, remote.ip()))
            && self.side.is_none_or(|wanted| wanted == side)
    }

    /// Whether a socket is meant by how it is now; it is at least so old.
    pub(super) fn means_now(&self, socket: &Socket, age: Duration) -> bool {
        let idle = socket
            .activity
            .as_ref()
            .map_or(Duration::ZERO, |activity| activity.idle());
        self.states().contains(&socket.state)
            && self.idle.is_none_or(|least| idle >= least.0)
            && self.age.is_none_or(|least| age >= least.0)
    }

    /// The ports that are named, of which each connection has one on either side; none if it may have others.
    pub(super) fn all_ports_named(&self) -> Vec<(u16, u16)> {
        let lists = [&self.ports, &self.local_ports, &self.remote_ports];
        let mut named = lists.into_iter().filter(|ports| !ports.is_empty());
        let first = named.next().into_iter().flatten();
        first.map(|ports| ports.bounds()).collect()
    }

    /// Whether it has to be known when something has passed.
    pub(super) fn needs_activity(&self) -> bool {
        self.idle.is_some() || self.age.is_some()
    }

    /// Whether whoever holds a socket is meant.
    pub(super) fn means_holder(&self, pid: u32, name: &str) -> bool {
        let is_it = |holder: &Holder| match holder {
            Holder::Pid(wanted) => *wanted == pid,
            Holder::Name(wanted) => wanted == name,
        };
        self.holders.is_empty() || self.holders.iter().any(is_it)
    }
}

fn is_peer(peers: &BTreeSet<Network>, address: IpAddr) -> bool {
    let has = |network: &Network| {
        IpNet::new(network.0, network.1).is_ok_and(|network| network.contains(&address))
    };
    peers.iter().any(has)
}
