//! An experiment as checked: every name resolved, every setting parsed, the models ordered so that teachers come before their
//! students.

mod checks;

use super::spec::{FitOn, Spec};
use super::tree::without_nulls;
use anyhow::{Context as _, Result, bail};
use rankstill::core::registry::{self, Config};
use rankstill::core::{Distiller, Interactions, Recipe, TeacherRecipe, UnderPath as _};
use rankstill::data::ReadOptions;
use rankstill::distill::self_taught::{SELF, SelfTeaching};
use rankstill::distill::{DISTILLERS, Fusion};
use rankstill::models::MODELS;
use rankstill::models::compressed::{COMPRESSORS, Compressor};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;

/// A checked experiment.
pub struct ExperimentPlan {
    /// The settings as written.
    pub spec: Spec,
    /// In the order of the file, which is that of the tables.
    pub models: Vec<PlannedModel>,
    /// Indices into `models` in the order of fitting: teachers first.
    pub order: Vec<usize>,
}

/// One model of an experiment: a row of the table.
pub struct PlannedModel {
    /// Its name in the experiment.
    pub name: String,
    /// Where its rankings come from.
    pub source: Source,
    /// All settings with their defaults, as kept in the run folder.
    pub resolved: Value,
}

/// Where a model's rankings come from.
pub enum Source {
    /// It is fitted here.
    Fit {
        /// Its name in [`MODELS`].
        kind: &'static str,
        /// Its settings.
        recipe: Arc<dyn Recipe>,
        /// How it is distilled, if it is.
        distil: Option<Distil>,
        /// Added to the seed of the run, for models that differ only in their random draws.
        seed_offset: u64,
    },
    /// It comes from outside: files of rankings or artefacts, one per state of its training, the final state last.
    Rankings {
        /// One per state.
        paths: Vec<PathBuf>,
        /// How files of rankings are read.
        read: ReadOptions,
    },
    /// Another model of the experiment, made smaller after it was fitted.
    Compressed {
        /// Index into [`ExperimentPlan::models`].
        of: usize,
        /// Its settings.
        compressor: Arc<dyn Compressor>,
    },
    /// An ensemble of other models of the experiment.
    Ensemble {
        /// Indices into [`ExperimentPlan::models`].
        members: Vec<usize>,
        /// How their lists are combined.
        fusion: Fusion,
    },
}

impl PlannedModel {
    /// The indices of its teachers.
    #[must_use]
    pub fn teachers(&self) -> &[usize] {
        match &self.source {
            Source::Fit { distil: Some(distil), .. } => &distil.teachers,
            _ => &[],
        }
    }

    /// The recipe that fits it on `train` in a run with this seed; `None` if it is not fitted.
    #[must_use]
    pub fn teacher_recipe(&self, train: &Arc<Interactions>, seed: u64) -> Option<TeacherRecipe> {
        let Source::Fit { recipe, .. } = &self.source else { return None };
        Some(TeacherRecipe { recipe: recipe.clone(), train: train.clone(), seed: self.seed(seed) })
    }

    /// The seed of its draws in a run with the seed `seed`.
    #[must_use]
    pub fn seed(&self, seed: u64) -> u64 {
        match self.source {
            Source::Fit { seed_offset, .. } => seed.wrapping_add(seed_offset),
            _ => seed,
        }
    }

    /// The models that must be ready before it: its teachers, its members, or the model that is compressed.
    #[must_use]
    pub fn needs(&self) -> &[usize] {
        match &self.source {
            Source::Ensemble { members, .. } => members,
            Source::Compressed { of, .. } => slice::from_ref(of),
            _ => self.teachers(),
        }
    }
}

/// How a student is distilled.
pub struct Distil {
    /// Its name in [`DISTILLERS`].
    pub kind: &'static str,
    /// Its settings.
    pub distiller: Arc<dyn Distiller>,
    /// Indices into [`ExperimentPlan::models`]; empty for a student that teaches itself.
    pub teachers: Vec<usize>,
    /// When a student teaches itself, if it does.
    pub by_itself: Option<SelfTeaching>,
}

