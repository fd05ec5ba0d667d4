//! Nothing comes through: pings are lost, one after the other, and nothing that is sent is acknowledged.

use super::{SECOND_NS, Sight};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    lookups::{Lookup, Lookups},
    pings::{Outcome, Ping, Pings},
    slice::Slice,
};

/// So many pings in a row are lost by chance about once in ten thousand times, where half of them are.
const PINGS_LOST: usize = 13;
/// So many are enough where connections say the same.
const PINGS_LOST_TOO: usize = 3;
/// A connection says so once it has asked, or sent, so often in vain.
const TRIES: u64 = 2;
/// So many pings from the other end tell whether they come.
const RETURNS: usize = 3;
/// Those are waited for until so many pings in a row were lost.
const PINGS_WAITING_MAX: usize = 40;
/// What is looked at, in seconds.
const WINDOW_S: u64 = 4;
/// Nothing has passed for so long, in nanoseconds.
const QUIET_NS: u64 = 2 * SECOND_NS;

/// Claims a partition.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let recent = sight.history.sum_since(sight.ago(WINDOW_S));
    // Where only names are asked for there are no connections.
    let last = sight.history.last().copied().unwrap_or_default();
    let in_vain = recent.in_vain();
    // Whoever soon gives up asks for nothing at just this moment, and sends nothing again.
    let is_asked = last.asking > 0 || recent.given_up > 0;
    let is_tried = in_vain + recent.given_up >= TRIES && (last.stalled > 0 || is_asked);
    let passed_ns = passed_last(sight);
    // What connections say is as old as the last look at them.
    let until_ns = match last.looked_ns {
        0 => sight.now_ns,
        looked_ns => looked_ns,
    };
    let is_quiet = until_ns.saturating_sub(passed_ns) >= QUIET_NS;
    let row: Vec<&Ping> = sight
        .pings
        .filter(|pings| pings.has_answered())
        .map(|pings| pings.latest().take_while(|ping| is_lost(ping)).collect())
        .unwrap_or_default();
    let is_pinged = sight.pings.is_some_and(Pings::has_answered);
    // Whoever has gone, and whom nobody wants anything of any more, answers no pings, either.
    let last_lookup = sight.lookups.and_then(|all| all.latest().next());
    let is_wanted = last.active > 0 || is_asked || last_lookup.is_some_and(Lookup::has_failed);
    let is_found = if is_tried {
        // Where nobody answers pings, connections alone have to say it.
        row.len() >= PINGS_LOST_TOO || !is_pinged
    } else {
        row.len() >= PINGS_LOST && is_wanted
    };
    if !(is_found && is_quiet) {
        return Vec::new();
    }
    let is_trying = |slice: &Slice| {
        let tally = &slice.tally;
        tally.in_vain() + tally.given_up > 0 || slice.stalled > 0 || slice.asking > 0
    };
    let is_waited_for = sight.pings.and_then(|pings| {
        let (_, known) = pings.returns(sight.now_ns)?;
        Some(known < RETURNS && row.len() < PINGS_WAITING_MAX)
    });
    if is_waited_for == Some(true) {
        return Vec::new();
    }
    let first_tried = sight.history.since(passed_ns).find(is_trying);
    let first_lost = row.last().map(|ping| ping.at_ns);
    let since_ns = first_lost.or(first_tried.map(|slice| slice.at_ns));
    let since_ns = since_ns.unwrap_or(sight.now_ns).max(passed_ns);
    let mut evidence = Vec::new();
    if !row.is_empty() {
        evidence.push(format!("{} pings in a row were not answered", row.len()));
    }
    if recent.given_up > 0 {
        evidence.push(format!(
            "{} connections that were asked for within {WINDOW_S} s were given up without an answer",
            recent.given_up
        ));
    }
    if is_tried && in_vain > 0 {
        evidence.push(format!(
            "{in_vain} segments were sent again within {WINDOW_S} s, and nothing was acknowledged for {} s; nothing passes {} connections, {} wait for an answer",
            QUIET_NS / SECOND_NS,
            last.stalled,
            last.asking
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
        size: Size::Count((u64::from(last.active) + u64::from(last.asking)).max(recent.given_up)),
        since_ns,
        evidence,
    }]
}

fn is_lost(ping: &Ping) -> bool {
    matches!(ping.outcome, Outcome::Lost | Outcome::Unsent)
}

/// When something passed for the last time; 0 where nothing ever did.
fn passed_last(sight: &Sight<'_>) -> u64 {
    let mut slices = sight.history.until(sight.now_ns);
    let passes = slices.find(|slice| {
        let tally = &slice.tally;
        // What comes from the peer does so also where nothing comes there.
        tally.delivered + tally.connected + tally.accepted + tally.refused > 0
    });
    let answered = sight.lookups.into_iter().flat_map(Lookups::latest);
    let answered = answered
        .filter(|lookup| lookup.took.is_some())
        .map(|lookup| lookup.at_ns);
    let answered_ns = answered.max().unwrap_or(0);
    passes.map_or(0, |slice| slice.at_ns).max(answered_ns)
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
        return Direction::From;
    }
    match sight.pings.and_then(|pings| pings.returns(sight.now_ns)) {
        Some((came, known)) if known >= RETURNS => {
            evidence.push(format!(
                "{came} of {known} pings came that were sent from there"
            ));
            if 2 * came > known {
                Direction::To
            } else {
                Direction::Both
            }
        }
        _ => Direction::To,
    }
}
