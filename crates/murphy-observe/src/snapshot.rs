//! A snapshot is how everything is at one time: each edge, each peer that is pinged, where the target listens.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use crate::{
    calls::CallsNow, edge::Edge, finding::Finding, lately::Lately, listening::Listening,
    observer::Mode, overhead::Overhead, peer::PeerNow, tally::Tally, unseen::Unseen,
};

/// No more letters of a name are shown.
const NAME_MAX: usize = 40;

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
    /// Whom its connections really reach, the most recent first, where addresses are translated on the way (NAT). None where
    /// they are not, or nobody knows.
    pub actual: Vec<SocketAddr>,
    /// Whether there were more of these than are kept.
    pub has_other_actual: bool,
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
            actual: Vec::new(),
            has_other_actual: false,
            unseen: Unseen::default(),
            findings: Vec::new(),
        }
    }

    /// What it is called, for people: with the name that the peer was looked up by, and whom it really leads to.
    pub fn title(&self) -> String {
        let name = self.name.as_ref().map_or_else(String::new, |name| {
            let is_long = name.chars().count() > NAME_MAX;
            let short: String = name.chars().take(NAME_MAX).collect();
            let more = if is_long { "…" } else { "" };
            format!(" ({short}{more})")
        });
        let more = self.actual.len().saturating_sub(1);
        let end = match (self.actual.first(), more) {
            (None, _) => String::new(),
            (Some(end), 0) => format!(" → {end}"),
            (Some(end), 1) => format!(" → {end} and 1 other"),
            (Some(end), _) if self.has_other_actual => format!(" → {end} and others"),
            (Some(end), more) => format!(" → {end} and {more} others"),
        };
        format!("{}{name}{end}", self.edge)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use murphy_fault::conn::Side;

    use super::*;

    #[test]
    fn a_title_says_the_name_and_whom_an_edge_really_leads_to() {
        let edge = Edge {
            container: Arc::from("web"),
            side: Side::Opened,
            peer: [10, 96, 0, 1].into(),
            port: 80,
        };
        let title = |name: Option<&str>, ends: u16, has_others| {
            let end = |port| SocketAddr::from(([10, 1, 2, 3], port));
            let now = EdgeNow {
                name: name.map(str::to_owned),
                actual: (0..ends).map(|more| end(8080 + more)).collect(),
                has_other_actual: has_others,
                ..EdgeNow::new(edge.clone())
            };
            now.title()
        };
        for (name, ends, has_others, more) in [
            (None, 0, false, ""),
            (Some("api"), 0, false, " (api)"),
            (None, 1, false, " → 10.1.2.3:8080"),
            (Some("api"), 2, false, " (api) → 10.1.2.3:8080 and 1 other"),
            (None, 8, false, " → 10.1.2.3:8080 and 7 others"),
            (None, 8, true, " → 10.1.2.3:8080 and others"),
        ] {
            let expected = format!("web → 10.96.0.1:80{more}");
            assert_eq!(title(name, ends, has_others), expected);
        }
        let long = title(Some(&"a".repeat(253)), 0, false);
        let expected = format!("web → 10.96.0.1:80 ({}…)", "a".repeat(NAME_MAX));
        assert_eq!(long, expected);
    }
}
