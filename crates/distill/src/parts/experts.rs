//! A mixture of experts that reconstructs the teacher's vectors from the student's: the projection of DE, and the assignment to
//! groups of HTD.
//!
//! ```text
//! expert m:   f_m(s) = W2 relu(W1 s + b1) + b2                hidden units: the mean of the lengths of s and t
//! share of m: z = softmax( (W t + b + Gumbel noise) / T )     t: the teacher's vector, s: the student's
//! loss:       sum over vectors of | t - sum_m z_m f_m(s) |^2
//! ```
//!
//! As T decays, each vector is left with one expert: those with a share below a millionth are not evaluated, and get no gradient.
//! Rows of weights are padded with zeros, which stay zeros, to whole SIMD vectors: the same bits on any number of threads and on
//! every instruction set with FMA.

use super::settings::{above_0, at_least_1};
use super::vector_blend::{BatchVectors, SideVectors, teacher_vectors};
use super::weighted_sampling::fill_gumbel;
use rankstill_core::kernel::affine::{affine, to_bias, to_weights, transpose};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::math::exp;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Embedded, Error, Result, Tensors, state};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Smaller shares count as 0.
const SMALLEST_SHARE: f32 = 1e-6;

/// The dimensions of the student's and of the teacher's vectors, and the number of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    student: usize,
    teacher: usize,
    experts: usize,
}

impl Shape {
    fn hidden(&self) -> usize {
        (self.student + self.teacher) / 2
    }

    /// The ranges of the weights and biases of an expert's two layers within its parameters.
    fn layers(&self) -> [Range<usize>; 4] {
        let (hidden, teacher) = (padded(self.hidden()), padded(self.teacher));
        let mut end = 0;
        [self.student * hidden, hidden, self.hidden() * teacher, teacher].map(|len| {
            end += len;
            end - len..end
        })
    }

    fn expert(&self) -> usize {
        self.layers()[3].end
    }

    /// The ranges of the weights and biases of the shares, after the experts.
    fn gate(&self) -> [Range<usize>; 2] {
        let (from, width) = (self.experts * self.expert(), padded(self.experts));
        let weights = from..from + self.teacher * width;
        [weights.clone(), weights.end..weights.end + width]
    }
}

fn padded(n: usize) -> usize {
    n.next_multiple_of(16)
}

/// The experts of users, or of items.
#[derive(Clone, Debug)]
pub(crate) struct Experts {
    shape: Shape,
    parameters: DenseParam,
}

/// What one step regresses, and how its shares are drawn.
struct Task<'a> {
    /// The teacher's vectors, parallel to the student's, row-major without gaps.
    teacher: &'a [f32],
    /// Of the softmax.
    temperature: f32,
    /// The generator of a query's or an item's noise.
    rng: &'a (dyn Fn(u32) -> Rng + Sync),
    /// Multiplies the gradient of the student's vectors.
    weight: f32,
    /// Multiplies that of the parameters; at 0 no step is taken.
    scale: f32,
}

/// The forward pass of an expert.
struct Forward {
    members: Vec<usize>,
    vectors: Vec<f32>,
    hidden: Vec<f32>,
    out: Vec<f32>,
}

impl Experts {
    /// Uniform in +-1 / sqrt(inputs), the default of linear layers in the authors' framework.
    fn random(shape: Shape, optimizer: &Optimizer, mut rng: Rng) -> Self {
        let gate = shape.gate();
        let mut parameters = DenseParam::new(gate[1].end, optimizer.clone());
        let mut fill = |weights: &mut [f32], n: usize, inputs: usize| {
            let most = 1.0 / (inputs.max(1) as f32).sqrt();
            for row in weights.chunks_mut(padded(n)) {
                row[..n].iter_mut().for_each(|x| *x = most * (2.0 * rng.uniform() - 1.0));
            }
        };
        let values = parameters.values_mut();
        let (hidden, teacher) = (shape.hidden(), shape.teacher);
        for expert in values[..gate[0].start].chunks_mut(shape.expert()) {
            let [w1, b1, w2, b2] = shape.layers();
            fill(&mut expert[w1], hidden, shape.student);
            fill(&mut expert[b1], hidden, shape.student);
            fill(&mut expert[w2], teacher, hidden);
            fill(&mut expert[b2], teacher, hidden);
        }
        gate.into_iter().for_each(|part| fill(&mut values[part], shape.experts, teacher));
        Self { shape, parameters }
    }

    /// For checkpoints.
    fn insert(&self, tensors: &mut Tensors, name: &str) {
        state::insert(tensors, name, self.parameters.state());
    }

    /// Resumes from a checkpoint.
    ///
    /// # Errors
    /// When it is not a state of experts of this shape.
    fn restore(&mut self, tensors: &Tensors, name: &str) -> Result<()> {
        self.parameters.restore(&state::read(tensors, name)?).map_err(state::wrong(name))
    }

