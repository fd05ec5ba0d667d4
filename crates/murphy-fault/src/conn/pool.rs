//! A pool is the connections of a target: looked at again and again, each once, though both of its ends may be here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use murphy_sys::{
    connections::{Connections, Socket, SocketId, State},
    process::{ProcessId, Stat, namespace_inode, sockets},
    table::ProcessTable,
    traffic::Network,
};
use murphy_target::Tree;
use serde::Serialize;

use super::{
    ConnError,
    scope::{Scope, Side},
};
use crate::net::{Hit, Place};

/// Who holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The pid.
    pub pid: u32,
    /// The name.
    pub name: String,
    /// Its descriptor of it; none while it waits to be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<i32>,
}

/// A connection of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The number of its network namespace.
    pub place: u64,
    /// The end of it that is the target's.
    pub socket: Socket,
    /// Who asked for it.
    pub side: Side,
    /// Who holds it; nobody while it waits to be accepted, or when nobody was found.
    pub owner: Option<Owner>,
    /// How old it is, as far as is known.
    pub age: Duration,
}

impl Connection {
    /// Whether whoever was asked has not answered: the last that has passed went from the end that has asked for the
    /// connection to the other. Unknown where it was not looked at when something passed. The kernel's times are whole
    /// ticks, so that what is asked within one of the answer before counts as answered.
    pub(super) fn is_unanswered(&self) -> Option<bool> {
        let activity = self.socket.activity.as_ref()?;
        Some(match self.side {
            Side::Accepted => activity.received_ago < activity.sent_ago,
            Side::Opened => activity.sent_ago < activity.received_ago,
        })
    }

    /// For people: its ends, and who holds it.
    pub fn text(&self) -> String {
        let owner = match &self.owner {
            Some(owner) => format!("{} {}", owner.pid, owner.name),
            None => "nobody that was found".into(),
        };
        format!("{} ({}, held by {owner})", self.socket.id, self.side.name())
    }
}

/// Of more connections than this it takes long to find out who holds each, and when something has passed.
pub(super) const MANY: usize = 2000;

/// A target is looked at for who has come and who has gone not more often than this.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// A target whose connections are looked at.
#[derive(Debug)]
pub struct Pool {
    places: Vec<Watched>,
    /// The processes to which they must belong, where it was not a whole namespace that was named.
    crew: Option<Crew>,
    scope: Scope,
    peers: BTreeSet<Network>,
    allow_host: bool,
    /// Those that may be meant, by their cookies.
    known: HashMap<u64, Known>,
    /// How many there ever were.
    ever: usize,
    looks: u64,
    followed_at: Instant,
    /// By their namespaces: where somebody listened at the last look.
    listeners: BTreeMap<u64, Listeners>,
    /// Who held connections when they were sought last, where all processes are asked.
    holders: BTreeSet<u32>,
    with_activity: bool,
    /// How many there were at the last look.
    counted: usize,
    is_whole: bool,
    /// When it was found that nobody is there any more.
    deserted_at: Option<Instant>,
}

/// What is known of a socket.
#[derive(Clone, Copy, Debug)]
struct Known {
    since: Instant,
    /// Whether it has counted among those that were ever there.
    is_counted: bool,
    /// At which look it was there last.
    look: u64,
}

#[derive(Debug)]
struct Watched {
    place: Place,
    connections: Connections,
}

#[derive(Clone, Debug)]
struct Crew {
    tree: Tree,
    members: BTreeMap<ProcessId, String>,
}

impl Watched {
    fn new(place: Place) -> Result<Self, ConnError> {
        let connections = Connections::within(&place.namespace)?;
        Ok(Self { place, connections })
    }
}

