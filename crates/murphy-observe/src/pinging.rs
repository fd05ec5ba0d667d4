//! Pinging asks each peer of a target from inside its network namespace, listens at the other end where that is on this
//! machine, and asks from there as well while nothing seems to come. Whoever never answers an echo request is asked for a
//! connection instead, at a port that the target itself uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use murphy_fault::{
    conn::Side,
    net::{Neighbours, Place},
};
use murphy_sys::{
    clock::boottime_ns,
    namespace::NetNamespace,
    ping::{Ear, Pinger, Reply},
    syn_ping::SynPinger,
};

use crate::{
    edge::Edge,
    pings::{Pings, UnderWay, nanos},
};

/// No more peers are pinged.
const PEERS_MAX: usize = 256;
/// A peer is listened for in no more namespaces that have its address.
const EARS_MAX: usize = 16;
/// Who has not answered so many echo requests is asked for connections.
const UNANSWERED: usize = 5;
/// Of so many of these one is asked for an echo, too.
const ECHO_AGAIN: u32 = 7;

/// The pings of a target.
#[derive(Debug, Default)]
pub struct Pinging {
    /// By the numbers of its namespaces.
    posts: BTreeMap<u64, Post>,
    /// Who listens at the other ends, by the numbers of their namespaces.
    ears: BTreeMap<u64, Ear>,
}

/// Who pings from one namespace.
#[derive(Debug)]
struct Post {
    namespace: NetNamespace,
    container: Arc<str>,
    pinger: Pinger,
    peers: BTreeMap<IpAddr, Pings>,
    under_way: UnderWay,
    pinged_at: Option<Instant>,
    /// The ports at which the target asks its peers for connections.
    ports: BTreeMap<IpAddr, u16>,
    /// Who asks for connections in place of echoes.
    syn: Option<SynPinger>,
    /// Those of these that are under way.
    syn_under_way: UnderWay,
    /// How often somebody was asked so.
    asked: u32,
    /// Who pings from the other end, where nothing seems to come there.
    returning: BTreeMap<IpAddr, Pinger>,
    /// Who hears whether that comes.
    ear: Option<Ear>,
}

impl Pinging {
    /// Whether nobody can be pinged.
    pub fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// When somebody was pinged for the last time, of the post that has waited longest.
    pub fn pinged_at(&self) -> Option<Instant> {
        self.posts.values().filter_map(|post| post.pinged_at).min()
    }

