//! Vectors of whole numbers of 1, 2, 3, 4, 6 or 8 bits, with a scale for each item.
//!
//! A code u of b bits stands for u - 2^(b-1) times the scale, so for b = 4 for -7..=7; with one bit for -1 and 1, with two for -3, -1,
//! 1 and 3. The query is rounded to whole numbers of 14 bits, two bytes `128 h + l`, whose error is far below that of the
//! codes, so that sums of products are exact. A score is `scale * unit * sum`.
//!
//! **Layout.** A code is cut into planes of 8, 4, 2 or 1 bits (6 = 4 + 2, 3 = 2 + 1). A word of a plane holds four dimensions in
//! its four bytes, and 8 / width such groups of four one above the other: `(word >> width * group) & mask` has one code in
//! each byte, as [`Simd::dot4`] takes it. So codes of 4 bits take two shifts for eight dimensions of 16 items.

use super::{BLOCK, CodeTable, Found, Places, Scores, VECTORS, fill, scan};
use crate::kernel::buffer::Buffer;
use crate::kernel::panels::Rows;
use crate::kernel::simd::{LANES, Simd};
use rayon::prelude::*;

/// The numbers of bits that a code may have.
pub const BITS: [u32; 6] = [1, 2, 3, 4, 6, 8];

/// Sums of products must fit into 32 bits.
pub const MOST_DIMENSIONS: usize = 2048;

/// Which scale an item gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The one with the least squared error.
    Nearest,
    /// The one with which the decoded vector is as long as the true one.
    Length,
}

/// A table of whole numbers.
pub struct Ints {
    bits: u32,
    n_items: usize,
    dim: usize,
    /// `[block][word][64]`, the planes of a block one after the other.
    words: Buffer,
    /// One for each item, 0 for the padding of the last block.
    scales: Vec<f32>,
}

/// The widths of the planes of a code, lowest bits first; 0 where there is no second one.
const fn planes(bits: u32) -> [u32; 2] {
    match bits {
        8 => [8, 0],
        6 => [4, 2],
        4 => [4, 0],
        3 => [2, 1],
        2 => [2, 0],
        _ => [1, 0],
    }
}

/// What codes stand for: `step * u - offset`.
const fn meaning(bits: u32) -> (i32, i32) {
    match bits {
        1 => (2, 1),
        2 => (2, 3),
        _ => (1, 1 << (bits - 1)),
    }
}

/// Words of a plane for vectors of `dim`.
fn words_of(width: u32, dim: usize) -> usize {
    if width == 0 { 0 } else { dim.div_ceil(4 * 8 / width as usize) }
}

/// The value that is nearest to `x`, in units of the scale, and whether `x` is within the range of the codes.
#[inline(always)]
fn nearest(x: f32, bits: u32) -> (f32, bool) {
    let (step, offset) = meaning(bits);
    let (step, offset) = (step as f32, offset as f32);
    let most = step * ((1u32 << bits) - 1) as f32 - offset;
    // Halves away from zero: a 0 of one bit is +1.
    let value = ((x + offset) / step + 0.5).floor() * step - offset;
    (value.clamp(-most, most), x.abs() <= most + 0.5 * step)
}

/// Replaces a vector by what its code stands for; returns the scale. `inside(k, whether)` is told whether number k was within the
/// range of the codes: where it was not, its value does not follow it.
///
/// # Panics
/// When `bits` is none of [`BITS`].
pub fn quantise(
    vector: &mut [f32],
    bits: u32,
    scale: Scale,
    inside: impl FnMut(usize, bool),
) -> f32 {
    let scale = to_units(vector, bits, scale, inside);
    vector.iter_mut().for_each(|x| *x *= scale);
    scale
}

