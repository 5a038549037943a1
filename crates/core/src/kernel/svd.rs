//! Singular values of small square matrices, and what follows from them: nearest orthogonal matrices, factors of products. In `f64`, on
//! the calling thread; for matrices of the size of an embedding.

use super::panels::Rows;
use rayon::prelude::*;

/// `a = u diag(values) v'`, all row-major `n x n`; values decrease.
#[derive(Clone, Debug, PartialEq)]
pub struct Svd {
    /// Left vectors, one a column; orthogonal, also where values are 0.
    pub u: Vec<f64>,
    /// Singular values.
    pub values: Vec<f64>,
    /// Right vectors, one a column; orthogonal.
    pub v: Vec<f64>,
}

/// The singular value decomposition of an `n x n` matrix, by one-sided Jacobi rotations (Hestenes, 1958): pairs of columns are made
/// orthogonal until all are. n^3 times a dozen sweeps: some 5 ms for n = 64. Of a symmetric matrix without negative eigenvalues it
/// is the eigendecomposition.
///
/// # Panics
/// When `a` has another length than `n * n`.
#[must_use]
pub fn svd(a: &[f64], n: usize) -> Svd {
    assert!(a.len() == n * n, "{} numbers are not {n} x {n}", a.len());
    // Columns are contiguous.
    let mut w = transposed(a, n);
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    for _ in 0..MOST_SWEEPS {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                let (wp, wq) = pair(&mut w, n, p, q);
                let (alpha, beta, gamma) = (dot(wp, wp), dot(wq, wq), dot(wp, wq));
                if gamma.abs() <= ORTHOGONAL * (alpha * beta).sqrt() || gamma == 0.0 {
                    continue;
                }
                turned = true;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                rotate(wp, wq, c, c * t);
                let (vp, vq) = pair(&mut v, n, p, q);
                rotate(vp, vq, c, c * t);
            }
        }
        if !turned {
            break;
        }
    }
    let lengths: Vec<f64> =
        w.chunks_exact(n.max(1)).map(|column| dot(column, column).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| lengths[b].total_cmp(&lengths[a]).then(a.cmp(&b)));
    let least = lengths.iter().fold(0.0, |largest: f64, x| largest.max(*x)) * 1e-14;
    let (mut left, mut right, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for &j in &order {
        right.extend_from_slice(&v[j * n..][..n]);
        values.push(lengths[j]);
        // Where there is no direction, any that is orthogonal to the others.
        let column = &w[j * n..][..n];
        left.extend(column.iter().map(|x| if lengths[j] > least { x / lengths[j] } else { 0.0 }));
    }
    orthonormalise(&mut left, n);
    Svd { u: transposed(&left, n), values, v: transposed(&right, n) }
}

/// Columns whose cosine is below this count as orthogonal.
const ORTHOGONAL: f64 = 1e-15;
/// Convergence is quadratic: a dozen is usual.
const MOST_SWEEPS: usize = 60;

/// The orthogonal matrix o that is nearest to `a`, which also makes the trace of o'a largest (Schönemann's Procrustes problem, 1966).
///
/// # Panics
/// When `a` has another length than `n * n`.
#[must_use]
pub fn nearest_orthogonal(a: &[f64], n: usize) -> Vec<f64> {
    let Svd { u, v, .. } = svd(a, n);
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            out[i * n + j] = dot(&u[i * n..][..n], &v[j * n..][..n]);
        }
    }
    out
}

/// Makes the rows of a matrix of `n` columns orthonormal, one after the other (Gram-Schmidt, twice, so that rounding does not
/// matter). A row that depends on earlier ones is replaced by some other direction.
///
/// # Panics
/// When there are more rows than columns, or the last one is not whole.
pub fn orthonormalise(rows: &mut [f64], n: usize) {
    assert!(rows.len().is_multiple_of(n.max(1)) && rows.len() <= n * n);
    for i in 0..rows.len() / n.max(1) {
        let (before, row) = rows.split_at_mut(i * n);
        let row = &mut row[..n];
        let mut axis = 0;
        loop {
            let length = dot(row, row).sqrt();
            for _ in 0..2 {
                for other in before.chunks_exact(n) {
                    let along = dot(row, other);
                    row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
                }
            }
            let left = dot(row, row).sqrt();
            // One of the axes is not within the span of fewer rows than axes.
            if left > 1e-8 * length && left > 0.0 || axis == n {
                row.iter_mut().for_each(|x| *x /= left.max(f64::MIN_POSITIVE));
                break;
            }
            row.fill(0.0);
            row[axis] = 1.0;
            axis += 1;
        }
    }
}

/// `x' x` of the rows of a matrix, in `f64`. In parallel on rayon's current pool, in fixed blocks.
#[must_use]
pub fn gram(x: Rows<'_>) -> Vec<f64> {
    cross(x, x)
}

