//! Readings are what the clocks of a member showed while it was skewed, each time they were read.

use std::fmt::Write;

use murphy_fault::time::Skewed;
use serde::Serialize;
use serde_json::{Value, json};

/// A clock that is this far from the true one is skewed; readings are exact to microseconds.
const EFFECT_NS: i64 = 1_000_000;
/// A clock that is this far from the true one afterwards still is; coarse ones stand still for up to 10 ms.
const LEFT_NS: i64 = 15_000_000;

/// Every reading in short; nanoseconds from the true time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Readings {
    /// What was asked for.
    asked: String,
    /// The least that the time of day was from the true one.
    lowest_ns: Option<i64>,
    /// The most.
    highest_ns: Option<i64>,
    /// How often all clocks of a process were read.
    #[serde(rename = "readings")]
    total: u64,
    /// How often they showed what was asked for.
    as_asked: u64,
    /// Processes that carried it, one after the other or together.
    processes: usize,
    /// The furthest that a clock was from the true time when it was over; absent where nobody was left.
    after_ns: Option<i64>,
    /// Clocks that are still wrong.
    #[serde(skip)]
    pub left: Vec<String>,
    /// Processes that could not be skewed, and why.
    #[serde(skip)]
    escapes: Vec<String>,
}

impl Readings {
    pub fn of(asked: String) -> Self {
        Self {
            asked,
            ..Self::default()
        }
    }

    /// Takes down what was read just now.
    pub fn add(&mut self, effect: &Skewed) {
        self.total += effect.living;
        self.as_asked += effect.skewed;
        self.processes = effect.processes.len();
        self.escapes.clone_from(&effect.escapes);
        let living = effect.processes.iter().filter(|process| !process.gone);
        for seen in living.filter_map(|process| process.clocks.first()) {
            let ns = seen.during_ns;
            self.lowest_ns = Some(self.lowest_ns.map_or(ns, |lowest| lowest.min(ns)));
            self.highest_ns = Some(self.highest_ns.map_or(ns, |highest| highest.max(ns)));
        }
    }

    /// Takes down what the clocks show now that it is over.
    pub fn finish(&mut self, effect: &Skewed) {
        self.processes = effect.processes.len();
        self.escapes.clone_from(&effect.escapes);
        for process in &effect.processes {
            for clock in &process.clocks {
                let Some(after_ns) = clock.after_ns.map(i64::abs) else {
                    continue;
                };
                self.after_ns = Some(self.after_ns.unwrap_or(0).max(after_ns));
                if after_ns > LEFT_NS {
                    let (pid, name, off) = (process.pid, clock.clock, shown(after_ns));
                    self.left.push(format!("{name} of pid {pid} is {off} off"));
                }
            }
        }
    }

    /// Whether a clock was seen to be wrong, in the way it was asked to be.
    pub fn had_effect(&self) -> bool {
        let is_wrong = |ns: Option<i64>| ns.is_some_and(|ns| ns.abs() >= EFFECT_NS);
        self.as_asked > 0 && (is_wrong(self.lowest_ns) || is_wrong(self.highest_ns))
    }

    pub fn text(&self) -> String {
        let seen = match (self.lowest_ns, self.highest_ns) {
            (Some(low), Some(high)) if shown(low) == shown(high) => shown(low),
            (Some(low), Some(high)) => format!("{} to {}", shown(low), shown(high)),
            _ => "nothing".into(),
        };
        let mut text = format!(
            "{}; clock seen {seen} off, as asked at {} of {} readings",
            self.asked, self.as_asked, self.total
        );
        // Writing to a string does not fail.
        if self.processes > 1 {
            let _ = write!(text, " in {} processes", self.processes);
        }
        for escape in &self.escapes {
            let _ = write!(text, "; escaped: {escape}");
        }
        if let Some(after_ns) = self.after_ns {
            let after = shown(after_ns);
            let _ = write!(text, "; {} off afterwards", after.trim_start_matches('+'));
        }
        text
    }

    /// For the events: what the family measured last, and every reading in short.
    pub fn value(&self, effect: &Skewed) -> Value {
        let mut value = json!(effect);
        value["seen"] = json!(self);
        value
    }
}

