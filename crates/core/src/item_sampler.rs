//! Uniform random items outside some lists, for losses that draw them anew for every row.

use crate::kernel::rng::Rng;
use crate::kernel::sample::Distinct;
use crate::{ItemId, ItemSet};

/// Draws items of a catalogue; its buffers are reused, so that a draw allocates nothing.
pub struct ItemSampler {
    taken: ItemSet,
    distinct: Distinct,
    drawn: Vec<ItemId>,
}

impl ItemSampler {
    /// Of a catalogue of `n_items`.
    #[must_use]
    pub fn new(n_items: usize) -> Self {
        Self { taken: ItemSet::empty(n_items), distinct: Distinct::default(), drawn: Vec::new() }
    }

    /// Appends to `out` the items of `wanted` that are in none of the `excluded` lists. Returns the number of items of the
    /// catalogue that are in one of these.
    pub fn outside(
        &mut self,
        wanted: &[ItemId],
        excluded: [&[ItemId]; 2],
        out: &mut Vec<ItemId>,
    ) -> usize {
        let taken = &mut self.taken;
        let items = excluded.into_iter().flatten();
        let n_excluded = items.filter(|&&item| taken.insert(item)).count();
        out.extend(wanted.iter().copied().filter(|&item| !taken.contains(item)));
        excluded.into_iter().for_each(|items| taken.remove_all(items));
        n_excluded
    }

    /// Fills `out` uniformly with items that are in none of the `excluded` lists. Without replacement there must be enough of
    /// them.
    pub fn fill(
        &mut self,
        excluded: [&[ItemId]; 2],
        replacement: bool,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        let n_items = self.taken.n_items();
        // Drawing until a new item comes is fast as long as at least every other draw is new.
        if (excluded[0].len() + excluded[1].len() + out.len()) * 2 > n_items {
            return self.fill_from_few(n_items as u32, excluded, replacement, rng, out);
        }
        let taken = &mut self.taken;
        excluded.into_iter().for_each(|items| taken.insert_all(items));
        for slot in out.iter_mut() {
            *slot = loop {
                let item = rng.below(n_items as u32);
                if if replacement { !taken.contains(item) } else { taken.insert(item) } {
                    break item;
                }
            };
        }
        excluded.into_iter().for_each(|items| taken.remove_all(items));
        taken.remove_all(out);
    }

    fn fill_from_few(
        &mut self,
        n_items: u32,
        excluded: [&[ItemId]; 2],
        replacement: bool,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        self.drawn.clear();
        if replacement {
            // One after the other, each from all that are left.
            for _ in 0..out.len() {
                self.distinct.draw(n_items, &excluded, 1, rng, &mut self.drawn);
            }
        } else {
            self.distinct.draw(n_items, &excluded, out.len(), rng, &mut self.drawn);
        }
        out.copy_from_slice(&self.drawn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_kept_and_the_excluded_are_counted_once() {
        let (mut sampler, mut out) = (ItemSampler::new(10), vec![3]);
        let excluded: [&[u32]; 2] = [&[4, 1, 4], &[1, 9]];
        assert_eq!(sampler.outside(&[9, 2, 4, 7], excluded, &mut out), 3);
        assert_eq!(out, [3, 2, 7]);
        assert_eq!(sampler.outside(&[9], [&[], &[]], &mut out), 0, "nothing is left in the set");
        assert_eq!(out, [3, 2, 7, 9]);
    }
}
