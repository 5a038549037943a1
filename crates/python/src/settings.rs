//! Settings of the registries: from Python's classes, dictionaries or names to JSON, and from JSON to what they are.

use crate::error::{ConfigError, Result};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rankstill::core::registry::{self, Config, Entry};
use rankstill::core::{Distiller, Recipe, TimeUnit};
use rankstill::data::Instant;
use rankstill::data::filter::Filter;
use rankstill::data::split::{History, Mask, SPLITS, SplitConfig};
use rankstill::distill::{DISTILLERS, Fusion};
use rankstill::eval::Dialect;
use rankstill::eval::metric;
use rankstill::models::MODELS;
use rankstill::models::compressed::{COMPRESSORS, Compressor};
use rankstill_cli::experiment::plan::with_kind;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// All settings of an entry, defaults included, as JSON. Settings that are unknown or out of range are refused.
#[pyfunction]
pub fn resolve(list: &str, kind: &str, given: &str) -> Result<String> {
    let value: Value = parsed(given)?;
    let config = Config { path: kind, value: &value };
    let resolved = match list {
        "models" => (found(MODELS, kind)?.parse)(config)?.config(),
        "distillers" => (found(DISTILLERS, kind)?.parse)(config)?.config(),
        "compressors" => (found(COMPRESSORS, kind)?.parse)(config)?.config(),
        "splits" => {
            found(SPLITS, kind)?;
            json!(split_of(kind, value)?.resolve()?.1)
        }
        "metrics" => json!(metric::parse(kind, Dialect::default())?.name()),
        "tables" => match kind {
            "filter" => json!(config.read::<Filter>()?),
            "mask" => json!(config.read::<Mask>()?),
            "history" => json!(config.read::<History>()?),
            other => return Err(unknown(other, &["filter", "mask", "history"])),
        },
        other => {
            let lists = ["models", "distillers", "compressors", "splits", "metrics", "tables"];
            return Err(unknown(other, &lists));
        }
    };
    Ok(resolved.to_string())
}

/// The first tick of a unit (`seconds` to `nanoseconds`) that is not before a moment of a setting, such as `filter.from`, as JSON.
#[pyfunction]
pub fn ticks(moment: &str, unit: &str) -> Result<i64> {
    let moment: Instant = Config { path: "moment", value: &parsed(moment)? }.read()?;
    let unit: TimeUnit = Config { path: "unit", value: &json!(unit) }.read()?;
    Ok(moment.ticks(unit))
}

/// The recipe of a model of this kind, from JSON.
pub fn recipe(kind: &str, settings: &str) -> Result<Box<dyn Recipe>> {
    recipe_of(kind, &parsed(settings)?)
}

/// The recipe of a model of this kind.
pub fn recipe_of(kind: &str, settings: &Value) -> Result<Box<dyn Recipe>> {
    Ok((found(MODELS, kind)?.parse)(Config { path: kind, value: settings })?)
}

/// A method of distillation with its `kind`, and all its settings.
pub fn distiller(value: &Value) -> Result<(Value, Box<dyn Distiller>)> {
    let (entry, distiller) = registry::parse(DISTILLERS, Config { path: "method", value })?;
    Ok((with_kind(entry.name, distiller.config()), distiller))
}

/// A compressor with its `kind`, and all its settings.
pub fn compressor(value: &Value) -> Result<(Value, Box<dyn Compressor>)> {
    let (entry, compressor) = registry::parse(COMPRESSORS, Config { path: "how", value })?;
    Ok((with_kind(entry.name, compressor.config()), compressor))
}

/// A split: a class, a dictionary with `kind`, or a name.
pub fn split(given: &Bound<'_, PyAny>) -> Result<SplitConfig> {
    let value = json_of(given)?;
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    found(SPLITS, &kind)?;
    split_of(&kind, value)
}

fn split_of(kind: &str, mut value: Value) -> Result<SplitConfig> {
    if let Some(table) = value.as_object_mut() {
        table.insert("kind".into(), kind.into());
    }
    Ok(Config { path: "split", value: &value }.read()?)
}

/// How members of an ensemble are fused.
pub fn fusion(given: Option<&Bound<'_, PyAny>>) -> Result<Fusion> {
    match given {
        None => Ok(Fusion::default()),
        Some(given) => Ok(Config { path: "fusion", value: &json_of(given)? }.read()?),
    }
}

/// A table of settings, without its kind.
pub fn table<T: DeserializeOwned>(path: &str, given: Option<&Bound<'_, PyAny>>) -> Result<T> {
    let mut value = given.map_or_else(|| Ok(json!({})), json_of)?;
    if let Some(table) = value.as_object_mut() {
        table.remove("kind");
    }
    Ok(Config { path, value: &value }.read()?)
}

/// A class of settings, a dictionary, or the name of a kind, as JSON with its `kind`.
pub fn json_of(given: &Bound<'_, PyAny>) -> Result<Value> {
    if let Ok(kind) = given.extract::<String>() {
        return Ok(json!({"kind": kind}));
    }
    let table = match given.getattr("to_dict") {
        Ok(to_dict) => to_dict.call0()?,
        Err(_) => given.clone(),
    };
    if !table.is_instance_of::<PyDict>() {
        let kind = given.get_type().name()?;
        let problem = format!("expected settings, a dict or a name, found {kind}");
        return Err(PyTypeError::new_err(problem).into());
    }
    let text: String =
        given.py().import("rankstill._settings")?.call_method1("to_json", (table,))?.extract()?;
    parsed(&text)
}

/// JSON as a value.
pub fn parsed(text: &str) -> Result<Value> {
    let parsed = serde_json::from_str(text);
    Ok(parsed.map_err(|error| ConfigError::new_err(format!("settings: {error}")))?)
}

fn found<T: ?Sized>(entries: &'static [Entry<T>], kind: &str) -> Result<&'static Entry<T>> {
    let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
    entries.iter().find(|entry| entry.name == kind).ok_or_else(|| unknown(kind, &names))
}

fn unknown(name: &str, valid: &[&str]) -> crate::error::Failure {
    let problem = format!("unknown kind `{name}`; one of: {}", valid.join(", "));
    ConfigError::new_err(problem).into()
}

/// A value as an object of Python.
pub fn object<'py>(py: Python<'py>, value: &Value) -> Result<Bound<'py, PyAny>> {
    Ok(py.import("json")?.call_method1("loads", (value.to_string(),))?)
}
