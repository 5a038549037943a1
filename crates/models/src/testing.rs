//! Tests that hold for every model, driven by the registry: a new entry there is tested without further code.
//!
//! Public but hidden, because other crates test their learners and objectives with it. Failures panic with a
//! description.
#![allow(missing_docs, clippy::unwrap_used)]

use rankstill_core::kernel::rng::Rng;
use rankstill_core::registry::{Config, Entry};
use rankstill_core::{
    Batch, Cases, Checkpointing, Data, Error, Fit, Grad, Interactions, ItemId, Learner, Lists,
    Model, Objective, Query, Recipe, Row, Scores, Slate, Span, Tensors, TopK, VectorGrads,
    VectorObjective, Vectors, Watch,
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
            seed: 1,
            validate: Some(&validate),
            watch: Some(&mut watch),
            checkpoints: Some(Checkpointing { save: &save, load: &load, every: Duration::MAX }),
        };
        match recipe.fit(train, fit) {
            Ok(model) => return (model.tensors(), watch.1),
            Err(error) => assert!(stop.is_some() && matches!(error, Error::Interrupted), "{error}"),
        }
    }
    unreachable!("the last process is not interrupted")
}

/// One step of plain SGD changes every parameter by the slope of the loss of the scores. `recipe` must train
/// with SGD of this learning rate, without decay, and follow the mean over the batch.
pub fn learner_gradient(
    recipe: &dyn Recipe,
    learning_rate: f64,
    train: &Arc<Interactions>,
    cases: &Cases,
    objective: &dyn Objective,
) {
    let read = |learner: &dyn Learner| learner.tensors();
    let make = |tensors: &Tensors| recipe.load(tensors).unwrap();
    steps_are_slopes(recipe, learning_rate, train, cases, objective, (&read, &make));
}

/// The same, for learners whose parameters are only in their state: what they save is computed from them.
pub fn learner_gradient_of_state(
    recipe: &dyn Recipe,
    learning_rate: f64,
    train: &Arc<Interactions>,
    cases: &Cases,
    objective: &dyn Objective,
) {
    let read = |learner: &dyn Learner| learner.state();
    let make = |state: &Tensors| -> Box<dyn Model> {
        recipe.trainable().unwrap().resume(train, state).unwrap()
    };
    steps_are_slopes(recipe, learning_rate, train, cases, objective, (&read, &make));
}

/// For learners with random draws of their own (dropout), a step is the slope of the loss that they report with
/// the same draws. `still` is the recipe with a rate of 0, whose steps change nothing. Every third of the
/// `named` parameters is checked; of those marked true some have no gradient although the loss depends on them
/// (padding).
pub fn step_is_slope_of_own_loss(
    (recipe, still): (&dyn Recipe, &dyn Recipe),
    learning_rate: f64,
    train: &Arc<Interactions>,
    objective: &dyn Objective,
    named: &[(&str, bool)],
) {
    let (recipe, still) = (recipe.trainable().unwrap(), still.trainable().unwrap());
    let cases = recipe.cases(train);
    let rows = &Rng::new(2).permutation(cases.len() as u32)[..24];
    let batch = Batch::new(&cases, rows, 0, 1);
    let slate = objective.slate(&batch);
    let mut learner = recipe.init(train, 1).unwrap();
    let before = learner.state();
    learner.step(&batch, &slate, objective);
    let after = learner.state();
    let loss = |name: &str, i: usize, by: f32| {
        let mut state = before.clone();
        let len = state.get(name).unwrap().data.len();
        let mut values = state.f32s(name, len).unwrap().to_vec();
        values[i] += by;
        state.insert(name, &[len], values);
        still.resume(train, &state).unwrap().step(&batch, &slate, objective)
    };
    for &(name, some_rest) in named {
        let len = before.get(name).unwrap().data.len();
        let (old, new) = (before.f32s(name, len).unwrap(), after.f32s(name, len).unwrap());
        let mut moved = 0;
        for i in (0..len).step_by(3) {
            let step = f64::from(old[i] - new[i]) / learning_rate;
            let slope = (loss(name, i, 3e-3) - loss(name, i, -3e-3)) / 6e-3 / 24.0;
            moved += usize::from(step != 0.0);
            let close = (step - slope).abs() < 3e-4 + 5e-3 * slope.abs();
            assert!(close || step == 0.0 && some_rest, "{name}[{i}]: {step} {slope}");
        }
        assert!(moved >= 5, "only {moved} of {name} moved");
    }
}

