//! Makes a contradiction smaller by leaving out groups of operations.

/// Places of a smallest part of `0..count` that still `clashes`: without any one of its places it does not.
///
/// Rests on what the types here have in common: a history that is linearizable stays so without a group. Of all
/// prefixes that clash together with what is kept, the shortest ends with a place that cannot be spared; what lies
/// behind it can. Asks about `log2(count)` times for each place of the result.
pub(crate) fn smallest(count: usize, mut clashes: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    let mut rest: Vec<usize> = (0..count).collect();
    while !clashes(&kept) {
        let (mut low, mut high) = (0, rest.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let part: Vec<usize> = kept.iter().chain(&rest[..middle]).copied().collect();
            if clashes(&part) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        // A whole that does not clash has no smallest part that does; nothing is lost but the promise.
        if low == 0 || low > rest.len() {
            return (0..count).collect();
        }
        kept.push(rest[low - 1]);
        rest.truncate(low - 1);
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_that_is_left_is_needed() {
        let needs = |set: &[usize]| [3, 4, 9].iter().all(|place| set.contains(place));
        assert_eq!(smallest(12, needs), [3, 4, 9]);
        assert_eq!(smallest(5, |_| true), [0_usize; 0]);
        assert_eq!(smallest(4, |set| set.len() >= 2).len(), 2);
    }
}
