//! Isolation: whether what transactions saw of each other is allowed by each level, from read uncommitted to strict
//! serializable.
//!
//! Histories are those of Elle's workloads `list-append` and `rw-register`: a value is a list of micro-operations
//! `[f k v]`. [`judge`] finds the anomalies ([`Anomaly`]), which break the levels that forbid them ([`LEVELS`]), and
//! proves each broken level with the smallest part of the history that cannot be of that level, confirmed by a brute
//! force that shares nothing with the search. docs/isolation.md has the tables and the limits.

pub mod brute;
mod cycles;
mod dependencies;
mod examination;
mod findings;
pub mod generate;
mod graph;
mod judgement;
mod levels;
mod observations;
mod sentence;
mod transactions;
mod visibility;
mod witness;

pub use judgement::{Report, Sighting, judge};
pub use levels::{Anomaly, Clock, LEVELS, Level, Shape};

/// What the micro-operations mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// `["append" k v]` adds to the end of a list, `["r" k v]` reads the list.
    ListAppend,
    /// `["w" k v]` writes a register, `["r" k v]` reads it.
    RwRegister,
}

impl Workload {
    /// The name of its model.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListAppend => "list-append",
            Self::RwRegister => "rw-register",
        }
    }

    /// Whether the word of a micro-operation writes.
    fn is_write(self, word: &str) -> Result<bool, String> {
        match (self, word) {
            (_, "r") => Ok(false),
            (Self::ListAppend, "append") | (Self::RwRegister, "w") => Ok(true),
            (Self::ListAppend, _) => Err(format!(
                "unknown micro-operation `{word}`; list-append has append and r"
            )),
            (Self::RwRegister, _) => Err(format!(
                "unknown micro-operation `{word}`; rw-register has w and r"
            )),
        }
    }
}

/// What may be taken for granted, and how long to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A transaction's write of a register follows the version that it read (Elle's `wfr-keys?`).
    pub wfr_keys: bool,
    /// Each process uses the versions of a register in their order (Elle's `sequential-keys?`).
    pub sequential_keys: bool,
    /// Real time uses the versions of a register in their order (Elle's `linearizable-keys?`).
    pub linearizable_keys: bool,
    /// Edges that the search for one shape of cycle may follow before it is given up.
    pub search_limit: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wfr_keys: true,
            sequential_keys: false,
            linearizable_keys: false,
            search_limit: 10_000_000,
        }
    }
}
