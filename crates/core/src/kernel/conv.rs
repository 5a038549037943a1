//! Convolutions over a window of item vectors (Tang & Wang, WSDM 2018, section 3.2), and their gradients.
//!
//! A window is `length` item vectors of `dim` numbers, oldest first. The outputs are, in this order,
//! - `vertical * dim` numbers: each vertical filter is a weighted sum of the window's items, without activation:
//!   `out[v dim + k] = b_v + sum over i of w_v[i] e[i][k]`;
//! - `length * horizontal` numbers: for each height h = 1..=length, `horizontal` filters of h x dim slide over the window, and
//!   each yields the largest of its `length - h + 1` activated products:
//!   `out[vertical dim + (h - 1) horizontal + f] = max over p of phi(b_hf + sum over r < h, k of w_hf[r][k] e[p + r][k])`.
//!
//! Only the largest product is propagated back (the first of equals), and a gradient of 0, as dropout leaves
//! many, costs nothing: the backward kernels collect the non-zero terms of a window or filter, and then sum
//! them in registers.
//!
//! Every sum is one chain of multiply-adds: over r, then k, forward; over filters back to a window; over the
//! batch, in its order, for a filter. Splitting windows (forward, back to windows) or filters (back to
//! filters) among threads changes no bit, nor does the instruction set. (The vertical filters' gradient is
//! summed in 16 lanes, then by [`Simd::hsum`].)

use std::ops::Range;

use super::activation::{Activation, activate_lanes};
use super::simd::{Isa, LANES, Simd, dispatch};

/// The sizes of the layer, and the layout of its flat arrays. Item vectors are padded with zeros to
/// [`ConvShape::stride`] numbers everywhere, filters too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Items in a window; at least 1.
    pub length: usize,
    /// Numbers in an item's vector.
    pub dim: usize,
    /// Vertical filters.
    pub vertical: usize,
    /// Horizontal filters of each height.
    pub horizontal: usize,
}

impl ConvShape {
    /// `dim` rounded up to a multiple of 16.
    pub fn stride(&self) -> usize {
        self.dim.next_multiple_of(LANES)
    }

    /// Numbers in a padded window.
    pub fn window(&self) -> usize {
        self.length * self.stride()
    }

    /// Number of outputs per window.
    pub fn outputs(&self) -> usize {
        self.vertical * self.dim + self.pooled()
    }

    /// Number of outputs of the horizontal filters.
    pub fn pooled(&self) -> usize {
        self.length * self.horizontal
    }

    /// Numbers of all horizontal filters: height after height, filter after filter, item after item, padded.
    pub fn filters(&self) -> usize {
        self.filter_at(self.length + 1, 0)
    }

    /// Where filter `f` of height `h`, `h * stride` numbers long, begins among them.
    pub fn filter_at(&self, h: usize, f: usize) -> usize {
        (self.horizontal * (h * (h - 1) / 2) + f * h) * self.stride()
    }

    /// Filters of a height, rounded up to a multiple of 16.
    fn lanes(&self) -> usize {
        self.horizontal.next_multiple_of(LANES)
    }

    /// Where height `h` begins in the output of [`pack`]; its length is where height `length + 1` would begin.
    fn packed_at(&self, h: usize) -> usize {
        h * (h - 1) / 2 * self.dim * self.lanes()
    }
}

/// The parameters of [`convolve`].
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `vertical x length`
    pub vertical: &'a [f32],
    /// One per vertical filter.
    pub vertical_bias: &'a [f32],
    /// The horizontal filters, from [`pack`].
    pub packed: &'a [f32],
    /// One per horizontal filter, height after height.
    pub horizontal_bias: &'a [f32],
}

/// Copies the horizontal filters (see [`ConvShape::filters`]) to the order in which [`convolve`] reads them:
/// filters side by side.
pub fn pack(shape: ConvShape, filters: &[f32], packed: &mut Vec<f32>) {
    assert_eq!(filters.len(), shape.filters(), "the filters of all heights");
    let (stride, lanes) = (shape.stride(), shape.lanes());
    packed.resize(shape.packed_at(shape.length + 1), 0.0);
    for h in 1..=shape.length {
        let to = &mut packed[shape.packed_at(h)..shape.packed_at(h + 1)];
        for f in 0..shape.horizontal {
            let filter = &filters[shape.filter_at(h, f)..][..h * stride];
            let rows = filter.chunks_exact(stride).flat_map(|row| &row[..shape.dim]);
            for (to, &x) in to.chunks_exact_mut(lanes).zip(rows) {
                to[f] = x;
            }
        }
    }
}

