//! SLIM, "Sparse linear methods for top-N recommender systems" (Ning & Karypis, ICDM 2011): the item-item matrix W, not
//! negative and with zero diagonal, that best reconstructs the binary user-item matrix X,
//!
//! ```text
//! min  |X - X W|^2 / 2  +  l2 |W|^2 / 2  +  l1 |W|_1 ,   W >= 0,  diag W = 0
//! ```
//!
//! The score of an item is the sum of its weights from the items of the history. EASE is the same without the bound and with
//! l1 = 0; the bound makes most weights 0, so W is sparse even without l1.
//!
//! Every column of W is a problem of its own and is solved by coordinate descent (Friedman, Hastie, Tibshirani, Journal of
//! Statistical Software 2010), keeping the residual of each user: a weight's best value takes one sum over the item's users.
//! After a sweep over all items that share a user with the column's, only the weights above 0 are visited until they hardly
//! change; then all again. It ends when a sweep over all changes no weight by more than `tolerance`.
//!
//! `candidates` bounds the work as the paper's fsSLIM does: only the items with the highest cosine to the column's may have a
//! weight. Without it, all columns of LightGCN's Gowalla split take half a CPU-minute and reach Recall@20 / nDCG@20 of .179 /
//! .147 with the defaults, which were chosen on validation parts of MovieLens 100K and Amazon Beauty.
//!
//! New users are scored like known ones, from the history. Repeats count once; weights and order are ignored.

