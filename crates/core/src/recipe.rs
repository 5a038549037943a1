//! Recipes: hyper-parameters that know how to become a fitted model. The config struct *is* the algorithm.

use crate::{Cases, Fit, Interactions, Learner, Model, Objective, Plan, Result, Tensors};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// Settings as JSON. Implemented for everything that serialises.
pub trait Configured {
    /// All settings, defaults included; [`Entry::parse`](crate::registry::Entry::parse) reads them back.
    fn config(&self) -> Value;
}

impl<T: Serialize> Configured for T {
    fn config(&self) -> Value {
        serde_json::to_value(self).expect("recipes are tables of numbers and words")
    }
}

/// What a model's settings determine without any training data.
pub trait ModelConfig: Configured + Send + Sync {
    /// Its name in the registry: `kind = "..."` of a configuration, and of an artefact's manifest.
    fn kind(&self) -> &'static str;

    /// Rebuilds a model from its [`Model::tensors`]. Checks everything: they may come from a file.
    ///
    /// # Errors
    /// When a tensor is missing or has the wrong shape.
    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>>;

    /// Estimated peak memory, in bytes, of a fit on data of this size.
    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64;

    /// The settings that determine how the model is trained, not what it computes.
    fn training_keys(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Hyper-parameters that know how to become a fitted model.
pub trait Recipe: ModelConfig {
    /// Fits a model on `train`.
    ///
    /// # Errors
    /// When the settings do not work on these data, training diverges, or a checkpoint cannot be written.
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>>;

    /// Models that learn by gradient return themselves: only these can be students.
    fn trainable(&self) -> Option<&dyn Trainable> {
        None
    }

    /// The schedule of models that the training loop trains epoch by epoch, whether they can be students or not.
    fn training_plan(&self) -> Option<&Plan> {
        self.trainable().map(Trainable::plan)
    }
}

/// A model that learns by gradient. [`Recipe`] is implemented for all of these, by [`train`](crate::train::train).
pub trait Trainable: ModelConfig {
    /// The training schedule.
    fn plan(&self) -> &Plan;

    /// The training cases.
    fn cases(&self, train: &Interactions) -> Cases;

    /// The model's own loss.
    fn objective(&self, train: &Interactions) -> Box<dyn Objective>;

    /// Whether training begins with a model that is good already, not with a random one. Then it is validated too, and kept where no
    /// epoch is better.
    fn begins_fitted(&self) -> bool {
        false
    }

    /// The model that training begins with; of most recipes with random parameters.
    ///
    /// # Errors
    /// When the settings do not work on these data.
    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>>;

    /// Restores a learner from its [`Learner::state`].
    ///
    /// # Errors
    /// When it is not a state of this model.
    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>>;
}
