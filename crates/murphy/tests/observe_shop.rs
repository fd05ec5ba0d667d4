//! The three failures of the founding document, on the shop in containers: what their metrics, the service map, Murphy's
//! findings and the alerts of a real Prometheus show of each, as seen from the front end, whose peer is hit.
#![allow(clippy::print_stdout, reason = "the figures are shown")]

mod harness;
mod lab;
mod victims;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    thread::{scope, sleep},
    time::Duration,
};

use harness::{Guard, patience, say_skipped, slack, wait_until};
use lab::Shop;
use murphy_sys::tcp_events;
use serde_json::Value;
use victims::{
    Heard,
    prometheus::{LOST, Prometheus, SLOW},
};

/// Who is hit.
const HIT: &str = "container:shop-catalog-1";
/// Whose packets with it are hit, and who is observed.
const FRONT_END: &str = "container:shop-front-end";
/// The addresses of the catalog that is hit.
const CATALOG_1: &str = "10.78.0.11";
const CATALOG_1_6: &str = "fd78::11";
/// The one of the other.
const CATALOG_2: &str = "10.78.0.12";
/// Retransmits by container and upstream: three in five seconds are too many.
const RESENT: (&str, &str) = (
    "Resent",
    "sum by (container_id, destination) (rate(container_net_tcp_retransmits_total[5s])) > 0.4",
);
/// How long it takes until an observer knows what is usual.
const BEFORE: Duration = Duration::from_secs(4);
/// How many ask the front end at once, so that it needs more connections.
const CROWD: usize = 16;
/// What is found later is late: threefold what it takes.
const DETECT_WITHIN_S: u32 = 15;

/// A shop, and who looks at it.
struct Scene<'a> {
    guard: &'a Guard,
    observer: Heard,
    /// What the observer calls the front end.
    name: String,
    prometheus: Prometheus,
    /// What injectors have said.
    injected: String,
}

impl<'a> Scene<'a> {
    fn set_or_skip(guard: &'a Guard) -> Option<Self> {
        let murphy = env!("CARGO_BIN_EXE_murphy");
        let out = out(guard);
        let out = out.to_str().expect("a path");
        let words = [murphy, "observe", "-t", FRONT_END, "--json", "--out", out];
        let words = words.into_iter().chain(["--prometheus", "127.0.0.1:0"]);
        let journal = guard.journal();
        let observer = Heard::start_as(guard, words, |one| one.env("MURPHY_JOURNAL", &journal));
        let said = |what, event, field: fn(&Value) -> Option<String>| {
            observer.wait_for(what, 0, |line| {
                let said: Value = serde_json::from_str(&line.text).ok()?;
                (said["event"] == event).then(|| field(&said)).flatten()
            })
        };
        let name = said("it says whom it observes", "observing", |said| {
            said["targets"][0].as_str().map(str::to_owned)
        });
        let url = said("it says where metrics are", "serving", |said| {
            said["url"].as_str().map(str::to_owned)
        });
        let at = url.strip_prefix("http://").expect("a URL");
        let at = at.strip_suffix("/metrics").expect("of metrics");
        let at = at.parse().expect("an address");
        let Some(prometheus) = Prometheus::start_or_skip(guard, at, &[LOST, SLOW, RESENT]) else {
            observer.terminate();
            return None;
        };
        Some(Self {
            guard,
            observer,
            name,
            prometheus,
            injected: String::new(),
        })
    }

    /// The document's own expression: the metric of exactly that container and that destination.
    fn latency(&self, peer: &str) -> Option<String> {
        let name = &self.name;
        let mut values = self.prometheus.query(&format!(
            "container_net_latency_seconds{{container_id=\"{name}\", destination_ip=\"{peer}\"}}"
        ));
        assert!(values.len() <= 1, "{values:?}");
        values.pop().map(|(_, value)| value)
    }

    fn is_lost(&self, peer: &str) -> bool {
        self.latency(peer).as_deref() == Some("NaN")
    }

    fn is_within(&self, peer: &str, low_s: f64, high_s: f64) -> bool {
        let seconds = self.latency(peer).and_then(|value| value.parse().ok());
        seconds.is_some_and(|s: f64| low_s < s && s < high_s)
    }

    fn is_quick(&self, peer: &str) -> bool {
        self.is_within(peer, 0.0, 0.01)
    }

    /// That half of the last pings of the other catalog were quick: a single slow one may be the machine's.
    fn other_is_quick(&self) {
        let half = format!(
            "quantile_over_time(0.5, container_net_latency_seconds{{destination_ip=\"{CATALOG_2}\"}}[5s])"
        );
        let values = self.prometheus.query(&half);
        let seconds: f64 = values[0].1.parse().expect("a number");
        assert!(seconds > 0.0 && seconds < 0.01, "{values:?}");
    }