use crate::item_cf::{ItemNeighbours, keep_nearest, up_to};
use crate::parts::baskets::{baskets, pairs_about};
use crate::parts::settings::{self, Checked};
use rankstill_core::kernel::csr::Csr;
use rankstill_core::{
    Fit, Interactions, ItemId, Lists, Model, ModelConfig, Recipe, Result, Stop, Tensors,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The sparse linear method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slim {
    /// Penalty on the sum of the weights, in users; larger = sparser.
    pub l1: f64,
    /// Penalty on half the squared weights, in users.
    pub l2: f64,
    /// Number of items that may have a weight for an item's score, those with the highest cosine; 0 = all.
    pub candidates: usize,
    /// A column is solved when no weight changes by more than this.
    pub tolerance: f64,
    /// Maximum number of sweeps over a column's candidates.
    pub sweeps: usize,
}

impl Default for Slim {
    fn default() -> Self {
        Self { l1: 0.1, l2: 150.0, candidates: 0, tolerance: 1e-4, sweeps: 30 }
    }
}

impl Checked for Slim {
    fn check(&self) -> Result<()> {
        up_to("l1", self.l1, 1e9)?;
        settings::must(self.l2 > 0.0 && self.l2 <= 1e9, "l2", "above 0 and at most 1e9", self.l2)?;
        settings::positive("tolerance", self.tolerance)?;
        settings::within("sweeps", self.sweeps, 1..=100_000)
    }
}

/// What a thread needs for one column after the other; all zero between two.
struct Scratch {
    /// By user: x - X w.
    residual: Vec<f32>,
    /// By item: how many users it shares with the column's.
    both: Vec<u32>,
}

impl Slim {
    /// The weights into the score of one item, those above 0, by ascending item.
    fn column(
        &self,
        item: ItemId,
        items_of: &Csr,
        users_of: &Csr,
        scratch: &mut Scratch,
    ) -> Vec<(ItemId, f32)> {
        let Scratch { residual, both } = scratch;
        let users = |item: ItemId| users_of.row(item as usize);
        let candidates = self.candidates_of(item, items_of, users_of, both);
        let mut weights = vec![0.0f32; candidates.len()];
        users(item).iter().for_each(|&user| residual[user as usize] = 1.0);

        let (l1, l2) = (self.l1 as f32, self.l2 as f32);
        let mut visit = |at: usize, weights: &mut [f32]| {
            let users = users(candidates[at]);
            let along = users.iter().fold(0.0f32, |sum, &user| sum + residual[user as usize]);
            // The residual holds the weight's own share.
            let n = users.len() as f32;
            let best = ((along + n * weights[at] - l1) / (n + l2)).max(0.0);
            let change = best - weights[at];
            if change != 0.0 {
                weights[at] = best;
                users.iter().for_each(|&user| residual[user as usize] -= change);
            }
            change.abs()
        };
        let mut sweeps = 0;
        while sweeps < self.sweeps {
            sweeps += 1;
            let all = 0..candidates.len();
            let changed = all.fold(0.0f32, |most, at| most.max(visit(at, &mut weights)));
            if f64::from(changed) <= self.tolerance {
                break;
            }
            let some: Vec<usize> = (0..candidates.len()).filter(|&at| weights[at] > 0.0).collect();
            while sweeps < self.sweeps {
                sweeps += 1;
                let changed =
                    some.iter().fold(0.0f32, |most, &at| most.max(visit(at, &mut weights)));
                if f64::from(changed) <= self.tolerance {
                    break;
                }
            }
        }

        // Exactly: weights that went back to 0 may have left rounding behind.
        for &touched in candidates.iter().chain([&item]) {
            users(touched).iter().for_each(|&user| residual[user as usize] = 0.0);
        }
        candidates.into_iter().zip(weights).filter(|(_, weight)| *weight > 0.0).collect()
    }

    /// The items that may have a weight, ascending.
    fn candidates_of(
        &self,
        item: ItemId,
        items_of: &Csr,
        users_of: &Csr,
        both: &mut [u32],
    ) -> Vec<ItemId> {
        let mut touched = Vec::new();
        for &user in users_of.row(item as usize) {
            for &other in items_of.row(user as usize) {
                if both[other as usize] == 0 {
                    touched.push(other);
                }
                both[other as usize] += 1;
            }
        }
        let n_users = |item: ItemId| users_of.row(item as usize).len() as f32;
        let mut near: Vec<(ItemId, f32)> = touched
            .into_iter()
            .map(|other| {
                let both = std::mem::take(&mut both[other as usize]) as f32;
                (other, both / n_users(other).sqrt())
            })
            .filter(|&(other, _)| other != item)
            .collect();
        keep_nearest(&mut near, self.candidates);
        near.into_iter().map(|(other, _)| other).collect()
    }

    fn weights(&self, train: &Interactions, stop: &Stop) -> Result<ItemNeighbours> {
        let items_of = baskets(train);
        let users_of = items_of.transpose();
        let n_items = train.n_items();
        // Chunks are fixed and every column is solved on its own, so threads cannot change a bit.
        let columns: Vec<Vec<Vec<(ItemId, f32)>>> = (0..n_items.div_ceil(CHUNK))
            .into_par_iter()
            .map_init(
                || Scratch { residual: vec![0.0; train.n_users()], both: vec![0; n_items] },
                |scratch, chunk| {
                    let columns = chunk * CHUNK..((chunk + 1) * CHUNK).min(n_items);
                    let solve = |item| self.column(item as ItemId, &items_of, &users_of, scratch);
                    columns.take_while(|_| !stop.asked()).map(solve).collect()
                },
            )
            .collect();
        stop.check()?;
        let (mut ids, mut values) = (Lists::default(), Vec::new());
        for column in columns.into_iter().flatten() {
            ids.push(column.iter().map(|entry| entry.0));
            values.extend(column.iter().map(|entry| entry.1));
        }
        Ok(ItemNeighbours::by_candidate(ids, values))
    }
}

/// Columns per task.
const CHUNK: usize = 16;

impl Recipe for Slim {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(self.weights(train, &fit.stop)?))
    }
}

