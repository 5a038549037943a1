//! Fossil: item similarities and a high-order Markov chain, fused (He & McAuley, ICDM 2016, arXiv 1609.09152).
//!
//! With the history H of a query, its last items S_1, S_2, .. (latest first), and an item j:
//!
//! ```text
//! score(j) = b_j + < |H|^-alpha * sum over i in H of P_i  +  sum over k = 1..L of (eta_k + eta^u_k) * P_(S_k) , Q_j >
//! ```
//!
//! P and Q are two item tables, b the item biases, eta the global and eta^u the user's own Markov weights. The
//! query side is one vector, computed from the history, so the score is a dot product.
//!
//! - A history shorter than L uses the items it has. An unknown user has the global weights alone. A user
//!   without a history gets the biases, that is, popular items.
//! - Training cases are sliding windows, as in Ranking Distillation: [`Cases::windows`] of L + 1.
//! - The default loss is that of the RD paper, pointwise with three negatives; the Fossil paper's own is
//!   `loss = { kind = "bpr", negatives = 1 }`. Both train in batches, with any optimiser.
//!
//! Differs from the paper: the sum over the history does not leave out j. It contains j only where a user
//! repeats an item, and leaving it out would make the query's vector depend on the item.

mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::parts::loss::{Loss, LossKind, Sampled};
use crate::parts::settings::{self, Checked, Training, padded};
use learner::FossilLearner;
use model::FossilModel;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Item similarities and a Markov chain of order L over the latest items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fossil {
    /// Number of dimensions of P and Q.
    pub dim: usize,
    /// L, the order of the Markov chain: the number of latest items with weights of their own.
    pub order: usize,
    /// How much long histories are scaled down: 0 = sum, 1 = mean.
    pub alpha: f64,
    /// Standard deviation of the initial P, Q and eta^u, which are normally distributed; eta and b are
    /// initialised to 0.
    pub init_std: f64,
    /// The loss when no distiller sets another.
    pub loss: Loss,
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// Epochs, batches and early stopping.
    pub train: Plan,
}

impl Default for Fossil {
    fn default() -> Self {
        Self {
            dim: 50,
            order: 5,
            alpha: 0.2,
            init_std: 0.1,
            loss: Loss { kind: LossKind::LogLoss, negatives: 3, ..Loss::default() },
            optimizer: Optimizer::default(),
            train: Plan { batch_size: 512, ..Plan::default() },
        }
    }
}

impl Checked for Fossil {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=4096)?;
        settings::within("order", self.order, 1..=4096)?;
        settings::within("alpha", self.alpha, 0.0..=1.0)?;
        settings::positive("init_std", self.init_std)?;
        self.training().check()?;
        self.loss.check()
    }
}

impl Fossil {
    fn training(&self) -> Training<'_> {
        Training { optimizer: &self.optimizer, final_rate: 1.0, plan: &self.train }
    }
}

impl ModelConfig for Fossil {
    fn kind(&self) -> &'static str {
        "fossil"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(FossilModel::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let items = n_items as u64 * (padded(self.dim) + padded(self.dim + 1));
        let users = n_users as u64 * padded(self.order);
        // Tables and the best model so far; the windows and the sampler; a batch's vectors.
        4 * (items + users) * (self.training().width() + 1)
            + 88 * n_interactions as u64
            + 4 * self.training().vectors(&self.loss) * (padded(self.dim + 1) + 8)
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["init_std", "loss", "optimizer", "train"]
    }
}

impl Trainable for Fossil {
    fn plan(&self) -> &Plan {
        &self.train
    }

    fn cases(&self, train: &Interactions) -> Cases {
        Cases::windows(train, self.order, 1)
    }

    fn objective(&self, train: &Interactions) -> Box<dyn Objective> {
        Box::new(Sampled::new(self.loss.clone(), train))
    }

    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(FossilLearner::new(FossilModel::random(self, train, seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(FossilLearner::new(FossilModel::resumed(self, train, state)?)))
    }
}
