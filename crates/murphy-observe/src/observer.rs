//! An observer watches the network of one target: it hears the kernel, looks at connections, pings peers, and asks the
//! detectors what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use murphy_fault::{
    conn::{ConnError, Connection, Pool, Scope, Side},
    net::{Hit, Neighbours},
};
use murphy_sys::{
    clock::boottime_ns,
    connections::SocketId,
    ping::{Ear, PingError, Pinger, Reply},
    tcp_events::{Filter, TcpEvents, TcpEventsError},
};
use serde::Serialize;

use crate::{
    book::{Book, Whose},
    detect::{Sight, detect},
    edge::Edge,
    finding::{Finding, Findings, Kind},
    listening::Listening,
    peer::PeerNow,
    pings::{Outcome, Pings, UnderWay, median_us},
    slice::History,
    tally::Tally,
};

/// A slice of time lasts so long.
const SLICE: Duration = Duration::from_millis(500);
/// What the kernel tells is taken in so often.
const HEAR_EVERY: Duration = Duration::from_millis(50);
/// Connections are looked at so often at most, and for at most one part of the time in so many.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_SHARE: u32 = 20;
/// Edges beyond so many are one other.
const EDGES_MAX: usize = 1000;
/// No more peers are pinged.
const PEERS_MAX: usize = 256;
/// A peer is listened for in no more namespaces that have its address.
const EARS_MAX: usize = 16;
/// What happened longer ago is forgotten.
const REMEMBERED_NS: u64 = 120_000_000_000;
/// An edge on which nothing happens for so long, and which has no connections, is not pinged any more.
const IDLE_NS: u64 = 60_000_000_000;
/// Where events were lost, what is found is undecided for so long: as long as anything is looked at.
const LOST_TELLS: Duration = Duration::from_mins(1);
/// A timer of retransmits waits no longer than this (`TCP_RTO_MAX`).
const RTO_MAX_NS: u64 = 120_000_000_000;
/// No more places where a target listens are told.
const LISTENING_MAX: usize = 256;
/// What is shown is of so many seconds.
const SHOWN_S: u64 = 5;

/// Why nothing can be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The target's connections cannot be looked at.
    #[error("observe connections: {0}")]
    Connections(#[from] ConnError),
    /// The kernel's events cannot be heard any more.
    #[error("observe connections: {0}")]
    Events(#[from] TcpEventsError),
}

/// How it is observed.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How often each peer is pinged; never where there is none.
    pub ping_every: Option<Duration>,
    /// A ping that is not answered for so long is lost.
    pub ping_within: Duration,
    /// A round trip that takes longer is too long.
    pub latency_max: Duration,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            ping_every: Some(Duration::from_millis(200)),
            ping_within: Duration::from_secs(1),
            latency_max: Duration::from_millis(10),
        }
    }
}

/// How it is observed on this kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mode {
    /// Whether the kernel tells of each connection (eBPF, `tp_btf`); otherwise they are only looked at, and what comes and
    /// goes between two looks is not seen.
    pub is_told: bool,
    /// Whether peers are pinged.
    pub is_pinging: bool,
    /// What cannot be had here, and why.
    pub without: Vec<String>,
}

impl Mode {
    /// For people.
    pub fn text(&self) -> String {
        let told = if self.is_told {
            "eBPF (tp_btf)"
        } else {
            "sock_diag only"
        };
        let pinging = if self.is_pinging { "pings" } else { "no pings" };
        format!("{told} · {pinging}")
    }
}

/// What is new.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum News {
    /// Something was found.
    Found(Finding),
    /// It is over.
    Over(Finding),
}

