//! `rankstill run`: an experiment, from the log to the table.

use crate::experiment::plan::ExperimentPlan;
use crate::experiment::run;
use crate::experiment::spec::Spec;
use crate::progress::Screen;
use anyhow::{Result, ensure};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// The experiment, a TOML file.
    experiment: PathBuf,
    /// The folder of the run. If it holds an unfinished run of this experiment, that run is resumed.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Change any setting, such as data.path=LOG or models."MF-8".dim=16. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Fit every model once with each of these seeds.
    #[arg(long, value_delimiter = ',', value_name = "N,N,…")]
    seeds: Vec<u64>,
    /// Fit every model once with this seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let mut spec = Spec::read(&options.experiment, &options.set)?;
    if !options.seeds.is_empty() || options.seed.is_some() {
        spec.seeds = options.seeds.iter().copied().chain(options.seed).collect();
    }
    let mut distinct = spec.seeds.clone();
    distinct.sort_unstable();
    distinct.dedup();
    ensure!(distinct.len() == spec.seeds.len(), "seeds: a seed is given twice");
    show(&ExperimentPlan::new(spec)?, &options.out, screen)
}

/// Runs a plan and prints its table.
pub fn show(plan: &ExperimentPlan, out: &Path, screen: &Screen) -> Result<()> {
    let report = run::run(plan, out, screen)?;
    if screen.json {
        screen.print(serde_json::to_string_pretty(&report)?)?;
    } else {
        screen.print(report.terminal())?;
        screen.say(format!("all results are in {}; start with report.html", out.display()));
    }
    Ok(())
}
