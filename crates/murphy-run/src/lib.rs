//! A run is one execution of a hunt or an experiment: what was asked for, what happened on one clock, what
//! was judged, and the folder in which all of it can be found again.
//!
//! A run goes through these nouns in this order:
//!
//! 1. a [`Folder`] is created and a [`Clock`] started;
//! 2. the [`Request`] says what was asked for, and is written first, so that even a run that is killed can be
//!    repeated;
//! 3. a [`Schedule`] says which fault hits whom and when, drawn from the seed alone;
//! 4. the [`EventLog`] takes down what happened and a [`Series`] how many answers came and how fast;
//! 5. [`record::finish`] writes the [`Verdicts`] and the report;
//! 6. a [`RunRecord`] is all of it read back, and [`report::render`] makes a page of it.
//!
//! Besides, a [`Probe`] checks from outside that the system is as it should be, before, during and after a fault.
//!
//! The crate injects nothing and judges nothing; it asks nobody but what a probe says; it remembers and shows.

#![forbid(unsafe_code)]

pub mod clock;
pub mod events;
pub mod folder;
pub mod probe;
pub mod record;
pub mod report;
pub mod request;
pub mod schedule;
pub mod series;
pub mod timeline;
pub mod verdict;

pub use clock::Clock;
pub use events::EventLog;
pub use folder::Folder;
pub use probe::Probe;
pub use record::RunRecord;
pub use request::{Machine, Request};
pub use schedule::Schedule;
pub use series::Series;
pub use verdict::Verdicts;