/// An edge as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EdgeNow {
    /// Between whom.
    #[serde(flatten)]
    pub edge: Edge,
    /// All that has happened since it is observed.
    pub total: Tally,
    /// What has happened in the last seconds.
    pub recent: Tally,
    /// How many seconds these are.
    pub recent_s: u64,
    /// How many connections there are.
    pub active: u32,
    /// How many were asked for more than a second ago, and are not answered.
    pub asking: u32,
    /// On how many nothing passes any more, as far as is known.
    pub stalled: u32,
    /// The round trip that half of the connections took longer than, in microseconds.
    pub rtt_us: Option<u64>,
    /// The same of pings.
    pub ping_us: Option<u64>,
    /// How many pings of the last seconds were lost, and of how many.
    pub pings_lost: u64,
    /// The same.
    pub pings: u64,
    /// What is wrong now.
    pub findings: Vec<Finding>,
}

/// All edges as they are now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// When, in nanoseconds since boot.
    pub at_ns: u64,
    /// How it is observed.
    pub mode: Mode,
    /// How many events of the kernel's were lost.
    pub lost: u64,
    /// Each edge.
    pub edges: Vec<EdgeNow>,
    /// Each peer that is pinged.
    pub peers: Vec<PeerNow>,
    /// Where the target listens.
    pub listening: Vec<Listening>,
}

/// Who watches the network of a target.
#[derive(Debug)]
pub struct Observer {
    spec: Spec,
    mode: Mode,
    pool: Pool,
    seats: Seats,
    events: Option<TcpEvents>,
    watched: BTreeSet<u64>,
    book: Book,
    histories: BTreeMap<Edge, History>,
    /// From when to when nothing came through an edge, the last time.
    cuts: BTreeMap<Edge, (u64, u64)>,
    pingers: BTreeMap<u64, Pinging>,
    neighbours: Neighbours,
    ears: BTreeMap<u64, Ear>,
    findings: Findings,
    /// How many events were lost until the last slice, and in all.
    lost: (u64, u64),
    /// When events were lost for the last time.
    lost_at: Option<Instant>,
    heard_at: Instant,
    looked: (Instant, Duration),
    sliced_at: Instant,
}

/// Ports, by the numbers of their namespaces.
type Ports = BTreeMap<u64, BTreeSet<u16>>;

/// Whose connections are.
#[derive(Debug, Default)]
struct Seats {
    /// By the number of its namespace.
    containers: BTreeMap<u64, Arc<str>>,
    /// Where others share the namespaces: the processes that are observed, and where they listen.
    shared: Option<(HashSet<u32>, Ports)>,
    /// Where anybody listens: whoever has asked for a connection there, he has not.
    sides: Ports,
}

impl Whose for Seats {
    fn container(&self, namespace: u64, id: &SocketId, pid: Option<u32>) -> Option<Arc<str>> {
        let container = self.containers.get(&namespace)?;
        let is_theirs = self.shared.as_ref().is_none_or(|(members, listening)| {
            let listens = listening.get(&namespace);
            pid.is_some_and(|pid| members.contains(&pid))
                || listens.is_some_and(|ports| ports.contains(&id.local.port()))
        });
        is_theirs.then(|| Arc::clone(container))
    }

    fn side(&self, namespace: u64, id: &SocketId) -> Side {
        let listens = self.sides.get(&namespace);
        if listens.is_some_and(|ports| ports.contains(&id.local.port())) {
            Side::Accepted
        } else {
            Side::Opened
        }
    }
}

/// The pings of one namespace.
#[derive(Debug)]
struct Pinging {
    pinger: Pinger,
    peers: BTreeMap<IpAddr, Pings>,
    under_way: UnderWay,
    pinged_at: Option<Instant>,
}

