//! How a model is fitted: for how long, on which cases, and who validates, watches and checkpoints it.

use crate::{Model, Result, Stop, Tensors};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Duration;

/// The schedule of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Maximum number of epochs. An epoch takes as many cases as there are.
    pub epochs: usize,
    /// Which cases an epoch visits.
    pub sampling: Sampling,
    /// Cases per step.
    pub batch_size: usize,
    /// Epochs between two validations.
    pub validate_every: usize,
    /// Stop after this many validations in a row without a new best value, and return the best model; 0 = train all
    /// epochs and return the last model.
    pub patience: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            epochs: 100,
            sampling: Sampling::Cases,
            batch_size: 2048,
            validate_every: 5,
            patience: 5,
        }
    }
}

/// Which cases an epoch visits. This decides whose loss is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each case once: a user's weight is their number of cases.
    #[default]
    Cases,
    /// As many draws as there are cases, with replacement: first a user, then one of their cases, both
    /// uniformly. All users weigh the same, as they do in metrics averaged over users. The public code of
    /// NGCF (Wang et al., SIGIR 2019) and LightGCN (He et al., SIGIR 2020) samples this way.
    /// [`Learner::epoch`](crate::Learner::epoch), which visits each case once, is not used then.
    Users,
}

/// Rates a model during training; larger is better.
pub type Validate<'a> = dyn Fn(&dyn Model) -> Result<f64> + 'a;

/// Everything a fit needs besides the data and the recipe.
///
/// ```
/// use rankstill_core::{Fit, Model, Result};
///
/// let plain = Fit::seeded(1);
/// assert!(plain.validate.is_none() && plain.checkpoints.is_none());
///
/// let smaller_is_better = |model: &dyn Model| -> Result<f64> { Ok(-(model.n_parameters() as f64)) };
/// let validated = Fit { validate: Some(&smaller_is_better), ..Fit::seeded(1) };
/// assert_eq!(validated.seed, 1);
/// ```
pub struct Fit<'a> {
    /// The same seed gives the same bytes.
    pub seed: u64,
    /// Validation, for early stopping; without it, every epoch of the plan is run.
    pub validate: Option<&'a Validate<'a>>,
    /// Sees every epoch and may stop the run.
    pub watch: Option<&'a mut dyn Watch>,
    /// Where the state is kept, so that an interrupted run can be resumed.
    pub checkpoints: Option<Checkpointing<'a>>,
    /// Ends the run with [`Error::Interrupted`](crate::Error::Interrupted). Models that are counted or solved, which report to no
    /// watcher, look at it between the pieces of their work.
    pub stop: Stop,
}

impl Fit<'_> {
    /// A fit with this seed that is neither validated, watched nor checkpointed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, validate: None, watch: None, checkpoints: None, stop: Stop::default() }
    }
}

/// Observes a training run.
pub trait Watch {
    /// Called before the first step, where there is something to know of how the loss is computed
    /// ([`Objective::note`](crate::Objective::note)).
    fn note(&mut self, _note: &str) {}

    /// Called after every epoch. `Break` ends the run with [`Error::Interrupted`](crate::Error::Interrupted)
    /// after its state has been checkpointed.
    ///
    /// # Errors
    /// An error of the watcher ends the run.
    fn epoch(&mut self, _report: &EpochReport, _model: &dyn Model) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// Called between two steps, after `done` of the epoch's `total` cases. Returning true stops the run.
    fn step(&mut self, _epoch: usize, _done: usize, _total: usize) -> bool {
        false
    }
}

/// `None` watches nothing.
impl<W: Watch + ?Sized> Watch for Option<&mut W> {
    fn note(&mut self, note: &str) {
        if let Some(watch) = self {
            watch.note(note);
        }
    }

    fn epoch(&mut self, report: &EpochReport, model: &dyn Model) -> Result<ControlFlow<()>> {
        self.as_mut().map_or(Ok(ControlFlow::Continue(())), |watch| watch.epoch(report, model))
    }

    fn step(&mut self, epoch: usize, done: usize, total: usize) -> bool {
        self.as_mut().is_some_and(|watch| watch.step(epoch, done, total))
    }
}

/// The result of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// 0-based.
    pub epoch: usize,
    /// Maximum number of epochs.
    pub epochs: usize,
    /// Mean training loss per case.
    pub loss: f64,
    /// The validation value, if this epoch was validated.
    pub valid: Option<f64>,
    /// Whether that value is the best so far, of those after epochs.
    pub best: bool,
    /// The validation value of what training began with, where that [is good already](crate::Trainable::begins_fitted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// Training time without validation.
    pub seconds: f64,
}

/// Whether what training began with is kept, and not the best epoch: by its validation value and that epoch's, where they were looked at.
#[must_use]
pub fn keeps_start(start: Option<f64>, best: Option<f64>) -> bool {
    start.is_some_and(|start| best.is_none_or(|best| start >= best))
}

/// Where a run's state is kept between two steps.
pub struct Checkpointing<'a> {
    /// Writes a state so that it replaces the last one completely or not at all.
    pub save: &'a dyn Fn(&str, &Tensors) -> Result<()>,
    /// Reads the last state that was written.
    pub load: &'a dyn Fn() -> Result<Option<(String, Tensors)>>,
    /// Minimum time between two states.
    pub every: Duration,
}
