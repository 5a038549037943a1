//! Steps on the listed items and random ones that groups of rows share: see [`rankstill_core::rest`].
//!
//! The draw of a group is a small catalogue of its own, so the kernel for complements computes its mass and gradient. What is not for a
//! row is left out there by its position in the draw. One task has one group.

use super::{ItemHead, QueryVectors};
use rankstill_core::kernel::complement::{Complement, Gradients, Queries, Ragged};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::table::Table;
use rankstill_core::{Batch, Lists, Objective, Slate};
use rayon::prelude::*;

/// Scratch space of such steps.
#[derive(Default)]
pub(super) struct OfSample {
    /// One a group, for draws of `size` items.
    kernels: Vec<Complement>,
    size: usize,
    /// The vectors of all draws, and their gradients, the table's stride apart.
    vectors: Vec<f32>,
    grads: Vec<f32>,
    /// Of each row: the logarithm of the drawn items' mass, and the part of its vector's gradient that comes from them.
    masses: Vec<f32>,
    to_rows: Vec<f32>,
}

impl OfSample {
    /// Forgets the last step.
    pub fn clear(&mut self) {
        self.grads.clear();
    }

    /// Whether the last step had no sample.
    pub fn is_empty(&self) -> bool {
        self.grads.is_empty()
    }

    /// The gradients of the drawn items' vectors.
    pub fn grads(&self) -> &[f32] {
        &self.grads
    }
}

