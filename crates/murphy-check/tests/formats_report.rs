//! A report of etcd's robustness tests becomes a history that the etcd checker reads and judges.

use murphy_check::{
    etcd,
    formats::etcd_report::{self, Converted},
    recording::Strictness,
    verdict::Verdict,
};

/// A put, a failed put that happened nevertheless, a compare-and-put, a read and a lease, as etcd's recorder writes
/// them: one object a line, failed operations behind the others.
const OPERATIONS_1: &str = r#"{"ClientId":1,"Input":{"Type":"txn","LeaseGrant":null,"LeaseRevoke":null,"Range":null,"Txn":{"Conditions":null,"OperationsOnSuccess":[{"Type":"put-operation","Range":{"Start":"","End":"","Limit":0},"Put":{"Key":"key0","Value":{"Value":"1"},"LeaseID":0},"Delete":{"Key":""}}],"OperationsOnFailure":null},"Defragment":null,"Compact":null},"Call":100,"Output":{"Txn":{"Failure":false,"Results":[{"KVs":null,"Count":0,"Deleted":0}]},"Range":null,"LeaseGrant":null,"LeaseRevoke":null,"Defragment":null,"Compact":null,"ClientError":"","Revision":2,"Persisted":false,"PersistedRevision":0,"Error":""},"Return":200}
{"ClientId":3,"Input":{"Type":"txn","Txn":{"Conditions":[{"Key":"key0","ExpectedRevision":3,"ExpectedVersion":0}],"OperationsOnSuccess":[{"Type":"put-operation","Put":{"Key":"key0","Value":{"Hash":3208649064}}}],"OperationsOnFailure":[{"Type":"range-operation","Range":{"Start":"key0"}}]}},"Call":600,"Output":{"Txn":{"Failure":false,"Results":[{}]},"Revision":4},"Return":700}
{"ClientId":3,"Input":{"Type":"leaseGrant","LeaseGrant":{"LeaseID":7}},"Call":710,"Output":{"LeaseGrant":{"LeaseID":0},"Revision":4},"Return":720}
{"ClientId":1,"Input":{"Type":"txn","Txn":{"OperationsOnSuccess":[{"Type":"put-operation","Put":{"Key":"key0","Value":{"Value":"2"}}}]}},"Call":300,"Output":{"Error":"context deadline exceeded"},"Return":0}
"#;

/// Indented, as older versions write it.
const OPERATIONS_2: &str = r#"{
  "ClientId": 2,
  "Input": {"Type": "range", "Range": {"Start": "key", "End": "kez", "Limit": 0, "Revision": 0}},
  "Call": 50,
  "Output": {"Range": {"KVs": [], "Count": 0}, "Revision": 1},
  "Return": 60
}
{
  "ClientId": 2,
  "Input": {"Type": "range", "Range": {"Start": "key", "End": "kez", "Limit": 0, "Revision": 0}},
  "Call": 800,
  "Output": {"Range": {"KVs": [{"Key": "key0", "Value": {"Hash": 3208649064}, "ModRevision": 4, "Version": 3}], "Count": 1}, "Revision": 4},
  "Return": 900
}
{
  "ClientId": 2,
  "Input": {"Type": "compact", "Compact": {"Revision": 2}},
  "Call": 910,
  "Output": {"Compact": {}, "Revision": -1},
  "Return": 920
}
{
  "ClientId": 2,
  "Input": {"Type": "range", "Range": {"Start": "key0", "Revision": 1}},
  "Call": 930,
  "Output": {"ClientError": "etcdserver: mvcc: required revision has been compacted"},
  "Return": 940
}
"#;

const WATCH: &str = r#"{"Request":{"Key":"","Revision":0,"WithPrefix":true,"WithProgressNotify":true,"WithPrevKV":true},"Responses":[{"Events":null,"IsProgressNotify":false,"Revision":1,"Time":90,"Error":""},{"Events":[{"Type":"put-operation","Key":"key0","Value":{"Value":"1"},"Revision":2,"IsCreate":true,"PrevValue":null}],"IsProgressNotify":false,"Revision":2,"Time":210,"Error":""},{"Events":[{"Type":"put-operation","Key":"key0","Value":{"Value":"2"},"Revision":3,"IsCreate":false,"PrevValue":{"Value":{"Value":"1"},"ModRevision":2,"Version":1}}],"IsProgressNotify":false,"Revision":3,"Time":400,"Error":""},{"Events":[{"Type":"put-operation","Key":"key0","Value":{"Hash":3208649064},"Revision":4,"IsCreate":false,"PrevValue":{"Value":{"Value":"2"},"ModRevision":3,"Version":2}}],"IsProgressNotify":false,"Revision":4,"Time":710,"Error":""},{"Events":[],"IsProgressNotify":true,"Revision":4,"Time":950,"Error":""}]}
"#;

