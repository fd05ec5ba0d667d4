//! Histories, models and checkers: pure functions from what clients saw to a verdict with a witness.

#![forbid(unsafe_code)]

pub mod blob;
pub mod etcd;
pub mod history;
mod intern;
mod json;
pub mod read;
pub mod verdict;
