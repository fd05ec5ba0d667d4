//! How well it is found what was injected is said by the built binary: while it observes, and of files afterwards.

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod harness;
mod network;
mod observed;
mod victims;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, Scope, scope, sleep},
    time::Duration,
};

use harness::{Ended, Guard, patience, say_skipped, wait_until};
use murphy_sys::{
    clock::{boottime_ns, realtime_ns},
    process::BootId,
};
use observed::{Pair, echo};
use serde_json::{Value, json};
use wire::{Wire, address};

/// How long it takes until an observer knows what is usual.
const BEFORE: Duration = Duration::from_secs(4);
/// How long until what was found is over.
const BETWEEN: Duration = Duration::from_secs(6);
/// How many clients there are.
const CLIENTS: usize = 8;
const S: u64 = 1_000_000_000;

/// Asks a hundred times a second until it is over.
fn ask(mut stream: TcpStream, is_over: &AtomicBool) {
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(patience())).expect("a socket");
    let mut question = [7; 32];
    while !is_over.load(Ordering::Relaxed) {
        if stream.write_all(&question).is_err() || stream.read_exact(&mut question).is_err() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
}

/// Clients in one namespace talk with a server in the other.
fn talk<'scope>(scope: &'scope Scope<'scope, '_>, wire: &Wire, is_over: &'scope AtomicBool) {
    let at: SocketAddr = (address(true, 2), 0).into();
    let bound = wire.b.run(|| TcpListener::bind(at));
    let listener = bound.expect("a namespace").expect("a socket");
    let to = listener.local_addr().expect("it is bound");
    for _ in 0..CLIENTS {
        let made = wire.a.run(|| TcpStream::connect(to)).expect("a namespace");
        let client = made.expect("a connection");
        let (server, _) = listener.accept().expect("it was made");
        scope.spawn(move || ask(client, is_over));
        scope.spawn(move || echo(server, is_over));
    }
}

/// Injects, and has what is said written to the end of a file.
fn inject(guard: &Guard, words: &str, into: &Path) {
    let script = format!("exec \"$@\" --json >>'{}'", into.display());
    let shell = guard.program(Path::new("/bin/sh"));
    let shell = shell.env("MURPHY_JOURNAL", guard.journal());
    let shell = shell.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_murphy")]);
    let ended = shell.args(words.split(' ')).run();
    assert_eq!(ended.code, 0, "{ended:?}");
}

fn score_of(ended: &Ended, by: &str) -> Value {
    let lines = ended.lines();
    let mut scores = lines.iter().filter(|line| line["event"] == "score");
    let score = scores.find(|line| line["by"] == by);
    score
        .unwrap_or_else(|| panic!("no score by {by}: {ended:?}"))
        .clone()
}

fn verdicts(score: &Value) -> Vec<&str> {
    let faults = score["faults"].as_array().expect("faults");
    let words = faults.iter().map(|fault| fault["verdict"].as_str());
    words.map(|word| word.expect("a verdict")).collect()
}