/// How to read a learner's parameters, and how to build a model from them.
type Parameters<'a> = (&'a dyn Fn(&dyn Learner) -> Tensors, &'a dyn Fn(&Tensors) -> Box<dyn Model>);

fn steps_are_slopes(
    recipe: &dyn Recipe,
    learning_rate: f64,
    train: &Arc<Interactions>,
    cases: &Cases,
    objective: &dyn Objective,
    parameters: Parameters<'_>,
) {
    slopes_of(recipe, learning_rate, train, cases, objective, parameters);
    if recipe.trainable().unwrap().init(train, 1).unwrap().factored().is_some() {
        let pulled = WithVectors(objective, Pull);
        slopes_of(recipe, learning_rate, train, cases, &pulled, parameters);
    }
}

fn slopes_of(
    recipe: &dyn Recipe,
    learning_rate: f64,
    train: &Arc<Interactions>,
    cases: &Cases,
    objective: &dyn Objective,
    (read, make): Parameters<'_>,
) {
    const EPS: f32 = 1e-2;
    let mut learner: Box<dyn Learner> = recipe.trainable().unwrap().init(train, 1).unwrap();
    let rows = Rng::new(2).permutation(cases.len() as u32);
    let rows = &rows[..rows.len().min(24)];
    let batch = Batch::new(cases, rows, 0, 1);
    let slate = objective.slate(&batch);
    learner.settle();
    let before = read(&*learner);
    let reported = learner.step(&batch, &slate, objective);
    learner.settle();
    let after = read(&*learner);

    let at = |tensors: &Tensors| summed_loss(&*make(tensors), &batch, &slate, objective);
    let expected = at(&before);
    assert!((reported - expected).abs() < 1e-4 * expected.abs().max(1.0), "{reported} {expected}");
    let mut moved = 0;
    for (name, tensor) in before.iter() {
        let (Data::F32(old), Some(Data::F32(new))) =
            (&tensor.data, after.get(name).map(|tensor| &tensor.data))
        else {
            continue;
        };
        for i in 0..old.len() {
            let shifted = |by: f32| {
                let mut values = old.clone();
                values[i] += by;
                let real = values[i];
                let mut tensors = before.clone();
                tensors.insert(name, &tensor.shape, values);
                (at(&tensors), f64::from(real))
            };
            let (up, down) = (shifted(EPS), shifted(-EPS));
            let slope = (up.0 - down.0) / (up.1 - down.1) / batch.len() as f64;
            let step = (f64::from(old[i]) - f64::from(new[i])) / learning_rate;
            moved += usize::from(step != 0.0);
            assert!(
                (step - slope).abs() < 1e-4 + 2e-3 * slope.abs(),
                "{name}[{i}]: step {step}, slope {slope}"
            );
        }
    }
    assert!(moved > 10, "only {moved} parameters moved");
}

/// The loss of a batch from the model's own scores, row by row.
fn summed_loss(
    model: &dyn Model,
    batch: &Batch<'_>,
    slate: &Slate,
    objective: &dyn Objective,
) -> f64 {
    let of_vectors =
        objective.vector_objective().map_or(0.0, |of| loss_of_vectors(model, batch, slate, of));
    (0..batch.len()).fold(of_vectors, |sum, at| {
        let mut all = vec![0.0; model.n_items()];
        model.score(&[batch.case(at).query], &mut all);
        let (listed, log_complement) = slate_of(slate, at, &all);
        let probes = probes_of(slate, at, &all);
        let mut grad = vec![0.0; listed.len()];
        sum + f64::from(objective.loss(
            Row { batch, slate, at },
            Scores { listed: &listed, probes: &probes, log_complement },
            Grad { listed: &mut grad, log_complement: &mut 0.0 },
        ))
    })
}

