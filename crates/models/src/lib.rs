//! Rankers for implicit feedback, one module each. A configuration names them by their entry in [`MODELS`],
//! which also drives the command line, the documents and the generic tests. What several models share is in
//! [`parts`].
//!
//! ```
//! use rankstill_core::{Fit, Interactions, Query, Ranker, Recipe, TopK};
//! use rankstill_models::ItemCf;
//! use std::sync::Arc;
//!
//! # fn main() -> rankstill_core::Result<()> {
//! let pairs = [("ann", "tea"), ("ann", "milk"), ("ann", "bread"), ("bob", "milk"), ("bob", "bread"), ("cy", "tea"), ("cy", "jam")];
//! let log = Interactions::from_pairs(pairs);
//! let train = Arc::new(log.interactions);
//! let model = ItemCf::default().fit(&train, &mut Fit::seeded(1))?;
//!
//! // A new user who had milk: the best two of the other items.
//! let history = [log.items.get("milk").expect("in the log")];
//! let query = Query { user: None, history: &history, hidden: &[] };
//! let ranked = model.rank(&[query], &TopK::unseen(2))?;
//! let best: Vec<_> = ranked.items(0).iter().map(|&item| log.items.id(item)).collect();
//! assert_eq!(best, ["bread", "tea"]);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "trees")]
pub mod boosted_trees;
pub mod bpr_mf;
pub mod caser;
pub mod cf_gan;
pub mod cml;
pub mod compressed;
pub mod diff_rec;
pub mod ease;
pub mod fism;
pub mod fossil;
pub mod implicit_als;
pub mod item_ae;
pub mod item_cf;
pub mod light_gcn;
pub mod mult_vae;
pub mod neu_mf;
pub mod parts;
pub mod path;
pub mod pop;
pub mod sar;
pub mod sas_rec;
pub mod simplex;
pub mod slim;
#[doc(hidden)]
pub mod testing;
pub mod user_knn;
#[cfg(test)]
mod worked_example;

#[cfg(feature = "trees")]
pub use boosted_trees::BoostedTrees;
pub use bpr_mf::BprMf;
pub use caser::Caser;
pub use cf_gan::CfGan;
pub use cml::Cml;
pub use compressed::{COMPRESSORS, Compressed, Compressor};
pub use diff_rec::DiffRec;
pub use ease::Ease;
pub use fism::Fism;
pub use fossil::Fossil;
pub use implicit_als::ImplicitAls;
pub use item_ae::ItemAe;
pub use item_cf::ItemCf;
pub use light_gcn::LightGcn;
pub use mult_vae::MultVae;
pub use neu_mf::NeuMf;
pub use parts::loss::{Loss, LossKind, NegativePool, Sampled};
pub use parts::multinomial::Multinomial;
pub use path::Path;
pub use pop::Pop;
pub use sar::Sar;
pub use sas_rec::SasRec;
pub use simplex::{Pooling, Simplex};
pub use slim::Slim;
pub use user_knn::UserKnn;

use parts::settings::parse;
use rankstill_core::Recipe;
use rankstill_core::registry::Entry;

