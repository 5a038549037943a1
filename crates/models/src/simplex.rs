//! SimpleX: cosine similarity of users and items, trained with the cosine contrastive loss and many negatives,
//! with users mixed from their own embedding and those of their items (Mao et al., CIKM 2021, arXiv
//! 2109.12613).
//!
//! score(u, i) = cos(h_u, e_i), with h_u = g e_u + (1 - g) W p_u, p_u pooled from the embeddings of the user's
//! items (eq. 3), g = `own`, and W a square matrix. p_u is their mean (`pooling`: `mean`), or the sum of
//! exp(k_j . e_u) / m times the embedding s_j of each, k_j = tanh(K s_j + b) (`user_attention`). With `own = 1`
//! there is neither history nor W: the paper's MF-CCL. The default loss is `cosine_contrastive` of
//! [`crate::parts::loss`]. Any objective can train it, but scores stay between -1 and 1.
//!
//! - p_u pools the latest `history` items of the training data, the target included unless `leave_target_out`
//!   is set. With `history_apart` items have a second embedding for histories, as in the authors' code;
//!   otherwise it is the scored one.
//! - The m of attention sums over `history` positions, and each position that a short history leaves empty adds
//!   1, as in that code: the fewer items a user has, the less they weigh against e_u.
//! - The users' normalised h_u and the items' embeddings are saved; e_u is not needed for scoring.
//! - The authors' code draws negatives from the whole catalogue (`loss.among = "everything"`, not the default
//!   here) and clips gradients to a norm of 10. Nothing is clipped here: the shorter the initial embeddings
//!   (`init_std`, 1e-4 in that code), the larger the first gradients, and the longer Adam's second moment then
//!   damps the steps. With 1e-3 training on Gowalla follows that of the authors' code.
//! - An item's unit vector is recomputed when its row moves. It would miss a step that Adam replays later, so
//!   `mode = "exact"` is refused. A row without a gradient in a batch does not move, except in the mode
//!   `dense`.
//!
//! Differs from the paper: no self-attention; W is initialised to the identity. `dropout` is that of the
//! authors' code (0.1 there), but all rows of a user in a batch share one mask, unless targets are left out.
//! Not in the paper: a new user's vector is the direction of W p (of p without W) with p the plain mean, as
//! there is no e_u to attend with; a user without a history is the mean user.

mod attention;
mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::parts::loss::{CosineContrastive, Loss, LossKind, Sampled};
use crate::parts::settings::{self, Checked, gradient_recipe, padded};
use learner::SimplexLearner;
use model::SimplexModel;
use rankstill_core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How the items of a history are pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// All have the same weight.
    Mean,
    /// An item weighs more the better it matches the user's own embedding.
    UserAttention,
}

gradient_recipe! {
    /// Cosine similarity with the cosine contrastive loss.
    pub struct Simplex {
        /// Number of dimensions of the embeddings.
        pub dim: usize,
        /// g, the weight of a user's own embedding against that of their items; 1 = items have none.
        pub own: f64,
        /// Maximum number of a user's latest items that are pooled.
        pub history: usize,
        /// How these are pooled.
        pub pooling: Pooling,
        /// Whether, in training, a row's own targets are left out of the history.
        pub leave_target_out: bool,
        /// Whether items have a separate embedding for histories, in a second table; otherwise it is the scored
        /// one.
        pub history_apart: bool,
        /// Probability that a component of a user's unit vector is dropped in training.
        pub dropout: f64,
        /// Standard deviation of the initial embeddings, which are normally distributed. As norms cancel, it
        /// only sets how fast they turn at first.
        pub init_std: f64,
        /// The loss when no distiller sets another.
        pub loss: Loss,
    }
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

impl Checked for Simplex {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=4096)?;
        settings::within("own", self.own, 0.0..=1.0)?;
        if self.own < 1.0 && self.history == 0 {
            return Err(settings::invalid("history", "must be at least 1, or `own` 1"));
        }
        settings::dropout(self.dropout)?;
        settings::positive("init_std", self.init_std)?;
        self.training().check()?;
        if let Optimizer::Adam(Adam { mode: AdamMode::Exact, .. }) = self.optimizer {
            let problem = "`exact` replays steps without making unit vectors anew; take `sparse` \
                or `dense`";
            return Err(settings::invalid("optimizer.mode", problem));
        }
        self.loss.check()
    }
}

impl Simplex {
    /// Whether histories have any weight.
    fn mixes(&self) -> bool {
        self.own < 1.0
    }

    /// Whether items are weighted by attention.
    fn attends(&self) -> bool {
        self.mixes() && self.pooling == Pooling::UserAttention
    }

    /// Whether every row of a batch has its own history.
    fn leaves_out(&self) -> bool {
        self.mixes() && self.leave_target_out
    }

    /// Whether there is a second item table.
    fn has_second_table(&self) -> bool {
        self.mixes() && self.history_apart
    }
}

impl ModelConfig for Simplex {
    fn kind(&self) -> &'static str {
        "simplex"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(SimplexModel::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let tables = if self.has_second_table() { 2 } else { 1 };
        let rows = (n_users + tables * n_items) as u64;
        // The cases and the sampler; histories, the weights of their items, and their users.
        let per_interaction = if self.mixes() { 48 } else { 32 };
        // Tables, unit vectors, and the best model so far; a batch's scores and vectors.
        4 * rows * padded(self.dim) * (self.training().width() + 2)
            + per_interaction * n_interactions as u64
            + 4 * self.training().vectors(&self.loss) * 8
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["init_std", "loss", "optimizer", "final_rate", "train"]
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
}
