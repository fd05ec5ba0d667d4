//! Small histories with what a judge would say of them, for the tests.

use super::Explanation;
use crate::{
    history::{Header, Kind, NEMESIS},
    recording::{Entry, Recorder, Recording, Strictness},
    value::Value,
    verdict::{Judgement, Report, Vacuity, Verdict, Witness, WitnessLine},
};

const MS: u64 = 1_000_000;

/// A line of a history: kind, process, f, value, time in ms.
pub type Line<'a> = (Kind, &'a str, &'a str, Value, u64);

/// A history of these lines; `nodes` of n0, n1 are asked by turns of the client's name.
pub fn recording(model: &str, lines: &[Line<'_>]) -> Recording {
    let mut recorder = Recorder::new(Header::new(model), Strictness::Strict);
    for (number, (kind, process, f, value, time)) in (2..).zip(lines) {
        let node = if *process == NEMESIS { "n2" } else { "n0" };
        let error = matches!(kind, Kind::Info | Kind::Fail) && *process != NEMESIS;
        let entry = Entry {
            line: number,
            index: Some(number - 2),
            kind: *kind,
            process: (*process).into(),
            f: (*f).into(),
            value: value.clone(),
            time: Some(time * MS),
            node: Some(node.into()),
            error: error.then(|| "timed out".into()),
        };
        recorder.take(entry).unwrap();
    }
    recorder.finish()
}

fn fault(phase: &str) -> Value {
    Value::Map([("phase".into(), phase.into()), ("id".into(), "a".into())].into())
}

/// What is said of invocation `number` of a recording.
fn line(recording: &Recording, number: usize, words: [&str; 3], clashes: bool) -> WitnessLine {
    let invocation = &recording.invocations[number];
    let [label, answer, text] = words.map(str::to_owned);
    WitnessLine {
        index: invocation.end_index,
        line: u64::from(invocation.end_line.max(invocation.line)),
        node: invocation.node.map(|node| recording.node(node).to_owned()),
        process: recording.process(invocation.process).to_owned(),
        start_ns: invocation.call,
        end_ns: (invocation.end < u64::MAX).then_some(invocation.end),
        label,
        answer,
        text,
        clashes,
    }
}

fn report(recording: &Recording, judgements: Vec<Judgement>) -> Report {
    Report {
        judgements,
        vacuity: Vacuity {
            operations: recording.invocations.len() as u64,
            ..Vacuity::default()
        },
    }
}

fn judgement(promise: &str, verdict: Verdict, reason: &str, witness: Option<Witness>) -> Judgement {
    Judgement {
        promise: promise.into(),
        verdict,
        reason: reason.into(),
        witness,
    }
}

/// A stale read of a register: 3 was read, and after it 1 again.
pub fn register() -> (Recording, Report, Vec<Explanation>) {
    use Kind::{Invoke, Ok};
    let recording = recording(
        "register",
        &[
            (Invoke, "p1", "write", 1.into(), 10),
            (Ok, "p1", "write", 1.into(), 14),
            (Invoke, "p4", "write", 3.into(), 16),
            (Invoke, "p1", "read", Value::Nil, 19),
            (Ok, "p4", "write", 3.into(), 24),
            (Ok, "p1", "read", 3.into(), 26),
            (Invoke, "p2", "read", Value::Nil, 28),
            (Ok, "p2", "read", 1.into(), 31),
        ],
    );
    let witness = Witness {
        sentence: "p2 read 1 after p1 had read 3, and nothing wrote 1 since".into(),
        lines: vec![
            line(&recording, 1, ["write 3", "ok", "p4 wrote `3`."], false),
            line(&recording, 2, ["read", "3", "p1 read `3`."], true),
            line(
                &recording,
                3,
                ["read", "1", "p2, asked after p1 was answered, read `1`."],
                true,
            ),
        ],
        members: Vec::new(),
        confirmed: true,
    };
    let explanation = Explanation {
        promise: "linearizable".into(),
        part: None,
        longest: vec![0, 1, 2],
        states: ["1", "3", "3"].map(Into::into).into(),
        blocked: vec![(3, "read → 1, but the register holds 3".into())],
    };
    let judged = judgement(
        "linearizable",
        Verdict::Broken,
        "no order explains the answers",
        Some(witness),
    );
    let report = report(&recording, vec![judged]);
    (recording, report, vec![explanation])
}

/// A queue: an enqueue of unknown outcome, a failed one, a value that came out twice.
pub fn queue() -> (Recording, Report, Vec<Explanation>) {
    use Kind::{Fail, Info, Invoke, Ok};
    let recording = recording(
        "queue",
        &[
            (Invoke, "p0", "enqueue", 7.into(), 100),
            (Info, "p0", "enqueue", Value::Nil, 105),
            (Invoke, "p1", "enqueue", 8.into(), 106),
            (Fail, "p1", "enqueue", Value::Nil, 109),
            (Invoke, "p2", "dequeue", Value::Nil, 110),
            (Ok, "p2", "dequeue", 7.into(), 112),
            (Invoke, "p3", "dequeue", Value::Nil, 9_108),
            (Ok, "p3", "dequeue", 7.into(), 9_120),
            (Invoke, "p2", "dequeue", Value::Nil, 9_121),
        ],
    );
    let witness = Witness {
        sentence: "7 was enqueued at most once and dequeued twice".into(),
        lines: vec![
            line(
                &recording,
                0,
                [
                    "enqueue 7",
                    "unknown",
                    "p0 enqueued `7`; nobody knows whether that came about.",
                ],
                false,
            ),
            line(&recording, 2, ["dequeue", "7", "p2 dequeued `7`."], true),
            line(
                &recording,
                3,
                ["dequeue", "7", "p3 dequeued `7` again."],
                true,
            ),
        ],
        members: Vec::new(),
        confirmed: true,
    };
    let explanation = Explanation {
        promise: "linearizable".into(),
        part: Some("jobs".into()),
        longest: vec![0, 2],
        states: ["[7]", "[]"].map(Into::into).into(),
        blocked: vec![
            (3, "dequeue → 7, but the queue is empty".into()),
            (1, "enqueue 8 certainly did not happen".into()),
        ],
    };
    let judged = judgement(
        "linearizable",
        Verdict::Broken,
        "no order explains the answers",
        Some(witness),
    );
    let report = report(&recording, vec![judged]);
    (recording, report, vec![explanation])
}

/// A short history with two faults and nothing broken.
pub fn faults() -> (Recording, Report, Vec<Explanation>) {
    use Kind::{Info, Invoke, Ok};
    let recording = recording(
        "register",
        &[
            (Invoke, "p1", "write", 1.into(), 1_000),
            (Ok, "p1", "write", 1.into(), 1_004),
            (Info, NEMESIS, "kill", fault("begin"), 1_006),
            (Invoke, "p2", "read", Value::Nil, 1_007),
            (
                Info,
                NEMESIS,
                "partition",
                Value::Map([("phase".into(), "begin".into()), ("id".into(), "b".into())].into()),
                1_009,
            ),
            (Ok, "p2", "read", 1.into(), 1_012),
            (Info, NEMESIS, "kill", fault("end"), 1_014),
            (Invoke, "p1", "read", Value::Nil, 1_016),
            (Ok, "p1", "read", 1.into(), 1_019),
        ],
    );
    let report = report(
        &recording,
        vec![
            judgement(
                "linearizable",
                Verdict::Held,
                "one order explains 3 answers",
                None,
            ),
            judgement("durable", Verdict::Held, "1 acknowledged write found", None),
        ],
    );
    (recording, report, Vec::new())
}

/// Every word of the history and of the verdict tries to be markup.
pub fn hostile() -> (Recording, Report, Vec<Explanation>) {
    use Kind::{Info, Invoke, Ok};
    let evil = EVIL;
    let key = || Value::Map([("key".into(), evil.into()), (evil.into(), evil.into())].into());
    let mut recording = recording(
        evil,
        &[
            (Info, NEMESIS, evil, fault("begin"), 0),
            (Invoke, evil, evil, key(), 1),
            (Ok, evil, evil, evil.into(), 2),
            (Invoke, "p2", evil, key(), 3),
            (Info, "p2", evil, Value::Nil, 4),
        ],
    );
    recording.header.system = Some(evil.into());
    recording.header.started = Some(evil.into());
    let witness = Witness {
        sentence: evil.into(),
        lines: vec![line(&recording, 0, [evil; 3], true)],
        members: Vec::new(),
        confirmed: false,
    };
    let explanation = Explanation {
        promise: evil.into(),
        part: Some(evil.into()),
        longest: vec![0],
        states: vec![evil.into()],
        blocked: vec![(1, evil.into()), (77, "there is no such invocation".into())],
    };
    let judged = judgement(evil, Verdict::Broken, evil, Some(witness));
    let report = report(&recording, vec![judged]);
    (recording, report, vec![explanation])
}

/// What would run, load, end an element, a string or a line, or make a line lie.
pub const EVIL: &str = "</script><script>alert(1)</script><!--\"'`><img src=x onerror=alert(2)>]]>\u{2028}\u{202e}\\\u{0}";
