//! An experiment as typed: a TOML file and its `--set key=value` overrides, not yet checked against each other.

use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::registry::{Config, lay_under};
use rankstill::data::ReadOptions;
use rankstill::data::dataset::Settings;
use rankstill::data::filter::Filter;
use rankstill::data::simulate::SimulateOptions;
use rankstill::data::split::{History, Mask, SplitConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What the report is headed with.
    #[serde(default = "unnamed")]
    pub name: String,
    /// Every model is fitted once a seed; tables show mean and deviation.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Seconds between two states that are kept of a model in training; a run that is killed loses what came after.
    #[serde(default = "often")]
    pub checkpoint_seconds: f64,
    /// Where the log comes from.
    pub data: DataSpec,
    /// What is measured.
    #[serde(default)]
    pub evaluate: EvaluateSpec,
    /// Only these models, in this order; others are there to be `like`. Without it, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// The models by name, in the order of the tables. Read further by [`super::plan`].
    pub models: Map<String, Value>,
    /// How the training of teachers is recorded, for students that want their states.
    #[serde(default, skip_serializing_if = "StateSelection::is_default")]
    pub trajectory: StateSelection,
    /// What `rankstill tune` looks for; a run leaves it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<TuneSpec>,
    /// What is drawn besides the table.
    #[serde(default, rename = "figure", skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureSpec>,
}

/// `[[figure]]`: a line a model, over a setting that takes one value after the other, or over the epochs of training.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// Of the files.
    pub name: String,
    /// Over the figure.
    #[serde(default)]
    pub title: String,
    /// Along the bottom; without it, what `x` is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What is along the bottom.
    #[serde(default)]
    pub x: FigureX,
    /// How that is spaced; without it, evenly where a value is no number, else linearly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// A panel each: a metric of `evaluate.metrics`; over epochs also `validation METRIC` and `loss`. Without it, the first metric.
    #[serde(default)]
    pub y: Vec<String>,
    /// A line each.
    pub models: Vec<String>,
    /// Models that do not vary, as level lines.
    #[serde(default)]
    pub levels: Vec<String>,
    /// The keys that take the values: of each line's model (`distill.alpha`), of one model (`models.NAME.dim`, which can be a
    /// teacher of the line's), or of `data.sample`.
    #[serde(default)]
    pub vary: Vec<String>,
    /// One after the other.
    #[serde(default)]
    pub values: Vec<Value>,
    /// Draws the numbers of parameters as bars.
    #[serde(default)]
    pub bars: bool,
    /// Over epochs: so many, without early stopping.
    #[serde(default)]
    pub epochs: usize,
    /// Over epochs: from one look to the next.
    #[serde(default = "one")]
    pub every: usize,
}

/// What is along the bottom of a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureX {
    /// The value of the setting.
    #[default]
    Value,
    /// The parameters that the model then has.
    Parameters,
    /// The training interactions that there then are.
    Interactions,
    /// The epochs of training.
    Epoch,
}

/// How places along an axis are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences.
    Linear,
    /// Equal ratios.
    Log,
    /// All equally far apart.
    Even,
}

/// `[data]`: a log, somebody's split of one, a prepared folder, or the simulator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// A log in any known format, or a folder made by `rankstill prepare`.
    pub path: Option<PathBuf>,
    /// Instead of one log, somebody's split; goes with `split.kind = "ready_made"`.
    pub parts: Option<Parts>,
    /// Instead of a file: make the log.
    pub simulate: Option<SimulateOptions>,
    /// How files are read.
    pub read: ReadOptions,
    /// What is left out.
    pub filter: Filter,
    /// What trains, validates and tests.
    pub split: SplitConfig,
    /// What is not recommended when validating and when testing.
    pub mask: Mask,
    /// What models are told when testing.
    pub history: History,
    /// How much of the training part models are fitted on.
    #[serde(skip_serializing_if = "Sample::is_whole")]
    pub sample: Sample,
}

/// `data.sample`: a share of each user's training interactions. What models are told and asked when validating and testing stays
/// the same; models are fitted on less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Above 0, at most 1. Of n interactions, ceil(share n) stay; a smaller share is part of a larger one.
    pub share: f64,
    /// Which of them stay.
    pub keep: Keep,
}

/// Which interactions of a user stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The last ones.
    #[default]
    Latest,
    /// The first ones.
    Earliest,
    /// Any, the same for every seed; in their order.
    Random,
}

impl Default for Sample {
    fn default() -> Self {
        Self { share: 1.0, keep: Keep::default() }
    }
}

