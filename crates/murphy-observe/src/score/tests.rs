use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use murphy_fault::{conn::Side, net::spec};

use super::*;
use crate::{
    edge::Edge,
    finding::{Claim, Direction, Finding, Kind, Size},
    share::Share,
};

const S: u64 = 1_000_000_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Where `c` with 10.0.0.1 and `s` with 10.0.0.2 are.
fn seat(name: &str) -> Seat {
    let (inode, address) = match name {
        "c" => (1, "10.0.0.1"),
        _ => (2, "10.0.0.2"),
    };
    Seat {
        name: name.into(),
        inode: Some(inode),
        addresses: [ip(address)].into(),
    }
}

/// What c asks s, seen from c.
fn edge() -> Edge {
    Edge {
        container: "c".into(),
        side: Side::Opened,
        peer: ip("10.0.0.2"),
        port: 80,
    }
}

/// The same, seen from s.
fn opposite() -> Edge {
    Edge {
        container: "s".into(),
        side: Side::Accepted,
        peer: ip("10.0.0.1"),
        port: 80,
    }
}

/// A loss of 30 % of what c sends.
fn loss(id: &str, begin_s: u64, end_s: Option<u64>) -> Injected {
    Injected {
        id: id.into(),
        fault: "net loss 30%".into(),
        causes: vec![Cause::Loss],
        targets: vec![seat("c")],
        direction: Some(spec::Direction::To),
        begin_ns: begin_s * S,
        end_ns: end_s.map(|end| end * S),
        share: Some(0.3),
        ..Injected::default()
    }
}

fn found(kind: Kind, direction: Direction, edge: Edge, begin_s: u64, end_s: Option<u64>) -> Alarm {
    let share = Share { hit: 30, of: 100 };
    Alarm::of(Finding {
        edge,
        claim: Claim {
            kind,
            direction,
            size: Size::of_share(share),
            since_ns: begin_s * S,
            evidence: Vec::new(),
        },
        found_ns: begin_s * S,
        last_ns: end_s.unwrap_or(begin_s) * S,
        is_over: end_s.is_some(),
        is_undecided: false,
    })
}

fn lost(begin_s: u64, end_s: u64) -> Alarm {
    found(Kind::Loss, Direction::To, edge(), begin_s, Some(end_s))
}

/// Two hundred seconds at c and s.
fn watch() -> Watch {
    Watch {
        spans: vec![(0, 200 * S)],
        seats: vec![seat("c"), seat("s")],
        edges: [edge(), opposite()].into(),
    }
}

fn judged(faults: &[Injected], alarms: &[Alarm]) -> Score {
    score(By::Findings, faults, alarms, &watch(), &Limits::default())
}

fn verdicts(faults: &[Injected], alarms: &[Alarm]) -> Vec<Verdict> {
    let score = judged(faults, alarms);
    score.faults.into_iter().map(|one| one.verdict).collect()
}

fn detected(after_s: u64) -> Verdict {
    Verdict::Detected {
        after_ns: after_s * S,
    }
}

fn wrong(why: &str) -> Verdict {
    Verdict::WrongCulprit { why: why.into() }
}

#[test]
fn what_is_found_soon_is_detected_with_its_share() {
    let score = judged(&[loss("a", 10, Some(20))], &[lost(12, 22)]);
    assert_eq!(score.faults[0].verdict, detected(2));
    assert_eq!(score.faults[0].size_fits, Some(true));
    assert!(score.is_perfect() && !score.is_empty());
    assert_eq!(score.precision.share, Share { hit: 1, of: 1 });
    assert_eq!(score.recall.ratio, Some(1.0));
    // All but half a second before, and ten seconds after.
    assert_eq!(score.false_alarms.healthy_ns, 200 * S - 20 * S - S / 2);
    assert_eq!(score.false_alarms.per_hour, Some(0.0));
}

