//! Atoms are the numbers that stand for the values of a history, so that models compare and store numbers.

use rustc_hash::{FxHashMap, FxHashSet};

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
    /// Numbers of values that were forgotten.
    free: Vec<Atom>,
}

impl Default for Atoms {
    fn default() -> Self {
        Self {
            numbers: std::iter::once((Value::Nil, NIL)).collect(),
            values: vec![Value::Nil],
            free: Vec::new(),
        }
    }
}

impl Atoms {
    /// The number of a value, new or old.
    pub fn of(&mut self, value: &Value) -> Atom {
        if let Some(atom) = self.numbers.get(value) {
            return *atom;
        }
        let atom = if let Some(atom) = self.free.pop() {
            self.values[atom as usize] = value.clone();
            atom
        } else {
            self.values.push(value.clone());
            Atom::try_from(self.values.len() - 1).unwrap_or(Atom::MAX)
        };
        self.numbers.insert(value.clone(), atom);
        atom
    }

    /// Forgets all other values than `kept` and nil; their numbers go to later ones.
    pub fn retain(&mut self, kept: &FxHashSet<Atom>) {
        let (values, free) = (&mut self.values, &mut self.free);
        self.numbers.retain(|_, atom| {
            let stays = *atom == NIL || kept.contains(atom);
            if !stays {
                values[*atom as usize] = Value::Nil;
                free.push(*atom);
            }
            stays
        });
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
