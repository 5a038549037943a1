//! SimpleX: directions of users and items by the cosine contrastive loss with many negatives, a user's mixed with those of
//! their items (Mao et al., CIKM 2021, arXiv 2109.12613).
//!
//! score(u, i) = cos(h_u, e_i), with h_u = g e_u + (1 - g) W p_u, p_u made of the vectors of the items that the user had
//! (eq. 3), g = `own`, and W a square matrix. p_u is their mean (`pooling`: `mean`), or the sum of exp(k_j . e_u) / m times the
//! vector s_j of each, k_j = tanh(K s_j + b) (`user_attention`). With `own = 1` there is no history and no W: the paper's
//! MF-CCL. The default loss is `cosine_contrastive` of [`crate::loss`]; any objective can teach it, but scores stay between -1
//! and 1.
//!
//! - p_u is made of the latest `history` items of the training data, the target among them but with `leave_target_out`. With
//!   `history_apart` items have a second vector for histories, as in the authors' code; else the one that is scored.
//! - The m of attention is a sum over `history` places, where those that a short history leaves empty count 1 each, as in that
//!   code: the fewer items a user has, the less they count against e_u.
//! - What is saved are the users' directions and the items' vectors: the users' own vectors are not needed for scoring.
//! - The authors' code draws negatives from the whole catalogue (`loss.among = "everything"`, not the default here) and clips
//!   gradients to a norm of 10. Nothing is clipped here: the shorter the first vectors (`init_std`, 1e-4 in that code), the larger the
//!   first gradients, and the longer Adam's second moment holds rows back after them. With 1e-3 Gowalla's course is that code's.
//! - Unit vectors of items are made anew when a row moves. A step that Adam replays later would not be seen, so
//!   `mode = "exact"` is refused. A row without a gradient in a batch rests, but in the mode `dense`.
//!
//! Differs from the paper: no self-attention; W starts as the identity. `dropout` is that of the authors' code (0.1 there), but
//! a user who stands in a batch more than once has one mask, unless targets are left out. Not in the paper: a new user's
//! direction is that of W p (of p, where there is no W) with p the plain mean, as there is no e_u to attend with, and nobody
//! with no history is the mean user.

mod attention;
mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::loss::{CosineContrastive, Loss, LossKind, Sampled};
use learner::SimplexLearner;
use model::SimplexModel;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// How the items of a history are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// All count the same.
    Mean,
    /// The better an item matches the user's own vector, the more it counts.
    UserAttention,
}

/// Directions by the cosine contrastive loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Simplex {
    /// Length of the vectors.
    pub dim: usize,
    /// g, what a user's own vector counts against those of their items; 1 = these do not count.
    pub own: f64,
    /// At most so many of a user's latest items count.
    pub history: usize,
    /// How these are averaged.
    pub pooling: Pooling,
    /// Whether a row's own targets are left out of the history when its user is asked for them in training.
    pub leave_target_out: bool,
    /// Whether items have a vector of their own for histories, in a second table; else it is the one that is scored.
    pub history_apart: bool,
    /// Probability that a number of a user's direction is dropped in training.
    pub dropout: f64,
    /// Standard deviation of the first, normally distributed vectors; as lengths do not count, what it sets is how fast they
    /// turn at first.
    pub init_std: f64,
    /// What it learns by when nobody teaches it otherwise.
    pub loss: Loss,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// The learning rate of the plan's last epoch as a share of the first's; it falls linearly from the one to the other. 1 =
    /// it stays.
    pub final_rate: f64,
    /// How long, and in what portions.
    pub train: Plan,
}

impl Default for Simplex {
    fn default() -> Self {
        Self {
            dim: 64,
            own: 0.5,
            history: 100,
            pooling: Pooling::Mean,
            leave_target_out: false,
            history_apart: false,
            dropout: 0.0,
            init_std: 1e-4,
            loss: Loss {
                kind: LossKind::CosineContrastive(CosineContrastive::default()),
                negatives: 500,
                ..Loss::default()
            },
            optimizer: Optimizer::default(),
            final_rate: 1.0,
            train: Plan { batch_size: 512, ..Plan::default() },
        }
    }
}

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: Simplex = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl Simplex {
    fn check(&self) -> Result<()> {
        if self.dim == 0 || self.dim > 4096 {
            return Err(crate::invalid("dim", format!("must be from 1 to 4096, is {}", self.dim)));
        }
        if !(0.0..=1.0).contains(&self.own) {
            return Err(crate::invalid("own", format!("must be from 0 to 1, is {}", self.own)));
        }
        if self.own < 1.0 && self.history == 0 {
            return Err(crate::invalid("history", "must be at least 1, or `own` 1"));
        }
        if !(0.0..=0.999).contains(&self.dropout) {
            let problem = format!("must be from 0 to 0.999, is {}", self.dropout);
            return Err(crate::invalid("dropout", problem));
        }
        if !(self.init_std > 0.0 && self.init_std.is_finite()) {
            let problem = format!("must be above 0, is {}", self.init_std);
            return Err(crate::invalid("init_std", problem));
        }
        crate::lr_schedule::check(self.final_rate)?;
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))?;
        if let Optimizer::Adam(Adam { mode: AdamMode::Exact, .. }) = self.optimizer {
            let problem = "`exact` replays steps without making unit vectors anew; take `sparse` \
                or `dense`";
            return Err(crate::invalid("optimizer.mode", problem));
        }
        self.loss.check()
    }

    /// Whether histories count.
    fn mixes(&self) -> bool {
        self.own < 1.0
    }

    /// Whether items count by attention.
    fn attends(&self) -> bool {
        self.mixes() && self.pooling == Pooling::UserAttention
    }

    /// Whether each row asks with a history of its own.
    fn leaves_out(&self) -> bool {
        self.mixes() && self.leave_target_out
    }

    /// Whether there is a second table of items.
    fn has_second_table(&self) -> bool {
        self.mixes() && self.history_apart
    }
}

impl Trainable for Simplex {
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
        Ok(Box::new(SimplexLearner::random(self, train, seed)))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(SimplexLearner::resumed(self, train, state)?))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(SimplexModel::loaded(self, tensors)?))
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
        let tables = if self.has_second_table() { 2 } else { 1 };
        let rows = (n_users + tables * n_items) as u64;
        let batch = self.train.batch_size as u64 * (2 + self.loss.negatives as u64);
        // The cases and the sampler; histories, what each of their items counts, and whose it is.
        let per_interaction = if self.mixes() { 48 } else { 32 };
        // Tables, unit vectors, and the best model so far; a batch's scores and vectors.
        4 * rows * stride * (kept + 2) + per_interaction * n_interactions as u64 + 4 * batch * 8
    }
}
