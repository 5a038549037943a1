//! A step of the discriminator, then one of the generator.

use super::model::OfItems;
use super::{By, CfGan};
use crate::parts::multinomial::distinct;
use crate::parts::perceptron::{Perceptron, Shape, stride};
use rankstill_core::kernel::activation::Activation;
use rankstill_core::kernel::math::{sigmoid, softplus};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Factored, Interactions, Learner, Model, ModelConfig as _, Objective, Query, Result,
    Scorer, Slate, Tensors, state,
};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Both networks.
pub(super) struct GanLearner {
    recipe: CfGan,
    /// The rows that are generated.
    rows: Arc<Interactions>,
    generator: Perceptron,
    discriminator: Perceptron,
    /// Computed at first use after a step.
    model: OnceLock<Box<dyn Model>>,
}

/// A batch's rows, `width` numbers apart.
pub(super) struct Drawn {
    width: usize,
    /// r.
    ones: Vec<f32>,
    /// r + k.
    shown: Vec<f32>,
    /// n.
    zeros: Vec<f32>,
}

/// A row of [`Drawn`]: its number, then its parts.
type DrawnRow<'a> = (usize, ((&'a mut [f32], &'a mut [f32]), &'a mut [f32]));

impl Drawn {
    fn of(recipe: &CfGan, batch: &Batch<'_>, n_columns: usize) -> Self {
        let width = stride(n_columns);
        let zeros = || vec![0.0; batch.len() * width];
        let (mut ones, mut shown, mut zero) = (zeros(), zeros(), zeros());
        let parts = ones.par_chunks_mut(width).zip(shown.par_chunks_mut(width));
        let fill = |(at, ((ones, shown), zero)): DrawnRow<'_>| {
            for item in distinct(batch.case(at).query.history.iter().copied(), n_columns) {
                ones[item as usize] = 1.0;
            }
            let mut rng = batch.rng(at, MASKS);
            for column in 0..n_columns {
                let lacks = ones[column] == 0.0;
                let flag = |chance: bool| f32::from(u8::from(lacks && chance));
                shown[column] = ones[column] + flag(rng.chance(recipe.partial_masking));
                zero[column] = flag(rng.chance(recipe.zero_reconstruction));
            }
        };
        parts.zip(zero.par_chunks_mut(width)).enumerate().for_each(fill);
        Self { width, ones, shown, zeros: zero }
    }
}

impl GanLearner {
    fn new(recipe: &CfGan, rows: &Arc<Interactions>) -> Self {
        let columns = rows.n_items();
        let shape = |inputs, hidden, outputs| Shape {
            inputs,
            hidden,
            outputs,
            activation: Activation::Sigmoid,
        };
        let other = &recipe.discriminator;
        Self {
            recipe: recipe.clone(),
            rows: Arc::clone(rows),
            generator: Perceptron::new(shape(columns, recipe.hidden, columns), &recipe.optimizer),
            discriminator: Perceptron::new(shape(2 * columns, other.hidden, 1), &other.optimizer),
            model: OnceLock::new(),
        }
    }

    /// The initial values of the authors' code.
    pub fn random(recipe: &CfGan, rows: &Arc<Interactions>, seed: u64) -> Self {
        let mut learner = Self::new(recipe, rows);
        learner.generator.randomise(BIAS, |part| Rng::keyed(seed, [INIT, 0, part]));
        learner.discriminator.randomise(BIAS, |part| Rng::keyed(seed, [INIT, 1, part]));
        learner
    }

    /// From [`Learner::state`].
    pub fn resumed(recipe: &CfGan, rows: &Arc<Interactions>, kept: &Tensors) -> Result<Self> {
        let mut learner = Self::new(recipe, rows);
        for (name, net) in
            [("generator", &mut learner.generator), ("discriminator", &mut learner.discriminator)]
        {
            net.restore(name, &state::read(kept, name)?)?;
        }
        Ok(learner)
    }

    /// The discriminator's inputs: each row of the condition, then of what it is to judge.
    fn pairs(&self, conditions: &[f32], judged: &[f32], width: usize) -> Vec<f32> {
        let n = self.rows.n_items();
        let mut pairs = vec![0.0; conditions.len() / width * stride(2 * n)];
        let rows = pairs.par_chunks_mut(stride(2 * n)).zip(conditions.par_chunks(width));
        rows.zip(judged.par_chunks(width)).for_each(|((pair, condition), judged)| {
            pair[..n].copy_from_slice(&condition[..n]);
            pair[n..2 * n].copy_from_slice(&judged[..n]);
        });
        pairs
    }

