//! Training: one step on the slate of a batch, or a fused epoch of plain SGD.
//!
//! A batch names the same user or item many times. Each distinct row is copied out once (a "slot"), scores are products of
//! such copies, and each row then sums the gradients of its occurrences, in the batch's order, and takes one optimiser
//! step. No row has two owners, so any number of threads gives the same bits.

use super::BprMf;
use super::model::Mf;
use rankstill_core::kernel::bpr::BprSgd;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::pairs::pair_dots;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Terms;
use rankstill_core::{
    Batch, Factored, Grad, Interactions, ItemId, Learner, Lists, Model, Objective, Query, Row,
    Scorer, Scores, Slate, Tensors, UserId,
};
use rayon::prelude::*;
use std::sync::Arc;

/// A model with the scratch space of its training.
pub(super) struct MfLearner {
    recipe: BprMf,
    pub model: Mf,
    pub user_slots: Slots,
    pub item_slots: Slots,
    /// One row of the table's stride a slot.
    pub user_rows: Vec<f32>,
    item_rows: Vec<f32>,
    /// Of every listed item of the batch: its user's slot, score, and gradient.
    user_of: Vec<u32>,
    scores: Vec<f32>,
    grads: Vec<f32>,
    fused: Option<BprSgd>,
    n_cases: usize,
}

impl MfLearner {
    pub fn new(recipe: &BprMf, model: Mf, train: &Arc<Interactions>) -> Self {
        Self {
            recipe: recipe.clone(),
            user_slots: Slots::new(model.users.n_rows()),
            item_slots: Slots::new(model.items.n_rows()),
            user_rows: Vec::new(),
            item_rows: Vec::new(),
            user_of: Vec::new(),
            scores: Vec::new(),
            grads: Vec::new(),
            fused: None,
            n_cases: train.len(),
            model,
        }
    }

    /// The epoch's learning rate. A resumed learner comes to the same one.
    fn set_rate(&mut self, epoch: usize) {
        let rate = self.recipe.rate(epoch);
        for table in [&mut self.model.users, &mut self.model.items] {
            if table.optimizer().learning_rate() != rate {
                table.set_learning_rate(rate);
            }
        }
    }

    /// Which user each row of the batch is of. There is nothing to learn of strangers: their rows are left out.
    pub fn users(&self, batch: &Batch<'_>) -> Vec<Option<UserId>> {
        let n_users = self.model.users.n_rows();
        let user = |at| batch.case(at).query.user.filter(|&user| (user as usize) < n_users);
        (0..batch.len()).map(user).collect()
    }

    /// Gives slots to the users of a batch, and fetches their vectors. Strangers share user 0's slot, with no gradient.
    pub fn fetch_users(&mut self, users: &[Option<UserId>]) {
        let ids: Vec<u32> = users.iter().map(|user| user.unwrap_or(0)).collect();
        self.user_slots.assign(&ids);
        let stride = self.model.users.stride();
        self.user_rows.resize(self.user_slots.len() * stride, 0.0);
        self.model.users.fetch(&self.user_slots, &mut self.user_rows);
        if self.model.item_bias {
            let bias = self.model.users.dim() - 1;
            self.user_rows.iter_mut().skip(bias).step_by(stride).for_each(|x| *x = 1.0);
        }
    }

    fn fetch_items(slots: &mut Slots, model: &mut Mf, rows: &mut Vec<f32>, ids: &[ItemId]) {
        slots.assign(ids);
        rows.resize(slots.len() * model.items.stride(), 0.0);
        model.items.fetch(slots, rows);
    }

    fn step_on_lists(
        &mut self,
        batch: &Batch<'_>,
        lists: &Lists<ItemId>,
        objective: &dyn Objective,
    ) -> f64 {
        let users = self.users(batch);
        self.fetch_users(&users);
        let Self { item_slots, model, item_rows, .. } = self;
        Self::fetch_items(item_slots, model, item_rows, lists.values());

        let stride = self.model.items.stride();
        let n = lists.values().len();
        self.user_of.clear();
        for (list, &slot) in lists.iter().zip(self.user_slots.slot_of()) {
            self.user_of.extend(std::iter::repeat_n(slot, list.len()));
        }
        self.scores.resize(n, 0.0);
        let items = self.item_slots.slot_of();
        pair_dots(&self.user_rows, &self.user_of, &self.item_rows, items, stride, &mut self.scores);

        self.grads.clear();
        self.grads.resize(n, 0.0);
        let loss = ask(batch, lists, objective, &users, &self.scores, &mut self.grads);

        let scale = 1.0 / batch.len() as f32;
        let padded = padded(lists, &self.grads, items);
        let (coef, source) = match &padded {
            Some((coef, source)) => (coef.as_slice(), source.as_slice()),
            None => (self.grads.as_slice(), items),
        };
        let of_users = Terms { coef, source, vectors: &self.item_rows, stride, scale, decay: 0.0 };
        let (coef, source) = (self.grads.as_slice(), self.user_of.as_slice());
        let of_items = Terms { coef, source, vectors: &self.user_rows, stride, scale, decay: 0.0 };
        let Mf { users, items, .. } = &mut self.model;
        rayon::join(
            || users.apply(&self.user_slots, &of_users),
            || items.apply(&self.item_slots, &of_items),
        );
        loss
    }
}

