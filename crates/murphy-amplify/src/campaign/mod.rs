//! A campaign injects the errors of models at growing rates, and judges what the target does about each.

pub mod command;
pub mod course;
pub mod effect;
pub mod experiment;
pub mod patience;
pub mod row;
pub mod search;
pub mod subject;
pub mod trial;
pub mod validation;
pub mod verdict;
pub mod watching;
