//! Isolation levels: hand-written cases, random histories against every order, generated ones of each level.
//!
//! By default a seeded sample; with `MURPHY_SOAK=1` the full count.

#![allow(clippy::print_stdout, reason = "a soak run prints its figures")]

#[path = "isolation/cases.rs"]
mod cases;
#[path = "isolation/generated.rs"]
mod generated;
#[path = "isolation/notation.rs"]
mod notation;
#[path = "isolation/random.rs"]
mod random;
#[path = "isolation/witnesses.rs"]
mod witnesses;
