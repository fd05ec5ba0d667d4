//! Blame says which keys a dead end rests on, so that what has nothing to do with it is not tried again.
//!
//! A dead end rests on a set of keys where no order of the operations left on those keys is legal, whatever the others
//! do: the next answer on a key was impossible after every operation that can be in its way, each of which is a dead
//! end that rests on keys of the set. Who is taken back and acted on none of them cannot mend it, so nothing else is
//! tried in its place (conflict-directed backjumping, Prosser 1993). Keys are told apart as far as 64 bits tell them:
//! a larger set than needed is careful.

use super::{
    footprint::{ALL, Footprints},
    seen::{Table, key},
};

/// The dead ends of a search.
pub(super) struct Blame<'f> {
    footprints: &'f Footprints,
    /// What each rests on, by its configuration.
    known: Table<u64>,
}

impl<'f> Blame<'f> {
    pub fn new(footprints: &'f Footprints) -> Self {
        Self {
            footprints,
            known: Table::default(),
        }
    }

    /// What a dead end rests on that was entered before. One that was not left yet is blamed on everything.
    pub fn of(&self, sum: u128, state: u32, used: u128) -> u64 {
        let known = self.known.get(&place(sum, state, used));
        known.copied().unwrap_or(ALL)
    }

    /// A configuration is a dead end that rests on `keys`.
    pub fn keep(&mut self, sum: u128, state: u32, used: u128, keys: u64) {
        if self.footprints.are_several() && keys != ALL {
            self.known.insert(place(sum, state, used), keys);
        }
    }

    /// The keys of an answer that has become impossible behind operation `position`.
    pub fn of_hopeless(&self, position: u32) -> u64 {
        if self.footprints.are_single() {
            self.footprints.mask(position)
        } else {
            // What is to come on a key is not a matter of that key alone.
            ALL
        }
    }

    /// How many bytes that takes.
    pub fn bytes(&self) -> usize {
        self.known.capacity() * (size_of::<(u128, u64)>() + 1) * 8 / 7
    }
}

/// A configuration with the unknown outcomes it has used up.
fn place(sum: u128, state: u32, used: u128) -> u128 {
    key(sum, state) ^ used.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}
