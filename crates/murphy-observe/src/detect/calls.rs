//! System calls fail that did not, or take long that did not. Both are held against what is usual with the target itself.

use std::{collections::BTreeMap, ops::RangeInclusive};

use murphy_sys::syscalls::{Call, Errno};

use super::{
    SECOND_NS,
    resets::{BEFORE_S, CHANCE_MAX, WINDOWS_S, is_no_chance},
};
use crate::{
    calls::{CallHistory, Failures, Weight, weight},
    finding::{Claim, Direction, Kind, Size},
    share::{Share, at_least},
};

/// So long it is looked before anything is said, in seconds.
const KNOWN_S: u64 = 3;
/// What was not seen for so long is over, in seconds.
const CLEAN_S: u64 = 3;
/// Fewer failures are a chance. They come in so many moments at least.
const GRAVE_MIN: u64 = 3;
const GRAVE_MOMENTS: usize = 2;
/// A smaller share of fewer is not worth to be named.
const GRAVE_RATIO_MIN: f64 = 0.01;
const GRAVE_MANY: u64 = 10;
/// What programs live with is told only where most fail for long of what next to always went well for long.
const ROUTINE_MIN: u64 = 20;
const ROUTINE_MOMENTS: usize = 12;
const ROUTINE_RATIO_MIN: f64 = 0.5;
const ROUTINE_KNOWN_S: u64 = 30;
const ROUTINE_BEFORE_MIN: u64 = 100;
const ROUTINE_BEFORE_RATIO_MAX: f64 = 0.05;
/// A time is that of so many calls at least, of the last seconds, and of so many as far as they are needed.
const SLOW_MIN: u64 = 10;
const SLOW_WINDOWS_S: [u64; 3] = [2, 5, 10];
/// What is usual is known by so many.
const USUAL_MIN: u64 = 20;
/// Less is no time to speak of, in microseconds, whatever it was before.
const SLOW_MIN_US: u64 = 10_000;
/// It takes long where it takes so many times what it took; and does so until it takes less than so many times that.
const GROWN: u64 = 3;
const STILL_GROWN: u64 = 2;
/// So long before now it must have been so already, in nanoseconds.
const BEAT_NS: u64 = SECOND_NS / 2;
/// More are not named.
const NAMED_MAX: usize = 3;

/// What a detector looks at.
#[derive(Clone, Copy, Debug)]
pub struct CallSight<'a> {
    /// What the calls of the target have returned, and how long they took.
    pub history: &'a CallHistory,
    /// Now, in nanoseconds since boot.
    pub now_ns: u64,
}

/// What is wrong with calls, as it was found: what is usual is what was so before.
#[derive(Clone, Debug, Default)]
pub struct CallTroubles {
    failing: BTreeMap<(Call, Errno), Before>,
    slow: BTreeMap<Call, Usual>,
}

/// How often a call has failed before it failed too often.
#[derive(Clone, Copy, Debug)]
struct Before {
    since_ns: u64,
    share: Share,
    known_ns: u64,
}

/// How long a call took before it took too long.
#[derive(Clone, Copy, Debug)]
struct Usual {
    since_ns: u64,
    us: u64,
}

impl CallSight<'_> {
    /// The time so many seconds ago.
    fn ago(&self, seconds: u64) -> u64 {
        self.now_ns.saturating_sub(seconds * SECOND_NS)
    }

    fn failures(&self, (call, errno): (Call, Errno), window_s: u64) -> Failures {
        self.history
            .failures(call, errno, self.ago(window_s), self.now_ns)
    }
}

/// What is wrong with the calls of a target now.
pub fn detect(sight: &CallSight<'_>, known: &mut CallTroubles) -> Vec<Claim> {
    known
        .failing
        .retain(|which, before| still_fails(sight, *which, before));
    for which in sight.history.failed_since(sight.ago(CLEAN_S)) {
        if !known.failing.contains_key(&which)
            && let Some(before) = fails(sight, which)
        {
            known.failing.insert(which, before);
        }
    }
    known
        .slow
        .retain(|call, usual| is_slow(sight, *call, usual.us, STILL_GROWN));
    for call in sight.history.timed_since(sight.ago(SLOW_WINDOWS_S[0])) {
        if !known.slow.contains_key(&call)
            && let Some(usual) = becomes_slow(sight, call)
        {
            known.slow.insert(call, usual);
        }
    }
    let failing = failing_claim(sight, &known.failing);
    let slow = slow_claim(sight, &known.slow);
    failing.into_iter().chain(slow).collect()
}

