//! The distinct rows of a batch and their occurrences.
//!
//! A minibatch refers to the same table row many times. With one slot per distinct row, one task owns the
//! row: it sums its occurrences' gradients in registers, in sample order, and updates the row at once. No
//! atomics, no gradient table, and a result that does not depend on the number of threads.

use super::simd::prefetch;

/// How far ahead the random look-ups of [`Slots::assign`] are prefetched.
const AHEAD: usize = 12;

/// Maps the row ids of a batch to slots `0..len()`, in order of first appearance. Reused from batch to batch:
/// nothing is allocated once the largest batch has been seen.
#[derive(Clone, Debug)]
pub struct Slots {
    /// For each table row: the batch that saw it last (high half) and the slot that it got then (low half).
    /// Stamping with the batch's number saves clearing the table.
    stamps: Vec<u64>,
    batch: u32,
    rows: Vec<u32>,
    slot_of: Vec<u32>,
    starts: Vec<u32>,
    occurrences: Vec<u32>,
}

impl Slots {
    /// For a table with `n_rows` rows.
    pub fn new(n_rows: usize) -> Self {
        Self {
            stamps: vec![0; n_rows],
            batch: 0,
            rows: Vec::new(),
            slot_of: Vec::new(),
            starts: vec![0],
            occurrences: Vec::new(),
        }
    }

    /// Takes up a new batch: `ids[o]` is the row that occurrence `o` names.
    ///
    /// # Panics
    /// If an id is not a row of the table, or there are 2^32 or more ids.
    pub fn assign(&mut self, ids: &[u32]) {
        assert!(u32::try_from(ids.len()).is_ok(), "a batch of 2^32 or more occurrences");
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.stamps.fill(0); // after 2^32 batches the numbers start again
            self.batch = 1;
        }
        self.rows.clear();
        self.slot_of.clear();
        self.starts.clear();
        // `starts` first counts: slot s in place s + 2, so that it holds first starts, then ends while filling.
        self.starts.extend([0, 0]);
        let current = u64::from(self.batch) << 32;
        for (o, &id) in ids.iter().enumerate() {
            if let Some(&next) = ids.get(o + AHEAD) {
                prefetch(self.stamps.as_ptr().wrapping_add(next as usize));
            }
            let stamp = &mut self.stamps[id as usize];
            if *stamp & !0xffff_ffff != current {
                *stamp = current | self.rows.len() as u64;
                self.rows.push(id);
                self.starts.push(0);
            }
            let slot = *stamp as u32;
            self.slot_of.push(slot);
            self.starts[slot as usize + 2] += 1;
        }
        let mut end = 0;
        for start in &mut self.starts {
            end += *start;
            *start = end;
        }
        self.occurrences.resize(ids.len(), 0);
        for (o, &slot) in self.slot_of.iter().enumerate() {
            let at = &mut self.starts[slot as usize + 1];
            self.occurrences[*at as usize] = o as u32;
            *at += 1;
        }
        self.starts.truncate(self.rows.len() + 1);
    }

    /// Number of distinct rows in the batch.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the batch names no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of rows of the table that these slots are for.
    pub fn n_rows(&self) -> usize {
        self.stamps.len()
    }

    /// Number of occurrences, the length of the ids last assigned.
    pub fn n_occurrences(&self) -> usize {
        self.slot_of.len()
    }

    /// The row of each slot: distinct, in order of first appearance.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The slot of each occurrence.
    pub fn slot_of(&self) -> &[u32] {
        &self.slot_of
    }

    /// Where slot `slot` occurs in the batch, ascending.
    #[inline(always)]
    pub fn occurrences(&self, slot: usize) -> &[u32] {
        &self.occurrences[self.starts[slot] as usize..self.starts[slot + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    #[test]
    fn three_rows_named_six_times() {
        let mut slots = Slots::new(10);
        slots.assign(&[7, 2, 7, 9, 2, 7]);
        assert_eq!(slots.rows(), [7, 2, 9]);
        assert_eq!(slots.slot_of(), [0, 1, 0, 2, 1, 0]);
        assert_eq!(slots.occurrences(0), [0, 2, 5]);
        assert_eq!(slots.occurrences(1), [1, 4]);
        assert_eq!(slots.occurrences(2), [3]);
        assert_eq!((slots.len(), slots.n_occurrences(), slots.n_rows()), (3, 6, 10));
    }

    #[test]
    fn agrees_with_a_search_over_many_batches_and_over_the_wrap_of_the_batch_number() {
        let mut slots = Slots::new(50);
        let mut rng = Rng::new(1);
        slots.assign(&[0, 1, 49]);
        slots.batch = u32::MAX - 20;
        for _ in 0..60 {
            let n = rng.below(120);
            let ids: Vec<u32> = (0..n).map(|_| rng.below(50)).collect();
            slots.assign(&ids);
            let mut distinct: Vec<u32> = Vec::new();
            ids.iter().for_each(|id| {
                if !distinct.contains(id) {
                    distinct.push(*id);
                }
            });
            assert_eq!(slots.rows(), distinct);
            assert_eq!(slots.is_empty(), ids.is_empty());
            for (slot, &row) in distinct.iter().enumerate() {
                let places: Vec<u32> = (0..n).filter(|&o| ids[o as usize] == row).collect();
                assert_eq!(slots.occurrences(slot), places);
                assert!(places.iter().all(|&o| slots.slot_of()[o as usize] == slot as u32));
            }
        }
    }

    #[test]
    #[should_panic]
    fn an_id_beyond_the_table_is_refused() {
        Slots::new(3).assign(&[3]);
    }
}
