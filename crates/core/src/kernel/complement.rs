//! The log-sum-exp of the complement of given items, for a batch of queries, and its gradient.
//!
//! A list-wise loss over a whole catalogue (softmax, Plackett-Luce, HetComp) needs one number per query for
//! all items that it does not list: the log-sum-exp of their scores. [`Complement::sum`] computes it, the
//! caller turns it and the listed scores into a loss, and [`Complement::propagate`] computes the gradient of
//! queries and items. No queries x items matrix is stored: scores stay in registers, their exp in tiles of
//! some 16 KiB.
//!
//! Items are packed in panels `[panel][dimension][16]`, queries in groups `[group][dimension][16]`.
//! 1. A task owns a group and loops over all panels: scores, exp, **zero in the lanes of its listed and left-out items** (so
//!    nothing has to be subtracted again), then their sum and the sum of exp * item.
//! 2. A task owns some panels and loops over all groups: the exp again, times the gradient of each query, times the query.
//!
//! Computing the exp twice is cheaper than storing it: it would be written by the owner of a query and read
//! by the owner of an item, and cache lines that move between cores cost more (two threads were slower than
//! one). So the passes share only one bit per item and query (which lanes count), and no number has two
//! owners: any number of threads gives the same bits, and so does every instruction set with FMA, because
//! every sum below has one order, whatever the shape of the tiles.
//!
//! **Scores of any size.** exp(score) stays within f32 while |query| |item| <= `SAFE` for the longest item: then the score
//! itself is used. For a group with a query beyond that, the largest score in a sample of the panels is subtracted first, so
//! exp(score - largest) is near 1 for the items that matter. If it is not, which the sum shows, the maximum over all panels is
//! used, after which it is at most 1. (Terms below e^-86 of the maximum count as e^-86 of it, which no f32 sum can tell from 0.)
//!
//! **The exp** is a power of two: queries are packed times log2(e), so that a score comes as its exponent, and the integral
//! part comes off without the two multiply-adds of a reduction by ln 2. That is a third less work for every score.

mod passes;

use rayon::prelude::*;

use super::buffer::Buffer;
use super::math::ln;
use super::pairs::weighted_sums;
use super::simd::LANES;
use passes::{Group, Listed, Spread, find_shifts, spread_panels, sum_group};

/// Queries that share a line of masks.
const GROUP: usize = 16;
/// Panels of a task of the second pass, and of packing.
const SPAN: usize = 32;
/// Scores up to here are taken as they are: 2^32 times e^60 is within f32, and e^-60 is a normal number.
const SAFE: f64 = 60.0;
/// One in this many panels is searched for a large score.
const SAMPLE: usize = 16;
/// The range in which a sum of exp is exact: no term was clamped at 2^125, and terms clamped at 2^-125 are
/// negligible.
const RIGHT: std::ops::Range<f64> = 1e-18..1e30;

/// Sums of exp minus the largest score of a sample; if that is too inexact, of all panels.
fn sum_shifted(
    group: Group<'_>,
    shifts: &mut [f32],
    lanes: &mut [f32],
    masses: &mut [f64],
    toward: &mut [f32],
) {
    for step in [SAMPLE, 1] {
        find_shifts(group, step, shifts);
        sum_group(Group { shifts, ..group }, lanes, masses, toward);
        if masses.iter().all(|mass| RIGHT.contains(mass)) {
            return;
        }
    }
}

/// Rows of different lengths: row i is `values[starts[i]..starts[i + 1]]`.
#[derive(Clone, Copy, Debug)]
pub struct Ragged<'a> {
    /// One more than there are rows.
    pub starts: &'a [usize],
    /// The rows, one after the other.
    pub values: &'a [u32],
}

/// The query vectors of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// Row-major, 0 beyond the dimension.
    pub vectors: &'a [f32],
    /// From one vector to the next: a multiple of 16.
    pub stride: usize,
    /// The index of the vector of each row of the batch.
    pub of_row: &'a [u32],
    /// The rows that need the complement, ascending.
    pub asking: &'a [u32],
}

/// The output of [`Complement::propagate`], `stride` numbers a row, 0 beyond the dimension.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the batch's rows: overwritten.
    pub queries: &'a mut [f32],
    /// Of all items: overwritten.
    pub items: &'a mut [f32],
}

