//! A live judge is compared with the judge of whole histories, on histories of every shape.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

use std::collections::BTreeMap;

use murphy_check::{
    etcd::{
        self, Options,
        generate::{Story, mutation::MUTATIONS},
        live::{Limits, Live},
    },
    verdict::{Report, Verdict},
};

#[path = "soundness/shapes.rs"]
mod shapes;
use shapes::{SHAPES, any, profile};

fn count(full: u64) -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        full
    } else {
        full / 20
    }
}

/// Judges with a look whenever so many operations were asked for, and reads the lines in pieces.
fn live(history: &[u8], step: usize, margin: usize) -> Report {
    let limits = Limits {
        step,
        margin,
        ..Limits::default()
    };
    let mut live = Live::new(Options::default(), limits);
    for piece in history.chunks(4_099) {
        if let Some(report) = live.feed(piece).unwrap() {
            return report.clone();
        }
    }
    live.finish().unwrap()
}

fn whole(history: &[u8]) -> Report {
    etcd::check(history, &Options::default()).unwrap()
}

fn broken(report: &Report) -> Vec<&str> {
    let judgements = report.judgements.iter();
    let broken = judgements.filter(|judgement| judgement.verdict == Verdict::Broken);
    broken.map(|judgement| judgement.promise.as_str()).collect()
}

#[test]
fn what_is_valid_holds_as_for_the_whole() {
    let mut fewer = BTreeMap::new();
    for seed in 0..count(2_000) {
        let history = Story::generate(&profile(seed), seed).bytes();
        let step = 20 + usize::try_from(seed % 5).unwrap() * 17;
        let (ours, theirs) = (live(&history, step, 10_000), whole(&history));
        assert_eq!(broken(&ours), Vec::<&str>::new(), "seed {seed}: {ours:#?}");
        assert_eq!(ours.vacuity, theirs.vacuity, "seed {seed}");
        for judgement in &theirs.judgements {
            let found = ours
                .judgements
                .iter()
                .find(|j| j.promise == judgement.promise);
            let verdict = found.map(|found| found.verdict);
            // Which list a watch continues may be forgotten when it begins: then it is judged as any other. And whether
            // watches have seen every write of a lone member is known of one window only.
            let promise = judgement.promise.as_str();
            let by_watch = judgement.reason.ends_with("in the watches");
            let is_careful = promise == "kubernetes.list-watch" && verdict.is_none()
                || promise == "durable" && by_watch && verdict == Some(Verdict::Undecided);
            if verdict != Some(judgement.verdict) && !is_careful {
                let reason = found.map_or("", |found| &found.reason);
                let told = format!(
                    "{} {:?} {verdict:?} {reason}",
                    judgement.promise, judgement.verdict
                );
                *fewer.entry(told).or_insert(0) += 1;
            }
        }
    }
    assert!(fewer.is_empty(), "{fewer:#?}");
}

#[test]
fn what_is_forgotten_too_soon_raises_no_alarm() {
    for seed in 0..count(10_000) {
        let history = Story::generate(&any(seed), seed).bytes();
        let step = 10 + usize::try_from(seed % 7).unwrap() * 7;
        let ours = live(&history, step, usize::try_from(seed % 3).unwrap() * 10);
        assert_eq!(broken(&ours), Vec::<&str>::new(), "seed {seed}: {ours:#?}");
    }
}

#[test]
fn what_is_broken_is_found() {
    let (mut caught, mut late) = (0, BTreeMap::new());
    for seed in 0..count(2_000) {
        let story = Story::generate(&profile(seed + seed / SHAPES), seed);
        let mutation = MUTATIONS[usize::try_from(seed).unwrap() % MUTATIONS.len()];
        let Some(spoilt) = mutation.apply(&story, seed) else {
            continue;
        };
        let history = spoilt.bytes();
        let (ours, theirs) = (live(&history, 40, 10_000), whole(&history));
        if broken(&ours).is_empty() {
            *late
                .entry((
                    format!("{mutation:?}"),
                    seed,
                    format!("{:?}", broken(&theirs)),
                ))
                .or_insert(0) += 1;
        } else {
            caught += 1;
        }
    }
    eprintln!("{caught} caught");
    assert!(late.is_empty(), "{late:#?}");
}
