//! Queries in the layout of the scan, and the error bounds of its scores.

use super::{Bounds, Narrow, Width, up};
use crate::kernel::panels::Rows;
use crate::kernel::simd::{LANES, Simd};

/// A block of queries in groups, as a tile reads them.
#[derive(Default)]
pub(super) struct Queries {
    /// Queries in a group; the last one is filled up with queries that nothing answers.
    pub group: usize,
    /// Bytes: `[group of queries][dimension / 4][query]` words of four bytes. Halves: `[group of
    /// queries][dimension][query]` bits of `f32`.
    pub words: Vec<i32>,
    /// Words of a query.
    pub n_words: usize,
    /// Bytes: what the 128 that was added to each byte of an item adds to a sum. Halves: 0.
    pub offsets: Vec<i32>,
    pub constants: Vec<Constants>,
}

/// Of one query.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Constants {
    /// 1 / t.
    per_unit: f32,
    /// What an item's error may add: (1 + roundings) |q| / t.
    by_error: f32,
    /// What an item's length may add: (|f| + roundings |q|) / t.
    by_length: f32,
    /// |q| itself.
    pub norm: f64,
    /// Whether the bounds hold; where not, the scan finds nothing.
    pub is_tame: bool,
}

/// The largest byte of a query: see [`Simd::dot4`].
const LARGEST: f64 = 64.0;

impl Queries {
    pub fn pack(
        &mut self,
        queries: Rows<'_>,
        range: std::ops::Range<usize>,
        group: usize,
        items: &Narrow,
    ) {
        let n = range.len().next_multiple_of(group);
        self.group = group;
        self.n_words = match items.width {
            Width::Half => items.dim,
            Width::Byte => items.dim.div_ceil(4),
        };
        self.words.clear();
        self.words.resize(n * self.n_words, 0);
        self.offsets.clear();
        self.offsets.resize(n, 0);
        self.constants.clear();
        self.constants.resize(n, Constants::default());
        for (i, row) in range.enumerate() {
            self.put(i, queries.row(row), items);
        }
    }

    fn put(&mut self, i: usize, query: &[f32], items: &Narrow) {
        let columns = query.iter().zip(&items.column_scales);
        let scaled: Vec<f64> = columns.map(|(x, scale)| f64::from(*x) * scale).collect();
        let length = scaled.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !items.is_tame(length) {
            return;
        }
        let group = self.group;
        let to = &mut self.words[i / group * group * self.n_words..][..group * self.n_words];
        // Twice as many roundings as numbers in a chain without FMA, and some to spare.
        let mut roundings = (2 * items.dim + 64) as f64 * 2f64.powi(-24);
        let (unit, error) = match items.width {
            Width::Half => {
                // A length of 2^10..2^11: units are small relative to the sums.
                let unit = (length.log2().floor() - 10.0).exp2();
                for (k, x) in scaled.iter().enumerate() {
                    to[k * group + i % group] = ((x / unit) as f32).to_bits() as i32;
                }
                roundings *= 2.0; // the sum that is compared is rounded too
                (unit, 0.0)
            }
            Width::Byte => {
                let largest = scaled.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
                let unit = largest / LARGEST;
                let mut error = 0.0;
                for (k, x) in scaled.iter().enumerate() {
                    let kept = (x / unit).round().clamp(-LARGEST, LARGEST);
                    error += (x / unit - kept) * (x / unit - kept);
                    to[k / 4 * group + i % group] |= i32::from(kept as i8 as u8) << (8 * (k % 4));
                    self.offsets[i] += 128 * kept as i32;
                }
                (unit, error.sqrt())
            }
        };
        self.constants[i] = Constants {
            per_unit: (1.0 / unit) as f32,
            by_error: up((1.0 + roundings) * length / unit),
            by_length: up(error + roundings * length / unit),
            norm: super::norm(query),
            is_tame: true,
        };
    }
}

impl Constants {
    /// What the sums of a query with the items of 16 panels, the first of which is `first`, must reach for a
    /// score to reach `bar`; never too high. Where there is no bar yet (NaN) it is NaN.
    #[inline(always)]
    pub fn thresholds<S: Simd>(&self, s: S, bar: f32, bounds: &Bounds, first: usize) -> S::F {
        let panels = first..first + LANES;
        let bar = s.mul(s.splat(bar * self.per_unit), s.load(&bounds.per_unit[panels.clone()]));
        let errors = s.mul(s.splat(self.by_error), s.load(&bounds.error[panels.clone()]));
        let may_add = s.fma(s.splat(self.by_length), s.load(&bounds.length[panels]), errors);
        // Each of these few roundings is at most 2^-24 of what it rounds; the 1 is for the rounding to a
        // whole number, and much more than what vanishes below the smallest number.
        let spare = s.fma(s.abs(bar), s.splat(1e-6), s.splat(1.0));
        s.sub(s.sub(bar, spare), s.mul(may_add, s.splat(1.00001)))
    }
}
