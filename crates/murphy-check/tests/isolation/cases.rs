//! Hand-written cases: for each the exact set of anomalies, and the strongest levels that hold.
//!
//! A case is a line `# what it is`, its transactions, `anomalies:` and `holds:`, the latter without levels where
//! nothing can be judged.

use murphy_check::{
    isolation::{LEVELS, Options, Report, Workload, brute, judge},
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
            wrong += &format!(
                "# {}\n{}\nanomalies: {found}\nholds: {holds}\n",
                case.name, case.transactions
            );
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