dispatch! {
    /// The layer's outputs for some windows, `out_stride` apart, and the position that each horizontal
    /// filter's largest product has (`length * horizontal` a window).
    ///
    /// # Panics
    /// When lengths do not fit, as in all functions here.
    pub fn convolve(
        shape: ConvShape,
        activation: Activation,
        weights: Weights<'_>,
        windows: &[f32],
        out: &mut [f32],
        out_stride: usize,
        positions: &mut [u32],
    ) = convolve_kernel;

    /// The gradient of the windows. `grads`, as `out` of [`convolve`], are those of the outputs, of the
    /// horizontal ones
    /// *before* the activation. `filters` as [`ConvShape::filters`] has them.
    pub fn to_windows(
        shape: ConvShape,
        vertical: &[f32],
        filters: &[f32],
        grads: &[f32],
        grads_stride: usize,
        positions: &[u32],
        out: &mut [f32],
    ) = to_windows_kernel;

    /// Adds the gradient of the horizontal filters `range` of height `h`, and of their biases, to `out` and `bias`.
    pub fn to_filters(
        shape: ConvShape,
        h: usize,
        range: Range<usize>,
        windows: &[f32],
        grads: &[f32],
        grads_stride: usize,
        positions: &[u32],
        out: &mut [f32],
        bias: &mut [f32],
    ) = to_filters_kernel;

    /// The gradient of vertical filter `v`, `length` numbers; returns that of its bias.
    pub fn to_vertical(
        shape: ConvShape,
        v: usize,
        windows: &[f32],
        grads: &[f32],
        grads_stride: usize,
        out: &mut [f32],
    ) -> f32 = to_vertical_kernel;
}

