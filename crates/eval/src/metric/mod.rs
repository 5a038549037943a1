//! Metrics of an [`Outcome`]. One file per family; the registry [`METRICS`] drives parsing, help and tests.
//!
//! Accuracy metrics depend only on the sorted ranks of a case's targets and on the number of targets, so one
//! pass over the catalogue serves them all. Targets are a set: duplicates count once.
//!
//! nDCG of one ranking, by hand:
//!
//! ```
//! use rankstill_core::{Cases, Rankings, Span};
//! use rankstill_eval::metric::{Dialect, Outcome, parse};
//!
//! // User 0 will act on the items 1 and 3. The model ranks 0, 1, 2, 3: the targets are at ranks 2 and 4.
//! let user = Span { user: Some(0), history: 0..0, hidden: 0..0, targets: 0..2 };
//! let cases = Cases::new(5, vec![1, 3].into(), vec![user])?;
//! let mut rankings = Rankings::default();
//! rankings.push([(0, 0.9), (1, 0.8), (2, 0.7), (3, 0.6)]);
//! let outcome = Outcome::of_rankings(&cases, rankings)?;
//!
//! let ndcg = parse("ndcg@10", Dialect::Standard)?.measure(&outcome)?.mean();
//! let by_hand = (1.0 / 3f64.log2() + 1.0 / 5f64.log2()) / (1.0 + 1.0 / 3f64.log2());
//! assert!((ndcg - by_hand).abs() < 1e-12);
//! # Ok::<(), rankstill_eval::Error>(())
//! ```

mod agreement;
mod average_precision;
mod coverage;
mod dialect;
mod family;
mod graded_ndcg;
mod hits;
mod measure;
mod ndcg;
mod outcome;
mod popularity;
mod reciprocal_rank;
mod settings;
#[cfg(test)]
mod worked_example;

pub use dialect::Dialect;
pub use family::{Cut, Direction, Formula, MetricFamily, TargetGrades, TargetRanks};
pub use measure::Measure;
pub use outcome::{Needs, Outcome};
pub use settings::MetricSettings;

pub(crate) use measure::mean;

use crate::error::{Error, Result};
use rayon::prelude::*;

/// All metrics. The order is that of the help.
pub static METRICS: &[MetricFamily] = &[
    hits::PRECISION,
    hits::RECALL,
    hits::HIT,
    ndcg::NDCG,
    graded_ndcg::LINEAR,
    graded_ndcg::EXPONENTIAL,
    average_precision::MAP,
    reciprocal_rank::MRR,
    coverage::COVERAGE,
    coverage::GINI,
    popularity::POPULARITY,
    popularity::LIFT,
    agreement::OVERLAP,
    agreement::RBO,
];

/// A metric of the registry with its settings, such as `ndcg@10`.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    family: &'static MetricFamily,
    settings: MetricSettings,
}

/// Reads `ndcg@10`, `map` or `rbo:0.95@50`: a family's name, optionally `:` and a parameter, optionally `@`
/// and a cut.
///
/// # Errors
/// When there is no such family, or it does not accept the cut or the parameter.
pub fn parse(text: &str, dialect: Dialect) -> Result<Metric> {
    let bad = |problem: String| Error::Metric { text: text.to_owned(), problem };
    let lower = text.trim().to_ascii_lowercase();
    let (head, cut) = match lower.split_once('@') {
        None => (lower.as_str(), None),
        Some((head, cut)) => match cut.parse::<u32>() {
            Ok(n) if n > 0 => (head, Some(n as usize)),
            _ => return Err(bad(format!("`{cut}` is not a list length; write {head}@10"))),
        },
    };
    let (name, parameter) = match head.split_once(':') {
        None => (head, None),
        Some((name, value)) => {
            let value: f64 =
                value.parse().map_err(|_| bad(format!("`{value}` is not a number")))?;
            (name, Some(value))
        }
    };
    let Some(family) = METRICS.iter().find(|f| f.name == name || f.aliases.contains(&name)) else {
        let names: Vec<_> = METRICS.iter().map(MetricFamily::example).collect();
        return Err(bad(format!("is unknown; the metrics are: {}", names.join(", "))));
    };
    if family.cut == Cut::Required && cut.is_none() {
        return Err(bad(format!("needs a list length; write {}", family.example())));
    }
    match (parameter, family.parameter) {
        (None, _) => {}
        (Some(value), None) => return Err(bad(format!("takes no parameter, found {value}"))),
        (Some(value), Some(check)) => check(value).map_err(bad)?,
    }
    Ok(Metric { family, settings: MetricSettings { cut, parameter, dialect } })
}

