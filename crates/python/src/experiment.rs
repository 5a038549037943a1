//! `run` and `compress`, by the same code as the command line.

use crate::arrow::Source;
use crate::dataset::Dataset;
use crate::error::{ConfigError, Result};
use crate::model::{self, Model};
use crate::settings;
use crate::table::Table;
use crate::teacher;
use crate::work::{self, Task, heard, stoppable};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rankstill::core::atomic_write::create_folders;
use rankstill::core::{Cases, TopK, UserId};
use rankstill::data::columns::write_table;
use rankstill::data::dataset::PrepareSettings;
use rankstill::data::simulate as simulating;
use rankstill::data::split::SplitConfig;
use rankstill::data::{Column, ColumnNames, ColumnTable, Log, ReadOptions, write_rankings};
use rankstill::eval::Report;
use rankstill_cli::experiment::compress::{self as compressing, Budget, Request};
use rankstill_cli::experiment::details::seed_file;
use rankstill_cli::experiment::plan::ExperimentPlan;
use rankstill_cli::experiment::spec::{DataSpec, Spec};
use rankstill_cli::experiment::{data, outside, run as running};
use rankstill_cli::progress::Screen;
use rankstill_cli::reading::Reading;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Length of the lists that are recorded of a teacher for `compress`.
const RECORDED: usize = 500;

/// A finished run in its folder. It shows itself as the table of results.
#[pyclass(frozen, module = "rankstill")]
pub struct Run {
    folder: PathBuf,
    report: Report,
}

#[pymethods]
impl Run {
    /// The folder of the run: `report.html`, models, rankings, metrics by case.
    #[getter]
    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// The recommended model, fitted on every row; `None` if the experiment names none.
    #[getter]
    fn best(&self, py: Python<'_>) -> Result<Option<Model>> {
        let path = self.folder.join("best");
        if !path.join("manifest.json").is_file() {
            return Ok(None);
        }
        model::load(py, path, false, false, false).map(Some)
    }

    /// What quality costs: a dictionary for each model with its metrics, bytes and latency, as in `report.json`.
    #[getter]
    fn frontier<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        settings::object(py, &json!(self.report.models))
    }

    /// A model of the run, by its name in the experiment.
    #[pyo3(signature = (name, *, seed = None))]
    fn model(&self, py: Python<'_>, name: &str, seed: Option<u64>) -> Result<Model> {
        let found = self.report.models.iter().find(|model| model.name == name);
        let artefact = found.and_then(|model| model.artefact.as_deref());
        let Some(path) = seed_file(artefact, &self.report, &self.folder, seed) else {
            let names: Vec<&str> =
                self.report.models.iter().map(|model| model.name.as_str()).collect();
            let problem = format!("no fitted model `{name}`; one of: {}", names.join(", "));
            return Err(pyo3::exceptions::PyKeyError::new_err(problem).into());
        };
        model::load(py, path, false, false, false)
    }

    /// The report as a dictionary, as in `report.json`.
    fn report<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        settings::object(py, &json!(self.report))
    }

    /// The page for people, as in `report.html`.
    fn html(&self) -> String {
        self.report.html()
    }

    fn __repr__(&self) -> String {
        self.report.terminal().trim_end().to_owned()
    }

    fn _repr_html_(&self) -> String {
        self.report.fragment()
    }
}

/// Runs an experiment file, or resumes it, as `rankstill run` does. `overrides` are lines of `key=value`.
#[pyfunction]
#[pyo3(signature = (experiment, out, overrides, progress))]
pub fn run(
    py: Python<'_>,
    experiment: PathBuf,
    out: PathBuf,
    overrides: Vec<String>,
    progress: Option<&Bound<'_, PyAny>>,
) -> Result<Run> {
    let report = heard(py, progress, &stoppable(), |screen| {
        let plan = ExperimentPlan::new(Spec::read(&experiment, &overrides)?)?;
        Ok(running::run(&plan, &out, screen)?)
    })?;
    Ok(Run { folder: out, report })
}