/// Whether a call fails more often than it did, and how often it did.
fn fails(sight: &CallSight<'_>, which: (Call, Errno)) -> Option<Before> {
    let weight = weight(which.0, which.1);
    let windows_s = match weight {
        Weight::Never => return None,
        Weight::Routine => &WINDOWS_S[1..],
        Weight::Grave => &WINDOWS_S,
    };
    windows_s.iter().find_map(|window_s| {
        let recent = sight.failures(which, *window_s);
        let begin_ns = sight.ago(*window_s);
        let known_from = sight
            .history
            .known_from()?
            .max(sight.ago(window_s + BEFORE_S));
        let known_ns = begin_ns.checked_sub(known_from)?;
        let before = sight
            .history
            .failures(which.0, which.1, known_from, begin_ns);
        let is_so = match weight {
            Weight::Grave => is_grave(&recent, known_ns),
            _ => is_no_routine(&recent, before.share, known_ns),
        };
        let (now, then) = (recent.share, before.share);
        // Who makes more calls has more of them fail, and so has who fails more often: neither may explain it.
        let by_time = is_no_chance(now.hit, window_s * SECOND_NS, then.hit, known_ns);
        let by_calls = if then.of == 0 {
            // Nobody knows what is usual with a call that was never made.
            now.hit >= GRAVE_MANY
        } else {
            let chance = now.of as f64 / (now.of + then.of) as f64;
            at_least(now.hit, now.hit + then.hit, chance) < CHANCE_MAX
        };
        let lasts = sight.failures(which, WINDOWS_S[0]).share.hit > 0;
        (is_so && by_time && by_calls && lasts).then_some(Before {
            since_ns: recent.first_ns?,
            share: then,
            known_ns,
        })
    })
}

fn is_grave(recent: &Failures, known_ns: u64) -> bool {
    recent.share.hit >= GRAVE_MIN
        && recent.moments >= GRAVE_MOMENTS
        && known_ns >= KNOWN_S * SECOND_NS
        && (recent.share.ratio() >= GRAVE_RATIO_MIN || recent.share.hit >= GRAVE_MANY)
}

fn is_no_routine(recent: &Failures, before: Share, known_ns: u64) -> bool {
    recent.share.hit >= ROUTINE_MIN
        && recent.moments >= ROUTINE_MOMENTS
        && recent.share.ratio() >= ROUTINE_RATIO_MIN
        && known_ns >= ROUTINE_KNOWN_S * SECOND_NS
        && before.of >= ROUTINE_BEFORE_MIN
        && before.ratio() <= ROUTINE_BEFORE_RATIO_MAX
}

/// Whether it fails more often than before all the same.
fn still_fails(sight: &CallSight<'_>, which: (Call, Errno), before: &Before) -> bool {
    let now = sight.failures(which, CLEAN_S).share.hit as f64 / CLEAN_S as f64;
    let then = before.share.hit as f64 * SECOND_NS as f64 / before.known_ns.max(1) as f64;
    now > 2.0 * then
}

fn failing_claim(
    sight: &CallSight<'_>,
    failing: &BTreeMap<(Call, Errno), Before>,
) -> Option<Claim> {
    let mut all: Vec<_> = failing
        .iter()
        .map(|(which, before)| {
            let since_s = sight.now_ns.saturating_sub(before.since_ns) / SECOND_NS + 1;
            let window_s = since_s.clamp(WINDOWS_S[0], WINDOWS_S[1]);
            let after_ns = before
                .since_ns
                .saturating_sub(BEAT_NS)
                .max(sight.ago(window_s));
            let share = sight
                .history
                .failures(which.0, which.1, after_ns, sight.now_ns)
                .share;
            (*which, *before, share, window_s)
        })
        .collect();
    all.sort_by_key(|(_, _, share, _)| std::cmp::Reverse(share.hit));
    let worst = all.first()?.2;
    let evidence = all.iter().take(NAMED_MAX);
    let mut evidence: Vec<String> = evidence
        .map(|((call, errno), before, share, window_s)| {
            format!(
                "{call} failed {} of {} times with {errno} within {window_s} s, {} of {} times in the {} s before",
                share.hit,
                share.of,
                before.share.hit,
                before.share.of,
                before.known_ns / SECOND_NS,
            )
        })
        .collect();
    if all.len() > NAMED_MAX {
        evidence.push(format!("and {} more", all.len() - NAMED_MAX));
    }
    Some(Claim {
        kind: Kind::FailingSyscalls,
        direction: Direction::Unknown,
        size: Size::of_share(worst),
        since_ns: failing.values().map(|before| before.since_ns).min()?,
        evidence,
    })
}

