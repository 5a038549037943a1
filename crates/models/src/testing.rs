//! Tests that hold for every model, driven by the registry: a new entry there is tested without further code.
//!
//! Public but hidden, because other crates test their learners and objectives with it. Failures panic with a
//! description.
#![allow(missing_docs, clippy::unwrap_used)]

mod gradients;
mod slates;

pub use gradients::*;
pub use slates::*;

use rankstill_core::kernel::rng::Rng;
use rankstill_core::registry::{Config, Entry};
use rankstill_core::{
    Batch, Cases, Checkpointing, Error, Fit, Interactions, Lists, Model, Query, Recipe, Span,
    Tensors, TopK, Watch,
};
use serde_json::Value;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// 4 blocks of 12 users and 10 items. A user has interacted with all items of the block but one: see [`held_out`].
pub fn blocks() -> Arc<Interactions> {
    let lines = (0..48u32).map(|user| {
        let own = held_out(user);
        let mut line: Vec<u32> =
            (0..10).map(|i| user / 12 * 10 + i).filter(|&i| i != own).collect();
        Rng::keyed(5, [u64::from(user)]).shuffle(&mut line);
        line
    });
    Arc::new(Interactions::new(40, Lists::from_iter(lines), None, None).unwrap())
}

/// The one item of the user's block that the user has not interacted with.
pub fn held_out(user: u32) -> u32 {
    user / 12 * 10 + user % 12 % 10
}

/// The entry's settings for tests.
pub fn small(entry: &Entry<dyn Recipe>) -> Value {
    serde_json::from_str(entry.small).unwrap()
}

pub fn parse(entry: &Entry<dyn Recipe>, settings: &Value) -> Box<dyn Recipe> {
    (entry.parse)(Config { path: entry.name, value: settings }).unwrap()
}

/// The error for settings that the model of this name refuses.
pub fn parse_error(name: &str, path: &str, settings: &Value) -> String {
    let entry = crate::MODELS.iter().find(|entry| entry.name == name).unwrap();
    (entry.parse)(Config { path, value: settings }).err().unwrap().to_string()
}

pub fn fit(recipe: &dyn Recipe, train: &Arc<Interactions>, seed: u64) -> Box<dyn Model> {
    recipe.fit(train, &mut Fit::seeded(seed)).unwrap()
}

/// Every user as a known user and by history alone, and edge cases: no history, a user beyond the log, an item
/// beyond the catalogue.
fn queries(train: &Interactions) -> Vec<Query<'_>> {
    let mut all: Vec<Query<'_>> = Vec::new();
    for user in 0..train.n_users() as u32 {
        let history = train.history(user);
        all.push(Query { user: Some(user), history, hidden: &[] });
        all.push(Query { user: None, history: &history[..3], hidden: &history[3..4] });
    }
    all.push(Query::default());
    all.push(Query { user: Some(1_000_000), history: &[], hidden: &[] });
    all.push(Query { user: Some(1_000_000), history: &[3, 4], hidden: &[] });
    all.push(Query { user: None, history: &[u32::MAX, 5, 5, 40], hidden: &[u32::MAX] });
    all
}

/// Settings survive a round trip, and the error for an unknown key names it.
pub fn settings_round_trip(entry: &Entry<dyn Recipe>, settings: &Value) {
    let recipe = parse(entry, settings);
    assert_eq!(recipe.kind(), entry.name);
    let config = recipe.config();
    assert_eq!(parse(entry, &config).config(), config, "{}", entry.name);
    for (key, value) in settings.as_object().unwrap() {
        if !value.is_object() {
            assert_eq!(&config[key], value, "{}.{key}", entry.name);
        }
    }
    let mut typo = config;
    typo["neigbours"] = 1.into();
    let error = (entry.parse)(Config { path: "model", value: &typo }).err().unwrap().to_string();
    assert!(error.contains("neigbours"), "{}: {error}", entry.name);
}

