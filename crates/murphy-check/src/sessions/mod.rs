//! Session guarantees: what one client may expect of its own reads and writes where the whole is not linearizable.
//!
//! Terry et al., "Session guarantees for weakly consistent replicated data" (PDIS 1994), promise a client that moves
//! between replicas four things; Viotti and Vukolić, "Consistency in non-transactional distributed storage systems"
//! (ACM Comput. Surv. 49, 2016), state them in terms of an order in which writes are arbitrated and of what each
//! operation sees. [`check`] takes that statement literally for every key of a history of reads and writes:
//!
//! - A *version order* of a key is a total order of its writes that did happen, behind the initial value.
//! - A *visibility* says for each read which writes it sees. A read answers with the last of them in the version order,
//!   the initial value if it sees none.
//! - A guarantee demands that visibility contains something, or that the version order does. It is **broken** exactly
//!   if no version order and no visibility satisfy the demand and explain the answers.
//!
//! Only demands of the form "sees at least" bear on visibility, so the smallest one that satisfies them explains the
//! answers if any does: a read sees the write it answers with and what is demanded, and all of that must not come
//! later in the version order than its answer. So every demand becomes "this version comes before that one", a version
//! order exists exactly if these have no cycle, and a cycle is the evidence.
//!
//! Two of the guarantees cannot be noticed alone, because a write that nobody need see contradicts nobody:
//! [`Guarantee::MonotonicWrites`] never, [`Guarantee::WritesFollowReads`] only where reads and writes run in a circle.
//! What clients notice is that somebody sees two versions in the wrong order. These two are therefore broken where no
//! version order satisfies them *together with monotonic reads*, provided that monotonic reads are not broken
//! themselves; where they are, it is not known who is to blame ([`Inapplicable::ReadsGoBack`]).
//!
//! Keys are judged each for itself: a version order across keys is not assumed, as it is the business of causal
//! consistency. Values must be distinct for each key as far as they are read. A write of unknown outcome whose value
//! nobody read is left out. One whose value was read did happen, but perhaps later than what its session did next: it
//! comes behind what its session did before, and precedes nothing.
//!
//! Time and memory are linear in the operations after sorting them by key and session.

mod graph;
mod judge;
mod monotonic_reads;
mod monotonic_writes;
mod read_your_writes;
mod versions;
mod writes_follow_reads;

pub use crate::monitors::register::Access;
pub use judge::check;

/// A read or a write of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whose it is. The order of a session's operations is that of the history.
    pub session: u32,
    /// What was read or written.
    pub key: u32,
    /// The value, by an id that is the key's own; 0 is the initial one. Only answered reads are part of a history.
    pub access: Access,
    /// Whether it was answered; a write that was not may not have happened.
    pub is_answered: bool,
}

/// What a session is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guarantee {
    /// A read sees what an earlier read of its session saw: it never answers with an earlier version.
    MonotonicReads,
    /// A read sees the writes its session did before, so it never answers with an earlier version than theirs.
    ReadYourWrites,
    /// The writes of a session are versions in the order in which it wrote them.
    MonotonicWrites,
    /// A write is a later version than those its session had read before.
    WritesFollowReads,
}

impl Guarantee {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::MonotonicReads,
        Self::ReadYourWrites,
        Self::MonotonicWrites,
        Self::WritesFollowReads,
    ];

    /// The name of the promise, such as `session.monotonic-reads`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MonotonicReads => "session.monotonic-reads",
            Self::ReadYourWrites => "session.read-your-writes",
            Self::MonotonicWrites => "session.monotonic-writes",
            Self::WritesFollowReads => "session.writes-follow-reads",
        }
    }
}

/// What [`check`] says of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Version orders exist that satisfy the guarantee.
    Held,
    /// None does for one of the keys, because of these operations alone.
    Violation(Evidence),
    /// It cannot be told for one of the keys, and holds for the others.
    Inapplicable(Inapplicable),
}

/// Why a guarantee cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inapplicable {
    /// A value that was read was written more than once.
    Repeated {
        /// Of this key.
        key: u32,
        /// The value.
        value: u32,
    },
    /// Monotonic reads are broken, so that no order can be read off what sessions saw.
    ReadsGoBack {
        /// Of this key.
        key: u32,
    },
}

/// Operations that no version order satisfies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Their places in the history, ascending. With each read the write of its value.
    pub operations: Vec<u32>,
    /// Why: versions in a circle, each of which has to come before the next and the last before the first. Empty where
    /// the only operation is a read of a value that nobody wrote.
    pub links: Vec<Link>,
    /// Whether nothing can be left out; not tried to the end for a very long circle.
    pub is_smallest: bool,
}

/// One version has to come before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The value of the first.
    pub before: u32,
    /// The value of the second.
    pub after: u32,
    /// Two operations of one session, in its order, that show it; none where `before` is the initial value. Two reads
    /// of the values; a write of `before` and a read of `after`; two writes of the values; a read of `before` and the
    /// write of `after`.
    pub shown_by: Option<(u32, u32)>,
}
