//! Watching keeps every look of a campaign's probes, by their times: phases take theirs from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use murphy_run::probe::{Look, Outcome, Pace, Probe, Reason, Watch, WatchError};

use super::{
    course::{Line, points},
    effect::Seen,
};

/// The looks of one probe.
#[derive(Clone, Debug, Default)]
struct Looks {
    looks: Vec<Look>,
}

/// Probes that look as long as this is here.
pub struct Watching {
    watch: Watch,
    names: Vec<String>,
    seen: Arc<Mutex<Vec<Looks>>>,
    pace: Pace,
}

impl Watching {
    /// Begins.
    pub fn begin(probes: &[Probe], pace: Pace) -> Result<Self, WatchError> {
        let seen = Arc::new(Mutex::new(vec![Looks::default(); probes.len()]));
        let heard = Arc::clone(&seen);
        let watch = Watch::start(probes, pace, move |seen| {
            if let Some(one) = lock(&heard).get_mut(seen.probe) {
                one.looks.push(seen.look);
            }
        })?;
        Ok(Self {
            watch,
            names: probes.iter().map(Probe::name).collect(),
            seen,
            pace,
        })
    }

    /// How often is looked, and how long a look takes at most.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// What each probe is called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What each probe saw by looks that began in a time, in nanoseconds of boottime. Looks that take long are there a little later.
    pub fn between(&self, from_ns: u64, to_ns: u64) -> Vec<Seen> {
        let all = lock(&self.seen);
        all.iter()
            .map(|one| {
                let mut seen = Seen::default();
                let within = |look: &&Look| (from_ns..to_ns).contains(&look.at_ns);
                one.looks
                    .iter()
                    .filter(within)
                    .for_each(|look| seen.add(look));
                seen
            })
            .collect()
    }

    /// How each probe did in a time, by looks that began in it.
    pub fn lines(&self, from_ns: u64, to_ns: u64) -> Vec<Line> {
        let all = lock(&self.seen);
        let line = |(probe, one): (&String, &Looks)| {
            let look = |look: &Look| match look.outcome {
                Outcome::Passed { .. } => Some((look.at_ns, Some(look.took_ns / 1000))),
                Outcome::Failed { .. } => Some((look.at_ns, None)),
                Outcome::Unable { .. } => None,
            };
            let looks: Vec<_> = one.looks.iter().filter_map(look).collect();
            Line {
                probe: probe.clone(),
                points: points(from_ns, to_ns, &looks),
            }
        };
        self.names.iter().zip(all.iter()).map(line).collect()
    }

    /// Since when all probes have passed without a break, at least one look each after a time; none while one does not.
    pub fn steady_since(&self, after_ns: u64) -> Option<u64> {
        let all = lock(&self.seen);
        let mut since = after_ns;
        for one in all.iter() {
            let looks = one.looks.iter().filter(|look| look.at_ns >= after_ns);
            let mut own = None;
            for look in looks {
                own = match look.outcome {
                    Outcome::Passed { .. } => own.or(Some(look.at_ns)),
                    Outcome::Failed { .. } | Outcome::Unable { .. } => None,
                };
            }
            since = since.max(own?);
        }
        Some(since)
    }

    /// The first probe whose last look since a time did not pass, and why; one that has not looked has timed out.
    pub fn failing(&self, after_ns: u64) -> Option<(String, Reason)> {
        let all = lock(&self.seen);
        let mut pairs = self.names.iter().zip(all.iter());
        pairs.find_map(|(name, one)| {
            let last = one.looks.last().filter(|look| look.at_ns >= after_ns);
            match last.map(|look| &look.outcome) {
                Some(Outcome::Passed { .. }) => None,
                Some(Outcome::Failed { reason, .. }) => Some((name.clone(), *reason)),
                Some(Outcome::Unable { .. }) | None => Some((name.clone(), Reason::TimedOut)),
            }
        })
    }

    /// Forgets what was seen before a time.
    pub fn forget(&self, before_ns: u64) {
        for one in lock(&self.seen).iter_mut() {
            one.looks.retain(|look| look.at_ns >= before_ns);
        }
    }

    /// Ends.
    pub fn end(self) -> Result<(), WatchError> {
        self.watch.stop().map(drop)
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