/// Scratch space for batches on one catalogue.
pub struct Complement {
    n_items: usize,
    dim: usize,
    /// Even, so that panels can be taken in pairs.
    n_panels: usize,
    /// `[panel][dimension][16]`
    panels: Buffer,
    /// Bit i of `[group][panel and one more][query]`: whether item i of the panel counts for the query.
    masks: Vec<u16>,
    /// `[group][dimension][16]`
    groups: Buffer,
    /// For each query: the number subtracted from its scores, in units of ln 2, and the sum of exp of the difference.
    shifts: Vec<f32>,
    masses: Vec<f64>,
    /// Of each row.
    log_complement: Vec<f32>,
    /// For each query: the sum of exp * item.
    toward: Vec<f32>,
    /// For each query: the gradient of the mass times the query.
    away: Vec<f32>,
    /// The listed positions of item i, each with its row: `order[starts[i]..starts[i + 1]]`, in the batch's order.
    starts: Vec<u32>,
    order: Vec<(u32, u32)>,
}

impl Complement {
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
            log_complement: Vec::new(),
            toward: Vec::new(),
            away: Vec::new(),
            starts: Vec::new(),
            order: Vec::new(),
        }
    }

    /// The log-sum-exp of the scores of all items but a row's listed and left-out ones, for each row: -inf if
    /// there are none, and for rows that do not need it. `items` comes with the distance between two of them.
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
        let (n_rows, n) = (queries.of_row.len(), queries.asking.len());
        let lists = listed.starts.len() == n_rows + 1 && left_out.starts.len() == n_rows + 1;
        assert!(lists, "one list a row");
        assert!(queries.asking.is_sorted_by(|a, b| a < b), "rows, ascending");
        let (dim, n_items, n_panels) = (self.dim, self.n_items, self.n_panels);
        let n_groups = n.div_ceil(GROUP);
        if self.groups.len() < n_groups * dim * GROUP {
            self.groups = Buffer::zeros(n_groups * dim * GROUP);
        }
        let n_masks = masks_of_group(n_panels);
        self.masks.resize(n_groups * n_masks, 0);
        self.shifts.resize(n_groups * GROUP, 0.0);
        self.masses.resize(n_groups * GROUP, 0.0);
        self.toward.resize(n_groups * GROUP * dim, 0.0);
        let Self { panels, masks, groups, shifts, masses, toward, starts, order, .. } = self;
        let longest = pack_items(items, n_items, dim, panels);
        let panels: &[f32] = panels;
        let pass = || {
            masks
                .par_chunks_mut(n_masks)
                .zip(groups[..n_groups * dim * GROUP].par_chunks_mut(dim * GROUP))
                .zip(shifts.par_chunks_mut(GROUP).zip(masses.par_chunks_mut(GROUP)))
                .zip(toward.par_chunks_mut(GROUP * dim))
                .enumerate()
                .for_each_init(
                    || Buffer::zeros(GROUP * dim * LANES),
                    |lanes, (group, (((masks, packed), (shifts, masses)), toward))| {
                        let rows = &queries.asking[group * GROUP..((group + 1) * GROUP).min(n)];
                        mark(masks, n_items, rows, [listed, left_out]);
                        let norm = pack_queries(queries, rows, dim, packed);
                        shifts.fill(0.0);
                        let group = Group { queries: packed, masks, shifts: &[], panels, dim };
                        // A NaN is not at most SAFE.
                        if norm * longest <= SAFE {
                            sum_group(Group { shifts, ..group }, lanes, masses, toward);
                        } else {
                            sum_shifted(group, shifts, lanes, masses, toward);
                        }
                    },
                );
        };
        rayon::join(pass, || invert(listed, n_items, starts, order));
        self.log_complement.clear();
        self.log_complement.resize(n_rows, f32::NEG_INFINITY);
        for (&row, (&mass, &shift)) in queries.asking.iter().zip(masses.iter().zip(&*shifts)) {
            if mass > 0.0 || mass.is_nan() {
                let ln = f64::from(shift) * std::f64::consts::LN_2 + f64::from(ln(mass as f32));
                self.log_complement[row as usize] = ln as f32;
            }
        }
        &self.log_complement
    }

    /// The gradient of the loss for queries and items, from its derivatives: `to_listed` with respect to the
    /// scores of the listed items, parallel to them, `to_complement` with respect to the output of
    /// [`Complement::sum`]. The other arguments must be those of that call.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn propagate(
        &mut self,
        items: (&[f32], usize),
        queries: Queries<'_>,
        listed: Ragged<'_>,
        to_listed: &[f32],
        to_complement: &[f32],
        gradients: Gradients<'_>,
    ) {
        let (n, dim, stride) = (queries.asking.len(), self.dim, queries.stride);
        assert!(
            to_complement.len() == queries.of_row.len() && to_listed.len() == listed.values.len()
        );
        assert!(gradients.items.len() == self.n_items * stride, "one gradient an item");
        assert!(self.order.len() == listed.values.len(), "the batch that was summed");
        // The queries that pad a group must contribute 0.
        self.away.clear();
        self.away.resize(n.div_ceil(GROUP) * GROUP * dim, 0.0);
        weighted_sums(listed.starts, to_listed, listed.values, items, stride, gradients.queries);
        let ours = self.toward.chunks_exact(dim).zip(self.away.chunks_exact_mut(dim));
        for ((&row, &mass), (toward, away)) in queries.asking.iter().zip(&self.masses).zip(ours) {
            let row = row as usize;
            if to_complement[row] == 0.0 || mass == 0.0 {
                continue; // without a complement there is no gradient
            }
            let slope = (f64::from(to_complement[row]) / mass) as f32;
            let query = &queries.vectors[queries.of_row[row] as usize * stride..][..dim];
            let to_row = &mut gradients.queries[row * stride..][..dim];
            for k in 0..dim {
                to_row[k] += slope * toward[k];
                away[k] = slope * query[k];
            }
        }
        let Self { n_panels, panels, masks, groups, shifts, away, starts, order, .. } = self;
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
        let listed = Listed { starts, order, slopes: to_listed, queries };
        gradients.items.par_chunks_mut(SPAN * LANES * stride).enumerate().for_each_init(
            || Buffer::zeros(2 * dim * LANES),
            |sums, (task, to_items)| spread_panels(spread, listed, task * SPAN, sums, to_items),
        );
    }
}

