//! The layers between the two item tables: from sums over a history to the query vector for the output table,
//! and back.
//!
//! Rows are padded with zeros to a multiple of 16 numbers. A batch's rows are cut into chunks for the forward
//! pass and for the gradients of rows; the weights' inputs are cut for the gradients of weights. Every sum has
//! a fixed order.

use super::MultVae;
use rankstill_core::kernel::activation::{Activation, activate, chain};
use rankstill_core::kernel::affine::{affine, to_bias, to_weights, transpose};
use rankstill_core::kernel::math::exp_slice;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::simd::LANES;
use rankstill_core::state::wrong;
use rankstill_core::{Error, Result, Tensors};
use rayon::prelude::*;
use std::ops::Range;

/// b1, W2, b2, W3 and b3, with their optimiser during training.
pub(super) struct Coder {
    pub shape: Shape,
    pub weights: DenseParam,
    grads: Vec<f32>,
    /// W2 and W3, transposed for the backward pass.
    back_from_code: Vec<f32>,
    back_from_hidden: Vec<f32>,
}

/// The sizes of all parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub hidden: usize,
    pub latent: usize,
    pub variational: bool,
}

/// What a forward pass keeps for the backward pass; one row per row of the batch.
#[derive(Default)]
pub(super) struct Pass {
    rows: usize,
    /// Sums over the history, without b1; after the backward pass their gradients.
    pub first: Vec<f32>,
    h: Vec<f32>,
    /// mu and ln sigma^2, or z.
    code: Vec<f32>,
    noise: Vec<f32>,
    z: Vec<f32>,
    g: Vec<f32>,
    to_z: Vec<f32>,
    to_code: Vec<f32>,
    /// g and a 1 for the bias, the output table's stride apart.
    pub queries: Vec<f32>,
}

/// Rows per task.
const CHUNK: usize = 24;
/// Inputs of a layer per task of the weights' gradients.
const INPUTS: usize = 24;

impl Shape {
    pub fn of(recipe: &MultVae) -> Self {
        let MultVae { hidden, latent, variational, .. } = *recipe;
        Self { hidden, latent, variational }
    }

    /// Padded width of h or g.
    pub fn wide(self) -> usize {
        self.hidden.next_multiple_of(LANES)
    }

    /// Padded width of z.
    fn narrow(self) -> usize {
        self.latent.next_multiple_of(LANES)
    }

    /// Padded width of the encoder's last layer: mu, then ln sigma^2; or z.
    fn code(self) -> usize {
        self.narrow() * if self.variational { 2 } else { 1 }
    }

    /// The stride of query vectors.
    fn query(self) -> usize {
        (self.hidden + 1).next_multiple_of(LANES)
    }

    /// The ranges of b1, W2, b2, W3 and b3.
    fn ranges(self) -> [Range<usize>; 5] {
        let (wide, code) = (self.wide(), self.code());
        let mut end = 0;
        [wide, self.hidden * code, code, self.latent * wide, wide].map(|len| {
            end += len;
            end - len..end
        })
    }

    fn len(self) -> usize {
        self.ranges()[4].end
    }

    /// Trained parameters, without padding.
    pub fn n_parameters(self) -> usize {
        let code = self.latent * if self.variational { 2 } else { 1 };
        (self.hidden + 1) * code + self.latent * self.hidden + 2 * self.hidden
    }

    /// The columns of the encoder's last layer that are not padding.
    fn code_columns(self) -> Vec<usize> {
        let blocks = if self.variational { 2 } else { 1 };
        (0..blocks)
            .flat_map(|block| (0..self.latent).map(move |k| (block, k)))
            .map(|(block, k)| block * self.narrow() + k)
            .collect()
    }
}

impl Coder {
    /// All zeros.
    pub fn new(shape: Shape, optimizer: &Optimizer) -> Self {
        let mut coder = Self {
            shape,
            weights: DenseParam::new(shape.len(), optimizer.clone()),
            grads: vec![0.0; shape.len()],
            back_from_code: vec![0.0; shape.code() * shape.wide()],
            back_from_hidden: vec![0.0; shape.wide() * shape.narrow()],
        };
        coder.changed();
        coder
    }

    /// Weights uniform within +-sqrt(6 / (inputs + outputs)) (Glorot & Bengio, AISTATS 2010).
    pub fn randomise(&mut self, rng: &mut Rng) {
        let shape = self.shape;
        let [_, w2, _, w3, _] = shape.ranges();
        let values = self.weights.values_mut();
        let code = shape.code_columns();
        let bound = glorot(shape.hidden, code.len());
        for row in values[w2].chunks_exact_mut(shape.code()) {
            code.iter().for_each(|&k| row[k] = (2.0 * rng.uniform() - 1.0) * bound);
        }
        let bound = glorot(shape.latent, shape.hidden);
        for row in values[w3].chunks_exact_mut(shape.wide()) {
            rng.fill_uniform(&mut row[..shape.hidden], -bound, bound);
        }
        self.changed();
    }