impl Observer {
    /// Begins to observe a target.
    pub fn begin(hit: &Hit<'_>, spec: Spec) -> Result<Self, ObserveError> {
        let mut pool = Pool::of(hit, &Scope::default())?;
        pool.with_ages();
        let mut mode = Mode {
            is_pinging: spec.ping_every.is_some(),
            ..Mode::default()
        };
        let filter = Filter {
            is_measured: true,
            ..Filter::default()
        };
        let events = match TcpEvents::watch(&filter) {
            Ok(events) => Some(events),
            Err(error) => {
                mode.without.push(format!(
                    "{error}; resets, refusals, retransmits and time-outs are not seen without it"
                ));
                None
            }
        };
        mode.is_told = events.is_some();
        let now = Instant::now();
        let mut observer = Self {
            spec,
            book: Book::new(EDGES_MAX, mode.is_told),
            mode,
            pool,
            seats: Seats::default(),
            events,
            watched: BTreeSet::new(),
            histories: BTreeMap::new(),
            cuts: BTreeMap::new(),
            pingers: BTreeMap::new(),
            neighbours: Neighbours::default(),
            ears: BTreeMap::new(),
            findings: Findings::default(),
            lost: (0, 0),
            lost_at: None,
            heard_at: now,
            looked: (now, Duration::ZERO),
            sliced_at: now,
        };
        observer.sit()?;
        observer.look()?;
        Ok(observer)
    }

    /// How it is observed.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// How long until [`step`](Self::step) has something to do.
    pub fn until_next(&self) -> Duration {
        let hear = HEAR_EVERY.saturating_sub(self.heard_at.elapsed());
        let pinged = self.pingers.values().filter_map(|one| one.pinged_at);
        let next = self.spec.ping_every.zip(pinged.min());
        next.map_or(hear, |(every, at)| {
            hear.min(every.saturating_sub(at.elapsed()))
        })
    }

    /// Takes in what has happened; says what is new by that.
    pub fn step(&mut self) -> Result<Vec<News>, ObserveError> {
        if self.pool.follow()? {
            self.sit()?;
        }
        self.hear();
        self.ping();
        let (at, took) = self.looked;
        if at.elapsed() >= LOOK_EVERY.max(took * LOOK_SHARE) {
            self.look()?;
        }
        if self.sliced_at.elapsed() < SLICE {
            return Ok(Vec::new());
        }
        self.sliced_at = Instant::now();
        Ok(self.judge())
    }

    /// Finds out where the target is now.
    fn sit(&mut self) -> Result<(), ObserveError> {
        let places: Vec<_> = self.pool.places().cloned().collect();
        self.seats.containers = places
            .iter()
            .map(|place| (place.inode, place.name.as_str().into()))
            .collect();
        self.seats.shared = None;
        if !self.pool.is_whole() {
            let members = self.pool.members().unwrap_or_default();
            let mut listening = BTreeMap::new();
            for place in &places {
                let ports = self.pool.listening(place.inode)?;
                listening.insert(place.inode, ports.unwrap_or_default());
            }
            self.seats.shared = Some((members.into_iter().collect(), listening));
        }
        if let Some(events) = &mut self.events {
            let now: BTreeSet<u64> = places.iter().map(|place| place.inode).collect();
            for gone in self.watched.difference(&now) {
                events.forget_namespace(*gone)?;
            }
            for inode in now.difference(&self.watched) {
                events.watch_namespace(*inode)?;
            }
            self.watched = now;
        }
        if self.spec.ping_every.is_some() {
            self.pingers
                .retain(|inode, _| self.seats.containers.contains_key(inode));
            for place in &places {
                if self.pingers.contains_key(&place.inode) {
                    continue;
                }
                match Pinger::new(&place.namespace, None) {
                    Ok(pinger) => {
                        let pinging = Pinging {
                            pinger,
                            peers: BTreeMap::new(),
                            under_way: UnderWay::default(),
                            pinged_at: None,
                        };
                        self.pingers.insert(place.inode, pinging);
                    }
                    Err(error) => self.do_without(&error),
                }
            }
            self.mode.is_pinging = !self.pingers.is_empty();
        }
        Ok(())
    }

    fn do_without(&mut self, error: &PingError) {
        let text = error.to_string();
        if !self.mode.without.contains(&text) {
            self.mode.without.push(text);
        }
    }