fn loss_of_vectors(
    model: &dyn Model,
    batch: &Batch<'_>,
    slate: &Slate,
    objective: &dyn VectorObjective,
) -> f64 {
    let factored = model.factored().unwrap();
    let (table, ids) = (factored.items(), objective.items(batch, slate));
    let items: Vec<f32> = ids.iter().flat_map(|&item| table.row(item as usize).to_vec()).collect();
    let mut queries = vec![0.0; batch.len() * table.dim];
    let of_rows: Vec<Query<'_>> = (0..batch.len()).map(|at| batch.case(at).query).collect();
    factored.embed(&of_rows, &mut queries);
    let (mut to_queries, mut to_items) = (vec![0.0; queries.len()], vec![0.0; items.len()]);
    objective.loss(
        batch,
        &Vectors {
            dim: table.dim,
            queries: &queries,
            counts: &vec![true; batch.len()],
            ids: &ids,
            items: &items,
        },
        VectorGrads { queries: &mut to_queries, items: &mut to_items },
    )
}

/// A weighted sum of the scores of a row's target and of another item: as a loss of scores or, equivalently, of
/// the vectors whose products they are.
pub struct Products {
    pub of_vectors: bool,
}

const WEIGHTS: [f32; 2] = [1.0, -0.5];

impl Objective for Products {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let n_items = batch.cases.n_items() as u32;
        let target = |at| batch.case(at).targets[0];
        Slate::lists((0..batch.len()).map(|at| [target(at), (target(at) + 3) % n_items]).collect())
    }
    fn loss(&self, _: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        if self.of_vectors {
            return 0.0;
        }
        grad.listed.copy_from_slice(&WEIGHTS);
        scores.listed[0] * WEIGHTS[0] + scores.listed[1] * WEIGHTS[1]
    }
    fn vector_objective(&self) -> Option<&dyn VectorObjective> {
        self.of_vectors.then_some(self)
    }
}

impl VectorObjective for Products {
    fn items(&self, batch: &Batch<'_>, _: &Slate) -> Vec<ItemId> {
        (0..batch.cases.n_items() as u32).collect()
    }
    fn loss(&self, batch: &Batch<'_>, vectors: &Vectors<'_>, grads: VectorGrads<'_>) -> f64 {
        let Slate::Lists { listed, .. } = self.slate(batch) else { unreachable!() };
        let Vectors { dim, queries, items, .. } = *vectors;
        let mut loss = 0.0;
        for (at, row) in listed.iter().enumerate().filter(|(at, _)| vectors.counts[*at]) {
            for (&item, weight) in row.iter().zip(WEIGHTS) {
                for k in 0..dim {
                    let (q, v) = (at * dim + k, item as usize * dim + k);
                    grads.queries[q] += weight * items[v];
                    grads.items[v] += weight * queries[q];
                    loss += f64::from(weight * queries[q] * items[v]);
                }
            }
        }
        loss
    }
}

