//! Writes of unknown outcome whose value nobody has read yet.
//!
//! Such a write can as well happen just before the first read of its value, and not at all where there is none: until
//! then it costs nothing but its memory.

use rustc_hash::FxHashMap;

use super::part::Held;
use crate::judge::quick::Quick;

/// Them, by value.
#[derive(Debug)]
pub(super) struct Asleep<M: Quick> {
    writes: FxHashMap<u32, Vec<Held<M>>>,
    count: usize,
}

impl<M: Quick> Default for Asleep<M> {
    fn default() -> Self {
        Self {
            writes: FxHashMap::default(),
            count: 0,
        }
    }
}

impl<M: Quick> Asleep<M> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there are any of a value.
    pub fn has(&self, value: u32) -> bool {
        self.writes.contains_key(&value)
    }

    pub fn push(&mut self, value: u32, write: Held<M>) {
        self.writes.entry(value).or_default().push(write);
        self.count += 1;
    }

    /// All of a value.
    pub fn take(&mut self, value: u32) -> Vec<Held<M>> {
        let taken = self.writes.remove(&value).unwrap_or_default();
        self.count -= taken.len();
        taken
    }

    /// The one of a value that was asked first: what another could do, it can.
    pub fn take_earliest(&mut self, value: u32) -> Option<Held<M>> {
        let writes = self.writes.get_mut(&value)?;
        let earliest = (0..writes.len()).min_by_key(|place| writes[*place].call.line)?;
        let taken = writes.swap_remove(earliest);
        if writes.is_empty() {
            self.writes.remove(&value);
        }
        self.count -= 1;
        Some(taken)
    }

    /// All of them, in the order in which they were asked.
    pub fn take_all(&mut self) -> Vec<Held<M>> {
        let mut all: Vec<_> = std::mem::take(self)
            .writes
            .into_values()
            .flatten()
            .collect();
        all.sort_unstable_by_key(|held| (held.call.line, held.operation.number));
        all
    }

    pub fn iter(&self) -> impl Iterator<Item = &Held<M>> {
        self.writes.values().flatten()
    }
}