/// Replaces a vector by the values of its code, in units of the scale that is returned; 0 for zeros.
fn to_units(
    vector: &mut [f32],
    bits: u32,
    scale: Scale,
    mut inside: impl FnMut(usize, bool),
) -> f32 {
    assert!(BITS.contains(&bits), "codes of {bits} bits");
    let largest = vector.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        vector.iter_mut().for_each(|x| *x = nearest(0.0, bits).0);
        return 0.0;
    }
    let (step, offset) = meaning(bits);
    let most = (step * ((1 << bits) - 1) - offset) as f32;
    let moments = |scale: f32| {
        let (mut product, mut square) = (0.0f64, 0.0f64);
        for x in vector.iter() {
            let value = f64::from(nearest(*x / scale, bits).0);
            product += value * f64::from(*x);
            square += value * value;
        }
        (product, square)
    };
    // Given the codes, the error is least at the scale product / square, and then smaller by product^2 / square than that
    // of zeros. Codes of few bits gain by cutting the largest numbers off.
    // One bit has the same codes at every scale.
    let cuts = if bits > 4 || bits == 1 { 1 } else { CUTS };
    let (mut unit, mut fitted, mut saved) = (0.0, 0.0, f64::NEG_INFINITY);
    for cut in 0..cuts {
        let scale = largest / most * (1.0 - cut as f32 / (CUTS + 4) as f32);
        let (product, square) = moments(scale);
        if product * product / square > saved {
            (unit, fitted, saved) = (scale, product / square, product * product / square);
        }
    }
    if bits == 1 {
        unit = fitted as f32; // the mean of |x|; decides what is within the range
    }
    let square_of_vector = vector.iter().fold(0.0, |sum, x| sum + f64::from(*x) * f64::from(*x));
    let mut square = 0.0;
    for (k, x) in vector.iter_mut().enumerate() {
        let (value, is_inside) = nearest(*x / unit, bits);
        inside(k, is_inside);
        *x = value;
        square += f64::from(value) * f64::from(value);
    }
    match scale {
        Scale::Nearest => fitted as f32,
        Scale::Length => (square_of_vector / square).sqrt() as f32,
    }
}

/// Scales that are tried for codes of few bits: from the one at which the largest number just fits down to a third of it.
const CUTS: usize = 12;

impl Ints {
    /// Packs vectors, in parallel on rayon's current pool. `None` when some numbers are not finite (or so large that their
    /// squares are not), or there are more than [`MOST_DIMENSIONS`].
    ///
    /// # Panics
    /// When `bits` is none of [`BITS`], or there are more items than 32-bit ids can name.
    #[must_use]
    pub fn pack(items: Rows<'_>, bits: u32, scale: Scale) -> Option<Self> {
        let (n, dim) = (items.n(), items.dim());
        let mut packed = Self::empty(n, dim, bits)?;
        let bytes = packed.block_bytes();
        let (step, offset) = meaning(bits);
        let blocks = packed.words.bytes_mut().par_chunks_mut(bytes.max(1));
        let are_finite = blocks.zip(packed.scales.par_chunks_mut(BLOCK)).enumerate().map(
            |(block, (words, scales))| {
                let mut vector = vec![0.0; dim];
                scales.iter_mut().enumerate().take(n - block * BLOCK).all(|(lane, to)| {
                    vector.copy_from_slice(items.row(block * BLOCK + lane));
                    if !vector.iter().all(|x| x.abs() < LARGEST) {
                        return false;
                    }
                    *to = to_units(&mut vector, bits, scale, |_, _| ());
                    for (k, value) in vector.iter().enumerate() {
                        put(words, (bits, dim), lane, k, ((*value as i32 + offset) / step) as u32);
                    }
                    to.is_finite()
                })
            },
        );
        are_finite.reduce(|| true, |a, b| a && b).then_some(packed)
    }

    fn empty(n_items: usize, dim: usize, bits: u32) -> Option<Self> {
        assert!(BITS.contains(&bits), "codes of {bits} bits");
        assert!(n_items < u32::MAX as usize, "{n_items} items are more than 32-bit ids can name");
        if dim > MOST_DIMENSIONS {
            return None;
        }
        let n_blocks = n_items.div_ceil(BLOCK);
        let words = n_blocks * BLOCK * words_of_item(bits, dim);
        Some(Self {
            bits,
            n_items,
            dim,
            words: Buffer::zeros(words),
            scales: vec![0.0; n_blocks * BLOCK],
        })
    }

    /// From [`Ints::words`] and [`Ints::scales`]; `None` when they do not fit the shape.
    ///
    /// # Panics
    /// As [`Ints::pack`].
    #[must_use]
    pub fn from_parts(
        (n_items, dim): (usize, usize),
        bits: u32,
        words: &[u32],
        scales: &[f32],
    ) -> Option<Self> {
        let n_words =
            words_of_item(bits, dim).checked_mul(n_items.checked_next_multiple_of(BLOCK)?)?;
        let finite = scales.iter().all(|scale| scale.is_finite());
        if dim > MOST_DIMENSIONS || words.len() != n_words || scales.len() != n_items || !finite {
            return None;
        }
        let mut read = Self::empty(n_items, dim, bits)?;
        for (to, word) in read.words.bytes_mut().chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        read.scales[..n_items].copy_from_slice(scales);
        Some(read)
    }

    /// All codes.
    #[must_use]
    pub fn words(&self) -> Vec<u32> {
        let words = self.words.bytes().chunks_exact(4);
        words.map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes"))).collect()
    }

