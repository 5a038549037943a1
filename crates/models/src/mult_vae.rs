//! Mult-VAE and Mult-DAE: autoencoders of users' histories with a multinomial likelihood (Liang, Krishnan,
//! Hoffman & Jebara, "Variational Autoencoders for Collaborative Filtering", WWW 2018).
//!
//! With x a history as a binary vector, L2-normalised and, in training, with dropout:
//! - h = tanh(x W1 + b1), of width `hidden`;
//! - Mult-VAE (`variational`): mu and ln sigma^2 = h W2 + b2, of width `latent` each; z = mu + sigma * noise in
//!   training, mu afterwards. Mult-DAE: z = tanh(h W2 + b2);
//! - g = tanh(z W3 + b3), of width `hidden`; the score of item j is g . W4_j + b4_j.
//!
//! A row's loss is that of the objective, by default the multinomial likelihood of the history
//! ([`crate::parts::multinomial`]), plus, for Mult-VAE, beta times the divergence of N(mu, sigma^2) from N(0,
//! 1), summed over z. beta rises linearly to `beta` over the first `anneal_steps` steps (their section 2.2.2).
//! A step follows the mean over the rows of the batch.
//!
//! No user has parameters: known and new users alike are scored from their history. As the score is a product
//! with W4, all that factored models offer works for this one too.
//!
//! Differs from the authors' code:
//! - Biases are initialised to 0 (theirs: normal, 0.001); weights, as theirs, uniform within +-sqrt(6 / (inputs
//!   + outputs)).
//! - Their Adam is dense. Here, in the default mode, rows of W1 that occur in no history of a batch do not
//!   move; all other parameters take every step in every mode.
//! - An item counts once in a history, however often it occurs there.
//! - The dropout probability is rounded to a multiple of 2^-16; masks and noise depend on seed, epoch and case
//!   alone.

mod coder;
mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::parts::multinomial::Multinomial;
use crate::parts::settings::{self, Checked, gradient_recipe};
pub(crate) use learner::VaeLearner;
use model::MultVaeModel;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{
    Cases, Interactions, Learner, Model, ModelConfig, Objective, Plan, Rest, Result, Tensors,
    Trainable,
};
use std::sync::Arc;

gradient_recipe! {
    /// An autoencoder of histories.
    pub struct MultVae {
        /// Width of the two layers between the items and the code.
        pub hidden: usize,
        /// Width of the code.
        pub latent: usize,
        /// Mult-VAE; otherwise Mult-DAE.
        pub variational: bool,
        /// Probability that an item of a history is dropped in training.
        pub dropout: f64,
        /// Final weight of the divergence; without effect unless `variational`.
        pub beta: f64,
        /// Number of steps over which that weight rises; 0 = it is constant.
        pub anneal_steps: usize,
        /// How the likelihood's sum over the items outside a history is computed; left out, the size of the catalogue decides.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub rest: Option<Rest>,
    }
}

impl Default for MultVae {
    /// The authors' sizes.
    fn default() -> Self {
        Self {
            hidden: 600,
            latent: 200,
            variational: true,
            dropout: 0.5,
            beta: 0.2,
            anneal_steps: 2000,
            rest: None,
            optimizer: Optimizer::Adam(Adam::default()),
            final_rate: 1.0,
            train: Plan { epochs: 200, batch_size: 500, ..Plan::default() },
        }
    }
}

impl Checked for MultVae {
    fn check(&self) -> Result<()> {
        settings::within("hidden", self.hidden, 1..=MAX_WIDTH)?;
        settings::within("latent", self.latent, 1..=MAX_WIDTH)?;
        settings::dropout(self.dropout)?;
        settings::not_negative("beta", self.beta)?;
        self.rest.map_or(Ok(()), Rest::check)?;
        self.training().check()
    }
}

/// Wider layers were never of any use.
const MAX_WIDTH: usize = 8192;

impl MultVae {
    /// A learner with random parameters.
    pub(crate) fn random(&self, n_items: usize, seed: u64) -> VaeLearner {
        VaeLearner::new(self, MultVaeModel::random(self, n_items, seed))
    }

    /// A learner that resumes from [`Learner::state`].
    pub(crate) fn resumed(&self, n_items: usize, state: &Tensors) -> Result<VaeLearner> {
        Ok(VaeLearner::new(self, MultVaeModel::resumed(self, n_items, state)?))
    }

    /// The weight of the divergence at a 0-based step.
    fn beta_at(&self, step: u32) -> f32 {
        let risen = match self.anneal_steps {
            _ if !self.variational => 0.0,
            0 => 1.0,
            steps => (f64::from(step) / steps as f64).min(1.0),
        };
        (self.beta * risen) as f32
    }
}

impl ModelConfig for MultVae {
    fn kind(&self) -> &'static str {
        "mult_vae"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(MultVaeModel::loaded(self, tensors)?))
    }

    fn memory(&self, _n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let (hidden, rows) = ((self.hidden + 17) as u64, n_items as u64);
        let batch = self.train.batch_size as u64;
        // Both tables; the best model so far; all items' gradients; a batch's scores and layers; the cases.
        4 * (2 * rows * hidden * (self.training().width() + 1) + rows * hidden)
            + 4 * batch * (rows + 8 * (hidden + self.latent as u64))
            + 8 * n_interactions as u64
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["optimizer", "final_rate", "train"]
    }
}

impl Trainable for MultVae {
    fn plan(&self) -> &Plan {
        &self.train
    }

    fn cases(&self, train: &Interactions) -> Cases {
        Cases::per_user(train)
    }

    fn objective(&self, train: &Interactions) -> Box<dyn Objective> {
        Rest::around(self.rest, Box::new(Multinomial), train.n_items(), train.n_users())
    }

    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(self.random(train.n_items(), seed)))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(self.resumed(train.n_items(), state)?))
    }
}
