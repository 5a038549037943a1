//! Caser: convolutions over the last items of a history (Tang & Wang, "Personalized Top-N Sequential
//! Recommendation via Convolutional Sequence Embedding", WSDM 2018), as in the authors' code; teacher and
//! student in Ranking Distillation (Tang & Wang, KDD 2018).
//!
//! With E the embeddings of the last L items, oldest first, L x d:
//! - vertical: each of n_v filters is a weighted sum of the rows of E, without activation: n_v d numbers;
//! - horizontal: for each height h = 1..=L, each of n_h filters of h x d slides over E; after bias and
//!   activation phi_c, the largest of its L - h + 1 outputs is kept: L n_h numbers;
//! - z = phi_a(W dropout([vertical; horizontal]) + b), d numbers;
//! - score of item j = [z; u] . V_j + b_j, with u the user's embedding and V the output table of 2d columns.
//!
//! It trains on windows of L items and the T that follow ([`Cases::windows`]), by default like the authors'
//! code for Gowalla: three uniform negatives per target, pointwise logistic loss summed over a case and
//! averaged over a batch, dense Adam with weight decay on everything (mode `exact` computes the same bits).
//!
//! Initial values: user and item embeddings normal with standard deviation 1/d, the output table 1/(2d), its
//! biases 0; filters and the fully connected layer, biases included, uniform within +-1/sqrt(inputs).
//!
//! MAP over the whole ranking on MovieLens 100k with these settings (each user's first floor(0.8 n) actions
//! train, the rest tests; 74,904 windows; seeds 1 and 2), after 20 / 25 / 30 epochs:
//!
//! | d | Adam | seed 1 | seed 2 |
//! | --- | --- | --- | --- |
//! | 100 | exact | .182 / .185 / .182 | .180 / .180 / .180 |
//! | 100 | sparse | .180 / .184 / .183 | .178 / .180 / .180 |
//! | 50 | exact | .166 / .169 / .174 | .161 / .167 / .169 |
//! | 50 | sparse | .159 / .166 / .170 | .160 / .165 / .167 |
//!
//! Differs from the authors' code:
//! - The padding item, which fills short histories from the left, is the last row of the item embeddings
//!   (theirs the first). As in theirs it is learnt like any other, but it is never recommended. Its row of the
//!   output table, which no loss reaches, counts as parameters but is not stored.
//! - `loss.negatives` is per target, theirs per case. Equal for T = 1.
//! - A user with at most T actions yields no case (theirs: a window of padding).
//! - Negatives lie outside the user's training items in both. Ours, and the dropout masks, depend on seed,
//!   epoch and case alone, whatever the batch. The dropout probability is rounded to a multiple of 2^-16.
//! - A query without a known user, which theirs cannot score, gets a vector fitted by ridge regression of its
//!   whole history on the user half of the output table (`parts/fold_in.rs`), or the mean user embedding
//!   without a history. (The mean user for all of them was tried: where users keep to blocks of items it found
//!   the held-out item for 4 of 48, because most of a trained user's taste is in the user's embedding.)

mod layout;
mod learner;
mod model;
#[cfg(test)]
mod tests;
mod tower;

use crate::parts::loss::{Loss, LossKind, Sampled};
use crate::parts::settings::{self, Checked, Training, padded};
use learner::CaserLearner;
use model::CaserModel;
use rankstill_core::kernel::activation::Activation;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A convolutional sequence ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caser {
    /// d: dimensions of user and item embeddings. The RD paper's teachers have 100 (Gowalla) and 50
    /// (Foursquare), its students 50 and 20.
    pub dim: usize,
    /// L: number of latest items in a window.
    pub length: usize,
    /// T: number of items after the window that are its targets.
    pub targets: usize,
    /// n_v: number of filters over all items of a window.
    pub vertical_filters: usize,
    /// n_h: number of filters of each height.
    pub horizontal_filters: usize,
    /// Probability that an output of the convolutions is dropped in training.
    pub dropout: f64,
    /// phi_c, after the horizontal convolutions.
    pub conv_activation: Activation,
    /// phi_a, after the fully connected layer.
    pub fc_activation: Activation,
    /// The loss when no distiller sets another.
    pub loss: Loss,
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// Epochs, batches and early stopping.
    pub train: Plan,
}

impl Default for Caser {
    /// Those of the authors' run on Gowalla: all epochs, no early stopping.
    fn default() -> Self {
        let adam = Adam { mode: AdamMode::Exact, weight_decay: 1e-6, ..Adam::default() };
        Self {
            dim: 100,
            length: 5,
            targets: 1,
            vertical_filters: 2,
            horizontal_filters: 16,
            dropout: 0.5,
            conv_activation: Activation::Identity,
            fc_activation: Activation::Sigmoid,
            loss: Loss { kind: LossKind::LogLoss, negatives: 3, ..Loss::default() },
            optimizer: Optimizer::Adam(adam),
            train: Plan { epochs: 50, batch_size: 512, patience: 0, ..Plan::default() },
        }
    }
}

impl Checked for Caser {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=4096)?;
        settings::within("length", self.length, 1..=64)?;
        settings::within("targets", self.targets, 1..=64)?;
        settings::within("vertical_filters", self.vertical_filters, 0..=1024)?;
        settings::within("horizontal_filters", self.horizontal_filters, 1..=1024)?;
        settings::dropout(self.dropout)?;
        let filters = self.horizontal_filters * self.dim.next_multiple_of(16);
        if filters * (self.length * (self.length + 1) / 2) > MAX_WEIGHTS {
            let problem = format!("make filters of more than {MAX_WEIGHTS} weights with these");
            return Err(settings::invalid("dim, length and horizontal_filters", problem));
        }
        self.training().check()?;
        self.loss.check()
    }
}

/// Positions among the filters are 32-bit numbers, and 1 GB is enough.
const MAX_WEIGHTS: usize = 1 << 28;

impl Caser {
    fn training(&self) -> Training<'_> {
        Training { optimizer: &self.optimizer, final_rate: 1.0, plan: &self.train }
    }
}

impl ModelConfig for Caser {
    fn kind(&self) -> &'static str {
        "caser"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(CaserModel::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let (stride, query) = (padded(self.dim), padded(2 * self.dim + 1));
        let rows = (n_users + n_items) as u64 * stride + n_items as u64 * query;
        let concat = (self.vertical_filters * self.dim) as u64
            + self.length as u64 * padded(self.horizontal_filters);
        let case = 4 * self.length as u64 * stride
            + 2 * concat
            + 3 * stride
            + (3 + self.loss.negatives as u64) * query;
        // Tables and the best model so far; the cases and the sampler; a batch's vectors and their gradients.
        4 * rows * (self.training().width() + 1)
            + 100 * n_interactions as u64
            + 4 * self.train.batch_size as u64 * case
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["loss", "optimizer", "train"]
    }
}

impl Trainable for Caser {
    fn plan(&self) -> &Plan {
        &self.train
    }

    fn cases(&self, train: &Interactions) -> Cases {
        Cases::windows(train, self.length, self.targets)
    }

    fn objective(&self, train: &Interactions) -> Box<dyn Objective> {
        Box::new(Sampled::new(self.loss.clone(), train))
    }

    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(CaserLearner::new(CaserModel::random(self, train, seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(CaserLearner::new(CaserModel::resumed(self, train, state)?)))
    }
}
