//! NeuMF: generalised matrix factorisation and a multi-layer perceptron, fused in the last layer (He et al.,
//! "Neural Collaborative Filtering", WWW 2017).
//!
//! A user has two embeddings, p for the product and u for the perceptron; an item has q and v. The score is
//! - sum over k of h_k p_k q_k,
//! - plus g . a_L, with a_1 = phi(W1 [u; v] + b1) and a_l = phi(W_l a_{l-1} + b_l),
//! - plus c.
//!
//! The paper's probability is the sigmoid of the score, which keeps the order; its loss is
//! [`LossKind::LogLoss`] with four negatives (eq. 7).
//!
//! W1 [u; v] is W1' u + W1'' v: the half of each user and of each item is computed once, so a pair costs their
//! sum and the narrower layers. The score is not a product of two vectors: all items are scored in tiles, in
//! parallel.
//!
//! A query without a known user gets embeddings fitted to its history, with the network and the items fixed:
//! see `model.rs`.
//!
//! Differs from the paper: both halves are trained together from random values, without pretraining. Initial
//! weights are uniform within +-sqrt(6 / (inputs + outputs)), biases 0.

mod everything;
mod learner;
mod model;
#[cfg(test)]
mod tests;
mod tower;

use crate::parts::loss::{Loss, LossKind, Sampled};
use crate::parts::settings::{self, Checked, gradient_recipe};
use learner::NeuLearner;
use model::NeuMfModel;
use rankstill_core::kernel::activation::Activation;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Tensors, Trainable,
};
use std::sync::Arc;

gradient_recipe! {
    /// A product of embeddings and a perceptron, fused.
    pub struct NeuMf {
        /// Number of dimensions of p and q.
        pub dim: usize,
        /// Number of dimensions of u and v.
        pub mlp_dim: usize,
        /// Widths of the perceptron's layers, first to last.
        pub layers: Vec<usize>,
        /// phi
        pub activation: Activation,
        /// Standard deviation of the initial embeddings, which are normally distributed.
        pub init_std: f64,
        /// The loss when no distiller sets another.
        pub loss: Loss,
    }
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

impl Checked for NeuMf {
    fn check(&self) -> Result<()> {
        let depth = self.layers.len();
        if !(1..=MAX_LAYERS).contains(&depth) {
            let problem = format!("must be 1 to {MAX_LAYERS} numbers, are {depth}");
            return Err(settings::invalid("layers", problem));
        }
        settings::within("dim", self.dim, 1..=MAX_WIDTH)?;
        settings::within("mlp_dim", self.mlp_dim, 1..=MAX_WIDTH)?;
        self.layers
            .iter()
            .try_for_each(|&width| settings::within("layers", width, 1..=MAX_WIDTH))?;
        settings::positive("init_std", self.init_std)?;
        self.training().check()?;
        self.loss.check()
    }
}

const MAX_LAYERS: usize = 16;
const MAX_WIDTH: usize = 4096;

impl ModelConfig for NeuMf {
    fn kind(&self) -> &'static str {
        "neu_mf"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(NeuMfModel::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let row = (self.dim + self.mlp_dim + 32) as u64;
        let pair: usize = self.layers.iter().map(|layer| 2 * (layer + 16)).sum();
        let pairs = (self.train.batch_size * (1 + self.loss.negatives)) as u64;
        // Tables; the best model so far; the items' halves; a batch's pairs; the cases and the sampler.
        4 * (n_users + n_items) as u64 * row * (self.training().width() + 1)
            + 4 * n_items as u64 * (self.layers[0] as u64 + 16)
            + 4 * pairs * (pair as u64 + 3 * row)
            + 32 * n_interactions as u64
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["init_std", "loss", "optimizer", "final_rate", "train"]
    }
}

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
        Ok(Box::new(NeuLearner::new(self, NeuMfModel::random(self, train, seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(NeuLearner::new(self, NeuMfModel::resumed(self, train, state)?)))
    }
}
