//! Model `counter`: a number that is added to and read.

use super::words::{number, unknown_f};
use crate::{
    model::{Model, Request, Vocabulary},
    value::Value,
};

/// A counter that is 0 in the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// A request to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `read`.
    Read,
    /// `add` of a number, which may be negative; a number in its answer is the counter's after it.
    Add(i64),
}

impl Model for Counter {
    type State = i64;
    type Ask = Ask;
    /// The counter, where the answer says it.
    type Answer = Option<i64>;

    fn initial(&self) -> i64 {
        0
    }

    fn step(
        &self,
        state: &i64,
        ask: &Ask,
        answer: Option<&Option<i64>>,
        next: &mut dyn FnMut(i64),
    ) {
        let after = match ask {
            Ask::Read => *state,
            Ask::Add(amount) => state.wrapping_add(*amount),
        };
        if answer.copied().flatten().is_none_or(|said| said == after) {
            next(after);
        }
    }

    fn is_read(&self, ask: &Ask, _: Option<&Option<i64>>) -> bool {
        matches!(ask, Ask::Read | Ask::Add(0))
    }

    fn tells(&self, _: &Ask, answer: &Option<i64>) -> bool {
        answer.is_some()
    }
}

impl Vocabulary for Counter {
    const NAME: &'static str = "counter";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        match request.f {
            "read" => Ok(Ask::Read),
            "add" => number("add", request.value).map(Ask::Add),
            f => unknown_f(f, Self::NAME, "read and add"),
        }
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Option<i64>, Box<str>> {
        match (ask, value) {
            (Ask::Read, value) => number("read", value).map(Some),
            // Jepsen repeats the amount in the answer; only a value of its own, `{"value": n}`, is the counter.
            (Ask::Add(_), value) => match value.field("value") {
                None => Ok(None),
                Some(value) => number("add", value).map(Some),
            },
        }
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Read => "read".into(),
            Ask::Add(amount) => format!("add {amount}"),
        }
    }

    fn say_answer(&self, _: &Ask, answer: &Option<i64>) -> String {
        answer.map_or_else(String::new, |value| value.to_string())
    }

    fn say_state(&self, state: &i64) -> String {
        state.to_string()
    }
}