/// Several metrics, in the given order, without duplicates.
///
/// # Errors
/// See [`parse`].
pub fn parse_all<S: AsRef<str>>(texts: &[S], dialect: Dialect) -> Result<Vec<Metric>> {
    let mut metrics: Vec<Metric> = Vec::new();
    for text in texts {
        let metric = parse(text.as_ref(), dialect)?;
        if metrics.iter().all(|known| known.name() != metric.name()) {
            metrics.push(metric);
        }
    }
    Ok(metrics)
}

impl Metric {
    /// The name used in configurations and tables: `ndcg@10`.
    #[must_use]
    pub fn name(&self) -> String {
        let MetricSettings { cut, parameter, .. } = self.settings;
        let parameter = parameter.map_or(String::new(), |value| format!(":{value}"));
        let cut = cut.map_or(String::new(), |n| format!("@{n}"));
        format!("{}{parameter}{cut}", self.family.name)
    }

    /// The exact definition in this metric's dialect, as a sentence.
    #[must_use]
    pub fn definition(&self) -> String {
        (self.family.definition)(&self.settings)
    }

    /// The parts of an outcome that the metric reads.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let needs = Needs { depth: self.depth().unwrap_or(0), ..Needs::default() };
        match self.family.formula {
            Formula::TargetRanks(_) => Needs { whole_ranking: self.depth().is_none(), ..needs },
            Formula::TargetGrades(_) => {
                Needs { whole_ranking: self.depth().is_none(), grades: true, ..needs }
            }
            Formula::TeacherList(_) => Needs { teacher: true, ..needs },
            Formula::Exposure(_) => needs,
            Formula::Popularity(_) => Needs { popularity: true, ..needs },
        }
    }

    /// Which way is better.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.family.direction
    }

    /// Computes the metric.
    ///
    /// # Errors
    /// When the outcome lacks what the metric needs.
    pub fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure> {
        let n = self.depth().unwrap_or(usize::MAX);
        let missing = |needs| Error::Missing { metric: self.name(), needs };
        let cases = 0..outcome.len();
        match self.family.formula {
            Formula::TargetRanks(value) => {
                let of = |i: usize| {
                    let (hits, n_targets) = (within(n, outcome.hits(i)), outcome.n_targets(i));
                    value(&TargetRanks { hits, n_targets }, &self.settings)
                };
                Ok(Measure::PerCase(cases.map(of).collect()))
            }
            Formula::TargetGrades(value) => {
                let of = |i: usize| {
                    let (hits, grades) = (within(n, outcome.hits(i)), outcome.grades(i)?);
                    Some(value(&TargetGrades { hits, grades }, &self.settings))
                };
                let values: Option<Vec<f64>> = cases.map(of).collect();
                let needs = "the grades of the targets: test interactions with a weight or rating";
                Ok(Measure::PerCase(values.ok_or_else(|| missing(needs))?))
            }
            Formula::TeacherList(value) => {
                let first = |list: &'_ [_]| n.min(list.len());
                let of = |i: usize| {
                    let (student, teacher) = (outcome.list(i), outcome.teacher(i)?);
                    let (student, teacher) =
                        (&student[..first(student)], &teacher[..first(teacher)]);
                    Some(value(student, teacher, &self.settings))
                };
                let values: Option<Vec<f64>> = cases.into_par_iter().map(of).collect();
                let values =
                    values.ok_or_else(|| missing("a teacher's rankings to compare with"))?;
                Ok(Measure::PerCase(values))
            }
            Formula::Exposure(value) => {
                let mut counts = vec![0; outcome.cases().n_items()];
                for item in cases.flat_map(|i| outcome.list(i).iter().take(n)) {
                    counts[*item as usize] += 1;
                }
                Ok(Measure::Whole(value(counts)))
            }
            Formula::Popularity(measure) => {
                let needs = "the training interactions, to know how popular items are";
                let popularity = outcome.popularity().ok_or_else(|| missing(needs))?;
                Ok(measure(outcome, popularity, &self.settings))
            }
        }
    }

    /// Number of ranks to look at; `None` for the whole ranking.
    fn depth(&self) -> Option<usize> {
        match self.family.cut {
            Cut::Required | Cut::WholeRanking => self.settings.cut,
            Cut::Default(depth) => Some(self.settings.cut.unwrap_or(depth)),
        }
    }
}

/// The ranks up to `n` of ascending ones.
fn within(n: usize, ranks: &[u32]) -> &[u32] {
    &ranks[..ranks.partition_point(|&rank| rank as usize <= n)]
}

impl Needs {
    /// The needs of all `metrics` together.
    #[must_use]
    pub fn of(metrics: &[Metric]) -> Self {
        metrics.iter().fold(Self::default(), |all, metric| {
            let one = metric.needs();
            Self {
                depth: all.depth.max(one.depth),
                whole_ranking: all.whole_ranking || one.whole_ranking,
                popularity: all.popularity || one.popularity,
                teacher: all.teacher || one.teacher,
                grades: all.grades || one.grades,
            }
        })
    }
}

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
