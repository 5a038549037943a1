//! Steps on slates over the whole catalogue.
//!
//! Unless vectors are long, a fused kernel compares the listed items with the complement's mass without storing
//! the complement's scores: [`rankstill_core::kernel::complement`]. It computes the same bits on any number of
//! threads and on every instruction set with FMA.
//!
//! Otherwise groups of rows are scored, evaluated and propagated back one after another, so that rows x items
//! numbers exist for one group only (some 32 MB). Within a group, tasks own rows while scores become gradients,
//! then items while these are summed. Products use the `gemm` crate: the same bits on any number of threads
//! but, unlike the other steps, not guaranteed to be the same on machines with other vector units.

use super::{ItemHead, QueryVectors};
use rankstill_core::kernel::complement::{Complement, Gradients, Queries, Ragged};
use rankstill_core::kernel::gemm::{Mat, MatMut, gemm, parallel};
use rankstill_core::kernel::math::{exp_slice, ln};
use rankstill_core::kernel::pairs::pair_dots;
use rankstill_core::kernel::table::Table;
use rankstill_core::{Batch, Grad, ItemId, Lists, Objective, Row, Scores, Slate};
use rayon::prelude::*;

/// Rows per task.
const TASK: usize = 16;

/// Number of scores in a group.
const GROUP: usize = 8 << 20;

/// From this dimension on, and up to this number of scores (256 MB), a batch is processed as a whole: see
/// [`super::wide`].
const WIDE: usize = 128;
const MOST_SCORES: usize = 64 << 20;

impl ItemHead {
    /// A step on the listed items and their complement. Leaves the gradients of the rows' vectors and of all items.
    pub(super) fn step_with_complement(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        let Slate::WithComplement { listed, left_out, asking, probes, .. } = slate else {
            return 0.0;
        };
        items.settle();
        self.score_probes(items, context, probes);
        super::spread(context.of_row, listed, &mut self.vector_of);
        self.scores.resize(listed.values().len(), 0.0);
        let (table, stride) = (items.params(), self.stride);
        let (vectors, vector_of) = (context.vectors, &self.vector_of);
        pair_dots(vectors, vector_of, table, listed.values(), stride, &mut self.scores);

        let queries = Queries { vectors, stride, of_row: context.of_row, asking };
        let (n_items, dim) = (items.n_rows(), items.dim());
        let mut kernel = self.complement.take().unwrap_or_else(|| Complement::new(n_items, dim));
        let log_complement = kernel.sum(table, queries, ragged(listed), ragged(left_out));
        let loss = self.ask(batch, slate, log_complement, context.counts, objective);
        // Overwritten entirely.
        self.to_items.resize(n_items * stride, 0.0);
        let gradients = Gradients { queries: &mut self.to_rows, items: &mut self.to_items };
        kernel.propagate(table, queries, ragged(listed), &self.grads, &self.to_rest, gradients);
        self.complement = Some(kernel);
        loss
    }

