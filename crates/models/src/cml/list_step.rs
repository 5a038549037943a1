//! Steps on sampled lists, the slates of CML's own loss, directly from the points: no extended vectors.
//!
//! With g the gradient of a score -|u - v|^2, the gradient of u is 2 g (v - u) and that of v is 2 g u - 2 g v.

use super::model::CmlModel;
use crate::parts::item_head::known_users;
use rankstill_core::kernel::distances::{pulls, squared_distances};
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Terms;
use rankstill_core::{Batch, Grad, ItemId, Lists, Objective, Row, Scores, Slate};
use rayon::prelude::*;

/// Scratch space of these steps.
pub(super) struct ListStep {
    users: Slots,
    items: Slots,
    /// One point per slot, the tables' stride apart: room for one user per row of the batch, then the items.
    points: Vec<f32>,
    /// For every position in the lists: the slots of its user's and item's points, its score, and twice its
    /// gradient.
    user_of: Vec<u32>,
    item_of: Vec<u32>,
    scores: Vec<f32>,
    twice: Vec<f32>,
    /// The gradient of every row's user, and whether it is non-zero (1 or 0).
    to_rows: Vec<f32>,
    row_counts: Vec<f32>,
    row_numbers: Vec<u32>,
    /// The two terms of every position's item.
    coef: Vec<f32>,
    source: Vec<u32>,
}

/// Rows per task.
const CHUNK: usize = 64;

impl ListStep {
    pub fn new(n_users: usize, n_items: usize) -> Self {
        Self {
            users: Slots::new(n_users),
            items: Slots::new(n_items),
            points: Vec::new(),
            user_of: Vec::new(),
            item_of: Vec::new(),
            scores: Vec::new(),
            twice: Vec::new(),
            to_rows: Vec::new(),
            row_counts: Vec::new(),
            row_numbers: Vec::new(),
            coef: Vec::new(),
            source: Vec::new(),
        }
    }

    /// A step of the tables, without `advance`. Returns the summed loss.
    pub fn step(
        &mut self,
        model: &mut CmlModel,
        batch: &Batch<'_>,
        slate: &Slate,
        listed: &Lists<ItemId>,
        objective: &dyn Objective,
    ) -> f64 {
        let counts = self.fetch(model, batch, listed);
        let stride = model.users.stride();
        let loss = self.ask(batch, slate, listed, &counts, objective, stride);
        let scale = 1.0 / batch.len() as f32;
        let of_users = Terms {
            coef: &self.row_counts,
            source: &self.row_numbers,
            vectors: &self.to_rows,
            stride,
            scale,
            decay: 0.0,
        };
        let of_items =
            Terms { coef: &self.coef, source: &self.source, vectors: &self.points, ..of_users };
        let CmlModel { users, items, .. } = model;
        rayon::join(|| users.apply(&self.users, &of_users), || items.apply(&self.items, &of_items));
        loss
    }

    /// Copies the points of the batch. Returns whether each row has a known user.
    fn fetch(
        &mut self,
        model: &mut CmlModel,
        batch: &Batch<'_>,
        listed: &Lists<ItemId>,
    ) -> Vec<bool> {
        let stride = model.users.stride();
        let first_item = batch.len();
        self.points.resize((first_item + listed.values().len()) * stride, 0.0);
        let (of_users, of_items) = self.points.split_at_mut(first_item * stride);
        let CmlModel { users, items, .. } = model;
        let (counts, ()) = rayon::join(
            || {
                let (ids, counts) = known_users(batch, users.n_rows());
                self.users.assign(&ids);
                users.fetch(&self.users, &mut of_users[..self.users.len() * stride]);
                self.user_of.clear();
                for (list, &user) in listed.iter().zip(self.users.slot_of()) {
                    self.user_of.extend(std::iter::repeat_n(user, list.len()));
                }
                counts
            },
            || {
                self.items.assign(listed.values());
                items.fetch(&self.items, &mut of_items[..self.items.len() * stride]);
                self.item_of.clear();
                let item_of = self.items.slot_of().iter().map(|&slot| first_item as u32 + slot);
                self.item_of.extend(item_of);
            },
        );
        counts
    }

