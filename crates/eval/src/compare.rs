//! Comparing two models on the same cases: means, difference, confidence interval and p-values; and which
//! model a taught student is compared with.

use crate::error::{Error, Result};
use crate::metric::mean;
use crate::significance::{self, Crossed, Interval, TTest, Wilcoxon, Zeros};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::hash::Hash;

/// Settings of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComparisonOptions {
    /// Confidence level of the interval.
    pub level: f64,
    /// Number of resamples of the bootstrap.
    pub resamples: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// How Wilcoxon's test treats cases where both models are equal.
    pub zeros: Zeros,
}

impl Default for ComparisonOptions {
    fn default() -> Self {
        Self { level: 0.95, resamples: 1000, seed: 0, zeros: Zeros::Pratt }
    }
}

/// One metric of two models on the same cases: the model `a` against the baseline `b`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the metric.
    pub metric: String,
    /// Name of the model.
    pub a: String,
    /// Name of the baseline.
    pub b: String,
    /// Number of cases.
    pub cases: usize,
    /// Mean of `a`.
    pub mean_a: f64,
    /// Mean of `b`.
    pub mean_b: f64,
    /// Mean of `a` minus mean of `b`.
    pub difference: f64,
    /// Of the difference, by bootstrap over the cases.
    pub interval: Interval,
    /// Paired t-test.
    pub t_test: TTest,
    /// Wilcoxon's signed-rank test.
    pub wilcoxon: Wilcoxon,
    /// The t-test's p-value after Holm's correction over all comparisons of a table; set by [`adjust`].
    pub p_adjusted: Option<f64>,
    /// The paired t-test over the seeds, of each seed's mean difference, where both models have the same number of seeds, at least two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_seeds: Option<TTest>,
    /// The test that takes both cases and seeds for a sample, for the same models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_both: Option<Crossed>,
}

/// Compares case by case: of every seed a row of values, whose value *i* belongs to the same case for both models (see [`align`]).
/// The values of a case are averaged over the seeds; what seeds add to the uncertainty is in [`Comparison::over_both`].
///
/// # Errors
/// When there is no seed, rows differ in length, there are fewer than two values, or one is NaN or infinite.
pub fn compare<S: AsRef<[f64]>, T: AsRef<[f64]>>(
    metric: &str,
    (a, seeds_a): (&str, &[S]),
    (b, seeds_b): (&str, &[T]),
    options: &ComparisonOptions,
) -> Result<Comparison> {
    let (values_a, values_b) = (significance::pool(seeds_a)?, significance::pool(seeds_b)?);
    if values_a.len() != values_b.len() {
        let what = format!("cases of `{b}`, compared with `{a}`");
        return Err(Error::Length { what, expected: values_a.len(), found: values_b.len() });
    }
    let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let differences = minus(&values_a, &values_b);
    let t_test = significance::paired_t(&differences)?;
    let (mut over_seeds, mut over_both) = (None, None);
    if seeds_a.len() == seeds_b.len() && seeds_a.len() > 1 {
        let pairs = seeds_a.iter().zip(seeds_b);
        let rows: Vec<_> = pairs.map(|(a, b)| minus(a.as_ref(), b.as_ref())).collect();
        let means: Vec<f64> = rows.iter().map(|row| mean(row)).collect();
        over_seeds = Some(significance::paired_t(&means)?);
        over_both = Some(significance::crossed(&rows)?);
    }
    Ok(Comparison {
        metric: metric.to_owned(),
        a: a.to_owned(),
        b: b.to_owned(),
        cases: differences.len(),
        mean_a: mean(&values_a),
        mean_b: mean(&values_b),
        difference: t_test.mean,
        interval: significance::bootstrap(
            &differences,
            options.level,
            options.resamples,
            options.seed,
        )?,
        t_test,
        wilcoxon: significance::wilcoxon(&differences, options.zeros)?,
        p_adjusted: None,
        over_seeds,
        over_both,
    })
}

/// Corrects the p-values of the t-tests, and those over cases and seeds, for the number of comparisons.
pub fn adjust(comparisons: &mut [Comparison]) {
    let p: Vec<f64> = comparisons.iter().map(|one| one.t_test.p).collect();
    for (one, adjusted) in comparisons.iter_mut().zip(significance::holm(&p)) {
        one.p_adjusted = Some(adjusted);
    }
    let mut both: Vec<_> =
        comparisons.iter_mut().filter_map(|one| one.over_both.as_mut()).collect();
    let p: Vec<f64> = both.iter().map(|one| one.p).collect();
    for (one, adjusted) in both.iter_mut().zip(significance::holm(&p)) {
        one.p_adjusted = Some(adjusted);
    }
}

/// The cases that two runs share: pairs of positions, in the order of `a`. The *n*-th occurrence of an id in
/// one run is paired with its *n*-th occurrence in the other.
#[must_use]
pub fn align<Id: Eq + Hash>(a: &[Id], b: &[Id]) -> Vec<(usize, usize)> {
    let mut positions: HashMap<(&Id, usize), usize> = HashMap::with_capacity(b.len());
    numbered(b).zip(0..).for_each(|(key, at)| {
        positions.insert(key, at);
    });
    numbered(a).zip(0..).filter_map(|(key, at)| Some((at, *positions.get(&key)?))).collect()
}

