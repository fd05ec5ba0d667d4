//! A big history with a witness in it, as a judge would hand it over.

use murphy_check::{
    history::{Header, Kind, NEMESIS},
    picture::Explanation,
    recording::{Entry, Outcome, Recorder, Recording, Strictness},
    value::Value,
    verdict::{Judgement, Report, Vacuity, Verdict, Witness, WitnessLine},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Clients that ask at once.
pub const CLIENTS: usize = 50;
/// Keys they write to.
pub const KEYS: i64 = 40;

/// Reads and writes of 50 clients on 40 keys, 1 % of unknown outcome, a fault every five seconds; the middle of it is a
/// stale read.
pub fn of(operations: usize, seed: u64) -> (Recording, Report, Vec<Explanation>) {
    let recording = recording(operations, seed);
    let middle = recording.invocations.len() / 2;
    let answered = |n: &usize| recording.invocations[*n].outcome == Outcome::Ok;
    let chosen: Vec<usize> = (middle..recording.invocations.len())
        .filter(answered)
        .take(12)
        .collect();
    let number = |n: usize| u32::try_from(n).unwrap();
    let (clashing, order) = (&chosen[..3], &chosen[..11]);
    let lines = clashing
        .iter()
        .map(|n| line(&recording, *n, *n != clashing[0]))
        .collect();
    let report = Report {
        judgements: vec![Judgement {
            promise: "linearizable".into(),
            verdict: Verdict::Broken,
            reason: "no order explains the answers".into(),
            witness: Some(Witness {
                sentence: "a read answered what had been overwritten before it was asked".into(),
                lines,
                members: Vec::new(),
                confirmed: true,
            }),
        }],
        vacuity: Vacuity::default(),
    };
    let explanation = Explanation {
        promise: "linearizable".into(),
        part: Some("k7".into()),
        longest: order.iter().map(|n| number(*n)).collect(),
        states: (0..order.len()).map(|n| format!("k7 = {n}")).collect(),
        blocked: vec![(number(chosen[11]), "the register holds 10".into())],
    };
    (recording, report, vec![explanation])
}

fn line(recording: &Recording, number: usize, clashes: bool) -> WitnessLine {
    let invocation = &recording.invocations[number];
    let label = format!("{} {}", recording.word(invocation.f), invocation.ask);
    WitnessLine {
        index: invocation.end_index,
        line: invocation.end_line.into(),
        node: None,
        process: recording.process(invocation.process).to_owned(),
        start_ns: invocation.call,
        end_ns: Some(invocation.end),
        text: format!("{label} was answered."),
        label,
        answer: "ok".into(),
        clashes,
    }
}

/// A client with what it waits for: until when, f, value, key, whether it will be answered.
struct Client {
    name: String,
    free_at: u64,
    open: Option<(&'static str, Value, bool)>,
}

fn recording(operations: usize, seed: u64) -> Recording {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut header = Header::new("key-value");
    header.nodes = ["n0", "n1", "n2"].map(Into::into).into();
    let mut recorder = Recorder::new(header, Strictness::Strict);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|n| Client {
            name: format!("c{n}"),
            free_at: n as u64 * 1_000,
            open: None,
        })
        .collect();
    let (mut asked, mut line, mut names, mut next_fault) = (0, 1, CLIENTS, 5_000_000_000);
    while asked < operations || clients.iter().any(|client| client.open.is_some()) {
        let is_over = asked >= operations;
        let waiting = clients
            .iter_mut()
            .filter(|client| !is_over || client.open.is_some());
        let client = waiting.min_by_key(|client| client.free_at).unwrap();
        let now = client.free_at;
        line += 1;
        if now >= next_fault {
            let round = next_fault / 2_500_000_000;
            let phase = if round.is_multiple_of(2) {
                "begin"
            } else {
                "end"
            };
            next_fault += 2_500_000_000;
            let value =
                Value::Map([("phase".into(), phase.into()), ("id".into(), "f".into())].into());
            take(
                &mut recorder,
                line,
                (Kind::Info, NEMESIS, "kill", value),
                now,
                "n2",
            );
            continue;
        }
        let node = ["n0", "n1", "n2"][random.random_range(0..3)];
        match client.open.take() {
            None => {
                asked += 1;
                let key = format!("k{}", random.random_range(0..KEYS));
                let (f, value) = if random.random_bool(0.5) {
                    ("write", Value::from(i64::try_from(asked).unwrap()))
                } else {
                    ("read", Value::Nil)
                };
                let value = Value::Map(
                    [("key".into(), key.as_str().into()), ("value".into(), value)].into(),
                );
                take(
                    &mut recorder,
                    line,
                    (Kind::Invoke, &client.name, f, value.clone()),
                    now,
                    node,
                );
                client.open = Some((f, value, random.random_bool(0.99)));
                client.free_at = now + random.random_range(200_000..4_000_000);
            }
            Some((f, value, is_answered)) => {
                let kind = if is_answered { Kind::Ok } else { Kind::Info };
                take(
                    &mut recorder,
                    line,
                    (kind, &client.name, f, value),
                    now,
                    node,
                );
                if !is_answered {
                    names += 1;
                    client.name = format!("c{names}");
                }
                client.free_at = now + random.random_range(10_000..900_000);
            }
        }
    }
    recorder.finish()
}

fn take(
    recorder: &mut Recorder,
    line: u64,
    (kind, process, f, value): (Kind, &str, &str, Value),
    time: u64,
    node: &str,
) {
    let entry = Entry {
        line,
        index: None,
        kind,
        process: process.into(),
        f: f.into(),
        value,
        time: Some(time),
        node: Some(node.into()),
        error: (kind == Kind::Info && process != NEMESIS).then(|| "deadline exceeded".into()),
    };
    recorder.take(entry).unwrap();
}

/// A history in which every word but one is `evil`.
pub fn hostile(evil: &str) -> (Recording, Report, Vec<Explanation>) {
    let mut recorder = Recorder::new(Header::new(evil), Strictness::Strict);
    let value = || Value::Map([("key".into(), evil.into())].into());
    // The second client is of another file, so that lines go back.
    for (line, kind, process, value, time) in [
        (12, Kind::Invoke, evil, value(), 1),
        (13, Kind::Ok, evil, evil.into(), 2),
        (4, Kind::Invoke, "p2", value(), 3),
        (5, Kind::Ok, "p2", evil.into(), 4),
    ] {
        take(
            &mut recorder,
            line,
            (kind, process, evil, value),
            time,
            evil,
        );
    }
    let recording = recorder.finish();
    let mut line = line(&recording, 0, true);
    line.text = evil.into();
    let report = Report {
        judgements: vec![Judgement {
            promise: evil.into(),
            verdict: Verdict::Broken,
            reason: evil.into(),
            witness: Some(Witness {
                sentence: evil.into(),
                lines: vec![line],
                members: Vec::new(),
                confirmed: false,
            }),
        }],
        vacuity: Vacuity::default(),
    };
    let explanation = Explanation {
        promise: evil.into(),
        part: Some(evil.into()),
        longest: vec![0],
        states: vec![evil.into()],
        blocked: vec![(0, evil.into())],
    };
    (recording, report, vec![explanation])
}
