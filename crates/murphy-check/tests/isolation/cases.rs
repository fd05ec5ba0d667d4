//! Hand-written cases: for each the exact set of anomalies, and the strongest levels that hold.
//!
//! A case is a line `# what it is`, its transactions, `anomalies:` and `holds:`, the latter without levels where
//! nothing can be judged.

use murphy_check::{
    history::{Header, Kind},
    isolation::{LEVELS, Level, Options, Report, Workload, brute, judge},
    recording::{Entry, Recorder, Strictness},
    value::Value,
    verdict::Verdict,
};

use crate::{notation::recording, random::is_complete, witnesses::prove};

const FILES: [(Workload, &str); 9] = [
    (Workload::ListAppend, include_str!("cases/lists-writes.txt")),
    (Workload::ListAppend, include_str!("cases/lists-reads.txt")),
    (Workload::ListAppend, include_str!("cases/lists-skew.txt")),
    (Workload::ListAppend, include_str!("cases/lists-clocks.txt")),
    (
        Workload::ListAppend,
        include_str!("cases/lists-unknown.txt"),
    ),
    (Workload::ListAppend, include_str!("cases/lists-valid.txt")),
    (
        Workload::RwRegister,
        include_str!("cases/registers-reads.txt"),
    ),
    (
        Workload::RwRegister,
        include_str!("cases/registers-skew.txt"),
    ),
    (
        Workload::RwRegister,
        include_str!("cases/registers-clocks.txt"),
    ),
];

struct Case {
    workload: Workload,
    name: &'static str,
    transactions: String,
    anomalies: &'static str,
    holds: &'static str,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (workload, text) in FILES {
        for block in text.split("# ").skip(1) {
            let (name, rest) = block.split_once('\n').unwrap();
            let field = |name: &str| {
                let mut fields = rest.lines().filter_map(|line| line.strip_prefix(name));
                fields.next().unwrap_or("missing").trim()
            };
            let is_transaction =
                |line: &&str| !line.starts_with("anomalies:") && !line.starts_with("holds:");
            cases.push(Case {
                workload,
                name,
                transactions: rest
                    .lines()
                    .filter(is_transaction)
                    .collect::<Vec<_>>()
                    .join("\n"),
                anomalies: field("anomalies:"),
                holds: field("holds:"),
            });
        }
    }
    cases
}

fn anomalies(report: &Report) -> String {
    let mut names: Vec<String> = report.anomalies.iter().map(|s| s.anomaly.name()).collect();
    names.sort();
    names.join(" ")
}

fn holds(report: &Report) -> String {
    let names: Vec<&str> = report
        .strongest()
        .iter()
        .map(|level| level.name())
        .collect();
    names.join(" ")
}

#[test]
fn cases_have_exactly_their_anomalies_and_levels() {
    let cases = cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        let recording = recording(case.workload, &case.transactions);
        let report = judge(&recording, case.workload, &Options::default()).unwrap();
        let (found, holds) = (anomalies(&report), holds(&report));
        if found != case.anomalies || holds != case.holds {
            let (name, transactions) = (case.name, &case.transactions);
            wrong += "# ";
            wrong += &[
                name,
                transactions,
                &format!("anomalies: {found}"),
                &format!("holds: {holds}\n"),
            ]
            .join("\n");
        }
    }
    assert!(wrong.is_empty(), "these are judged otherwise:\n{wrong}");
}

/// Every order agrees wherever the definitions are complete, and every witness stands alone.
#[test]
fn cases_are_judged_as_every_order_judges_them() {
    for case in cases() {
        let recording = recording(case.workload, &case.transactions);
        let options = Options::default();
        let report = judge(&recording, case.workload, &options).unwrap();
        let all: Vec<u32> = (0..).take(recording.invocations.len()).collect();
        for level in LEVELS {
            let judgement = report.of(level);
            let allowed = brute::allows(&recording, &all, case.workload, &options, level);
            let is_broken = judgement.verdict == Verdict::Broken;
            let context = || {
                format!(
                    "{} {}: {judgement:?}, and every order says {allowed:?}",
                    case.name,
                    level.name()
                )
            };
            if !case.anomalies.contains("garbage-read") {
                assert!(!is_broken || allowed != Some(true), "{}", context());
                let is_missed = allowed == Some(false) && !is_broken;
                assert!(
                    !is_missed || !is_complete(case.workload, level),
                    "{}",
                    context()
                );
            }
            if is_broken {
                prove(&recording, case.workload, judgement, level, &context);
            }
        }
    }
}