impl Distil {
    /// The first epoch, from 0, in which the student is taught; `None`: never.
    #[must_use]
    pub fn teaches_from(&self) -> Option<usize> {
        let alone = self.by_itself.as_ref().map_or(0, |settings| settings.warm_up.max(1));
        self.distiller.teaches_from().map(|from| from.max(alone))
    }
}

/// The `kind` of a model that comes from outside, as files of rankings or artefacts.
pub const RANKINGS: &str = "rankings";

/// When a student teaches itself: the key beside `teachers = ["self"]`.
const SELF_TEACHING: &str = "self_teaching";

/// How a model that is `like` another is compressed.
const COMPRESS: &str = "compress";

/// The `kind` of a compressed model.
pub const COMPRESSED: &str = "compressed";

/// The `kind` of an ensemble.
pub const ENSEMBLE: &str = "ensemble";

impl ExperimentPlan {
    /// Checks `spec` and fills in every default.
    ///
    /// # Errors
    /// Names the key that is wrong and what would be right.
    pub fn new(spec: Spec) -> Result<Self> {
        let plan = Self::of(spec)?;
        plan.models.iter().try_for_each(checks::teaches_in_time)?;
        Ok(plan)
    }

    /// The same with other numbers of epochs, by model; `None`: as they are.
    ///
    /// # Errors
    /// If a model has no setting for its epochs.
    pub fn with_epochs(&self, epochs: &[Option<usize>]) -> Result<Self> {
        let mut spec = self.resolved_spec();
        for (planned, epochs) in self.models.iter().zip(epochs) {
            let Some(epochs) = *epochs else { continue };
            let model = spec.models.get_mut(&planned.name);
            let setting = model.and_then(|model| model.pointer_mut("/train/epochs"));
            *setting
                .with_context(|| format!("models.{}.train.epochs: is missing", planned.name))? =
                epochs.into();
        }
        Self::of(spec)
    }

    /// The same with the weights of these ensembles' members, by model, instead of a choice; `None`: as they are.
    ///
    /// # Errors
    /// If a model is no ensemble.
    pub fn with_weights(&self, weights: &[Option<Vec<u32>>]) -> Result<Self> {
        let mut spec = self.resolved_spec();
        for (planned, weights) in self.models.iter().zip(weights) {
            let Some(weights) = weights else { continue };
            let model = spec.models.get_mut(&planned.name);
            let fusion = model.and_then(|model| model.get_mut("fusion"));
            let fusion =
                fusion.with_context(|| format!("models.{}.fusion: is missing", planned.name))?;
            fusion["select"] = 0.into();
            fusion["weights"] = json!(weights);
        }
        Self::of(spec)
    }

    fn of(spec: Spec) -> Result<Self> {
        if spec.models.is_empty() {
            bail!(
                "models: is empty; name at least one, for example [models.POP] with kind = \"pop\""
            );
        }
        if spec.seeds.is_empty() {
            bail!("seeds: is empty; name at least one, for example seeds = [1]");
        }
        spec.data.sample.check()?;
        spec.trajectory.check().under("trajectory")?;
        let known = || spec.models.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        if spec.models.contains_key(SELF) {
            bail!(
                "models.{SELF}: this name is that of a student as its own teacher; choose another"
            );
        }
        if let Some(name) = spec.only.iter().find(|name| !spec.models.contains_key(*name)) {
            bail!("only: no model `{name}`; the models are {}", known());
        }
        let all = spec.only.is_empty();
        let names: Vec<&String> =
            if all { spec.models.keys().collect() } else { spec.only.iter().collect() };
        let models = names
            .iter()
            .map(|name| match compressed(name, &spec.models[*name], &names)? {
                Some(compressed) => Ok(compressed),
                None => planned(name, inherited(name, &spec.models)?, &names),
            })
            .collect::<Result<Vec<_>>>()?;
        models.iter().try_for_each(|model| checks::is_compressible(model, &models))?;
        models.iter().try_for_each(|student| checks::teachers_have_vectors(student, &models))?;
        models.iter().try_for_each(|student| checks::teachers_are_trainable(student, &models))?;
        let order = teachers_first(&models)?;
        checks::what_is_measured(&spec.evaluate, &models)?;
        let weighted = |model: &&PlannedModel| matches!(&model.source, Source::Ensemble { fusion, .. } if fusion.user_weights > 0.0);
        if spec.evaluate.fit_on != FitOn::Train
            && let Some(model) = models.iter().find(weighted)
        {
            bail!(
                "models.{}.fusion.user_weights: the weights come from validation data, on which evaluate.fit_on = \"{}\" fits the members; use \"train\"",
                model.name,
                spec.evaluate.fit_on.name()
            );
        }
        Ok(Self { spec, models, order })
    }

