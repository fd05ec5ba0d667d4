//! What the target sends comes twice: the other end says so of many more segments than were sent again.

use super::{SECOND_NS, Sight};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    share::Share,
};

/// What is looked at, in seconds.
const WINDOW_S: u64 = 10;
/// So long without one ends it, in seconds.
const CLEAN_S: u64 = 3;
/// So long it is waited for whether it was sent again, in nanoseconds.
const SETTLED_NS: u64 = SECOND_NS;
/// Fewer are a chance.
const TWICE_MIN: u64 = 5;
/// Small segments are put together when they are sent again: one such may make so many come twice.
const TOGETHER_MAX: u64 = 20;
/// A smaller share is none to speak of.
const RATIO_MIN: f64 = 0.002;

/// Claims a duplication on the way to the peer.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let begin = sight.ago(WINDOW_S).max(sight.cut_until_ns);
    let sum = sight.history.sum_since(begin);
    // What sockets say of it is known a while after what has come twice by that; what the kernel tells, at once.
    let resent = sum.resent.max(sum.retransmits + sum.probes);
    let share = Share {
        hit: sum.duplicated.saturating_sub(resent),
        of: sum.delivered.max(sum.duplicated),
    };
    let goes_on = sight.history.sum_since(sight.ago(CLEAN_S)).duplicated > 0;
    if share.hit < TWICE_MIN
        || sum.duplicated <= TOGETHER_MAX * resent
        || share.interval()[0] < RATIO_MIN
        || !goes_on
    {
        return Vec::new();
    }
    let mut slices = sight.history.since(begin);
    let first = slices.find(|slice| slice.tally.duplicated > 0);
    let since_ns = first.map_or(begin, |slice| slice.at_ns);
    if since_ns + SETTLED_NS > sight.now_ns {
        return Vec::new();
    }
    vec![Claim {
        kind: Kind::Duplication,
        direction: Direction::To,
        size: Size::of_share(share),
        since_ns,
        evidence: vec![format!(
            "{} segments came twice by what the peer says, and {} were sent again; {} were acknowledged",
            sum.duplicated, resent, sum.delivered
        )],
    }]
}
