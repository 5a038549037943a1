//! The one training loop: shuffle, step, validate, keep the best, checkpoint, stop.

mod co_training;
mod order;

pub use co_training::CoTraining;

use crate::{
    Batch, Cases, EpochReport, Error, Fit, Interactions, Learner, Lists, Model, Objective, Plan,
    Recipe, Result, Tensors, Trainable, Watch,
};
use order::Order;
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

/// Trains `recipe` on `cases` by `objective`, which may be its own or a distiller's.
///
/// The result depends on the data, the recipe and the seed alone: the order of an epoch is keyed by (seed, epoch), every
/// draw by (seed, purpose, epoch, case), and where a case may come again within an epoch by its batch besides. So a run that
/// was stopped at any step and resumed gives the same bytes.
///
/// # Errors
/// When the loss is no number, the watcher stops the run, or a checkpoint cannot be written.
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
        let problem = "compares vectors, and this student's score is no product of two: take one that is factored, or a \
            method that learns from rankings";
        return Err(Error::Config { key: "distill".into(), problem: problem.into() });
    }
    at.seed = fit.seed;
    let order = Order::new(cases, plan.sampling);
    let mut saved = Instant::now();

    while at.epoch < plan.epochs && !at.stopped {
        if at.row == 0 {
            learner.settle();
            objective.refresh(at.epoch, &*learner, cases)?;
        }
        let began = Instant::now();
        let pass = Pass { cases, plan: &plan, order: &order, seed: fit.seed, epoch: at.epoch };
        at.loss =
            pass.take(&mut *learner, &*objective, (at.row, at.loss), &mut |learner, done| {
                let (row, loss) = done;
                let stop = fit.watch.step(at.epoch, row, cases.len());
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
    match best {
        Some(tensors) => recipe.load(&tensors),
        None => Ok(learner),
    }
}

/// One pass over the cases.
struct Pass<'a> {
    cases: &'a Cases,
    plan: &'a Plan,
    order: &'a Order,
    seed: u64,
    epoch: usize,
}

/// Sees the learner between two steps, with the cases that are done and their summed loss.
type After<'a> = dyn FnMut(&mut dyn Learner, (usize, f64)) -> Result<()> + 'a;

impl Pass<'_> {
    /// Takes its steps from where `done` cases have come to so much loss; returns the summed loss of all.
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
            // What the next step scores does not depend on this step: one is drawn while the other is taken.
            let ahead = || (!next.is_empty()).then(|| objective.slate(&next));
            let (stepped, ahead) = rayon::join(|| learner.step(&now, &this, objective), ahead);
            (row, loss, slate) = (end, loss + stepped, ahead);
            after(learner, (row, loss))?;
        }
        Ok(loss)
    }
}

/// Of rows that ask the same query, the first.
fn first_of_each_query(cases: &Cases, rows: &[u32]) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    rows.iter().copied().filter(|&row| seen.insert(cases.query_of(row as usize))).collect()
}

