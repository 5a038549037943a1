//! The random unlabelled items from which Algorithm 1 estimates a rank.

use crate::labelled::Labelled;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::sample::Distinct;
use rankstill_core::{ItemId, ItemSet};

/// Room for drawing, reused from row to row: a draw allocates nothing.
pub(crate) struct Scratch {
    marks: ItemSet,
    distinct: Distinct,
    drawn: Vec<ItemId>,
}

impl Scratch {
    pub(crate) fn new(n_items: usize) -> Self {
        Self { marks: ItemSet::empty(n_items), distinct: Distinct::default(), drawn: Vec::new() }
    }

    /// Fills `out` with unlabelled items of `query`, uniformly; without replacement there must be so many.
    pub(super) fn fill(
        &mut self,
        labelled: &Labelled,
        query: usize,
        replacement: bool,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        self.draw(labelled, query, &[], replacement, rng, out);
    }

    /// Fills `out` with the batch's samples; those that `query` has labelled give way to unlabelled ones of its own. The
    /// result is distributed as [`Scratch::fill`]'s: a uniform sample of the catalogue, less what is labelled, is one of the
    /// unlabelled items, and is filled up with uniform ones.
    pub(super) fn fill_shared(
        &mut self,
        shared: &Shared,
        labelled: &Labelled,
        query: usize,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        let seen = labelled.of(query);
        if out.len() == shared.items.len() && !seen.iter().any(|&item| shared.set.contains(item)) {
            return out.copy_from_slice(&shared.items);
        }
        let mut kept = 0;
        for &item in &shared.items {
            if kept < out.len() && seen.binary_search(&item).is_err() {
                out[kept] = item;
                kept += 1;
            }
        }
        let not_again: &[ItemId] = if shared.replacement { &[] } else { &shared.items };
        self.draw(labelled, query, not_again, shared.replacement, rng, &mut out[kept..]);
    }

    /// Fills `out` with items that are neither labelled for `query` nor in `not_again`, uniformly; without replacement there
    /// must be so many.
    pub(crate) fn draw(
        &mut self,
        labelled: &Labelled,
        query: usize,
        not_again: &[ItemId],
        replacement: bool,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        let n_items = labelled.positives().n_items();
        let seen = labelled.of(query);
        // Drawing until something new comes is fast as long as at least every other draw is new.
        if (seen.len() + not_again.len() + out.len()) * 2 > n_items as usize {
            return self.draw_from_few(n_items, [seen, not_again], replacement, rng, out);
        }
        let marks = &mut self.marks;
        let taken = || seen.iter().chain(not_again);
        taken().for_each(|&item| {
            marks.insert(item);
        });
        for slot in out.iter_mut() {
            *slot = loop {
                let item = rng.below(n_items);
                if if replacement { !marks.contains(item) } else { marks.insert(item) } {
                    break item;
                }
            };
        }
        taken().chain(&*out).for_each(|&item| marks.remove(item));
    }

    fn draw_from_few(
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

/// The samples that the rows of a batch have in common.
pub(super) struct Shared {
    items: Vec<ItemId>,
    set: ItemSet,
    replacement: bool,
}

impl Shared {
    /// `n` random items of the catalogue, or all there are.
    pub(super) fn new(n_items: u32, n: usize, replacement: bool, rng: &mut Rng) -> Self {
        let mut items = Vec::new();
        if replacement {
            items.extend((0..n).map(|_| rng.below(n_items)));
        } else {
            Distinct::default().draw(n_items, &[], n, rng, &mut items);
        }
        let mut set = ItemSet::empty(n_items as usize);
        set.insert_all(&items);
        Self { items, set, replacement }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::{Cases, Interactions, Lists};

    fn labelled(n_items: usize, lines: Vec<Vec<ItemId>>) -> Labelled {
        let log = Interactions::new(n_items, Lists::from_iter(lines), None, None).unwrap();
        Labelled::new(&Cases::each_interaction(&log)).unwrap()
    }

    /// How often each item comes in 20,000 samples of `n`; no sample may hold anything labelled, nor (without replacement)
    /// an item twice.
    fn counts(
        n_items: usize,
        seen: &[ItemId],
        n: usize,
        replacement: bool,
        shared: bool,
    ) -> Vec<u32> {
        let labelled = labelled(n_items, vec![seen.to_vec()]);
        let mut scratch = Scratch::new(n_items);
        let mut counts = vec![0; n_items];
        let mut out = vec![0; n];
        for row in 0..20_000 {
            let mut rng = Rng::keyed(5, [row]);
            if shared {
                let common = Shared::new(n_items as u32, n, replacement, &mut Rng::keyed(6, [row]));
                scratch.fill_shared(&common, &labelled, 0, &mut rng, &mut out);
            } else {
                scratch.fill(&labelled, 0, replacement, &mut rng, &mut out);
            }
            out.iter().for_each(|&item| counts[item as usize] += 1);
            if !replacement {
                let mut sorted = out.clone();
                sorted.sort_unstable();
                assert!(sorted.windows(2).all(|w| w[0] < w[1]), "{sorted:?}");
            }
        }
        assert!(seen.iter().all(|&item| counts[item as usize] == 0));
        counts
    }

    #[test]
    fn samples_are_uniform_over_the_unlabelled_items_however_they_are_drawn() {
        for (n_items, seen, n) in
            [(40, vec![3, 17, 0], 5), (12, vec![1, 2, 3, 4, 5], 4), (6, vec![2, 5], 4)]
        {
            for (replacement, shared) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let counts = counts(n_items, &seen, n, replacement, shared);
                let expected = 20_000.0 * n as f64 / (n_items - seen.len()) as f64;
                for (item, &count) in counts.iter().enumerate() {
                    if !seen.contains(&(item as u32)) {
                        let off = (f64::from(count) - expected).abs();
                        assert!(off < 4.5 * expected.sqrt(), "{n_items} {shared} {item}: {count}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_without_a_labelled_sample_share_them_all() {
        let labelled = labelled(50, vec![vec![1], vec![]]);
        let mut scratch = Scratch::new(50);
        let shared = (0..)
            .map(|seed| Shared::new(50, 10, false, &mut Rng::new(seed)))
            .find(|shared| shared.set.contains(1))
            .unwrap();
        let mut rows = [[0; 10]; 2];
        for (query, row) in rows.iter_mut().enumerate() {
            scratch.fill_shared(&shared, &labelled, query, &mut Rng::new(9), row);
        }
        assert_eq!(rows[1], shared.items[..]);
        let differ = rows[0].iter().filter(|item| !shared.set.contains(**item)).count();
        assert_eq!(differ, 1, "the labelled one gave way to another");
    }
}
