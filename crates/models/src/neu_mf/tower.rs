//! The layers: how embeddings are laid out, and how a pair's halves become its score.
//!
//! Everything is padded with zeros to a multiple of 16 numbers. A block of pairs is one task: forward,
//! backward, and its contribution to the weights' gradients, which are added block by block.

use super::NeuMf;
use rankstill_core::kernel::activation::{Activation, activate, chain};
use rankstill_core::kernel::affine::{affine, to_bias, to_weights, transpose};
use rankstill_core::kernel::dense::{axpy, dot};
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::simd::LANES;
use rankstill_core::{Error, Result, Tensors};
use std::ops::Range;

/// Weights with their optimiser, and what is derived from them.
pub(super) struct Tower {
    pub shape: Shape,
    activation: Activation,
    pub weights: DenseParam,
    /// W1', W1'' and the other layers' weights, outputs x inputs, for the backward pass.
    back: Vec<Vec<f32>>,
}

/// The sizes of all parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub dim: usize,
    pub mlp_dim: usize,
    pub layers: Vec<usize>,
}

/// The ranges of the parts of the weights.
pub(super) struct WeightRanges {
    /// W1' and W1'', inputs x outputs.
    pub halves: [Range<usize>; 2],
    pub first_bias: Range<usize>,
    /// Weights and bias of the layers after the first.
    pub deep: Vec<(Range<usize>, Range<usize>)>,
    /// g, h and c.
    pub mlp: Range<usize>,
    pub gmf: Range<usize>,
    pub bias: usize,
    pub end: usize,
}

/// Pairs that go through the layers together.
#[derive(Default)]
pub(super) struct Block {
    n: usize,
    /// Every layer's outputs; for the first layer, before [`Tower::forward`], its sums.
    pub acts: Vec<Vec<f32>>,
    /// The gradients of every layer's sums.
    pub to: Vec<Vec<f32>>,
    /// The weights' gradients; those of W1' and W1'' are computed elsewhere.
    pub grads: Vec<f32>,
}

/// A half of the first layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    User = 0,
    Item = 1,
}