    /// The loss of a side's vectors. Adds its gradient to `to_student`, and updates the parameters.
    fn regress(&mut self, side: SideVectors<'_>, task: &Task<'_>, to_student: &mut [f32]) -> f64 {
        let Shape { student, teacher, experts } = self.shape;
        let n = side.ids.len();
        let shares = self.shares(side.ids, task);
        let forwards: Vec<Forward> =
            (0..experts).into_par_iter().map(|m| self.forward(m, side.vectors, &shares)).collect();
        // The difference from the teacher, which is the slope of half the loss, in rows of whole SIMD vectors.
        let width = padded(teacher);
        let mut differences = vec![0.0; n * width];
        for (difference, goal) in differences.chunks_mut(width).zip(task.teacher.chunks(teacher)) {
            difference[..teacher].iter_mut().zip(goal).for_each(|(to, goal)| *to = -goal);
        }
        for (m, forward) in forwards.iter().enumerate() {
            for (&at, out) in forward.members.iter().zip(forward.out.chunks(width)) {
                axpy(shares[at * experts + m], out, &mut differences[at * width..][..width]);
            }
        }
        let loss = differences.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x));

        let mut gradient = vec![0.0; self.parameters.len()];
        let (own, to_gate) = gradient.split_at_mut(self.shape.gate()[0].start);
        let backwards: Vec<(Vec<f32>, Vec<f32>)> = own
            .par_chunks_mut(self.shape.expert())
            .zip(&forwards)
            .enumerate()
            .map(|(m, (own, forward))| self.backward(m, forward, &differences, &shares, own))
            .collect();
        let mut to_shares = vec![0.0; shares.len()];
        for (m, (forward, (vectors, to_share))) in forwards.iter().zip(&backwards).enumerate() {
            let parts = forward.members.iter().zip(vectors.chunks(padded(student))).zip(to_share);
            for ((&at, vector), &to_share) in parts {
                to_shares[at * experts + m] = to_share;
                let to = &mut to_student[at * student..][..student];
                axpy(task.weight, &vector[..student], to);
            }
        }
        self.to_gate(task, &shares, &to_shares, to_gate);
        if task.scale != 0.0 {
            self.parameters.update(&gradient, task.scale);
        }
        loss
    }

    /// For each of the teacher's vectors, the expert with the largest share, without noise.
    pub fn groups(&self, teacher: &[f32]) -> Vec<usize> {
        let logits = self.logits(teacher);
        let rows = logits.chunks(padded(self.shape.experts)).map(|row| &row[..self.shape.experts]);
        rows.map(|row| (1..row.len()).fold(0, |best, m| if row[m] > row[best] { m } else { best }))
            .collect()
    }

    fn logits(&self, teacher: &[f32]) -> Vec<f32> {
        let n = teacher.len() / self.shape.teacher;
        let (width, values) = (padded(self.shape.experts), self.parameters.values());
        let [weights, bias] = self.shape.gate().map(|part| &values[part]);
        let mut logits = vec![0.0; n * width];
        affine(Rows::dense(teacher, n, self.shape.teacher), weights, bias, width, &mut logits);
        logits
    }

    /// `vectors x experts`.
    fn shares(&self, ids: &[u32], task: &Task<'_>) -> Vec<f32> {
        let experts = self.shape.experts;
        let logits = self.logits(task.teacher);
        let mut shares = vec![0.0; ids.len() * experts];
        let rows = shares.par_chunks_mut(experts).zip(logits.par_chunks(padded(experts)));
        rows.zip(ids).with_min_len(64).for_each(|((shares, logits), &id)| {
            if experts > 1 {
                fill_gumbel(&mut (task.rng)(id), shares);
            }
            // Gumbel noise is infinite once in 2^24 draws; the other draws are below 17.
            let logits = shares.iter_mut().zip(logits);
            logits.for_each(|(share, logit)| *share = share.min(17.0) + logit);
            let top = shares.iter().fold(f32::NEG_INFINITY, |top, &x| top.max(x));
            shares.iter_mut().for_each(|share| *share = exp((*share - top) / task.temperature));
            let sum = shares.iter().fold(0.0, |sum, share| sum + share);
            shares.iter_mut().for_each(|share| *share /= sum);
        });
        shares
    }

    /// What expert `m` makes of the vectors that it has a share of.
    fn forward(&self, m: usize, vectors: &[f32], shares: &[f32]) -> Forward {
        let Shape { student, teacher, experts } = self.shape;
        let members: Vec<usize> = (0..shares.len() / experts)
            .filter(|at| shares[at * experts + m] >= SMALLEST_SHARE)
            .collect();
        let n = members.len();
        let own = members.iter().flat_map(|&at| &vectors[at * student..][..student]);
        let vectors: Vec<f32> = own.copied().collect();
        let [w1, b1, w2, b2] = self.weights(m);
        let (mid, width) = (padded(self.shape.hidden()), padded(teacher));
        let (mut hidden, mut out) = (vec![0.0; n * mid], vec![0.0; n * width]);
        affine(Rows::dense(&vectors, n, student), w1, b1, mid, &mut hidden);
        hidden.iter_mut().for_each(|x| *x = x.max(0.0));
        affine(self.hidden_rows(&hidden), w2, b2, width, &mut out);
        Forward { members, vectors, hidden, out }
    }

    /// Writes the gradient of expert `m`'s parameters to `own`. Returns those of its vectors, in rows of whole SIMD vectors, and
    /// of its shares.
    fn backward(
        &self,
        m: usize,
        forward: &Forward,
        differences: &[f32],
        shares: &[f32],
        own: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let Shape { student, teacher, experts } = self.shape;
        let (n, shape) = (forward.members.len(), &self.shape);
        let (hidden, mid, width) = (shape.hidden(), padded(shape.hidden()), padded(teacher));
        let mut to_out = vec![0.0; n * width];
        let mut to_shares = Vec::with_capacity(n);
        for ((&at, to), out) in
            forward.members.iter().zip(to_out.chunks_mut(width)).zip(forward.out.chunks(width))
        {
            let difference = &differences[at * width..][..width];
            axpy(2.0 * shares[at * experts + m], difference, to);
            to_shares.push(2.0 * rankstill_core::kernel::dense::dot(difference, out));
        }
        let [w1, b1, w2, b2] = shape.layers();
        to_weights(self.hidden_rows(&forward.hidden), 0..hidden, &to_out, width, &mut own[w2]);
        to_bias(&to_out, &mut own[b2]);
        let [weights1, _, weights2, _] = self.weights(m);
        let back = |weights: &[f32], from: usize, to: usize, slopes: &[f32]| {
            // Weights are `from` rows of whole SIMD vectors; transposed, each of `to` columns leads back to `from` inputs.
            let mut transposed = vec![0.0; to * padded(from)];
            transpose(weights, from, to, padded(to), &mut transposed, padded(from));
            let mut out = vec![0.0; n * padded(from)];
            let slopes = Rows::new(slopes, n, to, padded(to));
            affine(slopes, &transposed, &vec![0.0; padded(from)], padded(from), &mut out);
            out
        };
        let mut to_hidden = back(weights2, hidden, teacher, &to_out);
        to_hidden.iter_mut().zip(&forward.hidden).for_each(|(to, &x)| {
            if x <= 0.0 {
                *to = 0.0;
            }
        });
        let vectors = Rows::dense(&forward.vectors, n, student);
        to_weights(vectors, 0..student, &to_hidden, mid, &mut own[w1]);
        to_bias(&to_hidden, &mut own[b1]);
        (back(weights1, student, hidden, &to_hidden), to_shares)
    }

    fn to_gate(&self, task: &Task<'_>, shares: &[f32], to_shares: &[f32], out: &mut [f32]) {
        let Shape { teacher, experts, .. } = self.shape;
        let width = padded(experts);
        let n = shares.len() / experts;
        let mut to_logits = vec![0.0; n * width];
        let rows = shares.chunks(experts).zip(to_shares.chunks(experts));
        for (to, (shares, to_shares)) in to_logits.chunks_mut(width).zip(rows) {
            let mean = shares.iter().zip(to_shares).fold(0.0, |sum, (share, to)| sum + share * to);
            for ((to, share), to_share) in to.iter_mut().zip(shares).zip(to_shares) {
                if *share >= SMALLEST_SHARE {
                    *to = share * (to_share - mean) / task.temperature;
                }
            }
        }
        let (weights, bias) = out.split_at_mut(teacher * width);
        let vectors = Rows::dense(task.teacher, n, teacher);
        to_weights(vectors, 0..teacher, &to_logits, width, weights);
        to_bias(&to_logits, bias);
    }

    fn weights(&self, m: usize) -> [&[f32]; 4] {
        let from = m * self.shape.expert();
        let expert = &self.parameters.values()[from..from + self.shape.expert()];
        self.shape.layers().map(|part| &expert[part])
    }

    fn hidden_rows<'h>(&self, hidden: &'h [f32]) -> Rows<'h> {
        let (dim, stride) = (self.shape.hidden(), padded(self.shape.hidden()));
        Rows::new(hidden, hidden.len() / stride, dim, stride)
    }
}

