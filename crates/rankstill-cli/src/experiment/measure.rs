//! The measurement of a model: which metrics, whose definitions, and the values case by case.

use super::spec::EvaluateSpec;
use anyhow::{Context as _, Result, ensure};
use rankstill::core::{Cases, Interactions, Lists, Ranker, Rankings, TopK, Trained, UserId, Vocab};
use rankstill::data::split::Split;
use rankstill::data::{Column, ColumnKind, TableWriter};
use rankstill::eval::groups::{Group, head_and_tail, trained_and_cold};
use rankstill::eval::metric::{self, parse_all};
use rankstill::eval::{Dialect, Measure, Metric, Needs, Outcome};
use std::path::Path;

/// The metrics of an experiment.
pub struct Metrics {
    /// In the order of the tables.
    pub shown: Vec<Metric>,
    /// Whose definitions of the metrics.
    pub dialect: Dialect,
    validate: Metric,
    keep: usize,
    groups: f64,
}

/// The measured values of one model.
pub struct Measurement {
    /// Its lists.
    pub rankings: Rankings,
    /// By metric.
    pub means: Vec<(String, f64)>,
    /// By metric, for metrics with one value per case.
    pub cases: Vec<(String, Vec<f64>)>,
    /// Notes for the reader.
    pub notes: Vec<String>,
    /// By what the answers rest on, if there are users that were never trained.
    pub cold_start: Vec<GroupMeasurement>,
    /// By groups of items and users, if requested.
    pub groups: Vec<GroupMeasurement>,
}

impl Measurement {
    /// Of a model for which there are no test cases.
    #[must_use]
    pub fn none() -> Self {
        Self {
            cold_start: Vec::new(),
            rankings: Rankings::default(),
            means: Vec::new(),
            cases: Vec::new(),
            notes: Vec::new(),
            groups: Vec::new(),
        }
    }
}

/// The measured values of one model on a part of the cases.
#[derive(Clone)]
pub struct GroupMeasurement {
    /// Such as `unpopular items`.
    pub name: String,
    /// Which users or items it holds.
    pub definition: String,
    /// The number of cases.
    pub cases: usize,
    /// By metric.
    pub means: Vec<(String, f64)>,
}

impl Metrics {
    /// From `[evaluate]`.
    ///
    /// # Errors
    /// If a metric or the dialect is unknown.
    pub fn parse(spec: &EvaluateSpec) -> Result<Self> {
        let dialect: Dialect = spec.dialect.parse().context("evaluate.dialect")?;
        let shown = parse_all(&spec.metrics, dialect).context("evaluate.metrics")?;
        ensure!(
            !shown.is_empty(),
            "evaluate.metrics: is empty; name at least one, for example \"ndcg@10\""
        );
        let validate = metric::parse(&spec.validate, dialect).context("evaluate.validate")?;
        ensure!(
            !validate.needs().grades,
            "evaluate.validate: {} needs grades, which validation does not use; choose ndcg@10 or the like",
            validate.name()
        );
        ensure!(
            (0.0..1.0).contains(&spec.groups),
            "evaluate.groups: must be at least 0 and below 1, is {}",
            spec.groups
        );
        Ok(Self { shown, dialect, validate, keep: spec.keep, groups: spec.groups })
    }

    /// The grades of the targets of the test cases, if a metric needs them: the weights of the test part, 0 instead of negative ones.
    ///
    /// # Errors
    /// If the log has no weights.
    pub fn grades(&self, split: &Split) -> Result<Option<Lists<f32>>> {
        let Some(metric) = self.shown.iter().find(|metric| metric.needs().grades) else {
            return Ok(None);
        };
        let weights = split.test_weights().with_context(|| {
            format!("evaluate.metrics: {} needs grades, and the log has no weights", metric.name())
        })?;
        Ok(Some(weights.map(|weight| weight.max(0.0))))
    }