#[test]
fn a_loss_and_a_delay_are_detected_while_they_are_injected_and_afterwards_too() {
    let Some(pair) = Pair::pinged_or_skip() else {
        return;
    };
    let (wire, named, guard) = (&pair.wire, &pair.named, &pair.guard);
    let injected = guard.dir().join("injected.jsonl");
    let is_over = AtomicBool::new(false);
    let live = scope(|scope| {
        talk(scope, wire, &is_over);
        let events = injected.to_str().expect("a path");
        let at = named.target(0);
        let words = ["observe", "-t", &at, "--score", events, "--json"];
        let observer = guard.murphy(words).start();
        sleep(BEFORE);
        let words = format!("inject net -t {at} --loss 30% --direction to --for 5s");
        inject(guard, &words, &injected);
        sleep(BETWEEN);
        // The fault is at the other end of what is observed.
        let other = named.target(1);
        let words =
            format!("inject net -t {other} --delay 50ms --direction to --peer {at} --for 5s");
        inject(guard, &words, &injected);
        observer.signal("INT");
        let ended = observer.wait();
        is_over.store(true, Ordering::Relaxed);
        ended
    });
    let score = score_of(&live, "findings");
    assert_eq!(verdicts(&score), ["detected", "detected"], "{score}");
    assert_eq!(score["precision"]["ratio"], 1.0, "{score}");
    assert_eq!(live.code, 0, "{live:?}");
    let found = |place: usize| &score["faults"][place]["found"]["finding"];
    assert_eq!(found(0)["kind"], "loss", "{score}");
    assert_eq!(found(0)["direction"], "to", "{score}");
    assert_eq!(found(1)["kind"], "latency", "{score}");
    assert_eq!(found(1)["direction"], "from", "{score}");

    let observed = guard.dir().join("observed.jsonl");
    fs::write(&observed, &live.stdout).expect("a file");
    let files = [&injected, &observed].map(|file| file.to_str().expect("a path"));
    let words = [
        "observe", "--score", files[0], "--score", files[1], "--json",
    ];
    let afterwards = guard.murphy(words).run();
    assert_eq!(afterwards.code, 0, "{afterwards:?}");
    let again = score_of(&afterwards, "findings");
    assert_eq!(again["faults"], score["faults"]);
    assert_eq!(again["alarms"], score["alarms"]);

    // People are told the same.
    let words = ["observe", "--score", files[0], "--score", files[1]];
    let said = guard.murphy(words).run().stdout;
    assert!(
        said.contains("detected") && said.contains("recall 100 % (2 of 2 faults"),
        "{said}"
    );
}

/// A watch of a hundred seconds until now, in which nothing was found, and a fault in its midst.
fn unseen(guard: &Guard) -> (PathBuf, u64) {
    let now_ns = boottime_ns();
    let begin_ns = now_ns - 50 * S;
    let place = json!({"name": "c", "inode": 1, "addresses": ["10.0.0.1"]});
    let edge = json!({"container": "c", "side": "opened", "peer": "10.0.0.2", "port": 80});
    let line = |event: &str, at_ns: u64| {
        json!({"event": event, "id": "4f09a2", "family": "net", "fault": "loss 30% · to", "engine": "tcx",
            "targets": ["c"], "effect": null, "boottime_ns": at_ns})
    };
    let mut planned = line("planned", begin_ns);
    planned["boot"] = json!(BootId::current());
    planned["places"] = json!([place]);
    planned["asked"] = json!({"scope": {}, "spec": {"direction": "to", "loss_unit": "packet",
        "loss": {"random": {"ratio": "30%", "correlation": "0%"}}}});
    let lines = [
        json!({"event": "observing", "targets": ["c"], "boottime_ns": now_ns - 100 * S, "places": [place]}),
        planned,
        line("active", begin_ns),
        line("recovered", begin_ns + 10 * S),
        json!({"event": "ended", "findings": [], "snapshot": {"at_ns": now_ns, "edges": [edge]}}),
    ];
    let text = lines.map(|line| line.to_string() + "\n").concat();
    let file = guard.dir().join("unseen.jsonl");
    fs::write(&file, text).expect("a file");
    (file, begin_ns)
}

#[test]
fn what_nobody_found_is_missed_and_what_is_no_event_is_refused() {
    let guard = Guard::new();
    let (file, _) = unseen(&guard);
    let ended = guard
        .murphy([Path::new("observe"), Path::new("--score"), &file])
        .run();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("missed"), "{ended:?}");

    let text = fs::read_to_string(&file).expect("it was written");
    let broken = guard.dir().join("broken.jsonl");
    fs::write(&broken, format!("{text}{{\"event\":\"act")).expect("a file");
    let ended = guard
        .murphy([Path::new("observe"), Path::new("--score"), &broken])
        .run();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("broken.jsonl:6:13: "), "{ended:?}");

    let ended = guard.murphy(["observe", "--score", "/nowhere"]).run();
    assert_eq!(ended.code, 2, "{ended:?}");
    // Standard input is empty: there is nothing to score.
    let ended = guard.murphy(["observe", "--score", "-", "--json"]).run();
    assert_eq!(ended.code, 4, "{ended:?}");
    // Neither whom to observe, nor what was found.
    let ended = guard
        .murphy(["observe", "--for", "1s", "--score", "-"])
        .run();
    assert_eq!(ended.code, 2, "{ended:?}");
}