    /// The scale of each item.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales[..self.n_items]
    }

    /// Bits of a code.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    fn block_bytes(&self) -> usize {
        4 * BLOCK * words_of_item(self.bits, self.dim)
    }

    fn prepare(&self, query: &[f32]) -> Prepared<'_> {
        assert!(query.len() == self.dim);
        let largest = query.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let unit = largest / WIDEST as f32;
        let (mut high, mut low) = (vec![0i32; self.dim.div_ceil(4)], vec![0; self.dim.div_ceil(4)]);
        let mut total = 0;
        // Otherwise the query is 0, too small or not finite: all scores are 0.
        let is_usable =
            unit > 0.0 && (1.0 / unit).is_finite() && query.iter().all(|x| x.is_finite());
        if is_usable {
            for (k, x) in query.iter().enumerate() {
                let whole = ((x / unit).round() as i32).clamp(-WIDEST, WIDEST);
                let first = (whole + 64) >> 7;
                high[k / 4] |= i32::from(first as i8 as u8) << (8 * (k % 4));
                low[k / 4] |= i32::from((whole - 128 * first) as i8 as u8) << (8 * (k % 4));
                total += whole;
            }
        }
        let (_, offset) = meaning(self.bits);
        Prepared {
            table: self,
            high,
            low,
            subtract: total * offset,
            unit: if is_usable { unit } else { 0.0 },
        }
    }

    /// The same scan over some blocks, and items that are not in the order of their numbers.
    pub(super) fn scan_places(&self, query: &[f32], places: Places<'_>, found: &mut Found<'_>) {
        scan(&self.prepare(query), places, found);
    }

    /// The scores of the items at these places.
    pub(super) fn fill_places(&self, query: &[f32], places: Places<'_>, out: &mut [f32]) {
        fill(&self.prepare(query), places, out);
    }
}

/// Squares of smaller numbers are finite, and so are scores.
const LARGEST: f32 = 1e15;

/// The largest whole number of a query: `128 * 64 + 63` would be one more byte.
const WIDEST: i32 = 8191;

/// Words of an item in all planes.
fn words_of_item(bits: u32, dim: usize) -> usize {
    planes(bits).map(|width| words_of(width, dim)).iter().sum()
}

/// The byte of a block in which a code's bits of a plane are, and by how many bits they are shifted. `from` is the plane's
/// first word.
fn place(width: u32, from: usize, lane: usize, k: usize) -> (usize, u32) {
    let (group, per_word) = (k / 4, 8 / width as usize);
    let word = from + group / per_word;
    // Words are in the processor's order of bytes, which is little-endian wherever this runs: see `Simd::dot4`.
    ((word * BLOCK + lane) * 4 + k % 4, width * (group % per_word) as u32)
}

/// Writes the code of number `k` of the item at `lane` of a block of zeros.
fn put(block: &mut [u8], (bits, dim): (u32, usize), lane: usize, k: usize, code: u32) {
    let [first, second] = planes(bits);
    let (byte, shift) = place(first, 0, lane, k);
    block[byte] |= ((code & ((1 << first) - 1)) << shift) as u8;
    if second > 0 {
        let (byte, shift) = place(second, words_of(first, dim), lane, k);
        block[byte] |= ((code >> first) << shift) as u8;
    }
}

/// Reads what [`put`] wrote.
fn get(block: &[u8], (bits, dim): (u32, usize), lane: usize, k: usize) -> u32 {
    let [first, second] = planes(bits);
    let (byte, shift) = place(first, 0, lane, k);
    let low = u32::from(block[byte]) >> shift & ((1 << first) - 1);
    if second == 0 {
        return low;
    }
    let (byte, shift) = place(second, words_of(first, dim), lane, k);
    low | (u32::from(block[byte]) >> shift & ((1 << second) - 1)) << first
}

impl CodeTable for Ints {
    fn n_items(&self) -> usize {
        self.n_items
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn bytes(&self) -> usize {
        self.words.bytes().len() + 4 * self.scales.len()
    }

    fn n_numbers(&self) -> usize {
        self.n_items * (self.dim + 1)
    }

    fn decode(&self, item: usize, out: &mut [f32]) {
        assert!(item < self.n_items && out.len() == self.dim);
        let (step, offset) = meaning(self.bits);
        let (bytes, scale) = (self.block_bytes(), self.scales[item]);
        let block = &self.words.bytes()[item / BLOCK * bytes..][..bytes];
        for (k, x) in out.iter_mut().enumerate() {
            let code = get(block, (self.bits, self.dim), item % BLOCK, k);
            *x = scale * (step * code as i32 - offset) as f32;
        }
    }

    fn scores(&self, query: &[f32], out: &mut [f32]) {
        self.fill_places(query, Places::all(self.n_items), out);
    }

    fn scan(&self, query: &[f32], found: &mut Found<'_>) {
        self.scan_places(query, Places::all(self.n_items), found);
    }
}

/// A query in whole numbers.
struct Prepared<'a> {
    table: &'a Ints,
    /// Four dimensions a word.
    high: Vec<i32>,
    low: Vec<i32>,
    /// The offset of the codes times the sum of the query.
    subtract: i32,
    unit: f32,
}

