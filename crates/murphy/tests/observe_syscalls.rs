//! System calls that fail or take long, unlike before, are found by the built binary; who says nothing of them counts none.

mod harness;
mod network;

#[path = "../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod victims;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Guard, say_skipped};
use murphy_sys::{namespace::NetNamespace, syscalls};
use network::Named;
use serde_json::Value;

/// How long it takes until an observer knows what is usual.
const BEFORE: Duration = Duration::from_secs(6);
/// How long something is wrong.
const WRONG: Duration = Duration::from_secs(7);
/// Within so many seconds it is found.
const WITHIN_S: f64 = 5.0;

/// Writes fifty times a second to a file, and after a while to one that is always full.
const WRITER: &str = "
import os, sys, time
path, before = sys.argv[1], float(sys.argv[2])
begin = time.monotonic()
well, full = os.open(path, os.O_CREAT | os.O_WRONLY), os.open('/dev/full', os.O_WRONLY)
while True:
    try:
        os.write(well if time.monotonic() < begin + before else full, b'a line\\n')
    except OSError:
        pass
    time.sleep(0.02)
";

/// Opens a file again and again.
const OPENER: &str = "
import os, sys, time
while True:
    os.close(os.open(sys.argv[1], os.O_RDWR))
    time.sleep(0.01)
";

/// After a while has a lease of the file (fcntl(2)): whoever opens it waits until that is given back, which takes a while.
const LEASER: &str = "
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, lambda *_: None)
time.sleep(float(sys.argv[2]))
file = os.open(sys.argv[1], os.O_RDWR)
while True:
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        # Somebody has it open.
        time.sleep(0.001)
        continue
    time.sleep(0.06)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
";

/// A program that goes with the test.
struct Program(Child);

impl Program {
    fn start(namespace: Option<&NetNamespace>, program: &str, words: &[&str]) -> Self {
        let start = || {
            let mut command = Command::new("python3");
            command.args(["-c", program]).args(words);
            command.stdin(Stdio::null()).spawn()
        };
        let child = match namespace {
            Some(namespace) => namespace.run(start).expect("a namespace"),
            None => start(),
        };
        Self(child.expect("it starts"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A named namespace that can be observed.
struct Lab {
    namespace: NetNamespace,
    named: Named,
    guard: Guard,
}

impl Lab {
    fn lay_or_skip() -> Option<Self> {
        let guard = Guard::root_or_skip()?;
        if let Err(error) = syscalls::trial() {
            say_skipped(&error.to_string());
            return None;
        }
        if let Err(error) = Command::new("python3").arg("-V").output() {
            say_skipped(&format!("python3: {error}"));
            return None;
        }
        let (named, namespaces) = Named::make(&guard, ["n".to_owned()]);
        let [namespace] = namespaces.try_into().expect("one was made");
        Some(Self {
            namespace,
            named,
            guard,
        })
    }

    fn path(&self) -> String {
        let path: &Path = self.guard.dir();
        path.join("file").to_str().expect("a name").to_owned()
    }

    /// What `murphy observe` says from now on, until something was wrong for long enough.
    fn observe(&self, more: &[&str]) -> Vec<Value> {
        let words = ["observe", "-t", &self.named.target(0), "--json"];
        let mut observer = self.guard.murphy(words).args(more).start();
        observer.until_it_says("observing");
        sleep(BEFORE + WRONG);
        observer.signal("INT");
        let ended = observer.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.lines()
    }
}

fn found(lines: &[Value]) -> Vec<&Value> {
    let found = lines.iter().filter(|line| line["event"] == "found");
    found.collect()
}

/// The only finding, of the whole target, that came soon enough after something was wrong.
fn only_found<'a>(lines: &'a [Value], kind: &str) -> &'a Value {
    let found = found(lines);
    let [one] = found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(one["kind"], kind, "{one}");
    assert_eq!(one["edge"]["peer"], "::", "{one}");
    let begun_ns = lines[0]["boottime_ns"].as_u64().expect("a time");
    let found_ns = one["found_ns"].as_u64().expect("a time");
    let after_s = (found_ns - begun_ns) as f64 / 1e9 - BEFORE.as_secs_f64();
    assert!(after_s <= WITHIN_S, "found after {after_s} s: {one}");
    one
}

fn evidence(finding: &Value) -> &str {
    finding["evidence"][0].as_str().expect("it is known how")
}

#[test]
fn a_program_whose_disk_is_full_is_found_and_what_its_calls_returned_is_told() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let before = BEFORE.as_secs_f64().to_string();
    let began = Instant::now();
    let _writer = Program::start(Some(&lab.namespace), WRITER, &[&lab.path(), &before]);
    let lines = lab.observe(&["--syscalls"]);
    let one = only_found(&lines, "failing_syscalls");
    assert!(evidence(one).starts_with("write failed "), "{one}");
    assert!(
        evidence(one).contains(" times with ENOSPC within "),
        "{one}"
    );
    let ended = lines.last().expect("it says that it has ended");
    let of_target = &ended["snapshot"]["syscalls"][0];
    let calls = of_target["calls"].as_array().expect("a list");
    let full = calls
        .iter()
        .find(|one| one["call"] == "write" && one["errno"] == "ENOSPC");
    let most = 50 * (began.elapsed().as_secs() + 1);
    let count = full.and_then(|one| one["count"].as_u64()).unwrap_or(0);
    assert!(count > 20 && count <= most, "{calls:?}");
    let times = of_target["times"].as_array().expect("a list");
    assert!(times.iter().any(|one| one["call"] == "write"), "{times:?}");
}

#[test]
fn a_program_whose_files_open_slowly_is_found() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    std::fs::write(lab.path(), "").expect("a file");
    let before = BEFORE.as_secs_f64().to_string();
    let _opener = Program::start(Some(&lab.namespace), OPENER, &[&lab.path()]);
    let _leaser = Program::start(None, LEASER, &[&lab.path(), &before]);
    let lines = lab.observe(&["--syscalls"]);
    let one = only_found(&lines, "slow_syscalls");
    assert!(evidence(one).contains(" openat took "), "{one}");
    let us = one["size"]["time"]["us"].as_u64().expect("a time");
    assert!(us >= 10_000, "{one}");
}

#[test]
fn who_does_not_ask_for_system_calls_counts_none() {
    let Some(lab) = Lab::lay_or_skip() else {
        return;
    };
    let _writer = Program::start(Some(&lab.namespace), WRITER, &[&lab.path(), "1"]);
    let lines = lab.observe(&[]);
    assert_eq!(found(&lines), [&Value::Null; 0]);
    let ended = lines.last().expect("it says that it has ended");
    assert_eq!(ended["snapshot"]["syscalls"], serde_json::json!([]));
}
