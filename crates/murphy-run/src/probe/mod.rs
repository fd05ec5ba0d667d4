//! A probe checks the steady state of a system under test from outside: a page, a port, a command, a log, a figure.
//!
//! A fault shows what it breaks only where something was known to work before. A [`Probe`] says in one text what is
//! expected, a [`Prober`] looks again and again whether it is so, and each [`Look`] passes, fails with a [`Reason`], or
//! could not be made. A [`Watch`] has many probers look at a steady [`Pace`], and a [`Tally`] has the figures of their
//! looks. Each kind of probe is one file: what a user writes, how it is looked at, and what is judged of that.
//!
//! A probe changes nothing but what it asks for: a request has no body, and a command does what its author wrote. It
//! judges nothing but its own look; whether a system is resilient is for whoever has the tallies. docs/probes.md has the
//! forms and the reasons.

mod command;
mod comparison;
mod grammar;
mod http;
mod log;
mod look;
mod pattern;
mod prober;
mod prometheus;
mod tally;
mod tcp;
mod watch;

pub use command::Command;
pub use comparison::Comparison;
pub use grammar::{BadProbe, Kind, Probe};
pub use http::{Http, Statuses};
pub use log::Log;
pub use look::{Look, Outcome, Reason};
pub use pattern::{Expected, Pattern};
pub use prober::{LIMIT_MAX, Prober, ProberError};
pub use prometheus::Prometheus;
pub use tally::{Figures, Tally};
pub use tcp::Tcp;
pub use watch::{BadPace, PROBES_MAX, Pace, Seen, Watch, WatchError, Watched};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod victim;
