//! What is wrong with a history is said with its line and column, in every format; a lenient reader counts it and reads
//! on.

use murphy_check::{
    formats::{self, Format, Options},
    recording::Strictness,
};

/// What is wrong, the history, and what is said.
type Case = (&'static str, &'static str, &'static str);

const MURPHY: [Case; 18] = [
    (
        "empty",
        "",
        "1:1: the history is empty, expected its header",
    ),
    (
        "truncated",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"ti"#,
        "2:67: the line ends here, expected the end of the text",
    ),
    (
        "truncated value",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":[1,"#,
        "2:65: the line ends here, expected a value",
    ),
    (
        "unknown type",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"done","process":"a","f":"write","value":5,"time":1}"#,
        "2:19: expected the type invoke, ok, fail or info",
    ),
    (
        "overlapping",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"time":1}
{"index":1,"type":"invoke","process":"a","f":"write","value":6,"time":2}"#,
        "3:1: the process asks again while its invocation of line 2 is open",
    ),
    (
        "ok without invoke",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"ok","process":"a","f":"write","value":5,"time":1}"#,
        "2:1: an answer without an open invocation of its process",
    ),
    (
        "another f",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"time":1}
{"index":1,"type":"ok","process":"a","f":"read","value":5,"time":2}"#,
        "3:1: the process asked for `write` on line 2, and `read` is completed",
    ),
    (
        "time backwards",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"time":9}
{"index":1,"type":"ok","process":"a","f":"write","time":8}"#,
        "3:1: time goes backwards, from 9 to 8 ns",
    ),
    (
        "time on some lines",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"time":9}
{"index":1,"type":"ok","process":"a","f":"write"}"#,
        "3:1: expected the field `time`, as on the lines before",
    ),
    (
        "duplicate index",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":4,"type":"invoke","process":"a","f":"write","value":5,"time":1}
{"index":4,"type":"ok","process":"a","f":"write","time":2}"#,
        "3:1: index 4 comes twice or too late",
    ),
    (
        "a time that fits in no other format",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"time":9223372036854775808}"#,
        "2:1: the time is beyond 2^63",
    ),
    (
        "the last index of all",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":18446744073709551615,"type":"invoke","process":"a","f":"write","value":5,"time":9}"#,
        "2:1: the index is beyond 2^63",
    ),
    (
        "two headers",
        r#"{"murphy":"history","version":1,"model":"register"}
{"murphy":"history","version":1,"model":"queue"}"#,
        "2:11: a second header: a file holds one history",
    ),
    (
        "unknown field",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"ttl":1,"time":1}"#,
        "2:70: unknown field `ttl`",
    ),
    (
        "let",
        r#"{"murphy":"history","version":1,"model":"register"}
{"let":"x","value":5}"#,
        "2:20: `let` lines belong to model etcd",
    ),
    (
        "no f",
        r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","value":5,"time":1}"#,
        "2:1: expected the field `f`",
    ),
    (
        "newer",
        r#"{"murphy":"history","version":2,"model":"register"}"#,
        "1:1: format version 2 is newer than 1, the newest this program reads",
    ),
    (
        "etcd",
        r#"{"murphy":"history","version":1,"model":"etcd"}"#,
        "1:1: a history of model etcd has a reader of its own, murphy_check::etcd::check",
    ),
];

