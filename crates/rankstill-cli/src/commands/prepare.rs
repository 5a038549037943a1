//! `rankstill prepare`: a log read, filtered, split and audited; the result kept as a folder.

use anyhow::{Result, bail};
use clap::Args;
use rankstill::core::registry::Config;
use rankstill::data::prepare::PrepareReport;
use rankstill_cli::experiment::data;
use rankstill_cli::experiment::spec::{DataSpec, Parts, set};
use rankstill_cli::progress::Screen;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// A log in any known format; leave it out where --train and --test are given.
    log: Option<PathBuf>,
    /// Where to keep the data set.
    #[arg(long)]
    out: PathBuf,
    /// The log's format, where it is not guessed right: see `rankstill list formats`.
    #[arg(long)]
    format: Option<String>,
    /// Change any setting of `read`, `filter`, `split`, `mask` and `history`, such as filter.user_core=5.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Somebody's split: what trains.
    #[arg(long, conflicts_with = "log", requires = "test")]
    train: Option<PathBuf>,
    /// Somebody's split: what validates.
    #[arg(long, requires = "train")]
    valid: Option<PathBuf>,
    /// Somebody's split: what tests.
    #[arg(long, requires = "train")]
    test: Option<PathBuf>,
    /// Replace a data set that stands there.
    #[arg(long)]
    replace: bool,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let mut tree = json!({});
    if options.train.is_some() {
        set(&mut tree, "split.kind=ready_made")?;
    }
    for one in &options.set {
        set(&mut tree, one)?;
    }
    let mut spec: DataSpec = Config { path: "", value: &tree }.read()?;
    if let Some(format) = &options.format {
        spec.read.format = Some(format.clone());
    }
    match (&options.log, &options.train, &options.test) {
        (Some(log), None, None) => spec.path = Some(log.clone()),
        (None, Some(train), Some(test)) => {
            let (train, test) = (train.clone(), test.clone());
            spec.parts = Some(Parts { train, valid: options.valid.clone(), test });
        }
        _ => bail!("nothing to prepare: give a log, or --train and --test"),
    }
    let manifest = data::make(&spec, &options.out, options.replace, screen)?;
    if screen.json {
        screen.print(serde_json::to_string_pretty(&json!(manifest) as &Value)?);
    } else {
        screen.print(PrepareReport(manifest).to_string());
        screen.say(format!("kept in {}", options.out.display()));
    }
    Ok(())
}
