//! Some packets do not come through: segments are sent again that had not come twice, or pings are not answered while
//! others are.

use super::{SECOND_NS, Sight};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    pings::{Outcome, Ping},
    share::Share,
    tally::Tally,
};

/// What is looked at, in seconds.
const WINDOW_S: u64 = 30;
/// So long without a loss ends one.
const CLEAN_NS: u64 = 5 * SECOND_NS;
/// Fewer pings say nothing, and fewer segments that were sent again.
const LOST_MIN: u64 = 3;
const RESENT_MIN: u64 = 5;
/// So many pings are waited for until it is said which way: fewer of them may be lost by chance than of segments.
const PINGS_TO_TELL: usize = 10;
/// One in so many of those that were sent again has come twice.
const CAME_TWICE: u64 = 4;
/// A share below this is none to speak of.
const RATIO_MIN: f64 = 0.003;
/// The same of pings, of which there are few.
const PING_RATIO_MIN: f64 = 0.01;

/// So many segments came before one that was sent earlier.
const AHEAD_MIN: u64 = 5;
/// A share of these below this is none to speak of: now and then one overtakes another.
const AHEAD_RATIO_MIN: f64 = 0.004;

/// Of more than this share it is waited for how much it is: what is lost is sent again only after a while.
const MUCH: f64 = 0.05;
/// For so long, in nanoseconds.
const MEASURED_NS: u64 = 3 * SECOND_NS / 2;
/// What is lost first is sent again so much later at most, usually, when less is sent already, in nanoseconds: there it
/// would be too large a share.
const SETTLING_NS: u64 = SECOND_NS / 2;

/// So many times as much comes ahead as is sent again where only the way here is broken.
const AHEAD_MORE: f64 = 5.0;
/// So many pings in a row are lost that it may be all of them.
const ROW: usize = 2;
/// So long nothing is lost between two losses that have nothing to do with each other, in nanoseconds.
const APART_NS: u64 = 8 * SECOND_NS;

/// Claims a loss, by segments where there are any, else by pings.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let ratio = |claim: &Claim| match claim.size {
        Size::Share { ratio, .. } => ratio,
        _ => 0.0,
    };
    let claim = match (by_segments(sight), by_arrivals(sight)) {
        // Where what acknowledges is lost, some is sent again that came.
        (Some(to), Some(from)) if ratio(&to) * AHEAD_MORE < ratio(&from) => Some(from),
        (Some(to), Some(_)) if to.direction == Direction::To => Some(Claim {
            direction: Direction::Both,
            ..to
        }),
        (to, from) => to.or(from),
    };
    claim.or_else(|| by_pings(sight)).into_iter().collect()
}

/// Since when something happens again and again, without a longer while between; none if that is over.
fn since(sight: &Sight<'_>, happens: impl Fn(&Tally) -> bool) -> Option<u64> {
    let mut since_ns = None;
    let mut last_ns = 0;
    let mut begin = sight.ago(WINDOW_S).max(sight.cut_until_ns);
    for slice in sight.history.since(begin) {
        let is_over = since_ns.is_none() || slice.at_ns.saturating_sub(last_ns) > CLEAN_NS;
        if happens(&slice.tally) {
            if is_over {
                since_ns = Some(begin);
            }
            last_ns = slice.at_ns;
        } else if is_over {
            begin = slice.at_ns;
        }
    }
    since_ns.filter(|_| sight.now_ns.saturating_sub(last_ns) <= CLEAN_NS)
}

/// The end of the first slice after a time in which something happens.
fn first_end(sight: &Sight<'_>, since_ns: u64, happens: impl Fn(&Tally) -> bool) -> u64 {
    let mut slices = sight.history.since(since_ns);
    let first = slices.find(|slice| happens(&slice.tally));
    first.map_or(since_ns, |slice| slice.at_ns)
}

