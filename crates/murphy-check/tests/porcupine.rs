//! The histories that porcupine's Go module ships, and the verdicts that are known of them.

mod published;

use std::{fs::File, path::Path};

use murphy_check::{
    formats,
    judge::{ModelName, Options, judge},
    model::{Model, understand},
    models::KeyValue,
    recording::Recording,
    search::{Case, Found, Limits, search},
    verdict::Verdict,
};
use published::porcupine;

/// The logs of etcd that are linearizable (porcupine's own test has this list); the others are not.
const LINEARIZABLE: [u32; 23] = [
    2, 5, 7, 18, 25, 31, 38, 45, 48, 49, 51, 53, 56, 67, 75, 76, 80, 87, 92, 98, 100, 101, 102,
];

fn read(path: &Path) -> Recording {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    formats::read(file, &formats::Options::default())
        .unwrap_or_else(|error| panic!("{}:{error}", path.display()))
}

#[test]
fn every_log_of_etcd_is_judged_as_it_should_be() {
    let Some(data) = porcupine() else { return };
    let model: ModelName = "cas-register".parse().unwrap();
    let mut judged = 0;
    // The file of 95 is empty.
    for number in (0..=102).filter(|number| *number != 95) {
        let mut recording = read(&data.join(format!("jepsen/etcd_{number:03}.log")));
        assert_eq!(recording.header.model, "cas-register");
        let report = judge(&mut recording, model, &Options::default())
            .unwrap()
            .report;
        let expected = if LINEARIZABLE.contains(&number) {
            Verdict::Held
        } else {
            Verdict::Broken
        };
        let judgement = &report.judgements[0];
        assert_eq!(
            judgement.verdict, expected,
            "{number}: {}",
            judgement.reason
        );
        if let Some(witness) = &judgement.witness {
            assert!(witness.confirmed, "{number}: {}", witness.sentence);
        }
        judged += 1;
    }
    assert_eq!(judged, 102);
}

#[test]
fn every_history_of_keys_and_values_is_judged_as_its_name_says() {
    let Some(data) = porcupine() else { return };
    let model: ModelName = "key-value".parse().unwrap();
    for name in ["c01", "c10", "c50"] {
        for (word, expected) in [("ok", Verdict::Held), ("bad", Verdict::Broken)] {
            let mut recording = read(&data.join(format!("kv/{name}-{word}.txt")));
            assert_eq!(recording.header.model, "key-value");
            let report = judge(&mut recording, model, &Options::default())
                .unwrap()
                .report;
            let judgement = &report.judgements[0];
            assert_eq!(
                judgement.verdict, expected,
                "{name}-{word}: {}",
                judgement.reason
            );
            if let Some(witness) = &judgement.witness {
                assert!(witness.confirmed, "{name}-{word}: {}", witness.sentence);
            }
        }
    }
}

#[test]
fn keys_need_not_be_judged_apart() {
    let Some(data) = porcupine() else { return };
    for (name, is_legal) in [
        ("c01-ok", true),
        ("c01-bad", false),
        ("c10-ok", true),
        ("c10-bad", false),
        ("c50-ok", true),
        ("c50-bad", false),
    ] {
        let recording = read(&data.join(format!("kv/{name}.txt")));
        let mut model = KeyValue::default();
        let operations: Vec<_> = (0..)
            .zip(&recording.invocations)
            .filter_map(|(number, invocation)| {
                understand(&mut model, &recording, number, invocation).unwrap()
            })
            .collect();
        let case = Case {
            initial: vec![model.initial()],
            operations: operations.iter().collect(),
        };
        let limits = Limits {
            time: Some(std::time::Duration::from_mins(1)),
            ..Limits::default()
        };
        let found = search(&model, &case, &limits);
        match found {
            Found::Legal => assert!(is_legal, "{name}"),
            Found::Illegal(_) => assert!(!is_legal, "{name}"),
            Found::Undecided { why, explored } => panic!("{name}: {why}, after {explored}"),
        }
    }
}