impl ModelConfig for Slim {
    fn kind(&self) -> &'static str {
        "slim"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(ItemNeighbours::load(tensors)?))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let together = pairs_about(n_users, n_items, n_interactions);
        let kept = match self.candidates {
            0 => together,
            most => together.min(most as u64 * n_items as u64),
        };
        let threads = rayon::current_num_threads() as u64;
        16 * kept + 8 * n_interactions as u64 + (16 + 4 * threads) * (n_users + n_items) as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::kernel::rng::Rng;
    use rankstill_core::{Query, Scorer};

    fn log(n_items: usize, lines: Vec<Vec<u32>>) -> Interactions {
        Interactions::new(n_items, Lists::from_iter(lines), None, None).unwrap()
    }

    /// W by rows of history items.
    fn matrix(recipe: &Slim, train: &Interactions) -> Vec<Vec<f32>> {
        let model = recipe.weights(train, &Stop::default()).unwrap();
        let row = |item: u32| {
            let mut out = vec![f32::NAN; train.n_items()];
            model.score(&[Query { user: None, history: &[item], hidden: &[] }], &mut out);
            out
        };
        (0..train.n_items() as u32).map(row).collect()
    }

    #[test]
    fn two_items_by_hand() {
        // X'X = [3 2; 2 2]: w_01 = (2 - l1) / (3 + l2), w_10 = (2 - l1) / (2 + l2).
        let train = log(2, vec![vec![0, 1, 1], vec![0], vec![1, 0]]);
        let recipe = Slim { l1: 0.5, l2: 1.0, ..Slim::default() };
        let w = matrix(&recipe, &train);
        assert!((w[0][1] - 1.5 / 4.0).abs() < 1e-6 && (w[1][0] - 1.5 / 3.0).abs() < 1e-6, "{w:?}");
        assert_eq!((w[0][0], w[1][1]), (0.0, 0.0));
        let w = matrix(&Slim { l1: 2.0, ..recipe }, &train);
        assert_eq!((w[0][1], w[1][0]), (0.0, 0.0));
    }

    #[test]
    fn no_weight_can_be_improved() {
        let mut rng = Rng::new(4);
        let lines = (0..80).map(|_| (0..3 + rng.below(8)).map(|_| rng.below(30)).collect());
        let train = log(30, lines.collect());
        let recipe = Slim { l1: 0.4, l2: 3.0, tolerance: 1e-7, sweeps: 1000, ..Slim::default() };
        let w = matrix(&recipe, &train);
        let x = |user: u32, item: usize| {
            f64::from(u8::from(train.history(user).contains(&(item as u32))))
        };
        let mut kinds = [0, 0];
        for j in 0..30 {
            let residual: Vec<f64> = (0..80)
                .map(|u| x(u, j) - (0..30).map(|i| x(u, i) * f64::from(w[i][j])).sum::<f64>())
                .collect();
            for i in (0..30).filter(|&i| i != j) {
                // Minus the slope of the loss.
                let along: f64 = (0..80).map(|u| x(u, i) * residual[u as usize]).sum();
                let pull = along - 0.4 - 3.0 * f64::from(w[i][j]);
                if w[i][j] > 0.0 {
                    assert!(pull.abs() < 1e-4, "{i}, {j}: {pull}");
                } else {
                    assert!(pull < 1e-4, "{i}, {j}: {pull}");
                }
                kinds[usize::from(w[i][j] > 0.0)] += 1;
            }
        }
        assert!(kinds[0] > 100 && kinds[1] > 100, "{kinds:?}");
    }

    #[test]
    fn only_the_nearest_candidates_get_weights() {
        let train = log(3, vec![vec![0, 1], vec![0, 1], vec![0, 2], vec![2]]);
        let w = matrix(&Slim { l1: 0.0, candidates: 1, ..Slim::default() }, &train);
        // Of 0's neighbours 1 (2 / sqrt 2) is nearer than 2 (1 / sqrt 2).
        assert!(w[1][0] > 0.0 && w[2][0] == 0.0, "{w:?}");
    }
}
