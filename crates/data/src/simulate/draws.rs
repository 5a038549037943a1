//! Weighted draws, and the set of the items that a user has.

use rankstill_core::kernel::rng::Rng;

/// Weighted draws in constant time (Walker's alias method, Vose's variant).
#[derive(Clone, Debug)]
pub(super) struct Alias(Vec<(u32, u32)>);

impl Alias {
    pub(super) fn new(weights: &[f64]) -> Self {
        let n = weights.len();
        let total = weights.iter().fold(0.0, |sum, weight| sum + weight);
        let mut scaled: Vec<f64> = weights.iter().map(|weight| weight * n as f64 / total).collect();
        let mut table: Vec<(u32, u32)> = (0..n as u32).map(|i| (u32::MAX, i)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..n).partition(|&i| scaled[i] < 1.0);
        while let (Some(&less), Some(&more)) = (small.last(), large.last()) {
            small.pop();
            table[less] = ((scaled[less] * 4_294_967_296.0) as u32, more as u32);
            scaled[more] -= 1.0 - scaled[less];
            if scaled[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Self(table)
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        let slot = rng.below(self.0.len() as u32);
        let (keep, other) = self.0[slot as usize];
        u64::from(if rng.next_u32() <= keep { slot } else { other })
    }
}

/// e^x for moderate x, by squarings: `f64::exp` may differ in its last bit between platforms.
pub(super) fn exp(x: f64) -> f64 {
    const SQUARINGS: i32 = 20;
    let root = 1.0 + x / f64::from(1 << SQUARINGS);
    (0..SQUARINGS).fold(root, |power, _| power * power)
}

/// The items that a user has had: a hash table that is cleared by incrementing its stamp.
#[derive(Default)]
pub(super) struct SeenItems {
    slots: Vec<(u32, u32)>,
    stamp: u32,
}

impl SeenItems {
    pub(super) fn begin(&mut self, n: u64) {
        let size = (n as usize * 2).next_power_of_two().max(16);
        if self.slots.len() < size {
            self.slots = vec![(0, 0); size];
            self.stamp = 0;
        }
        self.stamp += 1;
    }

    /// Whether the item is new.
    pub(super) fn insert(&mut self, item: u64) -> bool {
        let mask = self.slots.len() - 1;
        let mut at = (item.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.0 != self.stamp {
                *slot = (self.stamp, item as u32);
                return true;
            }
            if slot.1 == item as u32 {
                return false;
            }
            at = (at + 1) & mask;
        }
    }
}
