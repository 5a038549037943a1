//! Compressed models: what else than distillation makes a fitted model small. The item side of a factored model is replaced by codes
//! or by fewer numbers; the user side stays exact where a method does not code both.
//!
//! ```toml
//! kind = "compressed"
//! model = { kind = "implicit_als", dim = 64 }
//! compress = { kind = "int", bits = 4 }
//! ```
//!
//! The recipe fits `model` and compresses it; [`Compressor::compress`] takes a model that was fitted already. Compressors are an entry
//! of [`COMPRESSORS`] and a file each.
//!
//! **What can be compressed**: a factored model whose vector of a known user does not depend on the history (BPR-MF, ALS, LightGCN,
//! CML, an item table that `truncate` made), or is a sum over the history (FISM). Sequence models and autoencoders are refused: their
//! user side is a network.
//!
//! **Users.** The vectors of all training users are computed once, from the base. Who was not in training is folded in onto the
//! *decoded* items, by ridge regression as in `parts/fold_in.rs`, whatever the base does with new users: the base is gone. A last
//! column in which all users hold 1 is an item bias and is not folded in.
//!
//! **Sums over histories.** FISM has no users to keep. The items' input vectors are kept in 8 bits by every compressor, whatever it does
//! with the items that are scored; their bytes count as those of items. What would change users' vectors (`truncate`, `prune`, `dmf`,
//! `users = "signs"`) is refused.

mod dmf;
mod int;
mod itq;
mod ivf;
mod pq;
mod prune;
mod rotation;
mod sign;
mod truncate;
mod vectors;

pub use dmf::Dmf;
pub use int::Int;
pub use itq::Itq;
pub use ivf::Ivf;
pub use pq::{Opq, Pq};
pub use prune::Prune;
pub use sign::{CodedUsers, Sign};
pub use truncate::Truncate;

