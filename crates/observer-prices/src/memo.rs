//! Bounded memory of values by name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// Number of names in one generation.
const CAPACITY: usize = 2_048;

/// Values by name, of which those of names that recur are kept.
///
/// When the younger of two generations is full, it becomes the older one, and the older one is
/// forgotten. A name of the older generation that recurs moves to the younger one.
pub(crate) struct Memo<V> {
    generations: RwLock<Generations<V>>,
}

struct Generations<V> {
    young: HashMap<Box<str>, V>,
    old: HashMap<Box<str>, V>,
}

impl<V: Clone> Memo<V> {
    /// Returns the value of a name, computed if it is not remembered.
    pub(crate) fn get_or_insert(&self, name: &str, compute: impl FnOnce() -> V) -> V {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = generations.young.get(name) {
            return value.clone();
        }
        let old = generations.old.get(name).cloned();
        drop(generations);
        let value = old.unwrap_or_else(compute);
        self.insert(name, value.clone());
        value
    }

    fn insert(&self, name: &str, value: V) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= CAPACITY {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(name.into(), value);
    }
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: RwLock::new(generations) }
    }
}

impl<V> fmt::Debug for Memo<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_computed_once() {
        let memo = Memo::default();
        assert_eq!(memo.get_or_insert("a", || 1), 1);
        assert_eq!(memo.get_or_insert("a", || 2), 1);
        assert_eq!(memo.get_or_insert("b", || 3), 3);
    }

    #[test]
    fn names_that_recur_are_kept_among_many_that_do_not_and_the_number_is_bounded() {
        let memo = Memo::default();
        memo.get_or_insert("once", || 0);
        for number in 1..10_000 {
            memo.get_or_insert(&number.to_string(), || number);
            assert_eq!(memo.get_or_insert("recurring", || number), 1);
            let generations = memo.generations.read().unwrap();
            assert!(generations.young.len() <= CAPACITY && generations.old.len() <= CAPACITY);
        }
        assert_eq!(memo.get_or_insert("once", || 7), 7);
    }
}
