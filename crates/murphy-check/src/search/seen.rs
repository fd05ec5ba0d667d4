//! What a search has seen: the configurations it has entered, so that none is entered twice.
//!
//! A configuration is the set of operations that have happened and the state. The set is the sum (exclusive or) of
//! one 128-bit number for each operation, so that two sets are taken for one with a chance of 2^-128 for each pair: for
//! the 10^9 configurations that fit into the memory of a large machine, 10^-21 in all. Unknown outcomes that have
//! been used up are kept apart while there are few: who failed with some of them left fails with fewer.

use std::hash::{BuildHasherDefault, Hasher};

use smallvec::SmallVec;

/// How many unknown outcomes are kept apart.
pub(super) const UNKNOWN_MAX: usize = 128;

/// The number of operation `index` in the sums: splitmix64 (Steele, Lea and Flood, 2014), twice.
#[inline]
pub(super) fn number_of(index: u32) -> u128 {
    let seed = u64::from(index) << 1;
    u128::from(splitmix(seed)) << 64 | u128::from(splitmix(seed | 1))
}

#[inline]
fn splitmix(seed: u64) -> u64 {
    let word = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The sums are random already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Random(u64);

impl Hasher for Random {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, word: u128) {
        self.0 = u64::try_from(word & u128::from(u64::MAX)).unwrap_or_default();
    }
}

pub(super) type Table<V> = std::collections::HashMap<u128, V, BuildHasherDefault<Random>>;

/// The sum of a set of operations and a state.
pub(super) fn key(sum: u128, state: u32) -> u128 {
    // States and operations are numbered alike; their sums must not be.
    sum ^ number_of(!state).rotate_left(1)
}

/// The configurations entered.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// For each set of operations and state, the smallest sets of unknown outcomes used up.
    table: Table<SmallVec<[u128; 1]>>,
    spilled: usize,
}

impl Seen {
    /// Enters a configuration: the sum of its operations, its state, and the unknown outcomes it has used up. Where it,
    /// or one that has used up fewer, was entered before, the unknown outcomes of that one.
    pub fn enter(&mut self, sum: u128, state: u32, used: u128) -> Result<(), u128> {
        let sets = self.table.entry(key(sum, state)).or_default();
        if let Some(set) = sets.iter().find(|set| *set & !used == 0) {
            return Err(*set);
        }
        sets.retain(|set| used & !*set != 0);
        sets.push(used);
        self.spilled += usize::from(sets.spilled());
        Ok(())
    }

    /// How many bytes that takes.
    pub fn bytes(&self) -> usize {
        const ENTRY: usize = size_of::<(u128, SmallVec<[u128; 1]>)>() + 1;
        // The table is full to 7/8 at most, and to half of that after it has grown.
        self.table.capacity() * ENTRY * 8 / 7 + self.spilled * 32
    }

    pub fn clear(&mut self) {
        self.table.clear();
        self.spilled = 0;
    }
}
