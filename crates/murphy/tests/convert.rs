//! `murphy convert` writes a history down in another format, and `murphy check` opens what it opens.

mod harness;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use harness::{Ended, Guard};

const LOG: &str = "\
INFO  jepsen.util - 0\t:invoke\t:write\t3
INFO  jepsen.util - 1\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:ok\t:write\t3
INFO  jepsen.util - 1\t:info\t:read\t:timed-out
";

const LOG_AS_EDN: &str = "\
{:index 0, :type :invoke, :process 0, :f :write, :value 3}
{:index 1, :type :invoke, :process 1, :f :read, :value nil}
{:index 2, :type :ok, :process 0, :f :write, :value 3}
{:index 3, :type :info, :process 1, :f :read, :value nil, :error \"timed-out\"}
";

const ETCD: &str = r#"{"murphy":"history","version":1,"model":"etcd"}
{"index":0,"type":"invoke","process":"c1","f":"put","value":{"key":"k","value":"a"},"time":1}
{"index":1,"type":"ok","process":"c1","f":"put","value":{"header":{"revision":2}},"time":5}
"#;

const OPERATION: &str = r#"{"ClientId":1,"Input":{"Type":"txn","Txn":{"OperationsOnSuccess":[{"Type":"put-operation","Put":{"Key":"a","Value":{"Value":"1"}}}]}},"Call":1,"Output":{"Txn":{"Results":[{}]},"Revision":2},"Return":2}
"#;

fn file(guard: &Guard, name: &str, bytes: &[u8]) -> PathBuf {
    let path = guard.dir().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
    fs::write(&path, bytes).expect("a file can be written");
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn convert(guard: &Guard, path: &Path, words: &[&str]) -> Ended {
    guard.murphy(["convert"]).arg(path).args(words).run()
}

#[test]
fn a_log_becomes_operations_however_it_is_compressed() {
    let guard = Guard::new();
    let log = LOG.as_bytes();
    // Files that were compressed one by one can be joined.
    let (first, second) = log.split_at(50);
    for (name, bytes) in [
        ("etcd.log", log.to_vec()),
        ("etcd.log.gz", gzip(log)),
        ("joined.gz", [gzip(first), gzip(second)].concat()),
        ("no-name", zstd(log)),
        ("joined.zst", [zstd(first), zstd(second)].concat()),
    ] {
        let path = file(&guard, name, &bytes);
        let ended = convert(&guard, &path, &["--to", "edn"]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (0, LOG_AS_EDN),
            "{name}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_broken_archive_is_bad_input() {
    let guard = Guard::new();
    for (name, bytes) in [
        ("a.gz", gzip(LOG.as_bytes())),
        ("a.zst", zstd(LOG.as_bytes())),
    ] {
        let path = file(&guard, name, &bytes[..bytes.len() - 9]);
        let ended = convert(&guard, &path, &["--to", "edn"]);
        assert_eq!(ended.code, 2, "{name}: {}", ended.stdout);
        let start = format!("murphy: failed to read {}:1:1: ", path.display());
        assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
    }
}

#[test]
fn what_is_converted_to_a_file_is_there_as_a_whole_or_not_at_all() {
    let guard = Guard::new();
    let out = guard.dir().join("history.jsonl");
    let out_name = out.to_str().expect("a name in UTF-8");
    let good = file(&guard, "good.log", LOG.as_bytes());
    let words = ["--to", "murphy", "--out", out_name];
    let ended = convert(&guard, &good, &words);
    assert_eq!(
        ended.stdout,
        format!("2 operations of model cas-register in {out_name}\n")
    );
    let written = fs::read(&out).expect("it was written");
    let ended = convert(&guard, &good, &[&words[..], &["--json"]].concat());
    assert_eq!(
        ended.lines(),
        [serde_json::json!({
            "event": "converted", "model": "cas-register", "operations": 2, "left_out": 0, "out": out_name
        })]
    );
    // An etcd history is copied as it is read; the flaw is met behind its first lines.
    let bad = file(
        &guard,
        "bad.jsonl",
        format!("{ETCD}{{\"index\":2").as_bytes(),
    );
    let ended = convert(&guard, &bad, &words);
    assert_eq!(ended.code, 2);
    assert_eq!(fs::read(&out).expect("it is there still"), written);
    let left = fs::read_dir(guard.dir())
        .expect("the folder is there")
        .count();
    assert_eq!(left, 3, "nothing but the three files");
}

#[test]
fn an_etcd_history_is_only_murphys() {
    let guard = Guard::new();
    let path = file(&guard, "history.jsonl.gz", &gzip(ETCD.as_bytes()));
    let ended = convert(&guard, &path, &["--to", "murphy"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, ETCD),
        "{}",
        ended.stderr
    );
    let ended = convert(&guard, &path, &["--to", "edn"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .contains("has watches, for which other formats have no words")
    );
    let ended = convert(&guard, &path, &["--to", "murphy", "--lenient"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .contains("--lenient is not for histories of model etcd")
    );
}

#[test]
fn a_report_is_a_folder_or_its_files() {
    let guard = Guard::new();
    let first = file(
        &guard,
        "report/client-1/operations.json",
        OPERATION.as_bytes(),
    );
    let later = OPERATION
        .replace("\"Call\":1", "\"Call\":3")
        .replace("\"Return\":2", "\"Return\":4");
    let later = later.replace("\"Revision\":2", "\"Revision\":3");
    let second = file(
        &guard,
        "report/client-2/operations.json",
        &gzip(later.as_bytes()),
    );
    let folder = convert(&guard, &guard.dir().join("report"), &["--to", "murphy"]);
    assert_eq!(
        (folder.code, folder.stdout.lines().count()),
        (0, 5),
        "{}",
        folder.stderr
    );
    let files = guard
        .murphy(["convert", "--to", "murphy"])
        .args([&first, &second])
        .run();
    assert_eq!(files.stdout, folder.stdout, "{}", files.stderr);
    let judged = guard
        .murphy(["check", "--promise", "linearizable"])
        .arg(guard.dir().join("report"))
        .run();
    assert_eq!(judged.code, 0, "{}{}", judged.stdout, judged.stderr);
    let mixed = guard
        .murphy(["convert", "--to", "murphy"])
        .args([&first, &file(&guard, "etcd.log", LOG.as_bytes())])
        .run();
    assert_eq!(mixed.code, 2);
    assert!(
        mixed
            .stderr
            .contains("convert 2 files: only those of one etcd report"),
        "{}",
        mixed.stderr
    );
}

#[test]
fn standard_input_is_a_history_like_any_other() {
    let guard = Guard::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_murphy"))
        .args(["check", "-", "--promise", "linearizable"])
        .env("MURPHY_JOURNAL", guard.journal())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("it was asked for");
    input.write_all(&gzip(ETCD.as_bytes())).expect("it reads");
    drop(input);
    let status = child.wait().expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn lenience_leaves_lines_out_and_says_so() {
    let guard = Guard::new();
    let path = file(
        &guard,
        "etcd.log",
        format!("{LOG}INFO  jepsen.util - 5\t:ok").as_bytes(),
    );
    let place = format!("{}:5", path.display());
    let strict = convert(&guard, &path, &["--to", "edn"]);
    assert_eq!(strict.code, 2);
    let expected = format!(
        "murphy: failed to read {place}:26: the line ends here, expected the f of an operation\n"
    );
    assert_eq!(
        (strict.stdout.as_str(), strict.stderr.as_str()),
        ("", expected.as_str())
    );
    let lenient = convert(&guard, &path, &["--to", "edn", "--lenient"]);
    assert_eq!((lenient.code, lenient.stdout.as_str()), (0, LOG_AS_EDN));
    let expected = format!(
        "murphy: warning: {place}: the line ends here, expected the f of an operation\n\
         murphy: warning: 1 line left out; a verdict about the rest is not one about the whole\n"
    );
    assert_eq!(lenient.stderr, expected);
}

#[test]
fn the_model_must_be_told_where_nothing_tells_it() {
    let guard = Guard::new();
    let path = file(&guard, "history.edn", LOG_AS_EDN.as_bytes());
    let ended = convert(&guard, &path, &["--to", "murphy"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .contains("`write` is a word of several models; name the one that is meant (--model)"),
        "{}",
        ended.stderr
    );
    let ended = convert(&guard, &path, &["--to", "murphy", "--model", "register"]);
    let header = r#"{"murphy":"history","version":1,"model":"register"}"#;
    assert_eq!(
        (ended.code, ended.stdout.lines().next()),
        (0, Some(header)),
        "{}",
        ended.stderr
    );
    let ended = convert(
        &guard,
        &path,
        &["--to", "murphy", "--format", "jepsen-json"],
    );
    assert_eq!(ended.code, 2);
}