impl Scores for Prepared<'_> {
    #[inline(always)]
    fn block<S: Simd, const NATIVE: bool>(&self, s: S, block: usize) -> [S::F; VECTORS] {
        let sums = match self.table.bits {
            1 => self.sums::<S, NATIVE, 1>(s, block),
            2 => self.sums::<S, NATIVE, 2>(s, block),
            3 => self.sums::<S, NATIVE, 3>(s, block),
            4 => self.sums::<S, NATIVE, 4>(s, block),
            6 => self.sums::<S, NATIVE, 6>(s, block),
            _ => self.sums::<S, NATIVE, 8>(s, block),
        };
        let scales = &self.table.scales[block * BLOCK..][..BLOCK];
        let mut scores = [s.zero(); VECTORS];
        for (v, sum) in sums.into_iter().enumerate() {
            let score = s.mul(s.to_float(sum), s.splat(self.unit));
            scores[v] = s.mul(score, s.load(&scales[v * LANES..]));
        }
        scores
    }
}

impl Prepared<'_> {
    /// The sums of products with the items of a block.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // plain counted loops unroll into registers
    fn sums<S: Simd, const NATIVE: bool, const BITS: u32>(
        &self,
        s: S,
        block: usize,
    ) -> [S::I; VECTORS] {
        let bytes = self.table.block_bytes();
        let words = self.table.words.bytes()[block * bytes..][..bytes].as_ptr().cast::<i32>();
        let second = words_of(planes(BITS)[0], self.table.dim);
        let mut high = [s.splat_int(0); VECTORS];
        let mut low = [s.splat_int(0); VECTORS];
        for (group, (h, l)) in self.high.iter().zip(&self.low).enumerate() {
            let (h, l) = (s.splat_int(*h), s.splat_int(*l));
            for v in 0..VECTORS {
                // SAFETY: the block has the words of both planes for each of the groups. The instruction is there
                // if `NATIVE`.
                unsafe {
                    let code = codes::<S, BITS>(s, words.add(v * LANES), second, group);
                    if NATIVE {
                        high[v] = s.dot4_vnni(high[v], code, h);
                        low[v] = s.dot4_vnni(low[v], code, l);
                    } else {
                        high[v] = s.dot4(high[v], code, h);
                        low[v] = s.dot4(low[v], code, l);
                    }
                }
            }
        }
        let subtract = s.splat_int(self.subtract);
        for v in 0..VECTORS {
            let sum = s.add_int(s.shl(high[v], 7), low[v]);
            let sum = if meaning(BITS).0 == 2 { s.add_int(sum, sum) } else { sum };
            high[v] = s.sub_int(sum, subtract);
        }
        high
    }
}

/// The codes of four dimensions of 16 items.
///
/// # Safety
/// `words` is in a block that has this group in its planes, of which the second begins at word `second`.
#[inline(always)]
unsafe fn codes<S: Simd, const BITS: u32>(
    s: S,
    words: *const i32,
    second: usize,
    group: usize,
) -> S::I {
    // SAFETY: the caller's promise.
    unsafe {
        match BITS {
            8 => s.load_int_ptr(words.add(group * BLOCK)),
            6 => s.or_int(
                field::<S, 4>(s, words, group),
                s.shl(field::<S, 2>(s, words.add(second * BLOCK), group), 4),
            ),
            4 => field::<S, 4>(s, words, group),
            3 => s.or_int(
                field::<S, 2>(s, words, group),
                s.shl(field::<S, 1>(s, words.add(second * BLOCK), group), 2),
            ),
            2 => field::<S, 2>(s, words, group),
            _ => field::<S, 1>(s, words, group),
        }
    }
}

/// Their bits in one plane.
///
/// # Safety
/// The plane has the group.
#[inline(always)]
unsafe fn field<S: Simd, const WIDTH: u32>(s: S, plane: *const i32, group: usize) -> S::I {
    let per_word = 8 / WIDTH as usize;
    // SAFETY: the caller's promise.
    let word = unsafe { s.load_int_ptr(plane.add(group / per_word * BLOCK)) };
    let mask = s.splat_int(0x0101_0101 * ((1 << WIDTH) - 1));
    s.and_int(s.shr(word, WIDTH * (group % per_word) as u32), mask)
}
