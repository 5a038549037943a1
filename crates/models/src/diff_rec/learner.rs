//! Training: one step on noisy histories.

use super::model::{shape, write_time};
use super::{DiffRec, Level};
use crate::parts::multinomial::distinct;
use crate::parts::perceptron::{Perceptron, stride};
use rankstill_core::kernel::dropout::Dropout;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Error, Factored, Learner, Model, ModelConfig as _, Objective, Query, Result, Scorer,
    Slate, Tensors, state,
};
use rayon::prelude::*;
use std::sync::OnceLock;

/// The network, and the latest losses of each level.
pub(super) struct DiffLearner {
    recipe: DiffRec,
    levels: Vec<Level>,
    net: Perceptron,
    dropout: Dropout,
    /// `KEPT` for each level, the oldest first.
    losses: Vec<f32>,
    /// How many of these there are.
    n_losses: Vec<u32>,
    /// Computed at first use after a step.
    model: OnceLock<Box<dyn Model>>,
}

/// Losses kept for each level.
const KEPT: usize = 10;
/// Share of the draws of a level that stays uniform.
const UNIFORM: f64 = 0.001;
/// Random streams.
const INIT: u64 = 0x4449_4649;
const TIME: u64 = 0x4449_4654;
const NOISE: u64 = 0x4449_464e;
const DROPOUT: u64 = 0x4449_4644;

impl DiffLearner {
    fn new(recipe: &DiffRec, n_items: usize) -> Self {
        Self {
            recipe: recipe.clone(),
            levels: recipe.levels(),
            net: Perceptron::new(shape(recipe, n_items), &recipe.optimizer),
            dropout: Dropout::new(recipe.dropout),
            losses: vec![0.0; recipe.steps * KEPT],
            n_losses: vec![0; recipe.steps],
            model: OnceLock::new(),
        }
    }

    pub fn random(recipe: &DiffRec, n_items: usize, seed: u64) -> Self {
        let mut learner = Self::new(recipe, n_items);
        learner.net.randomise(0.0, |part| Rng::keyed(seed, [INIT, part]));
        learner
    }

    /// From [`Learner::state`].
    pub fn resumed(recipe: &DiffRec, n_items: usize, kept: &Tensors) -> Result<Self> {
        let mut learner = Self::new(recipe, n_items);
        learner.net.restore("net", &state::read(kept, "net")?)?;
        learner.losses = kept.f32s("losses", recipe.steps * KEPT)?.to_vec();
        learner.n_losses = kept.u32s("n_losses")?.to_vec();
        let odd = learner.n_losses.iter().find(|&&n| n as usize > KEPT);
        if learner.n_losses.len() != recipe.steps || odd.is_some() {
            let problem = format!("expected {} numbers up to {KEPT}", recipe.steps);
            return Err(Error::Tensor { name: "n_losses".into(), problem });
        }
        Ok(learner)
    }

    /// The probability with which each level is drawn.
    pub fn probabilities(&self) -> Vec<f64> {
        let n = self.levels.len();
        let uniform = vec![1.0 / n as f64; n];
        if self.n_losses.iter().any(|&n| (n as usize) < KEPT) {
            return uniform;
        }
        let root = |losses: &[f32]| {
            let squares = losses.iter().fold(0.0, |sum, &x| sum + f64::from(x).powi(2));
            (squares / KEPT as f64).sqrt()
        };
        let roots: Vec<f64> = self.losses.chunks_exact(KEPT).map(root).collect();
        let sum = roots.iter().fold(0.0, |sum, root| sum + root);
        if !(sum > 0.0 && sum.is_finite()) {
            return uniform;
        }
        roots.iter().map(|root| (1.0 - UNIFORM) * root / sum + UNIFORM / n as f64).collect()
    }

    /// Appends a loss to those of its level.
    fn remember(&mut self, level: usize, loss: f32) {
        let (losses, n) = (&mut self.losses[level * KEPT..][..KEPT], &mut self.n_losses[level]);
        if *n as usize == KEPT {
            losses.rotate_left(1);
            losses[KEPT - 1] = loss;
        } else {
            losses[*n as usize] = loss;
            *n += 1;
        }
    }

