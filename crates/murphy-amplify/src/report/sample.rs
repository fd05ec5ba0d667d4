//! A report as it could be, for tests.

use murphy_run::request::Machine;

use super::{Campaign, Report};
use crate::campaign::{
    course::{Course, Doing, Line, Phase, Point, Taken},
    effect::{Effect, Seen, Tolerance},
    experiment::Natural,
    row::{Purpose, Row, Tried},
    search::Breaking,
    trial::Phases,
    verdict::{Afterwards, Death, Observed, Verdict},
};

const S: u64 = 1_000_000_000;

fn tried(experiment: &str, rate: f64, verdict: Verdict) -> Tried {
    let none = Effect::of(&Seen::default(), &Seen::default());
    let phase = |doing, from: u64, to: u64| Phase {
        doing,
        from_ns: from * S,
        to_ns: to * S,
    };
    Tried {
        experiment: experiment.into(),
        rate,
        purpose: Purpose::Search,
        seen: Observed {
            exposures: 410,
            injections: 21,
            control: none.clone(),
            effect: none,
            death: (verdict == Verdict::Crashed).then(|| Death {
                how: "exit code 134".into(),
                said: vec!["panic: <fsync> & gone".into()],
            }),
            is_cut: false,
            afterwards: if verdict == Verdict::Crashed {
                Afterwards::Ended
            } else {
                Afterwards::Steady(2_100_000_000)
            },
            is_valid: None,
            validation: None,
        },
        verdict,
        why: "so it is".into(),
        course: Course {
            phases: vec![
                phase(Doing::Baseline, 0, 15),
                phase(Doing::Control, 15, 25),
                phase(Doing::Injection, 25, 45),
                phase(Doing::Recovery, 45, 50),
            ],
            probes: vec![Line {
                probe: "<up>".into(),
                points: vec![
                    Point {
                        at_ns: S,
                        looks: 4,
                        failed: 0,
                        median_us: Some(400),
                    },
                    Point {
                        at_ns: 30 * S,
                        looks: 4,
                        failed: 3,
                        median_us: Some(800),
                    },
                ],
            }],
            taken: vec![Taken {
                at_ns: 2 * S,
                processors: 0.5,
                memory_bytes: 1 << 24,
                descriptors: 10,
                threads: 3,
            }],
        },
    }
}

/// A row.
pub fn row(
    experiment: &str,
    verdict: Verdict,
    breaking: Option<Breaking>,
    again: Option<(u32, u32)>,
) -> Row {
    let (call, errno) = experiment.split_once('=').expect("an error");
    Row {
        experiment: experiment.into(),
        call: call.split('/').next().unwrap_or(call).into(),
        errno: errno.into(),
        natural: if call == "read/socket" {
            Natural {
                rate: 0.13,
                bounds: Some((0.11, 0.15)),
            }
        } else {
            Natural::default()
        },
        verdict,
        why: "so it is".into(),
        breaking,
        again,
        ended: None,
        exposures: 1204,
        injections: 289,
        trials: vec![
            tried(experiment, 0.05, Verdict::Resilient),
            tried(experiment, 0.4, verdict),
        ],
    }
}

/// A report with a row of each verdict.
pub fn report() -> Report {
    let between = Some(Breaking::Between(0.18, 0.245));
    Report {
        campaign: Campaign {
            machine: Machine {
                kernel: "Linux 6.18.5 x86_64".into(),
                cores: 2,
                memory_bytes: 1 << 34,
                murphy: "0.1.0".into(),
            },
            started: "2026-11-21T02:18:04.25Z".into(),
            target: "pid:42 (<etcd>)".into(),
            probes: vec!["up".into()],
            validation: Some("command:./check.sh".into()),
            workload: None,
            phases: Phases::default(),
            tolerance: Tolerance::default(),
            seed: 7,
            words: [
                "murphy",
                "amplify",
                "run",
                "--probe",
                "command:a b",
                "--",
                "etcd",
                "run",
            ]
            .map(str::to_owned)
            .to_vec(),
            is_modelled: false,
            asked: String::new(),
        },
        rows: vec![
            row(
                "read/socket=EAGAIN",
                Verdict::Degraded,
                between,
                Some((3, 3)),
            ),
            row("connect=ENOENT", Verdict::Inconclusive, None, None),
            row("write=ENOSPC", Verdict::Corrupt, between, Some((1, 3))),
            row(
                "fsync=EIO",
                Verdict::Crashed,
                Some(Breaking::Below(0.05)),
                Some((3, 3)),
            ),
            row(
                "readlink=EIO",
                Verdict::Resilient,
                Some(Breaking::Above(0.4)),
                None,
            ),
        ],
    }
}
