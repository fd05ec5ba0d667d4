//! Amplifies the errors that a program really meets: what its system calls fail with where it runs is recorded, and made more
//! frequent on purpose.
//!
//! 1. a [`Recorder`](recorder::Recorder) counts what the calls of a target come to, interval by interval.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod recorder;
