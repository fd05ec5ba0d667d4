//! An interner gives each distinct thing a small number, so that the checkers compare and store
//! numbers instead of bytes.

use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap};

/// The number of an interned thing; [`NONE`] is no thing's.
pub(crate) type Id = u32;

/// The number that stands for "none".
pub(crate) const NONE: Id = u32::MAX;

/// The number of the next thing in a list of `length`.
///
/// The reader refuses histories of 2^32 lines; a list with so many more entries than lines is not held
/// in any memory this program meets, and then a stop is better than a wrong number.
pub(crate) fn next_id(length: usize) -> Id {
    let id = Id::try_from(length).unwrap_or(NONE);
    assert!(id < NONE - 8, "a history of more than 2^32 things");
    id
}

/// An open-addressed table of numbers; what they stand for is kept by the owner.
///
/// A slot is the low half of the hash above the number: most things that are not the one looked for
/// are told apart without a look at them, and the table grows without one.
#[derive(Clone, Debug, Default)]
struct Slots {
    slots: Vec<u64>,
    used: usize,
}

const EMPTY: u64 = u64::MAX;

impl Slots {
    /// The number for which `is_it` holds, or the empty slot at which it belongs.
    #[inline]
    fn find(&self, hash: u64, is_it: impl Fn(Id) -> bool) -> Result<Id, usize> {
        let mask = self.slots.len() - 1;
        let tag = hash << 32;
        let mut slot = low(hash) & mask;
        loop {
            let found = self.slots[slot];
            if found == EMPTY {
                return Err(slot);
            }
            if (found ^ tag) >> 32 == 0 && is_it(id_of(found)) {
                return Ok(id_of(found));
            }
            slot = (slot + 1) & mask;
        }
    }

    #[inline]
    fn fill(&mut self, slot: usize, hash: u64, id: Id) {
        self.slots[slot] = hash << 32 | u64::from(id);
        self.used += 1;
    }

    /// Makes room for one more, so that a probe is short and always ends.
    #[inline]
    fn reserve(&mut self) {
        if self.used * 8 >= self.slots.len() * 5 {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; length]);
        for entry in old.into_iter().filter(|entry| *entry != EMPTY) {
            let mut slot = low(entry >> 32) & (length - 1);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & (length - 1);
            }
            self.slots[slot] = entry;
        }
    }
}

#[inline]
fn low(hash: u64) -> usize {
    usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

#[inline]
fn id_of(entry: u64) -> Id {
    Id::try_from(entry & u64::from(u32::MAX)).unwrap_or(NONE)
}

/// What an [`Interner`] can hold. Things that are met one after the other should have hashes that
/// differ in the low bits alone, so that they share cache lines of the table.
pub(crate) trait Thing: Copy + Eq {
    /// A hash of which the low bits choose the place in the table.
    fn place(&self) -> u64;
}

/// Numbers for values of one small type.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    things: Vec<T>,
    slots: Slots,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            things: Vec::new(),
            slots: Slots::default(),
        }
    }
}

impl<T: Thing> Interner<T> {
    /// The number of `thing`, new or old.
    #[inline]
    pub fn id(&mut self, thing: T) -> Id {
        let things = &self.things;
        self.slots.reserve();
        let hash = thing.place();
        match self.slots.find(hash, |id| things[id as usize] == thing) {
            Ok(id) => id,
            Err(slot) => {
                let id = next_id(self.things.len());
                self.things.push(thing);
                self.slots.fill(slot, hash, id);
                id
            }
        }
    }

    /// The thing with number `id`.
    #[inline]
    pub fn get(&self, id: Id) -> T {
        self.things[id as usize]
    }

    /// All things, in the order of their numbers.
    pub fn all(&self) -> &[T] {
        &self.things
    }
}

/// Numbers for byte strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bytes {
    text: Vec<u8>,
    ends: Vec<usize>,
    slots: Slots,
}

impl Bytes {
    /// The number of `bytes`, new or old.
    #[inline]
    pub fn id(&mut self, bytes: &[u8]) -> Id {
        let (text, ends) = (&self.text, &self.ends);
        self.slots.reserve();
        let hash = hash_bytes(bytes);
        match self
            .slots
            .find(hash, |id| is_same(slice(text, ends, id), bytes))
        {
            Ok(id) => id,
            Err(slot) => {
                let id = next_id(self.ends.len());
                self.text.extend_from_slice(bytes);
                self.ends.push(self.text.len());
                self.slots.fill(slot, hash, id);
                id
            }
        }
    }

    /// The number of `bytes`, where they were met before.
    pub fn find(&self, bytes: &[u8]) -> Option<Id> {
        if self.slots.slots.is_empty() {
            return None;
        }
        self.slots
            .find(hash_bytes(bytes), |id| self.get(id) == bytes)
            .ok()
    }

    /// The bytes with number `id`.
    #[inline]
    pub fn get(&self, id: Id) -> &[u8] {
        slice(&self.text, &self.ends, id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Numbers for names that may be forgotten; the number of a forgotten one goes to another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    ids: FxHashMap<Box<str>, Id>,
    of: Vec<Box<str>>,
    free: Vec<Id>,
}

impl Names {
    /// The number of a name, new or old.
    #[inline]
    pub fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = if let Some(id) = self.free.pop() {
            self.of[id as usize] = name.into();
            id
        } else {
            self.of.push(name.into());
            next_id(self.of.len() - 1)
        };
        self.ids.insert(name.into(), id);
        id
    }

    /// The name with number `id`.
    pub fn get(&self, id: Id) -> &str {
        &self.of[id as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Forgets the others.
    pub fn retain(&mut self, is_needed: impl Fn(Id) -> bool) {
        let (of, free) = (&mut self.of, &mut self.free);
        self.ids.retain(|_, id| {
            let stays = is_needed(*id);
            if !stays {
                of[*id as usize] = Box::default();
                free.push(*id);
            }
            stays
        });
    }
}

#[inline]
fn slice<'a>(text: &'a [u8], ends: &[usize], id: Id) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &text[start..ends[id]]
}

/// Equality of short strings without a call.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let word = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|word| word.try_into().ok())
            .map(u64::from_le_bytes)
    };
    match a.len() {
        len if len != b.len() => false,
        8..=16 => word(a, 0) == word(b, 0) && word(a, a.len() - 8) == word(b, a.len() - 8),
        0..8 => a.iter().zip(b).all(|(a, b)| a == b),
        _ => a == b,
    }
}

#[inline]
fn hash_bytes(bytes: &[u8]) -> u64 {
    FxBuildHasher.hash_one(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_have_the_same_number() {
        let mut bytes = Bytes::default();
        let ids: Vec<Id> = (0..1000)
            .map(|n| bytes.id(n.to_string().as_bytes()))
            .collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(bytes.id(n.to_string().as_bytes()), *id);
            assert_eq!(bytes.get(*id), n.to_string().as_bytes());
        }
        assert_eq!((bytes.len(), bytes.find(b"1000")), (1000, None));
    }

    #[test]
    fn the_number_of_a_forgotten_name_goes_to_another() {
        let mut names = Names::default();
        let [a, b] = ["a", "b"].map(|name| names.id(name));
        names.retain(|id| id == b);
        assert_eq!((names.len(), names.id("b")), (1, b));
        assert_eq!((names.id("c"), names.get(a)), (a, "c"));
        assert_ne!(names.id("a"), b);
    }
}
