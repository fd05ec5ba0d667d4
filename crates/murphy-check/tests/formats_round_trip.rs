//! What is written is read again as it was; also after a way through every format.

use std::fmt::Write as _;

use murphy_check::{
    formats::{self, Options, Written},
    history::{Header, Kind, NEMESIS},
    recording::{Entry, Recorder, Recording, Strictness},
    value::Value,
};
use proptest::prelude::*;

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    /// The process asks, or is answered.
    Client(usize, Kind, String, Value, Option<String>),
    /// The fault begins, or ends.
    Fault(usize),
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z]{1,6}",
        1 => any::<String>(),
        1 => Just("1.5".to_owned()),
        1 => Just("nil".to_owned()),
        1 => "[:#\\\\\"{}\\[\\]();, \n\t]{0,6}",
    ]
}

/// A value; maps have other keys than text only where the format can say so.
fn value(only_text_keys: bool) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        text().prop_map(Value::text),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let key = if only_text_keys {
            text().prop_map(Value::text).boxed()
        } else {
            inner.clone().boxed()
        };
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::list),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|entries| Value::Map(entries.into())),
        ]
    })
}

/// Transactions, and anything else.
fn f_and_value(only_text_keys: bool) -> impl Strategy<Value = (String, Value)> {
    let step = (text(), any::<i8>(), value(only_text_keys)).prop_map(|(word, key, value)| {
        Value::list([Value::text(word), Value::Int(key.into()), value])
    });
    let steps = prop::collection::vec(step, 0..4).prop_map(Value::list);
    prop_oneof![
        (text(), value(only_text_keys)),
        steps.prop_map(|steps| ("txn".to_owned(), steps)),
    ]
}

fn step(only_text_keys: bool) -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        3 => Just(Kind::Ok),
        1 => Just(Kind::Fail),
        1 => Just(Kind::Info)
    ];
    let client = (
        0..6_usize,
        kind,
        f_and_value(only_text_keys),
        prop::option::of(text()),
    )
        .prop_map(|(process, kind, (f, value), error)| {
            Step::Client(process, kind, f, value, error)
        });
    prop_oneof![9 => client, 1 => (0..2_usize).prop_map(Step::Fault)]
}

const PROCESSES: [&str; 6] = ["0", "17", "c1", "007", "", "-1"];

/// Plays the steps: a process that is free asks, one that is not is answered.
fn record(steps: &[(Step, u64)], is_timed: bool) -> Recording {
    let header = Header {
        nodes: vec!["n0".into()],
        seed: Some(7),
        ..Header::new("anything")
    };
    let mut recorder = Recorder::new(header, Strictness::Strict);
    let mut open: [Option<String>; 6] = Default::default();
    let mut faults = [false; 2];
    let mut now = 0;
    for (line, (step, pause)) in (2..).zip(steps) {
        now += pause;
        let time = is_timed.then_some(now);
        let entry = match step {
            Step::Client(process, kind, f, value, error) => {
                let answered = open[*process].take();
                let kind = if answered.is_some() {
                    *kind
                } else {
                    Kind::Invoke
                };
                let f = answered.unwrap_or_else(|| {
                    open[*process] = Some(f.clone());
                    f.clone()
                });
                Entry {
                    line,
                    index: None,
                    kind,
                    process: PROCESSES[*process].into(),
                    f: f.into(),
                    value: value.clone(),
                    time,
                    node: (kind == Kind::Invoke && process % 2 == 0).then(|| "n0".into()),
                    error: error
                        .clone()
                        .filter(|_| matches!(kind, Kind::Fail | Kind::Info))
                        .map(Into::into),
                }
            }
            Step::Fault(fault) => {
                faults[*fault] = !faults[*fault];
                let phase = if faults[*fault] { "begin" } else { "end" };
                Entry {
                    line,
                    index: None,
                    kind: Kind::Info,
                    process: NEMESIS.into(),
                    f: ["kill", "start"][*fault].into(),
                    value: Value::Map(
                        [
                            (Value::text("phase"), Value::text(phase)),
                            (Value::text("id"), Value::text(format!("{fault}"))),
                        ]
                        .into(),
                    ),
                    time,
                    node: (*fault == 0).then(|| "n0".into()),
                    error: None,
                }
            }
        };
        recorder.take(entry).expect("the steps can have happened");
    }
    recorder.finish()
}

/// Everything a recording says but for the numbers of lines and indexes.
fn said(recording: &Recording) -> String {
    let mut text = format!(
        "{:?} timed {}\n",
        recording.header.model, recording.is_timed
    );
    for i in &recording.invocations {
        writeln!(
            text,
            "{:?} {:?} {:?} -> {:?} {:?} {}..{} {:?} {:?}",
            recording.process(i.process),
            recording.word(i.f),
            i.ask,
            i.answer,
            i.outcome,
            i.call,
            i.end,
            i.node.map(|node| recording.node(node)),
            i.error.map(|error| recording.word(error)),
        )
        .unwrap();
    }
    for fault in &recording.faults {
        writeln!(text, "{fault:?}").unwrap();
    }
    text
}

