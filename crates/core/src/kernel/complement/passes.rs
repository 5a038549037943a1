//! The two passes: scores, their exp, and its sums.
//!
//! Every sum has one order whatever the tiles' shape: a score is one chain over the dimensions; the masses
//! and the sums of exp * item keep 16 lanes, panel after panel; an item's gradient adds query after query.

use super::super::math::exp2_bounded_lanes;
use super::super::simd::{Isa, LANES, Simd, dispatch, prefetch};
use super::{GROUP, Queries, masks_of_group};

/// Queries whose exp the second pass holds at a time.
const BLOCK: usize = 64;
/// Numbers of a tile of exp: 16 KiB.
const TILE: usize = 4096;
/// Exponents are clamped to these. Larger ones occur only if the sampled maximum was too small: see `RIGHT`.
const LEAST: f32 = -125.0;
const MOST: f32 = 125.0;
/// How many groups ahead the second pass prefetches masks, which are far apart.
const AHEAD: usize = 6;
/// How many listed positions ahead it prefetches their gradients and queries.
const SOON: usize = 8;

/// The input of the first pass for a group of queries.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    pub queries: &'a [f32],
    pub masks: &'a [u16],
    pub shifts: &'a [f32],
    pub panels: &'a [f32],
    pub dim: usize,
}

/// The input of the second pass.
#[derive(Clone, Copy)]
pub(super) struct Spread<'a> {
    pub panels: &'a [f32],
    pub masks: &'a [u16],
    pub groups: &'a [f32],
    pub shifts: &'a [f32],
    pub away: &'a [f32],
    pub dim: usize,
    pub n_panels: usize,
    pub n_groups: usize,
}

/// The gradients of the listed items, and where each item is listed.
#[derive(Clone, Copy)]
pub(super) struct Listed<'a> {
    pub starts: &'a [u32],
    pub order: &'a [(u32, u32)],
    pub slopes: &'a [f32],
    pub queries: Queries<'a>,
}

/// A tile of exp, on cache lines.
#[repr(align(64))]
struct Tile([f32; TILE]);

