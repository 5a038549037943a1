//! UserKNN: an item's score is the sum of the similarities of the query's nearest users who have it (Resnick et
//! al., CSCW 1994; for rankings from binary logs, Aiolli, RecSys 2013), computed on the binary matrix: repeats
//! count once; weights and order are ignored.
//!
//! Neighbours are found at query time, from the history: every user who shares an item with it is a candidate.
//! So new users are scored like known ones, and the model is the log itself. A known user is not their own
//! neighbour.
//!
//! Two settings go beyond the textbook, which is `item_popularity = shrinkage = 0`:
//! - `item_popularity` weights an item with n users by n^-item_popularity in the similarity, in the spirit of
//!   the inverse user frequency of Breese et al. (UAI 1998): sharing a popular item is weak evidence. The
//!   users' sizes are weighted likewise.
//! - `shrinkage` is added to the denominator and shrinks similarities that rest on few items.
//!
//! On HetComp's CiteULike split (Recall@50 / nDCG@50, 100 neighbours) the textbook reaches .282 / .144, the
//! defaults .292 / .150.

use crate::item_cf::{Similarity, keep_nearest, up_to};
use crate::parts::baskets::{self, baskets, distinct};
use crate::parts::settings::Checked;
use rankstill_core::kernel::csr::Csr;
use rankstill_core::{
    Fit, Interactions, Model, ModelConfig, Query, Recipe, Result, Scorer, Tensors,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// User-based nearest neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserKnn {
    /// How the similarity of two users is computed.
    pub similarity: Similarity,
    /// Number of most similar users that contribute; 0 = all.
    pub neighbours: usize,
    /// Added to the denominator of the similarity, in items.
    pub shrinkage: f64,
    /// An item with n users has the weight n^-item_popularity; 0 = all items weigh the same.
    pub item_popularity: f64,
}

impl Default for UserKnn {
    fn default() -> Self {
        Self {
            similarity: Similarity::Cosine,
            neighbours: 100,
            shrinkage: 0.0,
            item_popularity: 0.5,
        }
    }
}

impl Checked for UserKnn {
    fn check(&self) -> Result<()> {
        up_to("shrinkage", self.shrinkage, f64::MAX)?;
        up_to("item_popularity", self.item_popularity, 10.0)
    }
}

impl UserKnn {
    fn over(&self, baskets: Csr) -> UserNeighbours {
        let users_of = baskets.transpose();
        let weight = |item| (users_of.row(item).len().max(1) as f64).powf(-self.item_popularity);
        let weights: Vec<f64> = (0..users_of.n_rows()).map(weight).collect();
        let size = |user| sum(baskets.row(user), &weights);
        let sizes = (0..baskets.n_rows()).map(size).collect();
        UserNeighbours { recipe: self.clone(), baskets, users_of, weights, sizes }
    }
}

impl Recipe for UserKnn {
    fn fit(&self, train: &Arc<Interactions>, _fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        Ok(Box::new(self.over(baskets(train))))
    }
}

impl ModelConfig for UserKnn {
    fn kind(&self) -> &'static str {
        "user_knn"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let n_items = baskets::read_n_items(tensors)?;
        Ok(Box::new(self.over(baskets::read(tensors, n_items, false)?)))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        8 * n_interactions as u64 + 16 * (n_users + n_items) as u64
    }
}

/// The log, by users and by items.
struct UserNeighbours {
    recipe: UserKnn,
    baskets: Csr,
    users_of: Csr,
    /// The weight of each item.
    weights: Vec<f64>,
    /// The total weight of each user's items.
    sizes: Vec<f64>,
}

fn sum(items: &[u32], weights: &[f64]) -> f64 {
    items.iter().fold(0.0, |sum, &item| sum + weights[item as usize])
}

impl UserNeighbours {
    /// The query's nearest users by ascending id, with their similarity. `both` is all zero before and after.
    fn nearest(&self, query: &Query<'_>, both: &mut [f64]) -> Vec<(u32, f32)> {
        let mut history = distinct(query.history);
        history.retain(|&item| (item as usize) < self.n_items());
        let size = sum(&history, &self.weights);
        let mut touched = Vec::new();
        // By ascending item, so that the last bits of a sum do not depend on the order of the history.
        for &item in &history {
            for &user in self.users_of.row(item as usize) {
                if both[user as usize] == 0.0 {
                    touched.push(user);
                }
                both[user as usize] += self.weights[item as usize];
            }
        }
        let mut near: Vec<(u32, f32)> = touched
            .into_iter()
            .map(|user| {
                let both = std::mem::take(&mut both[user as usize]);
                let (other, shrinkage) = (self.sizes[user as usize], self.recipe.shrinkage);
                (user, self.recipe.similarity.of(both, size, other, shrinkage) as f32)
            })
            .collect();
        near.retain(|&(user, _)| query.user != Some(user));
        keep_nearest(&mut near, self.recipe.neighbours);
        near
    }
}

