//! Atoms are the numbers that stand for the values of a history, so that models compare and store numbers.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashSet};

use crate::value::Value;

/// The number of a value.
pub type Atom = u32;

/// The number of [`Value::Nil`].
pub const NIL: Atom = 0;

/// Things with their numbers; the first one stays for ever.
#[derive(Clone, Debug)]
pub(crate) struct Numbers<T> {
    table: HashTable<Atom>,
    things: Vec<T>,
    /// Numbers of things that were forgotten.
    free: Vec<Atom>,
}

impl<T: Eq + Hash> Numbers<T> {
    /// One thing, with the number 0.
    pub fn new(first: T) -> Self {
        let mut numbers = Self {
            table: HashTable::new(),
            things: Vec::new(),
            free: Vec::new(),
        };
        numbers.enter(first);
        numbers
    }

    /// The number of a thing, where it has one.
    fn find(&self, thing: &T) -> Option<Atom> {
        let is_it = |atom: &Atom| self.things[*atom as usize] == *thing;
        self.table
            .find(FxBuildHasher.hash_one(thing), is_it)
            .copied()
    }

    fn enter(&mut self, thing: T) -> Atom {
        let hash = FxBuildHasher.hash_one(&thing);
        let atom = if let Some(atom) = self.free.pop() {
            self.things[atom as usize] = thing;
            atom
        } else {
            self.things.push(thing);
            Atom::try_from(self.things.len() - 1).unwrap_or(Atom::MAX)
        };
        let things = &self.things;
        let hash_of = |atom: &Atom| FxBuildHasher.hash_one(&things[*atom as usize]);
        self.table.insert_unique(hash, atom, hash_of);
        atom
    }

    /// Forgets all others than `kept` and the first; their numbers go to later ones.
    pub fn retain(&mut self, kept: &FxHashSet<Atom>) {
        let free = &mut self.free;
        self.table.retain(|atom| {
            let stays = *atom == 0 || kept.contains(atom);
            if !stays {
                free.push(*atom);
            }
            stays
        });
    }

    /// The thing with a number.
    pub fn get(&self, atom: Atom) -> Option<&T> {
        self.things.get(atom as usize)
    }

    /// How many numbers there are.
    pub fn count(&self) -> Atom {
        Atom::try_from(self.things.len()).unwrap_or(Atom::MAX)
    }
}

impl<T: Eq + Hash + Clone> Numbers<T> {
    /// The number of a thing, new or old.
    pub fn of(&mut self, thing: &T) -> Atom {
        self.find(thing)
            .unwrap_or_else(|| self.enter(thing.clone()))
    }
}

/// The values of a history, each with its number.
#[derive(Clone, Debug)]
pub struct Atoms(Numbers<Value>);

impl Default for Atoms {
    fn default() -> Self {
        Self(Numbers::new(Value::Nil))
    }
}

impl Atoms {
    /// The number of a value, new or old.
    pub fn of(&mut self, value: &Value) -> Atom {
        self.0.of(value)
    }

    /// Forgets all other values than `kept` and nil; their numbers go to later ones.
    pub fn retain(&mut self, kept: &FxHashSet<Atom>) {
        self.0.retain(kept);
    }

    /// The value with a number; nil for a number that none has.
    pub fn value(&self, atom: Atom) -> &Value {
        self.0.get(atom).unwrap_or(&Value::Nil)
    }

    /// How many numbers there are.
    pub fn count(&self) -> Atom {
        self.0.count()
    }

    /// A value as people read it.
    pub fn say(&self, atom: Atom) -> String {
        self.value(atom).to_string()
    }

    /// Several values as people read them.
    pub fn say_all<'a>(&self, atoms: impl IntoIterator<Item = &'a Atom>) -> String {
        let said: Vec<_> = atoms.into_iter().map(|atom| self.say(*atom)).collect();
        format!("[{}]", said.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_forgotten_value_goes_to_another() {
        let mut atoms = Atoms::default();
        let [a, b] = ["a", "b"].map(|text| atoms.of(&Value::text(text)));
        atoms.retain(&[b].into_iter().collect());
        assert_eq!(atoms.of(&Value::Nil), NIL);
        assert_eq!(atoms.of(&Value::text("b")), b);
        assert_eq!((atoms.of(&Value::text("c")), atoms.say(a)), (a, "c".into()));
        assert_eq!(atoms.count(), 3);
    }
}
