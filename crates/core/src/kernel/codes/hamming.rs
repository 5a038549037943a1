//! Signs on both sides: the score of two vectors of -1 and 1 is `b - 2 popcount(u xor v)`, times the item's length if it has one.

use super::{BLOCK, CodeTable, Found, Places, Scores, VECTORS, fill, scan};
use crate::kernel::buffer::Buffer;
use crate::kernel::panels::Rows;
use crate::kernel::simd::{LANES, Simd};

/// A table of signs, for queries of which only the signs count.
pub struct Hamming {
    n_items: usize,
    dim: usize,
    /// `[block][32 dimensions][64]`; a bit is set where the number is not negative.
    words: Buffer,
    /// One for each item and for the padding, or none.
    lengths: Vec<f32>,
}

impl Hamming {
    /// Packs the signs of vectors, with their lengths if `with_length`. `None` when some numbers are not finite.
    ///
    /// # Panics
    /// When there are more items than 32-bit ids can name.
    #[must_use]
    pub fn pack(items: Rows<'_>, with_length: bool) -> Option<Self> {
        let mut lengths = Vec::new();
        let mut words = Vec::with_capacity(items.n() * items.dim().div_ceil(32));
        for item in 0..items.n() {
            let row = items.row(item);
            let square = row.iter().fold(0.0, |sum, x| sum + f64::from(*x) * f64::from(*x));
            if !(square as f32).is_finite() {
                return None;
            }
            words.extend(signs(row));
            // Of a vector of ones, as decoded.
            let length = (square / row.len().max(1) as f64).sqrt() as f32;
            lengths.extend(with_length.then_some(length));
        }
        Self::from_parts((items.n(), items.dim()), &words, &lengths)
    }

    /// From [`Hamming::words`] and [`Hamming::lengths`]; `None` when they do not fit the shape.
    ///
    /// # Panics
    /// When there are more items than 32-bit ids can name.
    #[must_use]
    pub fn from_parts(
        (n_items, dim): (usize, usize),
        words: &[u32],
        lengths: &[f32],
    ) -> Option<Self> {
        assert!(n_items < u32::MAX as usize, "{n_items} items are more than 32-bit ids can name");
        let per_item = dim.div_ceil(32);
        let fits = Some(words.len()) == n_items.checked_mul(per_item)
            && (lengths.is_empty() || lengths.len() == n_items)
            && lengths.iter().all(|length| length.is_finite());
        if !fits {
            return None;
        }
        let n_blocks = n_items.div_ceil(BLOCK);
        let mut table = Buffer::zeros(n_blocks * BLOCK * per_item);
        for (at, word) in words.iter().enumerate() {
            let (item, w) = (at / per_item, at % per_item);
            let to = 4 * ((item / BLOCK * per_item + w) * BLOCK + item % BLOCK);
            table.bytes_mut()[to..to + 4].copy_from_slice(&word.to_ne_bytes());
        }
        let mut lengths = lengths.to_vec();
        if !lengths.is_empty() {
            lengths.resize(n_blocks * BLOCK, 0.0);
        }
        Some(Self { n_items, dim, words: table, lengths })
    }

    /// The signs of all items, item by item.
    #[must_use]
    pub fn words(&self) -> Vec<u32> {
        let per_item = self.dim.div_ceil(32);
        let at = |item: usize, w: usize| self.word(item, w);
        (0..self.n_items).flat_map(|item| (0..per_item).map(move |w| at(item, w))).collect()
    }

    /// The length of each item divided by that of a vector of ones; none if signs alone count.
    #[must_use]
    pub fn lengths(&self) -> &[f32] {
        &self.lengths[..self.n_items.min(self.lengths.len())]
    }

    fn word(&self, item: usize, w: usize) -> u32 {
        let at = 4 * ((item / BLOCK * self.dim.div_ceil(32) + w) * BLOCK + item % BLOCK);
        let word = &self.words.bytes()[at..at + 4];
        u32::from_ne_bytes(word.try_into().expect("four bytes"))
    }

    fn prepare(&self, query: &[f32]) -> Prepared<'_> {
        assert!(query.len() == self.dim);
        Prepared { table: self, words: signs(query).map(|word| word as i32).collect() }
    }
}

/// The signs of a vector, 32 a word; bits beyond its end are 0.
pub fn signs(vector: &[f32]) -> impl Iterator<Item = u32> + '_ {
    vector.chunks(32).map(|part| {
        let bits = part.iter().enumerate();
        bits.fold(0, |word, (k, x)| word | u32::from(*x >= 0.0) << k)
    })
}

impl CodeTable for Hamming {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn bytes(&self) -> usize {
        self.words.bytes().len() + 4 * self.lengths.len()
    }

    fn n_numbers(&self) -> usize {
        self.n_items * self.dim + self.lengths().len()
    }

    fn decode(&self, item: usize, out: &mut [f32]) {
        assert!(item < self.n_items && out.len() == self.dim);
        let length = self.lengths.get(item).copied().unwrap_or(1.0);
        for (k, x) in out.iter_mut().enumerate() {
            let bit = self.word(item, k / 32) >> (k % 32) & 1;
            *x = if bit == 1 { length } else { -length };
        }
    }

    fn scores(&self, query: &[f32], out: &mut [f32]) {
        fill(&self.prepare(query), Places::all(self.n_items), out);
    }

    fn scan(&self, query: &[f32], found: &mut Found<'_>) {
        scan(&self.prepare(query), Places::all(self.n_items), found);
    }
}

/// The signs of a query.
struct Prepared<'a> {
    table: &'a Hamming,
    words: Vec<i32>,
}

impl Scores for Prepared<'_> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
    fn block<S: Simd, const NATIVE: bool>(&self, s: S, block: usize) -> [S::F; VECTORS] {
        let Hamming { words, lengths, dim, .. } = self.table;
        let bytes = 4 * BLOCK * self.words.len();
        let words = words.bytes()[block * bytes..][..bytes].as_ptr().cast::<i32>();
        let mut counts = [s.splat_int(0); VECTORS];
        for (w, query) in self.words.iter().enumerate() {
            let query = s.splat_int(*query);
            for v in 0..VECTORS {
                // SAFETY: the block has 64 of each of the query's words. The instruction is there if `NATIVE`.
                unsafe {
                    let word = s.load_int_ptr(words.add(w * BLOCK + v * LANES));
                    let differ = s.xor_int(word, query);
                    let count =
                        if NATIVE { s.count_bits_native(differ) } else { s.count_bits(differ) };
                    counts[v] = s.add_int(counts[v], count);
                }
            }
        }
        // Whole numbers: exact, FMA or not.
        let (dim, two) = (s.splat(*dim as f32), s.splat(2.0));
        let mut scores = [s.zero(); VECTORS];
        for v in 0..VECTORS {
            scores[v] = s.fnma(s.to_float(counts[v]), two, dim);
            if !lengths.is_empty() {
                scores[v] = s.mul(scores[v], s.load(&lengths[block * BLOCK + v * LANES..]));
            }
        }
        scores
    }
}
