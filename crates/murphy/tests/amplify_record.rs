//! `murphy amplify record`: what it counts is what a real program says that it has done, errors of its children included.

mod harness;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use harness::{Guard, wait_until};
use serde_json::Value;

/// Does what it is told in rounds, until nobody tells it any more; half of it by a child.
const VICTIM: &str = "
import os, sys
empty, unused = os.pipe2(os.O_NONBLOCK)
def work():
    for _ in range(300):
        try: os.read(empty, 1)
        except OSError: pass
    for _ in range(20):
        try: os.open('/no/such/file', os.O_RDONLY)
        except OSError: pass
    for _ in range(80):
        os.getppid()
print('ready', flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    os.waitpid(child, 0)
    work()
    print('done', flush=True)
";

struct Victim {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Victim {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", VICTIM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut victim = Self { child, said };
        assert_eq!(victim.line(), "ready\n");
        victim
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it says something");
        line
    }

    fn works(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let stdin = self.child.stdin.as_mut().expect("a pipe");
            writeln!(stdin, "go").expect("it listens");
            assert_eq!(self.line(), "done\n");
        }
    }

    fn target(&self) -> String {
        format!("pid:{}", self.child.id())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// How often each kind of calls is in the lines of a recording, and how many intervals are whole.
fn read(lines: &str) -> (BTreeMap<String, u64>, usize) {
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut counts = BTreeMap::new();
    let mut intervals = 0;
    for line in lines.skip(1) {
        let text = |name: &str| {
            line[name]
                .as_str()
                .map_or(String::new(), |text| format!(" {text}"))
        };
        if line["call"].is_string() {
            let what = ["call", "operation", "kind", "errno"].map(text).concat();
            *counts.entry(what.trim().to_owned()).or_default() +=
                line["count"].as_u64().expect("a count");
        } else {
            assert_eq!(line["lost"], 0, "{line}");
            intervals += 1;
        }
    }
    (counts, intervals)
}

#[test]
fn what_is_recorded_is_what_was_done() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let mut victim = Victim::start();
    let path = guard.dir().join("errors.jsonl");
    let words = ["amplify", "record", "--interval", "100ms", "--json", "-o"];
    let murphy = guard
        .murphy(words)
        .arg(&path)
        .args(["-t", &victim.target()])
        .start();
    wait_until("it records", || {
        fs::metadata(&path).is_ok_and(|file| file.len() > 0)
    });
    victim.works(100);
    murphy.signal("INT");
    let ended = murphy.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    let file = fs::read_to_string(&path).expect("it was written");
    assert_eq!(file, ended.stdout);
    let header = file.lines().next().expect("a header");
    let header: Value = serde_json::from_str(header).expect("JSON");
    assert_eq!(header["murphy"], "errors");
    assert_eq!(header["version"], 1);
    let (counts, intervals) = read(&file);
    // A hundred rounds of a child, and of its parent.
    assert_eq!(counts["read pipe EAGAIN"], 100 * 2 * 300, "{counts:?}");
    assert_eq!(counts["openat plain ENOENT"], 100 * 2 * 20, "{counts:?}");
    assert_eq!(counts["getppid"], 100 * 2 * 80, "{counts:?}");
    assert!(intervals >= 2, "{intervals}");
}

#[test]
fn the_table_says_what_fails_how_often() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let mut victim = Victim::start();
    let words = [
        "amplify",
        "record",
        "--interval",
        "500ms",
        "--for",
        "1s",
        "--latency",
        "--latency-unit",
        "ms",
    ];
    let murphy = guard.murphy(words).args(["-t", &victim.target()]).start();
    victim.works(400);
    let ended = murphy.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    let row = ended
        .stdout
        .lines()
        .find(|line| line.starts_with("read pipe*"))
        .expect("a row");
    assert!(row.contains("EAGAIN") && row.contains("100.0 %"), "{row}");
    assert!(ended.stdout.contains("openat:plain"), "{}", ended.stdout);
}

