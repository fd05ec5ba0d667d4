//! An experiment is one error of one kind of calls, or several together, at growing rates.

use murphy_fault::{
    ratio::Ratio,
    syscall::{Act, Calls, Kind, Pick, Spec},
};
use murphy_sys::syscalls::Errno;
use serde::{Deserialize, Serialize};

/// One error, or several that are injected together, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// What it is called.
    pub name: String,
    /// The errors: one at least, each of other calls than the others.
    pub parts: Vec<Part>,
    /// The share of the first part's calls at which to begin, all errors together.
    pub first: f64,
    /// The highest share.
    pub up_to: f64,
}

/// One error of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which calls.
    pub calls: Calls,
    /// With what they fail.
    pub errno: Errno,
    /// Of which descriptors; any where there are none.
    pub kinds: Vec<Kind>,
    /// Also calls that are guarded, as the runtimes of many languages end the program when they fail.
    pub force: bool,
    /// How often that comes by nature.
    pub natural: Natural,
    /// Its share, where that of the first part is 1.
    pub weight: f64,
    /// Which of its calls, by a chance.
    pub pick: Pick,
}

/// The share of calls that fails by nature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Natural {
    /// The share: from 0 to 1.
    pub rate: f64,
    /// Where it lies at least, and at most; none where nobody counted.
    pub bounds: Option<(f64, f64)>,
}

/// How likely each call is to be hit, so that a share of all fails, of which some do by nature (after Zhang et al., `ChaosETH`).
pub fn chance(total: f64, natural: f64) -> f64 {
    if natural >= 1.0 {
        return 0.0;
    }
    ((total - natural) / (1.0 - natural)).clamp(0.0, 1.0)
}

impl Experiment {
    /// What is injected so that this share fails in all; nothing of a part that fails as often by nature.
    pub fn specs(&self, total: f64) -> Vec<Spec> {
        let spec = |part: &Part| {
            let chance = chance((total * part.weight).min(1.0), part.natural.rate);
            let chance = match part.pick {
                // After each that fails one passes: half of them fail at most.
                Pick::Once if chance < 0.5 => chance / (1.0 - chance),
                Pick::Once => 1.0,
                _ => chance,
            };
            (chance > 0.0).then(|| Spec {
                calls: vec![part.calls.clone()],
                act: Act::Fail {
                    errno: part.errno,
                    when: None,
                },
                rate: Ratio::nearest(chance),
                pick: part.pick,
                paths: None,
                kinds: part.kinds.clone(),
                descriptors: None,
                force: part.force,
            })
        };
        self.parts.iter().filter_map(spec).collect()
    }

    /// The errors of its parts, by what they have of it.
    pub fn each(&self, of: impl Fn(&Part) -> String) -> String {
        let mut all: Vec<String> = self.parts.iter().map(of).collect();
        all.dedup();
        all.join("+")
    }

    /// How often the first of them comes by nature.
    pub fn natural(&self) -> Natural {
        self.parts
            .first()
            .map_or(Natural::default(), |part| part.natural)
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

    #[test]
    fn parts_grow_together_and_what_nature_does_anyhow_is_not_injected() {
        let part = |calls: &str, natural: f64, weight| Part {
            calls: calls.parse().unwrap(),
            errno: Errno::named("EMFILE").unwrap(),
            kinds: Vec::new(),
            force: false,
            natural: Natural {
                rate: natural,
                bounds: None,
            },
            weight,
            pick: Pick::Each,
        };
        let experiment = Experiment {
            name: "full".into(),
            parts: vec![part("openat", 0.0, 1.0), part("socket", 0.1, 0.5)],
            first: 0.1,
            up_to: 0.4,
        };
        let rates = |total| -> Vec<f64> {
            let specs = experiment.specs(total);
            specs.iter().map(|spec| spec.rate.get()).collect()
        };
        assert_eq!(rates(0.2), [0.2]);
        let mut once = experiment.clone();
        once.parts[0].pick = Pick::Once;
        let rate_of = |total| once.specs(total)[0].rate.get();
        assert!((rate_of(0.2) - 0.25).abs() < 1e-6);
        assert!((rate_of(0.6) - 1.0).abs() < 1e-6);
        let both = rates(0.4);
        assert!(
            (both[0] - 0.4).abs() < 1e-9 && (both[1] - 0.1 / 0.9).abs() < 1e-9,
            "{both:?}"
        );
        assert_eq!(
            experiment.each(|part| part.calls.to_string()),
            "openat+socket"
        );
        assert_eq!(experiment.each(|part| part.errno.to_string()), "EMFILE");
    }
}
