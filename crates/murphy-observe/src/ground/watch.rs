//! Who watches the grounds of a target: reads its namespaces' counters, takes what was dropped there, and looks at clocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use murphy_fault::net::Place;
use murphy_sys::{
    clock::boottime_ns,
    counters::Counters,
    drops::{Drops, Meaning},
    namespace::NetNamespace,
    program_runs::ProgramRuns,
};

use super::{Clocks, Counted, Ground, Lump, Moment, reasons_text};
use crate::{
    detect::{GroundSight, detect_ground},
    finding::{Claim, Kind},
};

/// Counters are read for at most one part of the time in so many.
const READ_SHARE: u32 = 20;
/// What was dropped so long ago belongs to what is wrong now, in nanoseconds.
const RECENT_NS: u64 = 10_000_000_000;
/// For so long what is wrong with an edge may be the reason of what is seen on its ground, in nanoseconds.
const TROUBLE_NS: u64 = 15_000_000_000;
/// Fewer dropped packets are no evidence.
const EVIDENT: u64 = 3;

/// What is wrong with an edge that dropped packets can be the reason of.
const BY_DROPS: [Kind; 5] = [
    Kind::Partition,
    Kind::Loss,
    Kind::HalfOpen,
    Kind::Timeouts,
    Kind::FailingDns,
];

/// One namespace.
#[derive(Debug)]
struct Plot {
    namespace: NetNamespace,
    ground: Ground,
    counters: Option<Counters>,
    /// What was found on its edges, and when for the last time.
    troubles: BTreeMap<Kind, u64>,
    /// Dropped packets that no moment has yet.
    dropped: Vec<Lump>,
}

/// The grounds of a target, by the numbers of their namespaces.
#[derive(Debug, Default)]
pub struct GroundWatch {
    plots: BTreeMap<u64, Plot>,
    drops: Option<Drops>,
    clocks: Clocks,
    /// When counters were read last, and how long that took.
    read: Option<(Instant, Duration)>,
}

impl GroundWatch {
    /// How many dropped packets could not be counted.
    pub fn lost(&self) -> u64 {
        self.drops.as_ref().map_or(0, Drops::lost)
    }

    /// How often the program has run that counts them, and for how long.
    pub fn runs(&self) -> Vec<ProgramRuns> {
        self.drops.as_ref().map_or_else(Vec::new, Drops::runs)
    }

    /// Begins; where drops cannot be counted, it says why.
    pub fn begin() -> (Self, Option<String>) {
        let (drops, why_not) = match Drops::watch() {
            Ok(drops) => (Some(drops), None),
            Err(error) => (
                None,
                Some(format!("{error}; why packets are lost here is not told")),
            ),
        };
        let watch = Self {
            drops,
            ..Self::default()
        };
        (watch, why_not)
    }

    /// Says where the target is now; gives back what that does not allow.
    pub fn sit<'a>(&mut self, places: impl Iterator<Item = &'a Place>) -> Vec<String> {
        let mut refused = Vec::new();
        let now: BTreeMap<u64, &Place> = places.map(|place| (place.inode, place)).collect();
        let gone: Vec<u64> = self.plots.keys().copied().collect();
        for inode in gone.iter().filter(|inode| !now.contains_key(inode)) {
            self.plots.remove(inode);
            if let Some(drops) = &mut self.drops {
                // Where it fails the numbers are of nobody.
                let _ = drops.forget_namespace(*inode);
            }
        }
        for (inode, place) in now {
            if self.plots.contains_key(&inode) {
                continue;
            }
            if let Some(drops) = &mut self.drops
                && let Err(error) = drops.watch_namespace(inode)
            {
                refused.push(error.to_string());
            }
            self.plots.insert(
                inode,
                Plot {
                    namespace: place.namespace.clone(),
                    ground: Ground::default(),
                    counters: None,
                    troubles: BTreeMap::new(),
                    dropped: Vec::new(),
                },
            );
        }
        refused
    }

    /// Takes in what has happened since the last time, and gives back what fails.
    pub fn look(&mut self) -> Vec<String> {
        let mut refused = Vec::new();
        let inodes: Vec<u64> = self.plots.keys().copied().collect();
        self.clocks.look(&inodes, boottime_ns());
        match self.drops.as_mut().map(Drops::take) {
            Some(Ok(all)) => {
                for dropped in &all {
                    if let Some(plot) = self.plots.get_mut(&dropped.namespace) {
                        plot.dropped.push(dropped.into());
                    }
                }
            }
            Some(Err(error)) => {
                refused.push(error.to_string());
                self.drops = None;
            }
            None => {}
        }
        let is_due = self
            .read
            .is_none_or(|(at, took)| at.elapsed() >= took * READ_SHARE);
        if !is_due {
            return refused;
        }
        let began = Instant::now();
        for plot in self.plots.values_mut() {
            match Counters::of(&plot.namespace) {
                Ok(counters) => {
                    if let Some(earlier) = &plot.counters {
                        plot.ground.push(Moment {
                            at_ns: boottime_ns(),
                            counted: Counted::between(earlier, &counters),
                            dropped: std::mem::take(&mut plot.dropped),
                        });
                    }
                    plot.counters = Some(counters);
                }
                Err(error) => {
                    plot.dropped.clear();
                    refused.push(error.to_string());
                }
            }
        }
        self.read = Some((Instant::now(), began.elapsed()));
        refused
    }

    /// Notes what is wrong on an edge of a namespace, and adds what was dropped between these two to the evidence.
    pub fn explain(&mut self, inode: u64, peer: IpAddr, claims: &mut [Claim], now_ns: u64) {
        let Some(plot) = self.plots.get_mut(&inode) else {
            return;
        };
        for claim in claims {
            plot.troubles.insert(claim.kind, now_ns);
            if !BY_DROPS.contains(&claim.kind) {
                continue;
            }
            let since_ns = now_ns.saturating_sub(RECENT_NS);
            for (is_received, way) in [(false, "to"), (true, "from")] {
                let is_theirs = |lump: &Lump| {
                    lump.meaning == Meaning::Fault
                        && lump.peer == Some(peer)
                        && lump.is_received == is_received
                };
                let reasons = plot.ground.reasons_since(since_ns, is_theirs);
                let packets: u64 = reasons.iter().map(|(_, packets)| packets).sum();
                if packets >= EVIDENT {
                    claim.evidence.push(format!(
                        "packets {way} the peer were dropped here within {} s: {}",
                        RECENT_NS / 1_000_000_000,
                        reasons_text(&reasons)
                    ));
                }
            }
        }
    }

    /// What is wrong with a whole namespace, with whose peers its target talks.
    pub fn detect(&mut self, inode: u64, peers: &BTreeSet<IpAddr>, now_ns: u64) -> Vec<Claim> {
        let Some(plot) = self.plots.get_mut(&inode) else {
            return Vec::new();
        };
        plot.troubles
            .retain(|_, at_ns| now_ns.saturating_sub(*at_ns) <= TROUBLE_NS);
        let troubles: Vec<Kind> = plot.troubles.keys().copied().collect();
        detect_ground(&GroundSight {
            ground: &plot.ground,
            troubles: &troubles,
            peers,
            clocks: &self.clocks.wrong_in(inode),
            now_ns,
        })
    }
}
