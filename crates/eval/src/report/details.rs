//! What the page for people shows beyond the tables: gathered from the files of a run, so that it can be gathered again.

use crate::compare::Comparison;
use crate::significance::{Interval, Spread};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All of it. As JSON it is `details` of `report.json`: fields may be added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Of the means, by model and metric. With several seeds: Student's t over the seeds, `resamples` = 0. With one seed: the bootstrap
    /// over the test cases, for metrics that have a value for each case.
    pub intervals: BTreeMap<String, BTreeMap<String, Interval>>,
    /// How much of another model's lists the models list too.
    pub agreement: Vec<Agreement>,
    /// The student against others, by group of items and users.
    pub gains: Vec<Gain>,
    /// The models whose lists `users` shows, in this order.
    pub shown: Vec<String>,
    /// A few test users, drawn at random with the first seed.
    pub users: Vec<UserLists>,
    /// What was understood of the files, filters, the split, its audit.
    pub data: Option<DataDetails>,
    /// Commands that serve and repeat what was found.
    pub commands: Vec<Command>,
    /// What could not be gathered, and why.
    pub missing: Vec<String>,
}

/// How much of another model's lists a model lists too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// The model.
    pub model: String,
    /// The other one: the ensemble, or its teacher.
    pub with: String,
    /// Such as `overlap@10`.
    pub metric: String,
    /// Over the seeds.
    pub value: Spread,
}

/// Two models on a group of items or users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Such as `unpopular items`.
    pub group: String,
    /// Definition of the group.
    pub definition: String,
    /// The student against the other model, case by case.
    pub comparison: Comparison,
}

/// A test user: what it did before, and what models recommend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserLists {
    /// The user's id.
    pub user: String,
    /// Number of items in the history that models get.
    pub history_length: usize,
    /// The last of these, newest first.
    pub history: Vec<ItemLine>,
    /// Number of items in the test part.
    pub targets: usize,
    /// The first items of each model of [`Details::shown`].
    pub lists: Vec<Vec<ItemLine>>,
}

/// An item on the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemLine {
    /// Its id.
    pub id: String,
    /// Its title, if there is a file of titles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether it is among the user's test items.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hit: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The data of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataDetails {
    /// The files that were read.
    pub sources: Vec<SourceRow>,
    /// What each filter removed, in order; the first is the log as read.
    pub filters: Vec<FilterRow>,
    /// How rows were divided, in words.
    pub split: String,
    /// What must not be recommended and what models are shown, in words.
    pub protocol: String,
    /// The parts.
    pub parts: Vec<PartRow>,
    /// What the split gives away, and which targets no model can hit.
    pub audit: Vec<AuditRow>,
}

/// A file of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceRow {
    /// Its name, without the folder.
    pub name: String,
    /// The part that it holds, of a ready-made split.
    pub part: Option<String>,
    /// Format, columns, times, first row, as lines.
    pub understood: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// A filter's effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FilterRow {
    /// With its setting.
    pub filter: String,
    /// Rows that it removed.
    pub removed: usize,
    /// Rows that are left.
    pub rows: usize,
    /// Users that are left.
    pub users: usize,
    /// Items that are left.
    pub items: usize,
}

/// A part of the split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartRow {
    /// Such as `training`.
    pub part: String,
    /// Interactions.
    pub rows: usize,
    /// Users with rows in it.
    pub users: usize,
}

/// A check of the leakage audit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// What was counted.
    pub about: String,
    /// `None`: the check needs times, and the log has none.
    pub count: Option<usize>,
    /// Among so many.
    pub of: usize,
    /// Whether any occurrence puts the results in doubt.
    pub doubtful: bool,
}

/// A line for a terminal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// What it does.
    pub about: String,
    /// The line.
    pub line: String,
}
