//! The training loop: shuffle, step, validate, keep the best model, checkpoint, stop early.

mod co_training;
mod order;

pub use co_training::CoTraining;

use crate::plan::keeps_start;
use crate::{
    Batch, Cases, EpochReport, Error, Fit, Interactions, Learner, Lists, Model, Objective, Plan,
    Recipe, Result, Tensors, Trainable, Watch,
};
use order::EpochOrder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

impl<T: Trainable> Recipe for T {
    fn fit(&self, log: &Arc<Interactions>, fit: &mut Fit<'_>) -> Result<Box<dyn Model>> {
        train(self, log, &self.cases(log), self.objective(log), fit)
    }

    fn trainable(&self) -> Option<&dyn Trainable> {
        Some(self)
    }
}

/// Trains `recipe` on `cases` with `objective`, which may be the recipe's own or a distiller's.
///
/// The result depends only on the data, the recipe and the seed: the order of an epoch is keyed by (seed,
/// epoch), and every draw by (seed, purpose, epoch, case), plus the batch if a case can occur more than once
/// per epoch. A run that is stopped at any step and resumed therefore gives the same bytes.
///
/// # Errors
/// When the loss becomes NaN or infinite, the watcher stops the run, or a checkpoint cannot be written.
pub fn train<T: Trainable + ?Sized>(
    recipe: &T,
    train: &Arc<Interactions>,
    cases: &Cases,
    mut objective: Box<dyn Objective>,
    fit: &mut Fit<'_>,
) -> Result<Box<dyn Model>> {
    let plan = recipe.plan().clone();
    check(&plan, cases)?;
    let resumed = match &fit.checkpoints {
        Some(keep) => (keep.load)()?,
        None => None,
    };
    let (mut at, mut learner, mut best) = match resumed {
        None => (Position::default(), recipe.init(train, fit.seed)?, None),
        Some((position, state)) => {
            let at = Position::parse(&position, fit.seed, &plan)?;
            objective.restore(&state.with_prefix("objective."))?;
            let best = state.with_prefix("best.");
            let best = (at.best.is_some()).then_some(best);
            (at, recipe.resume(train, &state.with_prefix("learner."))?, best)
        }
    };
    if objective.vector_objective().is_some() && learner.factored().is_none() {
        let problem = "compares vectors, but this student's score is not a dot product: choose a factored student, or a \
            method that learns from rankings";
        return Err(Error::Config { key: "distill".into(), problem: problem.into() });
    }
    if let Some(note) = objective.note() {
        fit.watch.note(&note);
    }
    at.seed = fit.seed;
    let fresh = at.epoch == 0 && at.row == 0;
    if let Some(validate) = fit.validate
        && fresh
        && plan.patience > 0
        && recipe.begins_fitted()
    {
        learner.settle();
        at.start = Some(validate(&*learner)?);
    }
    let order = EpochOrder::new(cases, plan.sampling);
    let mut saved = Instant::now();

    while at.epoch < plan.epochs && !at.stopped {
        let began = Instant::now();
        if at.row == 0 {
            learner.settle();
            objective.refresh(at.epoch, &*learner, cases)?;
        }
        let pass = Pass { cases, plan: &plan, order: &order, seed: fit.seed, epoch: at.epoch };
        at.loss =
            pass.take(&mut *learner, &*objective, (at.row, at.loss), &mut |learner, done| {
                let (row, loss) = done;
                let stop = fit.watch.step(at.epoch, row, cases.len()) || fit.stop.asked();
                let due =
                    fit.checkpoints.as_ref().is_some_and(|keep| saved.elapsed() >= keep.every);
                if stop || due {
                    let here = Position { row, loss, ..at.clone() };
                    save(fit, &here, learner, &*objective, best.as_ref())?;
                    saved = Instant::now();
                }
                if stop { Err(Error::Interrupted) } else { Ok(()) }
            })?;
        let seconds = began.elapsed().as_secs_f64();
        let loss = at.loss / cases.len() as f64;
        if !loss.is_finite() {
            return Err(Error::Diverged { epoch: at.epoch, loss });
        }
        learner.settle();

        let look =
            (at.epoch + 1).is_multiple_of(plan.validate_every) || at.epoch + 1 == plan.epochs;
        let valid = match fit.validate {
            Some(validate) if look && plan.patience > 0 => Some(validate(&*learner)?),
            _ => None,
        };
        let is_best = valid.is_some_and(|value| at.best.is_none_or(|best| value > best));
        if is_best {
            at.best = valid;
            at.stale = 0;
            best = Some(learner.tensors());
        } else if valid.is_some() {
            at.stale += 1;
            at.stopped = at.stale >= plan.patience;
        }
        let report = EpochReport {
            epoch: at.epoch,
            epochs: plan.epochs,
            loss,
            valid,
            best: is_best,
            start: at.start,
            seconds,
        };
        (at.epoch, at.row, at.loss) = (at.epoch + 1, 0, 0.0);
        let flow = fit.watch.epoch(&report, &*learner)?;
        let over = at.stopped || at.epoch == plan.epochs;
        let due = fit.checkpoints.as_ref().is_some_and(|keep| saved.elapsed() >= keep.every);
        if due || over || flow.is_break() {
            save(fit, &at, &mut *learner, &*objective, best.as_ref())?;
            saved = Instant::now();
        }
        if flow.is_break() && !over {
            return Err(Error::Interrupted);
        }
    }
    if keeps_start(at.start, at.best) {
        // A function of log and seed, which no checkpoint has to carry.
        return Ok(recipe.init(train, fit.seed)?);
    }
    match best {
        Some(tensors) => recipe.load(&tensors),
        None => Ok(learner),
    }
}

