//! Product quantisation (Jegou, Douze & Schmid, TPAMI 2011): a vector is cut into parts, and each part is replaced by one of 256 or 16
//! centres. A query makes one table of products with the centres for each part; an item's score is the sum of one number from
//! each table (asymmetric distance computation).
//!
//! **Lengths.** Centres are means, so a decoded vector is shorter than the item's, the more so the fewer parts there are, and an unpopular
//! item's more than a popular one's. One more byte an item, a multiple of one step, restores the length: the score is the sum times the
//! byte times the step. (A deviation from the paper, whose distances need no lengths.)
//!
//! **256 centres** are a byte a part, tables of `f32`, one look-up a part, added in the order of the parts.
//!
//! **16 centres** are half a byte, tables of 16 bytes that stay in registers: one shuffle looks 64 items up (Andre, Kermarrec & Le
//! Scouarnec, "Cache locality is not enough", VLDB 2015). Entries are rounded to bytes with one step for all tables, so that sums are of
//! whole numbers; a part adds at most half a step of error, and a step is 1/255 of the widest table.

use super::{BLOCK, CodeTable, Found, Places, Scores, VECTORS, fill, scan};
use crate::kernel::buffer::Buffer;
use crate::kernel::kmeans::{Clusters, kmeans, refine};
use crate::kernel::panels::Rows;
use crate::kernel::rng::Rng;
use crate::kernel::simd::{LANES, Simd};
use std::ops::Range;

/// A table of product codes.
pub struct Products {
    n_items: usize,
    dim: usize,
    parts: usize,
    /// 256 or 16.
    n_centres: usize,
    /// Part after part, `n_centres x length of the part`.
    centres: Vec<f32>,
    /// 256 centres: `[block][part][64]` bytes. 16 centres: `[block][two parts][64]` bytes, the first part in the lower half; byte
    /// 4 l + v is item 16 v + l, so that whole vectors of sums belong to consecutive items.
    codes: Buffer,
    lengths: Option<Lengths>,
}

/// How much longer than their decoded vectors the items are.
struct Lengths {
    /// Of an item whose byte is 1.
    step: f32,
    /// `[block][64]`, in the order of 16 centres' codes.
    bytes: Buffer,
}

/// More parts would overflow sums of 16 bits.
const MOST_PARTS: usize = 256;

impl Products {
    /// Fits centres to the items, and codes these. In parallel on rayon's current pool. `None` when some numbers are not finite or
    /// extreme, or there are more parts than dimensions or than 256.
    ///
    /// # Panics
    /// When there are neither 16 nor 256 centres.
    #[must_use]
    pub fn fit(
        items: Rows<'_>,
        parts: usize,
        n_centres: usize,
        rounds: usize,
        seed: u64,
    ) -> Option<Self> {
        let is_tame = (0..items.n()).all(|i| items.row(i).iter().all(|x| x.abs() < LARGEST));
        let mut table =
            Self::empty((items.n(), items.dim()), parts, n_centres).filter(|_| is_tame)?;
        for part in 0..parts {
            let points = table.columns(items, part);
            let rows = Rows::dense(&points, items.n(), table.range(part).len());
            let mut rng = Rng::keyed(seed, [part as u64]);
            table.take(part, kmeans(rows, n_centres, rounds, &mut rng));
        }
        Some(table)
    }

    /// Moves the centres to other vectors of the same items, and codes these.
    ///
    /// # Panics
    /// When the shape differs.
    pub fn refit(&mut self, items: Rows<'_>, rounds: usize) {
        assert!(items.n() == self.n_items && items.dim() == self.dim);
        for part in 0..self.parts {
            let points = self.columns(items, part);
            let rows = Rows::dense(&points, self.n_items, self.range(part).len());
            let centres = self.centres[self.centres_of(part)].to_vec();
            self.take(part, refine(rows, centres, rounds));
        }
    }

    /// Restores the lengths of these items, the ones that were coded, by a byte each.
    ///
    /// # Panics
    /// When the shape differs.
    pub fn restore_lengths(&mut self, items: Rows<'_>) {
        assert!(items.n() == self.n_items && items.dim() == self.dim);
        self.lengths = None; // so that vectors are decoded as they are
        let squared = |x: &[f32]| x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        let mut decoded = vec![0.0; self.dim];
        let ratios: Vec<f32> = (0..self.n_items)
            .map(|item| {
                self.decode(item, &mut decoded);
                let (own, now) = (squared(items.row(item)), squared(&decoded));
                if now > 0.0 { ((own / now).sqrt() as f32).min(MOST_LONGER) } else { 0.0 }
            })
            .collect();
        let step = ratios.iter().fold(0.0f32, |most, ratio| most.max(*ratio)) / 255.0;
        let mut bytes = self.no_lengths();
        for (item, ratio) in ratios.iter().enumerate() {
            bytes.bytes_mut()[place_of_length(item)] = (ratio / step).round() as u8; // 0 / 0: 0
        }
        self.lengths = Some(Lengths { step, bytes });
    }

