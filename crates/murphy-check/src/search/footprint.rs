//! Footprints say which operations can be in each other's way.
//!
//! Operations without a common key commute. So of those that may come next, only those need be tried that can be in
//! the way of the one that is answered first, directly or through others: whatever the rest does, it can do later
//! (Valmari's stubborn sets, 1989). What a partition by key gives to histories of single keys, this gives to those
//! whose transactions tie all keys together.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::Case;
use crate::model::{Model, Part};

/// The keys of one operation; `None` for all.
type Keys = Option<SmallVec<[u32; 2]>>;

/// Every key.
pub(super) const ALL: u64 = u64::MAX;

/// The footprints of the operations of a case, by position.
pub(super) struct Footprints {
    keys: Vec<Keys>,
    /// How many keys there are.
    pub count: usize,
    /// Whether every operation has the same one key, and so is in the way of every other.
    is_one: bool,
    are_single: bool,
}

impl Footprints {
    pub fn new<M: Model>(model: &M, case: &Case<'_, M>) -> Self {
        let mut numbers: FxHashMap<u64, u32> = FxHashMap::default();
        let mut number = |key: u64| {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            *numbers.entry(key).or_insert(next)
        };
        let of = |operation: &&_| {
            let operation: &crate::model::OperationOf<M> = operation;
            match model.part(&operation.ask, operation.answer.as_ref()) {
                Part::Whole => None,
                Part::Key(key) => Some(SmallVec::from_slice(&[number(key)])),
                Part::Keys(keys) => Some(keys.into_iter().map(&mut number).collect()),
            }
        };
        let keys: Vec<Keys> = case.operations.iter().map(of).collect();
        let has_one = |keys: &Keys| keys.as_ref().is_some_and(|keys| keys.len() == 1);
        let count = numbers.len();
        Self {
            is_one: count == 1 && keys.iter().all(has_one),
            are_single: keys.iter().all(has_one),
            keys,
            count,
        }
    }

    /// The keys of an operation; `None` for all.
    pub fn of(&self, position: u32) -> Option<&[u32]> {
        self.keys[position as usize].as_deref()
    }

    /// Whether operations can differ in their keys.
    pub fn are_several(&self) -> bool {
        !self.is_one
    }

    /// The keys of an operation, as far as 64 bits tell keys apart.
    pub fn mask(&self, position: u32) -> u64 {
        self.of(position).map_or(ALL, |keys| {
            keys.iter().fold(0, |mask, key| mask | 1 << (key % 64))
        })
    }

    /// Whether no operation has several keys.
    pub fn are_single(&self) -> bool {
        self.are_single
    }

    /// Which of `candidates` can be in the way of `first`: those for which the answer is true, in their order.
    pub fn in_the_way(&self, first: u32, candidates: &[u32]) -> SmallVec<[bool; 64]> {
        let mut is_in = SmallVec::from_elem(self.is_one, candidates.len());
        if self.is_one {
            return is_in;
        }
        let Some(keys) = &self.keys[first as usize] else {
            is_in.fill(true);
            return is_in;
        };
        let mut reached = keys.clone();
        let mut grows = true;
        while grows {
            grows = false;
            for (is_in, candidate) in is_in.iter_mut().zip(candidates) {
                if *is_in {
                    continue;
                }
                let Some(keys) = &self.keys[*candidate as usize] else {
                    // It touches everything, and so is everything.
                    let mut all = SmallVec::with_capacity(candidates.len());
                    all.resize(candidates.len(), true);
                    return all;
                };
                if *candidate != first && !keys.iter().any(|key| reached.contains(key)) {
                    continue;
                }
                *is_in = true;
                for key in keys {
                    if !reached.contains(key) {
                        reached.push(*key);
                        grows = true;
                    }
                }
            }
        }
        is_in
    }
}