/// The mixture of a method: the experts of queries and those of items. They are made at the first step, when the dimension of the
/// student is known.
pub(crate) struct Regression {
    teacher: Arc<Embedded>,
    experts: usize,
    annealing: Annealing,
    optimizer: Optimizer,
    purposes: Purposes,
    both: Mutex<Option<[Experts; 2]>>,
}

/// How the temperature of the shares decays.
#[derive(Clone, Copy)]
pub(crate) struct Annealing {
    pub temperature: f32,
    pub final_temperature: f32,
    pub anneal_epochs: usize,
}

impl Annealing {
    /// # Errors
    /// When a setting is out of its range.
    pub fn check(&self) -> Result<()> {
        at_least_1(&[("anneal_epochs", self.anneal_epochs)])?;
        above_0("temperature", self.temperature)?;
        above_0("final_temperature", self.final_temperature)
    }
}

/// Keep the draws of a method apart from all others: of the first parameters, and of the noise of each side.
pub(crate) struct Purposes {
    pub first: u64,
    pub noise: [u64; 2],
}

impl Regression {
    /// Reconstructs the vectors of `teacher`.
    pub fn new(
        teacher: Arc<Embedded>,
        experts: usize,
        annealing: Annealing,
        optimizer: &Optimizer,
        purposes: Purposes,
    ) -> Self {
        let (optimizer, both) = (optimizer.clone(), Mutex::new(None));
        Self { teacher, experts, annealing, optimizer, purposes, both }
    }