    /// A step on all items, or on the listed ones and the complement's mass. Leaves the gradients of the rows'
    /// vectors and of all items.
    pub(super) fn step_on_everything(
        &mut self,
        items: &mut Table,
        context: QueryVectors<'_>,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) -> f64 {
        items.settle();
        let (n_items, dim, stride) = (items.n_rows(), items.dim(), self.stride);
        if dim >= WIDE && batch.len() * n_items <= MOST_SCORES {
            return self.step_on_wide_items(items, context, batch, slate, objective);
        }
        let (item_data, record) = items.params();
        let items = Mat::new(item_data, n_items, dim, record);
        self.to_items.clear();
        self.to_items.resize(n_items * stride, 0.0);

        let tasks = (GROUP / n_items.max(1) / TASK).clamp(1, 16);
        let mut grads = vec![0.0; tasks * TASK * n_items];
        let mut vectors = vec![0.0; tasks * TASK * dim];
        let mut loss = 0.0;
        for first in (0..batch.len()).step_by(tasks * TASK) {
            let n = (tasks * TASK).min(batch.len() - first);
            for (at, vector) in (first..first + n).zip(vectors.chunks_exact_mut(dim)) {
                let from = context.of_row[at] as usize * stride;
                vector.copy_from_slice(&context.vectors[from..][..dim]);
            }
            let to_rows = &mut self.to_rows[first * stride..][..n * stride];
            let losses: Vec<f64> = grads[..n * n_items]
                .par_chunks_mut(TASK * n_items)
                .zip(vectors[..n * dim].par_chunks(TASK * dim))
                .zip(to_rows.par_chunks_mut(TASK * stride))
                .enumerate()
                .map(|(task, ((grads, vectors), to_rows))| {
                    let rows = vectors.len() / dim;
                    let vectors = Mat::dense(vectors, rows, dim);
                    gemm(1.0, vectors, items.t(), 0.0, &mut MatMut::dense(grads, rows, n_items));
                    let begin = first + task * TASK;
                    let counts = &context.counts[begin..begin + rows];
                    let loss = rows_to_gradients(batch, begin, counts, slate, objective, grads);
                    let grads = Mat::dense(grads, rows, n_items);
                    gemm(1.0, grads, items, 0.0, &mut MatMut::new(to_rows, rows, dim, stride));
                    loss
                })
                .collect();
            loss = losses.iter().fold(loss, |sum, loss| sum + loss);
            let grads = Mat::dense(&grads[..n * n_items], n, n_items);
            let vectors = Mat::dense(&vectors[..n * dim], n, dim);
            let mut sum = MatMut::new(&mut self.to_items, n_items, dim, stride);
            parallel(1.0, grads.t(), vectors, 1.0, &mut sum);
        }
        loss
    }
}

fn ragged(lists: &Lists<ItemId>) -> Ragged<'_> {
    Ragged { starts: lists.starts(), values: lists.values() }
}

/// Turns rows of scores into rows of gradients, in place; returns the summed loss.
pub(crate) fn rows_to_gradients(
    batch: &Batch<'_>,
    begin: usize,
    counts: &[bool],
    slate: &Slate,
    objective: &dyn Objective,
    rows: &mut [f32],
) -> f64 {
    let n_items = rows.len() / counts.len();
    let mut copy = Vec::new();
    let mut loss = 0.0;
    for ((at, &counts), row) in (begin..).zip(counts).zip(rows.chunks_exact_mut(n_items)) {
        if !counts {
            row.fill(0.0);
            continue;
        }
        let score_of = |items: &[u32], row: &[f32]| -> Vec<f32> {
            items.iter().map(|&item| row[item as usize]).collect()
        };
        let probes = slate.probes().map_or(Vec::new(), |probes| score_of(probes.row(at), row));
        let Slate::WithComplement { listed, left_out, asking, .. } = slate else {
            copy.clear();
            copy.extend_from_slice(row);
            row.fill(0.0);
            loss += f64::from(objective.loss(
                Row { batch, slate, at },
                Scores { listed: &copy, probes: &probes, log_complement: f32::NEG_INFINITY },
                Grad { listed: row, log_complement: &mut 0.0 },
            ));
            continue;
        };
        let items = listed.row(at);
        let scores = score_of(items, row);
        for &item in items.iter().chain(left_out.row(at)) {
            row[item as usize] = f32::NEG_INFINITY;
        }
        let most = match asking.binary_search(&(at as u32)) {
            Ok(_) => row.iter().fold(f32::NEG_INFINITY, |most, &score| most.max(score)),
            Err(_) => f32::NEG_INFINITY,
        };
        let (mut mass, mut log_complement) = (0.0, f32::NEG_INFINITY);
        if most > f32::NEG_INFINITY {
            row.iter_mut().for_each(|score| *score -= most);
            exp_slice(row);
            mass = row.chunks(256).fold(0.0, |sum, part| {
                sum + f64::from(part.iter().fold(0.0f32, |sum, share| sum + share))
            });
            log_complement = most + ln(mass as f32);
        }
        let (mut to_listed, mut to_rest) = (vec![0.0; items.len()], 0.0);
        loss += f64::from(objective.loss(
            Row { batch, slate, at },
            Scores { listed: &scores, probes: &probes, log_complement },
            Grad { listed: &mut to_listed, log_complement: &mut to_rest },
        ));
        if mass > 0.0 {
            let share = (f64::from(to_rest) / mass) as f32;
            row.iter_mut().for_each(|grad| *grad *= share);
        } else {
            row.fill(0.0);
        }
        for (&item, grad) in items.iter().zip(to_listed) {
            row[item as usize] += grad;
        }
    }
    loss
}
