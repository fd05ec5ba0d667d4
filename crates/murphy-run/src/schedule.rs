//! A schedule is faults over time, drawn from the run's seed before anything happens.
//!
//! A run goes in rounds: load, a fault in the middle of it, quiet, then the members are compared. A round
//! says how long its load lasts and which fault hits which node when; it is a pure value, so that the same
//! seed always gives the same schedule, and a longer schedule begins with the shorter one.

mod skewing;

pub use skewing::{Skewing, Strobe};

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

const MS: u64 = 1_000_000;

/// A fault hits this long after its round began.
const FAULT_AT_NS: (u64, u64) = (800 * MS, 1_200 * MS);
/// The load of a round lasts at least this long.
const LOAD_NS: u64 = 2_500 * MS;
/// The load goes on at least this long after the last fault of its round has ended.
const LOAD_AFTER_FAULT_NS: u64 = 300 * MS;
/// A fault that hits during a skew does so at least this long after it began, and in its first half.
const DURING_SKEW_NS: u64 = 300 * MS;

/// A kind of fault that a schedule can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name on the command line.
    pub name: &'static str,
    /// How long it lasts.
    pub lasts: Lasts,
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// Over at once in half of the draws; else after 0 to `max_ns`, as a node that is killed is started
    /// again at once or after a while.
    Gap {
        /// The longest gap.
        max_ns: u64,
    },
    /// Between the two.
    Between {
        /// The shortest.
        min_ns: u64,
        /// The longest.
        max_ns: u64,
    },
}

/// The faults of family `process`: for `kill` and `term`, [`Step::lasts_ns`] is the time until the node is
/// started again.
pub const PROCESS: [Known; 3] = [
    Known {
        name: "kill",
        lasts: Lasts::Gap { max_ns: 1_000 * MS },
    },
    Known {
        name: "pause",
        lasts: Lasts::Between {
            min_ns: 500 * MS,
            max_ns: 2_000 * MS,
        },
    },
    Known {
        name: "term",
        lasts: Lasts::Gap { max_ns: 1_000 * MS },
    },
];

/// The clocks of one member are skewed; how is drawn with it.
pub const SKEW: Known = Known {
    name: "skew",
    lasts: Lasts::Between {
        min_ns: 2_000 * MS,
        max_ns: 4_000 * MS,
    },
};

/// Every fault that can be drawn.
pub const KNOWN: [Known; 4] = [PROCESS[0], PROCESS[1], PROCESS[2], SKEW];

/// A name that is no known fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schedule fault `{name}`: unknown, expected {expected}")]
pub struct UnknownFault {
    /// What was asked for.
    pub name: String,
    /// What could have been.
    pub expected: String,
}

/// Finds the faults that `names` ask for among `known`, each once.
pub fn choose(names: &[String], known: &[Known]) -> Result<Vec<Known>, UnknownFault> {
    let mut chosen: Vec<Known> = Vec::new();
    for name in names {
        let found = known.iter().find(|k| k.name == name);
        let fault = found.ok_or_else(|| UnknownFault {
            name: name.clone(),
            expected: listed(known),
        })?;
        if !chosen.contains(fault) {
            chosen.push(*fault);
        }
    }
    Ok(chosen)
}

fn listed(known: &[Known]) -> String {
    let names: Vec<_> = known.iter().map(|k| k.name).collect();
    match names.split_last() {
        None => "none".into(),
        Some((last, [])) => (*last).into(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// Faults over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The rounds, in order.
    pub rounds: Vec<Round>,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Counted from 1.
    pub number: u32,
    /// The load stops this long after the round began.
    pub load_ns: u64,
    /// The faults, by [`Step::at_ns`].
    pub steps: Vec<Step>,
}

/// One fault of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// It hits this long after the round began.
    pub at_ns: u64,
    /// It ends this long after it hit; 0 for at once.
    pub lasts_ns: u64,
    /// The name of the fault.
    pub fault: String,
    /// The node that is hit, counted from 0.
    pub node: usize,
    /// How its clocks are skewed, where the fault is `skew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew: Option<Skewing>,
}

impl Schedule {
    /// Draws `rounds` rounds for `nodes` nodes, one fault each; half of the skews have another of the faults
    /// in their midst, half of the time on the skewed node.
    ///
    /// Every fault comes up once before any comes up again, not counting those in the midst of a skew; each
    /// node is as likely as another. Without faults or without nodes the rounds are load alone.
    pub fn draw(seed: u64, faults: &[Known], nodes: usize, rounds: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut deck: Vec<Known> = Vec::new();
        let rounds = (1..=rounds)
            .map(|number| {
                if deck.is_empty() {
                    deck = faults.to_vec();
                    deck.shuffle(&mut rng);
                }
                let fault = deck.pop().filter(|_| nodes > 0);
                let steps = fault.map(|fault| draw_steps(&mut rng, fault, faults, nodes));
                Round::new(number, steps.unwrap_or_default())
            })
            .collect();
        Self { rounds }
    }
}

impl Round {
    /// A round whose load lasts as long as its steps need.
    fn new(number: u32, steps: Vec<Step>) -> Self {
        let last_end_ns = steps.iter().map(|s| s.at_ns + s.lasts_ns).max();
        let load_ns = last_end_ns.map_or(0, |end| end + LOAD_AFTER_FAULT_NS);
        Self {
            number,
            load_ns: load_ns.max(LOAD_NS),
            steps,
        }
    }
}

/// One fault, and perhaps another of `faults` while it lasts.
fn draw_steps(rng: &mut ChaCha8Rng, fault: Known, faults: &[Known], nodes: usize) -> Vec<Step> {
    let mut steps = vec![draw_step(rng, fault, nodes)];
    let others: Vec<Known> = faults.iter().filter(|f| **f != SKEW).copied().collect();
    if fault == SKEW && !others.is_empty() && rng.random_bool(0.5) {
        steps.push(draw_during(rng, &steps[0], &others, nodes));
    }
    steps
}

/// A fault in the midst of a skew.
fn draw_during(rng: &mut ChaCha8Rng, skew: &Step, others: &[Known], nodes: usize) -> Step {
    let other = rng.random_range(0..others.len() as u64);
    let other = others[usize::try_from(other).unwrap_or_default()];
    let mut step = draw_step(rng, other, nodes);
    step.at_ns = skew.at_ns + rng.random_range(DURING_SKEW_NS..=skew.lasts_ns / 2);
    if rng.random_bool(0.5) {
        step.node = skew.node;
    }
    step
}

fn draw_step(rng: &mut ChaCha8Rng, fault: Known, nodes: usize) -> Step {
    let at_ns = rng.random_range(FAULT_AT_NS.0..=FAULT_AT_NS.1);
    // Drawn as u64: the width of usize must not change what a seed means.
    let node = rng.random_range(0..nodes as u64);
    let lasts_ns = match fault.lasts {
        Lasts::Gap { max_ns } => {
            let gap_ns = rng.random_range(0..=max_ns);
            if rng.random_bool(0.5) { gap_ns } else { 0 }
        }
        Lasts::Between { min_ns, max_ns } => rng.random_range(min_ns..=max_ns),
    };
    Step {
        at_ns,
        lasts_ns,
        fault: fault.name.into(),
        node: usize::try_from(node).unwrap_or_default(),
        skew: (fault == SKEW).then(|| Skewing::draw(rng)),
    }
}

#[cfg(test)]
mod tests;
