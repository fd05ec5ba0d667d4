//! What a disturbed network costs, and how close it is to what was asked: streams beside the path without Murphy, what a
//! packet takes longer, how long an injection takes, and the same of netem and of Toxiproxy.
//!
//! A table on stdout, or one JSON object with `--json`. What is measured against each other is measured in one run and in
//! turn, because the machine is never quiet. `--runs 2` takes each figure only so often, `--only streams` only some of
//! them: `streams`, `answers`, `delays`, `idle`, `injection`.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "what could not be measured is no result"
)]

#[path = "../../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod answers;
mod delays;
mod figure;
mod injection;
mod lab;
mod parts;
mod streams;
mod toxiproxy;

use std::error::Error;

use lab::Lab;
use parts::Part;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PARTS: [Part<Lab>; 5] = [
    ("streams", streams::measure),
    ("answers", answers::measure),
    ("delays", delays::measure),
    ("idle", injection::idle),
    ("injection", injection::measure),
];

fn main() -> Outcome<()> {
    parts::measure(&PARTS, Lab::lay)
}
