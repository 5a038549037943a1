//! `rankstill tune`: settings picked on validation data, never on test data.

use crate::experiment::tree;
use crate::experiment::tune::{result::EXPERIMENT, tune};
use crate::progress::Screen;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// The experiment, a TOML file with ranges in [tune.models.NAME].
    experiment: PathBuf,
    /// The folder of the search. If it holds an unfinished search of this experiment, that search is resumed.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Tune only this model. Repeatable.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Change any setting, such as data.path=LOG or tune.trials=100. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The seed of the draws and of every fit; short for --set tune.seed=N.
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let seed = options.seed.map(|seed| format!("tune.seed={seed}"));
    let overrides: Vec<String> = options.set.iter().cloned().chain(seed).collect();
    let tree = tree::read(&options.experiment, &overrides)?;
    let tuned = tune(tree, &options.model, &options.out, screen)?;
    if screen.json {
        screen.print(serde_json::to_string_pretty(&tuned)?)?;
    } else {
        screen.print(tuned.terminal())?;
        let out = options.out.join(EXPERIMENT);
        screen
            .say(format!("run it with these settings: rankstill run {} --out DIR", out.display()));
    }
    Ok(())
}
