//! The weights of the blocks: where they are in memory, and as tensors of a saved model.

use super::tower::Tower;
use rankstill_core::kernel::simd::LANES;
use rankstill_core::{Error, Result, Tensors};
use std::ops::Range;

/// The matrices of a block, and their biases: Q, K, V, and the two layers after attention.
const MATRICES: [&str; 5] = ["query", "key", "value", "inner", "outer"];

/// The ranges of a block's weights.
#[derive(Clone)]
pub(super) struct BlockRanges {
    /// Gain and bias of the two normalisations.
    pub normals: [(Range<usize>, Range<usize>); 2],
    pub matrices: [(Range<usize>, Range<usize>); 5],
}

impl Tower {
    pub(super) fn stride(&self) -> usize {
        self.dim.next_multiple_of(LANES)
    }

    /// The range of the position embeddings.
    pub(super) fn positions(&self) -> Range<usize> {
        0..self.length * self.stride()
    }

    pub(super) fn ranges(&self, block: usize) -> BlockRanges {
        let stride = self.stride();
        let matrix = self.dim * stride;
        let mut end = self.positions().end + block * (5 * (matrix + stride) + 4 * stride);
        let mut take = |len: usize| {
            end += len;
            end - len..end
        };
        let normals = [(); 2].map(|()| (take(stride), take(stride)));
        let matrices = [(); 5].map(|()| (take(matrix), take(stride)));
        BlockRanges { normals, matrices }
    }

    /// The ranges of gain and bias after the last block.
    pub(super) fn last(&self) -> (Range<usize>, Range<usize>) {
        let (stride, end) = (self.stride(), self.ranges(self.blocks).normals[0].0.start);
        (end..end + stride, end + stride..end + 2 * stride)
    }

    pub(super) fn len(&self) -> usize {
        self.last().1.end
    }

    pub(super) fn gains(&self) -> Vec<Range<usize>> {
        let blocks = (0..self.blocks).flat_map(|block| self.ranges(block).normals);
        blocks.map(|(gain, _)| gain).chain([self.last().0]).collect()
    }

    /// Trained parameters other than the items' embeddings.
    pub fn n_parameters(&self) -> usize {
        let block = 5 * (self.dim + 1) * self.dim + 4 * self.dim;
        self.length * self.dim + self.blocks * block + 2 * self.dim
    }

    /// The weights without padding.
    pub fn export(&self, tensors: &mut Tensors) {
        let stride = self.stride();
        for (name, range, rows) in self.named() {
            let data = self.weights.values()[range].chunks_exact(stride);
            let data: Vec<f32> = data.flat_map(|row| &row[..self.dim]).copied().collect();
            tensors.insert(name, &[rows, self.dim], data);
        }
    }

    /// From [`Tower::export`]; resets the optimiser.
    pub fn import(&mut self, tensors: &Tensors) -> Result<()> {
        let (dim, stride) = (self.dim, self.stride());
        let mut flat = vec![0.0; self.weights.len()];
        for (name, range, rows) in self.named() {
            let (data, found_rows, found_columns) = tensors.matrix(&name)?;
            if (found_rows, found_columns) != (rows, dim) {
                let found = format!("found {found_rows} x {found_columns}");
                let problem = format!("expected {rows} x {dim}, {found}");
                return Err(Error::Tensor { name, problem });
            }
            let to = flat[range].chunks_exact_mut(stride).zip(data.chunks_exact(dim));
            to.for_each(|(to, row)| to[..dim].copy_from_slice(row));
        }
        self.weights.values_mut().copy_from_slice(&flat);
        self.changed();
        Ok(())
    }

    /// Name, range and rows.
    fn named(&self) -> Vec<(String, Range<usize>, usize)> {
        let mut all = vec![("positions".to_owned(), self.positions(), self.length)];
        for block in 0..self.blocks {
            let ranges = self.ranges(block);
            for (at, (gain, bias)) in ranges.normals.into_iter().enumerate() {
                all.push((format!("blocks.{block}.normal.{at}.gain"), gain, 1));
                all.push((format!("blocks.{block}.normal.{at}.bias"), bias, 1));
            }
            for (name, (matrix, bias)) in MATRICES.iter().zip(ranges.matrices) {
                all.push((format!("blocks.{block}.{name}.weight"), matrix, self.dim));
                all.push((format!("blocks.{block}.{name}.bias"), bias, 1));
            }
        }
        let (gain, bias) = self.last();
        all.push(("last.gain".to_owned(), gain, 1));
        all.push(("last.bias".to_owned(), bias, 1));
        all
    }
}
