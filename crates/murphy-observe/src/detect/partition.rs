//! Nothing comes through: pings are lost, one after the other, and nothing that is sent is acknowledged.

use super::Sight;
use crate::{
    finding::{Claim, Direction, Kind, Size},
    pings::{Outcome, Ping, Pings},
};

/// So many pings in a row are lost by chance about once in ten thousand times, where half of them are.
const PINGS_LOST: usize = 13;
/// So many are enough where connections say the same.
const PINGS_LOST_TOO: usize = 3;
/// A connection says so once it has asked, or sent, so often in vain.
const TRIES: u64 = 2;
/// What is looked at, in seconds.
const WINDOW_S: u64 = 4;

/// Claims a partition.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let recent = sight.history.sum_since(sight.ago(WINDOW_S));
    let Some(last) = sight.history.last() else {
        return Vec::new();
    };
    let in_vain = recent.syn_retransmits + recent.retransmits + recent.probes + recent.unsent;
    let is_tried = in_vain >= TRIES && (last.stalled > 0 || last.asking > 0);
    // What passes is acknowledged, or answers.
    let quiet = passing_ended(sight);
    let row: Vec<&Ping> = sight
        .pings
        .filter(|pings| pings.has_answered())
        .map(|pings| pings.latest().take_while(|ping| is_lost(ping)).collect())
        .unwrap_or_default();
    let is_pinged = sight.pings.is_some_and(Pings::has_answered);
    let is_found = if is_tried {
        // Where nobody answers pings, connections alone have to say it, and for longer.
        quiet.passed_ago_s >= 2 && (row.len() >= PINGS_LOST_TOO || !is_pinged)
    } else {
        row.len() >= PINGS_LOST && quiet.passed_ago_s >= 2
    };
    if !is_found {
        return Vec::new();
    }
    let first_lost = row.last().map(|ping| ping.at_ns);
    let since_ns = first_lost
        .unwrap_or(quiet.last_ns)
        .max(quiet.last_ns.min(sight.now_ns));
    let mut evidence = Vec::new();
    if !row.is_empty() {
        evidence.push(format!("{} pings in a row were not answered", row.len()));
    }
    if is_tried {
        evidence.push(format!(
            "{in_vain} segments were sent again in {WINDOW_S} s and none was acknowledged; nothing passes {} connections, {} wait for an answer",
            last.stalled, last.asking
        ));
    }
    let unsent = row
        .iter()
        .filter(|ping| ping.outcome == Outcome::Unsent)
        .count();
    if unsent > 0 {
        evidence.push(format!(
            "{unsent} pings were not sent: this machine forbids it, or knows no way"
        ));
    }
    vec![Claim {
        kind: Kind::Partition,
        direction: direction(sight, &row, &mut evidence),
        size: Size::Count(u64::from(last.active) + u64::from(last.asking)),
        since_ns,
        evidence,
    }]
}

fn is_lost(ping: &Ping) -> bool {
    matches!(ping.outcome, Outcome::Lost | Outcome::Unsent)
}

struct Quiet {
    /// When something passed last.
    last_ns: u64,
    passed_ago_s: u64,
}

/// Since when nothing passes.
fn passing_ended(sight: &Sight<'_>) -> Quiet {
    let mut slices = sight.history.until(sight.now_ns);
    let passes = slices.find(|slice| {
        let tally = &slice.tally;
        // What comes from the peer does so also where nothing comes there.
        tally.delivered + tally.connected + tally.accepted + tally.refused > 0
    });
    let last_ns = passes.map_or(0, |slice| slice.at_ns);
    Quiet {
        last_ns,
        passed_ago_s: sight.now_ns.saturating_sub(last_ns) / super::SECOND_NS,
    }
}

/// Which way nothing comes through, by whether pings arrive at the peer.
fn direction(sight: &Sight<'_>, row: &[&Ping], evidence: &mut Vec<String>) -> Direction {
    if row.iter().any(|ping| ping.outcome == Outcome::Unsent) {
        return Direction::To;
    }
    let is_heard = sight.pings.is_some_and(Pings::is_heard_there);
    if !is_heard || row.is_empty() {
        return Direction::Unknown;
    }
    let arrived = row.iter().filter(|ping| ping.arrived.is_some()).count();
    evidence.push(format!("{arrived} of them have arrived at the peer"));
    if 2 * arrived > row.len() {
        Direction::From
    } else {
        Direction::To
    }
}
