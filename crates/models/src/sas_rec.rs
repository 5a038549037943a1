//! SASRec: self-attention over the last items of a history (Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM
//! 2018), in the order of operations of the authors' code.
//!
//! Of the last n <= L items of a history, oldest first, x_j = sqrt(d) e_j + the vector of position L - n + j. Each block makes
//! of x, row by row, N standing for layer normalisation with a gain and a bias of its own:
//! - y_t = N(x_t) + sum over j <= t of p_tj v_j, with k = x K + b, v = x V + b, q = N(x) Q + b, and p_t the softmax over j <= t of
//!   q_t . k_j / sqrt(d / heads); each head has its own columns of q, k and v;
//! - z = N(y), and what goes on is z + phi(z W + b) W' + b'.
//!
//! The query's vector is N of the last position after the last block; an item's score its product with the item's vector e,
//! the same that histories are made of. Dropout is on x at first, on p, and after both layers of the second part.
//!
//! It learns from every prefix of a history and the item that follows ([`Cases::windows`]), by default with one uniform negative by
//! the point-wise logistic loss.
//!
//! Differs from the paper:
//! - The authors train all positions of a user's sequence in one pass; here each prefix is a case, so that a distiller can speak of
//!   each query. Same sum of losses (for histories of at most L items; longer ones have all their targets here), more work. Of the
//!   last block, only what the last position needs is found.
//! - Histories are not padded; positions are counted from the end, as theirs are in effect.
//! - First values: vectors normal with `init_std`, weights uniform within +-sqrt(6 / (inputs + outputs)), biases 0, gains 1.
//! - A query without any known item has the last layer's bias for a vector.
//! - Users have no parameters: strangers are answered as everybody is, by their history.

mod layers;
mod learner;
mod model;
#[cfg(test)]
mod tests;
mod tower;

use crate::loss::{Loss, LossKind, Sampled};
use learner::SasLearner;
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

/// A self-attentive sequence ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SasRec {
    /// d: length of the vectors.
    pub dim: usize,
    /// L: how many of the last items it looks at.
    pub length: usize,
    /// How many times over.
    pub blocks: usize,
    /// Parts of the vectors that attend by themselves; they divide `dim`.
    pub heads: usize,
    /// Probability that a number is dropped in training.
    pub dropout: f64,
    /// phi
    pub activation: Activation,
    /// Standard deviation of the first, normally distributed vectors.
    pub init_std: f64,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// How long, and in what portions.
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

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: SasRec = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl SasRec {
    fn check(&self) -> Result<()> {
        for (key, value, most) in [
            ("dim", self.dim, 4096),
            ("length", self.length, 4096),
            ("blocks", self.blocks, 64),
            ("heads", self.heads, self.dim),
        ] {
            if !(1..=most).contains(&value) {
                let problem = format!("must be from 1 to {most}, is {value}");
                return Err(crate::invalid(key, problem));
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            let problem = format!("must divide `dim`, {}; is {}", self.dim, self.heads);
            return Err(crate::invalid("heads", problem));
        }
        if !(0.0..=0.999).contains(&self.dropout) {
            let problem = format!("must be from 0 to 0.999, is {}", self.dropout);
            return Err(crate::invalid("dropout", problem));
        }
        if !(self.init_std > 0.0 && self.init_std.is_finite()) {
            let problem = format!("must be above 0, is {}", self.init_std);
            return Err(crate::invalid("init_std", problem));
        }
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        self.loss.check()
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
        Ok(Box::new(SasLearner::new(Net::random(self, train.n_items(), seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(SasLearner::new(Net::resumed(self, train.n_items(), state)?)))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(Net::loaded(self, tensors)?))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn memory(&self, _n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let kept = match &self.optimizer {
            Optimizer::Sgd(_) => 1,
            Optimizer::Adam(_) => 3,
        };
        let stride = self.dim.next_multiple_of(16) as u64;
        let (length, blocks) = (self.length as u64, self.blocks as u64);
        let case =
            length * stride * (14 * blocks + 4) + self.heads as u64 * blocks * length * length;
        // The table; the best model so far; the cases and the sampler; a batch's positions.
        4 * n_items as u64 * stride * (kept + 1)
            + 100 * n_interactions as u64
            + 4 * self.train.batch_size as u64 * case
    }
}
