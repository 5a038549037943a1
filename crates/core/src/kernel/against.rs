//! Some items against all the others, for a batch of queries: the summed exp of the rest's scores, and the way back.
//!
//! A list-wise loss over a whole catalogue (softmax, Plackett and Luce, HetComp) needs of the items that it does not list one
//! number a query: ln of the sum of exp(score). [`Against::sum`] finds it, the caller turns it and the listed scores into a
//! loss, and [`Against::propagate`] takes the slopes back to queries and items. No matrix of queries x items is ever laid out:
//! scores live in registers, their exp in tiles of some 16 KiB.
//!
//! Items stand in panels `[panel][dimension][16]`, queries in groups `[group][dimension][16]`.
//! 1. A task owns a group and goes over all panels: scores, exp, **zero in the lanes of its listed and left-out items** (so
//!    nothing is added that would have to be subtracted again), then their sum and the sum of exp * item.
//! 2. A task owns some panels and goes over all groups: the exp once more, times the slope of each query, times the query.
//!
//! Computing the exp twice costs less than it looks: kept, it would be written by the owner of a query and read by the owner
//! of an item, and lines that wander between cores cost more (two threads were slower than one). So the passes share nothing
//! but one bit an item and query (which lanes count), and no number has two owners: any number of threads gives the same
//! bits, and so does every instruction set with FMA, since every sum below has one order whatever the tiles' shape.
//!
//! **Scores of any size.** exp(score) stays within f32 while |query| |item| <= [`SAFE`] for the longest item: then the score
//! itself is taken. A group with a query beyond that first looks for its largest score, and exp(score - largest) is at most 1.

use rayon::prelude::*;

use super::buffer::Buffer;
use super::math::{exp_lanes, ln};
use super::pairs::weighted_sums;
use super::simd::{Isa, LANES, Simd, dispatch};

/// Queries that share a line of masks.
const GROUP: usize = 16;
/// Panels of a task of the second pass, and of packing.
const SPAN: usize = 32;
/// Queries whose exp the second pass holds at a time.
const BLOCK: usize = 64;
/// Numbers of a tile of exp: 16 KiB.
const TILE: usize = 4096;
/// Scores up to here are taken as they are: 2^32 times e^60 is within f32, and e^-60 is a normal number.
const SAFE: f64 = 60.0;

/// Rows of different lengths: row i is `values[starts[i]..starts[i + 1]]`.
#[derive(Clone, Copy, Debug)]
pub struct Ragged<'a> {
    /// One more than there are rows.
    pub starts: &'a [usize],
    /// The rows, one after the other.
    pub values: &'a [u32],
}

/// The vectors that a batch's rows ask with.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// Row-major, 0 beyond the dimension.
    pub vectors: &'a [f32],
    /// From one vector to the next: a multiple of 16.
    pub stride: usize,
    /// Which of the vectors each row of the batch asks with.
    pub of_row: &'a [u32],
}

/// Where the gradients of [`Against::propagate`] go, `stride` numbers a row, 0 beyond the dimension.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the batch's rows: overwritten.
    pub queries: &'a mut [f32],
    /// Of all items: overwritten.
    pub items: &'a mut [f32],
}

/// Scratch space of the batches on one catalogue.
pub struct Against {
    n_items: usize,
    dim: usize,
    /// Even, so that panels can be taken in pairs.
    n_panels: usize,
    /// `[panel][dimension][16]`
    panels: Buffer,
    /// Bit i of `[group][panel][query]`: whether item i of the panel counts for the query.
    masks: Vec<u16>,
    /// `[group][dimension][16]`
    groups: Buffer,
    /// Of each query: what is taken off its scores, and the sum of exp of what is left.
    shifts: Vec<f32>,
    masses: Vec<f64>,
    log_rest: Vec<f32>,
    /// Of each query: the sum of exp * item.
    toward: Vec<f32>,
    /// Of each query: the slope of the mass times the query.
    away: Vec<f32>,
    /// The listed places of item i: `order[starts[i]..starts[i + 1]]`, in the batch's order, and the row of each place.
    starts: Vec<u32>,
    order: Vec<u32>,
    row_of: Vec<u32>,
}

