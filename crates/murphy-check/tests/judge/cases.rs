//! A few words for each history, and what the judge has to find in it.

use std::collections::BTreeSet;

use murphy_check::{
    judge::Options,
    verdict::{Judgement, Verdict},
};

use super::{judged, notation, on};

const LINEARIZABLE: &str = "linearizable";
const SEQUENTIAL: &str = "sequential";

fn verdict(model: &str, notation: &str, promise: &str) -> Judgement {
    let (history, _) = notation::history(model, notation);
    on(&judged(&history, &Options::default()), promise).clone()
}

/// Every promise is held.
fn held(model: &str, histories: &[&str]) {
    for notation in histories {
        let (history, _) = notation::history(model, notation);
        for judgement in judged(&history, &Options::default()).report.judgements {
            assert_eq!(
                judgement.verdict,
                Verdict::Held,
                "{model}: {notation}: {judgement:#?}"
            );
        }
    }
}

/// Every promise is undecided: the history says nothing that could be wrong.
fn vacuous(model: &str, histories: &[&str]) {
    for notation in histories {
        let (history, _) = notation::history(model, notation);
        for judgement in judged(&history, &Options::default()).report.judgements {
            assert_eq!(judgement.verdict, Verdict::Undecided, "{model}: {notation}");
            assert!(
                judgement.reason.starts_with("no "),
                "{model}: {}",
                judgement.reason
            );
        }
    }
}

/// `promise` is broken: the witness has none but the operations of `numbers`, is confirmed, says who it was, and rests on each
/// of them: without one of them, and without `group` of them where one is no use without the others, it is not broken.
/// Returns the operations of the witness and the sentence.
fn broken(
    model: &str,
    promise: &str,
    notation: &str,
    numbers: &[usize],
    groups: &[&[usize]],
) -> String {
    let (history, number_of) = notation::history(model, notation);
    let judged = judged(&history, &Options::default());
    let judgement = on(&judged, promise);
    assert_eq!(
        judgement.verdict,
        Verdict::Broken,
        "{model} {promise}: {notation}: {judgement:#?}"
    );
    let witness = judgement.witness.as_ref().expect("a witness");
    let found: BTreeSet<usize> = (witness.lines.iter())
        .map(|line| number_of[usize::try_from(line.line).expect("a line") - 1])
        .collect();
    let expected: BTreeSet<usize> = numbers.iter().copied().collect();
    let sentence = &witness.sentence;
    // Where the beginning is replaced by the states that it leaves, what it consists of is not in the witness.
    assert!(
        !found.is_empty() && found.is_subset(&expected),
        "{model} {promise}: {notation}: {found:?}: {sentence}"
    );
    assert!(witness.confirmed, "{model} {promise}: {sentence}");
    assert!(
        sentence.ends_with('.') && !sentence.contains(".."),
        "{sentence}"
    );
    for line in witness.lines.iter().filter(|line| line.clashes) {
        assert!(
            sentence.contains(&line.process) && sentence.contains(&line.label),
            "{sentence}"
        );
    }
    for number in &found {
        let group = groups.iter().find(|group| group.contains(number));
        let alone = [*number];
        let left_out = group.map_or(&alone[..], |group| group);
        let rest: Vec<_> = (1..)
            .zip(notation::operations(notation))
            .filter(|(other, _)| !left_out.contains(other))
            .map(|(_, operation)| operation)
            .collect();
        let verdict = verdict(model, &rest.join("\n"), promise).verdict;
        assert_ne!(
            verdict,
            Verdict::Broken,
            "{model} {promise}: {notation}: without {left_out:?}"
        );
    }
    format!("{found:?} {sentence}")
}

