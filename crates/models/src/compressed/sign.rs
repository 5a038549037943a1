//! Signs: item i becomes `l_i sign(W q_i)`, a bit a dimension and its length l_i. Ignoring the length costs much: popularity is in it.
//!
//! W is the identity, or with `planes` random, normally distributed rows (locality-sensitive hashing by random hyperplanes, Charikar,
//! STOC 2002): more bits than dimensions are possible. With `users = "exact"` the score is `l_i (W p_u) sign(W q_i)`; with
//! `users = "signs"` users are coded too, and it is `l_i (b - 2 popcount(xor))`, whole numbers but for the length.

use super::Compressor;
use super::int;
use super::rotation::rotated;
use super::vectors::Vectors;
use crate::parts::coded::{CompressedModel, Stored, Users, insert_shape, load_ints, shape_of};
use crate::parts::settings::{Checked, invalid, must};
use rankstill_core::kernel::codes::{Hamming, MOST_DIMENSIONS, Scale, signs};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Error, Interactions, Model, Result, Tensors};
use serde::{Deserialize, Serialize};

/// Items as signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sign {
    /// Number of random hyperplanes, and so of bits; 0 = the signs of the vectors themselves.
    pub planes: usize,
    /// What is kept of the users.
    pub users: CodedUsers,
    /// Whether items keep their length.
    pub length: bool,
}

/// What a model of signs keeps of the users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodedUsers {
    /// Their vectors.
    #[default]
    Exact,
    /// Signs, as of the items.
    Signs,
}

impl CodedUsers {
    /// Of a fitted model, if its users can be kept so.
    pub(super) fn vectors(self, model: &dyn Model, train: &Interactions) -> Result<Vectors> {
        match self {
            Self::Exact => Vectors::of(model, train),
            Self::Signs => Vectors::with_users(model, train),
        }
    }
}

impl Default for Sign {
    fn default() -> Self {
        Self { planes: 0, users: CodedUsers::Exact, length: true }
    }
}

impl Checked for Sign {
    fn check(&self) -> Result<()> {
        let bound = format!("at most {MOST_DIMENSIONS}");
        must(self.planes <= MOST_DIMENSIONS, "planes", bound, self.planes)
    }
}

impl Compressor for Sign {
    fn kind(&self) -> &'static str {
        "sign"
    }

    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>> {
        let vectors = self.users.vectors(model, train)?;
        let planes = (self.planes > 0).then(|| {
            let mut planes = vec![0.0; self.planes * vectors.dim];
            Rng::keyed(seed, [PLANES]).fill_normal(&mut planes, 0.0, 1.0);
            planes
        });
        coded(vectors, planes, self.users, self.length)
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        load(tensors, self.planes > 0, self.users)
    }
}

/// The model of signs after a rotation.
pub(super) fn coded(
    mut vectors: Vectors,
    rotation: Option<Vec<f32>>,
    users: CodedUsers,
    length: bool,
) -> Result<Box<dyn Model>> {
    let dim = vectors.dim;
    let turn = |rows: &[f32]| match &rotation {
        Some(rotation) => rotated(rows, dim, rotation),
        None => rows.to_vec(),
    };
    let mut items = turn(&vectors.items);
    let bits = items.len() / vectors.n_items().max(1);
    // Random planes change lengths a little; the true ones are kept.
    for (coded, true_one) in
        items.chunks_exact_mut(bits.max(1)).zip(vectors.items.chunks_exact(dim.max(1)))
    {
        let norm = |row: &[f32]| row.iter().fold(0.0, |sum, x| sum + f64::from(*x).powi(2)).sqrt();
        let (found, wanted) = (norm(coded), if length { norm(true_one) } else { 1.0 });
        let scale = if found > 0.0 { (wanted / found) as f32 } else { 0.0 };
        coded.iter_mut().for_each(|x| *x *= scale);
    }
    let rows = Rows::dense(&items, vectors.n_items(), bits);
    let model = match users {
        CodedUsers::Exact => {
            let codes = int::packed(rows, 1, Scale::Length)?;
            CompressedModel::new(dim, vectors.exact_users(), rotation, Box::new(codes))
        }
        CodedUsers::Signs => {
            let Some(codes) = Hamming::pack(rows, length) else {
                return Err(invalid("compress", "this model has extreme numbers"));
            };
            let turned = turn(&vectors.users);
            let words = turned.chunks_exact(bits.max(1)).flat_map(signs).collect();
            CompressedModel::new(dim, Users::Signs(words), rotation, Box::new(codes))
        }
    };
    Ok(Box::new(model))
}

/// From the tensors of [`coded`].
pub(super) fn load(
    tensors: &Tensors,
    is_rotated: bool,
    users: CodedUsers,
) -> Result<Box<dyn Model>> {
    let codes: Box<dyn Stored> = match users {
        CodedUsers::Exact => Box::new(load_ints(tensors, 1)?),
        CodedUsers::Signs => Box::new(load_hamming(tensors)?),
    };
    let both = users == CodedUsers::Signs;
    Ok(Box::new(CompressedModel::loaded(tensors, codes, is_rotated, both)?))
}

fn load_hamming(tensors: &Tensors) -> Result<Hamming> {
    let (shape, words) = (shape_of(tensors)?, tensors.u32s("codes")?);
    let (lengths, n_lengths, _) = tensors.matrix("lengths")?;
    let table = Hamming::from_parts(shape, words, &lengths[..n_lengths]);
    let problem = || format!("{} words are not the signs of shape {shape:?}", words.len());
    table.ok_or_else(|| Error::Tensor { name: "codes".into(), problem: problem() })
}

impl Stored for Hamming {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let words = self.words();
        tensors.insert("codes", &[words.len()], words);
        tensors.insert("lengths", &[self.lengths().len(), 1], self.lengths().to_vec());
        insert_shape(&mut tensors, self);
        tensors
    }
}

/// Random stream of hyperplanes.
const PLANES: u64 = 0x504c_414e;
