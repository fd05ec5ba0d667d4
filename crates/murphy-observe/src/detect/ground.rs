//! What is wrong with a whole network namespace: damaged packets, duplicates, packets that overtake others, listeners without
//! room, packets that the kernel throws away, and clocks.
//!
//! It is not known of which connection these are, so that they are claimed of the whole target.

use std::{collections::BTreeSet, net::IpAddr};

use murphy_sys::drops::Meaning;

use super::{
    SECOND_NS,
    resets::{BEFORE_S, WINDOWS_S, is_no_chance},
};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    ground::{Ground, Lump, Moment, WrongClock, reasons_text},
    share::Share,
};

/// What is looked at, in seconds.
const WINDOW_S: u64 = 10;
/// So long without any ends it, in seconds.
const CLEAN_S: u64 = 3;
/// Fewer damaged packets are a chance.
const DAMAGED_MIN: u64 = 3;
/// Fewer connections without room are a chance.
const OVERFLOWS_MIN: u64 = 3;
/// Fewer segments that came twice are of one end that has waited too little.
const TWICE_MIN: u64 = 10;
/// They come in so many moments at least, and are this share of all: a burst is what follows from something else.
const TWICE_MOMENTS: usize = 5;
const TWICE_RATIO_MIN: f64 = 0.01;
/// One in so many that the target itself has sent again says that there is a loss.
const RESENT_SHARE: u64 = 10;
/// Fewer that were overtaken are a chance, and so is a smaller share.
const OVERTAKEN_MIN: u64 = 5;
const OVERTAKEN_RATIO_MIN: f64 = 0.001;
/// Fewer dropped packets are no fault to speak of.
const DROPPED_MIN: u64 = 10;
/// They come in so many moments at least.
const DROPPED_MOMENTS: usize = 3;
/// So long it is waited for whether something else is found that is the reason, or says more of the same, in nanoseconds.
const WAIT_NS: u64 = 7 * SECOND_NS / 2;

/// What a detector looks at.
#[derive(Clone, Copy, Debug)]
pub struct GroundSight<'a> {
    /// What has happened in the namespace.
    pub ground: &'a Ground,
    /// What was found on its edges just now.
    pub troubles: &'a [Kind],
    /// With whom the target talks.
    pub peers: &'a BTreeSet<IpAddr>,
    /// Clocks that are not as they should be.
    pub clocks: &'a [WrongClock],
    /// Now, in nanoseconds since boot.
    pub now_ns: u64,
}

impl GroundSight<'_> {
    /// The time so many seconds ago.
    fn ago(&self, seconds: u64) -> u64 {
        self.now_ns.saturating_sub(seconds * SECOND_NS)
    }

    /// Whether something of these was found.
    fn has(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.troubles.contains(kind))
    }

    /// When something happened first in the window, if it still does.
    fn since(&self, of: impl Fn(&Moment) -> u64) -> Option<u64> {
        let mut moments = self.ground.since(self.ago(WINDOW_S));
        let first = moments.find(|moment| of(moment) > 0)?.at_ns;
        let mut last = self.ground.since(self.ago(CLEAN_S));
        last.any(|moment| of(moment) > 0).then_some(first)
    }

    /// In how many moments of the window something happened, and how often in all.
    fn count(&self, window_s: u64, of: impl Fn(&Moment) -> u64) -> (usize, u64) {
        let each = self.ground.since(self.ago(window_s)).map(of);
        let each = each.filter(|count| *count > 0);
        each.fold((0, 0), |(moments, all), count| (moments + 1, all + count))
    }

    /// Whether something happens more often than it did before, by more than chance makes it vary.
    fn exceeds(&self, of: impl Fn(&Moment) -> u64) -> bool {
        WINDOWS_S.into_iter().any(|window_s| {
            let (_, recent) = self.count(window_s, &of);
            let earliest = self.ago(window_s + BEFORE_S);
            let (mut before, mut known_ns) = (0, 0);
            let earlier = self.ground.until(self.ago(window_s));
            for moment in earlier.take_while(|moment| moment.at_ns > earliest) {
                before += of(moment);
                known_ns = self.ago(window_s) - moment.at_ns;
            }
            recent > 0 && is_no_chance(recent, window_s * SECOND_NS, before, known_ns)
        })
    }
}