/// One epoch.
struct Pass<'a> {
    cases: &'a Cases,
    plan: &'a Plan,
    order: &'a EpochOrder,
    seed: u64,
    epoch: usize,
}

/// Called between two steps with the learner, the number of cases done and their summed loss.
type After<'a> = dyn FnMut(&mut dyn Learner, (usize, f64)) -> Result<()> + 'a;

impl Pass<'_> {
    /// Takes the epoch's steps, after the cases and the summed loss that are already `done`; returns the
    /// summed loss of all.
    fn take(
        &self,
        learner: &mut dyn Learner,
        objective: &dyn Objective,
        done: (usize, f64),
        after: &mut After<'_>,
    ) -> Result<f64> {
        let Self { cases, order, seed, epoch, .. } = *self;
        let batch_size = self.plan.batch_size;
        let fused = order.visits_each_once().then(|| learner.epoch(epoch, seed, objective));
        if let Some(loss) = fused.flatten() {
            return Ok(loss);
        }
        let rows = order.epoch(seed, epoch);
        let drawn = |from: usize| from..(from + batch_size).min(rows.len());
        let once = objective.once_per_query().then(|| {
            let batches = (0..rows.len()).step_by(batch_size);
            batches.map(|from| first_of_each_query(cases, &rows[drawn(from)])).collect()
        });
        let once: Option<Lists<u32>> = once;
        let batch = |from: usize| {
            let rows = match &once {
                Some(once) if from < rows.len() => once.row(from / batch_size),
                _ => &rows[drawn(from)],
            };
            Batch::new(cases, rows, epoch, order.batch_seed(seed, from))
        };
        let ((mut row, mut loss), mut slate) = (done, None);
        while row < rows.len() {
            let now = batch(row);
            let end = drawn(row).end;
            let next = batch(end);
            let this = slate.take().unwrap_or_else(|| objective.slate(&now));
            // The next slate does not depend on this step, so it is drawn during it.
            let ahead = || (!next.is_empty()).then(|| objective.slate(&next));
            let (stepped, ahead) = rayon::join(|| learner.step(&now, &this, objective), ahead);
            (row, loss, slate) = (end, loss + stepped, ahead);
            after(learner, (row, loss))?;
        }
        Ok(loss)
    }
}

/// The first row of each query.
fn first_of_each_query(cases: &Cases, rows: &[u32]) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    rows.iter().copied().filter(|&row| seen.insert(cases.query_of(row as usize))).collect()
}

/// The progress of a run between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    seed: u64,
    epoch: usize,
    /// Cases done in this epoch.
    row: usize,
    /// Their summed loss.
    loss: f64,
    best: Option<f64>,
    /// Of what training began with.
    #[serde(default)]
    start: Option<f64>,
    /// Validations since the best one.
    stale: usize,
    stopped: bool,
}

impl Position {
    fn parse(text: &str, seed: u64, plan: &Plan) -> Result<Self> {
        let bad = |problem: String| Error::Checkpoint { problem };
        let at: Self = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if at.seed != seed {
            return Err(bad(format!("was made with seed {}, this run has {seed}", at.seed)));
        }
        if at.epoch > plan.epochs {
            return Err(bad(format!("is at epoch {} of {}", at.epoch, plan.epochs)));
        }
        Ok(at)
    }
}

fn save(
    fit: &Fit<'_>,
    at: &Position,
    learner: &mut dyn Learner,
    objective: &dyn Objective,
    best: Option<&Tensors>,
) -> Result<()> {
    let Some(keep) = &fit.checkpoints else { return Ok(()) };
    learner.settle();
    let mut state = Tensors::default();
    state.insert_all("learner.", learner.state());
    state.insert_all("objective.", objective.state());
    if let Some(best) = best {
        state.insert_all("best.", best.clone());
    }
    let position = serde_json::to_string(at)
        .map_err(|error| Error::Checkpoint { problem: error.to_string() })?;
    (keep.save)(&position, &state)
}

fn check(plan: &Plan, cases: &Cases) -> Result<()> {
    for (key, value) in
        [("train.batch_size", plan.batch_size), ("train.validate_every", plan.validate_every)]
    {
        if value == 0 {
            return Err(Error::Config { key: key.into(), problem: "must be at least 1".into() });
        }
    }
    if u32::try_from(cases.len()).is_err() {
        return Err(Error::Data {
            problem: format!(
                "{} training cases; at most {} can be trained on",
                cases.len(),
                u32::MAX
            ),
        });
    }
    if cases.is_empty() {
        return Err(Error::Data {
            problem: "no training case is left; loosen the filters or the split".into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
