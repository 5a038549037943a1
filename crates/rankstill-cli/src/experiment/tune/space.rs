//! The search space: a range for each setting, and the trials drawn from the ranges.

use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::kernel::rng::Rng;
use rankstill::core::registry::Config;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The values that a setting may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Between two numbers above 0; equal ratios are equally likely.
    Log([f64; 2]),
    /// Between two numbers.
    Uniform([f64; 2]),
    /// An integer between two bounds, both included.
    Int([i64; 2]),
    /// The same, with equal ratios equally likely.
    LogInt([i64; 2]),
    /// One of these.
    Choice(Vec<Value>),
}

/// The kinds of ranges in an experiment file.
const WORDS: [&str; 5] = ["log", "uniform", "int", "log_int", "choice"];

/// Settings by key: the dotted path below `models.NAME`.
pub type Settings = Vec<(String, Value)>;

/// The ranges of one model, in the order of the file.
///
/// # Errors
/// Names the key that is wrong and what would be right.
pub fn ranges(model: &str, table: &Value) -> Result<Vec<(String, Range)>> {
    let path = format!("tune.models.{model}");
    let mut found = Vec::new();
    let table = table.as_object().with_context(|| format!("{path}: expected a table of ranges"))?;
    collect(&path, "", table, &mut found)?;
    ensure!(!found.is_empty(), "{path}: is empty; name at least one setting with its range");
    Ok(found)
}

/// A key may be dotted (`"optimizer.learning_rate"`) or written as nested tables.
fn collect(
    path: &str,
    key: &str,
    table: &Map<String, Value>,
    found: &mut Vec<(String, Range)>,
) -> Result<()> {
    for (name, value) in table {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        let Some(inner) = value.as_object() else {
            bail!("{path}.{key}: expected a range such as {{ log = [1e-4, 1e-1] }}, found {value}");
        };
        let range = inner.keys().next().is_some_and(|word| {
            WORDS.contains(&word.as_str()) || !inner.values().all(Value::is_object)
        });
        if !range {
            collect(path, &key, inner, found)?;
            continue;
        }
        let path = format!("{path}.{key}");
        let range: Range = Config { path: &path, value }.read()?;
        range.check().map_err(|problem| anyhow::anyhow!("{path}: {problem}"))?;
        if found.iter().any(|(other, _)| *other == key) {
            bail!("{path}: is given twice");
        }
        found.push((key, range));
    }
    Ok(())
}

/// Up to `n` distinct settings that are not in `known`, the same for the same seed and model. Fewer if the ranges hold no more.
#[must_use]
pub fn draw(
    model: &str,
    ranges: &[(String, Range)],
    n: usize,
    seed: u64,
    known: &[Settings],
) -> Vec<Settings> {
    let mut drawn: Vec<Settings> = Vec::new();
    let mut seen: BTreeSet<String> = known.iter().map(|one| json!(one).to_string()).collect();
    for attempt in 0..100 * n as u64 {
        if drawn.len() == n {
            break;
        }
        let mut rng = Rng::keyed(seed, [TRIAL, hash(model), attempt]);
        let settings: Settings =
            ranges.iter().map(|(key, range)| (key.clone(), range.draw(&mut rng))).collect();
        if seen.insert(json!(settings).to_string()) {
            drawn.push(settings);
        }
    }
    drawn
}

impl Range {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Log([low, high]) if !(*low > 0.0 && low < high && high.is_finite()) => {
                Err(format!("log: expected two numbers, 0 < low < high, found [{low}, {high}]"))
            }
            Self::Uniform([low, high]) if !(low < high && (high - low).is_finite()) => {
                Err(format!("uniform: expected two numbers, low < high, found [{low}, {high}]"))
            }
            Self::Int([low, high]) if low >= high || high.abs_diff(*low) >= u64::from(u32::MAX) => {
                Err(format!("int: expected two whole numbers, low < high, found [{low}, {high}]"))
            }
            Self::LogInt([low, high]) if !(*low > 0 && low < high) => {
                let found = format!("found [{low}, {high}]");
                Err(format!("log_int: expected two whole numbers, 0 < low < high, {found}"))
            }
            Self::Choice(values) if values.is_empty() => Err("choice: is empty".into()),
            _ => Ok(()),
        }
    }

    fn draw(&self, rng: &mut Rng) -> Value {
        let between = |low: f64, high: f64, share: f64| low + share * (high - low);
        match self {
            Self::Log([low, high]) => {
                let value = between(low.ln(), high.ln(), rng.uniform_f64()).exp();
                json!(rounded(value, value).clamp(*low, *high))
            }
            Self::Uniform([low, high]) => {
                let value = between(*low, *high, rng.uniform_f64());
                json!(rounded(value, high - low).clamp(*low, *high))
            }
            Self::Int([low, high]) => {
                json!(low + i64::from(rng.below(high.abs_diff(*low) as u32 + 1)))
            }
            Self::LogInt([low, high]) => {
                // Half a step of room at both ends, so that they are as likely as their neighbours.
                let (from, to) = ((*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln());
                let value = between(from, to, rng.uniform_f64()).exp().round();
                json!((value as i64).clamp(*low, *high))
            }
            Self::Choice(values) => values[rng.below(values.len() as u32) as usize].clone(),
        }
    }
}

