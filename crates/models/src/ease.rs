//! EASE, "Embarrassingly Shallow Autoencoders for Sparse Data" (Steck, WWW 2019): the item-item matrix B with
//! zero diagonal that best reconstructs the binary user-item matrix X, min |X - XB|^2 + l |B|^2. In closed
//! form, with P = (X'X + l I)^-1, it is B = I - P / diag(P), dividing columns; the scores of a history h are h
//! B.
//!
//! With `dropout` = p it is EDLAE, which learns to predict an item from a history of which each item is dropped with
//! probability p (Steck, "Autoencoders that don't overfit towards the identity", NeurIPS 2020, its full-rank solution):
//! the penalty l I becomes l G, with g_j = 1 + (p / (1 - p)) (number of users of j) / l, so that an item's own weight
//! grows with how many users it has. P = (X'X + l G)^-1, and the rest is the same.
//!
//! P is items x items. Where there are fewer users than items, it is not formed. With A = X G^-1 X' + l I (users x
//! users), the Woodbury identity gives
//! - diag(P)_j = (1 - x_j' A^-1 x_j / g_j) / (l g_j), with x_j the column of item j,
//! - h P = (h - (h G^-1 X') A^-1 X) G^-1 / l, which for the row of user u in X is row u of A^-1 X G^-1.
//!
//! Both sides compute the same scores; on `citeulike-t` (5,219 users, 25,181 items) the users' side takes a
//! hundredth of the operations. The model keeps the inverse (on the users' side also X), so memory is 4 bytes
//! times the square of the smaller number.
//!
//! It only uses the history: new users are scored like known ones. On the users' side, a training user's own
//! history costs one pass over the log; any other history costs one more row of the inverse for each user who
//! shares an item with it.
//!
//! Computed in `f32`, with pivots inverted in `f64`. Errors grow with the condition number, (largest eigenvalue
//! of X X') / l2 + 1: at l2 = 50 scores have five correct digits, at l2 = 1 about three, and where `f32` cannot
//! tell the matrix from a singular one the fit is refused. Repeats count once; weights and order are ignored.

