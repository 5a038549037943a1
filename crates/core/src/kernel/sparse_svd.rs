//! The largest singular values of a sparse matrix and their right vectors, by a randomised method (Halko, Martinsson, Tropp,
//! "Finding structure with randomness", SIAM Review 2011, algorithm 4.4 on the columns' side): random columns are multiplied
//! with M'M a number of times, which leaves what the large values stretch; within the space that they span, the problem is
//! small and is solved exactly.
//!
//! The random numbers are keyed by a constant, so the result is a function of the matrix. Products and sums have a fixed order:
//! the same bits on any number of threads.

use super::als::gram;
use super::csr::Csr;
use super::eigen;
use super::gemm::{self, Mat, MatMut};
use super::panels::Rows;
use super::rng::Rng;
use rayon::prelude::*;

/// How closely the singular vectors are approached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Columns carried along in addition to those asked for: what is mixed into the last of these comes from beyond them all.
    pub extra: usize,
    /// Products with M'M.
    pub rounds: usize,
}

/// The largest singular values with their right vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct RightVectors {
    /// The values, largest first.
    pub values: Vec<f32>,
    /// `n_cols x values.len()`, of orthonormal columns.
    pub vectors: Vec<f32>,
}

/// The `k` largest singular values of `matrix`, fewer if it has not as many above rounding. In parallel on rayon's current
/// pool. When `stop` says so, it returns none.
pub fn right_vectors(
    matrix: &Csr,
    k: usize,
    effort: Effort,
    stop: &dyn Fn() -> bool,
) -> RightVectors {
    let turned = matrix.transpose();
    let (n_rows, n) = (matrix.n_rows(), matrix.n_cols());
    let width = (k + effort.extra).min(n).min(n_rows);
    if width == 0 || k == 0 {
        return RightVectors { values: Vec::new(), vectors: Vec::new() };
    }
    let mut columns = vec![0.0; n * width];
    columns.par_chunks_mut(width).enumerate().for_each(|(row, columns)| {
        Rng::keyed(0, [START, row as u64]).fill_normal(columns, 0.0, 1.0);
    });
    let mut image = vec![0.0; n_rows * width];
    for part in 0..3 * effort.rounds {
        if stop() {
            return RightVectors { values: Vec::new(), vectors: Vec::new() };
        }
        match part % 3 {
            0 => orthonormalise(&mut columns, width),
            1 => matrix.multiply(Rows::dense(&columns, n, width), false, &mut image, width),
            _ => turned.multiply(Rows::dense(&image, n_rows, width), false, &mut columns, width),
        }
    }
    // Twice: in `f32` the first time leaves an error of the square of the condition number.
    orthonormalise(&mut columns, width);
    orthonormalise(&mut columns, width);
    matrix.multiply(Rows::dense(&columns, n, width), false, &mut image, width);
    let small = gram(Rows::dense(&image, n_rows, width), &image);
    let mut small: Vec<f64> = small.into_iter().map(f64::from).collect();
    let (squares, directions) = eigen::symmetric(&mut small, width);
    let largest = squares[0];
    let real = |square: &&f64| **square > largest * 1e-9 && **square > 0.0;
    let values: Vec<f32> =
        squares.iter().take(k).take_while(real).map(|square| square.sqrt() as f32).collect();
    let directions: Vec<f32> =
        directions[..values.len() * width].iter().map(|&x| x as f32).collect();
    let directions = Mat::dense(&directions, values.len(), width).t();
    let vectors = product(&columns, n, directions);
    RightVectors { values, vectors }
}

/// Makes the columns of a matrix of rows of `width` orthonormal, by Cholesky's factor of their Gram matrix. Columns
/// that depend on those before become 0.
fn orthonormalise(columns: &mut Vec<f32>, width: usize) {
    let n = columns.len() / width;
    let factor = gram(Rows::dense(columns, n, width), columns);
    let mut factor: Vec<f64> = factor.into_iter().map(f64::from).collect();
    // Row by row: L L' is the Gram matrix; then `inverse` L = E.
    for i in 0..width {
        let (above, row) = factor.split_at_mut(i * width);
        let whole = row[i];
        for j in 0..i {
            let dot = dot(&row[..j], &above[j * width..][..j]);
            row[j] = (row[j] - dot) / above[j * width + j];
        }
        let pivot = whole - dot(&row[..i], &row[..i]);
        // What is left of a dependent column is rounding.
        row[i] = if pivot > whole * 1e-6 { pivot.sqrt() } else { f64::INFINITY };
    }
    let mut inverse = vec![0.0f64; width * width];
    for i in 0..width {
        let (above, row) = inverse.split_at_mut(i * width);
        for (j, &l) in factor[i * width..][..i].iter().enumerate() {
            let from = &above[j * width..][..=j];
            row.iter_mut().zip(from).for_each(|(x, from)| *x -= l * from);
        }
        let pivot = factor[i * width + i];
        row[..i].iter_mut().for_each(|x| *x /= pivot);
        row[i] = 1.0 / pivot;
    }
    let inverse: Vec<f32> = inverse.into_iter().map(|x| x as f32).collect();
    *columns = product(columns, n, Mat::dense(&inverse, width, width).t());
}

