//! Amplifies the errors that a program really meets: what its system calls fail with where it runs is recorded, and made more
//! frequent on purpose.
//!
//! 1. a [`Recorder`](recorder::Recorder) counts what the calls of a target come to, interval by interval;
//! 2. a [`Recording`](recording::Recording) is that, read again;
//! 3. [`models`](model::models) say which errors are to be more frequent, and by how much;
//! 4. a [`campaign`] injects them, and judges what the target does;
//! 5. a [`report`] says it.

#![forbid(unsafe_code)]

pub mod campaign;
mod fields;
pub mod model;
mod nearest;
pub mod recorder;
pub mod recording;
pub mod report;
