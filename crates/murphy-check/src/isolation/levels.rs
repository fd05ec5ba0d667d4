//! The levels of isolation, which level implies which, and which anomaly forbids which: one table each.
//!
//! Names are Elle's (`consistency_model.clj`) where Elle has one. Sources:
//!
//! - Adya: *Weak Consistency* (1999); Adya, Liskov, O'Neil: *Generalized Isolation Level Definitions* (2000).
//! - Bailis: *Highly Available Transactions* (VLDB 2014), *Scalable Atomic Visibility with RAMP Transactions* (2014).
//! - Cerone: *A Framework for Transactional Consistency Models with Atomic Visibility* (2015), *Analysing Snapshot
//!   Isolation* (2016).
//! - Daudjee: *Lazy Database Replication with Snapshot Isolation* (2006).
//! - AWDIT: *An Optimal Weak Database Isolation Tester* (PLDI 2025), after Biswas and Enea (OOPSLA 2019).
//! - Elle: Kingsbury, Alvaro (VLDB 2020) and its code.

/// A level of isolation; a later one is never weaker than an earlier one that it implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// PL-1: no cycle of writes.
    ReadUncommitted,
    /// PL-1 with the order of each process.
    StrongSessionReadUncommitted,
    /// PL-1 with real time.
    StrongReadUncommitted,
    /// PL-2: no aborted or intermediate reads, no circular flow of information.
    ReadCommitted,
    /// PL-2 with the order of each process.
    StrongSessionReadCommitted,
    /// PL-2 with real time.
    StrongReadCommitted,
    /// Once a transaction has seen something of another, it sees all of it.
    MonotonicAtomicView,
    /// The same with the order of each process: what AWDIT calls read committed.
    StrongSessionMonotonicAtomicView,
    /// PL-CS: no update is lost.
    CursorStability,
    /// A transaction sees all of another or nothing.
    ReadAtomic,
    /// The same with the order of each process: what AWDIT calls read atomic.
    StrongSessionReadAtomic,
    /// What a transaction sees includes what that rests on, and what its process did and saw.
    Causal,
    /// PL-2+: what a transaction sees could be there at once.
    ConsistentView,
    /// Generalized snapshot isolation: each reads a snapshot, the first committer of a key wins.
    SnapshotIsolation,
    /// The snapshot is not older than what the process did.
    StrongSessionSnapshotIsolation,
    /// The snapshot is not older than what was answered.
    StrongSnapshotIsolation,
    /// PL-2.99: no cycle of dependencies on items.
    RepeatableRead,
    /// PL-3: as if one after the other.
    Serializable,
    /// In an order that keeps that of each process.
    StrongSessionSerializable,
    /// In an order that keeps real time.
    StrictSerializable,
}

use Level as L;

/// What a level adds to the order in which transactions must take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clock {
    /// Nothing.
    None,
    /// The order of each process.
    Process,
    /// The order of answers before requests, and that of each process.
    Realtime,
}

/// Every level, weak before strong.
pub const LEVELS: [Level; 20] = [
    L::ReadUncommitted,
    L::StrongSessionReadUncommitted,
    L::StrongReadUncommitted,
    L::ReadCommitted,
    L::StrongSessionReadCommitted,
    L::StrongReadCommitted,
    L::MonotonicAtomicView,
    L::StrongSessionMonotonicAtomicView,
    L::CursorStability,
    L::ReadAtomic,
    L::StrongSessionReadAtomic,
    L::Causal,
    L::ConsistentView,
    L::SnapshotIsolation,
    L::StrongSessionSnapshotIsolation,
    L::StrongSnapshotIsolation,
    L::RepeatableRead,
    L::Serializable,
    L::StrongSessionSerializable,
    L::StrictSerializable,
];

