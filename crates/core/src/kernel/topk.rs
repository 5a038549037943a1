//! Exact top-K of query-item dot products, without storing all scores.
//!
//! A block of up to 120 queries is scored against all item panels in turn. Scores of a tile (see
//! [`panels`](super::panels)) are compared in registers with each query's threshold; hits are appended,
//! unfiltered, to the query's candidates. When that list is full, masked items are dropped, the best k are
//! selected, and the threshold rises. On random vectors, the worst case, some 1,300 of 41,000 items (by
//! calculation, for k = 100) ever reach a list; with lengths as unequal as a trained model's, the tail of the
//! catalogue is not even multiplied ([`PanelOrder::Norm`](super::panels::PanelOrder)).
//!
//! **The order**, here and in [`select_row`] and [`ranks`](super::ranks): larger scores first; among equal scores (0 and
//! -0 are equal) the smaller id; NaN below every number, -inf included. Masked items are never returned: a list is
//! shorter than k where fewer items are left. Results do not depend on the number of threads or on block sizes.

mod selection;

use rayon::prelude::*;

use super::bits::ItemSet;
use super::panels::{PANEL, Panels, Rows, pack_queries, tile};
use super::simd::{Isa, LANES, Simd, dispatch, isa};
pub(super) use selection::{Selection, key, raise, score_of, write};

/// Lists of items, best first: query `i` owns `offsets[i]..offsets[i + 1]` of the other two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopLists {
    /// One more than there are queries.
    pub offsets: Vec<usize>,
    /// Items.
    pub ids: Vec<u32>,
    /// Their scores; -0 comes back as 0.
    pub scores: Vec<f32>,
}

impl TopLists {
    /// Number of lists.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are no lists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items and scores of one list.
    pub fn list(&self, query: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[query]..self.offsets[query + 1];
        (&self.ids[range.clone()], &self.scores[range])
    }
}

/// The `k` best items of each query, in parallel on rayon's current pool.
///
/// `masked(i)` lists the items that query `i` must not get (in any order, repeats allowed, ids beyond the catalogue
/// ignored); if `allowed` is given, only its items are returned.
///
/// # Panics
/// When queries and items differ in dimension, or `allowed` is of a smaller catalogue.
pub fn top_k<'m>(
    queries: Rows<'_>,
    panels: &Panels,
    k: usize,
    masked: impl Fn(usize) -> &'m [u32] + Sync,
    allowed: Option<&ItemSet>,
) -> TopLists {
    assert!(
        queries.dim() == panels.dim(),
        "queries of {}, items of {}",
        queries.dim(),
        panels.dim()
    );
    let (n, k) = (queries.n(), k.min(panels.n_items()));
    let mut ids = vec![0; n * k];
    let mut scores = vec![0.0; n * k];
    let mut lens = vec![0; n];
    if n > 0 && k > 0 {
        let live = panels.live_lanes(allowed);
        // Few queries: one at a time, rather than tiles that are mostly empty.
        let group = if n < 4 { 1 } else { group_of(isa()) };
        let block = block_size(n, group);
        let blocks = ids.par_chunks_mut(block * k).zip(scores.par_chunks_mut(block * k));
        blocks.zip(lens.par_chunks_mut(block)).enumerate().for_each_init(
            || (Selection::default(), Vec::new()),
            |(selection, packed), (b, ((ids, scores), lens))| {
                let range = b * block..b * block + lens.len();
                pack_queries(queries, range.clone(), group, packed);
                let masks: Vec<&[u32]> = range.clone().map(&masked).collect();
                let norms: Vec<f64> = range.map(|i| norm(queries.row(i))).collect();
                selection.start(
                    lens.len().next_multiple_of(group),
                    panels.n_items(),
                    k,
                    k.max(SPARE),
                );
                let job =
                    Job { panels, live: &live, packed, masks: &masks, norms: &norms, selection };
                if group == 1 {
                    scan(job)
                } else {
                    scan_block(job)
                }
                for (row, len) in lens.iter_mut().enumerate() {
                    *len = selection.finish(
                        row,
                        masks[row],
                        &mut ids[row * k..][..k],
                        &mut scores[row * k..][..k],
                    );
                }
            },
        );
    }
    TopLists::close_gaps(ids, scores, &lens, k)
}

impl TopLists {
    /// From lists of at most `k` that start `k` apart.
    pub(super) fn close_gaps(
        mut ids: Vec<u32>,
        mut scores: Vec<f32>,
        lens: &[usize],
        k: usize,
    ) -> Self {
        let mut offsets = Vec::with_capacity(lens.len() + 1);
        offsets.push(0);
        let mut end = 0;
        for (i, len) in lens.iter().enumerate() {
            if end != i * k {
                ids.copy_within(i * k..i * k + len, end);
                scores.copy_within(i * k..i * k + len, end);
            }
            end += len;
            offsets.push(end);
        }
        ids.truncate(end);
        scores.truncate(end);
        Self { offsets, ids, scores }
    }
}

/// Candidates collected beyond k, at least: see [`Selection::start`].
const SPARE: usize = 284;

/// Queries in a tile: as many as the registers hold sums for.
pub(super) fn group_of(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 12,
        Isa::Avx2 | Isa::Neon => 6,
        Isa::Portable => 2,
    }
}

/// Queries in a task: their packed vectors stay in the second-level cache, and every thread gets several.
pub(super) fn block_size(n: usize, group: usize) -> usize {
    n.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(group).clamp(group, 120)
}

