//! The judge as its users meet it: histories go in as JSON Lines, verdicts come out.
//!
//! `cases` has a few words for each history and says what is to be found in it; `random` compares with brute force;
//! `input` has what no model understands; `limits` has what nobody can decide.

mod cases;
mod domains;
mod input;
mod limits;
mod notation;
mod play;
mod random;

use murphy_check::{
    formats,
    judge::{Judged, ModelName, Options, judge},
    verdict::Judgement,
};

/// What the judge says of a history.
fn judged(history: &str, options: &Options) -> Judged {
    let mut recording = formats::read(history.as_bytes(), &formats::Options::default())
        .unwrap_or_else(|error| panic!("{error}\n{history}"));
    let model: ModelName = recording.header.model.parse().expect("a model");
    judge(&mut recording, model, options)
        .unwrap_or_else(|error| panic!("line {}: {}", error.line, error.problem))
}

/// The judgement on a promise.
fn on<'a>(judged: &'a Judged, promise: &str) -> &'a Judgement {
    (judged.report.judgements.iter())
        .find(|judgement| judgement.promise == promise)
        .unwrap_or_else(|| panic!("{promise} is not judged"))
}
