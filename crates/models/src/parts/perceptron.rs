//! A perceptron with one hidden layer on dense rows: y = act(x W1 + b1) W2 + b2, with its gradients.
//!
//! Rows are padded with zeros to a multiple of 16 numbers, those of the inputs included. A batch's rows are cut into chunks for
//! the forward pass and for the gradients of rows, the weights' inputs for the gradients of weights. Every sum has a fixed
//! order, so a row alone and in a batch has the same bits.

use rankstill_core::kernel::activation::{Activation, activate, chain};
use rankstill_core::kernel::affine::{affine, to_bias, to_weights, transpose};
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::simd::LANES;
use rankstill_core::kernel::table::TableState;
use rankstill_core::state::wrong;
use rankstill_core::{Error, Result, Tensors};
use rayon::prelude::*;
use std::ops::Range;

/// The sizes of the layers, and the hidden layer's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub inputs: usize,
    pub hidden: usize,
    pub outputs: usize,
    pub activation: Activation,
}

/// The stride of rows of `n` numbers.
pub(crate) fn stride(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

impl Shape {
    /// The ranges of W1, b1, W2 and b2.
    fn ranges(self) -> [Range<usize>; 4] {
        let (wide, out) = (stride(self.hidden), stride(self.outputs));
        let mut end = 0;
        [self.inputs * wide, wide, self.hidden * out, out].map(|len| {
            end += len;
            end - len..end
        })
    }

    /// Trained parameters, without padding.
    pub fn n_parameters(self) -> usize {
        (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.outputs
    }
}

/// The parameters with their optimiser.
pub(crate) struct Perceptron {
    pub shape: Shape,
    params: DenseParam,
    grads: Vec<f32>,
    /// W1 and W2, transposed for the backward pass; empty for a model that is not trained.
    back: [Vec<f32>; 2],
}

/// Rows per task.
const CHUNK: usize = 8;
/// Inputs of a layer per task of the weights' gradients.
const INPUTS: usize = 24;

impl Perceptron {
    /// All zeros, in training.
    pub fn new(shape: Shape, optimizer: &Optimizer) -> Self {
        let len = shape.ranges()[3].end;
        let back = [
            vec![0.0; shape.hidden * stride(shape.inputs)],
            vec![0.0; shape.outputs * stride(shape.hidden)],
        ];
        let params = DenseParam::new(len, optimizer.clone());
        Self { shape, params, grads: vec![0.0; len], back }
    }

    /// Weights uniform within +-sqrt(6 / (inputs + outputs)) (Glorot & Bengio, AISTATS 2010), biases within +-`bias`.
    pub fn randomise(&mut self, bias: f32, rng: impl Fn(u64) -> Rng) {
        let Shape { inputs, hidden, outputs, .. } = self.shape;
        let values = self.params.values_mut();
        let glorot = |n, m| (6.0 / (n + m) as f64).sqrt() as f32;
        let bounds = [glorot(inputs, hidden), bias, glorot(hidden, outputs), bias];
        let widths = [hidden, hidden, outputs, outputs];
        let parts = self.shape.ranges().into_iter().zip(bounds).zip(widths).zip(0..);
        for (((range, bound), width), part) in parts {
            let mut rng = rng(part);
            for row in values[range].chunks_exact_mut(stride(width)) {
                rng.fill_uniform(&mut row[..width], -bound, bound);
            }
        }
        self.changed();
    }

    /// Must be called after every change of the parameters.
    fn changed(&mut self) {
        let Shape { inputs, hidden, outputs, .. } = self.shape;
        let [w1, _, w2, _] = self.shape.ranges();
        let (values, [back1, back2]) = (self.params.values(), &mut self.back);
        let (wide, out) = (stride(hidden), stride(outputs));
        rayon::join(
            || transpose(&values[w1], inputs, hidden, wide, back1, stride(inputs)),
            || transpose(&values[w2], hidden, outputs, out, back2, wide),
        );
    }

    /// A row for each output, its column of W2 and its bias: an output is the product of that row with the hidden layer
    /// and a 1.
    pub fn output_rows(&self) -> Vec<f32> {
        let Shape { hidden, outputs, .. } = self.shape;
        let [_, _, w2, b2] = self.shape.ranges();
        let (values, out) = (self.params.values(), stride(outputs));
        let mut rows = vec![0.0; outputs * (hidden + 1)];
        transpose(&values[w2], hidden, outputs, out, &mut rows, hidden + 1);
        rows.chunks_exact_mut(hidden + 1).zip(&values[b2]).for_each(|(row, b)| row[hidden] = *b);
        rows
    }

    /// act(x W1 + b1).
    pub fn hidden(&self, x: &[f32], hidden: &mut Vec<f32>) {
        let Shape { inputs, activation, .. } = self.shape;
        let [w1, b1, ..] = self.shape.ranges();
        let (values, from, wide) =
            (self.params.values(), stride(inputs), stride(self.shape.hidden));
        let n = x.len() / from.max(1);
        hidden.resize(n * wide, 0.0);
        let tasks = hidden.par_chunks_mut(CHUNK * wide).zip(x.par_chunks(CHUNK * from));
        tasks.for_each(|(hidden, x)| {
            let rows = Rows::new(x, x.len() / from, inputs, from);
            affine(rows, &values[w1.clone()], &values[b1.clone()], wide, hidden);
            for row in hidden.chunks_exact_mut(wide) {
                activate(activation, &mut row[..self.shape.hidden]);
            }
        });
    }

    /// From the hidden layer to the outputs.
    pub fn outputs(&self, hidden: &[f32], out: &mut Vec<f32>) {
        let [.., w2, b2] = self.shape.ranges();
        let (values, wide, width) =
            (self.params.values(), stride(self.shape.hidden), stride(self.shape.outputs));
        out.resize(hidden.len() / wide * width, 0.0);
        let tasks = out.par_chunks_mut(CHUNK * width).zip(hidden.par_chunks(CHUNK * wide));
        tasks.for_each(|(out, hidden)| {
            let rows = Rows::new(hidden, hidden.len() / wide, self.shape.hidden, wide);
            affine(rows, &values[w2.clone()], &values[b2.clone()], width, out);
        });
    }

    /// From the gradients of the outputs to those of the parameters, for [`Perceptron::update`], and of the inputs where they
    /// are wanted.
    pub fn backward(
        &mut self,
        x: &[f32],
        hidden: &[f32],
        to_out: &[f32],
        to_x: Option<&mut Vec<f32>>,
    ) {
        let Shape { inputs, outputs, activation, .. } = self.shape;
        let [w1, b1, w2, _] = self.shape.ranges();
        let (from, wide, width) = (stride(inputs), stride(self.shape.hidden), stride(outputs));
        let mut to_hidden = vec![0.0; hidden.len()];
        let back = &self.back;
        let tasks = to_hidden.par_chunks_mut(CHUNK * wide).zip(to_out.par_chunks(CHUNK * width));
        tasks.zip(hidden.par_chunks(CHUNK * wide)).for_each(|((to_hidden, to_out), hidden)| {
            let rows = Rows::new(to_out, to_out.len() / width, outputs, width);
            affine(rows, &back[1], &vec![0.0; wide], wide, to_hidden);
            chain(activation, hidden, to_hidden);
        });
        if let Some(to_x) = to_x {
            to_x.resize(x.len(), 0.0);
            let tasks = to_x.par_chunks_mut(CHUNK * from).zip(to_hidden.par_chunks(CHUNK * wide));
            tasks.for_each(|(to_x, to_hidden)| {
                let rows = Rows::new(to_hidden, to_hidden.len() / wide, self.shape.hidden, wide);
                affine(rows, &back[0], &vec![0.0; from], from, to_x);
            });
        }
        let (w1, rest) = self.grads.split_at_mut(w1.end);
        let (b1, rest) = rest.split_at_mut(b1.len());
        let (w2, b2) = rest.split_at_mut(w2.len());
        let weights = |rows: Rows<'_>, grads: &[f32], width: usize, out: &mut [f32]| {
            out.par_chunks_mut(INPUTS * width).enumerate().for_each(|(task, out)| {
                let first = task * INPUTS;
                to_weights(rows, first..first + out.len() / width, grads, width, out);
            });
        };
        let n = x.len() / from.max(1);
        weights(Rows::new(hidden, n, self.shape.hidden, wide), to_out, width, w2);
        weights(Rows::new(x, n, inputs, from), &to_hidden, wide, w1);
        to_bias(to_out, b2);
        to_bias(&to_hidden, b1);
    }

    /// The optimiser's step, with the gradients of [`Perceptron::backward`] times `scale`.
    pub fn update(&mut self, scale: f32) {
        self.params.update(&self.grads, scale);
        self.changed();
    }

    pub fn set_learning_rate(&mut self, rate: f64) {
        self.params.set_learning_rate(rate);
    }

    pub fn state(&self) -> TableState {
        self.params.state()
    }

    pub fn restore(&mut self, name: &str, state: &TableState) -> Result<()> {
        self.params.restore(state).map_err(wrong(name))?;
        self.changed();
        Ok(())
    }

    /// Inserts the parameters without padding, as `PREFIX.1.weight`, ..
    pub fn export(&self, prefix: &str, tensors: &mut Tensors) {
        for (name, range, rows, columns) in self.parts(prefix) {
            let rows_of = self.params.values()[range].chunks_exact(stride(columns));
            let data: Vec<f32> = rows_of.flat_map(|row| &row[..columns]).copied().collect();
            tensors.insert(&name, &[rows, columns], data);
        }
    }

    /// From [`Perceptron::export`], for use without training; the output layer says how many outputs there are, and
    /// `inputs` how many inputs that means.
    pub fn load(
        prefix: &str,
        tensors: &Tensors,
        (hidden, activation): (usize, Activation),
        inputs: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let (_, _, outputs) = tensors.matrix(&format!("{prefix}.2.weight"))?;
        let shape = Shape { inputs: inputs(outputs), hidden, outputs, activation };
        let mut net = Self::new(shape, &Optimizer::Sgd(Sgd::default()));
        for (name, range, rows, columns) in net.parts(prefix) {
            let bad = |problem| Error::Tensor { name: name.clone(), problem };
            let (data, found_rows, found_columns) = tensors.matrix(&name)?;
            if (found_rows, found_columns) != (rows, columns) {
                let found = format!("found {found_rows} x {found_columns}");
                return Err(bad(format!("expected {rows} x {columns}, {found}")));
            }
            if let Some(odd) = data.iter().find(|x| !x.is_finite()) {
                return Err(bad(format!("expected finite numbers, found {odd}")));
            }
            let to = net.params.values_mut()[range].chunks_exact_mut(stride(columns));
            to.zip(data.chunks_exact(columns)).for_each(|(to, row)| {
                to[..columns].copy_from_slice(row);
            });
        }
        net.changed();
        Ok(net)
    }

    /// Name, range, rows and columns of each part.
    fn parts(&self, prefix: &str) -> [(String, Range<usize>, usize, usize); 4] {
        let Shape { inputs, hidden, outputs, .. } = self.shape;
        let [w1, b1, w2, b2] = self.shape.ranges();
        [
            (format!("{prefix}.1.weight"), w1, inputs, hidden),
            (format!("{prefix}.1.bias"), b1, 1, hidden),
            (format!("{prefix}.2.weight"), w2, hidden, outputs),
            (format!("{prefix}.2.bias"), b2, 1, outputs),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHAPE: Shape =
        Shape { inputs: 18, hidden: 5, outputs: 33, activation: Activation::Sigmoid };

    fn net() -> Perceptron {
        let optimizer = Optimizer::Sgd(Sgd { learning_rate: 1.0, ..Sgd::default() });
        let mut net = Perceptron::new(SHAPE, &optimizer);
        net.randomise(0.1, |part| Rng::keyed(3, [part]));
        net
    }

    /// Rows of `dim` random numbers, padded.
    fn rows(n: usize, dim: usize, seed: u64) -> Vec<f32> {
        let (mut rng, mut out) = (Rng::new(seed), vec![0.0; n * stride(dim)]);
        out.chunks_mut(stride(dim)).for_each(|row| rng.fill_normal(&mut row[..dim], 0.0, 1.0));
        out
    }

    /// The outputs in `f64`, and the sum of them times `coefs`.
    fn naive(values: &Tensors, x: &[f32], coefs: &[f32]) -> (Vec<f64>, f64) {
        let part = |name: &str| values.matrix(name).unwrap().0;
        let (w1, b1) = (part("net.1.weight"), part("net.1.bias"));
        let (w2, b2) = (part("net.2.weight"), part("net.2.bias"));
        let (mut out, mut sum) = (Vec::new(), 0.0);
        for (x, coefs) in x.chunks(stride(18)).zip(coefs.chunks(stride(33))) {
            let h: Vec<f64> = (0..5)
                .map(|k| {
                    let inner = (0..18).map(|i| f64::from(x[i]) * f64::from(w1[i * 5 + k]));
                    1.0 / (1.0 + (-(f64::from(b1[k]) + inner.sum::<f64>())).exp())
                })
                .collect();
            for j in 0..33 {
                let inner = (0..5).map(|k| h[k] * f64::from(w2[k * 33 + j])).sum::<f64>();
                out.push(f64::from(b2[j]) + inner);
                sum += out[out.len() - 1] * f64::from(coefs[j]);
            }
        }
        (out, sum)
    }

    #[test]
    fn outputs_and_gradients_are_those_of_the_definition() {
        let (x, coefs) = (rows(11, 18, 1), rows(11, 33, 2));
        let mut net = net();
        let (mut hidden, mut out, mut to_x) = (Vec::new(), Vec::new(), Vec::new());
        net.hidden(&x, &mut hidden);
        net.outputs(&hidden, &mut out);
        let mut before = Tensors::default();
        net.export("net", &mut before);
        let (expected, _) = naive(&before, &x, &coefs);
        for (at, expected) in expected.iter().enumerate() {
            let found = out[at / 33 * stride(33) + at % 33];
            assert!((f64::from(found) - expected).abs() < 1e-5, "{at}: {found} {expected}");
        }
        net.backward(&x, &hidden, &coefs, Some(&mut to_x));
        net.update(1.0);
        let mut after = Tensors::default();
        net.export("net", &mut after);
        for name in ["net.1.weight", "net.1.bias", "net.2.weight", "net.2.bias"] {
            let (old, n, m) = before.matrix(name).unwrap();
            let new = after.matrix(name).unwrap().0;
            for at in 0..old.len() {
                let moved = |by: f32| {
                    let (mut all, mut values) = (before.clone(), old.to_vec());
                    values[at] += by;
                    all.insert(name, &[n, m], values);
                    naive(&all, &x, &coefs).1
                };
                let slope = (moved(0.01) - moved(-0.01)) / 0.02;
                let step = f64::from(old[at] - new[at]);
                assert!(
                    (step - slope).abs() < 1e-3 + 1e-3 * slope.abs(),
                    "{name} {at}: {step} {slope}"
                );
            }
        }
        for at in (0..x.len()).filter(|at| at % stride(18) < 18) {
            let moved = |by: f32| {
                let mut x = x.clone();
                x[at] += by;
                naive(&before, &x, &coefs).1
            };
            let slope = (moved(0.01) - moved(-0.01)) / 0.02;
            assert!((f64::from(to_x[at]) - slope).abs() < 1e-3, "{at}: {} {slope}", to_x[at]);
        }
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let mut tensors = Tensors::default();
        net().export("net", &mut tensors);
        let load = |tensors: &Tensors| {
            Perceptron::load("net", tensors, (5, Activation::Sigmoid), |outputs| outputs - 15)
        };
        let (x, again) = (rows(3, 18, 1), load(&tensors).unwrap());
        let outputs = |net: &Perceptron| {
            let (mut hidden, mut out) = (Vec::new(), Vec::new());
            net.hidden(&x, &mut hidden);
            net.outputs(&hidden, &mut out);
            out
        };
        assert_eq!(outputs(&again), outputs(&net()));
        tensors.insert("net.1.bias", &[1, 4], vec![0.0f32; 4]);
        let error = load(&tensors).err().unwrap().to_string();
        assert!(error.contains("expected 1 x 5, found 1 x 4"), "{error}");
    }
}