/// Answers each question with the same, and says what was asked; or never answers.
fn prometheus(answer: Option<String>) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let at = listener.local_addr().expect("it is bound");
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a question");
        let lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let lines = lines.map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        match answer {
            Some(body) => {
                let length = body.len();
                let said = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                stream.write_all(said.as_bytes()).expect("it listens");
            }
            // Until whoever asks has enough of it.
            None => drop(stream.read(&mut [0; 1])),
        }
        head
    });
    (at, served)
}

#[test]
fn the_alerts_of_a_prometheus_are_scored_by_their_labels() {
    let guard = Guard::new();
    let (file, begin_ns) = unseen(&guard);
    let file = file.to_str().expect("a path");
    let at = |after_s: u64| {
        let ns = realtime_ns() - boottime_ns() + begin_ns + after_s * S;
        (ns / 1_000_000) as f64 / 1e3
    };
    let fired = |labels: Value, from_s: u64| {
        let mut metric = labels;
        metric["__name__"] = "ALERTS".into();
        metric["alertstate"] = "firing".into();
        let values: Vec<_> = (from_s..from_s + 3).map(|s| json!([at(s), "1"])).collect();
        json!({"metric": metric, "values": values})
    };
    let answer = |result: Value| {
        json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string()
    };
    let right = fired(
        json!({"alertname": "Lossy", "container_id": "c", "destination_ip": "10.0.0.2"}),
        3,
    );
    let (server, question) = prometheus(Some(answer(json!([right]))));
    let url = format!("http://me:secret@{server}/prom/");
    let ended = guard
        .murphy(["observe", "--score", file, "--alerts", &url, "--json"])
        .run();
    // Murphy's own findings have missed it.
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(verdicts(&score_of(&ended, "findings")), ["missed"]);
    let score = score_of(&ended, "alerts");
    assert_eq!(verdicts(&score), ["detected"], "{score}");
    assert_eq!(
        score["faults"][0]["found"]["alert"]["name"], "Lossy",
        "{score}"
    );
    let after_ns = score["faults"][0]["after_ns"].as_u64().expect("a time");
    assert!((2 * S..4 * S).contains(&after_ns), "{score}");
    let head = question.join().expect("it answered");
    assert!(
        head[0].starts_with("GET /prom/api/v1/query_range?query=ALERTS"),
        "{head:?}"
    );
    let authorization = "authorization: Basic bWU6c2VjcmV0";
    assert!(head.iter().any(|line| line == authorization), "{head:?}");
    assert!(!ended.stderr.contains("secret"), "{ended:?}");

    // Of somebody else, and of nothing at all.
    let other = fired(
        json!({"alertname": "Lossy", "destination_ip": "10.0.0.7"}),
        3,
    );
    let false_alarm = fired(json!({"alertname": "Noise"}), 40);
    let (server, question) = prometheus(Some(answer(json!([other, false_alarm]))));
    let url = format!("http://{server}");
    let ended = guard
        .murphy(["observe", "--score", file, "--alerts", &url, "--json"])
        .run();
    let score = score_of(&ended, "alerts");
    assert_eq!(verdicts(&score), ["wrong_culprit"], "{score}");
    assert_eq!(
        score["false_alarms"]["healthy"][0]["alert"]["name"], "Noise",
        "{score}"
    );
    question.join().expect("it answered");
}

