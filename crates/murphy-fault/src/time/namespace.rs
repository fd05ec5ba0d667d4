//! A launched command has its clocks since boot skewed by a time namespace: system calls, timers and waits agree
//! with them, too, which no hook achieves. The namespace is made with the command and goes with it.
//!
//! Only a fixed offset can be had, and only of all clocks of `monotonic` (the raw one goes with it) and `boottime`;
//! everything else is the hook's. Such a clock never runs backwards, whatever the offset: it starts elsewhere.

use murphy_sys::{
    process::ProcessId,
    spawn::TimeOffsets,
    trial::Namespace,
    vdso::{Clock, Timescale, view},
};

use super::{
    ClockSeen, SkewError,
    spec::{Clocks, Spec, SpecError},
};
use crate::span::{Shift, Until};

/// The engine's name.
pub const ENGINE: &str = "timens";

/// What a time namespace does of a skew, and what is left for the hook.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    /// The offsets of the namespace.
    pub offsets: Option<TimeOffsets>,
    /// The clocks it skews.
    pub clocks: Vec<Clock>,
    /// The rest.
    pub rest: Option<Spec>,
}

/// Splits the skew of a command about to be launched.
pub fn split(spec: &Spec) -> Split {
    let only_offset = Spec {
        offset: spec.offset,
        clocks: spec.clocks.clone(),
        force: spec.force,
        // System calls are skewed by a namespace in any case.
        raw: spec.raw,
        ..Spec::default()
    };
    let all = || Split {
        rest: Some(spec.clone()),
        ..Split::default()
    };
    let Some(offset) = spec.offset.filter(|_| only_offset == *spec) else {
        return all();
    };
    if Namespace::Time.trial().is_err() {
        return all();
    }
    let is_whole = |timescales: &[Timescale]| {
        let mut clocks = Clock::all().filter(|clock| timescales.contains(&clock.timescale()));
        clocks.all(|clock| spec.clocks.iter().any(|named| named == clock))
    };
    let mut taken: Vec<Timescale> = Vec::new();
    let mut offsets = TimeOffsets::default();
    if is_whole(&[Timescale::Monotonic]) {
        // A namespace moves the raw clock with the monotonic one.
        taken.extend([Timescale::Monotonic, Timescale::MonotonicRaw]);
        offsets.monotonic_ns = offset.0;
    }
    if is_whole(&[Timescale::Boottime]) {
        taken.push(Timescale::Boottime);
        offsets.boottime_ns = offset.0;
    }
    if taken.is_empty() {
        return all();
    }
    let is_taken = |clock: &Clock| taken.contains(&clock.timescale());
    let rest = spec
        .clocks
        .iter()
        .filter(|clock| !is_taken(clock))
        .collect();
    Split {
        offsets: Some(offsets),
        clocks: Clock::all().filter(is_taken).collect(),
        rest: Clocks::of_list(rest).map(|clocks| Spec {
            clocks,
            ..spec.clone()
        }),
    }
}

impl Split {
    /// Refuses what a clock cannot show.
    pub fn check(&self, until: Until) -> Result<(), SpecError> {
        if let Some(rest) = &self.rest {
            rest.check(until)?;
        }
        let offsets = self.offsets.unwrap_or_default();
        for (name, timescale, ns) in [
            (
                "CLOCK_MONOTONIC",
                Timescale::Monotonic,
                offsets.monotonic_ns,
            ),
            ("CLOCK_BOOTTIME", Timescale::Boottime, offsets.boottime_ns),
        ] {
            // Half of what 64 bits hold is what the kernel lets a namespace reach.
            let shown = timescale.now_ns().checked_add(ns);
            let beyond = match shown {
                Some(shown) if shown < 0 => "before the boot",
                Some(shown) if shown < i64::MAX / 2 => continue,
                _ => "after 146 years, which is as far as a time namespace goes",
            };
            return Err(SpecError::Beyond {
                clock: name.parse().unwrap_or(Clock::REALTIME),
                shift: Shift(ns),
                beyond,
            });
        }
        Ok(())
    }
}

/// What the clocks of a launched command show, read inside its namespace.
pub fn seen(process: ProcessId, split: &Split) -> Result<Vec<ClockSeen>, SkewError> {
    let shifts = view::namespace_shifts(process.pid)?;
    let offsets = split.offsets.unwrap_or_default();
    Ok(shifts
        .into_iter()
        .filter(|shift| split.clocks.contains(&shift.clock))
        .map(|shift| ClockSeen {
            clock: shift.clock.name(),
            before_ns: 0,
            asked_ns: match shift.clock.timescale() {
                Timescale::Boottime => offsets.boottime_ns,
                _ => offsets.monotonic_ns,
            },
            during_ns: shift.shift_ns,
            after_ns: None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(clocks: &str) -> Spec {
        Spec {
            offset: Some("+1h".parse().unwrap()),
            clocks: clocks.parse().unwrap(),
            ..Spec::default()
        }
    }

    #[test]
    fn whole_clocks_since_boot_go_to_the_namespace_and_the_rest_to_the_hook() {
        if Namespace::Time.trial().is_err() {
            return;
        }
        let hour = 3_600_000_000_000;
        let both = split(&spec("realtime,monotonic,monotonic-raw,boottime"));
        let offsets = TimeOffsets {
            monotonic_ns: hour,
            boottime_ns: hour,
        };
        assert_eq!(both.offsets, Some(offsets));
        assert_eq!(both.rest.unwrap().clocks.to_string(), "realtime");
        assert_eq!(split(&spec("boottime")).rest, None);
        assert_eq!(
            split(&spec("monotonic")).clocks.len(),
            3,
            "the raw clock goes with it"
        );
        assert_eq!(
            split(&spec("CLOCK_MONOTONIC")).offsets,
            None,
            "a part is the hook's"
        );
        assert_eq!(split(&spec("monotonic-raw")).offsets, None);
        let drift = Spec {
            drift: Some("1%".parse().unwrap()),
            ..spec("boottime")
        };
        assert_eq!(split(&drift).offsets, None);
    }
}
