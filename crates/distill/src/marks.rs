//! A set of items that is filled and emptied again and again.

use rankstill_core::ItemId;

/// One bit an item; items beyond the catalogue are nobody's.
pub(crate) struct Marks(Vec<u64>);

impl Marks {
    /// Empty, for so many items.
    pub(crate) fn new(n_items: usize) -> Self {
        Self(vec![0; n_items.div_ceil(64)])
    }

    /// Puts it in; whether it was not in before.
    pub(crate) fn set(&mut self, item: ItemId) -> bool {
        let bit = 1 << (item % 64);
        let Some(word) = self.0.get_mut(item as usize / 64) else { return false };
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// Takes it out.
    pub(crate) fn clear(&mut self, item: ItemId) {
        if let Some(word) = self.0.get_mut(item as usize / 64) {
            *word &= !(1 << (item % 64));
        }
    }

    /// Whether it is in.
    pub(crate) fn contains(&self, item: ItemId) -> bool {
        self.0.get(item as usize / 64).is_some_and(|word| word >> (item % 64) & 1 == 1)
    }
}
