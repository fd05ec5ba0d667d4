//! Sequential consistency: is there one legal order of all operations that keeps the order of each process?
//!
//! Lamport 1979. Unlike linearizability it does not ask for real time, and unlike linearizability it is *not
//! compositional*: each key may have its order while no order of all of them keeps that of the processes, as where
//! `a` writes x and then reads y as it was before, and `b` writes y and then reads x as it was before. So a history is
//! judged as a whole, with a state for every part of the model ([`crate::model::Model::part`]).
//!
//! Whoever knows that a history is linearizable need not ask: that order is one. Otherwise:
//!
//! - [`refute`] looks for a contradiction among reads and writes of registers with distinct values, in polynomial time.
//!   It finds most; what it finds is one.
//! - [`search`] decides for any model, within limits: the question is NP-complete (Gibbons and Korach 1997), even for
//!   registers with distinct values.
//!
//! An operation without an answer may take effect at any time after the answered operations of its process before it,
//! also after later ones, or never. It does not wait for earlier ones without an answer.

mod registers;
mod search;

pub use registers::{Refutation, refute};
pub use search::{Explored, Limit, Limits, Outcome, search};
