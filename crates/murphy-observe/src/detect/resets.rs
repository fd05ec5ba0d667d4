//! Connections are reset that were established.

use super::{SECOND_NS, Sight};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    share::at_least,
    tally::Tally,
};

/// What is looked at, in seconds: what happens at once, and what happens now and then.
pub(super) const WINDOWS_S: [u64; 2] = [2, 10];
/// What happens by chance less often than this is no chance: it is asked twice a second, of two windows.
pub(super) const CHANCE_MAX: f64 = 1e-5;
/// Where none was for so long, in nanoseconds, so many at once are none, either, if they are one in so many of all.
const NONE_NS: u64 = 30 * SECOND_NS;
const AT_ONCE: u64 = 2;
const OF_ALL: u64 = 5;
/// How often it happened before is asked of this time, in seconds.
pub(super) const BEFORE_S: u64 = 60;

/// Claims resets.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let surprise = WINDOWS_S
        .into_iter()
        .find_map(|window_s| exceeds(sight, window_s, of));
    let Some(Excess { recent, since_ns }) = surprise.or_else(|| at_once(sight)) else {
        return Vec::new();
    };
    let direction = match (recent.resets_sent, recent.resets_received) {
        (0, _) => Direction::From,
        (_, 0) => Direction::To,
        _ => Direction::Both,
    };
    vec![Claim {
        kind: Kind::Resets,
        direction,
        size: Size::Count(of(&recent)),
        since_ns,
        evidence: vec![format!(
            "{} connections were reset here and {} by the other end; {} have ended, {} are left",
            recent.resets_sent,
            recent.resets_received,
            recent.closed,
            sight.history.last().map_or(0, |last| last.active)
        )],
    }]
}

fn of(tally: &Tally) -> u64 {
    tally.resets_sent + tally.resets_received
}

/// Where none was for long, several of all that there are.
fn at_once(sight: &Sight<'_>) -> Option<Excess> {
    let begin = since(sight, WINDOWS_S[0]);
    let recent = sight.history.sum_since(begin);
    let left = sight.history.last().map_or(0, |last| last.active);
    if of(&recent) < AT_ONCE || of(&recent) * OF_ALL < of(&recent) + u64::from(left) {
        return None;
    }
    let known_ns = begin.saturating_sub(NONE_NS);
    let is_known = sight.history.until(known_ns).next().is_some();
    let before = sight.history.since(known_ns);
    let mut before = before.take_while(|slice| slice.at_ns <= begin);
    let was_none = before.all(|slice| of(&slice.tally) == 0);
    let mut now = sight.history.since(begin);
    let first = now.find(|slice| of(&slice.tally) > 0)?;
    (is_known && was_none).then_some(Excess {
        recent,
        since_ns: first.at_ns,
    })
}

/// What happens more often than it did before.
pub(super) struct Excess {
    /// All that has happened in the window.
    pub recent: Tally,
    /// When it happened first there.
    pub since_ns: u64,
}

/// From when on it is looked at: what follows from that nothing came through is no news.
pub(super) fn since(sight: &Sight<'_>, window_s: u64) -> u64 {
    sight.ago(window_s).max(sight.cut_until_ns)
}

/// Whether something happens more often now than it did before, by more than chance makes it vary. What has ceased is not
/// found by looking further back.
pub(super) fn exceeds(sight: &Sight<'_>, window_s: u64, of: fn(&Tally) -> u64) -> Option<Excess> {
    let begin = since(sight, window_s);
    let mut now = sight.history.since(begin);
    let first = now.find(|slice| of(&slice.tally) > 0)?;
    let lasts = sight.history.sum_since(since(sight, WINDOWS_S[0]));
    if of(&lasts) == 0 {
        return None;
    }
    let recent = sight.history.sum_since(begin);
    let earlier = sight.history.until(sight.ago(window_s));
    let earliest = sight.ago(window_s + BEFORE_S);
    let (mut before, mut known_ns) = (0, 0);
    for slice in earlier.take_while(|slice| slice.at_ns > earliest) {
        before += of(&slice.tally);
        known_ns = sight.ago(window_s) - slice.at_ns;
    }
    is_no_chance(of(&recent), window_s * SECOND_NS, before, known_ns).then_some(Excess {
        recent,
        since_ns: first.at_ns,
    })
}

/// Whether so many in so long, in nanoseconds, are more than chance makes of so many in the time before.
pub(super) fn is_no_chance(recent: u64, looked_ns: u64, before: u64, known_ns: u64) -> bool {
    // If nothing had changed, each of all would have come now with the same chance.
    let chance = looked_ns as f64 / (looked_ns + known_ns) as f64;
    at_least(recent, recent + before, chance) < CHANCE_MAX
}
