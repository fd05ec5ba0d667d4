//! What a run of each BPF program takes, by the kernel's own count, while its namespace is observed and while another is.

use std::collections::BTreeMap;

use crate::{
    Lab, Outcome,
    answers::Asking,
    connections::Opening,
    figure::Figure,
    lab::{Pair, runs_of},
};

/// A program that has run less often says little.
const RUNS_LEAST: u64 = 100;

/// Takes the figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    // Without DNS there are no programs that hear it.
    let _socket = lab.pair.use_dns()?;
    for (whose, pair) in [("", &lab.pair), (", not watched", &lab.strangers)] {
        let mut took_ns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut busy = Busy::begin(pair)?;
        for _ in 0..runs {
            let watch = lab.pair.observe_server(&["--measure-overhead"])?;
            busy.go_on()?;
            for program in runs_of(&watch.end()?)? {
                if program.runs >= RUNS_LEAST {
                    let each = program.ns as f64 / program.runs as f64;
                    took_ns.entry(program.name).or_default().push(each);
                }
            }
        }
        figures.extend(took_ns.iter().map(|(name, each)| {
            let what = format!("a run of `{name}`{whose}");
            Figure::median(&what, "", each, "ns")
        }));
    }
    Ok(figures)
}

/// Connections that come and go, and answers over others.
struct Busy<'a> {
    asking: Asking,
    opening: Opening<'a>,
}

impl<'a> Busy<'a> {
    fn begin(pair: &'a Pair) -> Outcome<Self> {
        Ok(Self {
            asking: Asking::begin(pair)?,
            opening: Opening::begin(pair)?,
        })
    }

    fn go_on(&mut self) -> Outcome<()> {
        self.asking.per_second()?;
        self.opening.per_second()?;
        Ok(())
    }
}