    /// Takes in what the kernel has told, and which pings were answered.
    fn hear(&mut self) {
        self.heard_at = Instant::now();
        if let Some(events) = &mut self.events {
            for event in events.take() {
                self.book.tell(&event, &self.seats);
            }
            self.lost.1 = events.lost();
        }
        for pinging in self.pingers.values_mut() {
            for answer in pinging.pinger.hear() {
                let peer = pinging.under_way.of(answer.number);
                // Who says that a host cannot be reached is somebody else, and that is no answer.
                if let (Some(peer), Reply::Echo) = (peer, answer.kind)
                    && let Some(pings) = pinging.peers.get_mut(&peer)
                {
                    pings.answer(answer.number, answer.at_ns);
                }
            }
        }
        for ear in self.ears.values_mut() {
            for request in ear.hear() {
                let mut pingers = self.pingers.values_mut();
                let asker = pingers.find(|one| one.pinger.identifier() == request.identifier);
                let Some(pinging) = asker else { continue };
                let peer = pinging.under_way.of(request.number);
                if let Some(pings) = peer.and_then(|peer| pinging.peers.get_mut(&peer)) {
                    pings.arrive(request.number, request.at_ns);
                }
            }
        }
    }

    /// Looks at the connections that there are.
    fn look(&mut self) -> Result<(), ObserveError> {
        let began = Instant::now();
        let all = self.pool.look_at_ends()?;
        self.seats.sides = self.pool.listening_ports();
        let containers = &self.seats.containers;
        let named = |connection: Connection| {
            let container = containers.get(&connection.place)?;
            Some((Arc::clone(container), connection))
        };
        let all: Vec<_> = all.into_iter().filter_map(named).collect();
        self.book.look(boottime_ns(), &all);
        self.looked = (Instant::now(), began.elapsed());
        Ok(())
    }

    /// Pings each peer when it is time.
    fn ping(&mut self) {
        let Some(every) = self.spec.ping_every.filter(|_| !self.pool.is_deserted()) else {
            return;
        };
        let now_ns = boottime_ns();
        let within_ns = u64::try_from(self.spec.ping_within.as_nanos()).unwrap_or(u64::MAX);
        let given_up_ns = now_ns.saturating_sub(within_ns);
        for pinging in self.pingers.values_mut() {
            for pings in pinging.peers.values_mut() {
                pings.give_up_before(given_up_ns);
            }
            if pinging.pinged_at.is_some_and(|at| at.elapsed() < every) {
                continue;
            }
            pinging.pinged_at = Some(Instant::now());
            pinging
                .under_way
                .forget_before(given_up_ns.saturating_sub(within_ns));
            let peers: Vec<IpAddr> = pinging.peers.keys().copied().collect();
            for peer in peers {
                let sent = pinging.pinger.send(peer);
                let Some(pings) = pinging.peers.get_mut(&peer) else {
                    continue;
                };
                let at_ns = boottime_ns();
                match sent {
                    Ok(sent) => {
                        pinging.under_way.send(sent.number, peer, at_ns);
                        pings.push(sent.number, at_ns, Some(sent.at_ns));
                    }
                    Err(_) => pings.push(0, at_ns, None),
                }
            }
        }
    }