/// A loss of scores and the same loss of vectors move every parameter alike. `recipe` must train with SGD.
pub fn vectors_or_scores(recipe: &dyn Recipe, train: &Arc<Interactions>) {
    let cases = recipe.trainable().unwrap().cases(train);
    let rows: Vec<u32> = Rng::new(2).permutation(cases.len() as u32)[..20].to_vec();
    let stepped = |of_vectors: bool| {
        let mut learner = recipe.trainable().unwrap().init(train, 1).unwrap();
        let (objective, batch) = (Products { of_vectors }, Batch::new(&cases, &rows, 0, 1));
        let loss = learner.step(&batch, &objective.slate(&batch), &objective);
        learner.settle();
        (loss, learner.tensors())
    };
    let ((by_scores, expected), (by_vectors, found)) = (stepped(false), stepped(true));
    assert!((by_scores - by_vectors).abs() < 1e-3, "{by_scores} {by_vectors}");
    for ((name, a), (_, b)) in expected.iter().zip(found.iter()) {
        let (Data::F32(a), Data::F32(b)) = (&a.data, &b.data) else { continue };
        let far = a.iter().zip(b).position(|(a, b)| (a - b).abs() > 1e-4 * a.abs().max(1.0));
        assert!(far.is_none(), "{name}: {far:?}");
    }
}

/// An objective that adds a loss of vectors to another objective.
pub struct WithVectors<'a, V>(pub &'a dyn Objective, pub V);

impl<V: VectorObjective> Objective for WithVectors<'_, V> {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        self.0.slate(batch)
    }
    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        self.0.loss(row, scores, grad)
    }
    fn vector_objective(&self) -> Option<&dyn VectorObjective> {
        Some(&self.1)
    }
}

/// Pulls vectors towards fixed points, and multiplies each row's query with an item.
struct Pull;

impl VectorObjective for Pull {
    fn items(&self, batch: &Batch<'_>, slate: &Slate) -> Vec<ItemId> {
        let mut items = match slate {
            Slate::Lists { listed, .. } | Slate::WithComplement { listed, .. } => {
                listed.values().to_vec()
            }
            Slate::All => vec![0, batch.cases.n_items() as u32 - 1],
        };
        items.sort_unstable();
        items.dedup();
        items
    }

    fn loss(&self, batch: &Batch<'_>, vectors: &Vectors<'_>, grads: VectorGrads<'_>) -> f64 {
        let Vectors { dim, queries, counts, items, .. } = *vectors;
        let mut loss = 0.0;
        let mut pull = |vectors: &[f32], grads: &mut [f32], counts: &dyn Fn(usize) -> bool| {
            let each = vectors.chunks(dim).zip(grads.chunks_mut(dim)).enumerate();
            for (at, (vector, grad)) in each.filter(|(at, _)| counts(*at)) {
                for (k, (x, grad)) in vector.iter().zip(grad).enumerate() {
                    let goal = ((at + 3 * k) % 5) as f32 * 0.1;
                    *grad += x - goal;
                    loss += 0.5 * f64::from(x - goal).powi(2);
                }
            }
        };
        pull(queries, grads.queries, &|at| counts[at] && batch.is_first(at));
        pull(items, grads.items, &|_| true);
        for at in (0..batch.len()).filter(|&at| counts[at]) {
            let item = at % (items.len() / dim);
            for k in 0..dim {
                let (q, v) = (at * dim + k, item * dim + k);
                grads.queries[q] += items[v];
                grads.items[v] += queries[q];
                loss += f64::from(queries[q] * items[v]);
            }
        }
        loss
    }
}

/// The scores of one row of a slate, and the log of the complement's mass: the naive twin of the learners' code.
pub fn slate_of(slate: &Slate, at: usize, all: &[f32]) -> (Vec<f32>, f32) {
    match slate {
        Slate::All => (all.to_vec(), f32::NEG_INFINITY),
        Slate::Lists { listed, .. } => {
            let scores = listed.row(at).iter().map(|&item| all[item as usize]).collect();
            (scores, f32::NEG_INFINITY)
        }
        Slate::WithComplement { listed, left_out, asking, .. } => {
            let items = listed.row(at);
            let rest = (0..all.len()).filter(|&i| {
                let counts = |lists: &Lists<u32>| !lists.row(at).contains(&(i as u32));
                asking.contains(&(at as u32)) && counts(listed) && counts(left_out)
            });
            let mass = rest.fold(0.0, |sum, i| sum + f64::from(all[i]).exp());
            (items.iter().map(|&item| all[item as usize]).collect(), mass.ln() as f32)
        }
    }
}

