//! The moments at which a container is certainly not empty, and the removals that found it empty nevertheless.

use super::container::Pair;

/// The union of the open intervals in which the values of `pairs` are certainly inside, as open intervals that have
/// no moment in common, ascending.
pub(super) fn union(pairs: &[Pair]) -> Vec<(u64, u64)> {
    let mut open: Vec<(u64, u64)> = (pairs.iter())
        .filter(|pair| pair.is_certainly_inside())
        .map(|pair| (pair.inserted, pair.removing))
        .collect();
    open.sort_unstable();
    open.dedup_by(|next, last| {
        // Open intervals that only touch leave the moment between them free.
        let overlap = next.0 < last.1;
        if overlap {
            last.1 = last.1.max(next.1);
        }
        overlap
    });
    open
}

/// Whether every moment from `call` to `end` is in the union.
pub(super) fn covers(union: &[(u64, u64)], call: u64, end: u64) -> bool {
    let begun = union.partition_point(|part| part.0 < call);
    begun > 0 && end < union[begun - 1].1
}

/// Places of the fewest pairs that together cover every moment from `call` to `end`, which all of them do.
pub(super) fn chain(pairs: &[Pair], call: u64, end: u64) -> Vec<usize> {
    let mut open: Vec<usize> = (0..pairs.len())
        .filter(|&at| pairs[at].is_certainly_inside())
        .collect();
    open.sort_unstable_by_key(|&at| pairs[at].inserted);
    let mut links = Vec::new();
    let (mut reached, mut next) = (call, open.iter().copied().peekable());
    loop {
        let mut best: Option<usize> = None;
        while let Some(at) = next.next_if(|&at| pairs[at].inserted < reached) {
            if best.is_none_or(|best| pairs[at].removing > pairs[best].removing) {
                best = Some(at);
            }
        }
        let Some(best) = best.filter(|&best| pairs[best].removing > reached) else {
            return links;
        };
        links.push(best);
        reached = pairs[best].removing;
        if reached > end {
            return links;
        }
    }
}
