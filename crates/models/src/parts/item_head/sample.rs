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
        let mut asking = Lists::with_capacity(drawn.len(), batch.len());
        for rows in
            estimated.asking().chunk_by(|a, b| *a as usize / sharing == *b as usize / sharing)
        {
            let group = rows[0] as usize / sharing;
            while asking.len() < group {
                asking.push([]);
            }
            asking.push(rows.iter().map(|row| row % sharing as u32));
        }
        while asking.len() < drawn.len() {
            asking.push([]);
        }
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