/// What is wrong with a namespace now.
pub fn detect(sight: &GroundSight<'_>) -> Vec<Claim> {
    let damage = corruption(sight);
    // Who does not get what acknowledges his segments sends them again.
    let twice = duplication(sight).filter(|_| damage.is_none());
    let all = [
        damage,
        twice,
        reordering(sight),
        overflow(sight),
        drops(sight),
    ];
    let all = all.into_iter().flatten();
    all.chain(clocks(sight)).collect()
}

fn corruption(sight: &GroundSight<'_>) -> Option<Claim> {
    let since_ns = sight.since(|moment| moment.counted.damaged)?;
    let sum = sight.ground.sum_since(sight.ago(WINDOW_S));
    if sum.damaged < DAMAGED_MIN {
        return None;
    }
    let mut evidence = vec![format!(
        "of {} packets that came within {WINDOW_S} s {} had a wrong checksum",
        sum.received.max(sum.damaged),
        sum.damaged
    )];
    let is_damage = |lump: &Lump| lump.meaning == Meaning::Damage;
    let reasons = sight.ground.reasons_since(sight.ago(WINDOW_S), is_damage);
    if !reasons.is_empty() {
        evidence.push(format!("packets were dropped: {}", reasons_text(&reasons)));
    }
    // From the first one on.
    let during = sight
        .ground
        .sum_since(since_ns.saturating_sub(1))
        .received
        .max(sum.damaged);
    Some(Claim {
        kind: Kind::Corruption,
        direction: Direction::From,
        size: Size::of_share(Share {
            hit: sum.damaged,
            of: during,
        }),
        since_ns,
        evidence,
    })
}

/// The network has doubled them, or somebody has sent again what need not be: from here these look the same, so that nothing
/// is claimed while anything else is wrong that could make him do so.
fn duplication(sight: &GroundSight<'_>) -> Option<Claim> {
    const REASONS: [Kind; 7] = [
        Kind::Partition,
        Kind::Loss,
        Kind::Latency,
        Kind::Jitter,
        Kind::HalfOpen,
        Kind::Timeouts,
        Kind::Resets,
    ];
    let of = |moment: &Moment| moment.counted.came_twice;
    let since_ns = sight.since(of).filter(|_| !sight.has(&REASONS))?;
    let (moments, hit) = sight.count(WINDOW_S, of);
    let sum = sight.ground.sum_since(since_ns.saturating_sub(1));
    let share = Share {
        hit,
        of: sum.segments_received.max(hit),
    };
    // What is lost on its way from here may be what acknowledges, too.
    let is_resending = sum.resent * RESENT_SHARE > hit;
    if is_resending || since_ns + WAIT_NS > sight.now_ns {
        return None;
    }
    if hit < TWICE_MIN
        || moments < TWICE_MOMENTS
        || share.interval()[0] < TWICE_RATIO_MIN
        || !sight.exceeds(of)
    {
        return None;
    }
    Some(Claim {
        kind: Kind::Duplication,
        direction: Direction::From,
        size: Size::of_share(share),
        since_ns,
        evidence: vec![format!(
            "{hit} of {} segments that came had come already, while nothing is known to be lost or late",
            share.of
        )],
    })
}

