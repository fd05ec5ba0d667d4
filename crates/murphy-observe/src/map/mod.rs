//! A service map is who asks whom, and what is wrong between them: the targets that are observed and their peers as nodes,
//! their edges as links.
//!
//! It is a value of a [`Snapshot`] and of findings, and asks nobody. [`Layout`] says where each node stands: whoever asks
//! on the left, whoever is asked on the right. [`svg`] draws it as a picture that needs nothing but itself.

mod layout;
mod svg;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
};

use murphy_fault::conn::Side;

pub use layout::{Layout, Place};
pub use svg::svg;

use crate::{
    edge::Edge,
    finding::{Direction, Finding, Kind, Size},
    snapshot::{EdgeNow, Snapshot},
};

/// Nodes beyond so many are one.
pub const NODES_MAX: usize = 40;

/// Who asks whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceMap {
    /// Targets and peers.
    pub nodes: Vec<Node>,
    /// Who of them asks whom; the worst come first.
    pub links: Vec<Link>,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name of a target, or the address of a peer.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The ports at which others ask it.
    pub ports: BTreeSet<u16>,
    /// By which addresses it is known.
    pub addresses: BTreeSet<IpAddr>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is observed.
    Target,
    /// Somebody who talks with a target.
    Peer,
    /// All those for whom there is no room.
    Others,
}

/// Somebody asks somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Who asks: a place among the nodes.
    pub from: usize,
    /// Who is asked.
    pub to: usize,
    /// At which ports.
    pub ports: BTreeSet<u16>,
    /// Whom it really leads to, as far as addresses are translated on the way.
    pub actual: BTreeSet<SocketAddr>,
    /// How it is.
    pub state: State,
    /// What is or was wrong.
    pub wrongs: Vec<Wrong>,
}

/// How a link is; the worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Something is wrong.
    Wrong,
    /// Something was wrong, and is over.
    WasWrong,
    /// Nothing is known to be wrong.
    Ok,
    /// There is nothing to tell by.
    Silent,
}

/// What is wrong with a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    /// What.
    pub kind: Kind,
    /// Which way.
    pub way: Way,
    /// How much.
    pub size: Size,
    /// Since when, in nanoseconds since boot.
    pub since_ns: u64,
    /// At which port.
    pub port: u16,
    /// Whether it is over.
    pub is_over: bool,
    /// Whether events were lost that could say otherwise.
    pub is_undecided: bool,
}

/// Which way, as seen from whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From whoever asks to whoever is asked.
    Along,
    /// Back.
    Against,
    /// Both ways.
    Both,
    /// It cannot be told.
    Unknown,
}

impl Way {
    /// Of a direction that is seen from the target, which asks or is asked.
    fn of(direction: Direction, side: Side) -> Self {
        match (direction, side) {
            (Direction::To, Side::Opened) | (Direction::From, Side::Accepted) => Self::Along,
            (Direction::From, Side::Opened) | (Direction::To, Side::Accepted) => Self::Against,
            (Direction::Both, _) => Self::Both,
            (Direction::Unknown, _) => Self::Unknown,
        }
    }
}

impl Wrong {
    fn of(finding: &Finding) -> Self {
        Self {
            kind: finding.claim.kind,
            way: Way::of(finding.claim.direction, finding.edge.side),
            size: finding.claim.size,
            since_ns: finding.claim.since_ns,
            port: finding.edge.port,
            is_over: finding.is_over,
            is_undecided: finding.is_undecided,
        }
    }

    /// What and how much, in few words: `PACKET LOSS 27 %`.
    pub fn title(&self) -> String {
        title(self.kind, self.size)
    }
}

/// What is wrong and how much, in few words: `PACKET LOSS 27 %`. A partition has no size: nothing comes through.
pub fn title(kind: Kind, size: Size) -> String {
    let name = kind.name().to_uppercase();
    match kind {
        Kind::Partition => name,
        _ => format!("{name} {}", Short(size)),
    }
}

/// How much, in the fewest words: without intervals, and without what was before.
#[derive(Clone, Copy, Debug)]
pub struct Short(pub Size);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Size::Share { ratio, .. } => write!(f, "{:.0} %", 100.0 * ratio),
            Size::Time { us, .. } => write!(f, "{:.1} ms", us as f64 / 1000.0),
            Size::Count(count) => write!(f, "×{count}"),
        }
    }
}