    /// The names of the models.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.models.iter().map(|model| model.name.clone()).collect()
    }

    /// The experiment with `like` resolved and every default written out.
    #[must_use]
    pub fn resolved_spec(&self) -> Spec {
        let models =
            self.models.iter().map(|model| (model.name.clone(), model.resolved.clone())).collect();
        let (tune, only, figures) = (None, Vec::new(), Vec::new());
        Spec { models, tune, only, figures, ..self.spec.clone() }
    }

    /// The length of the lists that students need of the states of this model's training; `None` if no student needs them.
    #[must_use]
    pub fn trajectory_length(&self, at: usize) -> Option<usize> {
        let length = |student: &PlannedModel| match &student.source {
            Source::Fit { distil: Some(Distil { teachers, distiller, .. }), .. }
                if teachers.contains(&at) && distiller.requires().trajectory =>
            {
                Some(distiller.requires().lists.k)
            }
            _ => None,
        };
        self.models.iter().filter_map(length).max()
    }

    /// The index of a model; panics if there is none of this name.
    #[must_use]
    pub fn at(&self, name: &str) -> usize {
        self.models.iter().position(|model| model.name == name).expect("a model of this experiment")
    }

    /// The whole experiment with every default written out, as TOML.
    ///
    /// # Errors
    /// If a setting cannot be written as TOML.
    pub fn resolved(&self) -> Result<String> {
        let mut tree = serde_json::to_value(&self.spec)?;
        if let Some(tree) = tree.as_object_mut() {
            tree.shift_remove("tune"); // belongs to another command
            tree.shift_remove("only");
        }
        tree["models"] = Value::Object(
            self.models.iter().map(|model| (model.name.clone(), model.resolved.clone())).collect(),
        );
        Ok(toml::to_string_pretty(&without_nulls(tree))?)
    }
}

/// The settings of `name`, completed by those of the model that it is `like`.
fn inherited(name: &str, models: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut chain = vec![name];
    let mut settings = Map::new();
    loop {
        let at = chain[chain.len() - 1];
        let Some(table) = models[at].as_object() else {
            bail!("models.{at}: expected a table of settings, found {}", models[at]);
        };
        registry::lay_under(&mut settings, table);
        let Some(like) = table.get("like") else { break };
        let known = || models.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match like.as_str().and_then(|like| models.get_key_value(like)) {
            Some((like, _)) if chain.contains(&like.as_str()) => {
                bail!("models.{name}.like: leads in a circle through `{like}`");
            }
            Some((like, _)) => chain.push(like),
            None => bail!("models.{at}.like: no model {like}; the models are {}", known()),
        }
    }
    settings.remove("like");
    Ok(settings)
}

/// The model of a table that says how another model is compressed; `None` for any other table.
fn compressed(name: &str, table: &Value, names: &[&String]) -> Result<Option<PlannedModel>> {
    let path = format!("models.{name}");
    let Some(settings) = table.get(COMPRESS).filter(|_| table.get("like").is_some()) else {
        return Ok(None);
    };
    let other = |key: &&String| *key != "like" && *key != COMPRESS;
    if let Some(key) = table.as_object().and_then(|table| table.keys().find(other)) {
        bail!(
            "{path}.{key}: a compressed model has `like`, the model that is compressed, and `{COMPRESS}`; give `{key}` to a model of its \
             own and compress that"
        );
    }
    let [of] = named(&format!("{path}.like"), name, table.get("like").cloned(), names)?[..] else {
        bail!("{path}.like: name one model");
    };
    let path = format!("{path}.{COMPRESS}");
    let (entry, compressor) =
        registry::parse(COMPRESSORS, Config { path: &path, value: settings })?;
    let resolved = json!({"like": names[of], COMPRESS: with_kind(entry.name, compressor.config())});
    let source = Source::Compressed { of, compressor: compressor.into() };
    Ok(Some(PlannedModel { name: name.into(), source, resolved }))
}

