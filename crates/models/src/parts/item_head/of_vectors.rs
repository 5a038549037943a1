//! Objectives that use vectors (see [`rankstill_core::vectors`]): they get those of the batch, and their
//! gradients flow back with those of the scores.

use super::{ItemHead, QueryVectors};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::table::{Table, Terms};
use rankstill_core::{Batch, ItemId, VectorGrads, VectorObjective, Vectors};

/// The items whose vectors are used, and the gradients of these vectors, the table's stride apart.
#[derive(Default)]
pub(super) struct OfVectors {
    pub items: Vec<ItemId>,
    grads: Vec<f32>,
}

impl OfVectors {
    /// The items of the next step.
    pub fn look_at(&mut self, items: Vec<ItemId>) {
        self.items = items;
        self.grads.clear();
    }
}

impl ItemHead {
    /// Assigns slots to the listed items, to those that rows share, and then to those whose vectors are used.
    pub(super) fn assign(&mut self, listed: &[ItemId], drawn: &[ItemId]) {
        match self.of_vectors.items.is_empty() && drawn.is_empty() {
            true => self.slots.assign(listed),
            false => self.slots.assign(&[listed, drawn, &self.of_vectors.items].concat()),
        }
    }

    /// The loss of the batch's vectors. Its gradient is added to that of the rows, and to that of all items if
    /// there is one; otherwise it is kept for [`ItemHead::with_terms`].
    pub(super) fn ask_of_vectors(
        &mut self,
        items: &Table,
        context: QueryVectors<'_>,
        batch: &Batch<'_>,
        objective: &dyn VectorObjective,
    ) -> f64 {
        let (dim, stride) = (items.dim(), self.stride);
        let ids = &self.of_vectors.items;
        let mut queries = Vec::with_capacity(batch.len() * dim);
        for &vector in context.of_row {
            queries.extend_from_slice(&context.vectors[vector as usize * stride..][..dim]);
        }
        let mut vectors = Vec::with_capacity(ids.len() * dim);
        let n_listed = self.slots.n_occurrences().saturating_sub(ids.len());
        for (k, &id) in ids.iter().enumerate() {
            // In a table that is brought up to date row by row, only the rows of the batch are current.
            let row = match self.to_all {
                true => items.row(id as usize),
                false => &self.rows[self.slots.slot_of()[n_listed + k] as usize * stride..],
            };
            vectors.extend_from_slice(&row[..dim]);
        }
        let (mut to_queries, mut to_items) = (vec![0.0; queries.len()], vec![0.0; vectors.len()]);
        let loss = objective.loss(
            batch,
            &Vectors { dim, queries: &queries, counts: context.counts, ids, items: &vectors },
            VectorGrads { queries: &mut to_queries, items: &mut to_items },
        );
        let rows = self.to_rows.chunks_exact_mut(stride).zip(to_queries.chunks_exact(dim));
        rows.for_each(|(row, grad)| axpy(1.0, grad, &mut row[..dim]));
        let grads = ids.iter().zip(to_items.chunks_exact(dim));
        if self.to_all {
            grads.for_each(|(&id, grad)| {
                axpy(1.0, grad, &mut self.to_items[id as usize * stride..][..dim]);
            });
        } else {
            for (_, grad) in grads {
                self.of_vectors.grads.extend_from_slice(grad);
                self.of_vectors.grads.resize(self.of_vectors.grads.len() + stride - dim, 0.0);
            }
        }
        loss
    }

    /// The gradients of the items of a slate that does not reach all: of the listed ones, of those that rows share, of those whose
    /// vectors are used, and the given gradients `more`.
    pub(super) fn with_terms<T>(
        &self,
        context: QueryVectors<'_>,
        more: &[f32],
        scale: f32,
        take: impl FnOnce(&Terms<'_>) -> T,
    ) -> T {
        let stride = self.stride;
        let (shared, own) = (self.of_sample.grads(), self.of_vectors.grads.as_slice());
        let terms = |coef: &[f32], source: &[u32], vectors: &[f32]| {
            take(&Terms { coef, source, vectors, stride, scale, decay: 0.0 })
        };
        if shared.is_empty() && own.is_empty() && more.is_empty() {
            return terms(&self.grads, &self.vector_of, context.vectors);
        }
        let vectors = [context.vectors, shared, own, more].concat();
        let (first, end) = (context.vectors.len() / stride, vectors.len() / stride);
        let ones = std::iter::repeat_n(1.0, end - first);
        let coef: Vec<f32> = self.grads.iter().copied().chain(ones).collect();
        let source: Vec<u32> =
            self.vector_of.iter().copied().chain(first as u32..end as u32).collect();
        terms(&coef, &source, &vectors)
    }
}
