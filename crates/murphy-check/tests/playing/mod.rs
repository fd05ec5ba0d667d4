//! Small histories of any model, played by simulated clients, and ways to spoil them.

use murphy_check::{
    history::Kind,
    model::{Operation, OperationOf, Request, Vocabulary},
    value::Value,
};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// What may be answered to a request of a given value.
type Answers<'a> = &'a dyn Fn(&Value) -> Vec<Value>;

/// What clients ask, and what they may be answered, rightly or wrongly.
pub struct Domain<'a> {
    requests: Vec<(&'a str, Value, Answers<'a>)>,
}

impl<'a> Domain<'a> {
    /// Each `f` with the values it is asked with.
    pub fn new(words: &[(&'a str, Vec<Value>, Answers<'a>)]) -> Self {
        let requests = words.iter().flat_map(|(f, values, answers)| {
            values
                .iter()
                .map(move |value| (*f, value.clone(), *answers))
        });
        Self {
            requests: requests.collect(),
        }
    }
}

/// One line of a history: whether it is an answer, of which operation, and what it says.
#[derive(Clone, Debug)]
pub struct Line {
    pub moment: u64,
    pub kind: Kind,
    pub process: String,
    pub f: String,
    pub value: Value,
    /// Position of the operation in the history.
    pub position: usize,
}

impl Domain<'_> {
    /// A history as it would have been written, in the order of time; `None` where a process asks twice at a time. An
    /// unknown outcome is said a moment later for every second operation, and never for the others.
    #[allow(dead_code, reason = "not every test writes histories down")]
    pub fn written<M: Vocabulary>(
        &self,
        model: &mut M,
        history: &[OperationOf<M>],
    ) -> Option<Vec<Line>> {
        let mut lines = Vec::new();
        for (position, operation) in history.iter().enumerate() {
            let process = operation.process;
            let request = |f, value| Request { process, f, value };
            let (f, value, answers) = (self.requests.iter()).find(|(f, value, _)| {
                model.ask(request(f, value)).as_ref() == Ok(&operation.ask)
            })?;
            // Only a lock cares who asks.
            let process = if M::NAME == "mutex" {
                format!("p{process}")
            } else {
                format!("o{position}")
            };
            let line = |moment, kind, value| Line {
                moment,
                kind,
                process: process.clone(),
                f: (*f).to_owned(),
                value,
                position,
            };
            lines.push(line(operation.call, Kind::Invoke, value.clone()));
            match &operation.answer {
                Some(answer) => {
                    let said = format!("{answer:?}");
                    let said = answers(value).into_iter().find(|value| {
                        let answer = model.answer(&operation.ask, value);
                        answer.is_ok_and(|answer| format!("{answer:?}") == said)
                    });
                    lines.push(line(operation.end, Kind::Ok, said?));
                }
                None if position % 2 == 0 => {
                    lines.push(line(operation.call + 1, Kind::Info, Value::Nil));
                }
                None => {}
            }
        }
        lines.sort_by_key(|line| (line.moment, line.kind != Kind::Invoke));
        let mut open = std::collections::HashMap::new();
        for line in &lines {
            let is_in_order = match line.kind {
                Kind::Invoke => open.insert(&line.process, line.position).is_none(),
                _ => open.remove(&line.process) == Some(line.position),
            };
            if !is_in_order {
                return None;
            }
        }
        Some(lines)
    }
}

/// A text.
pub fn text(text: &str) -> Value {
    Value::text(text)
}

/// A list of numbers.
pub fn list(numbers: impl IntoIterator<Item = i64>) -> Value {
    Value::list(numbers.into_iter().map(Value::Int))
}

/// A map with keys of text.
pub fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.map(|(name, value)| (text(name), value)).into())
}

/// One client's open request.
struct Open<M: Vocabulary> {
    operation: OperationOf<M>,
    /// The answers there may be to it.
    answers: Vec<M::Answer>,
    has_acted: bool,
}