/// A learning rate that has decayed to 0 in the second of two epochs leaves the model as it was after the first.
pub fn rate_decays(entry: &Entry<dyn Recipe>, settings: &Value) {
    if parse(entry, settings).config().get("final_rate").is_none() {
        return;
    }
    let after = |epochs: usize, final_rate: Value| {
        let mut settings = settings.clone();
        settings["train"]["epochs"] = epochs.into();
        settings["final_rate"] = final_rate;
        fit(&*parse(entry, &settings), &blocks(), 1).tensors()
    };
    let first = after(1, 1.into());
    assert!(after(2, 0.into()) == first, "{}", entry.name);
    assert!(after(2, 0.5.into()) != first, "{}", entry.name);
    let mut wrong = settings.clone();
    wrong["final_rate"] = 1.5.into();
    let error = (entry.parse)(Config { path: "model", value: &wrong }).err().unwrap().to_string();
    assert!(error.starts_with("model.final_rate: must be from 0 to 1"), "{}: {error}", entry.name);
}

/// A saved and loaded model has the same rankings, bit for bit; a file without one of its arrays is refused.
pub fn save_and_load(entry: &Entry<dyn Recipe>, settings: &Value) {
    let (train, recipe) = (blocks(), parse(entry, settings));
    let model = fit(&*recipe, &train, 1);
    let tensors = model.tensors();
    let loaded = recipe.load(&tensors).unwrap();
    let (queries, top) = (queries(&train), TopK::unseen(40));
    assert_eq!(
        loaded.rank(&queries, &top).unwrap(),
        model.rank(&queries, &top).unwrap(),
        "{}",
        entry.name
    );
    assert_eq!(loaded.tensors(), tensors, "{}", entry.name);
    assert_eq!((loaded.n_items(), loaded.n_parameters()), (40, model.n_parameters()));
    for missing in tensors.iter().map(|(name, _)| name.to_owned()) {
        let mut rest = Tensors::default();
        for (name, tensor) in tensors.iter().filter(|(name, _)| *name != missing) {
            rest.insert(name, &tensor.shape, tensor.data.clone());
        }
        let error = recipe.load(&rest).err().unwrap();
        assert!(matches!(error, Error::Tensor { .. }), "{}: {error}", entry.name);
    }
}

/// A batch of queries gets the same rankings as single queries; every query gets one, and seen items are not
/// recommended.
pub fn ranks_for_every_query(entry: &Entry<dyn Recipe>, settings: &Value) {
    let (train, recipe) = (blocks(), parse(entry, settings));
    let model = fit(&*recipe, &train, 1);
    let (queries, top) = (queries(&train), TopK::unseen(40));
    let together = model.rank(&queries, &top).unwrap();
    for (i, query) in queries.iter().enumerate() {
        let alone = model.rank(&[*query], &top).unwrap();
        assert_eq!(alone.items(0), together.items(i), "{}: {query:?}", entry.name);
        assert_eq!(alone.scores(0), together.scores(i), "{}: {query:?}", entry.name);
        let known = |item: &u32| query.history.contains(item) || query.hidden.contains(item);
        let masked = (0..40).filter(known).count();
        assert_eq!(alone.items(0).len(), 40 - masked, "{}: {query:?}", entry.name);
        assert!(!alone.items(0).iter().any(known), "{}: {query:?}", entry.name);
        assert!(alone.scores(0).iter().all(|s| s.is_finite()), "{}: {query:?}", entry.name);
    }
    assert!(model.rank(&[], &top).unwrap().is_empty());
}

/// The held-out item ranks first, for known users and for histories of new users.
pub fn finds_the_held_out_item(entry: &Entry<dyn Recipe>, settings: &Value) {
    let (train, recipe) = (blocks(), parse(entry, settings));
    let model = fit(&*recipe, &train, 1);
    for known in [true, false] {
        let ask =
            |user| Query { user: known.then_some(user), history: train.history(user), hidden: &[] };
        let queries: Vec<Query<'_>> = (0..48).map(ask).collect();
        let ranked = model.rank(&queries, &TopK::unseen(1)).unwrap();
        let found = (0..48).filter(|&user| ranked.items(user as usize) == [held_out(user)]).count();
        assert!(found >= 46, "{}: {found} of 48 users, known: {known}", entry.name);
    }
}

/// Same seed, same bytes: on 1, 2 and 3 threads, and when repeated. Another seed yields other bytes where there
/// is randomness.
pub fn same_bytes_on_any_threads(entry: &Entry<dyn Recipe>, settings: &Value) {
    let (train, recipe) = (blocks(), parse(entry, settings));
    let on = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit(&*recipe, &train, seed).tensors())
    };
    let first = on(1, 1);
    for threads in [1, 2, 3] {
        assert!(on(threads, 1) == first, "{} on {threads} threads", entry.name);
    }
    if recipe.training_plan().is_some() {
        assert!(on(2, 2) != first, "{} ignores the seed", entry.name);
    }
}

