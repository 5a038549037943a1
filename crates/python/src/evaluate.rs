//! Evaluation of models, teachers and rankings on the same cases, with paired tests.

use crate::dataset::Dataset;
use crate::error::{ConfigError, Result};
use crate::model::Model;
use crate::table::Table;
use crate::teacher;
use crate::work::Task;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rankstill::core::text_table::{TextTable, thousands};
use rankstill::core::{Ranker, ServingBytes};
use rankstill::data::Column;
use rankstill::eval::{ComparisonOptions, ModelReport, compare, spread};
use rankstill_cli::experiment::measure::Metrics;
use rankstill_cli::experiment::spec::{EvaluateSpec, MeasuredPart};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Measures of several rankers on the same cases. It shows itself as a table, and in a notebook with a chart.
///
/// Example:
///     >>> report = rk.evaluate({"popular": rk.Pop().fit(data)}, data, metrics=["recall@2"])
///     >>> report.value("popular", "recall@2")
///     1.0
#[pyclass(frozen, module = "rankstill")]
pub struct Report {
    report: rankstill::eval::Report,
    /// By model and metric: a value for each case.
    cases: BTreeMap<(String, String), Vec<f64>>,
}

/// What is measured.
struct Candidate {
    name: String,
    kind: String,
    ranker: Arc<dyn Ranker>,
    parameters: usize,
    bytes: Option<ServingBytes>,
}

/// Measures rankers on the test or the validation part.
///
/// Args:
///     rankers: By name: models, teachers, or tables of rankings.
///     data: The data set.
///     metrics: Names such as `"ndcg@10"`, or classes of `rk.metrics`.
///     part: `"test"` or `"valid"`.
///     dialect: Whose definitions of the metrics: `"standard"`, `"rd"`, `"hetcomp"` or `"recbole"`.
///     progress: `True` shows a bar; or a function of the share that is done and a text.
#[pyfunction]
#[pyo3(signature = (rankers, data, metrics, *, part = "test", dialect = "standard", progress = None))]
pub fn evaluate(
    py: Python<'_>,
    rankers: &Bound<'_, PyDict>,
    data: &Dataset,
    metrics: Vec<Bound<'_, PyAny>>,
    part: &str,
    dialect: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> Result<Report> {
    let names = metrics.iter().map(|metric| Ok(metric.str()?.to_string()));
    let spec = EvaluateSpec {
        metrics: names.collect::<PyResult<_>>()?,
        dialect: dialect.into(),
        keep: 0,
        ..EvaluateSpec::default()
    };
    let metrics = Metrics::parse(&spec)?;
    let cases = match part {
        "test" => MeasuredPart::Test,
        "valid" => MeasuredPart::Valid,
        other => {
            let problem = format!("part: `{other}`: expected test or valid");
            return Err(ConfigError::new_err(problem).into());
        }
    }
    .of(&data.data.split);
    if cases.is_empty() {
        let problem = format!("part: the {part} part has no case; choose another split");
        return Err(ConfigError::new_err(problem).into());
    }
    let task = Task::default();
    let candidates =
        rankers.iter().map(|(name, ranker)| candidate(name.extract()?, &ranker, data, &task));
    let candidates = candidates.collect::<Result<Vec<_>>>()?;
    let report = task.run_shown(py, (progress, "evaluating"), |task| {
        let mut report = rankstill::eval::Report {
            title: "Evaluation".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            cases: cases.len(),
            ..Default::default()
        };
        report.define(metrics.dialect, &metrics.shown);
        let grades = metrics.grades(&data.data.split)?;
        let mut by_case = BTreeMap::new();
        for (at, one) in candidates.iter().enumerate() {
            task.at(at as f64 / candidates.len() as f64, format!("measuring {}", one.name));
            let (train, trained) = (&data.ground.train, &data.ground.trained);
            let known = (grades.as_ref().filter(|_| part == "test"), None);
            let found = metrics.measure(&*one.ranker, cases, train, trained, known)?;
            task.stop().check()?;
            let mean = |(name, value): (String, f64)| (name, spread(&[value]));
            report.models.push(ModelReport {
                name: one.name.clone(),
                kind: one.kind.clone(),
                parameters: one.parameters as u64,
                bytes_in_memory: one.bytes.map(|bytes| bytes.items + bytes.users),
                metrics: found.means.into_iter().map(mean).collect(),
                ..ModelReport::default()
            });
            let of = |(metric, values)| ((one.name.clone(), metric), values);
            by_case.extend(found.cases.into_iter().map(of));
            report.notes.extend(found.notes);
        }
        Ok(Report { report, cases: by_case })
    })?;
    Ok(report)
}

fn candidate(
    name: String,
    given: &Bound<'_, PyAny>,
    data: &Dataset,
    task: &Task,
) -> Result<Candidate> {
    if let Ok(model) = given.cast::<Model>() {
        let model = model.get();
        model.check_numbers(data)?;
        let (parameters, bytes) = (model.model.n_parameters(), Some(model.model.serving_bytes()));
        return Ok(Candidate {
            name,
            kind: model.kind.clone(),
            ranker: model.answering(),
            parameters,
            bytes,
        });
    }
    let ranker = Arc::clone(teacher::bound(given, data, task)?.ranker());
    Ok(Candidate { name, kind: "rankings".into(), ranker, parameters: 0, bytes: None })
}

impl Report {
    /// For a terminal: quality, then sizes.
    fn text(&self) -> String {
        let mut sizes = TextTable::new(["model", "parameters", "bytes"]);
        let count = |n: u64| if n > 0 { thousands(n as usize) } else { String::new() };
        for model in &self.report.models {
            let bytes = count(model.bytes_in_memory.unwrap_or(0));
            sizes.push([model.name.clone(), count(model.parameters), bytes]);
        }
        format!("{}\n{}", self.report.quality().text(), sizes.text().trim_end())
    }

    fn values(&self, model: &str, metric: &str) -> Option<&[f64]> {
        self.cases.get(&(model.to_owned(), metric.to_owned())).map(Vec::as_slice)
    }

    fn model(&self, name: &str) -> Result<&ModelReport> {
        let found = self.report.models.iter().find(|model| model.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> =
                self.report.models.iter().map(|model| model.name.as_str()).collect();
            PyKeyError::new_err(format!("no model `{name}`; one of: {}", names.join(", "))).into()
        })
    }
}