    /// Scores the lists, evaluates the objective, and computes the gradients of rows and the terms of items,
    /// rows in parallel. Returns the summed loss.
    fn ask(
        &mut self,
        batch: &Batch<'_>,
        slate: &Slate,
        listed: &Lists<ItemId>,
        counts: &[bool],
        objective: &dyn Objective,
        stride: usize,
    ) -> f64 {
        let (n_rows, n) = (batch.len(), listed.values().len());
        // Overwritten entirely, except for `twice`.
        self.scores.resize(n, 0.0);
        self.twice.clear();
        self.twice.resize(n, 0.0);
        self.coef.resize(2 * n, 0.0);
        self.source.resize(2 * n, 0);
        self.to_rows.resize(n_rows * stride, 0.0);
        self.row_counts.resize(n_rows, 0.0);
        self.row_numbers.clear();
        self.row_numbers.extend(0..n_rows as u32);

        let mut tasks = Vec::with_capacity(n_rows.div_ceil(CHUNK));
        let mut scores = self.scores.as_mut_slice();
        let mut twice = self.twice.as_mut_slice();
        let mut terms = (self.coef.as_mut_slice(), self.source.as_mut_slice());
        let to_rows = self.to_rows.chunks_mut(CHUNK * stride);
        for (task, (to_rows, row_counts)) in
            to_rows.zip(self.row_counts.chunks_mut(CHUNK)).enumerate()
        {
            let first = task * CHUNK;
            let starts = &listed.starts()[first..=first + row_counts.len()];
            let own = starts[0]..starts[row_counts.len()];
            tasks.push(Task {
                first,
                starts,
                users: &self.user_of[own.clone()],
                items: &self.item_of[own.clone()],
                scores: scores.split_off_mut(..own.len()).unwrap_or_default(),
                twice: twice.split_off_mut(..own.len()).unwrap_or_default(),
                coef: terms.0.split_off_mut(..2 * own.len()).unwrap_or_default(),
                source: terms.1.split_off_mut(..2 * own.len()).unwrap_or_default(),
                to_rows,
                row_counts,
            });
        }
        let points = self.points.as_slice();
        let losses: Vec<f64> = tasks
            .into_par_iter()
            .map(|task| task.run(batch, slate, counts, objective, points, stride))
            .collect();
        losses.iter().fold(0.0, |sum, loss| sum + loss)
    }
}

/// The part of [`ListStep`] that belongs to some rows.
struct Task<'a> {
    first: usize,
    starts: &'a [usize],
    users: &'a [u32],
    items: &'a [u32],
    scores: &'a mut [f32],
    twice: &'a mut [f32],
    coef: &'a mut [f32],
    source: &'a mut [u32],
    to_rows: &'a mut [f32],
    row_counts: &'a mut [f32],
}

impl Task<'_> {
    fn run(
        self,
        batch: &Batch<'_>,
        slate: &Slate,
        counts: &[bool],
        objective: &dyn Objective,
        points: &[f32],
        stride: usize,
    ) -> f64 {
        squared_distances(points, self.users, self.items, stride, self.scores);
        self.scores.iter_mut().for_each(|score| *score = -*score);
        let mut loss = 0.0;
        for (k, row_counts) in self.row_counts.iter_mut().enumerate() {
            let (at, base) = (self.first + k, self.starts[0]);
            let own = self.starts[k] - base..self.starts[k + 1] - base;
            let gradient = &mut self.twice[own.clone()];
            if counts[at] {
                let scores = Scores {
                    listed: &self.scores[own],
                    probes: &[],
                    log_complement: f32::NEG_INFINITY,
                };
                let grad = Grad { listed: gradient, log_complement: &mut 0.0 };
                let row = Row { batch, slate, at };
                loss += f64::from(objective.loss(row, scores, grad));
            }
            gradient.iter_mut().for_each(|g| *g *= 2.0);
            *row_counts = f32::from(u8::from(gradient.iter().any(|&g| g != 0.0)));
        }
        pulls(self.starts, self.twice, self.users, self.items, points, stride, self.to_rows);
        let positions = self.twice.iter().zip(self.users.iter().zip(self.items));
        let terms = self.coef.chunks_exact_mut(2).zip(self.source.chunks_exact_mut(2));
        for ((&twice, (&user, &item)), (coef, source)) in positions.zip(terms) {
            coef.copy_from_slice(&[twice, -twice]);
            source.copy_from_slice(&[user, item]);
        }
        loss
    }
}