/// `a b`, where `a` has `n` rows.
fn product(a: &[f32], n: usize, b: Mat<'_>) -> Vec<f32> {
    let mut out = vec![0.0; n * b.cols()];
    let a = Mat::dense(a, n, b.rows());
    gemm::parallel(1.0, a, b, 0.0, &mut MatMut::dense(&mut out, n, b.cols()));
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y)
}

/// Random stream of the first columns.
const START: u64 = 0x5356_4453;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::simd::{Isa, with_isa};
    use super::*;

    const EFFORT: Effort = Effort { extra: 12, rounds: 12 };

    fn sparse(n_rows: usize, n_cols: usize) -> Csr {
        let mut rng = Rng::new(n_rows as u64);
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for _ in 0..n_rows {
            for column in (0..n_cols as u32).filter(|&c| c % 3 == 0 || c % 7 == 1) {
                if rng.chance(0.3) {
                    indices.push(column);
                    values.push(rng.uniform() + 0.1);
                }
            }
            offsets.push(indices.len());
        }
        Csr::new(n_cols, offsets, indices, Some(values)).unwrap()
    }

    /// M'M in `f64`, whose eigenvalues are the squares.
    fn squared(matrix: &Csr) -> Vec<f64> {
        let n = matrix.n_cols();
        let mut out = vec![0.0; n * n];
        for row in 0..matrix.n_rows() {
            let entries = || matrix.row(row).iter().zip(matrix.row_values(row).unwrap());
            for (&i, &x) in entries() {
                for (&j, &y) in entries() {
                    out[i as usize * n + j as usize] += f64::from(x) * f64::from(y);
                }
            }
        }
        out
    }

    #[test]
    fn values_and_spaces_are_those_of_the_whole_decomposition() {
        for (n_rows, n_cols, k) in [(60, 50, 5), (30, 80, 8), (90, 20, 20)] {
            let matrix = sparse(n_rows, n_cols);
            let (squares, vectors) = eigen::symmetric(&mut squared(&matrix), n_cols);
            let found = right_vectors(&matrix, k, EFFORT, &|| false);
            let real = squares.iter().filter(|&&square| square > 1e-9).count();
            assert_eq!(found.values.len(), k.min(real));
            let k = found.values.len();
            for (value, square) in found.values.iter().zip(&squares) {
                assert!((f64::from(*value) - square.sqrt()).abs() < 1e-4, "{value} {square}");
            }
            // The projections are equal: V V' of both.
            for i in 0..n_cols {
                for j in 0..n_cols {
                    let expected: f64 = vectors.chunks(n_cols).take(k).map(|v| v[i] * v[j]).sum();
                    let row = |i: usize| &found.vectors[i * k..][..k];
                    let mine: f32 = row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum();
                    assert!(
                        (f64::from(mine) - expected).abs() < 2e-3,
                        "{i}, {j}: {mine} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_same_bits_on_any_number_of_threads() {
        let matrix = sparse(150, 120);
        let on = |threads| {
            with_isa(Isa::Portable, threads, || right_vectors(&matrix, 30, EFFORT, &|| false))
        };
        assert!(on(1) == on(2) && on(1) == on(3));
    }

    #[test]
    fn a_matrix_of_low_rank_has_no_more_values() {
        // Two equal rows, one of another direction, one empty.
        let rows =
            Csr::new(4, vec![0, 2, 4, 5, 5], vec![0, 1, 0, 1, 3], Some(vec![1.0; 5])).unwrap();
        let found = right_vectors(&rows, 4, EFFORT, &|| false);
        assert_eq!(found.values.len(), 2);
        assert!((found.values[0] - 2.0).abs() < 1e-5 && (found.values[1] - 1.0).abs() < 1e-5);
        let none = Csr::new(3, vec![0, 0], vec![], Some(vec![])).unwrap();
        assert!(right_vectors(&none, 2, EFFORT, &|| false).values.is_empty());
        assert!(right_vectors(&rows, 0, EFFORT, &|| false).values.is_empty());
    }
}
