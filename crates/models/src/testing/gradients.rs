//! A step of a learner, and the gradient of an objective, are compared with finite differences.
#![allow(missing_docs, clippy::unwrap_used)]

use super::slates::{probes_of, slate_of};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Cases, Data, Grad, Interactions, ItemId, Learner, Model, Objective, Query, Recipe, Row,
    Scores, Slate, Tensors, VectorGrads, VectorObjective, Vectors,
};
use std::sync::Arc;

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
        let mut items = match slate.listed() {
            Some(listed) => listed.values().to_vec(),
            None => vec![0, batch.cases.n_items() as u32 - 1],
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
