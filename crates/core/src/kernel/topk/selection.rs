//! The candidates of each query, as sortable keys: appended as they are found, cut back to the best when the
//! list is full.

use crate::kernel::bits::ItemSet;
use crate::kernel::panels::PANEL;
use crate::kernel::simd::{LANES, Simd, dispatch};

/// The candidates of the queries of a block.
#[derive(Default)]
pub(in crate::kernel) struct Selection {
    k: usize,
    /// Capacity of a query's list.
    capacity: usize,
    keys: Vec<u64>,
    lens: Vec<usize>,
    /// A score that k items reach so far; NaN, which every score passes, until there are k.
    pub(in crate::kernel) bars: Vec<f32>,
    /// A key that k items reach so far; decides among equal scores.
    bar_keys: Vec<u64>,
    /// Empty between uses.
    marked: ItemSet,
    /// Scratch of [`cut`].
    ordered: Vec<u32>,
}

impl Selection {
    /// `spare`: candidates that are collected beyond k before the best are selected, at least 3. Fewer mean more selections,
    /// more mean later thresholds.
    pub(in crate::kernel) fn start(&mut self, rows: usize, n_items: usize, k: usize, spare: usize) {
        self.k = k;
        self.capacity = k + k / 8 + spare;
        self.keys.resize(rows * self.capacity, 0);
        self.lens.clear();
        self.lens.resize(rows, 0);
        self.bars.clear();
        self.bars.resize(rows, f32::NAN);
        self.bar_keys.clear();
        self.bar_keys.resize(rows, 0);
        if self.marked.n_items() != n_items {
            self.marked = ItemSet::empty(n_items);
        }
    }

    /// Appends the hits of a tile whose first query is `row`; whether a threshold rose.
    #[inline(always)]
    pub(super) fn take<const V: usize>(
        &mut self,
        row: usize,
        words: &[u64; 3],
        scores: &[f32; 12 * PANEL],
        ids: &[u32],
        live: u32,
        masks: &[&[u32]],
    ) -> bool {
        let mut rose = false;
        for (i, word) in words.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                let (r, lane) = (i * 4 + bit / LANES, bit % LANES);
                let query = row + r;
                // Padding of the last group.
                if query >= masks.len() {
                    return rose;
                }
                // Always written, kept by moving the end: a branch on which of the V it was would be unpredictable.
                let list = &mut self.keys[query * self.capacity..][..self.capacity];
                let mut len = self.lens[query];
                for v in 0..V {
                    let at = lane + v * LANES;
                    let key = key(scores[r * PANEL + at], ids[at]);
                    list[len] = key;
                    len += usize::from((key > self.bar_keys[query]) & (live >> at & 1 == 1));
                }
                self.lens[query] = len;
                if len + 2 > self.capacity {
                    self.shrink(query, masks[query]);
                    rose = true;
                }
            }
        }
        rose
    }

    /// Appends one hit.
    #[inline(always)]
    pub(in crate::kernel) fn push(&mut self, query: usize, key: u64, masked: &[u32]) {
        if key <= self.bar_keys[query] {
            return;
        }
        let len = self.lens[query];
        self.keys[query * self.capacity + len] = key;
        self.lens[query] = len + 1;
        if len + 3 > self.capacity {
            self.shrink(query, masked);
        }
    }

    /// How many items the query may get of those found so far: at least k, or exactly.
    pub(in crate::kernel) fn settle(&mut self, query: usize, masked: &[u32]) -> usize {
        self.shrink(query, masked);
        self.lens[query]
    }

    /// Drops masked items, keeps the best k and a few more, raises the threshold.
    #[inline(never)]
    fn shrink(&mut self, query: usize, masked: &[u32]) {
        let keys = &mut self.keys[query * self.capacity..][..self.lens[query]];
        let mut len = keys.len();
        if !masked.is_empty() {
            self.marked.insert_all(masked);
            len = 0;
            for i in 0..keys.len() {
                let key = keys[i];
                keys[len] = key;
                len += usize::from(!self.marked.contains(id_of(key)));
            }
            self.marked.remove_all(masked);
        }
        if len >= self.k {
            (self.bar_keys[query], len) = raise(&mut keys[..len], self.k, &mut self.ordered);
            self.bars[query] = score_of(self.bar_keys[query]);
        }
        self.lens[query] = len;
    }

    /// The norm that an item needs for any of the queries `row..row + n` to take it.
    pub(super) fn reach(&self, row: usize, norms: &[f64], n: usize) -> f64 {
        let rows = row..(row + n).min(norms.len());
        let reach = rows.map(|r| f64::from(self.bars[r]) / norms[r]);
        // Without a threshold (NaN), or for a query of length 0, any item may be needed.
        reach.fold(f64::INFINITY, |a, b| if b.is_nan() { f64::NEG_INFINITY } else { a.min(b) })
    }

    /// Writes a query's list, best first; its length.
    pub(in crate::kernel) fn finish(
        &mut self,
        query: usize,
        masked: &[u32],
        ids: &mut [u32],
        scores: &mut [f32],
    ) -> usize {
        self.shrink(query, masked);
        let keys = &mut self.keys[query * self.capacity..][..self.lens[query]];
        write(keys, self.k, ids, scores)
    }
}

