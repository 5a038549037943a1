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

/// With the number that is good to begin with, if there is one; otherwise it begins with 0.
#[derive(Serialize)]
struct Count(Plan, Option<f32>);

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
    fn begins_fitted(&self) -> bool {
        self.1.is_some()
    }
    fn init(&self, _train: &Arc<Interactions>, _seed: u64) -> Result<Box<dyn Learner>> {
        Ok(Box::new(Counter(self.1.unwrap_or(0.0))))
    }
    fn resume(&self, _: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        Ok(Box::new(Counter(state.f32s("number", 1)?[0])))
    }
}

impl ModelConfig for Count {
    fn kind(&self) -> &'static str {
        "count"
    }

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
    let recipe = Count(plan, None);
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
    /// Records the first draw of every row.
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
        let (recipe, log) = (Count(plan, None), log());
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
    /// Records the rows that it evaluates.
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
    let (recipe, log, notes) = (Count(plan, None), log(), Arc::default());
    let objective = Box::new(Once(Arc::clone(&notes)));
    let mut fit = Fit::seeded(5);
    train(&recipe, &log, &recipe.cases(&log), objective, &mut fit).unwrap();
    let order = EpochOrder::new(&recipe.cases(&log), Sampling::Cases).epoch(5, 0);
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
    let kept = fit(&Count(plan.clone(), None), Some(&validate));
    assert_eq!(*looks.borrow(), 5, "0.5 is best, and three looks after it are not better");
    let two_epochs = fit(&Count(Plan { epochs: 2, ..plan }, None), None);
    assert_eq!(kept.to_bits(), two_epochs.to_bits());
}

#[test]
fn what_training_began_with_is_kept_where_no_epoch_is_better() {
    let plan =
        Plan { epochs: 3, batch_size: 50, validate_every: 1, patience: 3, ..Plan::default() };
    for (start, kept) in [(0.5, true), (0.4, true), (0.3, false)] {
        let values = [start, 0.2, 0.4, 0.1];
        let looks = RefCell::new(0);
        let validate = |_: &dyn Model| {
            *looks.borrow_mut() += 1;
            Ok(values[*looks.borrow() - 1])
        };
        let mut fit = Fit { validate: Some(&validate), ..Fit::seeded(5) };
        let model = crate::Recipe::fit(&Count(plan.clone(), Some(7.0)), &log(), &mut fit).unwrap();
        assert_eq!(model.tensors().f32s("number", 1).unwrap()[0] == 7.0, kept, "{start}");
        assert_eq!(*looks.borrow(), 4);
    }
    let none = Count(Plan { epochs: 0, ..plan.clone() }, Some(7.0));
    assert_eq!(fit(&none, None), 7.0, "to fit it again on more rows");
    // The same bits where a run is stopped after its start was the best.
    let kept = RefCell::new(None);
    let save = |text: &str, tensors: &Tensors| {
        *kept.borrow_mut() = Some((text.to_owned(), tensors.clone()));
        Ok(())
    };
    let load = || Ok(kept.borrow().clone());
    let worse = RefCell::new(1.0);
    let validate = |_: &dyn Model| {
        *worse.borrow_mut() /= 2.0;
        Ok(*worse.borrow())
    };
    let run = |stop: Option<usize>| {
        let mut watch = stop.map(StopAfter);
        let watch = watch.as_mut().map(|watch| watch as &mut dyn Watch);
        let checkpoints = Some(Checkpointing { save: &save, load: &load, every: Duration::ZERO });
        let validate = Some(&validate as &crate::Validate<'_>);
        let mut fit = Fit { watch, checkpoints, validate, ..Fit::seeded(5) };
        crate::Recipe::fit(&Count(plan.clone(), Some(7.0)), &log(), &mut fit)
    };
    assert!(matches!(run(Some(2)), Err(Error::Interrupted)));
    let model = run(None).unwrap();
    assert_eq!(model.tensors().f32s("number", 1).unwrap()[0], 7.0);
    assert!(run(None).is_ok(), "from its end");
}

#[test]
fn a_checkpoint_of_another_seed_is_refused() {
    let text = serde_json::to_string(&Position { seed: 4, ..Position::default() }).unwrap();
    let error = Position::parse(&text, 5, &Plan::default()).unwrap_err().to_string();
    assert_eq!(error, "checkpoint: was made with seed 4, this run has 5");
}