    /// The step, and the words of the bytes, of restored lengths.
    #[must_use]
    pub fn lengths(&self) -> Option<(f32, Vec<u32>)> {
        self.lengths.as_ref().map(|lengths| (lengths.step, words(&lengths.bytes)))
    }

    /// With lengths of [`Products::lengths`]; `None` when they do not fit.
    #[must_use]
    pub fn with_lengths(mut self, step: f32, words: &[u32]) -> Option<Self> {
        let most = MOST_LONGER / 255.0;
        let mut bytes = self.no_lengths();
        if words.len() != bytes.bytes().len() / 4 || !(0.0..=most).contains(&step) {
            return None;
        }
        put(words, &mut bytes);
        self.lengths = Some(Lengths { step, bytes });
        Some(self)
    }

    /// Room for a byte for each place of every block.
    fn no_lengths(&self) -> Buffer {
        Buffer::zeros(self.n_items.div_ceil(BLOCK) * BLOCK / 4)
    }

    /// The scores of a block's items, by their lengths.
    #[inline(always)]
    fn lengthened<S: Simd>(
        &self,
        s: S,
        block: usize,
        mut scores: [S::F; VECTORS],
    ) -> [S::F; VECTORS] {
        let Some(lengths) = &self.lengths else { return scores };
        let words = &lengths.bytes.bytes()[block * BLOCK..][..BLOCK];
        // SAFETY: 64 bytes.
        let words = unsafe { s.load_int_ptr(words.as_ptr().cast()) };
        let (low, step) = (s.splat_int(0xff), s.splat(lengths.step));
        let bytes = [
            s.and_int(words, low),
            s.and_int(s.shr(words, 8), low),
            s.and_int(s.shr(words, 16), low),
            s.shr(words, 24),
        ];
        for (score, byte) in scores.iter_mut().zip(bytes) {
            *score = s.mul(*score, s.mul(s.to_float(byte), step));
        }
        scores
    }

    fn empty((n_items, dim): (usize, usize), parts: usize, n_centres: usize) -> Option<Self> {
        assert!(n_centres == 16 || n_centres == 256, "{n_centres} centres");
        assert!(n_items < u32::MAX as usize, "{n_items} items are more than 32-bit ids can name");
        if parts == 0 || parts > dim.min(MOST_PARTS) {
            return None;
        }
        let mut table = Self {
            n_items,
            dim,
            parts,
            n_centres,
            centres: vec![0.0; n_centres.checked_mul(dim)?],
            codes: Buffer::zeros(0),
            lengths: None,
        };
        table.codes = Buffer::zeros(n_items.div_ceil(BLOCK) * table.block_bytes() / 4);
        Some(table)
    }

    /// From [`Products::centres`] and [`Products::codes`]; `None` when they do not fit the shape.
    ///
    /// # Panics
    /// As [`Products::fit`].
    #[must_use]
    pub fn from_parts(
        (n_items, dim): (usize, usize),
        parts: usize,
        n_centres: usize,
        centres: &[f32],
        codes: &[u32],
    ) -> Option<Self> {
        let fits = Some(centres.len()) == n_centres.checked_mul(dim)
            && centres.iter().all(|x| x.abs() < LARGEST);
        let words = (n_items.div_ceil(BLOCK)).checked_mul(words_of_block(parts, n_centres))?;
        if !fits || codes.len() != words {
            return None;
        }
        let mut read = Self::empty((n_items, dim), parts, n_centres)?;
        read.centres.copy_from_slice(centres);
        put(codes, &mut read.codes);
        Some(read)
    }

    /// All centres: part after part, a centre after the other.
    #[must_use]
    pub fn centres(&self) -> &[f32] {
        &self.centres
    }

    /// All codes, in words.
    #[must_use]
    pub fn codes(&self) -> Vec<u32> {
        words(&self.codes)
    }

    /// Number of parts.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Dimensions of a part.
    fn range(&self, part: usize) -> Range<usize> {
        part * self.dim / self.parts..(part + 1) * self.dim / self.parts
    }

    fn centres_of(&self, part: usize) -> Range<usize> {
        let range = self.range(part);
        self.n_centres * range.start..self.n_centres * range.end
    }