impl Sample {
    /// Whether the share can be.
    ///
    /// # Errors
    /// When it is not above 0 and at most 1.
    pub fn check(&self) -> Result<()> {
        let share = self.share;
        let fits = share > 0.0 && share <= 1.0;
        ensure!(fits, "data.sample.share: must be above 0 and at most 1, is {share}");
        Ok(())
    }

    fn is_whole(&self) -> bool {
        *self == Self::default()
    }
}

/// The files of somebody's split.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// What trains.
    pub train: PathBuf,
    /// What validates, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<PathBuf>,
    /// What tests.
    pub test: PathBuf,
}

impl DataSpec {
    /// The tables that the data crate works by.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
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
    /// Which figures the table shows.
    pub metrics: Vec<String>,
    /// By whose definitions.
    pub dialect: String,
    /// The figure that early stopping looks at on validation data.
    pub validate: String,
    /// What the tested models are fitted on: `train`, or `train+valid` (then no model stops early).
    pub fit_on: FitOn,
    /// Length of the ranking that is kept a test case.
    pub keep: usize,
    /// Seconds to spend on measuring the time to recommend; 0 leaves it out.
    pub latency_seconds: f64,
    /// Measures popular and unpopular items, active and inactive users apart: the first are the fewest that make up this share
    /// of the training interactions. 0 leaves it out.
    pub groups: f64,
}

/// What models are fitted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FitOn {
    /// The training part; the validation part is for early stopping.
    #[default]
    #[serde(rename = "train")]
    Train,
    /// Both parts, for as many epochs as the plan says.
    #[serde(rename = "train+valid")]
    TrainValid,
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        let metrics = ["ndcg@10", "recall@10", "precision@10", "map", "mrr", "coverage@10"];
        Self {
            metrics: metrics.map(str::to_owned).to_vec(),
            dialect: "standard".into(),
            validate: "ndcg@10".into(),
            fit_on: FitOn::Train,
            keep: 100,
            latency_seconds: 5.0,
            groups: 0.0,
        }
    }
}

/// `[tune]`: a search for settings by what they come to on validation data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuneSpec {
    /// How the trials share the epochs.
    pub method: Method,
    /// Settings that are tried, a model.
    pub trials: usize,
    /// The figure on validation data by which settings are picked, and by which training stops early; without it,
    /// `evaluate.validate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Of successive halving: one trial of so many goes on to the next rung, with so many times the epochs.
    pub keep: usize,
    /// Of successive halving: the first rung has at least so many epochs.
    pub min_epochs: usize,
    /// Whether the first trial is the model as the file has it, so that what is picked is never worse.
    pub own: bool,
    /// Draws the settings, and fits every trial.
    pub seed: u64,
    /// The ranges by model and key. Read further by [`super::tune`].
    pub models: Map<String, Value>,
}

/// How trials share the epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every trial is trained to its end.
    Random,
    /// All trials are trained a little, the best of them go on, the best of those go on (Jamieson & Talwalkar, AISTATS 2016).
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

/// Saving a large model takes a second.
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
    /// With file, line and key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        Self::of_tree(&tree(path, overrides)?).with_context(|| format!("{}", path.display()))
    }

    /// Parses the text of a file and lays the overrides over it.
    ///
    /// # Errors
    /// With line and key.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Self> {
        Self::of_tree(&overridden(text, overrides)?)
    }

    /// From a file that was read and changed.
    ///
    /// # Errors
    /// With the key.
    pub fn of_tree(tree: &Value) -> Result<Self> {
        Ok(Config { path: "", value: tree }.read()?)
    }
}

/// A file with the overrides laid over it and its `base` beneath, not yet looked at.
///
/// # Errors
/// With file and line.
pub fn tree(path: &Path, overrides: &[String]) -> Result<Value> {
    let mut tree = based(path, overrides, &mut Vec::new())?;
    put_another_log(&mut tree, overrides);
    Ok(tree)
}

/// `--set data.path=LOG` puts another log in the place of somebody's split: its parts go, and that they are ready-made.
fn put_another_log(tree: &mut Value, overrides: &[String]) {
    let named = |wanted: &str| {
        let key = |one: &String| one.split_once('=').is_some_and(|(key, _)| key.trim() == wanted);
        overrides.iter().any(key)
    };
    if !named("data.path") || named("data.parts") {
        return;
    }
    let Some(data) = tree.get_mut("data").and_then(Value::as_object_mut) else { return };
    if data.shift_remove("parts").is_some() && data["split"]["kind"] == "ready_made" {
        data.shift_remove("split");
    }
}

