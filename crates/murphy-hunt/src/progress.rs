//! Progress is what a hunt tells while it works; the binary decides what of it is shown, and how.

use std::sync::Arc;

/// One thing worth knowing while it happens. Times are seconds since the start of the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The cluster is being started.
    Starting,
    /// Every node serves.
    Ready {
        /// Seconds from the first start to the last healthy node.
        after_s: f64,
    },
    /// A round begins.
    Round {
        /// Its number, from 1.
        number: u32,
    },
    /// A fault did what it does.
    Fault {
        /// When.
        at_s: f64,
        /// What it did, measured.
        text: String,
    },
    /// The members were compared.
    Quiet {
        /// When.
        at_s: f64,
        /// What each of them holds.
        text: String,
    },
    /// A promise was seen to be broken.
    Broken {
        /// When.
        at_s: f64,
        /// Which, and why.
        text: String,
    },
    /// A node ended that nobody had ended.
    Died {
        /// When.
        at_s: f64,
        /// Which, how, and its last words.
        text: String,
    },
    /// The state of the moment, several times a second.
    Now(Snapshot),
    /// The judge is reading.
    Checking,
}

/// The state of the moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// Round, from 1.
    pub round: u32,
    /// Every node.
    pub nodes: Vec<NodeNow>,
    /// Client invocations ended.
    pub operations: u64,
    /// Those with unknown outcome.
    pub unknown: u64,
}

/// One node at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeNow {
    /// Its name.
    pub name: String,
    /// `leader`, `follower`, `killed`, `paused`, `down`.
    pub state: &'static str,
    /// How far its data is, where it answers.
    pub revision: Option<i64>,
}

/// Who listens.
pub type Listener = Arc<dyn Fn(Progress) + Send + Sync>;
