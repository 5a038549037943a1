//! The attention blocks, and what a few cases of a batch keep in them for the backward pass.
//!
//! A few cases are one task: forward, backward, and their contribution to the weights' gradients, which are
//! added task by task. Their positions are concatenated, without padding positions; rows are padded with zeros
//! to a multiple of 16 numbers.

use super::SasRec;
use super::layers::{AttendingPosition, Attention, Normal, Projections};
use super::layout::BlockRanges;
use rankstill_core::kernel::activation::{Activation, activate, chain};
use rankstill_core::kernel::affine::{affine, to_bias, to_weights, transpose};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::dropout::{Dropout, apply};
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use std::ops::Range;

/// Weights with their optimiser, and what is derived from them.
pub(super) struct Tower {
    pub dim: usize,
    pub length: usize,
    heads: usize,
    pub blocks: usize,
    activation: Activation,
    dropout: Dropout,
    pub weights: DenseParam,
    /// The transposes of every block's five matrices.
    back: Vec<[Vec<f32>; 5]>,
}

/// The forward and backward pass of some cases.
#[derive(Default)]
pub(super) struct Pass {
    /// The start of each case's positions, and the end of the last.
    pub starts: Vec<usize>,
    /// The positions' inputs, after dropout; after the backward pass their gradients.
    pub x: Vec<f32>,
    masks: Vec<u64>,
    blocks: Vec<Block>,
    last: Normal,
    /// The cases' query vectors.
    pub out: Vec<f32>,
    /// The gradients of the weights.
    pub grads: Vec<f32>,
}

#[derive(Default)]
struct Block {
    x: Vec<f32>,
    attending: Vec<AttendingPosition>,
    first: Normal,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attention: Attention,
    second: Normal,
    inner: Vec<f32>,
    inner_masks: Vec<u64>,
    outer_masks: Vec<u64>,
    out: Vec<f32>,
}

/// The random stream of a case and a purpose.
pub(super) type Draws<'a> = &'a (dyn Fn(usize, u64) -> Rng + Sync);

impl Tower {
    /// All zeros, gains 1.
    pub fn new(recipe: &SasRec, optimizer: &Optimizer) -> Self {
        let mut tower = Self {
            dim: recipe.dim,
            length: recipe.length,
            heads: recipe.heads,
            blocks: recipe.blocks,
            activation: recipe.activation,
            dropout: Dropout::new(recipe.dropout),
            weights: DenseParam::new(0, optimizer.clone()),
            back: Vec::new(),
        };
        tower.weights = DenseParam::new(tower.len(), optimizer.clone());
        let gains = tower.gains();
        for gain in gains {
            tower.weights.values_mut()[gain][..recipe.dim].fill(1.0);
        }
        tower.changed();
        tower
    }

    /// The initial values that the recipe documents.
    pub fn randomise(&mut self, rng: &mut Rng, std: f32) {
        let (dim, stride, positions) = (self.dim, self.stride(), self.positions());
        let ranges: Vec<BlockRanges> = (0..self.blocks).map(|block| self.ranges(block)).collect();
        let values = self.weights.values_mut();
        for row in values[positions].chunks_exact_mut(stride) {
            rng.fill_normal(&mut row[..dim], 0.0, std);
        }
        let bound = (3.0 / dim as f64).sqrt() as f32;
        for (matrix, _) in ranges.into_iter().flat_map(|ranges| ranges.matrices) {
            for row in values[matrix].chunks_exact_mut(stride) {
                rng.fill_uniform(&mut row[..dim], -bound, bound);
            }
        }
        self.changed();
    }

    /// Must be called after every change of the weights.
    pub fn changed(&mut self) {
        let (dim, stride) = (self.dim, self.stride());
        self.back.resize_with(self.blocks, Default::default);
        let mut back = std::mem::take(&mut self.back);
        for (block, back) in back.iter_mut().enumerate() {
            for ((matrix, _), back) in self.ranges(block).matrices.into_iter().zip(back) {
                back.resize(dim * stride, 0.0);
                transpose(&self.weights.values()[matrix], dim, dim, stride, back, stride);
            }
        }
        self.back = back;
    }