    /// Must be called after every change of the weights.
    pub fn changed(&mut self) {
        let Self { shape, weights, back_from_code, back_from_hidden, .. } = self;
        let [_, w2, _, w3, _] = shape.ranges();
        let (values, wide, narrow) = (weights.values(), shape.wide(), shape.narrow());
        let code = shape.code();
        rayon::join(
            || transpose(&values[w2], shape.hidden, code, code, back_from_code, wide),
            || transpose(&values[w3], shape.latent, wide, wide, back_from_hidden, narrow),
        );
    }

    /// From `pass.first`, the sums over the histories, to `pass.queries`; with noise if there is a generator
    /// for every row. Returns the summed divergence of the code, 0 for Mult-DAE.
    pub fn forward(&self, pass: &mut Pass, noise: Option<&(dyn Fn(usize) -> Rng + Sync)>) -> f64 {
        let shape = self.shape;
        let (wide, narrow, code) = (shape.wide(), shape.narrow(), shape.code());
        pass.resize(shape, pass.first.len() / wide);
        let divergences: Vec<f64> = (
            pass.first.par_chunks(CHUNK * wide),
            pass.h.par_chunks_mut(CHUNK * wide),
            pass.code.par_chunks_mut(CHUNK * code),
            pass.noise.par_chunks_mut(CHUNK * narrow),
            pass.z.par_chunks_mut(CHUNK * narrow),
            pass.g.par_chunks_mut(CHUNK * wide),
            pass.queries.par_chunks_mut(CHUNK * shape.query()),
        )
            .into_par_iter()
            .enumerate()
            .map(|(chunk, (first, h, code, eps, z, g, queries))| {
                self.hidden(first, h);
                let rng = noise.map(|rng| move |row| rng(chunk * CHUNK + row));
                let divergence = self.code(h, code, eps, z, rng);
                self.decode(z, g, queries);
                divergence
            })
            .collect();
        divergences.iter().fold(0.0, |sum, divergence| sum + divergence)
    }

    /// h = tanh(sums + b1)
    fn hidden(&self, first: &[f32], h: &mut [f32]) {
        let wide = self.shape.wide();
        let bias = &self.weights.values()[self.shape.ranges()[0].clone()];
        for (h, first) in h.chunks_exact_mut(wide).zip(first.chunks_exact(wide)) {
            for ((h, first), bias) in h.iter_mut().zip(first).zip(bias) {
                *h = first + bias;
            }
        }
        activate(Activation::Tanh, h);
    }

    /// The code of some rows, and z; returns the summed divergence.
    fn code(
        &self,
        h: &[f32],
        code: &mut [f32],
        noise: &mut [f32],
        z: &mut [f32],
        rng: Option<impl Fn(usize) -> Rng>,
    ) -> f64 {
        let Shape { hidden, latent, variational } = self.shape;
        let (wide, narrow, width) = (self.shape.wide(), self.shape.narrow(), self.shape.code());
        let [_, w2, b2, ..] = self.shape.ranges();
        let values = self.weights.values();
        let rows = Rows::new(h, h.len() / wide, hidden, wide);
        affine(rows, &values[w2], &values[b2], width, code);
        if !variational {
            activate(Activation::Tanh, code);
            z.copy_from_slice(code);
            return 0.0;
        }
        let mut sum = 0.0;
        let mut sigma = vec![0.0; latent];
        let rows = code.chunks_exact(width).zip(noise.chunks_exact_mut(narrow));
        for (row, ((code, noise), z)) in rows.zip(z.chunks_exact_mut(narrow)).enumerate() {
            let (mu, log_variance) = (&code[..latent], &code[narrow..][..latent]);
            z[..latent].copy_from_slice(mu);
            let Some(rng) = &rng else { continue };
            rng(row).fill_normal(&mut noise[..latent], 0.0, 1.0);
            deviation(log_variance, &mut sigma);
            for (((z, eps), sigma), (mu, log_variance)) in
                z.iter_mut().zip(&*noise).zip(&sigma).zip(mu.iter().zip(log_variance))
            {
                *z += eps * sigma;
                sum += 0.5 * f64::from(mu * mu + sigma * sigma - 1.0 - log_variance);
            }
        }
        sum
    }

