//! The result of a search: a row per trial, the picked settings, and an experiment with them.

use super::space::Settings;
use super::trial::Validated;
use crate::experiment::run_folder::write;
use crate::experiment::tree::{put, without_nulls};
use anyhow::Result;
use rankstill::core::text_table::TextTable;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::path::Path;

/// A finished search.
#[derive(Clone, Debug, Serialize)]
pub struct Tuned {
    /// The metric, on validation data, by which settings were picked.
    pub metric: String,
    /// The seed of the draws and of every fit.
    pub seed: u64,
    /// In the order in which they were tuned.
    pub models: Vec<TunedModel>,
    /// Whether a lower value of the metric is better.
    pub lower_is_better: bool,
}

/// The result for one model.
#[derive(Clone, Debug, Serialize)]
pub struct TunedModel {
    /// Its name in the experiment.
    pub name: String,
    /// Whether the first trial is the model as it was in the file.
    pub own: bool,
    /// In the order of their numbers.
    pub trials: Vec<Trial>,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Its number, from 1.
    pub trial: usize,
    /// How it ended.
    pub state: State,
    /// Epochs trained; 0 for models that are not trained by epochs.
    pub epochs: usize,
    /// The number of epochs at its best validation value.
    pub best_epoch: usize,
    /// Its value on validation data.
    pub value: Option<f64>,
    /// The drawn settings.
    #[serde(serialize_with = "as_table")]
    pub settings: Settings,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not started.
    Waiting,
    /// It was not promoted to the next rung.
    Dropped,
    /// It was trained to the end.
    Finished,
    /// It was trained to the end and is the best.
    Picked,
    /// Its loss became NaN or infinite.
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dropped => "dropped",
            Self::Finished => "finished",
            Self::Picked => "picked",
            Self::Failed => "failed",
        }
    }
}

impl Trial {
    pub(super) fn new(trial: usize, settings: Settings) -> Self {
        let (state, value, problem) = (State::Waiting, None, None);
        Self { trial, state, epochs: 0, best_epoch: 0, value, settings, problem }
    }

    pub(super) fn reach(&mut self, state: State, validated: Validated) {
        (self.state, self.value) = (state, Some(validated.value));
        (self.epochs, self.best_epoch) = (validated.epochs, validated.best_epoch);
    }

    pub(super) fn fail(&mut self, problem: String) {
        *self = Self {
            problem: Some(problem),
            state: State::Failed,
            ..Self::new(self.trial, std::mem::take(&mut self.settings))
        };
    }
}

impl TunedModel {
    /// The picked trial; before the search ends, the first.
    #[must_use]
    pub fn picked(&self) -> &Trial {
        self.trials.iter().find(|trial| trial.state == State::Picked).unwrap_or(&self.trials[0])
    }

    /// The picked settings, as in an experiment file below `models.NAME`.
    fn table(&self, fixed_epochs: bool) -> Value {
        let picked = self.picked();
        let mut tree = json!({});
        for (key, value) in picked.settings.iter().filter(|(_, value)| !value.is_null()) {
            let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
            _ = put(&mut tree, &parts, value.clone());
        }
        if fixed_epochs && picked.epochs > 0 {
            _ = put(&mut tree, &["train".into(), "epochs".into()], picked.best_epoch.into());
        }
        tree
    }
}

/// Writes `trials.tsv`, a row per trial.
pub(super) fn write_trials(
    out: &Path,
    done: &[TunedModel],
    current: Option<&TunedModel>,
) -> Result<()> {
    let all = || done.iter().chain(current);
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in all().flat_map(|found| &found.trials[0].settings) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let mut text = String::from("model\ttrial\tstate\tepochs\tbest_epoch\tvalue");
    keys.iter().for_each(|key| _ = write!(text, "\t{key}"));
    text.push_str("\tproblem\n");
    for found in all() {
        for trial in &found.trials {
            let value = trial.value.map_or(String::new(), |value| value.to_string());
            let Trial { epochs, best_epoch, .. } = trial;
            let (name, state) = (plain(&found.name), trial.state.name());
            _ = write!(text, "{name}\t{}\t{state}\t{epochs}\t{best_epoch}\t{value}", trial.trial);
            for key in &keys {
                let value = trial.settings.iter().find(|(other, _)| other == key);
                _ = write!(text, "\t{}", value.map_or(String::new(), |(_, value)| cell(value)));
            }
            _ = writeln!(text, "\t{}", plain(trial.problem.as_deref().unwrap_or_default()));
        }
    }
    write(&out.join("trials.tsv"), &text)
}

