//! Lookups are names that were asked for at a server of DNS, one after the other: what came of each, and how soon.

use std::{collections::VecDeque, time::Duration};

use murphy_sys::dns_tap::{Code, Outcome, Resolution};

/// One name that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// When its outcome was known, in nanoseconds since boot.
    pub at_ns: u64,
    /// How long the answer took; none where it did not come in time.
    pub took: Option<Duration>,
    /// Whether the answer says that the server could not say.
    pub is_refused: bool,
}

impl Lookup {
    /// Of a resolution whose outcome became known at a time.
    pub fn of(resolution: &Resolution, at_ns: u64) -> Self {
        let is_refused = match resolution.outcome {
            // Who has no such name, or none of the kind, has said so.
            Outcome::Missing | Outcome::Answered(Code::NoError | Code::NxDomain) => false,
            Outcome::Answered(_) => true,
        };
        Self {
            at_ns,
            took: resolution.took,
            is_refused,
        }
    }

    /// Whether nothing came of it.
    pub fn has_failed(&self) -> bool {
        self.is_refused || self.took.is_none()
    }
}

/// The last lookups at a server.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    all: VecDeque<Lookup>,
    /// How many there were in all, and how many of them failed.
    total: (u64, u64),
}

impl Lookups {
    /// No more are kept.
    pub const MAX: usize = 600;

    /// One more.
    pub fn push(&mut self, lookup: Lookup) {
        if self.all.len() >= Self::MAX {
            self.all.pop_front();
        }
        self.all.push_back(lookup);
        self.total.0 += 1;
        self.total.1 += u64::from(lookup.has_failed());
    }

    /// How many there were in all, and how many of them failed.
    pub fn total(&self) -> (u64, u64) {
        self.total
    }

    /// The latest first.
    pub fn latest(&self) -> impl Iterator<Item = &Lookup> {
        self.all.iter().rev()
    }

    /// Those whose outcome was known after a time, the latest first.
    pub fn since(&self, at_ns: u64) -> impl Iterator<Item = &Lookup> {
        self.latest().take_while(move |lookup| lookup.at_ns > at_ns)
    }
}

/// How long those took that were answered, in microseconds, from the shortest on.
pub fn times_us<'a>(lookups: impl IntoIterator<Item = &'a Lookup>) -> Vec<u64> {
    let took = lookups.into_iter().filter_map(|lookup| lookup.took);
    let mut times: Vec<u64> = took.map(crate::pings::micros).collect();
    times.sort_unstable();
    times
}
