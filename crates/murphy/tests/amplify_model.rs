//! `murphy amplify model`: what a real program's errors come to as models, and what is said of a recording that is none.

mod harness;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use harness::{Guard, wait_until};
use serde_json::Value;

/// Of a hundred reads ten find nothing, of a hundred files one is not there; so many rounds of it are done.
const VICTIM: &str = "
import os, sys, time
empty, filled = os.pipe2(os.O_NONBLOCK)
sys.stdin.readline()
for _ in range(ROUNDS):
    for at in range(100):
        if at % 10: os.write(filled, b'x')
        try: os.read(empty, 1)
        except BlockingIOError: pass
        try: os.close(os.open('/dev/null' if at else '/no/such/file', os.O_RDONLY))
        except FileNotFoundError: pass
    time.sleep(0.002)
";
const ROUNDS: u64 = 600;

/// Records the victim to its end; the recording.
fn record(guard: &Guard) -> PathBuf {
    let script = VICTIM.replace("ROUNDS", &ROUNDS.to_string());
    let mut victim = Command::new("python3")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3");
    // It begins only once it is told to.
    thread::sleep(Duration::from_millis(300));
    let path = guard.dir().join("errors.jsonl");
    let murphy = guard
        .murphy(["amplify", "record", "--interval", "150ms", "-o"])
        .arg(&path)
        .args(["-t", &format!("pid:{}", victim.id())])
        .start();
    wait_until("it records", || {
        fs::metadata(&path).is_ok_and(|file| file.len() > 0)
    });
    drop(victim.stdin.take());
    assert!(victim.wait().expect("it ends").success());
    let ended = murphy.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    path
}