#[test]
fn a_prometheus_that_does_not_answer_is_said_and_the_rest_is_scored() {
    let guard = Guard::new();
    let (file, _) = unseen(&guard);
    let file = file.to_str().expect("a path");
    let (server, question) = prometheus(None);
    let url = format!("http://{server}");
    let ended = guard
        .murphy(["observe", "--score", file, "--alerts", &url])
        .run();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("missed"), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains(&format!("Prometheus at {url}: no answer within")),
        "{ended:?}"
    );
    question.join().expect("it was asked");

    // Nobody watched, so that only alerts could be scored.
    let text = fs::read_to_string(file).expect("it was written");
    let mut faults = text.lines().skip(1).take(3).collect::<Vec<_>>().join("\n");
    faults.push('\n');
    let only = guard.dir().join("only.jsonl");
    fs::write(&only, faults).expect("a file");
    let free = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let url = format!("http://{}", free.local_addr().expect("it is bound"));
    drop(free);
    let only = only.to_str().expect("a path");
    let ended = guard
        .murphy(["observe", "--score", only, "--alerts", &url])
        .run();
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains("is it running"), "{ended:?}");
    for url in ["https://127.0.0.1:9090", "127.0.0.1:9090"] {
        let ended = guard
            .murphy(["observe", "--score", only, "--alerts", url])
            .run();
        assert_eq!(ended.code, 2, "{ended:?}");
    }
}

#[test]
fn a_real_prometheus_tells_which_alerts_fired() {
    let guard = Guard::new();
    let prometheus = Path::new("/usr/bin/prometheus");
    if !prometheus.exists() {
        say_skipped("prometheus");
        return;
    }
    let (file, begin_ns) = unseen(&guard);
    // A fault of now, which nobody watches but Prometheus.
    let text = fs::read_to_string(file).expect("it was written");
    let now_ns = (boottime_ns() + S).to_string();
    let fault = text.lines().skip(1).take(2);
    let fault = fault.map(|line| line.replace(&begin_ns.to_string(), &now_ns) + "\n");
    let events = guard.dir().join("events.jsonl");
    fs::write(&events, fault.collect::<Vec<_>>().concat()).expect("a file");
    // The rule fires from a second after the fault on.
    let fires_at = realtime_ns() / S + 2;
    let rules = format!(
        "groups:\n- name: g\n  rules:\n  - alert: Lossy\n    expr: vector(time()) > {fires_at}\n    labels: {{container_id: c}}\n"
    );
    fs::write(guard.dir().join("rules.yml"), rules).expect("a file");
    let config = "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n";
    let config_file = guard.dir().join("prometheus.yml");
    fs::write(&config_file, config).expect("a file");
    let free = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let at = free.local_addr().expect("it is bound");
    drop(free);
    let words = [
        format!("--config.file={}", config_file.display()),
        format!("--storage.tsdb.path={}", guard.dir().join("data").display()),
        format!("--web.listen-address={at}"),
        "--web.external-url=http://localhost/prom".to_owned(),
        "--log.level=error".to_owned(),
    ];
    let running = guard.program(prometheus).args(words).start();
    let url = format!("http://{at}/prom");
    let events = events.to_str().expect("a path");
    let words = ["observe", "--score", events, "--alerts", &url, "--json"];
    let words = words.into_iter().chain(["--detect-within", "30s"]);
    let score = || guard.murphy(words.clone()).run();
    wait_until("the alert is scored", || score().code == 0);
    let ended = score();
    let score = score_of(&ended, "alerts");
    assert_eq!(verdicts(&score), ["detected"], "{score}");
    assert_eq!(
        score["faults"][0]["found"]["alert"]["name"], "Lossy",
        "{score}"
    );
    let labels = &score["faults"][0]["found"]["alert"]["labels"];
    assert_eq!(labels, &json!({"container_id": "c"}), "{score}");
    // Where there is no such path it is said.
    let wrong = format!("http://{at}/other");
    let ended = guard
        .murphy(["observe", "--score", events, "--alerts", &wrong])
        .run();
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains("404"), "{ended:?}");
    running.signal("TERM");
    running.wait();
}