fn planned(
    name: &str,
    mut settings: Map<String, Value>,
    names: &[&String],
) -> Result<PlannedModel> {
    let path = format!("models.{name}");
    if settings.get("kind").and_then(Value::as_str) == Some(RANKINGS) {
        settings.remove("kind");
        let files = match settings.remove("path") {
            Some(Value::String(file)) => vec![PathBuf::from(file)],
            Some(Value::Array(files)) if !files.is_empty() => files
                .iter()
                .map(|file| file.as_str().map(PathBuf::from))
                .collect::<Option<Vec<_>>>()
                .with_context(|| format!("{path}.path: expected file names"))?,
            _ => bail!("{path}.path: is missing; name the file of rankings, or one file per state"),
        };
        let read = settings.remove("read");
        if let Some(key) = settings.keys().next() {
            bail!("{path}.{key}: unknown for kind `{RANKINGS}`, which takes `path` and `read`");
        }
        let mut resolved = match &files[..] {
            [file] => json!({"kind": RANKINGS, "path": file}),
            files => json!({"kind": RANKINGS, "path": files}),
        };
        let read = match read {
            None => ReadOptions::default(),
            Some(value) => {
                let read = Config { path: &format!("{path}.read"), value: &value }.read()?;
                resolved["read"] = value;
                read
            }
        };
        let source = Source::Rankings { paths: files, read };
        return Ok(PlannedModel { name: name.into(), source, resolved });
    }
    if settings.get("kind").and_then(Value::as_str) == Some(ENSEMBLE) {
        return ensemble(name, settings, names);
    }
    let distil = settings.remove("distill");
    let seed_offset = match settings.remove("seed_offset") {
        None => 0,
        Some(offset) => offset.as_u64().with_context(|| {
            format!("{path}.seed_offset: expected a whole number, found {offset}")
        })?,
    };
    let value = Value::Object(settings);
    let (entry, recipe) = registry::parse(MODELS, Config { path: &path, value: &value })?;
    let mut resolved = with_kind(entry.name, recipe.config());
    if seed_offset != 0 {
        resolved["seed_offset"] = seed_offset.into();
    }
    let distil = match distil {
        None => None,
        Some(value) => {
            if recipe.trainable().is_none() {
                let able = "only models that are trained by gradient can be students";
                bail!("{path}.distill: `{}` is not trained by gradient; {able}", entry.name);
            }
            let distil = distil_of(&format!("{path}.distill"), name, value, names)?;
            resolved["distill"] = with_kind(distil.kind, distil.distiller.config());
            resolved["distill"]["teachers"] = match &distil.by_itself {
                None => distil.teachers.iter().map(|&teacher| names[teacher].as_str()).collect(),
                Some(settings) => {
                    resolved["distill"][SELF_TEACHING] = serde_json::to_value(settings)?;
                    json!([SELF])
                }
            };
            Some(distil)
        }
    };
    Ok(PlannedModel {
        name: name.into(),
        source: Source::Fit { kind: entry.name, recipe: recipe.into(), distil, seed_offset },
        resolved,
    })
}

fn ensemble(
    name: &str,
    mut settings: Map<String, Value>,
    names: &[&String],
) -> Result<PlannedModel> {
    let path = format!("models.{name}");
    settings.remove("kind");
    let members = named(&format!("{path}.members"), name, settings.remove("members"), names)?;
    let value = settings.remove("fusion").unwrap_or_else(|| json!({}));
    if let Some(key) = settings.keys().next() {
        bail!("{path}.{key}: unknown for kind `{ENSEMBLE}`, which takes `members` and `fusion`");
    }
    let path = format!("{path}.fusion");
    let fusion: Fusion = Config { path: &path, value: &value }.read_over_default()?;
    fusion.check(members.len()).under(&path)?;
    let of: Vec<&str> = members.iter().map(|&member| names[member].as_str()).collect();
    let resolved = json!({"kind": ENSEMBLE, "members": of, "fusion": fusion});
    let source = Source::Ensemble { members, fusion };
    Ok(PlannedModel { name: name.into(), source, resolved })
}