#[test]
fn what_is_found_later_is_late_also_after_its_end() {
    let late = |after_s: u64| Verdict::Late {
        after_ns: after_s * S,
    };
    let fault = || [loss("a", 10, Some(20))];
    assert_eq!(verdicts(&fault(), &[lost(16, 22)]), [late(6)]);
    assert_eq!(verdicts(&fault(), &[lost(29, 31)]), [late(19)]);
    // What is found after it has settled is another thing.
    let score = judged(&fault(), &[lost(31, 33)]);
    assert_eq!(score.faults[0].verdict, Verdict::Missed);
    assert_eq!(score.false_alarms.healthy.len(), 1);
}

#[test]
fn what_nobody_finds_is_missed_and_what_nothing_explains_is_false() {
    assert_eq!(verdicts(&[loss("a", 10, None)], &[]), [Verdict::Missed]);
    let score = judged(&[], &[lost(10, 20)]);
    assert!(score.is_empty() && !score.is_perfect());
    assert_eq!(score.precision.share, Share { hit: 0, of: 1 });
    let per_hour = score.false_alarms.per_hour.unwrap();
    assert!((per_hour - 18.0).abs() < 1e-9, "{per_hour}");
}

#[test]
fn another_kind_way_or_place_is_a_wrong_culprit() {
    let fault = || [loss("a", 10, Some(20))];
    let at = |kind, direction, edge| [found(kind, direction, edge, 12, Some(14))];
    let elsewhere = Edge {
        peer: ip("10.0.0.9"),
        ..opposite()
    };
    let refused = at(Kind::Refusals, Direction::To, edge());
    assert_eq!(verdicts(&fault(), &refused), [wrong("of another kind")]);
    let back = at(Kind::Loss, Direction::From, edge());
    assert_eq!(verdicts(&fault(), &back), [wrong("the other way")]);
    let other = at(Kind::Loss, Direction::To, elsewhere);
    assert_eq!(verdicts(&fault(), &other), [wrong("elsewhere")]);
    let score = judged(&fault(), &other);
    assert_eq!(score.false_alarms.meanwhile.len(), 1);
    assert!(score.false_alarms.healthy.is_empty());
    // What only follows from it does not name it, and is no false alarm.
    let slow = at(Kind::Latency, Direction::To, edge());
    let score = judged(&fault(), &slow);
    assert_eq!(score.faults[0].verdict, wrong("of another kind"));
    assert_eq!(score.precision.share, Share { hit: 1, of: 1 });
    assert!(!score.is_perfect());
}

#[test]
fn the_other_end_sees_the_other_way() {
    let fault = [loss("a", 10, Some(20))];
    let from = found(Kind::Loss, Direction::From, opposite(), 12, Some(20));
    assert_eq!(verdicts(&fault, &[from]), [detected(2)]);
    let to = found(Kind::Loss, Direction::To, opposite(), 12, Some(20));
    assert_eq!(verdicts(&fault, &[to]), [wrong("the other way")]);
    let unknown = found(Kind::Loss, Direction::Unknown, opposite(), 12, Some(20));
    assert_eq!(verdicts(&fault, &[unknown]), [detected(2)]);
}

#[test]
fn two_targets_are_one_fault_and_each_other_ends() {
    let mut fault = loss("a", 10, Some(20));
    fault.targets.push(seat("s"));
    let from_s = found(Kind::Loss, Direction::To, opposite(), 13, Some(20));
    let from_c = found(Kind::Loss, Direction::To, edge(), 12, Some(20));
    let score = judged(&[fault], &[from_s, from_c]);
    assert_eq!(score.faults[0].verdict, detected(2));
    assert!(score.is_perfect());
}

#[test]
fn overlapping_faults_are_told_by_their_kinds() {
    let delay = Injected {
        causes: vec![Cause::Delay],
        share: None,
        ..loss("b", 15, Some(30))
    };
    let late = found(Kind::Latency, Direction::To, edge(), 17, Some(30));
    let faults = [loss("a", 10, Some(20)), delay];
    assert_eq!(
        verdicts(&faults, &[lost(12, 20), late.clone()]),
        [detected(2), detected(2)]
    );
    // What names the one is no mistake about the other.
    assert_eq!(verdicts(&faults, &[late]), [Verdict::Missed, detected(2)]);
}

