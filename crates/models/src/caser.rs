//! Caser: convolutions over the last items of a history (Tang & Wang, "Personalized Top-N Sequential Recommendation via
//! Convolutional Sequence Embedding", WSDM 2018), as in the authors' code; the teacher and student of Ranking Distillation
//! (Tang & Wang, KDD 2018).
//!
//! With E the vectors of the last L items, oldest first, L x d:
//! - vertical: each of n_v filters is a weighted sum of the rows of E, without activation: n_v d numbers;
//! - horizontal: for each height h = 1..=L, each of n_h filters of h x d slides over E; the largest of its L - h + 1 activated
//!   (phi_c) products with a bias is kept: L n_h numbers;
//! - z = phi_a(W dropout([vertical; horizontal]) + b), d numbers;
//! - score of item j = [z; u] . V_j + b_j, with u the user's vector and V the output table of 2d columns.
//!
//! It learns from windows of L items and the T that follow ([`Cases::windows`]), by default as the authors' code for Gowalla
//! does: three uniform negatives a target, point-wise logistic loss summed over a case and averaged over a batch, dense Adam
//! with weight decay on everything ("exact" gives its bits).
//!
//! First values: user and item vectors normal with standard deviation 1/d, the output table 1/(2d), its biases 0; filters and
//! the fully connected layer uniform within +-1/sqrt(inputs), biases too.
//!
//! With these settings on MovieLens 100k (each user's first floor(0.8 n) actions train, the rest tests; 74,904 windows; MAP over
//! the whole ranking, seeds 1 and 2) it reached, after 20 / 25 / 30 epochs:
//!
//! | d | Adam | seed 1 | seed 2 |
//! | --- | --- | --- | --- |
//! | 100 | exact | .182 / .185 / .182 | .180 / .180 / .180 |
//! | 100 | sparse | .180 / .184 / .183 | .178 / .180 / .180 |
//! | 50 | exact | .166 / .169 / .174 | .161 / .167 / .169 |
//! | 50 | sparse | .159 / .166 / .170 | .160 / .165 / .167 |
//!
//! Differs from the authors' code:
//! - The padding item, which fills up short histories from the left, is the last row of the item vectors (theirs the first)
//!   and learns like any other, as theirs does; but it is never recommended. Its row of the output table, which no loss ever
//!   reaches, is counted among the parameters but not stored.
//! - `loss.negatives` are per target; theirs are per case. Equal for T = 1.
//! - A user with no more than T actions gives no case (theirs: a window of padding).
//! - Their negatives are outside of the user's training items, and ours too; ours depend on seed, epoch and case alone, and so
//!   do masks of dropout, whatever the batch. Its probability is rounded to a multiple of 2^-16.
//! - A query without a known user, which theirs cannot answer, gets a vector that fits its whole history to the user's half of
//!   the output table, by ridge regression (`fold_in.rs`); the mean user vector if it has none. (The mean user for all of
//!   them was tried: on data where users keep to blocks of items it found the held-out item for 4 of 48, because what a trained
//!   user likes is mostly in the user's vector.)

mod learner;
mod model;
#[cfg(test)]
mod tests;
mod tower;

use crate::loss::{Loss, LossKind, Sampled};
use learner::CaserLearner;
use model::Net;
use rankstill_core::kernel::activation::Activation;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// A convolutional sequence ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caser {
    /// d: length of user and item vectors. The RD paper's teachers have 100 (Gowalla) and 50 (Foursquare), its students 50 and
    /// 20.
    pub dim: usize,
    /// L: how many of the last items it looks at.
    pub length: usize,
    /// T: how many following items a case has as targets.
    pub targets: usize,
    /// n_v: filters over all of a window's items.
    pub vertical_filters: usize,
    /// n_h: filters of each height.
    pub horizontal_filters: usize,
    /// Probability that an output of the convolutions is dropped in training.
    pub dropout: f64,
    /// phi_c, after the horizontal convolutions.
    pub conv_activation: Activation,
    /// phi_a, after the fully connected layer.
    pub fc_activation: Activation,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// How long, and in what portions.
    pub train: Plan,
}

impl Default for Caser {
    /// Those of the authors' run on Gowalla: all epochs, no early stop.
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

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: Caser = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl Caser {
    fn check(&self) -> Result<()> {
        for (key, value, least, most) in [
            ("dim", self.dim, 1, 4096),
            ("length", self.length, 1, 64),
            ("targets", self.targets, 1, 64),
            ("vertical_filters", self.vertical_filters, 0, 1024),
            ("horizontal_filters", self.horizontal_filters, 1, 1024),
        ] {
            if !(least..=most).contains(&value) {
                let problem = format!("must be from {least} to {most}, is {value}");
                return Err(crate::invalid(key, problem));
            }
        }
        if !(0.0..=0.999).contains(&self.dropout) {
            let problem = format!("must be from 0 to 0.999, is {}", self.dropout);
            return Err(crate::invalid("dropout", problem));
        }
        let filters = self.horizontal_filters * self.dim.next_multiple_of(16);
        if filters * (self.length * (self.length + 1) / 2) > MOST_WEIGHTS {
            let problem = format!("make filters of more than {MOST_WEIGHTS} weights with these");
            return Err(crate::invalid("dim, length and horizontal_filters", problem));
        }
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        self.loss.check()
    }
}

/// Places among the filters are 32-bit numbers, and 1 GB is enough.
const MOST_WEIGHTS: usize = 1 << 28;

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
        Ok(Box::new(CaserLearner::new(Net::random(self, train, seed))))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(CaserLearner::new(Net::resumed(self, train, state)?)))
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
        let stride = self.dim.next_multiple_of(16) as u64;
        let query = (2 * self.dim + 1).next_multiple_of(16) as u64;
        let rows = (n_users + n_items) as u64 * stride + n_items as u64 * query;
        let concat = (self.vertical_filters * self.dim
            + self.length * self.horizontal_filters.next_multiple_of(16))
            as u64;
        let batch = self.train.batch_size as u64
            * (4 * self.length as u64 * stride + 2 * concat + 3 * stride)
            + self.train.batch_size as u64 * (3 + self.loss.negatives as u64) * query;
        // Tables; the best model so far; the cases and the sampler; a batch's vectors and their gradients.
        4 * rows * (kept + 1) + 100 * n_interactions as u64 + 4 * batch
    }
}