const EDN: [Case; 18] = [
    ("empty", "", "1:1: the history is empty"),
    ("only a comment", "; nothing\n", "1:1: the history is empty"),
    (
        "truncated",
        "{:type :invoke :process 0 :f :txn :value [[:append 1 1]]}\n  {:type :ok :process 0 :f :txn :value [[:app",
        "2:3: the operation that begins here does not end",
    ),
    (
        "truncated list",
        "[{:type :invoke :process 0 :f :txn :value [[:append 1 1]]}",
        "1:59: the file ends here, expected `]`",
    ),
    (
        "behind the list",
        "[{:type :invoke :process 0 :f :txn :value [[:append 1 1]]}]\n{:type :ok}",
        "2:1: expected the end of the file",
    ),
    (
        "unknown type",
        "{:type :done :process 0 :f :txn :value [[:append 1 1]]}",
        "1:8: expected the type invoke, ok, fail or info",
    ),
    (
        "overlapping",
        "{:type :invoke :process 0 :f :txn :value [[:append 1 1]]}\n{:type :invoke :process 0 :f :txn :value [[:append 1 2]]}",
        "2:1: the process asks again while its invocation of line 1 is open",
    ),
    (
        "ok without invoke",
        "{:type :ok :process 0 :f :txn :value [[:append 1 1]]}",
        "1:1: an answer without an open invocation of its process",
    ),
    (
        "info without invoke",
        "{:type :info :process 0 :f :txn :value [[:append 1 1]]}",
        "1:1: an unknown outcome without an open invocation of its process",
    ),
    (
        "time backwards by more than a second",
        "{:type :invoke :process 0 :f :txn :value [[:append 1 1]] :time 2000000001}\n{:type :ok :process 0 :f :txn :value [[:append 1 1]] :time 1000000000}",
        "2:1: time goes backwards, from 2000000001 to 1000000000 ns",
    ),
    (
        "a time that is none",
        "{:type :invoke :process 0 :f :txn :value [[:append 1 1]] :time 1.5}",
        "1:64: expected a time in whole ns",
    ),
    (
        "duplicate index",
        "{:index 3 :type :invoke :process 0 :f :txn :value [[:append 1 1]]}\n{:index 3 :type :ok :process 0 :f :txn :value [[:append 1 1]]}",
        "2:1: index 3 comes twice or too late",
    ),
    (
        "two models by steps",
        "{:type :invoke :process 0 :f :txn :value [[:append 1 1]]}\n{:type :invoke :process 1 :f :txn :value [[:r 1 nil] [:w 1 1]]}",
        "2:1: a step of model rw-register after one of list-append on line 1: no model has both",
    ),
    (
        "two models by words",
        "{:type :invoke :process 0 :f :txn :value [[:append 1 1]]}\n{:type :invoke :process 1 :f :read :value nil}",
        "2:1: `read` after `txn` of line 1: no model has both",
    ),
    (
        "brackets",
        "{:type :invoke :process 0\n :f :txn :value [[:append 1 1)]}",
        "2:30: expected `]`",
    ),
    (
        "no operation",
        "{:type :invoke :process 0 :f :txn :value [[:append 1 1]]}\nnonsense\n",
        "2:1: expected an operation, such as {:type :invoke, …}",
    ),
    (
        "no process",
        "{:type :invoke :process nil :f :txn :value [[:append 1 1]]}",
        "1:25: expected a process: a name or a whole number",
    ),
    (
        "no f",
        "{:type :invoke :process 0 :value 3}",
        "1:1: expected the field `f`",
    ),
];

const JSON: [Case; 12] = [
    ("empty", " \n", "1:1: the history is empty"),
    (
        "truncated",
        "[{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]]},\n{\"type\":\"ok\",\"process\":0,\"f\":\"txn\",\"va",
        "2:1: the operation that begins here does not end",
    ),
    (
        "truncated list",
        "[{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]]},\n",
        "2:1: the file ends here, expected `]`",
    ),
    (
        "no comma",
        "[{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]]}\n{\"type\":\"ok\",\"process\":0,\"f\":\"txn\"}]",
        "2:1: expected `,` or `]`",
    ),
    (
        "unknown type",
        "{\"type\":\"done\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]]}",
        "1:9: expected the type invoke, ok, fail or info",
    ),
    (
        "overlapping",
        "[{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]]},\n{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,2]]}]",
        "2:1: the process asks again while its invocation of line 1 is open",
    ),
    (
        "ok without invoke",
        "[\n {\"type\":\"ok\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]]}]",
        "2:2: an answer without an open invocation of its process",
    ),
    (
        "time backwards by more than a second",
        "{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]],\"time\":3000000000}\n{\"type\":\"ok\",\"process\":0,\"f\":\"txn\",\"time\":5}",
        "2:1: time goes backwards, from 3000000000 to 5 ns",
    ),
    (
        "duplicate index",
        "{\"index\":0,\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1]]}\n{\"index\":0,\"type\":\"ok\",\"process\":0,\"f\":\"txn\"}",
        "2:1: index 0 comes twice or too late",
    ),
    (
        "two models by steps",
        "{\"type\":\"invoke\",\"process\":0,\"f\":\"txn\",\"value\":[[\"w\",1,1],[\"append\",2,2]]}",
        "1:1: a step of model list-append after one of rw-register on line 1: no model has both",
    ),
    (
        "two models by words",
        "{\"type\":\"invoke\",\"process\":0,\"f\":\"enqueue\",\"value\":1}\n{\"type\":\"invoke\",\"process\":1,\"f\":\"txn\",\"value\":[]}",
        "2:1: `txn` after `enqueue` of line 1: no model has both",
    ),
    (
        "broken inside",
        "[\n{\"type\":\"invoke\",\n \"process\":tru}]",
        "3:12: expected true or false",
    ),
];