#[test]
fn an_alarm_that_was_there_before_is_no_detection() {
    let score = judged(&[loss("a", 10, Some(20))], &[lost(5, 25)]);
    assert_eq!(score.faults[0].verdict, Verdict::Missed);
    assert_eq!(score.false_alarms.healthy.len(), 1);
    // A fault acts a little before its line is written.
    let mut early = lost(12, 25);
    early.begin_ns = 10 * S - S / 4;
    assert_eq!(
        verdicts(&[loss("a", 10, Some(20))], &[early]),
        [detected(0)]
    );
}

#[test]
fn an_alarm_that_goes_on_over_two_faults_has_seen_both() {
    let faults = [loss("a", 10, Some(20)), loss("b", 22, Some(30))];
    assert_eq!(
        verdicts(&faults, &[lost(12, 30)]),
        [detected(2), detected(0)]
    );
    // It ended before it can have been about the second.
    assert_eq!(
        verdicts(&faults, &[lost(12, 23)]),
        [detected(2), Verdict::Missed]
    );
    // One that began in the second is not of the first, though that has not settled.
    assert_eq!(
        verdicts(&faults, &[lost(24, 30)]),
        [Verdict::Missed, detected(2)]
    );
}

#[test]
fn a_fault_without_an_end_goes_on() {
    let faults = [loss("a", 10, None)];
    assert_eq!(
        verdicts(&faults, &[lost(12, 150), lost(160, 170)]),
        [detected(2)]
    );
    let score = judged(&faults, &[lost(12, 150), lost(160, 170)]);
    assert!(score.is_perfect(), "{score:?}");
    assert_eq!(score.false_alarms.healthy_ns, 10 * S - S / 2);
}

#[test]
fn what_cannot_be_told_is_not_scored_and_explains_what_it_does() {
    let why = |fault: Injected, watch: &Watch| {
        let score = score(By::Findings, &[fault], &[], watch, &Limits::default());
        match &score.faults[0].verdict {
            Verdict::NotScored { why } => why.clone(),
            other => panic!("{other:?}"),
        }
    };
    let closed = Injected {
        causes: vec![Cause::Close],
        ..loss("a", 10, Some(20))
    };
    assert!(why(closed, &watch()).contains("no detector of close"));
    assert!(why(loss("a", 300, None), &watch()).contains("nobody watched"));
    let quiet = Watch {
        edges: [].into(),
        ..watch()
    };
    assert!(why(loss("a", 10, None), &quiet).contains("insufficient traffic"));
    let failed = Injected {
        void: Some("it had no effect".into()),
        ..loss("a", 10, Some(20))
    };
    assert!(why(failed, &watch()).contains("no effect"));
    let signal = Injected {
        causes: vec![Cause::Other],
        ..loss("a", 10, Some(20))
    };
    let score = judged(&[signal], &[lost(12, 14)]);
    assert!(score.is_empty() && score.is_perfect(), "{score:?}");
}

#[test]
fn lost_events_make_an_alarm_say_nothing_against_anybody() {
    let mut alarm = lost(100, 110);
    if let What::Finding(finding) = &mut alarm.what {
        finding.is_undecided = true;
    }
    let score = judged(&[], &[alarm]);
    assert!(score.is_perfect());
    assert_eq!((score.alarms, score.undecided), (1, 1));
}

fn alert(labels: &[(&str, &str)], begin_s: u64) -> Alarm {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Alarm {
        what: What::Alert {
            name: "Lossy".into(),
            labels: labels.collect::<BTreeMap<String, String>>(),
        },
        begin_ns: begin_s * S,
        end_ns: None,
    }
}

#[test]
fn an_alert_is_of_whom_its_labels_name() {
    let faults = [loss("a", 10, Some(20))];
    let of = |labels: &[(&str, &str)]| {
        let alarms = [alert(labels, 40)];
        let limits = Limits {
            detect_within: Duration::from_mins(1),
            settle: Duration::from_mins(1),
        };
        let score = score(By::Alerts, &faults, &alarms, &watch(), &limits);
        score.faults[0].verdict.clone()
    };
    let fits = [
        &[][..],
        &[("container_id", "/docker/c")],
        &[("container_id", "c"), ("destination_ip", "10.0.0.2")],
        &[("container", "s"), ("destination_ip", "10.0.0.1")],
        &[("container_id", "/x/y"), ("destination_ip", "10.0.0.2")],
        &[("instance", "127.0.0.1:9100")],
        &[("instance", "10.0.0.1:9100")],
    ];
    for labels in fits {
        assert!(matches!(of(labels), Verdict::Detected { .. }), "{labels:?}");
    }
    let others = [
        &[("container_id", "s")][..],
        &[("destination_ip", "10.0.0.7")],
        &[("instance", "10.0.0.2:9100")],
    ];
    for labels in others {
        assert!(
            matches!(of(labels), Verdict::WrongCulprit { .. }),
            "{labels:?}"
        );
    }
}