/// A run that is interrupted after any step and resumed from its checkpoint ends with the bytes of an
/// uninterrupted run, early stopping included.
pub fn resumes_to_the_same_bytes(entry: &Entry<dyn Recipe>, settings: &Value) {
    let (train, recipe) = (blocks(), parse(entry, settings));
    if recipe.training_plan().is_none() {
        return;
    }
    let (whole, steps) = interrupted_at(&*recipe, &train, &[]);
    let steps = steps.max(1); // an epoch in a fused kernel has none
    for stops in [vec![0], vec![1, steps - 1], vec![steps, 2 * steps + 1], vec![3 * steps - 1, 3]] {
        let (resumed, _) = interrupted_at(&*recipe, &train, &stops);
        assert!(resumed == whole, "{}: {stops:?}", entry.name);
    }
}

/// `stops`: the number of steps that each process takes before it is interrupted. Returns the model, and the
/// number of steps that the last process took in the first epoch.
fn interrupted_at(
    recipe: &dyn Recipe,
    train: &Arc<Interactions>,
    stops: &[usize],
) -> (Tensors, usize) {
    struct StopAfter(Option<usize>, usize);
    impl Watch for StopAfter {
        fn step(&mut self, epoch: usize, _done: usize, _total: usize) -> bool {
            let stop = self.0 == Some(0);
            self.0 = self.0.map(|left| left.saturating_sub(1));
            self.1 += usize::from(epoch == 0);
            stop
        }
    }
    let kept: RefCell<Option<(String, Tensors)>> = RefCell::new(None);
    let save = |position: &str, state: &Tensors| {
        *kept.borrow_mut() = Some((position.to_owned(), state.clone()));
        Ok(())
    };
    let load = || Ok(kept.borrow().clone());
    // Any function of the model will do that is best somewhere in the middle of training.
    let validate = |model: &dyn Model| {
        let mut scores = vec![0.0; model.n_items()];
        model
            .score(&[Query { user: Some(0), history: train.history(0), hidden: &[] }], &mut scores);
        Ok(-(f64::from(scores[0]) - 0.3).abs())
    };
    for stop in stops.iter().map(|&stop| Some(stop)).chain([None]) {
        let mut watch = StopAfter(stop, 0);
        let fit = &mut Fit {
            validate: Some(&validate),
            watch: Some(&mut watch),
            checkpoints: Some(Checkpointing { save: &save, load: &load, every: Duration::MAX }),
            ..Fit::seeded(1)
        };
        match recipe.fit(train, fit) {
            Ok(model) => return (model.tensors(), watch.1),
            Err(error) => assert!(stop.is_some() && matches!(error, Error::Interrupted), "{error}"),
        }
    }
    unreachable!("the last process is not interrupted")
}

/// A learner with user embeddings learns nothing from rows of unknown users, and still learns from the others
/// of a batch.
pub fn unknown_users_teach_nothing(recipe: &dyn Recipe) {
    let train = blocks();
    let timeline = Arc::new(train.items().values().to_vec());
    let span = |user| Span { user, history: 0..3, hidden: 0..0, targets: 3..4 };
    let all = [Some(7), None, Some(9999)].map(span).to_vec();
    let unknown = Cases::new(40, timeline.clone(), all[1..].to_vec()).unwrap();
    let all = Cases::new(40, timeline, all).unwrap();
    for (name, objective) in shapes() {
        let mut learner = recipe.trainable().unwrap().init(&train, 1).unwrap();
        let before = learner.tensors();
        let batch = Batch::new(&unknown, &[0, 1], 0, 1);
        assert_eq!(learner.step(&batch, &objective.slate(&batch), &*objective), 0.0, "{name}");
        learner.settle();
        assert!(learner.tensors() == before, "{name}");
        let batch = Batch::new(&all, &[2, 0, 1], 0, 1);
        assert!(learner.step(&batch, &objective.slate(&batch), &*objective) > 0.0, "{name}");
        learner.settle();
        assert!(learner.tensors() != before, "{name}");
    }
}
