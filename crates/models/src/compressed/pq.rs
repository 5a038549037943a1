//! Product quantisation of the items (Jegou, Douze & Schmid, TPAMI 2011): `parts` bytes an item with 256 centres, half of that with 16.
//! Queries stay exact (asymmetric), and a byte an item restores its length, in which popularity is: on CiteULike-t (iALS-64, 8 parts)
//! Recall@50 rises from 90% to 94% of the exact model's. See [`rankstill_core::kernel::codes::Products`].
//!
//! `opq` rotates the items first so that less is lost (optimised product quantisation, non-parametric; Ge, He, Ke & Sun, CVPR 2013): fit
//! centres, then the rotation nearest to what maps items to their decoded vectors, and so on; k-means goes on from its last centres.

use super::Compressor;
use super::rotation::{random_rotation, rotated};
use super::vectors::Vectors;
use crate::parts::coded::{CompressedModel, Stored, insert_shape, shape_of};
use crate::parts::settings::{Checked, invalid, must};
use rankstill_core::kernel::codes::{CodeTable, Products};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::svd::{cross, nearest_orthogonal};
use rankstill_core::{Error, Interactions, Model, Result, Tensors};
use serde::{Deserialize, Serialize};

/// Items as products of codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pq {
    /// Parts that a vector is cut into.
    pub parts: usize,
    /// Centres of a part: 256 or 16.
    pub centres: usize,
    /// Rounds of k-means.
    pub rounds: usize,
    /// Whether items keep their length.
    pub length: bool,
}

impl Default for Pq {
    fn default() -> Self {
        Self { parts: 8, centres: 256, rounds: 25, length: true }
    }
}

impl Checked for Pq {
    fn check(&self) -> Result<()> {
        must((1..=256).contains(&self.parts), "parts", "from 1 to 256", self.parts)?;
        must(self.centres == 256 || self.centres == 16, "centres", "256 or 16", self.centres)
    }
}

impl Compressor for Pq {
    fn kind(&self) -> &'static str {
        "pq"
    }

    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>> {
        let mut vectors = Vectors::of(model, train)?;
        let codes = Products::fit(vectors.item_rows(), self.parts, self.centres, self.rounds, seed);
        let mut codes = codes.ok_or_else(|| unfit(&vectors, self.parts))?;
        if self.length {
            codes.restore_lengths(vectors.item_rows());
        }
        let users = vectors.exact_users();
        Ok(Box::new(CompressedModel::new(vectors.dim, users, None, Box::new(codes))))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let codes = Box::new(load(tensors, self.parts, self.centres)?);
        Ok(Box::new(CompressedModel::loaded(tensors, codes, false, false)?))
    }
}

/// Items as products of codes, rotated first; a round is one of k-means and rotation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opq(pub Pq);

impl Checked for Opq {
    fn check(&self) -> Result<()> {
        self.0.check()
    }
}

impl Compressor for Opq {
    fn kind(&self) -> &'static str {
        "opq"
    }

    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>> {
        let Pq { parts, centres, rounds, length } = self.0;
        let mut vectors = Vectors::of(model, train)?;
        let (dim, n) = (vectors.dim, vectors.n_items());
        let mut rotation = random_rotation(dim, seed);
        let mut turned = rotated(&vectors.items, dim, &rotation);
        let first = Rows::dense(&turned, n, dim);
        let mut codes = Products::fit(first, parts, centres, STEPS, seed)
            .ok_or_else(|| unfit(&vectors, parts))?;
        for round in 0..rounds {
            let mut decoded = vec![0.0; n * dim];
            decoded
                .chunks_exact_mut(dim)
                .enumerate()
                .for_each(|(item, out)| codes.decode(item, out));
            let product = cross(Rows::dense(&decoded, n, dim), vectors.item_rows());
            rotation = nearest_orthogonal(&product, dim).iter().map(|&x| x as f32).collect();
            turned = rotated(&vectors.items, dim, &rotation);
            // At last until nothing moves, or nearly.
            let steps = if round + 1 == rounds { 4 * STEPS } else { STEPS };
            codes.refit(Rows::dense(&turned, n, dim), steps);
        }
        if length {
            codes.restore_lengths(Rows::dense(&turned, n, dim));
        }
        let users = vectors.exact_users();
        Ok(Box::new(CompressedModel::new(dim, users, Some(rotation), Box::new(codes))))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let codes = Box::new(load(tensors, self.0.parts, self.0.centres)?);
        Ok(Box::new(CompressedModel::loaded(tensors, codes, true, false)?))
    }
}

/// Rounds of k-means between two rotations.
const STEPS: usize = 4;

fn unfit(vectors: &Vectors, parts: usize) -> Error {
    let dim = vectors.dim;
    invalid("compress.parts", format!("{parts} parts of {dim} dimensions, or extreme numbers"))
}

fn load(tensors: &Tensors, parts: usize, n_centres: usize) -> Result<Products> {
    let (shape, codes) = (shape_of(tensors)?, tensors.u32s("codes")?);
    let (centres, ..) = tensors.matrix("centres")?;
    let table = Products::from_parts(shape, parts, n_centres, centres, codes);
    let problem = || format!("{} words are not codes of shape {shape:?}", codes.len());
    let table = table.ok_or_else(|| Error::Tensor { name: "codes".into(), problem: problem() })?;
    if tensors.get("lengths").or(tensors.get("length_step")).is_none() {
        return Ok(table); // `length = false`, or of a version that kept none
    }
    let (step, lengths) = (tensors.f32s("length_step", 1)?[0], tensors.u32s("lengths")?);
    table.with_lengths(step, lengths).ok_or_else(|| Error::Tensor {
        name: "lengths".into(),
        problem: format!("{} words in steps of {step} are not lengths of {shape:?}", lengths.len()),
    })
}

impl Stored for Products {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let codes = self.codes();
        tensors.insert("codes", &[codes.len()], codes);
        tensors.insert("centres", &[self.centres().len(), 1], self.centres().to_vec());
        if let Some((step, lengths)) = self.lengths() {
            tensors.insert("lengths", &[lengths.len()], lengths);
            tensors.insert("length_step", &[1], vec![step]);
        }
        insert_shape(&mut tensors, self);
        tensors
    }
}