/// What `murphy inject net` says, as it says it.
const INJECTED: &str = r#"
{"event":"planned","id":"4f09a2","family":"net","fault":"loss 30% · to · port 80","engine":"tcx","targets":["netns:c"],"effect":null,"boottime_ns":9990000000,"boot":"11111111-1111-4111-8111-111111111111","asked":{"spec":{"loss":{"random":{"ratio":"30%","correlation":"0%"}},"loss_unit":"packet","direction":"to"},"scope":{"ports":["80"],"peers":["netns:s"]}},"places":[{"name":"netns:c","inode":1,"addresses":["10.0.0.1"]}],"for_ns":5000000000}
{"event":"active","id":"4f09a2","family":"net","fault":"loss 30% · to · port 80","engine":"tcx","targets":["netns:c"],"effect":{"peers":["10.0.0.2"]},"boottime_ns":10000000000}
"#;

fn read(text: &str) -> Result<Log, ReadError> {
    let mut log = Log::default();
    log.take("f", text.as_bytes(), false).map(|()| log)
}

#[test]
fn what_was_injected_is_read_with_all_that_tells_whom_it_touches() {
    let log = read(INJECTED).unwrap();
    let [fault] = &log.faults()[..] else {
        panic!("{log:?}");
    };
    assert_eq!(fault.causes, [Cause::Loss]);
    assert_eq!(fault.share, Some(0.3));
    assert_eq!((fault.begin_ns, fault.end_ns), (10 * S, Some(15 * S)));
    let seats = [seat("c")];
    assert_eq!(fault.touches(&edge(), &seats), Some(Seen::There));
    assert_eq!(fault.touches(&opposite(), &seats), Some(Seen::Opposite));
    let port = Edge { port: 81, ..edge() };
    assert_eq!(fault.touches(&port, &seats), None);
    let peer = Edge {
        peer: ip("10.0.0.3"),
        ..edge()
    };
    assert_eq!(fault.touches(&peer, &seats), None);
    // Under another name it is the same namespace.
    let web = Edge {
        container: "web".into(),
        ..edge()
    };
    let seats = [Seat {
        name: "web".into(),
        ..seat("c")
    }];
    assert_eq!(fault.touches(&web, &seats), Some(Seen::There));
    assert_eq!(fault.touches(&web, &[]), None);
}

#[test]
fn the_events_of_a_run_are_on_the_same_clock() {
    let text = r#"{"murphy":"events","version":1,"started":"2026-11-21T02:18:04.25Z","boottime_ns":5000000000}
{"time":0,"kind":"run","event":"started"}
{"time":2000000000,"kind":"fault","event":"planned","id":"1","family":"process","fault":"kill","targets":["n2"],"engine":"pidfd"}
{"time":3000000000,"kind":"fault","event":"recovered","id":"1","family":"process","fault":"kill","targets":["n2"],"engine":"pidfd"}
{"time":3000000000,"kind":"node","event":"restarted","node":"n2"}"#;
    let log = read(text).unwrap();
    let fault = &log.faults()[0];
    assert_eq!(fault.causes, [Cause::Kill]);
    assert_eq!((fault.begin_ns, fault.end_ns), (7 * S, Some(8 * S)));
    assert_eq!(log.nameless().collect::<Vec<_>>(), ["f"]);
}

