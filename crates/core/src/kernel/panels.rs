//! Item vectors in the layout of a register tile of scores, and that tile.
//!
//! Items are packed in panels of 32: `[panel][dimension][32]`. A tile of up to 12 queries x 32 items keeps
//! its scores in registers during the loop over the dimensions, one broadcast and two loads for each 24
//! multiply-adds.
//!
//! **A score is one chain**: `fma(q[d-1], v[d-1], .. fma(q[1], v[1], fma(q[0], v[0], 0)))`, whatever the tile's shape, so a
//! scalar loop of `f32::mul_add` ([`score_one`]) reproduces it bit for bit, and so does every instruction set with FMA.
//! (On the portable path without FMA both round after the product and after the sum.)

use super::bits::ItemSet;
use super::buffer::Buffer;
use super::simd::{LANES, Simd, dispatch};

/// Items in a panel.
pub const PANEL: usize = 32;

/// A matrix of `n` rows of `dim` numbers, with `stride` between the starts of rows.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    n: usize,
    dim: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// When `data` is too short for the shape or rows overlap.
    pub fn new(data: &'a [f32], n: usize, dim: usize, stride: usize) -> Self {
        assert!(stride >= dim, "rows of {dim} do not fit into a stride of {stride}");
        let needed = if n == 0 { 0 } else { (n - 1) * stride + dim };
        assert!(
            data.len() >= needed,
            "{n} rows of {dim} need {needed} numbers, found {}",
            data.len()
        );
        Self { data, n, dim, stride }
    }

    /// Rows without gaps.
    pub fn dense(data: &'a [f32], n: usize, dim: usize) -> Self {
        Self::new(data, n, dim, dim)
    }

    /// All numbers, those between the rows included.
    pub(super) fn data(&self) -> &'a [f32] {
        self.data
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Numbers in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Distance between the starts of two rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i`.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..][..self.dim]
    }
}

/// The order of the items in the panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelOrder {
    /// By decreasing length of their vectors: long vectors tend to score high, so thresholds rise early, and
    /// once `|query| |item|` cannot reach a query's threshold, the remaining items are skipped. For
    /// [`top_k`](super::topk::top_k).
    Norm,
    /// By id, as [`target_ranks`](super::ranks::target_ranks) needs it.
    Id,
}

/// Items packed for scoring.
pub struct Panels {
    data: Buffer,
    /// The item at each position; `u32::MAX` for the padding of the last panel.
    ids: Vec<u32>,
    /// The position of each item.
    places: Vec<u32>,
    /// The largest norm in each panel, rounded up; decreasing in the order `Norm`.
    norms: Vec<f32>,
    n_items: usize,
    dim: usize,
    order: PanelOrder,
}

impl Panels {
    /// Packs all items, on the calling thread.
    pub fn pack(items: Rows<'_>, order: PanelOrder) -> Self {
        let (n, dim) = (items.n(), items.dim());
        assert!(n < u32::MAX as usize, "{n} items are more than 32-bit ids can name");
        let norm = |i: u32| {
            let squares = items.row(i as usize).iter().map(|x| f64::from(*x) * f64::from(*x));
            squares.sum::<f64>().sqrt()
        };
        let norms: Vec<f64> = (0..n as u32).map(norm).collect();
        let mut ids: Vec<u32> = (0..n as u32).collect();
        if order == PanelOrder::Norm {
            ids.sort_by(|a, b| norms[*b as usize].total_cmp(&norms[*a as usize]));
        }
        let mut places = vec![0; n];
        for (place, id) in ids.iter().enumerate() {
            places[*id as usize] = place as u32;
        }
        let n_panels = n.div_ceil(PANEL);
        let mut data = Buffer::zeros(n_panels * PANEL * dim);
        let mut largest = vec![0.0f32; n_panels];
        for (place, id) in ids.iter().enumerate() {
            let (panel, lane) = (place / PANEL, place % PANEL);
            let to = &mut data[panel * PANEL * dim..][..PANEL * dim];
            for (k, x) in items.row(*id as usize).iter().enumerate() {
                to[k * PANEL + lane] = *x;
            }
            // A NaN stays, and prunes nothing.
            let norm = (norms[*id as usize] as f32).next_up();
            if norm.is_nan() || norm > largest[panel] {
                largest[panel] = norm;
            }
        }
        ids.resize(n_panels * PANEL, u32::MAX);
        Self { data, ids, places, norms: largest, n_items: n, dim, order }
    }

    /// The same items in another order.
    pub fn reordered(&self, order: PanelOrder) -> Self {
        let mut rows = vec![0.0; self.n_items * self.dim];
        for id in 0..self.n_items {
            for (k, x) in rows[id * self.dim..][..self.dim].iter_mut().enumerate() {
                let (panel, lane) = self.place_of(id as u32);
                *x = self.data[panel * PANEL * self.dim + k * PANEL + lane];
            }
        }
        Self::pack(Rows::dense(&rows, self.n_items, self.dim), order)
    }

    /// Number of items.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The order of the items.
    pub fn order(&self) -> PanelOrder {
        self.order
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        4 * (self.data.len() + self.ids.len() + self.places.len() + self.norms.len())
    }

    /// Number of panels.
    pub(super) fn n_panels(&self) -> usize {
        self.norms.len()
    }

    /// The vectors of one panel, `[dimension][32]`.
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> &[f32] {
        &self.data[panel * PANEL * self.dim..][..PANEL * self.dim]
    }

    /// The items of one panel.
    #[inline(always)]
    pub(super) fn panel_ids(&self, panel: usize) -> &[u32; PANEL] {
        self.ids[panel * PANEL..].first_chunk().expect("panels are whole")
    }

    /// The largest norm of a panel.
    #[inline(always)]
    pub(super) fn norm(&self, panel: usize) -> f32 {
        self.norms[panel]
    }

    /// The panel and lane of an item.
    #[inline(always)]
    pub(super) fn place_of(&self, id: u32) -> (usize, usize) {
        let place = self.places[id as usize] as usize;
        (place / PANEL, place % PANEL)
    }

    /// For each panel, the lanes that hold an allowed item.
    pub(super) fn live_lanes(&self, allowed: Option<&ItemSet>) -> Vec<u32> {
        let mut live = vec![u32::MAX; self.n_panels()];
        if let Some(last) = live.last_mut() {
            *last >>= self.n_panels() * PANEL - self.n_items;
        }
        if let Some(allowed) = allowed {
            allowed.check_catalogue(self.n_items);
            for (live, ids) in live.iter_mut().zip(self.ids.chunks_exact(PANEL)) {
                for (lane, id) in ids.iter().enumerate() {
                    if *id != u32::MAX && !allowed.contains(*id) {
                        *live &= !(1 << lane);
                    }
                }
            }
        }
        live
    }

    /// Scores of all items for one query, by item id.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn score_row(&self, query: &[f32], out: &mut [f32]) {
        assert!(query.len() == self.dim && out.len() == self.n_items);
        score_row(self, query, out);
    }

    /// [`Panels::score_row`] for several queries, `queries x n_items`: each panel is read once for eight of them. The
    /// same bits.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn score_rows(&self, queries: Rows<'_>, out: &mut [f32]) {
        assert!(queries.dim() == self.dim && out.len() == queries.n() * self.n_items);
        score_rows(self, queries, out);
    }
}

dispatch! {
    /// The score of one item: the chain of multiply-adds that every kernel here uses.
    pub fn score_one(query: &[f32], item: &[f32]) -> f32 = score_one_kernel;

    fn score_row(panels: &Panels, query: &[f32], out: &mut [f32]) = score_row_kernel;

    fn score_rows(panels: &Panels, queries: Rows<'_>, out: &mut [f32]) = score_rows_kernel;

    /// Scores of the 32 items of one panel for one query.
    pub(super) fn score_panel(query: &[f32], panel: &[f32]) -> [f32; PANEL] = score_panel_kernel;
}

#[inline(always)]
fn score_one_kernel<S: Simd>(_: S, query: &[f32], item: &[f32]) -> f32 {
    let mut sum = 0.0f32;
    for (q, v) in query.iter().zip(item) {
        sum = if S::FUSED { q.mul_add(*v, sum) } else { q * v + sum };
    }
    sum
}

#[inline(always)]
fn score_panel_kernel<S: Simd>(s: S, query: &[f32], panel: &[f32]) -> [f32; PANEL] {
    assert!(panel.len() >= query.len() * PANEL);
    let mut out = [0.0; PANEL];
    // SAFETY: the panel is long enough; one row of queries is the query itself.
    let [row] = unsafe { tile::<S, 1, 2>(s, query.as_ptr(), panel.as_ptr(), query.len()) };
    s.store(&mut out[..LANES], row[0]);
    s.store(&mut out[LANES..], row[1]);
    out
}

#[inline(always)]
fn score_row_kernel<S: Simd>(s: S, panels: &Panels, query: &[f32], out: &mut [f32]) {
    for p in 0..panels.n_panels() {
        let scores = score_panel_kernel(s, query, panels.panel(p));
        for (id, score) in panels.panel_ids(p).iter().zip(scores) {
            if let Some(to) = out.get_mut(*id as usize) {
                *to = score;
            }
        }
    }
}

/// Queries in a tile of [`score_rows_kernel`].
const GROUP: usize = 8;

#[inline(always)]
fn score_rows_kernel<S: Simd>(s: S, panels: &Panels, queries: Rows<'_>, out: &mut [f32]) {
    let (n, dim, n_items) = (queries.n(), panels.dim, panels.n_items);
    let mut packed = Vec::new();
    pack_queries(queries, 0..n, GROUP, &mut packed);
    for p in 0..panels.n_panels() {
        let (panel, ids) = (panels.panel(p), panels.panel_ids(p));
        assert!(panel.len() >= dim * PANEL);
        for from in (0..n).step_by(GROUP) {
            let group = &packed[from * dim..][..GROUP * dim];
            // SAFETY: both are long enough, as was just checked.
            let tile = unsafe { tile::<S, GROUP, 2>(s, group.as_ptr(), panel.as_ptr(), dim) };
            for (row, sums) in (from..n).zip(tile) {
                let mut scores = [0.0; PANEL];
                s.store(&mut scores[..LANES], sums[0]);
                s.store(&mut scores[LANES..], sums[1]);
                let out = &mut out[row * n_items..][..n_items];
                for (id, score) in ids.iter().zip(scores) {
                    if let Some(to) = out.get_mut(*id as usize) {
                        *to = score;
                    }
                }
            }
        }
    }
}

/// `R` queries x `16 V` items.
///
/// # Safety
/// `queries` is `[dim][R]`; `items` is `[dim][32]`, of which the first `16 V` columns are read.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
pub(super) unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    s: S,
    queries: *const f32,
    items: *const f32,
    dim: usize,
) -> [[S::F; V]; R] {
    let mut sums = [[s.zero(); V]; R];
    for k in 0..dim {
        let mut item = [s.zero(); V];
        // SAFETY: k < dim, and the caller's promise.
        unsafe {
            for v in 0..V {
                item[v] = s.load_ptr(items.add(k * PANEL + v * LANES));
            }
            for r in 0..R {
                let query = s.splat(*queries.add(k * R + r));
                for v in 0..V {
                    sums[r][v] = s.fma(query, item[v], sums[r][v]);
                }
            }
        }
    }
    sums
}

/// Packs query rows `from..to` in groups of `group`: `[group of rows][dimension][group]`, zeros beyond the last.
pub(super) fn pack_queries(
    queries: Rows<'_>,
    range: std::ops::Range<usize>,
    group: usize,
    out: &mut Vec<f32>,
) {
    let dim = queries.dim();
    out.clear();
    out.resize(range.len().div_ceil(group) * group * dim, 0.0);
    for (i, row) in range.enumerate() {
        let to = &mut out[i / group * group * dim..];
        for (k, x) in queries.row(row).iter().enumerate() {
            to[k * group + i % group] = *x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, with_isa};
    use super::*;

    #[test]
    fn a_row_of_scores_is_the_scalar_chain_in_either_order() {
        for (n, dim) in [(0, 3), (1, 1), (31, 7), (32, 16), (33, 20), (100, 64), (5, 0)] {
            let stride = dim + 3;
            let items: Vec<f32> =
                (0..n * stride).map(|i| ((i * 7919) % 1000) as f32 - 500.0).collect();
            let items: Vec<f32> = items.iter().map(|x| x / 321.0).collect();
            let query: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.7).sin()).collect();
            let rows = Rows::new(&items, n, dim, stride);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                with_isa(isa, 1, || {
                    for order in [PanelOrder::Norm, PanelOrder::Id] {
                        let panels = Panels::pack(rows, order);
                        for panels in [panels.reordered(PanelOrder::Norm), panels] {
                            let mut out = vec![f32::NAN; n];
                            panels.score_row(&query, &mut out);
                            // The ninth of nine rows is the query; the others are its beginnings.
                            let mut nine = vec![0.0; 9 * dim];
                            for (row, nine) in nine.chunks_mut(dim.max(1)).enumerate() {
                                let len = if row == 8 { dim } else { row.min(dim) };
                                nine[..len].copy_from_slice(&query[..len]);
                            }
                            let mut rows = vec![f32::NAN; 9 * n];
                            panels.score_rows(Rows::dense(&nine, 9, dim), &mut rows);
                            let mut first = vec![f32::NAN; n];
                            panels.score_row(&nine[..dim], &mut first);
                            assert!(rows[8 * n..] == out && rows[..n] == first);
                            let rows = Rows::new(&items, n, dim, stride);
                            for (i, found) in out.iter().enumerate() {
                                let mut chain = 0.0f32;
                                for (q, v) in query.iter().zip(rows.row(i)) {
                                    let fused = isa.is_fused();
                                    chain =
                                        if fused { q.mul_add(*v, chain) } else { q * v + chain };
                                }
                                assert_eq!(found.to_bits(), chain.to_bits());
                                assert_eq!(score_one(&query, rows.row(i)), chain);
                            }
                        }
                    }
                });
            }
        }
    }
}