impl Against {
    /// For `n_items` vectors of `dim` numbers.
    ///
    /// # Panics
    /// When `dim` is 0.
    pub fn new(n_items: usize, dim: usize) -> Self {
        assert!(dim > 0, "vectors of at least one number");
        let n_panels = n_items.div_ceil(2 * LANES).max(1) * 2;
        Self {
            n_items,
            dim,
            n_panels,
            panels: Buffer::zeros(n_panels * dim * LANES),
            masks: Vec::new(),
            groups: Buffer::zeros(0),
            shifts: Vec::new(),
            masses: Vec::new(),
            log_rest: Vec::new(),
            toward: Vec::new(),
            away: Vec::new(),
            starts: Vec::new(),
            order: Vec::new(),
            row_of: Vec::new(),
        }
    }

    /// ln of the summed exp of the scores of all items but a row's listed and left-out ones, for each row: -inf where none is
    /// left. `items` comes with the distance from one to the next.
    ///
    /// # Panics
    /// When an item or vector is not there, or the lists have not a row for each query.
    pub fn sum(
        &mut self,
        items: (&[f32], usize),
        queries: Queries<'_>,
        listed: Ragged<'_>,
        left_out: Ragged<'_>,
    ) -> &[f32] {
        let n = queries.of_row.len();
        assert!(listed.starts.len() == n + 1 && left_out.starts.len() == n + 1, "one list a query");
        let (dim, n_items, n_panels) = (self.dim, self.n_items, self.n_panels);
        let n_groups = n.div_ceil(GROUP);
        if self.groups.len() < n_groups * dim * GROUP {
            self.groups = Buffer::zeros(n_groups * dim * GROUP);
        }
        self.masks.resize(n_groups * n_panels * GROUP, 0);
        self.shifts.resize(n_groups * GROUP, 0.0);
        self.masses.resize(n_groups * GROUP, 0.0);
        self.toward.resize(n_groups * GROUP * dim, 0.0);
        let Self { panels, masks, groups, shifts, masses, toward, starts, order, row_of, .. } =
            self;
        let longest = pack_items(items, n_items, dim, panels);
        let panels: &[f32] = panels;
        let pass = || {
            masks
                .par_chunks_mut(n_panels * GROUP)
                .zip(groups[..n_groups * dim * GROUP].par_chunks_mut(dim * GROUP))
                .zip(shifts.par_chunks_mut(GROUP).zip(masses.par_chunks_mut(GROUP)))
                .zip(toward.par_chunks_mut(GROUP * dim))
                .enumerate()
                .for_each_init(
                    || Buffer::zeros(GROUP * dim * LANES),
                    |lanes, (group, (((masks, packed), (shifts, masses)), toward))| {
                        let rows = group * GROUP..((group + 1) * GROUP).min(n);
                        mark(masks, n_items, rows.clone(), [listed, left_out]);
                        let norm = pack_queries(queries, rows, dim, packed);
                        let (queries, masks): (&[f32], &[u16]) = (packed, masks);
                        shifts.fill(0.0);
                        // A NaN takes the careful way.
                        if !matches!((norm * longest).partial_cmp(&SAFE), Some(o) if o.is_le()) {
                            find_shifts(Group { queries, masks, shifts: &[], panels, dim }, shifts);
                        }
                        let group = Group { queries, masks, shifts, panels, dim };
                        sum_group(group, lanes, masses, toward);
                    },
                );
        };
        rayon::join(pass, || invert(listed, n_items, starts, order, row_of));
        self.log_rest.clear();
        let rests = self.masses.iter().zip(&self.shifts).take(n);
        self.log_rest.extend(rests.map(|(&mass, &shift)| match mass > 0.0 || mass.is_nan() {
            true => (f64::from(shift) + f64::from(ln(mass as f32))) as f32,
            false => f32::NEG_INFINITY,
        }));
        &self.log_rest
    }

