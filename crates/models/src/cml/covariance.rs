//! The penalty on the covariances of a batch's points.

use rankstill_core::kernel::gemm::{Mat, MatMut, gemm};

/// Adds the gradient of `strength / 2 * sum over axes a != b of C_ab^2` to `gradients`, where C is the
/// covariance matrix (the mean of products) of the points. Both have rows of `dim` numbers, `stride` apart.
/// Returns the penalty.
///
/// With Y the points minus their mean, C = Y'Y / n, and the gradient is 2 strength / n * Y C', with C' being C
/// with a zero diagonal. The mean's own dependence on the points contributes nothing, because Y sums to 0.
pub(super) fn penalise(
    points: &[f32],
    dim: usize,
    stride: usize,
    strength: f32,
    gradients: &mut [f32],
) -> f64 {
    let n = points.len() / stride;
    if n == 0 || strength == 0.0 {
        return 0.0;
    }
    let mut mean = vec![0.0f64; dim];
    for point in points.chunks_exact(stride) {
        mean.iter_mut().zip(point).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let mut centred = Vec::with_capacity(n * dim);
    for point in points.chunks_exact(stride) {
        centred.extend(point.iter().zip(&mean).map(|(&x, sum)| x - (sum / n as f64) as f32));
    }
    let centred = Mat::dense(&centred, n, dim);
    let mut covariance = vec![0.0; dim * dim];
    let mut out = MatMut::dense(&mut covariance, dim, dim);
    gemm(1.0 / n as f32, centred.t(), centred, 0.0, &mut out);
    (0..dim).for_each(|axis| covariance[axis * dim + axis] = 0.0);
    let squares = covariance.iter().fold(0.0, |sum, &c| sum + f64::from(c) * f64::from(c));
    let mut out = MatMut::new(gradients, n, dim, stride);
    gemm(2.0 * strength / n as f32, centred, Mat::dense(&covariance, dim, dim), 1.0, &mut out);
    0.5 * f64::from(strength) * squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use rankstill_core::kernel::rng::Rng;

    #[test]
    fn two_points_by_hand() {
        // Less their mean, (1, 2) and (-1, -2): the covariance of the axes is 2, twice.
        let points = [3.0, 4.0, 1.0, 0.0];
        let mut gradients = [1.0; 4];
        assert!((penalise(&points, 2, 2, 0.5, &mut gradients) - 2.0).abs() < 1e-6);
        // 2 * 0.5 / 2 * (1, 2) (0 2; 2 0) = (2, 1), and less for the other.
        assert_eq!(gradients, [3.0, 2.0, -1.0, 0.0]);
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let (n, dim, stride) = (7, 5, 16);
        let mut points = vec![0.0; n * stride];
        let mut rng = Rng::new(1);
        points.chunks_mut(stride).for_each(|p| rng.fill_normal(&mut p[..dim], 0.3, 1.0));
        let mut gradients = vec![0.0; n * stride];
        penalise(&points, dim, stride, 0.7, &mut gradients);
        for at in (0..n * stride).filter(|at| at % stride < dim) {
            let shifted = |by: f32| {
                let mut points = points.clone();
                points[at] += by;
                penalise(&points, dim, stride, 0.7, &mut vec![0.0; n * stride])
            };
            let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradients[at])).abs() < 1e-3, "{slope} {}", gradients[at]);
        }
    }
}