impl Pool {
    /// Those of a scope that a target has.
    pub fn of(hit: &Hit<'_>, scope: &Scope) -> Result<Self, ConnError> {
        let crew = hit.target.map(|target| Crew {
            tree: target.follow(),
            members: target
                .members
                .iter()
                .map(|member| (member.process, member.name.clone()))
                .collect(),
        });
        let places = hit.places.iter().cloned().map(Watched::new);
        let mut pool = Self {
            places: places.collect::<Result<_, _>>()?,
            crew,
            scope: scope.clone(),
            peers: crate::net::resolve(&scope.peers, &hit.places)?,
            allow_host: hit.allow_host,
            known: HashMap::new(),
            ever: 0,
            looks: 0,
            followed_at: Instant::now(),
            listeners: BTreeMap::new(),
            holders: BTreeSet::new(),
            with_activity: scope.needs_activity(),
            counted: 0,
            is_whole: scope.holders.is_empty(),
            deserted_at: None,
        };
        if pool.crew.is_some() {
            let table = ProcessTable::read().map_err(ConnError::Processes)?;
            pool.is_whole = pool.is_alone(&table);
        }
        Ok(pool)
    }

    /// The ports on which processes of the target listen in a namespace that others share; `None` where it is all theirs.
    pub fn listening(&mut self, inode: u64) -> Result<Option<BTreeSet<u16>>, ConnError> {
        let Some(crew) = self.crew.as_ref().filter(|_| !self.is_whole) else {
            return Ok(None);
        };
        let mut places = self.places.iter_mut();
        let Some(watched) = places.find(|watched| watched.place.inode == inode) else {
            return Ok(Some(BTreeSet::new()));
        };
        let listening = watched.connections.list(&[State::Listen], false)?;
        // Who has just gone holds none.
        let held = crew.members.keys();
        let held = held.flat_map(|process| sockets(process.pid).unwrap_or_default());
        let held: HashSet<u32> = held.map(|(_, inode)| inode).collect();
        let theirs = listening.iter();
        let theirs = theirs.filter(|socket| held.contains(&socket.inode));
        Ok(Some(theirs.map(|socket| socket.id.local.port()).collect()))
    }

    /// Looks for how old connections are, too.
    pub fn with_ages(&mut self) {
        self.with_activity = true;
    }

    /// Whether nobody but the target is in its namespaces.
    fn is_alone(&self, table: &ProcessTable) -> bool {
        let Some(crew) = &self.crew else {
            return self.scope.holders.is_empty();
        };
        let is_one = |stat: &Stat| crew.members.contains_key(&stat.id());
        let strangers = table.iter().filter(|stat| !is_one(stat));
        let inodes: HashSet<u64> = strangers
            .filter_map(|stat| namespace_inode(stat.pid, "net").ok())
            .collect();
        self.scope.holders.is_empty() && self.places().all(|place| !inodes.contains(&place.inode))
    }