/// The length of a query, of which only an upper bound matters.
fn norm(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// A block of queries against all panels.
struct Job<'a> {
    panels: &'a Panels,
    live: &'a [u32],
    packed: &'a [f32],
    masks: &'a [&'a [u32]],
    norms: &'a [f64],
    selection: &'a mut Selection,
}

dispatch! {
    fn scan_block(job: Job<'_>) = scan_block_kernel;
    fn scan(job: Job<'_>) = scan_kernel;
}

#[inline(always)]
fn scan_block_kernel<S: Simd>(s: S, job: Job<'_>) {
    match S::ISA {
        Isa::Avx512 => scan_tiles::<S, 12, 2>(s, job),
        Isa::Avx2 | Isa::Neon => scan_tiles::<S, 6, 1>(s, job),
        Isa::Portable => scan_tiles::<S, 2, 1>(s, job),
    }
}

#[inline(always)]
fn scan_kernel<S: Simd>(s: S, job: Job<'_>) {
    scan_tiles::<S, 1, 2>(s, job)
}

#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
fn scan_tiles<S: Simd, const R: usize, const V: usize>(s: S, job: Job<'_>) {
    let Job { panels, live, packed, masks, norms, selection } = job;
    let dim = panels.dim();
    let n_groups = masks.len().div_ceil(R);
    assert!(packed.len() == n_groups * R * dim && selection.bars.len() >= n_groups * R);
    // A computed score exceeds |query| |item| by rounding at most: 2 dim roundings of 2^-24 each, and some to spare.
    let slack = 1.0 + (2 * dim + 64) as f64 * 2f64.powi(-24);
    let mut reach = vec![f64::NEG_INFINITY; n_groups];
    let mut scores = [0.0f32; 12 * PANEL];
    for p in 0..panels.n_panels() {
        if live[p] == 0 {
            continue;
        }
        let items = panels.panel(p).as_ptr();
        let norm = f64::from(panels.norm(p)) * slack;
        let mut all_done = true;
        for g in 0..n_groups {
            // No item of this panel can reach the threshold of any query of the group.
            if norm < reach[g] {
                continue;
            }
            all_done = false;
            let queries = packed[g * R * dim..].as_ptr();
            for half in 0..PANEL / (V * LANES) {
                let first = half * V * LANES;
                // SAFETY: the lengths of `packed` and of the panel were checked.
                let sums = unsafe { tile::<S, R, V>(s, queries, items.add(first), dim) };
                let bars = &selection.bars[g * R..][..R];
                // Four queries a word, 16 lanes each; a lane speaks for the larger of its V scores.
                let mut words = [0u64; 3];
                for r in 0..R {
                    let mut top = sums[r][0];
                    for v in 1..V {
                        top = s.max(top, sums[r][v]);
                    }
                    let hit = s.mask_bits(s.not_lt(top, s.splat(bars[r])));
                    words[r / 4] |= u64::from(hit) << (r % 4 * LANES);
                }
                if words[0] | words[1] | words[2] == 0 {
                    continue;
                }
                for r in 0..R {
                    for v in 0..V {
                        s.store(&mut scores[r * PANEL + v * LANES..], sums[r][v]);
                    }
                }
                let ids = &panels.panel_ids(p)[first..];
                let live = live[p] >> first;
                if selection.take::<V>(g * R, &words, &scores, ids, live, masks) {
                    reach[g] = selection.reach(g * R, norms, R);
                }
            }
        }
        if all_done && panels.order() == super::panels::PanelOrder::Norm {
            break;
        }
    }
}

/// The `k` best of one row of scores that some other model computed, by item id: the same order and the same masks as
/// [`top_k`].
///
/// # Panics
/// When `allowed` is of a smaller catalogue.
pub fn select_row(
    scores: &[f32],
    masked: &[u32],
    allowed: Option<&ItemSet>,
    k: usize,
) -> Vec<(u32, f32)> {
    let k = k.min(scores.len());
    if k == 0 {
        return Vec::new();
    }
    let mut selection = Selection::default();
    selection.start(1, scores.len(), k, k.max(SPARE));
    if let Some(allowed) = allowed {
        allowed.check_catalogue(scores.len());
    }
    scan_row(scores, masked, allowed.map(ItemSet::words), &mut selection);
    let (mut ids, mut found) = (vec![0; k], vec![0.0; k]);
    let len = selection.finish(0, masked, &mut ids, &mut found);
    ids.into_iter().zip(found).take(len).collect()
}

dispatch! {
    fn scan_row(
        scores: &[f32],
        masked: &[u32],
        allowed: Option<&[u64]>,
        selection: &mut Selection,
    ) = scan_row_kernel;
}

#[inline(always)]
fn scan_row_kernel<S: Simd>(
    s: S,
    scores: &[f32],
    masked: &[u32],
    allowed: Option<&[u64]>,
    selection: &mut Selection,
) {
    for (chunk, scores) in scores.chunks(LANES).enumerate() {
        let bar = s.splat(selection.bars[0]);
        let mut hits = s.mask_bits(s.not_lt(s.load_part(scores), bar));
        hits &= (0xffff_u32 >> (LANES - scores.len())) as u16;
        if let Some(allowed) = allowed {
            hits &= (allowed[chunk / 4] >> (chunk % 4 * LANES)) as u16;
        }
        while hits != 0 {
            let lane = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            selection.push(0, key(scores[lane], (chunk * LANES + lane) as u32), masked);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
