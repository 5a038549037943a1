//! The registry: one line a model, distiller, metric or format drives the CLI's help, the docs and the tests.

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// One thing that can be named in a configuration.
pub struct Entry<T: ?Sized> {
    /// As `kind = "..."`.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// Settings with which it is small and quick, a JSON object; for generic tests.
    pub small: &'static str,
    /// From its settings, `kind` taken off.
    pub parse: fn(Config<'_>) -> Result<Box<T>>,
}

/// The settings of one entry, and where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The dotted path for error messages.
    pub path: &'a str,
    /// A table of settings.
    pub value: &'a Value,
}

impl Config<'_> {
    /// As `T`; an error names the key in full and, for an unknown one, the valid ones.
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
}

impl Config<'_> {
    /// As `T`, what is not named being as in `T`'s default, in tables within the table as well: a recipe's batch size stays
    /// when a configuration names its epochs alone.
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

/// Adds what `upper` does not say. A table is filled up from the table beneath it, unless it names its own `kind`: then it
/// stands for itself, because the settings of one kind are not those of another.
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

/// Finds the entry that `value.kind` names and parses the rest of `value` with it.
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
            "another kind stands alone"
        );
        assert!(
            read(json!({"train": {"epoch": 9}})).unwrap_err().starts_with("m.train.epoch: unknown")
        );
        assert!(read(json!(3)).unwrap_err().starts_with("m: invalid type"));
    }
}
