//! What the tests of several methods share: small data, a teacher with everything that a method may require, a student's own
//! objective for each kind of slate, and claims that every method must hold ([`conforms`]).
#![allow(clippy::unwrap_used)]

mod conformance;
mod rest;

pub(crate) use conformance::{conforms, gradients_are_slopes, is_reproducible};

use crate::DISTILLERS;
use crate::parts::blend::{Context, ItemScores, Term};
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::registry::{Config, parse};
use rankstill_core::{
    Batch, Cases, Distiller, Embedded, Factored, Factors, Grad, Interactions, ItemId, Learner,
    Model, ModelConfig, Objective, Plan, Query, Rankings, Result, Row, Scorer, Scores, Slate,
    TeacherRecipe, Tensors, Trace, Trainable, VectorGrads, Vectors,
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// Number of items.
pub(crate) const N: usize = 30;
/// Longest list of the teacher.
pub(crate) const K: usize = 12;
/// Dimension of the student's vectors, and of the teacher's.
pub(crate) const DIM: usize = 3;
const TEACHER_DIM: usize = 6;

/// The method of this name with the small settings of its entry, and others over them.
pub(crate) fn small(kind: &str, over: Value) -> Box<dyn Distiller> {
    let entry = DISTILLERS.iter().find(|entry| entry.name == kind).unwrap();
    let mut settings: Value = serde_json::from_str(entry.small).unwrap();
    let table = settings.as_object_mut().unwrap();
    assert!(!table.is_empty(), "{kind} has no small settings for tests");
    table.insert("kind".into(), kind.into());
    table.extend(over.as_object().unwrap().clone());
    parse(DISTILLERS, Config { path: "distill", value: &settings }).unwrap().1
}

/// 12 users. For user 5 all but two items are labelled.
pub(crate) fn log() -> Interactions {
    let line = |u: u64| {
        let n = if u == 5 { N - 2 } else { 1 + u as usize % 4 };
        Rng::keyed(1, [u]).permutation(N as u32)[..n].to_vec()
    };
    Interactions::new(N, (0..12).map(line).collect(), None, None).unwrap()
}

/// One for each interaction.
pub(crate) fn cases() -> Cases {
    Cases::each_interaction(&log())
}

/// A teacher with random lists at three states of its training, and none for user 3; with random vectors and ranks of the labelled
/// items. Its recipe is [`Free`].
pub(crate) fn trace(cases: &Cases) -> Trace {
    let queries = cases.distinct_queries();
    let states = (0..3).map(|state: u64| {
        let mut rankings = Rankings::default();
        for (u, query) in queries.iter().enumerate() {
            let order = Rng::keyed(4 - state, [u as u64]).permutation(N as u32);
            let unlabelled = order.into_iter().filter(|item| !query.history.contains(item));
            let scores = (0..).map(|position| 3.0 - 0.4 * position as f32);
            rankings.push(unlabelled.zip(scores).take(if u == 3 { 0 } else { K }));
        }
        (state as usize, rankings)
    });
    let mut items = vec![0.0; N * TEACHER_DIM];
    Rng::new(7).fill_normal(&mut items, 0.0, 1.0);
    let ranks = queries.iter().map(|query| (1..=query.history.len() as u32).rev()).collect();
    let trace = Trace::new("chance", states.collect()).unwrap().with_recipe(free_recipe(8));
    let embedded = Embedded::new("chance", &Drawn(items), &queries).unwrap();
    trace.with_labelled_ranks(ranks).unwrap().with_embedded(embedded).unwrap()
}

/// Random vectors.
pub(crate) struct Drawn(pub Vec<f32>);
impl Factored for Drawn {
    fn items(&self) -> Factors<'_> {
        Factors { data: &self.0, len: N, dim: TEACHER_DIM, stride: TEACHER_DIM }
    }
    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, out) in queries.iter().zip(out.chunks_mut(TEACHER_DIM)) {
            Rng::keyed(6, [u64::from(query.user.unwrap())]).fill_normal(out, 0.0, 1.0);
        }
    }
}

/// The recipe of a [`Free`].
pub(crate) fn free_recipe(seed: u64) -> TeacherRecipe {
    TeacherRecipe {
        recipe: Arc::new(Free(Plan { batch_size: 5, ..Plan::default() })),
        train: Arc::new(log()),
        seed,
    }
}

pub(crate) fn context(query: usize, epoch: usize) -> Context {
    Context { query, case: 0, epoch, seed: 5 }
}

/// Without a complement.
pub(crate) fn item_scores<'a>(items: &'a [ItemId], scores: &'a [f32]) -> ItemScores<'a> {
    ItemScores { items, scores, log_complement: 0.0, probes: &[], all: None }
}

/// The items that a term lists.
pub(crate) fn items_of(term: &impl Term, query: usize, epoch: usize) -> Vec<ItemId> {
    let mut items = Vec::new();
    term.list_items(context(query, epoch), &mut UnlabelledSampler::new(N), &mut items);
    items
}