impl Scorer for UserNeighbours {
    fn n_items(&self) -> usize {
        self.weights.len()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        out.fill(0.0);
        let mut both = vec![0.0; self.sizes.len()];
        for (query, row) in queries.iter().zip(out.chunks_exact_mut(self.n_items().max(1))) {
            for (user, similarity) in self.nearest(query, &mut both) {
                for &item in self.baskets.row(user as usize) {
                    row[item as usize] += similarity;
                }
            }
        }
    }
}

impl Model for UserNeighbours {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        baskets::insert_n_items(&mut tensors, self.n_items());
        baskets::insert(&mut tensors, &self.baskets);
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.baskets.n_entries()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill_core::Lists;

    fn model(recipe: UserKnn) -> UserNeighbours {
        // Items 0, 1, 2, 3, 4 have 3, 2, 2, 1, 0 users.
        let lines = [vec![0, 1, 0], vec![0, 1, 2], vec![2, 0, 3], vec![]];
        recipe.over(baskets(&Interactions::new(5, Lists::from_iter(lines), None, None).unwrap()))
    }

    fn scores(model: &UserNeighbours, user: Option<u32>, history: &[u32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; 5];
        model.score(&[Query { user, history, hidden: &[] }], &mut out);
        out
    }

    fn close(found: &[f32], by_hand: &[f32]) {
        assert!(found.iter().zip(by_hand).all(|(x, y)| (x - y).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn three_similarities_by_hand() {
        // A new user with 0 and 2 against users of 2, 3 and 3 items: 1, 2 and 2 in common.
        for (similarity, [a, b, c]) in [
            (Similarity::Cosine, [0.5, 2.0 / 6f32.sqrt(), 2.0 / 6f32.sqrt()]),
            (Similarity::Jaccard, [1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]),
            (Similarity::Dice, [0.5, 0.8, 0.8]),
        ] {
            let model = model(UserKnn { similarity, item_popularity: 0.0, ..UserKnn::default() });
            let by_hand = [a + b + c, a + b, b + c, c, 0.0];
            close(&scores(&model, None, &[0, 2]), &by_hand);
            close(&scores(&model, None, &[2, 77, 0, 2]), &by_hand);
        }
    }

    #[test]
    fn no_user_is_their_own_neighbour_and_ties_go_to_the_smaller_user() {
        let model = model(UserKnn { neighbours: 1, item_popularity: 0.0, ..UserKnn::default() });
        close(&scores(&model, None, &[0, 2]), &[2.0 / 6f32.sqrt(); 3]);
        // User 1 without themselves: user 0 shares two of two items (2 / sqrt 6), user 2 two of three (2 / 3).
        let of_user_0 = 2.0 / 6f32.sqrt();
        close(&scores(&model, Some(1), &[0, 1, 2]), &[of_user_0, of_user_0, 0.0, 0.0, 0.0]);
        close(&scores(&model, Some(3), &[]), &[0.0; 5]);
    }

    #[test]
    fn common_items_count_less_and_small_overlaps_shrink() {
        // Items 0..3 count 1/3, 1/2, 1/2, 1: a new user with 0 and 2 counts 5/6, users 0, 1 and 2 count 5/6,
        // 4/3 and 11/6.
        let recipe = UserKnn { item_popularity: 1.0, shrinkage: 1.0, ..UserKnn::default() };
        let similarity = |both: f32, size: f32| both / ((5.0 / 6.0 * size).sqrt() + 1.0);
        let (a, b) = (similarity(1.0 / 3.0, 5.0 / 6.0), similarity(5.0 / 6.0, 4.0 / 3.0));
        let c = similarity(5.0 / 6.0, 11.0 / 6.0);
        close(&scores(&model(recipe), None, &[0, 2]), &[a + b + c, a + b, b + c, c, 0.0]);
    }

    #[test]
    fn corrupt_files_are_refused() {
        let tensors = model(UserKnn::default()).tensors();
        let mut spoilt = tensors.clone();
        spoilt.insert("n_items", &[1], vec![3u32]);
        assert!(UserKnn::default().load(&tensors).is_ok());
        let error = UserKnn::default().load(&spoilt).err().unwrap().to_string();
        assert!(error.contains("column 3 of 3"), "{error}");
    }
}
