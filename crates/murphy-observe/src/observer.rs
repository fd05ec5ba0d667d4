//! An observer watches the network of one target: it hears the kernel, looks at connections, pings peers, and asks the
//! detectors what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use murphy_fault::{
    conn::{ConnError, Pool, Scope, Side},
    net::{Hit, Neighbours},
};
use murphy_sys::{
    clock::boottime_ns,
    connections::SocketId,
    program_runs::Counting,
    syscalls::SyscallsError,
    tcp_events::{Filter, TcpEvents, TcpEventsError},
};
use serde::Serialize;

use crate::{
    book::{Book, Whose},
    calls::CallWatch,
    detect::{Sight, detect},
    dns::DnsEar,
    edge::Edge,
    finding::{Finding, Findings, Kind},
    ground::GroundWatch,
    lately::Lately,
    listening::Listening,
    lookups::times_us,
    overhead::{Meter, Overhead},
    peer::PeerNow,
    pinging::Pinging,
    pings::{Outcome, median_us, nanos},
    slice::History,
    snapshot::{EdgeNow, Snapshot},
    tally::Tally,
    translations::{Actual, Translations},
    unseen::Unseen,
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
/// What happened longer ago is forgotten.
const REMEMBERED_NS: u64 = 120_000_000_000;
/// An edge on which nothing happens for so long, and which has no connections, is not pinged any more.
const IDLE_NS: u64 = 60_000_000_000;
/// Where events were lost, what is found is undecided for so long: as long as anything is looked at.
const LOST_TELLS: Duration = Duration::from_mins(1);
/// A timer of retransmits waits no longer than this (`TCP_RTO_MAX`).
const RTO_MAX_NS: u64 = 120_000_000_000;
/// Why no names are heard that a process asks for who shares its network namespace.
const SHARED_DNS: &str = "hear DNS: others are in the target's network namespace, whose questions cannot be told from its own; name the namespace or a container to have it";
/// The same of what belongs to the namespace as a whole.
const SHARED_GROUND: &str = "count what the target's network namespace drops, what of it is damaged, doubled or overtaken, for whom its listeners have no room, and look at its clocks: others are in it, whose packets cannot be told from its own; name the namespace or a container to have it";
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
    /// System calls cannot be counted, as was asked for.
    #[error("observe system calls: {0}")]
    Syscalls(#[from] SyscallsError),
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
    /// Whether it is counted what the BPF programs cost: for all of the machine, which costs by itself.
    pub counts_runs: bool,
    /// Whether system calls are counted and timed, which costs every process of the machine a little.
    pub counts_calls: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            ping_every: Some(Duration::from_millis(200)),
            ping_within: Duration::from_secs(1),
            latency_max: Duration::from_millis(10),
            counts_runs: false,
            counts_calls: false,
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
    pinging: Pinging,
    neighbours: Neighbours,
    /// The names that are asked for, where nobody else is in the target's network namespaces.
    dns: Option<DnsEar>,
    /// What belongs to the namespaces as a whole, where nobody else is in them.
    ground: Option<GroundWatch>,
    /// Whom the edges really lead to.
    translations: Translations,
    /// The target's system calls, where that was asked for.
    calls: Option<CallWatch>,
    findings: Findings,
    /// How many events were lost until the last slice.
    lost: u64,
    /// When events were lost for the last time.
    lost_at: Option<Instant>,
    heard_at: Instant,
    looked: (Instant, Duration),
    /// How many connections were found then.
    found: usize,
    sliced_at: Instant,
    meter: Meter,
    /// How many events were taken in.
    taken: u64,
    counting: Option<Counting>,
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

impl Seats {
    /// The number of the namespace of a container.
    fn inode(&self, container: &str) -> Option<u64> {
        let mut all = self.containers.iter();
        all.find(|(_, name)| &***name == container)
            .map(|(inode, _)| *inode)
    }
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

impl Observer {
    /// Begins to observe a target.
    pub fn begin(hit: &Hit<'_>, spec: Spec) -> Result<Self, ObserveError> {
        // What was asked for must be had, before anything is touched.
        let calls = spec.counts_calls.then(CallWatch::begin).transpose()?;
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
        let (dns, ground) = if pool.is_whole() {
            let (dns, why_not) = DnsEar::begin();
            mode.without.extend(why_not);
            let (ground, why_not) = GroundWatch::begin();
            mode.without.extend(why_not);
            (Some(dns), Some(ground))
        } else {
            mode.without
                .extend([SHARED_DNS, SHARED_GROUND].map(str::to_owned));
            (None, None)
        };
        let (translations, why_not) = Translations::begin();
        mode.without.extend(why_not);
        let counting = spec.counts_runs.then(Counting::begin).transpose();
        let counting = counting.unwrap_or_else(|error| {
            mode.without.push(error.to_string());
            None
        });
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
            pinging: Pinging::default(),
            neighbours: Neighbours::default(),
            dns,
            ground,
            translations,
            calls,
            findings: Findings::default(),
            lost: 0,
            lost_at: None,
            heard_at: now,
            looked: (now, Duration::ZERO),
            found: 0,
            sliced_at: now,
            meter: Meter::default(),
            taken: 0,
            counting,
        };
        observer.sit()?;
        observer.look()?;
        observer.meter.read();
        Ok(observer)
    }

    /// How it is observed.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// How long until [`step`](Self::step) has something to do.
    pub fn until_next(&self) -> Duration {
        let hear = HEAR_EVERY.saturating_sub(self.heard_at.elapsed());
        let next = self.spec.ping_every.zip(self.pinging.pinged_at());
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
        if self.spec.ping_every.is_none() {
            // Who pings finds them anyway. Whose addresses are not known has none on the map.
            let _ = self.neighbours.find(&places);
        }
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
        if let Some(dns) = &mut self.dns {
            for refused in dns.sit(places.iter()) {
                self.do_without(refused);
            }
        }
        let refused = self.ground.as_mut().map(|it| it.sit(places.iter()));
        for refused in refused.into_iter().flatten() {
            self.do_without(refused);
        }
        for refused in self.translations.sit(places.iter()) {
            self.do_without(refused);
        }
        let members = self.pool.members().filter(|_| !self.pool.is_whole());
        let refused = self.calls.as_mut().map(|it| it.sit(places.iter(), members));
        for refused in refused.into_iter().flatten() {
            self.do_without(refused);
        }
        if self.spec.ping_every.is_some() {
            for refused in self.pinging.sit(&places) {
                self.do_without(refused);
            }
            self.mode.is_pinging = !self.pinging.is_empty();
        }
        Ok(())
    }

    fn do_without(&mut self, text: String) {
        if !self.mode.without.contains(&text) {
            self.mode.without.push(text);
        }
    }

    /// Takes in what the kernel has told, and which pings were answered.
    fn hear(&mut self) {
        self.heard_at = Instant::now();
        if let Some(events) = &mut self.events {
            let all = events.take();
            self.taken += all.len() as u64;
            for event in all {
                self.book.tell(&event, &self.seats);
            }
        }
        if let Some(dns) = &mut self.dns {
            dns.hear(&self.neighbours);
        }
        self.pinging.hear();
        let made = self.book.take_made();
        for refused in self.translations.take(made, self.heard_at) {
            self.do_without(refused);
        }
    }

    /// Looks at the connections that there are.
    fn look(&mut self) -> Result<(), ObserveError> {
        let began = Instant::now();
        self.book.begin_look(boottime_ns());
        let (book, containers) = (&mut self.book, &self.seats.containers);
        let mut found = 0;
        self.pool.look_at_each(|connection| {
            if let Some(container) = containers.get(&connection.place) {
                found += 1;
                book.see(container, &connection);
            }
        })?;
        self.book.end_look();
        self.found = found;
        self.seats.sides = self.pool.listening_ports();
        self.looked = (Instant::now(), began.elapsed());
        Ok(())
    }

    /// Pings each peer when it is time.
    fn ping(&mut self) {
        let Some(every) = self.spec.ping_every.filter(|_| !self.pool.is_deserted()) else {
            return;
        };
        self.pinging
            .ping(every, self.spec.ping_within, &self.neighbours);
    }

    /// Slices what has happened, and asks the detectors.
    fn judge(&mut self) -> Vec<News> {
        self.meter.read();
        let now_ns = boottime_ns();
        for (edge, slice) in self.book.slice(now_ns) {
            let is_idle = slice.is_idle();
            if let Some(history) = self.histories.get_mut(&edge) {
                history.push(slice);
            } else if !is_idle {
                self.histories.entry(edge).or_default().push(slice);
            }
        }
        let book = &self.book;
        self.translations.keep(|edge| book.has(edge));
        for history in self.histories.values_mut() {
            history.forget_before(now_ns.saturating_sub(REMEMBERED_NS));
        }
        self.histories.retain(|_, history| !history.is_idle());
        self.cuts
            .retain(|edge, _| self.histories.contains_key(edge));
        // Who cannot be found is not listened to, and says nothing of which way is broken.
        let are_found = self.neighbours.find(self.pool.places()).is_ok();
        self.choose_peers(now_ns, are_found);
        let lost = self.lost();
        if lost > self.lost {
            self.lost_at = Some(Instant::now());
        }
        self.lost = lost;
        let has_lost = self.lost_at.is_some_and(|at| at.elapsed() < LOST_TELLS);
        if self.pool.is_deserted() {
            // Where nobody is nothing is wrong.
            let over = self.findings.end(now_ns);
            return over.into_iter().map(News::Over).collect();
        }
        let refused = self.ground.as_mut().map(GroundWatch::look);
        for refused in refused.into_iter().flatten() {
            self.do_without(refused);
        }
        if let Some(Err(error)) = self.calls.as_mut().map(CallWatch::look) {
            self.do_without(error.to_string());
        }
        let mut news = Vec::new();
        let none = History::default();
        let edges: BTreeSet<&Edge> = self
            .histories
            .keys()
            .chain(asked_names(self.dns.as_ref()))
            .collect();
        for edge in edges {
            let lookups = self.dns.as_ref().and_then(|dns| dns.lookups().get(edge));
            let sight = Sight {
                edge,
                history: self.histories.get(edge).unwrap_or(&none),
                lookups,
                pings: self.pinging.of(edge),
                now_ns,
                cut_until_ns: self.cuts.get(edge).map_or(0, |cut| over(*cut)),
                latency_max: self.spec.latency_max,
            };
            let mut claims = detect(&sight);
            let cut = claims.iter().find(|claim| claim.kind == Kind::Partition);
            if let Some(cut) = cut {
                self.cuts.insert(edge.clone(), (cut.since_ns, now_ns));
            }
            if let Some(ground) = &mut self.ground {
                let inode = self.seats.inode(&edge.container);
                ground.explain(inode.unwrap_or(0), edge.peer, &mut claims, now_ns);
            }
            let begun = self.findings.claim(edge, claims, now_ns, has_lost);
            news.extend(begun.into_iter().map(News::Found));
        }
        if let Some(ground) = &mut self.ground {
            let known = self.histories.keys().chain(asked_names(self.dns.as_ref()));
            let peers: BTreeSet<IpAddr> = known.map(|edge| edge.peer).collect();
            for (inode, container) in &self.seats.containers {
                let claims = ground.detect(*inode, &peers, now_ns);
                let whole = Edge::whole(container);
                let begun = self.findings.claim(&whole, claims, now_ns, has_lost);
                news.extend(begun.into_iter().map(News::Found));
            }
        }
        if let Some(calls) = &mut self.calls {
            for (inode, container) in &self.seats.containers {
                let claims = calls.detect(*inode, now_ns);
                let whole = Edge::whole(container);
                let has_lost = calls.has_lost(now_ns);
                let begun = self.findings.claim(&whole, claims, now_ns, has_lost);
                news.extend(begun.into_iter().map(News::Found));
            }
        }
        news.extend(self.findings.end(now_ns).into_iter().map(News::Over));
        news
    }

    /// Says which peers are pinged, and listens where they are, as far as that is on this machine.
    fn choose_peers(&mut self, now_ns: u64, are_found: bool) {
        let is_busy = |history: &History| {
            let mut recent = history.since(now_ns.saturating_sub(IDLE_NS));
            recent.any(|slice| !slice.is_idle())
        };
        if self.pinging.is_empty() {
            return;
        }
        let busy = self
            .histories
            .iter()
            .filter(|(_, history)| is_busy(history));
        let busy = busy.map(|(edge, _)| edge);
        let edges: Vec<&Edge> = busy.chain(asked_names(self.dns.as_ref())).collect();
        let neighbours = are_found.then_some(&self.neighbours);
        self.pinging
            .choose(&self.seats.containers, &edges, neighbours);
    }

    /// Whether all of the target's processes have ended, and nobody may come in their place.
    pub fn is_gone(&self) -> bool {
        self.pool.is_gone()
    }

    /// What was found until now.
    pub fn findings(&self) -> &[Finding] {
        self.findings.all()
    }

    /// By which addresses others know those that are observed.
    fn addresses(&self) -> BTreeMap<String, BTreeSet<IpAddr>> {
        let mut all: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for (inode, name) in &self.seats.containers {
            let known = self.neighbours.get(*inode);
            let known = known.into_iter().flat_map(|one| one.addresses.iter());
            let known = known.filter(|ip| !ip.is_loopback()).copied();
            all.entry(name.to_string()).or_default().extend(known);
        }
        all
    }

    /// All edges as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let at_ns = boottime_ns();
        let since_ns = at_ns.saturating_sub(SHOWN_S * 1_000_000_000);
        let nothing = Tally::default();
        let totals = self.book.edges();
        let mut totals: BTreeMap<&Edge, &Tally> = totals.collect();
        // What is wrong with all of somebody is shown while it is so.
        let wholes = self.findings.all().iter().filter(|one| !one.is_over);
        let wholes = wholes.map(|one| &one.edge).filter(|edge| edge.is_whole());
        for edge in asked_names(self.dns.as_ref()).chain(wholes) {
            totals.entry(edge).or_insert(&nothing);
        }
        let now = |(edge, total): (&Edge, &Tally)| {
            let history = self.histories.get(edge);
            let last = history.and_then(History::last);
            let actual = self.translations.of(edge);
            let pings = self.pinging.of(edge);
            let dns = self.dns.as_ref();
            let asked = dns.and_then(|dns| dns.lookups().get(edge));
            let unseen = Unseen::of(history, pings, asked, at_ns);
            let lookups = || asked.into_iter().flat_map(|all| all.since(since_ns));
            let times = times_us(lookups());
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
                lookups: lookups().count() as u64,
                lookups_failed: lookups().filter(|one| one.has_failed()).count() as u64,
                lookup_us: times.get(times.len() / 2).copied(),
                name: dns.and_then(|dns| dns.name(edge.peer)).map(str::to_owned),
                actual: actual.map_or_else(Vec::new, |actual| actual.ends(edge)),
                has_other_actual: actual.is_some_and(Actual::has_others),
                unseen,
                lately: Lately::of(history, pings),
                findings: self.findings.of(edge).cloned().collect(),
            }
        };
        Snapshot {
            at_ns,
            mode: self.mode.clone(),
            lost: self.lost_in_all(),
            overhead: self.overhead(),
            addresses: self.addresses(),
            edges: totals.into_iter().map(now).collect(),
            peers: self.peers(at_ns),
            listening: self.listening(),
            syscalls: self
                .calls
                .iter()
                .flat_map(|calls| calls.now(&self.seats.containers, since_ns))
                .collect(),
        }
    }

    /// How many events, messages and packets could not be told of since it is observed.
    fn lost(&self) -> u64 {
        // Also what could not be told because the processor was telling something of the same kind.
        let told = |events: &TcpEvents| events.lost() + events.missed().unwrap_or(0);
        self.events.as_ref().map_or(0, told)
            + self.book.left_out()
            + self.dns.as_ref().map_or(0, DnsEar::dropped)
            + self.ground.as_ref().map_or(0, GroundWatch::lost)
    }

    /// The same with the calls: what is found of connections is none the worse for these.
    fn lost_in_all(&self) -> u64 {
        self.lost() + self.calls.as_ref().map_or(0, CallWatch::lost)
    }

    /// What it costs to observe.
    fn overhead(&self) -> Overhead {
        let programs = || {
            let events = self.events.iter().flat_map(TcpEvents::runs);
            let dns = self.dns.iter().flat_map(DnsEar::runs);
            let ground = self.ground.iter().flat_map(GroundWatch::runs);
            let calls = self.calls.iter().flat_map(CallWatch::runs);
            events.chain(dns).chain(ground).chain(calls)
        };
        let programs = self.counting.iter().flat_map(|_| programs());
        self.meter.fill(Overhead {
            events: self.taken,
            lost: self.lost_in_all(),
            looked: self.found as u64,
            look_us: u64::try_from(self.looked.1.as_micros()).unwrap_or(u64::MAX),
            programs: programs.collect(),
            ..Overhead::default()
        })
    }

    /// Each peer that is pinged. Where no ping was sent for longer than one takes to come, or to be lost, there is none.
    fn peers(&self, now_ns: u64) -> Vec<PeerNow> {
        let between = self.spec.ping_every.unwrap_or_default() + self.spec.ping_within;
        let between_ns = nanos(between);
        let fresh_ns = now_ns.saturating_sub(between_ns.saturating_mul(2));
        // Two namespaces may go by one name, as they do on edges.
        let mut all = BTreeMap::new();
        for (container, peer, pings) in self.pinging.all() {
            let is_fresh = pings.since(fresh_ns).next().is_some();
            all.entry((container, peer)).or_insert(PeerNow {
                container: Arc::clone(container),
                peer,
                last: pings.value().filter(|_| is_fresh),
                count: pings.count(),
            });
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

/// Who was asked for names, and by whom.
fn asked_names(dns: Option<&DnsEar>) -> impl Iterator<Item = &Edge> {
    dns.into_iter().flat_map(|dns| dns.lookups().keys())
}
