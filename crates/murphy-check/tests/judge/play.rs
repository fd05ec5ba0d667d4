//! Histories of simulated clients as JSON Lines, and ways to spoil them.

use std::fmt::Write as _;

use murphy_check::{
    model::{Request, Vocabulary},
    value::Value,
};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// What clients ask, as JSON, with what they may be answered, rightly or wrongly.
pub struct Domain {
    /// The word, the request, the answers.
    pub requests: Vec<(&'static str, String, Vec<String>)>,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Ok(String),
    Fail,
    Info,
    Never,
}

/// One operation of a history.
#[derive(Clone, Debug)]
pub struct Played {
    pub process: u32,
    pub request: usize,
    pub call: u64,
    pub ended: u64,
    pub end: End,
}

/// A value of JSON.
pub fn value(json: &str) -> Value {
    fn of(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Nil,
            serde_json::Value::Bool(truth) => Value::Bool(*truth),
            serde_json::Value::Number(number) => Value::Int(number.as_i64().expect("an integer")),
            serde_json::Value::String(text) => Value::text(text.as_str()),
            serde_json::Value::Array(values) => Value::list(values.iter().map(of)),
            serde_json::Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| (Value::text(name.as_str()), of(value)));
                Value::Map(fields.collect())
            }
        }
    }
    of(&serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}")))
}