/// A student with random scores, others in each version.
pub(crate) struct Chance(pub u64);
impl Scorer for Chance {
    fn n_items(&self) -> usize {
        N
    }
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, row) in queries.iter().zip(out.chunks_mut(N)) {
            Rng::keyed(self.0, [u64::from(query.user.unwrap())]).fill_normal(row, 0.0, 1.0);
        }
    }
}

impl Model for Chance {
    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
    fn n_parameters(&self) -> usize {
        0
    }
}

/// The simplest trainable model: a score for each user and item.
#[derive(Serialize)]
pub(crate) struct Free(pub Plan);

/// The scores.
pub(crate) struct FreeModel(pub Vec<f32>);

impl Trainable for Free {
    fn plan(&self) -> &Plan {
        &self.0
    }
    fn cases(&self, train: &Interactions) -> Cases {
        Cases::each_interaction(train)
    }
    fn objective(&self, _train: &Interactions) -> Box<dyn Objective> {
        Box::new(Own::Pairs)
    }
    fn init(&self, train: &Arc<Interactions>, seed: u64) -> Result<Box<dyn Learner>> {
        let mut numbers = vec![0.0; train.n_users() * N];
        Rng::keyed(seed, [9]).fill_normal(&mut numbers, 0.0, 1.0);
        Ok(Box::new(FreeModel(numbers)))
    }
    fn resume(&self, train: &Arc<Interactions>, state: &Tensors) -> Result<Box<dyn Learner>> {
        Ok(Box::new(FreeModel(state.f32s("numbers", train.n_users() * N)?.to_vec())))
    }
}

impl ModelConfig for Free {
    fn kind(&self) -> &'static str {
        "free"
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        Ok(Box::new(FreeModel(tensors.f32s("numbers", 12 * N)?.to_vec())))
    }

    fn memory(&self, _n_users: usize, _n_items: usize, _n_interactions: usize) -> u64 {
        0
    }
}

impl Scorer for FreeModel {
    fn n_items(&self) -> usize {
        N
    }
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, row) in queries.iter().zip(out.chunks_mut(N)) {
            row.copy_from_slice(&self.0[query.user.unwrap() as usize * N..][..N]);
        }
    }
}

impl Model for FreeModel {
    fn tensors(&self) -> Tensors {
        self.state()
    }
    fn n_parameters(&self) -> usize {
        self.0.len()
    }
}

impl Learner for FreeModel {
    /// By plain gradient descent on lists, at a rate of 0.3.
    fn step(&mut self, batch: &Batch<'_>, slate: &Slate, objective: &dyn Objective) -> f64 {
        let Slate::Lists { listed, .. } = slate else { panic!("lists") };
        let (mut loss, mut moves) = (0.0, Vec::new());
        for at in 0..batch.len() {
            let user = batch.case(at).query.user.unwrap() as usize;
            let items = listed.row(at);
            let scores: Vec<f32> = items.iter().map(|&i| self.0[user * N + i as usize]).collect();
            let mut grad = vec![0.0; items.len()];
            let scores = Scores { listed: &scores, probes: &[], log_complement: f32::NEG_INFINITY };
            let to = Grad { listed: &mut grad, log_complement: &mut 0.0 };
            loss += f64::from(objective.loss(Row { batch, slate, at }, scores, to));
            moves.extend(items.iter().map(|&i| user * N + i as usize).zip(grad));
        }
        moves.into_iter().for_each(|(at, slope)| self.0[at] -= 0.3 * slope);
        loss
    }
    fn state(&self) -> Tensors {
        Tensors::from_iter([("numbers", self.0.clone().into())])
    }
}

/// Own objectives, one for each kind of slate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Own {
    /// BPR with one random item.
    Pairs,
    /// Softmax over the target and the items that are not in the history; its left-out items are not the labelled ones.
    Softmax,
    /// Squared distance of all scores to 1 for the history and 0 for other items.
    Squares,
}

impl Objective for Own {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let case = |at: usize| batch.case(at);
        let rows = 0..batch.len();
        match self {
            Self::Squares => Slate::All,
            Self::Pairs => Slate::lists(
                rows.map(|at| [case(at).targets[0], batch.rng(at, 77).below(N as u32)]).collect(),
            ),
            Self::Softmax => Slate::with_complement(
                rows.clone().map(|at| [case(at).targets[0]]).collect(),
                rows.map(|at| {
                    let target = case(at).targets[0];
                    // One more item, which no other loss leaves out.
                    let other = (target + 7) % N as u32;
                    let history = case(at).query.history.iter().copied().chain([other]);
                    history.filter(move |&item| item != target)
                })
                .collect(),
            ),
        }
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let s = scores.listed;
        match self {
            Self::Pairs => {
                assert_eq!(s.len(), 2);
                let slope = 1.0 / (1.0 + (s[0] - s[1]).exp());
                grad.listed.copy_from_slice(&[-slope, slope]);
                (1.0 + (s[1] - s[0]).exp()).ln()
            }
            Self::Softmax => {
                assert_eq!(s.len(), 1);
                let all = (s[0].exp() + scores.log_complement.exp()).ln();
                grad.listed[0] = (s[0] - all).exp() - 1.0;
                *grad.log_complement = (scores.log_complement - all).exp();
                all - s[0]
            }
            Self::Squares => {
                assert_eq!(s.len(), N);
                let wish = |i| f32::from(row.case().query.history.contains(&i));
                s.iter().zip(0..).zip(&mut *grad.listed).for_each(|((s, i), g)| *g = s - wish(i));
                grad.listed.iter().fold(0.0, |sum, g| sum + 0.5 * g * g)
            }
        }
    }
}

