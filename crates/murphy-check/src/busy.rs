//! Busy times are those during which some fault acted.

/// The busy times of a history, without overlaps, in order.
pub(crate) struct Busy(Vec<(u64, u64)>);

impl Busy {
    /// From the begin and the end of each fault.
    pub fn new(faults: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut spans: Vec<_> = faults.collect();
        spans.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (begin, end) in spans {
            match merged.last_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Self(merged)
    }

    /// Whether some fault acted between `call` and `end`.
    pub fn meets(&self, call: u64, end: u64) -> bool {
        let after = self.0.partition_point(|(begin, _)| *begin <= end);
        after > 0 && self.0[after - 1].1 >= call
    }
}
