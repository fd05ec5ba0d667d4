//! Histories of stores of each level hold that level, and what is spoiled in them is found.

use murphy_check::{
    history::Kind,
    isolation::{
        LEVELS, Level, Options, Workload, brute,
        generate::{Profile, STORES, Store},
        judge,
    },
    recording::{Entry, Outcome, Recorder, Recording, Strictness},
    value::Value,
    verdict::Verdict,
};
use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::witnesses::{print, prove};

fn count() -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        1_000
    } else {
        50
    }
}

const WORKLOADS: [Workload; 2] = [Workload::ListAppend, Workload::RwRegister];

fn profile(workload: Workload, store: Store, seed: u64) -> Profile {
    let clients = 2 + usize::try_from(seed % 9).unwrap();
    Profile {
        clients,
        keys: 1 + usize::try_from(seed % 5).unwrap(),
        writes_per_key: 4 + usize::try_from(seed % 40).unwrap(),
        unknown_per_mille: u32::try_from(seed % 3).unwrap() * 30,
        ..Profile::new(workload, store, 150)
    }
}

#[test]
fn stores_hold_what_they_are_made_for() {
    for workload in WORKLOADS {
        for (store, strongest) in STORES {
            for seed in 0..count() {
                let recording = profile(workload, store, seed).generate(seed);
                let report = judge(&recording, workload, &Options::default()).unwrap();
                for level in LEVELS.into_iter().filter(|l| strongest.is_at_least(*l)) {
                    let judgement = report.of(level);
                    assert_eq!(
                        judgement.verdict,
                        Verdict::Held,
                        "{workload:?} {store:?} {seed}: {judgement:?}\n{:?}",
                        report.anomalies
                    );
                }
            }
        }
    }
}

/// A level that the store does not promise, and that a long enough history of it breaks.
#[test]
fn stores_break_what_they_are_not_made_for() {
    for (store, level) in [
        (Store::Serial, Level::StrictSerializable),
        (Store::StrongSnapshot, Level::Serializable),
        (Store::Snapshot, Level::StrongSessionSnapshotIsolation),
        (Store::Causal, Level::SnapshotIsolation),
        (Store::Committed, Level::ReadAtomic),
    ] {
        for workload in WORKLOADS {
            let broken = (0..count()).filter(|seed| {
                let profile = Profile {
                    clients: 8,
                    keys: 4,
                    ..Profile::new(workload, store, 150)
                };
                let recording = profile.generate(*seed);
                let report = judge(&recording, workload, &Options::default()).unwrap();
                let judgement = report.of(level);
                if judgement.verdict == Verdict::Broken {
                    let witness = judgement.witness.as_ref();
                    assert!(
                        witness.is_some_and(|witness| witness.confirmed),
                        "{workload:?} {store:?} {seed}: {witness:?}"
                    );
                }
                judgement.verdict == Verdict::Broken
            });
            let broken = broken.count() as u64;
            // The order of registers is known in part only.
            let least = if workload == Workload::ListAppend {
                2
            } else {
                20
            };
            assert!(
                broken * least > count(),
                "{workload:?} {store:?}: {broken} of {}",
                count()
            );
        }
    }
}

/// Changes one answered read, or what became of one transaction.
fn spoil(recording: &Recording, random: &mut impl Rng) -> Recording {
    let answered: Vec<usize> = (0..recording.invocations.len())
        .filter(|at| recording.invocations[*at].outcome == Outcome::Ok)
        .collect();
    if answered.is_empty() {
        return recording.clone();
    }
    let chosen = answered[random.random_range(0..answered.len())];
    let mut events: Vec<(u32, usize, Kind, Value)> = Vec::new();
    for (at, invocation) in recording.invocations.iter().enumerate() {
        events.push((invocation.line, at, Kind::Invoke, invocation.ask.clone()));
        if invocation.end_line == 0 {
            continue;
        }
        let (kind, answer) = match invocation.outcome {
            Outcome::Ok if at == chosen && random.random_bool(0.2) => (Kind::Fail, Value::Nil),
            Outcome::Ok if at == chosen => (Kind::Ok, spoil_answer(&invocation.answer, random)),
            Outcome::Ok => (Kind::Ok, invocation.answer.clone()),
            Outcome::Fail => (Kind::Fail, Value::Nil),
            Outcome::Unknown => (Kind::Info, Value::Nil),
        };
        events.push((invocation.end_line, at, kind, answer));
    }
    events.sort_by_key(|(line, ..)| *line);
    let mut recorder = Recorder::new(recording.header.clone(), Strictness::Strict);
    for (line, at, kind, value) in events {
        let invocation = &recording.invocations[at];
        let time = if kind == Kind::Invoke {
            invocation.call
        } else {
            invocation.end
        };
        recorder
            .take(Entry {
                line: u64::from(line),
                index: None,
                kind,
                process: recording.process(invocation.process).to_owned().into(),
                f: "txn".into(),
                value,
                time: Some(time),
                node: None,
                error: None,
            })
            .unwrap();
    }
    recorder.finish()
}

