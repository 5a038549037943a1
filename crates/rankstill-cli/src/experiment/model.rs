//! Fitted models on disk: an artefact in, a ranker out, and back.

use anyhow::{Context as _, Result};
use rankstill::core::artefact::{Artefact, FORMAT, Manifest};
use rankstill::core::registry::{self, Config};
use rankstill::core::{Interactions, Model, Vocab};
use rankstill::models::MODELS;
use serde_json::Value;
use std::path::Path;

/// What is known of a model besides its numbers.
pub struct About<'a> {
    /// As the experiment calls it.
    pub name: &'a str,
    /// Of [`MODELS`].
    pub kind: &'a str,
    /// Its recipe's settings, in full.
    pub config: Value,
    /// For people: the data, the teachers, the metrics.
    pub card: Value,
}

/// Keeps a fitted model as a folder.
///
/// # Errors
/// When something else stands there, or the disk is full.
pub fn write(
    folder: &Path,
    about: About<'_>,
    model: &dyn Model,
    users: &Vocab,
    items: &Vocab,
    history: &Interactions,
) -> Result<()> {
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        name: about.name.into(),
        kind: about.kind.into(),
        config: about.config,
        n_users: users.len(),
        n_items: items.len(),
        n_parameters: model.n_parameters(),
        card: about.card,
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

/// A model that was read from its folder, and what it needs to answer in the user's own ids.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn Model>,
    /// What it is, and its vocabularies.
    pub artefact: Artefact,
}

/// Reads, checks and builds.
///
/// # Errors
/// When the folder cannot be trusted, or its recipe is unknown to this program.
pub fn read(folder: &Path) -> Result<Loaded> {
    loaded(folder, Artefact::read(folder)?)
}

/// As [`read`], with floats that stay on the disk where the model can read them there: users' vectors, mostly. See
/// [`Artefact::read_mapped`] for what is asked for it.
///
/// # Errors
/// As [`read`].
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
