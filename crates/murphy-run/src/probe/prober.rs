//! A prober is a probe at work: it has what a look needs, and remembers what the next one has to know.

use std::{
    io,
    process::Child,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use murphy_observe::http::Waiter;
use murphy_sys::clock::boottime_ns;

use super::{
    command::Command,
    grammar::{Kind, Probe},
    http::Http,
    log::{Log, Reading},
    look::{Look, Outcome},
    prometheus::Prometheus,
    tcp::Tcp,
};

/// No look takes longer than this.
pub const LIMIT_MAX: Duration = Duration::from_mins(1);

/// Looks as often as it is told to.
///
/// Its looks wait on the calling thread, which must not be one of an asynchronous runtime.
#[derive(Debug)]
pub struct Prober {
    at_work: AtWork,
    limit: Duration,
}

/// A kind of probe with what it needs.
#[derive(Debug)]
enum AtWork {
    Http(Http, Waiter),
    Tcp(Tcp, Waiter),
    /// With a program of an earlier look that could not be killed.
    Command(Command, Option<Child>),
    Log(Log, Reading),
    Prometheus(Prometheus, Waiter),
}

/// A probe that cannot be set to work.
#[derive(Debug, thiserror::Error)]
#[error("set the probe {probe} to work: {source}")]
pub struct ProberError {
    /// Its name.
    pub probe: String,
    /// What the kernel says.
    pub source: io::Error,
}

impl Prober {
    /// Sets a probe to work; each look takes at most `limit`, and no more than [`LIMIT_MAX`]. What a log has now does not
    /// count.
    pub fn new(probe: &Probe, limit: Duration) -> Result<Self, ProberError> {
        let waiter = || {
            Waiter::new().map_err(|source| ProberError {
                probe: probe.name(),
                source,
            })
        };
        let at_work = match probe.kind().clone() {
            Kind::Http(http) => AtWork::Http(http, waiter()?),
            Kind::Tcp(tcp) => AtWork::Tcp(tcp, waiter()?),
            Kind::Command(command) => AtWork::Command(command, None),
            Kind::Log(log) => {
                let reading = log.end();
                AtWork::Log(log, reading)
            }
            Kind::Prometheus(prometheus) => AtWork::Prometheus(prometheus, waiter()?),
        };
        Ok(Self {
            at_work,
            limit: limit.min(LIMIT_MAX),
        })
    }

    /// Looks once.
    pub fn look(&mut self) -> Look {
        static NEVER: AtomicBool = AtomicBool::new(false);
        self.look_unless(&NEVER)
    }

    /// Looks once, unless nobody wants to know any more: a program that is under way is then killed, and has failed. Other looks
    /// are made to their end.
    pub fn look_unless(&mut self, is_over: &AtomicBool) -> Look {
        let at_ns = boottime_ns();
        let outcome = self.outcome(is_over);
        Look {
            at_ns,
            took_ns: boottime_ns().saturating_sub(at_ns),
            outcome,
        }
    }

    fn outcome(&mut self, is_over: &AtomicBool) -> Outcome {
        let limit = self.limit;
        match &mut self.at_work {
            AtWork::Http(http, waiter) => http.look(waiter, limit),
            AtWork::Tcp(tcp, waiter) => tcp.look(waiter, limit),
            AtWork::Command(command, earlier) => command.look(earlier, limit, is_over),
            AtWork::Log(log, reading) => log.look(reading, Instant::now() + limit),
            AtWork::Prometheus(prometheus, waiter) => prometheus.look(waiter, limit),
        }
    }
}
