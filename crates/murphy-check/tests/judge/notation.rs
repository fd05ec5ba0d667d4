//! Histories in a few words.
//!
//! One operation a line: who, from when, to when, what, with what, and after an arrow what came back.
//!
//! ```text
//! a 1 3 write 5
//! b 4 5 read -> 5
//! c 6 ? write 7          never answered
//! d 8 9 cas [1,2] ! why  failed, with an error; without one where nothing follows
//! ```
//!
//! Line `n` of the notation has the name of its number, from 1, in witnesses.

use std::fmt::Write as _;

/// A history as JSON Lines, and for each of its lines the number of the operation.
pub fn history(model: &str, notation: &str) -> (String, Vec<usize>) {
    let mut lines = Vec::new();
    for (number, operation) in (1..).zip(operations(notation)) {
        let (request, end) = match (operation.split_once("->"), operation.split_once('!')) {
            (Some((request, answer)), _) => (request, ("ok", value(answer))),
            (_, Some((request, error))) => (request, ("fail", error_of(error))),
            _ => (operation, ("ok", String::new())),
        };
        let words: Vec<_> = request.split_whitespace().collect();
        let [process, call, ended, f, asked @ ..] = &words[..] else {
            panic!("{operation}");
        };
        let mut line = |time: &str, is_answer: bool, kind: &str, rest: &str| {
            let time: u64 = time.parse().unwrap_or_else(|_| panic!("{operation}"));
            let text = format!(
                r#"{{"type":"{kind}","process":"{process}","f":"{f}"{rest},"time":{time}000000000}}"#
            );
            lines.push((time, is_answer, number, text));
        };
        line(call, false, "invoke", &value(&asked.concat()));
        if *ended != "?" {
            line(ended, true, end.0, &end.1);
        }
    }
    // Calls before answers of the same moment, but a process is answered before it asks again.
    let answers: Vec<(u64, usize)> = (lines.iter())
        .filter(|(_, is_answer, ..)| *is_answer)
        .map(|(time, _, number, _)| (*time, *number))
        .collect();
    let is_again = |time: u64, number: usize| {
        answers.iter().any(|(answered, other)| {
            *answered == time && *other < number && same_process(notation, *other, number)
        })
    };
    lines.sort_by_key(|(time, is_answer, number, _)| {
        let rank = if *is_answer {
            1
        } else {
            2 * usize::from(is_again(*time, *number))
        };
        (*time, rank)
    });
    let mut text = format!("{{\"murphy\":\"history\",\"version\":1,\"model\":\"{model}\"}}\n");
    let mut numbers = vec![0];
    for (_, _, number, line) in lines {
        writeln!(text, "{line}").expect("a string");
        numbers.push(number);
    }
    (text, numbers)
}

fn same_process(notation: &str, one: usize, other: usize) -> bool {
    let process = |number: usize| {
        let operation = operations(notation).nth(number - 1)?;
        operation.split_whitespace().next()
    };
    process(one) == process(other)
}

/// The lines of a notation.
pub fn operations(notation: &str) -> impl Iterator<Item = &str> {
    notation
        .split([';', '\n'])
        .map(str::trim)
        .filter(|line| !line.is_empty())
}

fn value(json: &str) -> String {
    match json.trim() {
        "" => String::new(),
        json => format!(r#","value":{json}"#),
    }
}

fn error_of(error: &str) -> String {
    match error.trim() {
        "" => String::new(),
        error => format!(r#","error":"{error}""#),
    }
}
