//! A recording is what the system calls of a target came to, interval by interval: `errors.jsonl`, version 1 (docs/amplify-models.md).
//!
//! [`crate::recorder::Writer`] writes it while it is made. Here it is read: interval by interval by [`Reader`], or folded into a
//! [`Recording`], which keeps one small number for each interval and kind of calls, so that a day of it stays in a few megabytes.
//!
//! An interval counts once its last line is there. A recording that ends in the middle of one is read up to there, and says what
//! was left out ([`Recording::cut`]): whoever records may be killed. Any other damage is an error with its line and column: rates of
//! what is only half there would be wrong, and nobody would know.

mod counts;
mod key;
mod line;
mod reader;
pub mod schema;

pub use counts::Counts;
pub use key::Key;
pub use line::{call_named, errno_named};
pub use reader::{Reader, Whole};

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
};

use murphy_sys::syscalls::Errno;

use crate::recorder::{Header, Row};
use line::Flaw;

/// A recording takes no more memory.
const BYTES_MAX: usize = 256 << 20;

/// Why a recording cannot be read. The text begins with `line:column`, to which the caller adds the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A line is not what the format says.
    #[error("{line}:{column}: {problem}")]
    Malformed {
        /// Line of the file, from 1.
        line: u64,
        /// Byte of the line, from 1.
        column: u64,
        /// What was expected.
        problem: String,
    },
    /// The file itself cannot be read further.
    #[error("{line}:1: {source}")]
    Io {
        /// The line that was to be read.
        line: u64,
        /// The reason.
        source: io::Error,
    },
    /// It does not fit into memory.
    #[error(
        "a recording of {intervals} intervals and {kinds} kinds of calls takes more than {} MiB of memory; record with a longer --interval",
        BYTES_MAX >> 20
    )]
    TooLarge {
        /// How many intervals were read.
        intervals: u64,
        /// How many kinds of calls, errors told apart.
        kinds: usize,
    },
}

impl RecordingError {
    fn at(line: u64, flaw: Flaw) -> Self {
        Self::Malformed {
            line,
            column: flaw.column,
            problem: flaw.problem,
        }
    }
}

/// What was left out at the end of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The interval that was not whole.
    pub interval: u64,
    /// The first line that was left out.
    pub from_line: u64,
    /// How many lines were.
    pub lines: u64,
    /// Whether the last of them is only the beginning of one.
    pub is_torn: bool,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interval,
            from_line,
            lines,
            is_torn,
        } = self;
        let (s, were) = if *lines == 1 {
            ("", "was")
        } else {
            ("s", "were")
        };
        write!(
            f,
            "the recording is cut short in interval {interval}: {lines} line{s} from line {from_line} on {were} left out"
        )?;
        f.write_str(if *is_torn { ", the last is torn" } else { "" })
    }
}

/// Calls of one key, interval by interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many were made, but for those that began again: the denominators.
    pub made: Counts,
    /// How often one was interrupted by a signal, to begin again or to fail with `EINTR`: nobody knows which.
    pub restarted: u64,
    /// How many failed, by why.
    pub errors: BTreeMap<Errno, Counts>,
    /// How long all took together, in nanoseconds; 0 where that was not taken.
    pub took_ns: u64,
    /// Of the interval at hand.
    now: u64,
}

impl Calls {
    /// What came of an error in each interval in which a call was made: how many failed with it, and how many were made.
    pub fn failed(&self, errno: Errno) -> impl Iterator<Item = (u64, u64)> + '_ {
        let errors = self.errors.get(&errno).into_iter().flat_map(Counts::iter);
        // Those that were never seen have failed in no interval.
        let errors = errors.chain(std::iter::repeat(0));
        errors.zip(self.made.iter())
    }
}

/// A whole recording.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What its first line says.
    pub header: Header,
    /// How many intervals are whole.
    pub intervals: u64,
    /// How long they are together, in nanoseconds.
    pub lasted_ns: u64,
    /// Calls that could not be counted.
    pub lost: u64,
    /// How often everybody had gone, and somebody came again.
    pub restarts: u64,
    /// Calls by numbers that this Murphy has no name for.
    pub unnamed: BTreeMap<String, u64>,
    /// What was left out at its end.
    pub cut: Option<Cut>,
    /// All kinds of calls.
    pub calls: BTreeMap<Key, Calls>,
}

impl Recording {
    /// Reads a whole recording.
    pub fn read(source: impl Read) -> Result<Self, RecordingError> {
        let mut reader = Reader::new(source)?;
        let mut recording = Self {
            header: reader.header().clone(),
            intervals: 0,
            lasted_ns: 0,
            lost: 0,
            restarts: 0,
            unnamed: BTreeMap::new(),
            cut: None,
            calls: BTreeMap::new(),
        };
        while let Some(whole) = reader.next_interval()? {
            recording.add(&whole);
            if recording.bytes() > BYTES_MAX {
                let kinds = recording.calls.values().map(|one| one.errors.len() + 1);
                return Err(RecordingError::TooLarge {
                    intervals: recording.intervals,
                    kinds: kinds.sum(),
                });
            }
        }
        recording.cut = reader.cut();
        Ok(recording)
    }

    fn add(&mut self, whole: &Whole) {
        let interval = &whole.interval;
        for row in &interval.rows {
            self.add_row(row);
        }
        for (call, count) in &whole.unnamed {
            let all = self.unnamed.entry(call.clone()).or_default();
            *all = all.saturating_add(*count);
        }
        for calls in self.calls.values_mut() {
            let now = std::mem::take(&mut calls.now);
            calls.made.push(now);
        }
        self.intervals += 1;
        let lasted = interval.to_ns - interval.from_ns;
        self.lasted_ns = self.lasted_ns.saturating_add(lasted);
        self.lost = self.lost.saturating_add(interval.lost);
        self.restarts = self.restarts.saturating_add(interval.restarts);
    }

    fn add_row(&mut self, row: &Row) {
        let before = self.intervals;
        let calls = self.calls.entry(row.key.into()).or_insert_with(|| Calls {
            made: Counts::zeros(before),
            ..Calls::default()
        });
        calls.took_ns = calls.took_ns.saturating_add(row.took_ns);
        match row.key.errno {
            Some(errno) if errno.is_restart() => {
                calls.restarted = calls.restarted.saturating_add(row.calls);
            }
            Some(errno) => {
                let errors = calls.errors.entry(errno);
                let errors = errors.or_insert_with(|| Counts::zeros(before));
                errors.push(row.calls);
                calls.now = calls.now.saturating_add(row.calls);
            }
            None => calls.now = calls.now.saturating_add(row.calls),
        }
    }

    /// How many bytes of memory it takes, nearly.
    pub fn bytes(&self) -> usize {
        let of_calls = |calls: &Calls| {
            let errors = calls.errors.values().map(Counts::bytes);
            size_of::<Key>() + size_of::<Calls>() + calls.made.bytes() + errors.sum::<usize>()
        };
        self.calls.values().map(of_calls).sum()
    }
}

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;
