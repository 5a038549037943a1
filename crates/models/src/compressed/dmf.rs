//! Learnt codes: Discrete Matrix Factorization for implicit feedback (Lian, Xie & Chen, "Discrete matrix factorization and extension for
//! fast item recommendation", TKDE 2021). Users and items are vectors of -1 and 1 that minimise
//!
//! ```text
//! sum of the log's (K - b d)^2 + rho sum of all other pairs' (b d)^2 - 2 (b, alpha Pb + beta Pd) - 2 (d, alpha Qb + beta Qd)
//! ```
//!
//! with K the number of bits, Pb the centred codes (bits should be balanced) and Pd the nearest matrix with orthogonal columns (and
//! independent); Qb and Qd alike. Alternating least squares with a binary row step ([`als::signs`]): items, then users, given the other side.
//!
//! Differs from the paper in the start, which is ITQ of the model that is compressed instead of the same problem in reals; as many bits
//! as that model has dimensions. With `users = "exact"` users get, at the end, the real vectors that solve the same problem.

use super::Compressor;
use super::itq::fitted_rotation;
use super::rotation::rotated;
use super::sign::{CodedUsers, load};
use super::vectors::Vectors;
use crate::parts::baskets::distinct;
use crate::parts::coded::{CompressedModel, Users};
use crate::parts::settings::{Checked, invalid, must, not_negative, positive};
use rankstill_core::kernel::als::{self, HalfPass};
use rankstill_core::kernel::codes::{Hamming, Ints, Scale, signs};
use rankstill_core::kernel::csr::Csr;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::svd::{Svd, gram, svd};
use rankstill_core::{Interactions, Model, Result, Tensors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Codes learnt from the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dmf {
    /// Weight of pairs that are not in the log.
    pub rho: f64,
    /// How much bits should be balanced.
    pub alpha: f64,
    /// How much bits should be independent.
    pub beta: f64,
    /// Rounds over items and users.
    pub rounds: usize,
    /// What is kept of the users.
    pub users: CodedUsers,
}

impl Default for Dmf {
    fn default() -> Self {
        Self { rho: 0.01, alpha: 0.01, beta: 0.01, rounds: 10, users: CodedUsers::Signs }
    }
}

impl Checked for Dmf {
    fn check(&self) -> Result<()> {
        positive("rho", self.rho)?;
        must(self.rho <= 1.0, "rho", "at most 1", self.rho)?;
        not_negative("alpha", self.alpha)?;
        not_negative("beta", self.beta)?;
        must(self.rounds > 0, "rounds", "at least 1", self.rounds)
    }
}

impl Compressor for Dmf {
    fn kind(&self) -> &'static str {
        "dmf"
    }

    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>> {
        let vectors = Vectors::with_users(model, train)?;
        let (bits, stride) = (vectors.dim, vectors.dim.next_multiple_of(16));
        let rotation = fitted_rotation(&vectors, STARTING_ROUNDS, seed);
        let start = |rows: &[f32]| {
            let turned = rotated(rows, bits, &rotation);
            let mut signs = vec![0.0; rows.len() / bits * stride];
            for (signs, row) in signs.chunks_exact_mut(stride).zip(turned.chunks_exact(bits)) {
                signs
                    .iter_mut()
                    .zip(row)
                    .for_each(|(to, x)| *to = if *x >= 0.0 { 1.0 } else { -1.0 });
            }
            signs
        };
        let (mut users, mut items) = (start(&vectors.users), start(&vectors.items));
        let of_users = self.log(train);
        let of_items = of_users.transpose();
        for _ in 0..self.rounds {
            self.step(&of_items, &users, &mut items, bits);
            self.step(&of_users, &items, &mut users, bits);
        }
        let unpadded = |rows: &[f32]| -> Vec<f32> {
            rows.chunks_exact(stride).flat_map(|row| &row[..bits]).copied().collect()
        };
        let codes = unpadded(&items);
        let rows = Rows::dense(&codes, vectors.n_items(), bits);
        let extreme = || invalid("compress", "this model has too many dimensions");
        let model = match self.users {
            CodedUsers::Signs => {
                let words = unpadded(&users).chunks_exact(bits).flat_map(signs).collect();
                let codes = Box::new(Hamming::pack(rows, false).ok_or_else(extreme)?);
                CompressedModel::new(bits, Users::Signs(words), None, codes)
            }
            CodedUsers::Exact => {
                let others = Rows::dense(&items, vectors.n_items(), stride);
                let gram = als::gram(others, &items);
                let l2 = vec![1.0; train.n_users()];
                let half = HalfPass { extra: &of_users, others, gram: &gram, l2: &l2 };
                users.par_chunks_mut(CHUNK * stride).enumerate().for_each(|(chunk, out)| {
                    let first = chunk * CHUNK;
                    als::exact(half, first..first + out.len() / stride, out);
                });
                let codes = Box::new(Ints::pack(rows, 1, Scale::Length).ok_or_else(extreme)?);
                CompressedModel::new(bits, Users::Exact(unpadded(&users)), None, codes)
            }
        };
        Ok(Box::new(model))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        load(tensors, false, self.users)
    }
}

