//! Translations say whom an edge that a target opens really leads to, where addresses are translated on the way (NAT): the
//! address of a service in a cluster, a published port of a container.
//!
//! Conntrack is asked when a connection is made, in the target's network namespace and then in the one that Murphy is in,
//! which is where container runtimes and clusters translate. What is translated elsewhere is not known. Not each connection
//! is asked for where there are many: [`Asking`] says which.

mod actual;
mod asking;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use murphy_fault::net::Place;
use murphy_sys::{
    conntrack::{Conntrack, ConntrackError, Ends},
    namespace::NetNamespace,
};

pub use actual::Actual;
use asking::Asking;

use crate::edge::Edge;

/// A connection that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The number of the network namespace that it is in.
    pub namespace: u64,
    /// Its ends, as its socket has them.
    pub ends: Ends,
}

/// Who could not say is asked again after so long.
const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Conntrack of one namespace.
#[derive(Debug)]
struct Seat {
    conntrack: Conntrack,
    /// When it could not say.
    refused_at: Option<Instant>,
}

impl Seat {
    fn within(namespace: &NetNamespace) -> Result<Self, ConntrackError> {
        Ok(Self {
            conntrack: Conntrack::within(namespace)?,
            refused_at: None,
        })
    }
}

/// Whom edges really lead to.
#[derive(Debug, Default)]
pub struct Translations {
    /// Who is asked, by the numbers of their namespaces.
    seats: BTreeMap<u64, Seat>,
    /// The number of the namespace through which others go: the one that Murphy is in.
    host: Option<u64>,
    asking: Asking,
    known: BTreeMap<Edge, Actual>,
}

impl Translations {
    /// Those of whatever goes through the network namespace that Murphy is in, as soon as there are places.
    pub fn begin() -> (Self, Option<String>) {
        match NetNamespace::of_process(std::process::id()) {
            Ok(host) => Self::through(&host),
            Err(error) => (Self::default(), Some(without(&error.into()))),
        }
    }

    /// The same of another namespace.
    fn through(host: &NetNamespace) -> (Self, Option<String>) {
        let mut all = Self::default();
        let opened = host.inode().ok().map(|inode| (inode, Seat::within(host)));
        match opened {
            Some((inode, Ok(seat))) => {
                all.seats.insert(inode, seat);
                all.host = Some(inode);
                (all, None)
            }
            Some((_, Err(error))) => (all, Some(without(&error))),
            None => (all, None),
        }
    }

    /// Asks in these places from now on, and no longer in others. Gives back why not where it cannot.
    pub fn sit<'a>(&mut self, places: impl Iterator<Item = &'a Place>) -> Vec<String> {
        let places: BTreeMap<u64, &NetNamespace> = places
            .map(|place| (place.inode, &place.namespace))
            .collect();
        self.sit_at(&places)
    }

    fn sit_at(&mut self, places: &BTreeMap<u64, &NetNamespace>) -> Vec<String> {
        let host = self.host;
        self.seats
            .retain(|inode, _| places.contains_key(inode) || Some(*inode) == host);
        let mut refused = Vec::new();
        for (inode, namespace) in places {
            if self.seats.contains_key(inode) {
                continue;
            }
            match Seat::within(namespace) {
                Ok(seat) => {
                    self.seats.insert(*inode, seat);
                }
                Err(error) => refused.push(without(&error)),
            }
        }
        refused
    }

    /// Takes in which connections were made, and asks for as many of them as may be. Gives back why it cannot any more,
    /// where that is so.
    pub fn take(
        &mut self,
        made: impl Iterator<Item = (Edge, Vec<Made>)>,
        now: Instant,
    ) -> Vec<String> {
        let mut refused = Vec::new();
        for (edge, made) in self.asking.choose(made, now) {
            if let Some(end) = self.end_of(&made, now, &mut refused) {
                self.known.entry(edge).or_default().see(end);
            }
        }
        refused.iter().map(without).collect()
    }

    /// The other end of a connection behind all translations that are known; none where nobody knows the connection. Who
    /// cannot say is not asked again for a while, and the other is asked all the same.
    fn end_of(
        &mut self,
        made: &Made,
        now: Instant,
        refused: &mut Vec<ConntrackError>,
    ) -> Option<SocketAddr> {
        let mut translated = |inode: u64, ends: Ends| {
            let seat = self.seats.get_mut(&inode)?;
            let is_late = |at: Instant| now.saturating_duration_since(at) >= AGAIN_AFTER;
            if !seat.refused_at.is_none_or(is_late) {
                return None;
            }
            let said = seat.conntrack.translated(ends);
            seat.refused_at = said.is_err().then_some(now);
            said.unwrap_or_else(|error| {
                refused.push(error);
                None
            })
        };
        let here = translated(made.namespace, made.ends);
        let ends = here.unwrap_or(made.ends);
        // What is meant for the loopback never leaves its namespace.
        let is_loopback = ends.from.ip().is_loopback() || ends.to.ip().is_loopback();
        let host = self
            .host
            .filter(|host| *host != made.namespace && !is_loopback);
        let there = host.and_then(|host| translated(host, ends));
        there.or(here).map(|ends| ends.to)
    }

    /// Forgets edges that are not there any more.
    pub fn keep(&mut self, is_there: impl Fn(&Edge) -> bool) {
        self.known.retain(|edge, _| is_there(edge));
        self.asking.keep(is_there);
    }

    /// Whom an edge really leads to.
    pub fn of(&self, edge: &Edge) -> Option<&Actual> {
        self.known.get(edge)
    }
}

fn without(error: &ConntrackError) -> String {
    format!(
        "{error}; whom a connection reaches where addresses are translated (NAT) is not seen without it"
    )
}