use crate::parts::baskets::{self, baskets, distinct};
use crate::parts::settings::{self, Checked};
use rankstill_core::kernel::cholesky::{NotPositiveDefinite, invert};
use rankstill_core::kernel::csr::Csr;
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::{
    Error, Fit, Interactions, ItemId, Model, ModelConfig, Query, Recipe, Result, Scorer, Stop,
    Tensors,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The linear autoencoder in closed form, computed on the smaller side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ease {
    /// Added to the diagonal of X'X; in users. Larger for denser logs.
    pub l2: f64,
    /// Probability that an item of a history is dropped (EDLAE): larger means less trust in an item's own past. 0 = EASE.
    pub dropout: f64,
}

impl Default for Ease {
    fn default() -> Self {
        Self { l2: 50.0, dropout: 0.0 }
    }
}

impl Checked for Ease {
    fn check(&self) -> Result<()> {
        settings::must(self.l2 > 0.0 && self.l2 <= 1e9, "l2", "above 0 and at most 1e9", self.l2)?;
        settings::dropout(self.dropout)
    }
}

impl Ease {
    /// With P itself.
    fn by_items(&self, baskets: &Csr, stop: &Stop) -> Result<Autoencoder> {
        let users_of = baskets.transpose();
        let penalty = |item: usize| (self.l2 * self.share(users_of.row(item).len())) as f32;
        let inverse = self.inverse_of_gram((&users_of, baskets), |_| 1.0, penalty, stop)?;
        let n = baskets.n_cols();
        let scale = (0..n).map(|item| 1.0 / inverse[item * n + item]).collect();
        Ok(Autoencoder { scale, inverse, users: None })
    }

    /// With A^-1 and P's diagonal.
    fn by_users(&self, baskets: Csr, stop: &Stop) -> Result<Autoencoder> {
        let users_of = baskets.transpose();
        let weights = self.weights(&users_of);
        let of_item = |item: usize| weights[item];
        let l2 = |_| self.l2 as f32;
        let inverse = self.inverse_of_gram((&baskets, &users_of), of_item, l2, stop)?;
        let n = baskets.n_rows();
        let scale = (0..users_of.n_rows()).into_par_iter().map(|item| {
            // x' A^-1 x: the inverse is symmetric, so half of it and the diagonal suffice.
            let users = users_of.row(item);
            let mut share = 0.0f64;
            for (at, &user) in users.iter().enumerate() {
                let row = &inverse[user as usize * n..][..n];
                let sum = |others: &[u32]| {
                    others.iter().fold(0.0, |sum, &other| sum + f64::from(row[other as usize]))
                };
                share += 2.0 * sum(&users[..at]) + f64::from(row[user as usize]);
            }
            // P_jj is never below 1 / (X'X + l G)_jj; rounding must not push it there.
            let penalty = self.l2 * self.share(users.len());
            let least = penalty / (users.len() as f64 + penalty);
            (1.0 / (1.0 - share / self.share(users.len())).max(least)) as f32
        });
        let scale = scale.collect();
        let users = Some(Users { l2: self.l2 as f32, baskets, users_of, weights });
        Ok(Autoencoder { scale, inverse, users })
    }

    /// g of an item with this number of users: its penalty is l2 times that.
    fn share(&self, n_users: usize) -> f64 {
        1.0 + self.dropout / (1.0 - self.dropout) * n_users as f64 / self.l2
    }

    /// 1 / g of every item.
    fn weights(&self, users_of: &Csr) -> Vec<f32> {
        let weight = |item| (1.0 / self.share(users_of.row(item).len())) as f32;
        (0..users_of.n_rows()).map(weight).collect()
    }

    /// (M W M' + L)^-1 of a binary matrix and its transpose, with the diagonals of W (by columns) and L (by rows).
    fn inverse_of_gram(
        &self,
        (rows, columns): (&Csr, &Csr),
        weight: impl Fn(usize) -> f32 + Sync,
        penalty: impl Fn(usize) -> f32 + Sync,
        stop: &Stop,
    ) -> Result<Vec<f32>> {
        let n = rows.n_rows();
        let mut gram = vec![0.0f32; n * n];
        gram.par_chunks_mut(n.max(1)).enumerate().with_min_len(8).for_each(|(i, gram)| {
            if stop.asked() {
                return;
            }
            for &column in rows.row(i) {
                let weight = weight(column as usize);
                // Ascending: the lower triangle is enough.
                for &j in columns.row(column as usize).iter().take_while(|&&j| j as usize <= i) {
                    gram[j as usize] += weight;
                }
            }
            gram[i] += penalty(i);
        });
        stop.check()?;
        invert(&mut gram, n, &|| stop.asked()).map_err(|NotPositiveDefinite { at, pivot }| {
            let problem = format!(
                "{} is too small for these data in f32 (pivot {at} of {n} is {pivot:e}); raise it",
                self.l2
            );
            settings::invalid("l2", problem)
        })?;
        stop.check()?;
        Ok(gram)
    }
}

impl Recipe for Ease {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        self.check()?;
        let baskets = baskets(train);
        let by_users = train.n_users() < train.n_items();
        Ok(Box::new(match by_users {
            true => self.by_users(baskets, &fit.stop)?,
            false => self.by_items(&baskets, &fit.stop)?,
        }))
    }
}