/// Windows whose products are formed side by side: as many accumulators hide the latency of multiply-adds.
macro_rules! for_windows {
    ($s:ty, $n:expr, |$first:ident, $r:ident| $body:expr) => {{
        let mut $first = 0;
        if <$s>::ISA == Isa::Avx512 {
            for_windows!(@ 12, $n, $first, $r, $body);
            for_windows!(@ 8, $n, $first, $r, $body);
        }
        for_windows!(@ 6, $n, $first, $r, $body);
        for_windows!(@ 4, $n, $first, $r, $body);
        for_windows!(@ 1, $n, $first, $r, $body);
    }};
    (@ $tall:literal, $n:expr, $first:ident, $r:ident, $body:expr) => {{
        const $r: usize = $tall;
        while $n - $first >= $tall {
            $body;
            $first += $tall;
        }
    }};
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn convolve_kernel<S: Simd>(
    s: S,
    shape: ConvShape,
    activation: Activation,
    weights: Weights<'_>,
    windows: &[f32],
    out: &mut [f32],
    out_stride: usize,
    positions: &mut [u32],
) {
    let ConvShape { length, dim, vertical, horizontal } = shape;
    let (stride, window) = (shape.stride(), shape.window());
    let n = count(shape, windows, out, out_stride, positions);
    assert_eq!(weights.vertical.len(), vertical * length, "one weight an item");
    assert_eq!(weights.vertical_bias.len(), vertical, "one bias a vertical filter");
    assert_eq!(weights.packed.len(), shape.packed_at(length + 1), "packed filters");
    assert_eq!(weights.horizontal_bias.len(), shape.pooled(), "one bias a horizontal filter");

    for (items, out) in windows.chunks_exact(window).zip(out.chunks_mut(out_stride)) {
        for v in 0..vertical {
            let filter = &weights.vertical[v * length..][..length];
            let bias = s.splat(weights.vertical_bias[v]);
            for (at, out) in out[v * dim..][..dim].chunks_mut(LANES).enumerate() {
                let mut sum = bias;
                for (items, &w) in items.chunks_exact(stride).zip(filter) {
                    sum = s.fma(s.splat(w), s.load(&items[at * LANES..]), sum);
                }
                s.store_part(out, sum);
            }
        }
    }

    let lanes = shape.lanes();
    for_windows!(S, n, |first, R| {
        for h in 1..=length {
            let filters = &weights.packed[shape.packed_at(h)..shape.packed_at(h + 1)];
            for column in (0..lanes).step_by(LANES) {
                let (mut best, mut place) = ([s.zero(); R], [s.zero(); R]);
                for p in 0..=length - h {
                    let mut sums = [s.zero(); R];
                    for r in 0..h {
                        // SAFETY: window `first` of R that are there, item p + r < length.
                        let items =
                            unsafe { windows.as_ptr().add(first * window + (p + r) * stride) };
                        // SAFETY: item r < h of the filters of this height.
                        let w = unsafe { filters.as_ptr().add(r * dim * lanes + column) };
                        for k in 0..dim {
                            // SAFETY: number k < dim of that item, all lanes of it.
                            let w = unsafe { s.load_ptr(w.add(k * lanes)) };
                            for (t, sum) in sums.iter_mut().enumerate() {
                                // SAFETY: the same number in the window t further on, t < R.
                                let x = s.splat(unsafe { *items.add(t * window + k) });
                                *sum = s.fma(x, w, *sum);
                            }
                        }
                    }
                    let at = s.splat(p as f32);
                    for t in 0..R {
                        // At the first position whatever is there, a NaN too.
                        let larger = s.gt(sums[t], best[t]);
                        best[t] = if p == 0 { sums[t] } else { s.select(larger, sums[t], best[t]) };
                        place[t] = if p == 0 { at } else { s.select(larger, at, place[t]) };
                    }
                }
                let used = LANES.min(horizontal - column);
                let begin = (h - 1) * horizontal + column;
                let bias = s.load_part(&weights.horizontal_bias[begin..][..used]);
                for t in 0..R {
                    let y = activate_lanes(s, activation, s.add(best[t], bias));
                    let to = (first + t) * out_stride + vertical * dim + begin;
                    s.store_part(&mut out[to..][..used], y);
                    let place = s.to_int_array(s.to_int(place[t]));
                    let to = &mut positions[(first + t) * shape.pooled() + begin..][..used];
                    for (to, place) in to.iter_mut().zip(place) {
                        *to = place as u32;
                    }
                }
            }
        }
    });
}

/// The number of windows; checks that everything else is there for each of them.
#[inline(always)]
fn count(
    shape: ConvShape,
    windows: &[f32],
    out: &[f32],
    stride: usize,
    positions: &[u32],
) -> usize {
    assert!(shape.length > 0 && shape.dim > 0, "a window holds something");
    assert!(stride > 0 && stride >= shape.outputs(), "rows of outputs do not overlap");
    let n = windows.len() / shape.window();
    assert_eq!(windows.len(), n * shape.window(), "whole windows");
    assert_eq!(out.len(), n * stride, "one row of outputs a window");
    assert_eq!(positions.len(), n * shape.pooled(), "one position a window and filter");
    n
}

/// A term of a sum: a factor, and where the vector begins that it scales.
#[derive(Clone, Copy, Default)]
struct Term {
    factor: f32,
    at: u32,
}

/// `out = sum of factor * vectors[at..]`, on top of what is in `out`, as many vectors at a time as the
/// registers hold.
///
/// # Safety
/// From every term's place on `vectors` has `out.len()` numbers, which is a multiple of 16.
#[inline(always)]
unsafe fn add_terms<S: Simd>(s: S, terms: &[Term], vectors: *const f32, out: &mut [f32]) {
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize>(
        s: S,
        terms: &[Term],
        vectors: *const f32,
        out: &mut [f32],
    ) {
        let mut sums = [s.zero(); V];
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = s.load(&out[j * LANES..]);
        }
        for term in terms {
            let factor = s.splat(term.factor);
            for (j, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let x = unsafe { s.load_ptr(vectors.add(term.at as usize + j * LANES)) };
                *sum = s.fma(factor, x, *sum);
            }
        }
        for (j, sum) in sums.iter().enumerate() {
            s.store(&mut out[j * LANES..], *sum);
        }
    }
    let mut at = 0;
    while at < out.len() {
        let out = &mut out[at..];
        // SAFETY: the caller's promise, for the columns from `at` on.
        at += LANES
            * unsafe {
                let vectors = vectors.add(at);
                match out.len() / LANES {
                    1 => (tile::<S, 1>(s, terms, vectors, out), 1),
                    2 => (tile::<S, 2>(s, terms, vectors, out), 2),
                    3 => (tile::<S, 3>(s, terms, vectors, out), 3),
                    4 => (tile::<S, 4>(s, terms, vectors, out), 4),
                    5 => (tile::<S, 5>(s, terms, vectors, out), 5),
                    6 => (tile::<S, 6>(s, terms, vectors, out), 6),
                    _ => (tile::<S, 7>(s, terms, vectors, out), 7),
                }
                .1
            };
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn to_windows_kernel<S: Simd>(
    s: S,
    shape: ConvShape,
    vertical: &[f32],
    filters: &[f32],
    grads: &[f32],
    grads_stride: usize,
    positions: &[u32],
    out: &mut [f32],
) {
    let ConvShape { length, dim, vertical: n_vertical, horizontal } = shape;
    let (stride, pooled) = (shape.stride(), shape.pooled());
    let n = count(shape, out, grads, grads_stride, positions);
    assert_eq!(vertical.len(), n_vertical * length, "one weight an item");
    assert_eq!(filters.len(), shape.filters(), "the filters of all heights");
    assert!(u32::try_from(filters.len()).is_ok(), "filters of 2^32 or more numbers");

    // What is left of the window's pooled gradients, height after height; then of it, what falls to each item.
    let mut left = vec![(0.0f32, 0u32, 0u32); pooled + 1];
    let mut terms = vec![Term::default(); length * pooled];
    let mut n_terms = vec![0usize; length];
    for w in 0..n {
        let grads = &grads[w * grads_stride..][..shape.outputs()];
        let positions = &positions[w * pooled..][..pooled];
        n_terms.fill(0);
        for h in 1..=length {
            let mut n_left = 0;
            let first = (h - 1) * horizontal;
            let begin = n_vertical * dim + first;
            let of_height =
                grads[begin..][..horizontal].iter().zip(&positions[first..][..horizontal]);
            for (f, (&grad, &p)) in of_height.enumerate() {
                left[n_left] = (grad, p, shape.filter_at(h, f) as u32);
                n_left += usize::from(grad != 0.0);
            }
            for &(factor, p, at) in &left[..n_left] {
                for r in 0..h {
                    let item = p as usize + r;
                    let n = &mut n_terms[item];
                    terms[item * pooled + *n] = Term { factor, at: at + (r * stride) as u32 };
                    *n += 1;
                }
            }
        }
        let items = out[w * shape.window()..][..shape.window()].chunks_exact_mut(stride);
        for (i, out) in items.enumerate() {
            for (at, out) in out.chunks_exact_mut(LANES).enumerate() {
                let used = LANES.min(dim - at * LANES);
                let mut sum = s.zero();
                for v in 0..n_vertical {
                    let grad = s.load_part(&grads[v * dim + at * LANES..][..used]);
                    sum = s.fma(s.splat(vertical[v * length + i]), grad, sum);
                }
                s.store(out, sum);
            }
            let terms = &terms[i * pooled..][..n_terms[i]];
            // SAFETY: a term begins at an item of a filter, which is `stride` numbers, as `out` is.
            unsafe { add_terms(s, terms, filters.as_ptr(), out) };
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn to_filters_kernel<S: Simd>(
    s: S,
    shape: ConvShape,
    h: usize,
    range: Range<usize>,
    windows: &[f32],
    grads: &[f32],
    grads_stride: usize,
    positions: &[u32],
    out: &mut [f32],
    bias: &mut [f32],
) {
    let (stride, window, pooled) = (shape.stride(), shape.window(), shape.pooled());
    let n = count(shape, windows, grads, grads_stride, positions);
    assert!((1..=shape.length).contains(&h) && range.end <= shape.horizontal, "a filter");
    assert_eq!(out.len(), range.len() * h * stride, "room for the filters");
    assert_eq!(bias.len(), range.len(), "room for the biases");
    assert!(u32::try_from(windows.len()).is_ok(), "windows of 2^32 or more numbers");

    let mut terms = vec![Term::default(); n + 1];
    for ((f, out), bias) in range.zip(out.chunks_exact_mut(h * stride)).zip(bias) {
        let of_filter = (h - 1) * shape.horizontal + f;
        let of_grads = shape.vertical * shape.dim + of_filter;
        let mut n_terms = 0;
        for w in 0..n {
            let factor = grads[w * grads_stride + of_grads];
            let p = positions[w * pooled + of_filter] as usize;
            terms[n_terms] = Term { factor, at: (w * window + p * stride) as u32 };
            n_terms += usize::from(factor != 0.0);
        }
        let terms = &mut terms[..n_terms];
        // Positions are data: nothing may be read outside of the windows, whatever they are.
        let last = windows.len() - h * stride;
        assert!(terms.iter().all(|term| term.at as usize <= last), "a position in the window");
        *bias = terms.iter().fold(*bias, |sum, term| sum + term.factor);
        for out in out.chunks_exact_mut(stride) {
            // SAFETY: with h items to come a term ends within the windows, as was just checked.
            unsafe { add_terms(s, terms, windows.as_ptr(), out) };
            terms.iter_mut().for_each(|term| term.at += stride as u32);
        }
    }
}

#[inline(always)]
fn to_vertical_kernel<S: Simd>(
    s: S,
    shape: ConvShape,
    v: usize,
    windows: &[f32],
    grads: &[f32],
    grads_stride: usize,
    out: &mut [f32],
) -> f32 {
    let (dim, stride, window) = (shape.dim, shape.stride(), shape.window());
    assert_eq!(windows.len() / window * grads_stride, grads.len(), "one gradient a window");
    assert!(v < shape.vertical && out.len() == shape.length, "one weight an item");
    let mut bias = s.zero();
    let mut sums = vec![s.zero(); shape.length];
    for (window, grads) in windows.chunks_exact(window).zip(grads.chunks_exact(grads_stride)) {
        for (at, grads) in grads[v * dim..][..dim].chunks(LANES).enumerate() {
            let grads = s.load_part(grads);
            bias = s.add(bias, grads);
            for (sum, item) in sums.iter_mut().zip(window.chunks_exact(stride)) {
                *sum = s.fma(grads, s.load(&item[at * LANES..]), *sum);
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = s.hsum(sum);
    }
    s.hsum(bias)
}

#[cfg(test)]
mod tests;
