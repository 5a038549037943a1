//! The item-side autoencoder: Mult-VAE or Mult-DAE ([`crate::mult_vae`]) of items, each of which is the row of its users. The
//! rows of AutoRec-I (Sedhain et al., "AutoRec: Autoencoders Meet Collaborative Filtering", WWW 2015) with the likelihood of
//! Liang et al. (WWW 2018), as in ConCF (Kang et al., WWW 2022), whose authors' HetComp calls such a teacher "I-AE".
//!
//! A case is an item; its query is the users who acted on it, and the network says how likely each user is to be the one
//! who acts: P(u | i) = e^s_ui / sum over users v of e^s_vi. What a user is to be shown is decided between items, so
//! scores of different rows must compare: an item's score for a user is ln P(u | i) + `popularity` ln(1 + n_i), with n_i the
//! item's training interactions. With `popularity` 1 that is, but for the 1 that keeps items without any interaction finite,
//! the logarithm of the joint probability P(u | i) P(i), by which Bayes' rule ranks items for a user.
//!
//! Once trained, the network has said of every item what it will ever say, so the model is a product: a user's vector is the
//! user's row of the last layer, an item's is the layer before it (and what is the item's own as a last column). What is the
//! user's own (the last layer's bias) does not change the order of a user's items, and is left out. A user who was not there
//! in training is folded in by the history: see `fold_in.rs`.
//!
//! With the default settings on CiteULike-t (HetComp's split; training and validation items masked, seed 1) Recall@50 is .210,
//! .268 and .273 after 10, 20 and 30 epochs; with `popularity` 0.5 it is .211 and .257 after 10 and 20.
//!
//! It can teach, but be no student: distillers speak of queries and the items that they are answered with.

mod model;
#[cfg(test)]
mod tests;

use crate::mult_vae::{MultVae, VaeLearner};
use crate::multinomial::Multinomial;
use model::{Decoded, DecodingLearner};
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::train::train;
use rankstill_core::{
    Cases, Fit, Interactions, ItemId, Learner, Lists, Model, Objective, Plan, Recipe, Result,
    Tensors, Trainable,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// An autoencoder of items' users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemAe {
    /// Numbers in each of the two layers between the users and the code.
    pub hidden: usize,
    /// Numbers in the code.
    pub latent: usize,
    /// Mult-VAE; else Mult-DAE.
    pub variational: bool,
    /// Probability that a user of an item is dropped in training.
    pub dropout: f64,
    /// The divergence's weight once it has risen; of no use without `variational`.
    pub beta: f64,
    /// Over how many steps it rises; 0 = it is there from the first.
    pub anneal_steps: usize,
    /// How much an item's popularity counts against how well its users foretell a user.
    pub popularity: f64,
    /// How parameters follow their gradient.
    pub optimizer: Optimizer,
    /// The learning rate of the plan's last epoch as a share of the first's; it falls linearly from the one to the other. 1 =
    /// it stays.
    pub final_rate: f64,
    /// How long, and in what portions; a batch is of items.
    pub train: Plan,
}

impl Default for ItemAe {
    /// What the module's figures were reached with. Items have few users, and are many: layers are narrower, and batches smaller, than
    /// those of Mult-VAE.
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

pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    let recipe: ItemAe = config.read_over_default()?;
    crate::located(config, recipe.check())?;
    Ok(Box::new(recipe))
}

impl ItemAe {
    fn check(&self) -> Result<()> {
        if !(self.popularity >= 0.0 && self.popularity.is_finite()) {
            let problem = format!("must be at least 0, is {}", self.popularity);
            return Err(crate::invalid("popularity", problem));
        }
        self.network().check()
    }

    /// The network that learns, to which items are users and users items.
    fn network(&self) -> MultVae {
        MultVae {
            hidden: self.hidden,
            latent: self.latent,
            variational: self.variational,
            dropout: self.dropout,
            beta: self.beta,
            anneal_steps: self.anneal_steps,
            optimizer: self.optimizer.clone(),
            final_rate: self.final_rate,
            train: self.train.clone(),
        }
    }
}

impl Recipe for ItemAe {
    fn fit(&self, log: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let items = Arc::new(transposed(log)?);
        let cases = Cases::per_user(&items);
        train(&OfItems(self, self.network()), &items, &cases, Box::new(Multinomial), fit)
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(Decoded::loaded(self, tensors)?))
    }

    fn config(&self) -> Value {
        crate::settings(self)
    }

    fn training_plan(&self) -> Option<&Plan> {
        Some(&self.train)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let decoded = 8 * (n_users + n_items) as u64 * (self.hidden as u64 + 17);
        Trainable::memory(&self.network(), n_items, n_users, n_interactions) + decoded
    }
}

/// Who acted on an item, for all items, in the order of the users.
fn transposed(log: &Interactions) -> Result<Interactions> {
    let mut users: Vec<Vec<ItemId>> = vec![Vec::new(); log.n_items()];
    for (user, item, _) in log.iter() {
        users[item as usize].push(user);
    }
    Interactions::new(log.n_users(), Lists::from_iter(users), None, None)
}

/// The recipe as the training loop needs it; all its logs are transposed.
struct OfItems<'a>(&'a ItemAe, MultVae);

impl OfItems<'_> {
    fn decoding(&self, items: &Arc<Interactions>, inner: VaeLearner) -> Box<dyn Learner> {
        Box::new(DecodingLearner::new(self.0, inner, items))
    }
}

impl Trainable for OfItems<'_> {
    fn plan(&self) -> &Plan {
        &self.0.train
    }

    fn cases(&self, items: &Interactions) -> Cases {
        self.1.cases(items)
    }

    fn objective(&self, items: &Interactions) -> Box<dyn Objective> {
        self.1.objective(items)
    }

    fn init(&self, items: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        Ok(self.decoding(items, self.1.first(items.n_items(), seed)))
    }

    fn resume(&self, items: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        Ok(self.decoding(items, self.1.resumed(items.n_items(), state)?))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Recipe::load(self.0, tensors)
    }

    fn config(&self) -> Value {
        Recipe::config(self.0)
    }

    fn memory(&self, n_items: usize, n_users: usize, n_interactions: usize) -> u64 {
        Recipe::memory(self.0, n_users, n_items, n_interactions)
    }
}
