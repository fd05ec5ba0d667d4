use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use murphy_fault::conn::Side;

use super::*;
use crate::{
    CallNow, CallsNow, Claim, Direction, Edge, EdgeNow, Finding, Kind as What, Listening, Mode,
    Outcome, PeerNow, PingCount, Size, Snapshot, Tally, TimesNow,
};

fn edge(container: &str, side: Side, peer: &str, port: u16) -> Edge {
    Edge {
        container: container.into(),
        side,
        peer: peer.parse().unwrap(),
        port,
    }
}

fn now(edge: Edge, total: Tally) -> EdgeNow {
    EdgeNow {
        total,
        recent_s: 5,
        active: 3,
        asking: 1,
        stalled: 2,
        ..EdgeNow::new(edge)
    }
}

fn peer(address: &str, last: Option<Outcome>) -> PeerNow {
    PeerNow {
        container: "web".into(),
        peer: address.parse().unwrap(),
        last,
        count: PingCount {
            sent: 9,
            unsent: 1,
            lost: 2,
            late: 1,
        },
    }
}

fn snapshot(edges: Vec<EdgeNow>, peers: Vec<PeerNow>) -> Snapshot {
    Snapshot {
        at_ns: 1,
        mode: Mode {
            is_told: true,
            is_pinging: true,
            without: Vec::new(),
        },
        lost: 4,
        edges,
        peers,
        ..Snapshot::default()
    }
}

fn opened() -> EdgeNow {
    let total = Tally {
        connected: 7,
        connecting_us: 1500,
        refused: 1,
        timed_out: 2,
        given_up: 8,
        retransmits: 10,
        probes: 5,
        syn_retransmits: 3,
        bytes_sent: 1 << 60,
        ..Tally::default()
    };
    now(edge("web", Side::Opened, "10.0.0.2", 5432), total)
}

fn open_metrics(snapshot: &Snapshot) -> String {
    render(snapshot, &Own::default(), Format::OpenMetrics)
}

/// The samples of a metric, without its name.
fn samples<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines
        .filter(|rest| rest.starts_with(['{', ' ']))
        .map(str::trim)
        .collect()
}

#[test]
fn a_ping_that_was_lost_is_not_a_number_and_one_that_was_not_sent_is_no_sample() {
    let peers = vec![
        peer("10.0.0.2", Some(Outcome::Came(Duration::from_micros(81)))),
        peer("10.0.0.3", Some(Outcome::Lost)),
        peer("10.0.0.4", Some(Outcome::Unsent)),
        peer("fd00::5", None),
    ];
    let text = open_metrics(&snapshot(Vec::new(), peers));
    let latency = samples(&text, "container_net_latency_seconds");
    let expected = [
        r#"{container_id="web",destination_ip="10.0.0.2"} 0.000081"#,
        r#"{container_id="web",destination_ip="10.0.0.3"} NaN"#,
    ];
    assert_eq!(latency, expected);
    assert_eq!(samples(&text, "murphy_pings_lost_total").len(), 4);
    let unsent = samples(&text, "murphy_pings_unsent_total");
    let last = r#"{container_id="web",destination_ip="fd00::5"} 1"#;
    assert_eq!(unsent.last(), Some(&last));
}

