//! SASRec: self-attention over the last items of a history (Kang & McAuley, "Self-Attentive Sequential
//! Recommendation", ICDM 2018), with the order of operations of the authors' code.
//!
//! Of the last n <= L items of a history, oldest first, x_j = sqrt(d) e_j + the embedding of position L - n +
//! j. Each block maps x row by row, with N for layer normalisation with its own gain and bias:
//! - y_t = N(x_t) + sum over j <= t of p_tj v_j, with k = x K + b, v = x V + b, q = N(x) Q + b, and p_t the
//!   softmax over j <= t of q_t . k_j / sqrt(d / heads); each head has its own columns of q, k and v;
//! - z = N(y), and the block's output is z + phi(z W + b) W' + b'.
//!
//! The query's vector is N of the last position after the last block; an item's score is its product with the
//! item's embedding e, the same one that histories use. Dropout applies to the initial x, to p, and after both
//! layers of the second part.
//!
//! It trains on every prefix of a history and the item that follows ([`Cases::windows`]), by default with one
//! uniform negative and the pointwise logistic loss.
//!
//! Differs from the paper:
//! - The authors train all positions of a user's sequence in one pass. Here each prefix is a case, so that
//!   distillers can address every query. Same sum of losses (for histories of at most L items; longer ones keep
//!   all their targets here), more work. Of the last block, only the last position is computed.
//! - Histories are not padded; positions are counted from the end, as theirs are in effect.
//! - Initial values: embeddings normal with `init_std`, weights uniform within +-sqrt(6 / (inputs + outputs)),
//!   biases 0, gains 1.
//! - The vector of a query without any known item is the bias of the last normalisation.
//! - Users have no parameters: known and new users alike are scored from their history.

mod layers;
mod layout;
mod learner;
mod model;
#[cfg(test)]
mod tests;
mod tower;

use crate::parts::loss::{Loss, LossKind, Sampled};
use crate::parts::settings::{self, Checked, Training, padded};
use learner::SasLearner;
use model::SasRecModel;
use rankstill_core::kernel::activation::Activation;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A self-attentive sequence ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SasRec {
    /// d: number of dimensions of the embeddings.
    pub dim: usize,
    /// L: maximum number of latest items that it attends to.
    pub length: usize,
    /// Number of attention blocks.
    pub blocks: usize,
    /// Number of attention heads; must divide `dim`.
    pub heads: usize,
    /// Dropout probability in training.
    pub dropout: f64,
    /// phi
    pub activation: Activation,
    /// Standard deviation of the initial embeddings, which are normally distributed.
    pub init_std: f64,
    /// The loss when no distiller sets another.
    pub loss: Loss,
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// Epochs, batches and early stopping.
    pub train: Plan,
}

impl Default for SasRec {
    fn default() -> Self {
        Self {
            dim: 64,
            length: 50,
            blocks: 2,
            heads: 1,
            dropout: 0.2,
            activation: Activation::Relu,
            init_std: 0.02,
            loss: Loss { kind: LossKind::LogLoss, negatives: 1, ..Loss::default() },
            optimizer: Optimizer::Adam(Adam::default()),
            train: Plan { epochs: 100, batch_size: 512, ..Plan::default() },
        }
    }
}

impl Checked for SasRec {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=4096)?;
        settings::within("length", self.length, 1..=4096)?;
        settings::within("blocks", self.blocks, 1..=64)?;
        settings::within("heads", self.heads, 1..=self.dim)?;
        if !self.dim.is_multiple_of(self.heads) {
            let problem = format!("must divide `dim`, {}; is {}", self.dim, self.heads);
            return Err(settings::invalid("heads", problem));
        }
        settings::dropout(self.dropout)?;
        settings::positive("init_std", self.init_std)?;
        self.training().check()?;
        self.loss.check()
    }
}

impl SasRec {
    fn training(&self) -> Training<'_> {
        Training { optimizer: &self.optimizer, final_rate: 1.0, plan: &self.train }
    }
}

impl ModelConfig for SasRec {
    fn kind(&self) -> &'static str {
        "sas_rec"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(SasRecModel::loaded(self, tensors)?))
    }

    fn memory(&self, _n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let (length, blocks) = (self.length as u64, self.blocks as u64);
        let case = length * padded(self.dim) * (14 * blocks + 4)
            + self.heads as u64 * blocks * length * length;
        // The table and the best model so far; the cases and the sampler; a batch's positions.
        4 * n_items as u64 * padded(self.dim) * (self.training().width() + 1)
            + 100 * n_interactions as u64
            + 4 * self.train.batch_size as u64 * case
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["init_std", "loss", "optimizer", "train"]
    }
}

impl Trainable for SasRec {
    fn plan(&self) -> &Plan {
        &self.train
    }

    fn cases(&self, train: &Interactions) -> Cases {
        Cases::windows(train, 1, 1)
    }

    fn objective(&self, train: &Interactions) -> Box<dyn Objective> {
        Box::new(Sampled::new(self.loss.clone(), train))
    }

    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(SasLearner::new(SasRecModel::random(self, train.n_items(), seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(SasLearner::new(SasRecModel::resumed(self, train.n_items(), state)?)))
    }
}