impl ModelConfig for Ease {
    fn kind(&self) -> &'static str {
        "ease"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let bad = |name: &str, problem: String| Error::Tensor { name: name.into(), problem };
        let n_items = baskets::read_n_items(tensors)?;
        let scale = tensors.f32s("scale", n_items)?.to_vec();
        // Files of the items' side have no log. A file of the users' side that lost it still has a part of the
        // log, or an inverse of the wrong size.
        let users = match tensors.get("starts").or(tensors.get("items")) {
            None => None,
            Some(_) => {
                let baskets = baskets::read(tensors, n_items, false)?;
                let users_of = baskets.transpose();
                let weights = self.weights(&users_of);
                Some(Users { l2: self.l2 as f32, users_of, baskets, weights })
            }
        };
        let n = users.as_ref().map_or(n_items, |users| users.baskets.n_rows());
        let inverse = unpacked(tensors.f32s("inverse", n * (n + 1) / 2)?, n);
        for (name, numbers) in [("scale", &scale), ("inverse", &inverse)] {
            if let Some(odd) = numbers.iter().find(|value| !value.is_finite()) {
                return Err(bad(name, format!("expected finite numbers, found {odd}")));
            }
        }
        Ok(Box::new(Autoencoder { scale, inverse, users }))
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        let n = n_users.min(n_items) as u64;
        // The inverse, and half of it again when it is saved; the elimination's panels; the log, twice.
        6 * n * n + 2048 * n + 8 * n_interactions as u64 + 16 * (n_users + n_items) as u64
    }
}

/// A fitted autoencoder.
struct Autoencoder {
    /// On the items' side 1 / P_jj, on the users' side 1 / (l2 g_j P_jj).
    scale: Vec<f32>,
    /// P or A^-1, whole and symmetric.
    inverse: Vec<f32>,
    /// Set on the users' side.
    users: Option<Users>,
}

/// What the users' side needs in addition.
struct Users {
    l2: f32,
    baskets: Csr,
    users_of: Csr,
    /// 1 / g of every item.
    weights: Vec<f32>,
}

impl Autoencoder {
    /// h P of each query, times l2 G on the users' side.
    fn times_inverse(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let n_items = self.n_items();
        let Some(users) = &self.users else {
            for (query, out) in queries.iter().zip(out.chunks_exact_mut(n_items)) {
                out.fill(0.0);
                for item in self.known(query) {
                    axpy(1.0, &self.inverse[item as usize * n_items..][..n_items], out);
                }
            }
            return;
        };
        // (a vector over users) X, all queries at once: a query's sums have the same order alone and in a batch.
        let (n_users, n) = (users.baskets.n_rows(), queries.len());
        let mut vectors = vec![0.0; n_users * n];
        let mut whole = vec![false; n];
        let mut vector = vec![0.0; n_users];
        for (at, query) in queries.iter().enumerate() {
            let known = self.known(query);
            match query.user {
                Some(user)
                    if (user as usize) < n_users
                        && users.baskets.row(user as usize) == known.as_slice() =>
                {
                    whole[at] = true;
                    vector.copy_from_slice(&self.inverse[user as usize * n_users..][..n_users]);
                    vector.iter_mut().for_each(|x| *x *= users.l2);
                }
                _ => self.sharing_users(users, &known, &mut vector),
            }
            vectors.iter_mut().skip(at).step_by(n).zip(&vector).for_each(|(to, x)| *to = *x);
        }
        let mut products = vec![0.0; n_items * n];
        users.users_of.multiply(Rows::dense(&vectors, n_users, n), false, &mut products, n);
        for (at, (query, out)) in queries.iter().zip(out.chunks_exact_mut(n_items)).enumerate() {
            out.iter_mut().zip(products[at..].iter().step_by(n)).for_each(|(out, x)| *out = *x);
            if !whole[at] {
                out.iter_mut().for_each(|out| *out = -*out);
                self.known(query).iter().for_each(|&item| out[item as usize] += 1.0);
            }
        }
    }

