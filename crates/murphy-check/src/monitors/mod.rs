//! A monitor judges the linearizability of one data type in near-linear time, where every value is put in once.
//!
//! In general the question is NP-complete; where values are distinct each answer names the operation it stems from,
//! and for the types here a cycle, a cover or a crossing that makes a history impossible can then be found by sorting.
//! [`register`], [`set`], [`bag`], [`queue`], [`stack`] and [`priority_queue`] take plain intervals and hand back an
//! [`Outcome`]: linearizable, a violation with the smallest [`Evidence`], or inapplicable, and then a general search
//! has to decide. A monitor never guesses: both verdicts are proved in its module.
//!
//! # Time
//! An operation acts at one moment of the closed interval from `call` to `end`, and one precedes another where its
//! `end` is less than the other's `call`; equal moments are concurrent. An order of the operations respects this
//! *precedence* exactly if moments in their intervals can be found that do not fall along the order: take for each
//! the latest call so far. The proofs use whichever form is shorter. In particular, to cut all intervals to a window
//! that each of them touches makes no new precedence.
//!
//! # Unknown outcomes
//! An operation that was never answered has the end [`u64::MAX`]. Such a write or insertion whose value somebody saw
//! did happen, and its end is bounded by whoever saw it. One whose value nobody saw is left out: if a legal order has
//! it, the order without it (and without the unseen removal that took its value) is legal too, for every type here.
//!
//! # Sources
//! Gibbons and Korach, "Testing shared memories" (SIAM J. Comput. 26, 1997) for the register; Henzinger, Sezgin and
//! Vafeiadis, "Aspect-oriented linearizability proofs" (CONCUR 2013), for the violations of a queue; Lee and Mathur,
//! "Efficient decrease-and-conquer linearizability monitoring" (OOPSLA 2025, arXiv 2410.04581), for the idea to take
//! away one value at a time that cannot matter. Algorithms and proofs are written here from their abstracts.

pub mod bag;
mod container;
mod cover;
mod evidence;
pub(crate) mod groups;
pub(crate) mod ids;
pub mod priority_queue;
pub mod queue;
pub mod register;
pub mod set;
pub mod stack;
mod tree;

pub use container::Event;
pub use evidence::{Evidence, Inapplicable, Outcome, Reason};

/// An operation as a monitor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<E> {
    /// The moment it was asked.
    pub call: u64,
    /// The moment it was answered; [`u64::MAX`] for never.
    pub end: u64,
    /// What was asked and answered.
    pub event: E,
}
