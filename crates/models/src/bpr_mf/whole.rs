//! Steps on slates that reach over the whole catalogue.
//!
//! Groups of rows are scored, asked and propagated back one after the other, so that rows x items numbers exist for one
//! group only (some 32 MB). Within a group, tasks own rows while scores become gradients, then items while those are
//! summed. Products are by the `gemm` crate: the same bits on any number of threads, but, unlike steps on lists, not
//! promised to be the same on machines with other vector units.

use super::learner::MfLearner;
use rankstill_core::kernel::gemm::{Mat, MatMut, gemm, parallel};
use rankstill_core::kernel::math::{exp_slice, ln};
use rankstill_core::{Batch, Grad, ItemId, Lists, Objective, Row, Scores, UserId};
use rayon::prelude::*;

/// Rows of one task.
const TASK: usize = 16;

/// Numbers of a group's scores.
const GROUP: usize = 8 << 20;

/// The listed and the left-out items of each row.
type Against<'a> = (&'a Lists<ItemId>, &'a Lists<ItemId>);

impl MfLearner {
    /// A step on every item (`against` is none), or on the listed ones against the mass of the rest.
    pub(super) fn step_on_everything(
        &mut self,
        batch: &Batch<'_>,
        against: Option<Against<'_>>,
        objective: &dyn Objective,
    ) -> f64 {
        let users = self.users(batch);
        self.fetch_users(&users);
        self.model.items.settle();
        let (n_items, dim, stride) =
            (self.model.items.n_rows(), self.model.items.dim(), self.model.items.stride());
        let (item_data, record) = self.model.items.params();
        let items = Mat::new(item_data, n_items, dim, record);
        let mut to_users = vec![0.0; self.user_slots.len() * stride];
        let mut to_items = vec![0.0; n_items * stride];

        let tasks = (GROUP / n_items.max(1) / TASK).clamp(1, 16);
        let mut grads = vec![0.0; tasks * TASK * n_items];
        let mut vectors = vec![0.0; tasks * TASK * dim];
        let mut to_rows = vec![0.0; tasks * TASK * dim];
        let mut loss = 0.0;
        for first in (0..batch.len()).step_by(tasks * TASK) {
            let n = (tasks * TASK).min(batch.len() - first);
            for (at, vector) in (first..first + n).zip(vectors.chunks_exact_mut(dim)) {
                let slot = self.user_slots.slot_of()[at] as usize;
                vector.copy_from_slice(&self.user_rows[slot * stride..][..dim]);
            }
            let losses: Vec<f64> = grads[..n * n_items]
                .par_chunks_mut(TASK * n_items)
                .zip(vectors[..n * dim].par_chunks(TASK * dim))
                .zip(to_rows[..n * dim].par_chunks_mut(TASK * dim))
                .enumerate()
                .map(|(task, ((grads, vectors), to_rows))| {
                    let rows = vectors.len() / dim;
                    let vectors = Mat::dense(vectors, rows, dim);
                    gemm(1.0, vectors, items.t(), 0.0, &mut MatMut::dense(grads, rows, n_items));
                    let begin = first + task * TASK;
                    let loss = rows_to_gradients(
                        batch,
                        begin,
                        &users[begin..begin + rows],
                        against,
                        objective,
                        grads,
                    );
                    let grads = Mat::dense(grads, rows, n_items);
                    gemm(1.0, grads, items, 0.0, &mut MatMut::dense(to_rows, rows, dim));
                    loss
                })
                .collect();
            loss = losses.iter().fold(loss, |sum, loss| sum + loss);
            for (at, to_row) in (first..first + n).zip(to_rows.chunks_exact(dim)) {
                let slot = self.user_slots.slot_of()[at] as usize;
                for (sum, x) in to_users[slot * stride..].iter_mut().zip(to_row) {
                    *sum += x;
                }
            }
            let grads = Mat::dense(&grads[..n * n_items], n, n_items);
            let vectors = Mat::dense(&vectors[..n * dim], n, dim);
            let mut sum = MatMut::new(&mut to_items, n_items, dim, stride);
            parallel(1.0, grads.t(), vectors, 1.0, &mut sum);
        }
        let scale = 1.0 / batch.len() as f32;
        self.model.users.apply_dense_rows(&self.user_slots, &to_users, scale);
        self.model.items.apply_full(&to_items, scale);
        loss
    }
}

/// Turns rows of scores into rows of gradients, in place; returns the summed loss.
fn rows_to_gradients(
    batch: &Batch<'_>,
    begin: usize,
    users: &[Option<UserId>],
    against: Option<Against<'_>>,
    objective: &dyn Objective,
    rows: &mut [f32],
) -> f64 {
    let n_items = rows.len() / users.len();
    let mut copy = Vec::new();
    let mut loss = 0.0;
    for ((at, user), row) in (begin..).zip(users).zip(rows.chunks_exact_mut(n_items)) {
        if user.is_none() {
            row.fill(0.0);
            continue;
        }
        let Some((listed, left_out)) = against else {
            copy.clear();
            copy.extend_from_slice(row);
            row.fill(0.0);
            loss += f64::from(objective.loss(
                Row { batch, at, items: &[] },
                Scores { listed: &copy, log_rest: f32::NEG_INFINITY },
                Grad { listed: row, log_rest: &mut 0.0 },
            ));
            continue;
        };
        let items = listed.row(at);
        let scores: Vec<f32> = items.iter().map(|&item| row[item as usize]).collect();
        for &item in items.iter().chain(left_out.row(at)) {
            row[item as usize] = f32::NEG_INFINITY;
        }
        let most = row.iter().fold(f32::NEG_INFINITY, |most, &score| most.max(score));
        let (mut mass, mut log_rest) = (0.0, f32::NEG_INFINITY);
        if most > f32::NEG_INFINITY {
            row.iter_mut().for_each(|score| *score -= most);
            exp_slice(row);
            mass = row.chunks(256).fold(0.0, |sum, part| {
                sum + f64::from(part.iter().fold(0.0f32, |sum, share| sum + share))
            });
            log_rest = most + ln(mass as f32);
        }
        let (mut to_listed, mut to_rest) = (vec![0.0; items.len()], 0.0);
        loss += f64::from(objective.loss(
            Row { batch, at, items },
            Scores { listed: &scores, log_rest },
            Grad { listed: &mut to_listed, log_rest: &mut to_rest },
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
