//! Training: one step on the slate of a batch, or a fused epoch of plain SGD.
//!
//! A batch names the same user many times: each distinct one's vector is copied out once, and takes one step by the sum of
//! its rows' gradients. The items' side is [`ItemHead`]'s.

use super::BprMf;
use super::model::Mf;
use crate::parts::item_head::{ItemHead, QueryVectors, known_users};
use rankstill_core::kernel::bpr::BprSgd;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::{Batch, Interactions, Learner, Objective, Slate, Tensors, UserId};
use std::sync::Arc;

/// A model with the scratch space of its training.
pub(super) struct MfLearner {
    recipe: BprMf,
    model: Mf,
    user_slots: Slots,
    /// One row of the table's stride a slot.
    user_rows: Vec<f32>,
    head: ItemHead,
    fused: Option<BprSgd>,
    n_cases: usize,
}

impl MfLearner {
    pub fn new(recipe: &BprMf, model: Mf, train: &Arc<Interactions>) -> Self {
        Self {
            recipe: recipe.clone(),
            user_slots: Slots::new(model.users.n_rows()),
            user_rows: Vec::new(),
            head: ItemHead::new(model.items.n_rows()),
            fused: None,
            n_cases: train.len(),
            model,
        }
    }

    /// The epoch's learning rate. A resumed learner comes to the same one.
    fn set_rate(&mut self, epoch: usize) {
        let rate = self.recipe.training().rate(epoch);
        for table in [&mut self.model.users, &mut self.model.items] {
            table.set_learning_rate(rate);
        }
    }

    /// Gives slots to the users of a batch, and fetches their vectors. Strangers share user 0's slot, with no gradient.
    fn fetch_users(&mut self, users: &[UserId]) {
        self.user_slots.assign(users);
        let stride = self.model.users.stride();
        self.user_rows.resize(self.user_slots.len() * stride, 0.0);
        self.model.users.fetch(&self.user_slots, &mut self.user_rows);
        if self.model.item_bias {
            let bias = self.model.users.dim() - 1;
            self.user_rows.iter_mut().skip(bias).step_by(stride).for_each(|x| *x = 1.0);
        }
    }

    fn step_on(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let (users, counts) = known_users(batch, self.model.users.n_rows());
        self.fetch_users(&users);

        let Self { model, user_slots, user_rows, head, .. } = self;
        let Mf { users, items, .. } = model;
        let context =
            QueryVectors { vectors: user_rows, of_row: user_slots.slot_of(), counts: &counts };
        let loss = head.step(items, context, batch, slate, objective);
        rayon::join(|| users.apply(user_slots, &head.row_terms()), || head.apply(items, context));
        loss
    }
}

impl Learner for MfLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.model.users.n_rows() == 0 {
            return 0.0;
        }
        self.set_rate(batch.epoch);
        // Into the thread pool once, not once for each of the phases.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
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

crate::parts::scores_as_its_model!(MfLearner, model);
