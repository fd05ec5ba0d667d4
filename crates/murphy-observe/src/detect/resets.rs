//! Connections are reset that were established.

use super::Sight;
use crate::{
    finding::{Claim, Direction, Kind, Size},
    tally::Tally,
};

/// What is looked at, in seconds.
pub(super) const WINDOW_S: u64 = 5;
/// How often it happened before is asked of this time, in seconds.
const BEFORE_S: u64 = 60;

/// Claims resets.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let (now, _) = counts(sight, |tally| tally.resets_sent + tally.resets_received);
    let Some(since_ns) = exceeds(sight, |tally| tally.resets_sent + tally.resets_received) else {
        return Vec::new();
    };
    let recent = sight.history.sum_since(since(sight));
    let direction = match (recent.resets_sent, recent.resets_received) {
        (0, _) => Direction::From,
        (_, 0) => Direction::To,
        _ => Direction::Both,
    };
    vec![Claim {
        kind: Kind::Resets,
        direction,
        size: Size::Count(now),
        since_ns,
        evidence: vec![format!(
            "{} connections were reset here and {} by the other end within {WINDOW_S} s; {} have ended, {} are left",
            recent.resets_sent,
            recent.resets_received,
            recent.closed,
            sight.history.last().map_or(0, |last| last.active)
        )],
    }]
}

/// From when on it is looked at: what follows from that nothing came through is no news.
pub(super) fn since(sight: &Sight<'_>) -> u64 {
    sight.ago(WINDOW_S).max(sight.cut_until_ns)
}

/// How often something happens now, and how often it happened before.
fn counts(sight: &Sight<'_>, of: fn(&Tally) -> u64) -> (u64, u64) {
    let now = of(&sight.history.sum_since(since(sight)));
    let before = sight.history.until(sight.ago(WINDOW_S));
    let before = before.take_while(|slice| slice.at_ns > sight.ago(WINDOW_S + BEFORE_S));
    (now, before.map(|slice| of(&slice.tally)).sum())
}

/// Since when something happens more often than it did before, by more than chance makes it vary; none if it does not.
pub(super) fn exceeds(sight: &Sight<'_>, of: fn(&Tally) -> u64) -> Option<u64> {
    let (now, before) = counts(sight, of);
    let expected = before as f64 * WINDOW_S as f64 / BEFORE_S as f64;
    // Three deviations of a Poisson process above what is expected.
    let is_more = now as f64 > expected + 3.0 * expected.sqrt();
    let first = sight
        .history
        .since(since(sight))
        .find(|slice| of(&slice.tally) > 0)?;
    (now > 0 && is_more).then_some(first.at_ns)
}