    /// Slices what has happened, and asks the detectors.
    fn judge(&mut self) -> Vec<News> {
        let now_ns = boottime_ns();
        for (edge, slice) in self.book.slice(now_ns) {
            let is_idle = slice.is_idle();
            if let Some(history) = self.histories.get_mut(&edge) {
                history.push(slice);
            } else if !is_idle {
                self.histories.entry(edge).or_default().push(slice);
            }
        }
        for history in self.histories.values_mut() {
            history.forget_before(now_ns.saturating_sub(REMEMBERED_NS));
        }
        self.histories.retain(|_, history| !history.is_idle());
        self.cuts
            .retain(|edge, _| self.histories.contains_key(edge));
        self.choose_peers(now_ns);
        if self.lost.1 > self.lost.0 {
            self.lost_at = Some(Instant::now());
        }
        self.lost.0 = self.lost.1;
        let has_lost = self.lost_at.is_some_and(|at| at.elapsed() < LOST_TELLS);
        if self.pool.is_deserted() {
            // Where nobody is nothing is wrong.
            let over = self.findings.end(now_ns);
            return over.into_iter().map(News::Over).collect();
        }
        let mut news = Vec::new();
        for (edge, history) in &self.histories {
            let sight = Sight {
                edge,
                history,
                pings: pings_of(&self.pingers, &self.seats, edge),
                now_ns,
                cut_until_ns: self.cuts.get(edge).map_or(0, |cut| over(*cut)),
                latency_max: self.spec.latency_max,
            };
            let claims = detect(&sight);
            let cut = claims.iter().find(|claim| claim.kind == Kind::Partition);
            if let Some(cut) = cut {
                self.cuts.insert(edge.clone(), (cut.since_ns, now_ns));
            }
            let begun = self.findings.claim(edge, claims, now_ns, has_lost);
            news.extend(begun.into_iter().map(News::Found));
        }
        news.extend(self.findings.end(now_ns).into_iter().map(News::Over));
        news
    }

    /// Says which peers are pinged, and listens where they are, as far as that is on this machine.
    fn choose_peers(&mut self, now_ns: u64) {
        let is_busy = |history: &History| {
            let mut recent = history.since(now_ns.saturating_sub(IDLE_NS));
            recent.any(|slice| !slice.is_idle())
        };
        if self.pingers.is_empty() {
            return;
        }
        // Who cannot be found is not listened to, and says nothing of which way is broken.
        let found = self.neighbours.find(self.pool.places());
        let mut heard = BTreeSet::new();
        for (inode, pinging) in &mut self.pingers {
            let Some(container) = self.seats.containers.get(inode) else {
                continue;
            };
            let is_peer =
                |ip: &IpAddr| !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast());
            let peers_of = |side: Side| {
                let edges = self.histories.iter().filter(move |(edge, history)| {
                    edge.container == *container && edge.side == side && is_busy(history)
                });
                edges.map(|(edge, _)| edge.peer).filter(is_peer)
            };
            // Whom the target asks comes first: there may be many who ask it.
            let mut peers = BTreeSet::new();
            for peer in peers_of(Side::Opened).chain(peers_of(Side::Accepted)) {
                if peers.len() < PEERS_MAX {
                    peers.insert(peer);
                }
            }
            pinging.peers.retain(|peer, _| peers.contains(peer));
            for peer in peers {
                pinging.peers.entry(peer).or_default();
                if found.is_ok() {
                    // Several may have the address; only where it is meant ours arrive.
                    let there = self.neighbours.with_address(*inode, peer);
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
            let neighbour = self.neighbours.get(inode);
            // Whoever has just vanished has no ears.
            if let Some(Ok(ear)) = neighbour.map(|neighbour| Ear::listen(&neighbour.namespace)) {
                self.ears.insert(inode, ear);
            }
        }
    }

    /// Whether all of the target's processes have ended, and nobody may come in their place.
    pub fn is_gone(&self) -> bool {
        self.pool.is_gone()
    }

    /// What was found until now.
    pub fn findings(&self) -> &[Finding] {
        self.findings.all()
    }

    /// All edges as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let at_ns = boottime_ns();
        let since_ns = at_ns.saturating_sub(SHOWN_S * 1_000_000_000);
        let now = |(edge, total): (&Edge, &Tally)| {
            let history = self.histories.get(edge);
            let last = history.and_then(History::last);
            let pings = pings_of(&self.pingers, &self.seats, edge);
            let recent_pings = || pings.into_iter().flat_map(|pings| pings.since(since_ns));
            let is_lost = |outcome: Outcome| matches!(outcome, Outcome::Lost | Outcome::Unsent);
            let rtts = history
                .into_iter()
                .flat_map(|history| history.since(since_ns));
            let rtts = rtts.filter_map(|slice| slice.rtt).map(|rtt| rtt.median_us);
            let mut rtts: Vec<u32> = rtts.collect();
            rtts.sort_unstable();
            EdgeNow {
                edge: edge.clone(),
                total: *total,
                recent: history.map_or_else(Tally::default, |history| history.sum_since(since_ns)),
                recent_s: SHOWN_S,
                active: last.map_or(0, |last| last.active),
                asking: last.map_or(0, |last| last.asking),
                stalled: last.map_or(0, |last| last.stalled),
                rtt_us: rtts.get(rtts.len() / 2).map(|us| u64::from(*us)),
                ping_us: median_us(recent_pings()),
                pings_lost: recent_pings().filter(|ping| is_lost(ping.outcome)).count() as u64,
                pings: recent_pings().count() as u64,
                findings: self.findings.of(edge).cloned().collect(),
            }
        };
        Snapshot {
            at_ns,
            mode: self.mode.clone(),
            lost: self.lost.1,
            edges: self.book.edges().map(now).collect(),
            peers: self.peers(at_ns),
            listening: self.listening(),
        }
    }

