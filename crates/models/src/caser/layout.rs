//! The weights of the layers: where they are in memory, and as tensors of a saved model.

use super::Caser;
use super::tower::Tower;
use rankstill_core::kernel::affine::transpose;
use rankstill_core::kernel::conv::ConvShape;
use rankstill_core::{Error, Result, Tensors};
use std::ops::Range;

/// The ranges of the layers' weights; each begins at a multiple of 16, gaps are 0.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub shape: ConvShape,
    /// `vertical x length`
    pub vertical: Range<usize>,
    pub vertical_bias: Range<usize>,
    /// Padded: see [`ConvShape::filters`].
    pub horizontal: Range<usize>,
    pub horizontal_bias: Range<usize>,
    /// `outputs x stride`: input after input.
    pub full: Range<usize>,
    pub full_bias: Range<usize>,
}

impl Layout {
    pub fn new(recipe: &Caser) -> Self {
        let shape = ConvShape {
            length: recipe.length,
            dim: recipe.dim,
            vertical: recipe.vertical_filters,
            horizontal: recipe.horizontal_filters,
        };
        let mut at = 0;
        let mut next = |len: usize| {
            let range = at..at + len;
            at = range.end.next_multiple_of(16);
            range
        };
        Self {
            shape,
            vertical: next(shape.vertical * shape.length),
            vertical_bias: next(shape.vertical),
            horizontal: next(shape.filters()),
            horizontal_bias: next(shape.pooled()),
            full: next(shape.outputs() * shape.stride()),
            full_bias: next(shape.stride()),
        }
    }

    pub fn len(&self) -> usize {
        self.full_bias.end
    }

    /// The layers' parts of the weights, or of their gradients, in the order of the fields.
    pub fn split<'a>(&self, mut all: &'a mut [f32]) -> [&'a mut [f32]; 6] {
        let ranges = [
            &self.vertical,
            &self.vertical_bias,
            &self.horizontal,
            &self.horizontal_bias,
            &self.full,
            &self.full_bias,
        ];
        let mut at = 0;
        ranges.map(|range| {
            let (own, rest) =
                std::mem::take(&mut all)[range.start - at..].split_at_mut(range.len());
            (all, at) = (rest, range.end);
            own
        })
    }

    /// Trained parameters, without padding.
    pub fn n_parameters(&self) -> usize {
        let ConvShape { length, dim, vertical, horizontal } = self.shape;
        let filters = horizontal * dim * (length * (length + 1) / 2);
        let biases = vertical + self.shape.pooled() + dim;
        vertical * length + filters + self.shape.outputs() * dim + biases
    }

    /// The stride of rows of the concatenation.
    pub fn concat(&self) -> usize {
        self.shape.outputs().next_multiple_of(16)
    }
}

impl Tower {
    /// The layers' weights, in PyTorch's shapes.
    pub fn export(&self, tensors: &mut Tensors) {
        let Layout { shape, vertical, vertical_bias, horizontal, horizontal_bias, full, full_bias } =
            self.layout.clone();
        let (dim, stride) = (shape.dim, shape.stride());
        let values = self.weights.values();
        let mut put = |name: String, sizes: &[usize], data: Vec<f32>| {
            tensors.insert(name, sizes, data);
        };
        put("vertical.weight".into(), &[shape.vertical, shape.length], values[vertical].to_vec());
        put("vertical.bias".into(), &[shape.vertical], values[vertical_bias].to_vec());
        let biases = &values[horizontal_bias];
        for h in 1..=shape.length {
            let at = shape.filter_at(h, 0)..shape.filter_at(h + 1, 0);
            let rows = values[horizontal.clone()][at].chunks_exact(stride);
            let filters = rows.flat_map(|row| &row[..dim]).copied().collect();
            put(format!("horizontal.{h}.weight"), &[shape.horizontal, h, dim], filters);
            let bias = (h - 1) * shape.horizontal..h * shape.horizontal;
            put(format!("horizontal.{h}.bias"), &[shape.horizontal], biases[bias].to_vec());
        }
        let outputs = shape.outputs();
        let mut weights = vec![0.0; dim * outputs];
        transpose(&values[full], outputs, dim, stride, &mut weights, outputs);
        put("full.weight".into(), &[dim, outputs], weights);
        put("full.bias".into(), &[dim], values[full_bias][..dim].to_vec());
    }

    /// From [`Tower::export`]; resets the optimiser.
    pub fn import(&mut self, tensors: &Tensors) -> Result<()> {
        let Layout { shape, vertical, vertical_bias, horizontal, horizontal_bias, full, full_bias } =
            self.layout.clone();
        let (dim, stride) = (shape.dim, shape.stride());
        let floats = |name: &str, sizes: &[usize]| -> Result<Vec<f32>> {
            let data = tensors.f32s(name, sizes.iter().product())?;
            match tensors.get(name).map(|tensor| tensor.shape.as_slice()) {
                Some(found) if found != sizes => {
                    let problem = format!("expected the shape {sizes:?}, found {found:?}");
                    Err(Error::Tensor { name: name.into(), problem })
                }
                _ => Ok(data.to_vec()),
            }
        };
        let mut flat = vec![0.0; self.layout.len()];
        let sizes = [shape.vertical, shape.length];
        flat[vertical].copy_from_slice(&floats("vertical.weight", &sizes)?);
        flat[vertical_bias].copy_from_slice(&floats("vertical.bias", &sizes[..1])?);
        for h in 1..=shape.length {
            let sizes = [shape.horizontal, h, dim];
            let filters = floats(&format!("horizontal.{h}.weight"), &sizes)?;
            let at = shape.filter_at(h, 0)..shape.filter_at(h + 1, 0);
            let rows = flat[horizontal.clone()][at].chunks_exact_mut(stride);
            for (row, filter) in rows.zip(filters.chunks_exact(dim)) {
                row[..dim].copy_from_slice(filter);
            }
            let bias = (h - 1) * shape.horizontal..h * shape.horizontal;
            flat[horizontal_bias.clone()][bias]
                .copy_from_slice(&floats(&format!("horizontal.{h}.bias"), &sizes[..1])?);
        }
        let outputs = shape.outputs();
        let weights = floats("full.weight", &[dim, outputs])?;
        transpose(&weights, dim, outputs, outputs, &mut flat[full], stride);
        flat[full_bias][..dim].copy_from_slice(&floats("full.bias", &[dim])?);
        self.weights.values_mut().copy_from_slice(&flat);
        self.changed();
        Ok(())
    }
}
