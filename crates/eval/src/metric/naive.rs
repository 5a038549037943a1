//! What the tests of metrics share: small worlds written out as plain lists, for the metrics' slow twins, and
//! outcomes of a given shape, for numbers worked out by hand.
#![allow(clippy::unwrap_used)]

use super::dialect::Dialect;
use super::measure::Measure;
use super::outcome::Outcome;
use super::settings::MetricSettings;
use rankstill_core::{Cases, ItemId, Lists, Rankings, Span};
use std::sync::Arc;

/// Everything that a twin may look at.
pub(crate) struct World {
    pub n_items: usize,
    pub popularity: Vec<u32>,
    pub cases: Vec<WorldCase>,
}

/// One case of a [`World`].
pub(crate) struct WorldCase {
    /// All items that are not masked, best first.
    pub ranking: Vec<ItemId>,
    /// Without duplicates.
    pub targets: Vec<ItemId>,
    /// Parallel to the targets.
    pub grades: Vec<f32>,
    pub history: Vec<ItemId>,
    pub teacher: Vec<ItemId>,
}

impl World {
    pub fn per_case(&self, value: impl Fn(&WorldCase) -> f64) -> Measure {
        Measure::PerCase(self.cases.iter().map(value).collect())
    }

    /// How many lists, cut to n, hold each item.
    pub fn exposure(&self, s: &MetricSettings) -> Vec<f64> {
        let count = |item: ItemId| {
            self.cases.iter().filter(|case| case.first(s).contains(&item)).count() as f64
        };
        (0..self.n_items as ItemId).map(count).collect()
    }

    pub fn mean_popularity(&self, items: &[ItemId]) -> f64 {
        let sum: f64 = items.iter().map(|item| f64::from(self.popularity[*item as usize])).sum();
        if items.is_empty() { 0.0 } else { sum / items.len() as f64 }
    }
}

impl WorldCase {
    /// The ranking up to the cut.
    pub fn first(&self, s: &MetricSettings) -> Vec<ItemId> {
        self.ranking.iter().copied().take(s.n()).collect()
    }

    /// The item's grade, 0 if it is no target.
    pub fn grade(&self, item: ItemId) -> f64 {
        let at = self.targets.iter().position(|target| *target == item);
        at.map_or(0.0, |at| f64::from(self.grades[at]))
    }

    /// The teacher's first `n` items.
    pub fn teacher_first(&self, n: usize) -> Vec<ItemId> {
        self.teacher.iter().copied().take(n).collect()
    }

    /// Rank by rank up to the cut: whether the item is a target.
    pub fn is_target(&self, s: &MetricSettings) -> Vec<bool> {
        self.first(s).iter().map(|item| self.targets.contains(item)).collect()
    }

    /// Number of targets up to the cut.
    pub fn found(&self, s: &MetricSettings) -> f64 {
        self.is_target(s).iter().filter(|hit| **hit).count() as f64
    }
}

/// The mean of the metric `text` in the standard dialect.
pub(crate) fn value(text: &str, outcome: &Outcome<'_>) -> f64 {
    super::parse(text, Dialect::Standard).unwrap().measure(outcome).unwrap().mean()
}

/// The value of the metric `text` for one case whose targets found have the 1-based ranks `hits`, of
/// `n_targets` in all.
pub(crate) fn of_ranks(text: &str, dialect: Dialect, hits: &[u32], n_targets: u32) -> f64 {
    let longest = hits.last().copied().unwrap_or(0);
    let found = hits.len() as u32;
    // Targets are the first ids, in the order of their ranks; those that are not found are not listed.
    let mut others = n_targets..;
    let ranked = (1..=longest).map(|rank| match hits.iter().position(|hit| *hit == rank) {
        Some(target) => target as ItemId,
        None => others.next().unwrap(),
    });
    let list: Vec<ItemId> = ranked.collect();
    let targets: Vec<ItemId> = (0..n_targets).collect();
    let cases = cases((n_targets + longest) as usize, &[&targets]);
    assert!(found <= n_targets && hits.is_sorted());
    let outcome = Outcome::of_rankings(&cases, rankings(&[&list])).unwrap();
    super::parse(text, dialect).unwrap().measure(&outcome).unwrap().mean()
}

pub(crate) fn assert_close(found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(error < 1e-12 * expected.abs().max(1.0), "found {found}, expected {expected}");
}

/// Cases with these targets and no history.
pub(crate) fn cases(n_items: usize, targets: &[&[ItemId]]) -> Cases {
    let rows: Vec<_> = targets.iter().map(|targets| (vec![], targets.to_vec())).collect();
    cases_with_histories(n_items, &rows)
}

/// Cases with these histories and targets.
pub(crate) fn cases_with_histories(n_items: usize, rows: &[(Vec<ItemId>, Vec<ItemId>)]) -> Cases {
    let (mut timeline, mut spans) = (Vec::new(), Vec::new());
    for (user, (history, targets)) in (0..).zip(rows) {
        let start = timeline.len();
        timeline.extend(history.iter().chain(targets));
        let middle = start + history.len();
        spans.push(Span {
            user: Some(user),
            history: start..middle,
            hidden: middle..middle,
            targets: middle..timeline.len(),
        });
    }
    Cases::new(n_items, Arc::new(timeline), spans).unwrap()
}

pub(crate) fn rankings(lists: &[&[ItemId]]) -> Rankings {
    let items: Lists<ItemId> = lists.iter().map(|list| list.iter().copied()).collect();
    let scores = lists.iter().flat_map(|list| (0..list.len()).map(|at| -(at as f32))).collect();
    Rankings::new(items, scores).unwrap()
}
