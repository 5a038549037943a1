//! Registries: one entry per model, distiller, metric or format drives parsing, the help, the documentation
//! and the tests.

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A kind that a configuration can name.
pub struct Entry<T: ?Sized> {
    /// The value of `kind = "..."`.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Settings with which it is small and quick, a JSON object; for generic tests.
    pub small: &'static str,
    /// From its settings, `kind` taken off.
    pub parse: fn(Config<'_>) -> Result<Box<T>>,
}

/// The settings of one entry and their path in the configuration.
///
/// ```
/// use rankstill_core::{Plan, registry::Config};
/// use serde_json::json;
///
/// let settings = json!({"epochs": 9});
/// let plan: Plan = Config { path: "models.student.train", value: &settings }.read()?;
/// assert_eq!(plan, Plan { epochs: 9, ..Plan::default() });
///
/// let typo = json!({"epoch": 9});
/// let error = Config { path: "models.student.train", value: &typo }.read::<Plan>().unwrap_err();
/// assert!(error.to_string().starts_with("models.student.train.epoch: unknown field"));
/// # Ok::<(), rankstill_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The dotted path, for error messages.
    pub path: &'a str,
    /// A table of settings.
    pub value: &'a Value,
}

impl Config<'_> {
    /// Reads the settings as `T`. Errors name the full key and, if it is unknown, the valid ones.
    ///
    /// # Errors
    /// When the settings are not a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_path_to_error::deserialize(self.value).map_err(|error| {
            let inner = error.path().to_string();
            let key = match (self.path, inner.as_str()) {
                ("", inner) => inner.to_owned(),
                (path, ".") => path.to_owned(),
                (path, inner) => format!("{path}.{inner}"),
            };
            Error::Config { key, problem: error.into_inner().to_string() }
        })
    }

    /// Reads the settings as `T`. Missing keys take their value from `T::default()`, in nested tables too: a
    /// recipe keeps its own batch size if a configuration sets only the epochs.
    ///
    /// # Errors
    /// When the settings are not a `T`.
    pub fn read_over_default<T: DeserializeOwned + Default + Serialize>(&self) -> Result<T> {
        let mut value = self.value.clone();
        if let (Some(named), Ok(Value::Object(default))) =
            (value.as_object_mut(), serde_json::to_value(T::default()))
        {
            lay_under(named, &default);
        }
        Config { path: self.path, value: &value }.read()
    }
}

/// Adds to `upper` the keys of `lower` that it lacks, in nested tables too. A table that has its own `kind`
/// is left alone, because settings of one kind do not fit another.
pub fn lay_under(upper: &mut Map<String, Value>, lower: &Map<String, Value>) {
    for (key, value) in lower {
        match (upper.get_mut(key), value) {
            (None, _) => {
                upper.insert(key.clone(), value.clone());
            }
            (Some(Value::Object(upper)), Value::Object(lower)) if !upper.contains_key("kind") => {
                lay_under(upper, lower);
            }
            (Some(_), _) => {}
        }
    }
}

/// Finds the entry named by `kind` and parses the other settings with it.
///
/// # Errors
/// When there is no `kind`, no such entry, or the settings do not fit it.
pub fn parse<T: ?Sized>(
    entries: &'static [Entry<T>],
    config: Config<'_>,
) -> Result<(&'static Entry<T>, Box<T>)> {
    let names = || entries.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let key = if config.path.is_empty() { "kind".into() } else { format!("{}.kind", config.path) };
    let Some(kind) = config.value.get("kind").and_then(Value::as_str) else {
        return Err(Error::Config { key, problem: format!("is missing; one of: {}", names()) });
    };
    let Some(entry) = entries.iter().find(|entry| entry.name == kind) else {
        let problem = format!("unknown kind `{kind}`; one of: {}", names());
        return Err(Error::Config { key, problem });
    };
    let mut value = config.value.clone();
    if let Some(table) = value.as_object_mut() {
        table.remove("kind");
    }
    Ok((entry, (entry.parse)(Config { path: config.path, value: &value })?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Recipe {
        dim: usize,
        train: Plan,
        loss: Value,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Plan {
        epochs: usize,
        batch_size: usize,
    }

    impl Default for Recipe {
        fn default() -> Self {
            let train = Plan { epochs: 50, batch_size: 512 };
            Self { dim: 8, train, loss: json!({"kind": "bpr", "negatives": 3}) }
        }
    }

    #[test]
    fn what_is_not_named_is_the_recipes_own_default_and_not_its_parts() {
        let read = |value: Value| {
            Config { path: "m", value: &value }
                .read_over_default::<Recipe>()
                .map_err(|e| e.to_string())
        };
        let own = Recipe::default();
        assert_eq!(read(json!({})), Ok(Recipe::default()));
        let epochs = Plan { epochs: 9, batch_size: 512 };
        assert_eq!(
            read(json!({"train": {"epochs": 9}})),
            Ok(Recipe { train: epochs, ..Recipe::default() })
        );
        let loss = json!({"kind": "softmax"});
        assert_eq!(
            read(json!({"loss": loss})),
            Ok(Recipe { loss, ..own }),
            "a table with a kind is not filled up"
        );
        assert!(
            read(json!({"train": {"epoch": 9}})).unwrap_err().starts_with("m.train.epoch: unknown")
        );
        assert!(read(json!(3)).unwrap_err().starts_with("m: invalid type"));
    }
}
