//! BPR-MF: a user's and an item's vector, their dot product, perhaps an item's bias (Rendle et al., UAI 2009), by any
//! sampled loss of [`crate::loss`] and, as a student, by any objective at all.
//!
//! Two ways to train:
//! - In batches, by any optimiser: a batch's step follows the mean loss of its rows.
//! - With `optimizer.kind = "sgd"` and plain BPR with one negative, sample by sample, by the fused kernel
//!   [`rankstill_core::kernel::bpr`]. It updates after every sample, in an order of its own, and there is no batch: another
//!   (and the paper's) algorithm, not a faster form of the first. Its learning rate is that of one sample.
//!
//! Differs from the paper in the sampling: an epoch visits every interaction once, instead of drawing interactions with
//! replacement. With `train.sampling = "users"` it draws users uniformly and then their items, as NGCF's and LightGCN's code
//! does, which the fused kernel cannot: that pair of settings is refused. A new user is folded in: see `fold_in.rs`.

mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::loss::{Loss, Sampled};
use learner::MfLearner;
use model::Mf;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Sampling, Tensors,
    Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Matrix factorisation by a pair-wise or other sampled loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BprMf {
    /// Length of the vectors.
    pub dim: usize,
    /// Whether items have a bias besides.
    pub item_bias: bool,
    /// Standard deviation of the first, normally distributed vectors.
    pub init_std: f64,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// The learning rate of the plan's last epoch as a share of the first's; it falls linearly from the one to the other. 1 =
    /// it stays. A falling rate averages out the noise of sampling: set the epochs to what is to be trained.
    pub final_rate: f64,
    /// How long, and in what portions.
    pub train: Plan,
}

impl Default for BprMf {
    fn default() -> Self {
        Self {
            dim: 64,
            item_bias: false,
            init_std: 0.1,
            loss: Loss::default(),
            optimizer: Optimizer::default(),
            final_rate: 1.0,
            train: Plan::default(),
        }
    }
}

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: BprMf = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl BprMf {
    fn check(&self) -> Result<()> {
        if self.dim == 0 || self.dim > MOST_DIMENSIONS {
            let problem = format!("must be from 1 to {MOST_DIMENSIONS}, is {}", self.dim);
            return Err(crate::invalid("dim", problem));
        }
        if !(self.init_std > 0.0 && self.init_std.is_finite()) {
            let problem = format!("must be above 0, is {}", self.init_std);
            return Err(crate::invalid("init_std", problem));
        }
        crate::lr_schedule::check(self.final_rate)?;
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        self.loss.check()?;
        let by_sample = self.loss == Loss::default() && matches!(self.optimizer, Optimizer::Sgd(_));
        if by_sample && self.train.sampling != Sampling::Cases {
            let problem = "plain BPR by `sgd` updates after every sample, in an order of its own that visits every \
                interaction once; to draw by users take `adam`, or another loss";
            return Err(crate::invalid("train.sampling", problem));
        }
        Ok(())
    }

    /// The learning rate of an epoch.
    fn rate(&self, epoch: usize) -> f64 {
        crate::lr_schedule::rate(&self.optimizer, self.final_rate, &self.train, epoch)
    }

    /// Columns of the tables: the bias is the items' last, against which users hold 1.
    fn columns(&self) -> usize {
        self.dim + usize::from(self.item_bias)
    }
}

/// Beyond it, nothing was ever gained, and a fold-in is no longer quick.
const MOST_DIMENSIONS: usize = 4096;

impl Trainable for BprMf {
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
        Ok(Box::new(MfLearner::new(self, Mf::random(self, train, seed), train)))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(MfLearner::new(self, Mf::resumed(self, train, state)?, train)))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(Mf::loaded(self, tensors)?))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let kept = match &self.optimizer {
            Optimizer::Sgd(_) => 1,
            Optimizer::Adam(_) => 3,
        };
        let stride = self.columns().next_multiple_of(16) as u64;
        let rows = (n_users + n_items) as u64;
        let batch = self.train.batch_size as u64 * (2 + self.loss.negatives as u64);
        // Tables; the best model so far; the cases and the sampler; a batch's vectors.
        4 * (rows * stride * kept + rows * self.columns() as u64)
            + 32 * n_interactions as u64
            + 4 * batch * (stride + 8)
    }
}
