//! Steps on the listed items and a sample of the catalogue that the rows of a batch share: see [`rankstill_core::rest`].
//!
//! The sample is a small catalogue of its own, so the kernel for complements computes its mass and gradient. What is not for a row is
//! left out there by its position in the sample.

use super::{ItemHead, QueryVectors};
use rankstill_core::kernel::complement::{Complement, Gradients, Queries, Ragged};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::table::Table;
use rankstill_core::{Batch, Objective, Slate};

/// Scratch space of such steps.
#[derive(Default)]
pub(super) struct OfSample {
    /// For samples of the size seen last.
    kernel: Option<(usize, Complement)>,
    /// The vectors of the sample, and their gradients, the table's stride apart.
    vectors: Vec<f32>,
    grads: Vec<f32>,
    /// The part of the rows' gradients that comes from the sample.
    to_rows: Vec<f32>,
    /// One empty list a row.
    no_lists: Vec<usize>,
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

    /// The gradients of the sample's vectors.
    pub fn grads(&self) -> &[f32] {
        &self.grads
    }
}

impl ItemHead {
    /// Leaves the gradients of the rows' vectors, of the listed scores and of the sample.
    pub(super) fn step_with_sample(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        let Slate::WithSample { listed, probes, drawn, estimated } = slate else { return 0.0 };
        let (stride, n) = (self.stride, drawn.len());
        self.score(items, context, listed, drawn);
        self.score_probes(items, context, probes);

        let mut own = std::mem::take(&mut self.of_sample);
        own.vectors.clear();
        for &slot in &self.slots.slot_of()[listed.values().len()..][..n] {
            own.vectors.extend_from_slice(&self.rows[slot as usize * stride..][..stride]);
        }
        let kernel = own.kernel.take().filter(|(size, _)| *size == n);
        let mut kernel = kernel.map_or_else(|| Complement::new(n, items.dim()), |(_, kernel)| kernel);
        let sample = (own.vectors.as_slice(), stride);
        let asking = estimated.asking();
        let queries =
            Queries { vectors: context.vectors, stride, of_row: context.of_row, asking };
        own.no_lists.clear();
        own.no_lists.resize(batch.len() + 1, 0);
        let none = Ragged { starts: &own.no_lists, values: &[] };
        let barred =
            Ragged { starts: estimated.barred.starts(), values: estimated.barred.values() };
        let masses = kernel.sum(sample, queries, none, barred);
        let loss = self.ask(batch, slate, masses, context.counts, objective);

        self.sum_listed(listed);
        own.to_rows.resize(batch.len() * stride, 0.0);
        own.grads.resize(n * stride, 0.0);
        let gradients = Gradients { queries: &mut own.to_rows, items: &mut own.grads };
        kernel.propagate(sample, queries, none, &[], &self.to_rest, gradients);
        axpy(1.0, &own.to_rows, &mut self.to_rows);
        own.kernel = Some((n, kernel));
        self.of_sample = own;
        loss
    }
}
