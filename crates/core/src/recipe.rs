//! Recipes: hyper-parameters that know how to become a fitted model. The config struct *is* the algorithm.

use crate::train::{Checkpointing, Watch};
use crate::{Cases, Interactions, Learner, Objective, Ranker, Result, Scorer, Tensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// A fitted model.
pub trait Model: Scorer + Ranker {
    /// What [`ModelConfig::load`] needs to build it again.
    fn tensors(&self) -> Tensors;

    /// Numbers that were learnt or counted; what "model size" means in the tables.
    fn n_parameters(&self) -> usize;
}

/// Every setting as JSON, defaults included; [`crate::registry::Entry::parse`] reads it back.
pub trait Configured {
    /// The settings.
    fn config(&self) -> Value;
}

impl<T: Serialize> Configured for T {
    fn config(&self) -> Value {
        serde_json::to_value(self).expect("recipes are tables of numbers and words")
    }
}

/// What the settings of a model tell without any data.
pub trait ModelConfig: Configured + Send + Sync {
    /// Builds the model from what [`Model::tensors`] returned. Never trusts it.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>>;

    /// Roughly how many bytes fitting takes, for a log of this size.
    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64;

    /// The settings that say how the model is trained, not what it is.
    fn training_keys(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Hyper-parameters that know how to become a fitted model.
pub trait Recipe: ModelConfig {
    /// Fits on `train`.
    ///
    /// # Errors
    /// When the settings cannot work on these data, training diverges, or a checkpoint cannot be written.
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>>;

    /// Set for models that learn by gradient: these can be students.
    fn trainable(&self) -> Option<&dyn Trainable> {
        None
    }

    /// Set for models that the training loop trains epoch by epoch, whether they can be students or not.
    fn training_plan(&self) -> Option<&Plan> {
        self.trainable().map(Trainable::plan)
    }
}

/// A model that learns by gradient. Implements [`Recipe`] through a blanket implementation.
pub trait Trainable: ModelConfig {
    /// Epochs, batches and early stopping.
    fn plan(&self) -> &Plan;

    /// The training cases.
    fn cases(&self, train: &Interactions) -> Cases;

    /// Its own loss.
    fn objective(&self, train: &Interactions) -> Box<dyn Objective>;

    /// A model with random parameters.
    ///
    /// # Errors
    /// When the settings cannot work on these data.
    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>>;

    /// Resumes from [`Learner::state`].
    ///
    /// # Errors
    /// When it is not a state of this model.
    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>>;
}

impl<T: Trainable> Recipe for T {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        let cases = self.cases(train);
        let objective = self.objective(train);
        crate::train::train(self, train, &cases, objective, fit)
    }

    fn trainable(&self) -> Option<&dyn Trainable> {
        Some(self)
    }
}

/// How long a model trains, and in what portions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// At most so many passes over the training cases, or draws of as many.
    pub epochs: usize,
    /// Which cases an epoch visits.
    pub sampling: Sampling,
    /// Cases a step.
    pub batch_size: usize,
    /// Epochs between two looks at the validation data.
    pub validate_every: usize,
    /// Stop after so many looks without a better value and keep the best model; 0 = train all epochs and keep the last.
    pub patience: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            epochs: 100,
            sampling: Sampling::Cases,
            batch_size: 2048,
            validate_every: 5,
            patience: 5,
        }
    }
}

/// Which cases an epoch visits. Not a detail: it says whose loss is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each case once: users count by how many cases they have.
    #[default]
    Cases,
    /// As many draws as there are cases, with replacement: a user uniformly, then one of their cases uniformly. All users
    /// count the same, as in metrics that are means over users. The public code of NGCF (Wang et al., SIGIR 2019) and
    /// LightGCN (He et al., SIGIR 2020) trains so. A learner's own way through an epoch (see [`Learner::epoch`]), which
    /// visits each case once, is not taken then.
    Users,
}

/// Looks at a model in training; larger is better.
pub type Validate<'a> = dyn Fn(&dyn Model) -> Result<f64> + 'a;

/// What a fit needs besides the data.
pub struct Fit<'a> {
    /// Same seed, same bytes.
    pub seed: u64,
    /// How good a model is on validation data, larger is better; without it every epoch of the plan is run.
    pub validate: Option<&'a Validate<'a>>,
    /// Sees every epoch, and may stop the run.
    pub watch: &'a mut dyn Watch,
    /// Where to keep the state, to go on after an interruption.
    pub checkpoints: Option<Checkpointing<'a>>,
}