/// From when on it is as much as it is now: before, from a time on, it was less by more than chance makes it vary. Where
/// it changes is where that explains most (maximum likelihood).
fn rises(sight: &Sight<'_>, since_ns: u64, of: impl Fn(&Tally) -> Share) -> u64 {
    let slices = sight.history.since(since_ns);
    let slices: Vec<(u64, Share)> = slices
        .map(|slice| (slice.at_ns, of(&slice.tally)))
        .collect();
    let all = slices
        .iter()
        .fold(Share::default(), |sum, (_, one)| sum + *one);
    let (mut before, mut best) = (Share::default(), (all.likelihood(), since_ns));
    // What comes in bursts rises again and again: after a while it is no longer waited for what the last one comes to.
    let latest_ns = if since_ns + 2 * MEASURED_NS < sight.now_ns {
        sight.now_ns - MEASURED_NS
    } else {
        sight.now_ns
    };
    for (at_ns, one) in slices.into_iter().filter(|(at_ns, _)| *at_ns <= latest_ns) {
        before = before + one;
        let after = Share {
            hit: all.hit - before.hit,
            of: all.of - before.of,
        };
        if before.interval()[1] < after.interval()[0] {
            let both = before.likelihood() + after.likelihood();
            if both > best.0 {
                best = (both, at_ns);
            }
        }
    }
    best.1
}

/// Of what came, how much came before what was sent earlier.
fn ahead(tally: &Tally) -> Share {
    Share {
        hit: tally.out_of_order.min(tally.segments_received),
        of: tally.segments_received,
    }
}

/// What is lost on its way here, the segments behind it come before.
fn by_arrivals(sight: &Sight<'_>) -> Option<Claim> {
    let since_ns = since(sight, |tally| tally.out_of_order > 0)?;
    let since_ns = rises(sight, since_ns, ahead);
    let sum = sight.history.sum_since(since_ns);
    let share = ahead(&sum);
    if share.hit < AHEAD_MIN || share.interval()[0] < AHEAD_RATIO_MIN {
        return None;
    }
    // At first nobody knows whether behind each that is lost one waits, or many.
    if first_end(sight, since_ns, |tally| tally.out_of_order > 0) + MEASURED_NS > sight.now_ns {
        return None;
    }
    let mut claim = Claim {
        kind: Kind::Loss,
        direction: Direction::From,
        size: Size::of_share(share),
        since_ns,
        evidence: vec![format!(
            "{} of {} segments came before one that was sent earlier",
            sum.out_of_order, sum.segments_received
        )],
    };
    let heard = sight.pings.filter(|pings| pings.has_answered());
    if let Some(pings) = heard.filter(|_| share.ratio() > MUCH) {
        let share = of_pings(&pings.since(since_ns).collect::<Vec<_>>());
        if share.hit + 1 < LOST_MIN {
            return None;
        }
        claim.evidence.push(format!(
            "{} of {} pings were not answered",
            share.hit, share.of
        ));
        claim.size = Size::of_share(share);
    }
    Some(claim)
}

/// Of pings, the latest first, those that were lost; behind the first of them, as before that it may not have begun, and it
/// was not chosen by chance.
fn of_pings(pings: &[&Ping]) -> Share {
    let is_lost = |ping: &&Ping| ping.outcome == Outcome::Lost;
    let first = pings.iter().rposition(is_lost);
    let since = first.map_or(&pings[..0], |first| &pings[..first]);
    Share {
        hit: since.iter().filter(|ping| is_lost(ping)).count() as u64,
        of: since.len() as u64,
    }
}

