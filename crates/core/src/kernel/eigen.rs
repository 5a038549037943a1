//! All eigenvalues and eigenvectors of a dense symmetric matrix, in `f64`: Householder's reduction to tridiagonal form, then
//! QL with implicit shifts (Martin, Reinsch, Wilkinson, Numerische Mathematik 1968; `tred2` and `tql2` of EISPACK), some 9 n^3
//! operations. For the few hundred rows of a projected problem; see [`sparse_svd`](super::sparse_svd).
//!
//! Vectors are kept in blocks of 64 columns, which are rotated in parallel: a rotation touches two rows of a block, and a
//! block of some hundred rows stays in the cache. Every number is computed by one chain of operations, so the bits do not
//! depend on the number of threads.

use rayon::prelude::*;

/// Columns in a block of vectors.
const BLOCK: usize = 64;

/// Rows that a thread takes at least: below, a task costs more than it saves.
const ROWS: usize = 64;

/// The eigenvalues of the symmetric `n x n` matrix `a`, largest first, and the eigenvectors as rows in the same order, each of
/// length 1. `a` is destroyed. In parallel on rayon's current pool.
///
/// # Panics
/// When `a` has another length than `n * n`.
pub fn symmetric(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    assert!(a.len() == n * n, "{} numbers for {n} rows", a.len());
    let (mut diagonal, mut beside, mut blocks) = tridiagonal(a, n);
    diagonalise(&mut diagonal, &mut beside, &mut blocks);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]).then(i.cmp(&j)));
    let mut vectors = Vec::with_capacity(n * n);
    for &row in &order {
        for block in &blocks {
            let width = block.len() / n;
            vectors.extend_from_slice(&block[row * width..][..width]);
        }
    }
    (order.into_iter().map(|i| diagonal[i]).collect(), vectors)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Eight sums, so that the compiler may use vectors.
    let mut sums = [0.0; 8];
    let (head, tail) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = head.remainder().iter().zip(tail.remainder()).fold(0.0, |sum, (x, y)| sum + x * y);
    for (x, y) in head.zip(tail) {
        (0..8).for_each(|i| sums[i] += x[i] * y[i]);
    }
    sums.iter().fold(rest, |sum, x| sum + x)
}

/// A = Q T Q' with T tridiagonal: T's diagonal, the numbers beside it (the last is 0), and Q' in blocks of columns.
fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
    let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
    // Row k of `a` is overwritten by the k-th reflection, E - scale v v', where v is 0 up to k.
    let mut scales = vec![0.0; n];
    for k in 0..n {
        diagonal[k] = a[k * n + k];
        let (done, left) = a.split_at_mut((k + 1) * n);
        let v = &mut done[k * n + k + 1..];
        let norm = dot(v, v).sqrt();
        if v.len() < 2 || norm == 0.0 {
            if let Some(&x) = v.first() {
                beside[k] = x;
            }
            continue;
        }
        let first = v[0];
        let to = if first > 0.0 { -norm } else { norm };
        beside[k] = to;
        v[0] -= to;
        let scale = 2.0 / dot(v, v);
        scales[k] = scale;
        let v = &*v;
        // p = scale A v; w = p - (scale / 2) (p v) v; A -= v w' + w v'.
        let rows = left.par_chunks(n).with_min_len(ROWS);
        let mut w: Vec<f64> = rows.map(|row| scale * dot(&row[k + 1..], v)).collect();
        let half = 0.5 * scale * dot(&w, v);
        w.iter_mut().zip(v).for_each(|(w, v)| *w -= half * v);
        let w = &w;
        left.par_chunks_mut(n).with_min_len(ROWS).enumerate().for_each(|(i, row)| {
            let (vi, wi) = (v[i], w[i]);
            let pairs = row[k + 1..].iter_mut().zip(v.iter().zip(w));
            pairs.for_each(|(x, (v, w))| *x -= vi * w + wi * v);
        });
    }
    // Q' = H_last .. H_1: its columns are independent of each other.
    let starts: Vec<usize> = (0..n).step_by(BLOCK).collect();
    let blocks = starts.into_par_iter().map(|from| {
        let width = BLOCK.min(n - from);
        let mut block = vec![0.0; n * width];
        (0..width).for_each(|j| block[(from + j) * width + j] = 1.0);
        for k in 0..n {
            let v = &a[k * n + k + 1..(k + 1) * n];
            if scales[k] == 0.0 {
                continue;
            }
            let rows = &mut block[(k + 1) * width..];
            let mut along = [0.0; BLOCK];
            for (row, &v) in rows.chunks_exact(width).zip(v) {
                along.iter_mut().zip(row).for_each(|(sum, x)| *sum += v * x);
            }
            for (row, &v) in rows.chunks_exact_mut(width).zip(v) {
                let v = scales[k] * v;
                row.iter_mut().zip(&along).for_each(|(x, sum)| *x -= v * sum);
            }
        }
        block
    });
    let blocks = blocks.collect();
    (diagonal, beside, blocks)
}