    /// How often something was sent again in ten seconds, by upstream.
    fn resent(&self, peer: &str) -> f64 {
        let values = self.prometheus.query(&format!(
            "sum(increase(container_net_tcp_retransmits_total{{container_id=\"{}\", destination=\"{peer}:8080\"}}[10s]))",
            self.name
        ));
        values
            .first()
            .map_or(0.0, |(_, value)| value.parse().expect("a number"))
    }

    /// Whom alerts of this name are about that fire, by this label.
    fn firing(&self, (name, _): (&str, &str), label: &str) -> Vec<String> {
        let expression = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
        let all = self.prometheus.query(&expression);
        let labels = all.iter().map(|(labels, _)| {
            assert_eq!(labels["container_id"], self.name, "{labels}");
            labels[label].as_str().expect("a label").to_owned()
        });
        labels.collect()
    }

    /// Waits until an alert fires about the catalog that is hit; it never does about anybody else.
    fn is_alerted(&self, rule: (&str, &str), label: &str) {
        wait_until(rule.0, || {
            let all = self.firing(rule, label);
            let is_hit = |who: &String| who.contains(CATALOG_1) || who.contains(CATALOG_1_6);
            assert!(all.iter().all(is_hit), "{all:?}");
            all.iter().any(|who| who.starts_with(CATALOG_1))
        });
    }

    /// Waits for a finding between the front end and the catalog that is hit, from a line on, which goes that way.
    fn is_found(&self, kind: &str, direction: &str, from: usize) {
        let said = self.observer.wait_for(kind, from, |line| {
            let said: Value = serde_json::from_str(&line.text).ok()?;
            let edge = &said["edge"];
            let is_it = said["event"] == "found"
                && said["kind"] == kind
                && edge["container"] == self.name
                && edge["side"] == "opened"
                && edge["peer"] == CATALOG_1
                && edge["port"] == 8080;
            is_it.then_some(said)
        });
        assert_eq!(said["direction"], direction, "{said:#}");
    }

    /// What is wrong with each catalog, by the last snapshot.
    fn wrongs(&self) -> Option<[Vec<String>; 2]> {
        let lines = self.observer.since(0);
        let last = lines.iter().rev().find_map(|line| {
            let said: Value = serde_json::from_str(&line.text).ok()?;
            (said["event"] == "snapshot").then(|| said["snapshot"].clone())
        })?;
        let edges = last["edges"].as_array().expect("edges").clone();
        let of = |peer: &str| {
            let edge = edges
                .iter()
                .find(|edge| edge["peer"] == peer && edge["side"] == "opened")?;
            let findings = edge["findings"].as_array()?.iter();
            let kind = |finding: &Value| finding["kind"].as_str().map(str::to_owned);
            findings.map(kind).collect::<Option<Vec<_>>>()
        };
        Some([of(CATALOG_1)?, of(CATALOG_2)?])
    }

    /// Waits until that edge alone is wrong, and so.
    fn is_marked(&self, kind: &str) {
        wait_until("the edge is marked", || {
            self.wrongs().is_some_and(|[hit, other]| {
                assert_eq!(other, [""; 0]);
                hit.iter().any(|one| one == kind)
            })
        });
    }

    /// Injects a fault between the front end and one catalog, until everything about it was seen.
    fn suffer(&mut self, words: &str, see: impl FnOnce(&Self, usize)) {
        let from = self.observer.count();
        let peer = ["--peer", "container:label=name=front-end", "--for", "2m"];
        let words: Vec<&str> = peer.into_iter().chain(words.split(' ')).collect();
        let (injector, _) = Heard::inject(self.guard, "net", HIT, &words);
        see(self, from);
        for line in injector.terminate() {
            self.injected.push_str(&line.text);
            self.injected.push('\n');
        }
    }

    /// Waits until nothing is wrong with that edge any more, and nothing is alerted.
    fn recovers(&self) {
        wait_until("it has recovered", || {
            let is_well = |wrongs: [Vec<String>; 2]| wrongs.iter().all(Vec::is_empty);
            let fires = |rule, label| !self.firing(rule, label).is_empty();
            self.is_quick(CATALOG_1)
                && self.wrongs().is_some_and(is_well)
                && !fires(LOST, "destination_ip")
                && !fires(SLOW, "destination_ip")
                && !fires(RESENT, "destination")
        });
    }
}

