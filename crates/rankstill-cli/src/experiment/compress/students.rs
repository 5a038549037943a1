//! The students of a log: a ladder of dimensions, taught list-wise by the ensemble, alone, and made smaller afterwards; and the rivals
//! of distillation.

use super::Effort;
use super::portfolio::Shape;
use serde_json::{Map, Value, json};

/// Name of the ensemble in the tables.
pub const ENSEMBLE: &str = "Ensemble";

/// How often a user is to be taught in all: a list-wise loss is computed once in each batch that holds a row of the user.
const VISITS: f64 = 130.0;

/// The learning rate of Adam for vectors of one dimension; it falls with the root of their number, as the size of their entries does.
const RATE: f64 = 0.12;

/// With more training interactions an epoch takes so long that fewer sizes are tried.
const LARGE_ROWS: usize = 400_000;

/// From this many items on, the mass of the items that are not listed is estimated: on 22,392 items it takes half the time, and teaches
/// as much.
const MANY_ITEMS: usize = 10_000;

/// The students of a log of this shape, in the order of the tables. `factored`: the factored teacher that rivals are made of.
#[must_use]
pub fn students(shape: &Shape, effort: Effort, factored: Option<&str>) -> Map<String, Value> {
    let mut all = Map::new();
    let large = shape.rows > LARGE_ROWS;
    let dims: &[usize] = match effort {
        Effort::Quick if large => &[32],
        Effort::Quick => &[8, 16, 32],
        Effort::Normal if large => &[16, 32, 64],
        Effort::Normal | Effort::Thorough => &[4, 8, 16, 32, 64],
    };
    let epochs = epochs(shape);
    for &dim in dims {
        all.insert(format!("MF-{dim}/KD"), taught(shape, factors(dim, RATE, epochs)));
        if dim >= 16 {
            all.insert(format!("FISM-{dim}/KD"), taught(shape, history(dim, epochs)));
        }
    }
    for &dim in dims {
        // Without lists each row is a step on two items, and overfits at the rate that many items bear.
        all.insert(format!("MF-{dim}"), factors(dim, RATE / 8.0, epochs));
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
    // It takes longer than all others together.
    let too_slow = |name: &str| name == "itq" && effort == Effort::Quick;
    for (name, compress) in rivals.into_iter().filter(|(name, _)| !too_slow(name)) {
        if let Some(teacher) = factored {
            all.insert(format!("{teacher}/{name}"), json!({"like": teacher, "compress": compress}));
        }
    }
    all
}

/// The settings of a student of this kind, and of how a teacher teaches it, on a log of unknown size; `None` for kinds that are not on the
/// ladder. `dim`: its dimensions, where they are given.
#[must_use]
pub fn robust(kind: &str, dim: Option<usize>) -> Option<(Value, Value)> {
    let dim = dim.filter(|&dim| dim > 0).unwrap_or(DIM);
    let settings = match kind {
        "bpr_mf" => factors(dim, RATE, EPOCHS),
        "fism" => history(dim, EPOCHS),
        _ => return None,
    };
    Some((settings, lists()))
}

/// Dimensions and epochs where nothing is known of them and of the log.
const DIM: usize = 64;
const EPOCHS: usize = 12;

/// Epochs of a student, so that users are taught often enough and not without end.
fn epochs(shape: &Shape) -> usize {
    let rows_of_a_user = shape.rows as f64 / shape.users.max(1) as f64;
    let epochs = (VISITS / rows_of_a_user.max(1.0)).ceil() as usize;
    epochs.clamp(6, 20).next_multiple_of(2)
}

/// A row for each user and each item, beginning with those of ALS.
fn factors(dim: usize, rate: f64, epochs: usize) -> Value {
    let mut settings = student("bpr_mf", dim, rate, epochs);
    settings["start"] = json!("als");
    settings
}

/// A user is the sum of what the user had: no table of users.
fn history(dim: usize, epochs: usize) -> Value {
    student("fism", dim, RATE, epochs)
}

fn student(kind: &str, dim: usize, rate: f64, epochs: usize) -> Value {
    // Written with few digits into the experiment.
    let rate = (1e4 * rate / (dim as f64).sqrt()).round() / 1e4;
    json!({
        "kind": kind,
        "dim": dim,
        "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": rate, "weight_decay": 1e-5},
        "final_rate": 0.03,
        "train": {"epochs": epochs, "batch_size": 1024, "validate_every": 2, "patience": 10},
    })
}

/// The same, taught by the ensemble.
fn taught(shape: &Shape, mut settings: Value) -> Value {
    let mut lists = lists();
    lists["teachers"] = json!([ENSEMBLE]);
    lists["rest"] = match shape.items < MANY_ITEMS {
        true => json!("exact"),
        false => json!({"estimated": {"top": 100, "sample": 1000}}),
    };
    settings["distill"] = lists;
    settings
}

/// The method: the first fifty items of the teacher in their order, above all others.
#[must_use]
pub fn lists() -> Value {
    json!({"kind": "rrd", "mode": "direct", "k": 50, "lambda": 1.0})
}
