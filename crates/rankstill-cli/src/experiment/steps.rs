//! Where a run is: the model at work of how many, the best on validation data so far, and how long the others may take.

use super::epochs;
use super::measure::Metrics;
use crate::progress::{Screen, Stage, short_time};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The models of a plan, seed after seed.
pub(super) struct Steps {
    seeds: Vec<u64>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What a model took with the last seed, by its number.
    took: BTreeMap<usize, Duration>,
    /// The best validation value so far, larger is better, and whose it is.
    best: Option<(f64, String)>,
}

impl Steps {
    pub fn new(seeds: &[u64]) -> Self {
        Self { seeds: seeds.to_vec(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stage of the `at`-th model of `order` with this seed.
    pub fn stage(&self, seed: u64, order: &[usize], at: usize) -> Stage {
        let before = self.seeds.iter().position(|one| *one == seed).unwrap_or_default();
        let rounds = self.seeds.len().saturating_sub(before + 1);
        let later = order.iter().skip(at + 1).chain((0..rounds).flat_map(|_| order));
        let later: Vec<usize> = later.copied().collect();
        Stage {
            step: before * order.len() + at + 1,
            steps: self.seeds.len() * order.len(),
            later: self.seen().time_of(&later),
        }
    }

    /// Tells, on a terminal, what a model took and reached. `folder`: that of its fit.
    pub fn done(
        &self,
        (model, name): (usize, &str),
        stage: Stage,
        took: Duration,
        (folder, metrics): (&Path, &Metrics),
        screen: &Screen,
    ) {
        let reports = epochs::reports(folder).unwrap_or_default(); // for the eye: a damaged file is found by who needs it
        let valid = reports.iter().filter_map(|epoch| epoch.valid).max_by(f64::total_cmp);
        let mut seen = self.seen();
        seen.took.insert(model, took);
        let mut line = format!("{stage} {name}: {}", short_time(took));
        if !reports.is_empty() {
            line.push_str(&format!(", {} epochs", reports.len()));
        }
        if let Some(valid) = valid {
            // Where lower is better, values are negated for comparison only.
            let shown = |value: f64| if metrics.validate_lower() { -value } else { value };
            let metric = metrics.validate_name();
            line.push_str(&format!(", {metric} {:.4} on validation data", shown(valid)));
            match seen.best.as_ref().filter(|(best, _)| *best >= valid) {
                Some((best, whose)) => {
                    line.push_str(&format!(" (best so far {:.4}, {whose})", shown(*best)));
                }
                None => seen.best = Some((valid, name.to_owned())),
            }
        }
        drop(seen);
        screen.tell(line);
    }
}

impl Seen {
    /// About: a model takes what it took before, and one that was not fitted yet as long as the others on average.
    fn time_of(&self, models: &[usize]) -> Option<Duration> {
        if self.took.is_empty() || models.is_empty() {
            return None;
        }
        let mean = self.took.values().sum::<Duration>() / self.took.len() as u32;
        Some(models.iter().map(|model| self.took.get(model).copied().unwrap_or(mean)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_take_what_they_took_before_or_else_the_mean() {
        let steps = Steps::new(&[1, 2]);
        let order = [4, 0, 7];
        let first = steps.stage(1, &order, 0);
        assert_eq!((first.step, first.steps, first.later), (1, 6, None));
        steps.seen().took.insert(4, Duration::from_secs(10));
        steps.seen().took.insert(0, Duration::from_secs(20));
        // 7 with seed 1, and all three with seed 2: 15 + 10 + 20 + 15.
        let third = steps.stage(1, &order, 1);
        assert_eq!((third.step, third.later), (2, Some(Duration::from_secs(60))));
        let last = steps.stage(2, &order, 2);
        assert_eq!((last.step, last.later), (6, None));
    }
}