    /// The items' numbers of a part.
    fn columns(&self, items: Rows<'_>, part: usize) -> Vec<f32> {
        let range = self.range(part);
        (0..items.n()).flat_map(|i| &items.row(i)[range.clone()]).copied().collect()
    }

    fn take(&mut self, part: usize, clusters: Clusters) {
        let range = self.centres_of(part);
        self.centres[range].copy_from_slice(&clusters.centres);
        for (item, centre) in clusters.of_point.iter().enumerate() {
            let (at, shift) = self.place(item, part);
            let byte = &mut self.codes.bytes_mut()[at];
            let mask = (self.n_centres - 1) as u8;
            *byte = *byte & !(mask << shift) | (*centre as u8) << shift;
        }
    }

    fn block_bytes(&self) -> usize {
        4 * words_of_block(self.parts, self.n_centres)
    }

    /// The byte of a code, and by how many bits it is shifted.
    fn place(&self, item: usize, part: usize) -> (usize, u32) {
        let (block, lane) = (item / BLOCK * self.block_bytes(), item % BLOCK);
        if self.n_centres == 256 {
            (block + part * BLOCK + lane, 0)
        } else {
            (block + part / 2 * BLOCK + byte_of(lane), 4 * (part % 2) as u32)
        }
    }

    /// The products of a query's parts with their centres, `parts x n_centres`.
    fn tables(&self, query: &[f32]) -> Vec<f32> {
        assert!(query.len() == self.dim);
        let mut tables = Vec::with_capacity(self.parts * self.n_centres);
        for part in 0..self.parts {
            let query = &query[self.range(part)];
            let centres = self.centres[self.centres_of(part)].chunks_exact(query.len());
            tables.extend(centres.map(|centre| {
                let pairs = query.iter().zip(centre);
                pairs.fold(0.0f32, |sum, (q, c)| sum + q * c)
            }));
        }
        tables
    }

    fn bytes_of(&self, block: usize) -> &[u8] {
        &self.codes.bytes()[block * self.block_bytes()..][..self.block_bytes()]
    }

    fn of_bytes(&self, query: &[f32]) -> OfBytes<'_> {
        OfBytes { table: self, tables: self.tables(query) }
    }

    fn of_halves(&self, query: &[f32]) -> OfHalves<'_> {
        let tables = self.tables(query);
        let ends = |table: &[f32]| {
            let ends = (f32::INFINITY, f32::NEG_INFINITY);
            table.iter().fold(ends, |(low, high), x| (low.min(*x), high.max(*x)))
        };
        let widest = tables.chunks_exact(16).fold(0.0f32, |widest, table| {
            let (low, high) = ends(table);
            widest.max(high - low)
        });
        let step = widest / 255.0;
        // Otherwise the query is 0 or not finite.
        let is_usable =
            step > 0.0 && (1.0 / step).is_finite() && tables.iter().all(|x| x.is_finite());
        let (mut bytes, mut base) = (vec![[0u8; 16]; self.parts.next_multiple_of(2)], 0.0f32);
        if is_usable {
            for (bytes, table) in bytes.iter_mut().zip(tables.chunks_exact(16)) {
                let (low, _) = ends(table);
                base += low;
                for (byte, x) in bytes.iter_mut().zip(table) {
                    *byte = ((x - low) / step).round() as u8;
                }
            }
        }
        OfHalves { table: self, tables: bytes, base, step: if is_usable { step } else { 0.0 } }
    }
}

/// Larger numbers could give scores that are not finite.
const LARGEST: f32 = 1e15;

/// Words of a block of 64 items.
fn words_of_block(parts: usize, n_centres: usize) -> usize {
    BLOCK / 4 * if n_centres == 256 { parts } else { parts.div_ceil(2) }
}

/// More would be for vectors next to 0, and would make the steps coarse for all others.
const MOST_LONGER: f32 = 4.0;

/// The byte of an item of a block where whole vectors of 16 items are the same bytes of 16 words.
fn byte_of(lane: usize) -> usize {
    lane % LANES * 4 + lane / LANES
}

fn place_of_length(item: usize) -> usize {
    item / BLOCK * BLOCK + byte_of(item % BLOCK)
}

fn words(bytes: &Buffer) -> Vec<u32> {
    let words = bytes.bytes().chunks_exact(4);
    words.map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes"))).collect()
}

fn put(words: &[u32], bytes: &mut Buffer) {
    for (to, word) in bytes.bytes_mut().chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
}