/// One own objective for each kind of slate.
pub(crate) const OWNS: [Own; 3] = [Own::Pairs, Own::Softmax, Own::Squares];

/// The objective of a method, after its first update.
pub(crate) fn taught(method: &dyn Distiller, own: Own, cases: &Cases) -> Box<dyn Objective> {
    let mut objective = method.teach(Box::new(own), cases, &[trace(cases)]).unwrap();
    objective.refresh(0, &Chance(3), cases).unwrap();
    objective
}

/// Random scores of all items.
pub(crate) fn scores(at: usize) -> Vec<f32> {
    let mut scores = vec![0.0; N];
    Rng::keyed(4, [at as u64]).fill_normal(&mut scores, 0.0, 1.5);
    scores
}

/// The loss of a row, and its gradient with respect to the score of every item, as a learner computes them.
pub(crate) fn ask(
    objective: &dyn Objective,
    slate: &Slate,
    batch: &Batch<'_>,
    at: usize,
    scores: &[f32],
) -> (f64, Vec<f64>) {
    let row = Row { batch, slate, at };
    let of = |items: &[ItemId]| items.iter().map(|&i| scores[i as usize]).collect::<Vec<f32>>();
    let listed = slate.listed().map_or(scores.to_vec(), |_| of(row.items()));
    let probes = slate.probes().map_or(Vec::new(), |probes| of(probes.row(at)));
    let complement: Vec<usize> = match slate.left_out(at) {
        None => slate.drawn_for(at).map(|item| item as usize).collect(),
        Some(left_out) => {
            let counts = |item: &ItemId| !row.items().contains(item) && !left_out.contains(item);
            (0..N as u32).filter(counts).map(|item| item as usize).collect()
        }
    };
    let mass = complement.iter().fold(0.0, |sum, &i| sum + f64::from(scores[i]).exp());
    let (mut grad, mut to_complement) = (vec![0.0; listed.len()], 0.0);
    let loss = objective.loss(
        row,
        Scores { listed: &listed, probes: &probes, log_complement: mass.ln() as f32 },
        Grad { listed: &mut grad, log_complement: &mut to_complement },
    );
    let mut slopes = vec![0.0; N];
    match slate {
        Slate::All => slopes.iter_mut().zip(&grad).for_each(|(to, &g)| *to = f64::from(g)),
        _ => row.items().iter().zip(&grad).for_each(|(&i, &g)| slopes[i as usize] += f64::from(g)),
    }
    for i in complement {
        slopes[i] += f64::from(to_complement) * f64::from(scores[i]).exp() / mass;
    }
    (f64::from(loss), slopes)
}

/// The loss of a batch's vectors and both gradients, as a learner computes them. The fourth row has no vector to learn.
pub(crate) fn ask_vectors(
    objective: &dyn Objective,
    batch: &Batch<'_>,
    queries: &[f32],
    all: &[f32],
) -> (f64, Vec<f32>, Vec<f32>) {
    let vector_objective = objective.vector_objective().unwrap();
    let ids = vector_objective.items(batch, &objective.slate(batch));
    let items: Vec<f32> =
        ids.iter().flat_map(|&item| all[item as usize * DIM..][..DIM].to_vec()).collect();
    let counts: Vec<bool> = (0..batch.len()).map(|at| at != 3).collect();
    let (mut to_queries, mut to_items) = (vec![0.0; queries.len()], vec![0.0; items.len()]);
    let vectors = Vectors { dim: DIM, queries, counts: &counts, ids: &ids, items: &items };
    let grads = VectorGrads { queries: &mut to_queries, items: &mut to_items };
    let loss = vector_objective.loss(batch, &vectors, grads);
    let mut to_all = vec![0.0; all.len()];
    for (&item, to) in ids.iter().zip(to_items.chunks(DIM)) {
        to_all[item as usize * DIM..][..DIM].copy_from_slice(to);
    }
    (loss, to_queries, to_all)
}

/// The rows of a batch, two of which have the same query; the vectors of their queries, and those of all items.
pub(crate) fn with_vectors(cases: &Cases) -> (Vec<u32>, Vec<f32>, Vec<f32>) {
    let vectors = |key: u64, len: usize| {
        let mut out = vec![0.0; len];
        Rng::keyed(8, [key]).fill_normal(&mut out, 0.0, 1.0);
        out
    };
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(3).chain([0]).collect();
    let of = |&row: &u32| vectors(cases.query_of(row as usize) as u64, DIM);
    let queries = rows.iter().flat_map(of).collect();
    (rows, queries, vectors(99, N * DIM))
}
