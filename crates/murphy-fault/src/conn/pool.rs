//! A pool is the connections of a target: looked at again and again, each once, though both of its ends may be here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

use murphy_sys::{
    connections::{Connections, Socket, State},
    process::{ProcessId, namespace_inode, sockets},
    table::ProcessTable,
    traffic::Network,
};
use murphy_target::{Target, Tree};
use serde::Serialize;

use super::{
    ConnError,
    scope::{Scope, Side},
};
use crate::net::Place;

/// Who holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The pid.
    pub pid: u32,
    /// The name.
    pub name: String,
    /// Its descriptor of it.
    pub descriptor: i32,
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
}

impl Connection {
    /// For people: its ends, and who holds it.
    pub fn text(&self) -> String {
        let owner = match &self.owner {
            Some(owner) => format!("{} {}", owner.pid, owner.name),
            None => "nobody that was found".into(),
        };
        format!("{} ({}, held by {owner})", self.socket.id, self.side.name())
    }
}

/// A target whose connections are looked at.
#[derive(Debug)]
pub(super) struct Pool {
    places: Vec<Watched>,
    /// The processes to which they must belong, where it was not a whole namespace that was named.
    crew: Option<Crew>,
    scope: Scope,
    peers: BTreeSet<Network>,
}

#[derive(Debug)]
struct Watched {
    place: Place,
    connections: Connections,
}

#[derive(Debug)]
struct Crew {
    tree: Tree,
    members: BTreeMap<ProcessId, String>,
}

impl Pool {
    pub(super) fn of(
        places: &[Place],
        target: Option<&Target>,
        scope: &Scope,
    ) -> Result<Self, ConnError> {
        let watch = |place: &Place| {
            Ok(Watched {
                place: place.clone(),
                connections: Connections::within(&place.namespace)?,
            })
        };
        let crew = target.map(|target| Crew {
            tree: target.follow(),
            members: target
                .members
                .iter()
                .map(|member| (member.process, member.name.clone()))
                .collect(),
        });
        Ok(Self {
            places: places.iter().map(watch).collect::<Result<_, ConnError>>()?,
            crew,
            scope: scope.clone(),
            peers: crate::net::resolve(&scope.peers, places)?,
        })
    }

    /// Those that are there and meant, by their namespace and their ends; with their owners, if these are wanted.
    pub(super) fn look(&mut self, with_owners: bool) -> Result<Vec<Connection>, ConnError> {
        let table = ProcessTable::read().map_err(ConnError::Processes)?;
        if let Some(crew) = &mut self.crew {
            let newcomers = crew.tree.newcomers(&table);
            crew.members.retain(|process, _| table.holds(process));
            let named = newcomers
                .into_iter()
                .map(|member| (member.process, member.name));
            crew.members.extend(named);
        }
        let mut all = Vec::new();
        for Watched { place, connections } in &mut self.places {
            let states = [State::Established, State::Listen];
            let listed = connections.list(&states, self.scope.idle.is_some())?;
            let listeners = Listeners::among(&listed);
            let mut meant = Vec::new();
            for socket in listed {
                let side = listeners.side_of(&socket);
                if self.scope.means(&socket, side, &self.peers) {
                    meant.push(Connection {
                        place: place.inode,
                        socket,
                        side,
                        owner: None,
                    });
                }
            }
            // Whoever is only counted needs no owner, unless the owner says whether he is meant.
            if with_owners || self.crew.is_some() {
                own(&mut meant, place, self.crew.as_ref(), &table);
            }
            meant.retain(|connection| self.crew.is_none() || connection.owner.is_some());
            all.extend(each_once(meant));
        }
        all.sort_by_key(|connection| (connection.place, connection.socket.id));
        Ok(all)
    }

    /// What ends connections in one namespace.
    pub(super) fn connections(&mut self, place: u64) -> Option<&mut Connections> {
        let mut places = self.places.iter_mut();
        let watched = places.find(|watched| watched.place.inode == place)?;
        Some(&mut watched.connections)
    }
}

/// Says of connections who holds them: of a crew, or of all processes, those in the namespace first.
fn own(meant: &mut [Connection], place: &Place, crew: Option<&Crew>, table: &ProcessTable) {
    let members: Vec<(u32, &str)> = match crew {
        Some(crew) => {
            let members = crew.members.iter();
            members
                .map(|(process, name)| (process.pid, name.as_str()))
                .collect()
        }
        None => table
            .iter()
            .map(|stat| (stat.pid, stat.comm.as_str()))
            .collect(),
    };
    let is_here = |pid: u32| namespace_inode(pid, "net").is_ok_and(|inode| inode == place.inode);
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|(pid, _)| is_here(*pid));
    let unowned = meant.iter_mut().filter(|one| one.socket.inode != 0);
    let mut unowned: HashMap<u32, &mut Connection> =
        unowned.map(|one| (one.socket.inode, one)).collect();
    for (pid, name) in here.into_iter().chain(elsewhere) {
        if unowned.is_empty() {
            return;
        }
        // Whoever has just gone holds none.
        for (descriptor, inode) in sockets(pid).unwrap_or_default() {
            if let Some(connection) = unowned.remove(&inode) {
                let name = name.to_owned();
                connection.owner = Some(Owner {
                    pid,
                    name,
                    descriptor,
                });
            }
        }
    }
}

/// Where somebody waits for connections.
struct Listeners(BTreeSet<SocketAddr>);

impl Listeners {
    fn among(sockets: &[Socket]) -> Self {
        let listening = sockets
            .iter()
            .filter(|socket| socket.state == State::Listen);
        Self(listening.map(|socket| socket.id.ends().0).collect())
    }

    fn side_of(&self, socket: &Socket) -> Side {
        let (local, _) = socket.id.ends();
        let hears = |at: &SocketAddr| {
            at.port() == local.port() && (at.ip().is_unspecified() || at.ip() == local.ip())
        };
        if self.0.iter().any(hears) {
            Side::Accepted
        } else {
            Side::Opened
        }
    }
}

/// Of connections both of whose ends are meant, the end that was asked.
fn each_once(meant: Vec<Connection>) -> Vec<Connection> {
    let ends: BTreeSet<_> = meant.iter().map(|one| one.socket.id.ends()).collect();
    let is_other_end = |one: &Connection| {
        let (local, remote) = one.socket.id.ends();
        // A socket may be connected to itself.
        let is_pair = local != remote && ends.contains(&(remote, local));
        is_pair && one.side == Side::Opened
    };
    let (others, mut all): (Vec<_>, Vec<_>) = meant.into_iter().partition(is_other_end);
    // Where nobody listens any more, both ends look as if they had asked.
    let kept: BTreeSet<_> = all.iter().map(|one| one.socket.id.ends()).collect();
    all.extend(others.into_iter().filter(|one| {
        let (local, remote) = one.socket.id.ends();
        !kept.contains(&(remote, local)) && local < remote
    }));
    all
}