    /// The gradients of the loss whose slopes these are: `to_listed` with respect to the scores of the listed items, parallel
    /// to them, `to_rest` with respect to what [`Against::sum`] returned. Everything else as it was given to that.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn propagate(
        &mut self,
        items: (&[f32], usize),
        queries: Queries<'_>,
        listed: Ragged<'_>,
        to_listed: &[f32],
        to_rest: &[f32],
        gradients: Gradients<'_>,
    ) {
        let (n, dim, stride) = (queries.of_row.len(), self.dim, queries.stride);
        assert!(to_rest.len() == n && to_listed.len() == listed.values.len());
        assert!(gradients.items.len() == self.n_items * stride, "one gradient an item");
        assert!(self.row_of.len() == listed.values.len(), "the batch that was summed");
        // What came of queries that nobody asks about, to fill up a group, must be 0.
        self.away.clear();
        self.away.resize(n.div_ceil(BLOCK) * BLOCK * dim, 0.0);
        weighted_sums(listed.starts, to_listed, listed.values, items, stride, gradients.queries);
        let rows = gradients.queries.chunks_exact_mut(stride).zip(queries.of_row);
        let rests = self.masses.iter().zip(to_rest);
        let ours = self.toward.chunks_exact(dim).zip(self.away.chunks_exact_mut(dim));
        for (((to_row, &vector), (&mass, &to_rest)), (toward, away)) in rows.zip(rests).zip(ours) {
            if to_rest == 0.0 || mass == 0.0 {
                continue; // without a rest there is no slope
            }
            let slope = (f64::from(to_rest) / mass) as f32;
            let query = &queries.vectors[vector as usize * stride..][..dim];
            for k in 0..dim {
                to_row[k] += slope * toward[k];
                away[k] = slope * query[k];
            }
        }
        let Self { n_panels, panels, masks, groups, shifts, away, starts, order, row_of, .. } =
            self;
        let spread = Spread {
            panels,
            masks,
            groups,
            shifts,
            away,
            dim,
            n_panels: *n_panels,
            n_groups: n.div_ceil(GROUP),
        };
        let listed = Listed { starts, order, row_of, slopes: to_listed, queries };
        gradients.items.par_chunks_mut(SPAN * LANES * stride).enumerate().for_each_init(
            || Buffer::zeros(2 * dim * LANES),
            |sums, (task, to_items)| spread_panels(spread, listed, task * SPAN, sums, to_items),
        );
    }
}

/// Packs the items' vectors; returns the length of the longest, NaN if there is one.
fn pack_items(items: (&[f32], usize), n_items: usize, dim: usize, panels: &mut [f32]) -> f64 {
    let (data, record) = items;
    assert!(
        record >= dim && data.len() >= n_items.saturating_sub(1) * record + dim.min(n_items * dim)
    );
    let squares: Vec<f64> = panels
        .par_chunks_mut(SPAN * dim * LANES)
        .enumerate()
        .map(|(task, panels)| {
            let mut longest = 0.0;
            let ids = task * SPAN * LANES..((task + 1) * SPAN * LANES).min(n_items);
            for (at, id) in ids.enumerate() {
                let to = &mut panels[at / LANES * dim * LANES + at % LANES..];
                let mut square = 0.0;
                for (k, &x) in data[id * record..][..dim].iter().enumerate() {
                    to[k * LANES] = x;
                    square += f64::from(x) * f64::from(x);
                }
                longest = larger(longest, square);
            }
            longest
        })
        .collect();
    squares.into_iter().fold(0.0, larger).sqrt()
}

/// Packs the queries of some rows, zeros beyond the last; returns the length of the longest, NaN if there is one.
fn pack_queries(
    queries: Queries<'_>,
    rows: std::ops::Range<usize>,
    dim: usize,
    out: &mut [f32],
) -> f64 {
    out.fill(0.0);
    let mut longest = 0.0;
    for (at, row) in rows.enumerate() {
        let vector = &queries.vectors[queries.of_row[row] as usize * queries.stride..][..dim];
        let mut square = 0.0;
        for (k, &x) in vector.iter().enumerate() {
            out[k * GROUP + at] = x;
            square += f64::from(x) * f64::from(x);
        }
        longest = larger(longest, square);
    }
    longest.sqrt()
}

