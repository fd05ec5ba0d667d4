//! Detectors are pure: each looks at what has happened on an edge, and at the pings of its peer, and claims what is wrong.

mod calls;
mod dns;
mod ground;
mod latency;
mod loss;
mod partition;
mod refusals;
mod resets;
mod stall;
mod storm;
mod twice;

pub use calls::{CallSight, CallTroubles, detect as detect_calls};
pub use ground::{GroundSight, detect as detect_ground};

use std::time::Duration;

use crate::{
    edge::Edge,
    finding::{Claim, Kind},
    lookups::Lookups,
    pings::Pings,
    slice::History,
};

const SECOND_NS: u64 = 1_000_000_000;

/// What a detector looks at.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The edge.
    pub edge: &'a Edge,
    /// What has happened there.
    pub history: &'a History,
    /// The pings of its peer, if it is pinged.
    pub pings: Option<&'a Pings>,
    /// The names that were looked up there, if any were.
    pub lookups: Option<&'a Lookups>,
    /// Now, in nanoseconds since boot.
    pub now_ns: u64,
    /// When nothing came through for the last time: what was lost until then was no loss among other packets.
    pub cut_until_ns: u64,
    /// A round trip that takes longer is too long, whatever it took before.
    pub latency_max: Duration,
}

impl Sight<'_> {
    /// The time so many seconds ago.
    fn ago(&self, seconds: u64) -> u64 {
        self.now_ns.saturating_sub(seconds * SECOND_NS)
    }
}

/// One detector.
type Detector = fn(&Sight<'_>) -> Vec<Claim>;

/// All but the one that is asked first.
const DETECTORS: [Detector; 8] = [
    stall::detect,
    loss::detect,
    latency::detect,
    resets::detect,
    refusals::detect,
    dns::detect,
    storm::detect,
    twice::detect,
];

/// What is wrong on an edge now. Where nothing comes through, nothing else is claimed that follows from that.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let partitions = partition::detect(sight);
    if !partitions.is_empty() {
        return partitions;
    }
    let mut claims: Vec<Claim> = DETECTORS.iter().flat_map(|detect| detect(sight)).collect();
    // Where all takes long, so does asking for names, and where packets are lost, questions and answers are among them.
    let has = |kind: Kind| claims.iter().any(|claim| claim.kind == kind);
    let (is_slow, is_lossy) = (has(Kind::Latency) || has(Kind::Loss), has(Kind::Loss));
    claims.retain(|claim| match claim.kind {
        Kind::SlowDns => !is_slow,
        Kind::FailingDns => !is_lossy,
        _ => true,
    });
    claims
}

#[cfg(test)]
mod calls_tests;
#[cfg(test)]
mod ground_tests;
#[cfg(test)]
mod tests;
