//! The denoiser as a ranker.

use super::{DiffRec, Level};
use crate::parts::item_panels::ItemPanels;
use crate::parts::multinomial::distinct;
use crate::parts::perceptron::{Perceptron, Shape, stride};
use rankstill_core::kernel::activation::Activation;
use rankstill_core::{Factored, Factors, Model, Query, Result, Tensors};

/// Sines and cosines of the step.
pub(super) const TIMES: usize = 10;

/// The network: a noisy history and the step, to a history.
pub(super) fn shape(recipe: &DiffRec, n_items: usize) -> Shape {
    Shape {
        inputs: n_items + TIMES,
        hidden: recipe.hidden,
        outputs: n_items,
        activation: Activation::Tanh,
    }
}

/// The step's sines and cosines (Vaswani et al., NeurIPS 2017), as the authors compute them.
pub(super) fn write_time(step: usize, out: &mut [f32]) {
    let half = TIMES / 2;
    for i in 0..half {
        let angle = step as f64 * 10_000f64.powf(-(i as f64) / half as f64);
        (out[i], out[half + i]) = (angle.cos() as f32, angle.sin() as f32);
    }
}

/// A fitted network.
pub(super) struct Denoiser {
    net: Perceptron,
    levels: Vec<Level>,
    /// The output layer, with its bias as the last column.
    items: Vec<f32>,
    panels: ItemPanels,
}

impl Denoiser {
    /// From [`Model::tensors`].
    pub fn loaded(recipe: &DiffRec, tensors: &Tensors) -> Result<Self> {
        let hidden = (recipe.hidden, Activation::Tanh);
        let net = Perceptron::load("net", tensors, hidden, |outputs| outputs + TIMES)?;
        let levels = recipe.levels();
        Ok(Self { items: net.output_rows(), net, levels, panels: ItemPanels::default() })
    }
}

crate::parts::item_panels::scores_by_products!(Denoiser);

impl Factored for Denoiser {
    fn items(&self) -> Factors<'_> {
        let dim = self.net.shape.hidden + 1;
        Factors { data: &self.items, len: self.net.shape.outputs, dim, stride: dim }
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let Shape { inputs, outputs: n, hidden: width, .. } = self.net.shape;
        let mut x = vec![0.0; queries.len() * stride(inputs)];
        for (x, query) in x.chunks_exact_mut(stride(inputs)).zip(queries) {
            let items = distinct(query.history.iter().copied(), n);
            items.into_iter().for_each(|item| x[item as usize] = 1.0);
        }
        let (mut hidden, mut predicted) = (Vec::new(), Vec::new());
        for (at, level) in self.levels.iter().enumerate().rev() {
            x.chunks_exact_mut(stride(inputs)).for_each(|x| write_time(at + 1, &mut x[n..]));
            self.net.hidden(&x, &mut hidden);
            if at == 0 {
                break; // the last mean is the prediction itself
            }
            self.net.outputs(&hidden, &mut predicted);
            let rows = x.chunks_exact_mut(stride(inputs)).zip(predicted.chunks_exact(stride(n)));
            let (new, old) = (level.predicted as f32, level.kept as f32);
            for (x, predicted) in rows {
                let pairs = x[..n].iter_mut().zip(predicted);
                pairs.for_each(|(x, predicted)| *x = new * predicted + old * *x);
            }
        }
        for (out, hidden) in out.chunks_exact_mut(width + 1).zip(hidden.chunks_exact(stride(width)))
        {
            out[..width].copy_from_slice(&hidden[..width]);
            out[width] = 1.0;
        }
    }
}

impl Model for Denoiser {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.net.export("net", &mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.net.shape.n_parameters()
    }
}