    /// g = tanh(z W3 + b3), and the query vectors.
    fn decode(&self, z: &[f32], g: &mut [f32], queries: &mut [f32]) {
        let Shape { hidden, latent, .. } = self.shape;
        let (wide, narrow) = (self.shape.wide(), self.shape.narrow());
        let [.., w3, b3] = self.shape.ranges();
        let values = self.weights.values();
        let rows = Rows::new(z, z.len() / narrow, latent, narrow);
        affine(rows, &values[w3], &values[b3], wide, g);
        activate(Activation::Tanh, g);
        let queries = queries.chunks_exact_mut(self.shape.query());
        for (query, g) in queries.zip(g.chunks_exact(wide)) {
            query[..hidden].copy_from_slice(&g[..hidden]);
            query[hidden] = 1.0;
        }
    }

    /// From the gradients of the query vectors to those of the sums over the histories, which replace them in
    /// `pass.first`, and to those of the weights, for [`Coder::update`]. `beta` is the weight of the
    /// divergence.
    pub fn backward(&mut self, pass: &mut Pass, to_queries: &[f32], beta: f32) {
        let shape = self.shape;
        let (wide, narrow, code) = (shape.wide(), shape.narrow(), shape.code());
        let this = &*self;
        (
            to_queries.par_chunks(CHUNK * shape.query()),
            pass.g.par_chunks_mut(CHUNK * wide),
            pass.to_z.par_chunks_mut(CHUNK * narrow),
            pass.to_code.par_chunks_mut(CHUNK * code),
            pass.code.par_chunks(CHUNK * code),
            pass.noise.par_chunks(CHUNK * narrow),
            pass.h.par_chunks(CHUNK * wide),
            pass.first.par_chunks_mut(CHUNK * wide),
        )
            .into_par_iter()
            .for_each(|(to_queries, g, to_z, to_code, code, noise, h, first)| {
                this.to_hidden(to_queries, g);
                let rows = Rows::new(g, g.len() / wide, shape.hidden, wide);
                let back = &this.back_from_hidden[..shape.hidden * narrow];
                affine(rows, back, &vec![0.0; narrow], narrow, to_z);
                this.to_code(to_z, code, noise, beta, to_code);
                let rows = Rows::dense(to_code, to_code.len() / shape.code(), shape.code());
                affine(rows, &this.back_from_code, &vec![0.0; wide], wide, first);
                chain(Activation::Tanh, h, first);
            });
        self.sum_gradients(pass);
    }

    /// Replaces g by the gradient of the sums before its activation.
    fn to_hidden(&self, to_queries: &[f32], g: &mut [f32]) {
        let (wide, hidden) = (self.shape.wide(), self.shape.hidden);
        let mut grads = vec![0.0; wide];
        let rows = to_queries.chunks_exact(self.shape.query()).zip(g.chunks_exact_mut(wide));
        for (to_query, g) in rows {
            grads[..hidden].copy_from_slice(&to_query[..hidden]);
            chain(Activation::Tanh, g, &mut grads);
            g.copy_from_slice(&grads);
        }
    }

    fn to_code(&self, to_z: &[f32], code: &[f32], noise: &[f32], beta: f32, out: &mut [f32]) {
        let Shape { latent, variational, .. } = self.shape;
        let (narrow, width) = (self.shape.narrow(), self.shape.code());
        if !variational {
            out.copy_from_slice(to_z);
            return chain(Activation::Tanh, code, out);
        }
        let mut sigma = vec![0.0; latent];
        let rows = to_z.chunks_exact(narrow).zip(noise.chunks_exact(narrow));
        let codes = code.chunks_exact(width).zip(out.chunks_exact_mut(width));
        for ((to_z, noise), (code, out)) in rows.zip(codes) {
            deviation(&code[narrow..][..latent], &mut sigma);
            let (to_mu, to_log_variance) = out.split_at_mut(narrow);
            for k in 0..latent {
                let sigma = sigma[k];
                to_mu[k] = to_z[k] + beta * code[k];
                to_log_variance[k] =
                    0.5 * (to_z[k] * noise[k] * sigma + beta * (sigma * sigma - 1.0));
            }
        }
    }

