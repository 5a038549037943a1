//! FISM: a user is the sum of what the user had (Kabbur, Ning & Karypis, "FISM: factored item similarity models for top-N recommender
//! systems", KDD 2013). Item-to-item similarities of low rank, and so the factored form of SLIM and EASE.
//!
//! With the distinct items H of a query's history and an item j:
//!
//! ```text
//! score(j) = < |H|^-alpha * sum over i in H of p_i , q_j > + b_j
//! ```
//!
//! P and Q are two item tables, b the item biases, if there are any. There is no user table: a user costs no memory, and one who was
//! never trained is answered from the history exactly as one who was. A query without a history gets the biases.
//!
//! **Training** takes cases of single interactions, so a row's target i is in H. As in the paper it must not explain itself: the row's
//! vector is (|H| - 1)^-alpha (sum over H - p_i). The sum is computed once for each query of a batch, and its gradient flows to every
//! item of H, and back out of p_i. All items of a row are scored by this one vector. So a list that is taught is taught to the history
//! without the row's target; unlabelled items, as most methods teach, are not in H anyway. Where a method teaches items of the history
//! itself (HetComp), these are in the sum unless they are the row's target.
//!
//! **Start.** With `start = "svd"`, P and Q both begin as the first right singular vectors of the training matrix, scaled to `init_std`
//! (PureSVD, Cremonesi, Koren & Turrin, RecSys 2010: its scores are those of V V').
//!
//! Differs from the paper: losses are those of `parts/loss.rs` or a distiller's, with any optimiser (the paper has squared and BPR-like
//! losses, by SGD); there are no user biases, which change no ranking; repeated items count once.

mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::parts::loss::{Loss, Sampled};
use crate::parts::settings::{self, Checked, gradient_recipe, padded};
use learner::FismLearner;
use model::FismModel;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

gradient_recipe! {
    /// Factored item similarities.
    pub struct Fism {
        /// Number of dimensions of P and Q.
        pub dim: usize,
        /// Whether items have a bias as well.
        pub item_bias: bool,
        /// How much long histories are scaled down: 0 = sum, 1 = mean.
        pub alpha: f64,
        /// The first values of P and Q.
        pub start: Start,
        /// Their standard deviation.
        pub init_std: f64,
        /// The loss when no distiller sets another.
        pub loss: Loss,
    }
}

/// The first values of P and Q.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Normally distributed.
    #[default]
    Random,
    /// The right singular vectors of the training matrix.
    Svd,
}

impl Default for Fism {
    fn default() -> Self {
        Self {
            dim: 64,
            item_bias: false,
            alpha: 0.5,
            start: Start::Random,
            init_std: 0.1,
            loss: Loss::default(),
            optimizer: Optimizer::default(),
            final_rate: 1.0,
            train: Plan::default(),
        }
    }
}

impl Checked for Fism {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=4096)?;
        settings::within("alpha", self.alpha, 0.0..=1.0)?;
        settings::positive("init_std", self.init_std)?;
        self.training().check()?;
        self.loss.check()
    }
}

impl ModelConfig for Fism {
    fn kind(&self) -> &'static str {
        "fism"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(FismModel::loaded(self, tensors)?))
    }

    fn memory(&self, _n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let stride = padded(self.dim + usize::from(self.item_bias));
        // Tables and the best model so far; the cases and the sampler; a batch's vectors.
        8 * n_items as u64 * stride * (self.training().width() + 1)
            + 32 * n_interactions as u64
            + 4 * self.training().vectors(self.loss.negatives) * (stride + 8)
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["start", "init_std", "loss", "optimizer", "final_rate", "train"]
    }
}

impl Trainable for Fism {
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
        Ok(Box::new(FismLearner::new(self, FismModel::first(self, train, seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(FismLearner::new(self, FismModel::resumed(self, train, state)?)))
    }
}
