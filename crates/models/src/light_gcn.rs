//! LightGCN: matrix factorisation whose embeddings are smoothed over the user-item graph (He et al., SIGIR
//! 2020, arXiv 2002.02126).
//!
//! Every user and item has a layer-0 embedding e(0); these are the only parameters. A layer propagates to the
//! neighbours: e(k+1)_u = sum over u's items i of e(k)_i / sqrt(d_u d_i), and likewise for items, with d the
//! number of neighbours (eq. 3). The final embedding is the mean of the layers 0..L (alpha_k = 1 / (L + 1) in
//! eq. 4, the paper's choice), and the score a dot product. It trains with any sampled loss of
//! [`crate::parts::loss`] (the paper uses BPR) and, as a student, with any objective.
//!
//! - The gradient flows back through all layers, to every user and item within L hops of the batch. Adam
//!   therefore steps every row at every step, and its modes coincide here.
//! - `l2` is the paper's penalty: the squared layer-0 embeddings of a batch's users and listed items, once per
//!   occurrence. No item is listed where an objective needs the scores of all items (`Slate::All`). The
//!   reported loss leaves it out.
//! - Repeated interactions are one edge, as in the authors' code.
//! - The final embeddings are saved: scoring is a dot product and needs no graph.
//!
//! Not in the paper: a new user's embedding is the normalised sum of the final embeddings of their items, sum
//! over i in H of e_i / sqrt(|H| d_i): one more layer, as if they had entered the graph with a layer-0
//! embedding of 0. A user without a history gets the mean user embedding.

mod layers;
mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::parts::loss::{Loss, Sampled};
use crate::parts::settings::{self, Checked, gradient_recipe, padded};
use learner::LightGcnLearner;
use model::LightGcnModel;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Result, Sampling, Tensors,
    Trainable,
};
use std::sync::Arc;

gradient_recipe! {
    /// Matrix factorisation smoothed over the user-item graph.
    pub struct LightGcn {
        /// Number of dimensions of the embeddings.
        pub dim: usize,
        /// L, the number of propagation layers. Without any this would be BPR-MF.
        pub layers: usize,
        /// Standard deviation of the initial embeddings, which are normally distributed.
        pub init_std: f64,
        /// The loss when no distiller sets another.
        pub loss: Loss,
        /// Penalty on the layer-0 embeddings of a batch's users and items: half their squared norm, once per
        /// occurrence.
        pub l2: f64,
    }
}

impl Default for LightGcn {
    fn default() -> Self {
        Self {
            dim: 64,
            layers: 3,
            init_std: 0.1,
            loss: Loss::default(),
            l2: 1e-4,
            optimizer: Optimizer::Adam(Adam { learning_rate: 5e-3, ..Adam::default() }),
            final_rate: 1.0,
            train: Plan { epochs: 200, sampling: Sampling::Users, ..Plan::default() },
        }
    }
}

impl Checked for LightGcn {
    fn check(&self) -> Result<()> {
        settings::within("dim", self.dim, 1..=4096)?;
        settings::within("layers", self.layers, 1..=16)?;
        settings::positive("init_std", self.init_std)?;
        settings::not_negative("l2", self.l2)?;
        self.training().check()?;
        self.loss.check()
    }
}

impl ModelConfig for LightGcn {
    fn kind(&self) -> &'static str {
        "light_gcn"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(LightGcnModel::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let (stride, nodes) = (padded(self.dim), (n_users + n_items) as u64);
        // The parameters, the final embeddings, two layers and the best model so far; the graph, the cases and
        // the sampler; a batch's vectors and their gradients.
        4 * nodes * stride * (self.training().width() + 4)
            + 44 * n_interactions as u64
            + 8 * self.training().vectors(&self.loss) * (stride + 8)
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["init_std", "loss", "optimizer", "final_rate", "train"]
    }
}

impl Trainable for LightGcn {
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
        Ok(Box::new(LightGcnLearner::random(self, train, seed)))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(LightGcnLearner::resumed(self, train, state)?))
    }
}
