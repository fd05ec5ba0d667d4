//! An alarm is what somebody has said to be wrong: a finding of Murphy's, or an alert of Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use super::{
    injected::{Injected, Seat},
    judge::Watch,
};
use crate::finding::Finding;

/// What was said to be wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alarm {
    /// By whom.
    #[serde(flatten)]
    pub what: What,
    /// When it was said first, in nanoseconds since boot.
    pub begin_ns: u64,
    /// When it was said last; it still is, where there is none.
    pub end_ns: Option<u64>,
}

/// By whom something was said to be wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// By Murphy.
    Finding(Box<Finding>),
    /// By a rule of Prometheus.
    Alert {
        /// The rule.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
}

impl Alarm {
    /// That of a finding.
    pub fn of(finding: Finding) -> Self {
        Self {
            begin_ns: finding.found_ns,
            end_ns: finding.is_over.then_some(finding.last_ns),
            what: What::Finding(Box::new(finding)),
        }
    }

    /// What it says and of whom, for people.
    pub fn text(&self) -> String {
        match &self.what {
            What::Finding(finding) => format!("{}  {}", finding.claim.kind.name(), finding.edge),
            What::Alert { name, labels } => {
                let said = labels.iter().filter(|(name, _)| is_of_culprit(name));
                let said: Vec<String> = said
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                if said.is_empty() {
                    name.clone()
                } else {
                    format!("{name}  {}", said.join(" "))
                }
            }
        }
    }
}

/// Labels by which alerts name a target.
const OWN: [&str; 3] = ["container_id", "container", "container_name"];
/// Labels by which alerts name the other end.
const OTHER: [&str; 4] = [
    "destination_ip",
    "actual_destination_ip",
    "destination",
    "actual_destination",
];
/// The label of whoever was scraped, which need not be the one that is hit.
const SCRAPED: &str = "instance";

fn is_of_culprit(label: &str) -> bool {
    OWN.contains(&label) || OTHER.contains(&label) || label == SCRAPED
}

/// Whether an alert's labels fit a fault. A label that names nobody who is known says nothing.
pub fn labels_fit(labels: &BTreeMap<String, String>, fault: &Injected, watch: &Watch) -> bool {
    let seats = &watch.seats[..];
    let label = |names: &[&str]| names.iter().find_map(|name| labels.get(*name));
    let own = label(&OWN).map(|name| {
        let of = |seat: &&Seat| last_part(&seat.name) == last_part(name);
        (fault.targets.iter().find(of), seats.iter().find(of))
    });
    let other = label(&OTHER).and_then(|text| address_of(text));
    let is_target = |address: IpAddr| {
        let mut targets = fault.targets.iter();
        targets.any(|target| target.addresses.contains(&address))
    };
    match (own, other) {
        // The target itself complains, of whomever it is cut off from.
        (Some((Some(_), _)), Some(peer)) => fault.only.means_peer(peer),
        (Some((Some(_), _)), None) => true,
        // The other end complains of the target.
        (_, Some(peer)) if is_target(peer) => true,
        // Somebody who is known complains of somebody else.
        (Some((None, Some(_))), _) => false,
        // Whose name says nothing may still be the target, by another name, if the peer is one of its own.
        (_, Some(peer)) => {
            let mut edges = watch.edges.iter().filter(|edge| edge.peer == peer);
            let is_its = edges.any(|edge| fault.touches(edge, seats).is_some());
            fault.only.means_peer(peer) && (is_its || watch.edges.is_empty())
        }
        (_, None) => scraped_fits(labels.get(SCRAPED), &is_target, seats),
    }
}

/// Whether whoever was scraped fits. Only where it is one of the places that are known is it a name of a culprit.
fn scraped_fits(
    instance: Option<&String>,
    is_target: &impl Fn(IpAddr) -> bool,
    seats: &[Seat],
) -> bool {
    let Some(address) = instance.and_then(|text| address_of(text)) else {
        return true;
    };
    let known: BTreeSet<_> = seats.iter().flat_map(|seat| &seat.addresses).collect();
    is_target(address) || !known.contains(&address)
}

/// `web` of `container:web`, `/docker/web` and `web`.
fn last_part(name: &str) -> &str {
    name.rsplit(['/', ':']).next().unwrap_or(name)
}

/// The address of `10.0.0.2`, `10.0.0.2:5432` or `[fd00::2]:80`.
fn address_of(text: &str) -> Option<IpAddr> {
    let with_port = |text: &str| text.parse().map(|socket: SocketAddr| socket.ip());
    text.parse().or_else(|_| with_port(text)).ok()
}
