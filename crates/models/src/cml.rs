//! CML, collaborative metric learning: users and items are points, and users are near the items they like
//! (Hsieh et al., WWW 2017).
//!
//! score(u, i) = -|u - v_i|^2, with all points inside a ball. The default loss is the paper's: the hinge of
//! [`crate::parts::loss`], weighted by the estimated rank. An optional penalty keeps the dimensions
//! uncorrelated over the points of a batch (section 3.3): half of `covariance` times the sum of the squared
//! covariances of different dimensions.
//!
//! The score is a dot product of extended vectors, (2u, -1, -|u|^2) . (v, |v|^2, 1), so ranking and every
//! distiller's slate work as for other factored models. The two extra columns are computed, not learnt. Sampled
//! lists without probes, which the model's own loss needs, are scored from the points directly, in a third of
//! the time.
//!
//! - A point that leaves the ball is projected back onto it after the step that moved it, also where Adam
//!   replays that step later.
//! - A point without a gradient in a batch does not move, except in the modes `exact` and `dense`.
//!
//! Differs from the paper: Adam or SGD instead of AdaGrad; no item features; the penalty sums squares (the
//! paper subtracts norms of different powers, its code sums signed covariances). Not in the paper: a new user
//! is the centroid of their items, which minimises the sum of squared distances; a user without a history is
//! the centroid of all users.

mod covariance;
mod learner;
mod list_step;
mod model;
#[cfg(test)]
mod tests;

use crate::parts::loss::{Hinge, Loss, LossKind, Sampled};
use crate::parts::settings::{self, Checked, gradient_recipe, padded};
use learner::CmlLearner;
use model::CmlModel;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Tensors, Trainable,
};
use std::sync::Arc;

gradient_recipe! {
    /// Collaborative metric learning.
    pub struct Cml {
        /// Number of dimensions of the points.
        pub dim: usize,
        /// Radius of the ball.
        pub max_norm: f64,
        /// Standard deviation of the initial points, which are normally distributed and then projected into the
        /// ball.
        pub init_std: f64,
        /// The loss when no distiller sets another.
        pub loss: Loss,
        /// Weight of the penalty on covariances; 0 = none.
        pub covariance: f64,
    }
}

impl Default for Cml {
    fn default() -> Self {
        Self {
            dim: 64,
            max_norm: 1.0,
            init_std: 0.1,
            // With more negatives or a smaller margin the hardest negatives are too hard: worse on CiteULike.
            loss: Loss { kind: LossKind::Hinge(Hinge::default()), negatives: 5, ..Loss::default() },
            covariance: 0.0,
            optimizer: Optimizer::Adam(Adam { learning_rate: 5e-3, ..Adam::default() }),
            final_rate: 1.0,
            train: Plan { epochs: 200, ..Plan::default() },
        }
    }
}

impl Checked for Cml {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=4096)?;
        // As the model will hold them.
        settings::positive("max_norm", self.max_norm as f32)?;
        settings::positive("init_std", self.init_std as f32)?;
        settings::not_negative("covariance", self.covariance)?;
        self.training().check()?;
        self.loss.check()
    }
}

impl ModelConfig for Cml {
    fn kind(&self) -> &'static str {
        "cml"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(CmlModel::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let extended = padded(self.dim + 2);
        let points = (n_users + n_items) as u64 * padded(self.dim);
        // Tables, the best model so far, the items' extended vectors; the cases and the sampler; a batch's
        // vectors and gradients.
        4 * (points * (self.training().width() + 1) + n_items as u64 * extended)
            + 32 * n_interactions as u64
            + 8 * self.training().vectors(&self.loss) * (extended + 8)
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["init_std", "loss", "optimizer", "final_rate", "train"]
    }
}

impl Trainable for Cml {
    fn plan(&self) -> &Plan {
        &self.train
    }

    fn cases(&self, train: &Interactions) -> Cases {
        Cases::each_interaction(train)
    }

    fn objective(&self, train: &Interactions) -> Box<dyn Objective> {
        Box::new(Sampled::new(self.loss.clone(), train))
    }

    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(CmlLearner::new(self, CmlModel::random(self, train, seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(CmlLearner::new(self, CmlModel::resumed(self, train, state)?)))
    }
}
