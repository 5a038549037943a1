//! An experiment file as a tree of values: its `base`, its `--set key=value` overrides, its keys.

use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::registry::lay_under;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Reads a file, lays the overrides over it and its `base` beneath it. No setting is checked yet.
///
/// # Errors
/// Names the file and the line.
pub fn read(path: &Path, overrides: &[String]) -> Result<Value> {
    let mut tree = based(path, overrides, &mut Vec::new())?;
    put_another_log(&mut tree, overrides);
    Ok(tree)
}

/// `--set data.path=LOG` replaces a ready-made split: its files and `split.kind = "ready_made"` go.
fn put_another_log(tree: &mut Value, overrides: &[String]) {
    let named = |wanted: &str| {
        let key = |one: &String| one.split_once('=').is_some_and(|(key, _)| key.trim() == wanted);
        overrides.iter().any(key)
    };
    if !named("data.path") || named("data.parts") {
        return;
    }
    let Some(data) = tree.get_mut("data").and_then(Value::as_object_mut) else { return };
    if data.shift_remove("parts").is_some() && data["split"]["kind"] == "ready_made" {
        data.shift_remove("split");
    }
}

fn based(path: &Path, overrides: &[String], above: &mut Vec<PathBuf>) -> Result<Value> {
    let mut read = || -> Result<Value> {
        let text = std::fs::read_to_string(path)?;
        let typed = from_toml(&text)?;
        let mut tree = parse(&text, overrides)?;
        let base = tree.as_object_mut().and_then(|tree| tree.shift_remove("base"));
        if let Some(base) = base {
            let file = base.as_str().context("base: expected the name of an experiment file")?;
            // A base in the file is relative to the file, one named with --set to the working directory.
            let folder = (typed.get("base") == Some(&base)).then(|| path.parent()).flatten();
            let file = folder.map_or_else(|| PathBuf::from(file), |folder| folder.join(file));
            ensure!(!above.contains(&file), "base: leads in a circle through {}", file.display());
            above.push(file.clone());
            let base = based(&file, &[], above)?;
            if let (Value::Object(tree), Value::Object(base)) = (&mut tree, &base) {
                lay_under(tree, base);
            }
        }
        Ok(tree)
    };
    read().with_context(|| path.display().to_string())
}

/// Parses the text of a file and lays the overrides over it.
///
/// # Errors
/// Names the line or the override.
pub fn parse(text: &str, overrides: &[String]) -> Result<Value> {
    let mut tree = from_toml(text)?;
    for one in overrides {
        set(&mut tree, one)?;
    }
    Ok(tree)
}

/// Parses TOML; dates and times become text.
fn from_toml(text: &str) -> Result<Value, toml::de::Error> {
    fn with_text_dates(value: Value) -> Value {
        match value {
            Value::Object(table) => match table.get("$__toml_private_datetime") {
                Some(date) => date.clone(),
                None => {
                    let plain = table.into_iter().map(|(key, value)| (key, with_text_dates(value)));
                    Value::Object(plain.collect())
                }
            },
            Value::Array(values) => values.into_iter().map(with_text_dates).collect(),
            plain => plain,
        }
    }
    Ok(with_text_dates(toml::from_str(text)?))
}

/// Lays `key.key=value` over a tree. The value is read as TOML if it is TOML, else as text. A part of the key that holds dots
/// is quoted: `models."MF-8.1".dim=16`.
///
/// # Errors
/// If there is no `=`, or the key leads through a value that is not a table.
pub fn set(tree: &mut Value, assignment: &str) -> Result<()> {
    let Some((key, value)) = assignment.split_once('=') else {
        bail!("--set {assignment}: expected key=value");
    };
    let value = value.trim();
    let value = from_toml(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.as_object_mut()?.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let done = key_parts(key.trim()).and_then(|parts| put(tree, &parts, value));
    done.with_context(|| format!("--set {assignment}"))
}

/// Puts `value` into a tree under the key of these `parts` and makes the tables on the way.
///
/// # Errors
/// If a part leads through a value that is not a table.
pub fn put(tree: &mut Value, parts: &[String], value: Value) -> Result<()> {
    let (last, path) = parts.split_last().context("no key")?;
    let mut at = tree;
    for part in path {
        at = table(at, part)?.entry(part.as_str()).or_insert_with(|| Value::Object(Map::new()));
    }
    table(at, last)?.insert(last.clone(), value);
    Ok(())
}

fn table<'a>(value: &'a mut Value, key: &str) -> Result<&'a mut Map<String, Value>> {
    value
        .as_object_mut()
        .with_context(|| format!("`{key}`: leads through a value that is not a table"))
}

/// Splits a key at the dots outside quotes.
///
/// # Errors
/// If a part is empty or a quote is not closed.
pub fn key_parts(key: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for letter in key.chars() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            letter => parts.last_mut().expect("never empty").push(letter),
        }
    }
    if quoted || parts.iter().any(String::is_empty) {
        bail!("{key}: a part of the key is empty, or a quote is not closed");
    }
    Ok(parts)
}

/// TOML has no null: settings without a value are not written.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(table) => Value::Object(
            table
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn another_log_takes_the_place_of_a_ready_made_split() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let text =
            "[data]\nparts = { train = \"a\", test = \"b\" }\nsplit = { kind = \"ready_made\" }\n";
        std::fs::write(&file, text).unwrap();
        let data = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            read(&file, &sets).unwrap()["data"].clone()
        };
        assert_eq!(data(&["data.path=log.tsv"]), serde_json::json!({"path": "log.tsv"}));
        let split = data(&["data.path=log.tsv", "data.split.kind=random"]);
        assert_eq!(split["split"]["kind"], "random");
        assert!(data(&["seeds=[2]"]).get("parts").is_some());
    }

    #[test]
    fn an_override_reaches_a_quoted_key_and_keeps_its_type() {
        let mut tree = json!({"models": {"MF-8/RD": {"dim": 8}}});
        set(&mut tree, r#"models."MF-8/RD".dim=16"#).unwrap();
        set(&mut tree, "data.path=../a b/log.tsv").unwrap();
        set(&mut tree, "seeds=[1, 2]").unwrap();
        assert_eq!(
            tree,
            json!({"models": {"MF-8/RD": {"dim": 16}}, "data": {"path": "../a b/log.tsv"}, "seeds": [1, 2]})
        );
    }

    #[test]
    fn an_override_through_a_plain_value_names_the_key() {
        let mut tree = json!({"seeds": 1});
        let error = format!("{:#}", set(&mut tree, "seeds.first=2").unwrap_err());
        assert_eq!(
            error,
            "--set seeds.first=2: `first`: leads through a value that is not a table"
        );
        assert!(set(&mut tree, "seeds").is_err());
        assert!(set(&mut tree, r#"a."b=1"#).is_err());
    }
}