    fn sum_gradients(&mut self, pass: &Pass) {
        let shape = self.shape;
        let (wide, narrow, code) = (shape.wide(), shape.narrow(), shape.code());
        let [_, w2, b2, w3, _] = shape.ranges();
        let (b1, rest) = self.grads.split_at_mut(w2.start);
        let (w2, rest) = rest.split_at_mut(w2.len());
        let (b2, rest) = rest.split_at_mut(b2.len());
        let (w3, b3) = rest.split_at_mut(w3.len());
        let weights = |inputs: Rows<'_>, grads: &[f32], width: usize, out: &mut [f32]| {
            out.par_chunks_mut(INPUTS * width).enumerate().for_each(|(task, out)| {
                let first = task * INPUTS;
                to_weights(inputs, first..first + out.len() / width, grads, width, out);
            });
        };
        rayon::join(
            || {
                let h = Rows::new(&pass.h, pass.rows, shape.hidden, wide);
                weights(h, &pass.to_code, code, w2);
                to_bias(&pass.to_code, b2);
                to_bias(&pass.first, b1);
            },
            || {
                let z = Rows::new(&pass.z, pass.rows, shape.latent, narrow);
                weights(z, &pass.g, wide, w3);
                to_bias(&pass.g, b3);
            },
        );
    }

    /// The optimiser's step, with the gradients of [`Coder::backward`].
    pub fn update(&mut self, scale: f32) {
        self.weights.update(&self.grads, scale);
        self.changed();
    }

    /// The layers' weights without padding, inputs x outputs.
    pub fn export(&self, tensors: &mut Tensors) {
        let values = self.weights.values();
        for (name, range, rows, width, columns) in self.matrices() {
            let rows_of = values[range].chunks_exact(width);
            let data = rows_of.flat_map(|row| columns.iter().map(|&k| row[k])).collect::<Vec<_>>();
            tensors.insert(name, &[rows, columns.len()], data);
        }
    }

    /// From [`Coder::export`]; resets the optimiser.
    pub fn import(&mut self, tensors: &Tensors) -> Result<()> {
        let mut flat = vec![0.0; self.shape.len()];
        for (name, range, rows, width, columns) in self.matrices() {
            let (data, found_rows, found_columns) = tensors.matrix(name)?;
            if (found_rows, found_columns) != (rows, columns.len()) {
                let expected = format!("expected {rows} x {}", columns.len());
                let problem = format!("{expected}, found {found_rows} x {found_columns}");
                return Err(Error::Tensor { name: name.into(), problem });
            }
            let data = data.chunks_exact(columns.len());
            for (row, data) in flat[range].chunks_exact_mut(width).zip(data) {
                columns.iter().zip(data).for_each(|(&k, &value)| row[k] = value);
            }
        }
        self.weights.values_mut().copy_from_slice(&flat);
        self.changed();
        Ok(())
    }

    fn matrices(&self) -> [Matrix; 5] {
        let Shape { hidden, latent, .. } = self.shape;
        let (wide, code) = (self.shape.wide(), self.shape.code());
        let [b1, w2, b2, w3, b3] = self.shape.ranges();
        let (all, some) = ((0..hidden).collect::<Vec<_>>(), self.shape.code_columns());
        [
            ("encoder.1.bias", b1, 1, wide, all.clone()),
            ("encoder.2.weight", w2, hidden, code, some.clone()),
            ("encoder.2.bias", b2, 1, code, some),
            ("decoder.1.weight", w3, latent, wide, all.clone()),
            ("decoder.1.bias", b3, 1, wide, all),
        ]
    }

    /// See [`Learner::state`](rankstill_core::Learner::state).
    pub fn restore(&mut self, state: &rankstill_core::kernel::table::TableState) -> Result<()> {
        self.weights.restore(state).map_err(wrong("coder"))?;
        self.changed();
        Ok(())
    }
}

/// Name, range, rows, padded row width, and the columns that are not padding.
type Matrix = (&'static str, Range<usize>, usize, usize, Vec<usize>);

impl Pass {
    fn resize(&mut self, shape: Shape, rows: usize) {
        self.rows = rows;
        for (buffer, width) in [
            (&mut self.h, shape.wide()),
            (&mut self.code, shape.code()),
            (&mut self.noise, shape.narrow()),
            (&mut self.z, shape.narrow()),
            (&mut self.g, shape.wide()),
            (&mut self.to_z, shape.narrow()),
            (&mut self.to_code, shape.code()),
            (&mut self.queries, shape.query()),
        ] {
            // Padding is never written, and so stays 0.
            buffer.resize(rows * width, 0.0);
        }
    }
}

/// sigma of ln sigma^2.
fn deviation(log_variance: &[f32], sigma: &mut [f32]) {
    for (sigma, log_variance) in sigma.iter_mut().zip(log_variance) {
        *sigma = 0.5 * log_variance;
    }
    exp_slice(sigma);
}

pub(super) fn glorot(inputs: usize, outputs: usize) -> f32 {
    (6.0 / (inputs + outputs) as f64).sqrt() as f32
}
