//! Fully connected layers on a batch of rows: `y = b + x W`, and its gradients.
//!
//! These are microkernels of our own because `gemm` does not guarantee equal bits across instruction sets,
//! nor for a row on its own and the same row in a batch. Here every sum is **one chain** of multiply-adds, in
//! the order of the inputs (forward and back to the inputs) or of the batch (weights), whatever the tile: a
//! scalar loop of `f32::mul_add` gives the same bits.
//!
//! Weights are `n_in x width`, input after input, with the width padded by zeros to a multiple of 16.
//! Everything here runs on the calling thread; rows (forward) and inputs (weights) may be split among threads
//! freely.

use super::panels::Rows;
use super::simd::{Isa, LANES, Simd, dispatch, prefetch};

dispatch! {
    /// `out[r] = bias + x[r] W` for every row, `x.n() x width`.
    ///
    /// # Panics
    /// When `width` is not a multiple of 16 or the shapes do not fit, as in all functions here.
    pub fn affine(x: Rows<'_>, weights: &[f32], bias: &[f32], width: usize, out: &mut [f32]) = affine_kernel;

    /// The gradient of the weights of the inputs `inputs`: `out[k] = sum over r of x[r][k] grads[r]`,
    /// `inputs.len() x width`; `grads` has one row of `width` a row of `x`.
    pub fn to_weights(x: Rows<'_>, inputs: std::ops::Range<usize>, grads: &[f32], width: usize, out: &mut [f32]) = to_weights_kernel;

    /// The gradient of the bias: `out = sum over r of grads[r]`.
    pub fn to_bias(grads: &[f32], out: &mut [f32]) = to_bias_kernel;
}

/// `to[j][i] = from[i][j]`, for an `n x m` matrix with rows `from_stride` apart; rows of `to` are `to_stride`
/// apart, and the gaps are not written. With the transposed weights, [`affine`] computes the gradient of the
/// inputs.
pub fn transpose(
    from: &[f32],
    n: usize,
    m: usize,
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    assert!(m <= from_stride && n <= to_stride, "{n} x {m} in rows of {from_stride}, {to_stride}");
    const BLOCK: usize = 16;
    for first in (0..n).step_by(BLOCK) {
        let rows = first..(first + BLOCK).min(n);
        for j in 0..m {
            for i in rows.clone() {
                to[j * to_stride + i] = from[i * from_stride + j];
            }
        }
    }
}

/// Runs `$body` over `$n` columns (a multiple of 16) and `$rows` rows in tiles, with the constants `$r` rows
/// and `$v` vectors of the tile. Tiles are as large as the registers allow.
macro_rules! for_tiles {
    ($s:ty, $rows:expr, $n:expr, |$row:ident, $column:ident, $r:ident, $v:ident| $body:expr) => {{
        let mut $column = 0;
        while $column < $n {
            let left = ($n - $column) / LANES;
            if <$s>::ISA == Isa::Avx512 && left != 1 {
                if left >= 3 && left != 4 {
                    for_tiles!(@ 8, 3, $rows, $row, $r, $v, $body);
                    $column += 3 * LANES;
                } else {
                    for_tiles!(@ 8, 2, $rows, $row, $r, $v, $body);
                    $column += 2 * LANES;
                }
            } else {
                for_tiles!(@ 6, 1, $rows, $row, $r, $v, $body);
                $column += LANES;
            }
        }
    }};
    (@ $tall:literal, $wide:literal, $rows:expr, $row:ident, $r:ident, $v:ident, $body:expr) => {{
        const $v: usize = $wide;
        let mut $row = 0;
        while $row + $tall <= $rows {
            const $r: usize = $tall;
            $body;
            $row += $tall;
        }
        while $row + 2 <= $rows {
            const $r: usize = 2;
            $body;
            $row += 2;
        }
        while $row < $rows {
            const $r: usize = 1;
            $body;
            $row += 1;
        }
    }};
}

#[inline(always)]
fn affine_kernel<S: Simd>(
    s: S,
    x: Rows<'_>,
    weights: &[f32],
    bias: &[f32],
    width: usize,
    out: &mut [f32],
) {
    assert_eq!(width % LANES, 0, "whole vectors");
    assert_eq!(weights.len(), x.dim() * width, "one row of weights an input");
    assert_eq!(bias.len(), width, "one bias an output");
    assert_eq!(out.len(), x.n() * width, "room for the outputs");
    for_tiles!(S, x.n(), width, |row, column, R, V| {
        let mut from = [std::ptr::null::<f32>(); R];
        for (t, from) in from.iter_mut().enumerate() {
            *from = x.row(row + t).as_ptr();
        }
        let mut sums = [[s.zero(); V]; R];
        for sums in &mut sums {
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = s.load(&bias[column + j * LANES..]);
            }
        }
        for k in 0..x.dim() {
            let mut w = [s.zero(); V];
            for (j, w) in w.iter_mut().enumerate() {
                // SAFETY: row k < dim of the weights, columns up to the width.
                *w = unsafe { s.load_ptr(weights.as_ptr().add(k * width + column + j * LANES)) };
            }
            for (sums, from) in sums.iter_mut().zip(&from) {
                // SAFETY: element k < dim of a row.
                let x = s.splat(unsafe { *from.add(k) });
                for (sum, w) in sums.iter_mut().zip(&w) {
                    *sum = s.fma(x, *w, *sum);
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                s.store(&mut out[(row + t) * width + column + j * LANES..], *sum);
            }
        }
    });
}

#[inline(always)]
fn to_weights_kernel<S: Simd>(
    s: S,
    x: Rows<'_>,
    inputs: std::ops::Range<usize>,
    grads: &[f32],
    width: usize,
    out: &mut [f32],
) {
    /// Rows ahead whose inputs are fetched.
    const AHEAD: usize = 8;
    assert_eq!(width % LANES, 0, "whole vectors");
    assert!(inputs.end <= x.dim(), "inputs up to {} of {}", inputs.end, x.dim());
    assert_eq!(grads.len(), x.n() * width, "one gradient an output");
    assert_eq!(out.len(), inputs.len() * width, "room for the weights");
    for_tiles!(S, inputs.len(), width, |row, column, R, V| {
        let mut sums = [[s.zero(); V]; R];
        for r in 0..x.n() {
            let from = x.row(r)[inputs.start + row..].as_ptr();
            prefetch(from.wrapping_add(AHEAD * x.stride()));
            let mut g = [s.zero(); V];
            for (j, g) in g.iter_mut().enumerate() {
                // SAFETY: row r of the gradients, columns up to the width.
                *g = unsafe { s.load_ptr(grads.as_ptr().add(r * width + column + j * LANES)) };
            }
            for (t, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the tile ends within the inputs, which end within the row.
                let x = s.splat(unsafe { *from.add(t) });
                for (sum, g) in sums.iter_mut().zip(&g) {
                    *sum = s.fma(x, *g, *sum);
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                s.store(&mut out[(row + t) * width + column + j * LANES..], *sum);
            }
        }
    });
}

#[inline(always)]
fn to_bias_kernel<S: Simd>(s: S, grads: &[f32], out: &mut [f32]) {
    let width = out.len();
    assert!(width.is_multiple_of(LANES), "whole vectors");
    if width == 0 {
        return;
    }
    assert!(grads.len().is_multiple_of(width), "whole rows");
    out.fill(0.0);
    for grads in grads.chunks_exact(width) {
        for (out, grads) in out.chunks_exact_mut(LANES).zip(grads.chunks_exact(LANES)) {
            s.store(out, s.add(s.load(out), s.load(grads)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::super::simd::with_isa;
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut out = vec![0.0; n];
        Rng::new(seed).fill_normal(&mut out, 0.0, 1.0);
        out
    }

    /// Rows, inputs, width.
    const SHAPES: [(usize, usize, usize); 6] =
        [(1, 1, 16), (3, 280, 112), (13, 7, 64), (16, 50, 48), (30, 20, 32), (9, 0, 80)];

    #[test]
    fn outputs_are_the_documented_chains_on_every_instruction_set() {
        for (n, dim, width) in SHAPES {
            let (x, w, b) = (numbers(n * (dim + 3), 1), numbers(dim * width, 2), numbers(width, 3));
            for isa in Isa::ALL {
                with_isa(isa, 1, || {
                    let mut out = vec![f32::NAN; n * width];
                    affine(Rows::new(&x, n, dim, dim + 3), &w, &b, width, &mut out);
                    for (i, &y) in out.iter().enumerate() {
                        let (r, j) = (i / width, i % width);
                        let terms = (0..dim).map(|k| (x[r * (dim + 3) + k], w[k * width + j]));
                        let plain = terms
                            .clone()
                            .fold(f64::from(b[j]), |sum, (x, w)| sum + f64::from(x) * f64::from(w));
                        assert!((f64::from(y) - plain).abs() < 1e-4);
                        if isa.is_fused() {
                            assert_eq!(y, terms.fold(b[j], |sum, (x, w)| x.mul_add(w, sum)));
                        }
                    }
                });
            }
        }
    }

    #[test]
    fn weights_sum_the_batch_in_its_order_however_inputs_are_cut() {
        for (n, dim, width) in SHAPES {
            let (x, g) = (numbers(n * (dim + 3), 1), numbers(n * width, 2));
            let rows = Rows::new(&x, n, dim, dim + 3);
            for isa in Isa::ALL {
                with_isa(isa, 1, || {
                    let mut out = vec![f32::NAN; dim * width];
                    let cut = dim / 3;
                    to_weights(rows, 0..cut, &g, width, &mut out[..cut * width]);
                    to_weights(rows, cut..dim, &g, width, &mut out[cut * width..]);
                    for (i, &w) in out.iter().enumerate() {
                        let (k, j) = (i / width, i % width);
                        let terms = (0..n).map(|r| (x[r * (dim + 3) + k], g[r * width + j]));
                        let plain = terms
                            .clone()
                            .fold(0.0, |sum, (x, g)| sum + f64::from(x) * f64::from(g));
                        assert!((f64::from(w) - plain).abs() < 1e-4);
                        if isa.is_fused() {
                            assert_eq!(w, terms.fold(0.0, |sum, (x, g)| x.mul_add(g, sum)));
                        }
                    }
                    let mut bias = vec![f32::NAN; width];
                    to_bias(&g, &mut bias);
                    for (j, &b) in bias.iter().enumerate() {
                        assert_eq!(b, (0..n).fold(0.0, |sum, r| sum + g[r * width + j]));
                    }
                });
            }
        }
    }

    #[test]
    fn a_transpose_puts_every_element_in_its_place() {
        for (n, m) in [(1, 1), (17, 5), (40, 33)] {
            let from = numbers(n * (m + 2), 1);
            let mut to = vec![7.0; m * (n + 1)];
            transpose(&from, n, m, m + 2, &mut to, n + 1);
            for i in 0..n {
                for j in 0..m {
                    assert_eq!(to[j * (n + 1) + i], from[i * (m + 2) + j]);
                }
            }
            assert!((0..m).all(|j| to[j * (n + 1) + n] == 7.0));
        }
    }
}
