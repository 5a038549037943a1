//! CML, collaborative metric learning: users and items are points, and who is near is liked (Hsieh et al., WWW 2017).
//!
//! score(u, i) = -|u - v_i|^2, and points stay within a ball. The default loss is the paper's: the hinge of
//! [`crate::loss`], weighted by the estimated rank. The optional penalty keeps the axes of a batch's points uncorrelated
//! (section 3.3): half of `covariance` times the summed squares of the covariances of different axes.
//!
//! The score is a dot product of longer vectors, (2u, -1, -|u|^2) . (v, |v|^2, 1), so that ranking, and every distiller's
//! slate, go the way of other factored models. The two columns are computed, not learnt. Sampled lists without probes, which
//! are what it learns by when nobody teaches it, are scored and learnt by the points alone, in a third of the time.
//!
//! - Points that leave the ball are put back onto it after the step that moved them, also where Adam replays it later.
//! - A point without a gradient in a batch rests, but in the modes `exact` and `dense`.
//!
//! Differs from the paper: Adam or SGD instead of AdaGrad; no item features; the penalty counts squares (the paper subtracts
//! norms of different powers, its code sums signed covariances). Not in the paper: a new user stands in the middle of their
//! items, where the sum of squared distances is least, and nobody with no history in the middle of all users.

mod covariance;
mod learner;
mod model;
mod near;
#[cfg(test)]
mod tests;

use crate::loss::{Hinge, Loss, LossKind, Sampled};
use learner::CmlLearner;
use model::CmlModel;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Metric learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cml {
    /// Length of the vectors.
    pub dim: usize,
    /// Radius of the ball.
    pub max_norm: f64,
    /// Standard deviation of the first, normally distributed vectors, before they are put into the ball.
    pub init_std: f64,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// Strength of the penalty on covariances; 0 = none.
    pub covariance: f64,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// The learning rate of the plan's last epoch as a share of the first's; it falls linearly from the one to the other. 1 =
    /// it stays.
    pub final_rate: f64,
    /// How long, and in what portions.
    pub train: Plan,
}

impl Default for Cml {
    fn default() -> Self {
        Self {
            dim: 64,
            max_norm: 1.0,
            init_std: 0.1,
            // With more negatives, or a smaller margin, the hardest are too hard: worse on CiteULike.
            loss: Loss { kind: LossKind::Hinge(Hinge::default()), negatives: 5, ..Loss::default() },
            covariance: 0.0,
            optimizer: Optimizer::Adam(Adam { learning_rate: 5e-3, ..Adam::default() }),
            final_rate: 1.0,
            train: Plan { epochs: 200, ..Plan::default() },
        }
    }
}

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: Cml = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl Cml {
    fn check(&self) -> Result<()> {
        if self.dim == 0 || self.dim > 4096 {
            return Err(crate::invalid("dim", format!("must be from 1 to 4096, is {}", self.dim)));
        }
        for (key, value) in [("max_norm", self.max_norm), ("init_std", self.init_std)] {
            // As the model will hold it.
            let value = value as f32;
            if !(value > 0.0 && value.is_finite()) {
                return Err(crate::invalid(key, format!("must be above 0, is {value}")));
            }
        }
        if !(self.covariance >= 0.0 && self.covariance.is_finite()) {
            let problem = format!("must be at least 0, is {}", self.covariance);
            return Err(crate::invalid("covariance", problem));
        }
        crate::lr_schedule::check(self.final_rate)?;
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        self.loss.check()
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

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(CmlModel::loaded(self, tensors)?))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let kept = match &self.optimizer {
            Optimizer::Sgd(_) => 1,
            Optimizer::Adam(_) => 3,
        };
        let stride = self.dim.next_multiple_of(16) as u64;
        let wide = (self.dim + 2).next_multiple_of(16) as u64;
        let rows = (n_users + n_items) as u64;
        let batch = self.train.batch_size as u64 * (2 + self.loss.negatives as u64);
        // Tables, the best model so far, the items' longer vectors; the cases and the sampler; a batch's vectors and
        // gradients.
        4 * (rows * stride * (kept + 1) + n_items as u64 * wide)
            + 32 * n_interactions as u64
            + 8 * batch * (wide + 8)
    }
}