fn by_segments(sight: &Sight<'_>) -> Option<Claim> {
    // From the first that was lost after a while without.
    let since_ns = since(sight, |tally| tally.lost() > 0)?;
    let since_ns = rises(sight, since_ns, Tally::loss);
    let sum = sight.history.sum_since(since_ns);
    let share = sum.loss();
    // Now and then one is sent again that only took long, which nobody says any more once its connection is over.
    if share.hit < RESENT_MIN || share.interval()[0] < RATIO_MIN {
        return None;
    }
    // Of the slice in which it began a part was without.
    let begun_ns = first_end(sight, since_ns, |tally| tally.lost() > 0) + SETTLING_NS;
    let settled = sight.history.sum_since(begun_ns);
    if share.ratio() > MUCH && begun_ns + MEASURED_NS > sight.now_ns {
        return None;
    }
    let measured = if settled.lost() < RESENT_MIN {
        sum
    } else {
        settled
    };
    // Where little is lost it is seldom several in a row, so that none are sent again together.
    let measured = if share.ratio() > MUCH {
        measured.loss_of_all()
    } else {
        measured.loss()
    };
    let mut claim = Claim {
        kind: Kind::Loss,
        direction: Direction::To,
        size: Size::of_share(measured),
        since_ns,
        evidence: vec![format!(
            "{} segments were sent again, of which {} had come already; {} were acknowledged",
            sum.resent, sum.duplicated, sum.delivered
        )],
    };
    // A segment is also sent again where what acknowledges it is lost. Pings know which way that is.
    let heard = sight
        .pings
        .filter(|pings| pings.is_heard_there() && pings.has_answered());
    let came_twice = sum.duplicated * CAME_TWICE > sum.resent;
    let Some(pings) = heard else {
        if came_twice {
            claim.direction = Direction::Unknown;
        }
        return Some(claim);
    };
    let pings: Vec<&Ping> = pings.since(since_ns).collect();
    let is_lost = |ping: &&&Ping| ping.outcome == Outcome::Lost;
    let lost: Vec<&&Ping> = pings.iter().filter(is_lost).collect();
    if (lost.len() as u64) < LOST_MIN {
        if pings.len() < PINGS_TO_TELL {
            return None;
        }
        // What came twice was acknowledged, and late or not at all: only pings tell these apart.
        match (came_twice, lost.is_empty()) {
            (false, _) => return Some(claim),
            (true, true) => return None,
            (true, false) => claim.direction = Direction::From,
        }
    } else {
        claim.direction = way_of(&lost, &mut claim.evidence);
    }
    if claim.direction == Direction::From {
        // How much comes this way segments do not say that are sent the other way.
        claim.size = Size::of_share(Share {
            hit: lost.len() as u64,
            of: pings.len() as u64,
        });
    }
    Some(claim)
}

/// Which way those were lost, by which of them have arrived at the peer.
fn way_of(lost: &[&&Ping], evidence: &mut Vec<String>) -> Direction {
    let arrived = lost.iter().filter(|ping| ping.arrived.is_some()).count();
    evidence.push(format!(
        "{} pings were not answered, of which {arrived} have arrived at the peer",
        lost.len()
    ));
    match arrived {
        0 => Direction::To,
        all if all == lost.len() => Direction::From,
        _ => Direction::Both,
    }
}

fn by_pings(sight: &Sight<'_>) -> Option<Claim> {
    let pings = sight.pings.filter(|pings| pings.has_answered())?;
    let begin = sight.ago(WINDOW_S).max(sight.cut_until_ns);
    let mut recent: Vec<&Ping> = pings.since(begin).collect();
    let is_lost = |ping: &&&Ping| ping.outcome == Outcome::Lost;
    // The last ones in a row may be the first of a partition.
    if recent.iter().take_while(is_lost).count() >= ROW {
        return None;
    }
    // What was lost long before the next one has nothing to do with it.
    let mut before_ns = None;
    let apart = recent.iter().position(|ping| {
        let last_ns = before_ns.unwrap_or(ping.at_ns);
        if ping.outcome == Outcome::Lost {
            before_ns = Some(ping.at_ns);
        }
        last_ns.saturating_sub(ping.at_ns) > APART_NS
    });
    recent.truncate(apart.unwrap_or(recent.len()));
    let first = recent.iter().rev().position(|ping| is_lost(&ping))?;
    // From the first that was lost on: what came before may have been without any.
    let recent = &recent[..recent.len() - first];
    let lost: Vec<&&Ping> = recent.iter().filter(is_lost).collect();
    let share = of_pings(recent);
    // The last but one tells that it goes on: one alone may be the first of a partition.
    let is_over = |place: usize, within_ns: u64| {
        let ping = lost.get(place);
        ping.is_none_or(|ping| sight.now_ns.saturating_sub(ping.at_ns) > within_ns)
    };
    if is_over(0, CLEAN_NS) || is_over(1, APART_NS) {
        return None;
    }
    // Who limits pings limits nothing else.
    let segments = sight.history.sum_since(recent.last()?.at_ns).loss();
    if segments.interval()[1] < share.interval()[0] {
        return None;
    }
    let came = recent.iter().any(|ping| ping.took().is_some());
    if (lost.len() as u64) < LOST_MIN || !came || share.interval()[0] < PING_RATIO_MIN {
        return None;
    }
    let mut evidence = vec![format!(
        "{} of {} pings were not answered",
        share.hit, share.of
    )];
    let direction = if pings.is_heard_there() {
        way_of(&lost, &mut evidence)
    } else {
        Direction::Unknown
    };
    Some(Claim {
        kind: Kind::Loss,
        direction,
        size: Size::of_share(share),
        since_ns: recent.last()?.at_ns,
        evidence,
    })
}
