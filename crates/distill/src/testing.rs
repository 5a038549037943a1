//! What the tests of several methods share.
#![allow(clippy::unwrap_used)]

use crate::beside_own::{Asked, Term};
use crate::rank_distil::Scratch;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Cases, Grad, Interactions, ItemId, Learner, Model, ModelConfig, Objective, Plan, Query,
    Rankings, Result, Row, Scorer, Scores, Slate, TeacherRecipe, Tensors, Trace, Trainable,
};
use std::sync::Arc;

/// Items.
pub(crate) const N: usize = 30;
/// Longest list of the teacher.
pub(crate) const K: usize = 12;

/// 12 users; user 5 has labelled everything but two items.
pub(crate) fn log() -> Interactions {
    let line = |u: u64| {
        let n = if u == 5 { N - 2 } else { 1 + u as usize % 4 };
        Rng::keyed(1, [u]).permutation(N as u32)[..n].to_vec()
    };
    Interactions::new(N, (0..12).map(line).collect(), None, None).unwrap()
}

/// One for each of its interactions.
pub(crate) fn cases() -> Cases {
    Cases::each_interaction(&log())
}

/// Ranks by chance; says nothing to user 3. Comes about as [`Free`] does.
pub(crate) fn trace(cases: &Cases) -> Trace {
    let mut said = Rankings::default();
    for (u, query) in cases.distinct_queries().iter().enumerate() {
        let order = Rng::keyed(2, [u as u64]).permutation(N as u32);
        let unlabelled = order.into_iter().filter(|item| !query.history.contains(item));
        let scores = (0..).map(|place| 3.0 - 0.4 * place as f32);
        said.push(unlabelled.zip(scores).take(if u == 3 { 0 } else { K }));
    }
    Trace::new("chance", vec![(0, said)]).unwrap().with_recipe(learning(8))
}

/// How a [`Free`] comes about.
pub(crate) fn learning(seed: u64) -> TeacherRecipe {
    TeacherRecipe {
        recipe: Arc::new(Free(Plan { batch_size: 5, ..Plan::default() })),
        train: Arc::new(log()),
        seed,
    }
}

pub(crate) fn asked(query: usize, epoch: usize) -> Asked {
    Asked { query, case: 0, epoch, seed: 5 }
}

/// What a term asks for, which must be as many items as it says.
pub(crate) fn items_of(term: &impl Term, query: usize, epoch: usize) -> Vec<ItemId> {
    let mut items = Vec::new();
    term.items(asked(query, epoch), &mut Scratch::new(N), &mut items);
    assert_eq!(items.len(), term.len(asked(query, epoch)));
    items
}

/// A student whose score of an item is random, another one in each version.
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

/// The simplest model that learns: a number for each user and item.
#[derive(serde::Serialize)]
pub(crate) struct Free(pub Plan);

/// The numbers.
pub(crate) struct FreeModel(Vec<f32>);

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
        let Slate::Lists { listed, .. } = slate else { panic!("learns from lists") };
        let (mut loss, mut moves) = (0.0, Vec::new());
        for at in 0..batch.len() {
            let user = batch.case(at).query.user.unwrap() as usize;
            let items = listed.row(at);
            let scores: Vec<f32> = items.iter().map(|&i| self.0[user * N + i as usize]).collect();
            let mut grad = vec![0.0; items.len()];
            let scores = Scores { listed: &scores, probes: &[], log_complement: f32::NEG_INFINITY };
            let to = Grad { listed: &mut grad, log_complement: &mut 0.0 };
            loss += f64::from(objective.loss(Row { batch, at, items }, scores, to));
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
    /// Softmax over the target and what is not in the history; its left-out items are not the labelled ones.
    Softmax,
    /// Squared distance of all scores to 1 for the history and 0 for the rest.
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
                    // One strange item besides, which nobody else leaves out.
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

/// Asks the objective as a learner does, of a row whose slate is known: its loss, and the gradient with respect to every item's
/// score.
pub(crate) fn ask(
    objective: &dyn Objective,
    slate: &Slate,
    batch: &Batch<'_>,
    at: usize,
    scores: &[f32],
) -> (f64, Vec<f64>) {
    let (items, left_out, against) = match slate {
        Slate::Lists { listed, .. } => (listed.row(at), &[][..], false),
        Slate::WithComplement { listed, left_out, asking, .. } => {
            (listed.row(at), left_out.row(at), asking.contains(&(at as u32)))
        }
        Slate::All => (&[][..], &[][..], false),
    };
    let counts = |i: &usize| !items.contains(&(*i as u32)) && !left_out.contains(&(*i as u32));
    let rest: Vec<usize> = (0..N).filter(|_| against).filter(counts).collect();
    let listed: Vec<f32> = match slate {
        Slate::All => scores.to_vec(),
        _ => items.iter().map(|&i| scores[i as usize]).collect(),
    };
    let mass = rest.iter().fold(0.0, |sum, &i| sum + f64::from(scores[i]).exp());
    let (mut grad, mut to_rest) = (vec![0.0; listed.len()], 0.0);
    let loss = objective.loss(
        Row { batch, at, items },
        Scores { listed: &listed, probes: &[], log_complement: mass.ln() as f32 },
        Grad { listed: &mut grad, log_complement: &mut to_rest },
    );
    let mut slopes = vec![0.0; N];
    match slate {
        Slate::All => slopes.iter_mut().zip(&grad).for_each(|(to, &g)| *to = f64::from(g)),
        _ => items.iter().zip(&grad).for_each(|(&i, &g)| slopes[i as usize] += f64::from(g)),
    }
    for i in rest {
        slopes[i] += f64::from(to_rest) * f64::from(scores[i]).exp() / mass;
    }
    (f64::from(loss), slopes)
}