#[pymethods]
impl Report {
    /// The names of what was measured.
    #[getter]
    fn models(&self) -> Vec<&str> {
        self.report.models.iter().map(|model| model.name.as_str()).collect()
    }

    /// The metrics.
    #[getter]
    fn metrics(&self) -> Vec<&str> {
        self.report.definitions.iter().map(|one| one.metric.as_str()).collect()
    }

    /// The mean of a metric over the cases; unknown names are a `KeyError`.
    fn value(&self, model: &str, metric: &str) -> Result<f64> {
        let found = self.model(model)?.metrics.get(metric);
        let missing = || {
            PyKeyError::new_err(format!(
                "no metric `{metric}`; one of: {}",
                self.metrics().join(", ")
            ))
        };
        Ok(found.ok_or_else(missing)?.mean)
    }

    /// Two models case by case: the difference of each metric with a 95% bootstrap interval and the p-value of the paired t-test, over all
    /// rows by Holm's correction in `p_adjusted`.
    ///
    /// Example:
    ///     >>> report = rk.evaluate({"a": rk.Pop().fit(data), "b": rk.ItemCf().fit(data)}, data, metrics=["recall@1"])
    ///     >>> report.compare("a", "b").columns
    ///     ['metric', 'a', 'b', 'difference', 'low', 'high', 'p', 'p_adjusted']
    fn compare(&self, py: Python<'_>, a: &str, b: &str) -> Result<Table> {
        let (first, second) = (self.model(a)?, self.model(b)?);
        let mut all = Vec::new();
        for metric in self.metrics() {
            if let (Some(ours), Some(theirs)) =
                (self.values(&first.name, metric), self.values(&second.name, metric))
            {
                all.push((metric, ours, theirs));
            }
        }
        let compare = || -> rankstill::eval::Result<Vec<_>> {
            let options = ComparisonOptions::default();
            let one = |(metric, ours, theirs): (&str, &[f64], &[f64])| {
                compare::compare(metric, (a, &[ours]), (b, &[theirs]), &options)
            };
            let mut compared = all.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
            compare::adjust(&mut compared);
            Ok(compared)
        };
        let compared = crate::work::briefly(py, compare)??;
        let number = |of: fn(&rankstill::eval::Comparison) -> f64| {
            Column::F64(compared.iter().map(of).collect())
        };
        Table::new(vec![
            ("metric", Column::Text(compared.iter().map(|one| &one.metric).collect())),
            ("a", number(|one| one.mean_a)),
            ("b", number(|one| one.mean_b)),
            ("difference", number(|one| one.difference)),
            ("low", number(|one| one.interval.low)),
            ("high", number(|one| one.interval.high)),
            ("p", number(|one| one.t_test.p)),
            ("p_adjusted", number(|one| one.p_adjusted.unwrap_or(one.t_test.p))),
        ])
    }

    /// The means as a table: a row for each model and metric.
    fn table(&self) -> Result<Table> {
        let rows = || {
            let metrics = |model: &'_ ModelReport| model.metrics.len();
            self.report
                .models
                .iter()
                .flat_map(move |model| std::iter::repeat_n(model, metrics(model)))
        };
        let values = || self.report.models.iter().flat_map(|model| &model.metrics);
        Table::new(vec![
            ("model", Column::Text(rows().map(|model| &model.name).collect())),
            ("metric", Column::Text(values().map(|(metric, _)| metric).collect())),
            ("value", Column::F64(values().map(|(_, spread)| spread.mean).collect())),
        ])
    }

    /// The whole report as JSON, as in `report.json` of a run.
    fn to_json(&self) -> Result<String> {
        Ok(serde_json::json!(self.report).to_string())
    }

    fn __repr__(&self) -> String {
        self.text()
    }

    fn _repr_html_(&self) -> String {
        self.report.fragment()
    }
}