impl Dmf {
    /// Users x items: what a pair of the log counts more than another, in units of rho.
    fn log(&self, train: &Interactions) -> Csr {
        let (mut offsets, mut items) = (vec![0], Vec::new());
        for user in 0..train.n_users() {
            items.extend(distinct(train.items().row(user)));
            offsets.push(items.len());
        }
        let values = vec![(1.0 / self.rho - 1.0) as f32; items.len()];
        Csr::new(train.n_items(), offsets, items, Some(values)).expect("items of the catalogue")
    }

    /// One side, given the other.
    fn step(&self, log: &Csr, others: &[f32], own: &mut [f32], bits: usize) {
        let stride = bits.next_multiple_of(16);
        let pull = self.pull(own, stride);
        let others_rows = Rows::dense(others, others.len() / stride, stride);
        let gram = als::gram(others_rows, others);
        let l2 = vec![0.0; log.n_rows()];
        let half = HalfPass { extra: log, others: others_rows, gram: &gram, l2: &l2 };
        let chunks = own.par_chunks_mut(CHUNK * stride).zip(pull.par_chunks(CHUNK * stride));
        chunks.enumerate().for_each(|(chunk, (own, pull))| {
            let rows = chunk * CHUNK..chunk * CHUNK + own.len() / stride;
            als::signs(half, bits as f32, pull, CYCLES, rows, own);
        });
    }

    /// What draws codes towards balanced and independent bits, in units of rho.
    fn pull(&self, codes: &[f32], stride: usize) -> Vec<f32> {
        let n = codes.len() / stride;
        let mut mean = vec![0.0f64; stride];
        for row in codes.chunks_exact(stride) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / n as f64);
        }
        // sqrt(n) B (B'B)^-1/2, the multiple of the nearest matrix with orthonormal columns.
        let Svd { values, v, .. } = svd(&gram(Rows::dense(codes, n, stride)), stride);
        let root = |value: f64| if value > 1e-6 { (n as f64 / value).sqrt() } else { 0.0 };
        let turn: Vec<f32> = (0..stride * stride)
            .map(|at| {
                let (i, j) = (at / stride, at % stride);
                let terms =
                    (0..stride).map(|k| v[i * stride + k] * root(values[k]) * v[j * stride + k]);
                terms.sum::<f64>() as f32
            })
            .collect();
        let mut pull = rotated(codes, stride, &turn);
        let (alpha, beta) = (self.alpha / self.rho, self.beta / self.rho);
        for (pull, row) in pull.chunks_exact_mut(stride).zip(codes.chunks_exact(stride)) {
            for ((pull, x), mean) in pull.iter_mut().zip(row).zip(&mean) {
                *pull = (alpha * (f64::from(*x) - mean) + beta * f64::from(*pull)) as f32;
            }
        }
        pull
    }
}

/// Rounds of ITQ for the start.
const STARTING_ROUNDS: usize = 20;
/// Passes over the bits of a row.
const CYCLES: usize = 5;
/// Rows of a task.
const CHUNK: usize = 32;
