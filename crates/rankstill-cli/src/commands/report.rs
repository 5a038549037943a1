//! `rankstill report`: the page of a finished run, made again.

use crate::experiment::again;
use crate::progress::Screen;
use anyhow::{Context as _, Result};
use clap::Args;
use rankstill::core::atomic_write::{self, Lock};
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// The folder of a finished run, also of an earlier version: what it does not hold is left out.
    run: PathBuf,
    /// The file to write. Default: report.html in the folder of the run.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A file with titles of the items: CSV, TSV or RecBole's .item. Default: `data.items` of the experiment.
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let report = again::read(&options.run, options.items.as_deref(), screen)?;
    let page = report.html();
    let path = options.out.clone().unwrap_or_else(|| options.run.join("report.html"));
    let _lock = match options.out {
        Some(_) => Lock::beside(&path)?,
        None => Lock::folder(&options.run)?,
    };
    atomic_write::write(&path, page.as_bytes()).with_context(|| path.display().to_string())?;
    for missing in report.details.iter().flat_map(|details| &details.missing) {
        screen.say(missing);
    }
    if screen.json {
        return screen.print(serde_json::to_string_pretty(&report)?);
    }
    screen.print(path.display().to_string())
}