    /// (h G^-1 X') A^-1
    fn sharing_users(&self, users: &Users, history: &[ItemId], out: &mut [f32]) {
        let n = out.len();
        let mut shared = vec![0.0f32; n];
        for &item in history {
            for &user in users.users_of.row(item as usize) {
                shared[user as usize] += users.weights[item as usize];
            }
        }
        out.fill(0.0);
        for (user, &shared) in shared.iter().enumerate().filter(|(_, shared)| **shared > 0.0) {
            axpy(shared, &self.inverse[user * n..][..n], out);
        }
    }

    /// The items of the history that are in the catalogue, ascending, each once.
    fn known(&self, query: &Query<'_>) -> Vec<ItemId> {
        let mut items = distinct(query.history);
        items.retain(|&item| (item as usize) < self.n_items());
        items
    }
}

impl Scorer for Autoencoder {
    fn n_items(&self) -> usize {
        self.scale.len()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let n_items = self.n_items();
        if n_items == 0 {
            return;
        }
        for (queries, out) in queries.chunks(BATCH).zip(out.chunks_mut(BATCH * n_items)) {
            self.times_inverse(queries, out);
            // h B = h - h P / diag(P)
            for (query, out) in queries.iter().zip(out.chunks_exact_mut(n_items)) {
                out.iter_mut().zip(&self.scale).for_each(|(out, scale)| *out *= -scale);
                self.known(query).iter().for_each(|&item| out[item as usize] += 1.0);
            }
        }
    }
}

/// Queries that share a pass over the log.
const BATCH: usize = 16;

impl Model for Autoencoder {
    fn tensors(&self) -> Tensors {
        let n = self.users.as_ref().map_or(self.n_items(), |users| users.baskets.n_rows());
        let triangle = packed(&self.inverse, n);
        let mut tensors = Tensors::default();
        baskets::insert_n_items(&mut tensors, self.n_items());
        tensors.insert("scale", &[self.scale.len()], self.scale.clone());
        tensors.insert("inverse", &[triangle.len()], triangle);
        if let Some(users) = &self.users {
            baskets::insert(&mut tensors, &users.baskets);
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        let n = self.users.as_ref().map_or(self.n_items(), |users| users.baskets.n_rows());
        let log = self.users.as_ref().map_or(0, |users| users.baskets.n_entries());
        n * (n + 1) / 2 + self.scale.len() + log
    }
}

/// The lower triangle, row by row.
fn packed(matrix: &[f32], n: usize) -> Vec<f32> {
    let mut triangle = Vec::with_capacity(n * (n + 1) / 2);
    (0..n).for_each(|i| triangle.extend_from_slice(&matrix[i * n..][..=i]));
    triangle
}

/// The symmetric matrix whose lower triangle [`packed`] returned.
fn unpacked(triangle: &[f32], n: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; n * n];
    let mut rest = triangle;
    for i in 0..n {
        let (row, after) = rest.split_at(i + 1);
        rest = after;
        matrix[i * n..][..=i].copy_from_slice(row);
        (0..i).for_each(|j| matrix[j * n + i] = row[j]);
    }
    matrix
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;
    use rankstill_core::Lists;
    use rankstill_core::kernel::rng::Rng;

    fn log(n_items: usize, lines: Vec<Vec<u32>>) -> Arc<Interactions> {
        Arc::new(Interactions::new(n_items, Lists::from_iter(lines), None, None).unwrap())
    }

    fn scores(model: &dyn Model, user: Option<u32>, history: &[u32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; model.n_items()];
        model.score(&[Query { user, history, hidden: &[] }], &mut out);
        out
    }

