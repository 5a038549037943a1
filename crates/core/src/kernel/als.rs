//! Half a pass of alternating least squares on confidences: updates the vectors of one side, with those of
//! the other side fixed.
//!
//! Row u with vector x minimises, over the other side's vectors y_i, sum over all i of c_i (p_i - x y_i)^2 +
//! l2 |x|^2, where an entry of the sparse matrix has p = 1 and c = 1 + its value, and all others have p = 0
//! and c = 1. So x solves (Y'Y + sum of (c - 1) y y' + l2) x = sum of c y, the sums over the row's entries
//! alone (Hu, Koren, Volinsky, ICDM 2008).
//!
//! [`conjugate_gradient`] takes a few steps from the current vector (Takacs, Pilaszy, Tikk, RecSys 2011), which costs
//! entries x dim per step; [`exact`] builds the matrix and factorises it, entries x dim^2 / 2 + dim^3 / 6.
//!
//! Rows of all matrices are padded with zeros to a multiple of 16; zeros stay zeros.

use super::csr::Csr;
use super::dense::{axpy_lanes, dot_lanes};
use super::gemm::{self, Mat, MatMut};
use super::panels::Rows;
use super::simd::{LANES, Simd, dispatch, prefetch};
use rayon::prelude::*;
use std::ops::Range;

/// The data of half a pass.
#[derive(Clone, Copy, Debug)]
pub struct HalfPass<'a> {
    /// Rows x others; its values are c - 1, not negative.
    pub extra: &'a Csr,
    /// The fixed side; its width is a multiple of 16.
    pub others: Rows<'a>,
    /// Its [`gram`].
    pub gram: &'a [f32],
    /// Each row's regularisation.
    pub l2: &'a [f32],
}

impl HalfPass<'_> {
    /// Panics when the shapes do not fit.
    fn check(&self, rows: Range<usize>, out: &[f32]) {
        let dim = self.others.dim();
        assert!(dim.is_multiple_of(LANES), "rows of {dim} are not padded");
        assert!(self.gram.len() == dim * dim, "{} numbers for {dim} rows", self.gram.len());
        assert!(self.extra.n_cols() == self.others.n(), "the matrix has other columns");
        assert!(self.extra.values().is_some(), "the matrix has no values");
        assert!(rows.end <= self.extra.n_rows() && self.l2.len() == self.extra.n_rows());
        assert!(out.len() == rows.len() * dim, "{} numbers for {} rows", out.len(), rows.len());
    }
}

/// Y'Y, `dim x dim`. In parallel on rayon's current pool, in fixed blocks of rows.
pub fn gram(y: Rows<'_>, data: &[f32]) -> Vec<f32> {
    let dim = y.dim();
    let blocks: Vec<Vec<f32>> = data[..y.n() * dim]
        .par_chunks((4096 * dim).max(1))
        .map(|block| {
            let mut sum = vec![0.0; dim * dim];
            let block = Mat::dense(block, block.len() / dim, dim);
            gemm::gemm(1.0, block.t(), block, 0.0, &mut MatMut::dense(&mut sum, dim, dim));
            sum
        })
        .collect();
    let mut sum = vec![0.0; dim * dim];
    blocks.iter().flat_map(|block| block.iter().enumerate()).for_each(|(at, x)| sum[at] += x);
    sum
}

dispatch! {
    /// Takes `steps` steps for each of the rows `rows`, from their vectors in `out`. On the calling thread.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn conjugate_gradient(half: HalfPass<'_>, steps: usize, rows: Range<usize>, out: &mut [f32])
        = conjugate_gradient_kernel;

    /// The solution for each of the rows `rows`, into `out`. In `f32`; directions in which rounding leaves
    /// the matrix no positive pivot get 0. On the calling thread.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn exact(half: HalfPass<'_>, rows: Range<usize>, out: &mut [f32]) = exact_kernel;

    /// For each of the rows `rows` a vector of -1 and 1, from the one in `out`: minimises, over the other side's vectors of
    /// -1 and 1, the sum of c (`target` p - x y)^2, less 2 x `pull`, where a row has its own `pull`. Number after number becomes the
    /// better of the two, given the others, until nothing changes or for `cycles` times; `l2` plays no part. Discrete Matrix
    /// Factorization's step (Lian et al., TKDE 2021). On the calling thread.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn signs(
        half: HalfPass<'_>,
        target: f32,
        pull: &[f32],
        cycles: usize,
        rows: Range<usize>,
        out: &mut [f32],
    ) = signs_kernel;

    /// The summed (c - 1) (1 - x y)^2 + (1 - x y)^2 - (x y)^2 of the entries of the rows `rows`, whose
    /// vectors are in `x`: what the loss of all pairs is above |X Y'|^2. On the calling thread.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn loss_of_entries(half: HalfPass<'_>, rows: Range<usize>, x: &[f32]) -> f64 = loss_kernel;
}

