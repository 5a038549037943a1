//! `rankstill prepare`: reads, filters, splits and audits a log, and writes the result as a folder.

use crate::experiment::data;
use crate::experiment::spec::{DataSpec, SplitFiles};
use crate::experiment::tree::set;
use crate::progress::Screen;
use anyhow::{Result, bail};
use clap::Args;
use rankstill::core::atomic_write::Lock;
use rankstill::core::registry::Config;
use rankstill::data::prepare::PrepareReport;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// A log in any known format. Omit it with --train and --test.
    log: Option<PathBuf>,
    /// The folder to write.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The format of the log, if it is not detected; see `rankstill list formats`.
    #[arg(long)]
    format: Option<String>,
    /// Change any setting of `read`, `filter`, `split`, `mask` and `history`, such as filter.user_core=5. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The training part of a ready-made split.
    #[arg(long, conflicts_with = "log", requires = "test")]
    train: Option<PathBuf>,
    /// The validation part of a ready-made split.
    #[arg(long, requires = "train")]
    valid: Option<PathBuf>,
    /// The test part of a ready-made split.
    #[arg(long, requires = "train")]
    test: Option<PathBuf>,
    /// Every row trains and none is for validation or test: for a model that goes into service. The same as --set split.kind=all.
    #[arg(long, conflicts_with = "train")]
    all: bool,
    /// Replace an existing data set.
    #[arg(long)]
    replace: bool,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let mut tree = json!({});
    if options.train.is_some() {
        set(&mut tree, "split.kind=ready_made")?;
    }
    if options.all {
        if let Some(split) = options.set.iter().find(|one| one.starts_with("split")) {
            bail!("--set {split}: with --all there is no split; leave one of them out");
        }
        set(&mut tree, &format!("split.kind={}", data::ALL_ROWS))?;
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
            spec.parts = Some(SplitFiles { train, valid: options.valid.clone(), test });
        }
        _ => bail!("nothing to prepare: give a log, or --train and --test"),
    }
    let _lock = Lock::beside(&options.out)?;
    let manifest = data::make(&spec, &options.out, options.replace, "--set read.", screen)?;
    if screen.json {
        screen.print(serde_json::to_string_pretty(&json!(manifest) as &Value)?)?;
    } else {
        screen.print(PrepareReport(manifest).to_string())?;
        screen.say(format!("written to {}", options.out.display()));
    }
    Ok(())
}
