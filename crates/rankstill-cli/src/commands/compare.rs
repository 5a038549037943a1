//! `rankstill compare`: paired tests on the values of two models, case by case.

use crate::progress::Screen;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rankstill::data::columns::read_parquet;
use rankstill::data::{Column, ColumnTable};
use rankstill::eval::compare::Comparison;
use rankstill::eval::report::comparisons;
use rankstill::eval::{ComparisonOptions, compare};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// A run, to compare every model that both runs have; or one model: its folder in a run (RUN/models/NAME), the folder of one
    /// seed, or its metrics.parquet.
    a: PathBuf,
    /// The other run or model.
    b: PathBuf,
    /// Compare only these metrics.
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<String>,
    /// The confidence level of the intervals.
    #[arg(long, default_value_t = 0.95)]
    level: f64,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let mut all = Vec::new();
    for (a, b) in pairs(&options.a, &options.b)? {
        all.extend(compare_models(&read(&a)?, &read(&b)?, options, screen)?);
    }
    compare::adjust(&mut all);
    if screen.json {
        screen.print(serde_json::to_string_pretty(&all)?)?;
    } else {
        screen.print(comparisons(&all).text())?;
    }
    Ok(())
}

/// The models to compare: of two runs, those with the same name in both.
fn pairs(a: &Path, b: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let of_run = |run: &Path| -> Result<Option<Vec<String>>> {
        let folder = run.join("models");
        if !folder.is_dir() {
            return Ok(None);
        }
        let names = subfolders(&folder)?;
        Ok(Some(names.iter().filter_map(|path| Some(path.file_name()?.to_str()?.into())).collect()))
    };
    match (of_run(a)?, of_run(b)?) {
        (None, None) => Ok(vec![(a.into(), b.into())]),
        (Some(ours), Some(theirs)) => {
            let shared: Vec<_> = ours.iter().filter(|name| theirs.contains(name)).collect();
            ensure!(
                !shared.is_empty(),
                "the two runs have no model in common: {} has {}, {} has {}; name two models, as RUN/models/NAME",
                a.display(),
                ours.join(", "),
                b.display(),
                theirs.join(", ")
            );
            let model = |run: &Path, name: &str| run.join("models").join(name);
            Ok(shared.iter().map(|name| (model(a, name), model(b, name))).collect())
        }
        (Some(names), None) | (None, Some(names)) => bail!(
            "one is a run and the other is a model; name a model of the run, as RUN/models/NAME: {}",
            names.join(", ")
        ),
    }
}

fn compare_models(
    a: &ModelValues,
    b: &ModelValues,
    options: &Options,
    screen: &Screen,
) -> Result<Vec<Comparison>> {
    let pairs = compare::align(&a.users, &b.users);
    let both = || format!("{} and {}", a.name, b.name);
    ensure!(pairs.len() > 1, "{}: too few shared cases ({}), need at least 2", both(), pairs.len());
    if pairs.len() < a.users.len().max(b.users.len()) {
        screen.say(format!(
            "{}: compared on {} shared cases, of {} and {}",
            both(),
            pairs.len(),
            a.users.len(),
            b.users.len()
        ));
    }
    let shared: Vec<&str> =
        a.metrics.iter().filter(|name| b.metrics.contains(name)).map(String::as_str).collect();
    if let Some(missing) = options.metrics.iter().find(|name| !shared.contains(&name.as_str())) {
        bail!("--metrics: {} do not share `{missing}`; they share {}", both(), shared.join(", "));
    }
    ensure!(!shared.is_empty(), "{}: no metric in common", both());
    let how = ComparisonOptions { level: options.level, ..ComparisonOptions::default() };
    let chosen = |name: &&&str| {
        options.metrics.is_empty() || options.metrics.iter().any(|metric| metric == **name)
    };
    let one = |name: &&str| -> Result<Comparison> {
        let of_a = a.seeds_of(name, pairs.iter().map(|pair| pair.0))?;
        let of_b = b.seeds_of(name, pairs.iter().map(|pair| pair.1))?;
        Ok(compare::compare(name, (&a.name, &of_a), (&b.name, &of_b), &how)?)
    };
    shared.iter().filter(chosen).map(one).collect()
}

/// The values of one model: its cases, and a table per seed.
struct ModelValues {
    name: String,
    users: Vec<String>,
    metrics: Vec<String>,
    seeds: Vec<ColumnTable>,
}

impl ModelValues {
    /// A metric's values of these cases, a row for each seed.
    fn seeds_of(
        &self,
        metric: &str,
        cases: impl Iterator<Item = usize> + Clone,
    ) -> Result<Vec<Vec<f64>>> {
        let row = |table: &ColumnTable| match table.get(metric) {
            Some(Column::F64(values)) => Ok(cases.clone().map(|case| values[case]).collect()),
            _ => bail!("{}: no column `{metric}` of numbers", self.name),
        };
        self.seeds.iter().map(row).collect()
    }
}

fn read(path: &Path) -> Result<ModelValues> {
    let files = if path.is_file() {
        vec![path.to_owned()]
    } else if path.join("metrics.parquet").is_file() {
        vec![path.join("metrics.parquet")]
    } else {
        let files = subfolders(path)?.into_iter().map(|seed| seed.join("metrics.parquet"));
        files.filter(|file| file.is_file()).collect()
    };
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
    Ok(ModelValues { name: path.display().to_string(), users, metrics, seeds })
}

/// In the order of their names.
fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    let inside = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = inside.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut folders: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn users_of(table: &ColumnTable) -> Result<Vec<String>> {
    match table.get("user_id") {
        Some(Column::I64(ids)) => Ok(ids.iter().map(i64::to_string).collect()),
        Some(Column::Text(ids)) => Ok(ids.iter().map(str::to_owned).collect()),
        _ => bail!("no column `user_id`"),
    }
}
