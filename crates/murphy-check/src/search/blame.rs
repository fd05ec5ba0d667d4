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
pub(super) struct Blame {
    /// What each rests on, by its configuration.
    known: Table<u64>,
    /// Whether keys can be told apart at all.
    is_useful: bool,
    /// Whether what is to come on a key is a matter of that key alone.
    are_single: bool,
}

impl Blame {
    pub fn new(footprints: &Footprints) -> Self {
        Self {
            known: Table::default(),
            is_useful: footprints.are_several(),
            are_single: footprints.are_single(),
        }
    }

    /// What a dead end rests on that was entered before. One that was not left yet is blamed on everything.
    pub fn of(&self, sum: u128, state: u32, used: u128) -> u64 {
        let known = self.known.get(&place(sum, state, used));
        known.copied().unwrap_or(ALL)
    }

    /// A configuration is a dead end that rests on `keys`.
    pub fn keep(&mut self, sum: u128, state: u32, used: u128, keys: u64) {
        if self.is_useful && keys != ALL {
            self.known.insert(place(sum, state, used), keys);
        }
    }

    /// The keys of an answer that has become impossible behind operation `position`.
    pub fn of_hopeless(&self, footprints: &Footprints, position: u32) -> u64 {
        if self.are_single {
            footprints.mask(position)
        } else {
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