/// Asks the objective for every row's gradient, rows in parallel; returns the summed loss.
fn ask(
    batch: &Batch<'_>,
    lists: &Lists<ItemId>,
    objective: &dyn Objective,
    users: &[Option<UserId>],
    scores: &[f32],
    grads: &mut [f32],
) -> f64 {
    let mut chunks = Vec::with_capacity(batch.len().div_ceil(CHUNK));
    let mut left = grads;
    for first in (0..batch.len()).step_by(CHUNK) {
        let rows = first..(first + CHUNK).min(batch.len());
        let (own, rest) = left.split_at_mut(lists.starts()[rows.end] - lists.starts()[first]);
        left = rest;
        chunks.push((rows, own));
    }
    let losses: Vec<f64> = chunks
        .into_par_iter()
        .map(|(rows, mut grads)| {
            rows.fold(0.0, |sum, at| {
                let (own, rest) = std::mem::take(&mut grads).split_at_mut(lists.row(at).len());
                grads = rest;
                if users[at].is_none() {
                    return sum;
                }
                let scores = &scores[lists.range(at)];
                sum + f64::from(objective.loss(
                    Row { batch, at, items: lists.row(at) },
                    Scores { listed: scores, log_rest: f32::NEG_INFINITY },
                    Grad { listed: own, log_rest: &mut 0.0 },
                ))
            })
        })
        .collect();
    losses.iter().fold(0.0, |sum, loss| sum + loss)
}

/// The rows' gradients and slots, short rows filled up with nothing to the length of the longest; `None` when all rows are
/// equally long as they are.
fn padded(lists: &Lists<ItemId>, grads: &[f32], slots: &[u32]) -> Option<(Vec<f32>, Vec<u32>)> {
    let most = lists.iter().map(<[_]>::len).max().unwrap_or(0);
    if lists.len() * most == grads.len() {
        return None;
    }
    let (mut coef, mut source) = (vec![0.0; lists.len() * most], vec![0; lists.len() * most]);
    for row in 0..lists.len() {
        let (from, n) = (lists.range(row), lists.row(row).len());
        coef[row * most..][..n].copy_from_slice(&grads[from.clone()]);
        source[row * most..][..n].copy_from_slice(&slots[from]);
    }
    Some((coef, source))
}

/// Rows of one task.
const CHUNK: usize = 256;

impl Learner for MfLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.model.users.n_rows() == 0 {
            return 0.0;
        }
        self.set_rate(batch.epoch);
        // Into the thread pool once, not once for each of the phases.
        let (loss, ()) = rayon::join(
            || match slate {
                Slate::Lists(lists) => self.step_on_lists(batch, lists, objective),
                Slate::Against { listed, left_out } => {
                    self.step_on_everything(batch, Some((listed, left_out)), objective)
                }
                Slate::All => self.step_on_everything(batch, None, objective),
            },
            || (),
        );
        self.model.users.advance();
        self.model.items.advance();
        self.model.changed();
        loss
    }

    fn epoch(&mut self, epoch: usize, seed: u64, objective: &dyn Objective) -> Option<f64> {
        let positives = objective.plain_bpr()?;
        self.set_rate(epoch);
        let Mf { users, items, item_bias, .. } = &mut self.model;
        let fits = positives.n_users() == users.n_rows()
            && positives.n_items() as usize == items.n_rows()
            && matches!(users.optimizer(), Optimizer::Sgd(_));
        if !fits {
            return None;
        }
        let fused = self.fused.get_or_insert_with(|| BprSgd::new(seed, *item_bias));
        let done = fused.epoch(users, items, positives, epoch as u64);
        self.model.changed();
        // Repeated interactions count once there, and a few pairs find no negative: the mean is what is reported.
        Some(done.loss * self.n_cases as f64 / done.samples.max(1) as f64)
    }

    fn settle(&mut self) {
        self.model.users.settle();
        self.model.items.settle();
    }

    fn state(&self) -> Tensors {
        self.model.state()
    }
}

impl Scorer for MfLearner {
    fn n_items(&self) -> usize {
        self.model.n_items()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        self.model.score(queries, out);
    }

    fn factored(&self) -> Option<&dyn Factored> {
        self.model.factored()
    }
}

impl Model for MfLearner {
    fn tensors(&self) -> Tensors {
        self.model.tensors()
    }

    fn n_parameters(&self) -> usize {
        self.model.n_parameters()
    }
}
