//! DiffRec: a denoiser of noisy histories, applied a few times (Wang, Xu, Feng, Lin, He, Chua, "Diffusion recommender model",
//! SIGIR 2023).
//!
//! The history x_0 is a binary vector. With a_t falling from 1 as the step t rises to T,
//!
//! ```text
//! x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise
//! 1 - a_t = scale (least + (t - 1) / (T - 1) (most - least))
//! ```
//!
//! and a network with one hidden layer (tanh) predicts x_0 from x_t (with dropout) and the sines and cosines of t. A row's loss
//! is w_t times the mean squared error, w_1 = 1, w_t = a_{t-1} / (1 - a_{t-1}) - a_t / (1 - a_t). t is drawn uniformly until
//! every t has ten losses, then in proportion to the root mean square of its last ten, and the loss is divided by T times t's
//! probability.
//!
//! A ranking starts from the history without noise as x_T, and takes the mean of x_{t-1} given x_t and the prediction for t = T,
//! .., 1; the last of these is the prediction itself, so the score of an item is a product of the last hidden layer with the
//! item's row of the output layer: the model is factored. No user has parameters.
//!
//! The noise is small (a variance of `scale` times `most`: 5e-7 with the authors' settings for Amazon-book), so what is learnt is
//! a denoising autoencoder, mostly by its dropout. A reproduction of nine diffusion recommenders (arXiv 2505.09364) found a
//! quarter of the published results again, and tuned simple models above them.
//!
//! Differs from the authors' code: the sines and cosines go straight into the hidden layer (theirs pass another linear layer
//! first, which adds nothing before a linear one); biases start at 0; L-DiffRec and T-DiffRec are left out. It can be a teacher
//! but not a student: its loss is not one of scores.

mod learner;
mod model;
#[cfg(test)]
mod tests;

use crate::item_cf::up_to;
use crate::parts::own_loss::OwnTraining;
use crate::parts::settings::{self, Checked, gradient_recipe, padded};
use learner::DiffLearner;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{
    Fit, Interactions, Learner, Model, ModelConfig, Plan, Recipe, Result, Tensors,
};
use std::sync::Arc;

gradient_recipe! {
    /// A denoiser of histories.
    pub struct DiffRec {
        /// Width of the hidden layer.
        pub hidden: usize,
        /// T: the number of noise levels, and of passes for a ranking.
        pub steps: usize,
        /// Factor of all variances of the noise.
        pub scale: f64,
        /// Its variance at the first level, before that factor.
        pub least: f64,
        /// At the last.
        pub most: f64,
        /// Probability that an element of the noisy history is dropped in training.
        pub dropout: f64,
    }
}

impl Default for DiffRec {
    /// The authors' settings for Amazon-book, with a narrower layer and a larger learning rate.
    fn default() -> Self {
        let optimizer = Adam { learning_rate: 1e-3, ..Adam::default() };
        Self {
            hidden: 400,
            steps: 5,
            scale: 1e-4,
            least: 5e-4,
            most: 5e-3,
            dropout: 0.5,
            optimizer: Optimizer::Adam(optimizer),
            final_rate: 1.0,
            train: Plan { epochs: 100, batch_size: 400, ..Plan::default() },
        }
    }
}

impl Checked for DiffRec {
    fn check(&self) -> Result<()> {
        settings::within("hidden", self.hidden, 1..=8192)?;
        settings::within("steps", self.steps, 1..=1000)?;
        settings::dropout(self.dropout)?;
        for (key, value) in [("scale", self.scale), ("least", self.least), ("most", self.most)] {
            settings::positive(key, value)?;
        }
        settings::must(self.most >= self.least, "most", "at least `least`", self.most)?;
        let variance = self.scale * self.most;
        up_to("scale", self.scale, 1.0)?;
        settings::must(variance < 1.0, "most", "below 1 / `scale`", self.most)?;
        self.training().check()
    }
}

/// One noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level {
    /// sqrt(a_t) and sqrt(1 - a_t).
    signal: f64,
    noise: f64,
    /// The mean of x_{t-1} is `predicted` times the prediction plus `kept` times x_t.
    predicted: f64,
    kept: f64,
    /// w_t.
    weight: f64,
}

/// The increment from x_0 to x_1, which the authors fix.
const FIRST: f64 = 1e-5;

impl DiffRec {
    /// The levels of t = 1, .., T.
    fn levels(&self) -> Vec<Level> {
        let share = |t: usize| t as f64 / (self.steps.max(2) - 1) as f64;
        let planned =
            |t: usize| 1.0 - self.scale * (self.least + share(t) * (self.most - self.least));
        let mut before = 1.0;
        let levels = (0..self.steps).map(|t| {
            let increment = match t {
                0 => FIRST,
                t => (1.0 - planned(t) / planned(t - 1)).min(0.999),
            };
            let now = before * (1.0 - increment);
            let level = Level {
                signal: now.sqrt(),
                noise: (1.0 - now).sqrt(),
                predicted: increment * before.sqrt() / (1.0 - now),
                kept: (1.0 - before) * (1.0 - increment).sqrt() / (1.0 - now),
                weight: match t {
                    0 => 1.0,
                    _ => before / (1.0 - before) - now / (1.0 - now),
                },
            };
            before = now;
            level
        });
        levels.collect()
    }
}

impl ModelConfig for DiffRec {
    fn kind(&self) -> &'static str {
        "diff_rec"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(model::Denoiser::loaded(self, tensors)?))
    }

    fn memory(&self, _n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let (hidden, batch) = (padded(self.hidden), self.train.batch_size as u64);
        // Both layers with their optimiser, gradient, transpose and a saved model; a batch's rows.
        4 * padded(n_items) * (2 * hidden * (self.training().width() + 3) + 3 * batch)
            + 8 * n_interactions as u64
    }

    fn training_keys(&self) -> &'static [&'static str] {
        &["optimizer", "final_rate", "train"]
    }
}

impl Recipe for DiffRec {
    fn fit(&self, log: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        self.fit_rows(log, fit)
    }

    fn training_plan(&self) -> Option<&Plan> {
        Some(&self.train)
    }
}

impl OwnTraining for DiffRec {
    fn own_plan(&self) -> &Plan {
        &self.train
    }

    fn random(&self, log: &Arc<Interactions>, seed: u64) -> Box<dyn Learner> {
        Box::new(DiffLearner::random(self, log.n_items(), seed))
    }

    fn resumed(&self, log: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        Ok(Box::new(DiffLearner::resumed(self, log.n_items(), state)?))
    }
}