/// Who somebody is, before there are places: those for whom there is no room come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Target(String),
    Peer(IpAddr),
    /// Of that target alone: everybody has such an address.
    Loopback(String, IpAddr),
    Others,
}

/// What is known of a link before there are places.
#[derive(Debug, Default)]
struct Sum {
    ports: BTreeSet<u16>,
    actual: BTreeSet<SocketAddr>,
    is_silent: bool,
    wrongs: Vec<Wrong>,
    traffic: u64,
}

impl ServiceMap {
    /// Of everything that is known now. Those of the findings that are over are shown as such.
    pub fn of(snapshot: &Snapshot, findings: &[Finding]) -> Self {
        let mut sums: BTreeMap<(Who, Who), Sum> = BTreeMap::new();
        for now in &snapshot.edges {
            let sum = sums.entry(ends(snapshot, &now.edge));
            let sum = sum.or_insert_with(|| Sum {
                is_silent: true,
                ..Sum::default()
            });
            sum.add(now);
        }
        for finding in findings {
            let sum = sums.entry(ends(snapshot, &finding.edge)).or_default();
            sum.ports.insert(finding.edge.port);
            sum.find(Wrong::of(finding));
        }
        let mut map = Self::default();
        let mut places = map.seat(snapshot, &sums);
        let mut links: BTreeMap<(usize, usize), Sum> = BTreeMap::new();
        for ((from, to), sum) in sums {
            let from = place(&mut places, &mut map.nodes, &from);
            let to = place(&mut places, &mut map.nodes, &to);
            map.nodes[to].ports.extend(&sum.ports);
            links
                .entry((from, to))
                .and_modify(|known| known.join(&sum))
                .or_insert(sum);
        }
        map.links = links
            .into_iter()
            .map(|((from, to), sum)| sum.link(from, to))
            .collect();
        map.links
            .sort_by_key(|link| (link.state, link.from, link.to));
        map
    }

    /// Gives a place to everybody for whom there is room: first the targets, then those with whom something is wrong, then
    /// those with whom most happens.
    fn seat(&mut self, snapshot: &Snapshot, sums: &BTreeMap<(Who, Who), Sum>) -> Places {
        let mut weights: BTreeMap<&Who, (bool, bool, u64)> = BTreeMap::new();
        for ((from, to), sum) in sums {
            for who in [from, to] {
                let weight = weights.entry(who).or_default();
                weight.0 |= sum.wrongs.iter().any(|wrong| !wrong.is_over);
                weight.1 |= !sum.wrongs.is_empty();
                weight.2 += sum.traffic;
            }
        }
        let mut all: Vec<_> = weights.into_iter().collect();
        let is_peer = |who: &Who| !matches!(who, Who::Target(_));
        all.sort_by(|(a, weight), (b, other)| {
            let by_weight = other.cmp(weight);
            is_peer(a).cmp(&is_peer(b)).then(by_weight).then(a.cmp(b))
        });
        let count = all.len();
        let room = if count > NODES_MAX {
            NODES_MAX - 1
        } else {
            count
        };
        let mut kept: Vec<&Who> = all.into_iter().map(|(who, _)| who).take(room).collect();
        // Where somebody stands does not depend on how much happens there now.
        kept.sort();
        let mut places = BTreeMap::new();
        for who in kept {
            places.insert(who.clone(), self.nodes.len());
            self.nodes.push(who.node(snapshot));
        }
        if count > room {
            places.insert(Who::Others, self.nodes.len());
            self.nodes.push(Node {
                name: format!("{} others", count - room),
                ..Who::Others.node(snapshot)
            });
        }
        places
    }

    /// The links of which something is wrong now.
    pub fn wrong(&self) -> impl Iterator<Item = &Link> {
        let is_wrong = |link: &&Link| link.state == State::Wrong;
        self.links.iter().filter(is_wrong)
    }

    /// Which way something is wrong, in words: `to 10.0.0.2`.
    pub fn way(&self, link: &Link, way: Way) -> String {
        match way {
            Way::Along => format!("to {}", self.nodes[link.to].name),
            Way::Against => format!("to {}", self.nodes[link.from].name),
            Way::Both => "both ways".into(),
            Way::Unknown => "either way".into(),
        }
    }
}

