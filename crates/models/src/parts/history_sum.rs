//! The vector of a history as the scaled sum of its items' input vectors (see [`rankstill_core::HistorySum`]).

use super::multinomial::distinct;
use rankstill_core::ItemId;

/// `n^-alpha` times the sum of the input vectors of the n distinct items of `history` that are in the catalogue, in the order of their
/// numbers, so that the order of the history does not matter; 0 without any. `add` adds an item's vector. Overwrites `out`.
pub(crate) fn history_vector(
    alpha: f32,
    n_items: usize,
    history: &[ItemId],
    mut add: impl FnMut(usize, &mut [f32]),
    out: &mut [f32],
) {
    out.fill(0.0);
    let items = distinct(history.iter().copied(), n_items);
    items.iter().for_each(|&item| add(item as usize, out));
    let share = history_share(alpha, items.len());
    out.iter_mut().for_each(|x| *x *= share);
}

/// The weight of each of `n` items: `n^-alpha`.
pub(crate) fn history_share(alpha: f32, n: usize) -> f32 {
    if n == 0 { 0.0 } else { (n as f64).powf(-f64::from(alpha)) as f32 }
}
