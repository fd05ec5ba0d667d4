use std::fs;

use super::*;

fn fault(event: FaultState) -> FaultEvent {
    FaultEvent {
        event,
        id: "4f09a2".into(),
        family: "process".into(),
        fault: "kill".into(),
        targets: vec!["n2".into()],
        engine: "pidfd".into(),
        effect: serde_json::json!({"gone_after_ns": 1_800_000}),
        text: Some("gone 1.8 ms after SIGKILL".into()),
    }
}

/// One of each, at times 0, 10, 20, …
fn one_of_each(log: &EventLog) {
    let round = 1;
    let whats = [
        What::Run(RunEvent::Started),
        What::Node {
            event: NodeState::Healthy,
            node: "n2".into(),
        },
        What::Run(RunEvent::Round { round }),
        What::Fault(fault(FaultState::Active)),
        What::Run(RunEvent::Quiet { round }),
        What::Run(RunEvent::Compared {
            round,
            text: "n0 rev 4018".into(),
        }),
        What::Finding(FindingEvent {
            event: FindingState::Over,
            finding: "refusals".into(),
            edge: serde_json::json!({"container": "web", "side": "opened", "peer": "10.0.0.2", "port": 80}),
            direction: "unknown".into(),
            size: serde_json::json!({"count": 3}),
            since: 12,
            until: Some(40),
            evidence: vec!["3 connections were refused".into()],
            undecided: false,
            text: "web → 10.0.0.2:80: refusals, 3, either way".into(),
        }),
        What::Verdict(VerdictEvent {
            event: "verdict".into(),
            promise: "members-agree".into(),
            verdict: Verdict::Broken,
            reason: "revision 4017 has two contents".into(),
        }),
        What::Run(RunEvent::Ended),
    ];
    for (time, what) in (0..).step_by(10).zip(whats) {
        log.write_at(time, what).expect("written");
    }
}

#[test]
fn lines_are_what_the_format_says() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let path = temp.path().join("events.jsonl");
    let log = EventLog::create(&path, &Clock::start()).expect("created");
    one_of_each(&log);
    let text = fs::read_to_string(&path).expect("written");
    let (header, lines) = text.split_once('\n').expect("a header");
    assert!(
        header.starts_with(r#"{"murphy":"events","version":1,"started":"20"#),
        "{header}"
    );
    insta::assert_snapshot!(lines);
}

#[test]
fn what_is_written_reads_back() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let path = temp.path().join("events.jsonl");
    let clock = Clock::start();
    let log = EventLog::create(&path, &clock).expect("created");
    one_of_each(&log);
    let events = read(&path).expect("what was written");
    assert_eq!(events.header.started, clock.started_rfc3339());
    assert_eq!(events.header.boottime_ns, clock.zero_boottime_ns());
    assert_eq!(events.lines.len(), 9);
    assert_eq!(events.lines[3].0, 5, "line numbers count the header");
    assert_eq!(
        events.lines[3].1.what,
        What::Fault(fault(FaultState::Active))
    );
}

#[test]
fn many_threads_write_whole_lines_on_one_clock() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let path = temp.path().join("events.jsonl");
    let log = EventLog::create(&path, &Clock::start()).expect("created");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..100 {
                    let name = format!("n{thread}");
                    log.node(&name, NodeState::Healthy).expect("written");
                }
            });
        }
    });
    let events = read(&path).expect("whole lines");
    assert_eq!(events.lines.len(), 800);
    assert!(events.lines.is_sorted_by_key(|(_, event)| event.time));
}

#[test]
fn a_bad_line_is_named() {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let path = temp.path().join("events.jsonl");
    let header =
        r#"{"murphy":"events","version":1,"started":"2026-11-21T02:18:04Z","boottime_ns":5}"#;
    for (text, message) in [
        (String::new(), ":1:1: EOF while parsing a value"),
        (
            header.replace(":1,", ":9,"),
            ":1:1: expected the header of events, version 1 to 1, found events version 9",
        ),
        (
            format!(
                "{header}\n{{\"time\":1,\"kind\":\"run\",\"event\":\"started\"}}\n{{\"time\":\n"
            ),
            ":3:8: EOF while parsing a value",
        ),
        (
            format!("{header}\n{{\"time\":1,\"kind\":\"moon\"}}\n"),
            ":2:24: unknown variant `moon`, expected one of `run`, `node`, `fault`, `finding`, `verdict`",
        ),
    ] {
        fs::write(&path, text).expect("written");
        let error = read(&path).expect_err("damaged").to_string();
        assert!(
            error.ends_with(&format!("events.jsonl{message}")),
            "{error}"
        );
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let log = EventLog {
        path: "/dev/full".into(),
        clock: Clock::start(),
        file: Mutex::new(
            File::options()
                .write(true)
                .open("/dev/full")
                .expect("a device"),
        ),
    };
    let error = log.run(RunEvent::Started).expect_err("full").to_string();
    assert!(
        error.starts_with("write /dev/full: No space left"),
        "{error}"
    );
}
