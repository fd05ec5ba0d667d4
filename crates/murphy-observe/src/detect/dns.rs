//! Names are looked up slowly, or cannot be looked up.

use super::Sight;
use crate::{
    dns::WITHIN,
    finding::{Claim, Direction, Kind, Size},
    lookups::{Lookup, times_us},
    share::Share,
};

/// What is looked at, in seconds.
const WINDOW_S: u64 = 5;
/// How long it took before is asked of this time, in seconds.
const BEFORE_S: u64 = 60;
/// Fewer say nothing.
const LOOKUPS_MIN: usize = 3;
/// Fewer may all be of names that the server asks for elsewhere.
const TIMED_MIN: usize = 8;
/// A lookup that takes longer is slow, whatever it took before, in microseconds.
const SLOW_US: u64 = 100_000;
/// By so much it has grown where it is so many times what it was. What a server knows it says at once, and what it does not
/// know it asks for elsewhere: the quickest are compared with what half of them took.
const GROWN: u64 = 3;
/// Less is the server's own.
const GROWN_MIN_US: u64 = 10_000;
/// A smaller share that fails is none to speak of.
const FAILED_MIN: f64 = 0.05;

/// Claims that lookups are slow, or that they fail.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let Some(lookups) = sight.lookups else {
        return Vec::new();
    };
    let recent: Vec<&Lookup> = lookups.since(sight.ago(WINDOW_S)).collect();
    if recent.len() < LOOKUPS_MIN {
        return Vec::new();
    }
    let before: Vec<&Lookup> = lookups
        .since(sight.ago(BEFORE_S))
        .skip(recent.len())
        .collect();
    slow(&recent, &before)
        .into_iter()
        .chain(failing(&recent))
        .collect()
}

fn slow(recent: &[&Lookup], before: &[&Lookup]) -> Option<Claim> {
    let times = times_us(recent.iter().copied());
    let usual = times_us(before.iter().copied());
    let before_us = usual.get(usual.len() / 2).copied();
    let (least, median) = (*times.first()?, *times.get(times.len() / 2)?);
    // A few quick ones may be of the time before it became slow.
    let quick = times.get(times.len() / 4).copied().unwrap_or(least);
    let has_grown =
        before_us.is_some_and(|before| quick > GROWN * before && quick - before > GROWN_MIN_US);
    if times.len() < TIMED_MIN || !(has_grown || median > SLOW_US) {
        return None;
    }
    let is_slow = |lookup: &&&Lookup| {
        let least_us = before_us.map_or(SLOW_US, |before| (GROWN * before).min(SLOW_US));
        let took = lookup.took.map(crate::pings::micros);
        took.is_none_or(|us| us >= least_us)
    };
    let first = recent.iter().take_while(is_slow).last();
    Some(Claim {
        kind: Kind::SlowDns,
        direction: Direction::Unknown,
        size: Size::Time {
            us: median,
            before_us,
        },
        since_ns: first.or(recent.last())?.at_ns,
        evidence: vec![format!(
            "half of {} lookups within {WINDOW_S} s took {:.1} ms or more, three quarters {:.1} ms or more",
            times.len(),
            median as f64 / 1e3,
            quick as f64 / 1e3
        )],
    })
}

fn failing(recent: &[&Lookup]) -> Option<Claim> {
    let failed: Vec<&&Lookup> = recent.iter().filter(|one| one.has_failed()).collect();
    let share = Share {
        hit: failed.len() as u64,
        of: recent.len() as u64,
    };
    if failed.len() < LOOKUPS_MIN || share.interval()[0] < FAILED_MIN {
        return None;
    }
    let refused = failed.iter().filter(|one| one.is_refused).count();
    Some(Claim {
        kind: Kind::FailingDns,
        direction: Direction::Unknown,
        size: Size::of_share(share),
        since_ns: failed.last()?.at_ns,
        evidence: vec![format!(
            "of {} lookups within {WINDOW_S} s {} were not answered within {:.1} s, and to {refused} the answer was an error",
            recent.len(),
            failed.len() - refused,
            WITHIN.as_secs_f64()
        )],
    })
}
