//! A score says how well what was found tells what was injected: each fault detected, late, missed or taken for something
//! else, after how long, and which alarms nothing explains.
//!
//! An [`Injected`] fault is the truth, an [`Alarm`] is what somebody has said, a finding of Murphy's or an alert of
//! Prometheus; [`Cause`] has the table of which findings are right for what. [`score`] is a pure function of these. [`Log`]
//! reads them from lines of Murphy, and [`prometheus`] asks for alerts.

mod alarm;
mod cause;
mod injected;
mod judge;
pub mod prometheus;
mod read;
mod told;

pub use alarm::{Alarm, What};
pub use cause::{Answer, Cause, answer};
pub use injected::{Injected, Only, Seat, Seen};
pub use judge::{By, FalseAlarms, Figure, Limits, Score, Scored, Verdict, Watch, score};
pub use read::{Log, ReadError};

#[cfg(test)]
mod tests;