/// The scores of the probes of one row.
fn probes_of(slate: &Slate, at: usize, all: &[f32]) -> Vec<f32> {
    let probes = slate.probes().map_or(&[][..], |probes| probes.row(at));
    probes.iter().map(|&item| all[item as usize]).collect()
}

/// An objective's gradient is the slope of its loss, on random scores, for every row of some batch.
pub fn objective_gradient(objective: &dyn Objective, cases: &Cases) {
    const EPS: f32 = 3e-2;
    let rows = Rng::new(3).permutation(cases.len() as u32);
    let rows = &rows[..rows.len().min(12)];
    let batch = Batch::new(cases, rows, 0, 1);
    let slate = objective.slate(&batch);
    for at in 0..batch.len() {
        let mut all = vec![0.0; cases.n_items()];
        Rng::keyed(4, [at as u64]).fill_normal(&mut all, 0.0, 1.5);
        let (listed, log_complement) = slate_of(&slate, at, &all);
        let probes = probes_of(&slate, at, &all);
        let loss = |listed: &[f32], log_complement: f32| {
            let (mut grad, mut to_rest) = (vec![0.0; listed.len()], 0.0);
            let loss = objective.loss(
                Row { batch: &batch, slate: &slate, at },
                Scores { listed, probes: &probes, log_complement },
                Grad { listed: &mut grad, log_complement: &mut to_rest },
            );
            (f64::from(loss), grad, to_rest)
        };
        let (here, grad, to_rest) = loss(&listed, log_complement);
        let check = |what: &str, ours: f32, up: f64, down: f64| {
            let slope = (up - down) / (2.0 * f64::from(EPS));
            assert!(
                (f64::from(ours) - slope).abs() < 1e-3 + 2e-3 * slope.abs() + 1e-5 * here.abs(),
                "row {at}, {what}: gradient {ours}, slope {slope}"
            );
        };
        for i in 0..listed.len() {
            let shifted = |by: f32| {
                let mut listed = listed.clone();
                listed[i] += by;
                loss(&listed, log_complement).0
            };
            check(&format!("score {i}"), grad[i], shifted(EPS), shifted(-EPS));
        }
        if log_complement.is_finite() {
            let (up, down) =
                (loss(&listed, log_complement + EPS).0, loss(&listed, log_complement - EPS).0);
            check("the complement", to_rest, up, down);
        }
    }
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

/// A learner scores probes as the model does, in lists and with the complement, at every step.
pub fn probes_are_scored(recipe: &dyn Recipe, train: &Arc<Interactions>, cases: &Cases) {
    struct Probing(bool, std::sync::Mutex<Vec<(usize, Vec<f32>)>>);
    impl Objective for Probing {
        fn slate(&self, batch: &Batch<'_>) -> Slate {
            let (rows, n_items) = (0..batch.len(), batch.cases.n_items() as u32);
            let listed = rows.clone().map(|at| batch.case(at).targets.to_vec()).collect();
            let probe = |at| (0..3).map(|k| (7 * at as u32 + 11 * k) % n_items).collect::<Vec<_>>();
            let probes = rows.clone().map(probe).collect();
            match self.0 {
                false => Slate::Lists { listed, probes, blended: None },
                true => {
                    let left_out = rows.clone().map(|_| Vec::new()).collect();
                    let asking = rows.map(|at| at as u32).collect();
                    Slate::WithComplement { listed, left_out, asking, probes, blended: None }
                }
            }
        }
        fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
            self.1.lock().unwrap().push((row.at, scores.probes.to_vec()));
            grad.listed
                .iter_mut()
                .zip(scores.listed)
                .for_each(|(slope, score)| *slope = score - 2.0);
            0.0
        }
    }
    let rows: Vec<u32> = (0..cases.len().min(30) as u32).collect();
    for with_complement in [false, true] {
        // The twin takes the same steps and is settled before it is read; the learner itself may have pending
        // updates.
        let init = || recipe.trainable().unwrap().init(train, 1).unwrap();
        let (mut learner, mut twin) = (init(), init());
        for epoch in 0..3 {
            let batch = Batch::new(cases, &rows[9 * epoch..], epoch, 1);
            let objective = Probing(with_complement, Default::default());
            let slate = objective.slate(&batch);
            twin.settle();
            let model = recipe.load(&twin.tensors()).unwrap();
            twin.step(&batch, &slate, &Probing(with_complement, Default::default()));
            learner.step(&batch, &slate, &objective);
            let seen = objective.1.into_inner().unwrap();
            assert!(!seen.is_empty());
            for (at, scores) in seen {
                let mut all = vec![0.0; model.n_items()];
                model.score(&[batch.case(at).query], &mut all);
                for (ours, theirs) in scores.iter().zip(probes_of(&slate, at, &all)) {
                    assert!((ours - theirs).abs() < 1e-4, "row {at}: {ours} {theirs}");
                }
                assert_eq!(scores.len(), 3);
            }
        }
    }
}

