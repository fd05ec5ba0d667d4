//! What a monitor hands back: the verdict, and the operations that contradict each other.

/// What a monitor says of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a legal order that respects real time.
    Linearizable,
    /// There is none, because of these operations alone.
    Violation(Evidence),
    /// The monitor cannot tell.
    Inapplicable(Inapplicable),
}

/// Why a monitor cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inapplicable {
    /// A value that matters was put in more than once.
    Repeated {
        /// The value.
        value: u32,
    },
    /// It depends on which values the removals took whose answers nobody saw.
    UnseenRemovals {
        /// How many there are.
        count: u32,
    },
}

/// Operations that have no legal order that respects real time.
///
/// They are closed under groups: with a read the write of its value, with a removal the insertion, and the other way
/// round where the history has a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Places of the operations in the history, ascending.
    pub operations: Vec<u32>,
    /// Places of the unseen removals that could have helped, and are too few or too late; ascending.
    pub unseen: Vec<u32>,
    /// Why they contradict each other.
    pub reason: Reason,
    /// Whether it is known that nothing can be left out: without any value (with all that speaks of it), read or empty
    /// removal of it, the rest is linearizable.
    pub is_smallest: bool,
}

/// Why operations contradict each other; the numbers are their places in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A value was read, removed or found that nobody put in.
    NeverWritten {
        /// Who saw it.
        read: u32,
    },
    /// `read` saw or took a value and ended before `write`, which put it in, began.
    ReadBeforeWrite {
        /// Who saw it.
        read: u32,
        /// Who put it in.
        write: u32,
    },
    /// `write` or a read of its value ended (`early`) before a read of the initial value began.
    Stale {
        /// Who showed that the initial value was gone.
        early: u32,
        /// Who read it nevertheless.
        read: u32,
    },
    /// Of two values each was there before the other: `first` ended before `second`, which concerns the other value,
    /// began, and `third`, of the value of `second`, ended before `fourth`, of the value of `first`, began.
    Interleaved {
        /// It ended before `second` began.
        first: u32,
        /// Of the other value.
        second: u32,
        /// Of the other value; it ended before `fourth` began.
        third: u32,
        /// Of the value of `first`.
        fourth: u32,
    },
    /// One value was removed by both.
    RemovedTwice {
        /// One removal.
        first: u32,
        /// Another.
        second: u32,
    },
    /// A value that was in the set from `since` to `until` was not found by `absent` in between.
    Missed {
        /// It ended before `absent` began, and shows that the value was there.
        since: u32,
        /// Who did not find it.
        absent: u32,
        /// It began after `absent` ended, and shows that the value was still there; none for never removed.
        until: Option<u32>,
    },
    /// A value was seen or taken by `late` after the end of its removal.
    Gone {
        /// Who took it out.
        removal: u32,
        /// Who saw it later.
        late: u32,
    },
    /// `first` was inserted before `second`, and removed after it or never.
    Overtaken {
        /// Insertion of the first value.
        first: u32,
        /// Insertion of the second.
        second: u32,
        /// Removal of the second value.
        removal: u32,
        /// Removal of the first; none for never.
        late: Option<u32>,
    },
    /// A removal found nothing, though at every moment of it one of the other values was certainly inside.
    NotEmpty {
        /// Who found nothing.
        empty: u32,
    },
    /// At every moment between the first certain presence of one of these values and the last, one is inside, so one
    /// has to lie below all the others; but each was pushed after `first` was or popped before `last` was.
    Crossed {
        /// The push that ended first.
        first: u32,
        /// The push of the value whose pop began last.
        last: u32,
    },
    /// At every moment at which `removal` can have acted a value more urgent than its own was inside.
    Passed {
        /// Who took the less urgent value.
        removal: u32,
    },
    /// Of the inserted values without a removal, more had to be gone by some moment than there are unseen removals
    /// asked by then.
    Lost {
        /// The insertion of the last of them to be inserted.
        insertion: u32,
        /// Who shows that it was gone: an answered removal.
        witness: u32,
    },
}
