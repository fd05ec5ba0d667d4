//! A witness is a thread that hears what the kernel does to connections: who connects, what is reset; those that come new
//! are drawn there, each once, and end as soon as they are there.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use murphy_sys::{
    connections::{Socket, SocketId, State},
    link,
    tcp_events::{Filter, Kind, TcpEvent, TcpEvents},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    ConnError, Connection, Evidence, How, Newcomers,
    effect::{Cut, NAMED_MAX, Origin},
    means::{Done, Means},
    pool::Pool,
    recovery::Connects,
    scope::Side,
};
use crate::ratio::Ratio;

/// How long it waits for events before it takes what there is, and looks whether it is over.
const WAIT_MAX: Duration = Duration::from_millis(10);
/// Which part of its time it spends on looking at all connections, where it must to know whose they are.
const LOOK_SHARE: u32 = 4;
/// Of so many connections it remembers what happened to them.
const REMEMBERED_MAX: usize = 100_000;
/// How long a new connection may take until somebody holds it who can close it.
const OWNED_WITHIN: Duration = Duration::from_secs(2);
/// The stream of random numbers by which those that come are drawn; draws of those that are there take the first ones.
const STREAM: u64 = u64::MAX;

/// Both ends of a connection, the own one first.
type Ends = (SocketAddr, SocketAddr);

/// What happens to those that come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    /// With what chance.
    pub(super) of: Ratio,
    /// How they end.
    pub(super) how: How,
    /// What they are drawn by.
    pub(super) seed: u64,
}

/// Who hears the kernel, on a thread of its own.
#[derive(Debug)]
pub(super) struct Witness {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    /// The namespaces in which other ends may be.
    others: Mutex<BTreeSet<u64>>,
    heard: Mutex<Heard>,
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it has heard so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) connects: Connects,
    new: Newcomers,
    /// Those of the new ones that were hit, and not yet taken.
    pub(super) cuts: Vec<(Instant, Cut)>,
    /// By the target's end of each: what was seen.
    evidence: HashMap<Ends, Evidence>,
    /// The same, those that were heard of first at the front.
    order: VecDeque<Ends>,
    /// When those connected who did within the last second, in nanoseconds since boot.
    second: VecDeque<u64>,
    pub(super) trouble: Option<String>,
}

impl Heard {
    fn connected(&mut self, at_ns: u64) {
        self.second.push_back(at_ns);
        let is_past = |first: &mut u64| at_ns.saturating_sub(*first) >= 1_000_000_000;
        while self.second.pop_front_if(is_past).is_some() {}
        let most = &mut self.connects.per_second_max;
        *most = (self.second.len() as u64).max(*most);
    }

    fn of(&mut self, ends: Ends) -> &mut Evidence {
        if !self.evidence.contains_key(&ends) {
            self.order.push_back(ends);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.evidence.remove(&oldest);
        }
        self.evidence.entry(ends).or_default()
    }

    /// Those that have come since somebody asked last.
    pub(super) fn take_new(&mut self) -> Newcomers {
        std::mem::take(&mut self.new)
    }

    /// What was seen of a connection, by both of its ends.
    pub(super) fn evidence(&self, local: SocketAddr, remote: SocketAddr) -> Evidence {
        let of = |ends: Ends| self.evidence.get(&ends).copied().unwrap_or_default();
        let (own, other) = (of((local, remote)), of((remote, local)));
        Evidence {
            closed: own.closed,
            reset_sent: own.reset_sent,
            reset_received: other.reset_received,
        }
    }
}

