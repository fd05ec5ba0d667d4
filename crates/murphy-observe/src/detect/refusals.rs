//! Connections are refused: nobody listens, or somebody answers in his place.

use super::{
    Sight,
    resets::{exceeds, since},
};
use crate::finding::{Claim, Direction, Kind, Size};

/// Claims refusals.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let Some(since_ns) = exceeds(sight, |tally| tally.refused + tally.refusals_sent) else {
        return Vec::new();
    };
    let recent = sight.history.sum_since(since(sight));
    let direction = if recent.refused > 0 {
        Direction::From
    } else {
        Direction::To
    };
    vec![Claim {
        kind: Kind::Refusals,
        direction,
        size: Size::Count(recent.refused + recent.refusals_sent),
        since_ns,
        evidence: vec![format!(
            "{} connections were refused, and {} that the target was asked for; {} came to be",
            recent.refused,
            recent.refusals_sent,
            recent.connected + recent.accepted
        )],
    }]
}