/// Finds the best small ranker for a log, as `rankstill compress` does. What is in memory is kept beside `out`, in the folder of that
/// name with `.inputs`.
#[pyfunction]
#[pyo3(signature = (log, out, teachers, *, keep, max_bytes, max_latency, effort, portfolio, seeds, columns, split, filter, progress))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub fn compress(
    py: Python<'_>,
    log: &Bound<'_, PyAny>,
    out: PathBuf,
    teachers: &Bound<'_, PyDict>,
    keep: Option<String>,
    max_bytes: Option<String>,
    max_latency: Option<String>,
    effort: &str,
    portfolio: bool,
    seeds: Vec<u64>,
    columns: (Option<String>, Option<String>, Option<String>, Option<String>),
    split: Option<&Bound<'_, PyAny>>,
    filter: Option<&Bound<'_, PyAny>>,
    progress: Option<&Bound<'_, PyAny>>,
) -> Result<Run> {
    let budget = Budget {
        keep: parsed("keep", keep)?,
        max_bytes: parsed("max_bytes", max_bytes)?,
        max_latency: parsed("max_latency", max_latency)?,
    };
    let effort = serde_json::from_value(effort.into());
    let effort = effort.map_err(|error| ConfigError::new_err(format!("effort: {error}")))?;
    let (user, item, time, weight) = columns;
    let read =
        ReadOptions { columns: ColumnNames { user, item, time, weight }, ..ReadOptions::default() };
    let mut inputs = out.clone().into_os_string();
    inputs.push(".inputs");
    let inputs = PathBuf::from(inputs);
    let mut spec =
        DataSpec { filter: settings::table("filter", filter)?, read, ..DataSpec::default() };
    spec.path = Some(match Source::of(log)? {
        Source::Path(path) => path,
        table => {
            let read = std::mem::take(&mut spec.read);
            Task::default().run(py, |_| written(&table.into_log("the log", &read)?, &inputs))?
        }
    });
    let silent = Screen::silent();
    spec.split = match split {
        Some(split) => settings::split(split)?,
        None => {
            let path = spec.path.clone().unwrap_or_default();
            let has_times = || Ok(data::is_prepared(&path) || data::has_times(&spec, &silent)?);
            let timed = Task::default().run(py, |_| has_times())?;
            if timed { SplitConfig::default() } else { SplitConfig::of("random") }
        }
    };
    let mut paths = Vec::new();
    for (name, given) in teachers {
        paths.push(teacher_path(py, &name.extract::<String>()?, &given, &spec, &inputs)?);
    }
    let request = Request {
        data: spec,
        teachers: outside::teachers(&paths, &Reading::default())?,
        portfolio,
        budget,
        effort,
        seeds,
    };
    let compress = |screen: &Screen| Ok(compressing::compress(&request, &out, screen)?);
    let report = heard(py, progress, &stoppable(), compress)?;
    Ok(Run { folder: out, report })
}

fn parsed<T: FromStr<Err = anyhow::Error>>(key: &str, text: Option<String>) -> Result<Option<T>> {
    let parsed = text.map(|text| text.parse::<T>()).transpose();
    Ok(parsed.map_err(|error| ConfigError::new_err(format!("{key}: {error}")))?)
}

/// A log in memory as a file that a run can read again.
fn written(log: &Log, inputs: &Path) -> Result<PathBuf> {
    let mut table = ColumnTable::default();
    for (name, column) in columns_of(log) {
        table.push(name, column)?;
    }
    let path = inputs.join("log.parquet");
    made(inputs)?;
    write_table(&path, &table)?;
    Ok(path)
}

fn columns_of(log: &Log) -> Vec<(&'static str, Column)> {
    let times = log.times.clone().map(|times| ("timestamp", Column::I64(times)));
    let weights = log.weights.clone().map(|weights| ("weight", Column::F32(weights)));
    let ids = [
        ("user_id", Column::of_ids(&log.user_ids, &log.users)),
        ("item_id", Column::of_ids(&log.item_ids, &log.items)),
    ];
    ids.into_iter().chain(times).chain(weights).collect()
}

/// A simulated log, as `rankstill simulate` makes it: with the spreads of real ones, latent tastes, order and repeats.
///
/// Args:
///     settings: `interactions`, `users`, `items`, `seed` and the other settings of the simulator.
///
/// Example:
///     >>> rk.simulate(interactions=1000, users=50, items=40, seed=1).n_rows
///     1000
#[pyfunction]
#[pyo3(signature = (**settings))]
pub fn simulate(py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> Result<Table> {
    let options = settings::table("simulate", settings.map(|settings| settings.as_any()))?;
    let log = work::briefly(py, || simulating::simulate(&options))??;
    Table::new(columns_of(&log))
}

fn made(folder: &Path) -> Result<()> {
    Ok(create_folders(folder).map_err(rankstill::core::Error::io(folder))?)
}

/// A teacher as an artefact or a file of rankings: a path as it is, a model saved, anything else recorded.
fn teacher_path(
    py: Python<'_>,
    name: &str,
    given: &Bound<'_, PyAny>,
    spec: &DataSpec,
    inputs: &Path,
) -> Result<PathBuf> {
    if let Ok(path) = given.extract::<PathBuf>() {
        return Ok(path);
    }
    made(inputs)?;
    if let Ok(model) = given.cast::<Model>() {
        let path = inputs.join(name);
        model.call_method("save", (&path,), Some(&named(py, name)?))?;
        return Ok(path);
    }
    let task = Task::default();
    let read = || -> Result<Dataset> {
        let path = spec.path.clone().unwrap_or_default();
        let PrepareSettings { filter, split, mask, history } = spec.settings();
        let settings = PrepareSettings { filter, split: SplitConfig::default(), mask, history };
        crate::dataset::read_and_cut(Source::Path(path), None, &spec.read, Some(split), settings)
    };
    let data = task.run(py, |_| read())?;
    let teacher = teacher::bound(given, &data, &task)?;
    let path = inputs.join(format!("{name}.parquet"));
    task.run(py, |_| {
        let ground = &data.ground;
        let users: Vec<UserId> = (0..ground.users.len() as UserId).collect();
        let cases = Cases::per_user(&ground.train);
        let ranked = teacher.ranker().rank(&cases.queries(), &TopK::unseen(RECORDED))?;
        Ok(write_rankings(&path, &ranked, &users[..ranked.len()], &ground.users, &ground.items)?)
    })?;
    Ok(path)
}

fn named<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    named.set_item("name", name)?;
    Ok(named)
}
