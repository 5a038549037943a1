//! Prefixes of unequal length: of each item only its first numbers are kept, as many as it needs. After a rotation that puts what
//! matters first, this is pruning that stays dense: items are sorted by their length, so that a block of 64 has one length, and a
//! score is one chain of multiply-adds, as in [`panels`](crate::kernel::panels).

use super::{BLOCK, CodeTable, Found, Places, Scores, VECTORS, fill, scan};
use crate::kernel::buffer::Buffer;
use crate::kernel::panels::Rows;
use crate::kernel::simd::{LANES, Simd};

/// A table of prefixes.
pub struct Ragged {
    n_items: usize,
    dim: usize,
    /// Blocks of `[length][64]`.
    data: Buffer,
    /// Where each block's numbers begin, and their end.
    starts: Vec<usize>,
    /// The item at each place: by decreasing length, then by number.
    ids: Vec<u32>,
    /// The place of each item.
    places: Vec<u32>,
    lengths: Vec<u32>,
}

impl Ragged {
    /// Keeps the first `lengths[i]` numbers of item i. `None` when there are not as many lengths as items, one exceeds the
    /// dimension, or some numbers are not finite.
    ///
    /// # Panics
    /// When there are more items than 32-bit ids can name.
    #[must_use]
    pub fn pack(items: Rows<'_>, lengths: &[u32]) -> Option<Self> {
        let (n, dim) = (items.n(), items.dim());
        assert!(n < u32::MAX as usize, "{n} items are more than 32-bit ids can name");
        let fits = lengths.len() == n && lengths.iter().all(|length| *length as usize <= dim);
        if !fits || !(0..n).all(|i| items.row(i).iter().all(|x| x.is_finite())) {
            return None;
        }
        let mut ids: Vec<u32> = (0..n as u32).collect();
        ids.sort_by_key(|&id| (std::cmp::Reverse(lengths[id as usize]), id));
        let mut places = vec![0; n];
        for (place, id) in ids.iter().enumerate() {
            places[*id as usize] = place as u32;
        }
        let mut starts = vec![0];
        for block in ids.chunks(BLOCK) {
            starts.push(starts[starts.len() - 1] + lengths[block[0] as usize] as usize * BLOCK);
        }
        let mut data = Buffer::zeros(starts[starts.len() - 1]);
        for (place, id) in ids.iter().enumerate() {
            let kept = &items.row(*id as usize)[..lengths[*id as usize] as usize];
            for (k, x) in kept.iter().enumerate() {
                data[starts[place / BLOCK] + k * BLOCK + place % BLOCK] = *x;
            }
        }
        let lengths = lengths.to_vec();
        Some(Self { n_items: n, dim, data, starts, ids, places, lengths })
    }

    /// From [`Ragged::values`] and [`Ragged::lengths`]; `None` when they do not fit each other.
    ///
    /// # Panics
    /// As [`Ragged::pack`].
    #[must_use]
    pub fn from_parts(dim: usize, values: &[f32], lengths: &[u32]) -> Option<Self> {
        let total = lengths.iter().map(|length| u64::from(*length)).sum::<u64>();
        let too_long = lengths.iter().any(|length| *length as usize > dim);
        let n_numbers = lengths.len().checked_mul(dim)?;
        if total != values.len() as u64 || too_long {
            return None;
        }
        let mut rows = vec![0.0; n_numbers];
        let mut left = values;
        for (row, length) in rows.chunks_exact_mut(dim.max(1)).zip(lengths) {
            let (own, rest) = left.split_at(*length as usize);
            row[..own.len()].copy_from_slice(own);
            left = rest;
        }
        Self::pack(Rows::dense(&rows, lengths.len(), dim), lengths)
    }

    /// What is kept, item by item.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        let numbers = |item: usize| (0..self.lengths[item] as usize).map(move |k| self.at(item, k));
        (0..self.n_items).flat_map(numbers).collect()
    }

    /// How many numbers of each item are kept.
    #[must_use]
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    fn at(&self, item: usize, k: usize) -> f32 {
        let place = self.places[item] as usize;
        self.data[self.starts[place / BLOCK] + k * BLOCK + place % BLOCK]
    }

    fn places(&self) -> Places<'_> {
        Places { n_items: self.n_items, ids: Some(&self.ids), blocks: None }
    }

    fn prepare<'a>(&'a self, query: &'a [f32]) -> Prepared<'a> {
        assert!(query.len() == self.dim);
        Prepared { table: self, query }
    }
}

impl CodeTable for Ragged {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn dim(&self) -> usize {
        self.dim
    }

    /// Without what only decoding needs: lengths and places.
    fn bytes(&self) -> usize {
        4 * (self.data.len() + self.ids.len()) + 8 * self.starts.len()
    }

    fn n_numbers(&self) -> usize {
        self.lengths.iter().map(|length| *length as usize).sum()
    }

    fn decode(&self, item: usize, out: &mut [f32]) {
        assert!(item < self.n_items && out.len() == self.dim);
        out.fill(0.0);
        let length = self.lengths[item] as usize;
        out[..length].iter_mut().enumerate().for_each(|(k, x)| *x = self.at(item, k));
    }

    fn scores(&self, query: &[f32], out: &mut [f32]) {
        fill(&self.prepare(query), self.places(), out);
    }

    fn scan(&self, query: &[f32], found: &mut Found<'_>) {
        scan(&self.prepare(query), self.places(), found);
    }
}

struct Prepared<'a> {
    table: &'a Ragged,
    query: &'a [f32],
}

impl Scores for Prepared<'_> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
    fn block<S: Simd, const NATIVE: bool>(&self, s: S, block: usize) -> [S::F; VECTORS] {
        let Ragged { data, starts, .. } = self.table;
        let data = &data[starts[block]..starts[block + 1]];
        let mut sums = [s.zero(); VECTORS];
        for (numbers, query) in data.chunks_exact(BLOCK).zip(self.query) {
            let query = s.splat(*query);
            for v in 0..VECTORS {
                sums[v] = s.fma(query, s.load(&numbers[v * LANES..]), sums[v]);
            }
        }
        sums
    }
}