/// A row of vectors is rotated with the next one.
#[derive(Clone, Copy)]
struct Rotation {
    row: usize,
    cosine: f64,
    sine: f64,
}

/// QL: leaves the eigenvalues in `diagonal`, and turns the rows of `blocks` into the eigenvectors.
fn diagonalise(diagonal: &mut [f64], beside: &mut [f64], blocks: &mut [Vec<f64>]) {
    let n = diagonal.len();
    for first in 0..n {
        // Two rounds per value are usual; more than 50 happen only with numbers that are not finite.
        for _ in 0..50 {
            let small = |i: usize| {
                beside[i].abs() <= f64::EPSILON * (diagonal[i].abs() + diagonal[i + 1].abs())
            };
            let last = (first..n - 1).find(|&i| small(i)).unwrap_or(n - 1);
            if last == first {
                break;
            }
            let rotations = round(diagonal, beside, first, last);
            blocks.par_iter_mut().for_each(|block| {
                let width = block.len() / n;
                for &Rotation { row, cosine, sine } in &rotations {
                    let (upper, lower) = block[row * width..][..2 * width].split_at_mut(width);
                    for (x, y) in upper.iter_mut().zip(lower) {
                        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
                    }
                }
            });
        }
    }
}

/// One round of QL on the rows `first..=last`.
fn round(d: &mut [f64], e: &mut [f64], first: usize, last: usize) -> Vec<Rotation> {
    let length = |x: f64, y: f64| (x * x + y * y).sqrt();
    let mut rotations = Vec::with_capacity(last - first);
    let g = (d[first + 1] - d[first]) / (2.0 * e[first]);
    let mut g = d[last] - d[first] + e[first] / (g + length(g, 1.0).copysign(g));
    let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
    for i in (first..last).rev() {
        let (f, b) = (sine * e[i], cosine * e[i]);
        let r = length(f, g);
        e[i + 1] = r;
        if r == 0.0 {
            d[i + 1] -= p;
            e[last] = 0.0;
            return rotations;
        }
        (sine, cosine) = (f / r, g / r);
        g = d[i + 1] - p;
        let r = (d[i] - g) * sine + 2.0 * cosine * b;
        p = sine * r;
        d[i + 1] = g + p;
        g = cosine * r - b;
        rotations.push(Rotation { row: i, cosine, sine });
    }
    d[first] -= p;
    e[first] = g;
    e[last] = 0.0;
    rotations
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::super::simd::{Isa, with_isa};
    use super::*;

    #[test]
    fn two_rows_by_hand() {
        // [2 1; 1 2]: 3 along (1, 1), 1 along (1, -1).
        let (values, vectors) = symmetric(&mut [2.0, 1.0, 1.0, 2.0], 2);
        assert!((values[0] - 3.0).abs() < 1e-12 && (values[1] - 1.0).abs() < 1e-12, "{values:?}");
        assert!((vectors[0] - vectors[1]).abs() < 1e-12);
        assert!((vectors[2] + vectors[3]).abs() < 1e-12);
        assert_eq!(symmetric(&mut [], 0), (vec![], vec![]));
        assert_eq!(symmetric(&mut [5.0], 1), (vec![5.0], vec![1.0]));
    }

    #[test]
    fn vectors_are_orthonormal_and_are_only_stretched_on_any_number_of_threads() {
        for (n, rank) in [(3, 3), (40, 7), (130, 130), (65, 1)] {
            // Products of random vectors: of full rank, or with many values of 0.
            let mut rng = Rng::new(n as u64);
            let factors: Vec<f64> = (0..n * rank).map(|_| f64::from(rng.normal())).collect();
            let row = |i: usize| &factors[i * rank..][..rank];
            let matrix: Vec<f64> = (0..n * n).map(|at| dot(row(at / n), row(at % n))).collect();
            let mut seen = None;
            for threads in 1..=3 {
                let found = with_isa(Isa::Portable, threads, || symmetric(&mut matrix.clone(), n));
                let (values, vectors) = found.expect("is always there");
                assert!(values.is_sorted_by(|a, b| a >= b));
                let scale = values[0];
                for (i, (value, vector)) in values.iter().zip(vectors.chunks(n)).enumerate() {
                    for (j, other) in vectors.chunks(n).enumerate() {
                        let expected = if i == j { 1.0 } else { 0.0 };
                        assert!((dot(vector, other) - expected).abs() < 1e-12, "{n}: {i}, {j}");
                    }
                    for (row, x) in matrix.chunks(n).zip(vector) {
                        assert!((dot(row, vector) - value * x).abs() < 1e-12 * scale, "{n}: {i}");
                    }
                }
                let first = seen.get_or_insert_with(|| (values.clone(), vectors.clone()));
                assert!(*first == (values, vectors), "{n} on {threads} threads");
            }
        }
    }
}