    /// From `pass.starts` and the items' embeddings in `pass.x` to `pass.out`, one row per case; with dropout
    /// if there are draws.
    pub fn forward(&self, pass: &mut Pass, draws: Option<Draws<'_>>) {
        let (dim, stride) = (self.dim, self.stride());
        let draws = draws.filter(|_| !self.dropout.is_off());
        let values = self.weights.values();
        let positions = &values[self.positions()];
        let scale = (dim as f32).sqrt();
        for case in pass.starts.windows(2) {
            let rows = &mut pass.x[case[0] * stride..case[1] * stride];
            let n = case[1] - case[0];
            let positions = &positions[(self.length - n) * stride..];
            for (x, position) in rows.iter_mut().zip(positions) {
                *x = scale * *x + position;
            }
        }
        if let Some(draws) = draws {
            let cases =
                pass.starts.windows(2).enumerate().map(|(case, pair)| (case, pair[1] - pair[0]));
            self.draw(cases, draws, EMBEDDING, &mut pass.masks);
            self.drop(&pass.masks, &mut pass.x);
        }
        pass.blocks.resize_with(self.blocks, Block::default);
        for at in 0..self.blocks {
            let (before, block) = pass.blocks.split_at_mut(at);
            let x = before.last().map_or(&pass.x, |block| &block.out);
            block[0].x.clone_from(x);
            self.forward_block(at, &pass.starts, &mut block[0], draws);
        }
        let (gain, bias) = self.last();
        let x = pass.blocks.last().map_or(&pass.x, |block| &block.out);
        pass.last.forward(x, &values[gain], &values[bias.clone()], dim);
        pass.out.clear();
        let mut rows = pass.last.out.chunks_exact(stride);
        for case in pass.starts.windows(2) {
            let nothing = (case[0] == case[1]).then_some(&values[bias.clone()]);
            pass.out.extend_from_slice(nothing.or_else(|| rows.next()).unwrap_or_default());
        }
    }

    fn forward_block(
        &self,
        at: usize,
        starts: &[usize],
        block: &mut Block,
        draws: Option<Draws<'_>>,
    ) {
        let (dim, stride, ranges) = (self.dim, self.stride(), self.ranges(at));
        let values = self.weights.values();
        let last = at + 1 == self.blocks;
        block.attending.clear();
        for (case, pair) in starts.windows(2).enumerate() {
            let (first, end) = (pair[0], pair[1]);
            let from = if last { end.max(first + 1) - 1 } else { first };
            for own in from..end {
                block.attending.push(AttendingPosition {
                    row: block.attending.len(),
                    first,
                    own,
                    case,
                });
            }
        }
        let asking: Vec<f32> = match last {
            false => block.x.clone(),
            true => block
                .attending
                .iter()
                .flat_map(|at| &block.x[at.own * stride..][..stride])
                .copied()
                .collect(),
        };
        let (gain, bias) = &ranges.normals[0];
        block.first.forward(&asking, &values[gain.clone()], &values[bias.clone()], dim);
        for (which, from, to) in [
            (0, &block.first.out, &mut block.q),
            (1, &block.x, &mut block.k),
            (2, &block.x, &mut block.v),
        ] {
            self.linear(&ranges, which, from, to);
        }
        let mut sums = block.first.out.clone();
        let keyed = draws
            .map(|draws| (self.dropout, move |case: usize| draws(case, purpose(at, ATTENTION))));
        let projections = Projections { q: &block.q, k: &block.k, v: &block.v };
        block.attention.forward(
            &block.attending,
            &projections,
            self.heads,
            (dim, stride),
            keyed,
            &mut sums,
        );

        let (gain, bias) = &ranges.normals[1];
        block.second.forward(&sums, &values[gain.clone()], &values[bias.clone()], dim);
        self.linear(&ranges, 3, &block.second.out, &mut block.inner);
        activate(self.activation, &mut block.inner);
        // Padding is 0 before the activation, but need not be after it.
        clear_padding(&mut block.inner, dim, stride);
        let cases = || runs(&block.attending);
        if let Some(draws) = draws {
            self.draw(cases(), draws, purpose(at, INNER), &mut block.inner_masks);
            self.drop(&block.inner_masks, &mut block.inner);
        }
        self.linear(&ranges, 4, &block.inner, &mut block.out);
        if let Some(draws) = draws {
            self.draw(cases(), draws, purpose(at, OUTER), &mut block.outer_masks);
            self.drop(&block.outer_masks, &mut block.out);
        }
        axpy(1.0, &block.second.out, &mut block.out);
    }