/// What is broken of a model, as notation, lines of the witness, and groups of lines.
type Case<'a> = (&'a str, &'a [usize], &'a [&'a [usize]]);

fn all_broken(model: &str, cases: &[Case<'_>]) {
    let said: Vec<_> = (cases.iter())
        .map(|(notation, numbers, groups)| broken(model, LINEARIZABLE, notation, numbers, groups))
        .collect();
    insta::assert_snapshot!(format!("sentences_of_{model}"), said.join("\n"));
}

#[test]
fn register() {
    held(
        "register",
        &[
            "a 1 2 write 1; b 3 4 read -> 1",
            "b 1 2 read -> null; a 3 4 write 1",
            // Beside each other, either comes first; equal moments are beside each other.
            "a 1 9 write 1; b 2 3 read -> 1; c 4 5 read -> 1",
            "a 1 5 write 1; b 5 6 read -> null",
            // Nobody knows whether it was written, but it was.
            "a 1 ? write 1; b 3 4 read -> null; b 5 6 read -> 1",
            // What failed did not happen.
            "a 1 2 write 1; b 3 4 write 2 ! refused; c 5 6 read -> 1",
        ],
    );
    all_broken(
        "register",
        &[
            ("a 1 2 write 1; b 3 4 read -> null", &[1, 2], &[]),
            (
                "a 1 2 write 1; b 3 4 write 2; c 5 6 read -> 1",
                &[1, 2, 3],
                &[&[1, 3]],
            ),
            ("a 1 2 write 1; b 3 4 read -> 9", &[2], &[]),
            (
                "a 1 ? write 1; b 3 4 read -> 1; c 5 6 read -> null",
                &[1, 2, 3],
                &[&[1, 2]],
            ),
            (
                "a 1 2 write 1; b 3 4 write 2 ! refused; c 5 6 read -> 2",
                &[3],
                &[],
            ),
            (
                "a 1 2 write 1; b 1 2 write 2; c 3 4 read -> 1; d 5 6 read -> 2",
                &[1, 2, 3, 4],
                &[&[1, 3], &[2, 4]],
            ),
        ],
    );
    vacuous(
        "register",
        &[
            "a 1 2 write 1",
            "a 1 ? read; b 2 3 write 1",
            "a 1 2 read ! refused",
        ],
    );
}

#[test]
fn what_one_process_does_is_in_order_whatever_the_clock() {
    // Answered and asked again in one moment.
    held("register", &["a 1 5 write 1; b 5 6 read -> null"]);
    let sentence = broken(
        "register",
        LINEARIZABLE,
        "a 1 5 write 1\na 5 6 read -> null",
        &[1, 2],
        &[],
    );
    assert!(sentence.contains("(1.00 s to 5.00 s)"), "{sentence}");
}

#[test]
fn sessions_and_sequential_order() {
    // Stale, but in an order that everybody can have seen.
    let stale = "a 1 2 write 1; b 3 4 read -> null";
    assert_eq!(
        verdict("register", stale, LINEARIZABLE).verdict,
        Verdict::Broken
    );
    for promise in [
        SEQUENTIAL,
        "session.read-your-writes",
        "session.monotonic-reads",
        "session.monotonic-writes",
        "session.writes-follow-reads",
    ] {
        assert_eq!(
            verdict("register", stale, promise).verdict,
            Verdict::Held,
            "{promise}"
        );
    }
    let stale = "a 1 2 put [\"x\",\"1\"]; b 3 4 get [\"x\"] -> [\"x\",null]";
    assert_eq!(
        verdict("key-value", stale, LINEARIZABLE).verdict,
        Verdict::Broken
    );
    assert_eq!(
        verdict("key-value", stale, SEQUENTIAL).verdict,
        Verdict::Held
    );
    let said = [
        broken(
            "register",
            SEQUENTIAL,
            "a 1 2 write 1; a 3 4 read -> null",
            &[1, 2],
            &[],
        ),
        broken(
            "register",
            "session.read-your-writes",
            "a 1 2 write 1; a 3 4 read -> null",
            &[1, 2],
            &[],
        ),
        broken(
            "register",
            SEQUENTIAL,
            "a 1 2 write 1; b 3 4 read -> 1; b 5 6 read -> null",
            &[1, 2, 3],
            &[&[1, 2]],
        ),
        broken(
            "register",
            "session.monotonic-reads",
            "a 1 2 write 1; b 3 4 read -> 1; b 5 6 read -> null",
            &[1, 2, 3],
            &[&[1, 2]],
        ),
        // Each key has its order, but no order of both keeps that of the processes.
        broken(
            "key-value",
            SEQUENTIAL,
            "a 1 2 put [\"x\",\"1\"]; a 5 6 get [\"y\"] -> [\"y\",null]; b 1 2 put [\"y\",\"1\"]; b 5 6 get [\"x\"] -> [\"x\",null]",
            &[1, 2, 3, 4],
            &[],
        ),
        broken(
            "key-value",
            "session.monotonic-reads",
            "a 1 2 put [\"x\",\"1\"]; a 3 4 put [\"x\",\"2\"]; b 5 6 get [\"x\"] -> [\"x\",\"2\"]; b 7 8 get [\"x\"] -> [\"x\",\"1\"]; c 5 6 get [\"x\"] -> [\"x\",\"1\"]; c 7 8 get [\"x\"] -> [\"x\",\"2\"]",
            &[1, 2, 3, 4, 5, 6],
            &[&[1, 4, 5], &[2, 3, 6]],
        ),
    ];
    insta::assert_snapshot!("sentences_of_sessions", said.join("\n"));
}

#[test]
fn cas_register() {
    held(
        "cas-register",
        &[
            "a 1 2 write 1; b 3 4 cas [1,2] -> true; c 5 6 read -> 2",
            "a 1 2 write 1; b 3 4 cas [2,3] -> false; c 5 6 read -> 1",
            "a 1 2 write 1; b 3 ? cas [1,2]; c 5 6 read -> 2",
            "a 1 2 write 1; b 3 4 cas [1,2] ! timeout; c 5 6 read -> 1",
            "a 1 2 write 1; b 3 4 cas [7,8] !",
        ],
    );
    all_broken(
        "cas-register",
        &[
            (
                "a 1 2 write 1; b 3 4 cas [2,3] -> true",
                &[1, 2],
                &[&[1, 2]],
            ),
            ("a 1 2 write 1; b 3 4 cas [1,2] -> false", &[1, 2], &[]),
            (
                "a 1 2 write 1; b 3 9 cas [1,2] -> true; c 3 9 cas [1,2] -> true",
                &[1, 2, 3],
                &[&[1, 2, 3]],
            ),
            ("a 1 2 write 1; b 3 4 cas [1,2] !", &[1, 2], &[]),
            (
                "a 1 2 write 1; b 3 ? cas [1,2]; c 5 6 read -> 3",
                &[1, 2, 3],
                &[&[1, 2, 3]],
            ),
        ],
    );
    vacuous("cas-register", &["a 1 2 write 1", "a 1 ? cas [1,2]"]);
}

#[test]
fn multi_register() {
    held(
        "multi-register",
        &[
            r#"a 1 2 txn [["w","x",1],["w","y",1]] -> [["w","x",1],["w","y",1]]; b 3 4 read "x" -> ["x",1]"#,
            r#"a 1 2 write ["x",1]; b 3 4 txn [["r","x",null],["r","y",null]] -> [["r","x",1],["r","y",null]]"#,
            r#"a 1 ? txn [["w","x",1],["w","y",1]]; b 3 4 read "x" -> ["x",1]; c 5 6 read "y" -> ["y",1]"#,
        ],
    );
    let both = r#"txn [["w","x",1],["w","y",1]]"#;
    all_broken(
        "multi-register",
        &[
            // Half of it.
            (
                &format!(
                    r#"a 1 ? {both}; b 3 4 read "x" -> ["x",1]; c 5 6 read "y" -> ["y",null]"#
                ),
                &[1, 2, 3],
                &[&[1, 2, 3]],
            ),
            (
                r#"a 1 2 write ["x",1]; b 3 4 read "x" -> ["x",null]"#,
                &[1, 2],
                &[],
            ),
            (r#"b 3 4 read "x" -> ["x",7]"#, &[1], &[]),
            (
                &format!(
                    r#"a 1 2 {both} -> [["w","x",1],["w","y",1]]; b 3 4 txn [["r","x",null],["r","y",null]] -> [["r","x",1],["r","y",null]]"#
                ),
                &[1, 2],
                &[&[1, 2]],
            ),
        ],
    );
    vacuous(
        "multi-register",
        &[r#"a 1 2 write ["x",1]"#, "a 1 2 txn [] -> []"],
    );
}

#[test]
fn key_value() {
    held(
        "key-value",
        &[
            r#"a 1 2 put ["x","1"]; b 3 4 append ["x","2"]; c 5 6 get ["x"] -> ["x","12"]"#,
            r#"a 1 2 put ["x","1"]; b 3 4 delete ["x"]; c 5 6 get ["x"] -> ["x",null]"#,
            r#"a 1 ? append ["x","1"]; b 1 ? append ["x","2"]; c 5 6 get ["x"] -> ["x","21"]"#,
            r#"a 1 2 put ["x","1"]; b 3 4 cas ["x",["1","2"]] -> true; c 5 6 get ["x"] -> ["x","2"]"#,
        ],
    );
    all_broken(
        "key-value",
        &[
            (
                r#"a 1 2 put ["x","1"]; b 3 4 get ["x"] -> ["x",""]"#,
                &[1, 2],
                &[],
            ),
            (
                r#"a 1 2 put ["x","1"]; b 3 4 delete ["x"]; c 5 6 get ["x"] -> ["x","1"]"#,
                &[1, 2, 3],
                &[&[1, 3]],
            ),
            (
                r#"a 1 2 append ["x","1"]; b 3 4 append ["x","2"]; c 5 6 get ["x"] -> ["x","21"]"#,
                &[1, 2, 3],
                &[&[1, 2, 3]],
            ),
            (
                r#"a 1 2 put ["x","1"]; b 1 2 put ["y","2"]; b 3 4 get ["y"] -> ["y","1"]"#,
                &[3],
                &[],
            ),
            (
                r#"a 1 2 put ["x","1"]; b 3 4 cas ["x",["2","3"]] -> true"#,
                &[1, 2],
                &[&[1, 2]],
            ),
        ],
    );
    vacuous("key-value", &[r#"a 1 2 put ["x","1"]; b 3 ? get ["x"]"#]);
}

#[test]
fn mutex() {
    held(
        "mutex",
        &[
            "a 1 2 acquire; a 3 4 release; b 5 6 acquire",
            "a 1 2 acquire -> 1; a 3 ? release; b 5 6 acquire -> 2",
            "a 1 2 acquire; b 1 9 acquire ! timeout; a 3 4 release",
            "a 1 2 acquire -> 3; b 3 4 access 3; c 5 6 access 3",
        ],
    );
    all_broken(
        "mutex",
        &[
            ("a 1 2 acquire; b 3 4 acquire", &[1, 2], &[]),
            ("a 1 2 acquire; b 3 4 release", &[1, 2], &[&[1, 2]]),
            (
                "a 1 2 acquire -> 5; a 3 4 release; b 5 6 acquire -> 5",
                &[1, 2, 3],
                &[&[1, 2, 3]],
            ),
            ("a 1 2 access 2; b 3 4 access 1", &[1, 2], &[]),
        ],
    );
    vacuous("mutex", &["a 1 ? acquire", "a 1 2 acquire ! timeout"]);
}

/// A container that gives 1 and 2, put in after each other, back in the order `first` `second`.
fn container(model: &str, put: &str, take: &str, [first, second]: [u8; 2]) -> Vec<Case<'static>> {
    let leak = |text: String| -> &'static str { text.leak() };
    held(
        model,
        &[
            &format!(
                "a 1 2 {put} 1; a 3 4 {put} 2; b 5 6 {take} -> {first}; b 7 8 {take} -> {second}; b 9 9 {take} -> null"
            ),
            &format!("a 1 ? {put} 1; b 5 6 {take} -> 1; b 7 8 {take} -> null"),
            &format!("a 1 2 {put} 1; b 3 ? {take}; c 5 6 {take} -> null"),
            &format!("a 1 2 {put} 1; b 3 4 {take} ! broken; c 5 6 {take} -> 1"),
        ],
    );
    vacuous(model, &[&format!("a 1 2 {put} 1; a 3 ? {take}")]);
    vec![
        (
            leak(format!("a 1 2 {put} 1; b 3 4 {take} -> null")),
            &[1, 2],
            &[],
        ),
        (
            leak(format!(
                "a 1 2 {put} 1; b 3 4 {take} -> 1; c 3 4 {take} -> 1"
            )),
            &[1, 2, 3],
            &[&[1, 2, 3]],
        ),
        (leak(format!("b 3 4 {take} -> 7")), &[1], &[]),
        (
            leak(format!("b 3 4 {take} -> 7; a 5 6 {put} 7")),
            &[1, 2],
            &[&[1, 2]],
        ),
    ]
}

/// They come out the other way round.
fn wrong_order(put: &str, take: &str, [first, second]: [u8; 2]) -> Case<'static> {
    let text =
        format!("a 1 2 {put} 1; a 3 4 {put} 2; b 5 6 {take} -> {second}; b 7 8 {take} -> {first}");
    (text.leak(), &[1, 2, 3, 4], &[&[1, 3, 4, 2]])
}

#[test]
fn queue() {
    let mut cases = container("queue", "enqueue", "dequeue", [1, 2]);
    cases.push(wrong_order("enqueue", "dequeue", [1, 2]));
    all_broken("queue", &cases);
}

#[test]
fn unordered_queue() {
    held(
        "unordered-queue",
        &["a 1 2 enqueue 1; a 3 4 enqueue 2; b 5 6 dequeue -> 2; b 7 8 dequeue -> 1"],
    );
    all_broken(
        "unordered-queue",
        &container("unordered-queue", "enqueue", "dequeue", [1, 2]),
    );
}

#[test]
fn stack() {
    let mut cases = container("stack", "push", "pop", [2, 1]);
    cases.push(wrong_order("push", "pop", [2, 1]));
    all_broken("stack", &cases);
}

#[test]
fn priority_queue() {
    held(
        "priority-queue",
        &["a 1 2 insert 5; a 3 4 insert -3; b 5 6 delete_min -> -3; b 7 8 delete_min -> 5"],
    );
    let mut cases = container("priority-queue", "insert", "delete_min", [1, 2]);
    cases.push(wrong_order("insert", "delete_min", [1, 2]));
    all_broken("priority-queue", &cases);
}

#[test]
fn set() {
    held(
        "set",
        &[
            "a 1 2 add 1; b 3 4 contains 1 -> true; c 5 6 read -> [1]",
            "a 1 2 add 1 -> true; b 3 4 remove 1 -> true; c 5 6 read -> []",
            "a 1 ? add 1; b 3 4 read -> []; c 5 6 read -> [1]",
            "a 1 2 add 1 -> true; b 3 4 add 1 -> false",
        ],
    );
    all_broken(
        "set",
        &[
            ("a 1 2 add 1; b 3 4 contains 1 -> false", &[1, 2], &[]),
            ("a 1 2 add 1; b 3 4 read -> []", &[1, 2], &[]),
            ("a 1 2 read -> [1]; b 3 4 add 1", &[1, 2], &[&[1, 2]]),
            ("a 1 2 add 1 -> true; b 3 4 add 1 -> true", &[1, 2], &[]),
            (
                "a 1 2 add 1; b 3 ? remove 1; c 5 6 read -> []; d 7 8 read -> [1]",
                &[1, 2, 3, 4],
                &[&[1, 2, 3, 4]],
            ),
        ],
    );
    vacuous("set", &["a 1 2 add 1; b 3 ? read"]);
}

#[test]
fn counter() {
    held(
        "counter",
        &[
            "a 1 2 add 2; b 3 4 read -> 2",
            "a 1 ? add 2; b 3 4 read -> 0; c 5 6 read -> 2",
            "a 1 2 add 2 -> {\"value\":2}; b 3 4 add -1 -> {\"value\":1}",
            "a 1 2 add 2 -> 2; b 3 4 add 2 ! refused; c 5 6 read -> 2",
        ],
    );
    all_broken(
        "counter",
        &[
            ("a 1 2 add 2; b 3 4 read -> 0", &[1, 2], &[]),
            ("a 1 2 read -> 5", &[1], &[]),
            (
                "a 1 9 add 1 -> {\"value\":1}; b 1 9 add 1 -> {\"value\":1}",
                &[1, 2],
                &[],
            ),
            (
                "a 1 ? add 2; b 3 4 read -> 2; c 5 6 read -> 0",
                &[1, 2, 3],
                &[&[1, 2]],
            ),
        ],
    );
    vacuous("counter", &["a 1 2 add 1", "a 1 ? read"]);
}

#[test]
fn bank() {
    let pay = |amount: u8| format!(r#"transfer {{"from":1,"to":2,"amount":{amount}}}"#);
    held(
        "bank",
        &[
            &format!(
                r#"a 1 2 read -> {{"1":5,"2":0}}; b 3 4 {}; a 5 6 read -> {{"1":3,"2":2}}"#,
                pay(2)
            ),
            &format!(
                r#"a 1 2 read -> {{"1":5,"2":0}}; b 3 ? {}; a 5 6 read -> {{"1":3,"2":2}}"#,
                pay(2)
            ),
            &format!(
                r#"a 1 2 read -> {{"1":5,"2":0}}; b 3 4 {} ! overdrawn; a 5 6 read -> {{"1":5,"2":0}}"#,
                pay(9)
            ),
            // Accounts whose names are digits are the same in a request and among the balances.
            r#"a 1 2 read -> {"1":5,"2":0}; b 3 4 transfer {"from":"1","to":"2","amount":5}; a 5 6 read -> {"1":0,"2":5}"#,
            r#"a 1 2 read -> {"01":5,"1":0}; b 3 4 transfer {"from":"01","to":1,"amount":5}; a 5 6 read -> {"01":0,"1":5}"#,
        ],
    );
    all_broken(
        "bank",
        &[
            (
                r#"a 1 2 read -> {"1":5,"2":0}; b 3 4 read -> {"1":5,"2":1}"#,
                &[1, 2],
                &[],
            ),
            (
                &format!(r#"a 1 2 read -> {{"1":5,"2":0}}; b 3 4 {}"#, pay(9)),
                &[1, 2],
                &[],
            ),
            (r#"a 1 2 read -> {"1":5,"2":-1}"#, &[1], &[]),
            (
                &format!(
                    r#"a 1 2 read -> {{"1":5,"2":0}}; b 3 4 {}; c 5 6 read -> {{"1":5,"2":0}}"#,
                    pay(2)
                ),
                &[1, 2, 3],
                &[],
            ),
        ],
    );
    vacuous("bank", &[&format!("a 1 2 {}", pay(1)), "a 1 ? read"]);
}

#[test]
fn log() {
    held(
        "log",
        &[
            "a 1 2 append 7 -> 0; b 3 4 read 0 -> 7; c 5 6 read 1 -> null",
            "a 1 2 append 7; a 3 4 append 8; b 5 6 scan 0 -> [7,8]; c 7 8 scan 1 -> [8]; c 9 9 scan 5 -> []",
            "a 1 ? append 7; b 3 4 append 8 -> 1",
        ],
    );
    all_broken(
        "log",
        &[
            ("a 1 2 append 7; b 3 4 read 0 -> null", &[1, 2], &[]),
            ("a 1 2 append 7 -> 0; b 3 4 append 8 -> 0", &[1, 2], &[]),
            (
                "a 1 2 append 7; a 3 4 append 8; b 5 6 scan 0 -> [8,7]",
                &[1, 2, 3],
                &[&[1, 2, 3]],
            ),
            ("a 1 2 append 8 -> 1", &[1], &[]),
        ],
    );
    vacuous("log", &["a 1 2 append 7", "a 1 ? scan 0"]);
}

#[test]
fn unique_ids() {
    held(
        "unique-ids",
        &[
            "a 1 2 generate -> 1; b 3 4 generate -> 2",
            "a 1 2 generate -> \"1\"; b 3 4 generate -> 1; c 1 ? generate",
            "a 1 9 generate -> 2; b 1 9 generate -> 1; c 1 9 generate ! full",
        ],
    );
    all_broken(
        "unique-ids",
        &[
            ("a 1 2 generate -> 1; b 3 4 generate -> 1", &[1, 2], &[]),
            (
                "a 1 9 generate -> 1; b 1 9 generate -> 1; c 5 6 generate -> 2",
                &[1, 2],
                &[],
            ),
            (
                "a 1 2 generate -> \"x\"; a 3 4 generate -> \"y\"; a 5 6 generate -> \"x\"",
                &[1, 3],
                &[],
            ),
            (
                "a 1 2 generate -> [1,2]; b 3 4 generate -> [1,2]",
                &[1, 2],
                &[],
            ),
        ],
    );
    vacuous("unique-ids", &["a 1 ? generate"]);
}