/// Masks of a group: those of the panels, and one line of padding, since masks are read two at a time.
fn masks_of_group(n_panels: usize) -> usize {
    (n_panels + 1) * GROUP
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

/// Packs the queries of some rows times log2(e), zeros beyond the last; returns the length of the longest,
/// NaN if there is one.
fn pack_queries(queries: Queries<'_>, rows: &[u32], dim: usize, out: &mut [f32]) -> f64 {
    out.fill(0.0);
    let mut longest = 0.0;
    for (at, &row) in rows.iter().enumerate() {
        let vector = queries.of_row[row as usize] as usize;
        let vector = &queries.vectors[vector * queries.stride..][..dim];
        let mut square = 0.0;
        for (k, &x) in vector.iter().enumerate() {
            out[k * GROUP + at] = x * std::f32::consts::LOG2_E;
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
fn mark(masks: &mut [u16], n_items: usize, rows: &[u32], lists: [Ragged<'_>; 2]) {
    let whole = n_items / LANES;
    masks[..whole * GROUP].fill(u16::MAX);
    let rest = n_items % LANES;
    masks[whole * GROUP..].fill(0);
    if rest > 0 {
        masks[whole * GROUP..][..GROUP].fill((1 << rest) - 1);
    }
    for (at, &row) in rows.iter().enumerate() {
        let row = row as usize;
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
fn invert(listed: Ragged<'_>, n_items: usize, starts: &mut Vec<u32>, order: &mut Vec<(u32, u32)>) {
    assert!(u32::try_from(listed.values.len()).is_ok(), "a batch of 2^32 or more listed items");
    // First counts: item i in place i + 2, so that it holds starts, then ends, while places are filled.
    starts.clear();
    starts.resize(n_items + 2, 0);
    listed.values.iter().for_each(|&item| starts[item as usize + 2] += 1);
    let mut end = 0;
    for start in starts.iter_mut() {
        end += *start;
        *start = end;
    }
    order.resize(listed.values.len(), (0, 0));
    for (row, bounds) in listed.starts.windows(2).enumerate() {
        for place in bounds[0]..bounds[1] {
            let at = &mut starts[listed.values[place] as usize + 1];
            order[*at as usize] = (place as u32, row as u32);
            *at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
