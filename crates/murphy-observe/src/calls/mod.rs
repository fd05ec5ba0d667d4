//! The system calls of a target: what they have returned and how long they took, moment by moment.

mod errors;
mod now;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::AddAssign,
};

use murphy_sys::syscalls::{Call, Errno, Took};

use crate::share::Share;

pub use errors::{Weight, weight};
pub use now::{CallNow, CallsNow, TimesNow};
pub use watch::CallWatch;

/// What a call has returned in a short time: none of those that did not fail.
pub type Answers = BTreeMap<(Call, Option<Errno>), u64>;

/// A short time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallMoment {
    /// When it ended, in nanoseconds since boot.
    pub at_ns: u64,
    /// How often each call has returned what.
    pub returned: Answers,
    /// How long those took that are timed.
    pub lasted: BTreeMap<Call, Took>,
}

impl CallMoment {
    /// How often a call has failed so, of how often it has returned. What is begun again has not returned.
    pub fn share(&self, call: Call, errno: Errno) -> Share {
        let least = Errno::of(0);
        let all = self.returned.range((call, least)..);
        let all = all.take_while(|((one, _), _)| *one == call);
        let ended = all.filter(|((_, why), _)| !why.is_some_and(Errno::is_restart));
        ended.fold(Share::default(), |sum, ((_, why), calls)| Share {
            hit: sum.hit + if *why == Some(errno) { *calls } else { 0 },
            of: sum.of + calls,
        })
    }
}

/// How often a call has failed in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How often of how often.
    pub share: Share,
    /// In how many moments.
    pub moments: usize,
    /// When it did so first, in nanoseconds since boot.
    pub first_ns: Option<u64>,
}

impl AddAssign<(u64, Share)> for Failures {
    fn add_assign(&mut self, (at_ns, share): (u64, Share)) {
        self.share = self.share + share;
        if share.hit > 0 {
            self.moments += 1;
            self.first_ns = self.first_ns.or(Some(at_ns));
        }
    }
}

/// The last moments of a target, one after the other.
#[derive(Clone, Debug, Default)]
pub struct CallHistory(VecDeque<CallMoment>);

impl CallHistory {
    /// No more moments are kept.
    pub const MOMENTS_MAX: usize = 160;

    /// One more.
    pub fn push(&mut self, moment: CallMoment) {
        if self.0.len() >= Self::MOMENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(moment);
    }

    /// Those that ended after a time until another, the earliest first.
    pub fn between(&self, after_ns: u64, until_ns: u64) -> impl Iterator<Item = &CallMoment> {
        let first = self.0.partition_point(|moment| moment.at_ns <= after_ns);
        let end = self.0.partition_point(|moment| moment.at_ns <= until_ns);
        self.0.range(first..end.max(first))
    }

    /// How often a call has failed so after a time until another.
    pub fn failures(&self, call: Call, errno: Errno, after_ns: u64, until_ns: u64) -> Failures {
        let mut sum = Failures::default();
        for moment in self.between(after_ns, until_ns) {
            sum += (moment.at_ns, moment.share(call, errno));
        }
        sum
    }

    /// How long a call took after a time until another.
    pub fn took(&self, call: Call, after_ns: u64, until_ns: u64) -> Took {
        let mut sum = Took::default();
        for moment in self.between(after_ns, until_ns) {
            if let Some(took) = moment.lasted.get(&call) {
                sum += took;
            }
        }
        sum
    }

    /// What has failed after a time, and how.
    pub fn failed_since(&self, at_ns: u64) -> BTreeSet<(Call, Errno)> {
        let returned = self.between(at_ns, u64::MAX).flat_map(|one| &one.returned);
        let failed = returned.filter_map(|((call, errno), _)| Some((*call, (*errno)?)));
        failed.collect()
    }

    /// What was timed after a time.
    pub fn timed_since(&self, at_ns: u64) -> BTreeSet<Call> {
        let lasted = self.between(at_ns, u64::MAX).flat_map(|one| &one.lasted);
        lasted.map(|(call, _)| *call).collect()
    }

    /// From when on anything is known, in nanoseconds since boot.
    pub fn known_from(&self) -> Option<u64> {
        self.0.front().map(|moment| moment.at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_all_that_a_call_has_returned() {
        let call = |name: &str| Call::named(name).unwrap();
        let (eio, enospc) = (Errno::named("EIO"), Errno::named("ENOSPC"));
        let restart = Errno::of(512);
        let returned = [
            ((call("fsync"), None), 28),
            ((call("fsync"), eio), 12),
            ((call("fsync"), enospc), 2),
            ((call("fsync"), restart), 50),
            ((call("write"), eio), 7),
            ((call("openat"), eio), 9),
        ];
        let moment = CallMoment {
            returned: returned.into_iter().collect(),
            ..CallMoment::default()
        };
        let share = moment.share(call("fsync"), eio.unwrap());
        assert_eq!(share, Share { hit: 12, of: 42 });
        let none = moment.share(call("rename"), eio.unwrap());
        assert_eq!(none, Share::default());
    }
}
