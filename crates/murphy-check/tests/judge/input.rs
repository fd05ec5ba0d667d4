//! What no model understands is said, with its line, or left out and counted: never held in silence.

use murphy_check::{
    formats,
    judge::{ModelName, Options, judge},
    recording::Strictness,
    verdict::Verdict,
};

use super::notation;

/// Model, an operation that it does not understand, the line and what is said of it.
const WRONG: [(&str, &str, u32, &str); 41] = [
    (
        "register",
        "a 1 2 cas [1,2]",
        2,
        "unknown f `cas`; model register has read and write",
    ),
    (
        "cas-register",
        "a 1 2 swap 1",
        2,
        "unknown f `swap`; model cas-register has read, write and cas",
    ),
    (
        "cas-register",
        "a 1 2 cas 1",
        2,
        "expected a list of two for `cas`, found 1",
    ),
    (
        "cas-register",
        "a 1 2 cas [1,2,3]",
        2,
        "expected a list of two for `cas`, found [1 2 3]",
    ),
    (
        "multi-register",
        "a 1 2 cas 1",
        2,
        "unknown f `cas`; model multi-register has txn, read and write",
    ),
    (
        "multi-register",
        "a 1 2 txn 1",
        2,
        "expected a list of steps for `txn`, found 1",
    ),
    (
        "multi-register",
        "a 1 2 txn [1]",
        2,
        r#"expected steps like ["r", key, null] and ["w", key, value] for `txn`, found 1"#,
    ),
    (
        "multi-register",
        r#"a 1 2 txn [["x",1,2]]"#,
        2,
        "expected a step of `r` or `w` for `txn`, found x",
    ),
    (
        "multi-register",
        "a 1 2 write 1",
        2,
        "expected a list of two for `write`, found 1",
    ),
    (
        "multi-register",
        r#"a 1 2 read "x" -> 1"#,
        3,
        "expected the key and its value for `read`, found 1",
    ),
    (
        "multi-register",
        r#"a 1 2 txn [["r","x",null]] -> [["r","y",1]]"#,
        3,
        "expected the steps that were asked for for `txn`, found [[r y 1]]",
    ),
    (
        "key-value",
        r#"a 1 2 incr ["x"]"#,
        2,
        "unknown f `incr`; model key-value has get, put, append, delete and cas",
    ),
    (
        "key-value",
        r#"a 1 2 get "x""#,
        2,
        "expected a list with the key for `get`, found x",
    ),
    (
        "key-value",
        r#"a 1 2 put ["x"]"#,
        2,
        "expected a list of two for `put`, found [x]",
    ),
    (
        "key-value",
        r#"a 1 2 cas ["x","y"]"#,
        2,
        "expected a list of two for `cas`, found y",
    ),
    (
        "key-value",
        r#"a 1 2 get ["x"] -> "1""#,
        3,
        "expected a list of two for `get`, found 1",
    ),
    (
        "key-value",
        r#"a 1 2 get ["x"] -> ["y","1"]"#,
        3,
        "expected the key that was asked for for `get`, found y",
    ),
    (
        "mutex",
        "a 1 2 lock",
        2,
        "unknown f `lock`; model mutex has acquire, release and access",
    ),
    (
        "mutex",
        r#"a 1 2 access "x""#,
        2,
        "expected a whole number for `access`, found x",
    ),
    (
        "mutex",
        "a 1 2 access 9223372036854775808",
        2,
        "expected a whole number for `access`, found 9223372036854775808",
    ),
    (
        "queue",
        "a 1 2 push 1",
        2,
        "unknown f `push`; model queue has enqueue and dequeue",
    ),
    (
        "queue",
        "a 1 2 enqueue null",
        2,
        "expected a value for `enqueue`: nil is the answer of an empty one",
    ),
    (
        "unordered-queue",
        "a 1 2 push 1",
        2,
        "unknown f `push`; model unordered-queue has enqueue and dequeue",
    ),
    (
        "stack",
        "a 1 2 enqueue 1",
        2,
        "unknown f `enqueue`; model stack has push and pop",
    ),
    (
        "stack",
        "a 1 2 push",
        2,
        "expected a value for `push`: nil is the answer of an empty one",
    ),
    (
        "priority-queue",
        "a 1 2 push 1",
        2,
        "unknown f `push`; model priority-queue has insert and delete_min",
    ),
    (
        "priority-queue",
        r#"a 1 2 insert "x""#,
        2,
        "expected a whole number for `insert`, found x",
    ),
    (
        "set",
        "a 1 2 delete 1",
        2,
        "unknown f `delete`; model set has add, remove, contains and read",
    ),
    (
        "set",
        "a 1 2 read -> 1",
        3,
        "expected a list of values for `read`, found 1",
    ),
    (
        "set",
        "a 1 2 read -> [1,1]",
        3,
        "expected each value once for `read`, found [1 1]",
    ),
    (
        "set",
        "a 1 2 contains 1 -> 1",
        3,
        "expected true or false for `contains`, found 1",
    ),
    (
        "counter",
        "a 1 2 inc",
        2,
        "unknown f `inc`; model counter has read and add",
    ),
    (
        "counter",
        "a 1 2 add 1.5",
        2,
        "expected a whole number for `add`, found 1.5",
    ),
    (
        "counter",
        "a 1 2 read",
        3,
        "expected a whole number for `read`, found nil",
    ),
    (
        "bank",
        "a 1 2 pay",
        2,
        "unknown f `pay`; model bank has read and transfer",
    ),
    (
        "bank",
        r#"a 1 2 transfer {"from":1,"to":2,"amount":-1}"#,
        2,
        "expected an amount of at least 0 for `transfer`, found {from: 1, to: 2, amount: -1}",
    ),
    (
        "bank",
        "a 1 2 read -> [1]",
        3,
        "expected a balance for each account for `read`, found [1]",
    ),
    (
        "log",
        "a 1 2 read -1",
        2,
        "expected an offset of at least 0 for `read`, found -1",
    ),
    (
        "log",
        "a 1 2 append 1 -> \"x\"",
        3,
        "expected a whole number for `append`, found x",
    ),
    (
        "log",
        "a 1 2 scan 0 -> 1",
        3,
        "expected a list of values for `scan`, found 1",
    ),
    (
        "unique-ids",
        "a 1 2 generate",
        3,
        "expected an id as the answer of `generate`",
    ),
];