fn convert(files: &[(&str, &str)], strictness: Strictness) -> Result<(Vec<u8>, Converted), String> {
    let mut history = Vec::new();
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes()));
    let converted =
        etcd_report::convert(files, strictness, &mut history).map_err(|error| error.to_string())?;
    Ok((history, converted))
}

fn report(last_read: &str) -> Vec<u8> {
    let second = OPERATIONS_2.replace("\"Hash\": 3208649064", last_read);
    let files = [
        ("client-1/operations.json", OPERATIONS_1),
        ("client-2/operations.json", second.as_str()),
        ("client-2/watch.json", WATCH),
    ];
    let (history, converted) = convert(&files, Strictness::Strict).unwrap();
    assert_eq!(
        (
            converted.events,
            converted.without_words,
            converted.left_out
        ),
        (19, 1, 0),
        "{}",
        String::from_utf8_lossy(&history)
    );
    history
}

#[test]
fn a_report_is_judged_like_any_history() {
    let history = report("\"Hash\": 3208649064");
    let judged = etcd::check(history.as_slice(), &etcd::Options::default()).unwrap();
    for promise in [
        "linearizable",
        "watch.ordered",
        "watch.unique",
        "watch.reliable",
    ] {
        let verdict = judged.verdict(&[promise.into()]);
        let said = String::from_utf8_lossy(&history);
        assert_eq!(verdict, Verdict::Held, "{promise}: {judged:?}\n{said}");
    }
    // Four writes, of which one failed and is seen by the watch.
    assert_eq!(judged.vacuity.unknown, 1);
}

#[test]
fn a_stale_read_in_a_report_is_found() {
    let history = report("\"Value\": \"2\"");
    let judged = etcd::check(history.as_slice(), &etcd::Options::default()).unwrap();
    assert_eq!(judged.verdict(&["linearizable".into()]), Verdict::Broken);
}

#[test]
fn the_history_says_what_the_report_says() {
    let files = [("x/client-1/operations.json", OPERATIONS_1)];
    let (history, _) = convert(&files, Strictness::Strict).unwrap();
    let expected = r#"{"murphy":"history","version":1,"model":"etcd","system":"etcd robustness report","unrecorded":["create_revision","version"]}
{"index":0,"type":"invoke","process":"client-1.1","f":"put","value":{"key":"key0","value":"1"},"time":100}
{"index":1,"type":"ok","process":"client-1.1","f":"put","value":{"header":{"revision":2}},"time":200}
{"index":2,"type":"invoke","process":"client-1.1","f":"put","value":{"key":"key0","value":"2"},"time":300}
{"index":3,"type":"info","process":"client-1.1","f":"put","time":300,"error":"context deadline exceeded"}
{"index":4,"type":"invoke","process":"client-1.3","f":"txn","value":{"compare":[{"key":"key0","target":{"mod_revision":3}}],"success":[{"request_put":{"key":"key0","value":"fnv1a:bf401968"}}],"failure":[{"request_range":{"key":"key0"}}]},"time":600}
{"index":5,"type":"ok","process":"client-1.3","f":"txn","value":{"header":{"revision":4},"succeeded":true,"responses":[{"response_put":{"header":{}}}]},"time":700}
"#;
    assert_eq!(String::from_utf8(history).unwrap(), expected);
}

