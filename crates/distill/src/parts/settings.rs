//! Settings of methods: how they are read, completed from presets, and checked.

use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::registry::{Config, Entry, lay_under};
use rankstill_core::{Distiller, Error, Rest, Result, UnderPath};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;

/// Names of presets, each with its settings.
pub(crate) type Presets<S> = &'static [(&'static str, fn() -> S)];

/// The settings of a method.
pub(crate) trait Settings:
    Distiller + Default + Serialize + DeserializeOwned + 'static
{
    /// What `preset = "..."` may name, each with its settings; the first is the default. Most methods have none.
    const PRESETS: Presets<Self> = &[];

    /// Checks the range of every setting. Errors name the setting without the table it stands in.
    ///
    /// # Errors
    /// With the setting that is wrong and what would be right.
    fn check(&self) -> Result<()>;
}

/// A method's entry in the registry. `small`: settings that suit the tests' few users and short lists, a JSON object.
pub(crate) const fn entry<S: Settings>(
    name: &'static str,
    about: &'static str,
    small: &'static str,
) -> Entry<dyn Distiller> {
    Entry { name, about, small, parse: |config| Ok(Box::new(read::<S>(config)?)) }
}

/// The settings of a table, completed from its preset, or from the default, and checked.
///
/// # Errors
/// When a setting is unknown, of the wrong type or out of its range.
pub(crate) fn read<S: Settings>(config: Config<'_>) -> Result<S> {
    let mut value = config.value.clone();
    if let Some(table) = value.as_object_mut() {
        let named = if S::PRESETS.is_empty() { None } else { table.remove("preset") };
        let base = match named {
            None => S::default(),
            Some(name) => match S::PRESETS.iter().find(|(preset, _)| name == *preset) {
                Some((_, settings)) => settings(),
                None => {
                    let valid: Vec<&str> = S::PRESETS.iter().map(|(preset, _)| *preset).collect();
                    let problem = format!("unknown preset {name}; one of: {}", valid.join(", "));
                    return Err(wrong("preset", problem).under(config.path));
                }
            },
        };
        if let Value::Object(base) = base.config() {
            lay_under(table, &base);
        }
    }
    let settings: S = Config { path: config.path, value: &value }.read()?;
    settings.check().under(config.path)?;
    Ok(settings)
}

/// # Errors
/// When a setting that must be at least 1 is 0.
pub(crate) fn at_least_1(settings: &[(&str, usize)]) -> Result<()> {
    match settings.iter().find(|(_, value)| *value == 0) {
        None => Ok(()),
        Some((name, _)) => Err(wrong(name, "must be at least 1")),
    }
}

/// # Errors
/// When the setting is not above 0 and finite.
pub(crate) fn above_0<F: Into<f64> + Display + Copy>(name: &str, value: F) -> Result<()> {
    let number: f64 = value.into();
    if number > 0.0 && number.is_finite() {
        return Ok(());
    }
    Err(wrong(name, format!("is {value}, must be above 0")))
}

/// # Errors
/// When the setting is below 0 or not finite.
pub(crate) fn not_negative(name: &str, value: f32) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(wrong(name, format!("is {value}, must be at least 0")))
}

/// # Errors
/// When the setting is not between 0 and 1.
pub(crate) fn a_share(name: &str, value: f32) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(wrong(name, format!("is {value}, must be between 0 and 1")))
}

/// # Errors
/// When the settings of an estimate cannot work, or no complement is computed.
pub(crate) fn check_rest(rest: Option<Rest>, has_complement: bool) -> Result<()> {
    match rest {
        Some(_) if !has_complement => {
            let problem =
                "is for `mode = \"direct\"`: in mode `sampled` the other items are `l` random ones";
            Err(wrong("rest", problem))
        }
        rest => rest.map_or(Ok(()), Rest::check),
    }
}

/// # Errors
/// When an optimiser's settings cannot work.
pub(crate) fn check_optimizer(optimizer: &Optimizer) -> Result<()> {
    optimizer.check().map_err(|problem| wrong("optimizer", problem))
}

/// The error of a setting.
pub(crate) fn wrong(name: &str, problem: impl Into<String>) -> Error {
    Error::Config { key: name.to_owned(), problem: problem.into() }
}