    /// G(r), its hidden layer, and x.
    fn generate(&self, drawn: &Drawn) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (mut hidden, mut out) = (Vec::new(), Vec::new());
        self.generator.hidden(&drawn.ones, &mut hidden);
        self.generator.outputs(&hidden, &mut out);
        let mut masked = out.clone();
        masked.par_iter_mut().zip(&drawn.shown).for_each(|(x, shown)| *x *= shown);
        (out, hidden, masked)
    }

    /// A step of the discriminator; returns its summed loss.
    pub fn discriminate(&mut self, drawn: &Drawn) -> f64 {
        let (_, _, fake) = self.generate(drawn);
        let mut pairs = self.pairs(&drawn.ones, &drawn.ones, drawn.width);
        let n_real = pairs.len();
        pairs.extend(self.pairs(&drawn.ones, &fake, drawn.width));
        let (mut hidden, mut verdicts) = (Vec::new(), Vec::new());
        self.discriminator.hidden(&pairs, &mut hidden);
        self.discriminator.outputs(&hidden, &mut verdicts);
        let n = n_real / stride(2 * self.rows.n_items());
        let mut loss = 0.0;
        for (row, verdict) in verdicts.chunks_exact_mut(stride(1)).enumerate() {
            let sign = if row < n { -1.0 } else { 1.0 };
            loss += f64::from(softplus(sign * verdict[0]));
            verdict[0] = sign * sigmoid(sign * verdict[0]);
        }
        self.discriminator.backward(&pairs, &hidden, &verdicts, None);
        self.discriminator.update(1.0 / n.max(1) as f32);
        loss
    }

    /// A step of the generator; returns its summed loss.
    pub fn generator_step(&mut self, drawn: &Drawn) -> f64 {
        let CfGan { adversary, ones, zeros, .. } = self.recipe;
        let (adversary, one, zero) = (adversary as f32, ones as f32, zeros as f32);
        let (mut to_out, hidden, fake) = self.generate(drawn);
        let (n, width) = (self.rows.n_items(), drawn.width);
        let mut losses = vec![0.0f64; drawn.ones.len() / width];

        let mut to_pairs = Vec::new();
        if adversary > 0.0 {
            let pairs = self.pairs(&drawn.ones, &fake, width);
            let (mut hidden, mut verdicts) = (Vec::new(), Vec::new());
            self.discriminator.hidden(&pairs, &mut hidden);
            self.discriminator.outputs(&hidden, &mut verdicts);
            for (loss, verdict) in losses.iter_mut().zip(verdicts.chunks_exact_mut(stride(1))) {
                *loss += f64::from(adversary * softplus(-verdict[0]));
                verdict[0] = -adversary * sigmoid(-verdict[0]);
            }
            self.discriminator.backward(&pairs, &hidden, &verdicts, Some(&mut to_pairs));
        }
        let rows = to_out.par_chunks_mut(width).zip(&mut losses).enumerate();
        rows.for_each(|(row, (to_out, loss))| {
            let of = |numbers: &[f32], column: usize| numbers[row * width + column];
            for (column, slope) in to_out[..n].iter_mut().enumerate() {
                let x = *slope;
                let (is_one, is_zero) = (of(&drawn.ones, column), of(&drawn.zeros, column));
                *loss += f64::from(one * is_one * (x - 1.0).powi(2) + zero * is_zero * x * x);
                *slope = 2.0 * (one * is_one * (x - 1.0) + zero * is_zero * x);
                if adversary > 0.0 {
                    let judged = to_pairs[row * stride(2 * n) + n + column];
                    *slope += of(&drawn.shown, column) * judged;
                }
            }
        });
        self.generator.backward(&drawn.ones, &hidden, &to_out, None);
        self.generator.update(1.0 / losses.len().max(1) as f32);
        losses.iter().fold(0.0, |sum, loss| sum + loss)
    }

    fn step_on(&mut self, batch: &Batch<'_>) -> f64 {
        let rate = self.recipe.training().rate(batch.epoch);
        let share = rate / self.recipe.optimizer.learning_rate().max(f64::MIN_POSITIVE);
        self.generator.set_learning_rate(rate);
        let other = self.recipe.discriminator.optimizer.learning_rate();
        self.discriminator.set_learning_rate(share.min(1.0) * other);
        let drawn = self.drawn(batch);
        if self.recipe.adversary > 0.0 {
            for _ in 0..self.recipe.discriminator.steps {
                self.discriminate(&drawn);
            }
        }
        (0..self.recipe.steps).fold(0.0, |_, _| self.generator_step(&drawn))
    }

    /// The batch's rows and masks.
    pub fn drawn(&self, batch: &Batch<'_>) -> Drawn {
        Drawn::of(&self.recipe, batch, self.rows.n_items())
    }

    fn model(&self) -> &dyn Model {
        let model = self.model.get_or_init(|| {
            self.recipe.load(&self.tensors()).expect("what was just written can be read")
        });
        &**model
    }
}

/// Bound of the initial biases.
const BIAS: f32 = 0.01;
/// Random streams of the initial values and of the masks.
const INIT: u64 = 0x4741_4e49;
const MASKS: u64 = 0x4741_4e4d;

impl Learner for GanLearner {
    fn step(&mut self, batch: &Batch<'_>, _slate: &Slate, _objective: &dyn Objective) -> f64 {
        if batch.is_empty() || self.rows.n_items() == 0 {
            return 0.0;
        }
        self.model = OnceLock::new();
        // Enters the thread pool once, not once per phase.
        rayon::join(|| self.step_on(batch), || ()).0
    }

    fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        state::insert(&mut tensors, "generator", self.generator.state());
        state::insert(&mut tensors, "discriminator", self.discriminator.state());
        tensors
    }
}

impl Scorer for GanLearner {
    fn n_items(&self) -> usize {
        match self.recipe.by {
            By::Users => self.rows.n_items(),
            By::Items => self.rows.n_users(),
        }
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        self.model().score(queries, out);
    }

    fn factored(&self) -> Option<&dyn Factored> {
        self.model().factored()
    }
}

impl Model for GanLearner {
    fn tensors(&self) -> Tensors {
        match self.recipe.by {
            By::Users => {
                let mut tensors = Tensors::default();
                self.generator.export("generator", &mut tensors);
                tensors
            }
            By::Items => OfItems::decoded(&self.generator, &self.rows),
        }
    }

    fn n_parameters(&self) -> usize {
        self.generator.shape.n_parameters()
    }
}
