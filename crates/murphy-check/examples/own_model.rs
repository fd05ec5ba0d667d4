//! A model of one's own, of a mark that only rises: `raise` a number, `read` the greatest so far.

#![allow(
    clippy::print_stdout,
    reason = "an example's result goes to standard output"
)]

use std::error::Error;

use murphy_check::{
    formats,
    model::{Model, Request, Vocabulary, understand},
    search::{Found, Limits, linearize},
    value::Value,
};

struct Mark;

impl Model for Mark {
    type State = i64;
    /// The number to raise it to; none for a read.
    type Ask = Option<i64>;
    type Answer = i64;

    fn initial(&self) -> i64 {
        0
    }

    fn step(&self, mark: &i64, ask: &Self::Ask, answer: Option<&i64>, next: &mut dyn FnMut(i64)) {
        match ask {
            Some(number) => next(*mark.max(number)),
            None if answer.is_none_or(|answer| answer == mark) => next(*mark),
            None => {}
        }
    }
}

impl Vocabulary for Mark {
    const NAME: &'static str = "mark";

    fn ask(&mut self, request: Request<'_>) -> Result<Self::Ask, Box<str>> {
        match (request.f, request.value.as_int()) {
            ("raise", Some(number)) => Ok(Some(number)),
            ("read", _) => Ok(None),
            _ => Err("model mark has raise, with a number, and read".into()),
        }
    }

    fn answer(&mut self, ask: &Self::Ask, value: &Value) -> Result<i64, Box<str>> {
        let number = ask.or_else(|| value.as_int());
        number.ok_or_else(|| "expected a number".into())
    }

    fn say_ask(&self, ask: &Self::Ask) -> String {
        ask.map_or("read".into(), |number| format!("raise to {number}"))
    }

    fn say_answer(&self, _: &Self::Ask, answer: &i64) -> String {
        answer.to_string()
    }

    fn say_state(&self, mark: &i64) -> String {
        mark.to_string()
    }
}

/// Whether a history of the model is linearizable; none where the limits came first.
fn is_linearizable(history: &[u8]) -> Result<Option<bool>, Box<dyn Error>> {
    let recording = formats::read(history, &formats::Options::default())?;
    let mut model = Mark;
    let mut operations = Vec::new();
    for (number, invocation) in (0..).zip(&recording.invocations) {
        let operation = understand(&mut model, &recording, number, invocation);
        operations.extend(operation.map_err(|at| format!("line {}: {}", at.line, at.problem))?);
    }
    Ok(
        match linearize(&model, &operations, &Limits::default()).found {
            Found::Legal => Some(true),
            Found::Illegal(_) => Some(false),
            Found::Undecided { .. } => None,
        },
    )
}

/// The 9 was asked for and never answered: it counts once somebody has read it.
const HISTORY: &str = r#"{"murphy":"history","version":1,"model":"mark"}
{"type":"invoke","process":"a","f":"raise","value":5}
{"type":"ok","process":"a","f":"raise"}
{"type":"invoke","process":"b","f":"raise","value":9}
{"type":"info","process":"b","f":"raise"}
{"type":"invoke","process":"a","f":"read"}
{"type":"ok","process":"a","f":"read","value":9}
{"type":"invoke","process":"c","f":"read"}
{"type":"ok","process":"c","f":"read","value":5}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    match is_linearizable(HISTORY.as_bytes())? {
        Some(true) => println!("linearizable"),
        Some(false) => println!("not linearizable: the mark fell from 9 to 5"),
        None => println!("undecided"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_fell_is_found() {
        assert_eq!(is_linearizable(HISTORY.as_bytes()).unwrap(), Some(false));
    }

    #[test]
    fn a_number_that_was_never_answered_may_count_or_not() {
        let not_yet = HISTORY.replacen(r#""value":9}"#, r#""value":5}"#, 2);
        let asked = not_yet.replacen(r#""f":"raise","value":5}"#, r#""f":"raise","value":4}"#, 1);
        // Raised to 4, then to 5 without an answer; both read 5, and that is possible.
        assert_eq!(is_linearizable(asked.as_bytes()).unwrap(), Some(true));
        let never = asked.replace(r#""value":5}"#, r#""value":3}"#);
        assert_eq!(is_linearizable(never.as_bytes()).unwrap(), Some(false));
    }
}
