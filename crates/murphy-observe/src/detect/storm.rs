//! Connections are asked for again and again, several times as often as before, and most of that is in vain.

use super::{
    SECOND_NS, Sight,
    resets::{BEFORE_S, WINDOWS_S, is_no_chance, since},
};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    tally::Tally,
};

/// So many times as often as before.
const TIMES: f64 = 5.0;
/// So many a second at least: fewer are no storm.
const PER_SECOND_MIN: u64 = 10;
/// Who has asked for less time than this is not known well enough to say what is usual, in nanoseconds.
const KNOWN_MIN_NS: u64 = 2 * SECOND_NS;
/// So many a second are one whatever was before, if next to none comes to be.
const PER_SECOND_MANY: u64 = 20;
/// One in so many.
const NEXT_TO_NONE: u64 = 20;

/// Claims a storm.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let storm = WINDOWS_S
        .into_iter()
        .find_map(|window_s| storm(sight, window_s));
    storm.into_iter().collect()
}

/// Connections that were asked for, by whichever end, however that ended.
fn asked(tally: &Tally) -> u64 {
    tally.connected + tally.failed() + tally.given_up + tally.accepted + tally.refusals_sent
}

/// Those of them that were of no use: what came to be and was reset is counted as such.
fn in_vain(tally: &Tally) -> u64 {
    let refused = tally.failed() + tally.given_up + tally.refusals_sent;
    let reset = tally.resets_received + tally.resets_sent;
    refused + reset.min(tally.connected + tally.accepted)
}

fn storm(sight: &Sight<'_>, window_s: u64) -> Option<Claim> {
    let begin = since(sight, window_s);
    let recent = sight.history.sum_since(begin);
    let (all, vain) = (asked(&recent), in_vain(&recent));
    // What has ceased is none any more.
    let last = sight.history.sum_since(since(sight, WINDOWS_S[0]));
    let goes_on = asked(&last) >= WINDOWS_S[0] * PER_SECOND_MIN / 2;
    if all < window_s * PER_SECOND_MIN || 2 * vain < all || !goes_on {
        return None;
    }
    let earliest = sight.ago(window_s + BEFORE_S);
    let (mut before, mut known_ns) = (0, 0);
    let earlier = sight.history.until(sight.ago(window_s));
    for slice in earlier.take_while(|slice| slice.at_ns > earliest) {
        before += asked(&slice.tally);
        known_ns = sight.ago(window_s) - slice.at_ns;
    }
    let rate = all as f64 / window_s as f64;
    let before_rate = before as f64 / (known_ns as f64 / 1e9).max(f64::MIN_POSITIVE);
    let has_grown = known_ns >= KNOWN_MIN_NS
        && rate >= TIMES * before_rate
        && is_no_chance(all, window_s * SECOND_NS, before, known_ns);
    let longest = WINDOWS_S[WINDOWS_S.len() - 1];
    let is_many = window_s == longest
        && all >= window_s * PER_SECOND_MANY
        && (all - vain) * NEXT_TO_NONE <= all
        // Against what was before it counts only where nothing is known of that.
        && known_ns < KNOWN_MIN_NS;
    if !(has_grown || is_many) {
        return None;
    }
    let mut now = sight.history.since(begin);
    let first = now.find(|slice| in_vain(&slice.tally) > 0)?;
    let here = recent.accepted + recent.refusals_sent;
    let before = if known_ns < KNOWN_MIN_NS {
        String::new()
    } else {
        format!(", {before_rate:.1} before")
    };
    Some(Claim {
        kind: Kind::RetryStorm,
        direction: if 2 * here > all {
            Direction::From
        } else {
            Direction::To
        },
        size: Size::Count(all),
        since_ns: first.at_ns,
        evidence: vec![format!(
            "{rate:.0} connections a second were asked for within {window_s} s{before}; {vain} of {all} were refused, not answered or reset"
        )],
    })
}
