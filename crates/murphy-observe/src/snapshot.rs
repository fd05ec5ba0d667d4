//! A snapshot is how everything is at one time: each edge, each peer that is pinged, where the target listens.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::Serialize;

use crate::{
    calls::CallsNow, edge::Edge, finding::Finding, lately::Lately, listening::Listening,
    observer::Mode, overhead::Overhead, peer::PeerNow, tally::Tally, unseen::Unseen,
};

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
    /// How many names were asked for in the last seconds, and how many in vain.
    pub lookups: u64,
    /// The same.
    pub lookups_failed: u64,
    /// The time that half of them took longer than, in microseconds.
    pub lookup_us: Option<u64>,
    /// What the peer is called, by what was asked for last.
    pub name: Option<String>,
    /// What would not show.
    pub unseen: Unseen,
    /// The last half minute, slice by slice.
    pub lately: Lately,
    /// What is wrong now.
    pub findings: Vec<Finding>,
}

impl EdgeNow {
    /// One on which nothing has happened yet.
    pub fn new(edge: Edge) -> Self {
        Self {
            edge,
            total: Tally::default(),
            recent: Tally::default(),
            recent_s: 0,
            active: 0,
            asking: 0,
            stalled: 0,
            rtt_us: None,
            ping_us: None,
            pings_lost: 0,
            pings: 0,
            lately: Lately::default(),
            lookups: 0,
            lookups_failed: 0,
            lookup_us: None,
            name: None,
            unseen: Unseen::default(),
            findings: Vec::new(),
        }
    }

    /// How it is, for people: what is wrong, or that nothing is, as far as that would show.
    pub fn state(&self) -> String {
        let wrong: Vec<&str> = self
            .findings
            .iter()
            .map(|one| one.claim.kind.name())
            .collect();
        if !wrong.is_empty() {
            return wrong.join(", ").to_uppercase();
        }
        match self.unseen.text() {
            None => "ok".into(),
            Some(text) if self.unseen.way => text,
            Some(text) => format!("ok ({text})"),
        }
    }

    /// Whether there is nothing to tell by: no ping, and nothing that has happened.
    pub fn is_silent(&self) -> bool {
        self.unseen.way
    }
}

/// All edges as they are now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// When, in nanoseconds since boot.
    pub at_ns: u64,
    /// How it is observed.
    pub mode: Mode,
    /// How many events of the kernel's were lost.
    pub lost: u64,
    /// What it costs to observe.
    pub overhead: Overhead,
    /// The addresses of those that are observed, by their names, as far as they are known.
    pub addresses: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Each edge.
    pub edges: Vec<EdgeNow>,
    /// Each peer that is pinged.
    pub peers: Vec<PeerNow>,
    /// Where the target listens.
    pub listening: Vec<Listening>,
    /// The system calls of those that are observed, where they are counted.
    pub syscalls: Vec<CallsNow>,
}
