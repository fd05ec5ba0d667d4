//! Connections are refused: nobody listens, or somebody answers in his place.

use super::{
    Sight,
    resets::{Excess, WINDOWS_S, exceeds, since},
};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    tally::Tally,
};

/// So many are enough where none comes to be, however short it is observed.
const ALL_REFUSED: u64 = 3;

/// Claims refusals.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let surprise = WINDOWS_S
        .into_iter()
        .find_map(|window_s| exceeds(sight, window_s, of).or_else(|| all_refused(sight, window_s)));
    let Some(Excess { recent, since_ns }) = surprise else {
        return Vec::new();
    };
    let direction = if recent.refused > 0 {
        Direction::From
    } else {
        Direction::To
    };
    vec![Claim {
        kind: Kind::Refusals,
        direction,
        size: Size::Count(of(&recent)),
        since_ns,
        evidence: vec![format!(
            "{} connections were refused, and {} that the target was asked for; {} came to be",
            recent.refused,
            recent.refusals_sent,
            recent.connected + recent.accepted
        )],
    }]
}

fn of(tally: &Tally) -> u64 {
    tally.refused + tally.refusals_sent
}

/// Where nobody gets a connection it need not have been otherwise before.
fn all_refused(sight: &Sight<'_>, window_s: u64) -> Option<Excess> {
    let begin = since(sight, window_s);
    let recent = sight.history.sum_since(begin);
    let mut now = sight.history.since(begin);
    let first = now.find(|slice| of(&slice.tally) > 0)?;
    let is_so = of(&recent) >= ALL_REFUSED && recent.connected + recent.accepted == 0;
    is_so.then_some(Excess {
        recent,
        since_ns: first.at_ns,
    })
}