#[test]
fn bad_input_is_refused_before_anything_is_counted() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let victim = Victim::start();
    let refused = |more: &[&str], code: i32, expected: &str| {
        let ended = guard
            .murphy(["amplify", "record"])
            .args(["-t", &victim.target()])
            .args(more)
            .run();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    };
    refused(&["--interval", "1ms"], 2, "--interval 1ms is too short");
    refused(
        &["--for", "3s"],
        2,
        "--for 3s is shorter than one interval of 15s",
    );
    refused(&["--latency-unit", "ms"], 2, "--latency");
    refused(&["-t", "pid:4194304"], 3, "4194304");
    let there = guard.dir().join("there");
    fs::write(&there, "mine").unwrap();
    refused(&["-o", there.to_str().unwrap()], 3, "it is there already");
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
}

#[test]
fn probes_are_watched_beside_it_and_held_against_how_they_were() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let victim = Victim::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let path = guard.dir().join("errors.jsonl");
    let words = [
        "amplify",
        "record",
        "--interval",
        "300ms",
        "--for",
        "900ms",
        "--probe-every",
        "20ms",
    ];
    let ended = guard
        .murphy(words)
        .args([
            "-t",
            &victim.target(),
            "--probe",
            &format!("up=tcp:{at}"),
            "--probe",
            "no=command:false",
            "-o",
        ])
        .arg(&path)
        .run();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.contains("probe up: ")
            && ended
                .stderr
                .contains("before anything was attached 20 of 20"),
        "{}",
        ended.stderr
    );
    let file = fs::read_to_string(&path).expect("it was written");
    let ends: Vec<Value> = file
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["probes"].is_object())
        .collect();
    assert_eq!(ends.len(), 3);
    let sum = |name: &str, what: &str| -> u64 {
        ends.iter()
            .map(|line| line["probes"][name][what].as_u64().expect("a count"))
            .sum()
    };
    assert!(
        sum("up", "passed") >= 10 && sum("up", "passed") == sum("up", "made"),
        "{ends:?}"
    );
    assert!(
        sum("no", "made") >= 5 && sum("no", "passed") == 0,
        "{ends:?}"
    );
    drop(listener);
    let ended = guard
        .murphy([
            "amplify",
            "record",
            "--probe",
            "htp://x",
            "-t",
            &victim.target(),
        ])
        .run();
    assert_eq!(ended.code, 2, "{ended:?}");
}

/// What is at an address of HTTP.
fn get(url: &str) -> String {
    let rest = url.strip_prefix("http://").expect("a URL");
    let (at, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(at).expect("somebody answers");
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"
    )
    .expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
fn a_prometheus_reads_totals_and_the_dashboard_asks_for_what_there_is() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let mut victim = Victim::start();
    let words = [
        "amplify",
        "record",
        "--interval",
        "200ms",
        "--latency",
        "--measure-overhead",
        "--json",
    ];
    let mut recorder = guard
        .murphy(words)
        .args(["--prometheus", "127.0.0.1:0", "--probe", "up=command:true"])
        .args(["-t", &victim.target()])
        .start();
    let serving = recorder.until_it_says("\"serving\"");
    let serving: Value = serde_json::from_str(&serving).expect("JSON");
    let url = serving["url"].as_str().expect("a URL");
    victim.works(10);
    let reads = "murphy_syscalls_total{call=\"read\",kind=\"pipe\",nonblocking=\"true\",errno=\"EAGAIN\"} 6000\n";
    wait_until("all reads are told", || get(url).contains(reads));
    let text = get(url);
    for part in [
        "HTTP/1.1 200",
        "# TYPE murphy_syscalls_total counter",
        "errno=\"ENOENT\"} 400\n",
        "murphy_recording_lost_calls_total 0\n",
        "murphy_probe_looks_total{probe=\"up\",outcome=\"failed\"} 0\n",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    recorder.signal("INT");
    assert_eq!(recorder.wait().code, 0);
    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/grafana/amplify.json");
    let dashboard = fs::read_to_string(dashboard).expect("a file");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = 0;
    for target in dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
    {
        let asked = target["expr"].as_str().expect("an expression");
        let asked = asked.split(|c| !is_name(c));
        for name in asked.filter(|word| word.starts_with("murphy_") || word.starts_with("process_"))
        {
            names += 1;
            // There is no JVM here.
            let is_there = name == "murphy_target_jvm" || text.contains(&format!("\n{name}"));
            assert!(is_there, "{name}: {text}");
        }
    }
    assert!(names > 15, "{names}");
}