dispatch! {
    pub(super) fn find_shifts(group: Group<'_>, step: usize, shifts: &mut [f32]) = find_shifts_kernel;
    pub(super) fn sum_group(group: Group<'_>, lanes: &mut [f32], masses: &mut [f64], toward: &mut [f32]) = sum_group_kernel;
    pub(super) fn spread_panels(spread: Spread<'_>, listed: Listed<'_>, first: usize, sums: &mut [f32], to_items: &mut [f32]) = spread_panels_kernel;
}

/// The largest score of each query among the items that count, in one of `step` panels.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
fn find_shifts_kernel<S: Simd>(s: S, group: Group<'_>, step: usize, shifts: &mut [f32]) {
    const R: usize = 4;
    let Group { queries, masks, panels, dim, .. } = group;
    for from in (0..GROUP).step_by(R) {
        let mut most = [s.splat(f32::NEG_INFINITY); R];
        let each = panels.chunks_exact(dim * LANES).zip(masks.chunks_exact(GROUP));
        for (panel, masks) in each.step_by(step) {
            // SAFETY: a group's queries and a panel, as packed.
            let scores =
                unsafe { scores::<S, R, 1>(s, queries.as_ptr().add(from), panel.as_ptr(), dim) };
            for r in 0..R {
                let counts = s.mask_from_bits(masks[from + r]);
                let score = s.select(counts, scores[r][0], s.splat(f32::NEG_INFINITY));
                most[r] = s.max(score, most[r]);
            }
        }
        for (most, shift) in most.into_iter().zip(&mut shifts[from..]) {
            let most = s.hmax(most);
            // Never 0, which tells the passes that there is something to subtract.
            *shift = if most.is_finite() && most != 0.0 { most } else { f32::MIN_POSITIVE };
        }
    }
}

/// Runs `$body` for the dimensions, `$width` at a time from `$k` on.
macro_rules! for_dimensions {
    ($dim:expr, [$($width:literal),+], |$k:ident, $n:ident| $body:expr) => {{
        let mut at = 0;
        $(while $dim - at >= $width {
            const $n: usize = $width;
            let $k = at;
            $body;
            at += $width;
        })+
    }};
}

#[inline(always)]
fn sum_group_kernel<S: Simd>(
    s: S,
    group: Group<'_>,
    lanes: &mut [f32],
    masses: &mut [f64],
    toward: &mut [f32],
) {
    // Shapes for 32 registers, and for 16 halves.
    if S::ISA == Isa::Avx512 {
        sum_tiles::<S, 8, 2>(s, group, lanes, masses, toward);
    } else {
        sum_tiles::<S, 4, 1>(s, group, lanes, masses, toward);
    }
}

/// Tiles of `R` queries x some panels, `V` of these at a time.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
fn sum_tiles<S: Simd, const R: usize, const V: usize>(
    s: S,
    group: Group<'_>,
    lanes: &mut [f32],
    masses: &mut [f64],
    toward: &mut [f32],
) {
    let Group { queries, masks, shifts, panels, dim } = group;
    let n_panels = panels.len() / (dim * LANES);
    assert!(
        queries.len() == dim * GROUP
            && masks.len() == masks_of_group(n_panels)
            && shifts.len() == GROUP
    );
    assert!(
        lanes.len() == dim * GROUP * LANES
            && toward.len() == dim * GROUP
            && n_panels.is_multiple_of(2)
    );
    // As many panels as leave the items' part of a tile in the innermost cache.
    let wide = TILE / (8 * LANES);
    let careful = shifts.iter().any(|&shift| shift != 0.0);
    let at_once = (TILE / (LANES * dim)).clamp(2, wide) & !1;
    let mut tile = Tile([0.0; TILE]);
    lanes.fill(0.0);
    masses.fill(0.0);
    for begin in (0..n_panels).step_by(at_once) {
        let n = at_once.min(n_panels - begin);
        for from in (0..GROUP).step_by(R) {
            let mut sums = [s.zero(); R];
            let mut off = [s.zero(); R];
            for r in 0..R {
                off[r] = s.splat(shifts[from + r]);
            }
            for p in (0..n).step_by(V) {
                // SAFETY: panels begin + p .. + V are there, as n is even; the tile has R x wide vectors, and
                // p + V <= wide.
                unsafe {
                    let queries = queries.as_ptr().add(from);
                    let items = panels.as_ptr().add((begin + p) * dim * LANES);
                    let scores = scores::<S, R, V>(s, queries, items, dim);
                    let tile = tile.0.as_mut_ptr().add(p * LANES);
                    for r in 0..R {
                        for v in 0..V {
                            let mut score = scores[r][v];
                            if in_registers::<S>() {
                                let bits = masks.as_ptr().add((begin + p + v) * GROUP + from + r);
                                score = share(s, careful, score, off[r], bits);
                            }
                            s.store_ptr(tile.add((r * wide + v) * LANES), score);
                        }
                    }
                }
            }
            for r in 0..R {
                for p in 0..n {
                    // SAFETY: as above.
                    unsafe {
                        let at = tile.0.as_mut_ptr().add((r * wide + p) * LANES);
                        let mut share = s.load_ptr(at);
                        if !in_registers::<S>() {
                            let bits = masks.as_ptr().add((begin + p) * GROUP + from + r);
                            share = self::share(s, careful, share, off[r], bits);
                            s.store_ptr(at, share);
                        }
                        sums[r] = s.add(sums[r], share);
                    }
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                masses[from + r] += f64::from(s.hsum(sum));
            }
            let items = &panels[begin * dim * LANES..][..n * dim * LANES];
            let lanes = &mut lanes[from * dim * LANES..][..R * dim * LANES];
            // SAFETY: the tile and the items as above; lanes of R queries.
            unsafe {
                if S::ISA == Isa::Avx512 {
                    for_dimensions!(dim, [6, 4, 2, 1], |k, K| {
                        draw::<S, R, 4, K>(s, &tile, items, dim, k, lanes);
                    });
                } else {
                    for_dimensions!(dim, [2, 1], |k, K| {
                        draw::<S, R, 2, K>(s, &tile, items, dim, k, lanes);
                    });
                }
            }
        }
    }
    for (to, lanes) in toward.iter_mut().zip(lanes.chunks_exact(LANES)) {
        *to = s.hsum(s.load(lanes));
    }
}

/// Whether exp is taken of scores while they are in registers. Where these are few, that would push the
/// scores of a tile out to memory and back, one by one; a loop of its own over the tile keeps the
/// polynomial's numbers in them instead (with AVX2 a tenth of a step less in 6 dimensions).
#[inline(always)]
fn in_registers<S: Simd>() -> bool {
    S::ISA == Isa::Avx512
}

/// The exp of a score in units of ln 2; 0 in lanes whose bit is not set. `careful`: subtracts the sampled
/// maximum first.
///
/// # Safety
/// Four bytes can be read at `bits`.
#[inline(always)]
unsafe fn share<S: Simd>(s: S, careful: bool, score: S::F, off: S::F, bits: *const u16) -> S::F {
    let bounded = |x| s.min(s.splat(MOST), s.max(s.splat(LEAST), x));
    let score = if careful { bounded(s.sub(score, off)) } else { score };
    // SAFETY: the caller's promise.
    unsafe { s.keep_by_bits(bits, exp2_bounded_lanes(s, score)) }
}

/// Scores of `R` queries x `V` panels, in units of ln 2: one chain of multiply-adds each, whatever the shape.
///
/// # Safety
/// `queries` is `[dim][GROUP]`, of which `R` columns are read; `items` is `[V][dim][16]`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
unsafe fn scores<S: Simd, const R: usize, const V: usize>(
    s: S,
    queries: *const f32,
    items: *const f32,
    dim: usize,
) -> [[S::F; V]; R] {
    let mut sums = [[s.zero(); V]; R];
    for k in 0..dim {
        // SAFETY: k < dim, and the caller's promise.
        unsafe {
            let mut item = [s.zero(); V];
            for v in 0..V {
                item[v] = s.load_ptr(items.add((v * dim + k) * LANES));
            }
            for r in 0..R {
                let query = s.splat(*queries.add(k * GROUP + r));
                for v in 0..V {
                    sums[r][v] = s.fma(query, item[v], sums[r][v]);
                }
            }
        }
    }
    sums
}

/// `lanes[r][k] += tile[r] * items[k]` for `R` queries, `U` at a time, and `K` dimensions from `k` on; panels
/// in order.
///
/// # Safety
/// The tile has `R` rows, `items` is `[panels][dim][16]`, `lanes` is `[R][dim][16]`, and `k + K <= dim`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
unsafe fn draw<S: Simd, const R: usize, const U: usize, const K: usize>(
    s: S,
    tile: &Tile,
    items: &[f32],
    dim: usize,
    first: usize,
    lanes: &mut [f32],
) {
    let wide = TILE / (8 * LANES);
    let n = items.len() / (dim * LANES);
    for from in (0..R).step_by(U) {
        // SAFETY: the caller's promise.
        unsafe {
            let to = |u: usize, k: usize| ((from + u) * dim + first + k) * LANES;
            let lanes = lanes.as_mut_ptr();
            let mut sums = [[s.zero(); K]; U];
            for u in 0..U {
                for k in 0..K {
                    sums[u][k] = s.load_ptr(lanes.add(to(u, k)));
                }
            }
            for p in 0..n {
                let mut shares = [s.zero(); U];
                for u in 0..U {
                    shares[u] = s.load_ptr(tile.0.as_ptr().add(((from + u) * wide + p) * LANES));
                }
                let items = items.as_ptr().add((p * dim + first) * LANES);
                for k in 0..K {
                    let item = s.load_ptr(items.add(k * LANES));
                    for u in 0..U {
                        sums[u][k] = s.fma(shares[u], item, sums[u][k]);
                    }
                }
            }
            for u in 0..U {
                for k in 0..K {
                    s.store_ptr(lanes.add(to(u, k)), sums[u][k]);
                }
            }
        }
    }
}

#[inline(always)]
fn spread_panels_kernel<S: Simd>(
    s: S,
    spread: Spread<'_>,
    listed: Listed<'_>,
    first: usize,
    sums: &mut [f32],
    to_items: &mut [f32],
) {
    if S::ISA == Isa::Avx512 {
        spread_tiles::<S, 8, 2>(s, spread, first, sums, to_items, listed.queries.stride);
    } else {
        spread_tiles::<S, 4, 1>(s, spread, first, sums, to_items, listed.queries.stride);
    }
    let Listed { starts, order, slopes, queries } = listed;
    let Queries { vectors, stride, of_row, .. } = queries;
    for (item, to_item) in (first * LANES..).zip(to_items.chunks_exact_mut(stride)) {
        let places = starts[item] as usize..starts[item + 1] as usize;
        for (column, to) in to_item.chunks_exact_mut(LANES).enumerate() {
            let vector = |row: u32| of_row[row as usize] as usize * stride + column * LANES;
            let mut sum = s.load(to);
            for at in places.clone() {
                if let Some(&(place, row)) = order.get(at + SOON) {
                    prefetch(&slopes[place as usize]);
                    prefetch(&vectors[vector(row)]);
                }
                let (place, row) = order[at];
                sum = s.fma(s.splat(slopes[place as usize]), s.load(&vectors[vector(row)..]), sum);
            }
            s.store(to, sum);
        }
    }
}

/// The complement's part of the gradients of some panels, `V` panels and `R` queries at a time.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
fn spread_tiles<S: Simd, const R: usize, const V: usize>(
    s: S,
    spread: Spread<'_>,
    first: usize,
    sums: &mut [f32],
    to_items: &mut [f32],
    stride: usize,
) {
    let Spread { panels, masks, groups, shifts, away, dim, n_panels, n_groups } = spread;
    let n_masks = masks_of_group(n_panels);
    assert!(masks.len() == n_groups * n_masks && shifts.len() >= n_groups * GROUP);
    assert!(groups.len() >= n_groups * GROUP * dim && away.len() >= n_groups * GROUP * dim);
    assert!(
        panels.len() == n_panels * dim * LANES
            && first.is_multiple_of(V)
            && sums.len() == 2 * dim * LANES
    );
    let mut tile = Tile([0.0; TILE]);
    for (at, to_items) in to_items.chunks_mut(V * LANES * stride).enumerate() {
        let panel = first + at * V;
        assert!(panel + V <= n_panels);
        sums.fill(0.0);
        for begin in (0..n_groups).step_by(BLOCK / GROUP) {
            let end = (begin + BLOCK / GROUP).min(n_groups);
            for group in begin..end {
                // Behind the last group come the first ones of the next panels.
                let (next, ahead) = ((group + AHEAD) / n_groups, (group + AHEAD) % n_groups);
                let ahead = ahead * n_masks + (panel + next * V) * GROUP;
                prefetch(masks.as_ptr().wrapping_add(ahead));
                let careful = shifts[group * GROUP..][..GROUP].iter().any(|&shift| shift != 0.0);
                // SAFETY: lengths were checked above; the tile has BLOCK x V vectors.
                unsafe {
                    let tile = tile.0.as_mut_ptr().add((group - begin) * GROUP * V * LANES);
                    let items = panels.as_ptr().add(panel * dim * LANES);
                    let masks = masks.as_ptr().add(group * n_masks + panel * GROUP);
                    let share = |score, q: usize, v: usize| {
                        let off = s.splat(shifts[group * GROUP + q]);
                        share(s, careful, score, off, masks.add(v * GROUP + q))
                    };
                    for from in (0..GROUP).step_by(R) {
                        let queries = groups.as_ptr().add(group * GROUP * dim + from);
                        let scores = scores::<S, R, V>(s, queries, items, dim);
                        for r in 0..R {
                            for v in 0..V {
                                let mut score = scores[r][v];
                                if in_registers::<S>() {
                                    score = share(score, from + r, v);
                                }
                                s.store_ptr(tile.add(((from + r) * V + v) * LANES), score);
                            }
                        }
                    }
                    if !in_registers::<S>() {
                        for q in 0..GROUP {
                            for v in 0..V {
                                let at = tile.add((q * V + v) * LANES);
                                s.store_ptr(at, share(s.load_ptr(at), q, v));
                            }
                        }
                    }
                }
            }
            let away = &away[begin * GROUP * dim..end * GROUP * dim];
            // SAFETY: the tile has a row for each query of `away`, and `sums` V x dim vectors.
            unsafe {
                if S::ISA == Isa::Avx512 {
                    for_dimensions!(dim, [10, 6, 4, 2, 1], |k, K| push::<S, V, K>(
                        s, &tile, away, dim, k, sums
                    ));
                } else {
                    for_dimensions!(dim, [6, 4, 2, 1], |k, K| push::<S, V, K>(
                        s, &tile, away, dim, k, sums
                    ));
                }
            }
        }
        for (lane, to_item) in to_items.chunks_exact_mut(stride).enumerate() {
            let from = lane / LANES * dim * LANES + lane % LANES;
            for (k, to) in to_item[..dim].iter_mut().enumerate() {
                *to = sums[from + k * LANES];
            }
            to_item[dim..].fill(0.0);
        }
    }
}

/// `sums[v][k] += tile[q][v] * away[q][k]` for `K` dimensions from `first` on; queries in order.
///
/// # Safety
/// `away` is `[queries][dim]`, the tile `[queries][V][16]`, `sums` is `[V][dim][16]`, and `first + K <= dim`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
unsafe fn push<S: Simd, const V: usize, const K: usize>(
    s: S,
    tile: &Tile,
    away: &[f32],
    dim: usize,
    first: usize,
    sums: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let to = sums.as_mut_ptr();
        let mut sums = [[s.zero(); V]; K];
        for k in 0..K {
            for v in 0..V {
                sums[k][v] = s.load_ptr(to.add((v * dim + first + k) * LANES));
            }
        }
        for (q, away) in away.chunks_exact(dim).enumerate() {
            let tile = tile.0.as_ptr().add(q * V * LANES);
            let mut shares = [s.zero(); V];
            for v in 0..V {
                shares[v] = s.load_ptr(tile.add(v * LANES));
            }
            for k in 0..K {
                let away = s.splat(*away.get_unchecked(first + k));
                for v in 0..V {
                    sums[k][v] = s.fma(shares[v], away, sums[k][v]);
                }
            }
        }
        for k in 0..K {
            for v in 0..V {
                s.store_ptr(to.add((v * dim + first + k) * LANES), sums[k][v]);
            }
        }
    }
}
