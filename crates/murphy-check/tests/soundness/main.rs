//! The judge is judged: valid histories raise no alarm, mutated ones always do.
//!
//! By default a seeded sample of 5 %; with `MURPHY_SOAK=1` the full count.

#![allow(clippy::print_stderr, reason = "a soak run prints its figures")]

mod blame;
mod shapes;
mod weakening;

use std::collections::BTreeMap;

use blame::breakable;
use murphy_check::{
    etcd::{
        self, Options,
        generate::{Story, mutation::MUTATIONS},
    },
    verdict::{Report, Verdict},
};
use shapes::{SHAPES, any, profile};
use weakening::weaken;

fn count() -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        1_000
    } else {
        90
    }
}

fn check(story: &Story) -> Report {
    etcd::check(story.bytes().as_slice(), &Options::default()).unwrap()
}

#[test]
fn valid_histories_raise_no_alarm() {
    let mut undecided = BTreeMap::new();
    for seed in 0..count() {
        let report = check(&Story::generate(&profile(seed), seed));
        for judgement in &report.judgements {
            assert_ne!(
                judgement.verdict,
                Verdict::Broken,
                "seed {seed}: {judgement:#?}"
            );
            if judgement.verdict == Verdict::Undecided {
                *undecided
                    .entry((
                        seed % SHAPES,
                        judgement.promise.clone(),
                        judgement.reason.clone(),
                    ))
                    .or_insert(0) += 1;
            }
        }
    }
    eprintln!("{undecided:#?}");
}

/// How many histories of any shape are judged, each as it is and weakened.
fn shapeless() -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        20_000
    } else {
        1_000
    }
}

#[test]
fn valid_histories_of_any_shape_raise_no_alarm_however_little_they_say() {
    let mut verdicts: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for seed in 0..shapeless() {
        let story = Story::generate(&any(seed), seed);
        for story in [&story, &weaken(&story, seed)] {
            for judgement in check(story).judgements {
                assert_ne!(
                    judgement.verdict,
                    Verdict::Broken,
                    "seed {seed}: {judgement:#?}"
                );
                let verdict = (judgement.verdict.word(), judgement.promise);
                *verdicts.entry(verdict).or_default() += 1;
            }
        }
    }
    eprintln!("{verdicts:#?}");
}

#[test]
fn mutated_histories_are_all_caught() {
    let mut caught = [0; MUTATIONS.len()];
    let mut unconfirmed = BTreeMap::new();
    let (mut total, mut seed) = (0, 0);
    while total < count() {
        seed += 1;
        let class = usize::try_from(seed).unwrap() % MUTATIONS.len();
        // Each class meets every shape.
        let story = Story::generate(&profile(seed + seed / SHAPES), seed);
        let Some(spoilt) = MUTATIONS[class].apply(&story, seed) else {
            continue;
        };
        let report = check(&spoilt);
        let told = || format!("seed {seed}, {:?}: {report:#?}", MUTATIONS[class]);
        let promise: Vec<String> = MUTATIONS[class]
            .promise()
            .map(String::from)
            .into_iter()
            .collect();
        assert_eq!(report.verdict(&promise), Verdict::Broken, "{}", told());
        caught[class] += 1;
        for judgement in &report.judgements {
            let Some(witness) = &judgement.witness else {
                continue;
            };
            let blamed = judgement.promise.as_str();
            assert!(
                breakable(MUTATIONS[class]).contains(&blamed),
                "{blamed}: {}",
                told()
            );
            if !witness.confirmed {
                let reason: String = judgement
                    .reason
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .collect();
                *unconfirmed
                    .entry((judgement.promise.clone(), reason))
                    .or_insert(0) += 1;
            }
        }
        total += 1;
    }
    eprintln!(
        "caught {total} of {total}: {:?}",
        MUTATIONS.iter().zip(caught).collect::<Vec<_>>()
    );
    assert!(unconfirmed.is_empty(), "not confirmed: {unconfirmed:#?}");
}
