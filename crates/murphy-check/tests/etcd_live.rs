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

/// A history by one client a line, each asked and answered; a look after every line.
fn looked_at(lines: &[&str]) -> Report {
    let mut live = Live::new(
        Options::default(),
        Limits {
            step: 1,
            margin: 0,
            ..Limits::default()
        },
    );
    let header = r#"{"murphy":"history","version":1,"model":"etcd","nodes":["n0"]}"#;
    for line in [header].iter().chain(lines) {
        live.feed(format!("{line}\n").as_bytes()).unwrap();
        live.look().unwrap();
    }
    live.finish().unwrap()
}

/// Thirty puts of 0 and on under one key, the first with this revision.
fn puts(first: i64) -> Vec<String> {
    let puts = (0..30).flat_map(|number| {
        let (revision, time) = (first + number, number * 10);
        let answered = time + 5;
        [
            format!(
                r#"{{"type":"invoke","process":"a","f":"put","value":{{"key":"k","value":"{number}"}},"time":{time},"node":"n0"}}"#
            ),
            format!(
                r#"{{"type":"ok","process":"a","f":"put","value":{{"header":{{"revision":{revision}}}}},"time":{answered},"node":"n0"}}"#
            ),
        ]
    });
    puts.collect()
}

fn verdict(report: &Report, promise: &str) -> Option<Verdict> {
    let mut judgements = report.judgements.iter();
    let found = judgements.find(|judgement| judgement.promise == promise);
    found.map(|judgement| judgement.verdict)
}

#[test]
fn a_store_that_was_not_empty_stays_undecided() {
    let lines = puts(1_000);
    let old = [
        r#"{"type":"invoke","process":"a","f":"range","value":{"key":"old"},"time":900,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"range","value":{"header":{"revision":1029},"kvs":[{"key":"old","create_revision":500,"mod_revision":500,"version":1,"value":"x"}],"count":1},"time":905,"node":"n0"}"#,
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain(old).collect();
    let report = looked_at(&lines);
    assert_eq!(
        verdict(&report, "linearizable"),
        Some(Verdict::Undecided),
        "{report:#?}"
    );
}

#[test]
fn a_revocation_is_remembered_as_long_as_its_lease_is_spoken_of() {
    let lines = [
        r#"{"type":"invoke","process":"a","f":"lease_grant","value":{"TTL":60,"ID":7},"time":0,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"lease_grant","value":{"header":{"revision":1},"ID":7,"TTL":60},"time":5,"node":"n0"}"#,
        r#"{"type":"invoke","process":"a","f":"put","value":{"key":"k","value":"1","lease":7},"time":10,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"put","value":{"header":{"revision":2}},"time":15,"node":"n0"}"#,
        r#"{"type":"invoke","process":"a","f":"lease_revoke","value":{"ID":7},"time":20,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"lease_revoke","value":{"header":{"revision":3}},"time":25,"node":"n0"}"#,
        r#"{"type":"invoke","process":"a","f":"put","value":{"key":"k","value":"2"},"time":30,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"put","value":{"header":{"revision":4}},"time":35,"node":"n0"}"#,
        r#"{"type":"invoke","process":"a","f":"put","value":{"key":"k","value":"3"},"time":40,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"put","value":{"header":{"revision":5}},"time":45,"node":"n0"}"#,
        r#"{"type":"invoke","process":"a","f":"lease_time_to_live","value":{"ID":7},"time":50,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"lease_time_to_live","value":{"header":{"revision":5},"ID":7,"TTL":-1},"time":55,"node":"n0"}"#,
    ];
    let report = looked_at(&lines);
    assert_eq!(broken(&report), Vec::<&str>::new(), "{report:#?}");
    assert_eq!(
        verdict(&report, "linearizable"),
        Some(Verdict::Held),
        "{report:#?}"
    );
}

#[test]
fn lines_of_one_moment_are_judged_together() {
    let lines = [
        r#"{"type":"invoke","process":"a","f":"put","value":{"key":"k","value":"0"},"time":1,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"put","value":{"header":{"revision":2}},"time":2,"node":"n0"}"#,
        r#"{"type":"invoke","process":"a","f":"put","value":{"key":"k","value":"1"},"time":3,"node":"n0"}"#,
        r#"{"type":"ok","process":"a","f":"put","value":{"header":{"revision":4}},"time":5,"node":"n0"}"#,
        r#"{"type":"invoke","process":"b","f":"put","value":{"key":"k","value":"2"},"time":5,"node":"n0"}"#,
        r#"{"type":"ok","process":"b","f":"put","value":{"header":{"revision":3}},"time":6,"node":"n0"}"#,
    ];
    let report = looked_at(&lines);
    assert_eq!(
        verdict(&report, "linearizable"),
        Some(Verdict::Held),
        "{report:#?}"
    );
    // Asked later, it cannot have come before.
    let later: Vec<String> = lines
        .iter()
        .map(|line| line.replace(r#""2"},"time":5"#, r#""2"},"time":6"#))
        .collect();
    let later: Vec<&str> = later.iter().map(String::as_str).collect();
    assert_eq!(broken(&looked_at(&later)), ["linearizable"]);
}

#[test]
fn a_read_of_a_forgotten_revision_is_doubted_even_in_the_newest_moment() {
    let mut lines = puts(2);
    // A look comes behind each line, the last one of which is still held back.
    lines.extend([
        r#"{"type":"invoke","process":"a","f":"range","value":{"key":"k","revision":3},"time":900,"node":"n0"}"#.into(),
        r#"{"type":"ok","process":"a","f":"range","value":{"header":{"revision":31},"kvs":[{"key":"k","create_revision":2,"mod_revision":3,"version":2,"value":"1"}],"count":1},"time":905,"node":"n0"}"#.into(),
    ]);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let report = looked_at(&lines);
    assert_eq!(broken(&report), Vec::<&str>::new(), "{report:#?}");
    assert_eq!(
        verdict(&report, "linearizable"),
        Some(Verdict::Undecided),
        "{report:#?}"
    );
}
