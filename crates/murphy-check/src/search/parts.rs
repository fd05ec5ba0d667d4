//! Parts are the groups of operations that share no part of the state with each other.

use rustc_hash::FxHashMap;

use crate::model::{Model, OperationOf, Part};

/// The parts of a history, each a list of positions in it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    positions: Vec<u32>,
    /// Where each part ends in `positions`.
    ends: Vec<u32>,
}

impl Parts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The positions of the operations of one part.
    pub fn of(&self, number: usize) -> &[u32] {
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.positions[begin as usize..self.ends[number] as usize]
    }
}

/// Finds the parts: operations are together that read or write the same key, directly or through others.
/// O(n α(n)).
pub fn parts<M: Model>(model: &M, operations: &[OperationOf<M>]) -> Parts {
    let mut sets = Sets::default();
    let mut set_of = Vec::with_capacity(operations.len());
    let mut whole = false;
    for operation in operations {
        set_of.push(
            match model.part(&operation.ask, operation.answer.as_ref()) {
                Part::Key(key) => sets.of(key),
                Part::Keys(keys) => {
                    let mut keys = keys.into_iter();
                    let first = keys.next().map(|key| sets.of(key));
                    for key in keys {
                        let other = sets.of(key);
                        if let Some(first) = first {
                            sets.join(first, other);
                        }
                    }
                    // One without a key touches nothing; it is judged alone.
                    first.unwrap_or_else(|| sets.alone())
                }
                Part::Whole => {
                    whole = true;
                    0
                }
            },
        );
    }
    if whole {
        return one_part(operations.len());
    }
    // Numbers in the order of the first operation, so that the first part is the first that was used.
    let mut numbers = vec![u32::MAX; sets.parents.len()];
    let mut sizes: Vec<u32> = Vec::new();
    for set in &mut set_of {
        let root = sets.root(*set) as usize;
        if numbers[root] == u32::MAX {
            numbers[root] = count(sizes.len());
            sizes.push(0);
        }
        *set = numbers[root];
        sizes[*set as usize] += 1;
    }
    let mut ends = Vec::with_capacity(sizes.len());
    let mut fill: Vec<u32> = Vec::with_capacity(sizes.len());
    let mut end = 0;
    for size in sizes {
        fill.push(end);
        end += size;
        ends.push(end);
    }
    let mut positions = vec![0; operations.len()];
    for (position, set) in set_of.into_iter().enumerate() {
        let place = &mut fill[set as usize];
        positions[*place as usize] = count(position);
        *place += 1;
    }
    Parts { positions, ends }
}

fn one_part(length: usize) -> Parts {
    Parts {
        positions: (0..count(length)).collect(),
        ends: vec![count(length)],
    }
}

/// A history has fewer than 2^32 lines: its reader refuses more.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Sets of keys that belong together (union by halving paths).
#[derive(Default)]
struct Sets {
    numbers: FxHashMap<u64, u32>,
    parents: Vec<u32>,
}

impl Sets {
    fn alone(&mut self) -> u32 {
        let set = count(self.parents.len());
        self.parents.push(set);
        set
    }

    fn of(&mut self, key: u64) -> u32 {
        if let Some(set) = self.numbers.get(&key) {
            return *set;
        }
        let set = self.alone();
        self.numbers.insert(key, set);
        set
    }

    fn root(&mut self, mut set: u32) -> u32 {
        while self.parents[set as usize] != set {
            let above = self.parents[self.parents[set as usize] as usize];
            self.parents[set as usize] = above;
            set = above;
        }
        set
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one.max(other) as usize] = one.min(other);
    }
}
