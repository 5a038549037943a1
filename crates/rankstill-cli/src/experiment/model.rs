//! Fitted models on disk: written as artefacts, read as rankers.

use anyhow::{Context as _, Result};
use rankstill::core::artefact::{Artefact, FORMAT, Manifest};
use rankstill::core::registry::{self, Config};
use rankstill::core::{Interactions, Model, Vocab};
use rankstill::models::MODELS;
use serde_json::Value;
use std::path::Path;

/// The manifest entries of a model.
pub struct ModelInfo<'a> {
    /// Its name in the experiment.
    pub name: &'a str,
    /// Its name in [`MODELS`].
    pub kind: &'a str,
    /// Its recipe's settings, in full.
    pub config: Value,
    /// For readers: the data, the teachers, the seed.
    pub card: Value,
}

/// Writes a fitted model as a folder.
///
/// # Errors
/// If the folder holds something else, or writing fails.
pub fn write(
    folder: &Path,
    info: ModelInfo<'_>,
    model: &dyn Model,
    users: &Vocab,
    items: &Vocab,
    history: &Interactions,
) -> Result<()> {
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        name: info.name.into(),
        kind: info.kind.into(),
        config: info.config,
        n_users: users.len(),
        n_items: items.len(),
        n_parameters: model.n_parameters(),
        card: info.card,
        files: std::collections::BTreeMap::new(),
    };
    let artefact = Artefact {
        manifest,
        tensors: model.tensors(),
        users: users.clone(),
        items: items.clone(),
        history: history.clone(),
    };
    Ok(artefact.write(folder)?)
}

/// A model that was read from its folder, with its vocabularies.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn Model>,
    /// Its manifest, vocabularies and history.
    pub artefact: Artefact,
}

/// Reads and checks an artefact and builds its model.
///
/// # Errors
/// If a file is missing or does not match its checksum, or this program does not know the model.
pub fn read(folder: &Path) -> Result<Loaded> {
    loaded(folder, Artefact::read(folder)?)
}

/// Like [`read`], but large tables that the model reads by rows, such as users' vectors, stay on disk. See
/// [`Artefact::read_mapped`] for the conditions.
///
/// # Errors
/// See [`read`].
pub fn read_mapped(folder: &Path) -> Result<Loaded> {
    loaded(folder, Artefact::read_mapped(folder)?)
}

fn loaded(folder: &Path, artefact: Artefact) -> Result<Loaded> {
    let model = build(&artefact).with_context(|| folder.display().to_string())?;
    Ok(Loaded { model, artefact })
}

fn build(artefact: &Artefact) -> Result<Box<dyn Model>> {
    let mut config = artefact.manifest.config.clone();
    if let Some(table) = config.as_object_mut() {
        table.insert("kind".into(), artefact.manifest.kind.clone().into());
    }
    let (_, recipe) = registry::parse(MODELS, Config { path: "config", value: &config })?;
    let model = recipe.load(&artefact.tensors)?;
    let (found, expected) = (model.n_items(), artefact.items.len());
    anyhow::ensure!(
        found == expected,
        "the model ranks {found} items, the catalogue has {expected}"
    );
    Ok(model)
}
