//! `murphy check` on histories of any model: what people see, what scripts get, and what is refused.

mod harness;

use std::{fs, path::PathBuf};

use harness::{Ended, Guard, wait_until};

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

#[test]
fn a_followed_history_ends_at_the_first_contradiction() {
    let guard = Guard::new();
    let path = guard.dir().join("growing.jsonl");
    let lines: Vec<&str> = STALE.lines().collect();
    fs::write(&path, lines[..3].join("\n") + "\n{\"type\":\"inv").unwrap();
    let writer = {
        let (path, rest) = (path.clone(), lines[3..].join("\n"));
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(400));
            let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
            let rest = rest.strip_prefix("{\"type\":\"inv").expect("the same line");
            // The next line, by which the moment of the last one is over, and some that nobody reads any more.
            let next = r#"{"type":"invoke","process":"c","f":"read","time":5000000000}"#;
            std::io::Write::write_all(&mut file, format!("{rest}\n{next}\nnonsense\n").as_bytes())
        })
    };
    let ended = guard.murphy(["check", "--follow"]).arg(&path).run();
    writer.join().unwrap().unwrap();
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    let said = "BROKEN  linearizable: smallest witness 1 of the first 2 operations";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
}

#[test]
fn a_followed_history_is_judged_at_its_end() {
    let guard = Guard::new();
    let follow = |history: &str, words: &[&str]| {
        let path = guard.dir().join("history");
        fs::write(&path, history).expect("a file can be written");
        let murphy = guard.murphy(["check", "--follow", "--idle", "200ms"]);
        murphy.arg(path).args(words).run()
    };
    let right = STALE.replace("null", "1");
    let ended = follow(&right, &["--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let verdict: serde_json::Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    let promises = verdict["promises"].as_object().unwrap();
    assert_eq!(
        promises["linearizable"]["reason"],
        "2 operations in one order"
    );
    assert_eq!(
        (promises.len(), &verdict["vacuity"]["reads"]),
        (1, &serde_json::json!(1))
    );
    assert_eq!(follow(STALE, &[]).code, 1);
    // What is cut off is refused, as in a whole history.
    let cut = &right[..right.len() - 10];
    for (history, words, said) in [
        (cut, &[][..], "history:5:"),
        (
            APPENDS,
            &["--model", "list-append"],
            "model list-append is not judged live",
        ),
        (APPENDS, &[], "name the one that is meant"),
        (
            &right,
            &["--promise", "sequential"],
            "followed live has linearizable",
        ),
        (
            "{\"murphy\":\"history\",\"version\":1,\"model\":\"etcd\"}\n",
            &["--lenient"],
            "--lenient is not for histories of model etcd",
        ),
    ] {
        let ended = follow(history, words);
        assert_eq!(ended.code, 2, "{said}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(said), "{said}\n{}", ended.stderr);
    }
}

/// What a test of another tool writes is followed as it stands.
#[test]
fn histories_of_other_tools_are_followed() {
    let guard = Guard::new();
    for (name, words, history) in [
        (
            "history.edn",
            &["--model", "register"][..],
            "{:process 0, :type :invoke, :f :write, :value 1, :time 1}
{:process 0, :type :ok, :f :write, :value 1, :time 2}
{:process 1, :type :invoke, :f :read, :value nil, :time 3}
{:process 1, :type :ok, :f :read, :value 1, :time 4}
",
        ),
        (
            "history.json",
            &["--model", "register"],
            r#"{"process":0,"type":"invoke","f":"write","value":1,"time":1}
{"process":0,"type":"ok","f":"write","value":1,"time":2}
{"process":1,"type":"invoke","f":"read","value":null,"time":3}
{"process":1,"type":"ok","f":"read","value":1,"time":4}
"#,
        ),
        (
            "jepsen.log",
            &[],
            "INFO  jepsen.util - 0\t:invoke\t:write\t1
INFO  jepsen.util - 0\t:ok\t:write\t1
INFO  jepsen.util - 1\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:ok\t:read\t1
",
        ),
        (
            "kv.txt",
            &[],
            r#"{:process 0, :type :invoke, :f :put, :key "0", :value "1"}
{:process 0, :type :ok, :f :put, :key "0", :value "1"}
{:process 1, :type :invoke, :f :get, :key "0", :value nil}
{:process 1, :type :ok, :f :get, :key "0", :value "1"}
"#,
        ),
    ] {
        let follow = |history: &str| {
            let path = guard.dir().join(name);
            fs::write(&path, history).expect("a file can be written");
            let murphy = guard.murphy(["check", "--follow", "--idle", "200ms", "--json"]);
            let ended = murphy.args(words).arg(path).run();
            let verdict: serde_json::Value =
                serde_json::from_str(ended.stdout.trim()).unwrap_or_default();
            (ended, verdict)
        };
        let (ended, verdict) = follow(history);
        assert_eq!(ended.code, 0, "{name}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(verdict["vacuity"]["reads"], 1, "{name}: {verdict}");
        // The value of the last line is another one.
        let at = history.rfind('1').expect("it is 1");
        let (ended, verdict) = follow(&[&history[..at], "2", &history[at + 1..]].concat());
        assert_eq!(ended.code, 1, "{name}: {}{}", ended.stdout, ended.stderr);
        let promise = &verdict["promises"]["linearizable"];
        assert_eq!(promise["confirmed"], true, "{name}: {verdict}");
    }
}

#[test]
fn lines_that_cannot_be_right_are_left_out_of_a_followed_history() {
    let guard = Guard::new();
    let path = guard.dir().join("history");
    let stray = r#"{"type":"ok","process":"z","f":"read","value":7,"time":4500000000}"#;
    fs::write(&path, format!("{STALE}{stray}\n")).unwrap();
    let follow = |words: &[&str]| {
        let murphy = guard.murphy(["check", "--follow", "--idle", "200ms"]);
        murphy.args(words).arg(&path).run()
    };
    let refused = follow(&[]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("history:6:"), "{}", refused.stderr);
    let ended = follow(&["--lenient"]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    // Without the contradiction nothing is certain: a line is missing.
    fs::write(&path, format!("{}{stray}\n", STALE.replace("null", "1"))).unwrap();
    let ended = follow(&["--lenient"]);
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stderr.contains("1 line") && ended.stdout.contains("UNDECIDED  linearizable"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}

/// Who follows without an end judges what is there by Ctrl-C.
#[test]
fn an_interrupt_ends_a_followed_history() {
    let guard = Guard::new();
    let path = guard.dir().join("history");
    fs::write(&path, STALE.replace("null", "1")).unwrap();
    let followed = guard.murphy(["check", "--follow"]).arg(&path).start();
    let pid = followed.pid();
    let length = fs::metadata(&path).unwrap().len();
    wait_until("it has read the file", || {
        let fds = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let of_file = |fd: &PathBuf| fs::read_link(fd).is_ok_and(|file| file == path);
        let fd = fds.flatten().map(|fd| fd.path()).find(of_file);
        let number = fd.and_then(|fd| Some(fd.file_name()?.to_str()?.to_owned()));
        let info = format!("/proc/{pid}/fdinfo/{}", number.unwrap_or_default());
        let info = fs::read_to_string(info).unwrap_or_default();
        info.starts_with(&format!("pos:\t{length}\n"))
    });
    followed.signal("INT");
    let ended = followed.wait();
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("held    linearizable"),
        "{}",
        ended.stdout
    );
}

#[test]
fn an_etcd_history_is_followed_to_its_first_contradiction() {
    use murphy_check::etcd::generate::{Profile, Story, mutation::Mutation};

    let guard = Guard::new();
    let follow = |story: &Story| {
        let path = guard.dir().join("history");
        fs::write(&path, story.bytes()).expect("a file can be written");
        let murphy = guard.murphy(["check", "--json", "--follow", "--idle", "200ms"]);
        let ended = murphy.arg(path).run();
        let verdict: serde_json::Value = serde_json::from_str(ended.stdout.trim()).unwrap();
        (ended.code, verdict)
    };
    let story = Story::generate(&Profile::mixed(2_000), 1);
    let (code, verdict) = follow(&story);
    assert_eq!(code, 0, "{verdict}");
    let reason = verdict["promises"]["linearizable"]["reason"].as_str();
    assert!(reason.unwrap().ends_with("judged live"), "{verdict}");
    let spoilt = Mutation::DuplicatedEvent.apply(&story, 1).unwrap();
    let (code, verdict) = follow(&spoilt);
    assert_eq!(code, 1, "{verdict}");
    assert_eq!(
        verdict["promises"]["watch.unique"]["confirmed"], true,
        "{verdict}"
    );
}

#[test]
fn a_pipe_is_followed_to_its_end() {
    let guard = Guard::new();
    let path = guard.dir().join("history");
    fs::write(&path, STALE.replace("null", "1")).unwrap();
    let piped = format!(
        "cat {} | {} check --follow -",
        path.display(),
        env!("CARGO_BIN_EXE_murphy")
    );
    let sh = guard.program(std::path::Path::new("sh"));
    let ended = sh.args(["-c", &piped]).run();
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("held    linearizable"),
        "{}",
        ended.stdout
    );
}