/// Where a run stands between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    seed: u64,
    epoch: usize,
    /// Cases of this epoch that are done.
    row: usize,
    /// Their summed loss.
    loss: f64,
    best: Option<f64>,
    /// Looks since the best.
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Checkpointing;
    use crate::{Grad, ModelConfig, Query, Row, Sampling, Scorer, Scores, Slate};
    use std::cell::RefCell;
    use std::sync::Mutex;
    use std::time::Duration;

    /// One number that moves by what each case adds: enough to see every step and its order.
    #[derive(Clone, Debug, PartialEq)]
    struct Counter(f32);

    #[derive(Serialize)]
    struct Count(Plan);

    struct AddsIndex;

    impl Scorer for Counter {
        fn n_items(&self) -> usize {
            1
        }
        fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
            out[..queries.len()].fill(self.0);
        }
    }

    impl Model for Counter {
        fn tensors(&self) -> Tensors {
            Tensors::from_iter([("number", vec![self.0].into())])
        }
        fn n_parameters(&self) -> usize {
            1
        }
    }

    impl Learner for Counter {
        fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
            let mut loss = 0.0;
            for at in 0..batch.len() {
                let row = Row { batch, slate, at };
                let scores = Scores { listed: &[], probes: &[], log_complement: self.0 };
                loss += f64::from(objective.loss(
                    row,
                    scores,
                    Grad { listed: &mut [], log_complement: &mut 0.0 },
                ));
            }
            self.0 = self.0 * 0.99 + loss as f32;
            loss
        }
        fn state(&self) -> Tensors {
            self.tensors()
        }
    }

    impl Objective for AddsIndex {
        fn slate(&self, _batch: &Batch<'_>) -> Slate {
            Slate::All
        }
        fn loss(&self, row: Row<'_>, scores: Scores<'_>, _grad: Grad<'_>) -> f32 {
            let drawn = row.batch.rng(row.at, 7).uniform();
            drawn + row.index() as f32 * 1e-3 + scores.log_complement * 1e-3
        }
    }

    impl Trainable for Count {
        fn plan(&self) -> &Plan {
            &self.0
        }
        fn cases(&self, train: &Interactions) -> Cases {
            Cases::each_interaction(train)
        }
        fn objective(&self, _train: &Interactions) -> Box<dyn Objective> {
            Box::new(AddsIndex)
        }
        fn init(&self, _train: &Arc<Interactions>, _seed: u64) -> Result<Box<dyn Learner>> {
            Ok(Box::new(Counter(0.0)))
        }
        fn resume(&self, _: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
            Ok(Box::new(Counter(state.f32s("number", 1)?[0])))
        }
    }

    impl ModelConfig for Count {
        fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
            Ok(Box::new(Counter(tensors.f32s("number", 1)?[0])))
        }
        fn memory(&self, _: usize, _: usize, _: usize) -> u64 {
            4
        }
    }

    struct StopAfter(usize);
    impl Watch for StopAfter {
        fn step(&mut self, _epoch: usize, _done: usize, _total: usize) -> bool {
            self.0 -= 1;
            self.0 == 0
        }
    }

    fn log() -> Arc<Interactions> {
        let items = Lists::from_iter((0..10).map(|_| vec![0; 5]));
        Arc::new(Interactions::new(1, items, None, None).unwrap())
    }

    fn fit(recipe: &Count, validate: Option<&crate::Validate<'_>>) -> f32 {
        let mut fit = Fit { validate, ..Fit::seeded(5) };
        let model = crate::Recipe::fit(recipe, &log(), &mut fit).unwrap();
        model.tensors().f32s("number", 1).unwrap()[0]
    }

    #[test]
    fn a_run_stopped_after_any_step_and_resumed_ends_in_the_same_bits() {
        for sampling in [Sampling::Cases, Sampling::Users] {
            stopped_and_resumed(sampling);
        }
    }

    fn stopped_and_resumed(sampling: Sampling) {
        let plan = Plan { epochs: 3, sampling, batch_size: 8, validate_every: 1, patience: 1 };
        let recipe = Count(plan);
        let whole = fit(&recipe, None);
        for stop in 1..=21 {
            let kept = RefCell::new(None);
            let save = |text: &str, tensors: &Tensors| {
                *kept.borrow_mut() = Some((text.to_owned(), tensors.clone()));
                Ok(())
            };
            let load = || Ok(kept.borrow().clone());
            let run = |stop: Option<usize>| {
                let mut watch = stop.map(StopAfter);
                let watch = watch.as_mut().map(|watch| watch as &mut dyn Watch);
                let every = Duration::from_secs(999);
                let checkpoints = Some(Checkpointing { save: &save, load: &load, every });
                let mut fit = Fit { watch, checkpoints, ..Fit::seeded(5) };
                crate::Recipe::fit(&recipe, &log(), &mut fit)
            };
            assert!(matches!(run(Some(stop)), Err(Error::Interrupted)), "after {stop}");
            let resumed = run(None).unwrap().tensors();
            assert_eq!(resumed.f32s("number", 1).unwrap()[0].to_bits(), whole.to_bits(), "{stop}");
        }
    }

    #[test]
    fn a_case_that_comes_again_draws_afresh_only_where_cases_come_again() {
        /// Notes the first draw of every row.
        struct Notes(Arc<Mutex<Vec<(u32, f32)>>>);
        impl Objective for Notes {
            fn slate(&self, _batch: &Batch<'_>) -> Slate {
                Slate::All
            }
            fn loss(&self, row: Row<'_>, _scores: Scores<'_>, _grad: Grad<'_>) -> f32 {
                let drawn = row.batch.rng(row.at, 7).uniform();
                self.0.lock().unwrap().push((row.index() as u32, drawn));
                0.0
            }
        }
        for (sampling, seldom) in [(Sampling::Cases, 50), (Sampling::Users, 25)] {
            let plan = Plan { epochs: 1, sampling, batch_size: 1, ..Plan::default() };
            let (recipe, log) = (Count(plan), log());
            let notes = Arc::default();
            let objective = Box::new(Notes(Arc::clone(&notes)));
            let mut fit = Fit::seeded(5);
            train(&recipe, &log, &recipe.cases(&log), objective, &mut fit).unwrap();
            let notes = notes.lock().unwrap();
            assert_eq!(notes.len(), 50);
            let rows: BTreeSet<u32> = notes.iter().map(|note| note.0).collect();
            let draws: BTreeSet<u32> = notes.iter().map(|note| note.1.to_bits()).collect();
            assert!(rows.len() >= seldom && (sampling == Sampling::Cases) == (rows.len() == 50));
            assert_eq!(draws.len(), 50, "{sampling:?}");
        }
    }

    #[test]
    fn what_is_taught_by_query_sees_each_query_of_a_batch_once() {
        /// Notes the rows that it is asked about.
        struct Once(Arc<Mutex<Vec<u32>>>);
        impl Objective for Once {
            fn slate(&self, _batch: &Batch<'_>) -> Slate {
                Slate::All
            }
            fn loss(&self, row: Row<'_>, _scores: Scores<'_>, _grad: Grad<'_>) -> f32 {
                self.0.lock().unwrap().push(row.index() as u32);
                1.0
            }
            fn once_per_query(&self) -> bool {
                true
            }
        }
        let plan = Plan { epochs: 1, batch_size: 20, ..Plan::default() };
        let (recipe, log, notes) = (Count(plan), log(), Arc::default());
        let objective = Box::new(Once(Arc::clone(&notes)));
        let mut fit = Fit::seeded(5);
        train(&recipe, &log, &recipe.cases(&log), objective, &mut fit).unwrap();
        let order = Order::new(&recipe.cases(&log), Sampling::Cases).epoch(5, 0);
        // Ten users of five items each: a batch of 20 rows names nearly all of them, and each once.
        let by_hand: Vec<u32> = order
            .chunks(20)
            .flat_map(|batch| {
                let first = |&(at, row): &(usize, &u32)| {
                    !batch[..at].iter().any(|earlier| earlier / 5 == row / 5)
                };
                batch.iter().enumerate().filter(first).map(|(_, row)| *row).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(*notes.lock().unwrap(), by_hand);
        assert!(by_hand.len() < 30);
    }

    #[test]
    fn the_best_model_is_kept_and_patience_ends_the_run() {
        let plan =
            Plan { epochs: 50, batch_size: 50, validate_every: 1, patience: 3, ..Plan::default() };
        let looks = RefCell::new(0);
        let values = [0.1, 0.5, 0.4, 0.5, 0.3, 0.9];
        let validate = |_: &dyn Model| {
            let mut looks = looks.borrow_mut();
            *looks += 1;
            Ok(values[*looks - 1])
        };
        let kept = fit(&Count(plan.clone()), Some(&validate));
        assert_eq!(*looks.borrow(), 5, "0.5 is best, and three looks after it are not better");
        let two_epochs = fit(&Count(Plan { epochs: 2, ..plan }), None);
        assert_eq!(kept.to_bits(), two_epochs.to_bits());
    }

    #[test]
    fn a_checkpoint_of_another_seed_is_refused() {
        let text = serde_json::to_string(&Position { seed: 4, ..Position::default() }).unwrap();
        let error = Position::parse(&text, 5, &Plan::default()).unwrap_err().to_string();
        assert_eq!(error, "checkpoint: was made with seed 4, this run has 5");
    }
}