/// Rounded to three digits of `scale`, as a person would write it.
fn rounded(value: f64, scale: f64) -> f64 {
    let places = 2 - scale.log10().floor() as i32;
    let power = 10f64.powi(places.abs());
    if places >= 0 { (value * power).round() / power } else { (value / power).round() * power }
}

/// Separates the draws of trials from all other draws.
const TRIAL: u64 = 0x5452_4941;

/// FNV-1a, the same on every machine.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(table: Value) -> Result<Vec<(String, Range)>> {
        ranges("MF", &table)
    }

    #[test]
    fn draws_stay_in_their_ranges_and_fill_them() {
        let table = json!({
            "optimizer.learning_rate": {"log": [1e-4, 1e-1]},
            "distill": {"lambda": {"uniform": [0.5, 10.0]}, "k": {"int": [5, 8]}},
            "train.batch_size": {"log_int": [1, 1000]},
            "dim": {"choice": [8, 16]},
        });
        let ranges = of(table).unwrap();
        let keys: Vec<&str> = ranges.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["optimizer.learning_rate", "distill.lambda", "distill.k", "train.batch_size", "dim"]
        );
        let drawn = draw("MF", &ranges, 3000, 7, &[]);
        assert_eq!(drawn.len(), 3000);
        let column = |at: usize| -> Vec<f64> {
            drawn.iter().map(|settings| settings[at].1.as_f64().unwrap()).collect()
        };
        let share = |at: usize, below: f64| {
            column(at).iter().filter(|&&value| value < below).count() as f64 / 3000.0
        };
        for (at, low, high) in
            [(0, 1e-4, 1e-1), (1, 0.5, 10.0), (2, 5.0, 8.0), (3, 1.0, 1000.0), (4, 8.0, 16.0)]
        {
            assert!(column(at).iter().all(|value| (low..=high).contains(value)), "{at}");
        }
        assert!((share(0, 1e-3) - 1.0 / 3.0).abs() < 0.03, "a third in each decade");
        assert!((share(1, 5.25) - 0.5).abs() < 0.03);
        assert!((share(2, 5.5) - 0.25).abs() < 0.03, "four whole numbers alike");
        assert!((share(3, 31.6) - 0.5).abs() < 0.05);
        assert!((share(4, 10.0) - 0.5).abs() < 0.03);
        assert!(drawn.iter().all(|one| one[0].1.to_string().len() <= 9), "three digits");
        assert_eq!(drawn[..9], draw("MF", &ranges, 9, 7, &[]), "more trials keep the first ones");
        assert_ne!(drawn[..9], draw("MF", &ranges, 9, 8, &[]));
        assert_ne!(drawn[..9], draw("FM", &ranges, 9, 7, &[]));
    }

    #[test]
    fn a_small_space_is_tried_whole_and_nothing_twice() {
        let ranges = of(json!({"a": {"choice": [1, 2, 3]}, "b": {"choice": ["x", "y"]}})).unwrap();
        let all = draw("MF", &ranges, 50, 1, &[]);
        assert_eq!(all.len(), 6);
        let rest = draw("MF", &ranges, 50, 1, &all[2..4]);
        assert!(rest.len() == 4 && rest.iter().all(|one| !all[2..4].contains(one)));
    }

    #[test]
    fn numbers_are_short() {
        for (value, scale, text) in [
            (0.003_456_78, 0.003_456_78, "0.00346"),
            (7.123_456, 9.5, "7.12"),
            (123_456.0, 123_456.0, "123000.0"),
            (1.0e-7 / 3.0, 1.0e-7 / 3.0, "3.33e-8"),
        ] {
            assert_eq!(json!(rounded(value, scale)).to_string(), text);
        }
    }

    #[test]
    fn an_invalid_range_is_reported_with_its_key() {
        for (table, expected) in [
            (
                json!({"dim": {"lgo": [1, 2]}}),
                "tune.models.MF.dim: unknown variant `lgo`, expected one of `log`, `uniform`, `int`, `log_int`, `choice`",
            ),
            (
                json!({"dim": 8}),
                "tune.models.MF.dim: expected a range such as { log = [1e-4, 1e-1] }, found 8",
            ),
            (
                json!({"rate": {"log": [0.0, 1.0]}}),
                "tune.models.MF.rate: log: expected two numbers, 0 < low < high, found [0, 1]",
            ),
            (
                json!({"train": {"epochs": {"int": [5, 5]}}}),
                "tune.models.MF.train.epochs: int: expected two whole numbers, low < high",
            ),
            (json!({"rate": {"uniform": [1.0]}}), "tune.models.MF.rate.uniform: invalid length 1"),
            (json!({"k": {"int": [1.5, 3]}}), "tune.models.MF.k.int[0]: invalid type"),
            (json!({"k": {"choice": []}}), "tune.models.MF.k: choice: is empty"),
            (json!({}), "tune.models.MF: is empty"),
            (json!(3), "tune.models.MF: expected a table of ranges"),
            (
                json!({"a.b": {"int": [1, 2]}, "a": {"b": {"int": [1, 2]}}}),
                "tune.models.MF.a.b: is given twice",
            ),
        ] {
            let found = of(table).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{found}\nexpected {expected}");
        }
    }
}
