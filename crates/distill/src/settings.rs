//! Reading a method's settings, and the checks that many of them share.

use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::registry::Config;
use rankstill_core::{Error, Result};
use serde::de::DeserializeOwned;

/// The settings of a table, checked.
///
/// # Errors
/// When a setting is unknown, of the wrong type or out of its range.
pub(crate) fn read<S: DeserializeOwned>(
    config: Config<'_>,
    check: impl Fn(&S, &str) -> Result<()>,
) -> Result<S> {
    let read: S = config.read()?;
    check(&read, config.path)?;
    Ok(read)
}

/// # Errors
/// When a setting that must be at least 1 is 0.
pub(crate) fn at_least_1(path: &str, settings: &[(&str, usize)]) -> Result<()> {
    match settings.iter().find(|(_, value)| *value == 0) {
        None => Ok(()),
        Some((name, _)) => Err(wrong(path, name, "must be at least 1".into())),
    }
}

/// # Errors
/// When the setting is not above 0 and finite.
pub(crate) fn above_0(path: &str, name: &str, value: f32) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(wrong(path, name, format!("is {value}, must be above 0")))
}

/// # Errors
/// When the setting is below 0 or not finite.
pub(crate) fn not_negative(path: &str, name: &str, value: f32) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(wrong(path, name, format!("is {value}, must be at least 0")))
}

pub(crate) fn wrong(path: &str, name: &str, problem: String) -> Error {
    Error::Config { key: key(path, name), problem }
}

pub(crate) fn key(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// # Errors
/// When an optimiser's settings cannot work.
pub(crate) fn optimizer(path: &str, optimizer: &Optimizer) -> Result<()> {
    optimizer.check().map_err(|problem| wrong(path, "optimizer", problem.into()))
}
