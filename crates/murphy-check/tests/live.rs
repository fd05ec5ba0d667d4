//! The live judge on histories that are never quiet: it says what the judge of whole histories says, holds no more than
//! its limits allow however long they are, and is undecided where a limit is reached.

mod busy;

use busy::Busy;
use murphy_check::{
    history::{Header, Kind},
    judge::{self, ModelName, judge},
    live::{self, Limits, LiveJudge},
    recording::{Entry, Recorder, Strictness},
    value::Value,
    verdict::{Judgement, Verdict},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn is_soak() -> bool {
    std::env::var_os("MURPHY_SOAK").is_some()
}

fn begin(model: &str, limits: Limits) -> Box<dyn LiveJudge> {
    let options = live::Options {
        limits,
        ..live::Options::default()
    };
    let name: ModelName = model.parse().expect("a model");
    live::start(name, &Header::new(model), &options).expect("a live judge")
}

/// The verdict of a live judge, and whether it came before the end.
fn live(model: &str, lines: &[Entry<'static>], limits: Limits) -> (Judgement, bool) {
    let mut judge = begin(model, limits);
    for line in lines {
        let found = judge.entry(line.clone()).expect("a right line");
        if let Some(judgement) = found {
            return (judgement, true);
        }
    }
    (judge.finish().judgements.remove(0), false)
}

fn whole(model: &str, lines: &[Entry<'static>]) -> Judgement {
    let mut recorder = Recorder::new(Header::new(model), Strictness::Strict);
    for line in lines {
        recorder.take(line.clone()).expect("a right line");
    }
    let name: ModelName = model.parse().expect("a model");
    let judged = judge(&mut recorder.finish(), name, &judge::Options::default());
    judged
        .expect("words of the model")
        .report
        .judgements
        .remove(0)
}

/// Limits under which a register that is not quiet is judged by its values at once.
fn narrow() -> Limits {
    Limits {
        nodes: 2,
        ..Limits::default()
    }
}

#[test]
fn a_register_that_is_never_quiet_is_judged_as_a_whole_one() {
    let count = if is_soak() { 10_000 } else { 500 };
    let (mut held, mut broken, mut early) = (0, 0, 0);
    for seed in 0..count {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let clients = random.random_range(2..10);
        let mut history = Busy::new(clients, 1, 50, seed);
        let size = random.random_range(30..300);
        let mut lines: Vec<_> = (0..size).map(|_| history.next()).collect();
        if seed % 3 > 0 {
            spoil(&mut lines, &mut random);
        }
        let expected = whole("register", &lines);
        for limits in [narrow(), Limits::default()] {
            let (judgement, is_early) = live("register", &lines, limits);
            assert_eq!(
                judgement.verdict,
                expected.verdict,
                "{seed}: {judgement:#?}\n{expected:#?}\n{}",
                lines.iter().map(said).collect::<String>()
            );
            if let Some(witness) = &judgement.witness {
                assert!(witness.confirmed, "{seed}: {witness:#?}");
            }
            early += u64::from(is_early);
        }
        match expected.verdict {
            Verdict::Held => held += 1,
            _ => broken += 1,
        }
    }
    assert!(
        held > count / 4 && broken > count / 4 && early > count / 4,
        "{held} {broken} {early}"
    );
}

fn said(line: &Entry<'_>) -> String {
    let Entry {
        line,
        kind,
        process,
        f,
        value,
        ..
    } = line;
    format!("{line} {kind:?} {process} {f} {value}\n")
}

/// Gives an answered read another value: one that was or will be written, or none.
fn spoil(lines: &mut [Entry<'static>], random: &mut ChaCha8Rng) {
    let values: Vec<Value> = (lines.iter())
        .filter(|line| line.kind == Kind::Invoke && line.f == "write")
        .map(|line| line.value.clone())
        .collect();
    let reads: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].kind == Kind::Ok && lines[*at].f == "read")
        .collect();
    if reads.is_empty() || values.is_empty() {
        return;
    }
    let read = reads[random.random_range(0..reads.len())];
    // Mostly one of about that time.
    let near = values.len() * read / lines.len();
    let from = near.saturating_sub(4);
    let place = random.random_range(from..(near + 2).min(values.len()).max(from + 1));
    lines[read].value = values.get(place).cloned().unwrap_or(Value::Nil);
}

#[test]
fn what_is_held_does_not_grow_with_the_history() {
    let operations = if is_soak() { 2_000_000 } else { 100_000 };
    let limits = Limits::default();
    for (model, keys) in [("register", 1), ("key-value", 100)] {
        let mut history = Busy::new(50, keys, 10, 1);
        let mut judge = begin(model, limits);
        let mut most = live::Progress::default();
        while history.operations() < operations {
            assert!(judge.entry(history.next()).expect("a right line").is_none());
            let now = judge.progress();
            most.held = most.held.max(now.held);
            most.configs = most.configs.max(now.configs);
            most.unknown = most.unknown.max(now.unknown);
        }
        // Half of those of unknown outcome are writes, which may still happen; nothing else grows.
        let unknown = usize::try_from(operations / 100).unwrap();
        assert!(
            most.held <= 1_000 && most.configs <= 1_000,
            "{model}: {most:?}"
        );
        assert!(most.unknown <= unknown, "{model}: {most:?}");
        let kept = judge.recording().invocations.len();
        assert!(kept <= most.unknown + 70_000, "{model}: {kept} kept");
        let judgement = judge.finish().judgements.remove(0);
        assert_eq!(judgement.verdict, Verdict::Held, "{judgement:?}");
    }
}

/// `{process}: {kind} {f} {value}` at moments one apart.
fn told(lines: &[(&str, Kind, &str, Value)]) -> Vec<Entry<'static>> {
    let line = |(number, (process, kind, f, value)): (u64, &(&str, Kind, &str, Value))| Entry {
        line: number,
        index: None,
        kind: *kind,
        process: (*process).to_owned().into(),
        f: (*f).to_owned().into(),
        value: value.clone(),
        time: Some(number * 10),
        node: None,
        error: None,
    };
    (2..).zip(lines).map(line).collect()
}

#[test]
fn a_limit_that_is_reached_is_never_held() {
    let (nil, one) = (Value::Nil, Value::Int(1));
    // Ten that may have happened at any time, of a model in which that may matter to everybody.
    let mut lines = Vec::new();
    let names: Vec<String> = (0..10).map(|number| format!("u{number}")).collect();
    for name in &names {
        lines.push((name.as_str(), Kind::Invoke, "add", one.clone()));
        lines.push((name.as_str(), Kind::Info, "add", one.clone()));
    }
    lines.push(("a", Kind::Invoke, "read", nil.clone()));
    lines.push(("a", Kind::Ok, "read", Value::Int(0)));
    let few = Limits {
        unknown_per_part: 9,
        ..Limits::default()
    };
    let (judgement, _) = live("counter", &told(&lines), few);
    assert_eq!(judgement.verdict, Verdict::Undecided);
    assert_eq!(judgement.reason, "too many operations of unknown outcome");
    let (judgement, _) = live("counter", &told(&lines), Limits::default());
    assert_eq!(judgement.verdict, Verdict::Held);
    // One that is open for ever, and others that wait for it.
    let mut lines = vec![("h", Kind::Invoke, "add", one.clone())];
    for _ in 0..40 {
        lines.push(("a", Kind::Invoke, "add", one.clone()));
        lines.push(("a", Kind::Ok, "add", one.clone()));
    }
    lines.push(("a", Kind::Invoke, "read", nil.clone()));
    let few = Limits {
        held_per_part: 32,
        ..Limits::default()
    };
    let mut right = lines.clone();
    right.push(("a", Kind::Ok, "read", Value::Int(41)));
    let (judgement, _) = live("counter", &told(&right), few);
    assert_eq!(judgement.verdict, Verdict::Undecided);
    assert_eq!(judgement.reason, "an operation has been open for too long");
    assert_eq!(
        live("counter", &told(&right), Limits::default()).0.verdict,
        Verdict::Held
    );
    // What is known by then is told.
    let mut wrong = lines;
    wrong.truncate(3);
    wrong.push(("a", Kind::Invoke, "read", nil));
    wrong.push(("a", Kind::Ok, "read", Value::Int(7)));
    for _ in 0..40 {
        wrong.push(("a", Kind::Invoke, "add", one.clone()));
        wrong.push(("a", Kind::Ok, "add", one.clone()));
    }
    let (judgement, is_early) = live("counter", &told(&wrong), few);
    assert!(
        judgement.verdict == Verdict::Broken && is_early,
        "{judgement:?}"
    );
}

/// A value that is written again may be read again, although others were read in between: of a register that is never
/// quiet that is not known before the second write is answered.
#[test]
fn a_value_that_is_written_twice_is_no_contradiction() {
    let (nil, numbers) = (Value::Nil, (1..=12).map(Value::Int).collect::<Vec<_>>());
    let begin = || {
        let mut lines = vec![("h", Kind::Invoke, "read", nil.clone())];
        for value in &numbers {
            for f in ["write", "read"] {
                lines.push(("a", Kind::Invoke, f, value.clone()));
                lines.push(("a", Kind::Ok, f, value.clone()));
            }
        }
        lines
    };
    let read = |lines: &mut Vec<_>, value: i64| {
        lines.push(("a", Kind::Invoke, "read", nil.clone()));
        lines.push(("a", Kind::Ok, "read", Value::Int(value)));
        lines.push(("a", Kind::Invoke, "read", nil.clone()));
    };
    for end in [None, Some(Kind::Info), Some(Kind::Ok)] {
        let mut lines = begin();
        lines.push(("b", Kind::Invoke, "write", Value::Int(1)));
        lines.extend(end.map(|kind| ("b", kind, "write", Value::Int(1))));
        read(&mut lines, 1);
        let (judgement, _) = live("register", &told(&lines), Limits::default());
        assert_ne!(judgement.verdict, Verdict::Broken, "{end:?}: {judgement:?}");
    }
    // Two may have written it, and one of them did not.
    let mut lines = begin();
    for process in ["b", "c"] {
        lines.push((process, Kind::Invoke, "write", Value::Int(13)));
    }
    lines.push(("d", Kind::Invoke, "read", nil.clone()));
    lines.push(("d", Kind::Ok, "read", Value::Int(13)));
    lines.push(("d", Kind::Invoke, "read", nil.clone()));
    lines.push(("b", Kind::Fail, "write", Value::Int(13)));
    read(&mut lines, 13);
    let (judgement, _) = live("register", &told(&lines), Limits::default());
    assert_ne!(judgement.verdict, Verdict::Broken, "{judgement:?}");
    // What nobody wrote again is one.
    let mut lines = begin();
    read(&mut lines, 1);
    let (judgement, _) = live("register", &told(&lines), Limits::default());
    assert_eq!(judgement.verdict, Verdict::Broken, "{judgement:?}");
}

/// An append that is open makes something new of a write that nobody is known to have read.
#[test]
fn a_write_of_unknown_outcome_is_appended_to_by_an_append_without_an_answer() {
    let of = |value: &str| Value::list([Value::text("x"), Value::text(value)]);
    let key = || Value::list([Value::text("x")]);
    let lines = [
        ("a", Kind::Invoke, "append", of("a")),
        ("b", Kind::Invoke, "put", of("b")),
        ("b", Kind::Info, "put", of("b")),
        ("c", Kind::Invoke, "get", key()),
        ("c", Kind::Ok, "get", of("ba")),
    ];
    let (judgement, _) = live("key-value", &told(&lines), Limits::default());
    assert_eq!(judgement.verdict, Verdict::Held, "{judgement:?}");
    let mut wrong = lines;
    wrong[4].3 = of("bb");
    let (judgement, _) = live("key-value", &told(&wrong), Limits::default());
    assert_eq!(judgement.verdict, Verdict::Broken, "{judgement:?}");
}

#[test]
fn keys_beyond_the_limit_are_not_held() {
    let put = |key: &str| Value::list([Value::text(key), Value::text("1")]);
    let lines = [("x", "1"), ("y", "1"), ("z", "2")].map(|(key, read)| {
        let got = Value::list([Value::text(key), Value::text(read)]);
        [
            ("a", Kind::Invoke, "put", put(key)),
            ("a", Kind::Ok, "put", Value::Nil),
            ("a", Kind::Invoke, "get", Value::list([Value::text(key)])),
            ("a", Kind::Ok, "get", got),
        ]
    });
    let two = Limits {
        parts: 2,
        ..Limits::default()
    };
    let (judgement, _) = live("key-value", &told(&lines.concat()), two);
    assert_eq!(judgement.verdict, Verdict::Undecided);
    assert!(
        judgement.reason.starts_with("there are too many keys"),
        "{}",
        judgement.reason
    );
    let (judgement, _) = live("key-value", &told(&lines.concat()), Limits::default());
    assert_eq!(judgement.verdict, Verdict::Broken);
}

#[test]
fn isolation_is_not_judged_live() {
    for model in ["list-append", "rw-register"] {
        let name: ModelName = model.parse().expect("a model");
        let refused = live::start(name, &Header::new(model), &live::Options::default());
        assert_eq!(refused.err(), Some(live::NotLive(name.name())));
    }
}