    /// The loss of each side. Adds its gradient, times the side's weight, to `grads`, and updates the parameters by `scale` times
    /// that weight. `inspect` is called before each side is updated, with its number, its experts and the teacher's vectors.
    pub fn step(
        &self,
        batch: &BatchVectors<'_>,
        weights: [f32; 2],
        scale: f32,
        grads: [&mut [f32]; 2],
        mut inspect: impl FnMut(usize, &Experts, &[f32]),
    ) -> [f64; 2] {
        let Annealing { temperature, final_temperature, anneal_epochs } = self.annealing;
        let temperature = annealed(temperature, final_temperature, anneal_epochs, batch.epoch);
        let teacher = teacher_vectors(&self.teacher, batch);
        let fresh = |side| {
            let rng = batch.rng(self.purposes.first, side);
            Experts::random(self.shape(batch.dim), &self.optimizer, rng)
        };
        // A panic elsewhere has ended the run.
        let mut both = self.both.lock().unwrap_or_else(PoisonError::into_inner);
        let both = both.get_or_insert_with(|| [0, 1].map(fresh));
        let mut losses = [0.0; 2];
        for (side, (experts, grads)) in both.iter_mut().zip(grads).enumerate() {
            inspect(side, experts, &teacher[side]);
            let task = Task {
                teacher: &teacher[side],
                temperature,
                rng: &|id| batch.rng(self.purposes.noise[side], id),
                weight: weights[side],
                scale: weights[side] * scale,
            };
            losses[side] = experts.regress(batch.sides[side], &task, grads);
        }
        losses
    }

    fn shape(&self, student: usize) -> Shape {
        Shape { student, teacher: self.teacher.dim(), experts: self.experts }
    }

    /// For checkpoints.
    pub fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        let both = self.both.lock().unwrap_or_else(PoisonError::into_inner);
        for (experts, name) in both.iter().flatten().zip(SIDES) {
            state.insert("student", &[1], vec![experts.shape.student as u32]);
            experts.insert(&mut state, name);
        }
        state
    }

    /// Resumes from a checkpoint.
    ///
    /// # Errors
    /// When it is not a state of these experts.
    pub fn restore(&mut self, state: &Tensors) -> Result<()> {
        let mut both = None;
        if state.get("student").is_some() {
            let student = state.u32s("student")?.first().map_or(0, |&n| n as usize);
            let held = state.get("queries.parameters").map_or(0, |tensor| tensor.data.len());
            let shape = self.shape(student);
            if shape.gate()[1].end != held {
                let problem = format!("{held} numbers do not fit experts of {shape:?}");
                return Err(Error::Tensor { name: "queries.parameters".into(), problem });
            }
            let mut fresh = [0, 1].map(|_| Experts::random(shape, &self.optimizer, Rng::new(0)));
            for (experts, name) in fresh.iter_mut().zip(SIDES) {
                experts.restore(state, name)?;
            }
            both = Some(fresh);
        }
        self.both = Mutex::new(both);
        Ok(())
    }
}

/// Their names in a checkpoint.
const SIDES: [&str; 2] = ["queries", "items"];

/// A temperature that decays from the one to the other by the same factor each epoch, and then stays.
fn annealed(first: f32, last: f32, epochs: usize, epoch: usize) -> f32 {
    let done = (epoch as f64 / epochs.max(1) as f64).min(1.0);
    (f64::from(first) * (f64::from(last) / f64::from(first)).powf(done)) as f32
}

#[cfg(test)]
mod tests;