/// Residuals whose square is below this count as 0.
const SOLVED: f32 = 1e-20;

#[inline(always)]
fn conjugate_gradient_kernel<S: Simd>(
    s: S,
    half: HalfPass<'_>,
    steps: usize,
    rows: Range<usize>,
    out: &mut [f32],
) {
    half.check(rows.clone(), out);
    let dim = half.others.dim();
    let mut scratch = vec![0.0; 3 * dim];
    let (residual, scratch) = scratch.split_at_mut(dim);
    let (direction, product) = scratch.split_at_mut(dim);
    for (row, x) in rows.clone().zip(out.chunks_exact_mut(dim)) {
        if row + 1 < rows.end {
            fetch_ahead(half, row + 1);
        }
        let entries = half.extra.row(row);
        let extra = half.extra.row_values(row).unwrap_or_default();
        let l2 = half.l2[row];
        // r = b - A x
        apply_shared(s, half.gram, l2, x, residual);
        residual.iter_mut().for_each(|r| *r = -*r);
        for (&other, &extra) in entries.iter().zip(extra) {
            let y = half.others.row(other as usize);
            axpy_lanes(s, 1.0 + extra - extra * dot_lanes(s, x, y), y, residual);
        }
        direction.copy_from_slice(residual);
        let mut squared = dot_lanes(s, residual, residual);
        for _ in 0..steps {
            if squared < SOLVED {
                break;
            }
            apply_shared(s, half.gram, l2, direction, product);
            for (&other, &extra) in entries.iter().zip(extra) {
                let y = half.others.row(other as usize);
                axpy_lanes(s, extra * dot_lanes(s, direction, y), y, product);
            }
            let curvature = dot_lanes(s, direction, product);
            if curvature <= 0.0 {
                break; // only rounding, or no regularisation at all, brings it there
            }
            let along = squared / curvature;
            axpy_lanes(s, along, direction, x);
            axpy_lanes(s, -along, product, residual);
            let left = dot_lanes(s, residual, residual);
            let keep = left / squared;
            direction.iter_mut().zip(&*residual).for_each(|(d, r)| *d = r + keep * *d);
            squared = left;
        }
    }
}

/// Prefetches the vectors of the next row, which are scattered.
#[inline(always)]
fn fetch_ahead(half: HalfPass<'_>, row: usize) {
    // The vectors of a long row would evict each other.
    for &other in half.extra.row(row).iter().take(64) {
        for line in half.others.row(other as usize).chunks(LANES) {
            prefetch(line.as_ptr());
        }
    }
}

/// `out = (gram + l2) x`
#[inline(always)]
fn apply_shared<S: Simd>(s: S, gram: &[f32], l2: f32, x: &[f32], out: &mut [f32]) {
    let dim = x.len();
    let mut from = 0;
    while from + 4 * LANES <= dim {
        shared_columns::<S, 4>(s, gram, l2, x, from, out);
        from += 4 * LANES;
    }
    while from < dim {
        shared_columns::<S, 1>(s, gram, l2, x, from, out);
        from += LANES;
    }
}

/// Columns `from..from + 16 V`: the matrix is symmetric, so its rows are added up. Even and odd rows apart,
/// to have twice as many sums under way.
#[inline(always)]
fn shared_columns<S: Simd, const V: usize>(
    s: S,
    gram: &[f32],
    l2: f32,
    x: &[f32],
    from: usize,
    out: &mut [f32],
) {
    let dim = x.len();
    let (mut even, mut odd) = ([s.zero(); V], [s.zero(); V]);
    for (rows, x) in gram.chunks_exact(2 * dim).zip(x.chunks_exact(2)) {
        let (a, b) = (s.splat(x[0]), s.splat(x[1]));
        for v in 0..V {
            even[v] = s.fma(a, s.load(&rows[from + v * LANES..]), even[v]);
            odd[v] = s.fma(b, s.load(&rows[dim + from + v * LANES..]), odd[v]);
        }
    }
    let l2 = s.splat(l2);
    for v in 0..V {
        let at = from + v * LANES;
        let sum = s.fma(l2, s.load(&x[at..]), s.add(even[v], odd[v]));
        s.store(&mut out[at..], sum);
    }
}

