//! BPR-MF: the dot product of a user's and an item's embedding, optionally with an item bias (Rendle et al.,
//! UAI 2009). It trains with any sampled loss of [`crate::parts::loss`] and, as a student, with any objective.
//!
//! Two ways to train:
//! - In batches, with any optimiser: a step follows the mean loss over the rows of the batch.
//! - With `optimizer.kind = "sgd"` and plain BPR with one negative, sample by sample, in the fused kernel
//!   [`rankstill_core::kernel::bpr`]. It updates after every sample, in its own order, and there is no batch: a
//!   different algorithm (the paper's), not a faster version of the first. The learning rate is per sample.
//!
//! Differs from the paper in sampling: an epoch visits every interaction once instead of drawing interactions
//! with replacement. With `train.sampling = "users"` it draws a user uniformly and then one of the user's
//! items, as the code of NGCF and LightGCN does. The fused kernel cannot do that, so this combination is
//! refused. New users are folded in: see `parts/fold_in.rs`.

mod coded;
mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::parts::coded::{CompressedModel, load_ints};
use crate::parts::loss::{Loss, Sampled};
use crate::parts::settings::{self, Checked, gradient_recipe, padded};
use learner::MfLearner;
use model::Mf;
use rankstill_core::kernel::codes::{BITS, CodeTable as _, MOST_DIMENSIONS};
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::{
    Cases, Error, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Sampling,
    Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

gradient_recipe! {
    /// Matrix factorisation with a pairwise or another sampled loss.
    pub struct BprMf {
        /// Number of dimensions of the embeddings.
        pub dim: usize,
        /// Whether items have a bias as well.
        pub item_bias: bool,
        /// Bits of an item's numbers: 1, 2, 3, 4, 6 or 8, trained in codes so that any loss and any distiller teaches the coded
        /// model; 0 = full precision.
        pub item_bits: u32,
        /// What training begins with.
        pub start: Start,
        /// Standard deviation of random first embeddings, which are normally distributed.
        pub init_std: f64,
        /// The loss when no distiller sets another.
        pub loss: Loss,
    }
}

/// What training begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Random embeddings.
    #[default]
    Random,
    /// Those of a short run of [`crate::ImplicitAls`] on the same log, scaled to what a logarithm of odds looks like: it takes seconds and
    /// saves most of the epochs. Where no epoch is better on validation data, they are what is kept.
    Als,
}

impl Default for BprMf {
    fn default() -> Self {
        Self {
            dim: 64,
            item_bias: false,
            item_bits: 0,
            start: Start::Random,
            init_std: 0.1,
            loss: Loss::default(),
            optimizer: Optimizer::default(),
            final_rate: 1.0,
            train: Plan::default(),
        }
    }
}

impl Checked for BprMf {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=MAX_DIM)?;
        settings::positive("init_std", self.init_std)?;
        self.training().check()?;
        self.loss.check()?;
        if self.item_bits > 0 {
            let problem = format!("must be 0, 1, 2, 3, 4, 6 or 8, is {}", self.item_bits);
            if !BITS.contains(&self.item_bits) {
                return Err(settings::invalid("item_bits", problem));
            }
            settings::within("dim", self.dim, 1..=MOST_DIMENSIONS)?;
            if self.item_bias {
                let problem = "must be false with `item_bits`: a bias needs more than a few bits";
                return Err(settings::invalid("item_bias", problem));
            }
        }
        let by_sample = self.loss == Loss::default() && matches!(self.optimizer, Optimizer::Sgd(_));
        if by_sample && self.item_bits > 0 {
            let problem = "plain BPR by `sgd` updates single vectors, which have no codes of their own; take `adam`";
            return Err(settings::invalid("item_bits", problem));
        }
        if by_sample && self.train.sampling != Sampling::Cases {
            let problem = "plain BPR by `sgd` updates after every sample, in an order of its own that visits every \
                interaction once; to draw by users take `adam`, or another loss";
            return Err(settings::invalid("train.sampling", problem));
        }
        Ok(())
    }
}

/// More dimensions never improved anything, and fold-in gets slow.
const MAX_DIM: usize = 4096;

impl BprMf {
    /// Columns of the tables: the items' last one is the bias, for which users hold 1.
    fn columns(&self) -> usize {
        self.dim + usize::from(self.item_bias)
    }
}

impl ModelConfig for BprMf {
    fn kind(&self) -> &'static str {
        "bpr_mf"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        if self.item_bits > 0 {
            let codes = load_ints(tensors, self.item_bits)?;
            if codes.dim() != self.dim {
                let problem = format!("expected vectors of {}, found {}", self.dim, codes.dim());
                return Err(Error::Tensor { name: "codes".into(), problem });
            }
            let model = CompressedModel::loaded(tensors, Box::new(codes), false, false)?;
            return Ok(Box::new(model));
        }
        Ok(Box::new(Mf::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let (stride, columns) = (padded(self.columns()), self.columns() as u64);
        // Tables and the best model so far; the cases and the sampler; a batch's vectors.
        4 * (n_users + n_items) as u64 * (stride * self.training().width() + columns)
            + 32 * n_interactions as u64
            + 4 * self.training().vectors(self.loss.negatives) * (stride + 8)
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["start", "init_std", "loss", "optimizer", "final_rate", "train"]
    }
}

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

    fn begins_fitted(&self) -> bool {
        self.start == Start::Als
    }

    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(MfLearner::new(self, Mf::first(self, train, seed)?, train)))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(MfLearner::new(self, Mf::resumed(self, train, state)?, train)))
    }
}
