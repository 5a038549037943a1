//! Distances of given pairs of points, and the gradient: weighted sums of the differences. For a sampled
//! slate of metric learning. Both run on the calling thread; callers with many rows split them.

use super::simd::{LANES, Simd, dispatch, prefetch};

/// How many pairs ahead points are prefetched.
const AHEAD: usize = 6;

/// `out[k]` = the squared distance of the points `from[k]` and `to[k]` of `points`, which are `stride`
/// numbers long, a multiple of 16, such as [`Table::fetch`](super::table::Table::fetch) gives them.
///
/// # Panics
/// If the lists differ in length, `stride` is not a multiple of 16, or a point is not there.
pub fn squared_distances(points: &[f32], from: &[u32], to: &[u32], stride: usize, out: &mut [f32]) {
    assert_eq!(from.len(), out.len(), "one point a pair to start from");
    assert_eq!(to.len(), out.len(), "one point a pair to go to");
    assert_eq!(stride % LANES, 0, "points of whole vectors");
    match stride {
        32 => distances::<32>(points, from, to, stride, out),
        64 => distances::<64>(points, from, to, stride, out),
        128 => distances::<128>(points, from, to, stride, out),
        _ => distances::<0>(points, from, to, stride, out),
    }
}

/// `out` row `i` = the sum over `k` in `starts[i]..starts[i + 1]` of `coef[k]` times (point `to[k]` - point
/// `from[k]`), in that order; `coef`, `from` and `to` begin at `starts[0]`. Points and rows are `stride`
/// numbers long, a multiple of 16.
///
/// # Panics
/// If the lists differ in length, `stride` is not a multiple of 16, or a point is not there.
pub fn pulls(
    starts: &[usize],
    coef: &[f32],
    from: &[u32],
    to: &[u32],
    points: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    assert_eq!(coef.len(), from.len(), "one point a coefficient to pull");
    assert_eq!(coef.len(), to.len(), "one point a coefficient to pull towards");
    assert_eq!(stride % LANES, 0, "points of whole vectors");
    assert_eq!(out.len(), (starts.len() - 1) * stride, "room for every sum");
    if !out.is_empty() {
        sums(starts, coef, (from, to), points, stride, out);
    }
}

dispatch! {
    fn distances[const N: usize](points: &[f32], from: &[u32], to: &[u32], stride: usize, out: &mut [f32]) = distances_kernel;
    fn sums(starts: &[usize], coef: &[f32], pairs: (&[u32], &[u32]), points: &[f32], stride: usize, out: &mut [f32]) = sums_kernel;
}

/// `N`: the stride if that is known to the compiler, else 0. It does not change the result.
#[inline(always)]
fn distances_kernel<S: Simd, const N: usize>(
    s: S,
    points: &[f32],
    from: &[u32],
    to: &[u32],
    stride: usize,
    out: &mut [f32],
) {
    let stride = if N > 0 { N } else { stride };
    let point = |row: u32| &points[row as usize * stride..][..stride];
    for (k, out) in out.iter_mut().enumerate() {
        if let Some(&next) = to.get(k + AHEAD) {
            for line in (0..stride).step_by(LANES) {
                prefetch(points.as_ptr().wrapping_add(next as usize * stride + line));
            }
        }
        // Even and odd vectors are summed apart, which halves the chain of additions.
        let mut squares = [s.zero(); 2];
        let vectors = point(from[k]).chunks_exact(LANES).zip(point(to[k]).chunks_exact(LANES));
        for (j, (a, b)) in vectors.enumerate() {
            let apart = s.sub(s.load(a), s.load(b));
            squares[j % 2] = s.fma(apart, apart, squares[j % 2]);
        }
        *out = s.hsum(s.add(squares[0], squares[1]));
    }
}

#[inline(always)]
fn sums_kernel<S: Simd>(
    s: S,
    starts: &[usize],
    coef: &[f32],
    (from, to): (&[u32], &[u32]),
    points: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    for (bounds, out) in starts.windows(2).zip(out.chunks_exact_mut(stride)) {
        let own = bounds[0] - starts[0]..bounds[1] - starts[0];
        let pairs = (&coef[own.clone()], &from[own.clone()], &to[own]);
        let mut column = 0;
        while column < stride {
            // As many sums at a time as hide the latency of the additions.
            if column + 4 * LANES <= stride {
                sum_columns::<S, 4>(s, pairs, points, stride, column, out);
                column += 4 * LANES;
            } else {
                sum_columns::<S, 1>(s, pairs, points, stride, column, out);
                column += LANES;
            }
        }
    }
}

