//! One run from its folder to its report, through the public interface alone.

use std::fs;
use std::path::Path;

use murphy_check::verdict::{Judgement, MemberRow, Report, Vacuity, Verdict, Witness, WitnessLine};
use murphy_run::events::{FaultEvent, FaultState, NodeState, RunEvent};
use murphy_run::folder::FolderError;
use murphy_run::verdict::{Cleanup, Ending, Outcome};
use murphy_run::{Clock, EventLog, Folder, Machine, Request, RunRecord, Schedule, Series};
use murphy_run::{record, request, schedule, series};

const MS: u64 = 1_000_000;

fn request(clock: &Clock) -> Request {
    Request {
        murphy: "run".into(),
        version: request::VERSION,
        verb: "hunt".into(),
        system: "etcd".into(),
        system_version: Some("3.5.0".into()),
        nodes: vec!["n0".into(), "n1".into()],
        model: "etcd".into(),
        promises: vec!["members-agree".into(), "durable".into()],
        options: [("profile".into(), "compare".into())].into(),
        schedule: Some(Schedule::draw(7, &schedule::PROCESS, 2, 3)),
        seed: 7,
        command: vec!["murphy".into(), "hunt".into(), "a b".into()],
        started: clock.started_rfc3339(),
        machine: Machine::this("0.1.0"),
    }
}

fn fault(event: FaultState, text: Option<&str>) -> FaultEvent {
    FaultEvent {
        event,
        id: "4f09a2".into(),
        family: "process".into(),
        fault: "kill".into(),
        targets: vec!["n1".into()],
        engine: "pidfd".into(),
        effect: serde_json::Value::Null,
        text: text.map(Into::into),
    }
}

fn judged(promise: &str, verdict: Verdict, witness: Option<Witness>) -> Judgement {
    Judgement {
        promise: promise.into(),
        verdict,
        reason: format!("because {promise}"),
        witness,
    }
}

fn witness() -> Witness {
    Witness {
        sentence: "n1 misses revision 9.".into(),
        lines: vec![WitnessLine {
            index: 40,
            line: 42,
            node: Some("n1".into()),
            process: "c1".into(),
            start_ns: 30 * MS,
            end_ns: None,
            label: "get k".into(),
            answer: "nothing".into(),
            text: "c1 read `k` from n1: nothing.".into(),
            clashes: true,
        }],
        members: vec![MemberRow {
            what: "9".into(),
            cells: vec![("n0".into(), "k = 1".into()), ("n1".into(), "–".into())],
        }],
        confirmed: true,
    }
}

fn outcome() -> Outcome {
    Outcome {
        report: Report {
            // Not in the order of the alphabet: the order of the model must be kept.
            judgements: vec![
                judged("members-agree", Verdict::Broken, Some(witness())),
                judged("durable", Verdict::Held, None),
                judged("linearizable", Verdict::Undecided, None),
            ],
            vacuity: Vacuity {
                operations: 100,
                operations_during_faults: 10,
                faults: 1,
                ..Vacuity::default()
            },
        },
        ending: Ending::FirstBroken,
        cleanup: Cleanup {
            injections: 1,
            undone: 1,
            left: Vec::new(),
        },
        duration_ns: 50 * MS,
    }
}

/// A whole run in `path`.
fn run(path: &Path) -> (Folder, record::Finished) {
    let folder = Folder::create(path).expect("a new folder");
    let clock = Clock::start();
    folder.write_request(&request(&clock)).expect("written");
    let events = EventLog::create(&folder.events_path(), &clock).expect("created");
    for node in ["n0", "n1"] {
        events.node(node, NodeState::Healthy).expect("written");
        fs::write(folder.node_log_path(node), "ready\n").expect("written");
    }
    events.run(RunEvent::Started).expect("written");
    let planned = fault(FaultState::Planned, None);
    events.fault(planned).expect("written");
    events
        .fault(fault(FaultState::Active, None))
        .expect("written");
    let recovered = fault(FaultState::Recovered, Some("gone after 1.8 ms"));
    events.fault(recovered).expect("written");
    events
        .verdict("members-agree", Verdict::Broken, "n1 misses revision 9")
        .expect("written");
    events.run(RunEvent::Ended).expect("written");
    folder.create_history().expect("created");
    let series = Series::new();
    for i in 0..100 {
        series.add(i * MS / 2, (i + 4) * MS / 2, series::Outcome::Ok);
    }
    let finished = record::finish(&folder, &series, outcome()).expect("finished");
    (folder, finished)
}

