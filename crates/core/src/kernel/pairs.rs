//! Dot products of chosen pairs of rows: the scores of a sampled slate.

use rayon::prelude::*;

use super::simd::{LANES, Simd, dispatch, prefetch};

/// Pairs of one task.
const CHUNK: usize = 1024;

/// How many pairs ahead rows are prefetched.
const AHEAD: usize = 6;

/// `out[k]` = row `left_rows[k]` of `left` times row `right_rows[k]` of `right`. Rows are `stride` numbers long, a
/// multiple of 16, such as [`Table::fetch`](super::table::Table::fetch) gives them.
///
/// # Panics
/// If the lists differ in length, `stride` is not a multiple of 16, or a row is not there.
pub fn pair_dots(
    left: &[f32],
    left_rows: &[u32],
    right: &[f32],
    right_rows: &[u32],
    stride: usize,
    out: &mut [f32],
) {
    assert_eq!(left_rows.len(), out.len(), "one left row a pair");
    assert_eq!(right_rows.len(), out.len(), "one right row a pair");
    assert_eq!(stride % LANES, 0, "rows of whole vectors");
    let rows = left_rows.par_chunks(CHUNK).zip(right_rows.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(rows).for_each(|(out, (left_rows, right_rows))| match stride {
        16 => dots::<16>(left, left_rows, right, right_rows, stride, out),
        32 => dots::<32>(left, left_rows, right, right_rows, stride, out),
        64 => dots::<64>(left, left_rows, right, right_rows, stride, out),
        128 => dots::<128>(left, left_rows, right, right_rows, stride, out),
        _ => dots::<0>(left, left_rows, right, right_rows, stride, out),
    });
}

dispatch! {
    fn dots[const N: usize](left: &[f32], left_rows: &[u32], right: &[f32], right_rows: &[u32], stride: usize, out: &mut [f32]) = dots_kernel;
}

/// `N`: the stride if that is known to the compiler, else 0. It does not change the result.
#[inline(always)]
fn dots_kernel<S: Simd, const N: usize>(
    s: S,
    left: &[f32],
    left_rows: &[u32],
    right: &[f32],
    right_rows: &[u32],
    stride: usize,
    out: &mut [f32],
) {
    let stride = if N > 0 { N } else { stride };
    for (k, out) in out.iter_mut().enumerate() {
        if k + AHEAD < left_rows.len() {
            let next_left = left_rows[k + AHEAD] as usize * stride;
            let next_right = right_rows[k + AHEAD] as usize * stride;
            for line in (0..stride).step_by(LANES) {
                prefetch(left.as_ptr().wrapping_add(next_left + line));
                prefetch(right.as_ptr().wrapping_add(next_right + line));
            }
        }
        let a = &left[left_rows[k] as usize * stride..][..stride];
        let b = &right[right_rows[k] as usize * stride..][..stride];
        *out = dot(s, a, b);
    }
}

/// The dot product of two rows of whole vectors: even and odd vectors summed apart, which halves the chain of additions.
#[inline(always)]
pub(super) fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [s.zero(); 2];
    for (j, (a, b)) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)).enumerate() {
        sums[j % 2] = s.fma(s.load(a), s.load(b), sums[j % 2]);
    }
    s.hsum(s.add(sums[0], sums[1]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::rng::Rng;
    use super::super::simd::{Isa, with_isa};
    use super::*;

    #[test]
    fn agrees_with_a_plain_sum_and_on_every_instruction_set() {
        for stride in [0, 16, 32, 48, 64, 80, 128] {
            let mut rng = Rng::keyed(1, [stride as u64]);
            let (mut left, mut right) = (vec![0.0; 30 * stride], vec![0.0; 50 * stride]);
            rng.fill_normal(&mut left, 0.0, 1.0);
            rng.fill_normal(&mut right, 0.0, 1.0);
            let left_rows: Vec<u32> = (0..3000).map(|_| rng.below(30)).collect();
            let right_rows: Vec<u32> = (0..3000).map(|_| rng.below(50)).collect();
            let mut first: Option<Vec<f32>> = None;
            for isa in Isa::ALL {
                let ours = with_isa(isa, 2, || {
                    let mut out = vec![f32::NAN; 3000];
                    pair_dots(&left, &left_rows, &right, &right_rows, stride, &mut out);
                    out
                });
                let Some(ours) = ours else { continue };
                for (k, &x) in ours.iter().enumerate() {
                    let (l, r) = (left_rows[k] as usize * stride, right_rows[k] as usize * stride);
                    let pairs = left[l..][..stride].iter().zip(&right[r..][..stride]);
                    let plain = pairs.fold(0.0, |sum, (&a, &b)| sum + f64::from(a) * f64::from(b));
                    assert!((f64::from(x) - plain).abs() < 1e-4);
                }
                if isa.is_fused() {
                    assert_eq!(first.get_or_insert_with(|| ours.clone()), &ours);
                }
            }
        }
    }
}