#[test]
fn coroots_metrics_go_by_its_names_and_labels() {
    let text = open_metrics(&snapshot(vec![opened()], Vec::new()));
    let both =
        r#"{container_id="web",destination="10.0.0.2:5432",actual_destination="10.0.0.2:5432"}"#;
    for (name, value) in [
        ("container_net_tcp_successful_connects_total", "7"),
        ("container_net_tcp_connection_time_seconds_total", "0.0015"),
        ("container_net_tcp_active_connections", "3"),
        ("container_net_tcp_retransmits_total", "15"),
        ("container_net_tcp_bytes_sent_total", "1152921504606846976"),
        ("container_net_tcp_bytes_received_total", "0"),
    ] {
        assert_eq!(samples(&text, name), [format!("{both} {value}")], "{name}");
    }
    let failed = samples(&text, "container_net_tcp_failed_connects_total");
    assert_eq!(
        failed,
        [r#"{container_id="web",destination="10.0.0.2:5432"} 3"#]
    );
}

#[test]
fn whom_an_edge_really_leads_to_is_one_or_several() {
    let labels = |actual: &[&str]| {
        let actual = actual.iter().map(|end| end.parse().unwrap()).collect();
        let now = EdgeNow { actual, ..opened() };
        let text = open_metrics(&snapshot(vec![now], Vec::new()));
        let active = samples(&text, "container_net_tcp_active_connections");
        let failed = samples(&text, "container_net_tcp_failed_connects_total");
        assert_eq!(active.len(), 1, "one series, however many there are");
        let dialled = r#"{container_id="web",destination="10.0.0.2:5432""#;
        assert_eq!(failed, [format!("{dialled}}} 3")]);
        let actual = active[0].strip_prefix(dialled).unwrap();
        actual.to_owned()
    };
    for (actual, expected) in [
        (&[] as &[&str], "10.0.0.2:5432"),
        (&["10.1.2.3:8080"], "10.1.2.3:8080"),
        (&["[fd00::3]:8080"], "[fd00::3]:8080"),
        (&["10.1.2.3:8080", "10.1.2.4:8080"], "several"),
    ] {
        let expected = format!(r#",actual_destination="{expected}"}} 3"#);
        assert_eq!(labels(actual), expected);
    }
}

#[test]
fn system_calls_are_told_by_their_errors_and_their_times() {
    let call = |call: &str, errno: Option<&str>, count: u64| CallNow {
        call: call.into(),
        errno: errno.map(str::to_owned),
        count,
        recent: 0,
    };
    let calls = CallsNow {
        container: "web".into(),
        calls: vec![call("write", Some("ENOSPC"), 7), call("write", None, 70)],
        times: vec![TimesNow {
            call: "fsync".into(),
            count: 3,
            sum_ns: 1_500_000,
            recent: 0,
            recent_us: None,
        }],
    };
    let counted = Snapshot {
        syscalls: vec![calls],
        ..snapshot(Vec::new(), Vec::new())
    };
    let text = open_metrics(&counted);
    for (name, expected) in [
        (
            "murphy_syscall_errors_total",
            r#"{container_id="web",call="write",errno="ENOSPC"} 7"#,
        ),
        (
            "murphy_syscall_timed_total",
            r#"{container_id="web",call="fsync"} 3"#,
        ),
        (
            "murphy_syscall_seconds_total",
            r#"{container_id="web",call="fsync"} 0.0015"#,
        ),
    ] {
        assert_eq!(samples(&text, name), [expected], "{name}");
    }
}

#[test]
fn who_asks_and_who_is_asked_are_told_apart() {
    let accepted = edge("web", Side::Accepted, "fd00::1", 80);
    let other = edge("web", Side::Accepted, "0.0.0.0", 0);
    let beyond = edge("web", Side::Opened, "0.0.0.0", 0);
    let v6 = edge("web", Side::Opened, "fd00::2", 443);
    let edges = [accepted, other, beyond, v6].map(|edge| now(edge, Tally::default()));
    let text = open_metrics(&snapshot(edges.to_vec(), Vec::new()));
    let closed = samples(&text, "murphy_tcp_closed_total");
    let expected = [
        r#"{container_id="web",source="fd00::1",port="80"} 0"#,
        r#"{container_id="web",source="other",port="other"} 0"#,
        r#"{container_id="web",destination="other",actual_destination="other"} 0"#,
        r#"{container_id="web",destination="[fd00::2]:443",actual_destination="[fd00::2]:443"} 0"#,
    ];
    assert_eq!(closed, expected);
    assert_eq!(
        samples(&text, "container_net_tcp_active_connections").len(),
        2
    );
    assert_eq!(
        samples(&text, "murphy_tcp_accepted_active_connections").len(),
        2
    );
    // Who asks sends a SYN, and who is asked answers it.
    let resent = samples(&text, "murphy_tcp_retransmits_total");
    let of = |kind: &str| resent.iter().filter(|line| line.contains(kind)).count();
    assert_eq!((of("\"syn\""), of("\"synack\""), of("\"data\"")), (2, 2, 4));
    assert!(samples(&text, "murphy_tcp_rtt_seconds").is_empty());
}

#[test]
fn what_the_kernel_does_not_tell_is_no_sample() {
    let mut snapshot = snapshot(vec![opened()], Vec::new());
    snapshot.mode.is_told = false;
    let text = open_metrics(&snapshot);
    for metric in TABLE {
        let is_told = text.contains(&format!("# TYPE {} ", metric.head().family()));
        assert!(
            !is_told || metric.source != Source::Kernel,
            "{}",
            metric.name
        );
    }
    let mode = samples(&text, "murphy_observe_info");
    assert!(
        mode[0].contains(r#"connections="sock_diag",pings="icmp""#),
        "{mode:?}"
    );
    assert_eq!(
        samples(&text, "container_net_tcp_successful_connects_total").len(),
        1
    );
}

#[test]
fn labels_hold_whatever_they_hold() {
    let odd = edge("a\"b\\c\nd", Side::Opened, "10.0.0.2", 1);
    let text = open_metrics(&snapshot(vec![now(odd, Tally::default())], Vec::new()));
    let active = samples(&text, "container_net_tcp_active_connections");
    assert!(
        active[0].starts_with(r#"{container_id="a\"b\\c\nd",destination="#),
        "{active:?}"
    );
}

#[test]
fn findings_are_told_while_they_last() {
    let mut wrong = opened();
    wrong.findings.push(Finding {
        edge: wrong.edge.clone(),
        claim: Claim {
            kind: What::HalfOpen,
            direction: Direction::From,
            size: Size::Count(1),
            since_ns: 0,
            evidence: Vec::new(),
        },
        found_ns: 0,
        last_ns: 0,
        is_over: false,
        is_undecided: false,
    });
    let text = open_metrics(&snapshot(vec![wrong], Vec::new()));
    let expected = r#"{container_id="web",destination="10.0.0.2:5432",actual_destination="10.0.0.2:5432",kind="half_open",direction="from"} 1"#;
    assert_eq!(samples(&text, "murphy_finding"), [expected]);
}

#[test]
fn openmetrics_names_families_and_units_and_says_its_end() {
    let own = Own {
        resident_bytes: Some(4096),
        cpu_s: Some(0.5),
        ..Own::default()
    };
    let mut some = snapshot(vec![opened()], vec![peer("10.0.0.2", Some(Outcome::Lost))]);
    some.listening.push(Listening {
        container: "web".into(),
        address: "[::]:80".parse().unwrap(),
    });
    let text = render(&some, &own, Format::OpenMetrics);
    for line in [
        "# TYPE container_net_latency_seconds gauge",
        "# UNIT container_net_latency_seconds seconds",
        "# TYPE container_net_tcp_successful_connects counter",
        "# HELP container_net_tcp_successful_connects Connections that were asked for and came to be.",
        "# TYPE container_net_tcp_connection_time_seconds counter",
        "# UNIT container_net_tcp_connection_time_seconds seconds",
        // Its family does not end in its unit, so that it must not be said.
        "# TYPE container_net_tcp_bytes_sent counter",
        "# TYPE container_net_tcp_listen info",
        "container_net_tcp_listen_info{container_id=\"web\",listen_addr=\"[::]:80\"} 1",
        "# UNIT process_resident_memory_bytes bytes",
        "process_resident_memory_bytes 4096",
        "process_cpu_seconds_total 0.5",
        "murphy_events_lost_total 4",
    ] {
        assert!(text.lines().any(|said| said == line), "{line}\n{text}");
    }
    assert!(!text.contains("# UNIT container_net_tcp_bytes_sent"));
    assert!(text.ends_with("\n# EOF\n"));
    let text = render(&some, &own, Format::Text);
    assert!(text.contains("# TYPE container_net_tcp_successful_connects_total counter\n"));
    assert!(text.contains("# TYPE container_net_tcp_listen_info gauge\n"));
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}

/// Families stand together, and no series comes twice: a Prometheus refuses all of it otherwise.
#[test]
fn no_series_comes_twice_however_many_there_are() {
    let some = crowd(50);
    for format in [Format::OpenMetrics, Format::Text] {
        let text = render(&some, &Own::default(), format);
        let mut series = BTreeSet::new();
        let mut families = BTreeSet::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(family), "{line}");
            } else if !line.starts_with('#') {
                let (name, _) = line.rsplit_once(' ').unwrap();
                assert!(series.insert(name), "{line}");
            }
        }
    }
}

/// So many edges of each side.
fn crowd(count: u8) -> Snapshot {
    let address = |last: u8| IpAddr::from([10, 0, 0, last]).to_string();
    let edges = (0..count).flat_map(|last| {
        [Side::Opened, Side::Accepted]
            .map(|side| now(edge("web", side, &address(last), 80), Tally::default()))
    });
    let peers = (0..count).map(|last| peer(&address(last), Some(Outcome::Lost)));
    snapshot(edges.collect(), peers.collect())
}

#[test]
fn names_are_as_both_formats_want_them() {
    let mut names = BTreeSet::new();
    for metric in TABLE {
        assert!(names.insert(metric.head().family()), "{}", metric.name);
        let is_counter = metric.kind == Kind::Counter;
        assert_eq!(
            metric.name.ends_with("_total"),
            is_counter,
            "{}",
            metric.name
        );
        let is_info = metric.kind == Kind::Info;
        assert_eq!(metric.name.ends_with("_info"), is_info, "{}", metric.name);
        let letters = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        assert!(metric.name.chars().all(letters), "{}", metric.name);
        assert!(
            !metric.help.contains(['\\', '\n', '"', '|']),
            "{}",
            metric.name
        );
        assert!(!metric.help.ends_with('.'), "{}", metric.name);
    }
}

/// `MURPHY_WRITE_DOCS=1 cargo test -p murphy-observe --lib metrics` writes it again.
#[test]
fn the_page_in_the_documentation_is_what_the_table_says() {
    let drawn = page();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    if std::env::var_os("MURPHY_WRITE_DOCS").is_some() {
        std::fs::write(path, &drawn).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == drawn,
        "docs/metrics.md is not what the table says; MURPHY_WRITE_DOCS=1 writes it again"
    );
}
