//! Layer normalisation and causal attention, forward and backward, over rows of `stride` numbers, of which
//! `dim` are used.

use rankstill_core::kernel::dense::{axpy, dot};
use rankstill_core::kernel::dropout::Dropout;
use rankstill_core::kernel::math::exp_slice;
use rankstill_core::kernel::rng::Rng;

/// Avoids division by 0 for a row of equal numbers, as in the authors' code.
const EPSILON: f32 = 1e-8;

/// What layer normalisation keeps for the backward pass.
#[derive(Default)]
pub(super) struct Normal {
    /// Rows minus their mean, divided by their standard deviation.
    hat: Vec<f32>,
    /// 1 / standard deviation.
    inverse: Vec<f32>,
    pub out: Vec<f32>,
}

impl Normal {
    /// Ba, Kiros & Hinton (2016): each row to mean 0 and variance 1, then `gain` and `bias`.
    pub fn forward(&mut self, x: &[f32], gain: &[f32], bias: &[f32], dim: usize) {
        let stride = gain.len();
        for buffer in [&mut self.hat, &mut self.out] {
            buffer.clear();
            buffer.resize(x.len(), 0.0);
        }
        self.inverse.clear();
        let rows = self.hat.chunks_exact_mut(stride).zip(self.out.chunks_exact_mut(stride));
        for (x, (hat, out)) in x.chunks_exact(stride).zip(rows) {
            let x = &x[..dim];
            let mean = x.iter().fold(0.0, |sum, x| sum + x) / dim as f32;
            let variance = x.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / dim as f32;
            let inverse = 1.0 / (variance + EPSILON).sqrt();
            self.inverse.push(inverse);
            for k in 0..dim {
                hat[k] = (x[k] - mean) * inverse;
                out[k] = hat[k] * gain[k] + bias[k];
            }
        }
    }

    /// Adds to the gradients of the rows, the gain and the bias.
    pub fn backward(
        &self,
        to_out: &[f32],
        gain: &[f32],
        dim: usize,
        to_x: &mut [f32],
        to_gain: &mut [f32],
        to_bias: &mut [f32],
    ) {
        let stride = gain.len();
        let rows = self.hat.chunks_exact(stride).zip(&self.inverse);
        let rows = rows.zip(to_out.chunks_exact(stride)).zip(to_x.chunks_exact_mut(stride));
        for (((hat, &inverse), to_out), to_x) in rows {
            let (mut mean, mut along) = (0.0, 0.0);
            for k in 0..dim {
                let to_hat = to_out[k] * gain[k];
                mean += to_hat;
                along += to_hat * hat[k];
                to_gain[k] += to_out[k] * hat[k];
                to_bias[k] += to_out[k];
            }
            (mean, along) = (mean / dim as f32, along / dim as f32);
            for k in 0..dim {
                to_x[k] += inverse * (to_out[k] * gain[k] - mean - hat[k] * along);
            }
        }
    }
}

/// A position that attends: query `row` attends to the keys `first..=own`.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttendingPosition {
    pub row: usize,
    pub first: usize,
    pub own: usize,
    /// The case that keys its random draws.
    pub case: usize,
}

/// What attention keeps for the backward pass.
#[derive(Default)]
pub(super) struct Attention {
    /// The attention weights, by position, then head; and the same after dropout.
    shares: Vec<f32>,
    kept: Vec<f32>,
}

/// Queries, keys and values, or their gradients.
pub(super) struct Projections<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
}

impl Attention {
    /// Adds to each position's row of `out` its weighted sum of values.
    pub fn forward(
        &mut self,
        attending: &[AttendingPosition],
        projections: &Projections<'_>,
        heads: usize,
        (dim, stride): (usize, usize),
        mut dropped: Option<(Dropout, impl FnMut(usize) -> Rng)>,
        out: &mut [f32],
    ) {
        let width = dim / heads;
        let scale = 1.0 / (width as f32).sqrt();
        self.shares.clear();
        self.kept.clear();
        let mut mask = Vec::new();
        let mut rng: Option<(usize, Rng)> = None;
        for at in attending {
            let n = at.own - at.first + 1;
            for head in 0..heads {
                let columns = |row: usize| row * stride + head * width;
                let q = &projections.q[columns(at.row)..][..width];
                let begin = self.shares.len();
                for key in at.first..=at.own {
                    self.shares.push(scale * dot(q, &projections.k[columns(key)..][..width]));
                }
                let shares = &mut self.shares[begin..];
                softmax(shares);
                self.kept.extend_from_slice(shares);
                let kept = &mut self.kept[begin..];
                if let Some((dropout, keyed)) = &mut dropped {
                    if rng.as_ref().is_none_or(|(case, _)| *case != at.case) {
                        rng = Some((at.case, keyed(at.case)));
                    }
                    mask.resize(Dropout::words(n), 0);
                    if let Some((_, rng)) = &mut rng {
                        dropout.draw(rng, &mut mask);
                    }
                    for (j, kept) in kept.iter_mut().enumerate() {
                        let bit = (mask[j / 64] >> (j % 64) & 1) as f32;
                        *kept *= bit * dropout.scale();
                    }
                }
                let out = &mut out[columns(at.row)..][..width];
                for (key, &kept) in (at.first..).zip(&*kept) {
                    axpy(kept, &projections.v[columns(key)..][..width], out);
                }
            }
        }
    }

    /// Adds to the gradients of the queries, keys and values.
    pub fn backward(
        &self,
        attending: &[AttendingPosition],
        projections: &Projections<'_>,
        heads: usize,
        (dim, stride): (usize, usize),
        to_out: &[f32],
        [to_q, to_k, to_v]: [&mut [f32]; 3],
    ) {
        let width = dim / heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut begin = 0;
        let mut to_shares = Vec::new();
        for at in attending {
            let n = at.own - at.first + 1;
            for head in 0..heads {
                let columns = |row: usize| row * stride + head * width;
                let own = columns(at.row);
                let to_out = &to_out[own..][..width];
                let (shares, kept) = (&self.shares[begin..][..n], &self.kept[begin..][..n]);
                begin += n;
                to_shares.clear();
                let mut along = 0.0;
                for (key, (&share, &kept)) in (at.first..).zip(shares.iter().zip(kept)) {
                    let from = columns(key);
                    // kept / share is 0 or dropout's factor, whatever the share.
                    let through = if share > 0.0 { kept / share } else { 0.0 };
                    let to_share = through * dot(to_out, &projections.v[from..][..width]);
                    axpy(kept, to_out, &mut to_v[from..][..width]);
                    along += share * to_share;
                    to_shares.push(to_share);
                }
                for (key, (&share, &to_share)) in (at.first..).zip(shares.iter().zip(&to_shares)) {
                    let slope = scale * share * (to_share - along);
                    let from = columns(key);
                    axpy(slope, &projections.k[from..][..width], &mut to_q[own..][..width]);
                    axpy(slope, &projections.q[own..][..width], &mut to_k[from..][..width]);
                }
            }
        }
    }
}

fn softmax(x: &mut [f32]) {
    let most = x.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
    x.iter_mut().for_each(|x| *x -= most);
    exp_slice(x);
    let mass = x.iter().fold(0.0, |sum, x| sum + x);
    x.iter_mut().for_each(|x| *x /= mass);
}
