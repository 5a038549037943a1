//! Every ranker, one file each. A new one is its file, its `mod`, and its line in [`MODELS`]; the generic tests, the CLI
//! and the docs find it there.

/// A learner answers as the model that it trains.
macro_rules! answers_as_its_model {
    ($learner:ty, $model:ident) => {
        impl rankstill_core::Scorer for $learner {
            fn n_items(&self) -> usize {
                self.$model.n_items()
            }

            fn score(&self, queries: &[rankstill_core::Query<'_>], out: &mut [f32]) {
                self.$model.score(queries, out);
            }

            fn factored(&self) -> Option<&dyn rankstill_core::Factored> {
                self.$model.factored()
            }
        }

        impl rankstill_core::Model for $learner {
            fn tensors(&self) -> rankstill_core::Tensors {
                self.$model.tensors()
            }

            fn n_parameters(&self) -> usize {
                self.$model.n_parameters()
            }
        }
    };
}

mod baskets;
#[cfg(feature = "trees")]
pub mod boosted_trees;
pub mod bpr_mf;
pub mod caser;
pub mod cml;
pub mod ease;
mod fold_in;
pub mod fossil;
pub mod implicit_als;
pub mod item_ae;
pub mod item_cf;
mod item_head;
mod item_panels;
pub mod light_gcn;
pub mod loss;
mod lr_schedule;
pub mod mult_vae;
pub mod multinomial;
pub mod neu_mf;
pub mod pop;
pub mod sar;
pub mod sas_rec;
pub mod simplex;
#[doc(hidden)]
pub mod testing;
pub mod user_knn;
mod users;

#[cfg(feature = "trees")]
pub use boosted_trees::BoostedTrees;
pub use bpr_mf::BprMf;
pub use caser::Caser;
pub use cml::Cml;
pub use ease::Ease;
pub use fossil::Fossil;
pub use implicit_als::ImplicitAls;
pub use item_ae::ItemAe;
pub use item_cf::ItemCf;
pub use light_gcn::LightGcn;
pub use loss::{Loss, LossKind, Sampled};
pub use mult_vae::MultVae;
pub use multinomial::Multinomial;
pub use neu_mf::NeuMf;
pub use pop::Pop;
pub use sar::Sar;
pub use sas_rec::SasRec;
pub use simplex::{Pooling, Simplex};
pub use user_knn::UserKnn;

use rankstill_core::registry::{Config, Entry};
use rankstill_core::{Error, Recipe, Result};
use serde::Serialize;
use serde_json::Value;

/// Every model that a configuration can name.
pub static MODELS: &[Entry<dyn Recipe>] = &[
    Entry {
        name: "pop",
        about: "the most popular items, the same for everybody",
        small: "{}",
        parse: pop::parse,
    },
    Entry {
        name: "item_cf",
        about: "items that were chosen together with those of the history (item-based nearest neighbours)",
        small: "{}",
        parse: item_cf::parse,
    },
    Entry {
        name: "user_knn",
        about: "what the users with the most similar histories have (user-based nearest neighbours)",
        small: "{}",
        parse: user_knn::parse,
    },
    Entry {
        name: "sar",
        about: "a user's affinity, which ages, times items' similarity (Smart Adaptive Recommendations)",
        small: "{}",
        parse: sar::parse,
    },
    #[cfg(feature = "trees")]
    Entry {
        name: "boosted_trees",
        about: "gradient-boosted trees over counts of items chosen together; a teacher only",
        small: "{}",
        parse: boosted_trees::parse,
    },
    Entry {
        name: "ease",
        about: "the linear autoencoder over items in closed form (EASE)",
        small: "{}",
        parse: ease::parse,
    },
    Entry {
        name: "implicit_als",
        about: "matrix factorisation by alternating least squares on confidences (implicit ALS)",
        small: "{}",
        parse: implicit_als::parse,
    },
    Entry {
        name: "bpr_mf",
        about: "matrix factorisation by BPR or another sampled loss; by any distiller as a student",
        small: "{}",
        parse: bpr_mf::parse,
    },
    Entry {
        name: "fossil",
        about: "item similarities and a Markov chain over the latest items (Fossil)",
        small: "{}",
        parse: fossil::parse,
    },
    Entry {
        name: "cml",
        about: "points in a ball: users near what they like (collaborative metric learning)",
        small: "{}",
        parse: cml::parse,
    },
    Entry {
        name: "simplex",
        about: "directions of users and items by a contrastive loss with many negatives (SimpleX, MF-CCL)",
        small: "{}",
        parse: simplex::parse,
    },
    Entry {
        name: "light_gcn",
        about: "matrix factorisation whose vectors are smoothed over the graph of users and items (LightGCN)",
        small: "{}",
        parse: light_gcn::parse,
    },
    Entry {
        name: "caser",
        about: "convolutions over the last items of a history, and the user (sequential); by any distiller as a student",
        small: "{}",
        parse: caser::parse,
    },
    Entry {
        name: "mult_vae",
        about: "autoencoder of a history with a multinomial likelihood (Mult-VAE, Mult-DAE); by any distiller as a student",
        small: "{}",
        parse: mult_vae::parse,
    },
    Entry {
        name: "neu_mf",
        about: "a product of vectors and a perceptron, fused (NeuMF); by any distiller as a student",
        small: "{}",
        parse: neu_mf::parse,
    },
    Entry {
        name: "sas_rec",
        about: "self-attention over the last items of a history (SASRec); by any distiller as a student",
        small: "{}",
        parse: sas_rec::parse,
    },
    Entry {
        name: "item_ae",
        about: "autoencoder of the users of an item, with a multinomial likelihood; a teacher only",
        small: "{}",
        parse: item_ae::parse,
    },
];

/// A setting that cannot be; `key` as the recipe's own fields are called.
fn invalid(key: &str, problem: impl Into<String>) -> Error {
    Error::Config { key: key.into(), problem: problem.into() }
}

/// The same error with the key in full, as it stands in the configuration.
fn located<T>(config: Config<'_>, checked: Result<T>) -> Result<T> {
    checked.map_err(|error| match error {
        Error::Config { key, problem } if !config.path.is_empty() => {
            Error::Config { key: format!("{}.{key}", config.path), problem }
        }
        other => other,
    })
}

/// A recipe's settings for [`Recipe::config`].
fn settings(recipe: &impl Serialize) -> Value {
    serde_json::to_value(recipe).expect("recipes are tables of numbers and words")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// Settings with which a model is small, quick, and still learns; one line a model that needs some.
    fn small(model: &str) -> Value {
        match model {
            "item_cf" => json!({"neighbours": 8}),
            "user_knn" => json!({"neighbours": 5}),
            "implicit_als" => json!({"dim": 8, "l2": 1.0}),
            "bpr_mf" => json!({
                "dim": 8,
                "item_bias": true,
                "loss": {"negatives": 2},
                "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
                "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "cml" => json!({
                "dim": 8,
                "loss": {"kind": {"hinge": {"margin": 0.5}}, "negatives": 2},
                "optimizer": {"kind": "adam", "learning_rate": 0.03},
                "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "simplex" => json!({
                "dim": 8,
                "init_std": 0.1,
                "loss": {"kind": {"cosine_contrastive": {"margin": 0.3, "weight": 2.0}}, "negatives": 5},
                "optimizer": {"kind": "adam", "learning_rate": 0.03},
                "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "light_gcn" => json!({
                "dim": 8,
                "layers": 2,
                "optimizer": {"kind": "adam", "learning_rate": 0.03},
                "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "fossil" => json!({
                "dim": 8,
                "order": 2,
                "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
                "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "caser" => json!({
                "dim": 8,
                "length": 3,
                "horizontal_filters": 4,
                "dropout": 0.2,
                "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.01},
                "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "neu_mf" => json!({
                "dim": 8,
                "mlp_dim": 8,
                "layers": [16, 8],
                "init_std": 0.1,
                "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.02},
                "train": {"epochs": 30, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "sas_rec" => json!({
                "dim": 16,
                "length": 6,
                "heads": 2,
                "dropout": 0.1,
                "init_std": 0.1,
                "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.01},
                "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8},
            }),
            "item_ae" => json!({
                "hidden": 16,
                "latent": 8,
                "beta": 0.05,
                "anneal_steps": 20,
                "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
                "train": {"epochs": 60, "batch_size": 16, "validate_every": 2, "patience": 15},
            }),
            "mult_vae" => json!({
                "hidden": 16,
                "latent": 8,
                "beta": 0.05,
                "anneal_steps": 20,
                "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
                "train": {"epochs": 60, "batch_size": 16, "validate_every": 2, "patience": 15},
            }),
            _ => json!({}),
        }
    }

    fn each(test: fn(&Entry<dyn Recipe>, &Value)) {
        MODELS.iter().for_each(|entry| test(entry, &small(entry.name)));
    }

    #[test]
    fn settings_round_trip() {
        each(testing::settings_round_trip);
    }

    #[test]
    fn every_rate_falls_to_its_share() {
        each(testing::rate_falls);
    }

    #[test]
    fn every_model_saves_and_loads() {
        each(testing::save_and_load);
    }

    #[test]
    fn every_model_answers_everybody() {
        each(testing::answers_everybody);
    }

    #[test]
    fn every_model_but_popularity_finds_the_held_out_item() {
        for entry in MODELS.iter().filter(|entry| entry.name != "pop") {
            testing::finds_the_held_out_item(entry, &small(entry.name));
        }
    }

    #[test]
    fn every_model_gives_the_same_bytes_on_any_threads() {
        each(testing::same_bytes_on_any_threads);
    }

    #[test]
    fn every_model_resumes_to_the_same_bytes() {
        each(testing::resumes_to_the_same_bytes);
    }
}