#[test]
fn whoever_was_killed_is_down_until_a_run_has_started_him_again() {
    let text = r#"{"event":"planned","id":"1","family":"process","fault":"kill","targets":["7 web"],"engine":"signal","boottime_ns":2000000000,"asked":{"spec":"kill"},"places":[{"name":"7 web","inode":1,"addresses":["10.0.0.1"]}]}
{"event":"recovered","id":"1","family":"process","fault":"kill","targets":["7 web"],"engine":"signal","boottime_ns":2100000000}"#;
    let faults = read(text).unwrap().faults();
    assert_eq!((faults[0].begin_ns, faults[0].end_ns), (2 * S, None));
    // Seen from the other end, long after.
    let refused = found(Kind::Refusals, Direction::From, opposite(), 90, None);
    let score = judged(&faults, &[refused]);
    assert!(
        matches!(score.faults[0].verdict, Verdict::Late { .. }),
        "{score:?}"
    );
    assert!(score.false_alarms.meanwhile.is_empty());
}

#[test]
fn what_is_no_event_is_refused_with_its_place() {
    let place = |text: &str| match read(text).unwrap_err() {
        ReadError::Line { line, column, .. } => (line, column),
        error @ ReadError::Io { .. } => panic!("{error}"),
    };
    assert_eq!(place("\n{\"event\":\"pla"), (2, 13));
    assert_eq!(place("{\"event\":\"hello\"}"), (1, 1));
    assert_eq!(
        place("{\"murphy\":\"history\",\"version\":1,\"boottime_ns\":1}"),
        (1, 1)
    );
    assert_eq!(place("{\"event\":\"active\",\"id\":7}"), (1, 24));
    // Without its time nothing can be told of it.
    let old = r#"{"event":"active","id":"a","family":"net","fault":"loss","engine":"tcx","targets":[],"effect":{}}"#;
    assert!(read(old).unwrap_err().to_string().contains("boottime_ns"));
    // A last line that is being written is no error; another time it is.
    let mut log = Log::default();
    let text = format!("{INJECTED}{{\"event\":\"rec");
    log.take("f", text.as_bytes(), true).unwrap();
    assert_eq!(log.faults().len(), 1);
    assert!(read(&text).is_err());
}

#[test]
fn another_boot_and_a_time_to_come_are_refused() {
    let other = INJECTED
        .replace("4f09a2", "4f09a3")
        .replace("11111111-", "22222222-");
    let error = read(&format!("{INJECTED}{other}")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("read events f:5:1: of another boot"),
        "{error}"
    );
    let mut log = Log::of_now(S);
    assert!(log.take("f", INJECTED.as_bytes(), false).is_err());
    let mut log = Log::of_now(S);
    let nameless = INJECTED.replace(r#""boot":"11111111-1111-4111-8111-111111111111","#, "");
    let error = log.take("f", nameless.as_bytes(), false).unwrap_err();
    assert!(error.to_string().contains("yet to come"), "{error}");
}

#[test]
fn what_was_found_is_read_as_it_came_to_be() {
    let alarm = found(Kind::Loss, Direction::To, edge(), 12, None);
    let What::Finding(finding) = alarm.what else {
        panic!("a finding");
    };
    let over = Finding {
        is_over: true,
        last_ns: 14 * S,
        ..(*finding).clone()
    };
    let line = |event: &str, finding: &Finding| {
        let mut line = serde_json::to_value(finding).unwrap();
        line["event"] = event.into();
        format!("{line}\n")
    };
    let observing = r#"{"event":"observing","targets":["c"],"mode":{},"boottime_ns":2000000000,"places":[{"name":"c","inode":1,"addresses":["10.0.0.1"]}]}"#;
    let edge = serde_json::to_string(&edge()).unwrap();
    let text = format!(
        "{observing}\n{{\"event\":\"serving\",\"url\":\"http://127.0.0.1:9100/metrics\"}}\n{}{}{{\"event\":\"ended\",\"findings\":[],\"snapshot\":{{\"at_ns\":20000000000,\"edges\":[{edge}]}}}}\n",
        line("found", &finding),
        line("over", &over)
    );
    let log = read(&text).unwrap();
    assert_eq!(log.alarms(), [Alarm::of(over)]);
    assert_eq!(log.watch().spans, [(2 * S, 20 * S)]);
    assert_eq!(log.watch().edges.len(), 1);
    assert!(log.is_watched());
}
