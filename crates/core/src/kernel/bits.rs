//! A set of items, one bit each.

/// A set of the items `0..n_items`, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemSet {
    n_items: usize,
    /// Bits of items that are not below `n_items` are never set.
    words: Vec<u64>,
}

impl ItemSet {
    /// No item of a catalogue of `n_items`.
    #[must_use]
    pub fn empty(n_items: usize) -> Self {
        Self { n_items, words: vec![0; n_items.div_ceil(64)] }
    }

    /// The whole catalogue.
    #[must_use]
    pub fn all(n_items: usize) -> Self {
        let mut words = vec![u64::MAX; n_items.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !n_items.is_multiple_of(64)) {
            *last = (1 << (n_items % 64)) - 1;
        }
        Self { n_items, words }
    }

    /// The size of the catalogue, not of the set.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Adds an item; true if it is new. Items that are not in the catalogue are ignored.
    #[inline(always)]
    pub fn insert(&mut self, item: u32) -> bool {
        if item as usize >= self.n_items {
            return false;
        }
        let (word, bit) = (&mut self.words[item as usize / 64], 1 << (item % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Removes an item, if it is in the set.
    #[inline(always)]
    pub fn remove(&mut self, item: u32) {
        if let Some(word) = self.words.get_mut(item as usize / 64) {
            *word &= !(1 << (item % 64));
        }
    }

    /// Whether the set has this item.
    #[inline(always)]
    #[must_use]
    pub fn contains(&self, item: u32) -> bool {
        self.words.get(item as usize / 64).is_some_and(|word| word >> (item % 64) & 1 == 1)
    }

    /// Adds several items.
    pub fn insert_all(&mut self, items: &[u32]) {
        items.iter().for_each(|&item| _ = self.insert(item));
    }

    /// Removes several items.
    pub fn remove_all(&mut self, items: &[u32]) {
        items.iter().for_each(|&item| self.remove(item));
    }

    /// Keeps only the items that `other` has as well.
    ///
    /// # Panics
    /// When the catalogues differ in size.
    pub fn intersect(&mut self, other: &Self) {
        assert_eq!(self.n_items, other.n_items, "sets of one catalogue");
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// # Panics
    /// When the set is of a smaller catalogue than `n_items`.
    pub(super) fn check_catalogue(&self, n_items: usize) {
        let enough = self.words.len() >= n_items.div_ceil(64);
        assert!(enough, "a set of {} items, for a catalogue of {n_items}", self.n_items);
    }

    /// The bits, 64 items per word.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_and_go_and_strangers_are_ignored() {
        for n_items in [0, 1, 63, 64, 65, 200] {
            let (mut set, all) = (ItemSet::empty(n_items), ItemSet::all(n_items));
            for item in 0..n_items as u32 {
                assert!(set.insert(item) && !set.insert(item) && set.contains(item));
            }
            assert!(!set.insert(n_items as u32) && !set.contains(n_items as u32));
            set.remove(n_items as u32 + 3);
            assert_eq!(set, all);
            set.remove_all(&(0..n_items as u32).collect::<Vec<_>>());
            assert_eq!(set, ItemSet::empty(n_items));
        }
    }

    #[test]
    fn an_intersection_has_the_items_of_both() {
        let mut set = ItemSet::all(70);
        set.remove(3);
        let mut other = ItemSet::empty(70);
        other.insert_all(&[3, 4, 69]);
        set.intersect(&other);
        assert_eq!([3, 4, 5, 69].map(|item| set.contains(item)), [false, true, false, true]);
    }
}
