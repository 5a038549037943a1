//! Dropout (Srivastava et al., JMLR 2014): in training, each number is kept with probability 1 - p and then
//! divided by 1 - p.
//!
//! Masks come from a generator that the caller keys, say by (seed, epoch, case), so they do not depend on
//! threads, order or batches. A mask is one bit per number, 64 per word, drawn 64 at a time: words of random
//! bits are combined by "or" where the probability's binary expansion has a 1 and by "and" where it has a 0,
//! from its last 1 on. So p = 0.5 costs one random word for 64 numbers, and no p more than 16.

use super::rng::Rng;
use super::simd::{LANES, Simd, dispatch};

/// The dropout rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability of being kept, in 65536ths; 1..=65536.
    kept: u32,
}

impl Dropout {
    /// Drops with probability `p`, rounded to a multiple of 2^-16.
    ///
    /// # Panics
    /// When `p` is not at least 0 and at most 1 - 2^-16.
    pub fn new(p: f64) -> Self {
        assert!((0.0..=1.0 - ONE.recip()).contains(&p), "drops {p}");
        Self { kept: ((1.0 - p) * ONE).round() as u32 }
    }

    /// Whether nothing is dropped.
    pub fn is_off(self) -> bool {
        f64::from(self.kept) == ONE
    }

    /// The factor of the kept numbers.
    pub fn scale(self) -> f32 {
        (ONE / f64::from(self.kept)) as f32
    }

    /// The number of words of a mask of `n` numbers.
    pub fn words(n: usize) -> usize {
        n.div_ceil(64)
    }

    /// Draws a mask: a set bit is a number that is kept.
    pub fn draw(self, rng: &mut Rng, mask: &mut [u64]) {
        if self.is_off() {
            return mask.fill(u64::MAX);
        }
        for word in mask {
            *word = 0;
            for bit in self.kept.trailing_zeros()..16 {
                let random = rng.next_u64();
                *word = if self.kept >> bit & 1 == 1 { *word | random } else { *word & random };
            }
        }
    }
}

const ONE: f64 = 65536.0;

dispatch! {
    /// Multiplies kept numbers by `scale` and sets the others to 0: in each row of `stride` numbers the first
    /// `n`, by the row's mask of [`Dropout::words`] words. The same forward and backward.
    ///
    /// # Panics
    /// When there are not as many masks as rows.
    pub fn apply(masks: &[u64], scale: f32, rows: &mut [f32], n: usize, stride: usize) = apply_kernel;
}

#[inline(always)]
fn apply_kernel<S: Simd>(
    s: S,
    masks: &[u64],
    scale: f32,
    rows: &mut [f32],
    n: usize,
    stride: usize,
) {
    let words = Dropout::words(n);
    if rows.is_empty() || words == 0 {
        return;
    }
    assert_eq!(rows.len() / stride * words, masks.len(), "one mask a row");
    let scale = s.splat(scale);
    for (row, mask) in rows.chunks_exact_mut(stride).zip(masks.chunks_exact(words)) {
        for (at, part) in row[..n].chunks_mut(LANES).enumerate() {
            let bits = (mask[at / 4] >> (at % 4 * LANES)) as u16;
            let kept = s.mul(s.load_part(part), scale);
            s.store_part(part, s.select(s.mask_from_bits(bits), kept, s.zero()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, with_isa};
    use super::*;

    #[test]
    fn as_many_are_kept_as_was_said_and_neighbours_do_not_matter() {
        let (rows, words) = (4000, 4);
        for p in [0.5, 0.25, 0.1, 0.9, 1.0 / 3.0, 1.0 - 1.0 / 65536.0] {
            let dropout = Dropout::new(p);
            let mut counts = [0u32; 256];
            let mut pairs = 0u32;
            for row in 0..rows {
                let mut mask = [0; 4];
                dropout.draw(&mut Rng::keyed(1, [row]), &mut mask);
                for (i, count) in counts.iter_mut().enumerate() {
                    *count += (mask[i / 64] >> (i % 64) & 1) as u32;
                }
                pairs += mask.iter().map(|word| (word & word >> 1).count_ones()).sum::<u32>();
            }
            let kept = f64::from(dropout.kept) / ONE;
            assert!((kept - (1.0 - p)).abs() <= 0.5 / ONE);
            let (n, each) = ((rows * words * 64) as f64, rows as f64);
            let total: u32 = counts.iter().sum();
            let bound = |n: f64, q: f64| 5.0 * (n * q * (1.0 - q)).sqrt() + 1.0;
            assert!((f64::from(total) - n * kept).abs() < bound(n, kept), "{p}: {total}");
            for count in counts {
                assert!((f64::from(count) - each * kept).abs() < bound(each, kept), "{p}: {count}");
            }
            // A pair of neighbours is kept with probability kept^2: 63 pairs a word (overlapping ones widen
            // the bound).
            let (n, both) = (n * 63.0 / 64.0, kept * kept);
            assert!((f64::from(pairs) - n * both).abs() < 2.0 * bound(n, both), "{p}: {pairs}");
        }
    }

    #[test]
    fn nothing_dropped_changes_nothing() {
        let off = Dropout::new(0.0);
        assert!(off.is_off() && off.scale() == 1.0 && !Dropout::new(0.5).is_off());
        let mut mask = [0; 2];
        off.draw(&mut Rng::new(1), &mut mask);
        assert_eq!(mask, [u64::MAX; 2]);
    }

    #[test]
    fn a_mask_by_hand() {
        for isa in Isa::ALL {
            with_isa(isa, 1, || {
                // Two rows of 70 of 72 numbers: the first keeps numbers 0, 17 and 69, the second 3.
                let masks = [1 | 1 << 17, 1 << 5, 1 << 3, 0];
                let mut rows: Vec<f32> = (0..144).map(|i| i as f32 + 1.0).collect();
                apply(&masks, 2.0, &mut rows, 70, 72);
                for (i, &x) in rows.iter().enumerate() {
                    let expected = match i {
                        0 | 17 | 69 | 75 => 2.0 * (i as f32 + 1.0),
                        70 | 71 | 142 | 143 => i as f32 + 1.0,
                        _ => 0.0,
                    };
                    assert_eq!(x, expected, "{i}");
                }
            });
        }
    }
}
