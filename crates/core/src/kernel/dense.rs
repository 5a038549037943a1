//! Dot products and their kin over plain slices.
//!
//! Sums have one fixed order, the same on every instruction set with FMA: four vectors of 16 lanes take the
//! chunks of 16 in turn, are added as (0 + 1) + (2 + 3), and the lanes by the tree of [`Simd::hsum`]. Note
//! that this is not the order of [`score_one`](super::panels::score_one), which the ranking kernels use.

use super::simd::{LANES, Simd, dispatch};

dispatch! {
    /// The sum of `a[i] * b[i]`.
    ///
    /// # Panics
    /// When the lengths differ, as in all functions here.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 = dot_lanes;

    /// The sum of squares.
    pub fn squared_norm(x: &[f32]) -> f32 = squared_norm_lanes;

    /// `y += a * x`
    pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) = axpy_lanes;

    /// `x *= a`
    pub fn scale(a: f32, x: &mut [f32]) = scale_lanes;
}

/// [`dot`] inside a kernel.
#[inline(always)]
pub fn dot_lanes<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    assert!(a.len() == b.len(), "{} and {} numbers", a.len(), b.len());
    let n = a.len();
    let mut sums = [s.zero(); 4];
    let mut i = 0;
    // SAFETY of the loads: i + 16 j + 16 <= n = a.len() = b.len().
    while i + 4 * LANES <= n {
        for (j, sum) in sums.iter_mut().enumerate() {
            let at = i + j * LANES;
            *sum = unsafe {
                s.fma(s.load_ptr(a.as_ptr().add(at)), s.load_ptr(b.as_ptr().add(at)), *sum)
            };
        }
        i += 4 * LANES;
    }
    let mut j = 0;
    while i + LANES <= n {
        sums[j] =
            unsafe { s.fma(s.load_ptr(a.as_ptr().add(i)), s.load_ptr(b.as_ptr().add(i)), sums[j]) };
        i += LANES;
        j += 1;
    }
    if i < n {
        sums[j] = s.fma(s.load_part(&a[i..]), s.load_part(&b[i..]), sums[j]);
    }
    s.hsum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

/// [`squared_norm`] inside a kernel.
#[inline(always)]
pub fn squared_norm_lanes<S: Simd>(s: S, x: &[f32]) -> f32 {
    dot_lanes(s, x, x)
}

/// [`axpy`] inside a kernel.
#[inline(always)]
pub fn axpy_lanes<S: Simd>(s: S, a: f32, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == y.len(), "{} and {} numbers", x.len(), y.len());
    let a = s.splat(a);
    let (mut xs, mut ys) = (x.chunks_exact(LANES), y.chunks_exact_mut(LANES));
    for (x, y) in (&mut xs).zip(&mut ys) {
        s.store(y, s.fma(a, s.load(x), s.load(y)));
    }
    let (x, y) = (xs.remainder(), ys.into_remainder());
    if !x.is_empty() {
        s.store_part(y, s.fma(a, s.load_part(x), s.load_part(y)));
    }
}

/// [`scale`] inside a kernel.
#[inline(always)]
pub fn scale_lanes<S: Simd>(s: S, a: f32, x: &mut [f32]) {
    let a = s.splat(a);
    let mut xs = x.chunks_exact_mut(LANES);
    for x in &mut xs {
        s.store(x, s.mul(a, s.load(x)));
    }
    let x = xs.into_remainder();
    if !x.is_empty() {
        s.store_part(x, s.mul(a, s.load_part(x)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, with_isa};
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// The documented order of additions, by hand.
    fn dot_twin(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [[0.0f32; LANES]; 4];
        for i in 0..a.len() {
            let sum = &mut sums[i / LANES % 4][i % LANES];
            *sum = a[i].mul_add(b[i], *sum);
        }
        let mut lanes: Vec<f32> =
            (0..LANES).map(|l| (sums[0][l] + sums[1][l]) + (sums[2][l] + sums[3][l])).collect();
        while lanes.len() > 1 {
            let half = lanes.len() / 2;
            lanes = (0..half).map(|i| lanes[i] + lanes[i + half]).collect();
        }
        lanes[0]
    }

    #[test]
    fn every_length_gives_the_documented_bits() {
        for n in (0..140).chain([1000, 1027]) {
            let (a, b) = (numbers(n, 1), numbers(n, 2));
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                with_isa(isa, 1, || {
                    let found = dot(&a, &b);
                    assert!((f64::from(found) - exact).abs() < 1e-4);
                    let mut y = b.clone();
                    axpy(0.3, &a, &mut y);
                    let mut x = a.clone();
                    scale(-1.7, &mut x);
                    for i in 0..n {
                        assert_eq!(x[i], -1.7 * a[i]);
                        assert!((y[i] - (b[i] + 0.3 * a[i])).abs() < 1e-6);
                    }
                    assert_eq!(squared_norm(&a), dot(&a, &a));
                    if isa.is_fused() {
                        assert_eq!(found.to_bits(), dot_twin(&a, &b).to_bits(), "{n}");
                        assert!((0..n).all(|i| y[i] == 0.3f32.mul_add(a[i], b[i])));
                    }
                });
            }
        }
    }
}
