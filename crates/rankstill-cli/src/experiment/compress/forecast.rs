//! How long `compress` will take, before it begins: the work of every fit from the size of the log, on a machine as quick as this one.
//!
//! The costs below were measured on ml-100k, CiteULike-t and two Gowalla logs with two cores; a short fit tells how quick this machine is
//! beside that one. It is meant to be right within a factor of two.

use super::portfolio::Shape;
use rankstill::core::{Fit, Interactions, Lists, Recipe as _};
use rankstill::models::ImplicitAls;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Instant;

/// The seconds that fitting and measuring these models takes on the machine of reference.
pub fn seconds(models: &Map<String, Value>, shape: &Shape) -> f64 {
    let base = |settings: &Value| settings["like"].as_str().and_then(|name| models.get(name));
    let alone = |settings: &Value| of_model(settings, base(settings), shape);
    // An ensemble asks its members about every user, to be measured and to teach.
    let scores = shape.users as f64 * shape.items as f64;
    let sharpens =
        |name: &Value| name.as_str().and_then(|name| models.get(name)).is_some_and(is_sharpened);
    let asked = |settings: &Value| {
        let members = settings["members"].as_array().map_or(&[][..], Vec::as_slice);
        members.iter().filter(|name| sharpens(name)).count() as f64 * 9e-8 * scores
    };
    models.values().map(|settings| alone(settings) + asked(settings)).sum()
}

/// Whether it passes over all users several times to rank for them.
fn is_sharpened(settings: &Value) -> bool {
    settings["preset"] == "bspm_em"
}

/// `base`: the settings of the model that it is made from.
fn of_model(settings: &Value, base: Option<&Value>, shape: &Shape) -> f64 {
    let (users, items, rows) = (shape.users as f64, shape.items as f64, shape.rows as f64);
    let number = |path: &str, or: f64| settings.pointer(path).and_then(Value::as_f64).unwrap_or(or);
    let dim = number("/dim", 64.0);
    let scores = users * items; // as one list for each user reads them
    // Pairs of items of one user; histories are uneven.
    let pairs = 4.0 * rows * rows / users.max(1.0);
    let fit = match settings["kind"].as_str() {
        Some("item_cf" | "path") => {
            let preset = settings["preset"].as_str().unwrap_or_default();
            let low_rank = if ["gf_cf", "bspm_em"].contains(&preset) { 2e-5 * rows } else { 0.0 };
            // Each of several passes over all users sharpens their rows.
            let sharpened = if is_sharpened(settings) { 6e-8 * scores } else { 0.0 };
            2e-8 * pairs + low_rank + sharpened
        }
        Some("user_knn") => 2e-8 * pairs,
        Some("ease") => 1.3e-11 * users.min(items).powi(3),
        Some("implicit_als") => 12.0 * ((users + items) * dim * dim * 3e-10 + rows * dim * 2.4e-9),
        Some("sas_rec") => {
            // Taught, it asks the ensemble at every place of every history.
            let asked = if settings.get("distill").is_some() { 1.3e-7 * rows * items } else { 0.0 };
            number("/blocks", 1.0).powi(2) * 2.5e-5 * rows * 6.0 + asked
        }
        Some(kind @ ("bpr_mf" | "fism")) => {
            let epochs = number("/train/epochs", 10.0);
            let taught = settings.get("distill").is_some();
            // A user is taught once in each batch that holds a row of the user.
            let batch = number("/train/batch_size", 1024.0);
            let visits = (rows / batch) * users * (1.0 - (-batch / users.max(1.0)).exp());
            let lesson = match settings.pointer("/distill/rest/estimated") {
                Some(_) => 8e-6 + 2e-7 * dim,
                None => items * (1.5e-9 + 4e-11 * dim),
            };
            let lesson = if taught { visits * lesson } else { 0.0 };
            let history = if kind == "fism" { 1.3 } else { 1.0 };
            epochs * (history * lesson + rows * (5e-7 + 1e-8 * dim) + 5e-10 * scores)
        }
        _ => match settings.pointer("/compress/kind").and_then(Value::as_str) {
            // Fifty decompositions of a matrix of the dimensions.
            Some("itq") => {
                1.6e-6 * base.and_then(|base| base["dim"].as_f64()).unwrap_or(dim).powi(3)
            }
            Some(_) => 0.5,
            None => 5e-9 * scores, // an ensemble
        },
    };
    0.02 + fit + 1e-9 * scores
}

/// How much slower this machine is than that of reference.
pub fn slowness() -> f64 {
    let (users, items, each) = (2000u32, 2000u32, 20u32);
    // Twenty steps of at most 39 do not come round: no item of a user occurs twice.
    let line = |user: u32| (0..each).map(move |at| (user * 7 + at * (user % 13 + 1) * 3) % items);
    let Ok(log) =
        Interactions::new(items as usize, Lists::from_iter((0..users).map(line)), None, None)
    else {
        return 1.0;
    };
    let log = Arc::new(log);
    let work = ImplicitAls { dim: 64, iterations: 4, patience: 0, ..ImplicitAls::default() };
    let once = || {
        let began = Instant::now();
        let _ = work.fit(&log, &mut Fit::seeded(1));
        began.elapsed().as_secs_f64()
    };
    once().min(once()) / REFERENCE
}

/// The seconds of that fit on the machine of reference.
const REFERENCE: f64 = 0.030;