/// Objectives with every shape of slate, to test learners with.
pub fn shapes() -> Vec<(&'static str, Box<dyn Objective>)> {
    vec![
        ("ragged", Box::new(Ragged)),
        ("complement", Box::new(WithComplement)),
        ("all", Box::new(All)),
    ]
}

/// Lists of different lengths, some empty, some with a repeated item: squared distance to fixed numbers.
pub struct Ragged;
impl Objective for Ragged {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let row = |at| {
            let mut rng = batch.rng(at, 7);
            let n = if at % 5 == 2 { 0 } else { rng.below(7) };
            let mut row: Vec<u32> =
                (0..n).map(|_| rng.below(batch.cases.n_items() as u32)).collect();
            row.extend(row.first().copied());
            row
        };
        Slate::lists((0..batch.len()).map(row).collect())
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let mut loss = 0.0;
        for (k, (score, grad)) in scores.listed.iter().zip(grad.listed).enumerate() {
            *grad += score - (k as f32 - 1.0);
            loss += 0.5 * (score - (k as f32 - 1.0)).powi(2);
        }
        loss
    }
}

/// Cross-entropy of each target against the complement, with the history left out. Every fifth case has no
/// complement, and so no loss.
struct WithComplement;
impl Objective for WithComplement {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let case = |at| batch.case(at);
        Slate::WithComplement {
            listed: (0..batch.len()).map(|at| case(at).targets.to_vec()).collect(),
            left_out: (0..batch.len()).map(|at| case(at).query.history.to_vec()).collect(),
            asking: (0..batch.len() as u32)
                .filter(|&at| batch.rows[at as usize] % 5 != 3)
                .collect(),
            probes: Lists::default(),
            blended: None,
        }
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let mut loss = 0.0;
        for (score, to_score) in scores.listed.iter().zip(grad.listed) {
            let away = (f64::from(scores.log_complement) - f64::from(*score)).exp();
            loss += away.ln_1p();
            let slope = (away / (1.0 + away)) as f32;
            *to_score -= slope;
            *grad.log_complement += slope;
        }
        loss as f32
    }
}

/// Squared distance of every score to 1 for items of the history, to 0 for others.
struct All;
impl Objective for All {
    fn slate(&self, _batch: &Batch<'_>) -> Slate {
        Slate::All
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let mut loss = 0.0;
        for (item, (score, grad)) in scores.listed.iter().zip(grad.listed).enumerate() {
            let goal = f32::from(u8::from(row.case().query.history.contains(&(item as u32))));
            *grad += score - goal;
            loss += 0.5 * (score - goal).powi(2);
        }
        loss
    }
}
