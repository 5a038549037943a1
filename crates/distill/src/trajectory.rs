//! The states of a teacher's training: what HetComp's curriculum (Kang et al., WWW 2023) goes through from easy to hard.
//!
//! While a teacher trains, its ranking for every user is recorded at checkpoints. Some of them become its *states*, each item
//! with the standard deviation of its rank over the checkpoints up to that state ([`Fusion`](crate::Fusion)'s `importance` reads it).
//! [`StateSelection`] says which; [`Recorder`] keeps the checkpoints in memory. A program that keeps them in files uses
//! [`StateSelection`] and [`with_rank_deviations`] alone.

use rankstill_core::{
    Answers, Cases, EpochReport, Error, Interactions, ItemId, Lists, Model, Packed, Plan,
    Ranker as _, Rankings, Result, TopK, Trace, Validate, Watch,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, RangeInclusive};

/// Which checkpoints of a teacher's training become its states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateSelection {
    /// Number of states; the last one is the fitted model.
    pub states: usize,
    /// How they are spaced.
    pub spaced_by: SpacedBy,
    /// Epochs between two checkpoints; 0: whenever the model is validated.
    pub every: usize,
    /// Number of checkpoints, the state's own being the last, over which the deviations of ranks are computed.
    pub neighbours: usize,
}

/// How states are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpacedBy {
    /// State j of n is the first checkpoint that reached j / n of the fitted model's validation value. Without
    /// validation values, as `Epochs`.
    #[default]
    Quality,
    /// State j of n is the checkpoint nearest to j / n of the fitted model's epochs.
    Epochs,
}

/// A moment of training at which the teacher's rankings were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of completed epochs.
    pub epochs: usize,
    /// The validation value, larger is better, where known.
    pub valid: Option<f64>,
}

impl Default for StateSelection {
    fn default() -> Self {
        Self { states: 4, spaced_by: SpacedBy::default(), every: 0, neighbours: 5 }
    }
}

impl StateSelection {
    /// Whether these are the default settings.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When there would be no state or no checkpoint.
    pub fn check(&self) -> Result<()> {
        for (key, value) in [("states", self.states), ("neighbours", self.neighbours)] {
            if value == 0 {
                let problem = "must be at least 1".into();
                return Err(Error::Config { key: key.into(), problem });
            }
        }
        Ok(())
    }

    /// Epochs between two checkpoints of a model with this training plan; 1 for models that do not train by epochs.
    #[must_use]
    pub fn every(&self, plan: Option<&Plan>) -> usize {
        let validated = plan.map_or(1, |plan| plan.validate_every);
        if self.every == 0 { validated } else { self.every }.max(1)
    }

    /// Whether the rankings are to be recorded after this epoch: at regular intervals, at the end, and of the best model so far.
    #[must_use]
    pub fn is_due(&self, plan: Option<&Plan>, report: &EpochReport) -> bool {
        let epochs = report.epoch + 1;
        epochs.is_multiple_of(self.every(plan)) || epochs == report.epochs || report.best
    }

    /// The numbers of the checkpoints that become states, ascending. The last checkpoint is always the last state. Each
    /// is selected at most once, so there may be fewer than [`StateSelection::states`]. None without checkpoints.
    #[must_use]
    pub fn select(&self, checkpoints: &[Checkpoint]) -> Vec<usize> {
        let Some(last) = checkpoints.len().checked_sub(1) else { return Vec::new() };
        let goal = checkpoints[last].valid.unwrap_or(0.0);
        let unknown = checkpoints.iter().all(|checkpoint| checkpoint.valid.is_none());
        let mut selected: Vec<usize> = Vec::new();
        for state in 1..self.states {
            let share = state as f64 / self.states as f64;
            let next = selected.last().map_or(0, |at| at + 1);
            let wanted = match self.spaced_by {
                SpacedBy::Quality if !unknown => (next..last)
                    .find(|&at| checkpoints[at].valid.is_some_and(|valid| valid >= share * goal)),
                SpacedBy::Quality | SpacedBy::Epochs => {
                    let epochs = share * checkpoints[last].epochs as f64;
                    let distance = |at: &usize| (checkpoints[*at].epochs as f64 - epochs).abs();
                    (next..last).min_by(|a, b| distance(a).total_cmp(&distance(b)))
                }
            };
            selected.extend(wanted);
        }
        selected.push(last);
        selected
    }

    /// The checkpoints over which the deviations of the state at checkpoint `at` are computed.
    #[must_use]
    pub fn neighbourhood(&self, at: usize) -> RangeInclusive<usize> {
        (at + 1).saturating_sub(self.neighbours)..=at
    }
}