fn written(recording: &Recording, format: Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    formats::write(recording, format, &mut bytes).expect("memory can be written");
    bytes
}

fn read(bytes: &[u8]) -> Recording {
    let options = Options {
        model: Some("anything"),
        ..Options::default()
    };
    formats::read(bytes, &options)
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(bytes)))
}

fn cases() -> ProptestConfig {
    let is_soak = std::env::var_os("MURPHY_SOAK").is_some();
    ProptestConfig::with_cases(if is_soak { 20_000 } else { 1_000 })
}

fn steps(only_text_keys: bool) -> impl Strategy<Value = Vec<(Step, u64)>> {
    prop::collection::vec((step(only_text_keys), 0..3_u64), 1..30)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_format_gives_back_what_was_written(steps in steps(true), is_timed in any::<bool>()) {
        let recording = record(&steps, is_timed);
        let expected = said(&recording);
        for format in [Written::Murphy, Written::Edn, Written::JepsenJson] {
            let bytes = written(&recording, format);
            prop_assert_eq!(&said(&read(&bytes)), &expected, "{}", String::from_utf8_lossy(&bytes));
            // A second writing is the first, to the byte.
            prop_assert_eq!(written(&read(&bytes), format), bytes);
        }
        let by_edn = read(&written(&recording, Written::Edn));
        let by_json = read(&written(&by_edn, Written::JepsenJson));
        let by_murphy = read(&written(&by_json, Written::Murphy));
        prop_assert_eq!(said(&by_murphy), expected);
    }

    #[test]
    fn edn_has_maps_of_any_keys(steps in steps(false)) {
        let recording = record(&steps, true);
        let bytes = written(&recording, Written::Edn);
        prop_assert_eq!(said(&read(&bytes)), said(&recording));
    }
}

#[test]
fn a_process_left_open_by_a_lenient_reader_is_closed_before_it_asks_again() {
    let history = br#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"time":1}
{"index":1,"type":"invoke","process":"a","f":"read","time":2}
{"index":2,"type":"ok","process":"a","f":"read","value":5,"time":3}"#;
    let lenient = Options {
        strictness: Strictness::Lenient,
        ..Options::default()
    };
    let recording = formats::read(&history[..], &lenient).unwrap();
    assert_eq!(recording.left_out, 1);
    let bytes = written(&recording, Written::Murphy);
    let expected = r#"{"murphy":"history","version":1,"model":"register"}
{"index":0,"type":"invoke","process":"a","f":"write","value":5,"time":1}
{"index":1,"type":"info","process":"a","f":"write","time":2}
{"index":2,"type":"invoke","process":"a","f":"read","value":null,"time":2}
{"index":3,"type":"ok","process":"a","f":"read","value":5,"time":3}
"#;
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
    formats::read(bytes.as_slice(), &Options::default()).unwrap();
}

#[test]
fn jepsen_gets_numbers_for_processes_and_keywords_for_words() {
    let history = br#"{"murphy":"history","version":1,"model":"list-append"}
{"index":0,"type":"invoke","process":"c1","f":"txn","value":[["append","k",1],["r",2,null]],"time":1,"node":"n0"}
{"index":1,"type":"invoke","process":0,"f":"txn","value":[["r",2,null]],"time":2}
{"index":2,"type":"info","process":"nemesis","f":"kill","value":{"phase":"begin","id":"4f"},"time":3,"node":"n1"}
{"index":3,"type":"info","process":"c1","f":"txn","time":4,"error":"timed \"out\""}"#;
    let recording = formats::read(&history[..], &Options::default()).unwrap();
    let edn = r#"{:index 0, :type :invoke, :process 1, :f :txn, :value [[:append "k" 1] [:r 2 nil]], :time 1, :node "n0", :client "c1"}
{:index 1, :type :invoke, :process 0, :f :txn, :value [[:r 2 nil]], :time 2}
{:index 2, :type :info, :process :nemesis, :f :kill, :value {:phase "begin", :id 0}, :time 3, :node "n1"}
{:index 3, :type :info, :process 1, :f :txn, :value [[:append "k" 1] [:r 2 nil]], :time 4, :error "timed \"out\"", :client "c1"}
"#;
    let json = r#"[{"index":0,"type":"invoke","process":1,"f":"txn","value":[["append","k",1],["r",2,null]],"time":1,"node":"n0","client":"c1"},
{"index":1,"type":"invoke","process":0,"f":"txn","value":[["r",2,null]],"time":2},
{"index":2,"type":"info","process":"nemesis","f":"kill","value":{"phase":"begin","id":0},"time":3,"node":"n1"},
{"index":3,"type":"info","process":1,"f":"txn","value":[["append","k",1],["r",2,null]],"time":4,"error":"timed \"out\"","client":"c1"}]
"#;
    for (format, expected) in [(Written::Edn, edn), (Written::JepsenJson, json)] {
        let bytes = written(&recording, format);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
