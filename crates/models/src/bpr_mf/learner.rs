//! Training: one step on the slate of a batch, or a fused epoch of plain SGD.
//!
//! A user occurs many times in a batch: the embedding of each distinct user is copied once, and takes one step
//! with the sum of its rows' gradients. [`ItemHead`] does the item side.

use super::BprMf;
use super::coded::CodedItems;
use super::model::Mf;
use crate::parts::item_head::{ItemHead, QueryVectors, known_users};
use rankstill_core::kernel::bpr::BprSgd;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::slots::Slots;
use rankstill_core::kernel::table::Table;
use rankstill_core::{Batch, Interactions, Learner, Lists, Objective, Slate, Tensors, UserId};
use std::sync::Arc;

/// A model with the scratch space of training.
pub(super) struct MfLearner {
    recipe: BprMf,
    model: Mf,
    user_slots: Slots,
    /// One row per slot, the table's stride apart.
    user_rows: Vec<f32>,
    head: ItemHead,
    coder: Coder,
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
            coder: Coder::new(model.items.n_rows()),
            fused: None,
            n_cases: train.len(),
            model,
        }
    }

    /// Sets the epoch's learning rate; a resumed learner finds the same one.
    fn set_rate(&mut self, epoch: usize) {
        let rate = self.recipe.training().rate(epoch);
        for table in [&mut self.model.users, &mut self.model.items] {
            table.set_learning_rate(rate);
        }
    }

    /// Assigns slots to the users of a batch and fetches their embeddings. Unknown users share user 0's slot,
    /// without a gradient.
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

        let Self { model, user_slots, user_rows, head, coder, .. } = self;
        let Mf { users, items, coded, .. } = model;
        let context =
            QueryVectors { vectors: user_rows, of_row: user_slots.slot_of(), counts: &counts };
        if let Some(coded) = coded {
            coder.code(coded, items, batch, slate, objective);
            let loss = head.step(&mut coded.decoded, context, batch, slate, objective);
            rayon::join(
                || users.apply(user_slots, &head.row_terms()),
                || coder.apply(coded, items, head, context),
            );
            return loss;
        }
        let loss = head.step(items, context, batch, slate, objective);
        rayon::join(|| users.apply(user_slots, &head.row_terms()), || head.apply(items, context));
        loss
    }
}

/// Scratch space for items that are trained in codes.
struct Coder {
    slots: Slots,
    rows: Vec<f32>,
    gradients: Vec<f32>,
}

impl Coder {
    fn new(n_items: usize) -> Self {
        Self { slots: Slots::new(n_items), rows: Vec::new(), gradients: Vec::new() }
    }

    /// Codes the items that a step will read.
    fn code(
        &mut self,
        coded: &mut CodedItems,
        items: &mut Table,
        batch: &Batch<'_>,
        slate: &Slate,
        objective: &dyn Objective,
    ) {
        let Some(listed) = slate.listed().filter(|_| !slate.reaches_all()) else {
            return coded.code_all(items);
        };
        let probes = slate.probes().map_or(&[][..], Lists::values);
        let of_vectors =
            objective.vector_objective().map_or(Vec::new(), |of| of.items(batch, slate));
        self.slots.assign(&[listed.values(), slate.drawn(), &of_vectors, probes].concat());
        coded.code_rows(items, &self.slots, &mut self.rows);
    }

    /// The step of the full vectors, with the gradients of the decoded ones.
    fn apply(
        &mut self,
        coded: &CodedItems,
        items: &mut Table,
        head: &ItemHead,
        context: QueryVectors<'_>,
    ) {
        self.gradients.clear();
        match head.item_gradients(context, &mut self.gradients) {
            Some(slots) => {
                let item = |slot: usize| slots.rows()[slot] as usize;
                coded.stop_outside(items, item, &mut self.gradients);
                items.apply_dense_rows(slots, &self.gradients, head.scale());
            }
            None => {
                coded.stop_outside(items, |item| item, &mut self.gradients);
                items.apply_full(&self.gradients, head.scale());
            }
        }
    }
}

impl Learner for MfLearner {
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.model.users.n_rows() == 0 {
            return 0.0;
        }
        self.set_rate(batch.epoch);
        // Enters the thread pool once, not once per phase.
        let (loss, ()) = rayon::join(|| self.step_on(batch, slate, objective), || ());
        self.model.users.advance();
        self.model.items.advance();
        self.model.changed();
        loss
    }

    fn epoch(&mut self, epoch: usize, seed: u64, objective: &dyn Objective) -> Option<f64> {
        let positives = objective.plain_bpr()?;
        self.set_rate(epoch);
        let Mf { users, items, item_bias, coded, .. } = &mut self.model;
        let fits = positives.n_users() == users.n_rows()
            && positives.n_items() as usize == items.n_rows()
            && coded.is_none()
            && matches!(users.optimizer(), Optimizer::Sgd(_));
        if !fits {
            return None;
        }
        let fused = self.fused.get_or_insert_with(|| BprSgd::new(seed, *item_bias));
        let done = fused.epoch(users, items, positives, epoch as u64);
        self.model.changed();
        // The kernel counts repeated interactions once, and a few pairs find no negative: its mean loss is
        // scaled to all cases.
        Some(done.loss * self.n_cases as f64 / done.samples.max(1) as f64)
    }

    fn settle(&mut self) {
        self.model.users.settle();
        self.model.items.settle();
        let Mf { items, coded, .. } = &mut self.model;
        if let Some(coded) = coded {
            coded.code_all(items);
        }
    }

    fn state(&self) -> Tensors {
        self.model.state()
    }
}

crate::parts::scores_as_its_model!(MfLearner, model);