    /// The length of the kept rankings.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.keep.max(Needs::of(&self.shown).depth)
    }

    /// The name of the metric of early stopping.
    #[must_use]
    pub fn validate_name(&self) -> String {
        self.validate.name()
    }

    /// Whether a lower value of that metric is better.
    #[must_use]
    pub fn validate_lower(&self) -> bool {
        self.validate.direction() == rankstill::eval::Direction::Lower
    }

    /// The metric of early stopping, negated if lower is better.
    ///
    /// # Errors
    /// If the ranker fails, or the metric needs data that validation does not have.
    pub fn validation<R: Ranker + ?Sized>(&self, ranker: &R, cases: &Cases) -> Result<f64> {
        let needs = self.validate.needs();
        let outcome = Outcome::of_ranker(ranker, cases, &TopK::unseen(needs.depth), needs)?;
        self.validation_of(&outcome)
    }

    fn validation_of(&self, outcome: &Outcome<'_>) -> Result<f64> {
        let value = self.validate.measure(outcome)?.mean();
        Ok(if self.validate_lower() { -value } else { value })
    }

    /// The same of lists that are there already, as long as [`Metrics::validate_depth`] at most.
    ///
    /// # Errors
    /// As [`Metrics::validation`].
    pub fn validation_of_lists(&self, lists: Rankings, cases: &Cases) -> Result<f64> {
        self.validation_of(&Outcome::of_rankings(cases, lists)?)
    }

    /// The length of the lists that the metric of early stopping looks at.
    #[must_use]
    pub fn validate_depth(&self) -> usize {
        self.validate.needs().depth
    }

    /// Ranks all `cases` with `ranker` and measures everything. `trained` is what the models were fitted on: `train`. Without a
    /// teacher, metrics of agreement are skipped, and without grades those by grade.
    ///
    /// # Errors
    /// If the ranker fails.
    pub fn measure(
        &self,
        ranker: &dyn Ranker,
        cases: &Cases,
        train: &Interactions,
        trained: &Trained,
        (grades, teacher): (Option<&Lists<f32>>, Option<&Rankings>),
    ) -> Result<Measurement> {
        let needs = Needs::of(&self.shown);
        let outcome = Outcome::of_ranker(ranker, cases, &TopK::unseen(self.keep), needs)?;
        let mut outcome = outcome.with_popularity(trained.popularity())?;
        if let Some(grades) = grades {
            outcome = outcome.with_grades(grades)?;
        }
        if let Some(teacher) = teacher {
            outcome = outcome.with_teacher(teacher)?;
        }
        let (mut means, mut per_case) = (Vec::new(), Vec::new());
        for metric in &self.shown {
            let needs = metric.needs();
            if (needs.teacher && teacher.is_none()) || (needs.grades && grades.is_none()) {
                continue;
            }
            let measure = metric.measure(&outcome)?;
            means.push((metric.name(), measure.mean()));
            if let Measure::PerCase(values) = measure {
                per_case.push((metric.name(), values));
            }
        }
        let notes = outcome.notes(needs);
        let cold_start = self.of_groups(trained_and_cold(&outcome, trained))?;
        let groups = match self.groups {
            0.0 => Vec::new(),
            share => self.of_groups(head_and_tail(&outcome, train, share)?)?,
        };
        let rankings = outcome.rankings().clone();
        Ok(Measurement { rankings, means, cases: per_case, notes, cold_start, groups })
    }
}

impl Metrics {
    /// Only metrics with one value per case: the catalogue coverage of a group of users says nothing about the group.
    fn of_groups(&self, groups: Vec<Group<'_>>) -> Result<Vec<GroupMeasurement>> {
        let mut all = Vec::new();
        for group in groups {
            let mut means = Vec::new();
            for metric in self.shown.iter().filter(|metric| !metric.needs().teacher) {
                if let Measure::PerCase(values) = metric.measure(&group.outcome)? {
                    means.push((metric.name(), Measure::PerCase(values).mean()));
                }
            }
            let (name, definition) = (group.name, group.definition);
            all.push(GroupMeasurement { name, definition, cases: group.outcome.len(), means });
        }
        Ok(all)
    }
}

/// Writes the values case by case: `user_id` and a column per metric.
///
/// # Errors
/// If writing fails.
pub fn write_cases(
    path: &Path,
    found: &Measurement,
    users: &[UserId],
    user_ids: &Vocab,
) -> Result<()> {
    let mut columns = vec![("user_id", Column::kind_of_ids(user_ids))];
    columns.extend(found.cases.iter().map(|(name, _)| (name.as_str(), ColumnKind::F64)));
    let mut writer = TableWriter::create(path, &columns)?;
    let mut rows = vec![Column::of_ids(user_ids, users)];
    rows.extend(found.cases.iter().map(|(_, values)| Column::F64(values.clone())));
    writer.write(&rows)?;
    Ok(writer.finish()?)
}