#[test]
fn a_condition_on_a_version_is_answered_by_the_branch_that_was_taken() {
    let line = r#"{"ClientId":1,"Input":{"Type":"txn","Txn":{"Conditions":[{"Key":"a","ExpectedVersion":4}],"OperationsOnSuccess":[{"Type":"delete-operation","Delete":{"Key":"a"}}],"OperationsOnFailure":[{"Type":"put-operation","Put":{"Key":"a","Value":{"Value":"x"}}}]}},"Call":1,"Output":{"Txn":{"Failure":true,"Results":[{}]},"Revision":2},"Return":2}"#;
    let (history, _) = convert(&[("client-1/operations.json", line)], Strictness::Strict).unwrap();
    let history = String::from_utf8(history).unwrap();
    assert!(
        history.contains(r#""value":{"success":[{"request_put":{"key":"a","value":"x"}}]}"#),
        "{history}"
    );
    assert!(history.contains(r#""succeeded":true"#), "{history}");
    let unanswered = line.replace(
        r#""Txn":{"Failure":true,"Results":[{}]},"Revision":2"#,
        r#""Error":"lost""#,
    );
    assert_eq!(
        convert(
            &[("client-1/operations.json", &unanswered)],
            Strictness::Strict
        )
        .unwrap_err(),
        "client-1/operations.json:1:1: a transaction without an answer that writes in both branches, under a \
         condition on a version"
    );
}

#[test]
fn what_is_wrong_is_said_with_file_line_and_column() {
    let put = |client: u64, call: i64, end: i64, answer: &str| {
        format!(
            r#"{{"ClientId":{client},"Input":{{"Type":"txn","Txn":{{"OperationsOnSuccess":[{{"Type":"put-operation","Put":{{"Key":"a"}}}}]}}}},"Call":{call},"Output":{answer},"Return":{end}}}"#
        )
    };
    let answer = r#"{"Txn":{"Results":[{}]},"Revision":2}"#;
    let good = put(1, 1, 2, answer);
    let cases = [
        ("empty", String::new(), "the report is empty"),
        (
            "truncated",
            format!("{good}\n{}", &good[..40]),
            "client-1/operations.json:2:1: the operation that begins here does not end",
        ),
        (
            "no operation",
            format!("{good}\n{{\"ClientId\":1}}"),
            "client-1/operations.json:2:1: expected ClientId, Input, Call, Output and Return of an operation, or \
             Request and Responses of a watch",
        ),
        (
            "wrong kind",
            "{\"ClientId\":1,\n \"Call\":true}".into(),
            "client-1/operations.json:2:12: invalid type: boolean `true`, expected i64",
        ),
        (
            "unknown type",
            good.replace("\"txn\"", "\"put\""),
            "client-1/operations.json:1:1: unknown type of request `put`; a report has range, txn, leaseGrant, \
             leaseRevoke, defragment and compact",
        ),
        (
            "unknown operation",
            good.replace("put-operation", "put"),
            "client-1/operations.json:1:1: unknown type of operation `put`; a transaction has put-operation, \
             range-operation and delete-operation",
        ),
        (
            "overlapping",
            format!("{}\n{}", put(1, 1, 5, answer), put(1, 4, 6, answer)),
            "client-1/operations.json:2:1: client 1 asks again while its operation of line 1 is open",
        ),
        (
            "time backwards",
            put(1, 9, 5, answer),
            "client-1/operations.json:1:1: the answer is earlier than its operation",
        ),
        (
            "no answer",
            put(1, 1, 2, "{\"Revision\":2}"),
            "client-1/operations.json:1:1: expected Txn in the Output of a txn",
        ),
        (
            "results",
            put(1, 1, 2, r#"{"Txn":{"Results":[{},{}]},"Revision":2}"#),
            "client-1/operations.json:1:1: 2 results of one operation",
        ),
    ];
    for (what, text, expected) in cases {
        let files = [("client-1/operations.json", text.as_str())];
        let error = convert(&files, Strictness::Strict).expect_err(what);
        assert_eq!(error, expected, "{what}");
        let other = put(9, 1, 2, answer);
        let files = [
            ("client-1/operations.json", text.as_str()),
            ("client-9/operations.json", &other),
        ];
        let (_, converted) = convert(&files, Strictness::Lenient).expect(what);
        assert_eq!(converted.left_out, u64::from(!text.is_empty()), "{what}");
        assert_eq!(converted.warnings.len() as u64, converted.left_out);
    }
}

#[test]
fn a_watch_that_is_refused_or_breaks_off_ends() {
    let watch = |error: &str| {
        format!(
            r#"{{"Request":{{"Key":"a","Revision":3}},"Responses":[{{"Time":5,"Error":"{error}"}}]}}"#
        )
    };
    for (error, expected) in [
        (
            "etcdserver: mvcc: required revision has been compacted",
            r#""type":"fail","process":"client-1.watch0","f":"watch","value":{"cancel_reason":"etcdserver: mvcc: required revision has been compacted"},"time":5"#,
        ),
        (
            "context canceled",
            r#""type":"info","process":"client-1.watch0","f":"watch","time":5,"error":"context canceled""#,
        ),
    ] {
        let text = watch(error);
        let files = [("client-1/watch.json", text.as_str())];
        let (history, _) = convert(&files, Strictness::Strict).unwrap();
        let history = String::from_utf8(history).unwrap();
        assert!(history.contains(expected), "{history}");
        etcd::check(history.as_bytes(), &etcd::Options::default()).unwrap();
    }
}

#[test]
fn numbers_that_were_not_recorded_must_be_known_ones() {
    let history = r#"{"murphy":"history","version":1,"model":"etcd","unrecorded":["lease"]}"#;
    let error = etcd::check(history.as_bytes(), &etcd::Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:1: unknown number `lease` in `unrecorded`, expected create_revision or version"
    );
}
