//! Which teachers are tried, and with which settings: rankers that take seconds, cheapest first.
//!
//! Which of these settings is best on a log is decided on its validation data.

use super::Effort;
use serde_json::{Value, json};

/// What decides which rankers are worth their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of users.
    pub users: usize,
    /// Number of items.
    pub items: usize,
    /// Number of training interactions.
    pub rows: usize,
    /// Whether the order of a user's interactions is known.
    pub ordered: bool,
    /// Whether some interactions have a weight below 0, which no confidence can be.
    pub negative: bool,
}

/// A ranker with settings that are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its row in the tables.
    pub name: String,
    /// Of each group the best is kept.
    pub group: &'static str,
    /// As in an experiment.
    pub settings: Value,
}

/// EASE keeps a matrix of the smaller side: at most this many users or items, a matrix of 0.6 GB.
const LARGEST_INVERSE: usize = 12_500;
/// With more effort: 3.6 GB.
const LARGEST_INVERSE_THOROUGH: usize = 30_000;
/// A sequence model reads every history in every epoch.
const MOST_SEQUENCE_ROWS: usize = 1_000_000;
/// The same with little effort.
const MOST_SEQUENCE_ROWS_QUICK: usize = 100_000;
/// With more of them it has one block: two take twice as long.
const TWO_BLOCKS_ROWS: usize = 150_000;

/// The candidates for a log of this shape, in the order in which they are fitted.
#[must_use]
pub fn candidates(shape: &Shape, effort: Effort) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut tried = |group: &'static str, settings: &[(&str, Value)]| {
        for (name, settings) in settings.iter().take(effort.settings()) {
            all.push(Candidate { name: (*name).into(), group, settings: settings.clone() });
        }
    };
    tried("pop", &[("POP", json!({"kind": "pop"}))]);
    tried(
        "item_cf",
        &[
            ("ItemCF", json!({"kind": "item_cf"})),
            ("ItemCF-wide", json!({"kind": "item_cf", "neighbours": 500})),
            (
                "ItemCF-corrected",
                json!({"kind": "item_cf", "user_activity": 0.5, "popularity": 0.2}),
            ),
        ],
    );
    if effort > Effort::Quick {
        tried("user_knn", &[("UserKNN", json!({"kind": "user_knn"}))]);
    }
    tried(
        "path",
        &[
            ("Path", json!({"kind": "path"})),
            ("Turbo-CF", json!({"kind": "path", "preset": "turbo_cf"})),
            ("GF-CF", json!({"kind": "path", "preset": "gf_cf"})),
            ("BSPM", json!({"kind": "path", "preset": "bspm_em"})),
        ],
    );
    let smaller = shape.users.min(shape.items);
    let thorough = effort == Effort::Thorough;
    if smaller <= if thorough { LARGEST_INVERSE_THOROUGH } else { LARGEST_INVERSE } {
        tried(
            "ease",
            &[
                ("EDLAE", json!({"kind": "ease", "l2": 50.0, "dropout": 0.5})),
                ("EASE-200", json!({"kind": "ease", "l2": 200.0})),
                ("EDLAE-200", json!({"kind": "ease", "l2": 200.0, "dropout": 0.3})),
                ("EASE-1000", json!({"kind": "ease", "l2": 1000.0})),
                ("EASE-50", json!({"kind": "ease", "l2": 50.0})),
            ],
        );
    }
    let als = |dim: usize, l2: f64| json!({"kind": "implicit_als", "dim": dim, "l2": l2, "binary": shape.negative});
    tried(
        "implicit_als",
        &[
            ("iALS-128", als(128, 0.03)),
            ("iALS-64", als(64, 0.03)),
            ("iALS-64-firm", als(64, 0.1)),
            ("iALS-256", als(256, 0.03)),
            ("iALS-128-firm", als(128, 0.1)),
            ("iALS-128-loose", als(128, 0.01)),
            ("iALS-512", als(512, 0.03)),
        ],
    );
    let most = if effort == Effort::Quick { MOST_SEQUENCE_ROWS_QUICK } else { MOST_SEQUENCE_ROWS };
    if shape.ordered && shape.rows <= most {
        // Many negatives and a high rate reach more in five epochs than the paper's one negative in twenty. Of
        // fifty items they learn no more at these rates, in twice the time.
        let two = thorough || (effort == Effort::Normal && shape.rows <= TWO_BLOCKS_ROWS);
        let blocks = if two { 2 } else { 1 };
        let epochs = if effort == Effort::Quick { 4 } else { 12 };
        let sequence = |length: usize, rate: f64| {
            json!({
                "kind": "sas_rec", "blocks": blocks, "length": length,
                "loss": {"kind": "softmax", "negatives": 256},
                "optimizer": {"kind": "adam", "learning_rate": rate},
                "train": {"epochs": epochs, "validate_every": 1, "patience": 2},
            })
        };
        tried("sas_rec", &[("SASRec", sequence(20, if two { 0.003 } else { 0.005 }))]);
        if thorough {
            tried("sas_rec", &[("SASRec-slow", sequence(50, 0.001))]);
        }
    }
    all
}
