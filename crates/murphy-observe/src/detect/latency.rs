//! What comes takes long: against a threshold, and against what it took before; or now longer and now shorter.

use super::Sight;
use crate::{
    finding::{Claim, Direction, Kind, Size},
    pings::{Ping, Pings, median_us, micros, times_us},
};

/// What is looked at, in seconds.
const WINDOW_S: u64 = 2;
/// What it took before is asked of this time, in seconds, that ends with the window.
const BEFORE_S: u64 = 60;
/// Fewer say nothing.
const PINGS_MIN: usize = 3;
/// Nobody who has not answered within so many seconds is waited for to tell.
const UNANSWERED_S: u64 = 10;
/// Of so many the variation is taken.
const JITTER_PINGS: usize = 10;
/// By so much it has grown where it is so many times what it was.
const GROWN: u64 = 3;
/// Less is the machine's own.
const GROWN_MIN_US: u64 = 5000;
/// A variation that is smaller is the machine's own.
const JITTER_MIN_US: u64 = 3000;

/// What a time is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Pings,
    Acknowledgements,
}

/// Claims that it takes long, and that it varies.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let by_pings = sight.pings.and_then(|pings| {
        let recent = recent_of(sight, pings);
        let before = pings.since(sight.ago(BEFORE_S)).skip(recent.len());
        let came = recent.iter().filter_map(|ping| ping.took());
        (came.count() >= PINGS_MIN).then_some(())?;
        Some((median_us(recent)?, median_us(before), By::Pings))
    });
    // Whoever acknowledges may wait with it until he has something to say, which pings do not: acknowledgements tell only
    // where nobody answers pings, the quickest of them, and against what they took before.
    let is_pinged = sight.pings.is_some_and(|pings| {
        let mut recent = pings.since(sight.ago(UNANSWERED_S));
        recent.any(|ping| ping.took().is_some())
    });
    let by_segments = || {
        let recent = sight.history.since(sight.ago(WINDOW_S));
        let least = recent
            .filter_map(|slice| slice.rtt)
            .map(|rtt| rtt.least_us)
            .min();
        let before = sight.history.until(sight.ago(WINDOW_S));
        let before = before.take_while(|slice| slice.at_ns > sight.ago(BEFORE_S));
        let usual = before
            .filter_map(|slice| slice.rtt)
            .map(|rtt| rtt.median_us);
        let mut usual: Vec<u32> = usual.collect();
        usual.sort_unstable();
        let usual = usual.get(usual.len() / 2).copied();
        Some((least?.into(), Some(usual?.into()), By::Acknowledgements))
    };
    let slow = by_pings.or_else(|| by_segments().filter(|_| !is_pinged));
    let slow = slow.and_then(|(now_us, before_us, by)| slow_claim(sight, now_us, before_us, by));
    slow.into_iter().chain(jitter(sight)).collect()
}

fn slow_claim(sight: &Sight<'_>, now_us: u64, before_us: Option<u64>, by: By) -> Option<Claim> {
    let most_us = micros(sight.latency_max);
    let has_grown =
        before_us.is_some_and(|before| now_us > GROWN * before && now_us - before > GROWN_MIN_US);
    let is_over = now_us > most_us && by == By::Pings;
    if !(is_over || has_grown) {
        return None;
    }
    let mut evidence = vec![format!(
        "{} of the last seconds took {:.1} ms or longer",
        match by {
            By::Pings => "half of the pings",
            By::Acknowledgements => "all acknowledgements",
        },
        now_us as f64 / 1e3
    )];
    if is_over {
        evidence.push(format!(
            "that is above the threshold of {:.1} ms",
            most_us as f64 / 1e3
        ));
    }
    if has_grown {
        evidence.push("that is three times what it was before, or more".into());
    }
    let slow = |us: u64| 2 * us > now_us;
    let first = sight.pings.filter(|_| by == By::Pings).and_then(|pings| {
        let is_slow = |ping: &&Ping| ping.took().is_none_or(|took| slow(micros(took)));
        let row = pings.latest().take_while(is_slow);
        row.last().map(|ping| ping.at_ns)
    });
    Some(Claim {
        kind: Kind::Latency,
        direction: direction(sight, &slow),
        size: Size::Time {
            us: now_us,
            before_us,
        },
        since_ns: first.unwrap_or_else(|| sight.ago(WINDOW_S)),
        evidence,
    })
}