/// A history as text: calls before answers of the same moment.
pub fn text(model: &str, domain: &Domain, history: &[Played]) -> String {
    let mut lines = Vec::new();
    for played in history {
        let (f, ask, _) = &domain.requests[played.request];
        let process = played.process;
        let mut line = |time: u64, is_answer: bool, kind: &str, value: &str| {
            let line = format!(
                r#"{{"type":"{kind}","process":"c{process}","f":"{f}"{value},"time":{time}}}"#
            );
            lines.push((time, is_answer, line));
        };
        line(played.call, false, "invoke", &format!(r#","value":{ask}"#));
        match &played.end {
            End::Ok(answer) => line(played.ended, true, "ok", &format!(r#","value":{answer}"#)),
            End::Fail => line(played.ended, true, "fail", r#","error":"refused""#),
            End::Info => line(played.ended, true, "info", ""),
            End::Never => {}
        }
    }
    lines.sort_by_key(|(time, is_answer, _)| (*time, *is_answer));
    let mut text = format!("{{\"murphy\":\"history\",\"version\":1,\"model\":\"{model}\"}}\n");
    for (_, _, line) in lines {
        writeln!(text, "{line}").expect("a string");
    }
    text
}

struct Open<M: Vocabulary> {
    played: Played,
    ask: M::Ask,
    has_acted: bool,
}

/// `size` requests by three clients, each of which acts on the model once between its call and its answer. Moments of
/// different clients are often equal, those of one never.
pub fn play<M: Vocabulary + Default>(
    domain: &Domain,
    size: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<Played> {
    let mut model = M::default();
    let mut state = model.initial();
    let mut open: [Option<Open<M>>; 3] = [None, None, None];
    let (mut process, mut last) = ([0, 1, 2], [0_u64; 3]);
    let (mut history, mut asked, mut moment) = (Vec::new(), 0, 0_u64);
    for _ in 0..size * 12 {
        let client = rng.random_range(0..3);
        moment += rng.random_range(0..3);
        match &mut open[client] {
            place @ None if asked < size && moment > last[client] => {
                let request = rng.random_range(0..domain.requests.len());
                let (f, ask, _) = &domain.requests[request];
                let request_value = value(ask);
                let ask = Request {
                    process: process[client],
                    f,
                    value: &request_value,
                };
                *place = Some(Open {
                    played: Played {
                        process: process[client],
                        request,
                        call: moment,
                        ended: 0,
                        end: End::Never,
                    },
                    ask: model.ask(ask).expect("a request of the domain"),
                    has_acted: false,
                });
                asked += 1;
            }
            Some(request) if !request.has_acted => {
                let mut legal = Vec::new();
                for said in &domain.requests[request.played.request].2 {
                    let answer = model
                        .answer(&request.ask, &value(said))
                        .expect("an answer of the domain");
                    let mut next = Vec::new();
                    model.step(&state, &request.ask, Some(&answer), &mut |state| {
                        next.push(state);
                    });
                    legal.extend(next.into_iter().map(|state| (said.clone(), state)));
                }
                if let Some((said, after)) = legal.choose(rng) {
                    state = after.clone();
                    request.played.end = End::Ok(said.clone());
                    request.has_acted = true;
                } else if rng.random_bool(0.2) {
                    // What cannot happen is refused.
                    request.played.end = End::Fail;
                    request.has_acted = true;
                }
            }
            Some(request) if moment > request.played.call => {
                request.played.ended = moment;
                let mut done = open[client].take().expect("an open request").played;
                last[client] = moment;
                if done.end != End::Fail && rng.random_bool(0.15) {
                    done.end = if rng.random_bool(0.5) {
                        End::Info
                    } else {
                        End::Never
                    };
                    process[client] += 3;
                }
                history.push(done);
            }
            _ => {}
        }
    }
    for mut request in open.into_iter().flatten() {
        request.played.end = End::Never;
        history.push(request.played);
    }
    history.sort_by_key(|played| played.call);
    history
}

/// Changes one thing; what comes out may be legal or not.
pub fn spoil(domain: &Domain, history: &mut Vec<Played>, rng: &mut ChaCha8Rng) {
    let (one, other) = (
        rng.random_range(0..history.len()),
        rng.random_range(0..history.len()),
    );
    let fresh = 100 + u32::try_from(rng.random_range(0..1000)).expect("small");
    match rng.random_range(0..8) {
        0 => {
            let place = &mut history[one];
            place.ended = place.ended.max(place.call);
            place.end = if rng.random_bool(0.5) {
                End::Info
            } else {
                End::Never
            };
        }
        1 if history.len() > 2 => {
            history.remove(one);
        }
        2 if history[one].end != End::Never => {
            // Earlier or later, by somebody else.
            let shift = rng.random_range(0..6);
            let length = history[one].ended.saturating_sub(history[one].call);
            history[one].call = (history[one].call + shift).saturating_sub(3);
            history[one].ended = history[one].call + length;
            history[one].process = fresh;
        }
        3 if matches!(history[one].end, End::Ok(_)) => history[one].end = End::Fail,
        4 if history[one].request == history[other].request => {
            let (first, second) = (history[one].end.clone(), history[other].end.clone());
            if let (End::Ok(_), End::Ok(_)) = (&first, &second) {
                (history[one].end, history[other].end) = (second, first);
            }
        }
        5 => {
            let request = rng.random_range(0..domain.requests.len());
            history[one].request = request;
            if let End::Ok(_) = history[one].end {
                let answer = domain.requests[request].2.choose(rng).expect("answers");
                history[one].end = End::Ok(answer.clone());
            }
        }
        _ => {
            let answers = &domain.requests[history[one].request].2;
            if let End::Ok(answer) = &mut history[one].end {
                answer.clone_from(answers.choose(rng).expect("answers"));
            }
        }
    }
    history.sort_by_key(|played| played.call);
    // A process that goes on after an unknown outcome, or that would overlap itself, is somebody else from there on.
    let mut next = history
        .iter()
        .map(|played| played.process)
        .max()
        .unwrap_or_default()
        + 1;
    for at in 0..history.len() {
        let clashes = history[..at].iter().any(|earlier| {
            earlier.process == history[at].process
                && (matches!(earlier.end, End::Never | End::Info)
                    || earlier.ended >= history[at].call)
        });
        if clashes {
            history[at].process = next;
            next += 1;
        }
    }
}