    fn step_on(&mut self, batch: &Batch<'_>) -> f64 {
        self.net.set_learning_rate(self.recipe.training().rate(batch.epoch));
        let probabilities = self.probabilities();
        let (n, n_levels) = (self.net.shape.outputs, self.levels.len());
        let drawn: Vec<usize> = (0..batch.len())
            .map(|at| {
                let mut left = batch.rng(at, TIME).uniform_f64();
                let of_level = probabilities.iter().position(|p| {
                    left -= p;
                    left < 0.0
                });
                of_level.unwrap_or(n_levels - 1)
            })
            .collect();

        let (width, clean_width) = (stride(self.net.shape.inputs), stride(n));
        let mut noisy = vec![0.0; batch.len() * width];
        let mut clean = vec![0.0; batch.len() * clean_width];
        let rows = noisy.par_chunks_mut(width).zip(clean.par_chunks_mut(clean_width));
        rows.enumerate().for_each(|(at, (noisy, clean))| {
            for item in distinct(batch.case(at).query.history.iter().copied(), n) {
                clean[item as usize] = 1.0;
            }
            let Level { signal, noise, .. } = self.levels[drawn[at]];
            batch.rng(at, NOISE).fill_normal(&mut noisy[..n], 0.0, noise as f32);
            noisy.iter_mut().zip(&clean[..n]).for_each(|(x, clean)| *x += signal as f32 * clean);
            if !self.dropout.is_off() {
                let mut mask = vec![0; Dropout::words(n)];
                self.dropout.draw(&mut batch.rng(at, DROPOUT), &mut mask);
                for (column, x) in noisy[..n].iter_mut().enumerate() {
                    let kept = mask[column / 64] >> (column % 64) & 1 == 1;
                    *x = if kept { *x * self.dropout.scale() } else { 0.0 };
                }
            }
            write_time(drawn[at] + 1, &mut noisy[n..]);
        });

        let (mut hidden, mut out) = (Vec::new(), Vec::new());
        self.net.hidden(&noisy, &mut hidden);
        self.net.outputs(&hidden, &mut out);
        let slopes = out.par_chunks_mut(clean_width).zip(clean.par_chunks(clean_width));
        let losses: Vec<f64> = slopes
            .enumerate()
            .map(|(at, (out, clean))| {
                let level = drawn[at];
                let weight = self.levels[level].weight / n as f64;
                let share = weight / (probabilities[level] * n_levels as f64);
                let mut loss = 0.0;
                for (x, clean) in out[..n].iter_mut().zip(clean) {
                    let error = *x - clean;
                    loss += f64::from(error * error);
                    *x = 2.0 * share as f32 * error;
                }
                weight * loss
            })
            .collect();
        self.net.backward(&noisy, &hidden, &out, None);
        self.net.update(1.0 / batch.len() as f32);
        let mut sum = 0.0;
        for (&level, &loss) in drawn.iter().zip(&losses) {
            self.remember(level, loss as f32);
            sum += loss / (probabilities[level] * n_levels as f64);
        }
        sum
    }

    fn model(&self) -> &dyn Model {
        let model = self.model.get_or_init(|| {
            self.recipe.load(&self.tensors()).expect("what was just written can be read")
        });
        &**model
    }
}

impl Learner for DiffLearner {
    fn step(&mut self, batch: &Batch<'_>, _slate: &Slate, _objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.net.shape.outputs == 0 {
            return 0.0;
        }
        self.model = OnceLock::new();
        // Enters the thread pool once, not once per phase.
        rayon::join(|| self.step_on(batch), || ()).0
    }

    fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "net", self.net.state());
        tensors.insert("losses", &[self.losses.len()], self.losses.clone());
        tensors.insert("n_losses", &[self.n_losses.len()], self.n_losses.clone());
        tensors
    }
}

impl Scorer for DiffLearner {
    fn n_items(&self) -> usize {
        self.net.shape.outputs
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        self.model().score(queries, out);
    }

    fn factored(&self) -> Option<&dyn Factored> {
        self.model().factored()
    }
}

impl Model for DiffLearner {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.net.export("net", &mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.net.shape.n_parameters()
    }
}