const LOG: [Case; 9] = [
    ("empty", "\n\n", "1:1: the log is empty"),
    (
        "truncated",
        "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - 0\t:ok\t:read",
        "2:32: the line ends here, expected the value of an operation",
    ),
    (
        "truncated before the logger",
        "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.ut",
        "2:16: the line ends here, expected who says what",
    ),
    (
        "unknown type",
        "INFO  jepsen.util - 0\t:done\t:read\tnil",
        "1:23: expected the type invoke, ok, fail or info",
    ),
    (
        "overlapping",
        "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - 0\t:invoke\t:write\t1",
        "2:1: the process asks again while its invocation of line 1 is open",
    ),
    (
        "ok without invoke",
        "INFO  jepsen.util - 0\t:ok\t:read\tnil",
        "1:1: an answer without an open invocation of its process",
    ),
    (
        "another f",
        "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - 0\t:ok\t:write\t1",
        "2:1: the process asked for `read` on line 1, and `write` is completed",
    ),
    (
        "brackets",
        "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2",
        "1:40: the line ends here, expected `]`",
    ),
    (
        "no log",
        "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n{:type :ok}",
        "2:1: expected a line of a log, such as `INFO  jepsen.util - 0 :invoke :read nil`",
    ),
];

const PORCUPINE_KV: [Case; 7] = [
    ("empty", "", "1:1: the history is empty"),
    (
        "truncated",
        "{:process 0, :type :invoke, :f :get, :key \"1\", :value nil}\n{:process 0, :type :ok, :f :get, :key \"1",
        "2:1: the operation that begins here does not end",
    ),
    (
        "unknown type",
        "{:process 0, :type :started, :f :get, :key \"1\", :value nil}",
        "1:20: expected the type invoke, ok, fail or info",
    ),
    (
        "overlapping",
        "{:process 0, :type :invoke, :f :get, :key \"1\", :value nil}\n{:process 0, :type :invoke, :f :get, :key \"2\", :value nil}",
        "2:1: the process asks again while its invocation of line 1 is open",
    ),
    (
        "ok without invoke",
        "{:process 0, :type :ok, :f :get, :key \"1\", :value \"\"}",
        "1:1: an answer without an open invocation of its process",
    ),
    (
        "another f",
        "{:process 0, :type :invoke, :f :get, :key \"1\", :value nil}\n{:process 0, :type :ok, :f :put, :key \"2\", :value \"x\"}",
        "2:1: the process asked for `get` on line 1, and `put` is completed",
    ),
    (
        "no key",
        "{:process 0, :type :invoke, :f :get, :value nil}",
        "1:1: expected the field `key`",
    ),
];

fn check(format: Format, cases: &[Case]) {
    for (what, history, expected) in cases {
        let strict = Options {
            format: Some(format),
            ..Options::default()
        };
        let error = formats::read(history.as_bytes(), &strict).map(drop);
        let error = error.expect_err(what).to_string();
        assert_eq!(error, *expected, "{format}: {what}");
        let lenient = Options {
            strictness: Strictness::Lenient,
            model: (format != Format::Murphy).then_some("register"),
            ..strict
        };
        match formats::read(history.as_bytes(), &lenient) {
            Ok(recording) => {
                // What one history cannot have of two models, it can have of the one that was named.
                let is_about_models = expected.ends_with("no model has both");
                assert_eq!(recording.left_out > 0, !is_about_models, "{format}: {what}");
                let kept = recording.warnings.len() as u64;
                assert_eq!(recording.left_out, kept, "{format}: {what}");
                if let Some(warning) = recording.warnings.first() {
                    let problem = expected.splitn(3, ':').nth(2).unwrap().trim();
                    assert_eq!(&*warning.problem, problem, "{format}: {what}");
                    let line = expected.split(':').next().unwrap();
                    assert_eq!(warning.line.to_string(), line, "{format}: {what}");
                }
            }
            // Nothing can be made of a history that is not there, or not of this kind.
            Err(error) => assert_eq!(error.to_string(), *expected, "{format}: {what}"),
        }
    }
}

#[test]
fn murphy() {
    check(Format::Murphy, &MURPHY);
}

#[test]
fn edn() {
    check(Format::Edn, &EDN);
}

#[test]
fn jepsen_json() {
    check(Format::JepsenJson, &JSON);
}

#[test]
fn jepsen_log() {
    check(Format::JepsenLog, &LOG);
}

#[test]
fn porcupine_kv() {
    check(Format::PorcupineKv, &PORCUPINE_KV);
}

#[test]
fn the_model_that_is_told_must_be_the_one_of_the_header() {
    let history = br#"{"murphy":"history","version":1,"model":"queue"}"#;
    let told = Options {
        model: Some("register"),
        ..Options::default()
    };
    let error = formats::read(&history[..], &told).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:1: the history is of model `queue`, expected `register`"
    );
}

#[test]
fn what_is_no_history_is_said_to_be_none() {
    for (history, expected) in [
        ("", "1:1: the history is empty"),
        (
            "hello\n",
            "1:1: this is no history in a format that is known: murphy, edn, jepsen-json, jepsen-log, porcupine-kv or \
             etcd-report",
        ),
    ] {
        let error = formats::read(history.as_bytes(), &Options::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn bytes_that_are_no_text_are_found_where_they_stand() {
    let history = b"{:type :invoke :process 0\n :f :txn :value [[:append 1 \xff]]}";
    let error = formats::read(&history[..], &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "2:29: expected UTF-8");
}
