//! Item tables of half-precision and of 8-bit numbers, for finding the few candidates that need an exact score.
//!
//! A pass over a large `f32` table is bound by memory bandwidth, and a table of bytes has a quarter of the
//! size. Its scores are approximate, but **their error is bounded**: [`search`] rescores with the full
//! vectors every item that could still be among the best, and its result equals that of
//! [`top_k`](super::topk::top_k) bit for bit.
//!
//! **The bound.** An item's vector `v` is kept as `s c + e`, where `c` are the numbers of the table, `s` the scale of its
//! panel of 32, and the length of `e` is measured when it is packed; a query's `q` as `t b + f`. By Cauchy and Schwarz
//! `|q v - t s (b c)| <= |q| |e| + |f| |s c|`, and the computed `f32` score is within `d` roundings of `q v`. So an item is
//! skipped only if `t s (b c)` is so far below the current k-th best score that no rounding error could close the gap.
//!
//! **Bytes** are whole numbers in -127..=127, a query's in -64..=64, so that sums of their products are exact on every
//! instruction set ([`Simd::dot4`](super::simd::Simd::dot4)). Columns are divided by powers of two near their root mean
//! square first, and the query is multiplied by them: otherwise a bias column with large values would cost the other
//! columns their precision. **Halves** are IEEE binary16, scaled by a power of two a panel, so that none overflows.
//!
//! Panels are in the order [`PanelOrder::Norm`](super::panels::PanelOrder): by decreasing length.

mod query;
mod scan;
mod shortlist;

pub use scan::{NarrowLists, search};

use super::buffer::Buffer;
use super::panels::{PANEL, Rows};
use super::simd::LANES;
use rayon::prelude::*;

/// The width of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// Two bytes, IEEE binary16.
    Half,
    /// One byte.
    Byte,
}

/// An item table of narrow numbers, packed for [`search`].
pub struct Narrow {
    width: Width,
    /// Halves: `[panel][dimension][32]`. Bytes: `[panel][dimension / 4][32][4]`, 128 added to each.
    data: Buffer,
    /// The item at each position; `u32::MAX` for the padding of the last panel.
    ids: Vec<u32>,
    bounds: Bounds,
    /// The divisor of each column: powers of two; all 1 for halves.
    column_scales: Vec<f64>,
    /// The smallest scale of a panel.
    least_unit: f64,
    /// No vector is longer, columns divided.
    longest: f64,
    n_items: usize,
    dim: usize,
}

/// What is known of each panel, padded to a multiple of 16 panels: lengths are those of the largest item, rounded up.
#[derive(Default)]
struct Bounds {
    /// 1 / s: what a number of the table is of a true one.
    per_unit: Vec<f32>,
    /// |e| / s, columns divided.
    error: Vec<f32>,
    /// |c|, columns divided.
    length: Vec<f32>,
    /// |v| itself.
    norm: Vec<f32>,
}

/// Largest numbers of an item table with which nothing overflows or vanishes.
const LARGEST: std::ops::Range<f64> = 1e-15..1e15;
/// So that sums of products of bytes stay within 2^30.
const MOST_DIMENSIONS: usize = 32_768;
/// How much smaller than the largest panel's another one's scale may be.
const SMALLEST: f64 = 1e-6;

