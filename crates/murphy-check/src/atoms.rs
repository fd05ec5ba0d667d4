//! Atoms are the numbers that stand for the values of a history, so that models compare and store numbers.

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

use crate::value::Value;

/// The number of a value.
pub type Atom = u32;

/// The number of [`Value::Nil`].
pub const NIL: Atom = 0;

/// The values of a history, each with its number.
#[derive(Clone, Debug)]
pub struct Atoms(IndexSet<Value, FxBuildHasher>);

impl Default for Atoms {
    fn default() -> Self {
        Self(IndexSet::from_iter([Value::Nil]))
    }
}

impl Atoms {
    /// The number of a value, new or old.
    pub fn of(&mut self, value: &Value) -> Atom {
        let place =
            (self.0.get_index_of(value)).unwrap_or_else(|| self.0.insert_full(value.clone()).0);
        Atom::try_from(place).unwrap_or(Atom::MAX)
    }

    /// The value with a number; nil for a number that none has.
    pub fn value(&self, atom: Atom) -> &Value {
        self.0.get_index(atom as usize).unwrap_or(&Value::Nil)
    }

    /// How many numbers there are.
    pub fn count(&self) -> Atom {
        Atom::try_from(self.0.len()).unwrap_or(Atom::MAX)
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
