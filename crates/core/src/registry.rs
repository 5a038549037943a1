//! The registry: one line a model, distiller, metric or format drives the CLI's help, the docs and the tests.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One thing that can be named in a configuration.
pub struct Entry<T: ?Sized> {
    /// As `kind = "..."`.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
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
