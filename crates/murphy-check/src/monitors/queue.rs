//! A queue gives back its values in the order in which they came in; O(n log n) time decides it where each value is
//! enqueued once.
//!
//! **Theorem.** Without empty removals a history (as pairs, see the source of `container`) is linearizable exactly if
//! there are no two values a and b such that the insertion of a precedes that of b and the removal of b precedes that
//! of a. (Henzinger, Sezgin and Vafeiadis 2013 found the pattern; never removed is removed at the last moment.)
//!
//! *Proof.* Such a pair has no order. Otherwise let a → b where the insertion of a precedes that of b (a →ᵢ b) or the
//! removal of a precedes that of b (a →ᵣ b). Both are interval orders: from a → b and c → d follows a → d or c → b.
//! In a shortest cycle kinds alternate, since each is transitive. If it is longer than two, a →ᵢ b →ᵣ c →ᵢ d …, then
//! a →ᵢ d or c →ᵢ b; the second is a cycle of two with b →ᵣ c, and the first leaves out two of the cycle. A cycle of
//! two is the forbidden pair. So there is an order T of the values along all arrows. Let values be inserted in the
//! order T, each at the latest call of an insertion up to it, and removed in the order T, each at the earliest end of
//! a removal from it on: these are in their intervals because T follows the arrows. That a value is inserted before
//! it is removed needs `call(j) ≤ end(k)` of all j up to it and k from it on. For j = k that is the pair's; for j
//! before k in T, `end(k) < call(j)` would put k →ᵢ j, since the insertion of k lasts at most to `end(k)`. ∎
//!
//! To find the pair: let b run through the values by call, add to a heap of one element every a inserted before that,
//! and keep the one with the latest `removing`.

use super::{
    Event, Operation, Outcome, Reason,
    container::{self, Crowd, Deadline, Discipline, NONE, Pair},
};

/// Judges a history of a queue.
pub fn check(history: &[Operation<Event>]) -> Outcome {
    container::check(history, &Queue)
}

struct Queue;

impl Discipline for Queue {
    fn crowd(&self, pairs: &[Pair]) -> Option<Crowd> {
        let by_insertion = sorted(pairs, |pair| pair.inserted);
        let by_call = sorted(pairs, |pair| pair.call);
        let mut earlier = by_insertion.into_iter().peekable();
        let mut latest: Option<usize> = None;
        for (call, second) in by_call {
            while let Some((_, first)) = earlier.next_if(|&(inserted, _)| inserted < call) {
                if latest.is_none_or(|latest| pairs[first].removing > pairs[latest].removing) {
                    latest = Some(first);
                }
            }
            let Some(first) = latest else { continue };
            if pairs[second].end < pairs[first].removing {
                return Some(Crowd {
                    pairs: vec![first, second],
                    reason: Reason::Overtaken {
                        first: pairs[first].insertion,
                        second: pairs[second].insertion,
                        removal: pairs[second].removal,
                        late: Some(pairs[first].removal).filter(|&place| place != NONE),
                    },
                });
            }
        }
        None
    }

    /// Gone before the first value that was called when this one was inside is gone.
    fn deadlines(&self, pairs: &[Pair], remaining: &[usize]) -> Vec<Option<Deadline>> {
        let by_call = sorted(pairs, |pair| pair.call);
        // For each place in that order who is the first to be gone from there on.
        let mut first_gone: Vec<usize> = by_call.iter().map(|&(_, at)| at).collect();
        for at in (1..first_gone.len()).rev() {
            if pairs[first_gone[at]].end < pairs[first_gone[at - 1]].end {
                first_gone[at - 1] = first_gone[at];
            }
        }
        let deadline = |&at: &usize| {
            let later = by_call.partition_point(|&(call, _)| call <= pairs[at].inserted);
            let &witness = first_gone.get(later)?;
            let moment = pairs[witness].end;
            (moment < u64::MAX).then_some(Deadline { moment, witness })
        };
        remaining.iter().map(deadline).collect()
    }
}

fn sorted(pairs: &[Pair], key: impl Fn(&Pair) -> u64) -> Vec<(u64, usize)> {
    let mut keys: Vec<(u64, usize)> = (pairs.iter().enumerate())
        .map(|(at, pair)| (key(pair), at))
        .collect();
    keys.sort_unstable();
    keys
}
