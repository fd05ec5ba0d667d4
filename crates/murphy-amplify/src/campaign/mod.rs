//! A campaign injects the errors of models at growing rates, and judges what the target does about each.

pub mod effect;
pub mod search;
pub mod verdict;
