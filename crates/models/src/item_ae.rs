//! The item-side autoencoder: Mult-VAE or Mult-DAE ([`crate::mult_vae`]) of items, each represented by the
//! users who acted on it. It combines the rows of AutoRec-I (Sedhain et al., "AutoRec: Autoencoders Meet
//! Collaborative Filtering", WWW 2015) with the likelihood of Liang et al. (WWW 2018), as ConCF does (Kang et
//! al., WWW 2022), whose authors' HetComp calls such a teacher "I-AE".
//!
//! A case is an item and its query the item's users. The network models which user acts next: P(u | i) = e^s_ui
//! / sum over users v of e^s_vi. A user's ranking compares items, so the scores of different rows must be
//! comparable: the score of item i for user u is ln P(u | i) + `popularity` ln(1 + n_i), with n_i the item's
//! training interactions. With `popularity` 1 this is the logarithm of the joint probability P(u | i) P(i), by
//! which Bayes' rule ranks items for a user, apart from the 1 that keeps items without interactions finite.
//!
//! Once trained, the network's output for an item is fixed, so the model is a product: a user's vector is the
//! user's row of the last layer, an item's vector is the layer before it (with the item's own term as a last
//! column). The user's own term (the last layer's bias) does not change the order of the user's items and is
//! left out. A user who was not in training is folded in from the history: see `parts/fold_in.rs`.
//!
//! With the default settings on CiteULike-t (HetComp's split; training and validation items masked, seed 1)
//! Recall@50 is .210, .268 and .273 after 10, 20 and 30 epochs; with `popularity` 0.5 it is .211 and .257 after
//! 10 and 20.
//!
//! It can be a teacher but not a student: distillers work on queries of users and rankings of items.

mod model;
#[cfg(test)]
mod tests;

use crate::mult_vae::{MultVae, VaeLearner};
use crate::parts::baskets::transposed;
use crate::parts::multinomial::Multinomial;
use crate::parts::settings::{self, Checked, Training, gradient_recipe};
use model::{Decoded, DecodingLearner};
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::train::train;
use rankstill_core::{
    Cases, Fit, Interactions, Learner, Model, ModelConfig, Objective, Plan, Recipe, Result,
    Tensors, Trainable,
};
use serde::Serialize;
use std::sync::Arc;

gradient_recipe! {
    /// An autoencoder of the items' users. Its batches are batches of items.
    pub struct ItemAe {
        /// Width of the two layers between the users and the code.
        pub hidden: usize,
        /// Width of the code.
        pub latent: usize,
        /// Mult-VAE; otherwise Mult-DAE.
        pub variational: bool,
        /// Probability that a user of an item is dropped in training.
        pub dropout: f64,
        /// Final weight of the divergence; without effect unless `variational`.
        pub beta: f64,
        /// Number of steps over which that weight rises; 0 = it is constant.
        pub anneal_steps: usize,
        /// Weight of an item's popularity against the likelihood of the user.
        pub popularity: f64,
    }
}

impl Default for ItemAe {
    /// The settings of the module's figures. Items are many and have few users, so layers are narrower and
    /// batches smaller than those of Mult-VAE.
    fn default() -> Self {
        Self {
            hidden: 128,
            latent: 64,
            variational: true,
            dropout: 0.5,
            beta: 0.2,
            anneal_steps: 4000,
            popularity: 1.0,
            optimizer: Optimizer::Adam(Adam::default()),
            final_rate: 1.0,
            train: Plan { epochs: 60, batch_size: 128, ..Plan::default() },
        }
    }
}

impl Checked for ItemAe {
    fn check(&self) -> Result<()> {
        settings::not_negative("popularity", self.popularity)?;
        self.network().check()
    }
}

impl ItemAe {
    /// The network, whose items are our users and whose users are our items.
    fn network(&self) -> MultVae {
        let Training { optimizer, final_rate, plan } = self.training();
        MultVae {
            hidden: self.hidden,
            latent: self.latent,
            variational: self.variational,
            dropout: self.dropout,
            beta: self.beta,
            anneal_steps: self.anneal_steps,
            rest: None,
            optimizer: optimizer.clone(),
            final_rate,
            train: plan.clone(),
        }
    }
}

impl ModelConfig for ItemAe {
    fn kind(&self) -> &'static str {
        "item_ae"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(Decoded::loaded(self, tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let decoded = 8 * (n_users + n_items) as u64 * (self.hidden as u64 + 17);
        self.network().memory(n_items, n_users, n_interactions) + decoded
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["optimizer", "final_rate", "train"]
    }
}

impl Recipe for ItemAe {
    fn fit(&self, log: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let users_of = Arc::new(transposed(log)?);
        let cases = Cases::per_user(&users_of);
        train(&OfItems(self, self.network()), &users_of, &cases, Box::new(Multinomial), fit)
    }

    fn training_plan(&self) -> Option<&Plan> {
        Some(&self.train)
    }
}

/// The recipe as the training loop needs it; all its logs are transposed.
#[derive(Serialize)]
#[serde(transparent)]
struct OfItems<'a>(&'a ItemAe, #[serde(skip)] MultVae);

impl OfItems<'_> {
    fn decoding(&self, users_of: &Arc<Interactions>, network: VaeLearner) -> Box<dyn Learner> {
        Box::new(DecodingLearner::new(self.0, network, users_of))
    }
}

impl ModelConfig for OfItems<'_> {
    fn kind(&self) -> &'static str {
        "item_ae"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.0.load(tensors)
    }

    fn memory(&self, n_items: usize, n_users: usize, n_interactions: usize) -> u64 {
        self.0.memory(n_users, n_items, n_interactions)
    }
}

impl Trainable for OfItems<'_> {
    fn plan(&self) -> &Plan {
        &self.0.train
    }

    fn cases(&self, users_of: &Interactions) -> Cases {
        self.1.cases(users_of)
    }

    fn objective(&self, users_of: &Interactions) -> Box<dyn Objective> {
        self.1.objective(users_of)
    }

    fn init(&self, users_of: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        Ok(self.decoding(users_of, self.1.random(users_of.n_items(), seed)))
    }

    fn resume(&self, users_of: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        Ok(self.decoding(users_of, self.1.resumed(users_of.n_items(), state)?))
    }
}