fn reordering(sight: &GroundSight<'_>) -> Option<Claim> {
    let of = |moment: &Moment| moment.counted.overtaken;
    let since_ns = sight.since(of)?;
    let (_, hit) = sight.count(WINDOW_S, of);
    let sum = sight.ground.sum_since(since_ns.saturating_sub(1));
    let share = Share {
        hit,
        of: sum.segments_sent.max(hit),
    };
    if hit < OVERTAKEN_MIN || share.interval()[0] < OVERTAKEN_RATIO_MIN || !sight.exceeds(of) {
        return None;
    }
    Some(Claim {
        kind: Kind::Reordering,
        direction: Direction::To,
        size: Size::Count(hit),
        since_ns,
        evidence: vec![format!(
            "{hit} times within {WINDOW_S} s what was sent later was acknowledged sooner, and nothing had been sent again; {} segments were sent",
            share.of
        )],
    })
}

fn overflow(sight: &GroundSight<'_>) -> Option<Claim> {
    let of = |moment: &Moment| moment.counted.overflows;
    let since_ns = sight.since(of)?;
    let (_, hit) = sight.count(WINDOW_S, of);
    (hit >= OVERFLOWS_MIN).then(|| Claim {
        kind: Kind::ListenOverflow,
        direction: Direction::From,
        size: Size::Count(hit),
        since_ns,
        evidence: vec![format!(
            "{hit} times within {WINDOW_S} s somebody who asked for a connection was not let in: as many wait to be accepted as the listener has room for"
        )],
    })
}

/// Packets of and for those with whom the target talks. Whom it does not talk with a firewall may keep away.
fn drops(sight: &GroundSight<'_>) -> Option<Claim> {
    // These have dropped packets as their evidence.
    const EFFECTS: [Kind; 6] = [
        Kind::Partition,
        Kind::Loss,
        Kind::HalfOpen,
        Kind::Timeouts,
        Kind::FailingDns,
        Kind::Refusals,
    ];
    let is_meant = |lump: &Lump| {
        lump.meaning == Meaning::Fault && lump.peer.is_some_and(|peer| sight.peers.contains(&peer))
    };
    let of = |moment: &Moment| moment.packets(is_meant);
    let since_ns = sight.since(of)?;
    if sight.has(&EFFECTS) || since_ns + WAIT_NS > sight.now_ns {
        return None;
    }
    let (moments, packets) = sight.count(WINDOW_S, of);
    if packets < DROPPED_MIN || moments < DROPPED_MOMENTS || !sight.exceeds(of) {
        return None;
    }
    let way = |is_received: bool| {
        let goes = |lump: &Lump| is_meant(lump) && lump.is_received == is_received;
        sight.count(WINDOW_S, |moment| moment.packets(goes)).1
    };
    let reasons = sight.ground.reasons_since(sight.ago(WINDOW_S), is_meant);
    Some(Claim {
        kind: Kind::Drops,
        direction: match (way(false), way(true)) {
            (_, 0) => Direction::To,
            (0, _) => Direction::From,
            _ => Direction::Both,
        },
        size: Size::Count(packets),
        since_ns,
        evidence: vec![format!(
            "the kernel has dropped these packets here within {WINDOW_S} s: {}",
            reasons_text(&reasons)
        )],
    })
}

fn clocks(sight: &GroundSight<'_>) -> Option<Claim> {
    let furthest = sight
        .clocks
        .iter()
        .max_by_key(|one| one.off_ns.unsigned_abs())?;
    let evidence = sight.clocks.iter().take(3).map(|one| {
        let (seconds, way) = (
            one.off_ns.unsigned_abs() as f64 / 1e9,
            if one.off_ns < 0 { "behind" } else { "ahead of" },
        );
        match one.pid {
            Some(pid) => format!(
                "{} is {seconds:.1} s {way} the machine's for process {pid}",
                one.clock
            ),
            None => format!(
                "{} of the machine was set: it is {seconds:.1} s {way} what it was",
                one.clock
            ),
        }
    });
    Some(Claim {
        kind: Kind::ClockJump,
        direction: Direction::Unknown,
        size: Size::Time {
            us: furthest.off_ns.unsigned_abs() / 1000,
            before_us: None,
        },
        since_ns: sight.clocks.iter().map(|one| one.since_ns).min()?,
        evidence: evidence.collect(),
    })
}
