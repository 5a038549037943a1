//! Fossil: item similarities and a high-order Markov chain, fused (He & McAuley, ICDM 2016, arXiv 1609.09152).
//!
//! With the history H of a query, its last items S_1, S_2, .. (the latest first), and an item j:
//!
//! ```text
//! score(j) = b_j + < |H|^-alpha * sum over i in H of P_i  +  sum over k = 1..L of (eta_k + eta^u_k) * P_(S_k) , Q_j >
//! ```
//!
//! P and Q are two item tables, b an item's bias, eta the global and eta^u the user's own Markov weights. The query's side is
//! one vector, made of its history; the rest is a dot product.
//!
//! - A history shorter than L uses what there is. An unknown user has the global weights alone. Nobody with no history gets
//!   the biases: what is generally liked.
//! - Training cases are sliding windows, as Ranking Distillation has them: [`Cases::windows`] of L + 1.
//! - The default loss is that of the RD paper, point-wise with three negatives; the Fossil paper's own is
//!   `loss = { kind = "bpr", negatives = 1 }`. Both take their steps in batches, by any optimiser.
//!
//! Differs from the paper: the sum over the history does not leave out j. It stands there only where a user repeats an item,
//! and leaving it out would make the query's vector depend on the item.

mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::loss::{Loss, LossKind, Sampled};
use learner::FossilLearner;
use model::FossilModel;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Similarity of items and a Markov chain of order L over the latest ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fossil {
    /// Length of the vectors.
    pub dim: usize,
    /// L, how many of the latest items have weights of their own.
    pub order: usize,
    /// How much a long history is scaled down: 0 = not at all, 1 = to its mean.
    pub alpha: f64,
    /// Standard deviation of the first, normally distributed P, Q and eta^u; eta and b begin at 0.
    pub init_std: f64,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// How long, and in what portions.
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

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: Fossil = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl Fossil {
    fn check(&self) -> Result<()> {
        let most = 4096;
        for (key, value) in [("dim", self.dim), ("order", self.order)] {
            if value == 0 || value > most {
                return Err(crate::invalid(key, format!("must be from 1 to {most}, is {value}")));
            }
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            let problem = format!("must be from 0 to 1, is {}", self.alpha);
            return Err(crate::invalid("alpha", problem));
        }
        if !(self.init_std > 0.0 && self.init_std.is_finite()) {
            let problem = format!("must be above 0, is {}", self.init_std);
            return Err(crate::invalid("init_std", problem));
        }
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        self.loss.check()
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

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(FossilModel::loaded(self, tensors)?))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let kept = match &self.optimizer {
            Optimizer::Sgd(_) => 1,
            Optimizer::Adam(_) => 3,
        };
        let padded = |n: usize| n.next_multiple_of(16) as u64;
        let items = n_items as u64 * (padded(self.dim) + padded(self.dim + 1));
        let users = n_users as u64 * padded(self.order);
        let batch = self.train.batch_size as u64 * (2 + self.loss.negatives as u64);
        // Tables; the best model so far; the windows and the sampler; a batch's vectors.
        4 * (items + users) * (kept + 1)
            + 88 * n_interactions as u64
            + 4 * batch * (padded(self.dim + 1) + 8)
    }
}