/// Asks the front end for something, once.
fn ask() {
    let mut stream = TcpStream::connect("10.78.0.1:8080").expect("it listens");
    let question = b"GET /products/7 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
    stream.write_all(question).expect("it listens");
    stream.set_read_timeout(Some(patience())).expect("a socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn out(guard: &Guard) -> PathBuf {
    guard.dir().join("out")
}

/// The service map of the report: what is said of the link to a peer.
fn mapped(report: &str, peer: &str) -> String {
    let title = format!(" → {peer} :8080: ");
    let (before, rest) = report.split_once(&title).expect("a link");
    let (_, class) = before.rsplit_once("<g class=\"").expect("its class");
    let class = class.split('"').next().expect("its end");
    let state = rest.split('<').next().expect("the end of the title");
    format!("{class}: {state}")
}

/// That each fault was detected, and nothing else was found; how long it took each time.
fn is_perfect(lines: &[Value], by: &str) -> Vec<f64> {
    let mut scores = lines.iter().filter(|line| line["event"] == "score");
    let score = scores.find(|line| line["by"] == by).expect("a score");
    let faults = score["faults"].as_array().expect("faults");
    let verdicts: Vec<_> = faults.iter().map(|fault| &fault["verdict"]).collect();
    assert_eq!(verdicts, ["detected"; 3], "{score:#}");
    let alarms = &score["false_alarms"];
    for when in ["healthy", "meanwhile"] {
        assert_eq!(alarms[when], Value::Array(Vec::new()), "{score:#}");
    }
    assert_eq!(score["precision"]["ratio"], 1.0, "{score:#}");
    let after = faults.iter().map(|fault| fault["after_ns"].as_f64());
    after.map(|ns| ns.expect("a time") / 1e9).collect()
}

#[test]
fn the_failures_of_the_founding_document_are_seen_as_it_says_and_scored() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    if let Err(error) = tcp_events::trial() {
        say_skipped(&error.to_string());
        return;
    }
    let Some(shop) = Shop::up_or_skip(&guard, "containers") else {
        return;
    };
    let Some(mut scene) = Scene::set_or_skip(&guard) else {
        shop.down();
        return;
    };
    // Who talks with nobody yet is not known: each catalog is asked at both of its addresses when many ask at once.
    let load = shop.namespace("load");
    wait_until("latencies are scraped", || {
        scope(|scope| {
            for _ in 0..CROWD {
                scope.spawn(|| load.run(ask).expect("a namespace"));
            }
        });
        [CATALOG_1, CATALOG_1_6, CATALOG_2]
            .iter()
            .all(|peer| scene.is_quick(peer))
    });
    sleep(BEFORE);
    for (rule, label) in [(LOST, "destination_ip"), (RESENT, "destination")] {
        assert_eq!(scene.firing(rule, label), [""; 0], "nothing is wrong");
    }

    // Seen from the front end what the catalog sends comes from there.
    scene.suffer("--partition --direction to", |scene, from| {
        wait_until("it is not a number", || scene.is_lost(CATALOG_1));
        assert!(!scene.is_lost(CATALOG_2));
        scene.other_is_quick();
        scene.is_alerted(LOST, "destination_ip");
        scene.is_found("partition", "from", from);
        scene.is_marked("partition");
    });
    scene.recovers();

    let delay = "--delay 50ms --jitter 10ms --direction both";
    scene.suffer(delay, |scene, from| {
        wait_until("it takes both ways", || {
            scene.is_within(CATALOG_1, 0.04, 0.2)
        });
        scene.is_alerted(SLOW, "destination_ip");
        scene.other_is_quick();
        scene.is_found("latency", "both", from);
        scene.is_marked("latency");
    });
    scene.recovers();

    scene.suffer("--loss 30% --direction to", |scene, from| {
        scene.is_alerted(RESENT, "destination");
        let resent = [CATALOG_1, CATALOG_2].map(|peer| scene.resent(peer));
        assert!(resent[0] > 2.0 && resent[1] < resent[0] / 4.0, "{resent:?}");
        scene.other_is_quick();
        scene.is_found("loss", "from", from);
        scene.is_marked("loss");
    });
    // What was lost in the last seconds still is.
    let observed = scene.observer.terminate();
    let report = fs::read_to_string(out(&guard).join("report.html")).expect("a report");
    assert_eq!(mapped(&report, CATALOG_1), "link wrong: wrong");
    assert_eq!(mapped(&report, CATALOG_2), "link: ok");

    let files = ["injected.jsonl", "observed.jsonl"].map(|name| guard.dir().join(name));
    fs::write(&files[0], scene.injected).expect("a file");
    let observed: String = observed
        .iter()
        .map(|line| line.text.clone() + "\n")
        .collect();
    fs::write(&files[1], observed).expect("a file");
    let within = format!("{}s", slack() * DETECT_WITHIN_S);
    let scored = guard
        .murphy(["observe", "--json", "--detect-within", &within])
        .args(["--alerts", &scene.prometheus.url()])
        .args(
            files
                .iter()
                .flat_map(|file| ["--score".as_ref(), file.as_os_str()]),
        )
        .run();
    let lines = scored.lines();
    let [findings, alerts] = ["findings", "alerts"].map(|by| is_perfect(&lines, by));
    assert_eq!(scored.code, 0, "{scored:?}");
    println!(
        "figure: of a partition, a delay and a loss of 30 % each is found after {findings:.1?} s and alerted after {alerts:.1?} s, nothing else is"
    );
    scene.prometheus.end();
    shop.down();
}