fn based(path: &Path, overrides: &[String], above: &mut Vec<PathBuf>) -> Result<Value> {
    let mut read = || -> Result<Value> {
        let text = std::fs::read_to_string(path)?;
        let typed: Value = toml::from_str(&text)?;
        let mut tree = overridden(&text, overrides)?;
        let base = tree.as_object_mut().and_then(|tree| tree.shift_remove("base"));
        if let Some(base) = base {
            let file = base.as_str().context("base: expected the name of an experiment file")?;
            // One that was named with --set is where the user is, one in the file is where the file is.
            let beside = (typed.get("base") == Some(&base)).then(|| path.parent()).flatten();
            let file = beside.map_or_else(|| PathBuf::from(file), |folder| folder.join(file));
            ensure!(!above.contains(&file), "base: leads in a circle through {}", file.display());
            above.push(file.clone());
            let base = based(&file, &[], above)?;
            if let (Value::Object(tree), Value::Object(base)) = (&mut tree, &base) {
                lay_under(tree, base);
            }
        }
        Ok(tree)
    };
    read().with_context(|| path.display().to_string())
}

fn overridden(text: &str, overrides: &[String]) -> Result<Value> {
    let mut tree: Value = toml::from_str(text)?;
    for one in overrides {
        set(&mut tree, one)?;
    }
    Ok(tree)
}

/// Lays `key.key=value` over a tree. The value is read as TOML, and as text where it is none. A part of the key that holds dots
/// is written in quotes: `models."MF-8/RD".dim=16`.
///
/// # Errors
/// When there is no `=`, or the key leads through something that is not a table.
pub fn set(tree: &mut Value, assignment: &str) -> Result<()> {
    let Some((key, value)) = assignment.split_once('=') else {
        bail!("--set {assignment}: expected key=value");
    };
    let value = value.trim();
    let value = toml::from_str::<Map<String, Value>>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let done = parts_of(key.trim()).and_then(|parts| put(tree, &parts, value));
    done.with_context(|| format!("--set {assignment}"))
}

/// Lays `value` over a tree at the place that `parts` lead to; tables on the way are made.
///
/// # Errors
/// When they lead through something that is not a table.
pub fn put(tree: &mut Value, parts: &[String], value: Value) -> Result<()> {
    let (last, path) = parts.split_last().context("no key")?;
    let mut at = tree;
    for part in path {
        at = table(at, part)?.entry(part.as_str()).or_insert_with(|| Value::Object(Map::new()));
    }
    table(at, last)?.insert(last.clone(), value);
    Ok(())
}

fn table<'a>(value: &'a mut Value, key: &str) -> Result<&'a mut Map<String, Value>> {
    value.as_object_mut().with_context(|| format!("`{key}`: leads through a plain value"))
}

/// Splits at dots outside of quotes.
///
/// # Errors
/// When a part is empty or quotes are not closed.
pub fn parts_of(key: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for letter in key.chars() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            letter => parts.last_mut().expect("never empty").push(letter),
        }
    }
    if quoted || parts.iter().any(String::is_empty) {
        bail!("{key}: a part of the key is empty or its quotes are not closed");
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn another_log_takes_the_place_of_a_ready_made_split() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let text =
            "[data]\nparts = { train = \"a\", test = \"b\" }\nsplit = { kind = \"ready_made\" }\n";
        std::fs::write(&file, text).unwrap();
        let data = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            tree(&file, &sets).unwrap()["data"].clone()
        };
        assert_eq!(data(&["data.path=log.tsv"]), serde_json::json!({"path": "log.tsv"}));
        let split = data(&["data.path=log.tsv", "data.split.kind=random"]);
        assert_eq!(split["split"]["kind"], "random");
        assert!(data(&["seeds=[2]"]).get("parts").is_some());
    }

    #[test]
    fn an_override_reaches_a_quoted_key_and_keeps_its_type() {
        let mut tree = json!({"models": {"MF-8/RD": {"dim": 8}}});
        set(&mut tree, r#"models."MF-8/RD".dim=16"#).unwrap();
        set(&mut tree, "data.path=../a b/log.tsv").unwrap();
        set(&mut tree, "seeds=[1, 2]").unwrap();
        assert_eq!(
            tree,
            json!({"models": {"MF-8/RD": {"dim": 16}}, "data": {"path": "../a b/log.tsv"}, "seeds": [1, 2]})
        );
    }

    #[test]
    fn an_override_through_a_plain_value_names_the_key() {
        let mut tree = json!({"seeds": 1});
        let error = format!("{:#}", set(&mut tree, "seeds.first=2").unwrap_err());
        assert_eq!(error, "--set seeds.first=2: `first`: leads through a plain value");
        assert!(set(&mut tree, "seeds").is_err());
        assert!(set(&mut tree, r#"a."b=1"#).is_err());
    }
}