/// The larger; NaN where either is.
fn larger(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// Sets the masks of a group: a lane counts if it holds an item that is in none of the lists.
fn mark(masks: &mut [u16], n_items: usize, rows: std::ops::Range<usize>, lists: [Ragged<'_>; 2]) {
    let whole = n_items / LANES;
    masks[..whole * GROUP].fill(u16::MAX);
    let rest = n_items % LANES;
    masks[whole * GROUP..].fill(0);
    if rest > 0 {
        masks[whole * GROUP..][..GROUP].fill((1 << rest) - 1);
    }
    for (at, row) in rows.enumerate() {
        for list in lists {
            for &item in &list.values[list.starts[row]..list.starts[row + 1]] {
                let item = item as usize;
                assert!(item < n_items, "item {item} of {n_items}");
                masks[item / LANES * GROUP + at] &= !(1 << (item % LANES));
            }
        }
    }
}

/// Where each item is listed, by counting.
fn invert(
    listed: Ragged<'_>,
    n_items: usize,
    starts: &mut Vec<u32>,
    order: &mut Vec<u32>,
    row_of: &mut Vec<u32>,
) {
    assert!(u32::try_from(listed.values.len()).is_ok(), "a batch of 2^32 or more listed items");
    row_of.clear();
    for (row, bounds) in listed.starts.windows(2).enumerate() {
        row_of.extend(std::iter::repeat_n(row as u32, bounds[1] - bounds[0]));
    }
    // First counts: item i in place i + 2, so that it holds starts, then ends, while places are filled.
    starts.clear();
    starts.resize(n_items + 2, 0);
    listed.values.iter().for_each(|&item| starts[item as usize + 2] += 1);
    let mut end = 0;
    for start in starts.iter_mut() {
        end += *start;
        *start = end;
    }
    order.resize(listed.values.len(), 0);
    for (place, &item) in listed.values.iter().enumerate() {
        let at = &mut starts[item as usize + 1];
        order[*at as usize] = place as u32;
        *at += 1;
    }
}

/// What the first pass reads for a group of queries.
#[derive(Clone, Copy)]
struct Group<'a> {
    queries: &'a [f32],
    masks: &'a [u16],
    shifts: &'a [f32],
    panels: &'a [f32],
    dim: usize,
}

/// What the second pass reads.
#[derive(Clone, Copy)]
struct Spread<'a> {
    panels: &'a [f32],
    masks: &'a [u16],
    groups: &'a [f32],
    shifts: &'a [f32],
    away: &'a [f32],
    dim: usize,
    n_panels: usize,
    n_groups: usize,
}

/// The listed items' slopes, and where each item is listed.
#[derive(Clone, Copy)]
struct Listed<'a> {
    starts: &'a [u32],
    order: &'a [u32],
    row_of: &'a [u32],
    slopes: &'a [f32],
    queries: Queries<'a>,
}

/// A tile of exp, on cache lines.
#[repr(align(64))]
struct Tile([f32; TILE]);

