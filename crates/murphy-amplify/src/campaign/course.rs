//! The course of a trial is when its phases were, and how probes and processes did meanwhile: what a picture of it is drawn from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::recorder::figures::{Figures, Gauge};

/// A picture is not finer than this.
const BINS: u64 = 120;
/// Processes are looked at so often, in nanoseconds.
const EVERY_NS: u64 = 500_000_000;

/// What is done in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    /// Nothing is attached.
    Baseline,
    /// Attached, and nothing injected.
    Control,
    /// Injected.
    Injection,
    /// Over.
    Recovery,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Baseline => "baseline",
            Self::Control => "control",
            Self::Injection => "injection",
            Self::Recovery => "recovery",
        })
    }
}

/// When a phase was, in nanoseconds since the first one began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What was done.
    pub doing: Doing,
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
}

/// What the looks of a probe that began in a short time saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Its middle, in nanoseconds since the first phase began.
    pub at_ns: u64,
    /// How many looks there were.
    pub looks: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The median of how long the others took, in microseconds; none where there was none.
    pub median_us: Option<u64>,
}

/// How a probe did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which.
    pub probe: String,
    /// From first to last. Times without a look are left out.
    pub points: Vec<Point>,
}

/// What processes took of the machine at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// When, in nanoseconds since the first phase began.
    pub at_ns: u64,
    /// Processors since the look before: 1 is one of them, all the time.
    pub processors: f64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// The course of a trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Its phases, in their order.
    pub phases: Vec<Phase>,
    /// Its probes.
    pub probes: Vec<Line>,
    /// What the target's processes took.
    pub taken: Vec<Taken>,
}

impl Course {
    /// How long all of it took, in nanoseconds.
    pub fn length_ns(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.to_ns)
    }
}

/// What looks saw in each bin of a time: `looks` are when each began, and how long it took in microseconds, or that it failed.
pub fn points(from_ns: u64, to_ns: u64, looks: &[(u64, Option<u64>)]) -> Vec<Point> {
    let width = (to_ns.saturating_sub(from_ns) / BINS).max(1);
    let mut points: Vec<Point> = Vec::new();
    let mut took: Vec<u64> = Vec::new();
    let median = |took: &mut Vec<u64>| {
        took.sort_unstable();
        let middle = took.get(took.len() / 2).copied();
        took.clear();
        middle
    };
    for (at_ns, took_us) in looks {
        if !(from_ns..to_ns).contains(at_ns) {
            continue;
        }
        let middle = (at_ns - from_ns) / width * width + width / 2;
        if points.last().is_none_or(|point| point.at_ns != middle) {
            if let Some(last) = points.last_mut() {
                last.median_us = median(&mut took);
            }
            points.push(Point {
                at_ns: middle,
                ..Point::default()
            });
        }
        if let Some(point) = points.last_mut() {
            point.looks += 1;
            point.failed += u64::from(took_us.is_none());
            took.extend(took_us);
        }
    }
    if let Some(last) = points.last_mut() {
        last.median_us = median(&mut took);
    }
    points
}

/// Looks at processes every now and then while a trial lasts.
#[derive(Debug, Default)]
pub struct Taking {
    gauge: Gauge,
    pids: Vec<u32>,
    begun_ns: u64,
    last_ns: u64,
    taken: Vec<Taken>,
}

impl Taking {
    /// Begins anew.
    pub fn begin(&mut self, now_ns: u64) {
        *self = Self {
            begun_ns: now_ns,
            ..Self::default()
        };
    }

    /// At whom to look from now on.
    pub fn of(&mut self, pids: Vec<u32>) {
        self.pids = pids;
    }

    /// Looks, if it is time to.
    pub fn look(&mut self, now_ns: u64) {
        let since = now_ns.saturating_sub(self.last_ns);
        if since < EVERY_NS || self.pids.is_empty() {
            return;
        }
        let is_first = self.last_ns == 0;
        self.last_ns = now_ns;
        let figures = self.gauge.look(&self.pids);
        // The first one is only what the next is compared with.
        if !is_first {
            self.taken
                .push(taken(figures, now_ns.saturating_sub(self.begun_ns), since));
        }
    }

    /// What was seen.
    pub fn end(&mut self) -> Vec<Taken> {
        std::mem::take(&mut self.taken)
    }
}

fn taken(figures: Figures, at_ns: u64, since_ns: u64) -> Taken {
    Taken {
        at_ns,
        processors: figures.cpu_ns as f64 / since_ns as f64,
        memory_bytes: figures.memory_bytes,
        descriptors: figures.descriptors,
        threads: figures.threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted_by_when_they_began() {
        let second = 1_000_000_000;
        // 240 looks in 60 s: two in each half of a second.
        let looks: Vec<_> = (0..240u64)
            .map(|place| {
                let at = 7 * second + place * second / 4;
                (at, (place % 4 != 3).then_some(100 + place))
            })
            .collect();
        let points = points(7 * second, 67 * second, &looks);
        assert_eq!(points.len(), 120);
        assert_eq!(
            (points[0].at_ns, points[0].looks, points[0].failed),
            (second / 4, 2, 0)
        );
        assert_eq!(
            (points[0].median_us, points[1].median_us),
            (Some(101), Some(102))
        );
        assert_eq!(points[1].failed, 1);
        assert_eq!(super::points(0, 1, &looks), []);
    }

    #[test]
    fn a_process_is_looked_at_now_and_then() {
        let mut taking = Taking::default();
        taking.begin(1);
        taking.of(vec![std::process::id()]);
        for time in 0..40 {
            taking.look(1 + time * EVERY_NS / 4 + EVERY_NS);
        }
        let taken = taking.end();
        assert_eq!(taken.len(), 9);
        assert!(
            taken
                .iter()
                .all(|one| one.memory_bytes > 1 << 20 && one.threads > 0)
        );
        assert!(taking.end().is_empty());
    }
}
