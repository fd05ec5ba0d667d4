//! A bounded memory: what was put into it first is given up when it has no more room.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Values by their keys, so many at most, in the order in which they were put.
#[derive(Clone, Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    turn: u64,
    values: HashMap<K, (u64, V)>,
    turns: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// An empty one with room for so many, but for one at least.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            turn: 0,
            values: HashMap::new(),
            turns: BTreeMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }

    /// Puts one last, in the place of that of the same key if there is one; what is given up for it.
    pub fn put(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.take(&key);
        let given_up = if self.len() < self.most {
            None
        } else {
            self.take_oldest()
        };
        self.turn += 1;
        self.turns.insert(self.turn, key.clone());
        self.values.insert(key, (self.turn, value));
        given_up
    }

    pub fn take(&mut self, key: &K) -> Option<V> {
        let (turn, value) = self.values.remove(key)?;
        self.turns.remove(&turn);
        Some(value)
    }

    /// The keys of all of them, what was put first before the rest.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.turns.values()
    }

    pub fn oldest(&self) -> Option<&V> {
        self.keys().next().and_then(|key| self.get(key))
    }

    pub fn take_oldest(&mut self) -> Option<(K, V)> {
        let (_, key) = self.turns.pop_first()?;
        let (_, value) = self.values.remove(&key)?;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_first_goes_first() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.put("a", 1), None);
        assert_eq!(recent.put("b", 2), None);
        assert_eq!(recent.put("a", 3), None, "it is put again");
        assert_eq!(recent.put("c", 4), Some(("b", 2)));
        assert_eq!(recent.keys().collect::<Vec<_>>(), [&"a", &"c"]);
        assert_eq!(recent.oldest(), Some(&3));
        assert_eq!(recent.take(&"a"), Some(3));
        assert_eq!(recent.take_oldest(), Some(("c", 4)));
        assert_eq!(recent.take_oldest(), None);
        assert_eq!((recent.len(), recent.turns.len()), (0, 0));
    }
}