fn spoil_answer(answer: &Value, random: &mut impl Rng) -> Value {
    let mut micros: Vec<Value> = answer.as_list().unwrap().to_vec();
    let is_read = |micro: &Value| micro.as_list().unwrap()[0].as_text() == Some("r");
    let reads: Vec<usize> = (0..micros.len())
        .filter(|at| is_read(&micros[*at]))
        .collect();
    if reads.is_empty() {
        return answer.clone();
    }
    let at = reads[random.random_range(0..reads.len())];
    let micro = micros[at].as_list().unwrap();
    let value = match &micro[2] {
        Value::List(list) if !list.is_empty() => {
            let mut list = list.to_vec();
            let place = random.random_range(0..list.len());
            match random.random_range(0..4) {
                0 => list.truncate(place),
                1 => {
                    list.remove(place);
                }
                2 => list.push(list[place].clone()),
                _ => list.swap(0, place),
            }
            Value::list(list)
        }
        Value::Int(number) => Value::Int(random.random_range(0..=*number)),
        _ => Value::Int(1),
    };
    let value = match (&micro[2], value) {
        (Value::List(_) | Value::Nil, Value::Int(_)) | (Value::Int(_), Value::Int(0)) => Value::Nil,
        (_, value) => value,
    };
    micros[at] = Value::list([micro[0].clone(), micro[1].clone(), value]);
    Value::list(micros)
}

/// Small enough for every order to be tried.
#[test]
fn what_is_spoiled_is_judged_as_every_order_judges_it() {
    let (mut compared, mut broken) = (0_u64, 0_u64);
    for seed in 0..count() * 10 {
        let workload = WORKLOADS[usize::try_from(seed % 2).unwrap()];
        let (store, _) = STORES[usize::try_from(seed / 2 % 6).unwrap()];
        let profile = Profile {
            clients: 3,
            keys: 2,
            aborted_per_mille: 100,
            ..Profile::new(workload, store, 6)
        };
        let recording = profile.generate(seed);
        let spoiled = spoil(&recording, &mut ChaCha8Rng::seed_from_u64(seed));
        let options = Options::default();
        let report = judge(&spoiled, workload, &options).unwrap();
        let is_garbage = report
            .anomalies
            .iter()
            .any(|s| s.anomaly.name() == "garbage-read");
        let all: Vec<u32> = (0..).take(spoiled.invocations.len()).collect();
        for level in LEVELS {
            let judgement = report.of(level);
            let is_broken = judgement.verdict == Verdict::Broken;
            let allowed = brute::allows(&spoiled, &all, workload, &options, level);
            let context = || {
                format!(
                    "{workload:?} {store:?} {seed} {}: {judgement:?}, and every order says {allowed:?}\n{}",
                    level.name(),
                    print(&spoiled)
                )
            };
            if let Some(allowed) = allowed {
                assert!(!(is_broken && allowed) || is_garbage, "{}", context());
                let is_exact = Level::Causal.is_at_least(level);
                assert!(
                    allowed || is_broken || !is_exact || level == Level::CursorStability,
                    "{}",
                    context()
                );
                compared += 1;
            }
            broken += u64::from(is_broken);
            if is_broken {
                prove(&spoiled, workload, judgement, level, &context);
            }
        }
    }
    println!("{compared} verdicts compared, {broken} broken");
    assert!(broken > compared / 20, "{broken} of {compared}");
}
