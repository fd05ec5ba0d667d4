//! A model of one's own, of a mark that only rises: `raise` a number, `read` the greatest so far.

#![allow(
    clippy::print_stdout,
    reason = "an example's result goes to standard output"
)]

use std::error::Error;

use murphy_check::{
    formats,
    judge::{self, Quick, judge_by},
    model::{Model, Request, Vocabulary},
    value::Value,
    verdict::Judgement,
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

impl Quick for Mark {}

/// What a history says of the promise that the model is linearizable, with its witness where it is not.
fn linearizable(history: &[u8]) -> Result<Judgement, Box<dyn Error>> {
    let mut recording = formats::read(history, &formats::Options::default())?;
    let judged = judge_by(&mut Mark, &mut recording, &judge::Options::default())
        .map_err(|at| format!("line {}: {}", at.line, at.problem))?;
    let judgement = judged.report.judgements.into_iter().next();
    Ok(judgement.ok_or("nothing was judged")?)
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
    let judgement = linearizable(HISTORY.as_bytes())?;
    println!("{}: {:?}", judgement.promise, judgement.verdict);
    if let Some(witness) = judgement.witness {
        println!("{} (confirmed: {})", witness.sentence, witness.confirmed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use murphy_check::verdict::Verdict;

    use super::*;

    fn verdict(history: &str) -> Verdict {
        linearizable(history.as_bytes()).unwrap().verdict
    }

    #[test]
    fn a_mark_that_fell_is_found() {
        let judgement = linearizable(HISTORY.as_bytes()).unwrap();
        assert_eq!(judgement.verdict, Verdict::Broken);
        let witness = judgement.witness.unwrap();
        assert!(witness.confirmed, "{}", witness.sentence);
        // The two reads clash, whatever became of the numbers.
        let clashing = witness.lines.iter().filter(|line| line.clashes);
        assert_eq!(clashing.count(), 2, "{:#?}", witness.lines);
    }

    #[test]
    fn a_number_that_was_never_answered_may_count_or_not() {
        let not_yet = HISTORY.replacen(r#""value":9}"#, r#""value":5}"#, 2);
        let asked = not_yet.replacen(r#""f":"raise","value":5}"#, r#""f":"raise","value":4}"#, 1);
        // Raised to 4, then to 5 without an answer; both read 5, and that is possible.
        assert_eq!(verdict(&asked), Verdict::Held);
        let never = asked.replace(r#""value":5}"#, r#""value":3}"#);
        assert_eq!(verdict(&never), Verdict::Broken);
    }
}