    fn linear(&self, ranges: &BlockRanges, which: usize, from: &[f32], to: &mut Vec<f32>) {
        let (values, stride) = (self.weights.values(), self.stride());
        let (matrix, bias) = &ranges.matrices[which];
        to.resize(from.len(), 0.0);
        let rows = Rows::new(from, from.len() / stride, self.dim, stride);
        affine(rows, &values[matrix.clone()], &values[bias.clone()], stride, to);
    }

    /// The backward pass of [`Tower::linear`]: adds to `to_from`.
    fn linear_back(
        &self,
        (block, which): (usize, usize),
        from: &[f32],
        to_out: &[f32],
        to_from: &mut [f32],
        grads: &mut [f32],
    ) {
        let (dim, stride) = (self.dim, self.stride());
        let (matrix, bias) = &self.ranges(block).matrices[which];
        let n = from.len() / stride;
        to_weights(
            Rows::new(from, n, dim, stride),
            0..dim,
            to_out,
            stride,
            &mut grads[matrix.clone()],
        );
        to_bias(to_out, &mut grads[bias.clone()]);
        let mut back = vec![0.0; to_from.len()];
        let rows = Rows::new(to_out, n, dim, stride);
        affine(rows, &self.back[block][which], &vec![0.0; stride], stride, &mut back);
        axpy(1.0, &back, to_from);
    }

    /// A mask for every row of every case; `cases` are (case, number of rows).
    fn draw(
        &self,
        cases: impl Iterator<Item = (usize, usize)>,
        draws: Draws<'_>,
        purpose: u64,
        masks: &mut Vec<u64>,
    ) {
        masks.clear();
        let words = Dropout::words(self.dim);
        for (case, n) in cases {
            let begin = masks.len();
            masks.resize(begin + n * words, 0);
            self.dropout.draw(&mut draws(case, purpose), &mut masks[begin..]);
        }
    }

    fn drop(&self, masks: &[u64], rows: &mut [f32]) {
        apply(masks, self.dropout.scale(), rows, self.dim, self.stride());
    }

    /// From the gradients of the cases' query vectors, `apart` from one to the next, to those of the items'
    /// embeddings, in `pass.x`, and of the weights. `dropped`: whether the forward pass had dropout.
    pub fn backward(&self, pass: &mut Pass, to_out: &[f32], apart: usize, dropped: bool) {
        let (dim, stride) = (self.dim, self.stride());
        let dropped = dropped && !self.dropout.is_off();
        let values = self.weights.values();
        pass.grads.clear();
        pass.grads.resize(self.weights.len(), 0.0);
        let (gain, bias) = self.last();
        let mut rows = Vec::with_capacity(pass.out.len());
        for (case, to_out) in pass.starts.windows(2).zip(to_out.chunks_exact(apart)) {
            if case[0] < case[1] {
                rows.extend_from_slice(&to_out[..stride]);
            } else {
                axpy(1.0, &to_out[..stride], &mut pass.grads[bias.clone()]);
            }
        }
        let mut to_x = vec![0.0; rows.len()];
        let (to_gain, to_bias) = two(&mut pass.grads, &gain, &bias);
        pass.last.backward(&rows, &values[gain], dim, &mut to_x, to_gain, to_bias);
        for at in (0..self.blocks).rev() {
            to_x = self.backward_block(at, &pass.blocks[at], to_x, dropped, &mut pass.grads);
        }
        if dropped {
            self.drop(&pass.masks, &mut to_x);
        }
        for case in pass.starts.windows(2) {
            let rows = &to_x[case[0] * stride..case[1] * stride];
            let from = (self.length - (case[1] - case[0])) * stride;
            axpy(1.0, rows, &mut pass.grads[from..from + rows.len()]);
        }
        let scale = (dim as f32).sqrt();
        to_x.iter_mut().for_each(|x| *x *= scale);
        pass.x = to_x;
    }