#[test]
fn what_a_model_does_not_understand_is_said() {
    for (name, notation, line, problem) in WRONG {
        let (history, _) = notation::history(name, notation);
        let mut recording =
            formats::read(history.as_bytes(), &formats::Options::default()).unwrap();
        let model: ModelName = name.parse().unwrap();
        let error = judge(&mut recording, model, &Options::default()).unwrap_err();
        assert_eq!((error.line, &*error.problem), (line, problem), "{notation}");
    }
    for model in ModelName::all().take(14) {
        assert!(
            WRONG.iter().any(|(name, ..)| *name == model.name()),
            "{model}"
        );
    }
}

/// Model and a history that is right.
const RIGHT: [(&str, &str); 14] = [
    ("register", "b 3 4 write 1; c 5 6 read -> 1"),
    ("cas-register", "b 3 4 write 1; c 5 6 read -> 1"),
    (
        "multi-register",
        r#"b 3 4 write ["x",1]; c 5 6 read "x" -> ["x",1]"#,
    ),
    (
        "key-value",
        r#"b 3 4 put ["x","1"]; c 5 6 get ["x"] -> ["x","1"]"#,
    ),
    ("mutex", "b 3 4 acquire; b 5 6 release"),
    ("queue", "b 3 4 enqueue 1; c 5 6 dequeue -> 1"),
    ("unordered-queue", "b 3 4 enqueue 1; c 5 6 dequeue -> 1"),
    ("stack", "b 3 4 push 1; c 5 6 pop -> 1"),
    ("priority-queue", "b 3 4 insert 1; c 5 6 delete_min -> 1"),
    ("set", "b 3 4 add 1; c 5 6 read -> [1]"),
    ("counter", "b 3 4 add 1; c 5 6 read -> 1"),
    ("bank", r#"b 3 4 read -> {"1":5}"#),
    ("log", "b 3 4 append 1; c 5 6 read 0 -> 1"),
    ("unique-ids", "b 3 4 generate -> 1"),
];

#[test]
fn what_is_left_out_is_counted_and_nothing_is_held() {
    for (name, wrong, line, problem) in WRONG {
        let (_, right) = RIGHT.iter().find(|(model, _)| *model == name).unwrap();
        let (history, _) = notation::history(name, &format!("{wrong}\n{right}"));
        let mut recording =
            formats::read(history.as_bytes(), &formats::Options::default()).unwrap();
        let options = Options {
            strictness: Strictness::Lenient,
            ..Options::default()
        };
        let judged = judge(&mut recording, name.parse().unwrap(), &options).unwrap();
        assert_eq!(recording.left_out, 1, "{wrong}");
        let warning = &recording.warnings[0];
        assert_eq!(
            (warning.line, &*warning.problem),
            (u64::from(line), problem)
        );
        for judgement in judged.report.judgements {
            assert_eq!(
                judgement.verdict,
                Verdict::Undecided,
                "{wrong}: {judgement:?}"
            );
            assert_eq!(judgement.reason, "1 line of the history had to be left out");
        }
    }
    for (name, right) in RIGHT {
        let (history, _) = notation::history(name, right);
        let judged = super::judged(&history, &Options::default());
        assert_eq!(judged.report.verdict(&[]), Verdict::Held, "{right}");
    }
}

#[test]
fn odd_histories_are_judged() {
    // Nothing but faults, and nothing at all but a question.
    for text in [
        r#"{"type":"info","process":"nemesis","f":"kill","value":{"phase":"begin","id":1},"time":1}"#,
        r#"{"type":"invoke","process":"a","f":"read","time":1}"#,
    ] {
        let history =
            format!("{{\"murphy\":\"history\",\"version\":1,\"model\":\"register\"}}\n{text}\n");
        let judged = super::judged(&history, &Options::default());
        assert_eq!(judged.report.verdict(&[]), Verdict::Undecided);
    }
    // The ends of what a number can be.
    let most = i64::MAX;
    for (model, notation) in [
        (
            "counter",
            format!("a 1 2 add {most} -> {{\"value\":{most}}}; b 3 4 read -> {most}"),
        ),
        (
            "log",
            format!("a 1 2 read {most} -> null; a 3 4 scan {most} -> []"),
        ),
        (
            "mutex",
            format!(
                "a 1 2 acquire -> {}; a 3 4 release; a 5 6 acquire -> {most}",
                i64::MIN
            ),
        ),
        (
            "bank",
            format!(
                r#"a 1 2 transfer {{"from":1,"to":2,"amount":{most}}}; a 3 4 read -> {{"1":0,"2":{most}}}"#
            ),
        ),
        (
            "priority-queue",
            format!(
                "a 1 2 insert {most}; a 3 4 insert {}; b 5 6 delete_min -> {}",
                i64::MIN,
                i64::MIN
            ),
        ),
    ] {
        let (history, _) = notation::history(model, &notation);
        let judged = super::judged(&history, &Options::default());
        assert_eq!(
            judged.report.verdict(&[]),
            Verdict::Held,
            "{notation}: {judged:?}"
        );
    }
}
