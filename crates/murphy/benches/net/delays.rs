//! How close delays and losses are to what was asked, as a receiver of datagrams sees them: by Murphy and, where the
//! kernel has it, by netem.

use std::time::Duration;

use murphy_sys::{
    link,
    qdisc::{
        self, Discipline, Handle, Place, Removal,
        distribution::Distribution,
        netem::{Chance, Delay, Loss, Netem, Probability},
    },
};

use crate::{
    Lab, Outcome,
    figure::Figure,
    wire::{Pace, flows},
};

/// So many datagrams at each time, of which each is sent so long after the one before.
const DATAGRAMS: u32 = 250;
const PAUSE: Duration = Duration::from_millis(2);
const LOST_DATAGRAMS: u32 = 2000;
const DELAY_MS: f64 = 50.0;

/// What both do.
struct Case {
    name: &'static str,
    wanted: &'static str,
    /// What Murphy is told.
    words: &'static [&'static str],
    /// What netem is.
    netem: fn() -> Netem,
}

fn delayed(jitter_ms: u64, distribution: Distribution) -> Netem {
    Netem {
        delay: Some(Delay {
            mean_ns: 50_000_000,
            jitter_ns: jitter_ms * 1_000_000,
            distribution,
            ..Delay::default()
        }),
        ..Netem::default()
    }
}

const CASES: [Case; 3] = [
    Case {
        name: "delayed by 50 ms",
        wanted: "mean off by < 0.5 ms, 99 % by < 2",
        words: &["--delay", "50ms"],
        netem: || delayed(0, Distribution::default()),
    },
    Case {
        name: "delayed by 50 ms ± 10, uniform",
        wanted: "σ 5.774",
        words: &["--delay", "50ms", "--jitter", "10ms"],
        netem: || delayed(10, Distribution::default()),
    },
    Case {
        name: "delayed by 50 ms ± 10, normal",
        wanted: "σ 10",
        words: &[
            "--delay",
            "50ms",
            "--jitter",
            "10ms",
            "--distribution",
            "normal",
        ],
        netem: || delayed(10, Distribution::normal()),
    },
];

/// Takes all figures.
pub fn measure(lab: &Lab, runs: usize) -> Outcome<Vec<Figure>> {
    let netem = netem(lab, (CASES[0].netem)(), || Ok(()));
    if let Err(error) = &netem {
        eprintln!("not measured: netem: {error}");
    }
    let mut figures = Vec::new();
    for case in &CASES {
        let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            let disturbance = lab.disturb(case.words)?;
            let times = delays(lab);
            disturbance.end()?;
            ours.extend(times);
            if netem.is_ok() {
                theirs.extend(self::netem(lab, (case.netem)(), || Ok(delays(lab)))?);
            }
        }
        let mut add = |who, times: &[f64]| {
            let what = format!("a datagram, {}: {who}", case.name);
            figures.push(Figure::delays(&what, case.wanted, DELAY_MS, times));
        };
        add("cable", &ours);
        if netem.is_ok() {
            add("netem", &theirs);
        }
    }
    let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        let disturbance = lab.disturb(&["--loss", "30%"])?;
        ours.push(lost(lab));
        disturbance.end()?;
        if netem.is_ok() {
            let chance = Chance::independent(Probability::nearest(0.3));
            let losing = Netem {
                loss: Loss::Random(chance),
                ..Netem::default()
            };
            theirs.push(self::netem(lab, losing, || Ok(lost(lab)))?);
        }
    }
    let what = |who| format!("datagrams, 30 % of them lost: {who}");
    figures.push(Figure::mean(&what("tcx"), "30 %", &ours, "%"));
    if netem.is_ok() {
        figures.push(Figure::mean(&what("netem"), "30 %", &theirs, "%"));
    }
    Ok(figures)
}

/// How long datagrams take, in milliseconds.
fn delays(lab: &Lab) -> Vec<f64> {
    let pace = Pace {
        pause: PAUSE,
        ..Pace::at_once(DATAGRAMS)
    };
    let flows = flows(&[lab.wire.ends(true, false)], pace);
    let came = flows[0].came.iter();
    came.map(|arrival| arrival.took_ms()).collect()
}

/// How many of a hundred datagrams do not come.
fn lost(lab: &Lab) -> f64 {
    let came = lab.wire.send(true, LOST_DATAGRAMS).len();
    100.0 * (1.0 - came as f64 / f64::from(LOST_DATAGRAMS))
}

/// Does something while netem disturbs what node 1 sends.
fn netem<T>(lab: &Lab, netem: Netem, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let place = Place {
        ifindex: link::index(&lab.wire.a, "eth0")?,
        parent: Handle::ROOT,
        handle: Handle::qdisc(0x6d70),
    };
    let id = qdisc::add(&lab.wire.a, place, &Discipline::Netem(netem))?;
    let done = work();
    match qdisc::delete(&lab.wire.a, &id)? {
        Removal::Now => done,
        other => Err(format!("netem was not there at its end: {other:?}").into()),
    }
}