impl Narrow {
    /// Packs all items, in parallel on rayon's current pool. `None` if that is impossible: the table is
    /// empty, some numbers are not finite, or the longest vector is so short or so long that products would
    /// underflow or overflow.
    ///
    /// # Panics
    /// When there are more items than 32-bit ids can name.
    #[must_use]
    pub fn pack(items: Rows<'_>, width: Width) -> Option<Self> {
        let (n, dim) = (items.n(), items.dim());
        assert!(n < u32::MAX as usize, "{n} items are more than 32-bit ids can name");
        if n == 0 || dim == 0 || dim > MOST_DIMENSIONS {
            return None;
        }
        let norms: Vec<f64> = (0..n).into_par_iter().map(|i| norm(items.row(i))).collect();
        // A sum of squares that is finite has finite parts.
        let longest = norms.iter().fold(0.0, |a: f64, &b| if b > a || b.is_nan() { b } else { a });
        if !LARGEST.contains(&longest) {
            return None;
        }
        let mut ids: Vec<u32> = (0..n as u32).collect();
        ids.par_sort_by(|a, b| norms[*b as usize].total_cmp(&norms[*a as usize]).then(a.cmp(b)));
        let column_scales = match width {
            Width::Half => vec![1.0; dim],
            Width::Byte => column_scales(items),
        };
        let n_panels = n.div_ceil(PANEL);
        ids.resize(n_panels * PANEL, u32::MAX);
        let bytes_a_panel = width.bytes_a_panel(dim);
        let mut data = Buffer::zeros(n_panels * bytes_a_panel / 4);
        let largest = largest(items, &column_scales);
        if !LARGEST.contains(&largest) {
            return None;
        }
        let packed: Vec<PanelBounds> = data
            .bytes_mut()
            .par_chunks_mut(bytes_a_panel)
            .zip(ids.par_chunks(PANEL))
            .map(|(to, ids)| {
                let panel = Packer { items, ids, column_scales: &column_scales, largest };
                match width {
                    Width::Half => panel.halves(to),
                    Width::Byte => panel.bytes(to),
                }
            })
            .collect();
        let padded = n_panels.next_multiple_of(LANES);
        let of = |what: &dyn Fn(&PanelBounds) -> f32, beyond: f32| {
            let mut all: Vec<f32> = packed.iter().map(what).collect();
            all.resize(padded, beyond);
            all
        };
        let bounds = Bounds {
            per_unit: of(&|panel| (1.0 / panel.unit) as f32, 1.0),
            error: of(&|panel| panel.error, 0.0),
            length: of(&|panel| panel.length, 0.0),
            norm: ids.iter().step_by(PANEL).map(|&id| up(norms[id as usize])).collect(),
        };
        let least_unit = packed.iter().fold(f64::INFINITY, |least, panel| least.min(panel.unit));
        let longest = largest * (dim as f64).sqrt();
        Some(Self { width, data, ids, bounds, column_scales, least_unit, longest, n_items: n, dim })
    }

    /// The width of the numbers.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// Number of items.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Length of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * (self.data.len() + self.ids.len())
            + 4 * (3 * self.bounds.error.len() + self.bounds.norm.len())
            + 8 * self.column_scales.len()
    }

    fn n_panels(&self) -> usize {
        self.bounds.norm.len()
    }

    /// Whether the bounds hold for a query of this length, columns multiplied: a product is neither so small that its
    /// roundings are more than a unit of the table, nor so large that it overflows.
    fn is_tame(&self, length: f64) -> bool {
        (1e-25..1e25).contains(&length)
            && length * self.least_unit > 1e-30
            && length * self.longest < 1e30
    }

    /// The numbers of one panel.
    #[inline(always)]
    fn panel(&self, panel: usize) -> &[u8] {
        let bytes = self.width.bytes_a_panel(self.dim);
        &self.data.bytes()[panel * bytes..][..bytes]
    }

    /// The items of one panel.
    #[inline(always)]
    fn panel_ids(&self, panel: usize) -> &[u32; PANEL] {
        self.ids[panel * PANEL..].first_chunk().expect("panels are whole")
    }
}

impl Width {
    fn bytes_a_panel(self, dim: usize) -> usize {
        match self {
            Width::Half => 2 * dim * PANEL,
            Width::Byte => dim.next_multiple_of(4) * PANEL,
        }
    }
}

