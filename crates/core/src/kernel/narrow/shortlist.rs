//! The candidates of each query: collected as they are found, rescored a few at a time, cut back to the best.

use crate::kernel::bits::ItemSet;
use crate::kernel::panels::Rows;
use crate::kernel::simd::{Simd, dispatch, prefetch};
use crate::kernel::topk::{key, raise, score_of, write};

/// The shortlists of the queries of a block.
#[derive(Default)]
pub(super) struct Shortlists {
    k: usize,
    /// Capacity of a list.
    capacity: usize,
    /// First the rescored candidates, as sortable keys, then the new ones, as ids.
    keys: Vec<u64>,
    lens: Vec<usize>,
    scored: Vec<usize>,
    /// A score that k items reach so far; NaN until there are k. Items below it are not needed.
    pub bars: Vec<f32>,
    bar_keys: Vec<u64>,
    /// The masked items of each query, sorted.
    masks: Vec<Vec<u32>>,
    /// Scratch of [`raise`].
    ordered: Vec<u32>,
    /// Number of rescored items.
    pub rescored: u64,
}

/// The input of exact scores.
#[derive(Clone, Copy)]
pub(super) struct Exact<'a> {
    /// The block's queries.
    pub queries: Rows<'a>,
    /// The first of them.
    pub first: usize,
    pub items: Rows<'a>,
    pub allowed: Option<&'a ItemSet>,
}

impl Shortlists {
    pub fn start<'m>(
        &mut self,
        masks: impl ExactSizeIterator<Item = &'m [u32]>,
        padded: usize,
        k: usize,
    ) {
        let n = masks.len();
        self.k = k;
        // The earlier exact scores are known, the earlier the bar rises; but scoring several at a time is faster.
        self.capacity = k + k / 8 + 2 + (k / 2).clamp(32, 256);
        self.keys.resize(n * self.capacity, 0);
        for list in [&mut self.lens, &mut self.scored] {
            list.clear();
            list.resize(n, 0);
        }
        self.bars.clear();
        self.bars.resize(n, f32::NAN);
        // Nothing reaches the bar of padding queries.
        self.bars.resize(padded, f32::INFINITY);
        self.bar_keys.clear();
        self.bar_keys.resize(n, 0);
        self.masks.resize_with(n, Vec::new);
        for (own, mask) in self.masks.iter_mut().zip(masks) {
            own.clear();
            own.extend_from_slice(mask);
            own.sort_unstable();
        }
        self.rescored = 0;
    }

    /// Accepts no more items for this query.
    pub fn close(&mut self, query: usize) {
        self.bars[query] = f32::INFINITY;
    }

    /// Adds an item; returns whether the bar rose.
    #[inline(always)]
    pub fn take(&mut self, query: usize, id: u32, exact: &Exact<'_>) -> bool {
        let row = exact.items.row(id as usize);
        for line in row.chunks(16).take(4) {
            prefetch(line.as_ptr());
        }
        let len = self.lens[query];
        self.keys[query * self.capacity + len] = u64::from(id);
        self.lens[query] = len + 1;
        let full = len + 1 == self.capacity;
        if full {
            self.settle(query, exact);
        }
        full
    }

    /// Rescores the new candidates, drops those that are not among the best, raises the bar.
    #[inline(never)]
    fn settle(&mut self, query: usize, exact: &Exact<'_>) {
        let keys = &mut self.keys[query * self.capacity..][..self.lens[query]];
        let (scored, mask) = (self.scored[query], &self.masks[query]);
        let mut len = scored;
        for i in scored..keys.len() {
            let id = keys[i] as u32;
            keys[len] = u64::from(id);
            let masked = !mask.is_empty() && mask.binary_search(&id).is_ok();
            len += usize::from(!masked && exact.allowed.is_none_or(|allowed| allowed.contains(id)));
        }
        self.rescored += (len - scored) as u64;
        score(exact.queries.row(exact.first + query), exact.items, &mut keys[scored..len]);
        let (found, bar) = (len, self.bar_keys[query]);
        len = scored;
        for i in scored..found {
            let key = keys[i];
            keys[len] = key;
            len += usize::from(key > bar);
        }
        let keys = &mut keys[..len];
        if len >= self.k {
            (self.bar_keys[query], len) = raise(keys, self.k, &mut self.ordered);
            self.bars[query] = score_of(self.bar_keys[query]);
        }
        (self.lens[query], self.scored[query]) = (len, len);
    }

    /// Writes a query's list, best first; its length.
    pub fn finish(
        &mut self,
        query: usize,
        exact: &Exact<'_>,
        ids: &mut [u32],
        scores: &mut [f32],
    ) -> usize {
        self.settle(query, exact);
        let keys = &mut self.keys[query * self.capacity..][..self.lens[query]];
        write(keys, self.k, ids, scores)
    }
}

dispatch! {
    /// Replaces items by the keys of their scores: the chain of multiply-adds of `score_one`, for several
    /// items at a time to hide its latency.
    fn score(query: &[f32], items: Rows<'_>, keys: &mut [u64]) = score_kernel;
}

/// Chains at a time.
const CHAINS: usize = 8;

#[inline(always)]
fn score_kernel<S: Simd>(_: S, query: &[f32], items: Rows<'_>, keys: &mut [u64]) {
    assert!(query.len() == items.dim());
    for keys in keys.chunks_mut(CHAINS) {
        let mut rows = [query.as_ptr(); CHAINS];
        for (row, key) in rows.iter_mut().zip(keys.iter()) {
            *row = items.row(*key as usize).as_ptr();
        }
        let mut sums = [0.0f32; CHAINS];
        for (k, q) in query.iter().enumerate() {
            for chain in 0..CHAINS {
                // SAFETY: every row, and the query, has as many numbers as the query.
                let v = unsafe { *rows[chain].add(k) };
                sums[chain] =
                    if S::FUSED { q.mul_add(v, sums[chain]) } else { q * v + sums[chain] };
            }
        }
        for (to, sum) in keys.iter_mut().zip(sums) {
            *to = key(sum, *to as u32);
        }
    }
}
