//! Fitting and distilling in memory. The same log, settings and seed give the bytes of the command line.

use crate::dataset::Dataset;
use crate::error::{ConfigError, Result};
use crate::model::Model;
use crate::settings;
use crate::teacher;
use crate::work::{Epochs, Task};
use pyo3::prelude::*;
use rankstill::artefact::About;
use rankstill::core::registry;
use rankstill::core::train::train;
use rankstill::core::{
    ColdStart, Distiller, Error, Fit, Model as CoreModel, Objective, Packed, Recipe, TeacherRecipe,
    Trace, UnderPath as _,
};
use rankstill::distill::self_taught::{SELF, SelfTeaching};
use rankstill::distill::{StateSelection, Teacher};
use rankstill_cli::error_line;
use rankstill_cli::experiment::compress;
use rankstill_cli::experiment::measure::Metrics;
use rankstill_cli::experiment::spec::EvaluateSpec;
use serde_json::{Value, json};
use std::sync::Arc;

/// Fits a model of this kind with these settings, a JSON object. With `states`, its training is recorded as lists of that length.
#[pyfunction]
#[pyo3(signature = (kind, settings, data, *, seed, validate, states, name, progress))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub fn fit(
    py: Python<'_>,
    kind: &str,
    settings: &str,
    data: &Dataset,
    seed: u64,
    validate: &str,
    states: usize,
    name: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> Result<Model> {
    let recipe: Arc<dyn Recipe> = settings::recipe(kind, settings)?.into();
    let metrics = metrics(validate)?;
    let name = name.unwrap_or(kind);
    let (model, states) = Task::default().run_shown(py, (progress, name), |task| {
        watched(task, &*recipe, 0.0, (data, name, &metrics), seed, |fit| {
            if states == 0 {
                return Ok((recipe.fit(&data.ground.train, fit)?.into(), None));
            }
            let selection = StateSelection::default();
            let teacher = Teacher::fit_shared_with_states(
                name,
                Arc::clone(&recipe),
                &data.ground.train,
                &selection,
                states,
                fit,
            )?;
            let model = teacher.model().map(Arc::clone).ok_or(Error::Interrupted)?;
            Ok((model, Some(teacher)))
        })
    })?;
    let about =
        About { name, kind, config: recipe.config(), card: card("train", data, seed, None) };
    let recipe = TeacherRecipe { recipe, train: Arc::clone(&data.ground.train), seed };
    let mut model = Model::new(about, model, Arc::clone(&data.ground));
    (model.recipe, model.states) = (Some(recipe), states);
    Ok(model)
}