    /// Pings from these places from now on, and no longer from others. Gives back why not, where it cannot.
    pub fn sit(&mut self, places: &[Place]) -> Vec<String> {
        let is_there = |inode: &u64| places.iter().any(|place| place.inode == *inode);
        self.posts.retain(|inode, _| is_there(inode));
        let mut refused = Vec::new();
        for place in places {
            if self.posts.contains_key(&place.inode) {
                continue;
            }
            match Pinger::new(&place.namespace, None) {
                Ok(pinger) => {
                    let post = Post {
                        namespace: place.namespace.clone(),
                        container: place.name.as_str().into(),
                        pinger,
                        peers: BTreeMap::new(),
                        under_way: UnderWay::default(),
                        pinged_at: None,
                        ports: BTreeMap::new(),
                        syn: None,
                        syn_under_way: UnderWay::default(),
                        asked: 0,
                        returning: BTreeMap::new(),
                        ear: None,
                    };
                    self.posts.insert(place.inode, post);
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
        refused
    }

    /// Takes in which pings were answered, and which have arrived at the other end.
    pub fn hear(&mut self) {
        for post in self.posts.values_mut() {
            post.hear();
        }
        for ear in self.ears.values_mut() {
            for request in ear.hear() {
                let mut posts = self.posts.values_mut();
                let asker = posts.find(|one| one.pinger.identifier() == request.identifier);
                let Some(post) = asker else { continue };
                let peer = post.under_way.of(request.number);
                if let Some(pings) = peer.and_then(|peer| post.peers.get_mut(&peer)) {
                    pings.arrive(request.number, request.at_ns, request.from);
                }
            }
        }
    }

    /// Pings each peer when it is time: so often, and who is not heard of within so long is lost.
    pub fn ping(&mut self, every: Duration, within: Duration, neighbours: &Neighbours) {
        let within_ns = nanos(within);
        let given_up_ns = boottime_ns().saturating_sub(within_ns);
        for (inode, post) in &mut self.posts {
            for pings in post.peers.values_mut() {
                pings.give_up_before(given_up_ns);
            }
            if post.pinged_at.is_some_and(|at| at.elapsed() < every) {
                continue;
            }
            post.pinged_at = Some(Instant::now());
            let forgotten_ns = given_up_ns.saturating_sub(within_ns);
            post.under_way.forget_before(forgotten_ns);
            post.syn_under_way.forget_before(forgotten_ns);
            post.ask();
            post.ask_back(*inode, neighbours);
        }
    }

    /// Says who is pinged: the peers of these edges. Listens where they are, as far as that is known.
    pub fn choose(
        &mut self,
        containers: &BTreeMap<u64, Arc<str>>,
        edges: &[&Edge],
        neighbours: Option<&Neighbours>,
    ) {
        let mut heard = BTreeSet::new();
        for (inode, post) in &mut self.posts {
            let Some(container) = containers.get(inode) else {
                continue;
            };
            let is_peer =
                |ip: &IpAddr| !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast());
            let edges_of = |side: Side| {
                edges.iter().filter(move |edge| {
                    edge.container == *container && edge.side == side && is_peer(&edge.peer)
                })
            };
            // Whom the target asks comes first: there may be many who ask it.
            let mut peers = BTreeSet::new();
            for edge in edges_of(Side::Opened).chain(edges_of(Side::Accepted)) {
                if peers.len() < PEERS_MAX {
                    peers.insert(edge.peer);
                }
            }
            post.ports = edges_of(Side::Opened)
                .map(|edge| (edge.peer, edge.port))
                .collect();
            post.peers.retain(|peer, _| peers.contains(peer));
            post.returning.retain(|peer, _| peers.contains(peer));
            for peer in peers {
                post.peers.entry(peer).or_default();
                if let Some(neighbours) = neighbours {
                    // Several may have the address; only where it is meant ours arrive.
                    let there = neighbours.with_address(*inode, peer);
                    let there = there.into_iter().filter(|there| there != inode);
                    heard.extend(there.take(EARS_MAX));
                }
            }
        }
        self.ears.retain(|inode, _| heard.contains(inode));
        for inode in heard {
            if self.ears.contains_key(&inode) {
                continue;
            }
            let neighbour = neighbours.and_then(|all| all.get(inode));
            // Whoever has just vanished has no ears.
            if let Some(Ok(ear)) = neighbour.map(|one| Ear::listen(&one.namespace)) {
                self.ears.insert(inode, ear);
            }
        }
    }

    /// Who is pinged, by whom, and what came of it.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, IpAddr, &Pings)> {
        self.posts.values().flat_map(|post| {
            let peers = post.peers.iter();
            peers.map(|(peer, pings)| (&post.container, *peer, pings))
        })
    }

    /// The pings of the peer of an edge.
    pub fn of(&self, edge: &Edge) -> Option<&Pings> {
        let mut posts = self.posts.values();
        let post = posts.find(|post| post.container == edge.container)?;
        post.peers.get(&edge.peer)
    }
}

impl Post {
    fn hear(&mut self) {
        for answer in self.pinger.hear() {
            // Who says that a host cannot be reached is somebody else, and that is no answer.
            if answer.kind == Reply::Echo {
                let peer = self.under_way.of(answer.number);
                if let Some(pings) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
                    if pings.is_by_syn() {
                        pings.set_by_echo();
                    } else {
                        pings.answer(answer.number, answer.at_ns);
                    }
                }
            }
        }
        for answer in self.syn.iter_mut().flat_map(SynPinger::hear) {
            // Also who refuses has answered.
            let peer = self.syn_under_way.of(answer.number);
            if let Some(pings) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
                pings.answer(answer.number, answer.at_ns);
            }
        }
        for request in self.ear.iter_mut().flat_map(Ear::hear) {
            let mut returning = self.returning.iter();
            let asker = returning.find(|(_, one)| one.identifier() == request.identifier);
            if let Some(pings) = asker.and_then(|(peer, _)| self.peers.get_mut(peer)) {
                pings.come_back(request.number);
            }
        }
    }

    /// Asks each peer once.
    fn ask(&mut self) {
        for (peer, pings) in &mut self.peers {
            let port = self.ports.get(peer);
            let is_mute = !pings.has_answered() && pings.latest().count() >= UNANSWERED;
            let by_syn = port.filter(|_| is_mute || pings.is_by_syn());
            if let Some(port) = by_syn {
                if self.syn.is_none() {
                    self.syn = SynPinger::new(&self.namespace).ok();
                }
                if let Some(syn) = &mut self.syn {
                    pings.set_by_syn();
                    // He may answer echoes after all, once they come through.
                    self.asked = self.asked.wrapping_add(1);
                    if self.asked.is_multiple_of(ECHO_AGAIN)
                        && let Ok(sent) = self.pinger.send(*peer)
                    {
                        self.under_way.send(sent.number, *peer, boottime_ns());
                    }
                    let sent = syn.send(SocketAddr::new(*peer, *port));
                    let at_ns = boottime_ns();
                    match sent {
                        Ok(sent) => {
                            self.syn_under_way.send(sent.number, *peer, at_ns);
                            pings.push(sent.number, at_ns, Some(sent.at_ns));
                        }
                        Err(_) => pings.push(0, at_ns, None),
                    }
                    continue;
                }
            }
            let sent = self.pinger.send(*peer);
            let at_ns = boottime_ns();
            match sent {
                Ok(sent) => {
                    self.under_way.send(sent.number, *peer, at_ns);
                    pings.push(sent.number, at_ns, Some(sent.at_ns));
                }
                Err(_) => pings.push(0, at_ns, None),
            }
        }
    }

    /// Asks from the other end, where it is known and nothing seems to come there.
    fn ask_back(&mut self, inode: u64, neighbours: &Neighbours) {
        let now_ns = boottime_ns();
        for (peer, pings) in &mut self.peers {
            if !pings.is_doubtful(now_ns) {
                if self.returning.remove(peer).is_some() {
                    pings.end_returns();
                }
                continue;
            }
            let there = neighbours.with_address(inode, *peer);
            let ([there], Some(from)) = (&there[..], pings.from()) else {
                continue;
            };
            if self.ear.is_none() {
                self.ear = Ear::listen(&self.namespace).ok();
            }
            if self.ear.is_some()
                && !self.returning.contains_key(peer)
                && let Some(neighbour) = neighbours.get(*there)
                && let Ok(pinger) = Pinger::new(&neighbour.namespace, None)
            {
                self.returning.insert(*peer, pinger);
            }
            if let Some(pinger) = self.returning.get_mut(peer)
                && let Ok(sent) = pinger.send(from)
            {
                // Its answers tell nothing more.
                pinger.hear();
                pings.send_back(sent.number, boottime_ns());
            }
        }
        if self.returning.is_empty() {
            self.ear = None;
        }
    }
}