/// Who stands where.
type Places = BTreeMap<Who, usize>;

/// Where somebody stands, or else all others.
fn place(places: &mut Places, nodes: &mut Vec<Node>, who: &Who) -> usize {
    if let Some(place) = places.get(who).or_else(|| places.get(&Who::Others)) {
        return *place;
    }
    // Everybody has a place who has a link; a map that says a little more is better than none.
    places.insert(Who::Others, nodes.len());
    nodes.push(Node {
        name: "others".into(),
        role: Role::Others,
        ports: BTreeSet::new(),
        addresses: BTreeSet::new(),
    });
    nodes.len() - 1
}

impl Who {
    fn node(&self, snapshot: &Snapshot) -> Node {
        let (name, role, addresses) = match self {
            Self::Target(name) => {
                let own = snapshot.addresses.get(name);
                (name.clone(), Role::Target, own.cloned().unwrap_or_default())
            }
            Self::Peer(peer) if peer.is_unspecified() => {
                ("other peers".into(), Role::Others, BTreeSet::new())
            }
            Self::Peer(peer) => (peer.to_string(), Role::Peer, [*peer].into()),
            Self::Loopback(name, peer) => (
                format!("{peer} in {name}"),
                Role::Peer,
                BTreeSet::from([*peer]),
            ),
            Self::Others => ("others".into(), Role::Others, BTreeSet::new()),
        };
        Node {
            name,
            role,
            ports: BTreeSet::new(),
            addresses,
        }
    }
}

/// Who asks, and who is asked.
fn ends(snapshot: &Snapshot, edge: &Edge) -> (Who, Who) {
    let own = Who::Target(edge.container.to_string());
    let has = |(_, addresses): &(&String, &BTreeSet<IpAddr>)| addresses.contains(&edge.peer);
    let peer = if edge.peer.is_loopback() {
        Who::Loopback(edge.container.to_string(), edge.peer)
    } else if let Some((name, _)) = snapshot.addresses.iter().find(has) {
        Who::Target(name.clone())
    } else {
        Who::Peer(edge.peer)
    };
    match edge.side {
        Side::Opened => (own, peer),
        Side::Accepted => (peer, own),
    }
}

impl Sum {
    fn add(&mut self, now: &EdgeNow) {
        self.ports.insert(now.edge.port);
        self.actual.extend(&now.actual);
        self.is_silent &= now.is_silent();
        let total = &now.total;
        self.traffic += total.delivered + total.connected + total.accepted + u64::from(now.active);
        for finding in &now.findings {
            self.find(Wrong::of(finding));
        }
    }

    fn join(&mut self, more: &Self) {
        self.ports.extend(&more.ports);
        self.actual.extend(&more.actual);
        self.is_silent &= more.is_silent;
        self.traffic += more.traffic;
        for wrong in &more.wrongs {
            self.find(wrong.clone());
        }
    }

    /// The same is found at both ends where both are observed: it is one. What is over is shown where nothing of its kind
    /// has come after it.
    fn find(&mut self, wrong: Wrong) {
        let mut known = self.wrongs.iter_mut();
        let same = known.find(|known| {
            known.kind == wrong.kind && known.port == wrong.port && known.is_over == wrong.is_over
        });
        match same {
            Some(known) if !wrong.is_over => known.since_ns = known.since_ns.min(wrong.since_ns),
            Some(known) => *known = wrong,
            None => self.wrongs.push(wrong),
        }
    }

    fn link(mut self, from: usize, to: usize) -> Link {
        let now: BTreeSet<(Kind, u16)> = self
            .wrongs
            .iter()
            .filter(|wrong| !wrong.is_over)
            .map(|wrong| (wrong.kind, wrong.port))
            .collect();
        self.wrongs
            .retain(|wrong| !wrong.is_over || !now.contains(&(wrong.kind, wrong.port)));
        self.wrongs
            .sort_by_key(|wrong| (wrong.is_over, wrong.kind, wrong.port));
        let state = match self.wrongs.first() {
            Some(wrong) if wrong.is_over => State::WasWrong,
            Some(_) => State::Wrong,
            None if self.is_silent => State::Silent,
            None => State::Ok,
        };
        Link {
            from,
            to,
            ports: self.ports,
            actual: self.actual,
            state,
            wrongs: self.wrongs,
        }
    }
}
