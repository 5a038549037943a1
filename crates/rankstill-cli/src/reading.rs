//! Options of reading, as given on the command line and as named by errors.

use crate::experiment::tree::set;
use anyhow::{Context as _, Result, anyhow, bail};
use rankstill::core::registry::{Config, lay_under};
use rankstill::data::{Error, ReadOptions};
use serde_json::{Map, Value};

/// `--format NAME` and `--set ROLE.KEY=VALUE`, where a role is one of the files that a command reads, or `read` for all of them.
#[derive(Debug, Default)]
pub struct Reading {
    /// A table for each role that is named.
    tables: Map<String, Value>,
}

impl Reading {
    /// The role of all files.
    pub const ALL: &'static str = "read";

    /// From the options of a command that reads files in these `roles`.
    ///
    /// # Errors
    /// Names the option that has another role, or no value.
    pub fn parse(format: Option<&str>, sets: &[String], roles: &[&str]) -> Result<Self> {
        let mut tree = Value::Object(Map::new());
        for one in sets {
            let role = one.split(['.', '=']).next().unwrap_or_default();
            if role != Self::ALL && !roles.contains(&role) {
                let known: Vec<String> = [Self::ALL]
                    .iter()
                    .chain(roles)
                    .map(|role| format!("{role}.KEY=VALUE"))
                    .collect();
                bail!("--set {one}: expected one of {}", known.join(", "));
            }
            set(&mut tree, one)?;
        }
        if let Some(format) = format {
            set(&mut tree, &format!("{}.format=\"{format}\"", Self::ALL))?;
        }
        let Value::Object(tables) = tree else { bail!("--set: expected KEY=VALUE") };
        if let Some((role, value)) = tables.iter().find(|(_, value)| !value.is_object()) {
            bail!("--set {role}={value}: expected {role}.KEY=VALUE");
        }
        Ok(Self { tables })
    }

    /// The options of the files in a role: its own, then those of all files.
    ///
    /// # Errors
    /// Names the key that is unknown or has a value of another type.
    pub fn of(&self, role: &str) -> Result<ReadOptions> {
        let table = |role: &str| self.tables.get(role).and_then(Value::as_object);
        let mut own = table(role).cloned().unwrap_or_default();
        if let Some(all) = table(Self::ALL) {
            lay_under(&mut own, all);
        }
        let path = if table(role).is_some() { role } else { Self::ALL };
        Config { path, value: &Value::Object(own) }.read().context("--set")
    }

    /// The options of all files, as a table; `None` without any.
    #[must_use]
    pub fn all(&self) -> Option<&Value> {
        self.tables.get(Self::ALL)
    }

    /// Whether there are options of this role alone.
    #[must_use]
    pub fn names(&self, role: &str) -> bool {
        self.tables.contains_key(role)
    }
}

/// Adds to an error that another option would avoid how this command takes such options: `prefix` stands before their names, as in
/// `--set test.`.
///
/// # Errors
/// That of `result`.
pub fn hinted<T>(result: rankstill::data::Result<T>, prefix: &str) -> Result<T> {
    result.map_err(|error| {
        let text = error.to_string();
        let column = matches!(error, Error::NoColumn { .. });
        if !column && !["`format`", "`header", "`columns.", "`delimiter`"].iter().any(|o| text.contains(o)) {
            return error.into();
        }
        anyhow!("{text}; here such options are {prefix}columns.user=NAME, {prefix}header=false, {prefix}format=NAME and the like")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(sets: &[&str]) -> Result<Reading> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Reading::parse(Some("csv"), &sets, &["test", "rankings"])
    }

    #[test]
    fn a_role_has_its_own_options_over_those_of_all() {
        let reading =
            parse(&["test.header=false", "read.delimiter=;", "test.delimiter=|"]).unwrap();
        let (test, rankings) = (reading.of("test").unwrap(), reading.of("rankings").unwrap());
        assert_eq!((test.header, test.delimiter.as_deref()), (Some(false), Some("|")));
        assert_eq!((rankings.header, rankings.delimiter.as_deref()), (None, Some(";")));
        assert_eq!(
            (test.format.as_deref(), rankings.format.as_deref()),
            (Some("csv"), Some("csv"))
        );
        assert!(reading.names("test") && !reading.names("rankings"));
    }

    #[test]
    fn an_option_that_does_not_exist_is_named() {
        let error = |sets: &[&str]| match parse(sets) {
            Ok(reading) => format!("{:#}", reading.of("test").unwrap_err()),
            Err(error) => format!("{error:#}"),
        };
        let expected = "expected one of read.KEY=VALUE, test.KEY=VALUE, rankings.KEY=VALUE";
        assert_eq!(error(&["tset.header=false"]), format!("--set tset.header=false: {expected}"));
        assert!(error(&["test=csv"]).starts_with("--set test="), "{}", error(&["test=csv"]));
        assert!(error(&["test.heder=false"]).contains("test.heder: unknown field"));
    }
}
