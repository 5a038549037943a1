//! LightGCN: matrix factorisation whose vectors are smoothed over the graph of users and items (He et al., SIGIR 2020,
//! arXiv 2002.02126).
//!
//! Every user and item has a vector of the first layer, e(0), the only parameters. A layer hands vectors on to neighbours,
//! e(k+1)_u = sum over u's items i of e(k)_i / sqrt(d_u d_i), and the other way round, with d the number of neighbours (eq. 3).
//! What is compared is the mean of the layers 0..L (the paper's choice of alpha_k = 1 / (L + 1) in eq. 4), by a dot product.
//! By any sampled loss of [`crate::loss`] (the paper's is BPR), and by any objective as a student.
//!
//! - A step follows the gradient through all layers, for every user and item within L steps of the batch. So Adam steps
//!   every row at every step, and its modes are one and the same here.
//! - `l2` is the paper's penalty: the squared first-layer vectors of a batch's users and listed items, each time they occur.
//!   Where an objective asks for all items at once (`Slate::All`), no item is listed. It is not in the reported loss.
//! - Repeated interactions are one edge, as in the authors' code.
//! - What is saved are the last, mixed vectors: scoring is a dot product, and the graph is not needed for it.
//!
//! Not in the paper: a new user's vector is the normalised sum of the last vectors of their items,
//! sum over i in H of e_i / sqrt(|H| d_i): one more layer over what was learnt, as if they had entered the graph with
//! a first vector of 0. Nobody with no history gets the mean user's vector.

mod layers;
mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::loss::{Loss, Sampled};
use learner::LightGcnLearner;
use model::LightGcnModel;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Sampling, Tensors,
    Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Matrix factorisation smoothed over the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LightGcn {
    /// Length of the vectors.
    pub dim: usize,
    /// L, how many times vectors are handed on. Without a layer this would be BPR-MF.
    pub layers: usize,
    /// Standard deviation of the first, normally distributed vectors.
    pub init_std: f64,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// Penalty on the first layer's vectors of a batch's users and items, half their squared length each time they occur.
    pub l2: f64,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// The learning rate of the plan's last epoch as a share of the first's; it falls linearly from the one to the other. 1 =
    /// it stays.
    pub final_rate: f64,
    /// How long, and in what portions.
    pub train: Plan,
}

impl Default for LightGcn {
    fn default() -> Self {
        Self {
            dim: 64,
            layers: 3,
            init_std: 0.1,
            loss: Loss::default(),
            l2: 1e-4,
            optimizer: Optimizer::Adam(Adam { learning_rate: 5e-3, ..Adam::default() }),
            final_rate: 1.0,
            train: Plan { epochs: 200, sampling: Sampling::Users, ..Plan::default() },
        }
    }
}

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: LightGcn = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl LightGcn {
    fn check(&self) -> Result<()> {
        for (key, value, most) in [("dim", self.dim, 4096), ("layers", self.layers, 16)] {
            if value == 0 || value > most {
                return Err(crate::invalid(key, format!("must be from 1 to {most}, is {value}")));
            }
        }
        if !(self.init_std > 0.0 && self.init_std.is_finite()) {
            let problem = format!("must be above 0, is {}", self.init_std);
            return Err(crate::invalid("init_std", problem));
        }
        if !(self.l2 >= 0.0 && self.l2.is_finite()) {
            return Err(crate::invalid("l2", format!("must be at least 0, is {}", self.l2)));
        }
        crate::lr_schedule::check(self.final_rate)?;
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        self.loss.check()
    }
}

impl Trainable for LightGcn {
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
        Ok(Box::new(LightGcnLearner::random(self, train, seed)))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(LightGcnLearner::resumed(self, train, state)?))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(LightGcnModel::loaded(self, tensors)?))
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
        let nodes = (n_users + n_items) as u64;
        let batch = self.train.batch_size as u64 * (2 + self.loss.negatives as u64);
        // The parameters, the last vectors, two layers and the best model so far; the graph, the cases and the sampler; a
        // batch's vectors and their gradients.
        4 * nodes * stride * (kept + 4) + 44 * n_interactions as u64 + 8 * batch * (stride + 8)
    }
}
