//! The report of a run: for programs (`report.json`), for people (`report.html`, `report.md`), and for the terminal.

mod axis;
mod details;
pub mod figure;
mod frontier;
mod html;
mod markdown;
mod picks;
mod summary;
mod svg;
mod tables;
mod tradeoff;

pub use details::{
    Agreement, AuditRow, Command, DataDetails, Details, FilterRow, Gain, ItemLine, PartRow,
    SourceRow, UserLists,
};
pub use frontier::SINGLE;
pub use picks::Picks;
pub use tables::comparisons;

use crate::compare::Comparison;
use crate::efficiency::{Latency, Machine};
use crate::metric::{Dialect, Direction, Metric};
use crate::significance::Spread;
use axis::Axis;
use rankstill_core::text_table::TextTable;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use tradeoff::Bubble;

/// The results of a run. As JSON it is `report.json`: fields may be added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Title of the page.
    pub title: String,
    /// Version of the program.
    pub version: String,
    /// The fully resolved settings.
    pub settings: Value,
    /// The data set: statistics, hashes.
    pub data: Value,
    /// Number of measured cases.
    pub cases: usize,
    /// One per repetition.
    pub seeds: Vec<u64>,
    /// Whose definitions of the metrics.
    pub dialect: Dialect,
    /// The exact definition of each metric, in the order of the tables.
    pub definitions: Vec<MetricDefinition>,
    /// The machine on which times were measured.
    pub machine: Option<Machine>,
    /// Other remarks for readers.
    pub notes: Vec<String>,
    /// The model that was chosen within a budget, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended: Option<String>,
    /// The ensemble that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<String>,
    /// Whose values are 100% in what students keep: the ensemble that is compared with, or else the best teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// In the order of the tables.
    pub models: Vec<ModelReport>,
    /// Paired tests over the cases.
    pub comparisons: Vec<Comparison>,
    /// The same metrics without and on the users that no model was trained on; empty if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cold_start: Vec<GroupReport>,
    /// The same metrics on parts of the cases.
    pub groups: Vec<GroupReport>,
    /// Ensembles whose members were chosen on validation data, with the first seed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ensembles: Vec<EnsembleReport>,
    /// Figures of the experiment.
    pub figures: Vec<FigureReport>,
    /// What the page adds: intervals, agreement, who gains, ten users, the data, commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// What was chosen for an ensemble.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnsembleReport {
    /// As in the experiment.
    pub name: String,
    /// The metric that members were chosen by, on validation data.
    pub metric: String,
    /// Its value for the chosen ensemble.
    pub value: f64,
    /// In the order of the experiment.
    pub members: Vec<MemberReport>,
}

/// A candidate for an ensemble.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberReport {
    /// As in the experiment.
    pub name: String,
    /// How often it counts; 0: it was not chosen.
    pub weight: u32,
    /// The metric of its lists alone.
    pub alone: f64,
    /// The metric of the ensemble without it; `None` if it was not chosen, or nothing is left.
    pub without: Option<f64>,
}

/// A figure of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FigureReport {
    /// As in the experiment.
    pub name: String,
    /// Its caption.
    pub title: String,
    /// What its bars and bands show.
    #[serde(default)]
    pub bars: String,
    /// Path of the picture, relative to the run's folder.
    pub svg: String,
    /// Path of its numbers.
    pub tsv: String,
}

/// The exact definition of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricDefinition {
    /// Name of the metric.
    pub metric: String,
    /// As a sentence.
    pub definition: String,
    /// Which way is better.
    pub direction: Direction,
}

/// One model of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelReport {
    /// As in the experiment.
    pub name: String,
    /// As in the registry: `bpr_mf`.
    pub kind: String,
    /// Its role in the experiment.
    pub role: Role,
    /// Names of its teachers.
    pub teachers: Vec<String>,
    /// The distiller, such as `rd`.
    pub distiller: Option<String>,
    /// Name of the model that it is made of, if it is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Number of learnt or counted parameters.
    pub parameters: u64,
    /// Parameters relative to its (largest) teacher; for a student alone, relative to the teacher of its
    /// taught counterpart.
    pub parameters_ratio: Option<f64>,
    /// Size of the artefact on disk.
    pub bytes: u64,
    /// Models that differ in their size alone: a curve of the frontier. `distilled`, `pq`.
    pub family: String,
    /// A ranker by itself: not an ensemble, not taught, not compressed, and not the same as a taught one but for that.
    pub single: bool,
    /// Memory used for serving, if known.
    pub bytes_in_memory: Option<u64>,
    /// Of that, the item side: vectors or codes, codebooks and lists, divided by the number of items.
    pub bytes_per_item: Option<f64>,
    /// The user side: vectors, or the network that computes them, divided by the number of users.
    pub bytes_per_user: Option<f64>,
    /// By name.
    pub metrics: BTreeMap<String, Spread>,
    /// For what is taught or compressed: each metric's mean relative to the [reference](Report::reference)'s.
    pub kept: BTreeMap<String, f64>,
    /// If measured.
    pub latency: Option<Latency>,
    /// The optimiser and its mode, which lead to different models.
    pub optimizer: Option<String>,
    /// Cost of training, if it was trained in this run.
    pub training: Option<TrainingCost>,
    /// Path of the artefact, relative to the run's folder.
    pub artefact: Option<String>,
    /// Path of its rankings, relative to the run's folder.
    pub rankings: Option<String>,
    /// What a reader of its values must know: that its method taught nothing, or only some users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The role of a model in an experiment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// For comparison only.
    #[default]
    Baseline,
    /// Teaches another model.
    Teacher,
    /// Small, and trained without a teacher.
    Student,
    /// Small, and trained by a teacher.
    Distilled,
    /// Another model, made smaller after training.
    Compressed,
    /// Was to be taught by a teacher, and was not.
    Untaught,
}

