//! Metrics: what an [`Outcome`] is worth. One file a family; the registry [`METRICS`] drives parsing, help and tests.
//!
//! Accuracy metrics look at nothing but the sorted ranks of a case's targets and how many targets there are, so one pass
//! over the catalogue serves them all. Targets are a set: one that is written twice counts once.

pub mod agreement;
pub mod average_precision;
pub mod coverage;
pub mod hits;
pub mod ndcg;
mod outcome;
pub mod popularity;
pub mod reciprocal_rank;

#[cfg(test)]
mod naive;

pub use outcome::Outcome;

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Measures an outcome.
pub trait Metric: Send + Sync {
    /// As it is written in a configuration and in a table: `ndcg@10`.
    fn name(&self) -> String;

    /// What exactly is computed, in its dialect, as a sentence for people.
    fn definition(&self) -> String;

    /// What an outcome must hold for it.
    fn needs(&self) -> Needs;

    /// Which way is better.
    fn direction(&self) -> Direction {
        Direction::Higher
    }

    /// The numbers.
    ///
    /// # Errors
    /// When the outcome lacks what the metric looks at.
    fn measure(&self, outcome: &Outcome<'_>) -> Result<Measure>;
}

/// All metrics there are. `about` says what a family measures; [`Metric::definition`] says how, in its dialect.
pub static METRICS: &[Family] = &[
    hits::PRECISION,
    hits::RECALL,
    hits::HIT,
    ndcg::NDCG,
    average_precision::MAP,
    reciprocal_rank::MRR,
    coverage::COVERAGE,
    coverage::GINI,
    popularity::POPULARITY,
    popularity::LIFT,
    agreement::OVERLAP,
    agreement::RBO,
];

/// From `ndcg@10`, `map`, `rbo:0.95@50`: a family's name, perhaps `:` and its parameter, perhaps `@` and a cut.
///
/// # Errors
/// When there is no such family, or the cut or the parameter does not fit it.
pub fn parse(text: &str, dialect: Dialect) -> Result<Box<dyn Metric>> {
    let bad = |problem: String| Error::Metric { text: text.to_owned(), problem };
    let lower = text.trim().to_ascii_lowercase();
    let (head, cut) = match lower.split_once('@') {
        None => (lower.as_str(), None),
        Some((head, cut)) => match cut.parse::<u32>() {
            Ok(n) if n > 0 => (head, Some(n as usize)),
            _ => return Err(bad(format!("`{cut}` is no list length; write {head}@10"))),
        },
    };
    let (name, parameter) = match head.split_once(':') {
        None => (head, None),
        Some((name, value)) => {
            let value: f64 = value.parse().map_err(|_| bad(format!("`{value}` is no number")))?;
            (name, Some(value))
        }
    };
    let Some(family) = METRICS.iter().find(|f| f.name == name || f.aliases.contains(&name)) else {
        let names: Vec<_> = METRICS.iter().map(Family::example).collect();
        return Err(bad(format!("is unknown; there are: {}", names.join(", "))));
    };
    if family.needs_cut && cut.is_none() {
        return Err(bad(format!("needs a list length; write {}", family.example())));
    }
    (family.build)(&Spec { cut, parameter, dialect }).map_err(bad)
}

/// Several metrics, in the given order, each once.
///
/// # Errors
/// See [`parse`].
pub fn parse_all<S: AsRef<str>>(texts: &[S], dialect: Dialect) -> Result<Vec<Box<dyn Metric>>> {
    let mut metrics: Vec<Box<dyn Metric>> = Vec::new();
    for text in texts {
        let metric = parse(text.as_ref(), dialect)?;
        if metrics.iter().all(|known| known.name() != metric.name()) {
            metrics.push(metric);
        }
    }
    Ok(metrics)
}

/// One line of the registry.
pub struct Family {
    /// As in `name@10`.
    pub name: &'static str,
    /// Other spellings that are read, never written.
    pub aliases: &'static [&'static str],
    /// One line for the help.
    pub about: &'static str,
    /// Whether it makes no sense over the whole ranking.
    pub needs_cut: bool,
    /// From what was written; an error says what would be right.
    pub build: fn(&Spec) -> Result<Box<dyn Metric>, String>,
}

impl Family {
    /// How it is written.
    #[must_use]
    pub fn example(&self) -> String {
        if self.needs_cut { format!("{}@10", self.name) } else { self.name.to_owned() }
    }
}

/// What was written behind a family's name.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Look at so many items; `None` for the whole ranking.
    pub cut: Option<usize>,
    /// The number after `:`.
    pub parameter: Option<f64>,
    /// Whose definition.
    pub dialect: Dialect,
}

impl Spec {
    /// Refuses a parameter: most families have none.
    fn no_parameter(&self) -> Result<(), String> {
        match self.parameter {
            None => Ok(()),
            Some(value) => Err(format!("takes no parameter, found {value}")),
        }
    }
}