    /// The namespaces in which its connections are.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().map(|watched| &watched.place)
    }

    /// What connections are meant.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The networks of the peers that are meant.
    pub(super) fn peers(&self) -> &BTreeSet<Network> {
        &self.peers
    }

    /// The processes to which connections must belong, where not all of a namespace are meant.
    pub fn members(&self) -> Option<Vec<u32>> {
        let crew = self.crew.as_ref()?;
        Some(crew.members.keys().map(|process| process.pid).collect())
    }

    /// Whether a socket in a namespace is one that may be meant, by what it is between.
    pub(super) fn means_in(&self, inode: u64, id: &SocketId) -> bool {
        self.means_side(inode, id, self.scope.side.unwrap_or(Side::Accepted))
    }

    /// The same of one of a side.
    pub(super) fn means_side(&self, inode: u64, id: &SocketId, side: Side) -> bool {
        self.places().any(|place| place.inode == inode) && self.scope.means(id, side, &self.peers)
    }

    /// Whether nobody is there any more, and nobody may come in their place.
    pub fn is_gone(&self) -> bool {
        match &self.crew {
            Some(crew) => crew.members.is_empty() && !crew.tree.may_come_back(),
            None => self.is_deserted(),
        }
    }

    /// Whether nothing but Murphy keeps the namespaces alive, by the last time that it was looked.
    pub fn is_deserted(&self) -> bool {
        self.deserted_at.is_some()
    }

    /// Whether all connections of its namespaces are the target's: nobody else is in them.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How many connections there ever were.
    pub(super) fn ever(&self) -> usize {
        self.ever
    }

    /// Looks, now and then, for who belongs to the target now: containers that were started again, children, a
    /// namespace of the same name, a peer that has moved. Says whether it has looked.
    pub fn follow(&mut self) -> Result<bool, ConnError> {
        if self.followed_at.elapsed() < FOLLOW_EVERY {
            return Ok(false);
        }
        self.followed_at = Instant::now();
        let table = ProcessTable::read().map_err(ConnError::Processes)?;
        let mut fresh: Vec<Place> = self.places().filter_map(Place::renewed).collect();
        fresh.retain(|place| self.allow_host || !place.is_hosts());
        if let Some(crew) = &mut self.crew {
            let newcomers = crew.tree.newcomers(&table);
            crew.members.retain(|process, _| table.holds(process));
            let named = newcomers.iter();
            let named = named.map(|member| (member.process, member.name.clone()));
            crew.members.extend(named);
            fresh.extend(Place::of_members(&newcomers));
        }
        for place in fresh {
            if self.places().all(|known| known.inode != place.inode) {
                self.places.push(Watched::new(place)?);
            }
        }
        // The last one stays: what its target is called by may lead somewhere again.
        while self.places.len() > 1 {
            let mut places = self.places.iter();
            let Some(deserted) = places.position(|watched| watched.place.is_deserted(&table))
            else {
                break;
            };
            self.places.remove(deserted);
        }
        self.is_whole = self.is_alone(&table);
        let is_deserted = self.places().all(|place| place.is_deserted(&table));
        self.deserted_at = is_deserted.then_some(self.followed_at);
        let places: Vec<Place> = self.places().cloned().collect();
        self.peers = crate::net::resolve(&self.scope.peers, &places)?;
        Ok(true)
    }

    /// Those that are there and meant, each once, by their namespace and their ends. Their owners are known where these say
    /// whether they are meant; otherwise see [`Self::own`].
    pub fn look(&mut self) -> Result<Vec<Connection>, ConnError> {
        let mut all = each_once(self.look_at_ends()?);
        all.sort_by_key(|connection| (connection.place, connection.socket.id));
        self.counted = all.len();
        for connection in &all {
            if let Some(known) = self.known.get_mut(&connection.socket.id.cookie) {
                self.ever += usize::from(!std::mem::replace(&mut known.is_counted, true));
            }
        }
        Ok(all)
    }

    /// The same, both ends of those that the target has with itself, in no order.
    pub fn look_at_ends(&mut self) -> Result<Vec<Connection>, ConnError> {
        let mut states = self.scope.states().to_vec();
        states.push(State::Listen);
        let now = Instant::now();
        let ports = self.scope.local_ports.iter();
        let ports: Vec<_> = ports.map(|ports| ports.bounds()).collect();
        let mut all = Vec::new();
        self.listeners.clear();
        self.looks += 1;
        // Of many it would take long to say when something has passed, which nobody has asked for.
        let with_activity = self.with_activity || self.counted <= MANY;
        for Watched { place, connections } in &mut self.places {
            let listed = connections.list_on(&states, with_activity, &ports)?;
            let listeners = Listeners::among(&listed);
            let mut meant = Vec::new();
            for socket in listed {
                if socket.state == State::Listen {
                    continue;
                }
                let side = listeners.side_of(&socket);
                if !self.scope.means(&socket.id, side, &self.peers) {
                    continue;
                }
                let age = known_age(&mut self.known, &socket, now, self.looks);
                if self.scope.means_now(&socket, age) {
                    meant.push(Connection {
                        place: place.inode,
                        socket,
                        side,
                        owner: None,
                        age,
                    });
                }
            }
            self.listeners.insert(place.inode, listeners);
            all.extend(meant);
        }
        if self.crew.is_some() || !self.scope.holders.is_empty() {
            self.own(&mut all)?;
            let scope = &self.scope;
            all.retain(|connection| {
                let owner = connection.owner.as_ref();
                owner.is_some_and(|owner| scope.means_holder(owner.pid, &owner.name))
            });
        }
        let looks = self.looks;
        self.known.retain(|_, known| known.look == looks);
        Ok(all)
    }

    /// Gives each connection that is there, both ends of those that the target has with itself, in no order, one after the
    /// other, so that not all of them are in memory at once; some of them perhaps twice. All connections of its namespaces
    /// that are the target's whole are its own, so that nobody is asked who holds them.
    pub fn look_at_each(&mut self, mut take: impl FnMut(Connection)) -> Result<(), ConnError> {
        if !self.is_whole || !self.scope.local_ports.is_empty() {
            self.look_at_ends()?.into_iter().for_each(take);
            return Ok(());
        }
        let now = Instant::now();
        self.listeners.clear();
        self.looks += 1;
        let looks = self.looks;
        for Watched { place, connections } in &mut self.places {
            let listeners = Listeners::among(&connections.list(&[State::Listen], false)?);
            let (scope, peers, known) = (&self.scope, &self.peers, &mut self.known);
            connections.each(scope.states(), self.with_activity, |socket| {
                let side = listeners.side_of(&socket);
                if !scope.means(&socket.id, side, peers) {
                    return;
                }
                let age = known_age(known, &socket, now, looks);
                if scope.means_now(&socket, age) {
                    take(Connection {
                        place: place.inode,
                        socket,
                        side,
                        owner: None,
                        age,
                    });
                }
            })?;
            self.listeners.insert(place.inode, listeners);
        }
        self.known.retain(|_, known| known.look == looks);
        Ok(())
    }

    /// The ports on which anybody listened at the last look, by the namespaces.
    pub fn listening_ports(&self) -> BTreeMap<u64, BTreeSet<u16>> {
        let of = |listeners: &Listeners| listeners.0.keys().map(SocketAddr::port).collect();
        let all = self.listeners.iter();
        all.map(|(inode, listeners)| (*inode, of(listeners)))
            .collect()
    }

    /// Where anybody listened at the last look, each with the number of its namespace.
    pub fn listening_addresses(&self) -> impl Iterator<Item = (u64, SocketAddr)> {
        let all = self.listeners.iter();
        all.flat_map(|(inode, listeners)| listeners.0.keys().map(|address| (*inode, *address)))
    }

    /// Says of connections that were there at the last look who holds them, unless that is known.
    pub fn own(&mut self, all: &mut [Connection]) -> Result<(), ConnError> {
        for (inode, listeners) in &self.listeners {
            let here = all.iter_mut();
            let unowned = here.filter(|one| one.place == *inode && one.owner.is_none());
            let sought = Sought::among(unowned, listeners);
            match &self.crew {
                Some(crew) => crew.own(sought),
                None => own(sought, *inode, &mut self.holders)?,
            }
        }
        Ok(())
    }
}

