//! `rankstill quickstart`: `compress` on a simulated log, within a minute.

use crate::experiment::compress::{Budget, Effort, Request};
use crate::experiment::tree::set;
use crate::progress::Screen;
use anyhow::Result;
use clap::Args;
use rankstill::core::registry::Config;
use serde_json::{Map, json};
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// The folder of the run. If it holds an unfinished run of this command, that run is resumed.
    #[arg(long, value_name = "FOLDER", default_value = "runs/quickstart")]
    out: PathBuf,
    /// Change any setting of the log, such as simulate.users=3000, and of `filter` and `split`. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The seed of the log and of every draw.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    // As MovieLens 100K in all but size, where teaching takes seconds.
    let mut tree = json!({
        "simulate": {"interactions": 80_000, "users": 1_500, "items": 1_200, "seed": options.seed},
        "filter": {"user_core": 5, "item_core": 5},
    });
    for one in &options.set {
        set(&mut tree, one)?;
    }
    let request = Request {
        data: Config { path: "", value: &tree }.read()?,
        teachers: Map::new(),
        portfolio: true,
        budget: Budget::default(),
        effort: Effort::Quick,
        seeds: vec![options.seed],
    };
    super::compress::show(&request, &options.out, screen)
}