/// What no database can have done is refused, with the line and what is wrong.
#[test]
fn lines_that_are_no_transactions_are_refused() {
    for (workload, text, problem) in [
        (
            Workload::ListAppend,
            "a: ax1\nb: ax1",
            "line 3: duplicate-writes: 1 is written to x a second time, so that its reads do not tell who is read",
        ),
        (
            Workload::RwRegister,
            "a: wx1 wx1",
            "line 2: duplicate-writes: 1 is written to x a second time, so that its reads do not tell who is read",
        ),
        (
            Workload::ListAppend,
            "a: wx1",
            "line 2: unknown micro-operation `w`; list-append has append and r",
        ),
        (
            Workload::RwRegister,
            "a: wx1\nb: ax1",
            "line 3: unknown micro-operation `append`; rw-register has w and r",
        ),
        (
            Workload::RwRegister,
            "a: wx_",
            "line 2: nil is written to x, and is what a key has before the first write",
        ),
    ] {
        let wrong = judge(&recording(workload, text), workload, &Options::default()).unwrap_err();
        assert_eq!(format!("line {}: {}", wrong.line, wrong.problem), problem);
    }
}

#[test]
fn answers_that_are_not_of_what_was_asked_are_refused() {
    let micro = |f: &str, value: Value| Value::list([f.into(), "x".into(), value]);
    for (ask, answer, problem) in [
        (
            Value::list([micro("r", Value::Nil)]),
            Value::list([micro("r", Value::Nil), micro("r", Value::Nil)]),
            "line 3: the answer has 2 micro-operations where 1 were asked",
        ),
        (
            Value::list([micro("append", Value::Int(1))]),
            Value::list([micro("append", Value::Int(2))]),
            "line 3: [append x 1] was asked, and [append x 2] is answered",
        ),
        (
            Value::list([micro("r", Value::Nil)]),
            Value::Nil,
            "line 3: expected the micro-operations of the request with the reads filled in, not nil",
        ),
        (
            Value::list([micro("r", Value::Nil)]),
            Value::list([micro("r", Value::Int(3))]),
            "line 3: a read of x answered 3, not a list",
        ),
        (
            Value::Int(4),
            Value::Nil,
            "line 2: expected a list of micro-operations such as [\"r\" x nil], not 4",
        ),
        (
            Value::list([Value::Int(4)]),
            Value::list([Value::Int(4)]),
            "line 3: expected a micro-operation [f k v], not 4",
        ),
    ] {
        let mut recorder = Recorder::new(Header::new("list-append"), Strictness::Strict);
        for (line, kind, value) in [(2, Kind::Invoke, ask), (3, Kind::Ok, answer)] {
            let entry = Entry {
                line,
                index: None,
                kind,
                process: "a".into(),
                f: "txn".into(),
                value,
                time: None,
                node: None,
                error: None,
            };
            recorder.take(entry).unwrap();
        }
        let recording = recorder.finish();
        let wrong = judge(&recording, Workload::ListAppend, &Options::default()).unwrap_err();
        assert_eq!(format!("line {}: {}", wrong.line, wrong.problem), problem);
    }
}

/// The options of Elle that take an order of register versions for granted.
#[test]
fn versions_follow_what_the_caller_takes_for_granted() {
    let stale = recording(Workload::RwRegister, "a@1-2: wx1\nb@3-4: wx2\nc@5-6: rx1");
    let held = |options: &Options| {
        let report = judge(&stale, Workload::RwRegister, options).unwrap();
        report.of(Level::ReadUncommitted).verdict
    };
    assert_eq!(held(&Options::default()), Verdict::Held);
    let linearizable = Options {
        linearizable_keys: true,
        ..Options::default()
    };
    assert_eq!(held(&linearizable), Verdict::Broken);
    let back = recording(
        Workload::RwRegister,
        "a: wx1\nb: wx2\nc: rx1\nc: rx2\nc: rx1",
    );
    let sequential = Options {
        sequential_keys: true,
        ..Options::default()
    };
    let report = judge(&back, Workload::RwRegister, &sequential).unwrap();
    assert_eq!(anomalies(&report), "cyclic-versions");
    let update = recording(
        Workload::RwRegister,
        "a: wx1 wy1\nb: rx1 wx2\nc: ry1 wy2\nd: rx2 ry1\ne: rx1 ry2",
    );
    let loose = Options {
        wfr_keys: false,
        ..Options::default()
    };
    for (options, expected) in [(&Options::default(), "G-nonadjacent"), (&loose, "")] {
        let report = judge(&update, Workload::RwRegister, options).unwrap();
        assert_eq!(anomalies(&report), expected);
    }
}