/// How old a socket is at least that was first seen so long ago.
fn age_of(socket: &Socket, seen_ago: Duration) -> Duration {
    let least = socket
        .activity
        .as_ref()
        .map(|activity| activity.age_least());
    least.unwrap_or_default().max(seen_ago)
}

impl Crew {
    /// Says of connections who of the crew holds them.
    fn own(&self, mut sought: Sought<'_>) {
        for (process, name) in &self.members {
            if sought.is_over() {
                return;
            }
            sought.ask(process.pid, || name.clone());
        }
    }
}

/// Says of connections who holds them: whoever did before, those in the namespace, and all others.
fn own(mut sought: Sought<'_>, place: u64, holders: &mut BTreeSet<u32>) -> Result<(), ConnError> {
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    holders.retain(|pid| sought.is_over() || sought.ask(*pid, || name(*pid).trim_end().to_owned()));
    if sought.is_over() {
        return Ok(());
    }
    let table = ProcessTable::read().map_err(ConnError::Processes)?;
    let is_here = |pid: u32| namespace_inode(pid, "net").is_ok_and(|inode| inode == place);
    let (here, elsewhere): (Vec<_>, Vec<_>) = table.iter().partition(|stat| is_here(stat.pid));
    for stat in here.into_iter().chain(elsewhere) {
        if sought.is_over() {
            break;
        }
        if sought.ask(stat.pid, || stat.comm.clone()) {
            holders.insert(stat.pid);
        }
    }
    Ok(())
}