/// The last of `checkpoints`, each item with the standard deviation of its rank over all of them. An item that a checkpoint
/// does not list has rank `k` there.
///
/// # Errors
/// When the checkpoints answer different numbers of queries.
pub fn with_rank_deviations(checkpoints: &[Answers], k: usize) -> Result<Answers> {
    let Some(last) = checkpoints.last() else { return Ok(Rankings::default().into()) };
    if let Some(odd) = checkpoints.iter().find(|lists| lists.len() != last.len()) {
        let what = "queries of a checkpoint".into();
        return Err(Error::Length { what, expected: last.len(), found: odd.len() });
    }
    let rows: Vec<Vec<f32>> = (0..last.len())
        .into_par_iter()
        .with_min_len(64)
        .map(|row| {
            let mut ranks: Vec<(ItemId, f64)> = checkpoints
                .iter()
                .flat_map(|lists| lists.items(row).iter().enumerate())
                .map(|(rank, &item)| (item, rank as f64))
                .collect();
            ranks.sort_by_key(|(item, _)| *item);
            let deviation = |item: ItemId| {
                let first = ranks.partition_point(|(other, _)| *other < item);
                let found = ranks[first..].iter().take_while(|(other, _)| *other == item);
                let ranks: Vec<f64> = found.map(|(_, rank)| *rank).collect();
                let n = checkpoints.len() as f64;
                let absent = (checkpoints.len() - ranks.len()) as f64;
                let mean = (ranks.iter().sum::<f64>() + absent * k as f64) / n;
                let square = |rank: f64| (rank - mean) * (rank - mean);
                let sum = ranks.iter().map(|&rank| square(rank)).sum::<f64>();
                ((sum + absent * square(k as f64)) / n).sqrt() as f32
            };
            last.items(row).iter().map(|&item| deviation(item)).collect()
        })
        .collect();
    let mut rankings = Rankings::default();
    for row in 0..last.len() {
        rankings.push(last.items(row).iter().copied().zip(last.scores(row).iter().copied()));
    }
    Answers::with_deviations(rankings, rows.into_iter().collect())
}

/// The states of one teacher in memory: for each, the number of completed epochs and the lists of all users.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory(Vec<(usize, Answers)>);

impl Trajectory {
    /// The states' rankings for the distinct queries of `cases`: each query gets its user's lists; one without a user, or with a
    /// user who was not there when the states were recorded, gets none.
    ///
    /// # Errors
    /// When there is no state.
    pub fn trace(&self, teacher: &str, cases: &Cases) -> Result<Trace> {
        let queries = cases.distinct_queries();
        let state = |(epochs, lists): &(usize, Answers)| {
            let (mut rankings, mut deviations) = (Rankings::default(), Lists::default());
            for query in &queries {
                match query.user.map(|user| user as usize).filter(|&user| user < lists.len()) {
                    Some(user) => {
                        let scores = lists.scores(user).iter().copied();
                        rankings.push(lists.items(user).iter().copied().zip(scores));
                        deviations.push(lists.deviations(user).iter().copied());
                    }
                    None => {
                        rankings.push([]);
                        deviations.push([]);
                    }
                }
            }
            Ok((*epochs, Answers::with_deviations(rankings, deviations)?))
        };
        Trace::new(teacher, self.0.iter().map(state).collect::<Result<_>>()?)
    }
}

/// Watches a teacher's training and keeps its rankings in memory: about 8 bytes for each checkpoint, user and list position.
pub struct Recorder<'a> {
    selection: StateSelection,
    k: usize,
    plan: Option<Plan>,
    users: Cases,
    validate: Option<&'a Validate<'a>>,
    checkpoints: Vec<(Checkpoint, Answers)>,
    /// How many of them were recorded up to the best model so far.
    best: Option<usize>,
    inner: Option<&'a mut dyn Watch>,
}

impl<'a> Recorder<'a> {
    /// Records lists of `k` items for every user of `train`. `plan` is that of the model; `validate` computes the validation
    /// value of checkpoints that the training loop does not validate itself; `inner` watches as well.
    #[must_use]
    pub fn new(
        selection: StateSelection,
        k: usize,
        plan: Option<&Plan>,
        train: &Interactions,
        validate: Option<&'a Validate<'a>>,
        inner: Option<&'a mut dyn Watch>,
    ) -> Self {
        let (plan, users) = (plan.cloned(), Cases::per_user(train));
        Self { selection, k, plan, users, validate, checkpoints: Vec::new(), best: None, inner }
    }

