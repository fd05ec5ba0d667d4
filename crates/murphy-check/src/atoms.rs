//! Atoms are the numbers that stand for the values of a history, so that models compare and store numbers.

use rustc_hash::FxHashMap;

use crate::value::Value;

/// The number of a value.
pub type Atom = u32;

/// The number of [`Value::Nil`].
pub const NIL: Atom = 0;

/// The values of a history, each with its number.
#[derive(Clone, Debug)]
pub struct Atoms {
    numbers: FxHashMap<Value, Atom>,
    values: Vec<Value>,
}

impl Default for Atoms {
    fn default() -> Self {
        Self {
            numbers: std::iter::once((Value::Nil, NIL)).collect(),
            values: vec![Value::Nil],
        }
    }
}

impl Atoms {
    /// The number of a value, new or old.
    pub fn of(&mut self, value: &Value) -> Atom {
        if let Some(atom) = self.numbers.get(value) {
            return *atom;
        }
        let atom = Atom::try_from(self.values.len()).unwrap_or(Atom::MAX);
        self.numbers.insert(value.clone(), atom);
        self.values.push(value.clone());
        atom
    }

    /// The value with a number; nil for a number that none has.
    pub fn value(&self, atom: Atom) -> &Value {
        self.values.get(atom as usize).unwrap_or(&Value::Nil)
    }

    /// How many numbers there are.
    pub fn count(&self) -> Atom {
        Atom::try_from(self.values.len()).unwrap_or(Atom::MAX)
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
