//! What `murphy observe` tells a Prometheus: it can be scraped, its values are those of the network, and rules on them fire.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod observed;
mod victims;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Deref,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::{scope, sleep},
    time::Duration,
};

use harness::{Guard, patience, wait_until};
use observed::Pair;
use serde_json::Value;
use victims::{
    Heard,
    program::tool_or_skip,
    prometheus::{LOST, Prometheus, SLOW, get},
};
use wire::address;

/// Those of the founding document, and what Murphy itself finds.
const ALERTS: [(&str, &str); 3] = [LOST, SLOW, ("Found", "murphy_finding == 1")];

/// Of two nodes the first asks the second.
struct Lab(Pair);

impl Deref for Lab {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.0
    }
}

impl Lab {
    fn lay_or_skip() -> Option<Self> {
        Pair::pinged_or_skip().map(Self)
    }

    fn connect(&self, to: SocketAddr) -> TcpStream {
        let made = self.wire.a.run(|| TcpStream::connect(to));
        let stream = made.expect("a namespace").expect("a connection");
        stream.set_read_timeout(Some(patience())).expect("a socket");
        stream
    }

    /// The first node observed, and where that can be scraped.
    fn observe(&self, place: usize) -> (Heard, SocketAddr) {
        let target = self.named.target(place);
        let words = [
            env!("CARGO_BIN_EXE_murphy"),
            "observe",
            "-t",
            &target,
            "--json",
        ];
        let more = ["--prometheus", "127.0.0.1:0"];
        let observer = Heard::start(&self.guard, words.into_iter().chain(more));
        let at = observer.wait_for("it says where metrics are", 0, |line| {
            let event: Value = serde_json::from_str(&line.text).ok()?;
            let url = event["url"].as_str()?.strip_prefix("http://")?;
            url.strip_suffix("/metrics")?.parse().ok()
        });
        (observer, at)
    }
}

/// Asks and answers a hundred times a second until it is over.
fn talk(mut asking: TcpStream, mut answering: TcpStream, is_over: &AtomicBool) {
    scope(|scope| {
        scope.spawn(move || {
            let mut question = [0; 32];
            // Whoever asks has gone.
            while answering.read_exact(&mut question).is_ok() {
                answering.write_all(&question).expect("somebody asks");
            }
        });
        let mut question = [7; 32];
        while !is_over.load(Ordering::Relaxed) {
            asking.write_all(&question).expect("somebody answers");
            asking.read_exact(&mut question).expect("somebody answers");
            sleep(Duration::from_millis(10));
        }
        drop(asking);
    });
}

/// What promtool says of metrics that it does not like.
fn linted(text: &str) -> Option<String> {
    let promtool = tool_or_skip("promtool")?;
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let ended = child.wait_with_output().expect("it ends");
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Some(format!("{}{said}", ended.status))
}