    /// The states. `model` is the fitted model: the only state of one that was not trained by epochs.
    ///
    /// # Errors
    /// When the model cannot rank.
    pub fn finish(mut self, model: &dyn Model) -> Result<Trajectory> {
        // Like the model that is kept: the best one where training was validated, else the last.
        self.checkpoints.truncate(self.best.unwrap_or(usize::MAX));
        if self.checkpoints.is_empty() {
            self.record(Checkpoint { epochs: 0, valid: None }, model)?;
        }
        let (checkpoints, lists): (Vec<Checkpoint>, Vec<Answers>) =
            self.checkpoints.into_iter().unzip();
        let state = |at: usize| {
            let near = &lists[self.selection.neighbourhood(at)];
            Ok((checkpoints[at].epochs, with_rank_deviations(near, self.k)?))
        };
        let states = self.selection.select(&checkpoints).into_iter().map(state);
        Ok(Trajectory(states.collect::<Result<_>>()?))
    }

    fn record(&mut self, checkpoint: Checkpoint, model: &dyn Model) -> Result<()> {
        let queries = self.users.distinct_queries();
        let lists = Packed::new(model).rank(&queries, &TopK::unseen(self.k))?;
        self.checkpoints.push((checkpoint, lists.into()));
        Ok(())
    }
}

impl Watch for Recorder<'_> {
    fn epoch(&mut self, report: &EpochReport, model: &dyn Model) -> Result<ControlFlow<()>> {
        if self.selection.is_due(self.plan.as_ref(), report) {
            let valid = match (report.valid, self.validate) {
                (None, Some(validate)) if self.selection.spaced_by == SpacedBy::Quality => {
                    Some(validate(model)?)
                }
                (known, _) => known,
            };
            self.record(Checkpoint { epochs: report.epoch + 1, valid }, model)?;
        }
        if report.best {
            self.best = Some(self.checkpoints.len());
        }
        match &mut self.inner {
            Some(inner) => inner.epoch(report, model),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    fn step(&mut self, epoch: usize, done: usize, total: usize) -> bool {
        self.inner.as_mut().is_some_and(|inner| inner.step(epoch, done, total))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn checkpoints(valid: &[f64]) -> Vec<Checkpoint> {
        let checkpoint = |(at, &valid)| Checkpoint { epochs: 10 * (at + 1), valid: Some(valid) };
        valid.iter().enumerate().map(checkpoint).collect()
    }

    #[test]
    fn states_are_the_first_checkpoints_at_a_share_of_the_last_value_or_evenly_spaced() {
        let by_quality = StateSelection::default();
        let rising = checkpoints(&[0.01, 0.03, 0.04, 0.06, 0.09, 0.1]);
        assert_eq!(by_quality.select(&rising), [1, 3, 4, 5]);
        // Good from the start: what comes next, in order.
        assert_eq!(by_quality.select(&checkpoints(&[0.09, 0.08, 0.09, 0.1, 0.1])), [0, 1, 2, 4]);
        assert_eq!(by_quality.select(&checkpoints(&[0.09, 0.1])), [0, 1], "fewer than wanted");
        let by_epochs = StateSelection { spaced_by: SpacedBy::Epochs, ..by_quality.clone() };
        assert_eq!(by_epochs.select(&rising), [0, 2, 3, 5]);
        assert_eq!(by_epochs.select(&checkpoints(&[0.5])), [0]);
        let unknown: Vec<Checkpoint> =
            rising.iter().map(|checkpoint| Checkpoint { valid: None, ..*checkpoint }).collect();
        assert_eq!(by_quality.select(&unknown), [0, 2, 3, 5], "without validation values");
        assert!(by_quality.select(&[]).is_empty());
    }

    #[test]
    fn deviations_by_hand() {
        let lists = |list: &[ItemId]| {
            let mut lists = Rankings::default();
            lists.push(list.iter().map(|&item| (item, -(item as f32))));
            Answers::from(lists)
        };
        // Item 7: ranks 2 (not listed), 1, 0. Item 3: 0, 0, 1.
        let near = [lists(&[3, 5]), lists(&[3, 7]), lists(&[7, 3])];
        let found = with_rank_deviations(&near, 2).unwrap();
        assert_eq!((found.items(0), found.scores(0)), (&[7, 3][..], &[-7.0, -3.0][..]));
        let by_hand = [(2.0f32 / 3.0).sqrt(), (2.0f32 / 9.0).sqrt()];
        for (found, by_hand) in found.deviations(0).iter().zip(by_hand) {
            assert!((found - by_hand).abs() < 1e-6);
        }
        assert_eq!(with_rank_deviations(&[lists(&[4])], 9).unwrap().deviations(0), [0.0]);
        let two = Answers::from({
            let mut two = Rankings::default();
            two.push([(1, 1.0)]);
            two.push([]);
            two
        });
        assert!(with_rank_deviations(&[two, lists(&[4])], 9).is_err());
    }
}