#[inline(always)]
fn exact_kernel<S: Simd>(s: S, half: HalfPass<'_>, rows: Range<usize>, out: &mut [f32]) {
    half.check(rows.clone(), out);
    let dim = half.others.dim();
    let mut matrix = vec![0.0; dim * dim];
    for (row, x) in rows.clone().zip(out.chunks_exact_mut(dim)) {
        if row + 1 < rows.end {
            fetch_ahead(half, row + 1);
        }
        matrix.copy_from_slice(half.gram);
        x.fill(0.0);
        let extra = half.extra.row_values(row).unwrap_or_default();
        for (&other, &extra) in half.extra.row(row).iter().zip(extra) {
            let y = half.others.row(other as usize);
            axpy_lanes(s, 1.0 + extra, y, x);
            for (i, matrix) in matrix.chunks_exact_mut(dim).enumerate() {
                // The lower triangle, in whole vectors.
                let end = (i / LANES + 1) * LANES;
                axpy_lanes(s, extra * y[i], &y[..end], &mut matrix[..end]);
            }
        }
        factorise_and_solve(s, &mut matrix, half.l2[row], x);
    }
}

#[inline(always)]
fn signs_kernel<S: Simd>(
    s: S,
    half: HalfPass<'_>,
    target: f32,
    pull: &[f32],
    cycles: usize,
    rows: Range<usize>,
    out: &mut [f32],
) {
    half.check(rows.clone(), out);
    assert!(pull.len() == out.len(), "{} numbers for {}", pull.len(), out.len());
    let dim = half.others.dim();
    let (mut matrix, mut linear) = (vec![0.0; dim * dim], vec![0.0; dim]);
    for ((row, x), pull) in rows.zip(out.chunks_exact_mut(dim)).zip(pull.chunks_exact(dim)) {
        matrix.copy_from_slice(half.gram);
        linear.copy_from_slice(pull);
        let extra = half.extra.row_values(row).unwrap_or_default();
        for (&other, &extra) in half.extra.row(row).iter().zip(extra) {
            let y = half.others.row(other as usize);
            axpy_lanes(s, target * (1.0 + extra), y, &mut linear);
            for (y_i, matrix) in y.iter().zip(matrix.chunks_exact_mut(dim)) {
                axpy_lanes(s, extra * y_i, y, matrix);
            }
        }
        for _ in 0..cycles {
            let mut changed = false;
            for (k, matrix) in matrix.chunks_exact(dim).enumerate() {
                // Padding has 0 in both, and stays.
                let slope = linear[k] - (dot_lanes(s, matrix, x) - matrix[k] * x[k]);
                if slope * x[k] < 0.0 {
                    x[k] = -x[k];
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }
}

/// Solves (a + l2) x = b, where `x` holds b, by Cholesky's factorisation of the lower triangle, row by row.
#[inline(always)]
fn factorise_and_solve<S: Simd>(s: S, a: &mut [f32], l2: f32, x: &mut [f32]) {
    let dim = x.len();
    for i in 0..dim {
        let (above, row) = a.split_at_mut(i * dim);
        let row = &mut row[..=i];
        for j in 0..i {
            let dot = dot_lanes(s, &row[..j], &above[j * dim..j * dim + j]);
            row[j] = (row[j] - dot) / above[j * dim + j];
        }
        let pivot = row[i] + l2 - dot_lanes(s, &row[..i], &row[..i]);
        row[i] = if pivot > 0.0 { pivot.sqrt() } else { f32::INFINITY };
        x[i] = (x[i] - dot_lanes(s, &row[..i], &x[..i])) / row[i];
    }
    for i in (0..dim).rev() {
        let row = &a[i * dim..][..=i];
        let (before, at) = x.split_at_mut(i);
        at[0] /= row[i];
        axpy_lanes(s, -at[0], &row[..i], before);
    }
}

#[inline(always)]
fn loss_kernel<S: Simd>(s: S, half: HalfPass<'_>, rows: Range<usize>, x: &[f32]) -> f64 {
    half.check(rows.clone(), x);
    let mut sum = 0.0;
    for (row, x) in rows.zip(x.chunks_exact(half.others.dim())) {
        let extra = half.extra.row_values(row).unwrap_or_default();
        for (&other, &extra) in half.extra.row(row).iter().zip(extra) {
            let score = f64::from(dot_lanes(s, x, half.others.row(other as usize)));
            sum += (1.0 + f64::from(extra)) * (1.0 - score) * (1.0 - score) - score * score;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::cholesky::solve;
    use super::super::rng::Rng;
    use super::super::simd::{Isa, with_isa};
    use super::*;

    /// Rows of 0 to 40 entries, and the vectors of the others, padded.
    fn problem(n_rows: usize, n_others: usize, dim: usize) -> (Csr, Vec<f32>, Vec<f32>) {
        let mut rng = Rng::new(dim as u64);
        let stride = dim.next_multiple_of(LANES);
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in 0..n_rows {
            for _ in 0..row * 7 % 41 {
                indices.push(rng.below(n_others as u32));
                values.push(0.5 + rng.below(9) as f32);
            }
            offsets.push(indices.len());
        }
        let mut others = vec![0.0; n_others * stride];
        for row in others.chunks_mut(stride) {
            rng.fill_normal(&mut row[..dim], 0.0, 0.3);
        }
        let l2 = (0..n_rows).map(|row| 0.5 + row as f32 / 10.0).collect();
        (Csr::new(n_others, offsets, indices, Some(values)).unwrap(), others, l2)
    }

    /// The minimum by the definition: all others count, in f64.
    fn naive(half: HalfPass<'_>, row: usize) -> Vec<f64> {
        let dim = half.others.dim();
        let (mut a, mut b) = (vec![0.0; dim * dim], vec![0.0; dim]);
        let mut add = |other: usize, c: f64, p: f64| {
            let y = half.others.row(other);
            for i in 0..dim {
                b[i] += c * p * f64::from(y[i]);
                for j in 0..dim {
                    a[i * dim + j] += c * f64::from(y[i]) * f64::from(y[j]);
                }
            }
        };
        (0..half.others.n()).for_each(|other| add(other, 1.0, 0.0));
        for (&other, &extra) in half.extra.row(row).iter().zip(half.extra.row_values(row).unwrap())
        {
            // Instead of the entry's (0, confidence 1): what changes in matrix and right side.
            add(other as usize, f64::from(extra), 0.0);
            add(other as usize, 1.0 + f64::from(extra), 1.0);
            add(other as usize, -(1.0 + f64::from(extra)), 0.0);
        }
        (0..dim).for_each(|i| a[i * dim + i] += f64::from(half.l2[row]));
        solve(&mut a, &mut b);
        b
    }

    #[test]
    fn both_solvers_find_the_minimum_on_every_instruction_set() {
        for (dim, n_others) in [(5, 60), (16, 90), (64, 300), (100, 80)] {
            let (extra, others, l2) = problem(30, n_others, dim);
            let stride = dim.next_multiple_of(LANES);
            let rows = Rows::dense(&others, n_others, stride);
            let gram = gram(rows, &others);
            let half = HalfPass { extra: &extra, others: rows, gram: &gram, l2: &l2 };
            let mut seen: Option<(Vec<f32>, Vec<f32>)> = None;
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                with_isa(isa, 1, || {
                    let mut solved = vec![f32::NAN; 30 * stride];
                    exact(half, 0..30, &mut solved);
                    let mut steps = vec![0.0; 30 * stride];
                    conjugate_gradient(half, 3 * dim, 0..30, &mut steps);
                    for row in 0..30 {
                        for (k, expected) in naive(half, row).iter().enumerate() {
                            for found in [&solved, &steps] {
                                let found = found[row * stride + k];
                                assert!(
                                    (f64::from(found) - expected).abs() < 1e-4,
                                    "{dim}, {row}, {k}: {found} {expected}"
                                );
                            }
                        }
                    }
                    // A part of the rows alone gives the same.
                    let mut part = vec![0.0; 5 * stride];
                    conjugate_gradient(half, 3 * dim, 20..25, &mut part);
                    assert!(part == steps[20 * stride..25 * stride]);
                    if isa.is_fused() {
                        let first = seen.get_or_insert((solved.clone(), steps.clone()));
                        assert!(first.0 == solved && first.1 == steps, "{isa:?}");
                    }
                });
            }
        }
    }

    /// The loss of a vector of signs, by the definition.
    fn naive_loss(half: HalfPass<'_>, row: usize, target: f64, pull: &[f32], x: &[f32]) -> f64 {
        let dim = half.others.dim();
        let mut sum = -2.0 * x.iter().zip(pull).map(|(x, p)| f64::from(x * p)).sum::<f64>();
        let mut confidence = vec![(1.0, 0.0); half.others.n()];
        let extra = half.extra.row_values(row).unwrap();
        for (&other, &extra) in half.extra.row(row).iter().zip(extra) {
            confidence[other as usize] = (1.0 + f64::from(extra), target);
        }
        for (other, (c, p)) in confidence.into_iter().enumerate() {
            let score: f32 = (0..dim).map(|k| x[k] * half.others.row(other)[k]).sum();
            sum += c * (p - f64::from(score)).powi(2);
        }
        sum
    }

    #[test]
    fn no_single_sign_is_better_turned() {
        let (dim, stride, n_others, n_rows) = (6, 16, 40, 20);
        let mut rng = Rng::new(4);
        let mut sign = |data: &mut [f32]| {
            for row in data.chunks_mut(stride) {
                row[..dim].fill_with(|| if rng.chance(0.5) { 1.0 } else { -1.0 });
            }
        };
        let (mut others, mut start) = (vec![0.0; n_others * stride], vec![0.0; n_rows * stride]);
        sign(&mut others);
        sign(&mut start);
        let mut pull = vec![0.0; n_rows * stride];
        pull.chunks_mut(stride).for_each(|row| rng.fill_normal(&mut row[..dim], 0.0, 2.0));
        let (mut offsets, mut indices) = (vec![0], Vec::new());
        for row in 0..n_rows {
            indices.extend(
                (0..n_others as u32).filter(|other| (other * 7 + row as u32).is_multiple_of(9)),
            );
            offsets.push(indices.len());
        }
        let values = vec![4.0; indices.len()];
        let extra = Csr::new(n_others, offsets, indices, Some(values)).unwrap();
        let rows = Rows::dense(&others, n_others, stride);
        let gram = gram(rows, &others);
        let half = HalfPass { extra: &extra, others: rows, gram: &gram, l2: &[0.0; 20] };
        let mut seen: Option<Vec<f32>> = None;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut x = start.clone();
            with_isa(isa, 1, || signs(half, 6.0, &pull, 20, 0..n_rows, &mut x));
            let mut best = 0;
            for row in 0..n_rows {
                let at = row * stride..(row + 1) * stride;
                let loss = |x: &[f32]| naive_loss(half, row, 6.0, &pull[at.clone()], x);
                let found = loss(&x[at.clone()]);
                assert!(found <= loss(&start[at.clone()]));
                for k in 0..dim {
                    let mut turned = x[at.clone()].to_vec();
                    turned[k] = -turned[k];
                    assert!(loss(&turned) >= found - 1e-3, "{isa:?}, row {row}, {k}");
                }
                let all = (0..1 << dim).map(|bits| {
                    let mut other = vec![0.0; stride];
                    (0..dim).for_each(|k| other[k] = if bits >> k & 1 == 1 { 1.0 } else { -1.0 });
                    loss(&other)
                });
                best += usize::from(found <= all.fold(f64::INFINITY, f64::min) + 1e-3);
            }
            // A local minimum is often the global one.
            assert!(best > n_rows / 2, "{best}");
            if isa.is_fused() {
                assert!(*seen.get_or_insert(x.clone()) == x, "{isa:?}");
            }
        }
    }

    #[test]
    fn the_loss_of_entries_by_hand() {
        // One entry with c = 3 and score 0.5: 3 * 0.25 - 0.25.
        let extra = Csr::new(2, vec![0, 1], vec![1], Some(vec![2.0])).unwrap();
        let mut others = vec![0.0; 32];
        others[16] = 0.25;
        let mut x = vec![0.0; 16];
        x[0] = 2.0;
        let rows = Rows::dense(&others, 2, 16);
        let gram = gram(rows, &others);
        assert_eq!(gram[0], 0.0625);
        let half = HalfPass { extra: &extra, others: rows, gram: &gram, l2: &[1.0] };
        assert!((loss_of_entries(half, 0..1, &x) - 0.5).abs() < 1e-6);
    }
}
