//! What the target sends comes twice: the other end says so of more segments than were sent again.

use super::Sight;
use crate::{
    finding::{Claim, Direction, Kind, Size},
    share::Share,
};

/// What is looked at, in seconds.
const WINDOW_S: u64 = 10;
/// So long without one ends it, in seconds.
const CLEAN_S: u64 = 3;
/// So many more than were sent again.
const MORE_MIN: u64 = 5;
/// A smaller share is none to speak of.
const RATIO_MIN: f64 = 0.002;

/// Claims a duplication on the way to the peer.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let begin = sight.ago(WINDOW_S).max(sight.cut_until_ns);
    let sum = sight.history.sum_since(begin);
    let share = Share {
        hit: sum.duplicated.saturating_sub(sum.resent),
        of: sum.delivered.max(sum.duplicated),
    };
    let goes_on = sight.history.sum_since(sight.ago(CLEAN_S)).duplicated > 0;
    if share.hit < MORE_MIN || share.interval()[0] < RATIO_MIN || !goes_on {
        return Vec::new();
    }
    let mut slices = sight.history.since(begin);
    let first = slices.find(|slice| slice.tally.duplicated > 0);
    vec![Claim {
        kind: Kind::Duplication,
        direction: Direction::To,
        size: Size::of_share(share),
        since_ns: first.map_or(begin, |slice| slice.at_ns),
        evidence: vec![format!(
            "{} segments came twice by what the peer says, and {} were sent again; {} were acknowledged",
            sum.duplicated, sum.resent, sum.delivered
        )],
    }]
}
