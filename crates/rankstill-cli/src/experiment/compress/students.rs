//! The students of a log: a ladder of dimensions, taught list-wise by the ensemble, alone, and made smaller afterwards; and the rivals
//! of distillation.

use super::Effort;
use super::portfolio::Shape;
use serde_json::{Map, Value, json};

/// Name of the ensemble in the tables.
pub const ENSEMBLE: &str = "Ensemble";

/// How often a user is to be taught in all (a list-wise loss is computed once in each batch that holds a row of the user), and the steps
/// that are to be taken at least, as far as batches can be smaller for it: with fewer a student has not arrived when the rate has fallen.
const ENOUGH: (f64, f64) = (200.0, 1000.0);
/// The same on more training interactions than [`SMALL_ROWS`].
const ENOUGH_LARGE: (f64, f64) = (130.0, 1000.0);
/// The same with little effort.
const ENOUGH_QUICK: (f64, f64) = (130.0, 500.0);
const SMALL_ROWS: usize = 100_000;

/// The learning rate of Adam for vectors of one dimension; it falls with the root of their number, as the size of their entries does.
const RATE: f64 = 0.12;

/// With more training interactions an epoch takes so long that fewer sizes are tried.
const LARGE_ROWS: usize = 400_000;

/// From this many items on, the mass of the items that are not listed is estimated: on 22,392 items it takes half the time, and teaches
/// as much.
const MANY_ITEMS: usize = 10_000;

/// A student that reads a history in its order takes longer than all others: up to so many training interactions.
const MOST_SEQUENCE_ROWS: usize = 150_000;
/// And it is taught at every place of every history, for which the ensemble has to rank all items there: for so many scores in all.
const MOST_SEQUENCE_SCORES: f64 = 3e8;
const SEQUENCE_DIM: usize = 32;
/// The weight of its lists: with more it is no better.
const SEQUENCE_LESSON: f64 = 0.02;

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
    let course = Course::of(shape, effort);
    for &dim in dims {
        all.insert(format!("MF-{dim}/KD"), taught(shape, factors(dim, RATE, course)));
        if dim >= 16 {
            all.insert(format!("FISM-{dim}/KD"), taught(shape, history(dim, course)));
        }
    }
    if shape.ordered && shape.rows <= MOST_SEQUENCE_ROWS && effort > Effort::Quick {
        // The only student that follows what a user does next.
        let name = format!("SASRec-{SEQUENCE_DIM}");
        if shape.rows as f64 * shape.items as f64 <= MOST_SEQUENCE_SCORES {
            let mut following = taught(shape, sequence());
            following["distill"]["lambda"] = json!(SEQUENCE_LESSON);
            all.insert(format!("{name}/KD"), following);
        }
        all.insert(name, sequence());
    }
    for &dim in dims {
        // Without lists each row is a step on two items, and overfits at the rate that many items bear.
        all.insert(format!("MF-{dim}"), factors(dim, RATE / 8.0, course));
    }
    for &dim in dims.iter().filter(|&&dim| dim >= 8) {
        for (name, bits) in [("int8", 8), ("int4", 4)] {
            for student in [format!("MF-{dim}/KD"), format!("FISM-{dim}/KD"), format!("MF-{dim}")] {
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
        "bpr_mf" => factors(dim, RATE, COURSE),
        "fism" => history(dim, COURSE),
        _ => return None,
    };
    Some((settings, lists()))
}

/// Dimensions and course where nothing is known of them and of the log.
const DIM: usize = 64;
const COURSE: Course = Course { epochs: 12, batch: 256 };

/// How long a student is taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    epochs: usize,
    /// Interactions of a step.
    batch: usize,
}

impl Course {
    /// So that users are taught often enough and not without end, in steps enough.
    fn of(shape: &Shape, effort: Effort) -> Self {
        let (visits, steps) = match effort {
            Effort::Quick => ENOUGH_QUICK,
            _ if shape.rows > SMALL_ROWS => ENOUGH_LARGE,
            _ => ENOUGH,
        };
        let rows_of_a_user = shape.rows as f64 / shape.users.max(1) as f64;
        let epochs = (visits / rows_of_a_user.max(1.0)).ceil() as usize;
        let epochs = epochs.clamp(6, 20).next_multiple_of(2);
        let batch = ((shape.rows * epochs) as f64 / steps) as usize;
        let batch = 1 << batch.clamp(256, 1024).ilog2();
        Self { epochs, batch }
    }
}

/// A row for each user and each item, beginning with those of ALS.
fn factors(dim: usize, rate: f64, course: Course) -> Value {
    let mut settings = student("bpr_mf", dim, rate, course);
    settings["start"] = json!("als");
    settings
}

/// A user is the sum of what the user had: no table of users.
fn history(dim: usize, course: Course) -> Value {
    student("fism", dim, RATE, course)
}

/// A user is what a small network makes of the latest items.
fn sequence() -> Value {
    json!({
        "kind": "sas_rec", "dim": SEQUENCE_DIM, "blocks": 1, "length": 20,
        "loss": {"kind": "softmax", "negatives": 256},
        "optimizer": {"kind": "adam", "learning_rate": 0.005},
        "train": {"epochs": 12, "batch_size": 256, "validate_every": 1, "patience": 2},
    })
}

fn student(kind: &str, dim: usize, rate: f64, course: Course) -> Value {
    // Written with few digits into the experiment.
    let rate = (1e4 * rate / (dim as f64).sqrt()).round() / 1e4;
    json!({
        "kind": kind,
        "dim": dim,
        "optimizer": {"kind": "adam", "mode": "exact", "learning_rate": rate, "weight_decay": 1e-5},
        "final_rate": 0.03,
        "train": {"epochs": course.epochs, "batch_size": course.batch, "validate_every": 2, "patience": 10},
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_log_has_smaller_batches_and_a_large_one_or_little_effort_fewer_visits() {
        let course = |users, rows, effort| {
            Course::of(&Shape { users, items: 5000, rows, ordered: true, negative: false }, effort)
        };
        // 8 rows a user: 20 epochs at most. 8,000 rows x 20 / 1,000 steps = 160: the smallest batch.
        assert_eq!(course(1000, 8000, Effort::Normal), Course { epochs: 20, batch: 256 });
        // 20 rows a user: 200 / 20 = 10 epochs. 40,000 x 10 / 1,000 = 400.
        assert_eq!(course(2000, 40_000, Effort::Normal), Course { epochs: 10, batch: 256 });
        // 130 / 20 = 6.5, in pairs 8; 40,000 x 8 / 500 = 640.
        assert_eq!(course(2000, 40_000, Effort::Quick), Course { epochs: 8, batch: 512 });
        assert_eq!(course(40_000, 800_000, Effort::Normal), Course { epochs: 8, batch: 1024 });
        assert_eq!(course(1000, 90_000, Effort::Normal), Course { epochs: 6, batch: 512 });
    }
}
