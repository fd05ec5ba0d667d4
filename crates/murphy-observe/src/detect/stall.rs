//! Nothing passes single connections, or new ones are not answered, while others pass or pings are answered.

use super::{SECOND_NS, Sight};
use crate::{
    finding::{Claim, Direction, Kind, Size},
    pings::Ping,
    slice::Slice,
};

/// What is looked at, in seconds: a partition is known sooner.
const WINDOW_S: u64 = 3;
/// A connection is asked for again in ever longer intervals: at most so many seconds are looked at.
const ASKED_S: u64 = 60;
/// One segment in so many lost is much.
const LOSSY: u64 = 20;

/// Claims connections that are half open, and connects that time out.
pub fn detect(sight: &Sight<'_>) -> Vec<Claim> {
    let Some(last) = sight.history.last() else {
        return Vec::new();
    };
    if sight.now_ns < sight.cut_until_ns {
        // What was stuck while nothing came through is not told yet that it may go on, or is over.
        return Vec::new();
    }
    let recent = sight.history.sum_since(sight.ago(WINDOW_S));
    let answered = sight.pings.is_some_and(|pings| {
        let came = pings.latest().take(3).filter_map(Ping::took);
        came.count() == 3
    });
    let others_pass = recent.delivered > 0;
    if !(answered || others_pass) {
        return Vec::new();
    }
    let mut claims = Vec::new();
    let stalled = row(sight, |slice| slice.stalled > 0);
    // Where much is lost, some connection or other is always waiting, and goes on to for a while.
    let lossy_ns = stalled.map_or(sight.now_ns, |since_ns| since_ns.min(sight.now_ns));
    let around = sight
        .history
        .sum_since(lossy_ns.saturating_sub(WINDOW_S * SECOND_NS));
    let is_lossy = around.lost() * LOSSY > around.delivered && others_pass;
    if let Some(since_ns) = stalled.filter(|since_ns| *since_ns <= sight.ago(WINDOW_S) && !is_lossy)
    {
        claims.push(Claim {
            kind: Kind::HalfOpen,
            direction: Direction::Unknown,
            size: Size::Count(last.stalled.into()),
            since_ns,
            evidence: vec![format!(
                "on {} of {} connections the timer of retransmits has run out twice in a row for {WINDOW_S} s, while {}",
                last.stalled,
                last.active,
                if others_pass { "others pass" } else { "pings are answered" }
            )],
        });
    }
    let unanswered = recent.timed_out + u64::from(last.asking);
    let is_asked_again = sight.history.sum_since(sight.ago(ASKED_S)).syn_retransmits > 0;
    if unanswered > 0 && is_asked_again && recent.connected == 0 {
        claims.push(Claim {
            kind: Kind::Timeouts,
            direction: Direction::Unknown,
            size: Size::Count(unanswered),
            since_ns: row(sight, |slice| slice.asking > 0).unwrap_or(sight.now_ns),
            evidence: vec![format!(
                "{} connections wait for an answer, {} have timed out within {WINDOW_S} s; they were asked for again",
                last.asking, recent.timed_out
            )],
        });
    }
    claims
}

/// Since when it is so in each slice until now; none if it is not.
fn row(sight: &Sight<'_>, is_so: impl Fn(&Slice) -> bool) -> Option<u64> {
    let slices = sight.history.until(sight.now_ns);
    slices
        .take_while(|slice| is_so(slice))
        .last()
        .map(|slice| slice.at_ns)
}