/// Keys up to which an exact selection is as quick as [`cut`].
const SHORT: usize = 192;

/// Moves the best `k` of at least as many keys, and perhaps a few more, to the front. Returns the key that a
/// further one must exceed, and how many are kept.
pub(in crate::kernel) fn raise(keys: &mut [u64], k: usize, ordered: &mut Vec<u32>) -> (u64, usize) {
    // A short list is selected from before its range of scores is halved a few times.
    if keys.len() > SHORT
        && let Some((ordered, kept)) = cut(keys, k, ordered)
    {
        return (u64::from(ordered) << 32, kept);
    }
    let (_, kth, _) = keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    // That key is kept and does not occur again: only better keys are needed.
    (*kth, k)
}

/// Writes the best `k` keys as a list, best first; its length.
pub(in crate::kernel) fn write(
    keys: &mut [u64],
    k: usize,
    ids: &mut [u32],
    scores: &mut [f32],
) -> usize {
    keys.sort_unstable_by(|a, b| b.cmp(a));
    for ((key, id), score) in keys.iter().zip(ids).zip(scores) {
        (*id, *score) = (id_of(*key), score_of(*key));
    }
    keys.len().min(k)
}

dispatch! {
    /// Finds a score that at least `k` and at most some 9/8 k keys reach, by halving the range of scores, and keeps
    /// those keys. An exact selection moves keys several times and is needed only at the end. `None`, with nothing
    /// changed, if too many scores are equal.
    fn cut(keys: &mut [u64], k: usize, ordered: &mut Vec<u32>) -> Option<(u32, usize)> = cut_kernel;
}

#[inline(always)]
fn cut_kernel<S: Simd>(
    _: S,
    keys: &mut [u64],
    k: usize,
    ordered: &mut Vec<u32>,
) -> Option<(u32, usize)> {
    ordered.resize(keys.len(), 0);
    let (mut low, mut high) = (u32::MAX, 0);
    for i in 0..keys.len() {
        let x = (keys[i] >> 32) as u32;
        ordered[i] = x;
        low = low.min(x);
        high = high.max(x);
    }
    let most = k + k / 8 + 2;
    let mut bar = low;
    let mut count = keys.len();
    // Invariant: at least k keys reach `low`, fewer than k exceed `high`.
    while count < k || count > most {
        if high - low < 2 {
            return None;
        }
        bar = low + (high - low) / 2;
        let mut reach = 0u32;
        for x in ordered.iter() {
            reach += u32::from(*x >= bar);
        }
        count = reach as usize;
        if count >= k {
            low = bar;
        } else {
            high = bar;
        }
    }
    let mut len = 0;
    for i in 0..keys.len() {
        let key = keys[i];
        keys[len] = key;
        len += usize::from((key >> 32) as u32 >= bar);
    }
    Some((bar, len))
}

/// A number that sorts like the ranking, larger first: the score's bits in sortable form, then the complement
/// of the id.
#[inline(always)]
pub(in crate::kernel) fn key(score: f32, id: u32) -> u64 {
    // + 0.0 turns -0 into 0.
    let bits = (score + 0.0).to_bits();
    let ordered = bits ^ (((bits as i32) >> 31) as u32 | 0x8000_0000);
    let ordered = if score.is_nan() { 0 } else { ordered };
    u64::from(ordered) << 32 | u64::from(!id)
}

#[inline(always)]
pub(super) fn id_of(key: u64) -> u32 {
    !(key as u32)
}

#[inline(always)]
pub(in crate::kernel) fn score_of(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    if ordered == 0 {
        return f32::NAN;
    }
    let sign = !(((ordered as i32) >> 31) as u32) | 0x8000_0000;
    f32::from_bits(ordered ^ sign)
}
