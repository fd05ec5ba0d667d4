//! `murphy check` on histories of any model: what people see, what scripts get, and what is refused.

mod harness;

use std::{fs, path::PathBuf};

use harness::{Ended, Guard};

const STALE: &str = r#"{"murphy":"history","version":1,"model":"register"}
{"type":"invoke","process":"a","f":"write","value":1,"time":1000000000}
{"type":"ok","process":"a","f":"write","time":2000000000}
{"type":"invoke","process":"b","f":"read","time":3000000000}
{"type":"ok","process":"b","f":"read","value":null,"time":4000000000}
"#;

const APPENDS: &str = "\
{:type :invoke, :f :txn, :value [[:append 1 2]], :process 0}
{:type :ok, :f :txn, :value [[:append 1 2]], :process 0}
{:type :invoke, :f :txn, :value [[:r 1 nil]], :process 1}
{:type :ok, :f :txn, :value [[:r 1 []]], :process 1}
";

fn check(guard: &Guard, history: &str, words: &[&str]) -> Ended {
    let path = guard.dir().join("history");
    fs::write(&path, history).expect("a file can be written");
    guard.murphy(["check"]).arg(path).args(words).run()
}

#[test]
fn a_stale_read_is_told_and_drawn() {
    let guard = Guard::new();
    let page: PathBuf = guard.dir().join("witness.html");
    let ended = check(&guard, STALE, &["--html", page.to_str().unwrap()]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    for line in [
        "BROKEN  linearizable: smallest witness 2 of 2 operations",
        "        a write 1                           ├─────────┤",
        "        b read → nil                                            ├──────────┤",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{}", ended.stdout);
    }
    assert!(
        ended
            .stdout
            .contains("held    sequential · session.monotonic-reads")
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("read → nil"));
}

#[test]
fn scripts_get_promises_witness_and_exit_code() {
    let guard = Guard::new();
    let ended = check(&guard, STALE, &["--json"]);
    let verdict: serde_json::Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    assert_eq!(verdict["verdict"], "broken");
    let promise = &verdict["promises"]["linearizable"];
    assert_eq!(promise["confirmed"], true);
    assert_eq!(promise["witness"][1]["line"], 5);
    // Only what was selected decides.
    let ended = check(&guard, STALE, &["--promise", "sequential"]);
    assert_eq!(ended.code, 0);
    assert!(
        ended
            .stdout
            .contains("also broken, not asked for: linearizable")
    );
}

#[test]
fn transactions_are_judged_level_by_level() {
    let guard = Guard::new();
    let ended = check(&guard, APPENDS, &[]);
    assert_eq!(ended.code, 1);
    for words in [
        "BROKEN  isolation.strong-snapshot-isolation: G-single-realtime",
        "the same breaks isolation.strict-serializable",
        "anomalies: G-single-realtime × 1",
    ] {
        assert!(ended.stdout.contains(words), "{words}\n{}", ended.stdout);
    }
    let ended = check(&guard, APPENDS, &["--promise", "isolation.serializable"]);
    assert_eq!(ended.code, 0);
}

#[test]
fn what_the_model_does_not_know_is_refused_or_counted() {
    let guard = Guard::new();
    let strange = STALE.replace("\"f\":\"read\"", "\"f\":\"peek\"");
    let ended = check(&guard, &strange, &[]);
    assert_eq!(ended.code, 2);
    let said = "history:4: unknown f `peek`; model register has read and write";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let ended = check(&guard, &strange, &["--lenient"]);
    assert_eq!(ended.code, 4, "{}", ended.stdout);
    assert!(ended.stderr.contains("1 line left out"), "{}", ended.stderr);
    for (words, said) in [
        (
            &["--promise", "durable"][..],
            "the model register has linearizable, sequential",
        ),
        (
            &["--model", "cas-register"],
            "the history is of model `register`, expected `cas-register`",
        ),
        (&["--memory-limit", "0"], "0 is not in 1.."),
    ] {
        let ended = check(&guard, STALE, words);
        assert_eq!(ended.code, 2, "{words:?}");
        assert!(ended.stderr.contains(said), "{said}\n{}", ended.stderr);
    }
    let page = guard.dir().join("no/such/folder.html");
    let ended = check(&guard, STALE, &["--html", page.to_str().unwrap()]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
}