fn pad(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

impl Shape {
    pub fn of(recipe: &NeuMf) -> Self {
        let NeuMf { dim, mlp_dim, layers, .. } = recipe;
        Self { dim: *dim, mlp_dim: *mlp_dim, layers: layers.clone() }
    }

    /// Padded length of p or q, after which u or v begin.
    pub fn product(&self) -> usize {
        pad(self.dim)
    }

    /// Columns of a table.
    pub fn columns(&self) -> usize {
        self.product() + self.mlp_dim
    }

    /// Padded width of the first layer.
    pub fn first(&self) -> usize {
        pad(self.layers[0])
    }

    pub fn ranges(&self) -> WeightRanges {
        let mut end = 0;
        let mut take = |len: usize| {
            end += len;
            end - len..end
        };
        let first = self.first();
        let halves = [take(self.mlp_dim * first), take(self.mlp_dim * first)];
        let first_bias = take(first);
        let deep =
            self.layers.windows(2).map(|pair| (take(pair[0] * pad(pair[1])), take(pad(pair[1]))));
        let deep = deep.collect();
        let mlp = take(pad(self.layers[self.layers.len() - 1]));
        let gmf = take(self.product());
        let bias = take(LANES).start;
        WeightRanges { halves, first_bias, deep, mlp, gmf, bias, end }
    }

    /// Trained parameters outside the tables.
    pub fn n_parameters(&self) -> usize {
        let deep: usize = self.layers.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum();
        let (first, last) = (self.layers[0], self.layers[self.layers.len() - 1]);
        (2 * self.mlp_dim + 1) * first + deep + last + self.dim + 1
    }
}

impl Block {
    /// Makes room for the forward pass of `n` pairs.
    pub fn resize(&mut self, shape: &Shape, n: usize) {
        self.n = n;
        fit(&mut self.acts, shape, n);
    }
}

fn fit(all: &mut Vec<Vec<f32>>, shape: &Shape, n: usize) {
    all.resize(shape.layers.len(), Vec::new());
    for (layer, &width) in all.iter_mut().zip(&shape.layers) {
        layer.resize(n * pad(width), 0.0);
    }
}

impl Tower {
    /// All zeros.
    pub fn new(recipe: &NeuMf, optimizer: &Optimizer) -> Self {
        let shape = Shape::of(recipe);
        let weights = DenseParam::new(shape.ranges().end, optimizer.clone());
        let mut tower = Self { shape, activation: recipe.activation, weights, back: Vec::new() };
        tower.changed();
        tower
    }

    /// Weights uniform within +-sqrt(6 / (inputs + outputs)) (Glorot & Bengio, AISTATS 2010), biases 0.
    pub fn randomise(&mut self, rng: &mut Rng) {
        let Self { shape, weights, .. } = self;
        let ranges = shape.ranges();
        let values = weights.values_mut();
        let mut draw = |range: Range<usize>, inputs: usize, outputs: usize, columns: usize| {
            let bound = (6.0 / (inputs + outputs) as f64).sqrt() as f32;
            for row in values[range].chunks_exact_mut(pad(columns)) {
                rng.fill_uniform(&mut row[..columns], -bound, bound);
            }
        };
        let (inputs, first) = (2 * shape.mlp_dim, shape.layers[0]);
        for half in ranges.halves {
            draw(half, inputs, first, first);
        }
        for ((weights, _), pair) in ranges.deep.into_iter().zip(shape.layers.windows(2)) {
            draw(weights, pair[0], pair[1], pair[1]);
        }
        let last = shape.layers[shape.layers.len() - 1];
        let fused = shape.dim + last;
        draw(ranges.mlp, fused, 1, last);
        draw(ranges.gmf, fused, 1, shape.dim);
        self.changed();
    }

    /// Must be called after every change of the weights.
    pub fn changed(&mut self) {
        let Self { shape, weights, back, .. } = self;
        let (ranges, values) = (shape.ranges(), weights.values());
        let halves = ranges.halves.into_iter().map(|half| (half, shape.mlp_dim, shape.layers[0]));
        let deep = ranges.deep.into_iter().zip(shape.layers.windows(2));
        let deep = deep.map(|((weights, _), pair)| (weights, pair[0], pair[1]));
        let all: Vec<_> = halves.chain(deep).collect();
        back.resize(all.len(), Vec::new());
        for ((range, inputs, outputs), back) in all.into_iter().zip(back) {
            back.resize(outputs * pad(inputs), 0.0);
            transpose(&values[range], inputs, outputs, pad(outputs), back, pad(inputs));
        }
    }

    /// h
    pub fn gmf(&self) -> &[f32] {
        &self.weights.values()[self.shape.ranges().gmf]
    }

    /// The halves of the first layer's sums, b1 included in the users', for `n` rows of a table, `stride` apart.
    pub fn halves(&self, half: Half, rows: &[f32], n: usize, stride: usize, out: &mut [f32]) {
        if n == 0 {
            return;
        }
        let (ranges, values) = (self.shape.ranges(), self.weights.values());
        let rows = Rows::new(&rows[self.shape.product()..], n, self.shape.mlp_dim, stride);
        let none = vec![0.0; self.shape.first()];
        let bias = if half == Half::User { &values[ranges.first_bias.clone()] } else { &none };
        let weights = &values[ranges.halves[half as usize].clone()];
        affine(rows, weights, bias, self.shape.first(), out);
    }

    /// From the gradients of halves to those of u or v, rows of `pad(mlp_dim)` numbers.
    pub fn to_vectors(&self, half: Half, to_halves: &[f32], out: &mut [f32]) {
        let (first, width) = (self.shape.first(), pad(self.shape.mlp_dim));
        let rows = Rows::new(to_halves, to_halves.len() / first, self.shape.layers[0], first);
        affine(rows, &self.back[half as usize], &vec![0.0; width], width, out);
    }

    /// The gradient of W1' or W1'' for some of its inputs.
    pub fn to_halves(
        &self,
        inputs: Range<usize>,
        rows: &[f32],
        n: usize,
        stride: usize,
        to_halves: &[f32],
        out: &mut [f32],
    ) {
        if n == 0 {
            return out.fill(0.0);
        }
        let rows = Rows::new(&rows[self.shape.product()..], n, self.shape.mlp_dim, stride);
        to_weights(rows, inputs, to_halves, self.shape.first(), out);
    }

    /// Adds the perceptron's part of the score, and c, to `out`; the block's first layer holds the sums of the
    /// halves.
    pub fn forward(&self, block: &mut Block, out: &mut [f32]) {
        let (ranges, values) = (self.shape.ranges(), self.weights.values());
        activate(self.activation, &mut block.acts[0]);
        for (layer, (weights, bias)) in ranges.deep.iter().enumerate() {
            let (before, after) = block.acts.split_at_mut(layer + 1);
            let (inputs, width) = (self.shape.layers[layer], pad(self.shape.layers[layer + 1]));
            let rows = Rows::new(&before[layer], block.n, inputs, pad(inputs));
            affine(rows, &values[weights.clone()], &values[bias.clone()], width, &mut after[0]);
            activate(self.activation, &mut after[0]);
        }
        let last = &block.acts[block.acts.len() - 1];
        let (weights, bias) = (&values[ranges.mlp.clone()], values[ranges.bias]);
        for (out, last) in out.iter_mut().zip(last.chunks_exact(weights.len())) {
            *out += dot(last, weights) + bias;
        }
    }

    /// From the scores' gradients to those of all layers' sums and of the weights.
    pub fn backward(&self, block: &mut Block, slopes: &[f32]) {
        let (ranges, values) = (self.shape.ranges(), self.weights.values());
        let Block { n, acts, to, grads } = block;
        fit(to, &self.shape, *n);
        grads.resize(ranges.end, 0.0);
        let last = acts.len() - 1;
        let weights = &values[ranges.mlp.clone()];
        grads[ranges.mlp.clone()].fill(0.0);
        grads[ranges.bias] = 0.0;
        let rows = acts[last].chunks_exact(weights.len());
        for ((act, to), &slope) in rows.zip(to[last].chunks_exact_mut(weights.len())).zip(slopes) {
            for (to, weight) in to.iter_mut().zip(weights) {
                *to = slope * weight;
            }
            axpy(slope, act, &mut grads[ranges.mlp.clone()]);
            grads[ranges.bias] += slope;
        }
        chain(self.activation, &acts[last], &mut to[last]);
        for (layer, (weights, bias)) in ranges.deep.iter().enumerate().rev() {
            let (before, after) = to.split_at_mut(layer + 1);
            let (inputs, outputs) = (self.shape.layers[layer], self.shape.layers[layer + 1]);
            let rows = Rows::new(&acts[layer], *n, inputs, pad(inputs));
            to_weights(rows, 0..inputs, &after[0], pad(outputs), &mut grads[weights.clone()]);
            to_bias(&after[0], &mut grads[bias.clone()]);
            let none = vec![0.0; pad(inputs)];
            let sums = Rows::new(&after[0], *n, outputs, pad(outputs));
            affine(sums, &self.back[layer + 2], &none, pad(inputs), &mut before[layer]);
            chain(self.activation, &acts[layer], &mut before[layer]);
        }
        to_bias(&to[0], &mut grads[ranges.first_bias]);
    }

    /// The weights without padding.
    pub fn export(&self, tensors: &mut Tensors) {
        let values = self.weights.values();
        for (name, range, rows, columns) in self.matrices() {
            let data = values[range].chunks_exact(pad(columns)).take(rows);
            let data: Vec<f32> = data.flat_map(|row| &row[..columns]).copied().collect();
            tensors.insert(name, &[rows, columns], data);
        }
    }

    /// From [`Tower::export`]; resets the optimiser.
    pub fn import(&mut self, tensors: &Tensors) -> Result<()> {
        let mut flat = vec![0.0; self.weights.len()];
        for (name, range, rows, columns) in self.matrices() {
            let (data, found_rows, found_columns) = tensors.matrix(&name)?;
            if (found_rows, found_columns) != (rows, columns) {
                let found = format!("found {found_rows} x {found_columns}");
                let problem = format!("expected {rows} x {columns}, {found}");
                return Err(Error::Tensor { name, problem });
            }
            let to = flat[range].chunks_exact_mut(pad(columns));
            to.zip(data.chunks_exact(columns))
                .for_each(|(to, row)| to[..columns].copy_from_slice(row));
        }
        self.weights.values_mut().copy_from_slice(&flat);
        self.changed();
        Ok(())
    }

    /// Name, range, rows and columns.
    fn matrices(&self) -> Vec<(String, Range<usize>, usize, usize)> {
        let Shape { dim, mlp_dim, layers } = &self.shape;
        let ranges = self.shape.ranges();
        let [user, item] = ranges.halves;
        let mut all = vec![
            ("layers.1.user".to_owned(), user, *mlp_dim, layers[0]),
            ("layers.1.item".to_owned(), item, *mlp_dim, layers[0]),
            ("layers.1.bias".to_owned(), ranges.first_bias, 1, layers[0]),
        ];
        for (at, ((weights, bias), pair)) in
            ranges.deep.into_iter().zip(layers.windows(2)).enumerate()
        {
            all.push((format!("layers.{}.weight", at + 2), weights, pair[0], pair[1]));
            all.push((format!("layers.{}.bias", at + 2), bias, 1, pair[1]));
        }
        all.push(("last.mlp".to_owned(), ranges.mlp, 1, layers[layers.len() - 1]));
        all.push(("last.product".to_owned(), ranges.gmf, 1, *dim));
        all.push(("last.bias".to_owned(), ranges.bias..ranges.end, 1, 1));
        all
    }
}
