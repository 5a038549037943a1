//! Signs after the rotation that loses least (iterative quantisation, Gong & Lazebnik, CVPR 2011): over the unit-length vectors X of users
//! and items together, so that one rotation serves both sides, repeat B = sign(X O) and O = the rotation nearest to X'B.
//!
//! Unlike in the paper, vectors are not centred (scores are products), there are as many bits as dimensions, and items keep
//! their length by default: see [`Sign`](super::Sign).

use super::Compressor;
use super::rotation::{random_rotation, rotated};
use super::sign::{self, CodedUsers};
use super::vectors::Vectors;
use crate::parts::settings::{Checked, must};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::svd::{cross, nearest_orthogonal};
use rankstill_core::{Interactions, Model, Result, Tensors};
use serde::{Deserialize, Serialize};

/// Items as signs after a learnt rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Itq {
    /// Rounds of fitting the rotation.
    pub rounds: usize,
    /// What is kept of the users.
    pub users: CodedUsers,
    /// Whether items keep their length.
    pub length: bool,
}

impl Default for Itq {
    fn default() -> Self {
        Self { rounds: 50, users: CodedUsers::Exact, length: true }
    }
}

impl Checked for Itq {
    fn check(&self) -> Result<()> {
        must(self.rounds > 0, "rounds", "at least 1", self.rounds)
    }
}

impl Compressor for Itq {
    fn kind(&self) -> &'static str {
        "itq"
    }

    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>> {
        let vectors = self.users.vectors(model, train)?;
        let rotation = fitted_rotation(&vectors, self.rounds, seed);
        sign::coded(vectors, Some(rotation), self.users, self.length)
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        sign::load(tensors, true, self.users)
    }
}

/// The transpose of O, as queries are multiplied with it; from a random rotation.
pub(super) fn fitted_rotation(vectors: &Vectors, rounds: usize, seed: u64) -> Vec<f32> {
    let dim = vectors.dim;
    let mut unit = [vectors.users.as_slice(), &vectors.items].concat();
    for row in unit.chunks_exact_mut(dim.max(1)) {
        let length = row.iter().fold(0.0, |sum, x| sum + f64::from(*x).powi(2)).sqrt();
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / length.max(1e-30)) as f32);
    }
    let n = unit.len() / dim.max(1);
    let mut rotation = random_rotation(dim, seed);
    for _ in 0..rounds {
        let mut signs = rotated(&unit, dim, &rotation);
        signs.iter_mut().for_each(|x| *x = if *x >= 0.0 { 1.0 } else { -1.0 });
        // O is the rotation nearest to X'B, and its transpose that nearest to B'X.
        let product = cross(Rows::dense(&signs, n, dim), Rows::dense(&unit, n, dim));
        let nearest = nearest_orthogonal(&product, dim);
        rotation = nearest.iter().map(|&x| x as f32).collect();
    }
    rotation
}

#[cfg(test)]
mod tests {
    use super::*;
    use rankstill_core::kernel::rng::Rng;

    #[test]
    fn corners_of_a_turned_cube_become_signs() {
        let (dim, n) = (6, 200);
        let turn = random_rotation(dim, 8);
        let corner = |row: usize| {
            let mut rng = Rng::keyed(1, [row as u64]);
            let signs: Vec<f32> =
                (0..dim).map(|_| if rng.chance(0.5) { 1.0 } else { -1.0 }).collect();
            let length = 1.0 + rng.uniform();
            rotated(&signs, dim, &turn).into_iter().map(move |x| length * x)
        };
        let points: Vec<f32> = (0..n).flat_map(corner).collect();
        let (users, items) = points.split_at(60 * dim);
        let vectors = Vectors { dim, users: users.to_vec(), items: items.to_vec(), inputs: None };
        let error = |rotation: &[f32]| {
            let turned = rotated(&points, dim, rotation);
            let rows = turned.chunks(dim).map(|row| {
                let length = row.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
                let off = |x: &f32| (x.abs() / length - (dim as f32).sqrt().recip()).powi(2);
                row.iter().map(off).sum::<f32>()
            });
            rows.sum::<f32>() / n as f32
        };
        let [start, fitted] = [1, 50].map(|rounds| error(&fitted_rotation(&vectors, rounds, 3)));
        assert!(fitted < 1e-3 && fitted < start, "{start} {fitted}");
    }
}