/// Fits a model of this kind that is taught by `teachers` with `method`; by itself where they are `["self"]`.
#[pyfunction]
#[pyo3(signature = (kind, settings, data, teachers, method, *, self_teaching, seed, validate, name, progress))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub fn distil(
    py: Python<'_>,
    kind: &str,
    settings: &str,
    data: &Dataset,
    teachers: Vec<Bound<'_, PyAny>>,
    method: Option<&Bound<'_, PyAny>>,
    self_teaching: Option<&Bound<'_, PyAny>>,
    seed: u64,
    validate: &str,
    name: Option<&str>,
    progress: Option<&Bound<'_, PyAny>>,
) -> Result<Model> {
    let mut student = settings::parsed(settings)?;
    let dim = student["dim"].as_u64().and_then(|dim| usize::try_from(dim).ok());
    let (mut resolved, method) = match (method, compress::robust(kind, dim)) {
        (Some(method), _) => settings::distiller(&settings::json_of(method)?)?,
        // What is not given is as `rankstill distill` has it.
        (None, Some((Value::Object(mut robust), lists))) => {
            robust.remove("kind");
            if let Some(given) = student.as_object_mut() {
                registry::lay_under(given, &robust);
            }
            settings::distiller(&lists)?
        }
        (None, _) => settings::distiller(&compress::lists())?,
    };
    let recipe: Arc<dyn Recipe> = settings::recipe_of(kind, &student)?.into();
    let method: Arc<dyn Distiller> = method.into();
    let metrics = metrics(validate)?;
    let name = name.unwrap_or(kind);
    let task = Task::default();
    let alone =
        matches!(&*teachers, [one] if one.extract::<String>().is_ok_and(|word| word == SELF));
    if !alone && self_teaching.is_some() {
        let problem = format!("self_teaching: is for teachers = \"{SELF}\" only");
        return Err(ConfigError::new_err(problem).into());
    }
    let by_itself = alone.then(|| settings::table::<SelfTeaching>("self_teaching", self_teaching));
    let by_itself = by_itself.transpose()?;
    let others = if alone { Vec::new() } else { teachers };
    let teachers: Vec<Teacher> =
        others.iter().map(|one| teacher::bound(one, data, &task)).collect::<Result<_>>()?;
    resolved["teachers"] = match &by_itself {
        Some(settings) => {
            resolved["self_teaching"] = json!(settings);
            json!([SELF])
        }
        None => teachers.iter().map(Teacher::name).collect(),
    };
    let model = task.run_shown(py, (progress, name), |task| {
        let Some(student) = recipe.trainable() else {
            let problem = format!("`{kind}` does not learn by gradient and cannot be a student");
            return Err(ConfigError::new_err(problem).into());
        };
        let ground = &data.ground;
        let cases = student.cases(&ground.train);
        let learn = |objective: Box<dyn Objective>, from: f64| {
            watched(task, &*recipe, from, (data, name, &metrics), seed, |fit| {
                Ok(Arc::from(train(student, &ground.train, &cases, objective, fit)?))
            })
        };
        if let Some(settings) = &by_itself {
            let (method, recipe) = (Arc::clone(&method), Arc::clone(&recipe));
            let objective = settings.objective(method, recipe, &ground.train, &cases);
            return learn(objective.under("self_teaching")?, 0.0);
        }
        let traces = teachers.iter().enumerate().map(|(at, teacher)| {
            let mut progress = |done: usize, total: usize| {
                let share = (at as f64 + done as f64 / total.max(1) as f64) / teachers.len() as f64;
                task.at(RECORDING * share, format!("top lists of {}", teacher.name()));
                task.flow()
            };
            teacher.trace(&cases, method.requires(), &mut progress)
        });
        let traces = traces.collect::<rankstill::core::Result<Vec<_>>>()?;
        if method.requires().lists.k > 0 && traces.iter().all(lists_nothing) {
            let problem = format!(
                "no teacher lists an item to teach for any of the {} training queries",
                cases.n_queries()
            );
            return Err(ConfigError::new_err(problem).into());
        }
        let own = student.objective(&ground.train);
        learn(method.teach(own, &cases, &traces).under("method")?, RECORDING)
    })?;
    let card = card("distill", data, seed, Some(resolved));
    let about = About { name, kind, config: recipe.config(), card };
    let recipe = TeacherRecipe { recipe, train: Arc::clone(&data.ground.train), seed };
    let mut model = Model::new(about, model, Arc::clone(&data.ground));
    model.recipe = Some(recipe);
    Ok(model)
}

/// The share of a bar that stands for the recording of teachers' lists.
const RECORDING: f64 = 0.2;

/// A fit that moves the bar of `task` on from a share of it, stops with it, and is validated where there is a validation part.
fn watched<T>(
    task: &Task,
    recipe: &dyn Recipe,
    from: f64,
    (data, name, metrics): (&Dataset, &str, &Metrics),
    seed: u64,
    work: impl FnOnce(&mut Fit<'_>) -> T,
) -> T {
    let epochs = recipe.training_plan().map_or(1, |plan| plan.epochs);
    let mut watch = Epochs { task, from, epochs, note: recipe.kind().to_owned() };
    let valid = |model: &dyn CoreModel| validation(metrics, data, name, model);
    let early = !data.data.split.valid.is_empty();
    work(&mut Fit {
        validate: early.then_some(&valid),
        watch: Some(&mut watch),
        stop: task.stop().clone(),
        ..Fit::seeded(seed)
    })
}

fn metrics(validate: &str) -> Result<Metrics> {
    Ok(Metrics::parse(&EvaluateSpec { validate: validate.into(), ..EvaluateSpec::default() })?)
}

/// The validation value of early stopping, as in an experiment.
fn validation(
    metrics: &Metrics,
    data: &Dataset,
    name: &str,
    model: &dyn CoreModel,
) -> rankstill::core::Result<f64> {
    let packed = Packed::new(model);
    let ranker = ColdStart::new(&packed, Arc::clone(&data.ground.trained));
    let value = metrics.validation(&ranker, &data.data.split.valid);
    value.map_err(|error| Error::Ranker { name: name.to_owned(), problem: error_line(&error) })
}

/// What the manifest says about the model's origin, as the command line writes it.
fn card(experiment: &str, data: &Dataset, seed: u64, distilled: Option<Value>) -> Value {
    json!({
        "experiment": experiment,
        "seed": seed,
        "data": data.data.manifest.content,
        "fitted_on": "train",
        "distilled": distilled,
    })
}

fn lists_nothing(trace: &Trace) -> bool {
    trace.checkpoints().iter().all(|(_, lists)| lists.iter().all(<[_]>::is_empty))
}