impl ItemHead {
    /// Leaves the gradients of the rows' vectors, of the listed scores and of the drawn items.
    pub(super) fn step_with_sample(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        let Slate::WithSample { listed, probes, drawn, sharing, estimated } = slate else {
            return 0.0;
        };
        let (stride, sharing) = (self.stride, *sharing);
        let size = drawn.row(0).len();
        self.score(items, context, listed, drawn.values());
        self.score_probes(items, context, probes);

        let mut own = std::mem::take(&mut self.of_sample);
        if own.size != size {
            (own.size, own.kernels) = (size, Vec::new());
        }
        while own.kernels.len() < drawn.len() {
            own.kernels.push(Complement::new(size, items.dim()));
        }
        own.vectors.resize(drawn.values().len() * stride, 0.0);
        own.masses.resize(batch.len(), 0.0);
        // In a group, rows are numbered from its first.
        let of_group = |group: usize| {
            let (all, first) = (estimated.asking(), group * sharing);
            let from = all.partition_point(|&row| (row as usize) < first);
            let end = all.partition_point(|&row| (row as usize) < first + sharing);
            all[from..end].iter().map(move |&row| row - first as u32)
        };
        let asking: Lists<u32> = (0..drawn.len()).map(of_group).collect();
        let no_lists = vec![0; sharing + 1];
        let group = |group: usize| {
            let rows = group * sharing..((group + 1) * sharing).min(batch.len());
            let none = Ragged { starts: &no_lists[..rows.len() + 1], values: &[] };
            let starts = &estimated.barred.starts()[rows.start..rows.end + 1];
            let barred = Ragged { starts, values: estimated.barred.values() };
            let (vectors, of_row) = (context.vectors, &context.of_row[rows]);
            (Queries { vectors, stride, of_row, asking: asking.row(group) }, none, barred)
        };

        let slots = &self.slots.slot_of()[listed.values().len()..][..drawn.values().len()];
        let rows = &self.rows;
        let vectors = own.vectors.par_chunks_mut(size * stride).zip(slots.par_chunks(size));
        let tasks = vectors.zip(own.masses.par_chunks_mut(sharing)).zip(&mut own.kernels);
        tasks.enumerate().for_each(|(at, (((vectors, slots), masses), kernel))| {
            for (vector, &slot) in vectors.chunks_exact_mut(stride).zip(slots) {
                vector.copy_from_slice(&rows[slot as usize * stride..][..stride]);
            }
            let (queries, none, barred) = group(at);
            masses.copy_from_slice(kernel.sum((vectors, stride), queries, none, barred));
        });
        let loss = self.ask(batch, slate, &own.masses, context.counts, objective);

        self.sum_listed(listed);
        own.to_rows.resize(batch.len() * stride, 0.0);
        own.grads.resize(own.vectors.len(), 0.0);
        let to_rows = own.to_rows.par_chunks_mut(sharing * stride);
        let to_items = own.grads.par_chunks_mut(size * stride);
        let gradients = to_rows.zip(to_items).zip(self.to_rest.par_chunks(sharing));
        let tasks = gradients.zip(own.vectors.par_chunks(size * stride)).zip(&mut own.kernels);
        tasks.enumerate().for_each(|(at, ((((to_rows, to_items), to_rest), vectors), kernel))| {
            let (queries, none, _) = group(at);
            let gradients = Gradients { queries: to_rows, items: to_items };
            kernel.propagate((vectors, stride), queries, none, &[], to_rest, gradients);
        });
        axpy(1.0, &own.to_rows, &mut self.to_rows);
        self.of_sample = own;
        loss
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

    /// The gradient of all items, wherever a step left it.
    fn of_items(head: &ItemHead, context: QueryVectors<'_>, n_items: usize) -> Vec<f32> {
        let (mut found, mut all) = (Vec::new(), vec![0.0; n_items * head.stride]);
        let slots = head.item_gradients(context, &mut found).unwrap();
        for (gradient, &item) in found.chunks_exact(head.stride).zip(slots.rows()) {
            all[item as usize * head.stride..][..head.stride].copy_from_slice(gradient);
        }
        all
    }

    #[test]
    fn groups_of_rows_give_what_their_samples_spelled_out_give() {
        let train = testing::blocks();
        let cases = Cases::each_interaction(&train);
        let (n_items, dim) = (train.n_items(), 23);
        let mut items = Table::new(n_items, dim, Optimizer::Sgd(Sgd::default()));
        items.init(|row, vector| Rng::keyed(1, [row as u64]).fill_normal(vector, 0.0, 0.5));
        let stride = items.stride();
        let mut vectors = vec![0.0; 7 * stride];
        for (row, vector) in vectors.chunks_exact_mut(stride).enumerate() {
            Rng::keyed(2, [row as u64]).fill_normal(&mut vector[..dim], 0.0, 0.5);
        }
        let (_, objective) =
            testing::shapes().into_iter().find(|(name, _)| *name == "sample").unwrap();
        // Three groups, the last one short; then fewer, with the same scratch space.
        let mut head = ItemHead::new(n_items);
        for n in [150, 70, 64] {
            let rows: Vec<u32> = Rng::new(n).permutation(cases.len() as u32)[..n as usize].to_vec();
            let of_row: Vec<u32> = rows.iter().map(|row| row % 7).collect();
            let counts: Vec<bool> = rows.iter().map(|row| row % 6 != 4).collect();
            let context = QueryVectors { vectors: &vectors, of_row: &of_row, counts: &counts };
            let batch = Batch::new(&cases, &rows, 0, 1);
            let slate = objective.slate(&batch);
            assert_eq!(slate.drawn().len(), n.div_ceil(64) as usize * 9);
            let loss = head.step(&mut items, context, &batch, &slate, &*objective);
            let mut plain = ItemHead::new(n_items);
            let spelled_out = slate.spelled_out();
            let expected = plain.step(&mut items, context, &batch, &spelled_out, &*objective);
            assert!((loss - expected).abs() < 1e-5 * expected, "{n}: {loss} {expected}");
            let ours = of_items(&head, context, n_items);
            let theirs = of_items(&plain, context, n_items);
            for (ours, theirs) in [(&ours, &theirs), (&head.to_rows, &plain.to_rows)] {
                assert!(ours.iter().any(|x| x.abs() > 0.1) && ours.len() == theirs.len());
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
                assert!(ours.iter().zip(theirs).all(near), "{n}");
            }
        }
    }
}
