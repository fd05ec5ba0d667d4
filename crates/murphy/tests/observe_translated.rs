//! Whom an edge really leads to where addresses are translated on the way, as `murphy observe` tells it.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod observed;
mod victims;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use harness::{say_skipped, wait_until};
use murphy_sys::conntrack;
use observed::Pair;
use serde_json::{Value, json};
use victims::{Heard, prometheus::get};
use wire::address;

/// What is dialled: nobody has the address.
const NOBODY: u8 = 77;
const DIALLED: u16 = 80;
/// What is dialled where several answer.
const SHARED: u16 = 81;

fn lay_or_skip() -> Option<Pair> {
    let pair = Pair::lay_or_skip()?;
    if let Err(error) = conntrack::trial(&pair.wire.a) {
        say_skipped(&error.to_string());
        return None;
    }
    Some(pair)
}

/// Has connections of the first node to nobody go to somewhere else from now on; not, where there is no iptables.
fn translate_or_skip(pair: &Pair, dialled: SocketAddr, to: SocketAddr) -> Option<()> {
    let program = if to.is_ipv4() {
        "iptables"
    } else {
        "ip6tables"
    };
    let rule = format!(
        "-w -t nat -I OUTPUT -p tcp -d {} --dport {} -j DNAT --to-destination {to}",
        dialled.ip(),
        dialled.port()
    );
    let run = || Command::new(program).args(rule.split(' ')).output();
    let said = match pair.wire.a.run(run).expect("a namespace") {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("{program}: {error}"),
    };
    say_skipped(&said);
    None
}

fn listen(pair: &Pair, is_v4: bool) -> (TcpListener, SocketAddr) {
    let bound = pair
        .wire
        .b
        .run(|| TcpListener::bind((address(is_v4, 2), 0)));
    let listener = bound.expect("a namespace").expect("a socket");
    let at = listener.local_addr().expect("it is bound");
    (listener, at)
}

fn connect(pair: &Pair, to: SocketAddr) -> TcpStream {
    let made = pair.wire.a.run(|| TcpStream::connect(to));
    made.expect("a namespace").expect("somebody listens")
}

fn series(target: &str, dialled: SocketAddr, actual: &str) -> String {
    format!(
        "container_net_tcp_successful_connects_total{{container_id=\"{target}\",destination=\"{dialled}\",actual_destination=\"{actual}\"}} "
    )
}

#[test]
fn whom_an_edge_really_leads_to_is_told_in_json_in_the_table_and_to_a_prometheus() {
    let Some(pair) = lay_or_skip() else {
        return;
    };
    let nobody = |is_v4, port| SocketAddr::new(address(is_v4, NOBODY), port);
    let (one, at_one) = listen(&pair, true);
    let (two, at_two) = listen(&pair, true);
    let (six, at_six) = listen(&pair, false);
    let (dialled, dialled_six) = (nobody(true, DIALLED), nobody(false, DIALLED));
    let shared = nobody(true, SHARED);
    for (dialled, to) in [(dialled, at_one), (dialled_six, at_six), (shared, at_one)] {
        if translate_or_skip(&pair, dialled, to).is_none() {
            return;
        }
    }
    // One is there before it is observed.
    let before = connect(&pair, dialled_six);
    let target = pair.named.target(0);
    let words = [
        env!("CARGO_BIN_EXE_murphy"),
        "observe",
        "-t",
        &target,
        "--no-pings",
        "--json",
        "--prometheus",
        "127.0.0.1:0",
    ];
    let observer = Heard::start(&pair.guard, words);
    let at = observer.wait_for("it says where metrics are", 0, |line| {
        let event: Value = serde_json::from_str(&line.text).ok()?;
        let url = event["url"].as_str()?.strip_prefix("http://")?;
        url.strip_suffix("/metrics")?.parse::<SocketAddr>().ok()
    });
    let scrape = || get(at, "/metrics", "").unwrap_or_default();
    let mut all = vec![before, connect(&pair, dialled), connect(&pair, at_two)];
    let first = connect(&pair, shared);
    let is_told = |dialled: SocketAddr, actual: &str| {
        let series = series(&target, dialled, actual);
        wait_until("a series is told", || scrape().contains(&series));
    };
    is_told(dialled, &at_one.to_string());
    is_told(dialled_six, &at_six.to_string());
    is_told(shared, &at_one.to_string());
    // What is not translated is what it is.
    is_told(at_two, &at_two.to_string());
    // Another backend: the figures are of both, and there is no second series.
    translate_or_skip(&pair, shared, at_two).expect("it could before");
    all.extend([first, connect(&pair, shared)]);
    is_told(shared, "several");
    let prefix = series(&target, shared, "");
    let prefix = prefix.split("actual_").next().expect("a beginning");
    assert_eq!(scrape().matches(prefix).count(), 1, "{}", scrape());
    let expected = [
        (dialled, json!([at_one.to_string()])),
        (dialled_six, json!([at_six.to_string()])),
        (shared, json!([at_two.to_string(), at_one.to_string()])),
        (at_two, json!([])),
    ];
    observer.wait_for("a snapshot says it", 0, |line| {
        let event: Value = serde_json::from_str(&line.text).ok()?;
        let edges = event["snapshot"]["edges"].as_array()?;
        let is_told = |(dialled, actual): &(SocketAddr, Value)| {
            let mut edges = edges.iter();
            edges.any(|now| {
                now["peer"] == dialled.ip().to_string()
                    && now["port"] == dialled.port()
                    && now["actual"] == *actual
                    && now["has_other_actual"] == false
            })
        };
        expected.iter().all(is_told).then_some(())
    });
    observer.terminate();
    // For people, of those that are there now.
    let ended = pair
        .guard
        .murphy(["observe", "-t", &target, "--no-pings", "--once", "--plain"])
        .run();
    assert_eq!(ended.code, 0, "{ended:?}");
    for (dialled, actual) in [
        (dialled, at_one.to_string()),
        (dialled_six, at_six.to_string()),
        (shared, format!("{at_one} and 1 other")),
    ] {
        let line = format!("{target} → {dialled} → {actual} ");
        let other = line.replace(&at_one.to_string(), &at_two.to_string());
        let is_there = ended.stdout.contains(&line) || ended.stdout.contains(&other);
        assert!(is_there, "{line}: {ended:?}");
    }
    drop((all, one, two, six));
}