/// Whose definition of a metric, where the field disagrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As in most papers and in trec_eval.
    #[default]
    Standard,
    /// As in the code of Ranking Distillation and Caser: nDCG looks at the first min(#targets, n) places only.
    Rd,
    /// As in the code of HetComp.
    HetComp,
    /// As in RecBole: MAP@n is divided by min(#targets, n).
    RecBole,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Rd, Self::HetComp, Self::RecBole];

    /// As it is written in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Rd => "rd",
            Self::HetComp => "hetcomp",
            Self::RecBole => "recbole",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|d| d.name().eq_ignore_ascii_case(text.trim())).ok_or_else(
            || {
                let valid = Self::ALL.map(Self::name).join(", ");
                Error::Dialect { text: text.to_owned(), valid }
            },
        )
    }
}

/// Which way is better; says what is bold in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It depends on what one wants.
    Neither,
}

/// What an outcome must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Lists at least so long.
    pub depth: usize,
    /// The targets' ranks beyond the lists.
    pub whole: bool,
    /// How often each item was acted on in training.
    pub popularity: bool,
    /// A teacher's lists.
    pub teacher: bool,
}

impl Needs {
    /// What all of `metrics` need together.
    #[must_use]
    pub fn of(metrics: &[Box<dyn Metric>]) -> Self {
        metrics.iter().fold(Self::default(), |all, metric| {
            let one = metric.needs();
            Self {
                depth: all.depth.max(one.depth),
                whole: all.whole || one.whole,
                popularity: all.popularity || one.popularity,
                teacher: all.teacher || one.teacher,
            }
        })
    }

    /// Of an accuracy metric: ranks up to the cut, or all.
    fn ranks(cut: Option<usize>) -> Self {
        Self { depth: cut.unwrap_or(0), whole: cut.is_none(), ..Self::default() }
    }
}

/// What a metric said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// One value a case, in the outcome's order.
    PerCase(Vec<f64>),
    /// One value of all cases together.
    Whole(f64),
}

impl Measure {
    /// The mean over all cases, summed in their order; 0 of no case.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::PerCase(values) => mean(values),
            Self::Whole(value) => *value,
        }
    }

    /// The values by case, where there are such.
    #[must_use]
    pub fn per_case(&self) -> Option<&[f64]> {
        match self {
            Self::PerCase(values) => Some(values),
            Self::Whole(_) => None,
        }
    }
}

/// The mean, summed from the first to the last; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().fold(0.0, |sum, value| sum + value) / values.len() as f64
}

/// `name` or `name@n`.
fn with_cut(name: &str, cut: Option<usize>) -> String {
    match cut {
        None => name.to_owned(),
        Some(n) => format!("{name}@{n}"),
    }
}

/// "the whole ranking" or "the first n".
fn span(cut: Option<usize>) -> String {
    match cut {
        None => "the whole ranking".to_owned(),
        Some(n) => format!("the first {n}"),
    }
}

/// Those of the sorted `hits` that stand within the cut.
fn within(hits: &[u32], cut: Option<usize>) -> &[u32] {
    match cut {
        None => hits,
        Some(n) => &hits[..hits.partition_point(|&rank| rank as usize <= n)],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_come_back_as_they_went_in() {
        for text in ["ndcg@10", "map", "map@10", "recall@20", "mrr", "mrr@5", "hit@10", "rbo"] {
            assert_eq!(parse(text, Dialect::Standard).unwrap().name(), text);
        }
        for text in ["coverage@10", "gini@10", "popularity@10", "lift@3", "overlap@10", "rbo@50"] {
            assert_eq!(parse(text, Dialect::RecBole).unwrap().name(), text);
        }
        assert_eq!(parse(" NDCG@7 ", Dialect::Rd).unwrap().name(), "ndcg@7");
        assert_eq!(parse("hr@7", Dialect::Rd).unwrap().name(), "hit@7");
        assert_eq!(parse("rbo:0.98@50", Dialect::Rd).unwrap().name(), "rbo:0.98@50");
    }

    #[test]
    fn every_family_says_what_it_is_in_every_dialect() {
        for family in METRICS {
            for dialect in Dialect::ALL {
                let metric = parse(&family.example(), dialect).unwrap();
                assert_eq!(metric.name(), family.example());
                assert!(metric.definition().ends_with('.'), "{}", metric.definition());
            }
            assert!(!family.about.is_empty());
        }
    }

    #[test]
    fn what_names_no_metric_is_refused_with_what_would_be_right() {
        let problem = |text| parse(text, Dialect::Standard).err().unwrap().to_string();
        assert!(problem("ndgc@10").contains("ndcg"), "{}", problem("ndgc@10"));
        assert!(problem("recall").contains("recall@10"));
        assert!(problem("recall@0").contains("`0`"));
        assert!(problem("recall@").contains("no list length"));
        assert!(problem("recall@99999999999999999999").contains("no list length"));
        assert!(problem("ndcg:3@5").contains("no parameter"));
        assert!(problem("rbo:1").contains("between 0 and 1"));
        assert!(problem("rbo:nan").contains("between 0 and 1"));
        assert!("trec".parse::<Dialect>().unwrap_err().to_string().contains("hetcomp"));
    }

    #[test]
    fn the_mean_of_nothing_is_zero() {
        assert_eq!(Measure::PerCase(vec![]).mean().to_bits(), 0.0f64.to_bits());
        assert_eq!(Measure::PerCase(vec![1.0, 2.0]).mean(), 1.5);
    }
}
