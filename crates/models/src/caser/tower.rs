//! From a history and a user to a query vector, and back: convolutions, dropout, a fully connected layer.
//!
//! With E the embeddings of the last L items and u the user's: c = dropout([vertical(E); horizontal(E)]), z =
//! phi_a(W c + b), and the query vector is x = [z; u; 1]. Cases are independent, so threads can share them in
//! any way; each weight's gradient is summed by one owner, in the batch's order. So neither threads nor
//! instruction sets change a bit.

use super::Caser;
use super::layout::Layout;
use rankstill_core::kernel::activation::{Activation, activate, chain};
use rankstill_core::kernel::affine::{affine, to_bias, to_weights, transpose};
use rankstill_core::kernel::buffer::Buffer;
use rankstill_core::kernel::conv::{
    ConvShape, Weights, convolve, pack, to_filters, to_vertical, to_windows,
};
use rankstill_core::kernel::dropout::{Dropout, apply};
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rayon::prelude::*;

/// The layers' weights, flat, with their optimiser.
pub(super) struct Tower {
    pub layout: Layout,
    of_convolution: Activation,
    of_output: Activation,
    dropout: Dropout,
    pub weights: DenseParam,
    /// The horizontal filters as the forward kernel reads them, and the transposed fully connected layer.
    packed: Vec<f32>,
    transposed: Buffer,
    /// Of the current step.
    grads: Buffer,
}

/// What a forward pass keeps for the backward pass. Reused from batch to batch.
#[derive(Default)]
pub(super) struct Pass {
    /// The items' embeddings, `rows x length x stride`: set by the caller.
    pub windows: Buffer,
    /// The query vectors, [`Pass::stride`] apart.
    pub queries: Buffer,
    pub stride: usize,
    concat: Buffer,
    positions: Vec<u32>,
    masks: Vec<u64>,
    /// z, `rows x stride`; then the gradient of its sums.
    hidden: Buffer,
    rows: usize,
    /// Gradients of the windows, and of the users' embeddings (`rows x stride`): the results of the backward pass.
    pub to_windows: Buffer,
    pub to_users: Buffer,
    to_concat: Buffer,
}

impl Pass {
    /// Makes room for `rows` rows, with query vectors `stride` apart.
    pub fn resize(&mut self, layout: &Layout, rows: usize, stride: usize) {
        let shape = layout.shape;
        (self.rows, self.stride) = (rows, stride);
        fit(&mut self.windows, rows * shape.window());
        fit(&mut self.queries, rows * stride);
        fit(&mut self.concat, rows * layout.concat());
        self.positions.resize(rows * shape.pooled(), 0);
        self.masks.resize(rows * Dropout::words(shape.outputs()), 0);
        fit(&mut self.hidden, rows * shape.stride());
    }
}

/// Replaces a buffer of another length by zeros.
fn fit(buffer: &mut Buffer, len: usize) {
    if buffer.len() != len {
        *buffer = Buffer::zeros(len);
    }
}

/// Cases per task.
const CHUNK: usize = 24;

impl Tower {
    /// All weights 0.
    pub fn new(recipe: &Caser, optimizer: &Optimizer) -> Self {
        let layout = Layout::new(recipe);
        let len = layout.len();
        let mut tower = Self {
            of_convolution: recipe.conv_activation,
            of_output: recipe.fc_activation,
            dropout: Dropout::new(recipe.dropout),
            weights: DenseParam::new(len, optimizer.clone()),
            packed: Vec::new(),
            transposed: Buffer::zeros(layout.shape.stride() * layout.concat()),
            grads: Buffer::zeros(len),
            layout,
        };
        tower.changed();
        tower
    }

    /// PyTorch's initial weights: uniform within +-1 / sqrt(inputs of a filter or output), biases included.
    pub fn randomise(&mut self, rng: &mut Rng) {
        let layout = self.layout.clone();
        let shape = layout.shape;
        let (dim, stride) = (shape.dim, shape.stride());
        let values = self.weights.values_mut();
        let mut draw = |out: &mut [f32], inputs: usize| {
            let bound = (1.0 / (inputs as f64).sqrt()) as f32;
            rng.fill_uniform(out, -bound, bound);
        };
        draw(&mut values[layout.vertical], shape.length);
        draw(&mut values[layout.vertical_bias], shape.length);
        for h in 1..=shape.length {
            let filters = shape.filter_at(h, 0)..shape.filter_at(h + 1, 0);
            let filters = &mut values[layout.horizontal.clone()][filters];
            filters.chunks_exact_mut(stride).for_each(|row| draw(&mut row[..dim], h * dim));
            let bias = (h - 1) * shape.horizontal..h * shape.horizontal;
            draw(&mut values[layout.horizontal_bias.clone()][bias], h * dim);
        }
        let full = values[layout.full].chunks_exact_mut(stride);
        full.for_each(|row| draw(&mut row[..dim], shape.outputs()));
        draw(&mut values[layout.full_bias][..dim], shape.outputs());
        self.changed();
    }

