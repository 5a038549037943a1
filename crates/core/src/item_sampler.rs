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

    /// Number of items of the catalogue.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.taken.n_items()
    }

    /// Appends to `out` the items of `wanted` that are in none of the `excluded` lists. Returns the number of items of the
    /// catalogue that are in one of these.
    pub fn outside(
        &mut self,
        wanted: &[ItemId],
        excluded: &[&[ItemId]],
        out: &mut Vec<ItemId>,
    ) -> usize {
        let taken = &mut self.taken;
        let items = excluded.iter().copied().flatten();
        let n_excluded = items.filter(|&&item| taken.insert(item)).count();
        out.extend(wanted.iter().copied().filter(|&item| !taken.contains(item)));
        excluded.iter().for_each(|items| taken.remove_all(items));
        n_excluded
    }

    /// Fills `out` with the items of `shared`; those that are in one of the `excluded` lists are replaced by others. The result is
    /// distributed like a draw of [`ItemSampler::fill`]: the eligible part of a uniform sample of the catalogue is a uniform sample
    /// of the eligible items, and is completed with uniform ones.
    pub fn fill_from_shared(
        &mut self,
        shared: &SharedSample,
        excluded: &[&[ItemId]],
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        let mut items = excluded.iter().copied().flatten();
        if out.len() == shared.items.len() && !items.any(|&item| shared.set.contains(item)) {
            return out.copy_from_slice(&shared.items);
        }
        let taken = &mut self.taken;
        excluded.iter().for_each(|items| taken.insert_all(items));
        let mut kept = 0;
        for &item in &shared.items {
            if kept < out.len() && !taken.contains(item) {
                out[kept] = item;
                kept += 1;
            }
        }
        excluded.iter().for_each(|items| taken.remove_all(items));
        let drawn: &[ItemId] = if shared.replacement { &[] } else { &shared.items };
        let excluded = [excluded, &[drawn]].concat();
        self.fill(&excluded, shared.replacement, rng, &mut out[kept..]);
    }

    /// Fills `out` uniformly with items that are in none of the `excluded` lists. Without replacement there must be enough of
    /// them.
    pub fn fill(
        &mut self,
        excluded: &[&[ItemId]],
        replacement: bool,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        let n_items = self.taken.n_items();
        let n_excluded: usize = excluded.iter().map(|items| items.len()).sum();
        // Drawing until a new item comes is fast as long as at least every other draw is new.
        if (n_excluded + out.len()) * 2 > n_items {
            return self.fill_from_few(n_items as u32, excluded, replacement, rng, out);
        }
        let taken = &mut self.taken;
        excluded.iter().for_each(|items| taken.insert_all(items));
        for slot in out.iter_mut() {
            *slot = loop {
                let item = rng.below(n_items as u32);
                if if replacement { !taken.contains(item) } else { taken.insert(item) } {
                    break item;
                }
            };
        }
        excluded.iter().for_each(|items| taken.remove_all(items));
        taken.remove_all(out);
    }

    fn fill_from_few(
        &mut self,
        n_items: u32,
        excluded: &[&[ItemId]],
        replacement: bool,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        self.drawn.clear();
        if replacement {
            // One after the other, each from all that are left.
            for _ in 0..out.len() {
                self.distinct.draw(n_items, excluded, 1, rng, &mut self.drawn);
            }
        } else {
            self.distinct.draw(n_items, excluded, out.len(), rng, &mut self.drawn);
        }
        out.copy_from_slice(&self.drawn);
    }
}

/// Random items of the catalogue that several rows share.
pub struct SharedSample {
    items: Vec<ItemId>,
    set: ItemSet,
    distinct: Distinct,
    replacement: bool,
}

impl SharedSample {
    /// Nothing yet, of a catalogue of `n_items`.
    #[must_use]
    pub fn empty(n_items: usize, replacement: bool) -> Self {
        let (set, distinct) = (ItemSet::empty(n_items), Distinct::default());
        Self { items: Vec::new(), set, distinct, replacement }
    }

    /// `n` items, or all there are.
    pub fn new(n_items: usize, n: usize, replacement: bool, rng: &mut Rng) -> Self {
        let mut sample = Self::empty(n_items, replacement);
        sample.draw(n, rng);
        sample
    }

    /// Replaces the items by `n` others, or by all there are.
    pub fn draw(&mut self, n: usize, rng: &mut Rng) {
        let n_items = self.set.n_items() as u32;
        self.set.remove_all(&self.items);
        self.items.clear();
        if self.replacement {
            self.items.extend((0..n).map(|_| rng.below(n_items)));
        } else {
            self.distinct.draw(n_items, &[], n, rng, &mut self.items);
        }
        self.set.insert_all(&self.items);
    }

    /// The items.
    #[must_use]
    pub fn items(&self) -> &[ItemId] {
        &self.items
    }

    /// Whether an item is among them.
    #[must_use]
    pub fn contains(&self, item: ItemId) -> bool {
        self.set.contains(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_kept_and_the_excluded_are_counted_once() {
        let (mut sampler, mut out) = (ItemSampler::new(10), vec![3]);
        let excluded: [&[u32]; 2] = [&[4, 1, 4], &[1, 9]];
        assert_eq!(sampler.outside(&[9, 2, 4, 7], &excluded, &mut out), 3);
        assert_eq!(out, [3, 2, 7]);
        assert_eq!(sampler.outside(&[9], &[], &mut out), 0, "nothing is left in the set");
        assert_eq!(out, [3, 2, 7, 9]);
    }
}