/// A shift as people read it, to the millisecond and below that to the microsecond: `-57m59.888s`.
fn shown(ns: i64) -> String {
    let us = ns.unsigned_abs().div_ceil(500) / 2;
    let ms = (us + 500) / 1_000;
    let size = match (us, ms) {
        (0, _) => return "0s".into(),
        (..1_000, _) => format!("{us}us"),
        (_, ..1_000) => format!("{ms}ms"),
        _ => {
            let (h, m) = (ms / 3_600_000, ms / 60_000 % 60);
            let part = |n: u64, unit: &str| (n > 0).then(|| format!("{n}{unit}"));
            let seconds = match (ms / 1_000 % 60, ms % 1_000) {
                (s, 0) => part(s, "s"),
                (s, ms) => Some(format!("{s}.{ms:03}s")),
            };
            let parts = [part(h, "h"), part(m, "m"), seconds];
            parts.into_iter().flatten().collect()
        }
    };
    format!("{}{size}", if ns < 0 { '-' } else { '+' })
}

#[cfg(test)]
mod tests {
    use murphy_fault::time::{ClockSeen, How, ProcessSkew};

    use super::*;

    const S: i64 = 1_000_000_000;

    fn process(during_ns: i64, after_ns: Option<i64>, gone: bool) -> ProcessSkew {
        ProcessSkew {
            pid: 42,
            name: "etcd".into(),
            how: How::Hooked,
            threads: 9,
            stopped_us: 80,
            moved: 0,
            gone,
            clocks: vec![ClockSeen {
                clock: "CLOCK_REALTIME",
                before_ns: 0,
                asked_ns: during_ns,
                during_ns,
                after_ns,
            }],
            has_shown: true,
            others_ns: 0,
            covered: None,
        }
    }

    fn effect(processes: Vec<ProcessSkew>) -> Skewed {
        let living = processes.iter().filter(|p| !p.gone).count() as u64;
        Skewed {
            living,
            skewed: living,
            processes,
            ..Skewed::default()
        }
    }

    #[test]
    fn a_strobe_is_said_with_both_its_ends() {
        let mut readings = Readings::of("strobe +2s every 100ms of realtime".into());
        for during_ns in [2 * S, 300, 2 * S - 400, 12] {
            readings.add(&effect(vec![process(during_ns, None, false)]));
        }
        readings.finish(&effect(vec![process(12, Some(-900), false)]));
        assert!(readings.had_effect());
        assert_eq!(
            readings.text(),
            "strobe +2s every 100ms of realtime; clock seen 0s to +2s off, as asked at 4 of 4 readings; \
             1us off afterwards"
        );
    }

    #[test]
    fn a_member_that_was_started_again_is_read_on() {
        let mut readings = Readings::of("offset -1h of realtime".into());
        readings.add(&effect(vec![process(-3600 * S, None, false)]));
        let gone = || process(-3600 * S, None, true);
        readings.add(&effect(vec![gone()]));
        readings.add(&effect(vec![gone(), process(-3600 * S, None, false)]));
        readings.finish(&effect(vec![gone(), process(-3600 * S, Some(0), false)]));
        assert_eq!(
            readings.text(),
            "offset -1h of realtime; clock seen -1h off, as asked at 2 of 2 readings in 2 processes; 0s off \
             afterwards"
        );
        assert!(readings.left.is_empty());
    }

    #[test]
    fn shifts_are_said_with_few_digits() {
        let said = [0, 499, -1_400, 999_600, -20_000_000, 61_001_000_000].map(shown);
        let expected = ["0s", "0s", "-1us", "+1ms", "-20ms", "+1m1.001s"];
        assert_eq!(said, expected);
        let said = [-3_479_888 * S / 1_000, 7_200 * S, -3_600 * S - 400_000].map(shown);
        assert_eq!(said, ["-57m59.888s", "+2h", "-1h"]);
    }

    #[test]
    fn what_did_nothing_or_is_left_is_told() {
        let mut readings = Readings::of("drift 10000 ppm of realtime".into());
        readings.add(&effect(vec![process(400, None, false)]));
        assert!(!readings.had_effect());
        readings.finish(&effect(vec![process(400, Some(S), false)]));
        assert_eq!(readings.left, ["CLOCK_REALTIME of pid 42 is +1s off"]);
    }
}
