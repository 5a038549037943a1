//! The students of a log: a ladder of dimensions, taught list-wise by the ensemble, alone, and made smaller afterwards; and the rivals
//! of distillation.

use super::Effort;
use super::portfolio::Shape;
use serde_json::{Map, Value, json};

/// Name of the ensemble in the tables.
pub const ENSEMBLE: &str = "Ensemble";

/// How often a user is to be taught in all: a list-wise loss is computed once in each batch that holds a row of the user.
const VISITS: f64 = 700.0;

/// The students of a log of this shape, in the order of the tables. `factored`: the factored teacher that rivals are made of.
#[must_use]
pub fn students(shape: &Shape, effort: Effort, factored: Option<&str>) -> Map<String, Value> {
    let mut all = Map::new();
    let dims: &[usize] = match effort {
        Effort::Quick => &[8, 16, 32],
        Effort::Normal | Effort::Thorough => &[4, 8, 16, 32, 64],
    };
    for &dim in dims {
        all.insert(format!("MF-{dim}/KD"), taught(factors(dim, epochs(shape))));
        if dim >= 16 {
            all.insert(format!("FISM-{dim}/KD"), taught(history(dim, epochs(shape))));
        }
    }
    for &dim in dims {
        all.insert(format!("MF-{dim}"), factors(dim, epochs(shape)));
    }
    for &dim in dims.iter().filter(|&&dim| dim >= 8) {
        for (name, bits) in [("int8", 8), ("int4", 4)] {
            for student in [format!("MF-{dim}/KD"), format!("FISM-{dim}/KD")] {
                if all.contains_key(&student) {
                    let compress = json!({"kind": "int", "bits": bits});
                    let settings = json!({"like": student, "compress": compress});
                    all.insert(format!("{student}/{name}"), settings);
                }
            }
        }
    }
    let rivals = [
        ("int8", json!({"kind": "int", "bits": 8})),
        ("int4", json!({"kind": "int", "bits": 4})),
        ("pq16", json!({"kind": "pq", "parts": 16})),
        ("pq8", json!({"kind": "pq", "parts": 8})),
        ("itq", json!({"kind": "itq"})),
    ];
    for (name, compress) in rivals {
        if let Some(teacher) = factored {
            all.insert(format!("{teacher}/{name}"), json!({"like": teacher, "compress": compress}));
        }
    }
    all
}

/// Epochs of a student, so that users are taught often enough and not without end.
fn epochs(shape: &Shape) -> usize {
    let rows_of_a_user = shape.rows as f64 / shape.users.max(1) as f64;
    let epochs = (VISITS / rows_of_a_user.max(1.0)).ceil() as usize;
    epochs.clamp(8, 60).next_multiple_of(4)
}

/// A row for each user and each item.
fn factors(dim: usize, epochs: usize) -> Value {
    json!({
        "kind": "bpr_mf",
        "dim": dim,
        "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": 0.004, "weight_decay": 1e-5},
        "train": {"epochs": epochs, "batch_size": 1024, "validate_every": 4, "patience": 3},
    })
}

/// A user is the sum of what the user had: no table of users.
fn history(dim: usize, epochs: usize) -> Value {
    let mut settings = factors(dim, epochs);
    settings["kind"] = json!("fism");
    settings
}

/// The same, taught the first fifty items of the ensemble in their order, above all others.
fn taught(mut settings: Value) -> Value {
    settings["distill"] = json!({
        "kind": "rrd", "mode": "direct", "k": 50, "lambda": 1.0, "teachers": [ENSEMBLE],
    });
    settings
}