/// The length of a vector.
fn norm(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// At least `x`, whatever roundings went into it.
fn up(x: f64) -> f32 {
    ((x * (1.0 + 1e-6)) as f32).next_up()
}

/// A power of two near the root mean square of each column; 1 where a column is all 0.
fn column_scales(items: Rows<'_>) -> Vec<f64> {
    let mut squares = vec![0.0f64; items.dim()];
    for i in 0..items.n() {
        for (sum, x) in squares.iter_mut().zip(items.row(i)) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    let all: f64 = squares.iter().sum();
    let scale = |sum: f64| {
        // A column that hardly matters need not be kept well: nor does its scale become extreme.
        let sum = sum.max(all * 1e-12);
        if sum > 0.0 { (sum / items.n() as f64).sqrt().log2().round().exp2() } else { 1.0 }
    };
    squares.into_iter().map(scale).collect()
}

/// The largest number of the table, columns divided.
fn largest(items: Rows<'_>, column_scales: &[f64]) -> f64 {
    let row = |i: usize| {
        let scaled = items.row(i).iter().zip(column_scales);
        scaled.fold(0.0, |largest: f64, (x, scale)| largest.max((f64::from(*x) / scale).abs()))
    };
    (0..items.n()).into_par_iter().map(row).reduce(|| 0.0, f64::max)
}

/// What was found when packing a panel: see [`Bounds`].
struct PanelBounds {
    unit: f64,
    error: f32,
    length: f32,
}

/// Packs one panel.
struct Packer<'a> {
    items: Rows<'a>,
    ids: &'a [u32],
    column_scales: &'a [f64],
    /// Of the whole table.
    largest: f64,
}

impl Packer<'_> {
    /// Item `lane`'s vector, columns divided; zeros where there is none.
    fn scaled(&self, lane: usize) -> impl Iterator<Item = f64> {
        let id = self.ids[lane];
        let row = if id == u32::MAX { &[][..] } else { self.items.row(id as usize) };
        row.iter().zip(self.column_scales).map(|(x, scale)| f64::from(*x) / scale)
    }

    /// The panel's largest number; of a panel that is much smaller than others a part of theirs.
    fn largest(&self) -> f64 {
        let numbers = (0..PANEL).flat_map(|lane| self.scaled(lane));
        numbers.fold(self.largest * SMALLEST, |largest, x| largest.max(x.abs()))
    }

    /// `keep` writes a number of a lane in units, and says what it is kept as.
    fn each(&self, unit: f64, mut keep: impl FnMut(usize, usize, f64) -> f64) -> PanelBounds {
        let (mut worst, mut longest) = (0.0f64, 0.0f64);
        for lane in 0..PANEL {
            let (mut error, mut length) = (0.0, 0.0);
            for (k, x) in self.scaled(lane).enumerate() {
                let kept = keep(lane, k, x / unit);
                error += (x / unit - kept) * (x / unit - kept);
                length += kept * kept;
            }
            worst = worst.max(error);
            longest = longest.max(length);
        }
        PanelBounds { unit, error: up(worst.sqrt()), length: up(longest.sqrt()) }
    }

    fn bytes(&self, to: &mut [u8]) -> PanelBounds {
        to.fill(128);
        let unit = self.largest() / 127.0;
        self.each(unit, |lane, k, x| {
            let kept = x.round().clamp(-127.0, 127.0);
            to[(k / 4 * PANEL + lane) * 4 + k % 4] = (kept as i16 + 128) as u8;
            kept
        })
    }

    fn halves(&self, to: &mut [u8]) -> PanelBounds {
        // The largest number becomes one in 2^13..2^14.
        let unit = (self.largest().log2().floor() - 13.0).exp2();
        self.each(unit, |lane, k, x| {
            let half = half_of(x as f32);
            let at = 2 * (k * PANEL + lane);
            to[at..at + 2].copy_from_slice(&half.to_ne_bytes());
            f64::from(super::simd::half_to_float(half))
        })
    }
}

/// The nearest half-precision number, ties to even, of one that is at most 2^15.
fn half_of(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16 & 0x8000) as u16;
    // Down to the range of binary16, so that its subnormal numbers are those of `f32`, with 13 more bits of fraction.
    let bits = (x.abs() * f32::from_bits((127 - 112) << 23)).to_bits();
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    sign | (rounded >> 13) as u16
}

#[cfg(test)]
mod tests;