use crate::MODELS;
use crate::parts::settings::Checked;
use rankstill_core::registry::{self, Config, Entry};
use rankstill_core::{
    Configured, Fit, Interactions, Model, ModelConfig, Plan, Recipe, Result, Tensors,
    UnderPath as _,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// A way to make a fitted model smaller.
pub trait Compressor: Configured + Send + Sync {
    /// Its name in [`COMPRESSORS`].
    fn kind(&self) -> &'static str;

    /// The compressed model. `train` is the log that `model` was fitted on; the result depends on the three arguments alone.
    ///
    /// # Errors
    /// When the model has no vectors to compress, or the settings do not fit them.
    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>>;

    /// Rebuilds a compressed model from its [`Model::tensors`]. Checks everything: they may come from a file.
    ///
    /// # Errors
    /// When a tensor is missing or has the wrong shape.
    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>>;
}

/// Every compressor that a configuration can name.
pub static COMPRESSORS: &[Entry<dyn Compressor>] = &[
    Entry {
        name: "int",
        about: "item vectors in whole numbers of 8, 6, 4, 3, 2 or 1 bits",
        small: r#"{"bits": 6}"#,
        parse: parse_compressor::<Int>,
    },
    Entry {
        name: "truncate",
        about: "fewer dimensions: the best factors of that rank of all scores (SVD)",
        small: r#"{"dim": 6}"#,
        parse: parse_compressor::<Truncate>,
    },
    Entry {
        name: "sign",
        about: "a bit a dimension, or a random hyperplane, and the item's length",
        small: r#"{"planes": 64}"#,
        parse: parse_compressor::<Sign>,
    },
    Entry {
        name: "itq",
        about: "a bit a dimension after a learnt rotation, and the item's length (ITQ)",
        small: r#"{"rounds": 10}"#,
        parse: parse_compressor::<Itq>,
    },
    Entry {
        name: "pq",
        about: "parts of a vector as one of 256 or 16 centres (product quantisation)",
        small: r#"{"parts": 4, "centres": 256}"#,
        parse: parse_compressor::<Pq>,
    },
    Entry {
        name: "opq",
        about: "the same after a learnt rotation (optimised product quantisation)",
        small: r#"{"parts": 8, "centres": 16, "rounds": 3}"#,
        parse: parse_compressor::<Opq>,
    },
    Entry {
        name: "prune",
        about: "each item's first numbers, as many as it needs, after a rotation",
        small: r#"{"keep": 0.6}"#,
        parse: parse_compressor::<Prune>,
    },
    Entry {
        name: "ivf",
        about: "inverted lists of 8-bit numbers, of which a request looks into a few",
        small: r#"{"lists": 4, "probes": 4}"#,
        parse: parse_compressor::<Ivf>,
    },
    Entry {
        name: "dmf",
        about: "a bit a dimension on both sides, learnt from the log (Discrete Matrix Factorization)",
        small: r#"{"rounds": 5, "users": "exact"}"#,
        parse: parse_compressor::<Dmf>,
    },
];

/// Reads a compressor over its defaults, and checks it.
fn parse_compressor<T>(config: Config<'_>) -> Result<Box<dyn Compressor>>
where
    T: Checked + Compressor + Default + Serialize + DeserializeOwned + 'static,
{
    let compressor: T = config.read_over_default()?;
    compressor.check().under(config.path)?;
    Ok(Box::new(compressor))
}

/// A model and how it is compressed.
#[derive(Serialize)]
pub struct Compressed {
    model: Value,
    compress: Value,
    #[serde(skip)]
    recipe: Box<dyn Recipe>,
    #[serde(skip)]
    compressor: Box<dyn Compressor>,
}

impl Compressed {
    /// `recipe`'s models, compressed by `compressor`.
    #[must_use]
    pub fn new(recipe: Box<dyn Recipe>, compressor: Box<dyn Compressor>) -> Self {
        let model = named(recipe.kind(), recipe.config());
        let compress = named(compressor.kind(), compressor.config());
        Self { model, compress, recipe, compressor }
    }

    /// The model that is compressed.
    #[must_use]
    pub fn recipe(&self) -> &dyn Recipe {
        &*self.recipe
    }

    /// How it is compressed.
    #[must_use]
    pub fn compressor(&self) -> &dyn Compressor {
        &*self.compressor
    }
}

/// Settings with their kind.
fn named(kind: &str, config: Value) -> Value {
    let mut table = json!({ "kind": kind });
    if let (Some(table), Value::Object(settings)) = (table.as_object_mut(), config) {
        table.extend(settings);
    }
    table
}

/// Reads the recipe of the registry.
pub(crate) fn parse(config: Config<'_>) -> Result<Box<dyn Recipe>> {
    #[derive(Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Tables {
        model: Value,
        compress: Value,
    }
    impl Default for Tables {
        fn default() -> Self {
            Self { model: json!({"kind": "bpr_mf"}), compress: json!({"kind": "int"}) }
        }
    }
    let Tables { model, compress } = config.read()?;
    let path = |key: &str| match config.path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    let (_, recipe) = registry::parse(MODELS, Config { path: &path("model"), value: &model })?;
    let (_, compressor) =
        registry::parse(COMPRESSORS, Config { path: &path("compress"), value: &compress })?;
    Ok(Box::new(Compressed::new(recipe, compressor)))
}

impl Recipe for Compressed {
    fn fit(&self, train: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        let seed = fit.seed;
        let model = self.recipe.fit(train, fit)?;
        self.compressor.compress(&*model, train, seed)
    }

    fn training_plan(&self) -> Option<&Plan> {
        self.recipe.training_plan()
    }
}

impl ModelConfig for Compressed {
    fn kind(&self) -> &'static str {
        "compressed"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        self.compressor.load(tensors)
    }

    fn memory(&self, n_users: usize, n_items: usize, n_interactions: usize) -> u64 {
        // The base's vectors once more, rotated.
        2 * self.recipe.memory(n_users, n_items, n_interactions)
    }
}

#[cfg(test)]
mod tests;
