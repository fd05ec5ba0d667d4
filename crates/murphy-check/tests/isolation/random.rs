//! Random small histories, judged as every order judges them.

use murphy_check::{
    history::{Header, Kind},
    isolation::{LEVELS, Level, Options, Workload, brute, judge},
    recording::{Entry, Recorder, Recording, Strictness},
    value::Value,
    verdict::Verdict,
};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::witnesses::{print, prove};

fn count() -> u64 {
    if std::env::var_os("MURPHY_SOAK").is_some() {
        10_000
    } else {
        800
    }
}

/// A few transactions whose reads are drawn from what could have been written: mostly wrong, in every way.
fn draw(workload: Workload, seed: u64) -> Recording {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let transactions = random.random_range(2..=5_usize);
    let processes = random.random_range(1..=transactions);
    let keys = random.random_range(1..=3_usize);
    let mut next = vec![0_i64; keys];
    let mut asked: Vec<Vec<(usize, Option<i64>)>> = Vec::new();
    for _ in 0..transactions {
        let mut micros = Vec::new();
        for _ in 0..random.random_range(1..=3) {
            let key = random.random_range(0..keys);
            let write = random.random_bool(0.45).then(|| {
                next[key] += 1;
                next[key]
            });
            micros.push((key, write));
        }
        asked.push(micros);
    }
    // The order in which each list came to be.
    let orders: Vec<Vec<i64>> = next
        .iter()
        .map(|count| {
            let mut order: Vec<i64> = (1..=*count).collect();
            for at in (1..order.len()).rev() {
                if random.random_bool(0.4) {
                    order.swap(at, random.random_range(0..=at));
                }
            }
            order
        })
        .collect();
    let wild = random.random_bool(0.15);
    let mut recorder = Recorder::new(Header::new(workload.name()), Strictness::Strict);
    let mut open: Vec<Option<usize>> = vec![None; processes];
    let mut retired = vec![false; processes];
    let mut queue: Vec<usize> = (0..transactions).rev().collect();
    let mut line = 1;
    let mut time = 0;
    while !queue.is_empty() || open.iter().any(Option::is_some) {
        let process = random.random_range(0..processes);
        time += random.random_range(0..3);
        line += 1;
        let (kind, value) = match open[process].take() {
            None if retired.iter().all(|r| *r) => break,
            None if retired[process] => continue,
            None => {
                let Some(next) = queue.pop() else {
                    continue;
                };
                open[process] = Some(next);
                let ask = asked[next].iter();
                (
                    Kind::Invoke,
                    Value::list(ask.map(|(k, w)| micro(workload, *k, *w, Value::Nil))),
                )
            }
            Some(done) => match random.random_range(0..14) {
                0 => (Kind::Fail, Value::Nil),
                1 => {
                    retired[process] = random.random_bool(0.8);
                    (Kind::Info, Value::Nil)
                }
                _ => {
                    let mut own: Vec<Vec<i64>> = vec![Vec::new(); keys];
                    let mut last: Vec<Option<Vec<i64>>> = vec![None; keys];
                    let mut micros = Vec::new();
                    for (key, write) in &asked[done] {
                        let read = if let Some(value) = write {
                            own[*key].push(*value);
                            if let Some(last) = &mut last[*key] {
                                last.push(*value);
                            }
                            Value::Nil
                        } else {
                            let order = &orders[*key];
                            let length = random.random_range(0..=order.len());
                            let mut shown = order[..length].to_vec();
                            if let Some(last) = &last[*key]
                                && random.random_bool(0.8)
                            {
                                shown.clone_from(last);
                            } else if !own[*key].is_empty() && random.random_bool(0.8) {
                                shown.retain(|v| !own[*key].contains(v));
                                shown.extend(&own[*key]);
                            } else if wild && random.random_bool(0.2) {
                                shown.push(random.random_range(1..9));
                            }
                            last[*key] = Some(shown.clone());
                            match workload {
                                Workload::ListAppend => {
                                    Value::list(shown.into_iter().map(Value::Int))
                                }
                                Workload::RwRegister => {
                                    shown.last().map_or(Value::Nil, |v| Value::Int(*v))
                                }
                            }
                        };
                        micros.push(micro(workload, *key, *write, read));
                    }
                    (Kind::Ok, Value::list(micros))
                }
            },
        };
        let entry = Entry {
            line,
            index: None,
            kind,
            process: process.to_string().into(),
            f: "txn".into(),
            value,
            time: Some(time),
            node: None,
            error: None,
        };
        recorder.take(entry).unwrap();
    }
    recorder.finish()
}

fn micro(workload: Workload, key: usize, write: Option<i64>, read: Value) -> Value {
    let word = match (write, workload) {
        (None, _) => "r",
        (Some(_), Workload::ListAppend) => "append",
        (Some(_), Workload::RwRegister) => "w",
    };
    let value = write.map_or(read, Value::Int);
    Value::list([word.into(), Value::Int(i64::try_from(key).unwrap()), value])
}

/// Whether the checker finds every history that is not of the level.
pub fn is_complete(workload: Workload, level: Level) -> bool {
    match workload {
        // Where two appends were never read, their order matters to these.
        Workload::ListAppend => !matches!(
            level,
            Level::CursorStability
                | Level::ConsistentView
                | Level::SnapshotIsolation
                | Level::StrongSessionSnapshotIsolation
                | Level::StrongSnapshotIsolation
        ),
        Workload::RwRegister => {
            Level::Causal.is_at_least(level)
                || level == Level::StrongReadCommitted
                || level == Level::StrongReadUncommitted
        }
    }
}

/// How many verdicts were compared, and how many of them said broken.
fn compare(recording: &Recording, workload: Workload, seed: u64, figures: &mut Figures) {
    let options = Options::default();
    let report = judge(recording, workload, &options).unwrap();
    let all: Vec<u32> = (0..).take(recording.invocations.len()).collect();
    let is_garbage = report
        .anomalies
        .iter()
        .any(|s| s.anomaly.name() == "garbage-read");
    for level in LEVELS {
        let judgement = report.of(level);
        let Some(allowed) = brute::allows(recording, &all, workload, &options, level) else {
            continue;
        };
        figures.compared += 1;
        let is_broken = judgement.verdict == Verdict::Broken;
        let context = || {
            format!(
                "{workload:?} {seed} {}: {judgement:?}, and every order says {allowed}\n{:?}\n{}",
                level.name(),
                report.anomalies,
                print(recording)
            )
        };
        // What nobody wrote is garbage in the whole history, and another's write in a part of it.
        assert!(!is_broken || !allowed || is_garbage, "{}", context());
        if !allowed && !is_broken {
            assert!(!is_complete(workload, level), "{}", context());
            figures.missed += 1;
        }
        figures.broken += u64::from(is_broken);
        if is_broken {
            prove(recording, workload, judgement, level, &context);
        }
    }
}

#[derive(Debug, Default)]
struct Figures {
    compared: u64,
    broken: u64,
    missed: u64,
}

fn run(workload: Workload) {
    let mut figures = Figures::default();
    for seed in 0..count() {
        compare(&draw(workload, seed), workload, seed, &mut figures);
    }
    println!("{workload:?}: {figures:?}");
    assert!(figures.broken * 10 > figures.compared, "{figures:?}");
    assert!(figures.broken * 10 < figures.compared * 9, "{figures:?}");
}

#[test]
fn lists_are_judged_as_every_order_judges_them() {
    run(Workload::ListAppend);
}

#[test]
fn registers_are_judged_as_every_order_judges_them() {
    run(Workload::RwRegister);
}