    /// Must be called after every change of the weights.
    pub fn changed(&mut self) {
        let Self { layout, weights, packed, transposed, .. } = self;
        let values = weights.values();
        let (shape, concat) = (layout.shape, layout.concat());
        let full = &values[layout.full.clone()];
        let stride = shape.stride();
        rayon::join(
            || pack(shape, &values[layout.horizontal.clone()], packed),
            || transpose(full, shape.outputs(), stride, stride, transposed, concat),
        );
    }

    /// Computes `pass.queries` from `pass.windows` and the users' embeddings (`user(row, out)`); with dropout
    /// if there is a generator for every row.
    pub fn forward(
        &self,
        pass: &mut Pass,
        user: impl Fn(usize, &mut [f32]) + Sync,
        dropout: Option<&(dyn Fn(usize) -> Rng + Sync)>,
    ) {
        let Layout { shape, .. } = self.layout;
        let dropout = dropout.filter(|_| !self.dropout.is_off());
        let words = Dropout::words(shape.outputs());
        (
            pass.windows.par_chunks(CHUNK * shape.window()),
            pass.concat.par_chunks_mut(CHUNK * self.layout.concat()),
            pass.positions.par_chunks_mut((CHUNK * shape.pooled()).max(1)),
            pass.masks.par_chunks_mut(CHUNK * words),
            pass.hidden.par_chunks_mut(CHUNK * shape.stride()),
            pass.queries.par_chunks_mut(CHUNK * pass.stride),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(chunk, (windows, concat, positions, masks, hidden, queries))| {
                self.convolve(windows, concat, positions);
                let first = chunk * CHUNK;
                if let Some(rng) = dropout {
                    for (row, mask) in masks.chunks_exact_mut(words).enumerate() {
                        self.dropout.draw(&mut rng(first + row), mask);
                    }
                    self.drop(masks, concat);
                }
                self.full(concat, hidden);
                let queries = queries.chunks_exact_mut(pass.stride);
                for ((row, query), z) in
                    queries.enumerate().zip(hidden.chunks_exact(shape.stride()))
                {
                    let (own, rest) = query.split_at_mut(shape.dim);
                    own.copy_from_slice(&z[..shape.dim]);
                    user(first + row, &mut rest[..shape.dim]);
                    rest[shape.dim] = 1.0;
                }
            });
    }

    fn convolve(&self, windows: &[f32], concat: &mut [f32], positions: &mut [u32]) {
        let Layout { shape, vertical, vertical_bias, horizontal_bias, .. } = &self.layout;
        let values = self.weights.values();
        let weights = Weights {
            vertical: &values[vertical.clone()],
            vertical_bias: &values[vertical_bias.clone()],
            packed: &self.packed,
            horizontal_bias: &values[horizontal_bias.clone()],
        };
        let stride = self.layout.concat();
        convolve(*shape, self.of_convolution, weights, windows, concat, stride, positions);
    }

    /// The same forward and backward.
    fn drop(&self, masks: &[u64], concat: &mut [f32]) {
        apply(
            masks,
            self.dropout.scale(),
            concat,
            self.layout.shape.outputs(),
            self.layout.concat(),
        );
    }

    fn full(&self, concat: &[f32], hidden: &mut [f32]) {
        let Layout { shape, full, full_bias, .. } = &self.layout;
        let values = self.weights.values();
        let stride = shape.stride();
        let inputs =
            Rows::new(concat, hidden.len() / stride, shape.outputs(), self.layout.concat());
        let (weights, bias) = (&values[full.clone()], &values[full_bias.clone()]);
        affine(inputs, weights, bias, stride, hidden);
        activate(self.of_output, hidden);
    }

    /// From the gradients of the query vectors to `pass.to_windows`, `pass.to_users` and those of the weights, for
    /// [`Tower::update`]. `dropped`: whether the forward pass had dropout.
    pub fn backward(&mut self, pass: &mut Pass, to_queries: &[f32], dropped: bool) {
        let (shape, concat) = (self.layout.shape, self.layout.concat());
        fit(&mut pass.to_windows, pass.windows.len());
        fit(&mut pass.to_users, pass.hidden.len());
        fit(&mut pass.to_concat, pass.concat.len());
        let dropped = dropped && !self.dropout.is_off();
        let this = &*self;
        (
            pass.hidden.par_chunks_mut(CHUNK * shape.stride()),
            to_queries.par_chunks(CHUNK * pass.stride),
            pass.to_users.par_chunks_mut(CHUNK * shape.stride()),
            pass.concat.par_chunks(CHUNK * concat),
            pass.to_concat.par_chunks_mut(CHUNK * concat),
            pass.masks.par_chunks(CHUNK * Dropout::words(shape.outputs())),
            pass.positions.par_chunks((CHUNK * shape.pooled()).max(1)),
            pass.to_windows.par_chunks_mut(CHUNK * shape.window()),
        )
            .into_par_iter()
            .for_each(
                |(hidden, to_queries, to_users, concat, to_concat, masks, positions, out)| {
                    this.to_hidden(hidden, to_queries, pass.stride, to_users);
                    this.to_concat(hidden, concat, dropped.then_some(masks), to_concat);
                    this.to_windows(to_concat, positions, out);
                },
            );
        self.sum_gradients(pass);
    }

