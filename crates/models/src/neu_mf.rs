//! NeuMF: generalised matrix factorisation and a multi-layer perceptron, fused in the last layer (He et al., "Neural
//! Collaborative Filtering", WWW 2017).
//!
//! A user has two vectors, p for the product and u for the perceptron, and an item q and v. The score is
//! - sum over k of h_k p_k q_k,
//! - plus g . a_L, with a_1 = phi(W1 [u; v] + b1) and a_l = phi(W_l a_{l-1} + b_l),
//! - plus c.
//!
//! The paper's probability is the sigmoid of it, which changes no order; its loss is [`LossKind::LogLoss`] with four
//! negatives (eq. 7).
//!
//! W1 [u; v] is W1' u + W1'' v: each user's half is found once, and each item's, so that only the sum and the narrower layers
//! are left for a pair. The score is no product of two vectors: all items are scored in tiles, in parallel.
//!
//! A query without a known user gets vectors that are learnt from the history, with the network and the items as they
//! are: see `model.rs`.
//!
//! Differs from the paper: the two halves are trained together from random values, without pretraining of each. Weights
//! begin uniform within +-sqrt(6 / (inputs + outputs)), biases at 0.

mod everything;
mod learner;
mod model;
#[cfg(test)]
mod tests;
mod tower;

use crate::loss::{Loss, LossKind, Sampled};
use learner::NeuLearner;
use model::Net;
use rankstill_core::kernel::activation::Activation;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// A product and a perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeuMf {
    /// Length of p and q.
    pub dim: usize,
    /// Length of u and v.
    pub mlp_dim: usize,
    /// Outputs of the perceptron's layers, first to last.
    pub layers: Vec<usize>,
    /// phi
    pub activation: Activation,
    /// Standard deviation of the first, normally distributed vectors.
    pub init_std: f64,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// The learning rate of the plan's last epoch as a share of the first's; it falls linearly from the one to the other. 1 =
    /// it stays.
    pub final_rate: f64,
    /// How long, and in what portions.
    pub train: Plan,
}

impl Default for NeuMf {
    fn default() -> Self {
        Self {
            dim: 64,
            mlp_dim: 64,
            layers: vec![64, 32, 16],
            activation: Activation::Relu,
            init_std: 0.01,
            loss: Loss { kind: LossKind::LogLoss, negatives: 4, ..Loss::default() },
            optimizer: Optimizer::Adam(Adam::default()),
            final_rate: 1.0,
            train: Plan { epochs: 100, batch_size: 1024, ..Plan::default() },
        }
    }
}

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: NeuMf = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl NeuMf {
    fn check(&self) -> Result<()> {
        if !(1..=MOST_LAYERS).contains(&self.layers.len()) {
            let problem = format!("must be 1 to {MOST_LAYERS} numbers, are {}", self.layers.len());
            return Err(crate::invalid("layers", problem));
        }
        let layers = self.layers.iter().map(|&layer| ("layers", layer));
        for (key, value) in [("dim", self.dim), ("mlp_dim", self.mlp_dim)].into_iter().chain(layers)
        {
            if !(1..=MOST_NUMBERS).contains(&value) {
                let problem = format!("must be from 1 to {MOST_NUMBERS}, is {value}");
                return Err(crate::invalid(key, problem));
            }
        }
        if !(self.init_std > 0.0 && self.init_std.is_finite()) {
            let problem = format!("must be above 0, is {}", self.init_std);
            return Err(crate::invalid("init_std", problem));
        }
        crate::lr_schedule::check(self.final_rate)?;
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        self.loss.check()
    }
}

const MOST_LAYERS: usize = 16;
const MOST_NUMBERS: usize = 4096;

impl Trainable for NeuMf {
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
        Ok(Box::new(NeuLearner::new(self, Net::random(self, train, seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(NeuLearner::new(self, Net::resumed(self, train, state)?)))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(Net::loaded(self, tensors)?))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let kept = match &self.optimizer {
            Optimizer::Sgd(_) => 1,
            Optimizer::Adam(_) => 3,
        };
        let row = (self.dim + self.mlp_dim + 32) as u64;
        let pair: usize = self.layers.iter().map(|layer| 2 * (layer + 16)).sum();
        let pairs = (self.train.batch_size * (1 + self.loss.negatives)) as u64;
        // Tables; the best model so far; the items' halves; a batch's pairs; the cases and the sampler.
        4 * (n_users + n_items) as u64 * row * (kept + 1)
            + 4 * n_items as u64 * (self.layers[0] as u64 + 16)
            + 4 * pairs * (pair as u64 + 3 * row)
            + 32 * n_interactions as u64
    }
}