#[test]
fn models_of_a_real_program_have_its_rates() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let recording = record(&guard);
    let out = guard.dir().join("models.yaml");
    let model = |words: &[&str]| {
        let murphy = guard.murphy(["amplify", "model"]).arg(&recording);
        murphy.args(words).run()
    };
    let ended = model(&["--json", "-o", out.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let models: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let named = |models: &Value, name: &str| {
        let all = models["models"].as_array().expect("models");
        let found = all.iter().find(|model| model["name"] == name);
        found.cloned().unwrap_or_else(|| panic!("{name}: {all:?}"))
    };
    let reads = named(&models, "read-pipe-nowait-EAGAIN");
    let opens = named(&models, "openat:plain-ENOENT");
    // What it did, to a call.
    assert_eq!(reads["natural"]["calls"], 100 * ROUNDS);
    assert_eq!(reads["natural"]["errors"], 10 * ROUNDS);
    assert_eq!(reads["natural"]["rate"], 0.1);
    assert_eq!(opens["natural"]["calls"], 100 * ROUNDS);
    assert_eq!(opens["natural"]["errors"], ROUNDS);
    assert_eq!(opens["natural"]["rate"], 0.01);
    let intervals = reads["natural"]["intervals"].as_u64().expect("a count");
    assert!(intervals >= 3, "{intervals}");
    // Every interval has as many, but for the rounds that it cuts.
    assert_eq!(
        (&opens["class"], &opens["rate"]),
        (&"sporadic".into(), &0.05.into())
    );
    assert_eq!(opens["amplification"], 5.0);
    assert_eq!(reads["class"], "steady");
    let rate = |of: &Value, name: &str| of[name].as_f64().expect("a number");
    let max = rate(&reads["natural"], "max");
    assert!((rate(&reads, "rate") - 1.2 * max).abs() < 1e-3, "{reads}");
    assert_eq!(reads["in_a_row"], 10);
    for model in [&reads, &opens] {
        assert_eq!(
            (&model["inject"], &model["realism"]),
            (&true.into(), &"seen".into())
        );
    }
    let unseen = named(&models, "openat:plain-EMFILE");
    assert_eq!(
        (&unseen["inject"], &unseen["realism"]),
        (&false.into(), &"environmental".into())
    );

    // The file says the same, and the same recording makes the same file.
    let written = fs::read_to_string(&out).expect("it was written");
    assert!(
        written.contains("name: \"openat:plain-ENOENT\"")
            || written.contains("name: openat:plain-ENOENT")
    );
    assert_eq!(model(&["-o", "-"]).stdout, written);
    let again = guard.dir().join("again.yaml");
    assert_eq!(model(&["-o", again.to_str().unwrap()]).code, 0);
    assert_eq!(fs::read_to_string(&again).expect("it was written"), written);

    // Every number is an option.
    let ended = model(&[
        "--json",
        "--threshold",
        "0.5%",
        "--variance",
        "0.5",
        "--factor",
        "3",
        "--cap",
        "2%",
        "--least-calls",
        "2",
        "--in-a-row",
        "4",
        "--unseen",
        "none",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let other: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(named(&other, "openat:plain-ENOENT")["rate"], 0.02);
    assert_eq!(named(&other, "read-pipe-nowait-EAGAIN")["in_a_row"], 4);
    assert_eq!(other["rule"]["variance"], 0.5);
    assert!(
        other["models"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["realism"] == "seen"))
    );

    // What people see.
    let ended = model(&[]);
    let row = |what: &str| ended.stdout.lines().find(|line| line.starts_with(what));
    let row = row("openat:plain ENOENT").unwrap_or_else(|| panic!("{ended:?}"));
    for part in ["1 %", "sporadic", "5 %"] {
        assert!(row.contains(part), "{row}");
    }
    assert!(
        ended
            .stdout
            .lines()
            .next()
            .is_some_and(|line| line.contains("none lost"))
    );
    assert!(
        ended.stderr.contains("models on") && ended.stderr.contains("nothing was kept"),
        "{ended:?}"
    );
}

#[test]
fn a_recording_that_was_cut_short_is_read_up_to_there() {
    let Some(guard) = Guard::root_or_skip() else {
        return;
    };
    let path = record(&guard);
    let whole = fs::read_to_string(&path).expect("a recording");
    let cut = guard.dir().join("cut.jsonl");
    let model = |text: &str| {
        fs::write(&cut, text).unwrap();
        guard.murphy(["amplify", "model"]).arg(&cut).run()
    };
    let ended = model(&whole[..whole.len() - 20]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stderr.contains("warning") && ended.stderr.contains("is cut short in interval"),
        "{ended:?}"
    );
    let header = whole.lines().next().expect("a header");
    let ended = model(&format!("{header}\n"));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("it has no whole interval; record for longer than its interval of 150ms"),
        "{ended:?}"
    );
}

#[test]
fn bad_input_is_told_where_it_is() {
    let guard = Guard::new();
    let file = |name: &str, text: &str| {
        let path = guard.dir().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().expect("UTF-8").to_owned()
    };
    let refused = |words: &[&str], code: i32, expected: &str| {
        let ended = guard.murphy(["amplify", "model"]).args(words).run();
        assert_eq!(ended.code, code, "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{words:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{words:?}");
    };
    let header = r#"{"murphy":"errors","version":1,"target":["pid:42"],"kernel":"Linux 6.18","started":"2026-11-23T18:52:17Z","interval_ns":1000000000,"latency":false}"#;
    let end = r#"{"interval":0,"from":0,"to":1000000000,"lost":3,"processes":{"count":1,"cpu_ns":0,"memory_bytes":0,"descriptors":0,"threads":1,"restarts":0},"own":{"cpu_ns":0,"memory_bytes":0}}"#;
    let calls = |more: &str| {
        format!(
            "{header}\n{{\"interval\":0,{more},\"count\":1}}\n{{\"interval\":0,\"call\":\"read\",\"count\":99}}\n{end}\n"
        )
    };
    let good = file("good.jsonl", &calls(r#""call":"read","errno":"EIO""#));
    let ended = guard.murphy(["amplify", "model", &good]).run();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("3 calls were not counted: rates are not exact"),
        "{ended:?}"
    );
    let call = file("call.jsonl", &calls(r#""call":"raed","errno":"EIO""#));
    refused(
        &[&call],
        2,
        "call.jsonl:2:22: there is no call \"raed\" on x86_64; did you mean read",
    );
    let errno = file("errno.jsonl", &calls(r#""call":"read","errno":"EOI""#));
    refused(
        &[&errno],
        2,
        "errno.jsonl:2:37: there is no errno \"EOI\"; did you mean EIO",
    );
    let kind = file("kind.jsonl", &calls(r#""call":"read","kind":"sock""#));
    refused(&[&kind], 2, "expected one of file, directory, terminal");
    let yaml = file("models.yaml", "murphy-models: 1\nmodels: []\n");
    refused(
        &[&yaml],
        2,
        "models.yaml:1:1: this is no recording; a recording is what `murphy amplify record -o FILE` writes",
    );
    let empty = file("empty.jsonl", "");
    refused(&[&empty], 2, "the file is empty, expected a recording");
    refused(
        &["/no/such/errors.jsonl"],
        2,
        "open /no/such/errors.jsonl: No such file",
    );
    refused(
        &[&good, "-o", &yaml],
        3,
        "it is there already; say another name",
    );
    assert_eq!(
        fs::read_to_string(&yaml).unwrap(),
        "murphy-models: 1\nmodels: []\n"
    );
    refused(
        &[&good, "--factor", "0.5"],
        2,
        "--factor 0.5: expected 1 or more",
    );
    refused(
        &[&good, "--variance", "NaN"],
        2,
        "--variance NaN: expected 0 or more",
    );
    refused(
        &[&good, "--least-calls", "0"],
        2,
        "--least-calls 0: expected 1 or more",
    );
    refused(&[&good, "--threshold", "5"], 2, "write 5% or a decimal");
    refused(&[&good, "--cap", "120%"], 2, "from 0% to 100%");
    refused(
        &[&good, "--unseen", "none", "--inject", "environmental"],
        2,
        "say one of them",
    );
}
