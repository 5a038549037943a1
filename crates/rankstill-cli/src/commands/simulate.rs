//! `rankstill simulate`: a simulated log of any size, streamed to a file.

use crate::experiment::tree::set;
use crate::progress::Screen;
use anyhow::{Result, ensure};
use clap::Args;
use rankstill::core::registry::Config;
use rankstill::data::simulate::{SimulateOptions, simulate_to};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// Number of rows, from 1,000 to 1,000,000,000.
    #[arg(long, default_value_t = 100_000)]
    interactions: u64,
    /// Number of users; by default chosen to fit the rows.
    #[arg(long)]
    users: Option<u32>,
    /// Number of items; by default chosen to fit the rows.
    #[arg(long)]
    items: Option<u32>,
    /// Change any other setting of the simulator, such as repeats=0.3; the documents on data list them. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Add ratings from 1 to 5.
    #[arg(long)]
    ratings: bool,
    /// The seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The file to write: .parquet, .tsv, .csv or .jsonl.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let &Options { interactions, users, items, ratings, seed, ref out, set: ref changes } = options;
    let mut tree = json!({});
    for change in changes {
        set(&mut tree, change)?;
    }
    for key in ["interactions", "users", "items", "ratings", "seed"] {
        ensure!(tree.get(key).is_none(), "--set {key}: has an option of its own, --{key}");
    }
    let other: SimulateOptions = Config { path: "", value: &tree }.read()?;
    let settings = SimulateOptions { interactions, users, items, ratings, seed, ..other };
    let bar = screen.bar("simulating", interactions);
    let world = simulate_to(out, &settings, |rows| bar.at(rows))?;
    drop(bar);
    let (users, items) = (world.n_users(), world.n_items());
    if screen.json {
        screen.print(
            json!({"interactions": interactions, "users": users, "items": items, "path": out})
                .to_string(),
        )?;
    } else {
        screen.say(format!(
            "{interactions} interactions of {users} users with {items} items in {}",
            out.display()
        ));
    }
    Ok(())
}