    fn close(found: &[f32], expected: &[f64], within: f64) {
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < within, "{i}: {found}, {expected}");
        }
    }

    #[test]
    fn two_users_and_two_items_by_hand_on_both_sides() {
        // X = [1 1; 1 0], l2 = 1: X'X + I = [3 1; 1 2], P = [2 -1; -1 3] / 5, B = [0 1/3; 1/2 0].
        let baskets = baskets(&log(2, vec![vec![0, 1, 1], vec![0]]));
        let recipe = Ease { l2: 1.0, ..Ease::default() };
        for model in [
            recipe.by_items(&baskets, &Stop::default()).unwrap(),
            recipe.by_users(baskets, &Stop::default()).unwrap(),
        ] {
            close(&scores(&model, None, &[0]), &[0.0, 1.0 / 3.0], 1e-6);
            close(&scores(&model, Some(1), &[0]), &[0.0, 1.0 / 3.0], 1e-6);
            close(&scores(&model, None, &[1]), &[0.5, 0.0], 1e-6);
            close(&scores(&model, Some(0), &[1, 0]), &[0.5, 1.0 / 3.0], 1e-6);
            close(&scores(&model, None, &[]), &[0.0, 0.0], 1e-9);
        }
    }

    #[test]
    fn with_dropout_an_item_with_more_users_is_penalised_more() {
        // The same X, l2 = 1, dropout = 1/2: the penalties are 1 + 2 and 1 + 1. X'X + L = [5 1; 1 3], P = [3 -1; -1 5]
        // / 14, B = [0 1/5; 1/3 0].
        let baskets = baskets(&log(2, vec![vec![0, 1, 1], vec![0]]));
        let recipe = Ease { l2: 1.0, dropout: 0.5 };
        for model in [
            recipe.by_items(&baskets, &Stop::default()).unwrap(),
            recipe.by_users(baskets, &Stop::default()).unwrap(),
        ] {
            close(&scores(&model, None, &[0]), &[0.0, 0.2], 1e-6);
            close(&scores(&model, Some(1), &[0]), &[0.0, 0.2], 1e-6);
            close(&scores(&model, Some(0), &[1, 0]), &[1.0 / 3.0, 0.2], 1e-6);
        }
    }

    /// h B by the definition, all in f64: X'X + l I is inverted by Gauss and Jordan's elimination.
    fn naive(train: &Interactions, recipe: &Ease, history: &[u32]) -> Vec<f64> {
        let n = train.n_items();
        let mut left = vec![0.0f64; n * n];
        for line in train.items().iter().map(distinct) {
            for &i in &line {
                line.iter().for_each(|&j| left[i as usize * n + j as usize] += 1.0);
            }
        }
        let mut p = vec![0.0f64; n * n];
        for i in 0..n {
            let of_dropout = recipe.dropout / (1.0 - recipe.dropout) * left[i * n + i];
            left[i * n + i] += of_dropout + recipe.l2;
            p[i * n + i] = 1.0;
        }
        for k in 0..n {
            let pivot = left[k * n + k];
            for c in 0..n {
                left[k * n + c] /= pivot;
                p[k * n + c] /= pivot;
            }
            for i in (0..n).filter(|&i| i != k) {
                let factor = left[i * n + k];
                for c in 0..n {
                    left[i * n + c] -= factor * left[k * n + c];
                    p[i * n + c] -= factor * p[k * n + c];
                }
            }
        }
        let score = |j: usize| {
            let others = history.iter().map(|&i| i as usize).filter(|&i| i != j);
            others.fold(0.0, |sum, i| sum - p[i * n + j] / p[j * n + j])
        };
        (0..n).map(score).collect()
    }

    #[test]
    fn both_sides_are_the_definition_for_known_and_new_users_and_other_histories() {
        let mut rng = Rng::new(5);
        for (n_users, n_items) in [(30, 70), (90, 40)] {
            let lines = (0..n_users).map(|user| {
                let n = 3 + rng.below(6) + if user % 10 == 0 { 20 } else { 0 };
                (0..n).map(|_| rng.below(n_items as u32) * rng.below(2)).collect()
            });
            let train = log(n_items, lines.collect());
            for (l2, dropout, within) in
                [(0.5, 0.0, 1e-3), (20.0, 0.0, 1e-5), (5.0, 0.3, 1e-5), (20.0, 0.8, 1e-5)]
            {
                let recipe = Ease { l2, dropout };
                let baskets = baskets(&train);
                let models = [
                    recipe.by_items(&baskets, &Stop::default()).unwrap(),
                    recipe.by_users(baskets, &Stop::default()).unwrap(),
                ];
                for user in [0, 7, 19u32] {
                    let own = distinct(train.history(user));
                    let expected = naive(&train, &recipe, &own);
                    let part = naive(&train, &recipe, &own[1..]);
                    for model in &models {
                        close(&scores(model, Some(user), &own), &expected, within);
                        close(&scores(model, None, &own), &expected, within);
                        close(&scores(model, Some(user), &own[1..]), &part, within);
                    }
                }
            }
        }
    }

    #[test]
    fn the_users_side_passes_the_generic_tests_too() {
        // 48 users and 40 items use the items' side; with twice as many items, half of them without users, the
        // users' side.
        let narrow = testing::blocks();
        let wide = log(80, narrow.items().iter().map(<[u32]>::to_vec).collect());
        let recipe = Ease { l2: 2.0, dropout: 0.2 };
        let model = testing::fit(&recipe, &wide, 1);
        assert!(model.tensors().get("starts").is_some());
        let loaded = recipe.load(&model.tensors()).unwrap();
        for user in 0..48 {
            let history = wide.history(user);
            for (user, history) in [(Some(user), history), (None, &history[..4])] {
                let found = scores(&*model, user, history);
                assert_eq!(scores(&*loaded, user, history), found);
                let wanted = scores(&*testing::fit(&recipe, &narrow, 1), user, history);
                let wanted: Vec<f64> = wanted.iter().map(|&x| f64::from(x)).collect();
                close(&found[..40], &wanted, 1e-5);
                assert!(found[40..].iter().all(|&x| x == 0.0), "no user has them");
            }
        }
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| testing::fit(&recipe, &wide, 1).tensors())
        };
        assert!(on(1) == on(2) && on(1) == on(3) && on(1) == model.tensors());
        for missing in ["starts", "items", "inverse", "scale", "n_items"] {
            let mut rest = Tensors::default();
            for (name, tensor) in model.tensors().iter().filter(|(name, _)| *name != missing) {
                rest.insert(name, &tensor.shape, tensor.data.clone());
            }
            assert!(recipe.load(&rest).is_err(), "{missing}");
        }
    }

    #[test]
    fn corrupt_files_are_refused() {
        let recipe = Ease { l2: 1.0, ..Ease::default() };
        let tensors = recipe
            .by_users(baskets(&log(3, vec![vec![0, 1], vec![2]])), &Stop::default())
            .unwrap()
            .tensors();
        let spoil = |name: &str, data: rankstill_core::Data| {
            let mut tensors = tensors.clone();
            let shape = [data.len()];
            tensors.insert(name, &shape, data);
            recipe.load(&tensors).err().map(|error| error.to_string())
        };
        assert!(spoil("items", vec![0u32, 1, 3].into()).unwrap().contains("column 3"));
        assert!(spoil("items", vec![1u32, 0, 2].into()).unwrap().contains("rise"));
        assert!(spoil("starts", vec![0u64, 3].into()).unwrap().contains("inverse"));
        assert!(spoil("inverse", vec![f32::NAN; 3].into()).unwrap().contains("NaN"));
        assert!(spoil("n_items", vec![2u32].into()).unwrap().contains("scale"));
    }

    #[test]
    fn too_little_regularisation_is_refused_with_its_name() {
        // Two users with the same basket: X X' alone is singular.
        let train = log(3, vec![vec![0, 1, 2], vec![2, 1, 0]]);
        let recipe = Ease { l2: 1e-12, ..Ease::default() };
        let error = recipe.fit(&train, &mut Fit::seeded(1)).err().unwrap().to_string();
        assert!(error.starts_with("l2: 0.000000000001 is too small"), "{error}");
    }
}