impl Witness {
    /// Begins to hear of a target's namespaces, and of `others`, in which the other ends may be.
    pub(super) fn begin(
        pool: Pool,
        others: BTreeSet<u64>,
        chance: Option<Chance>,
        means: Arc<Mutex<Means>>,
    ) -> Result<Self, ConnError> {
        let filter = Filter {
            namespaces: Vec::new(),
            ports: pool.scope().all_ports_named(),
            is_prompt: chance.is_some(),
            is_measured: false,
        };
        let events = TcpEvents::watch(&filter)?;
        let shared = Arc::new(Shared {
            others: Mutex::new(others),
            ..Shared::default()
        });
        let mut ear = Ear {
            watched: BTreeSet::new(),
            events,
            pool,
            draw: chance.map(|chance| {
                let mut rng = ChaCha8Rng::seed_from_u64(chance.seed);
                rng.set_stream(STREAM);
                (chance, rng)
            }),
            means,
            shared: Arc::clone(&shared),
            unowned: Vec::new(),
            looked: (Instant::now(), Duration::ZERO),
            arrived: HashMap::new(),
            here: HashMap::new(),
        };
        ear.watch()?;
        let thread = thread::Builder::new().name("witness".into());
        let thread = thread
            .spawn(move || ear.listen())
            .map_err(ConnError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What it has heard so far.
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.shared.heard()
    }

    /// Hears of these namespaces, too, in which the other ends may be, instead of those that it was told before.
    pub(super) fn hear_of(&self, others: BTreeSet<u64>) {
        *self.shared.others() = others;
    }

    /// Ends it, once it has heard all that has happened until now.
    pub(super) fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It says itself what it stumbles over.
            let _ = thread.join();
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread.
struct Ear {
    events: TcpEvents,
    watched: BTreeSet<u64>,
    pool: Pool,
    draw: Option<(Chance, ChaCha8Rng)>,
    means: Arc<Mutex<Means>>,
    shared: Arc<Shared>,
    /// New ones that were drawn, and that nobody holds yet who could close them.
    unowned: Vec<(Instant, Connection)>,
    /// When it last looked at all connections, and how long that took.
    looked: (Instant, Duration),
    /// Those that have come and are not known to be the target's: by their cookies.
    arrived: HashMap<u64, Instant>,
    /// The addresses of a namespace, and when they were asked for.
    here: HashMap<u64, (Instant, BTreeSet<IpAddr>)>,
}

impl Ear {
    fn listen(&mut self) {
        loop {
            let is_over = self.shared.is_over.load(Ordering::Relaxed);
            if let Err(error) = self.hear() {
                self.heard().trouble = Some(error.to_string());
            }
            if is_over {
                return;
            }
            if let Err(error) = self.events.wait(WAIT_MAX) {
                self.heard().trouble = Some(format!("wait for events of connections: {error}"));
                return;
            }
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.shared.heard()
    }

    /// Watches the namespaces of the target, and those in which the other ends may be.
    fn watch(&mut self) -> Result<(), ConnError> {
        let mut meant = self.shared.others().clone();
        meant.extend(self.pool.places().map(|place| place.inode));
        for gone in self.watched.difference(&meant) {
            self.events.forget_namespace(*gone)?;
        }
        for inode in meant.difference(&self.watched) {
            self.events.watch_namespace(*inode)?;
        }
        self.watched = meant;
        Ok(())
    }

    fn hear(&mut self) -> Result<(), ConnError> {
        if self.pool.follow()? {
            self.watch()?;
        }
        let events = self.events.take();
        let mut fresh = Vec::new();
        for event in &events {
            fresh.extend(self.note(event));
        }
        self.heard().connects.lost = self.events.lost();
        if self.pool.is_whole() {
            self.decide(fresh)?;
        } else if self.draw.is_some() {
            let now = Instant::now();
            let cookies = fresh.iter().map(|one| (one.socket.id.cookie, now));
            self.arrived.extend(cookies);
            self.look_for_arrived()?;
        }
        self.close_unowned()
    }

    /// Takes one event in; gives back the connection that is new by it.
    fn note(&mut self, event: &TcpEvent) -> Option<Connection> {
        let id = SocketId {
            local: event.local,
            remote: event.remote,
            device: 0,
            cookie: event.cookie,
        };
        let ends = id.ends();
        let inode = event.namespace;
        match event.kind {
            Kind::ResetReceived => {
                self.heard().of(ends).reset_received = true;
                None
            }
            Kind::Retransmitted { .. } => None,
            Kind::ResetSent { is_refusal, .. } => {
                let is_meant = self.pool.means_in(inode, &id);
                let mut heard = self.heard();
                if is_refusal && is_meant {
                    heard.connects.refused += 1;
                    heard.connected(event.at_ns);
                } else if !is_refusal && event.cookie != 0 {
                    heard.of(ends).reset_sent = true;
                }
                None
            }
            Kind::State { from, to } => {
                let side = match (from, to) {
                    (State::Close, State::SynSent) | (State::SynSent, State::Established) => {
                        Side::Opened
                    }
                    (State::SynRecv, State::Established) => Side::Accepted,
                    (_, State::Close) => {
                        self.heard().of(ends).closed = true;
                        return None;
                    }
                    _ => return None,
                };
                if !self.pool.means_side(inode, &id, side) || self.is_other_end(inode, &id, side) {
                    return None;
                }
                if to == State::SynSent {
                    let mut heard = self.heard();
                    heard.connects.opened += 1;
                    heard.connected(event.at_ns);
                    return None;
                }
                if side == Side::Accepted {
                    let mut heard = self.heard();
                    heard.connects.accepted += 1;
                    heard.connected(event.at_ns);
                }
                Some(Connection {
                    place: inode,
                    socket: Socket {
                        id,
                        state: State::Established,
                        inode: 0,
                        activity: None,
                    },
                    side,
                    owner: None,
                    age: Duration::ZERO,
                })
            }
        }
    }

    /// Whether the end that has accepted it is the target's as well: it counts once, by that one.
    fn is_other_end(&mut self, inode: u64, id: &SocketId, side: Side) -> bool {
        if side == Side::Accepted {
            return false;
        }
        let mut mirrored = *id;
        (mirrored.local, mirrored.remote) = (id.remote, id.local);
        let remote = id.ends().1.ip();
        self.pool.means_side(inode, &mirrored, Side::Accepted)
            && (remote.is_loopback() || self.is_here(inode, remote))
    }

    /// Whether an address is one of a namespace's own.
    fn is_here(&mut self, inode: u64, address: IpAddr) -> bool {
        const ASK_EVERY: Duration = Duration::from_secs(1);
        let known = self.here.get(&inode);
        if known.is_none_or(|(asked_at, _)| asked_at.elapsed() > ASK_EVERY) {
            let mut places = self.pool.places();
            let place = places.find(|place| place.inode == inode);
            let addresses = place.and_then(|place| link::addresses(&place.namespace).ok());
            let addresses = addresses.unwrap_or_default();
            let addresses = addresses.iter().map(IpAddr::to_canonical).collect();
            self.here.insert(inode, (Instant::now(), addresses));
        }
        let known = self.here.get(&inode);
        known.is_some_and(|(_, addresses)| addresses.contains(&address))
    }

    /// Where others share the namespace: finds out which of those that have come are the target's.
    fn look_for_arrived(&mut self) -> Result<(), ConnError> {
        let (at, took) = self.looked;
        if self.arrived.is_empty() || at.elapsed() < took * LOOK_SHARE {
            return Ok(());
        }
        let began = Instant::now();
        let all = self.pool.look()?;
        self.looked = (Instant::now(), began.elapsed());
        let arrived = &mut self.arrived;
        let fresh = all.into_iter();
        let fresh: Vec<_> = fresh
            .filter(|one| arrived.remove(&one.socket.id.cookie).is_some())
            .collect();
        // Whoever is seen by nobody within a while is a neighbour's, or gone.
        let before = arrived.len();
        arrived.retain(|_, since| since.elapsed() < OWNED_WITHIN);
        let missed = (before - arrived.len()) as u64;
        self.heard().new.missed += missed;
        self.decide(fresh)
    }

    /// Draws for each that has come, and ends those that are drawn.
    fn decide(&mut self, fresh: Vec<Connection>) -> Result<(), ConnError> {
        let Some((chance, rng)) = &mut self.draw else {
            return Ok(());
        };
        let (how, threshold) = (chance.how, chance.of.threshold());
        if fresh.is_empty() || how == How::Refuse {
            return Ok(());
        }
        let seen = fresh.len() as u64;
        let drawn: Vec<Connection> = fresh
            .into_iter()
            .filter(|_| u64::from(rng.random::<u32>()) < threshold)
            .collect();
        self.heard().new.seen += seen;
        if how == How::Close {
            let now = Instant::now();
            self.unowned
                .extend(drawn.into_iter().map(|connection| (now, connection)));
            return Ok(());
        }
        self.end(how, &drawn)
    }

    fn end(&self, how: How, drawn: &[Connection]) -> Result<(), ConnError> {
        if drawn.is_empty() {
            return Ok(());
        }
        let turn: Vec<&Connection> = drawn.iter().collect();
        let now = Instant::now();
        let done = {
            let mut means = self.means.lock().unwrap_or_else(PoisonError::into_inner);
            means.end(how, &turn, Origin::New)?
        };
        let mut heard = self.heard();
        for (connection, done) in drawn.iter().zip(done) {
            if done == Done::Now {
                heard.new.hit += 1;
                if heard.cuts.len() < NAMED_MAX {
                    heard
                        .cuts
                        .push((now, Cut::of(connection, 0, how, Origin::New)));
                }
            }
        }
        Ok(())
    }

    /// Closes those that somebody holds by now.
    fn close_unowned(&mut self) -> Result<(), ConnError> {
        let (at, took) = self.looked;
        if self.unowned.is_empty() || at.elapsed() < took * LOOK_SHARE {
            return Ok(());
        }
        let began = Instant::now();
        let mut all = self.pool.look()?;
        self.pool.own(&mut all)?;
        self.looked = (Instant::now(), began.elapsed());
        let held: HashMap<u64, Connection> = all
            .into_iter()
            .filter(|one| {
                one.owner
                    .as_ref()
                    .is_some_and(|owner| owner.descriptor.is_some())
            })
            .map(|one| (one.socket.id.cookie, one))
            .collect();
        let mut ready = Vec::new();
        self.unowned.retain(
            |(since, connection)| match held.get(&connection.socket.id.cookie) {
                Some(held) => {
                    ready.push(held.clone());
                    false
                }
                None => since.elapsed() < OWNED_WITHIN,
            },
        );
        self.end(How::Close, &ready)
    }
}
