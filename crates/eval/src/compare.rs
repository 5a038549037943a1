//! Two runs side by side on the same cases: means, difference, interval and p-values.

use crate::metric::mean;
use crate::significance::{self, Interval, TTest, Wilcoxon, Zeros};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::Hash;

/// How sure a comparison is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Comparing {
    /// Of the interval.
    pub level: f64,
    /// Of the bootstrap.
    pub resamples: usize,
    /// Of the bootstrap.
    pub seed: u64,
    /// How Wilcoxon's test treats cases where both are equal.
    pub zeros: Zeros,
}

impl Default for Comparing {
    fn default() -> Self {
        Self { level: 0.95, resamples: 1000, seed: 0, zeros: Zeros::Pratt }
    }
}

/// One metric of two models on the same cases; `a` is the one in question, `b` what it is held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Its name.
    pub metric: String,
    /// The model in question.
    pub a: String,
    /// What it is held against.
    pub b: String,
    /// Cases.
    pub cases: usize,
    /// Of `a`.
    pub mean_a: f64,
    /// Of `b`.
    pub mean_b: f64,
    /// `a` minus `b`.
    pub difference: f64,
    /// Of the difference, by bootstrap over the cases.
    pub interval: Interval,
    /// Paired.
    pub t_test: TTest,
    /// Paired.
    pub wilcoxon: Wilcoxon,
    /// The t-test's p after Holm's correction over all comparisons of the table, once [`adjust`] has seen them.
    pub p_adjusted: Option<f64>,
}

/// Compares case by case: value *i* of both answers the same case (see [`align`]). Several seeds are pooled before
/// ([`significance::pool`]).
///
/// # Errors
/// When the two differ in length, or there are no two finite values.
pub fn compare(
    metric: &str,
    (a, values_a): (&str, &[f64]),
    (b, values_b): (&str, &[f64]),
    how: &Comparing,
) -> Result<Comparison> {
    if values_a.len() != values_b.len() {
        let what = format!("cases of `{b}`, compared with `{a}`");
        return Err(Error::Length { what, expected: values_a.len(), found: values_b.len() });
    }
    let differences: Vec<f64> = values_a.iter().zip(values_b).map(|(a, b)| a - b).collect();
    let t_test = significance::paired_t(&differences)?;
    Ok(Comparison {
        metric: metric.to_owned(),
        a: a.to_owned(),
        b: b.to_owned(),
        cases: differences.len(),
        mean_a: mean(values_a),
        mean_b: mean(values_b),
        difference: t_test.mean,
        interval: significance::bootstrap(&differences, how.level, how.resamples, how.seed)?,
        t_test,
        wilcoxon: significance::wilcoxon(&differences, how.zeros)?,
        p_adjusted: None,
    })
}

/// Corrects the t-tests of all comparisons for their number.
pub fn adjust(comparisons: &mut [Comparison]) {
    let p: Vec<f64> = comparisons.iter().map(|one| one.t_test.p).collect();
    for (one, adjusted) in comparisons.iter_mut().zip(significance::holm(&p)) {
        one.p_adjusted = Some(adjusted);
    }
}

/// Which cases two runs share: pairs of positions, in the order of `a`. An id that stands twice in one run is paired with
/// its same occurrence in the other.
#[must_use]
pub fn align<Id: Eq + Hash>(a: &[Id], b: &[Id]) -> Vec<(usize, usize)> {
    let mut places: HashMap<(&Id, usize), usize> = HashMap::with_capacity(b.len());
    numbered(b).zip(0..).for_each(|(key, at)| {
        places.insert(key, at);
    });
    numbered(a).zip(0..).filter_map(|(key, at)| Some((at, *places.get(&key)?))).collect()
}

/// Every id with how often it stood before.
fn numbered<Id: Eq + Hash>(ids: &[Id]) -> impl Iterator<Item = (&Id, usize)> {
    let mut seen: HashMap<&Id, usize> = HashMap::new();
    ids.iter().map(move |id| {
        let count = seen.entry(id).or_default();
        *count += 1;
        (id, *count - 1)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_comparison_by_hand() {
        let (a, b) = ([1.0, 0.5, 0.5, 1.0], [0.5, 0.5, 0.0, 0.0]);
        let found = compare("ndcg@10", ("new", &a), ("old", &b), &Comparing::default()).unwrap();
        assert_eq!((found.mean_a, found.mean_b, found.difference), (0.75, 0.25, 0.5));
        // Differences .5 0 .5 1: deviation sqrt(.5 / 3), t = .5 / (that / 2).
        assert!((found.t_test.t - 0.5 / ((0.5f64 / 3.0).sqrt() / 2.0)).abs() < 1e-12);
        assert_eq!((found.wilcoxon.n, found.wilcoxon.zeros), (3, 1));
        assert!(found.interval.low >= 0.0 && found.interval.high <= 1.0);
        let mut two = [found.clone(), found];
        adjust(&mut two);
        assert_eq!(two[0].p_adjusted, Some(2.0 * two[0].t_test.p));
        assert!(compare("x", ("a", &a), ("b", &b[..3]), &Comparing::default()).is_err());
    }

    #[test]
    fn cases_are_matched_by_id_and_occurrence() {
        assert_eq!(align(&["u", "v", "w", "u"], &["u", "x", "u", "v"]), [(0, 0), (1, 3), (3, 2)]);
        assert!(align::<u32>(&[], &[1]).is_empty());
    }
}
