//! A stack gives back the value that came in last; O(n log n) time decides it where each value is pushed once.
//!
//! The idea, to take away one value at a time that cannot matter, is Lee and Mathur's (2025); steps and proofs are
//! ours. A legal order without empty removals is one in which the intervals from push to pop are nested or apart.
//! With pairs as in the source of `container`:
//!
//! 1. **A value that is nowhere certainly inside** (`removing ≤ inserted`) never matters: push and pop it one directly
//!    after the other at a moment between the two; that is legal in any order of the others.
//! 2. **Apart.** Let x be a moment at which no value is certainly inside. The history is linearizable exactly if what
//!    is certainly inside before x only, and what is so after x only, each is: cut all moments at x, which makes no
//!    new precedence, and one legal order follows the other.
//! 3. **The bottom.** So let the intervals in which values are certainly inside cover everything between A, where the
//!    first begins, and B, where the last ends. In a legal order the stack is empty at no moment between, so its
//!    bottom is one value from A to B: it was pushed at A or before and is popped at B or later, so that its `call` is
//!    at most A and its `end` at least B. If no value is like that, there is no legal order. If v is, *any* such v can
//!    be taken away: where the others have a legal order, cut their moments to those from A to B, which all of them
//!    touch, push v first of all at A (`call ≤ A ≤ inserted`), and pop it last of all at B.
//!
//! The values are taken away from left to right: of those that remain let A be the first `inserted`, and B the first
//! moment after A at which none of them is certainly inside. Values are inserted in the order of `inserted`, so those
//! between A and B are a range; A only grows, so values whose `call` is at most A are entered once into a tree that
//! finds one of them in the range with the `end` wanted. A second tree counts how many values cover each moment.
//!
//! The evidence is a chain of values that covers everything from A to B; none of its values can be the bottom.

use super::{
    Event, Operation, Outcome, Reason,
    container::{self, Crowd, Deadline, Discipline, Pair},
    tree::{Cover, Greatest, Least},
};

/// Judges a history of a stack.
pub fn check(history: &[Operation<Event>]) -> Outcome {
    container::check(history, &Stack)
}

struct Stack;

impl Discipline for Stack {
    fn crowd(&self, pairs: &[Pair]) -> Option<Crowd> {
        // By their first certain moment; the places in `by` are those of the trees.
        let mut by: Vec<usize> = (0..pairs.len())
            .filter(|&at| pairs[at].is_certainly_inside())
            .collect();
        by.sort_unstable_by_key(|&at| pairs[at].inserted);
        let mut by_call: Vec<usize> = (0..by.len()).collect();
        by_call.sort_unstable_by_key(|&place| pairs[by[place]].call);
        let mut called = by_call.into_iter().peekable();
        let ends = Ends::new(pairs, &by);
        let mut cover = ends.cover(pairs, &by);
        let mut can_be_bottom = Greatest::new(by.len());
        let mut is_gone = vec![false; by.len()];
        let mut first = 0;
        while first < by.len() {
            if is_gone[first] {
                first += 1;
                continue;
            }
            let begin = pairs[by[first]].inserted;
            let end = ends.after(&cover, begin);
            while let Some(place) = called.next_if(|&place| pairs[by[place]].call <= begin) {
                if !is_gone[place] {
                    can_be_bottom.set(place, pairs[by[place]].end);
                }
            }
            let last = first + by[first..].partition_point(|&at| pairs[at].inserted < end);
            let Some(bottom) = can_be_bottom.first_at_least(first, last, end) else {
                let rest = (first..last).filter(|&place| !is_gone[place]);
                let rest: Vec<usize> = rest.map(|place| by[place]).collect();
                return Some(crossed(pairs, &rest));
            };
            is_gone[bottom] = true;
            can_be_bottom.set(bottom, 0);
            let pair = &pairs[by[bottom]];
            cover.uncover(ends.place(pair.inserted + 1), ends.place(pair.removing));
        }
        None
    }

    /// Gone before any value is that lay below it.
    fn deadlines(&self, pairs: &[Pair], remaining: &[usize]) -> Vec<Option<Deadline>> {
        let mut removing: Vec<u64> = pairs.iter().map(|pair| pair.removing).collect();
        removing.sort_unstable();
        let mut by_insertion: Vec<usize> = (0..pairs.len()).collect();
        by_insertion.sort_unstable_by_key(|&at| pairs[at].inserted);
        let mut by_call: Vec<usize> = (0..remaining.len()).collect();
        by_call.sort_unstable_by_key(|&turn| pairs[remaining[turn]].call);
        let mut below = by_insertion.into_iter().peekable();
        let mut least = Least::new(pairs.len());
        let mut found = vec![None; remaining.len()];
        for turn in by_call {
            let pair = &pairs[remaining[turn]];
            while let Some(at) = below.next_if(|&at| pairs[at].inserted < pair.call) {
                let place = removing.partition_point(|&moment| moment < pairs[at].removing);
                least.lower(place, (pairs[at].end, at));
            }
            let later = removing.partition_point(|&moment| moment <= pair.inserted);
            found[turn] = (least.from(later))
                .filter(|&(moment, _)| moment < u64::MAX)
                .map(|(moment, witness)| Deadline { moment, witness });
        }
        found
    }
}

/// The moments at which a value stops to be certainly inside, ascending: of what is covered by open intervals, the
/// first moment that is not is one of them.
struct Ends(Vec<u64>);

impl Ends {
    fn new(pairs: &[Pair], by: &[usize]) -> Self {
        let mut moments: Vec<u64> = by.iter().map(|&at| pairs[at].removing).collect();
        moments.sort_unstable();
        moments.dedup();
        Self(moments)
    }

    /// The place of the first that is not before `moment`.
    fn place(&self, moment: u64) -> usize {
        self.0.partition_point(|&other| other < moment)
    }

    /// How often each of them is strictly inside an interval.
    fn cover(&self, pairs: &[Pair], by: &[usize]) -> Cover {
        let mut counts = vec![0; self.0.len() + 1];
        for pair in by.iter().map(|&at| &pairs[at]) {
            counts[self.place(pair.inserted + 1)] += 1;
            counts[self.place(pair.removing)] -= 1;
        }
        for at in 1..counts.len() {
            counts[at] += counts[at - 1];
        }
        Cover::new(&counts)
    }

    /// The first moment after `begin` that is not covered.
    fn after(&self, cover: &Cover, begin: u64) -> u64 {
        let free = cover.first_free(self.place(begin + 1));
        free.and_then(|at| self.0.get(at))
            .copied()
            .unwrap_or(u64::MAX)
    }
}

/// The fewest of `rest`, which are sorted, that cover all that they cover together.
fn crossed(pairs: &[Pair], rest: &[usize]) -> Crowd {
    let begin = rest.first().map_or(0, |&at| pairs[at].inserted);
    let mut links: Vec<usize> = Vec::new();
    let mut reached = begin + 1;
    let mut next = rest.iter().copied().peekable();
    loop {
        let mut best: Option<usize> = None;
        while let Some(at) = next.next_if(|&at| pairs[at].inserted < reached) {
            if best.is_none_or(|best| pairs[at].removing > pairs[best].removing) {
                best = Some(at);
            }
        }
        let Some(best) = best.filter(|&best| links.is_empty() || pairs[best].removing > reached)
        else {
            break;
        };
        links.push(best);
        reached = pairs[best].removing;
    }
    let push = |at: Option<&usize>| at.map_or(container::NONE, |&at| pairs[at].insertion);
    Crowd {
        reason: Reason::Crossed {
            first: push(links.first()),
            last: push(links.last()),
        },
        pairs: links,
    }
}
