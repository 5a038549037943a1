//! Models that know their own loss and cannot be taught another: the training loop steps them with an objective that scores nothing.

use rankstill_core::train::train;
use rankstill_core::{
    Batch, Cases, Fit, Grad, Interactions, ItemId, Learner, Lists, Model, ModelConfig, Objective,
    Plan, Result, Row, Scores, Slate, Tensors, Trainable,
};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// A recipe whose learner computes its own loss, of whole rows of the log. [`crate::CfGan`] may train on the transposed log.
pub(crate) trait OwnTraining: ModelConfig + Serialize + Sized {
    /// The schedule.
    fn own_plan(&self) -> &Plan;

    /// A learner with random parameters.
    fn random(&self, rows: &Arc<Interactions>, seed: u64) -> Box<dyn Learner>;

    /// The learner of this state.
    fn resumed(&self, rows: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>>;

    /// Fits the model of these rows.
    fn fit_rows(&self, rows: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        train(&Alone(self), rows, &Cases::per_user(rows), Box::new(OwnLoss), fit)
    }
}

/// The recipe as the training loop needs it.
pub(crate) struct Alone<'a, R>(pub &'a R);

impl<R: Serialize> Serialize for Alone<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<R: OwnTraining> ModelConfig for Alone<'_, R> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.0.load(tensors)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        self.0.memory(n_users, n_items, n_interactions)
    }
}

impl<R: OwnTraining> Trainable for Alone<'_, R> {
    fn plan(&self) -> &Plan {
        self.0.own_plan()
    }

    fn cases(&self, rows: &Interactions) -> Cases {
        Cases::per_user(rows)
    }

    fn objective(&self, _rows: &Interactions) -> Box<dyn Objective> {
        Box::new(OwnLoss)
    }

    fn init(&self, rows: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        Ok(self.0.random(rows, seed))
    }

    fn resume(&self, rows: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.0.resumed(rows, state)
    }
}

/// Scores nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnLoss;

impl Objective for OwnLoss {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let nothing: Lists<ItemId> = (0..batch.len()).map(|_| []).collect();
        Slate::lists(nothing)
    }

    fn loss(&self, _row: Row<'_>, _scores: Scores<'_>, _grad: Grad<'_>) -> f32 {
        0.0
    }
}