/// How long half of the last calls took at least and at most, in microseconds, with how many they are.
fn recent_us(
    sight: &CallSight<'_>,
    call: Call,
    until_ns: u64,
) -> Option<(RangeInclusive<u64>, u64, u64)> {
    SLOW_WINDOWS_S.iter().find_map(|window_s| {
        let after_ns = until_ns.saturating_sub(window_s * SECOND_NS);
        let took = sight.history.took(call, after_ns, until_ns);
        let median = took.median_us().filter(|_| took.count >= SLOW_MIN)?;
        Some((median.start..=median.end, took.count, after_ns))
    })
}

/// Whether it takes long now, and so many times what is usual.
fn is_slow(sight: &CallSight<'_>, call: Call, usual_us: u64, grown: u64) -> bool {
    recent_us(sight, call, sight.now_ns)
        .is_some_and(|(us, ..)| is_long(*us.start(), usual_us, grown))
}

fn is_long(us: u64, usual_us: u64, grown: u64) -> bool {
    us >= SLOW_MIN_US && us >= usual_us.saturating_mul(grown)
}

/// Whether a call takes long that did not, twice in a row, and how long it took.
fn becomes_slow(sight: &CallSight<'_>, call: Call) -> Option<Usual> {
    let earlier_ns = sight.now_ns.saturating_sub(BEAT_NS);
    let (_, _, begin_ns) = recent_us(sight, call, earlier_ns)?;
    let known_from = sight.history.known_from()?.max(sight.ago(BEFORE_S));
    if begin_ns < known_from + KNOWN_S * SECOND_NS {
        return None;
    }
    let before = sight.history.took(call, known_from, begin_ns);
    // At most so long: what it took is known by its bucket.
    let usual_us = before
        .median_us()
        .filter(|_| before.count >= USUAL_MIN)?
        .end;
    let is_long_at = |at_ns: u64| {
        let recent = recent_us(sight, call, at_ns);
        recent.filter(|(us, ..)| is_long(*us.start(), usual_us, GROWN))
    };
    is_long_at(earlier_ns)?;
    let (_, _, since_ns) = is_long_at(sight.now_ns)?;
    Some(Usual {
        since_ns,
        us: usual_us,
    })
}

fn slow_claim(sight: &CallSight<'_>, slow: &BTreeMap<Call, Usual>) -> Option<Claim> {
    let recent = slow.iter().filter_map(|(call, usual)| {
        let (us, count, after_ns) = recent_us(sight, *call, sight.now_ns)?;
        Some((*call, *us.start(), usual.us, count, after_ns))
    });
    let mut recent: Vec<_> = recent.collect();
    recent.sort_by_key(|(_, us, ..)| std::cmp::Reverse(*us));
    let &(_, us, before_us, ..) = recent.first()?;
    let ms = |us: u64| us as f64 / 1e3;
    let evidence = recent.iter().take(NAMED_MAX);
    let evidence = evidence.map(|(call, us, before_us, count, after_ns)| {
        format!(
            "half of {count} {call} took {:.1} ms or longer within {} s, {:.1} ms or less before",
            ms(*us),
            sight.now_ns.saturating_sub(*after_ns) / SECOND_NS,
            ms(*before_us),
        )
    });
    Some(Claim {
        kind: Kind::SlowSyscalls,
        direction: Direction::Unknown,
        size: Size::Time {
            us,
            before_us: Some(before_us),
        },
        since_ns: slow.values().map(|usual| usual.since_ns).min()?,
        evidence: evidence.collect(),
    })
}
