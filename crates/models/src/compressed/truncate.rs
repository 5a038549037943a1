//! Fewer dimensions without training: the best factors of rank `dim` of all scores P Q', in squares (Eckart & Young, 1936). The opponent
//! that a distilled student of as many dimensions must beat.
//!
//! With P'P = R_p' R_p and Q'Q = R_q' R_q, the singular values of R_p R_q' = A S B' are those of P Q', so nothing of size users x
//! items is formed: the new users are P R_q' B S^-1/2 and the new items Q R_p' A S^-1/2, the first `dim` columns of each. R is the root of
//! the Gram matrix by its eigenvectors, in `f64`, instead of a QR of the tall matrix: equal up to a rotation, and a table need
//! not have full rank.

use super::Compressor;
use super::rotation::rotated;
use super::vectors::Vectors;
use crate::bpr_mf::BprMf;
use crate::parts::settings::{Checked, invalid, must};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::svd::{Svd, gram, svd};
use rankstill_core::{Interactions, Model, ModelConfig as _, Result, Tensors};
use serde::{Deserialize, Serialize};

/// Fewer dimensions. The result is a plain matrix factorisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Truncate {
    /// Dimensions that are kept, at most the model's.
    pub dim: usize,
}

impl Default for Truncate {
    fn default() -> Self {
        Self { dim: 16 }
    }
}

impl Checked for Truncate {
    fn check(&self) -> Result<()> {
        must(self.dim > 0, "dim", "at least 1", self.dim)
    }
}

impl Compressor for Truncate {
    fn kind(&self) -> &'static str {
        "truncate"
    }

    fn compress(&self, model: &dyn Model, train: &Interactions, _: u64) -> Result<Box<dyn Model>> {
        let vectors = Vectors::with_users(model, train)?;
        if self.dim > vectors.dim {
            let problem = format!("must be at most the model's {}, is {}", vectors.dim, self.dim);
            return Err(invalid("compress.dim", problem));
        }
        let [users, items] = principal(&vectors, self.dim);
        let mut tensors = Tensors::default();
        tensors.insert("users", &[vectors.n_users(), self.dim], users);
        tensors.insert("items", &[vectors.n_items(), self.dim], items);
        self.load(&tensors)
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        BprMf { dim: self.dim, ..BprMf::default() }.load(tensors)
    }
}

/// Users and items in the `dim` directions that matter most to the scores, most first, both scaled alike.
pub(super) fn principal(vectors: &Vectors, dim: usize) -> [Vec<f32>; 2] {
    let d = vectors.dim;
    let users = Rows::dense(&vectors.users, vectors.n_users(), d);
    let roots = [users, vectors.item_rows()].map(|rows| root(&gram(rows), d));
    let between = product(&roots[0], &roots[1], d);
    let Svd { u, values, v } = svd(&between, d);
    // Users by R_q' B S^-1/2, items by R_p' A S^-1/2: row k is what the vectors are multiplied with for new number k.
    let turn = |root: &[f64], side: &[f64]| -> Vec<f32> {
        let row = |k: usize| {
            let scale = if values[k] > values[0] * 1e-12 { values[k].sqrt().recip() } else { 0.0 };
            (0..d).map(move |j| {
                let sum = (0..d).fold(0.0, |sum, i| sum + root[i * d + j] * side[i * d + k]);
                (sum * scale) as f32
            })
        };
        (0..dim).flat_map(row).collect()
    };
    [
        rotated(&vectors.users, d, &turn(&roots[1], &v)),
        rotated(&vectors.items, d, &turn(&roots[0], &u)),
    ]
}

/// R with R'R = g, for a Gram matrix g: the roots of its eigenvalues times its eigenvectors.
fn root(g: &[f64], n: usize) -> Vec<f64> {
    let Svd { values, v, .. } = svd(g, n);
    (0..n * n).map(|at| values[at / n].sqrt() * v[at % n * n + at / n]).collect()
}

/// `a b'`
fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b);
    (0..n * n).map(|at| dot(&a[at / n * n..][..n], &b[at % n * n..][..n])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of rank 3, in 5 dimensions that are far from orthogonal.
    fn vectors() -> Vectors {
        let mix = |n: usize, seed: usize| -> Vec<f32> {
            let three =
                |i: usize, k: usize| ((i * 31 + k * 17 + seed) * 7919 % 101) as f32 / 50.0 - 1.0;
            let row = |i: usize| {
                let [a, b, c] = [three(i, 0), 0.6 * three(i, 1), 0.3 * three(i, 2)];
                [a, b, c, a + b, a - c]
            };
            (0..n).flat_map(row).collect()
        };
        Vectors { dim: 5, users: mix(40, 3), items: mix(30, 5), inputs: None }
    }

    fn scores(users: &[f32], items: &[f32], dim: usize) -> Vec<f32> {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        users.chunks(dim).flat_map(|u| items.chunks(dim).map(move |i| dot(u, i))).collect()
    }

    fn error(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    #[test]
    fn the_rank_of_the_scores_is_enough() {
        let vectors = vectors();
        let all = scores(&vectors.users, &vectors.items, 5);
        for dim in [3, 4, 5] {
            let [users, items] = principal(&vectors, dim);
            let off = error(&scores(&users, &items, dim), &all);
            assert!(off < 1e-6, "{dim}: {off}");
        }
    }

    #[test]
    fn what_is_lost_is_the_rest_of_the_singular_values() {
        let vectors = vectors();
        let all = scores(&vectors.users, &vectors.items, 5);
        // Their squares from the scores themselves: eigenvalues of S'S, 30 x 30.
        let square = gram(Rows::dense(&all, 40, 30));
        let values = svd(&square, 30).values;
        for dim in [1, 2] {
            let [users, items] = principal(&vectors, dim);
            let lost = error(&scores(&users, &items, dim), &all);
            let expected: f64 = values[dim..].iter().sum();
            assert!((lost / expected - 1.0).abs() < 1e-3, "{dim}: {lost} {expected}");
        }
    }
}
