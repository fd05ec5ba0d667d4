//! How a pool comes back: who connects how often, which connections one end has and the other has not, and which are closed
//! at the other end only.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
};

use murphy_sys::connections::{Connections, State};
use serde::Serialize;

use super::{Connection, pool::Pool};
use crate::net::{Neighbour, Neighbours};

/// How a pool came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// How often somebody has connected, where that could be watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connects: Option<Connects>,
    /// Connections of which only one end is left.
    pub leaked: Leaked,
    /// Those that the other end has closed, and their owner has not, when last looked at.
    pub close_wait: Ends,
}

/// How often somebody has connected, since the first draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connects {
    /// The target has sent a SYN so often, not counting those that were sent again.
    pub opened: u64,
    /// The target has come to a connection so often that it was asked for.
    pub accepted: u64,
    /// So often somebody who asked for one was told that nobody listens; where there is no socket for it the kernel says so
    /// since Linux 6.10.
    pub refused: u64,
    /// The most of all that within one second: how hard the retry storm was.
    pub per_second_max: u64,
    /// How many events of the kernel were lost, and are not counted.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Something of both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// At the target's end.
    pub here: usize,
    /// At the other end, where that is on this machine.
    pub there: usize,
}

/// Connections of which only one end is left, when last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leaked {
    /// The target's end is left, and the other is gone.
    pub here: usize,
    /// The other end is left, and the target's is gone.
    pub there: usize,
    /// The other end is on another machine, or hidden by an address of somebody between: nobody knows.
    pub unknown: usize,
}

impl Connects {
    /// How many have come.
    pub(super) fn came(&self) -> u64 {
        self.opened + self.accepted
    }
}

impl Recovery {
    /// What is worth saying, in words.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(connects) = self.connects {
            let all = connects.came();
            if all + connects.refused > 0 {
                let refused = match connects.refused {
                    0 => String::new(),
                    n => format!(", {n} refused"),
                };
                words.push(format!(
                    "{all} connected{refused}, at most {} a second",
                    connects.per_second_max
                ));
            }
        }
        let Leaked { here, there, .. } = self.leaked;
        if here + there > 0 {
            words.push(format!(
                "{here} left here without the other end, {there} there"
            ));
        }
        let Ends { here, there } = self.close_wait;
        if here + there > 0 {
            words.push(format!("{here} in close-wait here, {there} there"));
        }
        words
    }
}

/// Where the other ends of connections are, as far as they are on this machine.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    neighbours: Neighbours,
    /// Ends, by their namespaces, that had no other at the last comparison: one namespace is looked into after the other,
    /// and only what is alone twice is left over.
    alone: HashSet<(u64, SocketAddr, SocketAddr)>,
}

/// The states in which an end counts as there: the other one may still get what it is sent.
const ALIVE: [State; 3] = [State::Established, State::CloseWait, State::SynRecv];

impl Beyond {
    /// The namespaces in which other ends may be: all that are known.
    pub(super) fn inodes(&mut self, pool: &Pool) -> std::io::Result<BTreeSet<u64>> {
        self.neighbours.find(pool.places())?;
        Ok(self.neighbours.inodes())
    }

    /// Compares both ends of what the target has, `all`, and of what others still have with it.
    pub(super) fn compare(
        &mut self,
        pool: &Pool,
        all: &[Connection],
    ) -> Result<(Leaked, Ends), super::ConnError> {
        let found = self.neighbours.find(pool.places());
        found.map_err(super::ConnError::Processes)?;
        let mut listed = BTreeMap::new();
        for (inode, neighbour) in self.neighbours.iter() {
            // Who vanishes meanwhile has none.
            let Ok(mut connections) = Connections::within(&neighbour.namespace) else {
                continue;
            };
            if let Ok(sockets) = connections.list(&ALIVE, false) {
                listed.insert(inode, sockets);
            }
        }
        let ends_in = |inode: u64| -> HashSet<(SocketAddr, SocketAddr)> {
            let sockets = listed.get(&inode).into_iter().flatten();
            sockets.map(|socket| socket.id.ends()).collect()
        };
        let all_ends: BTreeMap<u64, HashSet<_>> = listed
            .keys()
            .map(|inode| (*inode, ends_in(*inode)))
            .collect();
        let (mut leaked, mut close_wait) = (Leaked::default(), Ends::default());
        let mut alone = HashSet::new();
        for connection in all {
            let (local, remote) = connection.socket.id.ends();
            let there = self.neighbours.with_address(connection.place, remote.ip());
            let has = |inode: &u64| {
                let ends = all_ends.get(inode);
                ends.is_some_and(|ends| ends.contains(&(remote, local)))
            };
            if there.is_empty() {
                leaked.unknown += 1;
            } else if !there.iter().any(has) {
                let end = (connection.place, local, remote);
                leaked.here += usize::from(self.alone.contains(&end));
                alone.insert(end);
            }
        }
        let places: BTreeMap<u64, &Neighbour> = pool
            .places()
            .filter_map(|place| Some((place.inode, self.neighbours.get(place.inode)?)))
            .collect();
        for (inode, sockets) in &listed {
            for socket in sockets {
                let (local, remote) = socket.id.ends();
                let mut mirrored = socket.id;
                (mirrored.local, mirrored.remote) = (remote, local);
                let is_meant_here = pool.means_in(*inode, &socket.id);
                if is_meant_here {
                    close_wait.here += usize::from(socket.state == State::CloseWait);
                }
                // Somebody's end of a connection with the target: the target's address is in one of its places.
                let target = places.iter().find(|(place, neighbour)| {
                    (neighbour.addresses.contains(&remote.ip()) || remote.ip().is_loopback())
                        && self.neighbours.with_address(*inode, remote.ip()) == [**place]
                });
                let Some((place, _)) = target else { continue };
                if is_meant_here || !pool.means_in(*place, &mirrored) {
                    continue;
                }
                close_wait.there += usize::from(socket.state == State::CloseWait);
                let is_gone = !all_ends
                    .get(place)
                    .is_some_and(|ends| ends.contains(&(remote, local)));
                if is_gone && socket.state == State::Established {
                    let end = (*inode, local, remote);
                    leaked.there += usize::from(self.alone.contains(&end));
                    alone.insert(end);
                }
            }
        }
        self.alone = alone;
        Ok((leaked, close_wait))
    }
}