/// Every id with the number of its earlier occurrences.
fn numbered<Id: Eq + Hash>(ids: &[Id]) -> impl Iterator<Item = (&Id, usize)> {
    let mut seen: HashMap<&Id, usize> = HashMap::new();
    ids.iter().map(move |id| {
        let count = seen.entry(id).or_default();
        *count += 1;
        (id, *count - 1)
    })
}

/// Which of `models` is the baseline of the model `taught`, all given by their settings: the first with the
/// same settings but no teacher (`distill`); if there is none, the first without a teacher that differs only
/// in settings of training (`is_training`), because a student that learns from other losses often needs other
/// learning rates. `None` if `taught` has no teacher.
#[must_use]
pub fn baseline_of(
    taught: &Value,
    models: &[&Value],
    is_training: impl Fn(&str) -> bool,
) -> Option<usize> {
    const DISTILL: &str = "distill";
    let mut alone = taught.clone();
    alone.as_object_mut()?.remove(DISTILL)?;
    let without_training = |settings: &Value| {
        let mut table = settings.as_object()?.clone();
        table.retain(|key, _| !is_training(key));
        Some(table)
    };
    let exactly = models.iter().position(|other| **other == alone);
    exactly.or_else(|| {
        let wanted = without_training(&alone);
        let alike =
            |other: &&Value| other.get(DISTILL).is_none() && without_training(other) == wanted;
        models.iter().position(alike)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_taught_student_is_compared_with_itself_untaught_or_else_trained_differently() {
        let taught =
            json!({"kind": "bpr_mf", "dim": 8, "train": {"epochs": 9}, "distill": {"kind": "rd"}});
        let alone = json!({"train": {"epochs": 9}, "dim": 8, "kind": "bpr_mf"});
        let longer = json!({"kind": "bpr_mf", "dim": 8, "train": {"epochs": 50}});
        let larger = json!({"kind": "bpr_mf", "dim": 64, "train": {"epochs": 9}});
        let rankings = json!("a.tsv");
        let baseline = |all: &[&Value]| baseline_of(all[0], all, |key| key == "train");
        assert_eq!(baseline(&[&taught, &rankings, &longer, &larger, &alone]), Some(4));
        assert_eq!(baseline(&[&taught, &rankings, &larger, &longer]), Some(3));
        assert_eq!(baseline(&[&taught, &taught, &rankings, &larger]), None);
        assert_eq!(baseline(&[&alone, &longer]), None);
        assert_eq!(baseline(&[&rankings, &alone]), None);
    }

    #[test]
    fn a_comparison_by_hand() {
        let (a, b) = ([1.0, 0.5, 0.5, 1.0], [0.5, 0.5, 0.0, 0.0]);
        let found = compare("ndcg@10", ("new", &[a]), ("old", &[b]), &ComparisonOptions::default())
            .unwrap();
        assert_eq!((found.mean_a, found.mean_b, found.difference), (0.75, 0.25, 0.5));
        // Differences .5 0 .5 1: deviation sqrt(.5 / 3), t = .5 / (that / 2).
        assert!((found.t_test.t - 0.5 / ((0.5f64 / 3.0).sqrt() / 2.0)).abs() < 1e-12);
        assert_eq!((found.wilcoxon.n, found.wilcoxon.zeros), (3, 1));
        assert!(found.interval.low >= 0.0 && found.interval.high <= 1.0);
        let mut two = [found.clone(), found];
        adjust(&mut two);
        assert_eq!(two[0].p_adjusted, Some(2.0 * two[0].t_test.p));
        let options = ComparisonOptions::default();
        assert!(compare("x", ("a", &[&a[..]]), ("b", &[&b[..3]]), &options).is_err());
    }

    #[test]
    fn seeds_are_averaged_and_tested_where_both_models_have_as_many() {
        let (a, b) = ([[0.5, 0.7, 0.9], [0.7, 0.9, 1.1]], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]);
        let options = ComparisonOptions::default();
        let found = compare("m", ("a", &a), ("b", &b), &options).unwrap();
        assert!((found.difference - 0.3).abs() < 1e-12);
        assert_eq!(found.t_test.n, 3);
        let over_seeds = found.over_seeds.unwrap();
        assert!((over_seeds.mean - 0.3).abs() < 1e-12 && over_seeds.n == 2);
        assert_eq!(found.over_both.unwrap().seeds, 2);
        let mut two = [found.clone(), found];
        adjust(&mut two);
        let both = two[1].over_both.unwrap();
        assert_eq!(both.p_adjusted, Some((2.0 * both.p).min(1.0)));
        let one = compare("m", ("a", &a), ("b", &b[..1]), &options).unwrap();
        assert!(one.over_both.is_none() && one.over_seeds.is_none());
    }

    #[test]
    fn cases_are_matched_by_id_and_occurrence() {
        assert_eq!(align(&["u", "v", "w", "u"], &["u", "x", "u", "v"]), [(0, 0), (1, 3), (3, 2)]);
        assert!(align::<u32>(&[], &[1]).is_empty());
    }
}
