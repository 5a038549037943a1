//! Random unlabelled items.

use super::labelled::Labelled;
use rankstill_core::ItemId;
use rankstill_core::item_sampler::{ItemSampler, SharedSample};
use rankstill_core::kernel::rng::Rng;

/// Draws unlabelled items; its buffers are reused, so that a draw allocates nothing.
pub(crate) struct UnlabelledSampler(ItemSampler);

impl UnlabelledSampler {
    pub fn new(n_items: usize) -> Self {
        Self(ItemSampler::new(n_items))
    }

    /// Fills `out` with the items of `shared`, those that are labelled for `query` replaced by others: see
    /// [`ItemSampler::fill_from_shared`].
    pub fn fill_from_shared(
        &mut self,
        shared: &SharedSample,
        labelled: &Labelled,
        query: usize,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        self.0.fill_from_shared(shared, &[labelled.of(query)], rng, out);
    }

    /// Fills `out` uniformly with items that are neither labelled for `query` nor in `excluded`. Without replacement there must
    /// be enough of them.
    pub fn fill(
        &mut self,
        labelled: &Labelled,
        query: usize,
        excluded: &[ItemId],
        replacement: bool,
        rng: &mut Rng,
        out: &mut [ItemId],
    ) {
        self.0.fill(&[labelled.of(query), excluded], replacement, rng, out);
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

    /// How often each item comes in 20,000 samples of `n`. No sample may hold a labelled item, nor (without replacement) an
    /// item twice.
    fn counts(
        n_items: usize,
        seen: &[ItemId],
        n: usize,
        replacement: bool,
        shared: bool,
    ) -> Vec<u32> {
        let labelled = labelled(n_items, vec![seen.to_vec()]);
        let mut sampler = UnlabelledSampler::new(n_items);
        let mut counts = vec![0; n_items];
        let mut out = vec![0; n];
        for row in 0..20_000 {
            let mut rng = Rng::keyed(5, [row]);
            if shared {
                let common = SharedSample::new(n_items, n, replacement, &mut Rng::keyed(6, [row]));
                sampler.fill_from_shared(&common, &labelled, 0, &mut rng, &mut out);
            } else {
                sampler.fill(&labelled, 0, &[], replacement, &mut rng, &mut out);
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
    fn rows_for_which_no_shared_item_is_labelled_have_the_same_sample() {
        let labelled = labelled(50, vec![vec![1], vec![]]);
        let mut sampler = UnlabelledSampler::new(50);
        let shared = (0..)
            .map(|seed| SharedSample::new(50, 10, false, &mut Rng::new(seed)))
            .find(|shared| shared.contains(1))
            .unwrap();
        let mut rows = [[0; 10]; 2];
        for (query, row) in rows.iter_mut().enumerate() {
            sampler.fill_from_shared(&shared, &labelled, query, &mut Rng::new(9), row);
        }
        assert_eq!(rows[1], shared.items()[..]);
        let differ = rows[0].iter().filter(|item| !shared.contains(**item)).count();
        assert_eq!(differ, 1, "only the labelled item is replaced");
    }
}