/// The file name of the experiment with the picked settings.
pub const EXPERIMENT: &str = "tuned.toml";

/// Rows of the table at the end: the best, and the model as it was.
const SHOWN: usize = 5;

impl Tuned {
    /// Writes `best.toml`, `tuned.toml` and `tune.json` next to `trials.tsv`. `fixed_epochs`: the experiment fits on training and
    /// validation data together, so it trains for the number of epochs that was best in the search.
    pub(super) fn write(&self, out: &Path, mut tree: Value, fixed_epochs: bool) -> Result<()> {
        write(&out.join("best.toml"), &self.fragment(fixed_epochs)?)?;
        if fixed_epochs {
            for found in &self.models {
                let Trial { epochs: trained, best_epoch: epochs, .. } = *found.picked();
                if trained > 0 {
                    let parts = ["models", &found.name, "train", "epochs"].map(str::to_owned);
                    put(&mut tree, &parts, epochs.into())?;
                }
            }
        }
        let parts = ["evaluate", "validate"].map(str::to_owned);
        put(&mut tree, &parts, self.metric.clone().into())?;
        let text = toml::to_string_pretty(&without_nulls(tree))?;
        write(&out.join(EXPERIMENT), &format!("# {}\n{text}", self.line()))?;
        write(&out.join("tune.json"), &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// The picked settings, to be pasted into an experiment file.
    fn fragment(&self, fixed_epochs: bool) -> Result<String> {
        let mut text = format!("# {}\n", self.line());
        for found in &self.models {
            let picked = found.picked();
            let tree = json!({"models": {&found.name: found.table(fixed_epochs)}});
            let value = picked.value.unwrap_or(f64::NAN);
            let (trial, of) = (picked.trial, found.trials.len());
            _ = write!(
                text,
                "\n# {} {value:.4}, trial {trial} of {of}\n{}",
                self.metric,
                toml::to_string_pretty(&tree)?
            );
        }
        Ok(text)
    }

    fn line(&self) -> String {
        format!("settings picked by {} on validation data, seed {}", self.metric, self.seed)
    }

    /// The tables printed at the end of a search.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut text = String::new();
        for found in &self.models {
            let keys: Vec<&str> =
                found.trials[0].settings.iter().map(|(key, _)| key.as_str()).collect();
            let mut head = vec![found.name.as_str(), self.metric.as_str(), "epochs", "best at"];
            head.extend(&keys);
            let mut table = TextTable::new(head);
            let mut best: Vec<&Trial> =
                found.trials.iter().filter(|trial| trial.value.is_some()).collect();
            // Trials that were trained to the end cannot be compared with those that were not.
            let rank = |trial: &Trial| match trial.state {
                State::Picked => 0,
                State::Finished => 1,
                _ => 2,
            };
            best.sort_by(|a, b| {
                let order = b.value.partial_cmp(&a.value).unwrap_or(Ordering::Equal);
                let order = if self.lower_is_better { order.reverse() } else { order };
                rank(a).cmp(&rank(b)).then(order).then(a.trial.cmp(&b.trial))
            });
            let own = found.own.then(|| &found.trials[0]);
            let shown: Vec<&Trial> = best.iter().copied().take(SHOWN).collect();
            let own = own.filter(|own| !shown.iter().any(|trial| trial.trial == own.trial));
            for trial in shown.into_iter().chain(own) {
                let mut name = format!("trial {}", trial.trial);
                match trial.state {
                    State::Picked => name.push_str(" (picked)"),
                    State::Dropped => name.push_str(" (dropped)"),
                    _ => {}
                }
                if found.own && trial.trial == 1 {
                    name.push_str(", as in the file");
                }
                let value = trial.value.map_or("failed".into(), |value| format!("{value:.4}"));
                let mut row =
                    vec![name, value, trial.epochs.to_string(), trial.best_epoch.to_string()];
                row.extend(trial.settings.iter().map(|(_, value)| cell(value)));
                table.push(row);
            }
            text.push_str(&table.text());
            let count = |state| found.trials.iter().filter(|trial| trial.state == state).count();
            _ = writeln!(
                text,
                "{} trials, {} trained to the end, {} failed\n",
                found.trials.len(),
                count(State::Finished) + count(State::Picked),
                count(State::Failed)
            );
        }
        text.push_str(&self.fragment(false).unwrap_or_default());
        text
    }
}

/// A value as shown in a table: strings without quotes.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

fn plain(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

fn as_table<S: Serializer>(settings: &Settings, to: S) -> Result<S::Ok, S::Error> {
    settings.iter().cloned().collect::<Map<String, Value>>().serialize(to)
}
