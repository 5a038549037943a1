//! Metrics of one ranker in one call. The crate `rankstill-eval` has the parts: values by case, paired tests, groups, latency.

use crate::core::{Cases, Ranker, TopK};
use crate::eval::metric::parse_all;
use crate::eval::{Dialect, Needs, Outcome, Result};

/// The mean of each of `metrics`, such as `ndcg@10` or `map`, over `cases`, by the standard definitions. Items of a query's
/// history are not ranked. Where the cases are of users or items that the training log lacks, as after a split in time, measure
/// `ColdStart::new(&ranker, Arc::new(Trained::on(&train)))` (see [`ColdStart`](crate::core::ColdStart)): alone, a model answers such
/// users by vectors that were never trained.
///
/// # Errors
/// When a metric is unknown or needs a teacher, or the ranker fails.
pub fn evaluate(
    ranker: &(impl Ranker + ?Sized),
    cases: &Cases,
    metrics: &[&str],
) -> Result<Vec<(String, f64)>> {
    let metrics = parse_all(metrics, Dialect::default())?;
    let needs = Needs::of(&metrics);
    let outcome = Outcome::of_ranker(ranker, cases, &TopK::unseen(needs.depth), needs)?;
    metrics.iter().map(|metric| Ok((metric.name(), metric.measure(&outcome)?.mean()))).collect()
}
