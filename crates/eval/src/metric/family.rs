//! An entry of the metric registry: a metric without its cut, parameter and dialect.

use super::measure::Measure;
use super::outcome::Outcome;
use super::settings::MetricSettings;
use rankstill_core::ItemId;
use serde::{Deserialize, Serialize};

/// One entry of the registry: all that parsing, help, reports and the generic tests need.
#[derive(Clone, Copy, Debug)]
pub struct MetricFamily {
    /// As in `name@10`.
    pub name: &'static str,
    /// Other spellings that are accepted but never written.
    pub aliases: &'static [&'static str],
    /// One line for the help.
    pub about: &'static str,
    /// Whether `@n` may be left out, and what that means.
    pub cut: Cut,
    /// Which way is better.
    pub direction: Direction,
    /// The exact definition under these settings, as a sentence that ends with a full stop.
    pub definition: fn(&MetricSettings) -> String,
    /// Checks the number after `:`; an error says what is valid. `None`: the metric takes no parameter.
    pub parameter: Option<fn(f64) -> Result<(), String>>,
    /// How it is computed.
    pub formula: Formula,
    /// The same metric computed from its definition, slowly and plainly; tests compare the two.
    #[cfg(test)]
    pub(crate) twin: fn(&super::naive::World, &MetricSettings) -> Measure,
}

impl MetricFamily {
    /// How it is written.
    #[must_use]
    pub fn example(&self) -> String {
        match self.cut {
            Cut::Required => format!("{}@10", self.name),
            Cut::WholeRanking | Cut::Default(_) => self.name.to_owned(),
        }
    }
}

/// What a metric's name means without `@n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing: `@n` must be given.
    Required,
    /// The metric looks at the whole ranking.
    WholeRanking,
    /// The metric looks at this many items.
    Default(usize),
}

/// How a metric is computed. The variant also determines its [`Needs`](super::Needs).
#[derive(Clone, Copy, Debug)]
pub enum Formula {
    /// One value per case, from the ranks of its targets.
    TargetRanks(fn(&TargetRanks<'_>, &MetricSettings) -> f64),
    /// One value per case, from the ranks and the grades of its targets.
    TargetGrades(fn(&TargetGrades<'_>, &MetricSettings) -> f64),
    /// One value per case, from the first n items of the model and of its teacher.
    TeacherList(fn(&[ItemId], &[ItemId], &MetricSettings) -> f64),
    /// One value for all cases, from how many of the lists, cut to n, hold each item of the catalogue.
    Exposure(fn(Vec<u32>) -> f64),
    /// From the lists and the number of training interactions of each item.
    Popularity(fn(&Outcome<'_>, &[u32], &MetricSettings) -> Measure),
}

/// Where a case's targets are in its ranking.
#[derive(Clone, Copy, Debug)]
pub struct TargetRanks<'a> {
    /// The 1-based ranks of the targets, ascending, without those beyond the cut.
    pub hits: &'a [u32],
    /// Number of different targets, found or not; at least 1.
    pub n_targets: usize,
}

/// Where a case's targets are in its ranking, and how relevant each is.
#[derive(Clone, Copy, Debug)]
pub struct TargetGrades<'a> {
    /// The 1-based ranks of the targets, ascending, without those beyond the cut.
    pub hits: &'a [u32],
    /// The grades of all targets, finite and not negative: first those of `hits`, in their order.
    pub grades: &'a [f32],
}

/// Which way is better; decides what is bold in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Depends on the purpose.
    Neither,
}
