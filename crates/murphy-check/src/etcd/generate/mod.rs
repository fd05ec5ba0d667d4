//! A generator makes valid histories: a simulated cluster that keeps every promise, with concurrent
//! clients, slow members, kills, unknown outcomes, compactions, and a watch of every key per member.
//!
//! Everything random comes from the seed. The mutations beside it make valid histories invalid, each
//! in one way that is invalid by construction; checkers are tested and measured with both.

mod cluster;
pub mod mutation;
mod story;
mod streams;
mod traffic;

use crate::history::Limits;
use cluster::tell;
pub use story::{Entry, Story, Value};

/// What the clients of a generated history do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Transactions of many conditions and one put.
    Compare,
    /// Puts, deletions, reads of all kinds, compare-and-swap, nested transactions, reads of the past.
    Mixed,
}

/// The shape of a generated history.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// What the clients do.
    pub traffic: Traffic,
    /// How many clients ask at the same time.
    pub clients: usize,
    /// How many operations they ask for altogether.
    pub operations: usize,
    /// How many keys there are.
    pub keys: usize,
    /// How many members answer.
    pub members: usize,
    /// How many conditions a transaction of [`Traffic::Compare`] has.
    pub conditions: usize,
    /// Of a thousand operations, how many never learn their outcome although no member failed.
    pub unknown_per_mille: u32,
    /// How many members are killed on the way, one after another.
    pub kills: usize,
    /// How many compactions there are.
    pub compactions: usize,
    /// Whether members are watched.
    pub watches: bool,
    /// How many clients hold leases, under which the others put some of their pairs.
    pub leases: usize,
    /// How much longer than usual everything takes: leases live for seconds.
    pub slowness: u64,
    /// Whether the keys are those of Kubernetes objects.
    pub registry: bool,
    /// Whether the history ends in the middle, as after Ctrl-C, instead of with dumps.
    pub cut: bool,
}

impl Profile {
    /// A mixed history of `operations` operations by 24 clients on three members, with a few kills.
    pub fn mixed(operations: usize) -> Self {
        Self {
            traffic: Traffic::Mixed,
            clients: 24,
            operations,
            keys: 100,
            members: 3,
            conditions: 0,
            unknown_per_mille: 5,
            kills: 3,
            compactions: 5,
            watches: true,
            leases: 0,
            slowness: 1,
            registry: false,
            cut: false,
        }
    }

    /// A mixed history in which clients hold leases, some of which expire.
    pub fn leased(operations: usize) -> Self {
        Self {
            leases: 3,
            slowness: 25,
            ..Self::mixed(operations)
        }
    }

    /// The traffic that finds etcd's issue 13766: 100 conditions and one put.
    pub fn compare(operations: usize) -> Self {
        Self {
            traffic: Traffic::Compare,
            conditions: 100,
            compactions: 0,
            ..Self::mixed(operations)
        }
    }
}

impl Story {
    /// Generates the history of `seed`.
    pub fn generate(profile: &Profile, seed: u64) -> Self {
        let mut entries = Vec::new();
        let (nodes, guard) = tell(profile, seed, &mut |entry| entries.push(entry));
        Self {
            nodes,
            guard,
            limits: Limits::default(),
            entries,
        }
    }
}

/// Generates the history of `seed` line by line into `sink`.
pub fn write<W: std::io::Write>(profile: &Profile, seed: u64, sink: W) -> std::io::Result<W> {
    let nodes: Vec<String> = (0..profile.members)
        .map(|node| format!("n{node}"))
        .collect();
    let mut writer = story::begin(sink, &nodes, &traffic::guard(profile), Limits::default())?;
    let mut result = Ok(());
    tell(profile, seed, &mut |entry| {
        if result.is_ok() {
            result = story::write_entry(&mut writer, &entry, &nodes);
        }
    });
    result.map(|()| writer.into_inner())
}
