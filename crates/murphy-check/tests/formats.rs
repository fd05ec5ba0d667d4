//! Histories as other tools write them, and what is read from them.

use murphy_check::{
    formats::{self, Format, Options},
    recording::{Outcome, Recording, Strictness},
};

/// As Elle's paper has it, without `:f`.
const ELLE_EDN: &str = "\
{:index 0 :process 1 :type :invoke  :value [[:append 253 1] [:append 255 2]]}
{:index 1 :process 1 :type :ok      :value [[:append 253 1] [:append 255 2]]}
{:index 2 :process 1 :type :invoke, :value [[:append 255 8] [:r 253 nil]]}
{:index 3 :process 1 :type :ok,     :value [[:append 255 8] [:r 253 [1 3 4]]]}
";

const ELLE_JSON: &str = r#"[{"index":0,"process":1,"type":"invoke","value":[["append",253,1],["append",255,2]]},
{"index":1,"process":1,"type":"ok","value":[["append",253,1],["append",255,2]]},
{"index":2,"process":1,"type":"invoke","value":[["append",255,8],["r",253,null]]},
{"index":3,"process":1,"type":"ok","value":[["append",255,8],["r",253,[1,3,4]]]}]
"#;

/// As Jepsen prints it, over several lines and in one list, with the fields only it knows.
const JEPSEN_EDN: &str = "\
; a test of a bank
[#jepsen.history.Op{:index 3915,
                    :time 30006406713,
                    :type :invoke,
                    :process 2,
                    :f :transfer,
                    :value {:from 6, :to 1, :amount 1},
                    :final? true}
 #_ {:type :ok}
 #jepsen.history.Op{:index 3916, :time 30006406719, :type :info, :process :nemesis, :f :pause, :value :all}
 #jepsen.history.Op{:index 3917, :time 30006406718, :type :fail, :process 2, :f :transfer,
                    :value {:from 6, :to 1, :amount 1}, :error [:insufficient-funds \"6\"]}
 #jepsen.history.Op{:index 3918, :time 30006406720, :type :info, :process :nemesis, :f :pause, :value {\"n1\" \"\"}}
 #jepsen.history.Op{:index 3919, :time 30006406725, :type :info, :process :nemesis, :f :resume, :value :all}
 #jepsen.history.Op{:index 3920, :time 30006406726, :type :info, :process :mayhem, :f :log, :value nil}
 #jepsen.history.Op{:index 3921, :time 30006406730, :type :invoke, :process 3, :f :read, :value nil}
 #jepsen.history.Op{:index 3922, :time 30006406735, :type :ok, :process 3, :f :read, :value {0 100, 1 0}}]
";

const LOG: &str = "\
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 3\t:invoke\t:write\t4
INFO  jepsen.core - Worker 3 done
INFO  jepsen.util - 0\t:ok\t:read\tnil
INFO  jepsen.util - 3\t:info\t:write\t:timed-out
INFO  jepsen.util - 1\t:invoke\t:cas\t[4 2]
INFO  jepsen.util - 1\t:fail\t:cas\t[4 2]
INFO  jepsen.util - 1\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:fail\t:read\t:timed-out
INFO  jepsen.util - 2\t:invoke\t:write\t7
";

const PORCUPINE_KV: &str = r#"{:process 0, :type :invoke, :f :append, :key "0", :value "x 0 0 y"}
{:process 1, :type :invoke, :f :get, :key "0", :value nil}
{:process 0, :type :ok, :f :append, :key "0", :value "x 0 0 y"}
{:process 1, :type :ok, :f :get, :key "0", :value "x 0 0 y"}
"#;

const MURPHY: &str = r#"{"murphy":"history","version":1,"model":"queue","nodes":["n0"]}
{"index":0,"type":"invoke","process":"c1","f":"enqueue","value":{"id":1.5,"tags":[true,null]},"time":5,"node":"n0"}

{"type":"info","index":1,"process":"nemesis","f":"kill","value":{"phase":"begin","id":"a"},"node":"n0","time":6}
{"index":2,"type":"ok","process":"c1","f":"enqueue","time":7}
{"index":3,"type":"info","process":"nemesis","f":"kill","value":{"phase":"end","id":"a"},"time":8}
{"index":4,"type":"invoke","process":2,"f":"dequeue","time":9}
{"index":5,"type":"fail","process":2,"f":"dequeue","time":10,"error":"empty"}
"#;

fn read(history: &str) -> Recording {
    formats::read(history.as_bytes(), &Options::default()).unwrap()
}

/// Each invocation in one line: line, process, f, request, outcome, answer, error.
fn said(recording: &Recording) -> Vec<String> {
    let line = |i: &murphy_check::recording::Invocation| {
        let error = i.error.map_or("", |error| recording.word(error));
        let mut words = vec![
            format!("{}:", i.line),
            recording.process(i.process).to_owned(),
            recording.word(i.f).to_owned(),
            i.ask.to_string(),
            match i.outcome {
                Outcome::Ok => format!("-> {}", i.answer),
                Outcome::Fail => "failed".into(),
                Outcome::Unknown => "unknown".into(),
            },
        ];
        words.extend((!error.is_empty()).then(|| format!("({error})")));
        words.join(" ")
    };
    recording.invocations.iter().map(line).collect()
}

#[test]
fn elle_writes_transactions_in_edn_and_in_json() {
    for (history, format) in [
        (ELLE_EDN, Format::Edn),
        (ELLE_JSON, Format::JepsenJson),
        (
            &ELLE_JSON[1..ELLE_JSON.len() - 2].replace("},", "}"),
            Format::JepsenJson,
        ),
    ] {
        assert_eq!(Format::detect(history.as_bytes()), Some(format));
        let recording = read(history);
        assert_eq!(recording.header.model, "list-append");
        assert!(!recording.is_timed);
        assert_eq!(
            said(&recording),
            [
                "1: 1 txn [[append 253 1] [append 255 2]] -> [[append 253 1] [append 255 2]]",
                "3: 1 txn [[append 255 8] [r 253 nil]] -> [[append 255 8] [r 253 [1 3 4]]]",
            ]
        );
    }
}

#[test]
fn jepsen_writes_records_over_several_lines() {
    let options = Options {
        model: Some("bank"),
        ..Options::default()
    };
    let recording = formats::read(JEPSEN_EDN.as_bytes(), &options).unwrap();
    assert_eq!(
        said(&recording),
        [
            "2: 2 transfer {from: 6, to: 1, amount: 1} failed ([insufficient-funds 6])",
            "16: 3 read nil -> {0: 100, 1: 0}",
        ]
    );
    // The nemesis speaks when it begins to act, and when it has acted; a time stepped back by 1 ns.
    let band = &recording.faults[0];
    assert_eq!(
        (band.f.as_str(), band.begin, band.end),
        ("pause", 30_006_406_719, 30_006_406_725)
    );
    assert_eq!(
        (recording.invocations[0].end, recording.left_out),
        (30_006_406_719, 0)
    );
}

#[test]
fn a_log_tells_operations_of_a_register() {
    assert_eq!(Format::detect(LOG.as_bytes()), Some(Format::JepsenLog));
    let recording = read(LOG);
    assert_eq!(recording.header.model, "cas-register");
    assert_eq!(
        said(&recording),
        [
            "1: 0 read nil -> nil",
            "2: 3 write 4 unknown (timed-out)",
            "6: 1 cas [4 2] failed",
            "8: 1 read nil failed (timed-out)",
            "10: 2 write 7 unknown",
        ]
    );
}

#[test]
fn a_log_of_jepsen_itself_is_read_as_well() {
    let log = "\
2026-11-21 02:18:04,123{GMT}\tINFO\t[main] jepsen.core: Test version abc
java.lang.Exception: none
";
    let line = "2026-11-21 02:18:04,123{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:invoke\t:write\t3\n";
    let history = format!("{}{line}", log.lines().next().unwrap().to_owned() + "\n");
    let options = Options {
        format: Some(Format::JepsenLog),
        ..Options::default()
    };
    let recording = formats::read(history.as_bytes(), &options).unwrap();
    assert_eq!(said(&recording), ["2: 0 write 3 unknown"]);
    let error = formats::read(log.as_bytes(), &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2:1: expected a line of a log, such as `INFO  jepsen.util - 0 :invoke :read nil`"
    );
}

#[test]
fn porcupine_writes_a_key_beside_the_value() {
    assert_eq!(
        Format::detect(PORCUPINE_KV.as_bytes()),
        Some(Format::PorcupineKv)
    );
    let recording = read(PORCUPINE_KV);
    assert_eq!(recording.header.model, "key-value");
    assert_eq!(
        said(&recording),
        [
            "1: 0 append [0 x 0 0 y] -> [0 x 0 0 y]",
            "2: 1 get [0 nil] -> [0 x 0 0 y]",
        ]
    );
}

#[test]
fn murphys_own_history_has_a_header_and_faults() {
    assert_eq!(Format::detect(MURPHY.as_bytes()), Some(Format::Murphy));
    assert_eq!(
        formats::model_of(MURPHY.as_bytes()).as_deref(),
        Some("queue")
    );
    let recording = read(MURPHY);
    assert_eq!(
        (recording.header.model.as_str(), recording.is_timed),
        ("queue", true)
    );
    assert_eq!(
        said(&recording),
        [
            "2: c1 enqueue {id: 1.5, tags: [true nil]} -> nil",
            "7: 2 dequeue nil failed (empty)",
        ]
    );
    let band = &recording.faults[0];
    assert_eq!(
        (band.node.as_deref(), band.begin, band.end),
        (Some("n0"), 6, 8)
    );
    assert_eq!(recording.node(recording.invocations[0].node.unwrap()), "n0");
}

#[test]
fn the_model_is_told_by_steps_alone() {
    let cases = [
        (":txn", "[[:append 1 2]]", Ok("list-append")),
        (":txn", "[[:r 1 [2]]]", Ok("list-append")),
        (":txn", "[[:w 1 2] [:r 2 nil]]", Ok("rw-register")),
        (
            ":txn",
            "[[:r 1 nil]]",
            Err("1:1: `txn` is a word of several models; name the one that is meant (--model)"),
        ),
        (
            ":read",
            "nil",
            Err("1:1: `read` is a word of several models; name the one that is meant (--model)"),
        ),
    ];
    for (f, value, expected) in cases {
        let history = format!("{{:type :invoke, :process 0, :f {f}, :value {value}}}");
        let model = formats::read(history.as_bytes(), &Options::default())
            .map(|recording| recording.header.model)
            .map_err(|error| error.to_string());
        assert_eq!(
            model.as_deref().map_err(String::as_str),
            expected,
            "{value}"
        );
        let told = Options {
            model: Some("mine"),
            ..Options::default()
        };
        let recording = formats::read(history.as_bytes(), &told).unwrap();
        assert_eq!(recording.header.model, "mine");
    }
}

#[test]
fn a_format_is_told_from_the_first_bytes() {
    let cases: [(&str, Option<Format>); 12] = [
        ("", None),
        ("hello", None),
        ("{}", None),
        ("{\"a\":1}", None),
        (
            "\n {\"version\":1,\"murphy\":\"history\"}",
            Some(Format::Murphy),
        ),
        ("[\n  {\n \"type\":\"invoke\"", Some(Format::JepsenJson)),
        ("{\"process\":1,", Some(Format::JepsenJson)),
        ("({:type :ok", Some(Format::Edn)),
        ("; hello\n{:process 1}", Some(Format::Edn)),
        ("{:process 0, :key \"1\"}", Some(Format::PorcupineKv)),
        (
            "{\n  \"ClientId\": 1,\n  \"Input\": {\"Type\":\"txn\"",
            Some(Format::EtcdReport),
        ),
        ("{\"Request\":{\"Key\":\"\"", Some(Format::EtcdReport)),
    ];
    for (head, expected) in cases {
        assert_eq!(Format::detect(head.as_bytes()), expected, "{head}");
    }
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
}

#[test]
fn lines_that_are_left_out_are_counted() {
    let history = format!("{ELLE_EDN}{{:type :ok, :process 9, :value [[:r 1 []]]}}\n{{:type");
    let lenient = Options {
        strictness: Strictness::Lenient,
        ..Options::default()
    };
    let recording = formats::read(history.as_bytes(), &lenient).unwrap();
    assert_eq!((recording.invocations.len(), recording.left_out), (2, 2));
    let warnings: Vec<_> = recording
        .warnings
        .iter()
        .map(|warning| format!("{}: {}", warning.line, warning.problem))
        .collect();
    assert_eq!(
        warnings,
        [
            "5: an answer without an open invocation of its process",
            "6: the operation that begins here does not end",
        ]
    );
}