/// A history of `size` requests by three clients, played on the model itself: each acts once between call and answer,
/// and some are never answered.
pub fn play<M: Vocabulary>(
    model: &mut M,
    domain: &Domain<'_>,
    size: u32,
    rng: &mut ChaCha8Rng,
) -> Vec<OperationOf<M>> {
    let mut state = model.initial();
    let mut open: [Option<Open<M>>; 3] = [None, None, None];
    let mut history = Vec::new();
    let (mut moment, mut asked, mut process) = (0, 0, [0, 1, 2]);
    // A request that can never be answered, such as a second acquire, stays open for ever.
    for _ in 0..size * 12 {
        let client = rng.random_range(0..3);
        moment += rng.random_range(0..3);
        match &mut open[client] {
            place @ None if asked < size => {
                *place = Some(ask(model, domain, process[client], moment, asked, rng));
                asked += 1;
            }
            None => {}
            Some(request) if !request.has_acted => {
                let legal: Vec<_> = (request.answers.iter())
                    .filter(|answer| model.allows(&state, &request.operation.ask, Some(answer)))
                    .collect();
                if let Some(answer) = legal.choose(rng) {
                    let mut next = Vec::new();
                    model.step(&state, &request.operation.ask, Some(answer), &mut |state| {
                        next.push(state);
                    });
                    state = next.choose(rng).expect("a legal answer").clone();
                    request.operation.answer = Some((*answer).clone());
                    request.has_acted = true;
                }
            }
            Some(_) => {
                let mut done = open[client].take().expect("an open request").operation;
                done.end = moment;
                if rng.random_bool(0.15) {
                    // The client never hears of it, and goes on as somebody else.
                    (done.end, done.answer) = (u64::MAX, None);
                    process[client] += 3;
                }
                history.push(done);
            }
        }
    }
    for request in open.into_iter().flatten() {
        history.push(Operation {
            end: u64::MAX,
            answer: None,
            ..request.operation
        });
    }
    history.sort_by_key(|operation| operation.call);
    history
}

fn ask<M: Vocabulary>(
    model: &mut M,
    domain: &Domain<'_>,
    process: u32,
    call: u64,
    number: u32,
    rng: &mut ChaCha8Rng,
) -> Open<M> {
    let (f, value, answers) = domain.requests.choose(rng).expect("a domain that asks");
    let ask = model
        .ask(Request { process, f, value })
        .expect("a request of the domain");
    let answers = answers(value)
        .into_iter()
        .map(|said| model.answer(&ask, &said).expect("an answer of the domain"));
    Open {
        answers: answers.collect(),
        operation: Operation {
            process,
            call,
            end: u64::MAX,
            ask,
            answer: None,
            number,
        },
        has_acted: false,
    }
}

/// Changes one thing: an answer, who was answered what, when an operation began or ended, or whether it was answered.
/// What comes out may be legal or not.
pub fn spoil<M: Vocabulary>(
    model: &mut M,
    domain: &Domain<'_>,
    history: &mut Vec<OperationOf<M>>,
    rng: &mut ChaCha8Rng,
) {
    let (one, other) = (
        rng.random_range(0..history.len()),
        rng.random_range(0..history.len()),
    );
    match rng.random_range(0..6) {
        0 => (history[one].call, history[other].call) = (history[other].call, history[one].call),
        1 if history[one].answer.is_some() && history[other].answer.is_some() => {
            (history[one].end, history[other].end) = (history[other].end, history[one].end);
        }
        2 => {
            history[one].end = u64::MAX;
            history[one].answer = None;
        }
        3 if history.len() > 2 => {
            history.remove(one);
        }
        _ => {
            let fresh = ask(model, domain, history[one].process, 0, 0, rng);
            let place = &mut history[one];
            let answer = fresh.answers.choose(rng).cloned();
            // Another request in its place, with some answer.
            place.ask = fresh.operation.ask;
            place.answer = place.answer.is_some().then_some(answer).flatten();
            if place.answer.is_none() {
                place.end = u64::MAX;
            }
        }
    }
    for operation in history.iter_mut() {
        operation.end = operation.end.max(operation.call);
    }
    history.sort_by_key(|operation| operation.call);
}
