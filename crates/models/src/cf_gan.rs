//! CFGAN: a generator of histories and a discriminator of real and generated ones (Chae, Kang, Kim, Lee, "CFGAN: a generic
//! collaborative filtering framework based on generative adversarial networks", CIKM 2018).
//!
//! A row r is a user's history as a binary vector, or with `by = "items"` an item's users. The generator G and the
//! discriminator D have one hidden layer of sigmoids each; the row itself is the condition of both:
//!
//! ```text
//! x   = G(r) * (r + k)                                    k: a random share of what r lacks (partial masking)
//! L_D = softplus(-D(r, r)) + softplus(D(r, x))
//! L_G = adversary softplus(-D(r, x)) + zeros |G(r) * n|^2 + ones |(1 - G(r)) * r|^2
//! ```
//!
//! with n another random share of what r lacks (zero reconstruction). k and n are drawn anew for every epoch and row. A score is
//! G's output. In item mode the outputs of all items are computed once, and a user's row of the last layer is the user's
//! vector; new users are folded in (`parts/fold_in.rs`). In user mode users have no parameters.
//!
//! The paper has `ones` = 0; its code minimises softplus(-D) where the paper writes ln(1 - D), and so does this. What the
//! published figures rest on is open: a replication (Perez Maurera, Ferrari Dacrema, Cremonesi, "An evaluation study of
//! generative adversarial networks for collaborative filtering", ECIR 2022) reached them, but found that a generator without
//! noise whose condition is the row to be generated can settle on the identity, and that CFGAN is not consistently above tuned
//! simple baselines. `adversary = 0` with `ones = 1` trains the same generator as a plain autoencoder, to compare with.
//!
//! Differs from the authors' code:
//! - Both networks take their steps on the same batch, D first, and not on passes of their own with batches of their own.
//! - Elements of k and n are drawn one by one with their probability, not an exact number of them.
//! - An epoch here is one pass; theirs counts the generator's passes.
//!
//! It can be a teacher but not a student: its loss is not one of scores.

mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::item_cf::up_to;
use crate::parts::baskets::transposed;
use crate::parts::own_loss::OwnTraining;
use crate::parts::settings::{self, Checked, gradient_recipe, padded};
use learner::GanLearner;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{
    Fit, Interactions, Learner, Model, ModelConfig, Plan, Recipe, Result, Tensors,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

gradient_recipe! {
    /// A generator of histories, trained against a discriminator. The optimiser is the generator's.
    pub struct CfGan {
        /// Whose rows are generated.
        pub by: By,
        /// Width of the generator's hidden layer.
        pub hidden: usize,
        /// Steps of the generator for each batch.
        pub steps: usize,
        /// The discriminator.
        pub discriminator: Discriminator,
        /// Probability that what a row lacks is shown to the discriminator.
        pub partial_masking: f64,
        /// Probability that what a row lacks is to be generated as 0.
        pub zero_reconstruction: f64,
        /// Weight of that.
        pub zeros: f64,
        /// Weight of the squared distance of the row's own entries from 1.
        pub ones: f64,
        /// Weight of the discriminator's verdict; 0 = no discriminator.
        pub adversary: f64,
    }
}

/// What the generator is trained against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discriminator {
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Steps for each batch.
    pub steps: usize,
    /// How its parameters follow their gradients.
    pub optimizer: Optimizer,
}

impl Default for Discriminator {
    fn default() -> Self {
        Self { hidden: 125, steps: 1, optimizer: slow(0.0) }
    }
}

/// Whose rows are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The items of each user.
    Users,
    /// The users of each item.
    Items,
}

impl Default for CfGan {
    /// The settings of the replication for MovieLens 100K.
    fn default() -> Self {
        Self {
            by: By::Items,
            hidden: 400,
            steps: 2,
            discriminator: Discriminator::default(),
            partial_masking: 0.7,
            zero_reconstruction: 0.7,
            zeros: 0.03,
            ones: 0.0,
            adversary: 1.0,
            optimizer: slow(1e-3),
            final_rate: 1.0,
            train: Plan { epochs: 300, batch_size: 32, ..Plan::default() },
        }
    }
}

/// Adam as the authors use it; `weight_decay` is their reg.
fn slow(weight_decay: f64) -> Optimizer {
    Optimizer::Adam(Adam { learning_rate: 1e-4, weight_decay, ..Adam::default() })
}

impl Checked for CfGan {
    fn check(&self) -> Result<()> {
        settings::within("hidden", self.hidden, 1..=MAX_WIDTH)?;
        settings::within("steps", self.steps, 1..=1000)?;
        settings::within("discriminator.hidden", self.discriminator.hidden, 1..=MAX_WIDTH)?;
        settings::within("discriminator.steps", self.discriminator.steps, 1..=1000)?;
        let optimizer = self.discriminator.optimizer.check();
        optimizer.map_err(|problem| settings::invalid("discriminator.optimizer", problem))?;
        settings::within("partial_masking", self.partial_masking, 0.0..=1.0)?;
        settings::within("zero_reconstruction", self.zero_reconstruction, 0.0..=1.0)?;
        for (key, weight) in
            [("zeros", self.zeros), ("ones", self.ones), ("adversary", self.adversary)]
        {
            up_to(key, weight, 1e6)?;
        }
        let pulled = self.adversary > 0.0 || self.ones > 0.0;
        settings::must(pulled, "adversary", "above 0 where `ones` is 0", self.adversary)?;
        self.training().check()
    }
}

/// Wider layers were never of any use.
const MAX_WIDTH: usize = 8192;

impl ModelConfig for CfGan {
    fn kind(&self) -> &'static str {
        "cf_gan"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        match self.by {
            By::Users => Ok(Box::new(model::OfUsers::loaded(self, tensors)?)),
            By::Items => Ok(Box::new(model::OfItems::loaded(self, tensors)?)),
        }
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let columns = padded(if self.by == By::Users { n_items } else { n_users });
        let (hidden, other) = (padded(self.hidden), padded(self.discriminator.hidden));
        let batch = self.train.batch_size as u64;
        // Both networks with their optimisers, gradients and transposes; a batch's rows; a saved generator.
        4 * columns * (10 * hidden + 10 * other + 12 * batch)
            + 4 * (n_users + n_items) as u64 * 2 * hidden
            + 16 * n_interactions as u64
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["optimizer", "final_rate", "train"]
    }
}

impl Recipe for CfGan {
    fn fit(&self, log: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        match self.by {
            By::Users => self.fit_rows(log, fit),
            By::Items => self.fit_rows(&Arc::new(transposed(log)?), fit),
        }
    }

    fn training_plan(&self) -> Option<&Plan> {
        Some(&self.train)
    }
}

impl OwnTraining for CfGan {
    fn own_plan(&self) -> &Plan {
        &self.train
    }

    fn random(&self, rows: &Arc<Interactions>, seed: u64) -> Box<dyn Learner> {
        Box::new(GanLearner::random(self, rows, seed))
    }

    fn resumed(&self, rows: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        Ok(Box::new(GanLearner::resumed(self, rows, state)?))
    }
}