/// The pings of the window, and as many as are needed where they are sent seldom.
fn recent_of<'a>(sight: &Sight<'_>, pings: &'a Pings) -> Vec<&'a Ping> {
    let needed = pings.latest().nth(PINGS_MIN);
    let begin = needed.map_or(u64::MAX, |ping| ping.at_ns);
    let begin = begin.min(sight.ago(WINDOW_S)).max(sight.ago(BEFORE_S));
    pings.since(begin).collect()
}

/// Which way it takes long, by when pings arrive at the peer.
fn direction(sight: &Sight<'_>, is_slow: &dyn Fn(u64) -> bool) -> Direction {
    let Some(pings) = sight.pings else {
        return Direction::Unknown;
    };
    // Those before it became slow say nothing of that.
    let mut recent = recent_of(sight, pings);
    recent.retain(|ping| ping.took().is_some_and(|took| is_slow(micros(took))));
    legs(pings, &recent).map_or(Direction::Unknown, |[mut to, mut from]| {
        to.sort_unstable();
        from.sort_unstable();
        let middle = to.len() / 2;
        more_of(to.get(middle), from.get(middle))
    })
}

/// The way on which there is more of something.
fn more_of(to: Option<&u64>, from: Option<&u64>) -> Direction {
    match (to, from) {
        (Some(to), Some(from)) if *to > GROWN * from => Direction::To,
        (Some(to), Some(from)) if *from > GROWN * to => Direction::From,
        (Some(_), Some(_)) => Direction::Both,
        _ => Direction::Unknown,
    }
}

/// How long pings took to the peer, and back, in microseconds; none where nobody listens there.
fn legs(pings: &Pings, some: &[&Ping]) -> Option<[Vec<u64>; 2]> {
    pings.is_heard_there().then_some(())?;
    let both = some.iter().filter_map(|ping| {
        let (took, arrived) = (ping.took()?, ping.arrived?);
        Some((micros(arrived), micros(took.saturating_sub(arrived))))
    });
    let (to, from) = both.unzip();
    Some([to, from])
}

/// By how much half of them differ from the next, or by more, in microseconds: one step alone is no variation.
fn variation(times: &[u64]) -> Option<u64> {
    let steps = times.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
    let mut steps: Vec<u64> = steps.collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied()
}

fn jitter(sight: &Sight<'_>) -> Option<Claim> {
    let pings = sight.pings?;
    let all: Vec<&Ping> = pings.since(sight.ago(BEFORE_S)).collect();
    let (recent, before) = all.split_at_checked(JITTER_PINGS)?;
    let mut came = times_us(recent.iter().copied());
    (came.len() > JITTER_PINGS / 2).then_some(())?;
    let now_us = variation(&came)?;
    let before_us = variation(&times_us(before.iter().copied()));
    came.sort_unstable();
    // Without the two that are furthest off it still varies.
    let spread = came.get(came.len().saturating_sub(2))? - came.get(1)?;
    // Where nothing is known of before it takes more.
    let has_grown = now_us > before_us.map_or(GROWN * JITTER_MIN_US, |before| GROWN * before);
    if now_us < JITTER_MIN_US || spread < 2 * JITTER_MIN_US || !has_grown {
        return None;
    }
    let way = legs(pings, recent).map(|both| both.map(|leg| variation(&leg)));
    let way = way.map_or(Direction::Unknown, |[to, from]| {
        more_of(to.as_ref(), from.as_ref())
    });
    Some(Claim {
        kind: Kind::Jitter,
        direction: way,
        size: Size::Time {
            us: now_us,
            before_us,
        },
        since_ns: recent.last()?.at_ns,
        evidence: vec![format!(
            "half of the last {JITTER_PINGS} pings differ from the next by {:.1} ms or more",
            now_us as f64 / 1e3
        )],
    })
}
