//! `rankstill tune`: settings found by their value on validation data, never on test data.

use anyhow::Result;
use clap::Args;
use rankstill_cli::experiment::spec;
use rankstill_cli::experiment::tune::{result::EXPERIMENT, tune};
use rankstill_cli::progress::Screen;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// The experiment: a TOML file with ranges in [tune.models.NAME].
    experiment: PathBuf,
    /// The search's folder. Given again, a search that was stopped goes on.
    #[arg(long)]
    out: PathBuf,
    /// Tune this model only; may be given several times.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Change any setting, such as data.path=LOG or tune.trials=100; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Draw and fit by this seed, as --set tune.seed=N.
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let seed = options.seed.map(|seed| format!("tune.seed={seed}"));
    let overrides: Vec<String> = options.set.iter().cloned().chain(seed).collect();
    let tree = spec::tree(&options.experiment, &overrides)?;
    let tuned = tune(tree, &options.model, &options.out, screen)?;
    if screen.json {
        screen.print(serde_json::to_string_pretty(&tuned)?);
    } else {
        screen.print(tuned.terminal());
        let out = options.out.join(EXPERIMENT);
        screen
            .say(format!("rankstill run {} --out DIR runs it with these settings", out.display()));
    }
    Ok(())
}