impl Role {
    /// As written in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Teacher => "teacher",
            Self::Student => "student alone",
            Self::Distilled => "distilled student",
            Self::Compressed => "compressed",
            Self::Untaught => "student, not taught",
        }
    }
}

/// The cost of training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingCost {
    /// Wall-clock time, mean over the seeds.
    pub seconds: f64,
    /// Number of epochs, mean over the seeds.
    pub epochs: f64,
}

/// The metrics of all models on a group of cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Such as `unpopular items`.
    pub name: String,
    /// Definition of the group.
    pub definition: String,
    /// Number of cases.
    pub cases: usize,
    /// By model and metric.
    pub models: BTreeMap<String, BTreeMap<String, Spread>>,
}

impl Report {
    /// Sets the definitions of the metrics.
    pub fn define(&mut self, dialect: Dialect, metrics: &[Metric]) {
        self.dialect = dialect;
        let definition = |metric: &Metric| MetricDefinition {
            metric: metric.name(),
            definition: metric.definition(),
            direction: metric.direction(),
        };
        self.definitions = metrics.iter().map(definition).collect();
    }

    /// Sets [`Report::reference`], and [`ModelReport::kept`] of everything taught or compressed: for every metric of which more is
    /// better, the share of the reference's mean. The reference is the ensemble of the report, if it has one, or else the teacher with
    /// the best value of the first such metric: one for all, so that shares can be compared.
    pub fn fill_kept(&mut self) {
        let higher: Vec<String> = self
            .definitions
            .iter()
            .filter(|one| one.direction == Direction::Higher)
            .map(|one| one.metric.clone())
            .collect();
        let Some(first) = higher.first() else { return };
        let of = |model: &ModelReport| Some(model.metrics.get(first)?.mean);
        let named = self.ensemble.as_ref();
        let named = self.models.iter().find(|model| Some(&model.name) == named);
        let teachers = self.models.iter().filter(|model| model.role == Role::Teacher);
        let teachers = teachers.filter_map(|model| Some((model, of(model)?)));
        let best = teachers.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(model, _)| model);
        let Some(reference) = named.or(best).cloned() else { return };
        let small =
            |model: &&mut ModelReport| matches!(model.role, Role::Distilled | Role::Compressed);
        for model in self.models.iter_mut().filter(small) {
            let kept = higher.iter().filter_map(|metric| {
                let whole = reference.metrics.get(metric)?.mean;
                let own = model.metrics.get(metric)?.mean;
                (whole > 0.0).then(|| (metric.clone(), own / whole))
            });
            model.kept = kept.collect();
        }
        if self.models.iter().any(|model| !model.kept.is_empty()) {
            self.reference = Some(reference.name);
        }
    }

    /// The tables, for the terminal.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut out = tables::quality(self).text();
        for (name, warning) in self.warnings() {
            out.push_str(&format!("warning: {name}: {warning}\n"));
        }
        out.push('\n');
        for one in &self.ensembles {
            out.push_str(&format!("{}\n{}\n", tables::title_of(one), tables::members(one).text()));
        }
        for group in &self.cold_start {
            let title = format!("{}: {} of {} cases", group.name, group.cases, self.cases);
            out.push_str(&format!("{title}\n{}\n", tables::group(self, group).text()));
        }
        out.push_str(&tables::cost(self).text());
        if !self.comparisons.is_empty() {
            out.push('\n');
            out.push_str(&comparisons(&self.comparisons).text());
        }
        out
    }

    /// Models by metrics, the best of each marked.
    #[must_use]
    pub fn quality(&self) -> TextTable {
        tables::quality(self)
    }

    /// The same for a notebook: a table of HTML with a bar in each cell, as long as the value's share of the best.
    #[must_use]
    pub fn fragment(&self) -> String {
        html::fragment(self)
    }

    /// The models' names and what a reader of their values must know.
    fn warnings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models.iter().flat_map(|model| {
            model.warnings.iter().map(|warning| (model.name.as_str(), warning.as_str()))
        })
    }

    /// For people: `report.html`, one file that needs no other and runs no script.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// For people: `report.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }

    /// Quality against the median time of a request and against the bytes of an item, with what is best for its price; and the same
    /// as a table (tab-separated). `None` unless at least three models have the metric and one of the two.
    #[must_use]
    pub fn frontier(&self, metric: &str) -> Option<(figure::Figure, String)> {
        Some((frontier::figure(self, metric)?, frontier::table(self, metric)))
    }

    /// Quality, time and size as SVG; `None` unless at least two models have the metric and a latency.
    #[must_use]
    pub fn tradeoff(&self, metric: &str) -> Option<String> {
        let bubble = |model: &ModelReport| {
            let x = model.latency.as_ref()?.all_users_seconds;
            let y = model.metrics.get(metric)?.mean;
            let (size, group) = (model.parameters as f64, model.role.name().to_owned());
            Some(Bubble { label: model.name.clone(), x, y, size, group })
        };
        let bubbles: Vec<_> = self.models.iter().filter_map(bubble).collect();
        if bubbles.len() < 2 {
            return None;
        }
        let k = self.models.iter().find_map(|m| m.latency.as_ref()).map_or(0, |l| l.k);
        let x = Axis::log(format!("seconds to recommend {k} items to all users"));
        let y = Axis::linear(metric);
        Some(tradeoff::svg("Quality, time and size", &x, &y, "parameters", &bubbles))
    }
}

#[cfg(test)]
mod tests;
