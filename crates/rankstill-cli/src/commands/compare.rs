//! `rankstill compare`: two models' values case by case, with paired tests.

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rankstill::data::columns::read_parquet;
use rankstill::data::{Column, Table};
use rankstill::eval::report::comparisons;
use rankstill::eval::{ComparisonOptions, compare, significance};
use rankstill_cli::progress::Screen;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// A model's folder in a run (RUN/models/NAME), one seed's folder, or its metrics.parquet.
    a: PathBuf,
    /// The other one.
    b: PathBuf,
    /// Only these metrics.
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<String>,
    /// How sure the intervals are.
    #[arg(long, default_value_t = 0.95)]
    level: f64,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let (a, b) = (read(&options.a)?, read(&options.b)?);
    let pairs = compare::align(&a.users, &b.users);
    ensure!(pairs.len() > 1, "the two share {} cases; two at least are needed", pairs.len());
    if pairs.len() < a.users.len().max(b.users.len()) {
        screen.say(format!(
            "compared on the {} cases that both have, of {} and {}",
            pairs.len(),
            a.users.len(),
            b.users.len()
        ));
    }
    let shared: Vec<&String> = a.metrics.iter().filter(|name| b.metrics.contains(name)).collect();
    let wanted = |name: &&&String| options.metrics.is_empty() || options.metrics.contains(name);
    let chosen: Vec<&&String> = shared.iter().filter(wanted).collect();
    if let Some(missing) = options.metrics.iter().find(|name| !shared.contains(name)) {
        bail!("--metrics: no `{missing}` in both; there are {}", names(&shared));
    }
    ensure!(!chosen.is_empty(), "the two have no metric in common");
    let how = ComparisonOptions { level: options.level, ..ComparisonOptions::default() };
    let mut all = Vec::new();
    for name in chosen {
        let take = |side: &Side, pick: fn(&(usize, usize)) -> usize| -> Result<Vec<f64>> {
            let values = side.pooled(name)?;
            Ok(pairs.iter().map(|pair| values[pick(pair)]).collect())
        };
        let (ours, theirs) = (take(&a, |pair| pair.0)?, take(&b, |pair| pair.1)?);
        all.push(compare::compare(name, (&a.name, &ours), (&b.name, &theirs), &how)?);
    }
    compare::adjust(&mut all);
    if screen.json {
        screen.print(serde_json::to_string_pretty(&all)?);
    } else {
        screen.print(comparisons(&all).text());
    }
    Ok(())
}

fn names(all: &[&String]) -> String {
    all.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// One model: its cases, and a table of values a seed.
struct Side {
    name: String,
    users: Vec<String>,
    metrics: Vec<String>,
    seeds: Vec<Table>,
}

impl Side {
    /// A metric's value a case, its mean over the seeds.
    fn pooled(&self, metric: &str) -> Result<Vec<f64>> {
        let seeds = self.seeds.iter().map(|table| match table.get(metric) {
            Some(Column::F64(values)) => Ok(values.as_slice()),
            _ => bail!("{}: no column `{metric}` of numbers", self.name),
        });
        Ok(significance::pool(&seeds.collect::<Result<Vec<_>>>()?)?)
    }
}

fn read(path: &Path) -> Result<Side> {
    let mut files = Vec::new();
    if path.is_file() {
        files.push(path.to_owned());
    } else if path.join("metrics.parquet").is_file() {
        files.push(path.join("metrics.parquet"));
    } else {
        let inside = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        for entry in inside {
            let file = entry?.path().join("metrics.parquet");
            if file.is_file() {
                files.push(file);
            }
        }
        files.sort();
    }
    ensure!(!files.is_empty(), "{}: holds no metrics.parquet", path.display());
    let seeds = files.iter().map(|file| Ok(read_parquet(file)?)).collect::<Result<Vec<_>>>()?;
    let users = seeds.iter().map(users_of).collect::<Result<Vec<_>>>()?;
    ensure!(
        users.iter().all(|other| other == &users[0]),
        "{}: its seeds were measured on different cases",
        path.display()
    );
    let metrics = seeds[0].names().iter().filter(|name| *name != "user_id").cloned().collect();
    let users = users.into_iter().next().unwrap_or_default();
    Ok(Side { name: path.display().to_string(), users, metrics, seeds })
}

fn users_of(table: &Table) -> Result<Vec<String>> {
    match table.get("user_id") {
        Some(Column::I64(ids)) => Ok(ids.iter().map(i64::to_string).collect()),
        Some(Column::Text(ids)) => Ok(ids.iter().map(str::to_owned).collect()),
        _ => bail!("no column `user_id`"),
    }
}