    fn backward_block(
        &self,
        at: usize,
        block: &Block,
        to_out: Vec<f32>,
        dropped: bool,
        grads: &mut [f32],
    ) -> Vec<f32> {
        let (dim, stride, ranges) = (self.dim, self.stride(), self.ranges(at));
        let values = self.weights.values();
        let mut to_second = to_out.clone();
        let mut to_outer = to_out;
        if dropped {
            self.drop(&block.outer_masks, &mut to_outer);
        }
        let mut to_inner = vec![0.0; block.inner.len()];
        self.linear_back((at, 4), &block.inner, &to_outer, &mut to_inner, grads);
        let mut inner = block.inner.clone();
        if dropped {
            self.drop(&block.inner_masks, &mut to_inner);
            // Dropout has scaled the outputs that it kept: undone, they are those of the activation.
            inner.iter_mut().for_each(|x| *x /= self.dropout.scale());
        }
        chain(self.activation, &inner, &mut to_inner);
        clear_padding(&mut to_inner, dim, stride);
        self.linear_back((at, 3), &block.second.out, &to_inner, &mut to_second, grads);

        let (gain, bias) = &ranges.normals[1];
        let mut to_sums = vec![0.0; to_second.len()];
        let (to_gain, to_bias) = two(grads, gain, bias);
        block.second.backward(
            &to_second,
            &values[gain.clone()],
            dim,
            &mut to_sums,
            to_gain,
            to_bias,
        );

        let mut to_q = vec![0.0; block.q.len()];
        let (mut to_k, mut to_v) = (vec![0.0; block.k.len()], vec![0.0; block.v.len()]);
        let projections = Projections { q: &block.q, k: &block.k, v: &block.v };
        block.attention.backward(
            &block.attending,
            &projections,
            self.heads,
            (dim, stride),
            &to_sums,
            [&mut to_q, &mut to_k, &mut to_v],
        );
        let mut to_first = to_sums;
        self.linear_back((at, 0), &block.first.out, &to_q, &mut to_first, grads);
        let mut to_x = vec![0.0; block.x.len()];
        self.linear_back((at, 1), &block.x, &to_k, &mut to_x, grads);
        self.linear_back((at, 2), &block.x, &to_v, &mut to_x, grads);
        let (gain, bias) = &ranges.normals[0];
        let mut to_asking = vec![0.0; to_first.len()];
        let (to_gain, to_bias) = two(grads, gain, bias);
        block.first.backward(
            &to_first,
            &values[gain.clone()],
            dim,
            &mut to_asking,
            to_gain,
            to_bias,
        );
        for (attending, to_asking) in block.attending.iter().zip(to_asking.chunks_exact(stride)) {
            axpy(1.0, to_asking, &mut to_x[attending.own * stride..][..stride]);
        }
        to_x
    }
}

/// Purposes of random draws; each block has its own, four apart.
const EMBEDDING: u64 = 0x5341_5300;
const ATTENTION: u64 = 1;
const INNER: u64 = 2;
const OUTER: u64 = 3;

fn purpose(block: usize, which: u64) -> u64 {
    EMBEDDING + 4 * block as u64 + which
}

/// Each case with its number of attending positions.
fn runs(attending: &[AttendingPosition]) -> impl Iterator<Item = (usize, usize)> + '_ {
    attending.chunk_by(|a, b| a.case == b.case).map(|run| (run[0].case, run.len()))
}

fn clear_padding(rows: &mut [f32], dim: usize, stride: usize) {
    rows.chunks_exact_mut(stride).for_each(|row| row[dim..].fill(0.0));
}

/// Two ranges of the gradients, the first before the second.
fn two<'a>(
    grads: &'a mut [f32],
    first: &Range<usize>,
    second: &Range<usize>,
) -> (&'a mut [f32], &'a mut [f32]) {
    let (before, after) = grads.split_at_mut(second.start);
    (&mut before[first.clone()], &mut after[..second.len()])
}