dispatch! {
    fn find_shifts(group: Group<'_>, shifts: &mut [f32]) = find_shifts_kernel;
    fn sum_group(group: Group<'_>, lanes: &mut [f32], masses: &mut [f64], toward: &mut [f32]) = sum_group_kernel;
    fn spread_panels(spread: Spread<'_>, listed: Listed<'_>, first: usize, sums: &mut [f32], to_items: &mut [f32]) = spread_panels_kernel;
}

/// The largest score of each query among the items that count; 0 where none does.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
fn find_shifts_kernel<S: Simd>(s: S, group: Group<'_>, shifts: &mut [f32]) {
    const R: usize = 4;
    let Group { queries, masks, panels, dim, .. } = group;
    for from in (0..GROUP).step_by(R) {
        let mut most = [s.splat(f32::NEG_INFINITY); R];
        for (panel, masks) in panels.chunks_exact(dim * LANES).zip(masks.chunks_exact(GROUP)) {
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
            *shift = if most.is_finite() { most } else { 0.0 };
        }
    }
}

/// Runs `$body` for the dimensions, `$width` at a time from `$k` on.
macro_rules! for_dimensions {
    ($dim:expr, [$($width:literal),+], |$k:ident, $n:ident| $body:expr) => {{
        let mut at = 0;
        $(while at + $width <= $dim {
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
        queries.len() == dim * GROUP && masks.len() == n_panels * GROUP && shifts.len() == GROUP
    );
    assert!(lanes.len() == dim * GROUP * LANES && toward.len() == dim * GROUP && n_panels % 2 == 0);
    // As many panels as leave the items' part of a tile in the innermost cache.
    let wide = TILE / (8 * LANES);
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
                // SAFETY: panels begin + p .. + V are there, as n is even; the tile has R x wide vectors, and p + V <= wide.
                unsafe {
                    let queries = queries.as_ptr().add(from);
                    let items = panels.as_ptr().add((begin + p) * dim * LANES);
                    let scores = scores::<S, R, V>(s, queries, items, dim);
                    for r in 0..R {
                        for v in 0..V {
                            let bits = *masks.get_unchecked((begin + p + v) * GROUP + from + r);
                            let share = exp_lanes(s, s.sub(scores[r][v], off[r]));
                            let share = s.select(s.mask_from_bits(bits), share, s.zero());
                            s.store_ptr(tile.0.as_mut_ptr().add((r * wide + p + v) * LANES), share);
                            sums[r] = s.add(sums[r], share);
                        }
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

/// Scores of `R` queries x `V` panels: one chain of multiply-adds each, whatever the shape.
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

/// `lanes[r][k] += tile[r] * items[k]` for `R` queries, `U` at a time, and `K` dimensions from `k` on; panels in order.
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
    let Listed { starts, order, row_of, slopes, queries } = listed;
    let Queries { vectors, stride, of_row } = queries;
    for (item, to_item) in (first * LANES..).zip(to_items.chunks_exact_mut(stride)) {
        for &place in &order[starts[item] as usize..starts[item + 1] as usize] {
            let slope = s.splat(slopes[place as usize]);
            let vector = of_row[row_of[place as usize] as usize] as usize;
            let vector = &vectors[vector * stride..][..stride];
            for (to, x) in to_item.chunks_exact_mut(LANES).zip(vector.chunks_exact(LANES)) {
                s.store(to, s.fma(slope, s.load(x), s.load(to)));
            }
        }
    }
}

/// The rest's part of some panels' gradients, `V` panels and `R` queries at a time.
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
    assert!(masks.len() == n_groups * n_panels * GROUP && shifts.len() >= n_groups * GROUP);
    assert!(groups.len() >= n_groups * GROUP * dim && away.len() >= n_groups * GROUP * dim);
    assert!(
        panels.len() == n_panels * dim * LANES && first % V == 0 && sums.len() == 2 * dim * LANES
    );
    let mut tile = Tile([0.0; TILE]);
    for (at, to_items) in to_items.chunks_mut(V * LANES * stride).enumerate() {
        let panel = first + at * V;
        assert!(panel + V <= n_panels);
        sums.fill(0.0);
        for begin in (0..n_groups).step_by(BLOCK / GROUP) {
            let end = (begin + BLOCK / GROUP).min(n_groups);
            for group in begin..end {
                for from in (0..GROUP).step_by(R) {
                    let row = group * GROUP + from;
                    let mut off = [s.zero(); R];
                    for r in 0..R {
                        off[r] = s.splat(shifts[row + r]);
                    }
                    // SAFETY: lengths were checked above; the tile has BLOCK x V vectors.
                    unsafe {
                        let queries = groups.as_ptr().add(group * GROUP * dim + from);
                        let items = panels.as_ptr().add(panel * dim * LANES);
                        let scores = scores::<S, R, V>(s, queries, items, dim);
                        let masks = masks.as_ptr().add((group * n_panels + panel) * GROUP + from);
                        let tile = tile.0.as_mut_ptr().add((row - begin * GROUP) * V * LANES);
                        for r in 0..R {
                            for v in 0..V {
                                let counts = s.mask_from_bits(*masks.add(v * GROUP + r));
                                let share = exp_lanes(s, s.sub(scores[r][v], off[r]));
                                let share = s.select(counts, share, s.zero());
                                s.store_ptr(tile.add((r * V + v) * LANES), share);
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

#[cfg(test)]
mod tests;
