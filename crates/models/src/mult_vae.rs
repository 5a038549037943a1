//! Mult-VAE and Mult-DAE: autoencoders of users' histories with a multinomial likelihood (Liang, Krishnan, Hoffman & Jebara,
//! "Variational Autoencoders for Collaborative Filtering", WWW 2018).
//!
//! With x a history as a row of zeros and ones, divided by its length (L2) and, in training, with dropout:
//! - h = tanh(x W1 + b1), `hidden` numbers;
//! - Mult-VAE (`variational`): mu and ln sigma^2 = h W2 + b2, `latent` numbers each; z = mu + sigma * noise in training, mu
//!   afterwards. Mult-DAE: z = tanh(h W2 + b2);
//! - g = tanh(z W3 + b3), `hidden` numbers; the score of item j is g . W4_j + b4_j.
//!
//! The loss of a row is that of the objective, its own being the multinomial likelihood of the history
//! ([`crate::multinomial`]), plus, for Mult-VAE, beta times the divergence of N(mu, sigma^2) from N(0, 1), summed over
//! z. beta rises linearly over the first `anneal_steps` steps, up to `beta` (their section 2.2.2). A batch's step
//! follows the mean of its rows.
//!
//! Nothing is kept of single users: everybody, known or new, is answered from the history alone. As the answer is a product
//! with W4, everything that factored models can is for this one too.
//!
//! Differs from the authors' code:
//! - biases begin at 0 (theirs: normal, 0.001), weights as theirs uniform within +-sqrt(6 / (inputs + outputs));
//! - Adam is dense in theirs. Here W1's rows that no history of a batch names rest in the default mode; the rest of
//!   the parameters takes every step in any mode;
//! - an item counts once in a history, however often it stands there;
//! - dropout's probability is rounded to a multiple of 2^-16; its masks and the noise depend on seed, epoch and case alone.

mod coder;
mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::multinomial::Multinomial;
pub(crate) use learner::VaeLearner;
use model::Net;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Interactions, Learner, Model, Objective, Plan, Recipe, Result, Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// An autoencoder of histories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultVae {
    /// Numbers in each of the two layers between the items and the code.
    pub hidden: usize,
    /// Numbers in the code.
    pub latent: usize,
    /// Mult-VAE; else Mult-DAE.
    pub variational: bool,
    /// Probability that an item of a history is dropped in training.
    pub dropout: f64,
    /// The divergence's weight once it has risen; of no use without `variational`.
    pub beta: f64,
    /// Over how many steps it rises; 0 = it is there from the first.
    pub anneal_steps: usize,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// The learning rate of the plan's last epoch as a share of the first's; it falls linearly from the one to the other. 1 =
    /// it stays.
    pub final_rate: f64,
    /// How long, and in what portions.
    pub train: Plan,
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
            optimizer: Optimizer::Adam(Adam::default()),
            final_rate: 1.0,
            train: Plan { epochs: 200, batch_size: 500, ..Plan::default() },
        }
    }
}

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: MultVae = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl MultVae {
    pub(crate) fn check(&self) -> Result<()> {
        for (key, value) in [("hidden", self.hidden), ("latent", self.latent)] {
            if !(1..=MOST_NUMBERS).contains(&value) {
                let problem = format!("must be from 1 to {MOST_NUMBERS}, is {value}");
                return Err(crate::invalid(key, problem));
            }
        }
        if !(0.0..=0.999).contains(&self.dropout) {
            let problem = format!("must be from 0 to 0.999, is {}", self.dropout);
            return Err(crate::invalid("dropout", problem));
        }
        if !(self.beta >= 0.0 && self.beta.is_finite()) {
            let problem = format!("must be at least 0, is {}", self.beta);
            return Err(crate::invalid("beta", problem));
        }
        crate::lr_schedule::check(self.final_rate)?;
        self.optimizer.check().map_err(|problem| crate::invalid("optimizer", problem))
    }

    /// A learner of so many items, with random parameters.
    pub(crate) fn first(&self, n_items: usize, seed: u64) -> VaeLearner {
        VaeLearner::new(self, Net::random(self, n_items, seed))
    }

    /// One that goes on from [`Learner::state`].
    pub(crate) fn resumed(&self, n_items: usize, state: &Tensors) -> Result<VaeLearner> {
        Ok(VaeLearner::new(self, Net::resumed(self, n_items, state)?))
    }

    /// The divergence's weight at a step, counted from 0.
    fn beta_at(&self, step: u32) -> f32 {
        let risen = match self.anneal_steps {
            _ if !self.variational => 0.0,
            0 => 1.0,
            steps => (f64::from(step) / steps as f64).min(1.0),
        };
        (self.beta * risen) as f32
    }
}

/// Wider layers were never of any use.
const MOST_NUMBERS: usize = 8192;

impl Trainable for MultVae {
    fn plan(&self) -> &Plan {
        &self.train
    }

    fn cases(&self, train: &Interactions) -> Cases {
        Cases::per_user(train)
    }

    fn objective(&self, _train: &Interactions) -> Box<dyn Objective> {
        Box::new(Multinomial)
    }

    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(self.first(train.n_items(), seed)))
    }

    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        self.check()?;
        Ok(Box::new(self.resumed(train.n_items(), state)?))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(Net::loaded(self, tensors)?))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn memory(&self, _n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let kept = match &self.optimizer {
            Optimizer::Sgd(_) => 1,
            Optimizer::Adam(_) => 3,
        };
        let (hidden, rows) = ((self.hidden + 17) as u64, n_items as u64);
        let batch = self.train.batch_size as u64;
        // Both tables; the best model so far; all items' gradients; a batch's scores and layers; the cases.
        4 * (2 * rows * hidden * (kept + 1) + rows * hidden)
            + 4 * batch * (rows + 8 * (hidden + self.latent as u64))
            + 8 * n_interactions as u64
    }
}