/// `x' y` of two matrices with equally many rows, `dim of x` x `dim of y`. In parallel on rayon's current pool, in fixed blocks.
///
/// # Panics
/// When the numbers of rows differ.
#[must_use]
pub fn cross(x: Rows<'_>, y: Rows<'_>) -> Vec<f64> {
    assert!(x.n() == y.n(), "{} rows and {}", x.n(), y.n());
    let (n, dim) = (y.dim(), x.dim() * y.dim());
    let blocks = (0..x.n().div_ceil(BLOCK)).into_par_iter().map(|block| {
        let mut sum = vec![0.0; dim];
        for i in block * BLOCK..x.n().min((block + 1) * BLOCK) {
            for (x, sum) in x.row(i).iter().zip(sum.chunks_exact_mut(n.max(1))) {
                for (y, sum) in y.row(i).iter().zip(sum) {
                    *sum += f64::from(*x) * f64::from(*y);
                }
            }
        }
        sum
    });
    let mut sum = vec![0.0; dim];
    for block in blocks.collect::<Vec<_>>() {
        sum.iter_mut().zip(block).for_each(|(sum, x)| *sum += x);
    }
    sum
}

/// Rows of a task.
const BLOCK: usize = 1024;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Four sums, in one order everywhere.
    let mut sums = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest = a4.remainder().iter().zip(b4.remainder()).fold(0.0, |sum, (a, b)| sum + a * b);
    for (a, b) in a4.zip(b4) {
        (0..4).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums[0] + sums[1] + (sums[2] + sums[3]) + rest
}

fn rotate(p: &mut [f64], q: &mut [f64], c: f64, s: f64) {
    for (p, q) in p.iter_mut().zip(q) {
        (*p, *q) = (c * *p - s * *q, s * *p + c * *q);
    }
}

/// Two rows, `p < q`.
fn pair(rows: &mut [f64], n: usize, p: usize, q: usize) -> (&mut [f64], &mut [f64]) {
    let (before, from) = rows.split_at_mut(q * n);
    (&mut before[p * n..][..n], &mut from[..n])
}

fn transposed(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|at| a[at % n * n + at / n]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    fn random(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        (0..n * n).map(|_| f64::from(rng.normal())).collect()
    }

    fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
        let at = |i: usize, j: usize| (0..n).fold(0.0, |sum, k| sum + a[i * n + k] * b[k * n + j]);
        (0..n * n).map(|x| at(x / n, x % n)).collect()
    }

    fn is_orthogonal(a: &[f64], n: usize) -> bool {
        let square = product(&transposed(a, n), a, n);
        square
            .iter()
            .enumerate()
            .all(|(at, x)| (x - f64::from(u8::from(at / n == at % n))).abs() < 1e-10)
    }

    #[test]
    fn factors_multiply_to_the_matrix() {
        for n in [0, 1, 2, 5, 33] {
            let mut a = random(n, n as u64);
            if n == 5 {
                // Of rank 3: two columns are combinations of others.
                for row in a.chunks_mut(5) {
                    (row[3], row[4]) = (row[0] + row[1], 2.0 * row[2]);
                }
            }
            let Svd { u, values, v } = svd(&a, n);
            assert!(is_orthogonal(&u, n) && is_orthogonal(&v, n), "{n}");
            assert!(values.windows(2).all(|w| w[0] >= w[1]));
            let scaled: Vec<f64> = (0..n * n).map(|at| u[at] * values[at % n]).collect();
            let back = product(&scaled, &transposed(&v, n), n);
            assert!(back.iter().zip(&a).all(|(x, y)| (x - y).abs() < 1e-10), "{n}");
            if n == 5 {
                assert!(values[3] < 1e-12 && values[2] > 0.1, "{values:?}");
            }
        }
    }

    #[test]
    fn values_by_hand() {
        // diag(3, -4) with its columns exchanged.
        let found = svd(&[0.0, 3.0, -4.0, 0.0], 2);
        assert!((found.values[0] - 4.0).abs() < 1e-12 && (found.values[1] - 3.0).abs() < 1e-12);
        // Eigenvalues of [[2, 1], [1, 2]] are 3 and 1.
        let found = svd(&[2.0, 1.0, 1.0, 2.0], 2);
        assert!((found.values[0] - 3.0).abs() < 1e-12 && (found.values[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_rotation_is_found_again() {
        let n = 12;
        let mut turn = random(n, 4);
        orthonormalise(&mut turn, n);
        assert!(is_orthogonal(&turn, n));
        // A positive matrix before it does not change the nearest rotation.
        let x = random(n, 5);
        let positive = product(&x, &transposed(&x, n), n);
        let found = nearest_orthogonal(&product(&positive, &turn, n), n);
        assert!(found.iter().zip(&turn).all(|(x, y)| (x - y).abs() < 1e-8));
    }

    #[test]
    fn rows_that_depend_on_others_are_replaced() {
        let mut rows = vec![1.0, 1.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0];
        orthonormalise(&mut rows, 3);
        assert!(is_orthogonal(&rows, 3));
    }

    #[test]
    fn products_of_columns_are_sums_over_rows() {
        let x: Vec<f32> = (0..3 * 2500).map(|i| (i % 17) as f32 - 8.0).collect();
        let y: Vec<f32> = (0..2 * 2500).map(|i| (i % 13) as f32 - 6.0).collect();
        let found = cross(Rows::dense(&x, 2500, 3), Rows::dense(&y, 2500, 2));
        for (at, found) in found.iter().enumerate() {
            let naive = (0..2500).map(|i| f64::from(x[i * 3 + at / 2] * y[i * 2 + at % 2]));
            assert_eq!(*found, naive.sum::<f64>());
        }
    }
}