impl Level {
    /// Its name, as in `isolation.<name>`.
    pub fn name(self) -> &'static str {
        match self {
            L::ReadUncommitted => "read-uncommitted",
            L::StrongSessionReadUncommitted => "strong-session-read-uncommitted",
            L::StrongReadUncommitted => "strong-read-uncommitted",
            L::ReadCommitted => "read-committed",
            L::StrongSessionReadCommitted => "strong-session-read-committed",
            L::StrongReadCommitted => "strong-read-committed",
            L::MonotonicAtomicView => "monotonic-atomic-view",
            L::StrongSessionMonotonicAtomicView => "strong-session-monotonic-atomic-view",
            L::CursorStability => "cursor-stability",
            L::ReadAtomic => "read-atomic",
            L::StrongSessionReadAtomic => "strong-session-read-atomic",
            L::Causal => "causal",
            L::ConsistentView => "consistent-view",
            L::SnapshotIsolation => "snapshot-isolation",
            L::StrongSessionSnapshotIsolation => "strong-session-snapshot-isolation",
            L::StrongSnapshotIsolation => "strong-snapshot-isolation",
            L::RepeatableRead => "repeatable-read",
            L::Serializable => "serializable",
            L::StrongSessionSerializable => "strong-session-serializable",
            L::StrictSerializable => "strict-serializable",
        }
    }

    /// The levels it implies directly.
    pub fn implies(self) -> &'static [Self] {
        match self {
            L::ReadUncommitted => &[],
            L::StrongSessionReadUncommitted | L::ReadCommitted => &[L::ReadUncommitted],
            L::StrongReadUncommitted => &[L::StrongSessionReadUncommitted],
            L::StrongSessionReadCommitted => &[L::ReadCommitted, L::StrongSessionReadUncommitted],
            L::StrongReadCommitted => &[L::StrongSessionReadCommitted, L::StrongReadUncommitted],
            // Bailis.
            L::MonotonicAtomicView | L::CursorStability => &[L::ReadCommitted],
            L::StrongSessionMonotonicAtomicView => {
                &[L::MonotonicAtomicView, L::StrongSessionReadCommitted]
            }
            // Cerone.
            L::ReadAtomic => &[L::MonotonicAtomicView],
            L::StrongSessionReadAtomic => &[L::ReadAtomic, L::StrongSessionMonotonicAtomicView],
            // AWDIT.
            L::Causal => &[L::StrongSessionReadAtomic],
            // Adya; a read that misses part of what its transaction saw is a cycle with one anti-dependency.
            L::ConsistentView => &[L::CursorStability, L::MonotonicAtomicView],
            // Adya, Cerone.
            L::SnapshotIsolation => &[L::ConsistentView, L::ReadAtomic],
            // Daudjee, Cerone.
            L::StrongSessionSnapshotIsolation => &[L::SnapshotIsolation, L::Causal],
            L::StrongSnapshotIsolation => {
                &[L::StrongSessionSnapshotIsolation, L::StrongReadCommitted]
            }
            // Adya; there are no predicates here.
            L::RepeatableRead => &[L::ConsistentView],
            L::Serializable => &[L::RepeatableRead, L::SnapshotIsolation],
            L::StrongSessionSerializable => &[L::Serializable, L::StrongSessionSnapshotIsolation],
            L::StrictSerializable => &[L::StrongSessionSerializable, L::StrongSnapshotIsolation],
        }
    }

    /// Whether a history of this level is one of `other` too.
    pub fn is_at_least(self, other: Self) -> bool {
        self == other
            || self
                .implies()
                .iter()
                .any(|weaker| weaker.is_at_least(other))
    }

    /// What it adds to the order in which transactions must take effect.
    pub fn clock(self) -> Clock {
        match self {
            L::StrongSessionReadUncommitted
            | L::StrongSessionReadCommitted
            | L::StrongSessionMonotonicAtomicView
            | L::StrongSessionReadAtomic
            | L::Causal
            | L::StrongSessionSnapshotIsolation
            | L::StrongSessionSerializable => Clock::Process,
            L::StrongReadUncommitted
            | L::StrongReadCommitted
            | L::StrongSnapshotIsolation
            | L::StrictSerializable => Clock::Realtime,
            _ => Clock::None,
        }
    }
}