#[inline(always)]
fn sum_columns<S: Simd, const V: usize>(
    s: S,
    (coef, from, to): (&[f32], &[u32], &[u32]),
    points: &[f32],
    stride: usize,
    column: usize,
    out: &mut [f32],
) {
    let mut sums = [s.zero(); V];
    for ((&coef, &from), &to) in coef.iter().zip(from).zip(to) {
        if coef == 0.0 {
            continue;
        }
        let a = &points[from as usize * stride + column..][..V * LANES];
        let b = &points[to as usize * stride + column..][..V * LANES];
        let coef = s.splat(coef);
        for (j, sum) in sums.iter_mut().enumerate() {
            let apart = s.sub(s.load(&b[j * LANES..]), s.load(&a[j * LANES..]));
            *sum = s.fma(coef, apart, *sum);
        }
    }
    for (j, &sum) in sums.iter().enumerate() {
        s.store(&mut out[column + j * LANES..][..LANES], sum);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::rng::Rng;
    use super::super::simd::{Isa, with_isa};
    use super::*;

    /// 40 points, and pairs of them in rows of up to five, from the second pair on; a coefficient is 0.
    struct Pairs {
        points: Vec<f32>,
        starts: Vec<usize>,
        coef: Vec<f32>,
        from: Vec<u32>,
        to: Vec<u32>,
    }

    impl Pairs {
        fn random(stride: usize) -> Self {
            let mut rng = Rng::keyed(1, [stride as u64]);
            let mut points = vec![0.0; 40 * stride];
            rng.fill_normal(&mut points, 0.0, 1.0);
            let mut starts = vec![2];
            (0..300).for_each(|row| starts.push(starts[row] + rng.below(6) as usize));
            let n = starts[300] - starts[0];
            let from = (0..n).map(|_| rng.below(40)).collect();
            let to = (0..n).map(|_| rng.below(40)).collect();
            let mut coef = vec![0.0; n];
            rng.fill_normal(&mut coef, 0.0, 1.0);
            coef[n / 2] = 0.0;
            Self { points, starts, coef, from, to }
        }

        fn apart(&self, k: usize, column: usize, stride: usize) -> f64 {
            let at = |row: u32| f64::from(self.points[row as usize * stride + column]);
            at(self.to[k]) - at(self.from[k])
        }
    }

    /// `ours` on every instruction set: near the result of `plain` for each number, and the same bits on all
    /// that fuse.
    fn check(ours: impl Fn() -> Vec<f32> + Send + Sync, plain: impl Fn(usize) -> f64) {
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::ALL {
            let Some(ours) = with_isa(isa, 2, &ours) else { continue };
            for (at, &x) in ours.iter().enumerate() {
                let plain = plain(at);
                assert!((f64::from(x) - plain).abs() < 1e-5 * plain.abs().max(1.0), "{x} {plain}");
            }
            if isa.is_fused() {
                assert_eq!(first.get_or_insert_with(|| ours.clone()), &ours);
            }
        }
    }

    #[test]
    fn agree_with_plain_sums_and_on_every_instruction_set() {
        for stride in [16, 32, 48, 64, 80, 128, 208] {
            let pairs = Pairs::random(stride);
            let Pairs { points, starts, coef, from, to } = &pairs;
            let n = coef.len();
            check(
                || {
                    let mut out = vec![f32::NAN; n];
                    squared_distances(points, from, to, stride, &mut out);
                    out
                },
                |k| (0..stride).map(|column| pairs.apart(k, column, stride).powi(2)).sum(),
            );
            check(
                || {
                    let mut out = vec![f32::NAN; 300 * stride];
                    pulls(starts, coef, from, to, points, stride, &mut out);
                    out
                },
                |at| {
                    let (row, column) = (at / stride, at % stride);
                    (starts[row] - 2..starts[row + 1] - 2)
                        .map(|k| f64::from(coef[k]) * pairs.apart(k, column, stride))
                        .sum()
                },
            );
        }
    }

    #[test]
    fn nothing_is_as_far_as_nothing() {
        squared_distances(&[], &[], &[], 64, &mut []);
        pulls(&[0], &[], &[], &[], &[], 64, &mut []);
        let mut out = [1.0; 16];
        pulls(&[0, 0], &[], &[], &[], &[], 16, &mut out);
        assert_eq!(out, [0.0; 16]);
    }
}
