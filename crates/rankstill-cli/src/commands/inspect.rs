//! `rankstill inspect`: the contents of a data set, an artefact or a run.

use crate::experiment::data::is_prepared;
use crate::experiment::run_folder;
use crate::progress::Screen;
use anyhow::{Result, bail};
use clap::Args;
use rankstill::artefact;
use rankstill::core::Artefact;
use rankstill::data::dataset::DatasetManifest;
use rankstill::data::prepare::PrepareReport;
use rankstill::eval::Report;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// A folder made by `prepare`, `run`, `train` or `distill`, or the artefact of a model.
    path: PathBuf,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let path = &options.path;
    if is_prepared(path) {
        let manifest = DatasetManifest::read(path)?;
        return show(screen, || json!(manifest), || PrepareReport(manifest.clone()).to_string());
    }
    if path.join("report.json").is_file() {
        return show_run(path, screen);
    }
    if path.join("manifest.json").is_file() {
        return show_artefact(path, screen);
    }
    if path.join("experiment.toml").is_file() {
        bail!("{}: an unfinished run; repeat its command to resume it", path.display());
    }
    bail!("{}: is not a data set, an artefact or a run", path.display());
}

fn show(
    screen: &Screen,
    json: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> Result<()> {
    if screen.json { screen.print(format!("{:#}", json())) } else { screen.print(text()) }
}

fn show_run(path: &Path, screen: &Screen) -> Result<()> {
    let file = path.join("report.json");
    let text = std::fs::read_to_string(&file)?;
    let report: Report = match serde_json::from_str(&text) {
        Ok(report) => report,
        Err(error) => bail!("{}: {error}", file.display()),
    };
    let folders = |report: &Report| {
        let lines = report
            .models
            .iter()
            .filter_map(|model| Some(format!("  {}  {}", model.name, model.artefact.as_deref()?)));
        lines.collect::<Vec<_>>().join("\n")
    };
    show(
        screen,
        || json!(report),
        || format!("{}\n{}\nartefacts\n{}", report.title, report.terminal(), folders(&report)),
    )
}

/// Reads the whole artefact, so everything shown has been checked.
fn show_artefact(path: &Path, screen: &Screen) -> Result<()> {
    let artefact::Loaded { model, artefact, .. } = artefact::load(path)?;
    let Artefact { manifest, tensors, history, .. } = &artefact;
    let text = || {
        let mut lines = vec![
            format!(
                "{} ({}), written by rankstill {}",
                manifest.name, manifest.kind, manifest.version
            ),
            format!(
                "{} users, {} items, {} interactions seen",
                manifest.n_users,
                manifest.n_items,
                history.len()
            ),
            format!(
                "{} parameters, {} on disk",
                model.n_parameters(),
                run_folder::human_size(Artefact::bytes(manifest))
            ),
            format!("settings {:#}", manifest.config),
            format!("card {:#}", manifest.card),
        ];
        for (name, tensor) in tensors.iter() {
            lines.push(format!("  {name}: {} {:?}", tensor.data.kind(), tensor.shape));
        }
        lines.join("\n")
    };
    show(screen, || json!(manifest), text)
}