/// The shape of a cycle of dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Writes only.
    G0,
    /// Writes, and at least one read of a write.
    G1c,
    /// Exactly one anti-dependency: a read of what another transaction overwrites.
    GSingle,
    /// Several anti-dependencies, no two of them adjacent.
    GNonadjacent,
    /// Two adjacent anti-dependencies at least.
    G2Item,
}

/// Something that should not be, named as in Elle where Elle has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anomaly {
    /// An element comes twice in a list, though it was appended once.
    DuplicateElements,
    /// The versions of a key come before themselves.
    CyclicVersions(Clock),
    /// A value was read that nobody wrote.
    GarbageRead,
    /// Two reads of a list of which neither is a beginning of the other.
    IncompatibleOrder,
    /// A value of an aborted transaction was read.
    G1a,
    /// A value was read that its own transaction had overwritten.
    G1b,
    /// A committed write rests on an aborted one.
    DirtyUpdate,
    /// A transaction read what it wrote only later.
    FutureRead,
    /// A transaction read something else than what it had written or read before.
    Internal,
    /// Two transactions read one version of a key, and both wrote the key.
    LostUpdate,
    /// A transaction overwrote a version that it had not read, after one that it had.
    GCursor,
    /// A transaction read two versions of a key that others wrote.
    NonRepeatableRead,
    /// Observed transaction vanishes: part of a transaction is seen, and later another part is not.
    Otv(Clock),
    /// Part of a transaction is seen and another part is not.
    FracturedRead(Clock),
    /// Something is seen, and what it rests on is not.
    CausalViolation(Clock),
    /// A cycle of dependencies.
    Cycle(Shape, Clock),
    /// Two transactions each read what the other overwrites.
    WriteSkew,
}

impl Anomaly {
    /// Its name.
    pub fn name(self) -> String {
        let base = match self {
            Self::DuplicateElements => "duplicate-elements",
            Self::CyclicVersions(_) => "cyclic-versions",
            Self::GarbageRead => "garbage-read",
            Self::IncompatibleOrder => "incompatible-order",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::DirtyUpdate => "dirty-update",
            Self::FutureRead => "future-read",
            Self::Internal => "internal",
            Self::LostUpdate => "lost-update",
            Self::GCursor => "G-cursor",
            Self::Otv(_) => "OTV",
            Self::FracturedRead(_) => "fractured-read",
            Self::CausalViolation(_) => "causal-violation",
            Self::NonRepeatableRead => "non-repeatable-read",
            Self::WriteSkew => "write-skew",
            Self::Cycle(Shape::G0, _) => "G0",
            Self::Cycle(Shape::G1c, _) => "G1c",
            Self::Cycle(Shape::GSingle, _) => "G-single",
            Self::Cycle(Shape::GNonadjacent, _) => "G-nonadjacent",
            Self::Cycle(Shape::G2Item, _) => "G2-item",
        };
        let suffix = match self {
            Self::Otv(clock)
            | Self::FracturedRead(clock)
            | Self::CausalViolation(clock)
            | Self::CyclicVersions(clock)
            | Self::Cycle(_, clock) => match clock {
                Clock::None => "",
                Clock::Process => "-process",
                Clock::Realtime => "-realtime",
            },
            _ => "",
        };
        format!("{base}{suffix}")
    }

    /// The same anomaly where its cycle rests on a clock as well.
    pub(super) fn with(self, clock: Clock) -> Self {
        match self {
            Self::Cycle(shape, own) => Self::Cycle(shape, own.max(clock)),
            Self::CyclicVersions(own) => Self::CyclicVersions(own.max(clock)),
            other => other,
        }
    }