/// Every model that a configuration can name.
pub static MODELS: &[Entry<dyn Recipe>] = &[
    Entry {
        name: "pop",
        about: "the most popular items, the same for every user",
        small: "{}",
        parse: parse::<Pop>,
    },
    Entry {
        name: "item_cf",
        about: "item-based nearest neighbours (ItemCF)",
        small: r#"{"neighbours": 8}"#,
        parse: parse::<ItemCf>,
    },
    Entry {
        name: "user_knn",
        about: "user-based nearest neighbours (UserKNN)",
        small: r#"{"neighbours": 5}"#,
        parse: parse::<UserKnn>,
    },
    Entry {
        name: "sar",
        about: "a user's affinity, decaying with time, times item similarity (Smart Adaptive Recommendations)",
        small: r#"{"half_life_days": 7.0}"#,
        parse: parse::<Sar>,
    },
    Entry {
        name: "path",
        about: "weighted paths in the user-item graph, with low-rank and sharpening filters (GF-CF, Turbo-CF, LinkProp, BSPM, SVD-AE)",
        small: r#"{"low_rank": {"rank": 8}}"#,
        parse: Path::parse,
    },
    #[cfg(feature = "trees")]
    Entry {
        name: "boosted_trees",
        about: "gradient-boosted trees over co-occurrence counts; a teacher only",
        small: r#"{"candidates": 40}"#,
        parse: parse::<BoostedTrees>,
    },
    Entry {
        name: "ease",
        about: "linear autoencoder over items in closed form (EASE)",
        small: r#"{"l2": 50.0}"#,
        parse: parse::<Ease>,
    },
    Entry {
        name: "slim",
        about: "sparse linear item weights, not negative (SLIM)",
        small: r#"{"l2": 5.0}"#,
        parse: parse::<Slim>,
    },
    Entry {
        name: "implicit_als",
        about: "matrix factorisation by alternating least squares with confidences (implicit ALS)",
        small: r#"{"dim": 8}"#,
        parse: parse::<ImplicitAls>,
    },
    Entry {
        name: "bpr_mf",
        about: "matrix factorisation with BPR or another sampled loss",
        small: r#"{
            "dim": 8,
            "item_bias": true,
            "loss": {"negatives": 2},
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<BprMf>,
    },
    Entry {
        name: "fism",
        about: "a product of item vectors, with a user as the sum of the history's (FISM)",
        small: r#"{
            "dim": 8,
            "item_bias": true,
            "loss": {"negatives": 2},
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<Fism>,
    },
    Entry {
        name: "fossil",
        about: "item similarities and a Markov chain over the latest items (Fossil)",
        small: r#"{
            "dim": 8,
            "order": 2,
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<Fossil>,
    },
    Entry {
        name: "cml",
        about: "distances of points in a ball (collaborative metric learning, CML)",
        small: r#"{
            "dim": 8,
            "loss": {"kind": {"hinge": {"margin": 0.5}}, "negatives": 2},
            "optimizer": {"kind": "adam", "learning_rate": 0.03},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<Cml>,
    },
    Entry {
        name: "simplex",
        about: "cosine similarity, trained with a contrastive loss and many negatives (SimpleX, MF-CCL)",
        small: r#"{
            "dim": 8,
            "init_std": 0.1,
            "loss": {"kind": {"cosine_contrastive": {"margin": 0.3, "weight": 2.0}}, "negatives": 5},
            "optimizer": {"kind": "adam", "learning_rate": 0.03},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<Simplex>,
    },
    Entry {
        name: "light_gcn",
        about: "matrix factorisation smoothed over the user-item graph (LightGCN)",
        small: r#"{
            "dim": 8,
            "layers": 2,
            "optimizer": {"kind": "adam", "learning_rate": 0.03},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<LightGcn>,
    },
    Entry {
        name: "caser",
        about: "convolutions over the last items of a history, with user embeddings (Caser)",
        small: r#"{
            "dim": 8,
            "length": 3,
            "horizontal_filters": 4,
            "dropout": 0.2,
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.01},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<Caser>,
    },
    Entry {
        name: "mult_vae",
        about: "autoencoder of a history with a multinomial likelihood (Mult-VAE, Mult-DAE)",
        small: r#"{
            "hidden": 16,
            "latent": 8,
            "beta": 0.05,
            "anneal_steps": 20,
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
            "train": {"epochs": 60, "batch_size": 16, "validate_every": 2, "patience": 15}
        }"#,
        parse: parse::<MultVae>,
    },
    Entry {
        name: "diff_rec",
        about: "a denoiser of noisy histories, applied several times (DiffRec); a teacher only",
        small: r#"{
            "hidden": 16,
            "steps": 3,
            "dropout": 0.3,
            "optimizer": {"kind": "adam", "learning_rate": 0.02},
            "train": {"epochs": 60, "batch_size": 16, "validate_every": 2, "patience": 15}
        }"#,
        parse: parse::<DiffRec>,
    },
    Entry {
        name: "cf_gan",
        about: "a generator of histories trained against a discriminator (CFGAN); a teacher only",
        small: r#"{
            "by": "users",
            "hidden": 16,
            "discriminator": {"hidden": 8, "optimizer": {"kind": "adam", "learning_rate": 0.01}},
            "partial_masking": 0.3,
            "zero_reconstruction": 0.3,
            "optimizer": {"kind": "adam", "learning_rate": 0.01},
            "train": {"epochs": 60, "batch_size": 16, "validate_every": 2, "patience": 15}
        }"#,
        parse: parse::<CfGan>,
    },
    Entry {
        name: "neu_mf",
        about: "a product of embeddings and a perceptron, fused (NeuMF)",
        small: r#"{
            "dim": 8,
            "mlp_dim": 8,
            "layers": [16, 8],
            "init_std": 0.1,
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.02},
            "train": {"epochs": 30, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<NeuMf>,
    },
    Entry {
        name: "sas_rec",
        about: "self-attention over the last items of a history (SASRec)",
        small: r#"{
            "dim": 16,
            "length": 6,
            "heads": 2,
            "dropout": 0.1,
            "init_std": 0.1,
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.01},
            "train": {"epochs": 25, "batch_size": 64, "validate_every": 2, "patience": 8}
        }"#,
        parse: parse::<SasRec>,
    },
    Entry {
        name: "item_ae",
        about: "autoencoder of an item's users with a multinomial likelihood; a teacher only",
        small: r#"{
            "hidden": 16,
            "latent": 8,
            "beta": 0.05,
            "anneal_steps": 20,
            "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.03},
            "train": {"epochs": 60, "batch_size": 16, "validate_every": 2, "patience": 15}
        }"#,
        parse: parse::<ItemAe>,
    },
    Entry {
        name: "compressed",
        about: "a factored model whose item side is in codes or cut down (`compress`)",
        small: r#"{
            "model": {"kind": "implicit_als", "dim": 8},
            "compress": {"kind": "int", "bits": 6}
        }"#,
        parse: compressed::parse,
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn each(test: fn(&Entry<dyn Recipe>)) {
        MODELS.iter().for_each(test);
    }

    #[test]
    fn every_entry_has_small_settings_unless_the_model_has_none() {
        each(|entry| {
            let settings = testing::small(entry);
            let config = testing::parse(entry, &settings).config();
            let has_any = !config.as_object().unwrap().is_empty();
            assert_eq!(!settings.as_object().unwrap().is_empty(), has_any, "{}", entry.name);
        });
    }

    #[test]
    fn settings_round_trip() {
        each(|entry| testing::settings_round_trip(entry, &testing::small(entry)));
    }

    #[test]
    fn training_keys_are_all_settings_that_do_not_change_what_is_fitted() {
        each(|entry| {
            let recipe = testing::parse(entry, &testing::small(entry));
            let config = recipe.config();
            let is_training = |key: &&String| {
                ["train", "optimizer", "loss", "final_rate", "init_std", "start"]
                    .contains(&key.as_str())
            };
            let mut expected: Vec<&String> =
                config.as_object().unwrap().keys().filter(is_training).collect();
            let mut found = recipe.training_keys().to_vec();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{}", entry.name);
        });
    }

    #[test]
    fn every_rate_decays_to_its_share() {
        each(|entry| testing::rate_decays(entry, &testing::small(entry)));
    }

    #[test]
    fn every_model_saves_and_loads() {
        each(|entry| testing::save_and_load(entry, &testing::small(entry)));
    }

    #[test]
    fn every_model_ranks_for_every_query() {
        each(|entry| testing::ranks_for_every_query(entry, &testing::small(entry)));
    }

    #[test]
    fn every_model_but_popularity_finds_the_held_out_item() {
        for entry in MODELS.iter().filter(|entry| entry.name != "pop") {
            testing::finds_the_held_out_item(entry, &testing::small(entry));
        }
    }

    #[test]
    fn every_model_has_the_same_bytes_on_any_number_of_threads() {
        each(|entry| testing::same_bytes_on_any_threads(entry, &testing::small(entry)));
    }

    #[test]
    fn every_model_resumes_to_the_same_bytes() {
        each(|entry| testing::resumes_to_the_same_bytes(entry, &testing::small(entry)));
    }
}
