//! A priority queue gives back the most urgent of its values; O(n log n) time decides it where each value is inserted
//! once. The least value id is the most urgent one.
//!
//! A legal order is one in which no value is removed while a more urgent one is inside: a less urgent value never
//! stands in the way. So let the values choose in the order of their urgency. Each is removed at the first moment `q`
//! from `removing` on that is in none of the open intervals chosen so far, and takes for itself the open interval
//! from `inserted` to `q`, if that is not empty (inserted as late, removed as early as can be); otherwise it comes in
//! and goes out at `q`.
//!
//! **Theorem.** A history of pairs (see the source of `container`) is linearizable exactly if every value finds such a
//! moment not later than its `end`.
//!
//! *Proof.* In any legal order the interval in which a value is inside contains the one chosen here: for the most
//! urgent because it is inside from `inserted` to `removing` at least, and for each further one by induction, because
//! the moments at which more urgent ones are inside can only be more. So where no moment is found there is no legal
//! order. Conversely the choices are one: of what happens at one moment, first values whose interval ends there come
//! out, the most urgent first, then those that come in and go out at once, then those whose interval begins there
//! come in. When a value comes out, the more urgent ones whose intervals end or begin at that moment are out. ∎
//!
//! Free moments are found in a union-find over the ends of intervals, each of which is covered once: near-linear after
//! sorting.

use super::{
    Event, Operation, Outcome, Reason,
    container::{self, Crowd, Deadline, Discipline, NONE, Pair},
    cover,
    tree::Least,
};

/// Judges a history of a priority queue that removes the least value id first.
pub fn check(history: &[Operation<Event>]) -> Outcome {
    container::check(history, &PriorityQueue)
}

struct PriorityQueue;

impl Discipline for PriorityQueue {
    fn crowd(&self, pairs: &[Pair]) -> Option<Crowd> {
        let order = by_urgency(pairs);
        let mut free = FreeMoments::new(pairs);
        let mut left: Vec<u64> = vec![0; pairs.len()];
        for (turn, &at) in order.iter().enumerate() {
            let pair = &pairs[at];
            let moment = free.first(at);
            if moment > pair.end {
                return Some(Crowd {
                    pairs: in_the_way(pairs, &order[..turn], &left, at),
                    reason: Reason::Passed {
                        removal: pair.removal,
                    },
                });
            }
            left[at] = moment;
            free.cover(at, moment);
        }
        None
    }

    /// Gone before the first less urgent value that is removed when this one was inside.
    fn deadlines(&self, pairs: &[Pair], remaining: &[usize]) -> Vec<Option<Deadline>> {
        let mut removing: Vec<u64> = pairs.iter().map(|pair| pair.removing).collect();
        removing.sort_unstable();
        let inside = places(&removing, pairs, |pair, moment| moment <= pair.inserted);
        let out = places(&removing, pairs, |pair, moment| moment < pair.removing);
        let mut least = Least::new(pairs.len());
        let mut found = vec![None; pairs.len()];
        for at in by_urgency(pairs).into_iter().rev() {
            let pair = &pairs[at];
            if pair.removal == NONE {
                found[at] = least
                    .from(inside[at] as usize)
                    .map(|(moment, witness)| Deadline { moment, witness });
            } else {
                least.lower(out[at] as usize, (pair.end, at));
            }
        }
        remaining.iter().map(|&at| found[at]).collect()
    }
}

fn by_urgency(pairs: &[Pair]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_unstable_by_key(|&at| pairs[at].rank);
    order
}

/// The moments at which a value can be removed: those of `removing`, where none of the intervals is.
struct FreeMoments {
    moments: Vec<u64>,
    /// The first free one from here on, as a union-find.
    next: Vec<u32>,
    /// For each pair the place of its `removing`,
    removing: Vec<u32>,
    /// and of the first moment after `inserted`.
    inside: Vec<u32>,
}

impl FreeMoments {
    fn new(pairs: &[Pair]) -> Self {
        let mut moments: Vec<u64> = pairs.iter().map(|pair| pair.removing).collect();
        // Free for ever: nothing is inside at the last moment of all.
        moments.push(u64::MAX);
        moments.sort_unstable();
        moments.dedup();
        Self {
            next: (0..).take(moments.len()).collect(),
            removing: places(&moments, pairs, |pair, moment| moment < pair.removing),
            inside: places(&moments, pairs, |pair, moment| moment <= pair.inserted),
            moments,
        }
    }

    /// The first free moment at which a pair can be removed.
    fn first(&mut self, pair: usize) -> u64 {
        let free = self.find(self.removing[pair] as usize);
        self.moments[free]
    }

    /// Takes the open interval from the moment at which a pair is inserted.
    fn cover(&mut self, pair: usize, end: u64) {
        let mut at = self.find(self.inside[pair] as usize);
        while self.moments[at] < end {
            self.next[at] += 1;
            at = self.find(at);
        }
    }

    fn find(&mut self, mut at: usize) -> usize {
        while self.next[at] as usize != at {
            let skipped = self.next[self.next[at] as usize];
            self.next[at] = skipped;
            at = skipped as usize;
        }
        at
    }
}

/// For each pair the first of the ascending moments that is not `too_early` for it. Searched for in the order of calls,
/// which are near one another, so that most of what is looked at was looked at just before.
fn places(moments: &[u64], pairs: &[Pair], too_early: impl Fn(&Pair, u64) -> bool) -> Vec<u32> {
    let mut order: Vec<(u64, u32)> = (0..).zip(pairs).map(|(at, pair)| (pair.call, at)).collect();
    order.sort_unstable();
    let mut places = vec![0; pairs.len()];
    for (_, at) in order {
        let pair = &pairs[at as usize];
        let place = moments.partition_point(|&moment| too_early(pair, moment));
        places[at as usize] = u32::try_from(place).unwrap_or(u32::MAX);
    }
    places
}

/// The value that found no moment with those that are in its way: a chain of intervals that cover it, and for each
/// that lasts longer than it must the chain that makes it so.
fn in_the_way(pairs: &[Pair], before: &[usize], left: &[u64], at: usize) -> Vec<usize> {
    let mut taken: Vec<Pair> = before.iter().map(|&at| pairs[at]).collect();
    let mut turns = vec![0; pairs.len()];
    for (turn, (pair, &at)) in taken.iter_mut().zip(before).enumerate() {
        pair.removing = left[at];
        turns[at] = turn;
    }
    turns[at] = before.len();
    let mut all = vec![at];
    let mut is_in = vec![false; pairs.len()];
    is_in[at] = true;
    let mut next = 0;
    while let Some(&at) = all.get(next) {
        next += 1;
        // It may be removed at any of these moments, and none of them is free but the last, which it took.
        let last = if turns[at] == before.len() {
            pairs[at].end
        } else if left[at] > pairs[at].removing {
            left[at] - 1
        } else {
            continue;
        };
        for link in cover::chain(&taken[..turns[at]], pairs[at].removing, last) {
            let link = before[link];
            if !is_in[link] {
                is_in[link] = true;
                all.push(link);
            }
        }
    }
    all
}
