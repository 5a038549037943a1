//! An experiment as written: the keys of its TOML file, each parsed, not yet checked against each other.

use super::tree;
use anyhow::{Context as _, Result};
use rankstill::core::Cases;
use rankstill::core::registry::Config;
use rankstill::data::ReadOptions;
use rankstill::data::dataset::PrepareSettings;
use rankstill::data::filter::Filter;
use rankstill::data::simulate::SimulateOptions;
use rankstill::data::split::{History, Mask, Split, SplitConfig, TrainSample};
use rankstill::distill::StateSelection;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The title of the report.
    #[serde(default = "unnamed")]
    pub name: String,
    /// Every model is fitted once per seed; tables show mean and standard deviation.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Seconds between two checkpoints of a model in training. A killed run loses the work since the last one.
    #[serde(default = "often")]
    pub checkpoint_seconds: f64,
    /// The interaction log and how it is split.
    pub data: DataSpec,
    /// What is measured.
    #[serde(default)]
    pub evaluate: EvaluateSpec,
    /// Only these models, in this order; the others serve as a base for `like`. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// The models by name, in the order of the tables. [`super::plan`] parses them.
    pub models: Map<String, Value>,
    /// How the training of teachers is recorded, for distillers that use a teacher's earlier states.
    #[serde(default, skip_serializing_if = "StateSelection::is_default")]
    pub trajectory: StateSelection,
    /// The search of `rankstill tune`; `rankstill run` ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<TuneSpec>,
    /// The figures of the report.
    #[serde(default, rename = "figure", skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureSpec>,
}

/// `[[figure]]`: a line per model, over the values of a setting or over the epochs of training.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// The name of its files.
    pub name: String,
    /// The heading.
    #[serde(default)]
    pub title: String,
    /// The label of the x axis. Default: the name of `x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The quantity on the x axis.
    #[serde(default)]
    pub x: FigureX,
    /// The scale of the x axis. Default: even if a value is not a number, else linear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// One panel each: a metric of `evaluate.metrics`; over epochs also `validation METRIC` and `loss`. Default: the first metric.
    #[serde(default)]
    pub y: Vec<String>,
    /// One line each.
    pub models: Vec<String>,
    /// Models that do not vary, drawn as level lines.
    #[serde(default)]
    pub levels: Vec<String>,
    /// The keys that take the values: of each line's model (`distill.alpha`), of one model (`models.NAME.dim`, for example the
    /// teacher of a line), or of `data.sample`.
    #[serde(default)]
    pub vary: Vec<String>,
    /// The values of these keys, in the order of the x axis.
    #[serde(default)]
    pub values: Vec<Value>,
    /// Draw the number of parameters as bars.
    #[serde(default)]
    pub bars: bool,
    /// Over epochs: how many; training does not stop early.
    #[serde(default)]
    pub epochs: usize,
    /// Over epochs: evaluate every this many.
    #[serde(default = "one")]
    pub every: usize,
}

/// The quantity on the x axis of a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureX {
    /// The value of the setting.
    #[default]
    Value,
    /// The number of parameters that the model has with this value.
    Parameters,
    /// The number of training interactions with this value.
    Interactions,
    /// The epochs of training.
    Epoch,
}

/// How an axis is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences.
    Linear,
    /// Equal ratios.
    Log,
    /// Neighbours are equally far apart.
    Even,
}

/// `[data]`: a log, a ready-made split, a prepared folder, or the simulator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// A log in any known format, or a folder made by `rankstill prepare`.
    pub path: Option<PathBuf>,
    /// Instead of one log, a ready-made split; requires `split.kind = "ready_made"`.
    pub parts: Option<SplitFiles>,
    /// Instead of a file, a simulated log.
    pub simulate: Option<SimulateOptions>,
    /// A file with titles of the items, for the page for people: CSV, TSV or RecBole's `.item`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<PathBuf>,
    /// How files are read.
    pub read: ReadOptions,
    /// Which interactions are dropped.
    pub filter: Filter,
    /// How interactions are divided into training, validation and test part.
    pub split: SplitConfig,
    /// Which items are excluded from the candidates in validation and test.
    pub mask: Mask,
    /// Which history models see in the test.
    pub history: History,
    /// How much of the training part models are fitted on.
    #[serde(skip_serializing_if = "TrainSample::is_whole")]
    pub sample: TrainSample,
}

/// The files of a ready-made split.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitFiles {
    /// The training part.
    pub train: PathBuf,
    /// The validation part, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<PathBuf>,
    /// The test part.
    pub test: PathBuf,
}

impl DataSpec {
    /// The settings that the data crate takes.
    #[must_use]
    pub fn settings(&self) -> PrepareSettings {
        PrepareSettings {
            filter: self.filter.clone(),
            split: self.split.clone(),
            mask: self.mask,
            history: self.history,
        }
    }
}

