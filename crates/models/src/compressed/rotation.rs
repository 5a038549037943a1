//! Random rotations.

use rankstill_core::kernel::gemm::{self, Mat, MatMut};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::svd::orthonormalise;

/// A random orthogonal matrix, `dim x dim`.
pub(super) fn random_rotation(dim: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::keyed(seed, [ROTATION]);
    let mut rows: Vec<f64> = (0..dim * dim).map(|_| f64::from(rng.normal())).collect();
    orthonormalise(&mut rows, dim);
    rows.iter().map(|&x| x as f32).collect()
}

/// Each of the rows of `dim` numbers, multiplied by a matrix of rows of `dim`.
pub(super) fn rotated(rows: &[f32], dim: usize, rotation: &[f32]) -> Vec<f32> {
    let (n, columns) = (rows.len() / dim.max(1), rotation.len() / dim.max(1));
    let mut out = vec![0.0; n * columns];
    let (rows, rotation) = (Mat::dense(rows, n, dim), Mat::dense(rotation, columns, dim));
    gemm::parallel(1.0, rows, rotation.t(), 0.0, &mut MatMut::dense(&mut out, n, columns));
    out
}

/// Random stream of rotations.
const ROTATION: u64 = 0x524f_5441;
