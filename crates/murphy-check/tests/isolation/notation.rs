//! A notation for small histories, one transaction a line.
//!
//! `a: ax1 rx12 ry_` is a transaction of process `a` that appended 1 to `x`, read `x` as `[1 2]` and `y` as empty;
//! `wx1` writes a register, `rx1` reads 1 from it and `rx_` the initial state. Behind the process stands `:` for an
//! answer, `!` for an abort and `?` for an unknown outcome; reads of the latter two are `rx`. `a@3-7:` was asked at 3
//! and answered at 7; otherwise the transactions of a process share a thousand moments, each after the other.

use murphy_check::{
    history::{Header, Kind},
    isolation::Workload,
    recording::{Entry, Recorder, Recording, Strictness},
    value::Value,
};

struct Line {
    process: String,
    kind: Kind,
    span: (u64, u64),
    ask: Value,
    answer: Value,
}

/// A history in this notation.
pub fn recording(workload: Workload, text: &str) -> Recording {
    let texts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let process_of = |line: &str| line.split(['@', ':', '!', '?']).next().unwrap().to_owned();
    let mut lines = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let process = process_of(text);
        let position = texts[..at]
            .iter()
            .filter(|l| process_of(l) == process)
            .count() as u64;
        let count = texts.iter().filter(|l| process_of(l) == process).count() as u64;
        let end = text.find([':', '!', '?']).unwrap();
        let span = text[..end].split_once('@').map_or(
            (position * 1000 / count + 1, (position + 1) * 1000 / count),
            |(_, span)| {
                let (call, end) = span.split_once('-').unwrap();
                (call.parse().unwrap(), end.parse().unwrap())
            },
        );
        let kind = match &text[end..=end] {
            ":" => Kind::Ok,
            "!" => Kind::Fail,
            _ => Kind::Info,
        };
        let micros = || text[end + 1..].split_whitespace();
        lines.push(Line {
            process,
            kind,
            span,
            ask: Value::list(micros().map(|word| micro(workload, word, false))),
            answer: Value::list(micros().map(|word| micro(workload, word, true))),
        });
    }
    record(workload, &lines)
}

fn micro(workload: Workload, word: &str, is_answer: bool) -> Value {
    let mut letters = word.chars();
    let f = letters.next().unwrap();
    let key = Value::text(letters.next().unwrap().to_string());
    let rest = letters.as_str();
    let int = |c: char| {
        c.to_digit(36)
            .map_or(Value::Nil, |d| Value::Int(i64::from(d)))
    };
    let first = || rest.chars().next().map_or(Value::Nil, int);
    let (f, value) = match (f, workload) {
        ('a', _) => ("append", first()),
        ('w', _) => ("w", first()),
        ('r', _) if !is_answer => ("r", Value::Nil),
        ('r', Workload::ListAppend) => (
            "r",
            Value::list(rest.chars().filter(|c| *c != '_').map(int)),
        ),
        _ => ("r", first()),
    };
    Value::list([f.into(), key, value])
}

fn record(workload: Workload, lines: &[Line]) -> Recording {
    // At one moment answers come behind requests, so that what touches is concurrent.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        events.push((line.span.0, false, at));
        events.push((line.span.1, true, at));
    }
    events.sort_unstable();
    let mut recorder = Recorder::new(Header::new(workload.name()), Strictness::Strict);
    for (number, (time, is_end, at)) in (2..).zip(events) {
        let line = &lines[at];
        let (kind, value) = match (is_end, line.kind) {
            (false, _) => (Kind::Invoke, &line.ask),
            (true, Kind::Ok) => (Kind::Ok, &line.answer),
            (true, kind) => (kind, &Value::Nil),
        };
        let entry = Entry {
            line: number,
            index: None,
            kind,
            process: line.process.clone().into(),
            f: "txn".into(),
            value: value.clone(),
            time: Some(time),
            node: None,
            error: None,
        };
        recorder.take(entry).unwrap();
    }
    recorder.finish()
}
