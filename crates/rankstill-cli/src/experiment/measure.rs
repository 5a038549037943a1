//! What is measured of a model: which metrics, by whose definitions, and the values case by case.

use super::spec::EvaluateSpec;
use anyhow::{Context as _, Result, ensure};
use rankstill::core::{Cases, Interactions, Ranker, Rankings, TopK, UserId, Vocab};
use rankstill::data::{Column, Kind, TableWriter};
use rankstill::eval::groups::head_and_tail;
use rankstill::eval::metric::{self, parse_all};
use rankstill::eval::{Dialect, Measure, Metric, Needs, Outcome};
use std::path::Path;

/// The metrics of an experiment.
pub struct Metrics {
    /// In the order of the tables.
    pub shown: Vec<Metric>,
    /// By whose definitions.
    pub dialect: Dialect,
    validate: Metric,
    keep: usize,
    groups: f64,
}

/// What one model came to.
pub struct Found {
    /// Its lists.
    pub rankings: Rankings,
    /// By metric.
    pub means: Vec<(String, f64)>,
    /// By metric, where it has a value a case.
    pub cases: Vec<(String, Vec<f64>)>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// By kinds of items and users, where that is wanted.
    pub groups: Vec<FoundGroup>,
}

/// What one model came to on a part of the cases.
#[derive(Clone)]
pub struct FoundGroup {
    /// Such as `unpopular items`.
    pub name: String,
    /// What it holds.
    pub definition: String,
    /// Cases.
    pub cases: usize,
    /// By metric.
    pub means: Vec<(String, f64)>,
}

impl Metrics {
    /// From `[evaluate]`.
    ///
    /// # Errors
    /// When a metric or the dialect is unknown.
    pub fn parse(spec: &EvaluateSpec) -> Result<Self> {
        let dialect: Dialect = spec.dialect.parse().context("evaluate.dialect")?;
        let shown = parse_all(&spec.metrics, dialect).context("evaluate.metrics")?;
        ensure!(
            !shown.is_empty(),
            "evaluate.metrics: is empty; name at least one, say \"ndcg@10\""
        );
        let validate = metric::parse(&spec.validate, dialect).context("evaluate.validate")?;
        ensure!(
            (0.0..1.0).contains(&spec.groups),
            "evaluate.groups: must be at least 0 and below 1, is {}",
            spec.groups
        );
        Ok(Self { shown, dialect, validate, keep: spec.keep, groups: spec.groups })
    }

    /// How long the kept rankings are.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.keep.max(Needs::of(&self.shown).depth)
    }

    /// The name of the figure of early stopping.
    #[must_use]
    pub fn validate_name(&self) -> String {
        self.validate.name()
    }

    /// Whether less of that figure is better.
    #[must_use]
    pub fn validate_lower(&self) -> bool {
        self.validate.direction() == rankstill::eval::Direction::Lower
    }

    /// The figure of early stopping, larger is better.
    ///
    /// # Errors
    /// When the ranker fails, or the metric needs what validation does not have.
    pub fn validation<R: Ranker + ?Sized>(&self, ranker: &R, cases: &Cases) -> Result<f64> {
        let needs = self.validate.needs();
        let outcome = Outcome::of_ranker(ranker, cases, &TopK::unseen(needs.depth), needs)?;
        let value = self.validate.measure(&outcome)?.mean();
        Ok(if self.validate_lower() { -value } else { value })
    }

    /// Asks `ranker` all `cases` and measures everything. Metrics of agreement are left out where there is no teacher.
    ///
    /// # Errors
    /// When the ranker fails.
    pub fn measure(
        &self,
        ranker: &dyn Ranker,
        cases: &Cases,
        train: &Interactions,
        popularity: &[u32],
        teacher: Option<&Rankings>,
    ) -> Result<Found> {
        let needs = Needs::of(&self.shown);
        let outcome = Outcome::of_ranker(ranker, cases, &TopK::unseen(self.keep), needs)?;
        let mut outcome = outcome.with_popularity(popularity)?;
        if let Some(teacher) = teacher {
            outcome = outcome.with_teacher(teacher)?;
        }
        let (mut means, mut per_case) = (Vec::new(), Vec::new());
        for metric in &self.shown {
            if metric.needs().teacher && teacher.is_none() {
                continue;
            }
            let measure = metric.measure(&outcome)?;
            means.push((metric.name(), measure.mean()));
            if let Measure::PerCase(values) = measure {
                per_case.push((metric.name(), values));
            }
        }
        let notes = outcome.notes(needs);
        let groups = self.groups(&outcome, train)?;
        let rankings = outcome.rankings().clone();
        Ok(Found { rankings, means, cases: per_case, notes, groups })
    }
}

impl Metrics {
    /// Only what has a value a case: a catalogue's coverage by some users says nothing of them.
    fn groups(&self, outcome: &Outcome<'_>, train: &Interactions) -> Result<Vec<FoundGroup>> {
        if self.groups == 0.0 {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for group in head_and_tail(outcome, train, self.groups)? {
            let mut means = Vec::new();
            for metric in self.shown.iter().filter(|metric| !metric.needs().teacher) {
                if let Measure::PerCase(values) = metric.measure(&group.outcome)? {
                    means.push((metric.name(), Measure::PerCase(values).mean()));
                }
            }
            let (name, definition) = (group.name, group.definition);
            all.push(FoundGroup { name, definition, cases: group.outcome.len(), means });
        }
        Ok(all)
    }
}

/// Keeps the values case by case: `user_id` and a column a metric.
///
/// # Errors
/// When the disk is full.
pub fn write_cases(path: &Path, found: &Found, users: &[UserId], user_ids: &Vocab) -> Result<()> {
    let mut columns = vec![("user_id", Column::kind_of_ids(user_ids))];
    columns.extend(found.cases.iter().map(|(name, _)| (name.as_str(), Kind::F64)));
    let mut writer = TableWriter::create(path, &columns)?;
    let mut rows = vec![Column::of_ids(user_ids, users)];
    rows.extend(found.cases.iter().map(|(_, values)| Column::F64(values.clone())));
    writer.write(&rows)?;
    Ok(writer.finish()?)
}
