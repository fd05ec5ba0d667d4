//! What it costs to end connections, and what it costs those that are spared: resets among 54,000 idle connections, beside
//! `ss -K`; questions and answers while a disconnection is in force; and one draw a second among 10,000.
//!
//! A table on stdout, or one JSON object with `--json`. What is measured against each other is measured in one run and in
//! turn, because the machine is never quiet. `--runs 4` takes the figures of spared connections so often, and each other
//! one a quarter of it; `--only resets` only some of them: `resets`, `spared`, `recurrent`.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "what could not be measured is no result"
)]

#[path = "../net/figure.rs"]
#[allow(
    dead_code,
    reason = "not every figure of networks is one of connections"
)]
mod figure;
mod holder;
mod lab;
#[path = "../net/parts.rs"]
mod parts;
mod recurrent;
mod resets;
mod spared;

use std::{env, error::Error};

use lab::Lab;
use parts::Part;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PARTS: [Part<Lab>; 3] = [
    ("resets", |lab, runs| resets::measure(lab, runs.div_ceil(4))),
    ("spared", spared::measure),
    ("recurrent", |lab, runs| {
        recurrent::measure(lab, runs.div_ceil(4))
    }),
];

fn main() -> Outcome<()> {
    let words: Vec<String> = env::args().collect();
    if words.get(1).is_some_and(|word| word == holder::WORD) {
        return holder::run(&words[2..]);
    }
    parts::measure(&PARTS, Lab::lay)
}