impl CodeTable for Products {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn bytes(&self) -> usize {
        let lengths = self.lengths.as_ref().map_or(0, |lengths| lengths.bytes.bytes().len() + 4);
        self.codes.bytes().len() + 4 * self.centres.len() + lengths
    }

    fn n_numbers(&self) -> usize {
        let lengths = if self.lengths.is_some() { self.n_items + 1 } else { 0 };
        self.n_items * self.parts + self.centres.len() + lengths
    }

    fn decode(&self, item: usize, out: &mut [f32]) {
        assert!(item < self.n_items && out.len() == self.dim);
        for part in 0..self.parts {
            let (at, shift) = self.place(item, part);
            let code = usize::from(self.codes.bytes()[at] >> shift) & (self.n_centres - 1);
            let range = self.range(part);
            let centres = &self.centres[self.centres_of(part)];
            out[range.clone()].copy_from_slice(&centres[code * range.len()..][..range.len()]);
        }
        if let Some(lengths) = &self.lengths {
            let times = f32::from(lengths.bytes.bytes()[place_of_length(item)]) * lengths.step;
            out.iter_mut().for_each(|x| *x *= times);
        }
    }

    fn scores(&self, query: &[f32], out: &mut [f32]) {
        let places = Places::all(self.n_items);
        match self.n_centres {
            256 => fill(&self.of_bytes(query), places, out),
            _ => fill(&self.of_halves(query), places, out),
        }
    }

    fn scan(&self, query: &[f32], found: &mut Found<'_>) {
        let places = Places::all(self.n_items);
        match self.n_centres {
            256 => scan(&self.of_bytes(query), places, found),
            _ => scan(&self.of_halves(query), places, found),
        }
    }
}

/// A query's tables of 256.
struct OfBytes<'a> {
    table: &'a Products,
    tables: Vec<f32>,
}

impl Scores for OfBytes<'_> {
    #[inline(always)]
    fn block<S: Simd, const NATIVE: bool>(&self, s: S, block: usize) -> [S::F; VECTORS] {
        let mut out = [0.0f32; BLOCK];
        let parts = self.table.bytes_of(block).chunks_exact(BLOCK);
        for (codes, table) in parts.zip(self.tables.chunks_exact(256)) {
            let table: &[f32; 256] = table.first_chunk().expect("256 centres");
            for (out, code) in out.iter_mut().zip(codes) {
                *out += table[usize::from(*code)];
            }
        }
        let mut scores = [s.zero(); VECTORS];
        for (score, out) in scores.iter_mut().zip(out.chunks_exact(LANES)) {
            *score = s.load(out);
        }
        self.table.lengthened(s, block, scores)
    }
}

/// A query's tables of 16, in bytes.
struct OfHalves<'a> {
    table: &'a Products,
    tables: Vec<[u8; 16]>,
    /// The sum of the tables' smallest numbers.
    base: f32,
    /// What a byte counts.
    step: f32,
}

impl Scores for OfHalves<'_> {
    #[inline(always)]
    fn block<S: Simd, const NATIVE: bool>(&self, s: S, block: usize) -> [S::F; VECTORS] {
        let low = s.splat_int(0x0f0f_0f0f);
        // The words of bytes as they are, and their second and fourth bytes: the first without the second, shifted back, has
        // the sums of the first and third, in two halves of 16 bits each.
        let (mut all, mut odd) = (s.splat_int(0), s.splat_int(0));
        let pairs = self.table.bytes_of(block).chunks_exact(BLOCK);
        for (codes, tables) in pairs.zip(self.tables.chunks_exact(2)) {
            // SAFETY: 64 bytes.
            let codes = unsafe { s.load_int_ptr(codes.as_ptr().cast()) };
            let first = s.lookup_bytes(&tables[0], s.and_int(codes, low));
            let second = s.lookup_bytes(&tables[1], s.and_int(s.shr(codes, 4), low));
            all = s.add_int(all, s.add_int(first, second));
            odd = s.add_int(odd, s.add_int(s.shr_halves(first, 8), s.shr_halves(second, 8)));
        }
        let even = s.sub_int(all, s.shl(odd, 8));
        let half = s.splat_int(0xffff);
        let sums = [s.and_int(even, half), s.and_int(odd, half), s.shr(even, 16), s.shr(odd, 16)];
        let (base, step) = (s.splat(self.base), s.splat(self.step));
        let mut scores = [s.zero(); VECTORS];
        for (score, sum) in scores.iter_mut().zip(sums) {
            *score = s.add(s.mul(s.to_float(sum), step), base);
        }
        self.table.lengthened(s, block, scores)
    }
}
