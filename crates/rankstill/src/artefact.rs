//! Fitted models on disk: [`save`] writes a folder, [`load`] reads it back. Its format is described in `docs/artefact.md`.

use crate::core::artefact::FORMAT;
use crate::core::registry::{self, Config};
use crate::core::{
    Artefact, Error, IndexedLog, Interactions, Manifest, Model, Recipe, Result, Trained,
    UnderPath as _, Vocab,
};
use crate::models::MODELS;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// What an artefact's manifest says about a model in addition to its arrays.
pub struct About<'a> {
    /// A name for people.
    pub name: &'a str,
    /// Its entry in [`MODELS`].
    pub kind: &'a str,
    /// The settings of its recipe, in full.
    pub config: Value,
    /// For people: the data, the teachers, the metrics.
    pub card: Value,
}

impl<'a> About<'a> {
    /// A model called `name` that was fitted by `recipe`, with an empty card.
    #[must_use]
    pub fn new(name: &'a str, recipe: &'a dyn Recipe) -> Self {
        Self { name, kind: recipe.kind(), config: recipe.config(), card: Value::Null }
    }
}

/// Writes a fitted model, the ids of its users and items, and their histories to the folder `place`, which appears complete or
/// not at all. An artefact that is there is replaced.
///
/// # Errors
/// When the folder holds anything else, or the disk is full.
pub fn save(
    place: impl AsRef<Path>,
    about: About<'_>,
    model: &dyn Model,
    log: &IndexedLog,
) -> Result<()> {
    save_parts(place.as_ref(), about, model, (&log.users, &log.items, &log.interactions))
}

/// [`save`] for a log whose parts are kept apart: ids of users, ids of items, histories.
///
/// # Errors
/// As [`save`].
pub fn save_parts(
    place: &Path,
    about: About<'_>,
    model: &dyn Model,
    (users, items, history): (&Vocab, &Vocab, &Interactions),
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
        files: BTreeMap::new(),
    };
    let artefact = Artefact {
        manifest,
        tensors: model.tensors(),
        users: users.clone(),
        items: items.clone(),
        history: history.clone(),
    };
    artefact.write(place)
}

/// A model read from its folder, with what it needs to answer in the users' own ids.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn Model>,
    /// Its manifest, vocabularies and histories.
    pub artefact: Artefact,
    trained: OnceLock<Arc<Trained>>,
}

/// Reads an artefact, checks it and builds its model.
///
/// # Errors
/// When the folder is incomplete or damaged, or this version does not know the kind of model.
pub fn load(place: impl AsRef<Path>) -> Result<Loaded> {
    let place = place.as_ref();
    built(place, Artefact::read(place)?)
}

/// The same, but arrays that the model can read in place stay on the disk: users' vectors, mostly. See [`Artefact::read_mapped`] for
/// the conditions.
///
/// # Errors
/// As [`load`].
pub fn load_mapped(place: impl AsRef<Path>) -> Result<Loaded> {
    let place = place.as_ref();
    built(place, Artefact::read_mapped(place)?)
}

impl Loaded {
    /// The `k` best new items for the user `id`, with scores. A user without a history, and one that the artefact does not know, gets
    /// the most popular items, whose scores are their numbers of interactions.
    ///
    /// # Errors
    /// When the model cannot answer.
    pub fn recommend(&self, id: &str, k: usize) -> Result<Vec<(String, f32)>> {
        let Artefact { users, items, history, .. } = &self.artefact;
        let trained = self.trained.get_or_init(|| Arc::new(Trained::on(history)));
        let history = |user| history.history(user);
        let trained = Arc::clone(trained);
        crate::recommend::to_user(&*self.model, trained, (users, items), history, id, k)
    }
}

fn built(place: &Path, artefact: Artefact) -> Result<Loaded> {
    let mut config = artefact.manifest.config.clone();
    if let Some(table) = config.as_object_mut() {
        table.insert("kind".into(), artefact.manifest.kind.clone().into());
    }
    let (_, recipe) = registry::parse(MODELS, Config { path: "config", value: &config })
        .under(&place.display().to_string())?;
    let model = recipe.load(&artefact.tensors)?;
    let (found, expected) = (model.n_items(), artefact.items.len());
    if found != expected {
        let problem = format!("the model ranks {found} items, the catalogue has {expected}");
        return Err(Error::File { path: place.to_owned(), problem });
    }
    Ok(Loaded { model, artefact, trained: OnceLock::new() })
}