#[test]
fn a_prometheus_scrapes_latencies_that_are_lost_in_a_partition_and_its_rules_fire() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let listener = lab.listen();
    let to = listener.local_addr().expect("it is bound");
    let asking = lab.connect(to);
    let (answering, _) = listener.accept().expect("it was asked");
    let is_over = AtomicBool::new(false);
    let (observer, at) = lab.observe(0);
    let Some(prometheus) = Prometheus::start_or_skip(&lab.guard, at, &ALERTS) else {
        observer.terminate();
        return;
    };
    scope(|scope| {
        scope.spawn(|| talk(asking, answering, &is_over));
        let latency = format!(
            "container_net_latency_seconds{{container_id=\"{}\",destination_ip=\"{}\"}}",
            lab.named.target(0),
            to.ip()
        );
        let value = || {
            let mut values = prometheus.query(&latency);
            assert!(values.len() <= 1, "{values:?}");
            values.pop().map(|(_, value)| value)
        };
        let seconds = || value().and_then(|value| value.parse::<f64>().ok());
        let is_quick = || seconds().is_some_and(|s| s > 0.0 && s < 0.01);
        wait_until("a latency is scraped", is_quick);
        assert_eq!(prometheus.query("up")[0].1, "1");
        // Only OpenMetrics has units.
        let known = prometheus.api("metadata?metric=container_net_latency_seconds");
        let known = &known["container_net_latency_seconds"][0];
        assert_eq!(
            (&known["type"], &known["unit"]),
            (&"gauge".into(), &"seconds".into())
        );
        for (name, _) in ALERTS {
            assert_eq!(prometheus.firing(name), None, "nothing is wrong");
        }
        scope.spawn(|| lab.inject("inject net -t TARGET --partition --direction to --for 8s"));
        wait_until("it is not a number", || value().as_deref() == Some("NaN"));
        wait_until("the loss is alerted", || {
            prometheus.firing("Lost").is_some()
        });
        let lost = prometheus.firing("Lost").expect("it fires");
        assert_eq!(lost["destination_ip"], to.ip().to_string(), "{lost}");
        wait_until("the finding is alerted", || {
            prometheus.firing("Found").is_some()
        });
        let found = prometheus.firing("Found").expect("it fires");
        assert_eq!(
            (&found["kind"], &found["direction"]),
            (&"partition".into(), &"to".into())
        );
        assert_eq!(found["destination"], to.to_string(), "{found}");
        wait_until("it comes through again", is_quick);
        wait_until("that is over", || {
            prometheus.firing("Lost").is_none() && prometheus.firing("Found").is_none()
        });
        scope.spawn(|| lab.inject("inject net -t TARGET --delay 50ms --for 5s"));
        wait_until("the delay is alerted", || {
            prometheus.firing("Slow").is_some()
        });
        wait_until("the delay is over", is_quick);
        let sum = |metric: &str| {
            let values = prometheus.query(&format!("sum({metric})"));
            values[0].1.parse::<f64>().expect("a number")
        };
        assert!(sum("container_net_tcp_bytes_sent_total") > 1000.0);
        assert!(sum("murphy_pings_lost_total") > 0.0);
        assert!(sum("murphy_tcp_rtt_seconds") > 0.0);
        assert!(sum("process_resident_memory_bytes") > 1e6);
        is_over.store(true, Ordering::Relaxed);
    });
    prometheus.end();
    observer.terminate();
}

#[test]
fn who_accepts_is_told_apart_and_promtool_finds_nothing_wrong() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let listener = lab.listen();
    let to = listener.local_addr().expect("it is bound");
    let (observer, at) = lab.observe(1);
    let _asking = lab.connect(to);
    let _answering = listener.accept().expect("it was asked");
    let scrape = |accept| get(at, "/metrics", accept).unwrap_or_default();
    let (target, asker) = (lab.named.target(1), address(true, 1));
    let accepted = format!(
        "murphy_tcp_accepted_connections_total{{container_id=\"{target}\",source=\"{asker}\",port=\"{}\"}} 1\n",
        to.port()
    );
    wait_until("it is told", || scrape("").contains(&accepted));
    let listens = format!(
        "container_net_tcp_listen_info{{container_id=\"{target}\",listen_addr=\"{to}\"}} 1\n"
    );
    wait_until("where it listens is told", || scrape("").contains(&listens));
    wait_until("a ping came", || {
        scrape("").contains("\ncontainer_net_latency_seconds{")
    });
    let open = scrape("application/openmetrics-text");
    assert!(open.ends_with("# EOF\n"), "{open}");
    if let Some(said) = linted(&scrape("")) {
        assert_eq!(said, "exit status: 0", "promtool");
    }
    observer.terminate();
}

#[test]
fn an_address_that_cannot_be_had_is_refused_before_anything_is_observed() {
    let guard = Guard::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let at = taken.local_addr().expect("it is bound").to_string();
    // Nor is there such a target.
    let words = [
        "observe",
        "-t",
        "netns:nobody-has-this",
        "--prometheus",
        &at,
    ];
    let ended = guard.murphy(words).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{ended:?}");
    let said = format!("failed to listen for Prometheus on {at}: ");
    assert!(ended.stderr.contains(&said), "{ended:?}");
    assert!(ended.stderr.contains("choose another port"), "{ended:?}");
    let ended = guard
        .murphy(["observe", "-t", "pid:1", "--prometheus", "9100"])
        .run();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("such as 127.0.0.1:9100"), "{ended:?}");
}
