//! Given pairs of rows: their dot products, which are the scores of a sampled slate, and the gradient: weighted sums.

use rayon::prelude::*;

use super::simd::{LANES, Simd, dispatch, prefetch};

/// Pairs of one task.
const CHUNK: usize = 1024;

/// How many pairs ahead rows are prefetched.
const AHEAD: usize = 6;

/// `out[k]` = row `left_rows[k]` of `left` times row `right_rows[k]` of `right`. Rows are `stride` numbers
/// long, a multiple of 16, such as [`Table::fetch`](super::table::Table::fetch) gives them; those of `right`,
/// which comes with the distance from one to the next, may lie further apart, as in
/// [`Table::params`](super::table::Table::params).
///
/// # Panics
/// If the lists differ in length, `stride` is not a multiple of 16, or a row is not there.
pub fn pair_dots(
    left: &[f32],
    left_rows: &[u32],
    right: (&[f32], usize),
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
    fn dots[const N: usize](left: &[f32], left_rows: &[u32], right: (&[f32], usize), right_rows: &[u32], stride: usize, out: &mut [f32]) = dots_kernel;
}

/// `N`: the stride if that is known to the compiler, else 0. It does not change the result.
#[inline(always)]
fn dots_kernel<S: Simd, const N: usize>(
    s: S,
    left: &[f32],
    left_rows: &[u32],
    (right, record): (&[f32], usize),
    right_rows: &[u32],
    stride: usize,
    out: &mut [f32],
) {
    let stride = if N > 0 { N } else { stride };
    for (k, out) in out.iter_mut().enumerate() {
        if k + AHEAD < left_rows.len() {
            let next_left = left_rows[k + AHEAD] as usize * stride;
            let next_right = right_rows[k + AHEAD] as usize * record;
            for line in (0..stride).step_by(LANES) {
                prefetch(left.as_ptr().wrapping_add(next_left + line));
                prefetch(right.as_ptr().wrapping_add(next_right + line));
            }
        }
        let a = &left[left_rows[k] as usize * stride..][..stride];
        let b = &right[right_rows[k] as usize * record..][..stride];
        *out = dot(s, a, b);
    }
}

/// `out` row `i` = the sum over `k` in `starts[i]..starts[i + 1]` of `coef[k]` times row `source[k]` of
/// `vectors`, in that order. Rows are `stride` numbers long, a multiple of 16; `vectors` comes with the
/// distance from one to the next.
///
/// # Panics
/// If the lists differ in length, `stride` is not a multiple of 16, or a row is not there.
pub fn weighted_sums(
    starts: &[usize],
    coef: &[f32],
    source: &[u32],
    vectors: (&[f32], usize),
    stride: usize,
    out: &mut [f32],
) {
    assert_eq!(coef.len(), source.len(), "one source a coefficient");
    assert_eq!(stride % LANES, 0, "rows of whole vectors");
    assert_eq!(out.len(), (starts.len() - 1) * stride, "room for every sum");
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(ROWS * stride).enumerate().for_each(|(chunk, out)| {
        let starts = &starts[chunk * ROWS..][..out.len() / stride + 1];
        sums(starts, coef, source, vectors, stride, out);
    });
}

/// Sums of one task.
const ROWS: usize = 128;

dispatch! {
    fn sums(starts: &[usize], coef: &[f32], source: &[u32], vectors: (&[f32], usize), stride: usize, out: &mut [f32]) = sums_kernel;
}

#[inline(always)]
fn sums_kernel<S: Simd>(
    s: S,
    starts: &[usize],
    coef: &[f32],
    source: &[u32],
    vectors: (&[f32], usize),
    stride: usize,
    out: &mut [f32],
) {
    for (bounds, out) in starts.windows(2).zip(out.chunks_exact_mut(stride)) {
        let (coef, source) = (&coef[bounds[0]..bounds[1]], &source[bounds[0]..bounds[1]]);
        let mut column = 0;
        while column < stride {
            // As many sums at a time as hide the latency of the additions.
            if column + 4 * LANES <= stride {
                sum_columns::<S, 4>(s, coef, source, vectors, column, out);
                column += 4 * LANES;
            } else {
                sum_columns::<S, 1>(s, coef, source, vectors, column, out);
                column += LANES;
            }
        }
    }
}

#[inline(always)]
fn sum_columns<S: Simd, const V: usize>(
    s: S,
    coef: &[f32],
    source: &[u32],
    (vectors, record): (&[f32], usize),
    column: usize,
    out: &mut [f32],
) {
    let mut sums = [s.zero(); V];
    for (&coef, &source) in coef.iter().zip(source) {
        if coef == 0.0 {
            continue;
        }
        let row = &vectors[source as usize * record + column..][..V * LANES];
        let coef = s.splat(coef);
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = s.fma(coef, s.load(&row[j * LANES..]), *sum);
        }
    }
    for (j, &sum) in sums.iter().enumerate() {
        s.store(&mut out[column + j * LANES..][..LANES], sum);
    }
}

/// The dot product of two rows of whole vectors: even and odd vectors summed apart, which halves the chain of
/// additions.
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
                    pair_dots(&left, &left_rows, (&right, stride), &right_rows, stride, &mut out);
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

    #[test]
    fn rows_that_lie_apart_are_the_same_rows() {
        let left: Vec<f32> = (0..32).map(|x| x as f32).collect();
        let apart: Vec<f32> = (0..96).map(|x| x as f32 * 0.5).collect();
        let close: Vec<f32> = [&apart[..16], &apart[48..64]].concat();
        let (mut a, mut b) = ([0.0; 3], [0.0; 3]);
        pair_dots(&left, &[0, 1, 1], (&apart, 48), &[1, 0, 1], 16, &mut a);
        pair_dots(&left, &[0, 1, 1], (&close, 16), &[1, 0, 1], 16, &mut b);
        assert_eq!(a, b);
    }

    #[test]
    fn sums_agree_with_plain_ones_and_on_every_instruction_set() {
        for stride in [16, 48, 64, 208] {
            let mut rng = Rng::keyed(2, [stride as u64]);
            let mut vectors = vec![0.0; 40 * stride];
            rng.fill_normal(&mut vectors, 0.0, 1.0);
            let mut starts = vec![0];
            (0..300).for_each(|row| starts.push(starts[row] + rng.below(6) as usize));
            let n = starts[300];
            let source: Vec<u32> = (0..n).map(|_| rng.below(40)).collect();
            let mut coef = vec![0.0; n];
            rng.fill_normal(&mut coef, 0.0, 1.0);
            coef[n / 2] = 0.0;
            let mut first: Option<Vec<f32>> = None;
            for isa in Isa::ALL {
                let ours = with_isa(isa, 2, || {
                    let mut out = vec![f32::NAN; 300 * stride];
                    weighted_sums(&starts, &coef, &source, (&vectors, stride), stride, &mut out);
                    out
                });
                let Some(ours) = ours else { continue };
                for (at, &x) in ours.iter().enumerate() {
                    let (row, column) = (at / stride, at % stride);
                    let plain = (starts[row]..starts[row + 1]).fold(0.0, |sum, k| {
                        let value = vectors[source[k] as usize * stride + column];
                        sum + f64::from(coef[k]) * f64::from(value)
                    });
                    assert!((f64::from(x) - plain).abs() < 1e-5);
                }
                if isa.is_fused() {
                    assert_eq!(first.get_or_insert_with(|| ours.clone()), &ours);
                }
            }
        }
    }
}
