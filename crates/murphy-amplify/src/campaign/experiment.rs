//! An experiment is one error of one kind of calls, at growing rates.

use murphy_fault::{
    ratio::Ratio,
    syscall::{Act, Calls, Kind, Pick, Spec},
};
use murphy_sys::syscalls::Errno;

/// One error, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// What it is called.
    pub name: String,
    /// Which calls.
    pub calls: Calls,
    /// With what they fail.
    pub errno: Errno,
    /// Of which descriptors; any where there are none.
    pub kinds: Vec<Kind>,
    /// The share that fails by nature: from 0 to 1.
    pub natural: f64,
    /// The share at which to begin, all errors together.
    pub first: f64,
    /// The highest share.
    pub up_to: f64,
    /// How many may fail in a row.
    pub cap: Option<u32>,
}

/// How likely each call is to be hit, so that a share of all fails, of which some do by nature (after Zhang et al., `ChaosETH`).
pub fn chance(total: f64, natural: f64) -> f64 {
    if natural >= 1.0 {
        return 0.0;
    }
    ((total - natural) / (1.0 - natural)).clamp(0.0, 1.0)
}

impl Experiment {
    /// What is injected so that this share fails in all.
    pub fn spec(&self, total: f64) -> Spec {
        Spec {
            calls: vec![self.calls.clone()],
            act: Act::Fail {
                errno: self.errno,
                when: None,
            },
            rate: Ratio::nearest(chance(total, self.natural)),
            pick: self.cap.map_or(Pick::Each, Pick::AtMost),
            paths: None,
            kinds: self.kinds.clone(),
            descriptors: None,
            force: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_errors_are_part_of_the_rate() {
        for (total, natural, expected) in [
            (0.5, 0.0, 0.5),
            (0.5, 0.5, 0.0),
            (0.75, 0.5, 0.5),
            (0.1, 0.5, 0.0),
            (1.0, 0.5, 1.0),
            (1.0, 1.0, 0.0),
            (0.05, 0.0001, 0.049_904_990_499),
        ] {
            assert!(
                (chance(total, natural) - expected).abs() < 1e-9,
                "{total} {natural}"
            );
        }
    }
}