/// Connections whose holders are sought.
struct Sought<'a> {
    /// By the number of the file: who waits to be accepted is whose the listener is.
    unowned: HashMap<u32, Vec<&'a mut Connection>>,
}

impl<'a> Sought<'a> {
    fn among(meant: impl Iterator<Item = &'a mut Connection>, listeners: &Listeners) -> Self {
        let mut unowned: HashMap<u32, Vec<&mut Connection>> = HashMap::new();
        for connection in meant {
            let inode = match connection.socket.inode {
                0 => listeners.inode_for(&connection.socket),
                inode => Some(inode),
            };
            if let Some(inode) = inode {
                unowned.entry(inode).or_default().push(connection);
            }
        }
        Self { unowned }
    }

    fn is_over(&self) -> bool {
        self.unowned.is_empty()
    }

    /// Asks a process; says whether it holds any.
    fn ask(&mut self, pid: u32, name: impl FnOnce() -> String) -> bool {
        // Whoever has just gone holds none.
        let held = sockets(pid).unwrap_or_default();
        let mut held = held
            .into_iter()
            .filter_map(|(descriptor, inode)| Some((descriptor, self.unowned.remove(&inode)?)))
            .peekable();
        if held.peek().is_none() {
            return false;
        }
        let name = name();
        for (descriptor, connections) in held {
            for connection in connections {
                let descriptor = (connection.socket.inode != 0).then_some(descriptor);
                connection.owner = Some(Owner {
                    pid,
                    name: name.clone(),
                    descriptor,
                });
            }
        }
        true
    }
}

/// Takes down that a socket was there at a look, and says how old it is.
fn known_age(
    known: &mut HashMap<u64, Known>,
    socket: &Socket,
    now: Instant,
    look: u64,
) -> Duration {
    let known = known.entry(socket.id.cookie).or_insert(Known {
        since: now,
        is_counted: false,
        look: 0,
    });
    known.look = look;
    age_of(socket, now - known.since)
}

/// Where somebody waits for connections, and by which file.
#[derive(Debug, Default)]
pub(super) struct Listeners(BTreeMap<SocketAddr, u32>);

impl Listeners {
    fn among(sockets: &[Socket]) -> Self {
        let listening = sockets
            .iter()
            .filter(|socket| socket.state == State::Listen);
        Self(
            listening
                .map(|socket| (socket.id.ends().0, socket.inode))
                .collect(),
        )
    }

    fn side_of(&self, socket: &Socket) -> Side {
        if self.inode_for(socket).is_some() {
            Side::Accepted
        } else {
            Side::Opened
        }
    }

    /// The file of whoever listens where a socket's own end is.
    fn inode_for(&self, socket: &Socket) -> Option<u32> {
        let (local, _) = socket.id.ends();
        let any = |ip: IpAddr| self.0.get(&SocketAddr::new(ip, local.port())).copied();
        any(local.ip())
            .or_else(|| any(Ipv4Addr::UNSPECIFIED.into()).filter(|_| local.is_ipv4()))
            .or_else(|| any(Ipv6Addr::UNSPECIFIED.into()))
    }
}

/// Of connections both of whose ends are meant, the end that was asked.
fn each_once(meant: Vec<Connection>) -> Vec<Connection> {
    let key = |one: &Connection| (one.place, one.socket.id.ends());
    let mirrored = |one: &Connection| {
        let (local, remote) = one.socket.id.ends();
        // A socket may be connected to itself.
        (local != remote).then_some((one.place, (remote, local)))
    };
    let has = |ends: &HashSet<_>, one: &Connection| {
        mirrored(one).is_some_and(|mirrored| ends.contains(&mirrored))
    };
    let ends: HashSet<_> = meant.iter().map(key).collect();
    let is_other_end = |one: &Connection| one.side == Side::Opened && has(&ends, one);
    let (others, mut all): (Vec<_>, Vec<_>) = meant.into_iter().partition(is_other_end);
    // Where nobody listens any more, both ends look as if they had asked.
    let kept: HashSet<_> = all.iter().map(key).collect();
    all.extend(others.into_iter().filter(|one| {
        let (local, remote) = one.socket.id.ends();
        !has(&kept, one) && local < remote
    }));
    all
}
