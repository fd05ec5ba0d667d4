//! The ground is what happens in a whole network namespace, whatever connection it is of: what its kernel has counted, and
//! the packets that it has dropped with its reason for that.

mod clocks;
mod counted;
mod watch;

use std::{collections::VecDeque, net::IpAddr};

use murphy_sys::drops::{DropReason, Dropped, Meaning};

pub use clocks::{Clocks, WrongClock};
pub use counted::Counted;
pub use watch::GroundWatch;

/// Beyond so many a moment tells whom packets were from or to only of those that were dropped most.
const LUMPS_MAX: usize = 64;

/// Packets that were dropped for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lump {
    /// Why.
    pub reason: DropReason,
    /// What that says of the network.
    pub meaning: Meaning,
    /// Whom they were from or to, where that is known.
    pub peer: Option<IpAddr>,
    /// Whether they came from a device, or were to be sent.
    pub is_received: bool,
    /// How many.
    pub packets: u64,
}

impl From<&Dropped> for Lump {
    fn from(dropped: &Dropped) -> Self {
        Self {
            reason: dropped.reason,
            meaning: dropped.reason.meaning(),
            peer: dropped.peer,
            is_received: dropped.is_received,
            packets: dropped.packets,
        }
    }
}

/// A short time in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// When it ended, in nanoseconds since boot.
    pub at_ns: u64,
    /// By how much the kernel's counters have grown.
    pub counted: Counted,
    /// What was dropped.
    pub dropped: Vec<Lump>,
}

impl Moment {
    /// How many packets were dropped that a chooser takes.
    pub fn packets(&self, is_meant: impl Fn(&Lump) -> bool) -> u64 {
        let meant = self.dropped.iter().filter(|lump| is_meant(lump));
        meant.map(|lump| lump.packets).sum()
    }

    /// Keeps the greatest lumps, and of the others why, not whom.
    fn fit(&mut self) {
        if self.dropped.len() <= LUMPS_MAX {
            return;
        }
        self.dropped
            .sort_unstable_by_key(|lump| std::cmp::Reverse(lump.packets));
        for lump in self.dropped.split_off(LUMPS_MAX / 2) {
            let mut known = self.dropped.iter_mut();
            let same = known.find(|one| {
                let of = |lump: &Lump| (lump.reason, lump.is_received);
                one.peer.is_none() && of(one) == of(&lump)
            });
            match same {
                Some(same) => same.packets += lump.packets,
                None => self.dropped.push(Lump { peer: None, ..lump }),
            }
        }
    }
}

/// The last moments of a namespace, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Ground(VecDeque<Moment>);

impl Ground {
    /// No more moments are kept.
    pub const MOMENTS_MAX: usize = 160;

    /// One more.
    pub fn push(&mut self, mut moment: Moment) {
        if self.0.len() >= Self::MOMENTS_MAX {
            self.0.pop_front();
        }
        moment.fit();
        self.0.push_back(moment);
    }

    /// Those that ended after a time, the earliest first.
    pub fn since(&self, at_ns: u64) -> impl Iterator<Item = &Moment> {
        let first = self.0.partition_point(|moment| moment.at_ns <= at_ns);
        self.0.range(first..)
    }

    /// Those that ended until a time, the latest first.
    pub fn until(&self, at_ns: u64) -> impl Iterator<Item = &Moment> {
        let end = self.0.partition_point(|moment| moment.at_ns <= at_ns);
        self.0.range(..end).rev()
    }

    /// What was counted after a time, together.
    pub fn sum_since(&self, at_ns: u64) -> Counted {
        let mut sum = Counted::default();
        self.since(at_ns).for_each(|moment| sum += moment.counted);
        sum
    }

    /// The packets that were dropped after a time and that a chooser takes, by reason, the most frequent first.
    pub fn reasons_since(
        &self,
        at_ns: u64,
        is_meant: impl Fn(&Lump) -> bool,
    ) -> Vec<(DropReason, u64)> {
        let mut reasons: Vec<(DropReason, u64)> = Vec::new();
        let lumps = self.since(at_ns).flat_map(|moment| &moment.dropped);
        for lump in lumps.filter(|lump| is_meant(lump)) {
            match reasons.iter_mut().find(|(one, _)| *one == lump.reason) {
                Some((_, packets)) => *packets += lump.packets,
                None => reasons.push((lump.reason, lump.packets)),
            }
        }
        reasons.sort_unstable_by_key(|(_, packets)| std::cmp::Reverse(*packets));
        reasons
    }
}

/// Reasons with how many packets each has cost: `214 NETFILTER_DROP, 3 QDISC_DROP`.
pub fn reasons_text(reasons: &[(DropReason, u64)]) -> String {
    let each = reasons.iter().take(3);
    let each: Vec<String> = each
        .map(|(reason, packets)| format!("{packets} {reason}"))
        .collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lump(name: &str, last: u8, packets: u64) -> Option<Lump> {
        Some(Lump {
            reason: DropReason::named(name)?,
            meaning: Meaning::Fault,
            peer: Some([10, 0, 0, last].into()),
            is_received: true,
            packets,
        })
    }

    #[test]
    fn of_many_peers_only_those_are_told_that_lose_most() {
        let Some(some) = lump("NETFILTER_DROP", 1, 1) else {
            return;
        };
        let mut ground = Ground::default();
        ground.push(Moment {
            at_ns: 1,
            dropped: (0..200)
                .filter_map(|last| lump("NETFILTER_DROP", last, 1 + u64::from(last)))
                .collect(),
            ..Moment::default()
        });
        let moment = ground.since(0).next().unwrap();
        assert!(moment.dropped.len() <= LUMPS_MAX);
        assert_eq!(moment.dropped[0].peer, Some([10, 0, 0, 199].into()));
        assert_eq!(moment.packets(|_| true), 200 * 201 / 2);
        let reasons = ground.reasons_since(0, |_| true);
        assert_eq!(reasons, [(some.reason, 200 * 201 / 2)]);
        assert_eq!(reasons_text(&reasons), "20100 NETFILTER_DROP");
    }

    #[test]
    fn no_more_moments_are_kept_than_are_looked_at() {
        let mut ground = Ground::default();
        for at_ns in 1..=300 {
            ground.push(Moment {
                at_ns,
                counted: Counted {
                    damaged: 1,
                    ..Counted::default()
                },
                ..Moment::default()
            });
        }
        assert_eq!(ground.until(300).count(), Ground::MOMENTS_MAX);
        assert_eq!(ground.sum_since(290).damaged, 10);
    }
}