    /// Each peer that is pinged. Where no ping was sent for longer than one takes to come, or to be lost, there is none.
    fn peers(&self, now_ns: u64) -> Vec<PeerNow> {
        let between = self.spec.ping_every.unwrap_or_default() + self.spec.ping_within;
        let between_ns = u64::try_from(between.as_nanos()).unwrap_or(u64::MAX);
        let fresh_ns = now_ns.saturating_sub(between_ns.saturating_mul(2));
        // Two namespaces may go by one name, as they do on edges.
        let mut all = BTreeMap::new();
        for (inode, pinging) in &self.pingers {
            let Some(container) = self.seats.containers.get(inode) else {
                continue;
            };
            for (peer, pings) in &pinging.peers {
                let is_fresh = pings.since(fresh_ns).next().is_some();
                all.entry((container, *peer)).or_insert(PeerNow {
                    container: Arc::clone(container),
                    peer: *peer,
                    last: pings.value().filter(|_| is_fresh),
                    count: pings.count(),
                });
            }
        }
        all.into_values().collect()
    }

    /// Where the target listened when it was looked at last.
    fn listening(&self) -> Vec<Listening> {
        let all = self.pool.listening_addresses();
        let theirs = all.filter_map(|(inode, address)| {
            let container = self.seats.containers.get(&inode)?;
            let is_theirs = self.seats.shared.as_ref().is_none_or(|(_, listening)| {
                let ports = listening.get(&inode);
                ports.is_some_and(|ports| ports.contains(&address.port()))
            });
            is_theirs.then(|| Listening {
                container: Arc::clone(container),
                address,
            })
        });
        let theirs: BTreeSet<Listening> = theirs.collect();
        theirs.into_iter().take(LISTENING_MAX).collect()
    }
}

/// When the last retransmit has gone out that a cut is the reason of: the timer of retransmits waits at most as long again as
/// nothing came through.
fn over((from_ns, until_ns): (u64, u64)) -> u64 {
    until_ns + until_ns.saturating_sub(from_ns).min(RTO_MAX_NS)
}

/// The pings of the peer of an edge.
fn pings_of<'a>(
    pingers: &'a BTreeMap<u64, Pinging>,
    seats: &Seats,
    edge: &Edge,
) -> Option<&'a Pings> {
    let mut all = pingers.iter();
    let (_, pinging) =
        all.find(|(inode, _)| seats.containers.get(inode) == Some(&edge.container))?;
    pinging.peers.get(&edge.peer)
}
