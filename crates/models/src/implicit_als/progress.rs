//! A fit in progress: validation, the best model, the watcher, the checkpoint. It does what the training loop
//! does for models that learn by gradient, for a model with iterations instead of steps.

use super::ImplicitAls;
use super::model::AlsModel;
use rankstill_core::{
    EpochReport, Error, Fit, Interactions, Model, ModelConfig, Result, Tensors, Watch,
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The state of a fit between two iterations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    seed: u64,
    /// Completed iterations.
    pub iteration: usize,
    best: Option<f64>,
    /// Validations since the best.
    stale: usize,
    stopped: bool,
}

/// The model with the bookkeeping of its fit.
pub(super) struct Fitting<'a> {
    recipe: &'a ImplicitAls,
    pub model: AlsModel,
    pub progress: Progress,
    best: Option<Tensors>,
    saved: Instant,
}

impl<'a> Fitting<'a> {
    /// From the checkpoint, if there is one.
    pub fn begin(recipe: &'a ImplicitAls, train: &Interactions, fit: &Fit<'_>) -> Result<Self> {
        let kept = match &fit.checkpoints {
            Some(keep) => (keep.load)()?,
            None => None,
        };
        let (model, progress, best) = match kept {
            None => {
                let progress = Progress { seed: fit.seed, ..Progress::default() };
                (AlsModel::random(recipe, train, fit.seed), progress, None)
            }
            Some((position, state)) => {
                let progress = Progress::parse(&position, fit.seed, recipe.iterations)?;
                let model = AlsModel::loaded(recipe, &state.with_prefix("model."))?;
                let expected = AlsModel::random(recipe, train, fit.seed);
                for (name, kept, expected) in [
                    ("model.users", model.users.len(), expected.users.len()),
                    ("model.items", model.items.len(), expected.items.len()),
                ] {
                    if kept != expected {
                        let problem = "has not as many rows as the log".to_owned();
                        return Err(Error::Tensor { name: name.into(), problem });
                    }
                }
                let best = progress.best.is_some().then(|| state.with_prefix("best."));
                (model, progress, best)
            }
        };
        Ok(Self { recipe, model, progress, best, saved: Instant::now() })
    }

    /// Whether the fit is complete.
    pub fn is_over(&self) -> bool {
        self.progress.stopped || self.progress.iteration >= self.recipe.iterations
    }

