//! Pruning that stays dense: vectors are turned so that what matters to the scores comes first, and each item keeps a prefix, long or short
//! as it needs.
//!
//! The turn is that of [`Truncate`](super::Truncate), with which P'P = Q'Q = S is diagonal, so cutting item i after k numbers changes all users'
//! scores by exactly the sum of S_j q_ij^2 over j >= k, in squares. Of all ways to keep a `keep` share of the numbers as prefixes the one
//! with the least summed error is taken: every number is worth its error, and a prefix ends where what follows is not worth a
//! common price for each number, which is found by bisection.
//!
//! Differs from magnitude pruning (zeros anywhere) in that no positions are stored and products stay dense.

use super::Compressor;
use super::truncate::principal;
use super::vectors::Vectors;
use crate::parts::coded::{CompressedModel, Stored, Users};
use crate::parts::settings::{Checked, invalid, must};
use rankstill_core::kernel::codes::{CodeTable as _, Ragged};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::{Error, Interactions, Model, Result, Tensors};
use serde::{Deserialize, Serialize};

/// Items cut to prefixes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prune {
    /// Share of the items' numbers that is kept.
    pub keep: f64,
}

impl Default for Prune {
    fn default() -> Self {
        Self { keep: 0.25 }
    }
}

impl Checked for Prune {
    fn check(&self) -> Result<()> {
        must(self.keep > 0.0 && self.keep <= 1.0, "keep", "above 0 and at most 1", self.keep)
    }
}

impl Compressor for Prune {
    fn kind(&self) -> &'static str {
        "prune"
    }

    fn compress(&self, model: &dyn Model, train: &Interactions, _: u64) -> Result<Box<dyn Model>> {
        let vectors = Vectors::with_users(model, train)?;
        let (n, dim) = (vectors.n_items(), vectors.dim);
        let [users, items] = principal(&vectors, dim);
        let rows = Rows::dense(&items, n, dim);
        let budget = (self.keep * items.len() as f64).round() as u64;
        let lengths =
            prefixes(&errors(rows, Rows::dense(&users, vectors.n_users(), dim)), dim, budget);
        let Some(codes) = Ragged::pack(rows, &lengths) else {
            return Err(invalid("compress", "this model has extreme numbers"));
        };
        Ok(Box::new(CompressedModel::new(dim, Users::Exact(users), None, Box::new(codes))))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let dim = tensors.u32s("dim")?.first().map_or(0, |dim| *dim as usize);
        let lengths = tensors.u32s("lengths")?;
        let (values, n_values, _) = tensors.matrix("values")?;
        let codes = Ragged::from_parts(dim, &values[..n_values], lengths).ok_or_else(|| {
            let problem = format!("{n_values} numbers are not prefixes of the given lengths");
            Error::Tensor { name: "values".into(), problem }
        })?;
        Ok(Box::new(CompressedModel::loaded(tensors, Box::new(codes), false, false)?))
    }
}

/// What leaving out each number of each item adds to the squared error of the scores.
fn errors(items: Rows<'_>, users: Rows<'_>) -> Vec<f64> {
    let mut weights = vec![0.0f64; items.dim()];
    for user in 0..users.n() {
        weights.iter_mut().zip(users.row(user)).for_each(|(sum, x)| *sum += f64::from(*x).powi(2));
    }
    let row = |i: usize| items.row(i).iter().zip(&weights);
    (0..items.n()).flat_map(|i| row(i).map(|(x, weight)| weight * f64::from(*x).powi(2))).collect()
}

/// The lengths of prefixes that lose least, of at most `budget` numbers in all.
fn prefixes(errors: &[f64], dim: usize, budget: u64) -> Vec<u32> {
    // Minimises what is cut plus `price` a number that is kept.
    let at_price = |price: f64| -> Vec<u32> {
        let length = |errors: &[f64]| {
            let (mut gain, mut best) = (0.0, (0, 0.0));
            for (k, error) in errors.iter().enumerate() {
                gain += error - price;
                if gain > best.1 {
                    best = (k as u32 + 1, gain);
                }
            }
            best.0
        };
        errors.chunks_exact(dim.max(1)).map(length).collect()
    };
    let total = |lengths: &[u32]| lengths.iter().map(|length| u64::from(*length)).sum::<u64>();
    let free = at_price(0.0);
    if total(&free) <= budget {
        return free;
    }
    // Between a price that is too low and one that is not. Their ratio is halved on a logarithmic scale.
    let (mut low, mut high) = (0.0, errors.iter().fold(0.0, |most: f64, x| most.max(*x)));
    let mut within = at_price(high);
    for _ in 0..100 {
        let price = if low > 0.0 { (low * high).sqrt() } else { high / 1024.0 };
        let lengths = at_price(price);
        if total(&lengths) <= budget {
            (high, within) = (price, lengths);
        } else {
            low = price;
        }
        if low > 0.0 && high / low < 1.0 + 1e-9 {
            break;
        }
    }
    within
}

impl Stored for Ragged {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let values = self.values();
        tensors.insert("values", &[values.len(), 1], values);
        tensors.insert("lengths", &[self.lengths().len()], self.lengths().to_vec());
        tensors.insert("dim", &[1], vec![self.dim() as u32]);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_numbers_at_the_ends_are_cut() {
        // By hand: of five numbers, keep 5 and 9 of the first item (16 with the 2 between), 4 of the second.
        let errors = [5.0, 2.0, 9.0, 4.0, 1.0, 0.5];
        assert_eq!(prefixes(&errors, 3, 6), [3, 3]);
        assert_eq!(prefixes(&errors, 3, 4), [3, 1]);
        // Prefixes are whole: three more numbers at 16 / 3 each are worth more than one at 4.
        assert_eq!(prefixes(&errors, 3, 3), [3, 0]);
        assert_eq!(prefixes(&errors, 3, 0), [0, 0]);
    }

    #[test]
    fn no_other_prefixes_of_as_many_numbers_lose_less() {
        let errors: Vec<f64> = (0..4 * 3).map(|i| f64::from(i * 7919 % 101)).collect();
        let lost = |lengths: &[u32]| -> f64 {
            let cut = errors.chunks(4).zip(lengths).map(|(e, n)| &e[*n as usize..]);
            cut.flatten().sum()
        };
        for budget in 0..=12 {
            let found = prefixes(&errors, 4, budget);
            let kept = found.iter().sum::<u32>();
            assert!(u64::from(kept) <= budget);
            for other in 0..125 {
                let other = [other % 5, other / 5 % 5, other / 25];
                if other.iter().sum::<u32>() <= kept {
                    assert!(lost(&found) <= lost(&other), "{budget}: {found:?} {other:?}");
                }
            }
        }
    }
}
