//! The actual ends of an edge are those that its connections reach once addresses are translated.

use std::{collections::VecDeque, net::SocketAddr};

use crate::edge::Edge;

/// No more ends are kept of an edge.
pub const ENDS_MAX: usize = 8;

/// Whom the connections of an edge reach, as far as they were asked for. It only grows: an end that was seen once belongs to
/// the figures of the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// The most recent one first.
    ends: VecDeque<SocketAddr>,
    has_others: bool,
}

impl Actual {
    /// Takes in that a connection has this end.
    pub fn see(&mut self, end: SocketAddr) {
        let known = self.ends.iter().position(|known| *known == end);
        if let Some(known) = known {
            self.ends.remove(known);
        }
        self.ends.push_front(end);
        self.has_others |= self.ends.len() > ENDS_MAX;
        self.ends.truncate(ENDS_MAX);
    }

    /// The ends that were seen last, the most recent one first; none where no connection has another end than the one that
    /// was dialled. The dialled one may be among others.
    pub fn ends(&self, edge: &Edge) -> Vec<SocketAddr> {
        let dialled = SocketAddr::new(edge.peer, edge.port);
        if self.ends.iter().all(|end| *end == dialled) {
            return Vec::new();
        }
        self.ends.iter().copied().collect()
    }

    /// Whether there were more than are kept.
    pub fn has_others(&self) -> bool {
        self.has_others
    }
}