    /// After an iteration: validates, reports to the watcher, and keeps the best model and the checkpoint.
    pub fn finish_iteration(&mut self, loss: f64, seconds: f64, fit: &mut Fit<'_>) -> Result<()> {
        let Self { recipe, progress, .. } = self;
        let epoch = progress.iteration;
        progress.iteration += 1;
        let due = progress.iteration.is_multiple_of(recipe.validate_every)
            || progress.iteration == recipe.iterations;
        let valid = match fit.validate {
            Some(validate) if due && recipe.patience > 0 => Some(validate(&self.model)?),
            _ => None,
        };
        let best = valid.is_some_and(|value| progress.best.is_none_or(|best| value > best));
        if best {
            (progress.best, progress.stale) = (valid, 0);
            self.best = Some(self.model.tensors());
        } else if valid.is_some() {
            progress.stale += 1;
            progress.stopped = progress.stale >= recipe.patience;
        }
        let report = EpochReport {
            epoch,
            epochs: recipe.iterations,
            loss,
            valid,
            best,
            start: None,
            seconds,
        };
        let rows = self.model.users.len() / self.model.stride;
        let stop =
            fit.watch.epoch(&report, &self.model)?.is_break() || fit.watch.step(epoch, rows, rows);
        let over = self.is_over();
        let late = fit.checkpoints.as_ref().is_some_and(|keep| self.saved.elapsed() >= keep.every);
        if late || over || stop {
            self.save(fit)?;
        }
        if stop && !over { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The best model, or the last.
    pub fn end(self) -> Result<Box<dyn Model>> {
        match self.best {
            Some(tensors) => self.recipe.load(&tensors),
            None => Ok(Box::new(self.model)),
        }
    }

    fn save(&mut self, fit: &Fit<'_>) -> Result<()> {
        let Some(keep) = &fit.checkpoints else { return Ok(()) };
        let mut state = Tensors::default();
        state.insert_all("model.", self.model.tensors());
        if let Some(best) = &self.best {
            state.insert_all("best.", best.clone());
        }
        let position = serde_json::to_string(&self.progress)
            .map_err(|error| Error::Checkpoint { problem: error.to_string() })?;
        self.saved = Instant::now();
        (keep.save)(&position, &state)
    }
}

impl Progress {
    fn parse(text: &str, seed: u64, iterations: usize) -> Result<Self> {
        let bad = |problem: String| Error::Checkpoint { problem };
        let at: Self = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if at.seed != seed {
            return Err(bad(format!("was made with seed {}, this run has {seed}", at.seed)));
        }
        if at.iteration > iterations {
            return Err(bad(format!("is at iteration {} of {iterations}", at.iteration)));
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing;
    use rankstill_core::{Checkpointing, Query, Recipe};
    use std::cell::RefCell;
    use std::ops::ControlFlow;
    use std::time::Duration;

    struct StopAfter(Option<usize>, Vec<usize>);
    impl Watch for StopAfter {
        fn epoch(&mut self, report: &EpochReport, _model: &dyn Model) -> Result<ControlFlow<()>> {
            self.1.push(report.epoch);
            let stop = self.0 == Some(self.1.len());
            Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }
    }

    /// Fits in several processes, each but the last interrupted after `stops` iterations; the model, and the
    /// iterations run.
    fn interrupted_at(recipe: &ImplicitAls, stops: &[usize]) -> (Tensors, Vec<usize>) {
        let train = testing::blocks();
        let kept: RefCell<Option<(String, Tensors)>> = RefCell::new(None);
        let save = |position: &str, state: &Tensors| {
            *kept.borrow_mut() = Some((position.to_owned(), state.clone()));
            Ok(())
        };
        let load = || Ok(kept.borrow().clone());
        // A value that is best midway: how near user 0's score of item 0 is to one that it passes.
        let validate = |model: &dyn Model| {
            let mut scores = vec![0.0; model.n_items()];
            let query = Query { user: Some(0), history: train.history(0), hidden: &[] };
            model.score(&[query], &mut scores);
            Ok(-(f64::from(scores[0]) - 0.3).abs())
        };
        let mut run = Vec::new();
        for stop in stops.iter().map(|&stop| Some(stop)).chain([None]) {
            let mut watch = StopAfter(stop, Vec::new());
            let checkpoints = Checkpointing { save: &save, load: &load, every: Duration::MAX };
            let fitted = recipe.fit(
                &train,
                &mut Fit {
                    validate: Some(&validate),
                    watch: Some(&mut watch),
                    checkpoints: Some(checkpoints),
                    ..Fit::seeded(1)
                },
            );
            run.extend(watch.1);
            match fitted {
                Ok(model) => return (model.tensors(), run),
                Err(error) => {
                    assert!(stop.is_some() && matches!(error, Error::Interrupted), "{error}")
                }
            }
        }
        unreachable!("the last process is not interrupted")
    }

    #[test]
    fn an_interrupted_fit_ends_with_the_same_bytes_and_stops_as_early() {
        let recipe = ImplicitAls { dim: 5, iterations: 9, patience: 3, ..ImplicitAls::default() };
        let (whole, run) = interrupted_at(&recipe, &[]);
        assert!(run.len() > 3, "{run:?}");
        for stops in [vec![1], vec![2, 1], vec![1, 1, 1]] {
            let (tensors, parts) = interrupted_at(&recipe, &stops);
            assert!(tensors == whole, "{stops:?}");
            assert_eq!(parts, run, "nothing is done twice");
        }
        let all = ImplicitAls { patience: 0, ..recipe };
        assert_eq!(interrupted_at(&all, &[4]).1, (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn another_runs_checkpoint_is_refused() {
        let of = |seed, iteration| {
            let at = Progress { seed, iteration, ..Progress::default() };
            Progress::parse(&serde_json::to_string(&at).unwrap(), 7, 5).map_err(|e| e.to_string())
        };
        assert!(of(7, 5).is_ok());
        assert!(of(8, 1).unwrap_err().contains("seed 8"));
        assert!(of(7, 6).unwrap_err().contains("iteration 6 of 5"));
    }
}