/// `[evaluate]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSpec {
    /// The metrics of the table.
    pub metrics: Vec<String>,
    /// Whose definitions of the metrics.
    pub dialect: String,
    /// The metric of early stopping, measured on validation data.
    pub validate: String,
    /// The part that models are fitted on: `train`, `train+valid` (then no model stops early), or `all`: fitted on `train` and
    /// measured, then fitted on every row for as many epochs.
    pub fit_on: FitOn,
    /// The part that models are measured on: `test`, or `valid`, for a search that must not see the test part.
    #[serde(skip_serializing_if = "MeasuredPart::is_test")]
    pub part: MeasuredPart,
    /// A model that is fitted again on every row in the end, with its teachers, for as many epochs as the measured one was trained
    /// until it was best; it is left in the run's folder as `best`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<String>,
    /// Length of the ranking that is kept for each test case.
    pub keep: usize,
    /// Seconds to spend on measuring latency; 0 skips it.
    pub latency_seconds: f64,
    /// Also report popular and unpopular items, active and inactive users separately: the popular (active) ones are the fewest
    /// that make up this share of the training interactions. 0 skips it.
    pub groups: f64,
}

/// The part that models are fitted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FitOn {
    /// The training part; the validation part serves early stopping.
    #[default]
    #[serde(rename = "train")]
    Train,
    /// Both parts, for a fixed number of epochs.
    #[serde(rename = "train+valid")]
    TrainValid,
    /// The training part, to be measured; then every row, for as many epochs as the measured model, to be used.
    #[serde(rename = "all")]
    All,
}

/// The part that models are measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredPart {
    /// The test part.
    #[default]
    Test,
    /// The validation part, which training may have stopped early by.
    Valid,
}

impl MeasuredPart {
    fn is_test(&self) -> bool {
        *self == Self::Test
    }

    /// Its cases.
    #[must_use]
    pub fn of(self, split: &Split) -> &Cases {
        match self {
            Self::Test => &split.test,
            Self::Valid => &split.valid,
        }
    }
}

impl FitOn {
    /// The part that the models are fitted on that are measured.
    #[must_use]
    pub fn measured(self) -> Self {
        match self {
            Self::TrainValid => Self::TrainValid,
            Self::Train | Self::All => Self::Train,
        }
    }

    /// As in an experiment.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::TrainValid => "train+valid",
            Self::All => "all",
        }
    }
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        let metrics = ["ndcg@10", "recall@10", "precision@10", "map", "mrr", "coverage@10"];
        Self {
            metrics: metrics.map(str::to_owned).to_vec(),
            dialect: "standard".into(),
            validate: "ndcg@10".into(),
            fit_on: FitOn::Train,
            part: MeasuredPart::Test,
            best: None,
            keep: 100,
            latency_seconds: 5.0,
            groups: 0.0,
        }
    }
}

/// `[tune]`: a search for the settings that do best on validation data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuneSpec {
    /// How epochs are divided among the trials.
    pub method: Method,
    /// Settings tried per model.
    pub trials: usize,
    /// The metric, on validation data, of selection and of early stopping. Default: `evaluate.validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Successive halving: one in `keep` trials is promoted to the next rung and trained for `keep` times the epochs.
    pub keep: usize,
    /// Successive halving: minimum number of epochs of the first rung.
    pub min_epochs: usize,
    /// Whether the first trial is the model as it is in the file, so that the selected settings are never worse.
    pub own: bool,
    /// The seed of the draws and of every fit.
    pub seed: u64,
    /// The ranges by model and key. [`super::tune`] parses them.
    pub models: Map<String, Value>,
}

/// How epochs are divided among the trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every trial is trained to the end.
    Random,
    /// Successive halving: all trials are trained a little, the best of them longer, and so on (Jamieson & Talwalkar, AISTATS 2016).
    #[default]
    Halving,
}

impl Default for TuneSpec {
    fn default() -> Self {
        Self {
            method: Method::default(),
            trials: 27,
            metric: None,
            keep: 3,
            min_epochs: 1,
            own: true,
            seed: 1,
            models: Map::new(),
        }
    }
}

fn one() -> usize {
    1
}

fn unnamed() -> String {
    "experiment".into()
}

/// Seconds; saving a large model takes one.
fn often() -> f64 {
    20.0
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

impl Spec {
    /// Reads a file and lays the overrides over it.
    ///
    /// # Errors
    /// Names file, line and key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        Self::of_tree(&tree::read(path, overrides)?).with_context(|| format!("{}", path.display()))
    }

    /// Parses the text of a file and lays the overrides over it.
    ///
    /// # Errors
    /// Names line and key.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Self> {
        Self::of_tree(&tree::parse(text, overrides)?)
    }

    /// From the tree of a file.
    ///
    /// # Errors
    /// Names the key.
    pub fn of_tree(tree: &Value) -> Result<Self> {
        Ok(Config { path: "", value: tree }.read()?)
    }
}