    /// Replaces z by the gradient of the sums before its activation.
    fn to_hidden(&self, hidden: &mut [f32], to_queries: &[f32], apart: usize, users: &mut [f32]) {
        let ConvShape { dim, .. } = self.layout.shape;
        let stride = self.layout.shape.stride();
        let rows = hidden.chunks_exact_mut(stride).zip(users.chunks_exact_mut(stride));
        let mut grads = vec![0.0; stride];
        for ((z, user), to_query) in rows.zip(to_queries.chunks_exact(apart)) {
            grads[..dim].copy_from_slice(&to_query[..dim]);
            chain(self.of_output, z, &mut grads);
            z.copy_from_slice(&grads);
            user[..dim].copy_from_slice(&to_query[dim..2 * dim]);
        }
    }

    fn to_concat(&self, hidden: &[f32], concat: &[f32], masks: Option<&[u64]>, out: &mut [f32]) {
        let (shape, width) = (self.layout.shape, self.layout.concat());
        let stride = shape.stride();
        let bias = vec![0.0; width];
        let back = &self.transposed[..shape.dim * width];
        let hidden = Rows::new(hidden, hidden.len() / stride, shape.dim, stride);
        affine(hidden, back, &bias, width, out);
        if let Some(masks) = masks {
            self.drop(masks, out);
        }
        if self.of_convolution == Activation::Identity {
            return;
        }
        // Dropout has scaled the outputs that it kept: undone, they are those of the activation.
        let kept = if masks.is_some() { 1.0 / self.dropout.scale() } else { 1.0 };
        let pooled = shape.vertical * shape.dim..shape.outputs();
        let mut given = vec![0.0; pooled.len()];
        for (concat, out) in concat.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            for (given, x) in given.iter_mut().zip(&concat[pooled.clone()]) {
                *given = x * kept;
            }
            chain(self.of_convolution, &given, &mut out[pooled.clone()]);
        }
    }

    fn to_windows(&self, to_concat: &[f32], positions: &[u32], out: &mut [f32]) {
        let Layout { shape, vertical, horizontal, .. } = &self.layout;
        let values = self.weights.values();
        let (vertical, filters) = (&values[vertical.clone()], &values[horizontal.clone()]);
        to_windows(*shape, vertical, filters, to_concat, self.layout.concat(), positions, out);
    }

    /// Each weight belongs to one task, which goes over the batch in order.
    fn sum_gradients(&mut self, pass: &Pass) {
        /// Filters, and inputs of the fully connected layer, per task.
        const FILTERS: usize = 4;
        const INPUTS: usize = 24;
        /// Cases per block, whose windows stay in a core's cache while all filters sum over them.
        const BLOCK: usize = 128;
        let shape = self.layout.shape;
        let (stride, concat, window) = (shape.stride(), self.layout.concat(), shape.window());
        let [vertical, vertical_bias, mut filters, mut biases, full, full_bias] =
            self.layout.split(&mut self.grads);

        // Height by height, a few filters per task; tall ones first, because they take longest.
        let mut tasks = Vec::new();
        for h in 1..=shape.length {
            for first in (0..shape.horizontal).step_by(FILTERS) {
                let range = first..(first + FILTERS).min(shape.horizontal);
                let (own, others) = filters.split_at_mut(range.len() * h * stride);
                let (own_biases, other_biases) = biases.split_at_mut(range.len());
                (filters, biases) = (others, other_biases);
                own.fill(0.0);
                own_biases.fill(0.0);
                tasks.push((h, range, own, own_biases));
            }
        }
        tasks.reverse();

        let convolutions = || {
            for first in (0..pass.rows).step_by(BLOCK) {
                let rows = first..(first + BLOCK).min(pass.rows);
                tasks.par_iter_mut().for_each(|(h, range, filters, biases)| {
                    to_filters(
                        shape,
                        *h,
                        range.clone(),
                        &pass.windows[rows.start * window..rows.end * window],
                        &pass.to_concat[rows.start * concat..rows.end * concat],
                        concat,
                        &pass.positions[rows.start * shape.pooled()..rows.end * shape.pooled()],
                        filters,
                        biases,
                    );
                });
            }
        };
        let verticals = || {
            let weights = vertical.par_chunks_mut(shape.length).zip(vertical_bias);
            weights.enumerate().for_each(|(v, (weights, bias))| {
                *bias = to_vertical(shape, v, &pass.windows, &pass.to_concat, concat, weights);
            });
        };
        let inputs = || {
            let inputs = Rows::new(&pass.concat, pass.rows, shape.outputs(), concat);
            full.par_chunks_mut(INPUTS * stride).enumerate().for_each(|(task, out)| {
                let first = task * INPUTS;
                to_weights(inputs, first..first + out.len() / stride, &pass.hidden, stride, out);
            });
            to_bias(&pass.hidden, full_bias);
        };
        rayon::join(|| rayon::join(convolutions, verticals), inputs);
    }

    /// The optimiser's step, with the gradients of [`Tower::backward`].
    pub fn update(&mut self, scale: f32) {
        self.weights.update(&self.grads, scale);
        self.changed();
    }
}