/// The indices of the models that `value` names, one or several; `own` must not be among them.
fn named(path: &str, own: &str, value: Option<Value>, names: &[&String]) -> Result<Vec<usize>> {
    let wanted = match value {
        Some(Value::Array(wanted)) if !wanted.is_empty() => wanted,
        Some(Value::String(one)) => vec![Value::String(one)],
        _ => bail!("{path}: is missing; name at least one model of this experiment"),
    };
    let known = || names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    wanted
        .iter()
        .map(|one| match names.iter().position(|name| Some(name.as_str()) == one.as_str()) {
            Some(at) if names[at] == own => bail!("{path}: `{own}` names itself"),
            Some(at) => Ok(at),
            None => bail!("{path}: no model {one}; the models are {}", known()),
        })
        .collect()
}

fn distil_of(path: &str, student: &str, mut value: Value, names: &[&String]) -> Result<Distil> {
    let table = value.as_object_mut().with_context(|| format!("{path}: expected a table"))?;
    let teachers = table.remove("teachers");
    let settings = table.remove(SELF_TEACHING);
    let alone = match &teachers {
        Some(Value::Array(names)) => names.len() == 1 && names[0] == SELF,
        Some(name) => name == SELF,
        None => false,
    };
    let key = format!("{path}.{SELF_TEACHING}");
    let (teachers, by_itself) = match (alone, settings) {
        (false, Some(_)) => bail!("{key}: is for teachers = [\"{SELF}\"] only"),
        (false, None) => (named(&format!("{path}.teachers"), student, teachers, names)?, None),
        (true, settings) => {
            let settings = settings.unwrap_or_else(|| json!({}));
            let of = Config { path: &key, value: &settings };
            (Vec::new(), Some(of.read_over_default::<SelfTeaching>()?))
        }
    };
    let (entry, distiller) = registry::parse(DISTILLERS, Config { path, value: &value })?;
    if let Some(settings) = &by_itself {
        settings.check(&*distiller).under(&key)?;
    }
    Ok(Distil { kind: entry.name, distiller: distiller.into(), teachers, by_itself })
}

fn teachers_first(models: &[PlannedModel]) -> Result<Vec<usize>> {
    fn visit(
        at: usize,
        models: &[PlannedModel],
        seen: &mut [u8],
        order: &mut Vec<usize>,
    ) -> Result<()> {
        match seen[at] {
            2 => return Ok(()),
            1 => match &models[at].source {
                Source::Ensemble { .. } => {
                    bail!("models.{}.members: leads in a circle", models[at].name)
                }
                _ => bail!("models.{}.distill.teachers: leads in a circle", models[at].name),
            },
            _ => seen[at] = 1,
        }
        for &needed in models[at].needs() {
            visit(needed, models, seen, order)?;
        }
        seen[at] = 2;
        order.push(at);
        Ok(())
    }
    let (mut seen, mut order) = (vec![0; models.len()], Vec::new());
    for at in 0..models.len() {
        visit(at, models, &mut seen, &mut order)?;
    }
    Ok(order)
}

/// The settings of an entry of a registry, its name first.
#[must_use]
pub fn with_kind(kind: &str, config: Value) -> Value {
    let mut table = Map::new();
    table.insert("kind".into(), kind.into());
    if let Value::Object(settings) = config {
        table.extend(settings);
    }
    Value::Object(table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_model_completes_its_tables_from_the_one_it_is_like() {
        let models = json!({
            "A": {"kind": "bpr_mf", "dim": 4, "train": {"epochs": 3, "patience": 0}, "loss": {"kind": "bpr"}},
            "B": {"like": "A", "train": {"epochs": 9}},
            "C": {"like": "B", "dim": 8, "loss": {"kind": "softmax"}, "train": {"batch_size": 7}},
        });
        let of = |name: &str| Value::Object(inherited(name, models.as_object().unwrap()).unwrap());
        assert_eq!(of("B")["train"], json!({"epochs": 9, "patience": 0}));
        assert_eq!(of("C")["train"], json!({"batch_size": 7, "epochs": 9, "patience": 0}));
        assert_eq!((&of("C")["dim"], &of("C")["loss"]), (&json!(8), &json!({"kind": "softmax"})));
    }
}