#[test]
fn a_run_leaves_a_folder_that_draws_the_same_page_again() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let (folder, finished) = run(&temp.path().join("run"));
    assert_eq!(finished.verdict, Verdict::Broken);
    let page = fs::read_to_string(&finished.report_path).expect("a report");
    for part in [
        "BROKEN: members disagree.",
        "n1 misses revision 9.",
        "gone after 1.8&nbsp;ms",
        "murphy hunt &#39;a b&#39;",
        "n1.log",
        "does not decide",
    ] {
        let part = part.replace("&nbsp;", "\u{a0}");
        assert!(page.contains(&part), "{part}");
    }

    let moved = temp.path().join("moved");
    fs::rename(folder.path(), &moved).expect("moved");
    let folder = Folder::open(&moved).expect("a run");
    fs::remove_file(folder.report_path()).expect("there");
    record::draw(&folder).expect("drawn");
    let again = fs::read_to_string(folder.report_path()).expect("a report");
    assert_eq!(again, page);
}

#[test]
fn what_is_written_reads_back() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let (folder, finished) = run(&temp.path().join("run"));
    let record = RunRecord::read(&folder).expect("a record");
    assert_eq!(record.verdicts, finished.verdicts);
    let names: Vec<_> = record
        .verdicts
        .promises
        .iter()
        .map(|(n, _)| n.as_str())
        .collect();
    assert_eq!(names, ["members-agree", "durable", "linearizable"]);
    let schedule = record.request.schedule.expect("a schedule");
    assert_eq!(schedule, Schedule::draw(7, &schedule::PROCESS, 2, 3));
    assert_eq!(record.series.ok, 100);
    let files: Vec<_> = record.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        files,
        [
            "history.jsonl",
            "events.jsonl",
            "series.json",
            "verdict.json",
            "run.json",
            "nodes/n0.log",
            "nodes/n1.log"
        ]
    );
}

#[test]
fn verdict_json_is_what_the_format_says() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let (folder, _) = run(&temp.path().join("run"));
    let text = fs::read_to_string(folder.verdict_path()).expect("written");
    let root = temp.path().display().to_string();
    insta::assert_snapshot!(text.replace(&root, "TMP"));
}

#[test]
fn every_part_of_a_folder_that_is_missing_or_damaged_is_named() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    for (index, part) in ["run.json", "events.jsonl", "series.json", "verdict.json"]
        .into_iter()
        .enumerate()
    {
        let (folder, _) = run(&temp.path().join(index.to_string()));
        let path = folder.path().join(part);
        let whole = fs::read_to_string(&path).expect("there");
        for damaged in ["", "{", "[]", "null", &whole[..whole.len() / 2], "\u{0}"] {
            fs::write(&path, damaged).expect("written");
            let error = record::draw(&folder).expect_err(damaged).to_string();
            assert!(error.contains(&format!("{}:", path.display())), "{error}");
        }
        fs::remove_file(&path).expect("there");
        let error = record::draw(&folder).expect_err("missing");
        assert!(matches!(error, FolderError::Missing { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let (folder, _) = run(&temp.path().join("run"));
    let path = folder.verdict_path();
    let text = fs::read_to_string(&path).expect("there");
    let newer = text.replace("\"version\": 1", "\"version\": 2");
    fs::write(&path, newer).expect("written");
    let error = record::draw(&folder).expect_err("newer").to_string();
    assert!(
        error.ends_with("verdict.json:1:1: version 2 is unknown, this Murphy reads 1 to 1"),
        "{error}"
    );
}
