//! Steps on slates over the whole catalogue with long vectors, where products take all of the time.
//!
//! The batch is processed as a whole, so that the item table is read once for the scores and once for the rows'
//! gradients, in products of blocks that suit the `gemm` crate. In groups of a few rows it would be read once
//! per group, which bounds the step at 600 dimensions. This costs a batch x items matrix of scores: 82 MB for
//! 500 histories of Gowalla's 40,981 items.

use super::everything::rows_to_gradients;
use super::{ItemHead, QueryVectors};
use rankstill_core::kernel::gemm::{Mat, MatMut, gemm, parallel, parallel_columns};
use rankstill_core::kernel::table::Table;
use rankstill_core::{Batch, Objective, Slate};
use rayon::prelude::*;

/// Rows of scores per task.
const ROWS: usize = 4;

/// Parts of the catalogue whose contributions to the rows' gradients are computed in parallel, then added.
const PARTS: usize = 8;

impl ItemHead {
    /// See [`ItemHead::step_on_everything`]; the table is settled.
    pub(super) fn step_on_wide_items(
        &mut self,
        items: &Table,
        context: QueryVectors<'_>,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        let (n_items, dim, stride) = (items.n_rows(), items.dim(), self.stride);
        let (item_data, record) = items.params();
        let items = Mat::new(item_data, n_items, dim, record);
        let n = batch.len();
        self.wide_vectors.resize(n * dim, 0.0);
        for (vector, &of) in self.wide_vectors.chunks_exact_mut(dim).zip(context.of_row) {
            vector.copy_from_slice(&context.vectors[of as usize * stride..][..dim]);
        }
        let vectors = Mat::dense(&self.wide_vectors, n, dim);
        self.wide_scores.resize(n * n_items, 0.0);
        let mut scores = MatMut::dense(&mut self.wide_scores, n, n_items);
        parallel_columns(1.0, vectors, items.t(), 0.0, &mut scores);

        let rows = self.wide_scores.par_chunks_mut(ROWS * n_items).enumerate();
        let losses: Vec<f64> = rows
            .map(|(task, scores)| {
                let first = task * ROWS;
                let counts = &context.counts[first..first + scores.len() / n_items];
                rows_to_gradients(batch, first, counts, slate, objective, scores)
            })
            .collect();

        let grads = Mat::dense(&self.wide_scores, n, n_items);
        // Overwritten entirely except for the padding, which stays 0.
        self.to_items.resize(self.to_items.len().max(n_items * stride), 0.0);
        self.to_items.truncate(n_items * stride);
        let mut to_items = MatMut::new(&mut self.to_items, n_items, dim, stride);
        parallel(1.0, grads.t(), vectors, 0.0, &mut to_items);

        let part = n_items.div_ceil(PARTS);
        let shares: Vec<Vec<f32>> = (0..n_items.div_ceil(part))
            .into_par_iter()
            .map(|at| {
                let (first, len) = (at * part, part.min(n_items - at * part));
                let (grads, items) = (grads.col_range(first, len), items.row_range(first, len));
                let mut share = vec![0.0; n * dim];
                gemm(1.0, grads, items, 0.0, &mut MatMut::dense(&mut share, n, dim));
                share
            })
            .collect();
        let to_rows = self.to_rows.par_chunks_mut(stride).enumerate();
        to_rows.for_each(|(row, to_row)| {
            for share in &shares {
                let share = &share[row * dim..][..dim];
                to_row.iter_mut().zip(share).for_each(|(sum, share)| *sum += share);
            }
        });
        losses.iter().fold(0.0, |sum, loss| sum + loss)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;
    use rankstill_core::Cases;
    use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
    use rankstill_core::kernel::rng::Rng;

    #[test]
    fn the_batch_as_a_whole_gives_what_groups_of_rows_give() {
        let train = testing::blocks();
        let cases = Cases::windows(&train, 2, 2);
        let dim = 23;
        let mut items = Table::new(40, dim, Optimizer::Sgd(Sgd::default()));
        items.init(|row, vector| Rng::keyed(1, [row as u64]).fill_normal(vector, 0.0, 0.5));
        let stride = items.stride();
        let mut vectors = vec![0.0; 7 * stride];
        for (row, vector) in vectors.chunks_exact_mut(stride).enumerate() {
            Rng::keyed(2, [row as u64]).fill_normal(&mut vector[..dim], 0.0, 0.5);
        }
        let rows: Vec<u32> = (0..19).collect();
        let of_row: Vec<u32> = rows.iter().map(|row| row % 7).collect();
        let counts: Vec<bool> = rows.iter().map(|row| row % 6 != 4).collect();
        let context = QueryVectors { vectors: &vectors, of_row: &of_row, counts: &counts };
        let batch = Batch::new(&cases, &rows, 0, 1);
        for (name, objective) in testing::shapes() {
            let slate = objective.slate(&batch);
            if !slate.reaches_all() {
                continue;
            }
            let (mut groups, mut whole) = (ItemHead::new(40), ItemHead::new(40));
            let expected = groups.step(&mut items, context, &batch, &slate, &*objective);
            whole.step(&mut items, context, &batch, &slate, &*objective);
            for _ in 0..2 {
                // As `step` does, but for the dimension that it would have to be; twice, because buffers are kept.
                whole.to_rows.fill(0.0);
                let loss = whole.step_on_wide_items(&items, context, &batch, &slate, &*objective);
                assert!((loss - expected).abs() < 1e-5 * expected, "{name}: {loss} {expected}");
                for (ours, theirs) in
                    [(&whole.to_rows, &groups.to_rows), (&whole.to_items, &groups.to_items)]
                {
                    assert_eq!(ours.len(), theirs.len());
                    for (ours, theirs) in ours.iter().zip(theirs) {
                        assert!((ours - theirs).abs() < 1e-5, "{name}: {ours} {theirs}");
                    }
                    assert!(ours.iter().any(|x| x.abs() > 0.1), "{name}");
                }
            }
        }
    }
}