    /// The weakest levels that exclude it; every level that implies one of them excludes it too.
    #[allow(
        clippy::match_same_arms,
        reason = "a row for each anomaly, with its source"
    )]
    pub fn forbidden_by(self) -> &'static [Level] {
        match self {
            // Elle: an Adya history has neither.
            Self::DuplicateElements | Self::CyclicVersions(Clock::None) => &[L::ReadUncommitted],
            // A snapshot that is not older than what was done or answered before shows no older version.
            Self::CyclicVersions(Clock::Process) => &[L::StrongSessionSnapshotIsolation],
            Self::CyclicVersions(Clock::Realtime) => &[L::StrongSnapshotIsolation],
            // Adya's G1. A value of nobody and an order of two minds come from what did not commit (Elle); a read of
            // one's own later write is a cycle of one.
            Self::GarbageRead
            | Self::IncompatibleOrder
            | Self::G1a
            | Self::G1b
            | Self::DirtyUpdate
            | Self::FutureRead => &[L::ReadCommitted],
            // Cerone's INT.
            Self::Internal => &[L::ReadAtomic],
            // Adya, Bailis.
            Self::LostUpdate | Self::GCursor => &[L::CursorStability],
            // Bailis.
            Self::Otv(Clock::None) => &[L::MonotonicAtomicView],
            Self::Otv(_) => &[L::StrongSessionMonotonicAtomicView],
            // Whatever the order of the versions, it makes a G-single.
            Self::FracturedRead(Clock::None) => &[L::ReadAtomic, L::ConsistentView],
            Self::CausalViolation(Clock::None) => &[L::Causal, L::ConsistentView],
            // Berenson et al., A Critique of ANSI SQL Isolation Levels (1995): P2. Either order makes a G-single.
            Self::NonRepeatableRead => &[L::ConsistentView],
            Self::FracturedRead(_) => &[L::StrongSessionReadAtomic],
            // AWDIT.
            Self::CausalViolation(_) => &[L::Causal],
            // Hermitage: a special case of G2.
            Self::WriteSkew | Self::Cycle(Shape::G2Item, Clock::None) => &[L::RepeatableRead],
            // Adya; the session variants Elle.
            Self::Cycle(Shape::G0, Clock::None) => &[L::ReadUncommitted],
            Self::Cycle(Shape::G0, Clock::Process) => &[L::StrongSessionReadUncommitted],
            Self::Cycle(Shape::G0, Clock::Realtime) => &[L::StrongReadUncommitted],
            Self::Cycle(Shape::G1c, Clock::None) => &[L::ReadCommitted],
            Self::Cycle(Shape::G1c, Clock::Process) => &[L::StrongSessionReadCommitted],
            Self::Cycle(Shape::G1c, Clock::Realtime) => &[L::StrongReadCommitted],
            Self::Cycle(Shape::GSingle, Clock::None) => &[L::ConsistentView],
            // Cerone; the anti-dependencies are on items, so that repeatable read excludes it too.
            Self::Cycle(Shape::GNonadjacent, Clock::None) => {
                &[L::SnapshotIsolation, L::RepeatableRead]
            }
            // Daudjee, Elle.
            Self::Cycle(Shape::GSingle | Shape::GNonadjacent, Clock::Process) => {
                &[L::StrongSessionSnapshotIsolation]
            }
            Self::Cycle(Shape::GSingle | Shape::GNonadjacent, Clock::Realtime) => {
                &[L::StrongSnapshotIsolation]
            }
            Self::Cycle(Shape::G2Item, Clock::Process) => &[L::StrongSessionSerializable],
            Self::Cycle(Shape::G2Item, Clock::Realtime) => &[L::StrictSerializable],
        }
    }

    /// Whether a history with it cannot be of `level`.
    pub fn breaks(self, level: Level) -> bool {
        self.forbidden_by()
            .iter()
            .any(|weakest| level.is_at_least(*weakest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_levels_come_before_those_that_imply_them() {
        for (at, level) in LEVELS.iter().enumerate() {
            assert_eq!(*level as usize, at);
            assert!(level.implies().iter().all(|weaker| weaker < level));
        }
    }

    #[test]
    fn a_stronger_clock_is_a_stronger_level() {
        assert!(L::StrictSerializable.is_at_least(L::Causal));
        assert!(!L::Serializable.is_at_least(L::Causal));
        assert!(!L::SnapshotIsolation.is_at_least(L::RepeatableRead));
        assert!(Anomaly::Cycle(Shape::G0, Clock::None).breaks(L::StrongReadCommitted));
        assert!(!Anomaly::Cycle(Shape::G2Item, Clock::None).breaks(L::StrongSnapshotIsolation));
    }
}
