//! `rankstill list`: the names that an experiment can use, from the registries.

use crate::progress::Screen;
use anyhow::Result;
use clap::Args;
use rankstill::core::registry::{Config, Entry};
use rankstill::{data, distill, eval, models};
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(Args)]
pub struct Options {
    /// List only models, distillers, compressors, metrics, formats or splits, with their settings and defaults.
    what: Option<String>,
}

/// A name, a line about it, and its settings with their defaults.
struct Line {
    name: String,
    about: String,
    settings: Value,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let all = [
        ("models", of(models::MODELS, |recipe| recipe.config())),
        ("distillers", of(distill::DISTILLERS, |distiller| distiller.config())),
        ("compressors", of(models::compressed::COMPRESSORS, |compressor| compressor.config())),
        ("metrics", metrics()),
        ("formats", formats()),
        ("splits", of(data::split::SPLITS, |split| Value::Object(split.settings()))),
    ];
    let names = all.each_ref().map(|(name, _)| *name).join(", ");
    let chosen: Vec<_> = all
        .iter()
        .filter(|(name, _)| options.what.as_deref().is_none_or(|what| what == *name))
        .collect();
    anyhow::ensure!(!chosen.is_empty(), "there is no such list; expected one of: {names}");
    if screen.json {
        let tree: Value = chosen
            .iter()
            .map(|(name, lines)| {
                let line = |line: &Line| {
                    json!({"name": line.name, "about": line.about, "settings": line.settings})
                };
                ((*name).to_owned(), Value::Array(lines.iter().map(line).collect()))
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        screen.print(serde_json::to_string_pretty(&tree)?)?;
        return Ok(());
    }
    let mut text = String::new();
    for (name, lines) in chosen {
        _ = writeln!(text, "{name}");
        let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        for line in lines {
            _ = writeln!(text, "  {:width$}  {}", line.name, line.about);
            if options.what.is_some() {
                settings(&mut text, &line.settings, "      ");
            }
        }
        text.push('\n');
    }
    screen.print(text.trim_end())?;
    Ok(())
}

fn settings(text: &mut String, value: &Value, indent: &str) {
    let Value::Object(table) = value else { return };
    for (key, value) in table {
        match value {
            Value::Object(_) => {
                _ = writeln!(text, "{indent}{key}:");
                settings(text, value, &format!("{indent}  "));
            }
            plain => _ = writeln!(text, "{indent}{key} = {plain}"),
        }
    }
}

fn of<T: ?Sized>(entries: &'static [Entry<T>], config: impl Fn(&T) -> Value) -> Vec<Line> {
    entries
        .iter()
        .map(|entry| {
            let defaults = (entry.parse)(Config { path: entry.name, value: &json!({}) });
            let settings = defaults.map_or(Value::Null, |parsed| config(&parsed));
            Line { name: entry.name.into(), about: entry.about.into(), settings }
        })
        .collect()
}

fn metrics() -> Vec<Line> {
    let line = |family: &eval::metric::MetricFamily| Line {
        name: family.example(),
        about: family.about.into(),
        settings: Value::Null,
    };
    eval::metric::METRICS.iter().map(line).collect()
}

fn formats() -> Vec<Line> {
    let line = |format: &data::Format| Line {
        name: format.name.into(),
        about: format.about.into(),
        settings: Value::Null,
    };
    data::FORMATS.iter().map(line).collect()
}
