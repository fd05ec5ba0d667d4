//! What it costs to be observed, and to observe: answers and new connections with `murphy observe` and without, of who is
//! observed and of who is not; memory of 50,000 connections and of 1,000 edges; a scrape; what a BPF program takes.
//!
//! A table on stdout, or one JSON object with `--json`. What is measured against each other is measured in one run and in
//! turn, because the machine is never quiet. `--runs 4` takes each ratio so often; `--only answers` only some of them:
//! `answers`, `connections`, `bystanders`, `programs`, `memory`, `edges`.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(
    clippy::print_stderr,
    reason = "what could not be measured is no result"
)]

#[path = "../../../murphy-sys/tests/wire/mod.rs"]
mod wire;

mod answers;
mod connections;
mod edges;
#[path = "../net/figure.rs"]
#[allow(
    dead_code,
    reason = "not every figure of networks is one of observing them"
)]
mod figure;
mod holder;
mod lab;
mod memory;
#[path = "../net/parts.rs"]
mod parts;
mod programs;

use std::{env, error::Error};

use lab::Lab;
use parts::Part;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PARTS: [Part<Lab>; 6] = [
    ("answers", answers::measure),
    ("connections", connections::measure),
    ("bystanders", connections::bystanders),
    ("programs", |lab, runs| {
        programs::measure(lab, runs.div_ceil(4))
    }),
    ("memory", |lab, runs| {
        memory::measure(lab, runs.div_ceil(10))
    }),
    ("edges", |lab, _| edges::measure(lab)),
];

fn main() -> Outcome<()> {
    let words: Vec<String> = env::args().collect();
    if words.get(1).is_some_and(|word| word == holder::WORD) {
        return holder::run(&words[2..]);
    }
    parts::measure(&PARTS, Lab::lay)
}
