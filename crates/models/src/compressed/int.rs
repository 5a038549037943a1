//! Item vectors in whole numbers: item i becomes `s_i c_i` with c of few bits. The scale is the one with the least squared error; the
//! common `max|q| / (2^(b-1) - 1)` is among those tried, and better only at 6 and 8 bits, where it is taken.
//!
//! With `rotate`, vectors are first turned by a random orthogonal matrix, which makes the numbers of a vector equally large on average
//! and so the largest of them smaller: it matters at 3 bits and below. Queries are turned along.

use super::Compressor;
use super::rotation::{random_rotation, rotated};
use super::vectors::Vectors;
use crate::parts::coded::{CompressedModel, load_ints};
use crate::parts::settings::{Checked, invalid};
use rankstill_core::kernel::codes::{BITS, Ints, MOST_DIMENSIONS, Scale};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::{Interactions, Model, Result, Tensors};
use serde::{Deserialize, Serialize};

/// Items in whole numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Int {
    /// Bits of a number: 8, 6, 4, 3, 2 or 1.
    pub bits: u32,
    /// Whether vectors are rotated first.
    pub rotate: bool,
}

impl Default for Int {
    fn default() -> Self {
        Self { bits: 8, rotate: false }
    }
}

impl Checked for Int {
    fn check(&self) -> Result<()> {
        if BITS.contains(&self.bits) {
            return Ok(());
        }
        Err(invalid("bits", format!("must be 8, 6, 4, 3, 2 or 1, is {}", self.bits)))
    }
}

impl Compressor for Int {
    fn kind(&self) -> &'static str {
        "int"
    }

    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>> {
        let mut vectors = Vectors::of(model, train)?;
        let rotation = self.rotate.then(|| random_rotation(vectors.dim, seed));
        let codes = pack(&vectors, rotation.as_deref(), self.bits, Scale::Nearest)?;
        let users = vectors.exact_users();
        Ok(Box::new(CompressedModel::new(vectors.dim, users, rotation, Box::new(codes))))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let codes = Box::new(load_ints(tensors, self.bits)?);
        Ok(Box::new(CompressedModel::loaded(tensors, codes, self.rotate, false)?))
    }
}

/// The items' codes, rotated if there is a rotation.
pub(super) fn pack(
    vectors: &Vectors,
    rotation: Option<&[f32]>,
    bits: u32,
    scale: Scale,
) -> Result<Ints> {
    let rotated = rotation.map(|rotation| rotated(&vectors.items, vectors.dim, rotation));
    let items = rotated.as_ref().unwrap_or(&vectors.items);
    packed(Rows::dense(items, vectors.n_items(), vectors.dim), bits, scale)
}

/// The codes of some rows.
pub(super) fn packed(rows: Rows<'_>, bits: u32, scale: Scale) -> Result<Ints> {
    let dim = rows.dim();
    Ints::pack(rows, bits, scale).ok_or_else(|| {
        let problem = format!(
            "codes hold up to {MOST_DIMENSIONS} moderate numbers an item; this model has {dim}, or extreme ones"
        );
        invalid("compress", problem)
    })
}
